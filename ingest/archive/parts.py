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
from collections.abc import Sequence
from typing import Final

import msgspec

HEADER_PARTS: Final = {"frames": 2, "outputs": 1}
"""So many parts stand before the first frame or output."""
_HEADER: Final = struct.Struct("<BBHIIII")
_ROW_BYTES: Final = 24
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
