/* Key generations: the key that device and server derive from the root key and a nonce (FC-110).
 *
 * SPDX-License-Identifier: EUPL-1.2
 */
#include "afstand_kit.h"

static const uint8_t label[] = {0x01, 'a', 'f', 's', 't', 'a', 'n', 'd', ' ', 'k', 'e', 'y', 0x00};

int afs_derive_key(afs_cmac_t *root, const char *device_id, uint32_t generation,
                   const uint8_t nonce[AFS_NONCE_BYTES], uint8_t key[16])
{
  uint8_t said[sizeof label + 1 + AFS1_DEVICE_ID_MAX + 4 + AFS_NONCE_BYTES + 2];
  const size_t id_bytes = strlen(device_id);
  size_t size = sizeof label;
  if (id_bytes < 1 || id_bytes > AFS1_DEVICE_ID_MAX)
    return -1;
  memcpy(said, label, sizeof label);
  said[size++] = (uint8_t)id_bytes;
  memcpy(said + size, device_id, id_bytes);
  size += id_bytes;
  afs1_put_le(said + size, generation, 4);
  memcpy(said + size + 4, nonce, AFS_NONCE_BYTES);
  afs1_put_le(said + size + 4 + AFS_NONCE_BYTES, 128, 2);
  return afs_cmac(root, said, size + 4 + AFS_NONCE_BYTES + 2, NULL, 0, key);
}

static int digit(uint8_t letter)
{
  if (letter >= '0' && letter <= '9')
    return letter - '0';
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

int afs_read_key_command(const afs1_command_t *command, uint32_t *generation,
                         uint8_t nonce[AFS_NONCE_BYTES])
{
  unsigned i;
  if (command->code != AFS1_COMMAND_KEY || command->arg1 < 1 ||
      afs1_text_bytes(command->text) != 2 * AFS_NONCE_BYTES)
    return -1;
  for (i = 0; i < AFS_NONCE_BYTES; i++) {
    const int high = digit(command->text[2 * i]), low = digit(command->text[2 * i + 1]);
    if (high < 0 || low < 0)
      return -1;
    nonce[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
  }
  *generation = command->arg1;
  return 0;
}
