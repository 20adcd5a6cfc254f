"""What becomes of one message.

Every refusal has its reason, an alarm is never lost, a copy is taken once.
"""

import json

import mqtt5
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.limits import CLOCK_AHEAD_MS_MAX, FRAME_BYTES_MAX, UNPROVEN_PER_DEVICE_MAX
from firmware_contracts.batch import decode_batch
from firmware_contracts.codes import EventCode, Kind
from firmware_contracts.codes import FrameFlag as WireFlag
from firmware_contracts.faults import Fault
from firmware_contracts.frames import encode_ack, encode_command, encode_status, read_header
from firmware_contracts.table import HEADER_STRUCT, struct_of
from ingest.bulk import Bulk
from ingest.checks import (
    Accept,
    Bound,
    Checker,
    Copy,
    Ignore,
    Mark,
    RecentTags,
    Refuse,
    Waiting,
    fix_fault,
    status_fault,
)
from ingest.devices import Contract, Role
from ingest.entries import FrameFlag, FrameRecord, LaneCode
from ingest.mqtt_codec import FLAW_MALFORMED, FLAW_OVERSIZED
from ingest.reasons import Reason
from ingest.scan import Run, Scanner
from tests.ingest.devices import (
    NOW_MS,
    event_frame,
    fix_frame,
    key_of,
    message,
    record,
    sealed,
    status_frame,
)

DEVICES = {
    "d1": record("d1", 1),
    "d2": record("d2", 2, partition="p1", role=Role.PROTECTED),
    "off": record("off", 3, enabled=False),
    "jane.phone": record("jane.phone", 4, contract=Contract.OWNTRACKS, partition="p1"),
    "lost.phone": record("lost.phone", 5, contract=Contract.OWNTRACKS, enabled=False),
}


def new_checker(**options):
    return Checker(DEVICES.get, default_partition="p9", **options)


def check(topic, payload, checker=None, **fields):
    return (checker or new_checker()).check(message(topic, payload, **fields))


