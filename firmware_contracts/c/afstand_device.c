/* A device: sequence numbers, events, acks and commands as contract-v1.md asks for.
 *
 * SPDX-License-Identifier: EUPL-1.2
 */
#include "afstand_kit.h"

void afs_device_init(afs_device_t *device, const char *device_id, afs1_cmac_t cmac,
                     void *cmac_context, uint32_t boot, afs_ring_t *ring, afs_obey_t obey,
                     void *obey_context)
{
  memset(device, 0, sizeof *device);
  device->device_id = device_id;
  device->cmac = cmac;
  device->cmac_context = cmac_context;
  device->boot = boot;
  device->ring = ring;
  device->obey = obey;
  device->obey_context = obey_context;
}

size_t afs_topic(char *out, size_t capacity, const char *device_id, unsigned kind)
{
  const char *lane = kind == AFS1_KIND_FIX      ? "/fix"
                     : kind == AFS1_KIND_EVENT  ? "/event"
                     : kind == AFS1_KIND_STATUS ? "/status"
                                                : NULL;
  const size_t id_bytes = strlen(device_id);
  size_t size;
  if (!lane)
    return 0;
  size = 3 + id_bytes + strlen(lane);
  if (size >= capacity)
    return 0;
  memcpy(out, "em/", 3);
  memcpy(out + 3, device_id, id_bytes);
  memcpy(out + 3 + id_bytes, lane, size - 3 - id_bytes + 1);
  return size;
}

/* --- Frames --- */

/* Encodes without the tag; returns the bytes written, 0 for what cannot be sent. */
static size_t encode(uint8_t *out, size_t capacity, uint32_t boot, uint32_t sequence,
                     uint64_t time_ms, unsigned kind, const void *records, unsigned count)
{
  if (kind == AFS1_KIND_FIX)
    return afs1_encode_fix(out, capacity, boot, sequence, time_ms, records, count);
  if (kind == AFS1_KIND_EVENT)
    return afs1_encode_event(out, capacity, boot, sequence, time_ms, records, count);
  return afs1_encode_status(out, capacity, boot, sequence, time_ms, records, count);
}

/* Seals one frame into the ring. A number is used up only by a frame that was sealed (FC-031). */
static int keep(afs_device_t *device, uint64_t time_ms, unsigned kind, const void *records,
                unsigned count, int urgent)
{
  afs_ring_t *ring = device->ring;
  const uint32_t dropped = ring->dropped;
  uint8_t *frame;
  size_t size;
  int slot;
  if (count < 1 || count > AFS1_RECORDS_MAX ||
      AFS1_HEADER_BYTES + (size_t)count * afs1_record_bytes(kind) + AFS1_TAG_BYTES >
          ring->slot_bytes)
    return AFS_UNSEALED;
  slot = afs_ring_room(ring, kind, urgent);
  if (slot < 0)
    return AFS_REFUSED;
  frame = afs_ring_frame(ring, (unsigned)slot);
  size = encode(frame, ring->slot_bytes, device->boot, device->sequence + 1u, time_ms, kind,
                records, count);
  size = afs1_seal(frame, ring->slot_bytes, size, device->device_id, device->cmac,
                   device->cmac_context);
  if (size == 0)
    return AFS_UNSEALED;
  device->sequence++;
  afs_ring_keep(ring, (unsigned)slot, size);
  return ring->dropped > dropped ? AFS_KEPT_DROPPED : AFS_KEPT;
}

/* Says that frames had to go: with the first, and whenever their number has doubled (FC-064). */
static void tell_loss(afs_device_t *device, uint64_t time_ms, uint32_t before)
{
  const uint32_t dropped = device->ring->dropped;
  afs1_event_t full;
  if (dropped <= before || (dropped & (dropped - 1u)) != 0)
    return;
  memset(&full, 0, sizeof full);
  full.code = AFS1_EVENT_MEMORY_FULL;
  full.value = dropped > INT32_MAX ? INT32_MAX : (int32_t)dropped;
  full.accuracy_dm = AFS1_EVENT_ACCURACY_DM_UNKNOWN;
  (void)keep(device, time_ms, AFS1_KIND_EVENT, &full, 1, 0);
}

static int keep_and_tell(afs_device_t *device, uint64_t time_ms, unsigned kind,
                         const void *records, unsigned count, int urgent)
{
  const uint32_t before = device->ring->dropped;
  const int kept = keep(device, time_ms, kind, records, count, urgent);
  tell_loss(device, time_ms, before);
  return kept;
}

int afs_device_fixes(afs_device_t *device, uint64_t time_ms, const afs1_fix_t *fixes,
                     unsigned count)
{
  return keep_and_tell(device, time_ms, AFS1_KIND_FIX, fixes, count, 0);
}

int afs_device_event(afs_device_t *device, uint64_t time_ms, const afs1_event_t *event)
{
  const int urgent = event->code == AFS1_EVENT_PANIC || event->code == AFS1_EVENT_DURESS;
  return keep_and_tell(device, time_ms, AFS1_KIND_EVENT, event, 1, urgent);
}

