"""Finds what is not as it was written: in the archive, in the chain log, in the stream.

The chain is followed from the first file to the newest link, and what the store holds is compared
with it, also where the archive has it already.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from afstand.limits import ARCHIVE_READ_ENTRIES_MAX
from ingest.archive.chain import Link, StreamName, follows, genesis
from ingest.archive.files import Rows, read_file, read_meta
from ingest.archive.folder import ArchiveFolder
from ingest.archive.history import read_stream
from ingest.archive.log import ChainLog
from ingest.archive.mover import FAULTS_FILE, Fault
from ingest.archive.names import DAMAGED, ArchiveError, ArchiveFile, day_of
from ingest.columns import Item
from ingest.readers import read_floor
from ingest.store import BEGINNING, EntryId, Store

_TURNS_MAX = 5


class Finding(NamedTuple):
    """Something that is not as it was written, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Verified(NamedTuple):
    """What was looked at in one stream, and what was found."""

    stream: StreamName
    archived: int
    in_stream: int
    unchained: int
    """Entries of the store that are too new to be chained, or that nobody chains."""
    head: bytes
    end: EntryId
    findings: list[Finding]
    erased: int
    """Parts of archived entries that nobody can read any more: their keys were destroyed."""


async def verify_stream(
    store: Store,
    root: Path,
    partition: str,
    stream: StreamName,
    since: EntryId = BEGINNING,
    until: EntryId | None = None,
) -> Verified:
    """Follow the chain of a stream, from the file that holds `since` on.

    Raises StoreUnavailableError.
    """
    folder = ArchiveFolder(root, partition, stream)
    for _ in range(_TURNS_MAX):
        before = folder.last_id()
        check = _Check(store, folder, since, until)
        found = await check.run()
        # What the archiver moves meanwhile is neither here nor there: look again.
        if folder.last_id() == before or not found.findings:
            return found
    return found


