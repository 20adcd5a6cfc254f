"""Teltonika Codec 8 and 8 Extended: the published packets, every mapping, and hostile bytes."""

import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.limits import TELTONIKA_BYTES_MAX
from firmware_contracts import EventCode, Fault, FixFlag, FrameError, Mechanism, fault_of
from firmware_contracts.teltonika import (
    AvlRecord,
    Io,
    NoFix,
    Tracked,
    crc16_ibm,
    event_of,
    has_event,
    newest_fix_ms,
    no_fix,
    packet_bytes,
    radius_dm,
    read_imei,
    read_packet,
    teltonika_to_columns,
)

# wiki.teltonika-gps.com, "Teltonika Data Sending Protocols": the packets and what the pages say
# that they hold; the data of the one with four records is of the FM1100 protocol description.
ONE_EACH = (
    "000000000000003608010000016B40D8EA30010000000000000000000000000000000105021503010101425E0F01F1"
    "0000601A014E0000000000000000010000C7CF"
)
TWO_WIDTHS = (
    "000000000000002808010000016B40D9AD80010000000000000000000000000000000103021503010101425E100000"
    "010000F22A"
)
TWO_RECORDS = (
    "000000000000004308020000016B40D57B480100000000000000000000000000000001010101000000000000016B40"
    "D5C198010000000000000000000000000000000101010101000000020000252C"
)
EXTENDED = (
    "000000000000004A8E010000016B412CEE000100000000000000000000000000000000010005000100010100010011"
    "001D00010010015E2C880002000B000000003544C87A000E000000001DD7E06A00000100002994"
)
BEACONS = (
    "000000000000005A8E010000016B69B0C9510000000000000000000000000000000001810001000000000000000000"
    "010181002D11216B817F8A274D4FBDB62D33E1842F8DF8014D022BBF21A579723675064DC396A7C3520129F6190000"
    "0000BF0100003E5D"
)
FOUR_RECORDS = (
    "00000000000000A7080400000113fc208dff000f14f650209cca80006f00d604000400040301011503160300014600"
    "00015d0000000113fc17610b000f14ffe0209cc580006e00c00500010004030101150316010001460000015e000000"
    "0113fc284945000f150f00209cd200009501080400000004030101150016030001460000015d0000000113fc267c5b"
    "000f150a50209cccc0009300680400000004030101150016030001460000015b00040000BA48"
)
PUBLISHED: list[tuple[str, int, list[dict[str, Any]]]] = [
    (ONE_EACH, 0x08, [{
        "time_ms": 1_560_161_086_000, "priority": 1, "satellites": 0, "event_id": 1,
        "io": {0x15: 3, 0x01: 1, 0x42: 0x5E0F, 0xF1: 0x601A, 0x4E: 0},
    }]),
    (TWO_WIDTHS, 0x08, [{
        "time_ms": 1_560_161_136_000, "priority": 1, "event_id": 1,
        "io": {0x15: 3, 0x01: 1, 0x42: 0x5E10},
    }]),
    (TWO_RECORDS, 0x08, [
        {"time_ms": 1_560_160_861_000, "event_id": 1, "io": {1: 0}},
        {"time_ms": 1_560_160_879_000, "event_id": 1, "io": {1: 1}},
    ]),
    (EXTENDED, 0x8E, [{
        "time_ms": 1_560_166_592_000, "priority": 1, "lon_e7": 0, "lat_e7": 0, "event_id": 1,
        "io": {1: 1, 17: 0x1D, 16: 22_949_000, 11: 893_700_218, 14: 500_686_954},
    }]),
    (BEACONS, 0x8E, [{"event_id": 385, "io": {385: bytes.fromhex(
        "11216B817F8A274D4FBDB62D33E1842F8DF8014D022BBF21A579723675064DC396A7C3520129F61900000000BF"
    )}}]),
    (FOUR_RECORDS, 0x08, [
        {
            "time_ms": 1_185_345_998_335, "priority": 0, "lon_e7": 253_032_016,
            "lat_e7": 547_146_368, "altitude_m": 111, "angle_deg": 214, "satellites": 4,
            "speed_km_h": 4, "event_id": 0, "io": {1: 1, 21: 3, 22: 3, 70: 349},
        },
        {"lat_e7": 547_145_088, "lon_e7": 253_034_464, "altitude_m": 110, "angle_deg": 192,
         "satellites": 5, "speed_km_h": 1, "io": {1: 1, 21: 3, 22: 1, 70: 350}},
        {"lat_e7": 547_148_288, "lon_e7": 253_038_336, "altitude_m": 149, "angle_deg": 264,
         "satellites": 4, "speed_km_h": 0, "io": {1: 1, 21: 0, 22: 3, 70: 349}},
        {"lat_e7": 547_146_944, "lon_e7": 253_037_136, "altitude_m": 147, "angle_deg": 104,
         "satellites": 4, "speed_km_h": 0, "io": {1: 1, 21: 0, 22: 3, 70: 347}},
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "codec", "wanted"), PUBLISHED)
def test_published_packets_hold_the_published_values(text, codec, wanted):
    """FC-100, FC-101."""
    packet = read_packet(bytes.fromhex(text))
    assert packet.codec == codec
    assert len(packet.records) == len(wanted)
    for record, values in zip(packet.records, wanted, strict=True):
        assert {name: getattr(record, name) for name in values} == values


def test_the_published_greeting_and_crc():
    assert read_imei(bytes.fromhex("000F333536333037303432343431303133")) == "356307042441013"
    assert crc16_ibm(b"123456789") == 0xBB3D  # the check value of CRC-16/ARC


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0", b"\0\x0f123", b"\0\x03123", b"\0\x0f35630704244101x", b"\0\x10" + b"1" * 16,
     b"\0\x0f" + b"1" * 16, b"\0\x0f" + b"\xff" * 15, b"\xff\xff" + b"1" * 15],
)  # fmt: skip
def test_a_greeting_that_is_no_imei_is_refused(raw):
    with pytest.raises(FrameError):
        read_imei(raw)