def location(time_s=NOW_MS // 1000, **more):
    body = {
        "_type": "location",
        "lat": 51.92,
        "lon": 4.48,
        "tst": time_s,
        "acc": 5,
        "tid": "ja",
        **more,
    }
    return json.dumps(body).encode()


# --- what is taken


def test_a_fix_is_taken():
    frame = fix_frame("d1", 7, boot=3)
    outcome = check("em/d1/fix", frame)
    assert isinstance(outcome, Accept)
    assert outcome.record == FrameRecord(1, LaneCode.FIX, 1, NOW_MS, frame)
    assert (outcome.partition, outcome.boot, outcome.sequence) == ("p0", 3, 7)
    assert outcome.device is not None
    assert outcome.tag == frame[-16:]
    assert outcome.reason is None


def test_an_event_and_a_status_are_taken_on_their_own_topics():
    event, status = event_frame("d2", 8), status_frame("d2", 9)
    outcomes = [check("em/d2/event", event), check("em/d2/status", status)]
    assert [o.record.lane for o in outcomes] == [LaneCode.EVENT, LaneCode.STATUS]
    assert [o.partition for o in outcomes] == ["p1", "p1"]


def test_a_message_that_the_broker_sends_again_is_marked():
    outcome = check("em/d1/fix", fix_frame("d1", 1), dup=True)
    assert outcome.record.flags == FrameFlag.AUTHENTICATED | FrameFlag.DUPLICATE_SUSPECT


def test_a_phone_is_taken():
    outcome = check("owntracks/jane/phone", location())
    assert isinstance(outcome, Accept)
    assert outcome.record.lane is LaneCode.OWNTRACKS
    assert (outcome.record.handle, outcome.partition, outcome.device) == (4, "p1", None)


@pytest.mark.parametrize(
    ("payload", "why"), [(b"", "empty-payload"), (b'{"_type":"lwt","tst":1790000000}', "type-lwt")]
)
def test_what_a_phone_says_that_is_no_place_is_ignored(payload, why):
    assert check("owntracks/jane/phone", payload) == Ignore(why)


# --- what is refused, and why


def changed(device_id, frame, at, value):
    body = bytearray(frame[:-16])
    body[at : at + len(value)] = value
    return sealed(device_id, bytes(body))


GOOD = fix_frame("d1", 1)
REFUSED = [
    ("em/d1/fix", b"", Reason.TRUNCATED),
    ("em/d1/fix", GOOD[:40], Reason.TRUNCATED),
    ("em/d1/fix", GOOD[:-1], Reason.TRUNCATED),
    ("em/d1/fix", bytes(FRAME_BYTES_MAX + 1), Reason.OVERSIZED),
    ("em/d1/fix", GOOD + b"\0", Reason.BAD_LENGTH),
    ("em/d1/fix", changed("d1", GOOD, 0, b"\0\0"), Reason.BAD_MAGIC),
    ("em/d1/fix", changed("d1", GOOD, 2, b"\2"), Reason.UNKNOWN_VERSION),
    ("em/d1/fix", changed("d1", GOOD, 4, b"\x63"), Reason.UNKNOWN_KIND),
    ("em/d1/fix", changed("d1", GOOD, 5, b"\1"), Reason.WRONG_DIRECTION),
    ("em/d1/fix", changed("d1", GOOD, 7, b"\0"), Reason.BAD_COUNT),
    ("em/d1/fix", b"{}" * 30, Reason.BAD_MAGIC),
    ("em/d1/fix", GOOD[:-1] + bytes([GOOD[-1] ^ 1]), Reason.BAD_TAG),
    ("em/d2/fix", GOOD, Reason.BAD_TAG),  # another device's frame
    ("em/d1/fix", fix_frame("d1", 1, key=key_of("x")), Reason.BAD_TAG),
    ("em/d1/fix", event_frame("d1", 1), Reason.WRONG_TOPIC),
    ("em/d1/event", GOOD, Reason.WRONG_TOPIC),
    ("em/d1/ack", encode_ack("d1", key_of("d1"), records=[(1, 1, 1)]), Reason.WRONG_TOPIC),
    ("em/d1/fix", encode_ack("d1", key_of("d1"), records=[(1, 1, 1)]), Reason.WRONG_TOPIC),
    (
        "em/d1/cmd",
        encode_command("d1", key_of("d1"), command_id=1, expires_ms=NOW_MS, code=1),
        Reason.WRONG_TOPIC,
    ),
    ("em/d1", GOOD, Reason.WRONG_TOPIC),
    ("em/d1/fix/more", GOOD, Reason.WRONG_TOPIC),
    ("em/d 1/fix", GOOD, Reason.WRONG_TOPIC),
    ("em//fix", GOOD, Reason.WRONG_TOPIC),
    ("other/d1/fix", GOOD, Reason.WRONG_TOPIC),
    ("", GOOD, Reason.WRONG_TOPIC),
    ("em/nobody/fix", fix_frame("nobody", 1), Reason.UNKNOWN_DEVICE),
    ("em/nobody/event", event_frame("nobody", 1, EventCode.BATTERY_LOW), Reason.UNKNOWN_DEVICE),
    ("em/off/fix", fix_frame("off", 1), Reason.DISABLED_DEVICE),
    ("em/jane.phone/fix", fix_frame("jane.phone", 1), Reason.WRONG_TOPIC),
    ("em/d1/fix", fix_frame("d1", 1, lat_e7=950_000_000), Reason.IMPOSSIBLE_VALUE),
    ("em/d1/fix", fix_frame("d1", 1, lat_e7=0, lon_e7=0), Reason.IMPOSSIBLE_VALUE),
    ("em/d1/fix", fix_frame("d1", 1, heading_cdeg=36_000), Reason.IMPOSSIBLE_VALUE),
    ("em/d1/fix", fix_frame("d1", 1, battery_pct=101), Reason.IMPOSSIBLE_VALUE),
    ("em/d1/fix", fix_frame("d1", 1, time_ms=0), Reason.IMPOSSIBLE_VALUE),
    (
        "em/d1/fix",
        fix_frame("d1", 1, time_ms=NOW_MS + CLOCK_AHEAD_MS_MAX + 1),
        Reason.FUTURE_TIME,
    ),
    ("owntracks/jane/phone", b"{", Reason.BAD_JSON),
    ("owntracks/jane/phone", b'{"_type":"location"}', Reason.BAD_SCHEMA),
    ("owntracks/jane/phone", b'{"_type":"nonsense"}', Reason.UNKNOWN_TYPE),
    ("owntracks/jane/phone", location(NOW_MS // 1000 + 3600), Reason.FUTURE_TIME),
    ("owntracks/jane/other", location(), Reason.UNKNOWN_DEVICE),
    ("owntracks/lost/phone", location(), Reason.DISABLED_DEVICE),
    ("owntracks/jane", location(), Reason.WRONG_TOPIC),
]


@pytest.mark.parametrize(("topic", "payload", "reason"), REFUSED)
def test_what_is_refused_has_its_reason(topic, payload, reason):
    """FC-051."""
    outcome = check(topic, payload)
    assert isinstance(outcome, Refuse)
    assert outcome.reason is reason
    assert check("em/d1/fix", GOOD, received_ms=NOW_MS + 1).record.payload == GOOD


def test_a_monitor_cannot_be_spoken_for_by_a_phone():
    devices = {"a.b": record("a.b", 9)}
    checker = Checker(devices.get, default_partition="p0")
    outcome = checker.check(message("owntracks/a/b", location()))
    assert isinstance(outcome, Refuse)
    assert outcome.reason is Reason.WRONG_TOPIC


@pytest.mark.parametrize("flaw", [FLAW_OVERSIZED, FLAW_MALFORMED])
def test_a_flawed_message_is_refused(flaw):
    flawed = msgspec.structs.replace(message("em/d1/fix", GOOD), flaw=flaw, size=99)
    assert new_checker().check(flawed) == Refuse(Reason(flaw), "99 bytes")


def test_a_proven_frame_that_is_refused_is_settled_with_its_device():
    """Sending it again would not make it better; a forged one is nobody's to settle."""
    outcome = check("em/d1/fix", fix_frame("d1", 5, boot=2, accuracy_dm=0))
    assert (outcome.device.device_id, outcome.boot, outcome.sequence) == ("d1", 2, 5)
    assert not outcome.clock_fault
    assert check("em/d1/fix", fix_frame("d1", 5, key=key_of("x"))).device is None


@pytest.mark.parametrize("time_ms", [0, NOW_MS + 2 * CLOCK_AHEAD_MS_MAX])
def test_a_wrong_clock_costs_a_fix_and_never_an_event(time_ms):
    fix = check("em/d1/fix", fix_frame("d1", 1, time_ms=time_ms))
    assert isinstance(fix, Refuse)
    assert fix.clock_fault
    for code in (EventCode.PANIC, EventCode.BATTERY_LOW):
        event = check("em/d1/event", event_frame("d1", 2, code, time_ms=time_ms))
        assert event.record.flags == FrameFlag.AUTHENTICATED | FrameFlag.CLOCK_FAULT


@pytest.mark.slow
@given(
    st.binary(max_size=200),
    st.sampled_from(["em/d1/fix", "em/d1/event", "owntracks/jane/phone", "em/x/event"]),
)
def test_noise_never_raises(payload, topic):
    outcome = check(topic, payload)
    assert isinstance(outcome, Refuse | Ignore)


@given(st.text(max_size=80))
def test_no_topic_raises(topic):
    assert isinstance(check(topic, GOOD), Refuse)


# --- alarms without proof


@pytest.mark.parametrize("code", [EventCode.PANIC, EventCode.DURESS, EventCode.STRAP_CUT])
@pytest.mark.parametrize(
    ("device_id", "reason", "handle", "partition", "name"),
    [
        ("nobody", Reason.UNKNOWN_DEVICE, 0, "p9", "nobody"),
        ("d2", Reason.BAD_TAG, 2, "p1", ""),
        ("off", Reason.DISABLED_DEVICE, 3, "p0", ""),
    ],
)
def test_an_alarm_without_proof_is_taken_as_such(code, device_id, reason, handle, partition, name):
    key = key_of(device_id) if device_id == "off" else key_of("forger")
    outcome = check(f"em/{device_id}/event", event_frame(device_id, 1, code, key=key))
    assert isinstance(outcome, Accept)
    assert outcome.reason is reason
    assert outcome.record.flags & FrameFlag.AUTHENTICATED == 0
    assert (outcome.record.handle, outcome.partition, outcome.record.name) == (
        handle,
        partition,
        name,
    )
    assert outcome.device is None, "nobody is told that an unproven frame is durable"


def test_a_flood_of_alarms_without_proof_is_bounded():
    checker = new_checker()
    outcomes = [
        check("em/nobody/event", event_frame("nobody", n, key=key_of("x")), checker)
        for n in range(1, 10)
    ]
    assert [isinstance(o, Accept) for o in outcomes] == [True] * UNPROVEN_PER_DEVICE_MAX + [
        False
    ] * (9 - UNPROVEN_PER_DEVICE_MAX)
    assert outcomes[-1].reason is Reason.UNAUTHENTICATED_FLOOD
    later = event_frame("nobody", 20, key=key_of("x"))
    assert isinstance(check("em/nobody/event", later, checker, received_ms=NOW_MS + 60_000), Accept)


def test_invented_names_do_not_use_up_what_registered_devices_have():
    checker = new_checker()
    for n in range(500):
        check(f"em/n{n}/event", event_frame(f"n{n}", 1), checker)
    assert isinstance(check("em/invented/event", event_frame("invented", 1), checker), Refuse)
    forged = event_frame("d1", 1, key=key_of("x"))
    assert isinstance(check("em/d1/event", forged, checker), Accept)
    assert isinstance(check("em/d1/event", event_frame("d1", 1), checker), Accept)


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5000)), max_size=60))
def test_bound(draws):
    bound = Bound(2, 5)
    allowed: dict[int, list[str]] = {}
    now_ms = 0
    for name, step_ms in draws:
        now_ms += step_ms
        if bound.allows(name, now_ms):
            allowed.setdefault(now_ms // 60_000, []).append(name)
    for names in allowed.values():
        assert len(names) <= 5
        assert max(map(names.count, names)) <= 2


# --- copies


def take(checker, topic, frame, **fields):
    outcome = check(topic, frame, checker, **fields)
    if isinstance(outcome, Accept) and outcome.tag:
        mark = Mark()
        checker.seen.add([outcome.tag], mark)
        return outcome, mark
    return outcome, None


def test_a_copy_is_tied_to_the_first_and_then_known():
    checker = new_checker()
    frame = fix_frame("d1", 4, boot=2)
    first, mark = take(checker, "em/d1/fix", frame)
    assert isinstance(first, Accept)
    assert check("em/d1/fix", frame, checker) == Waiting(mark)
    mark.stored(NOW_MS)
    again = check("em/d1/fix", frame, checker)
    assert isinstance(again, Copy)
    assert again.device is first.device
    assert (again.boot, again.sequence) == (2, 4)


def test_a_copy_long_after_is_a_replay_unless_the_broker_sends_it():
    checker = new_checker(replay_after_ms=5000)
    frame = fix_frame("d1", 4, boot=2)
    _, mark = take(checker, "em/d1/fix", frame)
    mark.stored(NOW_MS)
    late = {"received_ms": NOW_MS + 5001}
    replayed = check("em/d1/fix", frame, checker, **late)
    assert replayed.reason is Reason.REPLAYED_SEQUENCE
    assert replayed.device is not None, "it is stored: the device may be told again"
    assert isinstance(check("em/d1/fix", frame, checker, dup=True, **late), Copy)
    assert isinstance(check("em/d1/fix", frame, checker, received_ms=NOW_MS + 5000), Copy)


def test_a_forged_frame_cannot_shut_a_true_one_out():
    checker = new_checker()
    true = event_frame("d1", 4)
    forged = bytearray(true)
    forged[32 + 6] ^= 1  # the value; the tag stays that of the true one
    assert isinstance(take(checker, "em/d1/event", bytes(forged))[0], Accept)
    outcome, _ = take(checker, "em/d1/event", true)
    assert outcome.record.flags == FrameFlag.AUTHENTICATED


def test_a_reused_number_with_other_content_is_taken():
    """A device that lost its boot counter says new things under old numbers."""
    checker = new_checker()
    take(checker, "em/d1/event", event_frame("d1", 4, EventCode.BATTERY_LOW))
    assert isinstance(take(checker, "em/d1/event", event_frame("d1", 4))[0], Accept)


def test_a_last_will_is_taken_every_time():
    checker = new_checker()
    will = status_frame("d1", 0)
    for _ in range(3):
        assert isinstance(take(checker, "em/d1/status", will)[0], Accept)


def test_a_copy_of_a_phone():
    checker = new_checker()
    _, mark = take(checker, "owntracks/jane/phone", location())
    assert check("owntracks/jane/phone", location(), checker) == Waiting(mark)
    mark.stored(NOW_MS)
    assert check("owntracks/jane/phone", location(), checker) == Copy(None, 0, 0)
    assert isinstance(check("owntracks/jane/phone", location(NOW_MS // 1000 - 1), checker), Accept)


@given(st.lists(st.integers(0, 30), max_size=100))
def test_recent_tags_remember_at_least_their_capacity(numbers):
    recent = RecentTags(5)
    added: list[bytes] = []
    for number in numbers:
        tag = bytes([number])
        known = recent.find(tag) is not None
        assert recent.knows_any([tag]) == known
        last_five = list(dict.fromkeys(reversed(added)))[:5]
        assert known or tag not in last_five
        recent.add([tag], Mark())
        added.append(tag)


# --- a changed registry


def test_a_new_key_counts_at_once():
    devices = {"d1": record("d1", 1)}
    checker = Checker(devices.get, default_partition="p0")
    assert isinstance(checker.check(message("em/d1/fix", GOOD)), Accept)
    devices["d1"] = record("d1", 1, key=key_of("new"))
    assert isinstance(checker.check(message("em/d1/fix", GOOD)), Refuse)
    frame = fix_frame("d1", 1, key=key_of("new"))
    assert isinstance(checker.check(message("em/d1/fix", frame)), Accept)


# --- the two other readers of the same rules

fixes = st.fixed_dictionaries(
    {},
    optional={
        "lat_e7": st.sampled_from([0, 900_000_000, 900_000_001, -900_000_001]),
        "lon_e7": st.sampled_from([0, 1_800_000_000, -1_800_000_001]),
        "accuracy_dm": st.sampled_from([0, 1, 65535]),
        "heading_cdeg": st.sampled_from([0, 35_999, 36_000, 65535]),
        "battery_pct": st.sampled_from([0, 100, 101, 255]),
        "time_offset_ms": st.sampled_from([0, -1, 1, 100_000, -(2**31), 2**31 - 1]),
    },
)
times = st.sampled_from(
    [0, 1_577_836_800_000, 1_577_836_799_999, NOW_MS, NOW_MS + 59_999, NOW_MS + 60_001,
     4_102_444_799_999, 4_102_444_800_000, 2**63, 2**64 - 1]
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300)
@given(fixes, times, st.integers(1, 3))
def test_fix_fault_has_the_contract_s_rules(fields, time_ms, count):
    frame = fix_frame("d1", 1, time_ms=time_ms, count=count, **fields)
    decoded = decode_batch(frame, np.array([0]), np.array([len(frame)]))
    fault = fix_fault(frame, read_header(frame), 2**62)
    assert (fault is None) == (decoded.fault[0] == 0)
    assert fault is None or fault[0].value == Fault.IMPOSSIBLE_VALUE.value


@pytest.mark.parametrize("battery", [0, 100, 101, 254, 255])
def test_a_status_with_an_impossible_charge_is_refused_as_the_reader_refuses_it(battery):
    """FC-043: or it would be journalled, and dropped where nobody looks."""
    frame = encode_status(
        "d1", key_of("d1"), boot=1, sequence=1, device_time_ms=NOW_MS, battery_pct=battery
    )
    decoded = decode_batch(frame, np.array([0]), np.array([len(frame)]))
    assert bool(status_fault(frame, read_header(frame))) == (100 < battery < 255)
    assert bool(decoded.fault[0]) == (100 < battery < 255)
    outcome = check("em/d1/status", frame)
    if 100 < battery < 255:
        assert isinstance(outcome, Refuse)
        assert (outcome.reason, outcome.sequence) == (Reason.IMPOSSIBLE_VALUE, 1)
    else:
        assert isinstance(outcome, Accept)


@pytest.mark.slow
@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["d1", "d1", "d2", "off", "nobody"]),
            st.integers(0, 4),
            st.just({}) | st.just({}) | fixes,
            st.just(NOW_MS) | st.just(NOW_MS) | times,
            st.sampled_from(["fix", "fix", "fix", "event"]),
            st.integers(1, 2),
            st.sampled_from([b"", b"\0", b"\1\0"]),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_bulk_and_single_checks_are_the_same(draws):
    """What the bulk check passes the single one accepts; all else is left to the single one."""
    messages = []
    for device_id, sequence, fields, time_ms, lane, count, xor, dup in draws:
        frame = bytearray(
            fix_frame(device_id, max(sequence, 1), time_ms=time_ms, count=count, **fields)
        )
        if sequence == 0:
            frame[12:16] = bytes(4)
            frame = bytearray(sealed(device_id, bytes(frame[:-16])))
        for index, byte in enumerate(xor):
            frame[-1 - index] ^= byte
        messages.append(message(f"em/{device_id}/{lane}", bytes(frame), dup=dup))
    alone, beside = new_checker(), new_checker()
    bulk = Bulk(beside, lambda: 0)
    run, others = run_of(messages)
    passed, rest = bulk.check(run)
    got = []
    for part in passed:
        fixes = part.fixes
        columns = (fixes.devices, fixes.boots, fixes.sequences, part.tags)
        for n, (device, boot, sequence, tag) in enumerate(zip(*columns, strict=True)):
            one = fixes.message(n)
            got.append((part.partition, one, device.device_id, boot, sequence, tag))
        beside.seen.add(part.tags, Mark())
    for one in others + rest:
        outcome, _ = take_message(beside, one)
        if isinstance(outcome, Accept) and outcome.device:
            got.append(
                (
                    outcome.partition,
                    one,
                    outcome.device.device_id,
                    outcome.boot,
                    outcome.sequence,
                    outcome.tag,
                )
            )
    expected = []
    for one in messages:
        outcome, _ = take_message(alone, one)
        if isinstance(outcome, Accept) and outcome.device:
            expected.append(
                (
                    outcome.partition,
                    one,
                    outcome.device.device_id,
                    outcome.boot,
                    outcome.sequence,
                    outcome.tag,
                )
            )

    # Which of two copies is taken may differ (one marked as sent again is looked at later); that it
    # is taken once may not.
    def taken(rows):
        return sorted((row[0], row[1].payload, *row[2:]) for row in rows)

    assert taken(got) == taken(expected)


def take_message(checker, one):
    outcome = checker.check(one)
    if isinstance(outcome, Accept) and outcome.tag:
        checker.seen.add([outcome.tag], Mark())
    return outcome, None


def run_of(messages):
    """The run that the scanner makes of messages, and those that are none of it."""
    packets = [
        mqtt5.PublishPacket(
            one.topic,
            one.payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            packet_id=n,
            duplicate=one.dup,
        ).write()
        for n, one in enumerate(messages, 1)
    ]
    raw = b"".join(packets)
    rows, frames, others, consumed = Scanner(properties=True).scan(memoryview(raw))
    assert consumed == len(raw)
    assert len(rows) + len(others) == len(messages)
    starts = np.cumsum([0, *map(len, packets)]).tolist()
    run = Run(1, NOW_MS, raw, rows, frames)
    return run, [messages[starts.index(at)] for at in others[:, 0].tolist()]


def test_bulk_passes_the_plain_case():
    checker = new_checker()
    bulk = Bulk(checker, lambda: 0)
    messages = [message(f"em/{d}/fix", fix_frame(d, n)) for n in range(1, 40) for d in ("d1", "d2")]
    run, others = run_of(messages)
    passed, rest = bulk.check(run)
    assert (others, rest) == ([], [])
    assert [part.partition for part in passed] == ["p0", "p1"]
    assert [part.fixes.sequences.tolist() for part in passed] == [list(range(1, 40))] * 2
    assert [part.fixes.packet_ids.tolist() for part in passed] == [
        list(range(1, 79, 2)),
        list(range(2, 80, 2)),
    ]
    for part in passed:
        checker.seen.add(part.tags, Mark())
    passed, rest = bulk.check(run)
    assert passed == []
    assert [one.payload for one in rest] == [one.payload for one in messages], "copies"


@pytest.mark.parametrize(
    "frame",
    [
        fix_frame("d1", 2, key=key_of("forger")),
        GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
        GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:],
        fix_frame("d2", 2),
    ],
    ids=["another key", "changed tag", "changed position", "another device's"],
)
def test_bulk_passes_nothing_without_proof(frame):
    checker = new_checker()
    run, others = run_of([message("em/d1/fix", frame), message("em/d1/fix", GOOD)])
    passed, rest = Bulk(checker, lambda: 0).check(run)
    assert others == []
    assert [one.payload for one in rest] == [frame]
    assert [part.fixes.message(0).payload for part in passed] == [GOOD]


def test_bulk_is_not_shut_out_by_a_forged_tag():
    """The forged frame comes first, with the tag of the true one."""
    forged = GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:]
    run, _ = run_of([message("em/d1/fix", forged), message("em/d1/fix", GOOD)])
    passed, rest = Bulk(new_checker(), lambda: 0).check(run)
    assert [part.fixes.message(0).payload for part in passed] == [GOOD]
    assert [one.payload for one in rest] == [forged]


def test_bulk_forgets_a_device_when_the_registry_changes():
    devices, generation = {"d1": record("d1", 1)}, [0]
    checker = Checker(devices.get, default_partition="p0")
    bulk = Bulk(checker, lambda: generation[0])
    first, _ = run_of([message("em/d1/fix", fix_frame("d1", 1))])
    assert bulk.check(first)[1] == []
    devices["d1"] = record("d1", 1, enabled=False)
    generation[0] += 1
    second, _ = run_of([message("em/d1/fix", fix_frame("d1", 2))])
    passed, rest = bulk.check(second)
    assert passed == []
    assert len(rest) == 1


def test_reasons_are_the_contract_s_faults_and_more():
    assert {fault.value for fault in Fault} < {reason.value for reason in Reason}


def test_a_frame_of_a_newer_minor_version_is_taken():
    """Its records are longer; the tail is not looked at."""
    size = struct_of(Kind.FIX).size
    head = list(HEADER_STRUCT.unpack_from(GOOD))
    head[2], head[5] = 1, size + 3
    body = HEADER_STRUCT.pack(*head) + GOOD[32 : 32 + size] + b"new"
    outcome = check("em/d1/fix", sealed("d1", body))
    assert isinstance(outcome, Accept)
    assert WireFlag.FROM_SERVER not in WireFlag(outcome.record.payload[5])
