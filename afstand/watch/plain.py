"""Entries that hold nothing but plain fixes, decoded in one compiled loop.

A plain fix is a frame of contract version 1.0 with one record, of a registered device: what nearly
every entry is full of. A live watch reads a few entries at a time, where a column operation costs
more than the work in it. An entry with anything else in it, or anything wrong, is left to
`page.py`; a test holds the two together.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_inline
from afstand.limits import JOURNAL_FRAMES_MAX
from afstand.watch.kernels import TABLES, crc_of
from firmware_contracts.codes import MAGIC, MAJOR, MINOR, TAG_BYTES, Kind, Mechanism
from firmware_contracts.table import (
    FIX,
    HEADER,
    HEADER_BYTES,
    HEADER_DTYPE,
    LAT,
    LON,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
    dtype_of,
)
from ingest.columns import KIND_CODES, EntryColumns
from ingest.entries import (
    FLAGGED_VERSION,
    FRAMES_HEAD,
    FRAMES_VERSION,
    RECORD,
    EntryFlag,
    EntryKind,
    FrameFlag,
    LaneCode,
)

Ints = npt.NDArray[np.int64]
Raw = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

_FRAME_BYTES: Final = HEADER_BYTES + dtype_of(Kind.FIX).itemsize + TAG_BYTES
_HEADING_MAX: Final = 35_999
_BATTERY_MAX: Final = 100


def _head() -> Raw:
    """Return what a plain frame begins with: magic, version, kind, flags, size, one record."""
    header = np.zeros(1, HEADER_DTYPE)
    header["magic"], header["major"], header["minor"] = MAGIC, MAJOR, MINOR
    header["kind"], header["count"] = Kind.FIX, 1
    header["record_bytes"] = dtype_of(Kind.FIX).itemsize
    return np.frombuffer(header.tobytes()[:8], np.uint8)


def _at(dtype: np.dtype[np.void], name: str) -> int:
    fields = dtype.fields
    assert fields is not None
    return int(fields[name][1])


# Arguments and no constants of the kernel: compiled code is kept by this file's content, and the
# tables stand in others.
_HEAD: Final = _head()
_FIELDS: Final = np.array(
    [HEADER.offset_of(name) for name in ("boot", "sequence", "device_time_ms")]
    + [
        HEADER_BYTES + FIX.offset_of(name)
        for name in (
            *("time_offset_ms", "lat_e7", "lon_e7", "accuracy_dm"),
            *("speed_cm_s", "heading_cdeg", "mechanism", "battery_pct"),
        )
    ],
    np.int64,
)
_SHAPE: Final = np.array(
    [
        *(_FRAME_BYTES, FRAMES_HEAD.itemsize, RECORD.itemsize, _at(FRAMES_HEAD, "crc32")),
        *(_at(FRAMES_HEAD, name) for name in ("names", "records", "names_bytes", "payload_bytes")),
        *(_at(RECORD, name) for name in ("handle", "lane", "flags", "ext", "received_ms")),
        *(_at(RECORD, name) for name in ("offset", "length")),
        *(FRAMES_VERSION, JOURNAL_FRAMES_MAX, int(LaneCode.FIX)),
        *(int(FrameFlag.AUTHENTICATED), int(np.uint8(~np.uint8(sum(FrameFlag))))),
        *(KIND_CODES[EntryKind.FRAMES], KIND_CODES[EntryKind.TICK]),
        *(FLAGGED_VERSION, int(EntryFlag.BEHIND), _at(FRAMES_HEAD, "flags")),
    ],
    np.int64,
)
_BOUNDS: Final = np.array(
    [
        *(TIME_MS_MIN, TIME_MS_MAX, *LAT, *LON, _HEADING_MAX, U16_UNKNOWN),
        *(_BATTERY_MAX, U8_UNKNOWN, max(Mechanism), Mechanism.UNKNOWN),
    ],
    np.int64,
)
_COLUMNS: Final = 12


class PlainFixes(NamedTuple):
    """What plain entries hold, a row a frame; `ends[k]` frames are in the entries up to `k`.

    `behind[k]`: the intake was behind when it wrote entry `k`.
    """

    plain: Mask
    behind: Mask
    ends: Ints
    handles: Ints
    proven: Ints
    received_ms: Ints
    boots: Ints
    sequences: Ints
    time_ms: Ints
    lat_e7: Ints
    lon_e7: Ints
    accuracy_dm: Ints
    speed_cm_s: Ints
    heading_cdeg: Ints
    mechanism: Ints


def plain_fixes(entries: EntryColumns) -> PlainFixes | None:
    """Decode entries; None when there is one with frames that is not plain."""
    room = int(entries.length.sum()) // (_FRAME_BYTES + RECORD.itemsize) + 1
    rows = np.empty((_COLUMNS, room), np.int64)
    plain, ends = np.empty(len(entries), np.bool_), np.empty(len(entries), np.int64)
    behind = np.zeros(len(entries), np.bool_)
    found = _plain_fixes(
        entries.data,
        entries.kind,
        entries.start,
        entries.length,
        TABLES,
        _HEAD,
        _FIELDS,
        _SHAPE,
        _BOUNDS,
        rows,
        plain,
        behind,
        ends,
    )
    if found < 0:
        return None
    return PlainFixes(plain, behind, ends, *rows[:, :found])


def warm_up() -> None:
    """Compile the loop."""
    plain_fixes(EntryColumns.of([]))


@jit_inline
def _unsigned(data: Raw, at: int, width: int) -> int:
    value = 0
    for k in range(width):
        value |= int(data[at + k]) << (8 * k)
    return value


@jit_inline
def _signed(data: Raw, at: int) -> int:
    value = _unsigned(data, at, 4)
    return value - ((value >> 31) << 32)


@jit
def _plain_fixes(
    data: Raw,
    kinds: Raw,
    starts: Ints,
    lengths: Ints,
    tables: Words,
    head: Raw,
    fields: Ints,
    shape: Ints,
    bounds: Ints,
    rows: Ints,
    plain: Mask,
    behind: Mask,
    ends: Ints,
) -> int:
    frame_bytes, head_bytes, record_bytes, crc_at = shape[0], shape[1], shape[2], shape[3]
    found = 0
    for k in range(len(starts)):
        plain[k] = kinds[k] == shape[21]
        if kinds[k] == shape[20]:
            plain[k] = True
            start, length = starts[k], lengths[k]
            if length < head_bytes:
                return -1
            # One flag is known: an entry has it and is of the version that has flags, or neither.
            entry_flags = data[start + shape[24]]
            behind[k] = entry_flags == shape[23]
            count = _unsigned(data, start + shape[5], 4)
            payload = _unsigned(data, start + shape[7], 4)
            if (
                data[start] != (shape[22] if behind[k] else shape[15])
                or (entry_flags != 0 and not behind[k])
                or _unsigned(data, start + shape[4], 2) != 0
                or _unsigned(data, start + shape[6], 4) != 0
                or count < 1
                or count > shape[16]
                or head_bytes + count * record_bytes + payload != length
                or crc_of(data, start, length, crc_at, head_bytes, tables)
                != _unsigned(data, start + crc_at, 4)
            ):
                return -1
            table = start + head_bytes
            for number in range(count):
                record = table + number * record_bytes
                offset = _unsigned(data, record + shape[13], 4)
                flags = int(data[record + shape[10]])
                if (
                    found == rows.shape[1]  # frames that share their bytes: more than there is room
                    or _unsigned(data, record + shape[14], 4) != frame_bytes
                    or offset + frame_bytes > payload
                    or data[record + shape[9]] != shape[17]
                    or (flags & shape[19]) != 0
                    or _unsigned(data, record + shape[11], 2) != 0
                    or data[record + shape[12] + 7] != 0  # no time of ours is so large
                ):
                    return -1
                frame = table + count * record_bytes + offset
                for byte in range(len(head)):
                    if data[frame + byte] != head[byte]:
                        return -1
                # A time beyond int64 wraps to below zero here, which is refused as well.
                sealed_ms = _unsigned(data, frame + fields[2], 8)
                time_ms = sealed_ms + _signed(data, frame + fields[3])
                lat, lon = _signed(data, frame + fields[4]), _signed(data, frame + fields[5])
                accuracy = _unsigned(data, frame + fields[6], 2)
                heading = _unsigned(data, frame + fields[8], 2)
                mechanism = int(data[frame + fields[9]])
                battery = int(data[frame + fields[10]])
                if (
                    sealed_ms < bounds[0]
                    or sealed_ms > bounds[1]
                    or time_ms < bounds[0]
                    or time_ms > bounds[1]
                    or lat < bounds[2]
                    or lat > bounds[3]
                    or lon < bounds[4]
                    or lon > bounds[5]
                    or (lat == 0 and lon == 0)
                    or accuracy == 0
                    or (heading > bounds[6] and heading != bounds[7])
                    or (battery > bounds[8] and battery != bounds[9])
                ):
                    return -1
                rows[0, found] = _unsigned(data, record + shape[8], 4)
                rows[1, found] = 1 if flags & shape[18] else 0
                rows[2, found] = _unsigned(data, record + shape[12], 8)
                rows[3, found] = _unsigned(data, frame + fields[0], 4)
                rows[4, found] = _unsigned(data, frame + fields[1], 4)
                rows[5, found] = time_ms
                rows[6, found] = lat
                rows[7, found] = lon
                rows[8, found] = accuracy
                rows[9, found] = _unsigned(data, frame + fields[7], 2)
                rows[10, found] = heading
                rows[11, found] = mechanism if mechanism <= bounds[10] else bounds[11]
                found += 1
        ends[k] = found
    return found
