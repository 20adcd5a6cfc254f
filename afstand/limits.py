"""Every bound of the service, by name, in one place.

Reaching a bound is a counter and a reason, never silence. This module imports nothing; it is the
one module of `afstand` that every other package may import (docs/adr/0002-limits-are-shared.md).
"""

from typing import Final

# --- firmware_contracts -----------------------------------------------------------------------
FRAME_RECORDS_MAX: Final = 64
FRAME_BYTES_MAX: Final = 4096
OWNTRACKS_BYTES_MAX: Final = 16_384
OWNTRACKS_DEPTH_MAX: Final = 16
TELTONIKA_BYTES_MAX: Final = 4_096  # a tracker sends at most 1,280
TOPIC_CHARACTERS_MAX: Final = 256

# --- ingest -----------------------------------------------------------------------------------
STORE_CONNECT_TIMEOUT_S: Final = 5.0
STORE_TIMEOUT_S: Final = (
    15.0  # longer than the longest blocking read; a stopped Redis is known after this
)
STORE_COPIES_MAX: Final = 5  # replicas of the store that must have what is acknowledged
STORE_NODE_PATIENCE_S: Final = 1.0  # for one node of a cluster; the others' journals wait no longer
STORE_COPIES_MS: Final = 500  # how long they have for it; then nothing is acknowledged
JOURNAL_FRAMES_MAX: Final = 4096  # frames in one entry
JOURNAL_BLOB_BYTES_MAX: Final = 4 * 1024 * 1024
PASSING_MAX: Final = 100_000  # entries for other partitions that a replica holds; then it waits
PASS_ON_PAUSE_S: Final = 0.25  # before a partition that is away is tried again
MOVES_KEPT: Final = 10_000  # groups that came to a partition and are known by their move
BULK_READ_BYTES: Final = 8 * 1024 * 1024  # of a journal in one page, about
BULK_READ_ENTRIES_MAX: Final = 16_384
REGISTRY_DEVICES_MAX: Final = 1_000_000
REGISTRY_WRITE_MAX: Final = 500  # devices in one write
MQTT_PACKET_BYTES_MAX: Final = (
    65_536  # a longer one is quarantined by its first bytes and the rest skipped
)
MQTT_PACKET_KEPT_BYTES: Final = 8_192
MQTT_BUFFER_BYTES: Final = 262_144  # one read takes at most this
MQTT_INBOX_MESSAGES_MAX: Final = 8_192  # read and not yet taken: above it reading stops
MQTT_INBOX_BYTES_MAX: Final = 8 * 1024 * 1024
MQTT_RECEIVE_MAX: Final = 8_000  # unacknowledged messages the broker may send (MQTT 5)
# Reading by ticks (docs/adr/0040). Up to the first rate a fix is as fast as the budget of proximity
# wants it; from there to the second, ticks grow.
MQTT_TICK_S_MIN: Final = 0.008
MQTT_TICK_S_MAX: Final = 0.024
MQTT_TICK_SHORTEST_PER_S: Final = 10_000
MQTT_TICK_LONGEST_PER_S: Final = 20_000
MQTT_TICK_ABOVE_PER_S: Final = 100  # messages; below the next one every message is read at once
MQTT_TICK_BELOW_PER_S: Final = 50
# Half of what the shipped broker sends without an acknowledgement: the other half is being written.
MQTT_TICK_MESSAGES_MAX: Final = 2_000
MQTT_RATE_WINDOW_S: Final = 0.1
MQTT_CONNECT_TIMEOUT_S: Final = 10.0
MQTT_RECONNECT_DELAY_S_MAX: Final = 5.0
CLOCK_AHEAD_MS_MAX: Final = 60_000  # a device's clock may be so far ahead of ours
SEEN_FRAMES_MAX: Final = (
    200_000  # frames remembered, so that a copy is not journalled again (twice as many at most)
)
REPLAY_AFTER_MS: Final = (
    600_000  # a copy that comes later than this was not sent for want of an acknowledgement
)
UNPROVEN_WINDOW_MS: Final = 60_000  # alarms without proof, in one window:
UNPROVEN_PER_DEVICE_MAX: Final = 3
UNPROVEN_PER_KIND_MAX: Final = 100  # of registered devices together, and of unknown ones together
UNPROVEN_DEVICES_MAX: Final = 1_000
QUARANTINE_ENTRIES_MAX: Final = 100_000  # the oldest go; nobody's decision reads them
QUARANTINE_PAYLOAD_BYTES_MAX: Final = 4_096
QUARANTINE_TEXT_CHARACTERS_MAX: Final = 200
QUARANTINE_BURST_MESSAGES: Final = 20  # so many in one window are a burst
QUARANTINE_BURST_WINDOW_MS: Final = 10_000
QUARANTINE_SIGNAL_EVERY_MS: Final = 10_000
CLOCK_SIGNAL_EVERY_MS: Final = 3_600_000  # of one device
CLOCK_SIGNAL_DEVICES_MAX: Final = 10_000
SIGNAL_DEVICES_MAX: Final = 20  # named in one signal
ACK_INTERVAL_MS: Final = 10_000  # acknowledgements of fixes, of one device
ACK_RANGES_KEPT: Final = 4  # of one device, to go on from
ACK_SEND_MAX: Final = 100  # acknowledgements sealed in one go
INTAKE_TAKE_MAX: Final = 2_048  # messages checked in one go: nothing else runs meanwhile
INTAKE_TAKE_SINGLES_MAX: Final = 512  # of them, those that are checked one by one
INTAKE_HELD_MAX: Final = (
    10_000  # messages taken and not yet durable, per connection: above it nothing is taken
)
TRACKERS_MAX: Final = 10_000  # connections of one tracker bridge
TRACKER_SILENT_S_MAX: Final = 1_800.0  # a connection without a packet for so long is closed
TRACKER_GREETING_S_MAX: Final = 30.0
TRACKER_ACK_S_MAX: Final = (
    20.0  # for the intake to have a packet safe: then the tracker tries again
)
INTAKE_RETRY_MS_MIN: Final = 50
INTAKE_RETRY_MS_MAX: Final = 500
FORMER_KEY_MS_MAX: Final = 14 * 86_400_000  # what a device stored under its key before still counts
KEY_ORDER_S_MAX: Final = 86_400  # a device may come back so late and still obey
REGISTRY_POLL_MS: Final = 1_000

