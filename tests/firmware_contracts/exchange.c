/* What a firmware would do with afstand_v1.h, driven line by line from a test.
 *
 *   exchange DEVICE_ID KEY_HEX
 *   in:  "read FRAME_HEX"                                      out: "FAULT VALID VALUE..."
 *        "write KIND BOOT SEQUENCE TIME COUNT VALUE..."        out: "FRAME_HEX" ("-" when refused)
 *        "cmac MESSAGE_HEX"                                    out: "TAG_HEX"
 *        "covers BOOT FIRST LAST BOOT SEQUENCE"                out: "0" or "1"
 *        "aes BLOCK_HEX"                                       out: "BLOCK_HEX"
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "afstand_kit.h"

static afs_aes128_t aes;
static afs_cmac_t cipher = {afs_aes128_block, &aes};

/* --- the exchange ------------------------------------------------------------------------------ */

static char line[65536];
static uint8_t frame[8192];

static size_t from_hex(const char *text, uint8_t *out, size_t capacity)
{
  size_t size = 0;
  unsigned value;
  while (size < capacity && sscanf(text + 2 * size, "%2x", &value) == 1)
    out[size++] = (uint8_t)value;
  return size;
}

static void print_hex(const uint8_t *bytes, size_t size)
{
  size_t i;
  for (i = 0; i < size; i++)
    printf("%02x", bytes[i]);
}

#define SHOW(value) printf(" %" PRId64, (int64_t)(value))

static int show_record(const afs1_header_t *header, unsigned index)
{
  afs1_fix_t fix;
  afs1_event_t event;
  afs1_status_t status;
  afs1_ack_t ack;
  afs1_command_t command;
  int fault;
  switch (header->kind) {
    case AFS1_KIND_FIX:
      fault = afs1_read_fix(frame, header, index, &fix);
      SHOW(fix.time_offset_ms), SHOW(fix.lat_e7), SHOW(fix.lon_e7), SHOW(fix.accuracy_dm);
      SHOW(fix.speed_cm_s), SHOW(fix.heading_cdeg), SHOW(fix.mechanism), SHOW(fix.satellites);
      SHOW(fix.battery_pct), SHOW(fix.fix_flags), SHOW(fix.altitude_m);
      return fault;
    case AFS1_KIND_EVENT:
      fault = afs1_read_event(frame, header, index, &event);
      SHOW(event.time_offset_ms), SHOW(event.code), SHOW(event.value), SHOW(event.lat_e7);
      SHOW(event.lon_e7), SHOW(event.accuracy_dm), SHOW(event.mechanism), SHOW(event.reserved);
      return fault;
    case AFS1_KIND_STATUS:
      fault = afs1_read_status(frame, header, index, &status);
      SHOW(status.time_offset_ms), SHOW(status.uptime_s), SHOW(status.firmware);
      SHOW(status.stored_frames), SHOW(status.interval_moving_s), SHOW(status.interval_rest_s);
      SHOW(status.battery_mv), SHOW(status.signal_dbm), SHOW(status.battery_pct);
      SHOW(status.network), SHOW(status.reason), SHOW(status.status_flags);
      return fault;
    case AFS1_KIND_ACK:
      fault = afs1_read_ack(frame, header, index, &ack);
      SHOW(ack.boot), SHOW(ack.first), SHOW(ack.last);
      return fault;
    default:
      fault = afs1_read_command(frame, header, index, &command);
      SHOW(command.command_id), SHOW(command.expires_ms), SHOW(command.code);
      SHOW(command.arg1), SHOW(command.arg2), printf(" ");
      print_hex(command.text, sizeof command.text);
      return fault;
  }
}

static void do_read(const char *text, const char *device)
{
  afs1_header_t header;
  const size_t size = from_hex(text, frame, sizeof frame);
  int fault = afs1_check(frame, size, &header);
  unsigned i;
  if (fault != AFS1_OK) {
    printf("%d 0\n", fault);
    return;
  }
  printf("0 %d", afs1_verify(frame, size, device, afs_cmac, &cipher));
  SHOW(header.kind), SHOW(header.minor), SHOW(header.flags), SHOW(header.count);
  SHOW(header.boot), SHOW(header.sequence), SHOW(header.device_time_ms);
  for (i = 0; i < header.count; i++) {
    printf(" |");
    fault = show_record(&header, i);
    if (fault != AFS1_OK)
      printf(" fault %d", fault);
  }
  printf("\n");
}

static int64_t next(char **text)
{
  return strtoll(*text, text, 10);
}

static uint64_t next_unsigned(char **text)
{
  return strtoull(*text, text, 10);
}

#define TAKE(record, field, type) record.field = (type)next(&text)

