"""Entries of the journal: what is built is read, and nothing else is believed."""

import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afstand.limits import JOURNAL_BLOB_BYTES_MAX, JOURNAL_FRAMES_MAX
from ingest.entries import (
    EntryError,
    EntryKind,
    EntryVersionError,
    FrameBatch,
    FrameFlag,
    FrameRecord,
    LaneCode,
    entry_fields,
    frame_cost_bytes,
    read_entry,
)
from ingest.store import BEGINNING, EntryId

names = st.text("abcXYZ019._-", min_size=1, max_size=64)
records = st.builds(
    FrameRecord,
    handle=st.integers(0, 2**32 - 1),
    lane=st.sampled_from(LaneCode),
    flags=st.integers(0, 7),
    received_ms=st.integers(0, 2**63),
    payload=st.binary(max_size=200),
    name=st.just("") | names,
)
batches = st.lists(records, min_size=1, max_size=40)


@pytest.mark.slow
@given(batches)
def test_what_is_built_is_read(batch):
    blob = FrameBatch.build(batch)
    read = FrameBatch.read(blob)
    assert read.records() == batch
    assert [bytes(read.frame(index)) for index in range(len(read))] == [r.payload for r in batch]


@pytest.mark.slow
@given(batches)
def test_the_size_of_a_blob_is_foreseen(batch):
    foreseen = sum(frame_cost_bytes(len(r.payload), len(r.name)) for r in batch)
    assert len(FrameBatch.build(batch)) <= 20 + foreseen


@pytest.mark.slow
@given(batches, st.data())
def test_every_changed_byte_is_found(batch, data):
    blob = bytearray(FrameBatch.build(batch))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EntryError):
        FrameBatch.read(bytes(blob))


@pytest.mark.slow
@given(batches, st.data())
def test_every_torn_blob_is_found(batch, data):
    blob = FrameBatch.build(batch)
    with pytest.raises(EntryError):
        FrameBatch.read(blob[: data.draw(st.integers(0, len(blob) - 1))])


@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    with pytest.raises(EntryError):
        FrameBatch.read(noise)


def resealed(blob: bytearray) -> bytes:
    """A blob whose checksum is right, whatever it says."""
    crc = zlib.crc32(blob[20:], zlib.crc32(blob[:16]))
    return bytes(blob[:16]) + crc.to_bytes(4, "little") + bytes(blob[20:])


@pytest.mark.slow
@given(batches, st.data())
def test_a_right_checksum_does_not_make_a_wrong_table_believed(batch, data):
    """Whatever the bytes are, reading gives a batch inside its payload or an EntryError."""
    blob = bytearray(FrameBatch.build(batch))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(2, len(blob) - 1))
        blob[at] = data.draw(st.integers(0, 255))
    try:
        read = FrameBatch.read(resealed(blob))
    except EntryError:
        return
    for index in range(len(read)):
        assert len(read.frame(index)) == read.lengths[index]
        read.name(index)


def test_a_later_version_stops_the_reader():
    blob = bytearray(
        FrameBatch.build([FrameRecord(1, LaneCode.FIX, FrameFlag.AUTHENTICATED, 5, b"x")])
    )
    blob[0] = 3
    with pytest.raises(EntryVersionError, match="version 3"):
        FrameBatch.read(resealed(blob))


@given(batches)
def test_an_entry_says_that_the_intake_was_behind_and_else_is_as_ever(batch):
    usual, flagged = FrameBatch.build(batch), FrameBatch.build(batch, behind=True)
    assert (usual[:2], flagged[:2]) == (b"\1\0", b"\2\1")
    assert flagged[2:16] + flagged[20:] == usual[2:16] + usual[20:], "the checksum covers the flag"
    read = FrameBatch.read(flagged)
    assert read.behind
    assert read.part(0, 1).behind
    assert not FrameBatch.read(usual).behind
    assert read.records() == batch


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("flags", [0, 1, 2, 3, 0x80, 0xFF])
def test_a_flag_that_its_version_does_not_have_is_refused(version, flags):
    blob = bytearray(FrameBatch.build([FrameRecord(1, LaneCode.FIX, 1, 5, b"x")]))
    blob[0], blob[1] = version, flags
    if (version, flags) in {(1, 0), (2, 1)}:
        assert FrameBatch.read(resealed(blob)).behind is (flags == 1)
        return
    with pytest.raises(EntryError, match=f"version {version} with the flags {flags}"):
        FrameBatch.read(resealed(blob))


def test_bounds():
    frame = FrameRecord(1, LaneCode.FIX, 0, 5, b"x")
    assert len(FrameBatch.read(FrameBatch.build([frame] * JOURNAL_FRAMES_MAX))) == 4096
    with pytest.raises(ValueError, match="4097 frames"):
        FrameBatch.build([frame] * (JOURNAL_FRAMES_MAX + 1))
    with pytest.raises(ValueError, match="0 frames"):
        FrameBatch.build([])
    with pytest.raises(ValueError, match="bytes"):
        FrameBatch.build([msgspec.structs.replace(frame, payload=bytes(JOURNAL_BLOB_BYTES_MAX))])


def test_an_entry_is_read_back():
    fields = entry_fields(EntryKind.SIGNAL, b"blob")
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    entry = read_entry(b"5-7", pairs)
    assert entry == (EntryId(5, 7), EntryKind.SIGNAL, b"blob")


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {},
        {b"v": b"1"},
        {b"v": b"1", b"k": b"frames"},
        {b"k": b"frames", b"b": b""},
        {b"v": b"1", b"k": b"tack", b"b": b""},
        {b"v": b"1", b"k": b"invalid", b"b": b""},
        {b"v": b"1", b"k": b"\xff", b"b": b""},
    ],
)
def test_an_entry_that_is_none_is_named_so(fields):
    assert read_entry(b"5-7", fields).kind is EntryKind.INVALID


def test_an_entry_of_a_later_format_stops_the_reader():
    with pytest.raises(EntryVersionError, match="5-7"):
        read_entry(b"5-7", {b"v": b"2", b"k": b"tick", b"b": b""})


ids = st.builds(EntryId, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(ids, ids)
def test_entry_ids(one, other):
    assert EntryId.parse(str(one)) == one == EntryId.parse(f"{one}".encode())
    assert one.next() > one
    assert (one < other) == ((one.ms, one.seq) < (other.ms, other.seq))
    assert one >= BEGINNING


@pytest.mark.parametrize(
    "text", ["", "5", "5-", "-5", "5-7-9", "5-x", " 5-7", b"\xff-1", "\u0663-\u0661"]
)
def test_what_is_no_entry_id(text):
    with pytest.raises(ValueError, match="not a stream id"):
        EntryId.parse(text)
