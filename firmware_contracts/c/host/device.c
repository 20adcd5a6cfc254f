/* A device on this machine, built from the kit as a firmware is: for tests and the conformance
 * command. What a modem and a bench rig do for a real one, `python -m simulators bridge` does here.
 *
 *   device DEVICE_ID KEY_HEX [SLOTS [FAULT [ROOT_HEX]]]
 *
 * One line in, any number of lines out, then "." alone. It has no clock of its own.
 *
 *   at TICK_MS UNIX_MS    what time it is; UNIX_MS 0: the clock is not set
 *   link up | link down   the connection to the broker
 *   in HEX                a message on em/{device}/ack or em/{device}/cmd
 *   fix LAT_E7 LON_E7 ACCURACY_DM   the receiver has a position ("fix none": it has not)
 *   press CODE            a button or a sensor
 *   boot                  a restart: memory is lost, flash is not
 *
 *   out TOPIC HEX         publish, QoS 1
 *   will TOPIC HEX        the last will of the next connection
 *   want fix              take a position now
 *   show TEXT_HEX         what a message shows
 *
 * FAULT breaks it in one way on purpose, so that a conformance test can be seen to fail ("none"
 * does not). ROOT_HEX is the root key of which keys of later generations are made.
 *
 * SPDX-License-Identifier: EUPL-1.2
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "afstand_kit.h"

#define SLOTS_MAX 1024u
#define SLOT_BYTES 256u
#define WINDOW 8u
#define FIX_NOW_TRIES 3u

/* What survives a restart: the ring's frames and the boot counter. */
static uint8_t flash[SLOTS_MAX][SLOT_BYTES];
static size_t flash_bytes[SLOTS_MAX];
static uint32_t flash_boot;

static uint8_t flash_key[16];
static uint32_t flash_generation;

/* What does not. */
static afs_slot_t slots[SLOTS_MAX];
static uint8_t bytes[SLOTS_MAX * SLOT_BYTES];
static afs_ring_t ring;
static afs_device_t device;
static uint32_t tick_ms, boot_tick_ms, next_fix_ms, burst_until_ms, next_status_ms;
static uint32_t interval_s, burst_s;
static uint64_t time_ms;
static int linked, boot_told;
static uint32_t fix_now_id;
static unsigned fix_now_tries;

static const char *device_id, *fault = "";
static unsigned slot_count = 256;
static afs_aes128_t aes, other_aes, root_aes;
static afs_cmac_t cmac = {afs_aes128_block, &aes}, other_cmac = {afs_aes128_block, &other_aes};
static afs_cmac_t root_cmac = {afs_aes128_block, &root_aes};
static int has_root;

static int broken(const char *how)
{
  return strcmp(fault, how) == 0;
}

static int save(void *context, unsigned slot, const uint8_t *frame, size_t size)
{
  (void)context;
  if (broken("no-flash"))
    return 0;
  memcpy(flash[slot], frame, size);
  flash_bytes[slot] = size;
  return 0;
}

static void erase(void *context, unsigned slot)
{
  (void)context;
  flash_bytes[slot] = 0;
}

static void print_hex(const uint8_t *data, size_t size)
{
  size_t i;
  for (i = 0; i < size; i++)
    printf("%02x", data[i]);
  printf("\n");
}

static uint64_t clock_ms(void)
{
  return broken("clock") && time_ms ? time_ms + 7200000u : time_ms; /* local time for UTC */
}

static afs1_status_t status_of(unsigned reason)
{
  afs1_status_t status;
  memset(&status, 0, sizeof status);
  status.uptime_s = (tick_ms - boot_tick_ms) / 1000u;
  status.firmware = 1u << 24;
  status.stored_frames = afs_ring_used(&ring);
  status.interval_moving_s = (uint16_t)interval_s;
  status.interval_rest_s = (uint16_t)interval_s;
  status.battery_mv = 3900;
  status.signal_dbm = -85;
  status.battery_pct = 80;
  status.network = AFS1_NETWORK_LTE_M;
  status.reason = (uint8_t)reason;
  status.status_flags = (uint8_t)(AFS1_STATUS_STRAP_CLOSED | AFS1_STATUS_CASE_CLOSED |
                                  AFS1_STATUS_GNSS_WORKS | (time_ms ? AFS1_STATUS_CLOCK_SET : 0));
  return status;
}

