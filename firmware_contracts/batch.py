"""Many frames at once into numpy columns, without a Python loop per frame or per record.

A frame that is refused gives a fault number in its row of the fault column and no record; its
neighbours are not touched. Nothing in here raises for what stands in the payload.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.limits import FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from firmware_contracts.codes import MAGIC, MAJOR, MINOR, TAG_BYTES, FrameFlag, Kind, Mechanism
from firmware_contracts.faults import FAULT_NUMBER, Buffer, Fault
from firmware_contracts.frames import FRAME_BYTES_MIN
from firmware_contracts.table import (
    HEADER,
    HEADER_BYTES,
    HEADER_DTYPE,
    HEADER_STRUCT,
    LAT,
    LON,
    RECORDS,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
    dtype_of,
)

Ints = npt.NDArray[np.int64]
Column = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

DEVICE_KINDS: Final = (Kind.FIX, Kind.EVENT, Kind.STATUS)
_HEADING_MAX: Final = 35_999
_BATTERY_MAX: Final = 100


class DecodedFixes(NamedTuple):
    """Columns of equal length, one row per fix, in the order of frames and of records in them."""

    frame: Ints  # index of the frame in the batch
    boot: Ints
    sequence: Ints
    time_ms: Ints  # Unix time of the fix by the device's clock
    lat_e7: npt.NDArray[np.int32]
    lon_e7: npt.NDArray[np.int32]
    accuracy_dm: npt.NDArray[np.int32]  # 65535: not known or larger
    speed_cm_s: npt.NDArray[np.int32]  # 65535: not known
    heading_cdeg: npt.NDArray[np.int32]  # 65535: not known
    mechanism: npt.NDArray[np.uint8]  # a mechanism of a newer minor is UNKNOWN here
    satellites: npt.NDArray[np.uint8]
    battery_pct: npt.NDArray[np.uint8]  # 255: not known
    fix_flags: npt.NDArray[np.uint8]
    altitude_m: npt.NDArray[np.int32]  # -32768: not known


class DecodedEvents(NamedTuple):
    """Columns of equal length, one row per event.

    An event is never refused for its position or its clock: a press counts more than where the
    device thinks it is.
    """

    frame: Ints
    boot: Ints
    sequence: Ints
    record: Ints  # index of the record in its frame: (boot, sequence, record) names one press
    time_ms: Ints  # 0: the device's clock is not set or cannot be right
    code: npt.NDArray[np.int32]  # EventCode, or one of a newer minor
    value: npt.NDArray[np.int32]
    lat_e7: npt.NDArray[np.int32]
    lon_e7: npt.NDArray[np.int32]
    accuracy_dm: npt.NDArray[np.int32]  # 65535: no position (latitude and longitude are 0 then)
    mechanism: npt.NDArray[np.uint8]


class DecodedStatus(NamedTuple):
    """Columns of equal length, one row per status record."""

    frame: Ints
    boot: Ints
    sequence: Ints
    time_ms: Ints  # 0: the device's clock is not set or cannot be right
    uptime_s: Ints
    firmware: Ints
    stored_frames: Ints
    interval_moving_s: npt.NDArray[np.int32]
    interval_rest_s: npt.NDArray[np.int32]
    battery_mv: npt.NDArray[np.int32]
    signal_dbm: npt.NDArray[np.int32]
    battery_pct: npt.NDArray[np.uint8]
    network: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    status_flags: npt.NDArray[np.uint8]


class DecodedBatch(NamedTuple):
    """What a batch holds; `fault` has one number per frame, 0 for a sound one (faults.fault_of)."""

    fixes: DecodedFixes
    events: DecodedEvents
    status: DecodedStatus
    fault: npt.NDArray[np.uint8]


def decode_batch(
    payload: Buffer, offsets: npt.NDArray[Any], lengths: npt.NDArray[Any]
) -> DecodedBatch:
    """Decode the device frames at payload[offsets[i] : offsets[i] + lengths[i]].

    The tags are not checked. Frames from the server are refused as WRONG_DIRECTION. ValueError
    only for columns that are not integers of equal length.
    """
    offset, length = _column(offsets), _column(lengths)
    if offset.shape != length.shape:
        msg = f"{len(offset)} offsets and {len(length)} lengths"
        raise ValueError(msg)
    headers, fault = _read_headers(payload, offset, length)
    sound = fault == 0
    kind = headers["kind"]
    read: dict[Kind, Any] = {}
    for wanted in DEVICE_KINDS:
        rows = np.flatnonzero(sound & (kind == wanted))
        if not len(rows):
            read[wanted] = _NOTHING[wanted]
            continue
        columns, impossible = _READERS[wanted](
            _Records(payload, wanted, rows, offset[rows], headers[rows])
        )
        if impossible.any():
            # The whole frame is refused: who sends one impossible value is not believed in the
            # next.
            fault[columns.frame[impossible]] = FAULT_NUMBER[Fault.IMPOSSIBLE_VALUE]
            keep = fault[columns.frame] == 0
            columns = type(columns)(*[column[keep] for column in columns])
        read[wanted] = columns
    return DecodedBatch(read[Kind.FIX], read[Kind.EVENT], read[Kind.STATUS], fault)


def _column(values: npt.NDArray[Any]) -> Ints:
    column = np.asarray(values)
    if column.ndim != 1 or (len(column) and column.dtype.kind not in "iu"):
        msg = f"not a column of integers: {column.dtype}, {column.ndim} dimensions"
        raise ValueError(msg)
    return column.astype(np.int64)


def _gather(payload: Buffer, dtype: np.dtype[np.void], starts: Ints) -> Column:
    """Copy one record of `dtype` from every start; all of them must lie inside the payload."""
    places = len(payload) - dtype.itemsize + 1
    if places <= 0 or not len(starts):
        return np.zeros(0, dtype=dtype)
    # A view with a stride of one byte: element i is the record that starts at byte i.
    view: Column = np.ndarray((places,), dtype=dtype, buffer=payload, strides=(1,))
    return view[starts]


# --- headers ------------------------------------------------------------------------------------


def _head_word(kind: int, record_bytes: int) -> int:
    """Give the first eight bytes of a device's header, with a count of zero, as a number."""
    header = HEADER_STRUCT.pack(MAGIC, MAJOR, MINOR, kind, 0, record_bytes, 0, 0, 0, 0, 0)
    return int.from_bytes(header[:8], "little")