# --- packets made here, from the description alone ------------------------------------------------


def element(name: int, value: int | bytes, *, wide: bool, width: int = 0) -> bytes:
    head = struct.pack(">H" if wide else ">B", name)
    if isinstance(value, bytes):
        return head + struct.pack(">H", len(value)) + value
    return head + value.to_bytes(width)


def record(*, wide=False, total=None, widths=None, **values) -> bytes:
    """One record; `widths` gives the width of an element in bytes (1 unless said)."""
    given: dict[str, Any] = {
        "time_ms": 1_760_000_000_000, "priority": 0, "lon_e7": 44_791_700, "lat_e7": 519_225_000,
        "altitude_m": 3, "angle_deg": 90, "satellites": 9, "speed_km_h": 36, "event_id": 0,
        "io": {},
    }  # fmt: skip
    given |= values
    widths = widths or {}
    head = struct.pack(
        ">QBiihHBH", given["time_ms"], given["priority"], given["lon_e7"], given["lat_e7"],
        given["altitude_m"], given["angle_deg"], given["satellites"], given["speed_km_h"],
    )  # fmt: skip
    number = ">H" if wide else ">B"
    io = given["io"]
    body = struct.pack(number, given["event_id"])
    body += struct.pack(number, len(io) if total is None else total)
    for width in (1, 2, 4, 8):
        chosen = [
            (name, value)
            for name, value in io.items()
            if not isinstance(value, bytes) and widths.get(name, 1) == width
        ]
        body += struct.pack(number, len(chosen))
        body += b"".join(element(n, v, wide=wide, width=width) for n, v in chosen)
    if wide:
        variable = [(name, value) for name, value in io.items() if isinstance(value, bytes)]
        body += struct.pack(number, len(variable))
        body += b"".join(element(n, v, wide=wide) for n, v in variable)
    return head + body


def packet(*records: bytes, codec=0x08, count=None, last=None, crc=None, tail=b"", size=None):
    number = len(records) if count is None else count
    data = bytes([codec, number]) + b"".join(records)
    data += bytes([number if last is None else last])
    head = bytes(4) + (len(data) if size is None else size).to_bytes(4)
    check = crc16_ibm(data) if crc is None else crc
    return head + data + check.to_bytes(4) + tail


