/* Writes and reads frames for a comparison with the server's own code, a million at a time.
 *
 *   agree DEVICE_ID KEY_HEX
 *   in:  'W' kind u8, count u8, boot u32, sequence u32, time u64, then count rows
 *        'R' size u32, then the bytes of a message
 *   out: 'W' size u32, then the sealed frame (0: refused)
 *        'R' fault u8, valid u8; when the fault is 0: kind, minor, flags, record_bytes, count (u8),
 *            boot u32, sequence u32, time u64, then per record: fault u8, and its row
 * A row is one i64 per field of the table, in its order; a text is its 64 bytes. All numbers are of
 * this machine's own byte order: the rows are values, not the wire.
 *
 * SPDX-License-Identifier: EUPL-1.2
 */
#include <stdio.h>

#include "afstand_kit.h"

#define FIELDS_MAX 16u

typedef struct {
  int64_t numbers[FIELDS_MAX];
  uint8_t text[64];
} row_t;

static uint8_t frame[AFS1_FRAME_BYTES_MAX];
static uint8_t message[65536];
static const char *device_id;
static afs_aes128_t aes;
static afs_cmac_t cmac = {afs_aes128_block, &aes};

static int take(void *out, size_t size)
{
  return fread(out, 1, size, stdin) == size;
}

static void give(const void *in, size_t size)
{
  (void)fwrite(in, 1, size, stdout);
}

static unsigned fields_of(unsigned kind)
{
  switch (kind) {
    case AFS1_KIND_FIX:
      return 11;
    case AFS1_KIND_EVENT:
      return 8;
    case AFS1_KIND_STATUS:
      return 12;
    case AFS1_KIND_ACK:
      return 3;
    default:
      return 5; /* and the text */
  }
}

static int take_row(row_t *row, unsigned kind)
{
  return take(row->numbers, fields_of(kind) * sizeof row->numbers[0]) &&
         (kind != AFS1_KIND_COMMAND || take(row->text, sizeof row->text));
}

static void give_row(const row_t *row, unsigned kind)
{
  give(row->numbers, fields_of(kind) * sizeof row->numbers[0]);
  if (kind == AFS1_KIND_COMMAND)
    give(row->text, sizeof row->text);
}

static union {
  afs1_fix_t fixes[AFS1_RECORDS_MAX];
  afs1_event_t events[AFS1_RECORDS_MAX];
  afs1_status_t status[AFS1_RECORDS_MAX];
  afs1_ack_t acks[AFS1_RECORDS_MAX];
  afs1_command_t commands[AFS1_RECORDS_MAX];
} records;

/* Moves a row into record i (SET) or record i into a row (GET), one field after the other. */
#define SET(record, field, type) (record)->field = (type)*number++
#define GET(record, field, type) *number++ = (int64_t)(record)->field

#define FIX_FIELDS(MOVE, f)                                                                       \
  MOVE(f, time_offset_ms, int32_t), MOVE(f, lat_e7, int32_t), MOVE(f, lon_e7, int32_t),           \
      MOVE(f, accuracy_dm, uint16_t), MOVE(f, speed_cm_s, uint16_t),                              \
      MOVE(f, heading_cdeg, uint16_t), MOVE(f, mechanism, uint8_t), MOVE(f, satellites, uint8_t), \
      MOVE(f, battery_pct, uint8_t), MOVE(f, fix_flags, uint8_t), MOVE(f, altitude_m, int16_t)
#define EVENT_FIELDS(MOVE, e)                                                                     \
  MOVE(e, time_offset_ms, int32_t), MOVE(e, code, uint16_t), MOVE(e, value, int32_t),             \
      MOVE(e, lat_e7, int32_t), MOVE(e, lon_e7, int32_t), MOVE(e, accuracy_dm, uint16_t),         \
      MOVE(e, mechanism, uint8_t), MOVE(e, reserved, uint8_t)
#define STATUS_FIELDS(MOVE, s)                                                                    \
  MOVE(s, time_offset_ms, int32_t), MOVE(s, uptime_s, uint32_t), MOVE(s, firmware, uint32_t),     \
      MOVE(s, stored_frames, uint32_t), MOVE(s, interval_moving_s, uint16_t),                     \
      MOVE(s, interval_rest_s, uint16_t), MOVE(s, battery_mv, uint16_t),                          \
      MOVE(s, signal_dbm, int16_t), MOVE(s, battery_pct, uint8_t), MOVE(s, network, uint8_t),     \
      MOVE(s, reason, uint8_t), MOVE(s, status_flags, uint8_t)
#define ACK_FIELDS(MOVE, a) MOVE(a, boot, uint32_t), MOVE(a, first, uint32_t), MOVE(a, last, uint32_t)
#define COMMAND_FIELDS(MOVE, c)                                                                   \
  MOVE(c, command_id, uint32_t), MOVE(c, expires_ms, uint64_t), MOVE(c, code, uint8_t),           \
      MOVE(c, arg1, uint32_t), MOVE(c, arg2, uint32_t)