_COUNT_OFFSET: Final = HEADER.offset_of("count")
_NOT_COUNT: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF ^ (0xFF << 8 * _COUNT_OFFSET))
_KNOWN_BYTES: Final = np.zeros(256, dtype=np.int64)
_SERVER_KIND: Final = np.zeros(256, dtype=np.bool_)
_HEAD_WORD: Final = np.zeros(
    256, dtype=np.uint64
)  # zero has no magic: it equals the head of no frame
for _kind, _layout in RECORDS.items():
    _KNOWN_BYTES[_kind] = _layout.bytes
    _SERVER_KIND[_kind] = _kind not in DEVICE_KINDS
    if _kind in DEVICE_KINDS:
        _HEAD_WORD[_kind] = _head_word(_kind, _layout.bytes)


def _read_headers(payload: Buffer, offset: Ints, length: Ints) -> tuple[Column, Column]:
    """Give the headers (zero where unreadable) and the faults, as frames.read_header finds them."""
    fault = np.zeros(len(offset), dtype=np.uint8)
    inside = (offset >= 0) & (length >= FRAME_BYTES_MIN) & (length <= FRAME_BYTES_MAX)
    inside &= offset <= len(payload) - length
    if inside.all():
        headers = _gather(payload, HEADER_DTYPE, offset)
    else:
        headers = np.zeros(len(offset), dtype=HEADER_DTYPE)
        headers[inside] = _gather(payload, HEADER_DTYPE, offset[inside])
        fault[~inside] = FAULT_NUMBER[Fault.TRUNCATED]
        fault[length > FRAME_BYTES_MAX] = FAULT_NUMBER[Fault.OVERSIZED]
    # One comparison settles magic, version, kind, direction and record size of nearly every frame
    # there is.
    kind, count = headers["kind"], headers["count"].astype(np.int64)
    word = headers.view("<u8")[:: HEADER_BYTES // 8]
    whole = HEADER_BYTES + TAG_BYTES + count * _KNOWN_BYTES[kind]
    plain = ((word & _NOT_COUNT) == _HEAD_WORD[kind]) & (length == whole)
    plain &= (count >= 1) & (count <= FRAME_RECORDS_MAX)
    if not plain.all():
        rows = np.flatnonzero(inside & ~plain)
        fault[rows] = _header_faults(headers[rows], length[rows])
    return headers, fault


def _header_faults(headers: Column, length: Ints) -> Column:
    """Give the fault numbers of headers that are not plain; 0 for a sound newer minor."""
    fault = np.zeros(len(headers), dtype=np.uint8)

    def refuse(where: Mask, why: Fault) -> None:
        fault[where & (fault == 0)] = FAULT_NUMBER[why]

    kind = headers["kind"]
    count = headers["count"].astype(np.int64)
    record_bytes = headers["record_bytes"].astype(np.int64)
    known_bytes = _KNOWN_BYTES[kind]
    from_server = (headers["flags"] & FrameFlag.FROM_SERVER) != 0
    whole = HEADER_BYTES + count * record_bytes + TAG_BYTES
    refuse(headers["magic"] != MAGIC, Fault.BAD_MAGIC)
    refuse(headers["major"] != MAJOR, Fault.UNKNOWN_VERSION)
    refuse(known_bytes == 0, Fault.UNKNOWN_KIND)
    refuse(from_server | _SERVER_KIND[kind], Fault.WRONG_DIRECTION)
    refuse((count < 1) | (count > FRAME_RECORDS_MAX), Fault.BAD_COUNT)
    too_short = record_bytes < known_bytes
    refuse(
        too_short | ((headers["minor"] <= MINOR) & (record_bytes != known_bytes)), Fault.BAD_LENGTH
    )
    refuse(length < whole, Fault.TRUNCATED)
    refuse(length > whole, Fault.BAD_LENGTH)
    return fault


# --- records ------------------------------------------------------------------------------------


class _Records:
    """All records of one kind, with what their frames say."""

    __slots__ = ("boot", "data", "frame", "index", "sealed_ms", "sequence")

    def __init__(
        self, payload: Buffer, kind: Kind, frames: Ints, offset: Ints, headers: Column
    ) -> None:
        count = headers["count"].astype(np.int64)
        starts = offset + HEADER_BYTES
        if len(count) == int(count.sum()):
            self.index = np.zeros(len(count), dtype=np.int64)
        else:
            owner = np.repeat(np.arange(len(count), dtype=np.int64), count)  # row in `headers`
            first = np.cumsum(count) - count
            self.index = np.arange(len(owner), dtype=np.int64) - first[owner]
            frames, headers = frames[owner], headers[owner]
            starts = starts[owner] + self.index * headers["record_bytes"]
        self.data = _gather(payload, dtype_of(kind), starts)
        self.frame = frames
        self.boot: Ints = headers["boot"].astype(np.int64)
        self.sequence: Ints = headers["sequence"].astype(np.int64)
        # A time beyond int64 wraps to below zero here, which is as implausible.
        self.sealed_ms: Ints = headers["device_time_ms"].astype(np.int64)

    def column(self, name: str, dtype: type[np.generic]) -> Column:
        """Give one field of the records as a column of its own."""
        column: Column = self.data[name].astype(dtype)
        return column

    def times(self) -> tuple[Ints, Mask]:
        """Give the time of every record and whether it can be right."""
        time_ms: Ints = self.sealed_ms + self.data["time_offset_ms"]
        plausible = (self.sealed_ms >= TIME_MS_MIN) & (self.sealed_ms <= TIME_MS_MAX)
        return time_ms, plausible & (time_ms >= TIME_MS_MIN) & (time_ms <= TIME_MS_MAX)


def _impossible_position(lat: Column, lon: Column, accuracy: Column) -> Mask:
    off_earth = (lat < LAT[0]) | (lat > LAT[1]) | (lon < LON[0]) | (lon > LON[1])
    # Exactly 0, 0 is what receivers report that have no position.
    bad: Mask = off_earth | ((lat | lon) == 0) | (accuracy == 0)
    return bad


def _impossible_share(value: Column, high: int, unknown: int) -> Mask:
    bad: Mask = (value > high) & (value != unknown)
    return bad


def _known_mechanism(records: _Records) -> npt.NDArray[np.uint8]:
    mechanism = records.column("mechanism", np.uint8)
    mechanism[mechanism > max(Mechanism)] = Mechanism.UNKNOWN
    return mechanism


def _fixes(records: _Records) -> tuple[DecodedFixes, Mask]:
    time_ms, plausible = records.times()
    lat, lon = records.column("lat_e7", np.int32), records.column("lon_e7", np.int32)
    accuracy = records.column("accuracy_dm", np.int32)
    heading, battery = (
        records.column("heading_cdeg", np.int32),
        records.column("battery_pct", np.uint8),
    )
    impossible = _impossible_position(lat, lon, accuracy) | ~plausible
    impossible |= _impossible_share(heading, _HEADING_MAX, U16_UNKNOWN)
    impossible |= _impossible_share(battery, _BATTERY_MAX, U8_UNKNOWN)
    return DecodedFixes(
        frame=records.frame,
        boot=records.boot,
        sequence=records.sequence,
        time_ms=time_ms,
        lat_e7=lat,
        lon_e7=lon,
        accuracy_dm=accuracy,
        speed_cm_s=records.column("speed_cm_s", np.int32),
        heading_cdeg=heading,
        mechanism=_known_mechanism(records),
        satellites=records.column("satellites", np.uint8),
        battery_pct=battery,
        fix_flags=records.column("fix_flags", np.uint8),
        altitude_m=records.column("altitude_m", np.int32),
    ), impossible


def _events(records: _Records) -> tuple[DecodedEvents, Mask]:
    time_ms, plausible = records.times()
    lat, lon = records.column("lat_e7", np.int32), records.column("lon_e7", np.int32)
    accuracy = records.column("accuracy_dm", np.int32)
    mechanism = _known_mechanism(records)
    placeless = (accuracy == U16_UNKNOWN) | _impossible_position(lat, lon, accuracy)
    lat[placeless] = lon[placeless] = 0
    accuracy[placeless] = U16_UNKNOWN
    mechanism[placeless] = Mechanism.UNKNOWN
    time_ms[~plausible] = 0
    return DecodedEvents(
        frame=records.frame,
        boot=records.boot,
        sequence=records.sequence,
        record=records.index,
        time_ms=time_ms,
        code=records.column("code", np.int32),
        value=records.column("value", np.int32),
        lat_e7=lat,
        lon_e7=lon,
        accuracy_dm=accuracy,
        mechanism=mechanism,
    ), np.zeros(len(time_ms), dtype=np.bool_)


def _status(records: _Records) -> tuple[DecodedStatus, Mask]:
    time_ms, plausible = records.times()
    time_ms[~plausible] = 0
    battery = records.column("battery_pct", np.uint8)
    return DecodedStatus(
        frame=records.frame,
        boot=records.boot,
        sequence=records.sequence,
        time_ms=time_ms,
        uptime_s=records.column("uptime_s", np.int64),
        firmware=records.column("firmware", np.int64),
        stored_frames=records.column("stored_frames", np.int64),
        interval_moving_s=records.column("interval_moving_s", np.int32),
        interval_rest_s=records.column("interval_rest_s", np.int32),
        battery_mv=records.column("battery_mv", np.int32),
        signal_dbm=records.column("signal_dbm", np.int32),
        battery_pct=battery,
        network=records.column("network", np.uint8),
        reason=records.column("reason", np.uint8),
        status_flags=records.column("status_flags", np.uint8),
    ), _impossible_share(battery, _BATTERY_MAX, U8_UNKNOWN)


_READERS: Final[dict[Kind, Callable[[_Records], tuple[Any, Mask]]]] = {
    Kind.FIX: _fixes,
    Kind.EVENT: _events,
    Kind.STATUS: _status,
}


def _nothing(kind: Kind) -> Any:
    none = np.zeros(0, dtype=np.int64)
    return _READERS[kind](_Records(b"", kind, none, none, np.zeros(0, dtype=HEADER_DTYPE)))[0]


# Columns without rows, given out for the kinds that a batch does not hold.
_NOTHING: Final = {kind: _nothing(kind) for kind in DEVICE_KINDS}
