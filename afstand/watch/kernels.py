"""The two loops over every frame of a page, compiled: checksums, and sequence numbers in order.

What is not in order goes back to Python, which knows runs and gaps (afstand.watch.seen).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from afstand.compile import jit

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
Raw = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_SLICES: Final = 8


def _tables() -> Words:
    """The tables of CRC-32 by slices of eight bytes."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, (first >> 1) ^ np.uint32(0xEDB88320), first >> 1)
    tables = np.zeros((_SLICES, 256), np.uint32)
    tables[0] = first
    for k in range(1, _SLICES):
        tables[k] = (tables[k - 1] >> 8) ^ first[tables[k - 1] & 0xFF]
    return tables


TABLES: Final = _tables()


def checksums(data: Raw, starts: Ints, lengths: Ints, skip: int, skip_end: int) -> Words:
    """Return the CRC-32 of parts of `data`, each without its bytes `skip` to before `skip_end`."""
    found = np.zeros(len(starts), np.uint32)
    _checksums(data, starts, lengths, skip, skip_end, TABLES, found)
    return found


def note_in_order(
    handles: Ints,
    boots: Ints,
    sequences: Ints,
    wanted: Mask,
    known_boots: Ints,
    known_last: Ints,
    first: int,
) -> int:
    """Note wanted frames from `first` on that are next in order of their device.

    Returns the first that is not; it is not noted.
    """
    return int(_note_in_order(handles, boots, sequences, wanted, known_boots, known_last, first))


def warm_up() -> None:
    """Compile both."""
    one = np.zeros(1, np.int64)
    checksums(np.zeros(1, np.uint8), one, one, 0, 0)
    note_in_order(one, one, one, np.zeros(1, np.bool_), one, one, 0)


@jit
def _part(data: Raw, at: int, end: int, crc: np.uint32, tables: Words) -> np.uint32:
    while at + 8 <= end:
        crc = (
            tables[7, data[at] ^ (crc & 0xFF)]
            ^ tables[6, data[at + 1] ^ ((crc >> 8) & 0xFF)]
            ^ tables[5, data[at + 2] ^ ((crc >> 16) & 0xFF)]
            ^ tables[4, data[at + 3] ^ (crc >> 24)]
            ^ tables[3, data[at + 4]]
            ^ tables[2, data[at + 5]]
            ^ tables[1, data[at + 6]]
            ^ tables[0, data[at + 7]]
        )
        at += 8
    while at < end:
        crc = tables[0, (crc ^ data[at]) & 0xFF] ^ (crc >> 8)
        at += 1
    return np.uint32(crc)


@jit
def crc_of(
    data: Raw, start: int, length: int, skip: int, skip_end: int, tables: Words
) -> np.uint32:
    """Return the CRC-32 of one part, without its bytes `skip` to before `skip_end`."""
    crc = _part(data, start, start + skip, np.uint32(0xFFFFFFFF), tables)
    crc = _part(data, start + skip_end, start + length, crc, tables)
    return np.uint32(crc ^ np.uint32(0xFFFFFFFF))


@jit
def _checksums(
    data: Raw, starts: Ints, lengths: Ints, skip: int, skip_end: int, tables: Words, found: Words
) -> None:
    for k in range(len(starts)):
        found[k] = crc_of(data, starts[k], lengths[k], skip, skip_end, tables)


@jit
def _note_in_order(
    handles: Ints,
    boots: Ints,
    sequences: Ints,
    wanted: Mask,
    known_boots: Ints,
    known_last: Ints,
    first: int,
) -> int:
    for k in range(first, len(handles)):
        if not wanted[k]:
            continue
        handle = handles[k]
        if handle >= len(known_last):
            return k
        if known_boots[handle] != boots[k] or known_last[handle] + 1 != sequences[k]:
            return k
        known_last[handle] = sequences[k]
    return len(handles)