def columns(*packets: bytes) -> Tracked:
    lengths = np.array([len(one) for one in packets], dtype=np.int64)
    return teltonika_to_columns(b"".join(packets), np.cumsum(lengths) - lengths, lengths)


def only(raw: bytes) -> AvlRecord:
    (one,) = read_packet(raw).records
    return one


def test_a_record_becomes_a_fix():
    io = {Io.BATTERY_LEVEL: 77, Io.MOVEMENT: 1, Io.HDOP: 12}
    tracked = columns(packet(record(io=io, widths={Io.HDOP: 2})))
    fix = [int(column[0]) for column in tracked.fixes]
    assert fix == [
        0, 0, 0, 1_760_000_000_000, 519_225_000, 44_791_700, 72, 1000, 9000, Mechanism.GNSS, 9, 77,
        FixFlag.MOVING, 3,
    ]  # fmt: skip
    assert (len(tracked.events.frame), tracked.fault.tolist()) == (0, [0])


@pytest.mark.parametrize(
    ("values", "field", "wanted"),
    [
        ({"speed_km_h": 0}, "speed_cm_s", 0),
        ({"speed_km_h": 100}, "speed_cm_s", 2778),
        ({"speed_km_h": 65_535}, "speed_cm_s", 65_535),
        ({"angle_deg": 360}, "heading_cdeg", 0),
        ({"angle_deg": 361}, "heading_cdeg", 65_535),
        ({"altitude_m": -7}, "altitude_m", -7),
        ({}, "battery_pct", 255),
        ({"io": {Io.BATTERY_LEVEL: 101}}, "battery_pct", 255),
        ({"io": {Io.CHARGER: 1}}, "fix_flags", FixFlag.CHARGING),
        ({}, "accuracy_dm", 200),
        ({"io": {Io.HDOP: 1}}, "accuracy_dm", 50),
        ({"io": {Io.PDOP: 30}}, "accuracy_dm", 180),
        ({"io": {Io.HDOP: 0, Io.PDOP: 20}}, "accuracy_dm", 120),
        ({"io": {Io.HDOP: 255}}, "accuracy_dm", 1530),
    ],
)
def test_values_at_their_edges(values, field, wanted):
    assert getattr(columns(packet(record(**values))).fixes, field).tolist() == [wanted]


def test_a_radius_is_bounded():
    one = only(packet(record(io={Io.HDOP: 65_535}, widths={Io.HDOP: 2})))
    assert radius_dm(one) == 5_000


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"satellites": 0}, NoFix.NO_SATELLITES),
        ({"io": {Io.GNSS_STATUS: 2}}, NoFix.NO_SATELLITES),
        ({"io": {Io.GNSS_STATUS: 1}}, None),
        ({"lat_e7": 0, "lon_e7": 0}, NoFix.IMPOSSIBLE_POSITION),
        ({"lat_e7": 900_000_001}, NoFix.IMPOSSIBLE_POSITION),
        ({"lon_e7": -1_800_000_001}, NoFix.IMPOSSIBLE_POSITION),
        ({"lat_e7": -900_000_000, "lon_e7": 1_800_000_000}, None),
        ({"time_ms": 1_577_836_799_999}, NoFix.IMPLAUSIBLE_TIME),
        ({"time_ms": 2**64 - 1}, NoFix.IMPLAUSIBLE_TIME),
    ],
)
def test_a_record_that_is_no_fix_keeps_no_other_from_being_one(values, why):
    """FC-102."""
    raw = packet(record(), record(**values), record())
    assert [no_fix(one) for one in read_packet(raw).records] == [None, why, None]
    assert len(columns(raw).fixes.frame) == (2 if why else 3)