class _Check:
    def __init__(
        self, store: Store, folder: ArchiveFolder, since: EntryId, until: EntryId | None
    ) -> None:
        self._store = store
        self._folder = folder
        self._since = since
        self._until = until
        self._findings: list[Finding] = []
        self._archived = self._in_stream = self._unchained = self._erased = 0

    async def run(self) -> Verified:
        folder = self._folder
        floor = await read_floor(self._store, folder.partition, folder.stream)
        self._recorded()
        previous: bytes | None = genesis(folder.partition, folder.stream)
        last = BEGINNING
        files = list(folder.files())
        for index, file in enumerate(files):
            if self._until is not None and file.first > self._until:
                return self._result(previous, last)
            following = files[index + 1].first if index + 1 < len(files) else None
            if following is not None and following <= self._since:
                previous, last = None, file.last  # before what was asked for
                continue
            previous = await self._file(file, previous, last, floor)
            last = file.last
        if floor > last.next():
            self._say(f"behind {last}", f"entries up to {floor} were trimmed; no file holds them")
        if self._until is None or self._until > last:
            previous, last = await self._held(previous, last)
        return self._result(previous, last)

    def _result(self, previous: bytes | None, last: EntryId) -> Verified:
        counts = self._archived, self._in_stream, self._unchained
        found = self._findings
        return Verified(self._folder.stream, *counts, previous or b"", last, found, self._erased)

    def _say(self, where: str, what: str) -> None:
        self._findings.append(Finding(f"{self._folder.stream} {where}", what))

    def _recorded(self) -> None:
        """What the archiver has found before."""
        path = self._folder.base / FAULTS_FILE
        for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else ()):
            try:
                fault = msgspec.json.decode(line, type=Fault)
                self._say(f"behind {fault.after}", f"found by the archiver: {fault.what}")
            except msgspec.MsgspecError as error:
                self._say(f"{path.name} line {number + 1}", f"cannot be read: {error}")
        for damaged in sorted(self._folder.base.glob(f"day=*/*{DAMAGED}")):
            self._say(damaged.name, "set aside as damaged")

    # --- archive ------------------------------------------------------------------------------

    async def _file(
        self, file: ArchiveFile, previous: bytes | None, last: EntryId, floor: EntryId
    ) -> bytes | None:
        """Check one file; return the hash of its last entry, None when it cannot be known."""
        where = f"{file.path.parent.name}/{file.path.name}"
        if file.first <= last:
            self._say(where, f"holds entries again that end with {last}")
        try:
            meta = read_meta(file)
            begins = bytes.fromhex(meta.previous)
            if previous is not None and begins != previous:
                self._say(where, f"does not follow {last}: a file before it is missing or another")
            parts = read_file(file)
            head, end, count = begins, last, 0
            for rows in parts:
                head, end = self._rows(where, rows, head, end)
                count += len(rows)
                self._erased += sum(one.erased for one in rows.opened.values())
                if file.last >= floor:
                    await self._same_in_stream(rows, floor)
            self._archived += count
            said = (meta.first, meta.last, meta.entries, meta.partition, meta.stream, meta.head)
            folder = self._folder
            names = folder.partition, folder.stream
            if said != (str(file.first), str(file.last), count, *names, head.hex()):
                self._say(where, "is not what it says it is")
            if file.path.parent.name != f"day={day_of(file.first)}":
                self._say(where, "lies in the folder of another day")
        except ArchiveError as error:
            good = "" if error.last_good is None else f"; good up to entry {error.last_good}"
            self._say(where, f"{error.reason}{good}")
            return None
        return head

    def _rows(self, where: str, rows: Rows, head: bytes, last: EntryId) -> tuple[bytes, EntryId]:
        for index in range(len(rows)):
            item, its = rows.item(index), rows.link(index)
            if item.id <= last:
                self._say(where, f"entry {item.id} stands behind {last}")
            if not rows.follows(head, index):
                self._say(where, f"entry {item.id} does not follow {last}")
            head, last = its.hash, item.id
        return head, last

    async def _same_in_stream(self, rows: Rows, floor: EntryId) -> None:
        """What is archived and not yet trimmed must be the same in both."""
        columns = rows.columns
        archived = {columns.id(k): columns.item(k) for k in range(len(columns))}
        first, last = columns.id(0), columns.id(len(columns) - 1)
        async for item in self._items(first.before(), last):
            self._in_stream += 1
            if archived.pop(item.id, None) != item:
                self._say(f"entry {item.id}", "differs between store and archive")
        for missing in archived:
            if missing >= floor:
                self._say(f"entry {missing}", "is missing in the store, and was not trimmed")

    # --- stream -------------------------------------------------------------------------------

    async def _held(self, previous: bytes | None, last: EntryId) -> tuple[bytes | None, EntryId]:
        """Compare what the store holds behind the archive with the chain log."""
        links = self._links(previous, last)
        its = next(links, None)
        head = previous
        async for item in self._items(last, self._until):
            self._in_stream += 1
            while its is not None and its[1].id < item.id:
                self._say(f"entry {its[1].id}", "is missing in the store")
                head, its = its[1].hash, next(links, None)
            if its is None:
                self._unchained += 1
                continue
            before, one = its
            if one.id != item.id:
                self._say(f"entry {item.id}", "was added to the store behind later ones")
                continue
            if not follows(before, item, one):
                self._say(f"entry {item.id}", "is not what was chained: it was changed or moved")
            head, last, its = one.hash, one.id, next(links, None)
        while its is not None and (self._until is None or its[1].id <= self._until):
            self._say(f"entry {its[1].id}", "is missing in the store")
            head, its = its[1].hash, next(links, None)
        return head, last

    def _links(self, previous: bytes | None, last: EntryId) -> Iterator[tuple[bytes, Link]]:
        """The links behind the archive, each with the hash before it."""
        log = ChainLog(self._folder.base / "chain")
        segments = list(log.segments())
        for index, segment in enumerate(segments):
            newest = index == len(segments) - 1
            if segment.torn_bytes and not (newest and segment.torn_bytes < log.LINK_BYTES):
                # Less than a link at the end is one that is being written.
                self._say(segment.path.name, f"{segment.torn_bytes} bytes cannot be read")
            head = segment.previous
            if (
                index
                and segments[index - 1].links[-1:]
                and (segments[index - 1].links[-1].hash != head)
            ):
                self._say(segment.path.name, "does not follow the segment before it")
            for one in segment.links:
                if one.id == last and previous is not None and one.hash != previous:
                    self._say(f"{segment.path.name} entry {one.id}", "differs from the archive")
                if one.id > last:
                    yield head, one
                head = one.hash

    async def _items(self, after: EntryId, until: EntryId | None) -> AsyncIterator[Item]:
        folder = self._folder
        while page := await read_stream(
            self._store, folder.partition, folder.stream, after, ARCHIVE_READ_ENTRIES_MAX
        ):
            for item in page:
                if until is not None and item.id > until:
                    return
                yield item
            after = page[-1].id
