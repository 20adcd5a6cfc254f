"""One frame at a time: encode, tag, read the header; acks and commands as a device reads them."""

from collections.abc import Sequence
from hmac import compare_digest
from typing import Any, Final, NamedTuple

import msgspec
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from afstand.limits import FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from firmware_contracts.codes import (
    MAGIC,
    MAJOR,
    MINOR,
    TAG_BYTES,
    CommandCode,
    EventCode,
    FrameFlag,
    Kind,
    Mechanism,
    Network,
    StatusFlag,
    StatusReason,
)
from firmware_contracts.faults import Buffer, Fault, FrameError
from firmware_contracts.table import (
    COMMAND_ID_MAX,
    HEADER_BYTES,
    HEADER_STRUCT,
    RECORDS,
    SERVER_KINDS,
    U8_UNKNOWN,
    U16_UNKNOWN,
    dtype_of,
    empty_records,
    struct_of,
)
from firmware_contracts.topics import valid_device_id

KEY_BYTES: Final = 16
FRAME_BYTES_MIN: Final = HEADER_BYTES + TAG_BYTES + 1
TEXT_BYTES_MAX: Final = 64
_KINDS: Final = {int(kind): kind for kind in Kind}
_RECORD_BYTES: Final = {kind: layout.bytes for kind, layout in RECORDS.items()}


class Header(msgspec.Struct, frozen=True, gc=False):
    """The header of a frame whose structure is sound."""

    kind: Kind
    boot: int
    sequence: int
    device_time_ms: int
    count: int
    minor: int
    flags: int
    record_bytes: int


class Ack(NamedTuple):
    """Every frame of `boot` with sequence `first` to `last`, both included, is durable."""

    boot: int
    first: int
    last: int


class Command(NamedTuple):
    """One command as a device reads it; `code` may be one that this version does not know."""

    command_id: int
    expires_ms: int
    code: int
    arg1: int
    arg2: int
    text: str


class Tagger:
    """AES-128-CMAC (RFC 4493) of one device's frames, in both directions.

    The tag covers one byte with the length of the device id, the id in ASCII, and the frame
    without its tag: a frame of one device is never valid for another, even under the same key.
    """

    __slots__ = ("_keyed",)

    def __init__(self, device_id: str, key: bytes) -> None:
        """Key the CMAC once; ValueError for an id or a key that cannot be one."""
        if not valid_device_id(device_id):
            msg = f"not a device id: {device_id!r}"
            raise ValueError(msg)
        if len(key) != KEY_BYTES:
            msg = f"a key has {KEY_BYTES} bytes, not {len(key)}"
            raise ValueError(msg)
        keyed = CMAC(AES(key))
        keyed.update(bytes([len(device_id)]) + device_id.encode("ascii"))
        self._keyed = keyed

    def tag(self, body: Buffer) -> bytes:
        """Give the 16-byte tag of a frame without its tag."""
        cmac = self._keyed.copy()
        cmac.update(bytes(body))
        return cmac.finalize()

    def valid(self, frame: Buffer) -> bool:
        """Tell whether a frame ends in its own tag; compared in constant time."""
        if len(frame) <= TAG_BYTES:
            return False
        return compare_digest(self.tag(frame[:-TAG_BYTES]), bytes(frame[-TAG_BYTES:]))


def read_header(frame: Buffer) -> Header:
    """Read the header of a whole frame and check everything about its structure except the tag.

    Raises FrameError: TRUNCATED, OVERSIZED, BAD_MAGIC, UNKNOWN_VERSION, UNKNOWN_KIND,
    WRONG_DIRECTION, BAD_COUNT, BAD_LENGTH, in this order.
    """
    size = len(frame)
    if size > FRAME_BYTES_MAX:
        raise FrameError(Fault.OVERSIZED, f"{size} bytes, at most {FRAME_BYTES_MAX}")
    if size < FRAME_BYTES_MIN:
        raise FrameError(Fault.TRUNCATED, f"{size} bytes, at least {FRAME_BYTES_MIN}")
    magic, major, minor, kind_number, flags, record_bytes, count, boot, sequence, time_ms, _ = (
        HEADER_STRUCT.unpack_from(frame)
    )
    if magic != MAGIC:
        raise FrameError(Fault.BAD_MAGIC, f"magic {magic:#06x}, not {MAGIC:#06x}")
    if major != MAJOR:
        raise FrameError(Fault.UNKNOWN_VERSION, f"contract version {major}.{minor}")
    kind = _KINDS.get(kind_number)
    if kind is None:
        raise FrameError(Fault.UNKNOWN_KIND, f"kind {kind_number}")
    if bool(flags & FrameFlag.FROM_SERVER) != (kind in SERVER_KINDS):
        raise FrameError(Fault.WRONG_DIRECTION, f"{kind.name} with flags {flags:#04x}")
    if not 1 <= count <= FRAME_RECORDS_MAX:
        raise FrameError(Fault.BAD_COUNT, f"{count} records, 1 to {FRAME_RECORDS_MAX}")
    known_bytes = _RECORD_BYTES[kind]
    if record_bytes < known_bytes or (minor <= MINOR and record_bytes != known_bytes):
        raise FrameError(
            Fault.BAD_LENGTH, f"{kind.name} records of {record_bytes} bytes in {major}.{minor}"
        )
    whole = HEADER_BYTES + count * record_bytes + TAG_BYTES
    if size != whole:
        fault = Fault.TRUNCATED if size < whole else Fault.BAD_LENGTH
        raise FrameError(fault, f"{size} bytes where the header says {whole}")
    return Header(kind, boot, sequence, time_ms, count, minor, flags, record_bytes)


