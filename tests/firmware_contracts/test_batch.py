"""Batches of frames against a slow reader written from the specification, one frame at a time."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.limits import FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from firmware_contracts import Fault, FrameError, fault_of, read_header
from firmware_contracts.batch import DecodedBatch, decode_batch
from tests.firmware_contracts.samples import (
    ACK,
    COMMAND,
    EVENT,
    FIX,
    HEADER,
    NOW_MS,
    RECORD,
    SOUND_EVENT,
    SOUND_FIX,
    SOUND_STATUS,
    STATUS,
    TIME_MS_MAX,
    TIME_MS_MIN,
    frame,
    joined,
    replaced,
)


def decoded(frames: list[bytes]) -> DecodedBatch:
    return decode_batch(*joined(frames))


def faults(frames: list[bytes]) -> list[Fault | None]:
    return [fault_of(int(number)) for number in decoded(frames).fault]


# --- the slow reader ----------------------------------------------------------------------------


def plausible(*times_ms: int) -> bool:
    return all(TIME_MS_MIN <= time_ms <= TIME_MS_MAX for time_ms in times_ms)


def is_place(lat: int, lon: int, accuracy: int) -> bool:
    on_globe = abs(lat) <= 900_000_000 and abs(lon) <= 1_800_000_000
    return on_globe and (lat, lon) != (0, 0) and accuracy != 0


def slow_fix(row: tuple[int, ...], sealed_ms: int) -> list[int] | None:
    offset, lat, lon, accuracy, speed, heading, mechanism, satellites, battery, flags, alt = row
    time_ms = sealed_ms + offset
    if not plausible(sealed_ms, time_ms) or not is_place(lat, lon, accuracy):
        return None
    if 36_000 <= heading < 65_535 or 100 < battery < 255:
        return None
    mechanism = mechanism if mechanism <= 4 else 0
    return [
        time_ms, lat, lon, accuracy, speed, heading, mechanism, satellites, battery, flags, alt,
    ]  # fmt: skip


def slow_event(row: tuple[int, ...], sealed_ms: int) -> list[int]:
    offset, code, value, lat, lon, accuracy, mechanism, _ = row
    time_ms = sealed_ms + offset if plausible(sealed_ms, sealed_ms + offset) else 0
    place = [lat, lon, accuracy, mechanism if mechanism <= 4 else 0]
    if accuracy == 65_535 or not is_place(lat, lon, accuracy):
        place = [0, 0, 65_535, 0]
    return [time_ms, code, value, *place]


def slow_status(row: tuple[int, ...], sealed_ms: int) -> list[int] | None:
    offset, *rest = row
    if 100 < rest[7] < 255:
        return None
    time_ms = sealed_ms + offset if plausible(sealed_ms, sealed_ms + offset) else 0
    return [time_ms, *rest]


SLOW: dict[int, Any] = {FIX: slow_fix, EVENT: slow_event, STATUS: slow_status}


def slow(frames: list[bytes]) -> tuple[dict[int, list[list[int]]], list[Fault | None]]:
    """Every row of every kind, and the fault of every frame."""
    rows: dict[int, list[list[int]]] = {FIX: [], EVENT: [], STATUS: []}
    found: list[Fault | None] = []
    for index, raw in enumerate(frames):
        try:
            header = read_header(raw)
        except FrameError as error:
            found.append(error.fault)
            continue
        if header.kind not in SLOW:
            found.append(Fault.WRONG_DIRECTION)
            continue
        sealed_ms = struct.unpack_from(HEADER, raw)[9]
        mine = []
        for record in range(header.count):
            row = struct.unpack_from(RECORD[header.kind], raw, 32 + record * header.record_bytes)
            values = SLOW[header.kind](row, sealed_ms)
            numbered = [record] if header.kind == EVENT else []
            mine.append(values and [index, header.boot, header.sequence, *numbered, *values])
        found.append(Fault.IMPOSSIBLE_VALUE if None in mine else None)
        if None not in mine:
            rows[header.kind] += mine
    return rows, found


def agrees(frames: list[bytes]) -> None:
    batch = decoded(frames)
    rows, found = slow(frames)
    assert [fault_of(int(number)) for number in batch.fault] == found
    for kind, columns in ((FIX, batch.fixes), (EVENT, batch.events), (STATUS, batch.status)):
        assert np.array(columns, dtype=np.int64).T.tolist() == rows[kind]


# --- what frames hold ---------------------------------------------------------------------------


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high)


WIDTHS = {"B": (8, False), "H": (16, False), "I": (32, False), "i": (32, True), "h": (16, True)}
ROW = {
    kind: st.tuples(*[integers(WIDTHS[c][0], signed=WIDTHS[c][1]) for c in RECORD[kind][1:]])
    for kind in (FIX, EVENT, STATUS)
}


def nearly(kind: int, row: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    """A row that is sound but for one value that may be anything."""
    places = st.integers(0, len(row) - 1)
    return st.tuples(ROW[kind], places).map(
        lambda drawn: replaced(row, **{f"p{drawn[1]}": drawn[0][drawn[1]]})
    )


NEARLY = {
    FIX: nearly(FIX, SOUND_FIX),
    EVENT: nearly(EVENT, SOUND_EVENT),
    STATUS: nearly(STATUS, SOUND_STATUS),
}
TIMES = st.sampled_from([
    NOW_MS, NOW_MS, NOW_MS, 0, TIME_MS_MIN - 1, TIME_MS_MIN, TIME_MS_MAX, TIME_MS_MAX + 1,
    2**63 - 1, 2**63, 2**64 - 1,
])  # fmt: skip


@st.composite
def sound_or_nearly(draw) -> bytes:
    kind = draw(st.sampled_from([FIX, FIX, EVENT, STATUS]))
    records = draw(st.lists(st.one_of(NEARLY[kind], ROW[kind]), min_size=1, max_size=4))
    minor = draw(st.sampled_from([0, 0, 0, 1, 255]))
    return frame(
        kind,
        records,
        minor=minor,
        tail=draw(st.binary(max_size=5)) if minor else b"",
        boot=draw(integers(32, signed=False)),
        sequence=draw(integers(32, signed=False)),
        time_ms=draw(TIMES),
        flags=draw(st.sampled_from([0, 0, 0, 1, 6])),
        reserved=draw(st.sampled_from([0, 2**64 - 1])),
    )


@st.composite
def damaged(draw) -> bytes:
    raw = bytearray(draw(sound_or_nearly()))
    for _ in range(draw(st.integers(1, 3))):
        raw[draw(st.integers(0, min(40, len(raw)) - 1))] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.integers(0, len(raw)))]) if draw(st.booleans()) else bytes(raw)


ANYTHING = st.one_of(
    sound_or_nearly(),
    damaged(),
    st.binary(max_size=120),
    st.sampled_from([frame(ACK), frame(COMMAND), bytes(FRAME_BYTES_MAX + 1)]),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(ANYTHING, max_size=6))
def test_any_batch_is_read_as_the_slow_reader_reads_it(frames):
    """FC-001 to FC-011, FC-034 to FC-047."""
    agrees(frames)


@pytest.mark.slow
@given(st.lists(ANYTHING, min_size=1, max_size=5), st.data())
def test_a_bad_frame_never_harms_its_neighbours(frames, data):
    """FC-011: each frame alone gives what it gives in company, wherever it stands."""
    order = data.draw(st.permutations(range(len(frames))))
    batch = decoded([frames[place] for place in order])
    together: Any
    single: Any
    for position, place in enumerate(order):
        alone = decoded([frames[place]])
        assert batch.fault[position] == alone.fault[0]
        for together, single in zip(batch[:3], alone[:3], strict=True):
            mine = together.frame == position
            for one, other in zip(together[1:], single[1:], strict=True):
                assert one[mine].tolist() == other.tolist()


@given(
    st.binary(max_size=300),
    st.lists(st.tuples(integers(64, signed=True), integers(64, signed=True)), max_size=5),
)
def test_offsets_and_lengths_may_be_anything(payload, places):
    """FC-011: also a journal entry with a spoiled index reads no byte outside its payload."""
    columns = np.array(places, dtype=np.int64).reshape(-1, 2)
    batch = decode_batch(payload, columns[:, 0], columns[:, 1])
    assert batch.fault.all()


def test_a_batch_of_every_kind_and_count():
    frames = [
        frame(FIX, [SOUND_FIX] * FRAME_RECORDS_MAX),
        frame(EVENT, [SOUND_EVENT, replaced(SOUND_EVENT, p1=12)]),
        frame(STATUS, [SOUND_STATUS]),
        frame(FIX, [SOUND_FIX]),
    ]
    agrees(frames)
    batch = decoded(frames)
    assert not batch.fault.any()
    assert len(batch.fixes.frame) == FRAME_RECORDS_MAX + 1
    assert batch.events.record.tolist() == [0, 1]
    assert batch.events.code.tolist() == [1, 12]


def test_nothing_gives_nothing():
    batch = decoded([])
    assert [len(column) for columns in batch[:3] for column in columns] == [0] * (14 + 11 + 15)
    assert batch.fault.tolist() == []


def test_columns_have_the_promised_types():
    batch = decoded([frame(FIX), frame(EVENT), frame(STATUS)])
    empty = decoded([])
    columns: Any
    none: Any
    for columns, none in zip(batch[:3], empty[:3], strict=True):
        assert [column.dtype for column in columns] == [column.dtype for column in none]
        assert columns.frame.dtype == columns.time_ms.dtype == np.int64
    assert batch.fixes.lat_e7.dtype == np.int32
    assert batch.fixes.mechanism.dtype == np.uint8


def test_unsigned_columns_and_a_memoryview_serve_as_well():
    payload, offsets, lengths = joined([frame(FIX), b"x", frame(EVENT)])
    batch = decode_batch(memoryview(payload), offsets.astype("<u4"), lengths.astype("<u4"))
    assert [fault_of(int(number)) for number in batch.fault] == [None, Fault.TRUNCATED, None]


@pytest.mark.parametrize(
    ("offsets", "lengths"),
    [([0], [0, 0]), ([[0]], [[0]]), ([0.5], [49.0]), (["a"], ["b"])],
)
def test_columns_that_are_none_are_the_callers_fault(offsets, lengths):
    with pytest.raises(ValueError, match=r"column|lengths"):
        decode_batch(bytes(60), np.array(offsets), np.array(lengths))


def test_a_newer_minor_with_longer_records():
    """FC-005: what a newer minor adds behind every record is passed over."""
    plain = decoded([frame(FIX, [SOUND_FIX, replaced(SOUND_FIX, p1=5)])])
    longer = decoded(
        [frame(FIX, [SOUND_FIX, replaced(SOUND_FIX, p1=5)], minor=3, tail=b"\xff" * 9)]
    )
    one: Any
    other: Any
    for one, other in zip(plain.fixes, longer.fixes, strict=True):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize(
    ("place", "value", "sound"),
    [
        ("p1", 900_000_000, True),  # FC-040
        ("p1", 900_000_001, False),
        ("p1", -900_000_000, True),
        ("p1", -900_000_001, False),
        ("p2", 1_800_000_000, True),
        ("p2", 1_800_000_001, False),
        ("p2", -1_800_000_001, False),
        ("p3", 0, False),  # FC-042
        ("p3", 1, True),
        ("p3", 65_535, True),
        ("p5", 35_999, True),  # FC-043
        ("p5", 36_000, False),
        ("p5", 65_534, False),
        ("p5", 65_535, True),
        ("p8", 100, True),
        ("p8", 101, False),
        ("p8", 254, False),
        ("p8", 255, True),
        ("p6", 5, True),  # FC-047
        ("p9", 255, True),
    ],
)
def test_the_bounds_of_a_fix(place, value, sound):
    raw = frame(FIX, [replaced(SOUND_FIX, **{place: value})])
    assert faults([raw]) == [None if sound else Fault.IMPOSSIBLE_VALUE]
    agrees([raw])


def test_a_fix_at_null_island_is_refused():
    """FC-041: and one a hair beside it is not."""
    nowhere = replaced(SOUND_FIX, p1=0, p2=0)
    assert faults([frame(FIX, [nowhere])]) == [Fault.IMPOSSIBLE_VALUE]
    assert faults([frame(FIX, [replaced(nowhere, p1=1)])]) == [None]
    assert faults([frame(FIX, [replaced(nowhere, p2=-1)])]) == [None]


def test_one_impossible_record_refuses_its_frame():
    """FC-044, FC-011."""
    bad = frame(FIX, [SOUND_FIX, replaced(SOUND_FIX, p3=0), SOUND_FIX])
    batch = decoded([frame(FIX), bad, frame(FIX, [SOUND_FIX] * 2)])
    assert [fault_of(int(number)) for number in batch.fault] == [None, Fault.IMPOSSIBLE_VALUE, None]
    assert batch.fixes.frame.tolist() == [0, 2, 2]


@pytest.mark.parametrize("time_ms", [0, TIME_MS_MIN - 1, TIME_MS_MAX + 1, 2**63, 2**64 - 1])
def test_times_that_cannot_be_right(time_ms):
    """FC-035, FC-036: a fix is refused; an event and a status are kept, with no time."""
    frames = [frame(kind, time_ms=time_ms) for kind in (FIX, EVENT, STATUS)]
    batch = decoded(frames)
    assert [fault_of(int(number)) for number in batch.fault] == [Fault.IMPOSSIBLE_VALUE, None, None]
    assert batch.events.time_ms.tolist() == batch.status.time_ms.tolist() == [0]


def test_the_time_of_a_record():
    """FC-034, FC-035: the record's own time counts too."""
    batch = decoded([frame(FIX, [SOUND_FIX, replaced(SOUND_FIX, p0=-86_400_000)])])
    assert batch.fixes.time_ms.tolist() == [NOW_MS - 1500, NOW_MS - 86_400_000]
    for time_ms in (TIME_MS_MIN, TIME_MS_MAX):
        edge = frame(FIX, [replaced(SOUND_FIX, p0=0)], time_ms=time_ms)
        assert decoded([edge]).fixes.time_ms.tolist() == [time_ms]
    early = frame(FIX, [replaced(SOUND_FIX, p0=-2000)], time_ms=TIME_MS_MIN + 1999)
    assert faults([early]) == [Fault.IMPOSSIBLE_VALUE]