# --- ingest/archive ---------------------------------------------------------------------------
REWRITE_WAIT_S: Final = 60.0  # for the store to write its file anew after an erasure
ARCHIVE_ROW_GROUP_ENTRIES: Final = 16_384  # entries that are unpacked at once
ARCHIVE_FILE_ENTRIES_MAX: Final = 200_000  # in one file; a full one is written before its time
ARCHIVE_FILE_BYTES_MAX: Final = 128 * 1024 * 1024  # of blobs in one file, before compression
ARCHIVE_READ_ENTRIES_MAX: Final = 512  # entries in one read of a stream
ARCHIVE_PAUSE_S: Final = 1.0  # between two looks at whether something is old enough to move
CHAIN_SEGMENT_LINKS: Final = 65_536  # in one file of the chain log
READER_REGISTER_S: Final = 5.0  # how often a reader says how far it is

# --- geofence ---------------------------------------------------------------------------------
ZONE_VERTICES_MAX: Final = 40_000
ZONE_CHAIN_VERTICES_MAX: Final = 160_000  # after long edges were divided
ZONE_GEOJSON_BYTES_MAX: Final = 8 * 1024 * 1024
ZONE_CIRCLE_RADIUS_M_MAX: Final = 100_000.0
ZONE_EXTENT_KM_MAX: Final = 1_000
PERSONS_MAX: Final = 4_000_000
ZONES_PER_ORDER_MAX: Final = 64
PROTECTED_PER_ORDER_MAX: Final = 64
ORDERS_PER_PERSON_MAX: Final = 256  # about zones, on one wearer
ZONES_PER_PERSON_MAX: Final = 4_096  # over all orders of one wearer
PAIRS_PER_PERSON_MAX: Final = 1_024
SCHEDULE_WINDOWS_MAX: Final = 128
SCHEDULE_EXCEPTIONS_MAX: Final = 400
DISTANCE_M_MAX: Final = 100_000  # of a radius or a ring around it
ORDER_TEXT_CHARACTERS_MAX: Final = 300
ORDER_BYTES_MAX: Final = 262_144
DEFINITIONS_MAX: Final = 20_000  # persons, zones and orders in one call of the engine
FIX_BATCH_MAX: Final = 1_000_000  # fixes in one call of the engine