def seal(
    tagger: Tagger, kind: Kind, records: bytes, *, boot: int, sequence: int, device_time_ms: int
) -> bytes:
    """Put header and tag around packed records; ValueError for what cannot be sent."""
    record_bytes = _RECORD_BYTES[kind]
    count, rest = divmod(len(records), record_bytes)
    if rest or not 1 <= count <= FRAME_RECORDS_MAX:
        msg = (
            f"{len(records)} bytes are not 1 to {FRAME_RECORDS_MAX} records of {record_bytes} bytes"
        )
        raise ValueError(msg)
    whole = HEADER_BYTES + len(records) + TAG_BYTES
    if whole > FRAME_BYTES_MAX:
        msg = f"a frame of {whole} bytes, at most {FRAME_BYTES_MAX}"
        raise ValueError(msg)
    if sequence == 0 and kind in (Kind.FIX, Kind.EVENT):
        msg = "sequences start at 1; 0 is the last will's"
        raise ValueError(msg)
    flags = FrameFlag.FROM_SERVER if kind in SERVER_KINDS else 0
    header = HEADER_STRUCT.pack(
        MAGIC, MAJOR, MINOR, kind, flags, record_bytes, count, boot, sequence, device_time_ms, 0
    )
    body = header + records
    return body + tagger.tag(body)


def encode_fixes(
    device_id: str,
    key: bytes,
    *,
    boot: int,
    sequence: int,
    device_time_ms: int,
    records: npt.NDArray[Any],
) -> bytes:
    """Encode 1 to FRAME_RECORDS_MAX fixes; `records` has dtype_of(Kind.FIX)."""
    if records.dtype != dtype_of(Kind.FIX):
        msg = f"records have dtype {records.dtype}, not dtype_of(Kind.FIX)"
        raise ValueError(msg)
    return seal(
        Tagger(device_id, key),
        Kind.FIX,
        records.tobytes(),
        boot=boot,
        sequence=sequence,
        device_time_ms=device_time_ms,
    )


def encode_event(
    device_id: str,
    key: bytes,
    *,
    boot: int,
    sequence: int,
    device_time_ms: int,
    code: EventCode | int,
    value: int = 0,
    lat_e7: int | None = None,
    lon_e7: int | None = None,
    accuracy_dm: int | None = None,
    mechanism: Mechanism | int = Mechanism.UNKNOWN,
    time_offset_ms: int = 0,
) -> bytes:
    """Encode one event; without latitude, longitude and accuracy it has no position."""
    if lat_e7 is None or lon_e7 is None or accuracy_dm is None:
        lat_e7, lon_e7, accuracy_dm, mechanism = 0, 0, U16_UNKNOWN, Mechanism.UNKNOWN
    record = struct_of(Kind.EVENT).pack(
        time_offset_ms, code, value, lat_e7, lon_e7, accuracy_dm, mechanism, 0
    )
    return seal(
        Tagger(device_id, key),
        Kind.EVENT,
        record,
        boot=boot,
        sequence=sequence,
        device_time_ms=device_time_ms,
    )


