"""Who reads the streams of a partition, and how far each is: what nobody may trim past.

A reader says its positions every few seconds; the store's clock says when. One that is silent stays
in the list and holds the trim, until a person takes it out.
"""

from __future__ import annotations

import contextlib
from typing import Final, NamedTuple

from ingest.devices import check_partition
from ingest.store import BEGINNING, EntryId, Store, command

_FORMAT: Final = 1
_REGISTER: Final = """
local now = redis.call('TIME')
local seen = now[1] * 1000 + math.floor(now[2] / 1000)
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', seen))
"""


class Reader(NamedTuple):
    """A reader: it needs no entry up to these ids any more, not even after a restart."""

    name: str
    journal: EntryId
    outbox: EntryId
    seen_ms: int
    """When it last said so, by the store's clock. 0: never."""
    problem: str = ""


NOTHING_NEEDED: Final = EntryId(2**62, 0)
"""The position of a reader that needs no entry of a stream, or whose group says what it needs."""


def readers_key(partition: str) -> str:
    """Return the key of the list."""
    return f"readers:{{{partition}}}"


class Readers:
    """The readers of all partitions. Cheap: holds no connection of its own and no state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def register(self, partition: str, name: str, journal: EntryId, outbox: EntryId) -> None:
        """Say how far a reader is."""
        value = f"{_FORMAT} {journal} {outbox}"
        key = readers_key(check_partition(partition))
        await command(self._store, "EVAL", _REGISTER, 1, key, name, value)

    async def all(self, partition: str) -> list[Reader]:
        """Return all readers by name. One that cannot be read holds everything."""
        answer = await command(self._store, "HGETALL", readers_key(partition))
        return sorted(_read(name, value) for name, value in answer.items())

    async def forget(self, partition: str, name: str) -> bool:
        """Take a reader out: nothing is kept for it any more. False: there was none."""
        return bool(await command(self._store, "HDEL", readers_key(partition), name))


def _read(raw_name: bytes, raw: bytes) -> Reader:
    name = raw_name.decode("utf-8", "replace")
    parts = raw.decode("ascii", "replace").split(" ")
    with contextlib.suppress(ValueError):
        if parts[0] == str(_FORMAT) and len(parts) == 4:
            journal, outbox = EntryId.parse(parts[1]), EntryId.parse(parts[2])
            return Reader(name, journal, outbox, int(parts[3]))
    return Reader(name, BEGINNING, BEGINNING, 0, f"cannot be read: {raw[:80]!r}")


def floors_key(partition: str) -> str:
    """Return the key under which it stands how far the streams of a partition were trimmed."""
    return f"trimmed:{{{partition}}}"


async def read_floor(store: Store, partition: str, stream: str) -> EntryId:
    """Return below which id a stream was trimmed: those entries are in the archive."""
    answer = await command(store, "HGET", floors_key(partition), stream)
    return EntryId.parse(answer) if answer else BEGINNING


async def raise_floor(store: Store, partition: str, stream: str, floor: EntryId) -> None:
    """Write down how far a stream is about to be trimmed: before it is."""
    await command(store, "HSET", floors_key(partition), stream, str(floor))
