/* Store and forward: what a device keeps until an ack of the server covers it.
 *
 * SPDX-License-Identifier: EUPL-1.2
 *
 * Slots of one size and no order among them: age is (boot, sequence), which only ever rises. Every
 * call looks at each slot a few times, which for some hundreds of slots is less than one tag.
 */
#include "afstand_kit.h"

#define NONE (-1)
#define STATUS_FRAME_BYTES (AFS1_HEADER_BYTES + AFS1_STATUS_BYTES + AFS1_TAG_BYTES)

static int older(const afs_slot_t *one, const afs_slot_t *other)
{
  return one->boot != other->boot ? one->boot < other->boot : one->sequence < other->sequence;
}

static int due(const afs_slot_t *slot, uint32_t tick_ms)
{
  const uint32_t patience_ms =
      slot->kind == AFS1_KIND_EVENT ? AFS_RESEND_EVENT_MS : AFS_RESEND_MS;
  return !slot->sent || (uint32_t)(tick_ms - slot->sent_tick_ms) >= patience_ms;
}

int afs_ring_init(afs_ring_t *ring, afs_slot_t *slots, unsigned slot_count, uint8_t *bytes,
                  size_t slot_bytes, unsigned window, const afs_flash_t *flash)
{
  if (slot_count < AFS_RING_SLOTS_MIN || slot_count > INT16_MAX || window < 1 ||
      slot_bytes < STATUS_FRAME_BYTES || slot_bytes > AFS1_FRAME_BYTES_MAX)
    return -1;
  memset(ring, 0, sizeof *ring);
  memset(slots, 0, slot_count * sizeof *slots);
  ring->slots = slots;
  ring->bytes = bytes;
  ring->slot_count = slot_count;
  ring->slot_bytes = slot_bytes;
  ring->window = window;
  if (flash)
    ring->flash = *flash;
  return 0;
}

uint8_t *afs_ring_frame(afs_ring_t *ring, unsigned slot)
{
  return ring->bytes + (size_t)slot * ring->slot_bytes;
}

/* What the ring knows of a frame it read in the frame itself. */
static void note(afs_slot_t *slot, const afs1_header_t *header, size_t size)
{
  slot->boot = header->boot;
  slot->sequence = header->sequence;
  slot->size = (uint16_t)size;
  slot->kind = header->kind;
  slot->sent = 0;
}

int afs_ring_restore(afs_ring_t *ring, unsigned slot, const uint8_t *frame, size_t size)
{
  afs1_header_t header;
  if (slot >= ring->slot_count || size > ring->slot_bytes || ring->slots[slot].size ||
      afs1_check(frame, size, &header) != AFS1_OK || afs1_server_kind(header.kind))
    return -1;
  memmove(afs_ring_frame(ring, slot), frame, size);
  note(&ring->slots[slot], &header, size);
  return 0;
}

unsigned afs_ring_used(const afs_ring_t *ring)
{
  unsigned used = 0, i;
  for (i = 0; i < ring->slot_count; i++)
    used += ring->slots[i].size != 0;
  return used;
}

static int oldest_of(const afs_ring_t *ring, unsigned kind)
{
  int found = NONE;
  unsigned i;
  for (i = 0; i < ring->slot_count; i++) {
    const afs_slot_t *slot = &ring->slots[i];
    if (slot->size && slot->kind == kind && (found == NONE || older(slot, &ring->slots[found])))
      found = (int)i;
  }
  return found;
}

static void let_go(afs_ring_t *ring, unsigned slot)
{
  ring->slots[slot].size = 0;
  if (ring->flash.erase)
    ring->flash.erase(ring->flash.context, slot);
}

static int free_slot(const afs_ring_t *ring)
{
  unsigned i;
  for (i = 0; i < ring->slot_count; i++)
    if (!ring->slots[i].size)
      return (int)i;
  return NONE;
}