@pytest.mark.parametrize(
    "changes",
    [{"p3": 900_000_001}, {"p4": -(2**31)}, {"p3": 0, "p4": 0}, {"p5": 0}, {"p5": 65_535}],
)
def test_a_press_without_a_possible_place_is_still_a_press(changes):
    """FC-045."""
    batch = decoded([frame(EVENT, [replaced(SOUND_EVENT, **changes)])])
    events = batch.events
    assert batch.fault.tolist() == [0]
    assert events.code.tolist() == [1]
    place = (events.lat_e7[0], events.lon_e7[0], events.accuracy_dm[0], events.mechanism[0])
    assert place == (0, 0, 65_535, 0)


@pytest.mark.parametrize("code", [0, 14, 27, 999, 65_535])
def test_an_event_code_of_a_newer_minor_is_handed_on(code):
    """FC-046."""
    assert decoded([frame(EVENT, [replaced(SOUND_EVENT, p1=code)])]).events.code.tolist() == [code]


def test_a_mechanism_of_a_newer_minor_is_unknown():
    """FC-047."""
    rows = [replaced(SOUND_FIX, p6=number) for number in (4, 5, 255)]
    assert decoded([frame(FIX, rows)]).fixes.mechanism.tolist() == [4, 0, 0]
    rows = [replaced(SOUND_EVENT, p6=number) for number in (4, 5, 255)]
    assert decoded([frame(EVENT, rows)]).events.mechanism.tolist() == [4, 0, 0]


def test_frames_of_the_server_do_not_come_from_a_device():
    """FC-009."""
    frames = [frame(ACK), frame(COMMAND), frame(FIX, flags=1), frame(ACK, flags=0)]
    assert faults(frames) == [Fault.WRONG_DIRECTION] * 4