# --- alerting/book ----------------------------------------------------------------------------
BOOK_INCIDENTS_MAX: Final = (
    50_000  # open at once; panic, proximity, tamper and area breach are exempt
)
BOOK_UNKNOWN_DEVICE_INCIDENTS_MAX: Final = (
    500  # presses of unknown devices beyond this share one incident
)
BOOK_NOTICES_PER_HOUR_MAX: Final = 500  # of one incident; critical classes are exempt
BOOK_CONDITIONS_MAX: Final = 500_000  # lasting conditions; critical classes are exempt
BOOK_SOURCES_PER_ALARM_MAX: Final = 64  # further sources are counted, not kept
BOOK_REFERENCES_MAX: Final = 16  # earlier notices that a notice refers to
BOOK_DELIVERIES_PER_ALARM_MAX: Final = 1_000  # whose receipts still find their notice
BOOK_CASES_MAX: Final = 500_000
BOOK_CASE_PERSONS_MAX: Final = 32
BOOK_CASE_DEVICES_MAX: Final = 128
BOOK_CASES_PER_PERSON_MAX: Final = 32
BOOK_ORDERS_MAX: Final = 1_000_000  # whose legal life is watched
BOOK_PATTERN_ROWS_MAX: Final = 500_000  # counted per order or person; the rest is not counted
BOOK_BREACH_ROWS_MAX: Final = 500_000  # orders with a counter of breaches
BOOK_BREACHES_OWED_MAX: Final = 64  # of one order, kept one by one; the rest is counted
BOOK_NAME_CHARS_MAX: Final = 200  # of an owner, a contact
BOOK_PLANS_MAX: Final = 2_000
BOOK_PLAN_BYTES_MAX: Final = 65_536
BOOK_PLAN_STEPS_MAX: Final = 32
BOOK_STEP_TARGETS_MAX: Final = 16
BOOK_OPERATORS_MAX: Final = 10_000
BOOK_ANNUNCIATIONS_KEPT: Final = 100_000  # of the last 10 minutes
BOOK_ROSTERS_MAX: Final = 2_000
BOOK_ROSTER_BYTES_MAX: Final = 262_144
BOOK_ROSTER_SHIFTS_MAX: Final = 64
BOOK_COMMANDS_PENDING_MAX: Final = 100_000  # device commands without an answer yet
BOOK_OUT_OF_SERVICE_MAX: Final = 20_000
BOOK_HISTORY_ROWS_MAX: Final = 100_000  # orders whose late breaches are being gathered
BOOK_LOGBOOK_CHARS_MAX: Final = 8_000  # of one entry in the words of the protected person
BOOK_ACTIVATIONS_MAX: Final = 10_000  # buttons that are being made live at once
BOOK_TEXT_CHARS_MAX: Final = 2_000  # notes, reasons, details
BOOK_TIMERS_PER_STEP_MAX: Final = 10_000  # the rest fire with the next entry
BOOK_MASS_LOSS_PERSONS: Final = 25  # silent within the window: one SYSTEM alarm instead of one each
BOOK_MASS_LOSS_WINDOW_MS: Final = 120_000
BOOK_MASS_LOSS_TERM_MS: Final = 1_800_000  # suppression is limited in time, and renewed while most
BOOK_MASS_LOSS_MAX_MS: Final = 86_400_000  # are still silent, but never beyond this
BOOK_MASS_LOSS_SUPPRESSED_MAX: Final = 20_000

