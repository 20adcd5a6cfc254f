"""An entry taken apart: one frame, one output, so that each can be shown, or erased, alone.

An entry holds what many people's devices said in one tick, and its outbox entry what followed for
each of them. A court gets the frames of one case, and must be able to prove that they stood in the
entry that was chained, without a byte of anybody else's.

    frames     part 0 header (20 bytes), part 1 names, then per frame: its row, its bytes
    outputs    part 0 everything before the first output, then each output
    others     the blob is the one part
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from ingest.store import EntryId

HEADER_PARTS: Final = {"frames": 2, "outputs": 1}
"""So many parts stand before the first frame or output."""
_HEADER: Final = struct.Struct("<BBHIIII")
_ROW_BYTES: Final = 24
_ROW: Final = struct.Struct("<IBBHQII")
_FIX: Final = 1
_PLACE: Final = struct.Struct("<II")  # offset and length, the end of a row
_ENVELOPE: Final = msgspec.msgpack.Decoder(tuple[int, int, int, list[msgspec.Raw]])


def split(kind: str, blob: bytes) -> list[bytes]:
    """Return the parts of an entry; `join` of them is the blob.

    What is not what its kind says is one part.
    """
    parts: list[bytes] = []
    if kind == "frames":
        parts = _split_frames(blob)
    elif kind == "outputs":
        parts = _split_outputs(blob)
    return parts or [blob]


def join(kind: str, parts: Sequence[bytes]) -> bytes:
    """Return the blob of all its parts."""
    if kind != "frames" or len(parts) == 1:
        return b"".join(parts)
    header, names, *frames = parts
    rows = b"".join(part[:_ROW_BYTES] for part in frames)
    return b"".join((header, rows, names, *(part[_ROW_BYTES:] for part in frames)))


NOBODY: Final = 0xFFFF_FFFF
"""The handle of a frame that was erased: no device has it."""
ERASED: Final = "erased"
"""Kind and reason of the observation that stands where an output was erased."""


def stand_in(kind: str, place: int, entry_id: EntryId) -> bytes:
    """Return what readers get in the place of a part that was erased.

    A frame of nobody without a byte, an observation that says so, or nothing.
    """
    if kind == "frames" and place >= HEADER_PARTS[kind]:
        return _ROW.pack(NOBODY, _FIX, 0, 0, entry_id.ms, 0, 0)
    if kind == "outputs" and place >= HEADER_PARTS[kind]:
        said = {"type": "observation", "kind": ERASED, "reason": ERASED, "at_ms": entry_id.ms}
        return msgspec.msgpack.encode(said)
    return b""


def join_anew(kind: str, parts: Sequence[bytes]) -> bytes:
    """Return a blob of parts of which some are stand-ins: as `join`, and as readers check it."""
    if kind != "frames" or len(parts) == 1:
        return join(kind, parts)
    header, names, *frames = parts
    at, moved = 0, []
    for part in frames:
        length = len(part) - _ROW_BYTES
        moved.append(part[: _ROW_BYTES - _PLACE.size] + _PLACE.pack(at, length) + frame_of(part))
        at += length
    head = header[:12] + at.to_bytes(4, "little")
    body = join(kind, (b"", names, *moved))
    return b"".join((head, zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little"), body))


def frame_of(part: bytes) -> bytes:
    """Return the bytes that a device sent, of a part of a `frames` entry."""
    return part[_ROW_BYTES:]


def handle_of(part: bytes) -> int:
    """Return the handle that a frame was journalled under; 0 for no registered device."""
    return int.from_bytes(part[:4], "little")


def _split_frames(blob: bytes) -> list[bytes]:
    if len(blob) < _HEADER.size:
        return []
    _, _, _, records, names_bytes, payload_bytes, _ = _HEADER.unpack_from(blob)
    names_at = _HEADER.size + records * _ROW_BYTES
    payload_at = names_at + names_bytes
    if payload_at + payload_bytes != len(blob):
        return []
    parts = [blob[: _HEADER.size], blob[names_at:payload_at]]
    at = payload_at
    for row_at in range(_HEADER.size, names_at, _ROW_BYTES):
        row = blob[row_at : row_at + _ROW_BYTES]
        offset, length = _PLACE.unpack_from(row, _ROW_BYTES - _PLACE.size)
        if payload_at + offset != at or at + length > len(blob):
            return []  # not as it is written here: what overlaps cannot be taken apart
        parts.append(row + blob[at : at + length])
        at += length
    return parts if at == len(blob) else []


def _split_outputs(blob: bytes) -> list[bytes]:
    try:
        outputs = [bytes(raw) for raw in _ENVELOPE.decode(blob)[3]]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    head = len(blob) - sum(map(len, outputs))
    return [blob[:head], *outputs] if b"".join((blob[:head], *outputs)) == blob else []
