"""Journal and outbox in memory, with the store's rules and its faults, for tests of replicas."""

import asyncio
import random

from ingest.entries import Entry, EntryKind
from ingest.outbox import Appended, OutboxEntry
from ingest.store import BEGINNING, EntryId, StoreUnavailableError


class Faults:
    """Draws when the store fails, and whether what was asked had been done by then."""

    def __init__(self, draw: random.Random, share: float) -> None:
        self._draw = draw
        self.share = share
        self.happened = 0

    async def maybe(self) -> bool:
        """Give up the processor; True when the call is to fail after it was done."""
        await asyncio.sleep(0)
        if self._draw.random() >= self.share:
            return False
        self.happened += 1
        if self._draw.random() < 0.5:
            raise StoreUnavailableError("before it was done")
        return True


def _fail(after: bool) -> None:
    if after:
        raise StoreUnavailableError("after it was done")


class MemoryJournal:
    """One partition's journal, read by any number of replicas."""

    def __init__(self, entries: list[Entry], faults: Faults) -> None:
        self.entries = entries
        self._faults = faults

    async def read(self, partition, after, count, block_ms=None):
        await self._faults.maybe()
        return [entry for entry in self.entries if entry.id > after][:count]

    async def newest_until(self, partition, entry_id):
        await self._faults.maybe()
        return max((one.id for one in self.entries if one.id <= entry_id), default=BEGINNING)

    async def last_id(self, partition):
        await self._faults.maybe()
        return self.entries[-1].id if self.entries else BEGINNING

    async def append(self, partition: str, kind: EntryKind, blob: bytes) -> EntryId:
        after = await self._faults.maybe()
        last = self.entries[-1].id
        entry = Entry(EntryId(last.ms + 250, 0), kind, blob)
        self.entries.append(entry)
        _fail(after)
        return entry.id


class MemoryOutbox:
    """One partition's outbox; refuses what is not newer, as the store does."""

    def __init__(self, faults: Faults) -> None:
        self.entries: list[OutboxEntry] = []
        self._faults = faults

    async def newest_until(self, partition, entry_id):
        await self._faults.maybe()
        return max((one.id for one in self.entries if one.id <= entry_id), default=BEGINNING)

    async def last_id(self, partition):
        await self._faults.maybe()
        return self.entries[-1].id if self.entries else BEGINNING

    async def append(self, partition, entry_id, blob):
        after = await self._faults.maybe()
        if self.entries and entry_id <= self.entries[-1].id:
            return Appended.REFUSED
        self.entries.append(OutboxEntry(entry_id, blob))
        _fail(after)
        return Appended.ACCEPTED

    async def read(self, partition, after, count, block_ms=None):
        await self._faults.maybe()
        return [entry for entry in self.entries if entry.id > after][:count]
