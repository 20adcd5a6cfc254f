"""Contract 3: the AVL packets of Teltonika trackers, Codec 8 and Codec 8 Extended.

What is read here is the packet as a tracker sends it over TCP (wiki.teltonika-gps.com, "Teltonika
Data Sending Protocols"): four zero bytes, the length of the data, the data, CRC-16/IBM of the data.
All numbers are big-endian. A tracker proves nothing: its IMEI is only what it says.

A record without satellites in use repeats the last place that the tracker knew, so it gives no fix;
what happened still counts.
"""

import re
import struct
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.limits import TELTONIKA_BYTES_MAX
from firmware_contracts.batch import DecodedEvents, DecodedFixes
from firmware_contracts.codes import EventCode, FixFlag, Mechanism
from firmware_contracts.faults import FAULT_NUMBER, Buffer, Fault, FrameError
from firmware_contracts.table import (
    LAT,
    LON,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
)

CODEC_8: Final = 0x08
CODEC_8_EXTENDED: Final = 0x8E
ACCEPTED_BYTE: Final = b"\x01"  # the answer to a greeting
HEAD_BYTES: Final = 8  # the zeros and the length
CRC_BYTES: Final = 4
IMEI: Final = re.compile(r"[0-9]{15}", re.ASCII)
_RECORD: Final = struct.Struct(">QBiihHBH")
_SPEED_CM_S: Final = 250 / 9  # of one km/h
HEADING_END: Final = 360


class Io(IntEnum):
    """The AVL ids that mean something here; every other one is kept in the packet only."""

    GSM_SIGNAL = 21
    GNSS_STATUS = 69  # 1: on, with a fix
    BATTERY_LEVEL = 113  # %
    CHARGER = 116
    ALARM = 236  # the button
    MOVEMENT = 240
    PDOP = 181  # times 10
    HDOP = 182  # times 10
    MAN_DOWN = 242
    JAMMING = 249  # 1: begins
    UNPLUG = 252  # external power taken away


class Priority(IntEnum):
    """How urgent the tracker finds a record."""

    LOW = 0
    HIGH = 1
    PANIC = 2


GNSS_FIX: Final = 1
# A tracker gives no radius. With a range error of 5.6 m (one sigma) the radius that holds 68 % is
# 6 m per unit of HDOP; a tracker that does not send it is believed less.
RADIUS_DM_PER_TENTH: Final = 6
RADIUS_DM_MIN: Final = 50
RADIUS_DM_ASSUMED: Final = 200
RADIUS_DM_MAX: Final = 5_000
BATTERY_LOW_PCT: Final = 20
BATTERY_CRITICAL_PCT: Final = 5
# AVL id that caused a record -> the event when its value is not 0, and when it is.
EVENTS: Final[dict[int, tuple[EventCode, EventCode | None]]] = {
    Io.ALARM: (EventCode.PANIC, None),
    Io.MAN_DOWN: (EventCode.FALL, None),
    Io.JAMMING: (EventCode.JAMMING, EventCode.JAMMING_ENDED),
    Io.CHARGER: (EventCode.CHARGING, EventCode.CHARGING_ENDED),
    Io.UNPLUG: (EventCode.CHARGING_ENDED, EventCode.CHARGING),
}


class NoFix(StrEnum):
    """Why a record gives no fix."""

    NO_SATELLITES = "no-satellites"
    IMPOSSIBLE_POSITION = "impossible-position"
    IMPLAUSIBLE_TIME = "implausible-time"


class AvlRecord(NamedTuple):
    """One record as the tracker sent it."""

    time_ms: int
    priority: int
    lon_e7: int
    lat_e7: int
    altitude_m: int
    angle_deg: int
    satellites: int
    speed_km_h: int
    event_id: int  # the AVL id that caused the record; 0: none
    io: dict[int, int | bytes]  # bytes: an element of variable size


class AvlPacket(NamedTuple):
    """A packet that is sound."""

    codec: int
    records: list[AvlRecord]


def crc16_ibm(data: Buffer) -> int:
    """Give CRC-16/IBM (reflected, polynomial 0xA001, from 0) of some bytes."""
    crc = 0
    for byte in bytes(data):
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _crc_row(number: int) -> int:
    for _ in range(8):
        number = (number >> 1) ^ 0xA001 if number & 1 else number >> 1
    return number