# --- alerting/notify --------------------------------------------------------------------------
NOTIFY_SETTLING_MAX: Final = 1_000  # outbox entries that wait for the journal alone
NOTIFY_TAKE_MAX: Final = 256  # outbox entries in one read
NOTIFY_QUEUE_MAX: Final = 1_000  # deliveries waiting per target; its settings may differ
NOTIFY_TARGETS_MAX: Final = 1_000
NOTIFY_MAILBOXES_MAX: Final = 16  # recipients of one mail target
NOTIFY_SECRETS_MAX: Final = 4  # per target: the present one and those being rotated out
NOTIFY_ATTEMPTS_MAX: Final = 1_000
NOTIFY_AGE_MS_MAX: Final = 24 * 3_600_000  # how long any target may keep a delivery alive
NOTIFY_ORDER_WAIT_MS_MAX: Final = 30_000  # an update waits so long for the earlier notice
NOTIFY_LOG_CHECK_MS_MAX: Final = 250  # the delivery log holds an attempt up no longer
NOTIFY_RECONNECT_MS_MAX: Final = 5_000
NOTIFY_CONNECT_WAIT_MS_MAX: Final = 1_000  # an attempt waits so long for the broker to be there
NOTIFY_KEYLESS_MS_MAX: Final = 10_000  # for the registry to name the key of a device
NOTIFY_KEYLESS_MAX: Final = 10_000  # deliveries to devices without a key that are remembered
AUDIT_ALARMS_MAX: Final = 100_000  # open alarms that the auditor watches
AUDIT_PAUSE_S: Final = 2.0  # between two looks
AUDIT_READ_ENTRIES_MAX: Final = 1_000  # of an outbox at once
AUDIT_STILL_MS: Final = 5_000  # a journal without a tick for so long has no watch
AUDIT_ANSWER_MS: Final = 10_000  # a probe is folded, and taken by the notifier, within this time
AUDIT_PROBE_S: Final = 30.0  # between two probes
AUDIT_SIGNAL_S: Final = 60.0  # between two signals about what is missing
HEARTBEAT_TIMEOUT_S: Final = 10.0
DELIVERY_LOG_KEEP_S: Final = 7 * 86_400  # what was delivered is remembered over restarts
NOTIFY_LOG_KEYS_MAX: Final = 100_000
NOTIFY_SETTLE_RETRY_MS_MAX: Final = 5_000  # between attempts to journal or acknowledge
NOTIFY_SETTLE_MS_MAX: Final = 20_000  # for one write of a receipt or of acknowledgements
NOTIFY_STOP_MS_MAX: Final = 5_000  # what is under way at a stop may take this long
WEBHOOK_RESPONSE_BYTES_MAX: Final = 16_384
WEBHOOK_ANSWER_MS_MAX: Final = 1_000  # for the body of an answer that is a success already
RECEIPT_DETAIL_CHARACTERS_MAX: Final = 200
RECEIPT_BY_CHARACTERS_MAX: Final = 64
ACKNOWLEDGEMENT_BYTES_MAX: Final = 8_192
ACKNOWLEDGEMENT_AGE_MS_MAX: Final = 300_000  # of the time stamp, both ways
ACKNOWLEDGEMENT_IDS_MAX: Final = 10_000  # remembered, so that a replay is not journalled