static void set_record(const row_t *row, unsigned kind, unsigned i)
{
  const int64_t *number = row->numbers;
  switch (kind) {
    case AFS1_KIND_FIX:
      FIX_FIELDS(SET, &records.fixes[i]);
      break;
    case AFS1_KIND_EVENT:
      EVENT_FIELDS(SET, &records.events[i]);
      break;
    case AFS1_KIND_STATUS:
      STATUS_FIELDS(SET, &records.status[i]);
      break;
    case AFS1_KIND_ACK:
      ACK_FIELDS(SET, &records.acks[i]);
      break;
    default:
      COMMAND_FIELDS(SET, &records.commands[i]);
      memcpy(records.commands[i].text, row->text, sizeof row->text);
  }
}

static int get_record(const uint8_t *bytes, const afs1_header_t *header, unsigned i, row_t *row)
{
  int64_t *number = row->numbers;
  int fault;
  switch (header->kind) {
    case AFS1_KIND_FIX:
      fault = afs1_read_fix(bytes, header, i, &records.fixes[0]);
      FIX_FIELDS(GET, &records.fixes[0]);
      return fault;
    case AFS1_KIND_EVENT:
      fault = afs1_read_event(bytes, header, i, &records.events[0]);
      EVENT_FIELDS(GET, &records.events[0]);
      return fault;
    case AFS1_KIND_STATUS:
      fault = afs1_read_status(bytes, header, i, &records.status[0]);
      STATUS_FIELDS(GET, &records.status[0]);
      return fault;
    case AFS1_KIND_ACK:
      fault = afs1_read_ack(bytes, header, i, &records.acks[0]);
      ACK_FIELDS(GET, &records.acks[0]);
      return fault;
    default:
      fault = afs1_read_command(bytes, header, i, &records.commands[0]);
      COMMAND_FIELDS(GET, &records.commands[0]);
      memcpy(row->text, records.commands[0].text, sizeof row->text);
      return fault;
  }
}

static size_t encode(unsigned kind, uint32_t boot, uint32_t sequence, uint64_t time_ms,
                     unsigned count)
{
  switch (kind) {
    case AFS1_KIND_FIX:
      return afs1_encode_fix(frame, sizeof frame, boot, sequence, time_ms, records.fixes, count);
    case AFS1_KIND_EVENT:
      return afs1_encode_event(frame, sizeof frame, boot, sequence, time_ms, records.events,
                               count);
    case AFS1_KIND_STATUS:
      return afs1_encode_status(frame, sizeof frame, boot, sequence, time_ms, records.status,
                                count);
    case AFS1_KIND_ACK:
      return afs1_encode_ack(frame, sizeof frame, boot, sequence, time_ms, records.acks, count);
    default:
      return afs1_encode_command(frame, sizeof frame, boot, sequence, time_ms, records.commands,
                                 count);
  }
}

static int do_write(void)
{
  uint8_t kind, count;
  uint32_t boot, sequence, size;
  uint64_t time_ms;
  row_t row;
  unsigned i;
  if (!take(&kind, 1) || !take(&count, 1) || !take(&boot, 4) || !take(&sequence, 4) ||
      !take(&time_ms, 8))
    return 0;
  for (i = 0; i < count; i++) {
    if (!take_row(&row, kind))
      return 0;
    if (i < AFS1_RECORDS_MAX)
      set_record(&row, kind, i);
  }
  size = (uint32_t)encode(kind, boot, sequence, time_ms, count);
  size = (uint32_t)afs1_seal(frame, sizeof frame, size, device_id, afs_cmac, &cmac);
  give(&size, sizeof size);
  give(frame, size);
  return 1;
}

static int do_read(void)
{
  uint32_t size;
  uint8_t fault, valid = 0;
  afs1_header_t header;
  row_t row;
  unsigned i;
  if (!take(&size, sizeof size) || size > sizeof message || !take(message, size))
    return 0;
  fault = (uint8_t)afs1_check(message, size, &header);
  if (fault == AFS1_OK)
    valid = (uint8_t)afs1_verify(message, size, device_id, afs_cmac, &cmac);
  give(&fault, 1);
  give(&valid, 1);
  if (fault != AFS1_OK)
    return 1;
  give(&header.kind, 1), give(&header.minor, 1), give(&header.flags, 1);
  give(&header.record_bytes, 1), give(&header.count, 1);
  give(&header.boot, 4), give(&header.sequence, 4), give(&header.device_time_ms, 8);
  for (i = 0; i < header.count; i++) {
    fault = (uint8_t)get_record(message, &header, i, &row);
    give(&fault, 1);
    give_row(&row, header.kind);
  }
  return 1;
}

int main(int arguments, char **argument)
{
  uint8_t key[16];
  unsigned i, value;
  int question;
  if (arguments != 3 || strlen(argument[2]) != 32)
    return 2;
  for (i = 0; i < 16; i++) {
    if (sscanf(argument[2] + 2 * i, "%2x", &value) != 1)
      return 2;
    key[i] = (uint8_t)value;
  }
  device_id = argument[1];
  afs_aes128_init(&aes, key);
  while ((question = getchar()) != EOF)
    if (!(question == 'W' ? do_write() : question == 'R' ? do_read() : 0))
      return 2;
  return 0;
}