@pytest.mark.parametrize(
    ("event_id", "value", "priority", "wanted"),
    [
        (Io.ALARM, 1, 2, (EventCode.PANIC, 0)),
        (Io.ALARM, 1, 0, (EventCode.PANIC, 0)),
        (Io.ALARM, 0, 1, None),
        (Io.MAN_DOWN, 1, 1, (EventCode.FALL, 0)),
        (Io.MAN_DOWN, 0, 1, None),
        (Io.JAMMING, 1, 1, (EventCode.JAMMING, 0)),
        (Io.JAMMING, 0, 1, (EventCode.JAMMING_ENDED, 0)),
        (Io.CHARGER, 1, 0, (EventCode.CHARGING, 0)),
        (Io.CHARGER, 0, 0, (EventCode.CHARGING_ENDED, 0)),
        (Io.UNPLUG, 1, 0, (EventCode.CHARGING_ENDED, 0)),
        (Io.UNPLUG, 0, 0, (EventCode.CHARGING, 0)),
        (Io.BATTERY_LEVEL, 21, 0, None),
        (Io.BATTERY_LEVEL, 20, 0, (EventCode.BATTERY_LOW, 20)),
        (Io.BATTERY_LEVEL, 5, 0, (EventCode.BATTERY_CRITICAL, 5)),
        (240, 1, 1, None),
        (240, 1, 2, (EventCode.PANIC, 240)),
        (0, 0, 0, None),
        (0, 0, 2, (EventCode.PANIC, 0)),
    ],
)
def test_what_caused_a_record_becomes_its_event(event_id, value, priority, wanted):
    """FC-103."""
    raw = packet(record(event_id=event_id, priority=priority, io={event_id: value}))
    assert event_of(only(raw)) == wanted
    assert has_event(read_packet(raw)) is (wanted is not None)
    events = columns(raw).events
    found = list(zip(events.code.tolist(), events.value.tolist(), strict=True))
    assert found == ([] if wanted is None else [wanted])


def test_an_event_waits_for_no_position_and_no_clock():
    """FC-103."""
    press = {"event_id": Io.ALARM, "io": {Io.ALARM: 1}}
    raw = packet(record(**press, satellites=0), record(**press, time_ms=0), record(**press))
    events = columns(raw).events
    assert events.record.tolist() == [0, 1, 2]
    assert events.accuracy_dm.tolist() == [65_535, 200, 200]
    assert events.lat_e7.tolist() == [0, 519_225_000, 519_225_000]
    assert events.time_ms.tolist() == [1_760_000_000_000, 0, 1_760_000_000_000]
    assert events.mechanism.tolist() == [0, 1, 1]


def test_an_element_of_variable_size_is_no_number():
    raw = packet(record(wide=True, event_id=Io.ALARM, io={Io.ALARM: b"\1"}), codec=0x8E)
    assert event_of(only(raw)) is None


def test_the_newest_fix_of_a_packet():
    raw = packet(record(time_ms=1_760_000_000_001), record(), record(time_ms=2**40, satellites=0))
    assert newest_fix_ms(read_packet(raw)) == 1_760_000_000_001
    assert newest_fix_ms(read_packet(packet(record(satellites=0)))) is None


GOOD = packet(record(io={Io.MOVEMENT: 1}), record())
REFUSED = [
    (b"", Fault.TRUNCATED),
    (GOOD[:7], Fault.TRUNCATED),
    (GOOD[:-1], Fault.TRUNCATED),
    (GOOD + b"!", Fault.BAD_LENGTH),
    (b"\1" + GOOD[1:], Fault.BAD_MAGIC),
    (b"GET / HTTP/1.1\r\n\r\n", Fault.BAD_MAGIC),
    (bytes(TELTONIKA_BYTES_MAX + 1), Fault.OVERSIZED),
    (bytes(4) + b"\xff\xff\xff\xff" + GOOD[8:], Fault.OVERSIZED),
    (GOOD[:20] + bytes([GOOD[20] ^ 1]) + GOOD[21:], Fault.BAD_CHECKSUM),
    (packet(record(), crc=0), Fault.BAD_CHECKSUM),
    (packet(record(), crc=0x1_0000 + crc16_ibm(packet(record())[8:-4])), Fault.BAD_CHECKSUM),
    (packet(record(), codec=0x0C), Fault.UNKNOWN_VERSION),
    (packet(record(), codec=0x10), Fault.UNKNOWN_VERSION),
    (packet(count=0), Fault.BAD_COUNT),
    (packet(record(), last=2), Fault.BAD_COUNT),
    (packet(record(), count=2, last=2), Fault.TRUNCATED),
    (packet(record() + b"\0"), Fault.BAD_LENGTH),
    (packet(record(), record(), count=1), Fault.BAD_LENGTH),
    (packet(record(total=1)), Fault.BAD_COUNT),
    (packet(record(io={1: 1}, total=0)), Fault.BAD_COUNT),
    (packet(record(wide=True)), Fault.BAD_LENGTH),
    (packet(record(), codec=0x8E), Fault.TRUNCATED),
    (
        bytes(4) + (2).to_bytes(4) + b"\x08\x00" + crc16_ibm(b"\x08\x00").to_bytes(4),
        Fault.TRUNCATED,
    ),
]


