/* AES-CMAC of RFC 4493 over whatever encrypts one block.
 *
 * SPDX-License-Identifier: EUPL-1.2
 */
#include "afstand_kit.h"

/* Multiplies by x in GF(2^128), as section 2.3 makes a subkey. */
static void double_block(uint8_t *block)
{
  const uint8_t carry = block[0] >> 7;
  unsigned i;
  for (i = 0; i < 15; i++)
    block[i] = (uint8_t)((unsigned)block[i] << 1 | block[i + 1] >> 7);
  block[15] = (uint8_t)((unsigned)block[15] << 1 ^ carry * 0x87u);
}

int afs_cmac(void *cmac, const uint8_t *prefix, size_t prefix_bytes, const uint8_t *body,
             size_t body_bytes, uint8_t *tag)
{
  const afs_cmac_t *cipher = cmac;
  const size_t size = prefix_bytes + body_bytes;
  uint8_t state[16] = {0}, subkey[16];
  unsigned filled = 0, i;
  size_t at;
  int failed = cipher->block(cipher->context, state, subkey);
  if (failed)
    return failed;
  double_block(subkey);
  if (size == 0 || size % 16 != 0)
    double_block(subkey);
  for (at = 0; at < size; at++) {
    if (filled == 16) {
      failed = cipher->block(cipher->context, state, state);
      if (failed)
        return failed;
      filled = 0;
    }
    state[filled++] ^= at < prefix_bytes ? prefix[at] : body[at - prefix_bytes];
  }
  if (filled < 16)
    state[filled] ^= 0x80;
  for (i = 0; i < 16; i++)
    state[i] ^= subkey[i];
  return cipher->block(cipher->context, state, tag);
}
