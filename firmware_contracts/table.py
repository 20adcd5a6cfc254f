"""The contract, version 1, as ONE table: every field with its width, unit, bounds and meaning.

The numpy dtypes that decode a batch, the structs that encode one frame, the C header for
firmware, the Markdown specification and the AsyncAPI document all come from here. A field, once
given, is never changed or removed; a newer minor version adds fields at the end of a record.
"""

import struct
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from firmware_contracts.codes import Kind


class Field(msgspec.Struct, frozen=True):
    """One field of the header or of a record.

    `wire` is the numpy type without byte order (u1 u2 u4 u8 i2 i4, S64 for text). `low` and
    `high` bound the values a sender may write; `unknown` is the one value outside them that says
    "not known".
    """

    name: str
    wire: str
    unit: str
    doc: str
    low: int | None = None
    high: int | None = None
    unknown: int | None = None

    @property
    def bytes(self) -> int:
        """The width on the wire."""
        return int(self.wire[1:])


class Layout(msgspec.Struct, frozen=True):
    """A packed little-endian sequence of fields."""

    name: str
    doc: str
    fields: tuple[Field, ...]

    @property
    def bytes(self) -> int:
        """The width on the wire."""
        return sum(field.bytes for field in self.fields)

    def offset_of(self, name: str) -> int:
        """Give the offset in bytes of a field; KeyError for a field that is not there."""
        offset = 0
        for field in self.fields:
            if field.name == name:
                return offset
            offset += field.bytes
        raise KeyError(name)


LAT: Final = (-900_000_000, 900_000_000)
LON: Final = (-1_800_000_000, 1_800_000_000)
# A device time before 2020 or after 2099 is a clock that was never set or a week counter that
# rolled over.
TIME_MS_MIN: Final = 1_577_836_800_000
TIME_MS_MAX: Final = 4_102_444_799_999
U16_UNKNOWN: Final = 0xFFFF
U8_UNKNOWN: Final = 0xFF
U32_MAX: Final = 0xFFFF_FFFF
# A command's id comes back as the signed value of an event.
COMMAND_ID_MAX: Final = 0x7FFF_FFFF

HEADER: Final = Layout(
    "header",
    "The head of every frame.",
    (
        Field("magic", "u2", "", "0xAF57: this is a frame of Afstand.", 0xAF57, 0xAF57),
        Field("major", "u1", "", "Contract version; another major is another layout.", 1, 1),
        Field("minor", "u1", "", "Additions to the contract version.", 0, 255),
        Field("kind", "u1", "Kind", "What the records are.", 1, 5),
        Field("flags", "u1", "FrameFlag", "Bit 0: the frame comes from the server.", 0, 1),
        Field("record_bytes", "u1", "bytes", "Size of one record.", 1, 255),
        Field("count", "u1", "", "Number of records.", 1, 64),
        Field("boot", "u4", "", "Boot counter: one more after every restart.", 0, U32_MAX),
        Field("sequence", "u4", "", "Number of the frame in this boot, from 1.", 0, U32_MAX),
        Field(
            "device_time_ms",
            "u8",
            "ms",
            "Unix time at which the frame was sealed; 0: clock not set.",
            TIME_MS_MIN,
            TIME_MS_MAX,
            0,
        ),
        Field("reserved", "u8", "", "Zero.", 0, 0),
    ),
)

_OFFSET: Final = Field(
    "time_offset_ms",
    "i4",
    "ms",
    "Time of the record minus the header's device_time_ms.",
    -2_147_483_648,
    0,
)
_POSITION_LAT: Final = Field("lat_e7", "i4", "1e-7 degree", "Latitude, WGS84.", *LAT)
_POSITION_LON: Final = Field("lon_e7", "i4", "1e-7 degree", "Longitude, WGS84.", *LON)

FIX: Final = Layout(
    "fix",
    "One position.",
    (
        _OFFSET,
        _POSITION_LAT,
        _POSITION_LON,
        Field(
            "accuracy_dm",
            "u2",
            "dm",
            "Radius that holds the true place in 68 % of cases.",
            1,
            65534,
            U16_UNKNOWN,
        ),
        Field("speed_cm_s", "u2", "cm/s", "Speed over ground.", 0, 65534, U16_UNKNOWN),
        Field(
            "heading_cdeg",
            "u2",
            "0.01 degree",
            "Course over ground, clockwise from north.",
            0,
            35999,
            U16_UNKNOWN,
        ),
        Field("mechanism", "u1", "Mechanism", "How the position was found.", 0, 4),
        Field("satellites", "u1", "", "Satellites used; 0 when none or not known.", 0, 255),
        Field("battery_pct", "u1", "%", "Charge of the battery.", 0, 100, U8_UNKNOWN),
        Field("fix_flags", "u1", "FixFlag", "Circumstances of the fix.", 0, 15),
        Field("altitude_m", "i2", "m", "Height above the WGS84 ellipsoid.", -1000, 32767, -32768),
    ),
)