# --- afstand ----------------------------------------------------------------------------------
SEEN_RUNS_MAX: Final = 256  # gaps and earlier boots of a device whose frames are known one by one
EVENT_TAGS_KEPT: Final = 128  # event frames of a device, each known by its tag
WATCH_QUIET_MS: Final = 250  # a journal quiet for so long gets a tick
WATCH_READ_ENTRIES_MAX: Final = 512  # journal entries in one read
WATCH_BEHIND_ENTRIES: Final = 128  # as many at once: there are more, and they are read in bulk
WATCH_RETRY_S_MAX: Final = 2.0  # between attempts while the store does not answer
SHADOW_WAIT_S: Final = 60.0  # what no watch has written by then, none will write
SHADOW_TEXT_CHARACTERS_MAX: Final = 160
WATCH_BEAT_MS: Final = 1_000  # each replica says that it lives
WATCH_BEAT_EXPIRES_MS: Final = 5_000
WATCH_REPLICAS_MAX: Final = 9
SNAPSHOTS_KEPT: Final = 3
SNAPSHOT_PAUSE_S: Final = 10.0  # between two snapshots of a replica that catches up
SNAPSHOT_AGE_MS_MAX: Final = 600_000  # of journal time, whatever the number of entries
EXPLAIN_RECORDS_MAX: Final = 10_000  # verdicts that are told of one incident
TRANSFER_BYTES_MAX: Final = 1024 * 1024 * 1024  # of the document of a whole case
BUNDLE_CIRCLES_MAX: Final = 400  # error circles of one track on a map, evenly spread
CONSULTATION_PERSONS_MAX: Final = 500  # in one line of the log of consultations
CONSULTATIONS_PAGE: Final = 500
REPLAY_DIFFERENCES_TOLD_MAX: Final = 20  # of a replay; the others are counted
MOVE_WAIT_S_MAX: Final = 20.0  # how long the command line waits for the other partition
COMMAND_ANSWER_S_MAX: Final = 5.0  # how long the command line waits for the watch
TAIL_SAMPLES_MAX: Final = 20_000
TAIL_NOTICES_MAX: Final = 100_000
OUTBOX_WAIT_S: Final = 0.25  # how long a read of the outbox waits for the next entry
OUTBOX_CLAIM_IDLE_MS: Final = 60_000  # what another notifier left pending for so long is taken over
OUTBOX_CLAIM_PAUSE_S: Final = 15.0
MANAGER_TELL_S: Final = 5.0  # how often systemd is told how things are, at least
MANAGER_TEXT_CHARACTERS_MAX: Final = 200
CONFORM_LOG_BYTES_MAX: Final = 64 * 1024 * 1024
CASES_BYTES_MAX: Final = 64 * 1024 * 1024
CASES_COMMANDS_AT_ONCE: Final = 200  # definitions in one write of an import
CASES_BYTES_AT_ONCE: Final = 1024 * 1024  # of them together, unless one alone is larger

# --- console ----------------------------------------------------------------------------------
CONSOLE_TIMELINE_ENTRIES_MAX: Final = (
    1_000  # of one incident: the first 100 and the newest are kept
)
CONSOLE_TIME_MS_MAX: Final = 253_402_300_799_999  # the last day of the year 9999
CONSOLE_CLOSED_INCIDENTS_MAX: Final = 2_000  # remembered in memory, the newest
CONSOLE_TOLD_MAX: Final = 200  # targets of one incident whose state is shown
CONSOLE_LOG_ENTRIES_PER_SUBJECT_MAX: Final = 40  # what was seen of a device or a person lately
CONSOLE_LOG_ENTRIES_MAX: Final = 200_000
CONSOLE_REFUSALS_MAX: Final = 2_000  # commands the watch refused, for late questions
CONSOLE_SAMPLES_MAX: Final = 20_000  # pages and answers that the indicators are computed from
CONSOLE_TRACK_POINTS: Final = 60  # newest fixes of a device kept for its track
CONSOLE_TRACK_DEVICES_MAX: Final = 65_536  # of higher handles only the last fix is kept
CONSOLE_PASSWORD_CHARACTERS_MIN: Final = 12
CONSOLE_PASSWORD_CHARACTERS_MAX: Final = 256
CONSOLE_ATTEMPTS_MAX: Final = 10  # to sign in, with one name or from one address, in one window
CONSOLE_ATTEMPTS_WINDOW_S: Final = 300
CONSOLE_ATTEMPTS_REMEMBERED_MAX: Final = 10_000
CONSOLE_REQUESTS_PER_S: Final = 25.0  # of one session, in the long run
CONSOLE_REQUESTS_BURST: Final = 200.0
CONSOLE_SESSION_H_MAX: Final = 12
CONSOLE_SESSION_IDLE_MIN: Final = 30  # without a person's doing: locked
CONSOLE_SESSIONS_MAX: Final = 1_000
CONSOLE_BODY_BYTES_MAX: Final = 1024 * 1024
CONSOLE_ANSWER_S_MAX: Final = 2.0  # how long a request waits for the watch to apply a command
CONSOLE_STREAMS_MAX: Final = 1_000  # open event streams
CONSOLE_STREAM_TICK_S: Final = 1.0
CONSOLE_CONSULT_AGAIN_MS: Final = 600_000  # the same look-up by the same session is logged again
CONSOLE_LIST_MAX: Final = 1_000  # rows in one answer
CONSOLE_REASON_CHARACTERS_MIN: Final = 8  # of the reason for a look-up outside an incident
CONSOLE_REPLAY_MS_MAX: Final = 6 * 3_600_000  # the longest period of one replay
CONSOLE_REPLAY_POINTS_MAX: Final = 20_000  # of one device, in one answer
CONSOLE_REPLAY_S_MAX: Final = 20.0  # reading the journal for one replay
CONSOLE_FEASIBILITY_HOURS_MAX: Final = 168
CONSOLE_FEASIBILITY_S_MAX: Final = 30.0
CONSOLE_KEEP_SESSIONS_S: Final = 1.0  # between two looks for sessions that were used
CONSOLE_UNSPOOL_EVERY_S: Final = 5.0
CONSOLE_OIDC_FLOWS_MAX: Final = 1_000  # sign-ins that have begun
CONSOLE_OIDC_TIMEOUT_S: Final = 10.0
CONSOLE_CATCH_UP_YIELD_ENTRIES: Final = 64  # folded in one go: requests are served between
CONSOLE_JOURNAL_REST_S: Final = 0.2  # between reads of a journal: positions are shown each second
CONSOLE_CONSULTATIONS_READ_MAX: Final = 20_000  # entries of the log looked through in one call
CONSOLE_DUMP_EVERY_S: Final = 300.0
CONSOLE_HEALTH_EVERY_S: Final = 1.0
CONSOLE_LAG_MS_MAX: Final = 5_000  # a watch further behind the journal is called behind
CONSOLE_NO_FRAMES_MS_MAX: Final = 60_000  # without a frame from anybody the intake is called silent
CONSOLE_NOTIFIER_IDLE_MS_MAX: Final = 5_000
CONSOLE_PROPOSALS_MAX: Final = 1_000  # orders that wait for a second person

