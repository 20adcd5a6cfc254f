"""A reader of journals that costs little: pages of entries as columns, no object per entry.

One connection of its own (RESP 2). To catch up, the next page is asked for before the present one
is given, so that the store works meanwhile; at the end of the journal it waits for what comes. An
entry that is not of the three fields in their usual order is left to `Journal.read`, which alone
says what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_call
from afstand.limits import (
    BULK_READ_BYTES,
    BULK_READ_ENTRIES_MAX,
    STORE_CONNECT_TIMEOUT_S,
    STORE_TIMEOUT_S,
)
from ingest.columns import KIND_CODES, EntryColumns, Ints
from ingest.entries import EntryKind
from ingest.resp import Address, RespReader, encode_commands
from ingest.store import EntryId, StoreUnavailableError, journal_key
from ingest.where import Where

Raw = npt.NDArray[np.uint8]
ODD: Final = 255
"""The kind of an entry that is left to the general reader."""
_FIRST_COUNT: Final = 256
_CHUNK_BYTES: Final = 1 << 20
_LIVE_BYTES: Final = 1 << 16

# Kinds as they stand in an entry, one behind the other, with where each begins.
_NAMES: Final = [(kind.value.encode(), KIND_CODES[kind]) for kind in EntryKind]
_KIND_BYTES: Final = np.frombuffer(b"".join(name for name, _ in _NAMES), np.uint8)
_KIND_ENDS: Final = np.cumsum([len(name) for name, _ in _NAMES])
_KIND_CODES: Final = np.array(
    [ODD if code == KIND_CODES[EntryKind.INVALID] else code for _, code in _NAMES]
)
_FIELDS: Final = np.frombuffer(b"*6\r\n$1\r\nv\r\n$1\r\n1\r\n$1\r\nk\r\n", np.uint8)
_BLOB: Final = np.frombuffer(b"$1\r\nb\r\n", np.uint8)


class _Rows(NamedTuple):
    """Where the scanner writes what it finds, one row an entry."""

    ms: Ints
    seq: Ints
    kind: npt.NDArray[np.uint8]
    start: Ints
    length: Ints

    @classmethod
    def empty(cls, count: int) -> _Rows:
        def ints() -> Ints:
            return np.zeros(count, np.int64)

        return cls(ints(), ints(), np.zeros(count, np.uint8), ints(), ints())


class BulkReader:
    """Reads the journal of one partition."""

    def __init__(self, where: Where, *, ca_file: str | None = None) -> None:
        self._where = where
        self._ca_file = ca_file
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._asked: tuple[str, EntryId, int] | None = None
        self._count = _FIRST_COUNT

    async def read(self, partition: str, after: EntryId) -> EntryColumns:
        """Return entries behind `after`, oldest first; fewer than there are only when none follow.

        Entries of kind `ODD` are to be read in the general way. Raises StoreUnavailableError.
        """
        return await self._whole(self._read(partition, after), "XRANGE")

    async def wait(self, partition: str, after: EntryId, count: int, block_ms: int) -> EntryColumns:
        """Return up to `count` entries behind `after`; waits up to `block_ms` for the first one.

        As `read` otherwise.
        """
        return await self._whole(self._wait(partition, after, count, block_ms), "XREAD")

    async def _whole(self, reading: Awaitable[EntryColumns], what: str) -> EntryColumns:
        """Let no half of an answer be taken for the next one."""
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                return await reading
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            await self._failed()
            problem = f"{what}: {type(error).__name__}: {error}"
            raise StoreUnavailableError(problem) from error
        except BaseException:
            await self._failed()
            raise

    async def _failed(self) -> None:
        self._where.stale()
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        writer, self._writer, self._reader, self._asked = self._writer, None, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, partition: str, after: EntryId) -> EntryColumns:
        if self._asked is not None and self._asked[:2] != (partition, after):
            await self.aclose()  # what was asked for ahead is not what is wanted
        if self._writer is None:
            await self._connect(await self._where.of(journal_key(partition)))
        if self._asked is None:
            self._ask(partition, after)
        assert self._asked is not None
        asked = self._asked[2]
        found = await self._answer()
        self._asked = None
        if len(found) == asked:
            size = max(len(found.data) // asked, 1)
            self._count = min(max(BULK_READ_BYTES // size, 1), BULK_READ_ENTRIES_MAX)
            self._ask(partition, found.id(len(found) - 1))
        return found

    async def _wait(
        self, partition: str, after: EntryId, count: int, block_ms: int
    ) -> EntryColumns:
        if self._asked is not None:
            await self.aclose()
        if self._writer is None:
            await self._connect(await self._where.of(journal_key(partition)))
        assert self._writer is not None
        assert self._reader is not None
        key = journal_key(partition)
        command = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", key, str(after))
        self._writer.write(encode_commands([command]))
        head = await self._line(b"*")
        if head < 0:  # nothing came
            return EntryColumns(*_Rows.empty(0), np.empty(0, np.uint8))
        # One stream: an array of its key and its entries.
        if head != 1 or await self._line(b"*") != 2:
            raise ValueError("not the answer of one stream")
        size = await self._line(b"$")
        if await self._reader.readexactly(size + 2) != key.encode() + b"\r\n":
            raise ValueError("another stream")
        return await self._entries(await self._line(b"*"), _LIVE_BYTES)

    def _ask(self, partition: str, after: EntryId) -> None:
        assert self._writer is not None
        key, count = journal_key(partition), self._count
        command = ("XRANGE", key, f"({after}", "+", "COUNT", count)
        self._writer.write(encode_commands([command]))
        self._asked = partition, after, count

    async def _line(self, kind: bytes) -> int:
        """The number of a line of this kind. Raises for another one, and for an error."""
        assert self._reader is not None
        head = await self._reader.readuntil(b"\r\n")
        if head.startswith(b"-"):
            raise StoreUnavailableError(head[1:-2].decode("utf-8", "replace"))
        if not head.startswith(kind):
            raise ValueError(f"an answer of kind {head[:1]!r}")
        return int(head[1:-2])

    async def _answer(self) -> EntryColumns:
        return await self._entries(await self._line(b"*"), _CHUNK_BYTES)

    async def _entries(self, count: int, room: int) -> EntryColumns:
        assert self._reader is not None
        rows, done, at = _Rows.empty(count), 0, 0
        raw, used = np.empty(room, np.uint8), 0
        while done < count:
            chunk = await self._reader.read(_CHUNK_BYTES)
            if not chunk:
                raise EOFError("connection lost")
            if used + len(chunk) > len(raw):
                grown = np.empty(max(2 * len(raw), used + len(chunk)), np.uint8)
                grown[:used] = raw[:used]
                raw = grown
            raw[used : used + len(chunk)] = np.frombuffer(chunk, np.uint8)
            used += len(chunk)
            done, at = scan_entries(raw[:used], at, done, rows)
            if at < 0:
                raise ValueError("an answer that is not understood")
        if at != used:
            raise ValueError("more than was asked for")
        return EntryColumns(*rows, raw[:used])

    async def _connect(self, address: Address) -> None:
        context = ssl.create_default_context(cafile=self._ca_file) if address.tls else None
        async with asyncio.timeout(STORE_CONNECT_TIMEOUT_S):
            if address.path:
                opened = await asyncio.open_unix_connection(address.path, limit=_CHUNK_BYTES)
            else:
                opened = await asyncio.open_connection(
                    address.host, address.port, ssl=context, limit=_CHUNK_BYTES
                )
            self._reader, self._writer = opened
            hello: list[tuple[str | int, ...]] = []
            if address.password is not None:
                user = (address.username,) if address.username else ()
                hello.append(("AUTH", *user, address.password))
            if address.database:
                hello.append(("SELECT", address.database))
            if hello:
                self._writer.write(encode_commands(hello))
            parser, left = RespReader(), len(hello)
            while left:
                for answer in parser.feed(await self._reader.readuntil(b"\r\n")):
                    if isinstance(answer, StoreUnavailableError):
                        raise answer
                    left -= 1


def scan_entries(raw: Raw, at: int, done: int, rows: _Rows) -> tuple[int, int]:
    """Find entries from `at` on; return how many there are by now and where to go on.

    Stops at one that is not all there. -1 as the place: what stands there is no entry.
    """
    found, place = _scan(raw, at, done, _KIND_BYTES, _KIND_ENDS, _KIND_CODES, _FIELDS, _BLOB, *rows)
    return int(found), int(place)


def warm_up() -> None:
    """Compile the scanner."""
    scan_entries(np.zeros(1, np.uint8), 0, 0, _Rows.empty(1))


@jit_call
def _number(raw: Raw, at: int) -> tuple[int, int]:
    """The number that ends with CR LF, and the place behind; -1, -1: not all there or none."""
    value = 0
    begin = at
    while at < len(raw) and 48 <= raw[at] <= 57 and at - begin < 20:
        value = value * 10 + int(raw[at]) - 48
        at += 1
    if at == begin or at + 1 >= len(raw) or raw[at] != 13 or raw[at + 1] != 10:
        return -1, -1
    return value, at + 2


@jit_call
def _same(raw: Raw, at: int, text: Raw) -> bool:
    if at + len(text) > len(raw):
        return False
    for k in range(len(text)):  # noqa: SIM110 - a kernel has no generators
        if raw[at + k] != text[k]:
            return False
    return True


@jit_call
def _entry_end(raw: Raw, at: int) -> int:
    """Where the fields of an entry end, whatever they are; -1: not all there."""
    if at >= len(raw) or raw[at] != 42:
        return -1
    count, at = _number(raw, at + 1)
    for _ in range(max(count, 0)):
        if at < 0 or at >= len(raw) or raw[at] != 36:
            return -1
        size, at = _number(raw, at + 1)
        if at < 0 or at + size + 2 > len(raw):
            return -1
        at += size + 2
    return at


@jit_call
def _entry_id(raw: Raw, at: int, end: int) -> tuple[int, int]:
    """The id that stands there; -1, -1: none does."""
    ms = value = 0
    parts = 1
    for k in range(at, end):
        if raw[k] == 45 and parts == 1:
            ms, value, parts = value, 0, 2
        elif 48 <= raw[k] <= 57:
            value = value * 10 + int(raw[k]) - 48
        else:
            return -1, -1
    return (ms, value) if parts == 2 else (-1, -1)


@jit_call
def _known_kind(
    raw: Raw, at: int, size: int, kind_bytes: Raw, kind_ends: Ints, kind_codes: Ints
) -> int:
    begin = 0
    for k in range(len(kind_ends)):
        if kind_ends[k] - begin == size and _same(raw, at, kind_bytes[begin : kind_ends[k]]):
            return int(kind_codes[k])
        begin = kind_ends[k]
    return ODD


@jit
def _scan(
    raw: Raw,
    at: int,
    done: int,
    kind_bytes: Raw,
    kind_ends: Ints,
    kind_codes: Ints,
    fields: Raw,
    blob: Raw,
    ms: Ints,
    seq: Ints,
    kind: Raw,
    start: Ints,
    length: Ints,
) -> tuple[int, int]:
    while done < len(ms) and at + 5 <= len(raw):
        if raw[at] != 42 or raw[at + 1] != 50 or raw[at + 4] != 36:  # *2 CR LF $
            return done, -1
        size, place = _number(raw, at + 5)
        if place < 0 or place + size + 2 > len(raw):
            break
        body = place + size + 2
        end = _entry_end(raw, body)
        if end < 0:
            break
        ms[done], seq[done] = _entry_id(raw, place, place + size)
        if ms[done] < 0:
            return done, -1
        kind[done], start[done], length[done] = ODD, body, end - body
        if _same(raw, body, fields) and raw[body + len(fields)] == 36:
            size, body = _number(raw, body + len(fields) + 1)
            code = _known_kind(raw, body, size, kind_bytes, kind_ends, kind_codes)
            body += size + 2
            if code != ODD and _same(raw, body, blob) and raw[body + len(blob)] == 36:
                size, body = _number(raw, body + len(blob) + 1)
                kind[done], start[done], length[done] = code, body, size
        done += 1
        at = end
    return done, at