int afs_ring_room(afs_ring_t *ring, unsigned kind, int urgent)
{
  const unsigned unused = ring->slot_count - afs_ring_used(ring);
  int gone;
  if (unused > (urgent ? 0 : AFS_RING_RESERVED)) {
    ring->dropped = urgent ? ring->dropped : 0;
    return free_slot(ring);
  }
  gone = oldest_of(ring, AFS1_KIND_STATUS);
  if (gone == NONE && kind != AFS1_KIND_STATUS)
    gone = oldest_of(ring, AFS1_KIND_FIX);
  ring->dropped += gone != NONE || kind != AFS1_KIND_EVENT;
  if (gone != NONE)
    let_go(ring, (unsigned)gone);
  return gone;
}

void afs_ring_keep(afs_ring_t *ring, unsigned slot, size_t size)
{
  const uint8_t *frame = afs_ring_frame(ring, slot);
  afs1_header_t header;
  afs1_get_header(&header, frame);
  note(&ring->slots[slot], &header, size);
  if (header.kind == AFS1_KIND_FIX) {
    ring->live_boot = header.boot;
    ring->live_sequence = header.sequence;
  }
  if (ring->flash.save && ring->flash.save(ring->flash.context, slot, frame, size) != 0)
    ring->unsaved++;
}

static int send(afs_ring_t *ring, int slot, uint32_t tick_ms)
{
  if (slot != NONE) {
    ring->slots[slot].sent = 1;
    ring->slots[slot].sent_tick_ms = tick_ms;
  }
  return slot;
}

static int oldest_due(const afs_ring_t *ring, unsigned kind, uint32_t tick_ms)
{
  int found = NONE;
  unsigned i;
  for (i = 0; i < ring->slot_count; i++) {
    const afs_slot_t *slot = &ring->slots[i];
    if (slot->size && slot->kind == kind && due(slot, tick_ms) &&
        (found == NONE || older(slot, &ring->slots[found])))
      found = (int)i;
  }
  return found;
}

/* The fix that was sealed last, if it is still here: where somebody is now. */
static int live_fix(const afs_ring_t *ring)
{
  unsigned i;
  for (i = 0; i < ring->slot_count; i++) {
    const afs_slot_t *slot = &ring->slots[i];
    if (slot->size && slot->kind == AFS1_KIND_FIX && slot->boot == ring->live_boot &&
        slot->sequence == ring->live_sequence)
      return (int)i;
  }
  return NONE;
}

int afs_ring_next(afs_ring_t *ring, uint32_t tick_ms)
{
  unsigned under_way = 0, i;
  int slot = oldest_due(ring, AFS1_KIND_EVENT, tick_ms);
  if (slot != NONE)
    return send(ring, slot, tick_ms);
  slot = live_fix(ring);
  if (slot != NONE && !ring->slots[slot].sent)
    return send(ring, slot, tick_ms); /* it waits for no backlog */
  for (i = 0; i < ring->slot_count; i++)
    under_way += ring->slots[i].size && ring->slots[i].kind != AFS1_KIND_EVENT &&
                 !due(&ring->slots[i], tick_ms);
  if (under_way >= ring->window)
    return NONE;
  slot = oldest_due(ring, AFS1_KIND_FIX, tick_ms);
  if (slot == NONE)
    slot = oldest_due(ring, AFS1_KIND_STATUS, tick_ms);
  return send(ring, slot, tick_ms);
}

unsigned afs_ring_covered(afs_ring_t *ring, const afs1_ack_t *ack)
{
  unsigned gone = 0, i;
  for (i = 0; i < ring->slot_count; i++)
    if (ring->slots[i].size &&
        afs1_ack_covers(ack, ring->slots[i].boot, ring->slots[i].sequence)) {
      let_go(ring, i);
      gone++;
    }
  return gone;
}

void afs_ring_link_lost(afs_ring_t *ring)
{
  unsigned i;
  for (i = 0; i < ring->slot_count; i++)
    ring->slots[i].sent = 0;
}
