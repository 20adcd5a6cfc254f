/* Afstand: the parts of a device that every firmware needs, around the frames of afstand_v1.h.
 *
 * SPDX-License-Identifier: EUPL-1.2
 *
 * C99, integers only, no allocation, no library but <string.h>; all memory is the caller's.
 * Three layers, each usable without the next:
 *
 *   afs_aes128_*  a compact AES-128 for processors without one in hardware
 *   afs_cmac      AES-CMAC (RFC 4493) over whatever encrypts one block
 *   afs_ring_*    store and forward: frames stay until an ack of the server covers them
 *   afs_device_*  sequence numbers, events, acks and commands as contract-v1.md asks for
 *
 * Time comes in two forms. `time_ms` is Unix time, 0 while the clock is not set: it goes into
 * frames. `tick_ms` is any counter of milliseconds that may wrap around: it decides when to send
 * again, so that a clock that steps neither holds up nor hurries anything.
 *
 * Nothing here is made for more than one thread: call it from one task.
 */
#ifndef AFSTAND_KIT_H
#define AFSTAND_KIT_H

#include "afstand_v1.h"

/* --- AES-128 and its CMAC --- */

typedef struct {
  uint8_t round_keys[176];
} afs_aes128_t;

void afs_aes128_init(afs_aes128_t *aes, const uint8_t key[16]);

/* Encrypts one block under the device's key; returns 0 when done. A processor's or a modem's own
 * AES has this form too; `afs_aes128_block` is the one without hardware, with an afs_aes128_t. */
typedef int (*afs_block_t)(void *context, const uint8_t in[16], uint8_t out[16]);

int afs_aes128_block(void *aes, const uint8_t in[16], uint8_t out[16]);

typedef struct {
  afs_block_t block;
  void *context;
} afs_cmac_t;

/* An afs1_cmac_t: `cmac` is an afs_cmac_t. Returns 0, or what the block cipher returned. */
int afs_cmac(void *cmac, const uint8_t *prefix, size_t prefix_bytes, const uint8_t *body,
             size_t body_bytes, uint8_t *tag);

/* --- Key generations --- */

#define AFS_NONCE_BYTES 16u

/* Derives the key of a generation (FC-110); `root` is AES under the device's root key, in an
 * afs_cmac_t. Returns 0, or what the block cipher returned. */
int afs_derive_key(afs_cmac_t *root, const char *device_id, uint32_t generation,
                   const uint8_t nonce[AFS_NONCE_BYTES], uint8_t key[16]);

/* Reads what a KEY command asks for; returns 0, or -1 for one that cannot be obeyed (FC-113). */
int afs_read_key_command(const afs1_command_t *command, uint32_t *generation,
                         uint8_t nonce[AFS_NONCE_BYTES]);

/* --- Store and forward --- */

#define AFS_RESEND_EVENT_MS 10000u /* an event that no ack has covered goes again after this, */
#define AFS_RESEND_MS 30000u       /* and anything else after this; FC-060 asks for 60 s */
#define AFS_RING_RESERVED 2u       /* slots that only PANIC and DURESS may fill */
#define AFS_RING_SLOTS_MIN (AFS_RING_RESERVED + 2u)

enum afs_kept {
  AFS_KEPT = 0,        /* kept; nothing had to go */
  AFS_KEPT_DROPPED,    /* kept; the oldest status or fix went for it */
  AFS_REFUSED,         /* not kept: what there is counts more, or it does not fit */
  AFS_UNSEALED         /* not kept: it cannot be encoded, or there was no tag */
};

/* One kept frame; `size` 0: the slot is free. */
typedef struct {
  uint32_t boot;
  uint32_t sequence;
  uint32_t sent_tick_ms;
  uint16_t size;
  uint8_t kind;
  uint8_t sent;
} afs_slot_t;

/* Where frames survive a restart; both functions may be NULL for memory that keeps by itself.
 * `save` returns 0 when the frame is safe. */
typedef struct {
  int (*save)(void *context, unsigned slot, const uint8_t *frame, size_t size);
  void (*erase)(void *context, unsigned slot);
  void *context;
} afs_flash_t;

typedef struct {
  afs_slot_t *slots;
  uint8_t *bytes; /* slot_count times slot_bytes */
  unsigned slot_count;
  size_t slot_bytes;
  unsigned window; /* fixes and status under way at once; events are never held back */
  afs_flash_t flash;
  uint32_t dropped; /* frames that had to go since the ring was last less than full */
  uint32_t live_boot; /* the fix sealed last */
  uint32_t live_sequence;
  uint32_t unsaved; /* frames that the flash did not take: they would not survive a restart */
} afs_ring_t;