static size_t write_records(unsigned kind, uint32_t boot, uint32_t sequence, uint64_t time_ms,
                            unsigned count, char *text)
{
  static afs1_fix_t fixes[AFS1_RECORDS_MAX];
  static afs1_event_t events[AFS1_RECORDS_MAX];
  static afs1_status_t status[AFS1_RECORDS_MAX];
  static afs1_ack_t acks[AFS1_RECORDS_MAX];
  static afs1_command_t commands[AFS1_RECORDS_MAX];
  unsigned i;
  for (i = 0; i < count && i < AFS1_RECORDS_MAX; i++) {
    switch (kind) {
      case AFS1_KIND_FIX:
        TAKE(fixes[i], time_offset_ms, int32_t), TAKE(fixes[i], lat_e7, int32_t);
        TAKE(fixes[i], lon_e7, int32_t), TAKE(fixes[i], accuracy_dm, uint16_t);
        TAKE(fixes[i], speed_cm_s, uint16_t), TAKE(fixes[i], heading_cdeg, uint16_t);
        TAKE(fixes[i], mechanism, uint8_t), TAKE(fixes[i], satellites, uint8_t);
        TAKE(fixes[i], battery_pct, uint8_t), TAKE(fixes[i], fix_flags, uint8_t);
        TAKE(fixes[i], altitude_m, int16_t);
        break;
      case AFS1_KIND_EVENT:
        TAKE(events[i], time_offset_ms, int32_t), TAKE(events[i], code, uint16_t);
        TAKE(events[i], value, int32_t), TAKE(events[i], lat_e7, int32_t);
        TAKE(events[i], lon_e7, int32_t), TAKE(events[i], accuracy_dm, uint16_t);
        TAKE(events[i], mechanism, uint8_t), TAKE(events[i], reserved, uint8_t);
        break;
      case AFS1_KIND_STATUS:
        TAKE(status[i], time_offset_ms, int32_t), TAKE(status[i], uptime_s, uint32_t);
        TAKE(status[i], firmware, uint32_t), TAKE(status[i], stored_frames, uint32_t);
        TAKE(status[i], interval_moving_s, uint16_t), TAKE(status[i], interval_rest_s, uint16_t);
        TAKE(status[i], battery_mv, uint16_t), TAKE(status[i], signal_dbm, int16_t);
        TAKE(status[i], battery_pct, uint8_t), TAKE(status[i], network, uint8_t);
        TAKE(status[i], reason, uint8_t), TAKE(status[i], status_flags, uint8_t);
        break;
      case AFS1_KIND_ACK:
        TAKE(acks[i], boot, uint32_t), TAKE(acks[i], first, uint32_t);
        TAKE(acks[i], last, uint32_t);
        break;
      default:
        TAKE(commands[i], command_id, uint32_t);
        commands[i].expires_ms = next_unsigned(&text);
        TAKE(commands[i], code, uint8_t), TAKE(commands[i], arg1, uint32_t);
        TAKE(commands[i], arg2, uint32_t);
        while (*text == ' ')
          text++;
        from_hex(text, commands[i].text, sizeof commands[i].text);
        text += 2 * sizeof commands[i].text;
    }
  }
  switch (kind) {
    case AFS1_KIND_FIX:
      return afs1_encode_fix(frame, sizeof frame, boot, sequence, time_ms, fixes, count);
    case AFS1_KIND_EVENT:
      return afs1_encode_event(frame, sizeof frame, boot, sequence, time_ms, events, count);
    case AFS1_KIND_STATUS:
      return afs1_encode_status(frame, sizeof frame, boot, sequence, time_ms, status, count);
    case AFS1_KIND_ACK:
      return afs1_encode_ack(frame, sizeof frame, boot, sequence, time_ms, acks, count);
    default:
      return afs1_encode_command(frame, sizeof frame, boot, sequence, time_ms, commands, count);
  }
}

static void do_write(char *text, const char *device)
{
  const unsigned kind = (unsigned)next(&text);
  const uint32_t boot = (uint32_t)next(&text);
  const uint32_t sequence = (uint32_t)next(&text);
  const uint64_t time_ms = next_unsigned(&text);
  const unsigned count = (unsigned)next(&text);
  const size_t body = write_records(kind, boot, sequence, time_ms, count, text);
  const size_t size = afs1_seal(frame, sizeof frame, body, device, afs_cmac, &cipher);
  if (size == 0)
    printf("-");
  print_hex(frame, size);
  printf("\n");
}

static void do_covers(char *text)
{
  afs1_ack_t ack;
  uint32_t boot, sequence;
  TAKE(ack, boot, uint32_t), TAKE(ack, first, uint32_t), TAKE(ack, last, uint32_t);
  boot = (uint32_t)next(&text);
  sequence = (uint32_t)next(&text);
  printf("%d\n", afs1_ack_covers(&ack, boot, sequence));
}

int main(int count, char **arguments)
{
  uint8_t key[16], tag[16];
  if (count != 3 || from_hex(arguments[2], key, sizeof key) != sizeof key)
    return 2;
  afs_aes128_init(&aes, key);
  while (fgets(line, sizeof line, stdin)) {
    if (strncmp(line, "read ", 5) == 0) {
      do_read(line + 5, arguments[1]);
    } else if (strncmp(line, "write ", 6) == 0) {
      do_write(line + 6, arguments[1]);
    } else if (strncmp(line, "covers ", 7) == 0) {
      do_covers(line + 7);
    } else if (strncmp(line, "cmac ", 5) == 0) {
      afs_cmac(&cipher, NULL, 0, frame, from_hex(line + 5, frame, sizeof frame), tag);
      print_hex(tag, sizeof tag);
      printf("\n");
    } else if (strncmp(line, "aes ", 4) == 0) {
      (void)from_hex(line + 4, frame, 16);
      afs_aes128_block(&aes, frame, tag);
      print_hex(tag, sizeof tag);
      printf("\n");
    } else {
      return 2;
    }
  }
  return 0;
}