static void print_will(void)
{
  uint8_t frame[SLOT_BYTES];
  const afs1_status_t status = status_of(AFS1_STATUS_REASON_PERIODIC);
  size_t size = afs_device_will(&device, frame, sizeof frame, &status);
  if (broken("bad-will")) { /* any status will do, it thinks */
    size = afs1_encode_status(frame, sizeof frame, device.boot, 0, 0, &status, 1);
    size = afs1_seal(frame, sizeof frame, size, device_id, afs_cmac, device.cmac_context);
  }
  printf("will em/%s/status ", device_id);
  print_hex(frame, size);
}

/* --- commands --- */

/* Obeys KEY: the key is in the flash before anything is sealed with it (FC-111). */
static int new_key(const afs1_command_t *command)
{
  uint8_t nonce[AFS_NONCE_BYTES], key[16];
  uint32_t generation;
  const int first = device.cmac_context == &cmac;
  if (!has_root || afs_read_key_command(command, &generation, nonce) != 0 ||
      generation <= flash_generation ||
      afs_derive_key(&root_cmac, device_id, generation, nonce, key) != 0)
    return 0;
  memcpy(flash_key, key, sizeof key);
  flash_generation = generation;
  afs_aes128_init(first ? &other_aes : &aes, key);
  afs_device_rekey(&device, first ? &other_cmac : &cmac);
  return 1;
}

static int obey(void *context, const afs1_command_t *command)
{
  (void)context;
  switch (command->code) {
    case AFS1_COMMAND_FIX_NOW:
      if (fix_now_id)
        (void)afs_device_answer(&device, clock_ms(), fix_now_id, AFS1_EVENT_COMMAND_DONE);
      fix_now_id = command->command_id;
      fix_now_tries = FIX_NOW_TRIES;
      printf("want fix\n");
      return -1;
    case AFS1_COMMAND_BURST:
      if (command->arg1 < 1 || command->arg1 > 3600 || command->arg2 < 1 || command->arg2 > 3600)
        return 0;
      burst_s = command->arg1;
      burst_until_ms = tick_ms + command->arg2 * 1000u;
      next_fix_ms = tick_ms;
      return 1;
    case AFS1_COMMAND_PROFILE:
      if (command->arg1 < 1 || command->arg1 > 65534 || command->arg2 < 1 ||
          command->arg2 > 65534)
        return 0;
      interval_s = command->arg1;
      next_fix_ms = tick_ms + interval_s * 1000u;
      return 1;
    case AFS1_COMMAND_MESSAGE:
      printf("show ");
      print_hex(command->text, afs1_text_bytes(command->text));
      return 1;
    case AFS1_COMMAND_VIBRATE:
      printf("show \n");
      return 1;
    case AFS1_COMMAND_KEY:
      return new_key(command);
    default:
      return broken("unknown-done");
  }
}

static void start(void)
{
  const afs_flash_t store = {save, erase, NULL};
  unsigned slot;
  flash_boot += broken("same-boot") && flash_boot ? 0 : 1;
  (void)afs_ring_init(&ring, slots, slot_count, bytes, SLOT_BYTES, WINDOW, &store);
  for (slot = 0; slot < slot_count; slot++)
    if (flash_bytes[slot])
      (void)afs_ring_restore(&ring, slot, flash[slot], flash_bytes[slot]);
  afs_aes128_init(&aes, flash_key);
  afs_device_init(&device, device_id, afs_cmac, &cmac, flash_boot, &ring, obey, NULL);
  if (broken("sequence"))
    device.sequence = 1;
  linked = boot_told = 0;
  interval_s = 5;
  burst_s = 1;
  fix_now_id = 0;
  boot_tick_ms = next_status_ms = tick_ms;
  next_fix_ms = tick_ms + interval_s * 1000u;
  burst_until_ms = tick_ms;
}

/* --- what happens --- */

static int before(uint32_t one, uint32_t other)
{
  return (int32_t)(one - other) < 0;
}

static void timers(void)
{
  if (!before(tick_ms, next_fix_ms)) {
    next_fix_ms = tick_ms + (before(tick_ms, burst_until_ms) ? burst_s : interval_s) * 1000u;
    printf("want fix\n");
  }
  if (linked && !before(tick_ms, next_status_ms)) {
    const afs1_status_t status =
        status_of(boot_told ? AFS1_STATUS_REASON_PERIODIC : AFS1_STATUS_REASON_BOOT);
    next_status_ms = tick_ms + 3600000u;
    boot_told = 1;
    (void)afs_device_status(&device, clock_ms(), &status);
  }
}