# --- simulators -------------------------------------------------------------------------------
RECEIVER_BODY_BYTES_MAX: Final = 262_144
RECEIVER_ARRIVALS_MAX: Final = 100_000  # remembered per receiver; the oldest go first
SIM_RING_FRAMES_MAX: Final = (
    20_000  # frames a simulated device keeps without an ack: 13 days at one a minute
)
SIM_PENDING_FIXES_MAX: Final = 32  # fixes of a device out of coverage that are put into one frame
SIM_COMMANDS_REMEMBERED_MAX: Final = 64
SIM_BURST_S_MAX: Final = 3_600
SIM_INTERVAL_S_MAX: Final = 65_534
SIM_SCENARIO_BYTES_MAX: Final = 16 * 1024 * 1024
SIM_PERSONS_MAX: Final = 200_000
SIM_SCENARIO_EVENTS_MAX: Final = 10_000
SIM_TRACK_BYTES_MAX: Final = 64 * 1024 * 1024
SIM_TRACK_POINTS_MAX: Final = 500_000
SIM_TRACK_FILES_MAX: Final = 10_000
LOAD_DEVICES_MAX: Final = 1_000_000
LOAD_CONNECTIONS_MAX: Final = 60_000
LOAD_MESSAGES_MAX: Final = 3_000_000  # of one phase: they are encoded before it begins
SIM_IN_FLIGHT_MAX: Final = 65_535  # packet ids of one MQTT connection
LOG_TEXT_CHARACTERS_MAX: Final = 400  # of one field of a log line

# --- afstand doctor and trace -----------------------------------------------------------------
DOCTOR_WAIT_S: Final = 5.0  # for one answer
DOCTOR_CLOCK_WARN_MS: Final = 100
DOCTOR_CLOCK_FAIL_MS: Final = 1_000
DOCTOR_QUIET_S_MAX: Final = 5.0  # of a journal that somebody watches
DOCTOR_PENDING_MAX: Final = 1_000  # entries of an outbox that wait for the notifier
DOCTOR_MEMORY_SHARE_MAX: Final = 0.8
DOCTOR_DISK_FREE_BYTES_MIN: Final = 1024**3
DOCTOR_DISK_FREE_SHARE_MIN: Final = 0.05
DOCTOR_CERTIFICATE_DAYS_MIN: Final = 30
TRACE_OPEN_MAX: Final = 10_000  # notices whose receipt is awaited
TRACE_WAIT_MS_MAX: Final = 3_600_000  # then a trace ends without its receipt
