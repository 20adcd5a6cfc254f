"""Archive and stream of a partition, read as one sequence.

What the archive has is read from there; behind its last entry the stream goes on. The archiver
trims only what is in a file that has its final name, so whoever reads the stream first and looks at
the archive afterwards sees every entry once, whatever the archiver does meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from afstand.limits import ARCHIVE_READ_ENTRIES_MAX
from ingest.archive.chain import StreamName
from ingest.archive.folder import ArchiveFolder
from ingest.archive.names import ArchiveError, ArchiveFile, GapError
from ingest.columns import OUTPUTS, EntryColumns, Item
from ingest.entries import Entry
from ingest.journal import Journal
from ingest.outbox import Outbox, OutboxEntry
from ingest.readers import read_floor
from ingest.store import BEGINNING, EntryId, Store


async def read_stream(
    store: Store, partition: str, stream: StreamName, after: EntryId, count: int
) -> list[Item]:
    """Return up to `count` entries that the store holds behind `after`."""
    if stream is StreamName.JOURNAL:
        entries = await Journal(store).read(partition, after, count)
        return [Item(entry.id, entry.kind.value, entry.blob) for entry in entries]
    outputs = await Outbox(store).read(partition, after, count)
    return [Item(entry.id, OUTPUTS, entry.blob) for entry in outputs]


class History:
    """The past of a partition. `root` is the archive's folder; it need not be there."""

    def __init__(self, store: Store, root: Path, partition: str) -> None:
        self._store = store
        self._partition = partition
        self._root = root

    async def trimmed_before(self, stream: StreamName) -> EntryId:
        """Return below which id the entries of a stream are in the archive alone."""
        return await read_floor(self._store, self._partition, stream)

    async def journal(
        self, after: EntryId = BEGINNING, until: EntryId | None = None
    ) -> AsyncIterator[list[Entry]]:
        """Return the journal's entries behind `after`, page by page, to its present end.

        Raises GapError, ArchiveError (after every entry before what is damaged) and
        StoreUnavailableError.
        """
        async for part in self.columns(StreamName.JOURNAL, after, until):
            yield list(part)

    async def outbox(
        self, after: EntryId = BEGINNING, until: EntryId | None = None
    ) -> AsyncIterator[list[OutboxEntry]]:
        """Return the outbox's entries behind `after`, as `journal` does the journal's."""
        async for part in self.columns(StreamName.OUTBOX, after, until):
            yield [OutboxEntry(part.id(k), part.blob(k)) for k in range(len(part))]

    async def columns(
        self, stream: StreamName, after: EntryId = BEGINNING, until: EntryId | None = None
    ) -> AsyncIterator[EntryColumns]:
        """Return the entries of a stream as columns."""
        folder = ArchiveFolder(self._root, self._partition, stream)
        while until is None or after < until:
            async for part in self._archived(folder, after):
                after = part.id(len(part) - 1)
                wanted = part.until(until)
                if len(wanted):
                    yield wanted
                if until is not None and after >= until:
                    return
            page = await self._page(stream, after)
            if await asyncio.to_thread(folder.last_id) > after:
                continue  # moved meanwhile: the stream may have been trimmed below the page
            await self._check_floor(stream, after)
            if not len(page):
                return
            after = page.id(len(page) - 1)
            wanted = page.until(until)
            if len(wanted):
                yield wanted

    async def _page(self, stream: StreamName, after: EntryId) -> EntryColumns:
        count = ARCHIVE_READ_ENTRIES_MAX
        return EntryColumns.of(
            await read_stream(self._store, self._partition, stream, after, count)
        )

    async def _archived(self, folder: ArchiveFolder, after: EntryId) -> AsyncIterator[EntryColumns]:
        from ingest.archive.files import read_file  # noqa: PLC0415 - only who reads files loads pyarrow

        files = list(folder.files(after))
        for file in files:
            parts = read_file(file)
            try:
                while (rows := await asyncio.to_thread(next, parts, None)) is not None:
                    columns = rows.columns.after(after)
                    if len(columns):
                        after = columns.id(len(columns) - 1)
                        yield columns
            except ArchiveError as error:
                async for columns in self._instead(folder, file, after, error):
                    yield columns
            after = file.last

    async def _instead(
        self, folder: ArchiveFolder, file: ArchiveFile, after: EntryId, error: ArchiveError
    ) -> AsyncIterator[EntryColumns]:
        """Read the good entries of a damaged file, and the others where the store has them yet."""
        from ingest.archive.files import salvage  # noqa: PLC0415 - only who reads files loads pyarrow

        salvaged = await asyncio.to_thread(salvage, file)
        good = EntryColumns.of(salvaged.items).after(after)
        if len(good):
            after = good.id(len(good) - 1)
            yield good
        if await read_floor(self._store, self._partition, folder.stream) > after.next():
            raise error
        while after < file.last:
            page = (await self._page(folder.stream, after)).until(file.last)
            if not len(page):
                raise error
            after = page.id(len(page) - 1)
            yield page

    async def _check_floor(self, stream: StreamName, after: EntryId) -> None:
        floor = await read_floor(self._store, self._partition, stream)
        if floor > after.next():
            why = "no file holds them" if self._root.is_dir() else "no such folder"
            raise GapError(stream, after, floor, f"{self._root}: {why}")