static void take_fix(char *text)
{
  afs1_fix_t fix;
  const int none = strncmp(text, "none", 4) == 0;
  memset(&fix, 0, sizeof fix);
  fix.lat_e7 = none ? 0 : (int32_t)strtol(text, &text, 10);
  fix.lon_e7 = none ? 0 : (int32_t)strtol(text, &text, 10);
  fix.accuracy_dm = none ? 1000 : (uint16_t)strtol(text, &text, 10);
  fix.speed_cm_s = AFS1_FIX_SPEED_CM_S_UNKNOWN;
  fix.heading_cdeg = AFS1_FIX_HEADING_CDEG_UNKNOWN;
  fix.mechanism = AFS1_MECHANISM_GNSS;
  fix.satellites = 9;
  fix.battery_pct = 80;
  fix.fix_flags = (uint8_t)((linked ? 0 : AFS1_FIX_STORED) |
                            (fix_now_id ? AFS1_FIX_ON_COMMAND : 0));
  fix.altitude_m = AFS1_FIX_ALTITUDE_M_UNKNOWN;
  /* A device without a clock sends no fixes: they would be refused (FC-035). */
  if (broken("silent-loss") && afs_ring_used(&ring) + 8 >= slot_count)
    return; /* nobody is told */
  if ((!none || broken("null-island")) && (time_ms || broken("unset-fix")))
    (void)afs_device_fixes(&device, clock_ms(), &fix, 1);
  if (!fix_now_id)
    return;
  if (none && --fix_now_tries) {
    printf("want fix\n");
    return;
  }
  (void)afs_device_answer(&device, clock_ms(), fix_now_id,
                          none ? AFS1_EVENT_COMMAND_REFUSED : AFS1_EVENT_COMMAND_DONE);
  fix_now_id = 0;
}

static void link_changes(int up)
{
  afs_ring_link_lost(&ring);
  if (up && !linked) {
    const afs1_status_t status = status_of(AFS1_STATUS_REASON_CONNECTED);
    (void)afs_device_status(&device, clock_ms(), &status);
  }
  linked = up;
  if (!up)
    print_will();
}

static void receive(const char *text)
{
  static uint8_t frame[AFS1_FRAME_BYTES_MAX + 1];
  afs1_header_t header;
  size_t size = 0;
  unsigned value;
  while (size < sizeof frame && sscanf(text + 2 * size, "%2x", &value) == 1)
    frame[size++] = (uint8_t)value;
  if (broken("any-tag") && afs1_check(frame, size, &header) == AFS1_OK) {
    /* Seals what came anew, so that every tag looks right. */
    (void)afs1_seal(frame, sizeof frame, size - AFS1_TAG_BYTES, device_id, afs_cmac, device.cmac_context);
  }
  if (broken("expired-done") && afs1_check(frame, size, &header) == AFS1_OK &&
      header.kind == AFS1_KIND_COMMAND &&
      afs1_verify(frame, size, device_id, afs_cmac, device.cmac_context)) {
    memset(frame + AFS1_HEADER_BYTES + 4, 0x7f, 8); /* an expiry that never comes */
    (void)afs1_seal(frame, sizeof frame, size - AFS1_TAG_BYTES, device_id, afs_cmac, device.cmac_context);
  }
  if (broken("twice-done"))
    memset(device.answered, 0, sizeof device.answered);
  if (broken("old-minor") && afs1_check(frame, size, &header) == AFS1_OK && header.minor > 0)
    return;
  if (broken("lax-ack") && afs1_check(frame, size, &header) == AFS1_OK &&
      header.kind == AFS1_KIND_ACK && afs1_verify(frame, size, device_id, afs_cmac, device.cmac_context)) {
    afs1_ack_t ack;
    unsigned i;
    for (i = 0; i < header.count; i++) {
      (void)afs1_read_ack(frame, &header, i, &ack);
      (void)afs_ring_covered(&ring, &ack);
    }
  }
  if (broken("no-answer") && afs1_check(frame, size, &header) == AFS1_OK &&
      header.kind == AFS1_KIND_COMMAND)
    return;
  (void)afs_device_receive(&device, clock_ms(), frame, size);
}

