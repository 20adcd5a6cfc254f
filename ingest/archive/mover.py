"""Moves the old entries of one stream into the archive: chain, file, check, trim, in that order.

Every step is durable before the next begins, and each can be done again: whoever dies between two
of them leaves a state from which `open` goes on. What the store holds is compared with what was
chained when it was new; a difference is written down in `faults.jsonl`, told, and stays visible in
the chain for ever, but it never stops the archive.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from afstand.limits import (
    ARCHIVE_FILE_BYTES_MAX,
    ARCHIVE_FILE_ENTRIES_MAX,
    ARCHIVE_READ_ENTRIES_MAX,
)
from ingest.archive.chain import Link, StreamName, follows, genesis, link
from ingest.archive.files import read_file, read_meta, salvage, write_file
from ingest.archive.folder import ArchiveFolder
from ingest.archive.history import read_stream
from ingest.archive.keys import Keys
from ingest.archive.log import ChainLog
from ingest.archive.names import ArchiveError, ArchiveFile, day_of
from ingest.archive.sealing import Sealer, seal
from ingest.columns import Item
from ingest.journal import newest_until
from ingest.readers import raise_floor, read_floor
from ingest.store import BEGINNING, EntryId, Store, command

FAULTS_FORMAT: Final = 1
FAULTS_FILE: Final = "faults.jsonl"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it was written. One line of `faults.jsonl`."""

    format: int = FAULTS_FORMAT
    stream: StreamName
    after: str
    """The last entry that is as it was."""
    what: str


class Ages(NamedTuple):
    """When entries are moved, in milliseconds.

    `keep_ms`: so long they stay in the stream. `file_ms`: so much time goes into a file, unless it
    is full or its day is over.
    """

    keep_ms: int
    file_ms: int


