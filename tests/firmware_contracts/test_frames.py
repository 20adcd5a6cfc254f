"""One frame at a time: structure, tag, acks and commands."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afstand.limits import FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from firmware_contracts import (
    CommandCode,
    EventCode,
    Fault,
    FrameError,
    Kind,
    Tagger,
    decode_acks,
    decode_commands,
    encode_ack,
    encode_command,
    encode_event,
    encode_fixes,
    encode_status,
    fix_records,
    read_header,
)
from tests.firmware_contracts.samples import (
    ACK,
    COMMAND,
    DEVICE,
    EVENT,
    FIX,
    KEY,
    NOW_MS,
    RECORD,
    SOUND,
    SOUND_EVENT,
    SOUND_FIX,
    SOUND_STATUS,
    STATUS,
    frame,
    replaced,
    rfc_4493,
)

KINDS = (FIX, EVENT, STATUS, ACK, COMMAND)


def fault_of_header(raw: bytes) -> Fault:
    with pytest.raises(FrameError) as caught:
        read_header(raw)
    return caught.value.fault


@pytest.mark.parametrize("kind", KINDS)
def test_header_is_read_back(kind):
    """FC-001, FC-002: the parts stand where the specification says."""
    header = read_header(frame(kind, [SOUND[kind]] * 3, boot=0x01020304, sequence=0xFFFFFFFE))
    assert (header.kind, header.count, header.minor) == (Kind(kind), 3, 0)
    assert (header.boot, header.sequence) == (0x01020304, 0xFFFFFFFE)
    assert header.device_time_ms == NOW_MS
    assert header.record_bytes == struct.calcsize(RECORD[kind])


def test_a_byte_too_many_or_too_few_is_refused():
    """FC-001."""
    whole = frame(FIX, [SOUND_FIX] * 2)
    assert fault_of_header(whole + b"\0") is Fault.BAD_LENGTH
    for size in range(len(whole)):
        assert fault_of_header(whole[:size]) is Fault.TRUNCATED


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (frame(magic=0x57AF), Fault.BAD_MAGIC),  # FC-003
        (frame(major=0), Fault.UNKNOWN_VERSION),  # FC-004
        (frame(major=2), Fault.UNKNOWN_VERSION),
        (frame(wire_kind=0), Fault.UNKNOWN_KIND),  # FC-008
        (frame(wire_kind=6), Fault.UNKNOWN_KIND),
        (frame(flags=1), Fault.WRONG_DIRECTION),  # FC-009
        (frame(EVENT, flags=1), Fault.WRONG_DIRECTION),
        (frame(STATUS, flags=1), Fault.WRONG_DIRECTION),
        (frame(ACK, flags=0), Fault.WRONG_DIRECTION),
        (frame(COMMAND, flags=0), Fault.WRONG_DIRECTION),
        (frame(count=0), Fault.BAD_COUNT),  # FC-007
        (frame(FIX, [SOUND_FIX] * (FRAME_RECORDS_MAX + 1)), Fault.BAD_COUNT),
        (frame(count=2), Fault.TRUNCATED),
        (frame(FIX, [SOUND_FIX] * 2, count=1), Fault.BAD_LENGTH),
        (frame(tail=b"\0"), Fault.BAD_LENGTH),  # FC-006: longer records without a newer minor
        (frame(record_bytes=23), Fault.BAD_LENGTH),
        (frame(record_bytes=23, minor=9), Fault.BAD_LENGTH),
        (b"\0" * (FRAME_BYTES_MAX + 1), Fault.OVERSIZED),  # FC-007
        (b"", Fault.TRUNCATED),
    ],
)
def test_a_wrong_structure_has_its_reason(raw, fault):
    assert fault_of_header(raw) is fault


def test_longer_records_of_a_newer_minor_are_accepted():
    """FC-005."""
    header = read_header(frame(ACK, [SOUND[ACK]] * 2, minor=1, tail=b"new"))
    assert header.record_bytes == 15
    assert decode_acks(frame(ACK, [SOUND[ACK]] * 2, minor=1, tail=b"new")) == [(3, 1, 900)] * 2


def test_reserved_fields_and_unassigned_flags_are_ignored():
    """FC-010: reader; the encoder's zeroes are compared byte for byte below."""
    assert read_header(frame(flags=0xFE, reserved=2**64 - 1)).kind is Kind.FIX


@pytest.mark.parametrize("memory", [bytes, memoryview, bytearray])
def test_bytes_may_come_in_any_buffer(memory):
    raw = memory(frame(ACK))
    assert read_header(raw).kind is Kind.ACK
    assert decode_acks(raw) == [(3, 1, 900)]
    assert Tagger(DEVICE, KEY).valid(raw)


# --- encoders -----------------------------------------------------------------------------------