_CRC: Final = tuple(_crc_row(number) for number in range(256))


def read_imei(greeting: Buffer) -> str:
    """Read what a tracker says first: two bytes of length, the IMEI in digits. FrameError."""
    raw = bytes(greeting)
    if len(raw) < 2 or len(raw) < 2 + int.from_bytes(raw[:2]):
        raise FrameError(Fault.TRUNCATED, f"{len(raw)} bytes of a greeting")
    text = raw[2:].decode("ascii", "replace")
    if len(raw) != 2 + int.from_bytes(raw[:2]) or IMEI.fullmatch(text) is None:
        raise FrameError(Fault.BAD_LENGTH, "not an IMEI of 15 digits")
    return text


def packet_bytes(head: Buffer) -> int:
    """Give the size of the packet that begins so (at least 8 bytes); FrameError for no packet."""
    raw = bytes(head[:HEAD_BYTES])
    if len(raw) < HEAD_BYTES:
        raise FrameError(Fault.TRUNCATED, f"{len(raw)} bytes of a head")
    if raw[:4] != b"\0\0\0\0":
        raise FrameError(Fault.BAD_MAGIC, f"starts with {raw[:4].hex()}, not with zeros")
    size = HEAD_BYTES + int.from_bytes(raw[4:]) + CRC_BYTES
    if size > TELTONIKA_BYTES_MAX:
        raise FrameError(Fault.OVERSIZED, f"{size} bytes, at most {TELTONIKA_BYTES_MAX}")
    return size


def read_packet(payload: Buffer) -> AvlPacket:
    """Read a whole packet.

    Raises FrameError: OVERSIZED, TRUNCATED, BAD_MAGIC, BAD_LENGTH, BAD_CHECKSUM, UNKNOWN_VERSION,
    BAD_COUNT, in this order; and TRUNCATED or BAD_LENGTH for records that do not fill the data.
    """
    raw = bytes(payload[: TELTONIKA_BYTES_MAX + 1])
    if len(raw) > TELTONIKA_BYTES_MAX:
        raise FrameError(Fault.OVERSIZED, f"more than {TELTONIKA_BYTES_MAX} bytes")
    size = packet_bytes(raw)
    if len(raw) != size:
        fault = Fault.TRUNCATED if len(raw) < size else Fault.BAD_LENGTH
        raise FrameError(fault, f"{len(raw)} bytes where the head says {size}")
    data = raw[HEAD_BYTES:-CRC_BYTES]
    crc = int.from_bytes(raw[-CRC_BYTES:])
    if crc != crc16_ibm(data):
        raise FrameError(Fault.BAD_CHECKSUM, f"CRC {crc:#06x}, not {crc16_ibm(data):#06x}")
    if len(data) < 3:
        raise FrameError(Fault.TRUNCATED, f"{len(data)} bytes of data")
    if data[0] not in (CODEC_8, CODEC_8_EXTENDED):
        raise FrameError(Fault.UNKNOWN_VERSION, f"codec {data[0]:#04x}")
    count = data[1]
    if count == 0 or data[-1] != count:
        raise FrameError(Fault.BAD_COUNT, f"{count} records at the start, {data[-1]} at the end")
    reader = _Reader(data[2:-1], wide=data[0] == CODEC_8_EXTENDED)
    records = [reader.record() for _ in range(count)]
    if reader.left:
        raise FrameError(Fault.BAD_LENGTH, f"{reader.left} bytes behind the last record")
    return AvlPacket(data[0], records)


class _Reader:
    """Takes records off the data; a Codec 8 Extended writes ids and counts with two bytes."""

    def __init__(self, data: bytes, *, wide: bool) -> None:
        self._data = data
        self._at = 0
        self._id_bytes = 2 if wide else 1
        self._wide = wide

    @property
    def left(self) -> int:
        """Bytes that nothing has taken."""
        return len(self._data) - self._at

    def _take(self, size: int) -> bytes:
        if size > self.left:
            raise FrameError(Fault.TRUNCATED, f"{self.left} bytes where {size} are due")
        self._at += size
        return self._data[self._at - size : self._at]

    def _number(self) -> int:
        return int.from_bytes(self._take(self._id_bytes))

    def record(self) -> AvlRecord:
        """Take one record."""
        time_ms, priority, lon, lat, altitude, angle, satellites, speed = _RECORD.unpack(
            self._take(_RECORD.size)
        )
        event_id, total = self._number(), self._number()
        io: dict[int, int | bytes] = {}
        found = 0
        for width in (1, 2, 4, 8):
            count = self._number()
            found += count
            for _ in range(count):
                name = self._number()
                io[name] = int.from_bytes(self._take(width))
        if self._wide:
            count = self._number()
            found += count
            for _ in range(count):
                name = self._number()
                io[name] = self._take(self._number())
        if found != total:
            raise FrameError(Fault.BAD_COUNT, f"{found} elements where the record says {total}")
        return AvlRecord(
            time_ms, priority, lon, lat, altitude, angle, satellites, speed, event_id, io
        )