EVENT: Final = Layout(
    "event",
    "Something that happened to the device or its wearer.",
    (
        _OFFSET,
        Field("code", "u2", "EventCode", "What happened.", 1, 65535),
        Field(
            "value",
            "i4",
            "",
            "What the code says it is; 0 where it says nothing.",
            -2_147_483_648,
            2_147_483_647,
        ),
        _POSITION_LAT,
        _POSITION_LON,
        Field(
            "accuracy_dm",
            "u2",
            "dm",
            "As in a fix; 65535: the event has no position.",
            1,
            65534,
            U16_UNKNOWN,
        ),
        Field("mechanism", "u1", "Mechanism", "How the position was found.", 0, 4),
        Field("reserved", "u1", "", "Zero.", 0, 0),
    ),
)

STATUS: Final = Layout(
    "status",
    "The health of the device.",
    (
        _OFFSET,
        Field("uptime_s", "u4", "s", "Time since the last restart.", 0, U32_MAX),
        Field(
            "firmware", "u4", "", "Firmware version: major << 24 | minor << 16 | patch.", 0, U32_MAX
        ),
        Field(
            "stored_frames", "u4", "", "Frames kept because no ack has covered them.", 0, U32_MAX
        ),
        Field(
            "interval_moving_s",
            "u2",
            "s",
            "Reporting interval of the profile in motion.",
            0,
            65534,
            U16_UNKNOWN,
        ),
        Field(
            "interval_rest_s",
            "u2",
            "s",
            "Reporting interval of the profile at rest.",
            0,
            65534,
            U16_UNKNOWN,
        ),
        Field("battery_mv", "u2", "mV", "Voltage of the battery.", 0, 65534, U16_UNKNOWN),
        Field("signal_dbm", "i2", "dBm", "Received signal strength.", -200, 0, -32768),
        Field("battery_pct", "u1", "%", "Charge of the battery.", 0, 100, U8_UNKNOWN),
        Field("network", "u1", "Network", "Bearer in use.", 0, 6),
        Field("reason", "u1", "StatusReason", "Why the frame was sent.", 0, 4),
        Field("status_flags", "u1", "StatusFlag", "State of the device.", 0, 31),
    ),
)

ACK: Final = Layout(
    "ack",
    "Every frame of boot `boot` with sequence `first` to `last`, both included, is durable.",
    (
        Field("boot", "u4", "", "Boot counter of the frames.", 0, U32_MAX),
        Field("first", "u4", "", "First sequence that is durable.", 0, U32_MAX),
        Field("last", "u4", "", "Last sequence that is durable.", 0, U32_MAX),
    ),
)

COMMAND: Final = Layout(
    "command",
    "What the server asks of the device.",
    (
        Field("command_id", "u4", "", "Id of the command; the answer's value.", 1, COMMAND_ID_MAX),
        Field(
            "expires_ms",
            "u8",
            "ms",
            "Unix time after which the command must not be obeyed.",
            TIME_MS_MIN,
            TIME_MS_MAX,
        ),
        Field("code", "u1", "CommandCode", "What to do.", 1, 255),
        Field("arg1", "u4", "", "First argument of the code.", 0, U32_MAX),
        Field("arg2", "u4", "", "Second argument of the code.", 0, U32_MAX),
        Field("text", "S64", "UTF-8", "Text of a message, padded with zero bytes."),
    ),
)

RECORDS: Final[dict[Kind, Layout]] = {
    Kind.FIX: FIX,
    Kind.EVENT: EVENT,
    Kind.STATUS: STATUS,
    Kind.ACK: ACK,
    Kind.COMMAND: COMMAND,
}
# Kinds that only the server sends; all others only a device sends.
SERVER_KINDS: Final = (Kind.ACK, Kind.COMMAND)

_STRUCT_CODES: Final = {"u1": "B", "u2": "H", "u4": "I", "u8": "Q", "i2": "h", "i4": "i"}


def dtype_of_layout(layout: Layout) -> np.dtype[np.void]:
    """Derive the packed little-endian numpy dtype of a layout."""
    return np.dtype(
        [(field.name, np.dtype(field.wire).newbyteorder("<")) for field in layout.fields]
    )


def struct_of_layout(layout: Layout) -> struct.Struct:
    """Derive the standard struct of a layout."""
    codes = [_STRUCT_CODES.get(f.wire, f"{f.bytes}s") for f in layout.fields]
    return struct.Struct("<" + "".join(codes))


HEADER_DTYPE: Final = dtype_of_layout(HEADER)
HEADER_STRUCT: Final = struct_of_layout(HEADER)
HEADER_BYTES: Final = HEADER.bytes
_DTYPES: Final = {kind: dtype_of_layout(layout) for kind, layout in RECORDS.items()}
_STRUCTS: Final = {kind: struct_of_layout(layout) for kind, layout in RECORDS.items()}


def dtype_of(kind: Kind) -> np.dtype[np.void]:
    """Give the numpy dtype of one record of a kind."""
    return _DTYPES[kind]


def struct_of(kind: Kind) -> struct.Struct:
    """Give the standard struct of one record of a kind."""
    return _STRUCTS[kind]


def empty_records(kind: Kind, count: int) -> npt.NDArray[Any]:
    """Give `count` records of a kind: unknown where that can be said, else zero."""
    records = np.zeros(count, dtype=_DTYPES[kind])
    for field in RECORDS[kind].fields:
        if field.unknown is not None:
            records[field.name] = field.unknown
    return records