def test_encoders_write_the_bytes_of_the_specification():
    """FC-001, FC-002, FC-010, FC-020."""
    records = fix_records(2)
    for place, name in enumerate(records.dtype.names or ()):
        records[name] = SOUND_FIX[place]
    common = {"boot": 7, "sequence": 42, "device_time_ms": NOW_MS}
    assert encode_fixes(DEVICE, KEY, records=records, **common) == frame(FIX, [SOUND_FIX] * 2)
    event = encode_event(
        DEVICE, KEY, code=EventCode.PANIC, lat_e7=519_225_000, lon_e7=44_791_700, accuracy_dm=45,
        mechanism=1, time_offset_ms=-20, **common,
    )  # fmt: skip
    assert event == frame(EVENT, [SOUND_EVENT])
    status = encode_status(
        DEVICE, KEY, uptime_s=3600, firmware=0x01020003, stored_frames=4, interval_moving_s=30,
        interval_rest_s=300, battery_mv=3900, signal_dbm=-97, battery_pct=87, network=2,
        status_flags=30, **common,
    )  # fmt: skip
    assert status == frame(STATUS, [SOUND_STATUS])
    ack = encode_ack(DEVICE, KEY, records=[(3, 1, 900)], sequence=42, server_time_ms=NOW_MS)
    assert ack == frame(ACK, boot=0)
    command = encode_command(
        DEVICE, KEY, command_id=77, expires_ms=NOW_MS + 60_000, code=CommandCode.MESSAGE,
        text="ga naar huis", sequence=42, server_time_ms=NOW_MS,
    )  # fmt: skip
    assert command == frame(COMMAND, boot=0)


def test_an_event_without_a_whole_position_has_none():
    raw = encode_event(
        DEVICE, KEY, boot=1, sequence=1, device_time_ms=0, code=EventCode.DURESS, lat_e7=5, lon_e7=6
    )
    assert raw == frame(EVENT, [(0, 12, 0, 0, 0, 65535, 0, 0)], boot=1, sequence=1, time_ms=0)


def test_sequence_zero_is_for_the_last_will():
    """FC-032."""
    with pytest.raises(ValueError, match="last will"):
        encode_event(DEVICE, KEY, boot=1, sequence=0, device_time_ms=0, code=EventCode.PANIC)
    with pytest.raises(ValueError, match="last will"):
        encode_fixes(DEVICE, KEY, boot=1, sequence=0, device_time_ms=NOW_MS, records=fix_records(1))
    will = encode_status(DEVICE, KEY, boot=1, sequence=0, device_time_ms=NOW_MS, reason=3)
    assert read_header(will).sequence == 0


@pytest.mark.parametrize("count", [0, FRAME_RECORDS_MAX + 1])
def test_no_frame_without_records_or_with_too_many(count):
    """FC-007: writer."""
    with pytest.raises(ValueError, match="records"):
        encode_fixes(
            DEVICE, KEY, boot=1, sequence=1, device_time_ms=NOW_MS, records=fix_records(count)
        )
    with pytest.raises(ValueError, match="records"):
        encode_ack(DEVICE, KEY, records=[(1, 1, 1)] * count)


def test_fixes_of_another_dtype_are_not_encoded():
    with pytest.raises(ValueError, match="dtype"):
        encode_fixes(
            DEVICE,
            KEY,
            boot=1,
            sequence=1,
            device_time_ms=NOW_MS,
            records=fix_records(1)[["lat_e7", "lon_e7"]],
        )


# --- tags ---------------------------------------------------------------------------------------

RFC_4493_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
RFC_4493_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)