# --- what it means --------------------------------------------------------------------------------


def no_fix(record: AvlRecord) -> NoFix | None:
    """Tell why a record gives no fix; None when it gives one."""
    if record.satellites == 0 or record.io.get(Io.GNSS_STATUS, GNSS_FIX) != GNSS_FIX:
        return NoFix.NO_SATELLITES
    on_earth = LAT[0] <= record.lat_e7 <= LAT[1] and LON[0] <= record.lon_e7 <= LON[1]
    if not on_earth or record.lat_e7 == record.lon_e7 == 0:
        return NoFix.IMPOSSIBLE_POSITION
    if not TIME_MS_MIN <= record.time_ms <= TIME_MS_MAX:
        return NoFix.IMPLAUSIBLE_TIME
    return None


def event_of(record: AvlRecord) -> tuple[EventCode, int] | None:
    """Give the event that caused a record and its value; None when it was time for a record.

    A record of panic priority is a press whatever caused it: the tracker was set up so. Its value
    is then the AVL id.
    """
    value = record.io.get(record.event_id, 0)
    number = value if isinstance(value, int) else 0
    if record.event_id == Io.BATTERY_LEVEL and number <= BATTERY_LOW_PCT:
        critical = number <= BATTERY_CRITICAL_PCT
        return EventCode.BATTERY_CRITICAL if critical else EventCode.BATTERY_LOW, number
    codes = EVENTS.get(record.event_id)
    code = None if codes is None else codes[0] if number else codes[1]
    if code is not None:
        return code, 0
    if record.priority == Priority.PANIC:
        return EventCode.PANIC, record.event_id
    return None


def has_event(packet: AvlPacket) -> bool:
    """Tell whether a packet belongs on the priority lane."""
    return any(event_of(record) is not None for record in packet.records)


def newest_fix_ms(packet: AvlPacket) -> int | None:
    """Give the time of the newest fix; None for no fix."""
    return max((one.time_ms for one in packet.records if no_fix(one) is None), default=None)


def radius_dm(record: AvlRecord) -> int:
    """Give the 68 % radius that is believed of a record's place."""
    for name in (Io.HDOP, Io.PDOP):
        tenths = record.io.get(name)
        if isinstance(tenths, int) and tenths > 0:
            return min(max(tenths * RADIUS_DM_PER_TENTH, RADIUS_DM_MIN), RADIUS_DM_MAX)
    return RADIUS_DM_ASSUMED


def _fix_row(record: AvlRecord) -> tuple[int, ...]:
    """Give time, lat, lon, accuracy, speed, heading, satellites, charge, flags, altitude."""
    speed = round(record.speed_km_h * _SPEED_CM_S)
    battery = record.io.get(Io.BATTERY_LEVEL, U8_UNKNOWN)
    flags = FixFlag.MOVING if record.io.get(Io.MOVEMENT) == 1 else FixFlag(0)
    flags |= FixFlag.CHARGING if record.io.get(Io.CHARGER) == 1 else FixFlag(0)
    return (
        record.time_ms,
        record.lat_e7,
        record.lon_e7,
        radius_dm(record),
        min(U16_UNKNOWN, speed),
        record.angle_deg % HEADING_END * 100 if record.angle_deg <= HEADING_END else U16_UNKNOWN,
        record.satellites,
        battery if isinstance(battery, int) and battery <= 100 else U8_UNKNOWN,
        int(flags),
        record.altitude_m,
    )