/* Changes a frame that was sealed rightly, in the ways of a fault, when it is sent. */
static void spoil(int slot, int first)
{
  uint8_t *frame = afs_ring_frame(&ring, (unsigned)slot);
  const size_t size = slots[slot].size;
  afs1_header_t header;
  afs1_get_header(&header, frame);
  if (broken("renumber") && !first)
    header.sequence = ++device.sequence;
  if (broken("reserved"))
    header.reserved = 1;
  afs1_put_header(frame, &header);
  (void)afs1_seal(frame, SLOT_BYTES, size - AFS1_TAG_BYTES, device_id, afs_cmac, device.cmac_context);
  if (broken("no-tag"))
    memset(frame + size - AFS1_TAG_BYTES, 0, AFS1_TAG_BYTES);
  slots[slot].sequence = header.sequence;
}

/* What goes next: as the ring says, or fixes first. */
static int next_slot(void)
{
  unsigned slot;
  if (broken("late-events"))
    for (slot = 0; slot < slot_count; slot++)
      if (slots[slot].size && slots[slot].kind == AFS1_KIND_FIX && !slots[slot].sent) {
        slots[slot].sent = 1;
        slots[slot].sent_tick_ms = tick_ms;
        return (int)slot;
      }
  return afs_ring_next(&ring, tick_ms);
}

static void publish(void)
{
  char topic[AFS1_DEVICE_ID_MAX + 16];
  int slot;
  while (linked && (slot = next_slot()) >= 0) {
    static uint32_t sent_as[SLOTS_MAX]; /* the number that a slot's frame was sent under */
    afs_slot_t *sent = &slots[slot];
    if (*fault)
      spoil(slot, sent_as[slot] != sent->sequence);
    sent_as[slot] = sent->sequence;
    (void)afs_topic(topic, sizeof topic, device_id,
                    broken("wrong-topic") ? AFS1_KIND_FIX : sent->kind);
    printf("out %s ", topic);
    print_hex(afs_ring_frame(&ring, (unsigned)slot), sent->size);
    if (broken("forget")) {
      sent->size = 0; /* a PUBACK taken for an ack */
      erase(NULL, (unsigned)slot);
    }
  }
}

static void handle(char *line)
{
  if (strncmp(line, "at ", 3) == 0) {
    char *text = line + 3;
    tick_ms = (uint32_t)strtoul(text, &text, 10);
    time_ms = strtoull(text, &text, 10);
    timers();
  } else if (strncmp(line, "link ", 5) == 0) {
    link_changes(strncmp(line + 5, "up", 2) == 0);
  } else if (strncmp(line, "in ", 3) == 0) {
    receive(line + 3);
  } else if (strncmp(line, "fix ", 4) == 0) {
    take_fix(line + 4);
  } else if (strncmp(line, "press ", 6) == 0) {
    const uint16_t code = (uint16_t)strtoul(line + 6, NULL, 10);
    const int drill = broken("drill") && code == AFS1_EVENT_PANIC;
    if (!(broken("clock-press") && !time_ms))
      (void)afs_device_press(&device, clock_ms(), drill ? AFS1_EVENT_SELF_TEST : code, 0);
  } else if (strncmp(line, "boot", 4) == 0) {
    start();
    print_will();
  }
  publish();
}

static int read_key(const char *text, uint8_t key[16])
{
  unsigned i, value;
  if (strlen(text) != 32)
    return 0;
  for (i = 0; i < 16; i++) {
    if (sscanf(text + 2 * i, "%2x", &value) != 1)
      return 0;
    key[i] = (uint8_t)value;
  }
  return 1;
}

int main(int count, char **argument)
{
  static char line[4 * AFS1_FRAME_BYTES_MAX];
  uint8_t root[16];
  if (count < 3 || count > 6 || !read_key(argument[2], flash_key))
    return 2;
  device_id = argument[1];
  if (count > 3)
    slot_count = (unsigned)strtoul(argument[3], NULL, 10);
  if (count > 4 && strcmp(argument[4], "none") != 0)
    fault = argument[4];
  if (count > 5) {
    has_root = read_key(argument[5], root);
    if (!has_root)
      return 2;
    afs_aes128_init(&root_aes, root);
  }
  if (slot_count < AFS_RING_SLOTS_MIN || slot_count > SLOTS_MAX)
    return 2;
  start();
  print_will();
  printf(".\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    handle(line);
    printf(".\n");
    fflush(stdout);
  }
  return 0;
}