@pytest.mark.parametrize(("raw", "fault"), REFUSED)
def test_what_is_no_packet_is_refused_and_harms_no_other(raw, fault):
    """FC-011, FC-100, FC-101."""
    with pytest.raises(FrameError) as caught:
        read_packet(raw)
    assert caught.value.fault is fault
    tracked = columns(GOOD, raw, GOOD)
    assert [fault_of(number) for number in tracked.fault.tolist()] == [None, fault, None]
    assert tracked.fixes.frame.tolist() == [0, 0, 2, 2]


def test_a_size_is_known_from_the_head():
    assert packet_bytes(GOOD[:8]) == len(GOOD)
    with pytest.raises(FrameError, match="truncated"):
        packet_bytes(GOOD[:7])


def test_columns_believe_no_offset():
    offsets, lengths = np.array([0, -1, 5, 10**6]), np.array([len(GOOD), 4, -2, 7])
    tracked = teltonika_to_columns(GOOD, offsets, lengths)
    assert [fault_of(number) for number in tracked.fault.tolist()] == [None] + [Fault.TRUNCATED] * 3


def test_random_records_come_out_as_they_went_in(seed):
    """FC-100, FC-101: both codecs, every width."""
    generator = random.Random(seed)
    for _ in range(200):
        wide = generator.random() < 0.5
        widths = {name: generator.choice([1, 2, 4, 8]) for name in range(60)}
        rows = []
        for _ in range(generator.randrange(1, 6)):
            names = generator.sample(range(60), generator.randrange(12))
            io: dict[int, int | bytes] = {n: generator.randrange(256 ** widths[n]) for n in names}
            if wide and generator.random() < 0.5:
                io[300] = generator.randbytes(generator.randrange(40))
            rows.append(
                {
                    "time_ms": generator.randrange(2**64), "priority": generator.randrange(256),
                    "lon_e7": generator.randrange(-(2**31), 2**31),
                    "lat_e7": generator.randrange(-(2**31), 2**31),
                    "altitude_m": generator.randrange(-(2**15), 2**15),
                    "angle_deg": generator.randrange(2**16),
                    "satellites": generator.randrange(256),
                    "speed_km_h": generator.randrange(2**16),
                    "event_id": generator.randrange(256), "io": io,
                }
            )  # fmt: skip
        raw = packet(
            *[record(wide=wide, widths=widths, **row) for row in rows], codec=0x8E if wide else 8
        )
        assert [one._asdict() for one in read_packet(raw).records] == rows
        columns(raw)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, 255))
def test_noise_gives_a_fault_and_nothing_else(noise, at, byte):
    """FC-011: raw noise, noise with a right checksum, and a packet with one byte changed."""
    spoilt = bytearray(GOOD)
    spoilt[min(at, len(GOOD) - 1)] = byte
    framed = bytes(4) + len(noise).to_bytes(4) + noise + crc16_ibm(noise).to_bytes(4)
    for raw in (noise, framed, bytes(spoilt)):
        tracked = columns(raw, GOOD)
        assert tracked.fault[1] == 0
        assert (tracked.fixes.frame == 1).sum() == 2