def encode_status(
    device_id: str,
    key: bytes,
    *,
    boot: int,
    sequence: int,
    device_time_ms: int,
    uptime_s: int = 0,
    firmware: int = 0,
    stored_frames: int = 0,
    interval_moving_s: int = U16_UNKNOWN,
    interval_rest_s: int = U16_UNKNOWN,
    battery_mv: int = U16_UNKNOWN,
    signal_dbm: int = -32768,
    battery_pct: int = U8_UNKNOWN,
    network: Network | int = Network.UNKNOWN,
    reason: StatusReason | int = StatusReason.PERIODIC,
    status_flags: StatusFlag | int = 0,
    time_offset_ms: int = 0,
) -> bytes:
    """Encode one status record; what is not given is unknown."""
    record = struct_of(Kind.STATUS).pack(
        time_offset_ms,
        uptime_s,
        firmware,
        stored_frames,
        interval_moving_s,
        interval_rest_s,
        battery_mv,
        signal_dbm,
        battery_pct,
        network,
        reason,
        status_flags,
    )
    return seal(
        Tagger(device_id, key),
        Kind.STATUS,
        record,
        boot=boot,
        sequence=sequence,
        device_time_ms=device_time_ms,
    )


def encode_ack(
    device_id: str,
    key: bytes,
    *,
    records: Sequence[tuple[int, int, int]],
    sequence: int = 0,
    server_time_ms: int = 0,
) -> bytes:
    """Encode 1 to FRAME_RECORDS_MAX ranges (boot, first, last) of what is durable."""
    return seal_acks(
        Tagger(device_id, key), records, sequence=sequence, server_time_ms=server_time_ms
    )


def seal_acks(
    tagger: Tagger,
    records: Sequence[tuple[int, int, int]],
    *,
    sequence: int = 0,
    server_time_ms: int = 0,
) -> bytes:
    """As encode_ack, with a tagger at hand."""
    layout = struct_of(Kind.ACK)
    packed = b"".join([layout.pack(*record) for record in records])
    return seal(tagger, Kind.ACK, packed, boot=0, sequence=sequence, device_time_ms=server_time_ms)


def encode_command(
    device_id: str,
    key: bytes,
    *,
    command_id: int,
    expires_ms: int,
    code: CommandCode | int,
    arg1: int = 0,
    arg2: int = 0,
    text: str = "",
    sequence: int = 0,
    server_time_ms: int = 0,
) -> bytes:
    """Encode one command; ValueError for a text beyond 64 bytes or with a zero byte.

    The device answers with an event whose value is the command id, so an id is at most
    COMMAND_ID_MAX.
    """
    if not 1 <= command_id <= COMMAND_ID_MAX:
        msg = f"a command id is 1 to {COMMAND_ID_MAX}, not {command_id}"
        raise ValueError(msg)
    encoded = text.encode("utf-8")
    if len(encoded) > TEXT_BYTES_MAX or b"\0" in encoded:
        msg = f"a text has at most {TEXT_BYTES_MAX} bytes and no zero byte"
        raise ValueError(msg)
    record = struct_of(Kind.COMMAND).pack(command_id, expires_ms, code, arg1, arg2, encoded)
    return seal(
        Tagger(device_id, key),
        Kind.COMMAND,
        record,
        boot=0,
        sequence=sequence,
        device_time_ms=server_time_ms,
    )


def _records(frame: Buffer, kind: Kind) -> list[tuple[Any, ...]]:
    header = read_header(frame)
    if header.kind is not kind:
        raise FrameError(Fault.UNKNOWN_KIND, f"{header.kind.name} where {kind.name} was expected")
    layout = struct_of(kind)
    starts = range(
        HEADER_BYTES, HEADER_BYTES + header.count * header.record_bytes, header.record_bytes
    )
    return [layout.unpack_from(frame, start) for start in starts]


def decode_acks(frame: Buffer) -> list[Ack]:
    """Read an ack frame as a device does, the tag having been checked; raises FrameError."""
    acks = [Ack(*record) for record in _records(frame, Kind.ACK)]
    for ack in acks:
        if ack.first > ack.last:
            raise FrameError(Fault.IMPOSSIBLE_VALUE, f"ack of {ack.first} to {ack.last}")
    return acks


def decode_commands(frame: Buffer) -> list[Command]:
    """Read a command frame as a device does, the tag having been checked; raises FrameError."""
    commands = []
    for command_id, expires_ms, code, arg1, arg2, padded in _records(frame, Kind.COMMAND):
        if not 1 <= command_id <= COMMAND_ID_MAX:
            raise FrameError(Fault.IMPOSSIBLE_VALUE, f"command id {command_id}")
        try:
            text = padded.split(b"\0", 1)[0].decode("utf-8")
        except UnicodeDecodeError as error:
            raise FrameError(
                Fault.IMPOSSIBLE_VALUE, f"text of command {command_id}: {error}"
            ) from None
        commands.append(Command(command_id, expires_ms, code, arg1, arg2, text))
    return commands


def fix_records(count: int) -> npt.NDArray[Any]:
    """Give `count` records to fill in for encode_fixes: unknown where it can be said, else zero."""
    return empty_records(Kind.FIX, count)
