"""What a journal or outbox entry looks like.

A stream entry has three fields: `v` (format, b"1"), `k` (kind) and `b` (blob). Only the blob of
kind `frames` is defined here; `command`, `receipt` and `signal` blobs belong to who writes them,
and `tick` has an empty one.

A `frames` blob is everything one intake took in one tick, exactly as received:

    header   20 bytes, little-endian: version u8, flags u8 (`EntryFlag`), names u16, records u32,
             names_bytes u32, payload_bytes u32, crc32 u32
    table    records x 24 bytes (`RECORD`)
    names    names x (u8 length, ASCII): device ids as in the topic, for records without a handle
    payload  the frames, one after another

Version 1 has no flags; version 2 is written only for an entry that has some, and has no other
difference. So a reader of version 1 reads everything until a flag is set, and then stops.

The CRC is over everything but itself, so that a torn or altered blob is told from a good one before
anything is believed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum, IntFlag, StrEnum
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.limits import JOURNAL_BLOB_BYTES_MAX, JOURNAL_FRAMES_MAX
from ingest.store import EntryId

ENTRY_VERSION: Final = b"1"
FRAMES_VERSION: Final = 1
FLAGGED_VERSION: Final = 2


class EntryKind(StrEnum):
    """What an entry holds.

    `INVALID` is never written: it is how a reader names an entry that has not the three fields.
    """

    FRAMES = "frames"
    COMMAND = "command"
    RECEIPT = "receipt"
    SIGNAL = "signal"
    TICK = "tick"
    INVALID = "invalid"


class EntryFlag(IntFlag):
    """What the intake says of an entry as a whole."""

    BEHIND = 1
    """More waited than could be taken: of each person the newest fix decides for all."""


class LaneCode(IntEnum):
    """Which topic a frame came in on."""

    FIX = 1
    EVENT = 2
    STATUS = 3
    OWNTRACKS = 4
    TELTONIKA = 5


class FrameFlag(IntFlag):
    """What the intake found out about a frame."""

    AUTHENTICATED = 1  # tag right, device registered and enabled, right direction
    CLOCK_FAULT = 2  # the device's clock is too far ahead to be true
    DUPLICATE_SUSPECT = 4  # the broker marked it as sent again: the fold may have it already


class EntryError(ValueError):
    """A blob that is not what its kind says.

    The entry is the journal's, so this is corruption and not a device's fault.
    """


class EntryVersionError(EntryError):
    """An entry of a later format.

    Going on without it would give another outbox than its writer's: the reader must stop.
    """


class Entry(NamedTuple):
    """One entry as read. `blob` of an `INVALID` entry is a description of what was wrong."""

    id: EntryId
    kind: EntryKind
    blob: bytes


class FrameRecord(msgspec.Struct, frozen=True, gc=False):
    """One frame to be journalled. `flags` are of `FrameFlag`.

    `name` is the device id of the topic when there is no handle, else empty.
    """

    handle: int
    lane: LaneCode
    flags: int
    received_ms: int
    payload: bytes
    name: str = ""


RECORD: Final = np.dtype(
    [
        ("handle", "<u4"),  # 0 = no registered device
        ("lane", "u1"),
        ("flags", "u1"),
        ("ext", "<u2"),  # 0, or 1 + index into the names
        ("received_ms", "<u8"),  # the intake's clock when the bytes arrived
        ("offset", "<u4"),  # into the payload
        ("length", "<u4"),
    ]
)
_HEADER: Final = struct.Struct("<BBHIIII")
FRAMES_HEAD: Final = np.dtype(
    [
        ("version", "u1"),
        ("flags", "u1"),
        ("names", "<u2"),
        ("records", "<u4"),
        ("names_bytes", "<u4"),
        ("payload_bytes", "<u4"),
        ("crc32", "<u4"),
    ]
)
"""The header of a `frames` blob, as `_HEADER` packs it."""
_RECORD_STRUCT: Final = struct.Struct("<IBBHQII")
_ENTRY_FLAGS: Final = int(EntryFlag.BEHIND)
_LANES: Final = frozenset(int(code) for code in LaneCode)
_FLAGS_KNOWN: Final = int(
    FrameFlag.AUTHENTICATED | FrameFlag.CLOCK_FAULT | FrameFlag.DUPLICATE_SUSPECT
)
assert RECORD.itemsize == _RECORD_STRUCT.size
assert FRAMES_HEAD.itemsize == _HEADER.size


class FrameBatch:
    """The frames of one entry.

    A column per field of `RECORD` (read-only), the payload, the names of unregistered devices, and
    what the intake says of the entry.
    """

    __slots__ = (
        "_table",
        "entry_flags",
        "ext",
        "flags",
        "handles",
        "lanes",
        "lengths",
        "names",
        "offsets",
        "payload",
        "received_ms",
    )

    def __init__(
        self,
        table: npt.NDArray[np.void],
        names: tuple[str, ...],
        payload: memoryview,
        entry_flags: EntryFlag,
    ) -> None:
        self._table = table
        self.handles: npt.NDArray[np.uint32] = table["handle"]
        self.lanes: npt.NDArray[np.uint8] = table["lane"]
        self.flags: npt.NDArray[np.uint8] = table["flags"]
        self.ext: npt.NDArray[np.uint16] = table["ext"]
        self.received_ms: npt.NDArray[np.uint64] = table["received_ms"]
        self.offsets: npt.NDArray[np.uint32] = table["offset"]
        self.lengths: npt.NDArray[np.uint32] = table["length"]
        self.names = names
        self.payload = payload
        self.entry_flags = entry_flags

    def __len__(self) -> int:
        return len(self.handles)

    @property
    def behind(self) -> bool:
        """Whether the intake was behind when it wrote the entry."""
        return EntryFlag.BEHIND in self.entry_flags

    def part(self, first: int, end: int) -> FrameBatch:
        """Return a batch of the frames from `first` to before `end`."""
        return FrameBatch(self._table[first:end], self.names, self.payload, self.entry_flags)

    def frame(self, index: int) -> memoryview:
        """Return the bytes of one frame, as the device sent them."""
        start = int(self.offsets[index])
        return self.payload[start : start + int(self.lengths[index])]

    def name(self, index: int) -> str:
        """Return the device id that the topic of an unregistered device had.

        Empty for a registered one.
        """
        ext = int(self.ext[index])
        return self.names[ext - 1] if ext else ""

    def records(self) -> list[FrameRecord]:
        """Return the batch as a list, for tests and tools."""
        return [
            FrameRecord(
                int(self.handles[i]),
                LaneCode(int(self.lanes[i])),
                FrameFlag(int(self.flags[i])),
                int(self.received_ms[i]),
                bytes(self.frame(i)),
                self.name(i),
            )
            for i in range(len(self))
        ]

    @staticmethod
    def build(records: Sequence[FrameRecord], *, behind: bool = False) -> bytes:
        """Return the blob of `records`, in their order.

        Raises ValueError above the bounds of `afstand.limits`.
        """
        return build_frames(records, behind=behind)

    @classmethod
    def read(cls, blob: bytes) -> FrameBatch:
        """Return the batch of a blob.

        Raises EntryVersionError or EntryError and never believes a length it has not checked.
        """
        return read_frames(blob)


def frame_cost_bytes(payload_bytes: int, name_chars: int = 0) -> int:
    """Return how much one frame adds to a blob, so that a writer knows when it is full."""
    return RECORD.itemsize + payload_bytes + (1 + name_chars if name_chars else 0)


class RecordsTable(NamedTuple):
    """Records in the form that `assemble_frames` takes."""

    table: npt.NDArray[np.void]
    names: list[str]
    payloads: list[bytes]


def records_table(records: Sequence[FrameRecord]) -> RecordsTable:
    """Return the table, the names and the payloads of records.

    Raises struct.error for a value that has no place.
    """
    rows = bytearray()
    names: dict[str, int] = {}
    pack = _RECORD_STRUCT.pack
    for record in records:
        name = record.name
        ext = names.setdefault(name, len(names) + 1) if name else 0
        size = len(record.payload)
        rows += pack(record.handle, record.lane, record.flags, ext, record.received_ms, 0, size)
    table = np.frombuffer(bytes(rows), RECORD)
    return RecordsTable(table, list(names), [record.payload for record in records])


def build_frames(records: Sequence[FrameRecord], *, behind: bool = False) -> bytes:
    """See `FrameBatch.build`."""
    table, names, payloads = records_table(records)
    return assemble_frames([table], names, payloads, behind=behind)


def fixes_table(
    handles: Sequence[int] | npt.NDArray[np.int64], received_ms: int, frame_bytes: int
) -> npt.NDArray[np.void]:
    """Return the table of proven fix frames of one size that arrived at one moment."""
    table = np.zeros(len(handles), RECORD)
    table["handle"] = handles
    table["lane"] = LaneCode.FIX
    table["flags"] = int(FrameFlag.AUTHENTICATED)
    table["received_ms"] = received_ms
    table["length"] = frame_bytes
    return table


def assemble_frames(
    tables: Sequence[npt.NDArray[np.void]],
    names: Sequence[str],
    payloads: Sequence[bytes],
    *,
    behind: bool = False,
) -> bytes:
    """Return the blob of tables (their `offset` is filled in here) and the payloads in their order.

    `ext` of a table counts from 1 in `names`. Raises ValueError above the bounds.
    """
    table = tables[0].copy() if len(tables) == 1 else np.concatenate(tables)
    if not 0 < len(table) <= JOURNAL_FRAMES_MAX:
        raise ValueError(f"{len(table)} frames in one entry; 1 to {JOURNAL_FRAMES_MAX} allowed")
    ends = np.cumsum(table["length"], dtype=np.int64)
    table["offset"] = ends - table["length"]
    name_bytes = b"".join(bytes([len(raw)]) + raw for raw in (n.encode("ascii") for n in names))
    body = b"".join((table.tobytes(), name_bytes, *payloads))
    if _HEADER.size + len(body) > JOURNAL_BLOB_BYTES_MAX:
        raise ValueError(f"an entry of {len(body)} bytes; at most {JOURNAL_BLOB_BYTES_MAX} allowed")
    payload_bytes = len(body) - table.nbytes - len(name_bytes)
    if payload_bytes != int(ends[-1]):
        raise ValueError(f"payloads of {payload_bytes} bytes; their table says {int(ends[-1])}")
    version, flags = FRAMES_VERSION, 0
    if behind:
        version, flags = FLAGGED_VERSION, int(EntryFlag.BEHIND)
    head = _HEADER.pack(version, flags, len(names), len(table), len(name_bytes), payload_bytes, 0)[
        :16
    ]
    return b"".join((head, zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little"), body))


def read_frames(blob: bytes) -> FrameBatch:
    """See `FrameBatch.read`."""
    if len(blob) < _HEADER.size:
        raise EntryError(f"frames blob of {len(blob)} bytes is shorter than its header")
    version, flags, names_n, records_n, names_bytes, payload_bytes, crc = _HEADER.unpack_from(blob)
    if version not in (FRAMES_VERSION, FLAGGED_VERSION):
        raise EntryVersionError(
            f"frames blob of version {version}; this program reads up to {FLAGGED_VERSION}"
        )
    table_bytes = records_n * RECORD.itemsize
    expected = _HEADER.size + table_bytes + names_bytes + payload_bytes
    if not 0 < records_n <= JOURNAL_FRAMES_MAX or expected != len(blob):
        raise EntryError(f"frames blob of {len(blob)} bytes; its header says {expected}")
    if (version == FLAGGED_VERSION) != (flags != 0) or flags & ~_ENTRY_FLAGS:
        raise EntryError(f"frames blob of version {version} with the flags {flags}")
    if zlib.crc32(memoryview(blob)[_HEADER.size :], zlib.crc32(blob[:16])) != crc:
        raise EntryError("frames blob has a wrong checksum")
    table = np.frombuffer(blob, RECORD, records_n, _HEADER.size)
    names_at = _HEADER.size + table_bytes
    names = _read_names(blob[names_at : names_at + names_bytes], names_n)
    _check_table(table, len(names), payload_bytes)
    return FrameBatch(table, names, memoryview(blob)[names_at + names_bytes :], EntryFlag(flags))


def _read_names(raw: bytes, names_n: int) -> tuple[str, ...]:
    names: list[str] = []
    at = 0
    while at < len(raw):
        end = at + 1 + raw[at]
        name = raw[at + 1 : end]
        if end > len(raw) or not name or not name.isascii():
            raise EntryError("frames blob has a broken table of names")
        names.append(name.decode("ascii"))
        at = end
    if len(names) != names_n:
        raise EntryError(f"frames blob has {len(names)} names; its header says {names_n}")
    return tuple(names)


def _check_table(table: npt.NDArray[np.void], names_n: int, payload_bytes: int) -> None:
    ends = table["offset"].astype(np.int64) + table["length"]
    if int(ends.max()) > payload_bytes:
        raise EntryError("frames blob has a frame beyond its payload")
    if int(table["ext"].max()) > names_n:
        raise EntryError("frames blob has a frame with a name it does not hold")
    if not set(np.unique(table["lane"]).tolist()) <= _LANES:
        raise EntryError("frames blob has an unknown lane")
    if np.any(table["flags"] & ~np.uint8(_FLAGS_KNOWN)):
        raise EntryError("frames blob has an unknown flag")


def entry_fields(kind: EntryKind, blob: bytes) -> tuple[bytes, ...]:
    """Return field and value, in turn, as XADD takes them."""
    return (b"v", ENTRY_VERSION, b"k", kind.encode("ascii"), b"b", blob)


def read_entry(raw_id: bytes, fields: dict[bytes, bytes] | None) -> Entry:
    """Return an entry from what XREAD gives.

    Raises EntryVersionError for a later format; anything else wrong is `INVALID`.
    """
    entry_id = EntryId.parse(raw_id)
    fields = fields or {}
    version = fields.get(b"v")
    if version is not None and version != ENTRY_VERSION:
        raise EntryVersionError(
            f"entry {entry_id} has format {version!r}; this program reads {ENTRY_VERSION!r}"
        )
    kind, blob = fields.get(b"k"), fields.get(b"b")
    if version is None or kind is None or blob is None:
        return Entry(entry_id, EntryKind.INVALID, b"entry without the fields v, k and b")
    try:
        known = EntryKind(kind.decode("ascii", "replace"))
    except ValueError:
        return Entry(entry_id, EntryKind.INVALID, b"entry of unknown kind " + kind[:32])
    if known is EntryKind.INVALID:
        return Entry(entry_id, known, b"entry of unknown kind invalid")
    return Entry(entry_id, known, blob)