@pytest.mark.parametrize(
    ("size", "tag"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_the_tests_own_cmac_is_that_of_rfc_4493(size, tag):
    """FC-020: the four published examples."""
    assert rfc_4493(RFC_4493_KEY, RFC_4493_MESSAGE[:size]).hex() == tag


@given(
    st.binary(min_size=16, max_size=16),
    st.text("AZaz09._-", min_size=1, max_size=64),
    st.binary(max_size=200),
)
def test_a_tag_is_the_cmac_of_length_id_and_body(key, device, body):
    """FC-020: against the CMAC written out from the RFC."""
    whole = bytes([len(device)]) + device.encode() + body
    assert Tagger(device, key).tag(body) == rfc_4493(key, whole)


def test_one_tagger_serves_many_frames():
    tagger = Tagger(DEVICE, KEY)
    for kind in KINDS:
        raw = frame(kind)
        assert tagger.tag(raw[:-16]) == raw[-16:]
        assert tagger.valid(raw)


@given(st.sampled_from(KINDS), st.data())
def test_every_bit_of_a_frame_is_tagged(kind, data):
    """FC-021, FC-023: a flipped bit anywhere, the direction bit included, makes a frame invalid."""
    raw = bytearray(frame(kind))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert not Tagger(DEVICE, KEY).valid(raw)


def test_a_tag_is_of_one_device_under_one_key():
    """FC-020, FC-022: ids that only differ in where they end do not share a tag."""
    raw = frame(device="ab")
    assert Tagger("ab", KEY).valid(raw)
    assert not Tagger("a", KEY).valid(raw)
    assert not Tagger("a", KEY).valid(b"b" + raw)
    assert not Tagger("ab", bytes(16)).valid(raw)


def test_what_is_shorter_than_a_tag_is_not_valid():
    """FC-021."""
    tagger = Tagger(DEVICE, KEY)
    for size in range(17):
        assert not tagger.valid(bytes(size))


@pytest.mark.parametrize("device", ["", "a" * 65, "a/b", "a b", "é", "a\n", "+", "#"])
def test_a_device_id_is_checked(device):
    """FC-022."""
    with pytest.raises(ValueError, match="device id"):
        Tagger(device, KEY)


@pytest.mark.parametrize("key", [b"", bytes(15), bytes(17), bytes(32)])
def test_a_key_has_16_bytes(key):
    with pytest.raises(ValueError, match="16 bytes"):
        Tagger(DEVICE, key)


# --- acks and commands --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (frame(ACK, [(1, 1, 5), (1, 9, 8)]), Fault.IMPOSSIBLE_VALUE),  # FC-062
        (frame(COMMAND), Fault.UNKNOWN_KIND),
        (frame(FIX), Fault.UNKNOWN_KIND),
        (b"", Fault.TRUNCATED),
    ],
)
def test_a_bad_ack_is_refused(raw, fault):
    with pytest.raises(FrameError) as caught:
        decode_acks(raw)
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (frame(COMMAND, [replaced(SOUND[COMMAND], p0=0)]), Fault.IMPOSSIBLE_VALUE),  # FC-085
        (frame(COMMAND, [replaced(SOUND[COMMAND], p0=2**31)]), Fault.IMPOSSIBLE_VALUE),
        (frame(COMMAND, [replaced(SOUND[COMMAND], p5=b"\xff")]), Fault.IMPOSSIBLE_VALUE),  # FC-084
        (frame(ACK), Fault.UNKNOWN_KIND),
    ],
)
def test_a_bad_command_is_refused(raw, fault):
    with pytest.raises(FrameError) as caught:
        decode_commands(raw)
    assert caught.value.fault is fault


@given(
    st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 3), min_size=1, max_size=FRAME_RECORDS_MAX)
)
def test_acks_come_back(rows):
    """FC-062."""
    ordered = [(boot, *sorted(ends)) for boot, *ends in rows]
    assert decode_acks(encode_ack(DEVICE, KEY, records=ordered)) == ordered


@given(
    st.integers(1, 2**31 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=16),
)
def test_commands_come_back(command_id, expires_ms, code, arg1, arg2, text):
    """FC-084, FC-085; also a code that this version does not know."""
    raw = encode_command(
        DEVICE, KEY, command_id=command_id, expires_ms=expires_ms, code=code, arg1=arg1, arg2=arg2,
        text=text,
    )  # fmt: skip
    assert decode_commands(raw) == [(command_id, expires_ms, code, arg1, arg2, text)]


def test_a_text_ends_at_its_first_zero_byte():
    """FC-084."""
    raw = frame(COMMAND, [replaced(SOUND[COMMAND], p5=b"kom\0\xff\xff")])
    assert decode_commands(raw)[0].text == "kom"
    full = "é" * 32
    raw = encode_command(DEVICE, KEY, command_id=1, expires_ms=NOW_MS, code=3, text=full)
    assert decode_commands(raw)[0].text == full


@pytest.mark.parametrize("text", ["é" * 33, "a" * 65, "a\0b"])
def test_a_text_that_cannot_be_sent(text):
    """FC-084: writer."""
    with pytest.raises(ValueError, match="text"):
        encode_command(DEVICE, KEY, command_id=1, expires_ms=NOW_MS, code=3, text=text)


@pytest.mark.parametrize("command_id", [0, -1, 2**31])
def test_a_command_id_that_cannot_be_answered(command_id):
    """FC-085: writer."""
    with pytest.raises(ValueError, match="command id"):
        encode_command(DEVICE, KEY, command_id=command_id, expires_ms=NOW_MS, code=1)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_a_frame_error(raw):
    """FC-011."""
    for read in (read_header, decode_acks, decode_commands):
        with pytest.raises(FrameError):
            read(raw)


@given(st.sampled_from(KINDS), st.binary(min_size=1, max_size=40), st.integers(0, 200))
def test_a_damaged_frame_raises_nothing_but_a_frame_error(kind, junk, place):
    """FC-011."""
    raw = frame(kind)
    raw = raw[:place] + junk + raw[place + len(junk) :]
    for read in (read_header, decode_acks, decode_commands):
        with contextlib.suppress(FrameError):
            read(raw)