int afs_device_press(afs_device_t *device, uint64_t time_ms, uint16_t code, int32_t value)
{
  afs1_event_t event;
  memset(&event, 0, sizeof event);
  event.code = code;
  event.value = value;
  event.accuracy_dm = AFS1_EVENT_ACCURACY_DM_UNKNOWN;
  return afs_device_event(device, time_ms, &event);
}

int afs_device_status(afs_device_t *device, uint64_t time_ms, const afs1_status_t *status)
{
  return keep_and_tell(device, time_ms, AFS1_KIND_STATUS, status, 1, 0);
}

size_t afs_device_will(afs_device_t *device, uint8_t *out, size_t capacity,
                       const afs1_status_t *status)
{
  afs1_status_t will = *status;
  size_t size;
  will.reason = AFS1_STATUS_REASON_LAST_WILL;
  /* Its own clock says nothing of when the broker will publish it. */
  size = afs1_encode_status(out, capacity, device->boot, 0, 0, &will, 1);
  return afs1_seal(out, capacity, size, device->device_id, device->cmac, device->cmac_context);
}

/* --- What the server says --- */

static afs_answered_t *answered(afs_device_t *device, uint32_t command_id)
{
  unsigned i;
  for (i = 0; i < AFS_COMMANDS_REMEMBERED; i++)
    if (device->answered[i].command_id == command_id)
      return &device->answered[i];
  return NULL;
}

/* Tells whether a command's time is certainly not over: without a clock nobody knows. */
static uint16_t refusal(const afs1_command_t *command, uint64_t time_ms)
{
  if (time_ms == 0)
    return AFS1_EVENT_COMMAND_REFUSED;
  return time_ms > command->expires_ms ? AFS1_EVENT_COMMAND_EXPIRED : 0;
}

static void obey(afs_device_t *device, uint64_t time_ms, const afs1_command_t *command)
{
  afs_answered_t *known = answered(device, command->command_id);
  uint16_t answer;
  if (!known) {
    known = &device->answered[device->answered_next];
    device->answered_next = (device->answered_next + 1u) % AFS_COMMANDS_REMEMBERED;
    known->command_id = command->command_id;
    known->answer = 0;
    answer = refusal(command, time_ms);
    if (answer == 0) {
      const int done = device->obey ? device->obey(device->obey_context, command) : 0;
      if (done < 0)
        return; /* it answers by afs_device_answer, perhaps from within the call */
      answer = done ? AFS1_EVENT_COMMAND_DONE : AFS1_EVENT_COMMAND_REFUSED;
    }
    known->answer = answer;
  }
  if (known->answer)
    (void)afs_device_press(device, time_ms, known->answer, (int32_t)known->command_id);
}

int afs_device_answer(afs_device_t *device, uint64_t time_ms, uint32_t command_id, uint16_t code)
{
  afs_answered_t *known = answered(device, command_id);
  if (known)
    known->answer = code;
  return afs_device_press(device, time_ms, code, (int32_t)command_id);
}

static int acked(afs_device_t *device, const uint8_t *frame, const afs1_header_t *header)
{
  afs1_ack_t ack;
  unsigned i;
  int fault;
  for (i = 0; i < header->count; i++) { /* all of them are sound, or none counts */
    fault = afs1_read_ack(frame, header, i, &ack);
    if (fault != AFS1_OK)
      return fault;
  }
  for (i = 0; i < header->count; i++) {
    (void)afs1_read_ack(frame, header, i, &ack);
    (void)afs_ring_covered(device->ring, &ack);
  }
  return AFS1_OK;
}

static int commanded(afs_device_t *device, uint64_t time_ms, const uint8_t *frame,
                     const afs1_header_t *header)
{
  afs1_command_t command;
  unsigned i;
  int fault;
  for (i = 0; i < header->count; i++) {
    fault = afs1_read_command(frame, header, i, &command);
    if (fault != AFS1_OK)
      return fault;
  }
  for (i = 0; i < header->count; i++) {
    (void)afs1_read_command(frame, header, i, &command);
    obey(device, time_ms, &command);
  }
  return AFS1_OK;
}

void afs_device_rekey(afs_device_t *device, void *cmac_context)
{
  device->former_context = device->cmac_context;
  device->cmac_context = cmac_context;
}

/* Tells whether a frame is the server's, under the present key or, for a while, the former. */
static int believed(afs_device_t *device, const uint8_t *frame, size_t size)
{
  if (afs1_verify(frame, size, device->device_id, device->cmac, device->cmac_context)) {
    device->former_context = NULL;
    return 1;
  }
  return device->former_context &&
         afs1_verify(frame, size, device->device_id, device->cmac, device->former_context);
}

int afs_device_receive(afs_device_t *device, uint64_t time_ms, const uint8_t *frame, size_t size)
{
  afs1_header_t header;
  const int fault = afs1_check(frame, size, &header);
  if (fault != AFS1_OK)
    return fault;
  if (!afs1_server_kind(header.kind))
    return AFS1_FAULT_WRONG_DIRECTION;
  if (!believed(device, frame, size))
    return AFS1_FAULT_BAD_TAG;
  if (header.kind == AFS1_KIND_ACK)
    return acked(device, frame, &header);
  return commanded(device, time_ms, frame, &header);
}