class Mover:
    """The archive of one stream. One process at a time writes it."""

    def __init__(
        self,
        store: Store,
        root: Path,
        partition: str,
        stream: StreamName,
        ages: Ages,
        sealer: Sealer | None = None,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._keys = Keys(root, partition)
        self._partition = partition
        self._stream = stream
        self._ages = ages
        self.folder = ArchiveFolder(root, partition, stream)
        self.log = ChainLog(self.folder.base / "chain")
        self.faults: list[Fault] = []
        """What was found and not taken by anybody yet."""
        self.chained = BEGINNING
        self.head = genesis(partition, stream)
        self._moved = BEGINNING
        self._moved_head = self.head
        self._first: EntryId | None = None  # chained and not moved
        self._waiting = 0

    @property
    def moved(self) -> EntryId:
        """The last entry that is in the archive."""
        return self._moved

    # --- opening ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Go on from what is on the disk. Raises OSError and StoreUnavailableError."""
        self.folder.base.mkdir(parents=True, exist_ok=True)
        # Its writer died; the entries are still in the stream.
        self.folder.remove_unfinished()
        await self._open_archive()
        await asyncio.to_thread(self._open_log)
        await self._check_store()

    async def _open_archive(self) -> None:
        """The newest file must be good, because everything that comes follows it."""
        self._moved, self._moved_head = BEGINNING, genesis(self._partition, self._stream)
        while (file := self.folder.last()) is not None:
            try:
                for _ in read_file(file):
                    pass
                self._moved, self._moved_head = file.last, bytes.fromhex(read_meta(file).head)
            except ArchiveError as error:
                await self._cut(file, error)
            else:
                return

    async def _cut(self, file: ArchiveFile, error: ArchiveError) -> None:
        """Replace a damaged file by its good entries; the others come again from the stream."""
        previous, items, links, sealed = salvage(file)
        before = self._before(file)
        good = items[-1].id if items else before
        floor = await read_floor(self._store, self._partition, self._stream)
        what = f"{error}; cut behind {good}"
        if floor > good.next():
            what += f"; entries up to {min(file.last, floor)} are lost with it"
        self._fault(good, what)
        cut_before = any(one.first == file.first and one != file for one in self.folder.files())
        if items and not cut_before:
            place = file.path.parent, self._partition, self._stream
            write_file(*place, previous, items, links, sealed)
        self.folder.set_aside(file)

    def _before(self, file: ArchiveFile) -> EntryId:
        before = [other.last for other in self.folder.files() if other.last < file.first]
        return before[-1] if before else BEGINNING

    def _open_log(self) -> None:
        """Find the end of the chain; segments whose links are all in the archive go."""
        self.log.forget(self._moved)
        for said in self.log.mend():
            self._fault(self._moved, f"chain log: {said}")
        previous, last, first, count = self._moved_head, self._moved, None, 0
        for segment in self.log.segments():
            head = segment.previous
            for one in segment.links:
                if one.id == self._moved and one.hash != self._moved_head:
                    return self._restart_log("it does not agree with the archive")
                if one.id > self._moved:
                    if first is None and head != previous:
                        return self._restart_log("it does not follow the archive")
                    first = first or one.id
                    previous, last, count = one.hash, one.id, count + 1
                head = one.hash
        self.head, self.chained, self._first, self._waiting = previous, last, first, count
        return None

    def _restart_log(self, why: str) -> None:
        self._fault(self._moved, f"chain log: {why}; begun anew")
        self._rechain_from(self._moved, self._moved_head)

    def _rechain_from(self, last: EntryId, head: bytes) -> None:
        """Forget the links behind an entry; they are made again from the stream."""
        self.log.rewind(last)
        if last <= self._moved:
            self.log.forget(self._moved)
        self.chained, self.head = last, head
        self._first, self._waiting = None, 0

    async def _check_store(self) -> None:
        """Whether the store still has the last entry that was chained."""
        if self.chained <= self._moved:
            return
        there = await newest_until(self._store, self._key, self.chained)
        if there == self.chained:
            return
        good = Link(self._moved, b"", self._moved_head)
        for segment in self.log.segments():
            good = max([good, *(one for one in segment.links if one.id <= there)])
        self._fault(good.id, f"the store has lost the entries up to {self.chained}")
        self._rechain_from(good.id, good.hash)
        self._open_log()

    # --- chaining -----------------------------------------------------------------------------

    async def follow(self) -> int:
        """Chain what is new in the stream; return how many entries."""
        count = 0
        while items := await self._read(self.chained):
            self._append(self.head, link(self.head, items))
            count += len(items)
            if len(items) < ARCHIVE_READ_ENTRIES_MAX:
                break
        return count

    def _append(self, previous: bytes, links: Sequence[Link]) -> None:
        self.log.append(previous, links)
        self._first = self._first or links[0].id
        self._waiting += len(links)
        self.chained, self.head = links[-1].id, links[-1].hash

    # --- moving -------------------------------------------------------------------------------

    def due(self, now_ms: int) -> bool:
        """Whether something is old enough for a file."""
        first, cutoff_ms = self._first, now_ms - self._ages.keep_ms
        if first is None or first.ms > cutoff_ms:
            return False
        return (
            first.ms <= cutoff_ms - self._ages.file_ms
            or self._waiting >= ARCHIVE_FILE_ENTRIES_MAX
            or day_of(first) < day_of(EntryId(cutoff_ms, 0))
        )

    async def move(self, now_ms: int) -> ArchiveFile | None:
        """Write the next file, when one is due."""
        if not self.due(now_ms):
            return None
        links = await asyncio.to_thread(self._links, now_ms - self._ages.keep_ms)
        if not links:
            return None
        items = await self._items(links[-1].id)
        if not items:
            self._differ(0, items, links)
            return None
        end = items[-1].id
        links = self._agreed(items, [one for one in links if one.id <= end])
        file = await asyncio.to_thread(self._write, items, links)
        self._moved, self._moved_head = file.last, links[-1].hash
        await asyncio.to_thread(self._open_log)
        return file

    def _write(self, items: Sequence[Item], links: Sequence[Link]) -> ArchiveFile:
        """Write a file, sealed for those whom its entries are about."""
        place = self.folder.folder_of(items[0].id), self._partition, self._stream
        if self._sealer is None:
            return write_file(*place, self._moved_head, items, links)
        with self._keys.locked():  # nobody destroys a key between its use and the file
            sealed = seal(items, [one.salt for one in links], self._sealer, self._keys)
            return write_file(*place, self._moved_head, items, links, sealed)

    def _links(self, until_ms: int) -> list[Link]:
        """The next links of one day that are not in the archive, as many as a file may hold."""
        found: list[Link] = []
        for segment in self.log.segments():
            for one in segment.links:
                if one.id <= self._moved:
                    continue
                other_day = found and day_of(one.id) != day_of(found[0].id)
                if one.id.ms > until_ms or other_day or len(found) == ARCHIVE_FILE_ENTRIES_MAX:
                    return found
                found.append(one)
        return found

    async def _items(self, until: EntryId) -> list[Item]:
        """The next entries of the stream, as many as a file may hold."""
        items: list[Item] = []
        size, after = 0, self._moved
        while after < until:
            page = [item for item in await self._read(after) if item.id <= until]
            for item in page:
                size += len(item.blob)
                if items and size > ARCHIVE_FILE_BYTES_MAX:
                    return items
                items.append(item)
            if not page:
                return items
            after = page[-1].id
        return items

    def _agreed(self, items: Sequence[Item], links: Sequence[Link]) -> list[Link]:
        """The links of items that the store gives now; new ones from the first difference on."""
        previous = self._moved_head
        for index, item in enumerate(items):
            if index >= len(links) or not follows(previous, item, links[index]):
                return self._differ(index, items, links)
            previous = links[index].hash
        return list(links) if len(links) == len(items) else self._differ(len(items), items, links)

    def _differ(self, index: int, items: Sequence[Item], links: Sequence[Link]) -> list[Link]:
        """Say what is not as it was chained; then chain what there is."""
        good = Link(self._moved, b"", self._moved_head) if index == 0 else links[index - 1]
        there = items[index].id if index < len(items) else None
        chained = links[index].id if index < len(links) else None
        if there is not None and there == chained:
            what = f"entry {there} was changed in the store"
        elif there is None or (chained is not None and chained < there):
            what = f"entry {chained} is missing in the store"
        else:
            what = f"entry {there} was added to the store behind later ones"
        self._fault(good.id, what)
        self._rechain_from(good.id, good.hash)
        rest = link(good.hash, items[index:])
        if rest:
            self._append(good.hash, rest)
        return [*links[:index], *rest]

    # --- trimming -----------------------------------------------------------------------------

    async def trim(self, passed: EntryId) -> int:
        """Trim what is in the archive and not behind `passed`, which every reader has passed.

        Whole files only, so that the floor is an entry's id. Returns how many entries went.
        """
        floor = await read_floor(self._store, self._partition, self._stream)
        until = BEGINNING
        for file in self.folder.files(floor):
            if file.last > passed:
                break
            until = file.last
        if until == BEGINNING:
            return 0
        # First the floor: who finds entries missing must know that the archive has them.
        await raise_floor(self._store, self._partition, self._stream, until.next())
        return int(await command(self._store, "XTRIM", self._key, "MINID", str(until.next())))

    # --- inside -------------------------------------------------------------------------------

    @property
    def _key(self) -> str:
        return self._stream.key(self._partition)

    async def _read(self, after: EntryId) -> list[Item]:
        return await read_stream(
            self._store, self._partition, self._stream, after, ARCHIVE_READ_ENTRIES_MAX
        )

    def _fault(self, after: EntryId, what: str) -> None:
        fault = Fault(stream=self._stream, after=str(after), what=what)
        self.faults.append(fault)
        with (self.folder.base / FAULTS_FILE).open("ab") as file:
            file.write(msgspec.json.encode(fault) + b"\n")
            file.flush()
            os.fsync(file.fileno())
