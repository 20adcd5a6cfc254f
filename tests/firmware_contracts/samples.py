"""Frames to test with, made byte by byte from the specification's own words, not from the table."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
DEVICE = "ankle-0001"
NOW_MS = 1_760_000_000_000
TIME_MS_MIN = 1_577_836_800_000  # 2020-01-01
TIME_MS_MAX = 4_102_444_799_999  # the last millisecond of 2099

FIX, EVENT, STATUS, ACK, COMMAND = 1, 2, 3, 4, 5
HEADER = "<HBBBBBBIIQQ"
RECORD = {
    FIX: "<iiiHHHBBBBh",
    EVENT: "<iHiiiHBB",
    STATUS: "<iIIIHHHhBBBB",
    ACK: "<III",
    COMMAND: "<IQBII64s",
}
# time offset, lat, lon, accuracy, speed, heading, mechanism, satellites, battery, flags, altitude
SOUND_FIX = (-1500, 519_225_000, 44_791_700, 45, 140, 27_000, 1, 11, 87, 1, 12)
# time offset, code, value, lat, lon, accuracy, mechanism, reserved
SOUND_EVENT = (-20, 1, 0, 519_225_000, 44_791_700, 45, 1, 0)
SOUND_STATUS = (0, 3600, 0x01020003, 4, 30, 300, 3900, -97, 87, 2, 0, 30)
SOUND_COMMAND = (77, NOW_MS + 60_000, 3, 0, 0, b"ga naar huis")
SOUND: dict[int, tuple[Any, ...]] = {
    FIX: SOUND_FIX,
    EVENT: SOUND_EVENT,
    STATUS: SOUND_STATUS,
    ACK: (3, 1, 900),
    COMMAND: SOUND_COMMAND,
}


def cmac(body: bytes, *, device: str = DEVICE, key: bytes = KEY) -> bytes:
    """The tag over the bytes that the specification names."""
    return rfc_4493(key, bytes([len(device)]) + device.encode() + body)


def _encrypt(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(AES(key), CBC(bytes(16))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _doubled(block: bytes) -> bytes:
    number = int.from_bytes(block) << 1
    return (number & (2**128 - 1) ^ (0x87 if number >> 128 else 0)).to_bytes(16)


def rfc_4493(key: bytes, message: bytes) -> bytes:
    """AES-CMAC written out from section 2.4 of RFC 4493, on AES-CBC."""
    subkey = _doubled(_encrypt(key, bytes(16)))
    whole = bool(message) and len(message) % 16 == 0
    if not whole:
        subkey = _doubled(subkey)
        message += b"\x80" + bytes(-(len(message) + 1) % 16)
    last = bytes(a ^ b for a, b in zip(message[-16:], subkey, strict=True))
    return _encrypt(key, message[:-16] + last)[-16:]


def frame(
    kind: int = FIX,
    records: Sequence[Sequence[Any]] | None = None,
    *,
    magic: int = 0xAF57,
    major: int = 1,
    minor: int = 0,
    wire_kind: int | None = None,
    flags: int | None = None,
    record_bytes: int | None = None,
    count: int | None = None,
    boot: int = 7,
    sequence: int = 42,
    time_ms: int = NOW_MS,
    reserved: int = 0,
    tail: bytes = b"",
    device: str = DEVICE,
    key: bytes = KEY,
) -> bytes:
    """A frame whose every part can be made wrong; `tail` stands behind every record."""
    rows = [SOUND[kind]] if records is None else records
    packed = [struct.pack(RECORD[kind], *row) + tail for row in rows]
    head = struct.pack(
        HEADER,
        magic,
        major,
        minor,
        kind if wire_kind is None else wire_kind,
        (kind in (ACK, COMMAND)) if flags is None else flags,
        struct.calcsize(RECORD[kind]) + len(tail) if record_bytes is None else record_bytes,
        len(rows) if count is None else count,
        boot,
        sequence,
        time_ms,
        reserved,
    )
    body = head + b"".join(packed)
    return body + cmac(body, device=device, key=key)


def replaced(row: Sequence[Any], **places: Any) -> tuple[Any, ...]:
    """A row with some of its values replaced, by the place: replaced(row, p3=0)."""
    values = list(row)
    for place, value in places.items():
        values[int(place[1:])] = value
    return tuple(values)


def joined(frames: Sequence[bytes]) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A batch's payload, offsets and lengths."""
    lengths = np.array([len(one) for one in frames], dtype=np.int64)
    return b"".join(frames), np.cumsum(lengths) - lengths, lengths