/* Returns 0, or -1 for too few slots or slots too small for one status frame. */
int afs_ring_init(afs_ring_t *ring, afs_slot_t *slots, unsigned slot_count, uint8_t *bytes,
                  size_t slot_bytes, unsigned window, const afs_flash_t *flash);

/* Takes a frame back from the flash after a restart, into the slot it had; returns 0 or -1. */
int afs_ring_restore(afs_ring_t *ring, unsigned slot, const uint8_t *frame, size_t size);

/* Makes room for a frame of a kind and returns the slot to encode it into, or -1. `urgent`: a
 * PANIC or DURESS. When memory is full status goes first, then the oldest fix, never an event. */
int afs_ring_room(afs_ring_t *ring, unsigned kind, int urgent);

/* Keeps what was encoded into a slot that afs_ring_room gave. */
void afs_ring_keep(afs_ring_t *ring, unsigned slot, size_t size);

uint8_t *afs_ring_frame(afs_ring_t *ring, unsigned slot);

/* Returns the slot to publish now and counts it as sent, or -1: events first, then the newest fix,
 * then what waits, oldest first; and what was sent long ago and no ack has covered. */
int afs_ring_next(afs_ring_t *ring, uint32_t tick_ms);

/* Lets go of what an ack record covers; returns how many frames that were. */
unsigned afs_ring_covered(afs_ring_t *ring, const afs1_ack_t *ack);

/* The connection was lost, or made anew: everything without an ack goes again. */
void afs_ring_link_lost(afs_ring_t *ring);

unsigned afs_ring_used(const afs_ring_t *ring);

/* --- A device --- */

/* Writes em/{device}/fix, /event or /status with a zero byte; returns its length, 0 for too little
 * room or a kind that a device does not send. */
size_t afs_topic(char *out, size_t capacity, const char *device_id, unsigned kind);

#define AFS_COMMANDS_REMEMBERED 16u

/* Carries out a command that is new, in time and ours; returns 1 when done, 0 when this device
 * cannot (also for a code it does not know), and -1 to answer later with afs_device_answer. */
typedef int (*afs_obey_t)(void *context, const afs1_command_t *command);

typedef struct {
  uint32_t command_id; /* 0: none */
  uint16_t answer;     /* an enum afs1_event_code; 0: not answered yet */
} afs_answered_t;

typedef struct {
  const char *device_id;
  afs1_cmac_t cmac;
  void *cmac_context;
  void *former_context; /* of the key before, until the server is heard under the new one */
  afs_obey_t obey;
  void *obey_context;
  afs_ring_t *ring;
  uint32_t boot;
  uint32_t sequence; /* of the last frame sealed */
  afs_answered_t answered[AFS_COMMANDS_REMEMBERED];
  unsigned answered_next;
} afs_device_t;

/* `boot` is larger than ever before and kept in the flash before the first frame (FC-030). */
void afs_device_init(afs_device_t *device, const char *device_id, afs1_cmac_t cmac,
                     void *cmac_context, uint32_t boot, afs_ring_t *ring, afs_obey_t obey,
                     void *obey_context);

/* Each seals one frame and keeps it until it is acked; they return an enum afs_kept. */
int afs_device_fixes(afs_device_t *device, uint64_t time_ms, const afs1_fix_t *fixes,
                     unsigned count);
int afs_device_event(afs_device_t *device, uint64_t time_ms, const afs1_event_t *event);
int afs_device_status(afs_device_t *device, uint64_t time_ms, const afs1_status_t *status);

/* An event without a position: what a press is when none is at hand. */
int afs_device_press(afs_device_t *device, uint64_t time_ms, uint16_t code, int32_t value);

/* Writes the last will of this connection (FC-052); returns its size, 0 for too little room. */
size_t afs_device_will(afs_device_t *device, uint8_t *out, size_t capacity,
                       const afs1_status_t *status);

/* Takes a message from em/{device}/ack or em/{device}/cmd; returns an enum afs1_fault. Commands
 * are answered once each, at most as often as they come. */
int afs_device_receive(afs_device_t *device, uint64_t time_ms, const uint8_t *frame, size_t size);

/* Seals with another key from now on, after a KEY command, and believes the server under the former
 * one until it is heard under the new one. Call it from `obey`, the key being in the flash. */
void afs_device_rekey(afs_device_t *device, void *cmac_context);

/* Answers a command that was not answered at once; `code` is COMMAND_DONE or COMMAND_REFUSED. */
int afs_device_answer(afs_device_t *device, uint64_t time_ms, uint32_t command_id, uint16_t code);

#endif /* AFSTAND_KIT_H */