def _event_row(record: AvlRecord, code: EventCode, value: int) -> tuple[int, ...]:
    """Give time, code, value, lat, lon, accuracy, mechanism."""
    plausible = TIME_MS_MIN <= record.time_ms <= TIME_MS_MAX
    placed = no_fix(record) in (None, NoFix.IMPLAUSIBLE_TIME)
    return (
        record.time_ms if plausible else 0,
        code,
        value,
        record.lat_e7 if placed else 0,
        record.lon_e7 if placed else 0,
        radius_dm(record) if placed else U16_UNKNOWN,
        Mechanism.GNSS if placed else Mechanism.UNKNOWN,
    )


class Tracked(NamedTuple):
    """The fixes and events of many packets, and a fault number per packet (0: sound)."""

    fixes: DecodedFixes
    events: DecodedEvents
    fault: npt.NDArray[np.uint8]


def _packets(
    payload: Buffer, offsets: npt.NDArray[Any], lengths: npt.NDArray[Any], fault: npt.NDArray[Any]
) -> Iterator[tuple[int, AvlPacket]]:
    view = memoryview(payload)
    for index, (start, length) in enumerate(zip(offsets.tolist(), lengths.tolist(), strict=True)):
        if start < 0 or length < 0 or start + length > len(view):
            fault[index] = FAULT_NUMBER[Fault.TRUNCATED]
            continue
        try:
            yield index, read_packet(view[start : start + length])
        except FrameError as error:
            fault[index] = FAULT_NUMBER[error.fault]


def teltonika_to_columns(
    payload: Buffer, offsets: npt.NDArray[Any], lengths: npt.NDArray[Any]
) -> Tracked:
    """Give fixes and events of many packets as batch.decode_batch does.

    A tracker has no boot and no sequence: both are 0. Packet i stands at payload[offsets[i] :
    offsets[i] + lengths[i]]. Never raises for what stands in the payload.
    """
    fault = np.zeros(len(offsets), dtype=np.uint8)
    fixes: list[tuple[int, ...]] = []
    events: list[tuple[int, ...]] = []
    for index, packet in _packets(payload, offsets, lengths, fault):
        for place, record in enumerate(packet.records):
            if no_fix(record) is None:
                fixes.append((index, *_fix_row(record)))
            happened = event_of(record)
            if happened is not None:
                events.append((index, place, *_event_row(record, *happened)))
    return Tracked(_fix_columns(fixes), _event_columns(events), fault)


def _columns(rows: list[tuple[int, ...]], width: int) -> list[npt.NDArray[np.int64]]:
    table = np.array(rows, dtype=np.int64).reshape(len(rows), width)
    return [np.ascontiguousarray(column) for column in table.T]


def _fix_columns(rows: list[tuple[int, ...]]) -> DecodedFixes:
    frame, time_ms, lat, lon, accuracy, speed, heading, satellites, battery, flags, altitude = (
        _columns(rows, 11)
    )
    zeros = np.zeros(len(rows), dtype=np.int64)
    return DecodedFixes(
        frame=frame,
        boot=zeros,
        sequence=zeros.copy(),
        time_ms=time_ms,
        lat_e7=lat.astype(np.int32),
        lon_e7=lon.astype(np.int32),
        accuracy_dm=accuracy.astype(np.int32),
        speed_cm_s=speed.astype(np.int32),
        heading_cdeg=heading.astype(np.int32),
        mechanism=np.full(len(rows), Mechanism.GNSS, dtype=np.uint8),
        satellites=satellites.astype(np.uint8),
        battery_pct=battery.astype(np.uint8),
        fix_flags=flags.astype(np.uint8),
        altitude_m=altitude.astype(np.int32),
    )


def _event_columns(rows: list[tuple[int, ...]]) -> DecodedEvents:
    frame, record, time_ms, code, value, lat, lon, accuracy, mechanism = _columns(rows, 9)
    zeros = np.zeros(len(rows), dtype=np.int64)
    return DecodedEvents(
        frame=frame,
        boot=zeros,
        sequence=zeros.copy(),
        record=record,
        time_ms=time_ms,
        code=code.astype(np.int32),
        value=value.astype(np.int32),
        lat_e7=lat.astype(np.int32),
        lon_e7=lon.astype(np.int32),
        accuracy_dm=accuracy.astype(np.int32),
        mechanism=mechanism.astype(np.uint8),
    )
