"""What a replica and a shadow share: reading the journal, folding it, snapshots.

From a snapshot, through the archive where the store was trimmed, to the end of the journal, and
then along with it. Nothing is folded past a gap, and nothing goes on from a state of other rules
unless it is told to fold everything anew.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import numpy as np
import structlog

from afstand import __version__
from afstand.limits import (
    READER_REGISTER_S,
    SNAPSHOT_AGE_MS_MAX,
    SNAPSHOT_PAUSE_S,
    WATCH_BEHIND_ENTRIES,
    WATCH_QUIET_MS,
    WATCH_READ_ENTRIES_MAX,
    WATCH_RETRY_S_MAX,
)
from afstand.watch.fold import Folded, Watch, WatchError
from afstand.watch.metrics import PartitionMetrics
from afstand.watch.snapshots import Snapshot, SnapshotError, SnapshotRefusedError, Snapshots
from ingest.archive.chain import StreamName
from ingest.archive.names import ArchiveError, GapError
from ingest.bulk_read import ODD
from ingest.columns import EntryColumns
from ingest.entries import EntryVersionError
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import BEGINNING, EntryId, StoreUnavailableError

log = structlog.get_logger()


class Past(Protocol):
    """The journal of a partition with what was moved into the archive."""

    async def trimmed_before(self, stream: StreamName) -> EntryId:
        """Return below which id a stream was trimmed."""
        ...

    def columns(self, stream: StreamName, after: EntryId) -> AsyncIterator[EntryColumns]:
        """Return all entries behind an id, page by page."""
        ...


class BulkReader(Protocol):
    """Reads many entries of the stream at once."""

    async def read(self, partition: str, after: EntryId) -> EntryColumns:
        """Return entries behind an id; some may be of kind ODD."""
        ...

    async def wait(self, partition: str, after: EntryId, count: int, block_ms: int) -> EntryColumns:
        """Return up to `count` of them, waiting for the first."""
        ...


class Registry(Protocol):
    """Where readers say how far they are, so that nothing is trimmed that they need."""

    async def register(self, partition: str, name: str, journal: EntryId, outbox: EntryId) -> None:
        """Say it."""
        ...


class Sources:
    """Where a follower reads. The last three may be missing: then it reads the stream alone."""

    def __init__(
        self,
        journal: Journal,
        outbox: Outbox,
        *,
        past: Past | None = None,
        readers: Registry | None = None,
        bulk: BulkReader | None = None,
    ) -> None:
        self.journal = journal
        self.outbox = outbox
        self.past = past
        self.readers = readers
        self.bulk = bulk


class Follower:
    """Folds one partition. `name` is that of the reader, `block_ms` how long it waits for more.

    `others` are snapshots that it may begin with when it has none of its own; with `refold` it
    folds everything anew when those it has are of other rules.
    """

    def __init__(
        self,
        partition: str,
        name: str,
        sources: Sources,
        snapshots: Snapshots,
        metrics: PartitionMetrics,
        *,
        snapshot_entries: int,
        block_ms: int = WATCH_QUIET_MS,
        others: Sequence[Snapshots] = (),
        refold: bool = False,
    ) -> None:
        self._partition = partition
        self._name = name
        self._journal = sources.journal
        self._outbox = sources.outbox
        self._past = sources.past
        self._readers = sources.readers
        self._bulk = sources.bulk
        self._snapshots = snapshots
        self._others = others
        self._metrics = metrics
        self._snapshot_entries = snapshot_entries
        self._block_ms = block_ms
        self._refold = refold
        self._behind = False  # a read was full: there is more at once
        self._registered_s = -READER_REGISTER_S
        self._watch = Watch(partition)
        self._at = BEGINNING
        self._safe = BEGINNING  # a snapshot holds everything up to here
        self._since_snapshot = 0
        self._snapshot_ms = 0
        self._snapshot_s = -SNAPSHOT_PAUSE_S
        self._snapshot_writer: asyncio.Task[None] | None = None
        self.not_ready = "starting"

    @property
    def partition(self) -> str:
        """The partition that it folds."""
        return self._partition

    @property
    def at(self) -> EntryId:
        """The last entry that it folded."""
        return self._at

    def figures(self) -> dict[str, int]:
        """Figures of the alarm book, for the metrics."""
        return self._watch.figures()

    # --- what differs -------------------------------------------------------------------------

    async def _connected(self) -> None:
        """The store is there, for the first time or again."""

    async def _before_read(self) -> None:
        """Something may be left to do before more is read."""

    async def _quiet(self) -> None:
        """Nothing came for a while."""

    async def _fold(self, entries: EntryColumns) -> None:
        """Fold entries, each of them even when something raises."""
        raise NotImplementedError

    # --- the loop -----------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until `stop`.

        Raises EntryVersionError at an entry that only a later program can read, and
        SnapshotRefusedError when the snapshots are not for this program.
        """
        self._restore()
        pause_s = 0.05
        while not stop.is_set():
            try:
                await self._check_store()
                await self._connected()
                await self._read_past(stop)
                await self._follow(stop)
            except (GapError, ArchiveError) as error:
                # Without these entries the state would be another one: better none.
                self.not_ready = str(error)
                log.error("journal has a gap", partition=self._partition, error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), WATCH_RETRY_S_MAX)
            except StoreUnavailableError as error:
                self.not_ready = f"store unavailable: {error}"
                self._metrics.store_errors.inc()
                log.warning("store unavailable", partition=self._partition, error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause_s)
                pause_s = min(pause_s * 2, WATCH_RETRY_S_MAX)
            else:
                pause_s = 0.05
        await self._finish()

    def _restore(self, until: EntryId | None = None) -> None:
        """Begin with the newest snapshot that can be used, and that holds nothing behind `until`.

        Raises SnapshotRefusedError when there are some, and none is of these rules.
        """
        self._watch, self._at, self._safe = Watch(self._partition), BEGINNING, BEGINNING
        refused: SnapshotRefusedError | None = None
        for snapshots in (self._snapshots, *self._others):
            for path in snapshots.candidates():
                try:
                    found = snapshots.read_usable(path)
                    if until is not None and found.entry_id > until:
                        continue
                    self._watch = Watch.load(self._partition, found.state)
                except SnapshotRefusedError as error:
                    refused = refused or error
                    log.warning("snapshot refused", partition=self._partition, reason=str(error))
                    continue
                except (SnapshotError, WatchError) as error:
                    log.warning("snapshot passed over", partition=self._partition, why=str(error))
                    continue
                self._at = self._safe = found.entry_id
                self._snapshot_ms = self._at.ms
                log.info("snapshot loaded", partition=self._partition, entry=str(self._at))
                return
        if refused is not None and not self._refold:
            raise refused

    async def _check_store(self) -> None:
        """Whether the journal still has what was folded: a store can lose its end.

        Then the state holds what nobody else will ever see, and is given up.
        """
        if self._at == BEGINNING or await self._trimmed_before(StreamName.JOURNAL) > self._at:
            return
        there = await self._journal.newest_until(self._partition, self._at)
        if there == BEGINNING and await self._journal.last_id(self._partition) == BEGINNING:
            raise GapError(StreamName.JOURNAL, there, self._at, "the store is empty")
        if there < self._at:
            await self._lost(there)

    async def _trimmed_before(self, stream: StreamName) -> EntryId:
        return BEGINNING if self._past is None else await self._past.trimmed_before(stream)

    async def _lost(self, last: EntryId) -> None:
        log.error("the store lost its end", partition=self._partition, last=str(last))
        self._metrics.store_lost.inc()
        self._restore(until=last)

    async def _read_past(self, stop: asyncio.Event) -> None:
        """Fold what is in the archive alone. From `_register` on nothing more is trimmed."""
        await self._register(now=True)
        trimmed_before = await self._trimmed_before(StreamName.JOURNAL)
        if self._past is None or trimmed_before <= self._at.next():
            return
        self.not_ready = "replaying the archive"
        await self._before_read()
        self._behind = True
        async for entries in self._past.columns(StreamName.JOURNAL, self._at):
            await self._fold_page(entries)
            await self._register()
            if stop.is_set():
                return

    async def _register(self, *, now: bool = False) -> None:
        """Say from time to time what will never be needed again: what a snapshot holds."""
        now_s = asyncio.get_running_loop().time()
        if self._readers is None or (not now and now_s - self._registered_s < READER_REGISTER_S):
            return
        self._registered_s = now_s
        await self._readers.register(self._partition, self._name, self._safe, self._safe)

    async def _follow(self, stop: asyncio.Event) -> None:
        self.not_ready = self.not_ready and "replaying the journal"
        while not stop.is_set():
            await self._before_read()
            await self._register()
            waits = not self._behind
            entries = await self._read()
            if not self._behind:
                self.not_ready = ""
            if len(entries):
                await self._fold_page(entries)
            elif waits:
                await self._quiet()

    async def _read(self) -> EntryColumns:
        """Read what is next: many entries at once while there are many."""
        if self._bulk is not None:
            return await self._read_bulk(self._bulk)
        return await self._read_general(WATCH_READ_ENTRIES_MAX)

    async def _read_bulk(self, bulk: BulkReader) -> EntryColumns:
        if self._behind:
            found = await bulk.read(self._partition, self._at)
        else:
            found = await bulk.wait(self._partition, self._at, WATCH_BEHIND_ENTRIES, self._block_ms)
        odd = found.kind == ODD
        if not odd.any():
            self._behind = len(found) >= WATCH_BEHIND_ENTRIES
            return found
        usual = int(np.argmax(odd))
        return found.part(0, usual) if usual else await self._read_general(1)

    async def _read_general(self, count: int) -> EntryColumns:
        block_ms = None if self._behind else self._block_ms
        entries = await self._journal.read(self._partition, self._at, count, block_ms)
        self._behind = len(entries) == count
        return EntryColumns.of(entries)

    async def _fold_page(self, entries: EntryColumns) -> None:
        self._snapshot_ms = self._snapshot_ms or int(entries.ms[0])
        with self._metrics.reading(entries):
            await self._fold(entries)
        if self._wants_snapshot():
            await self._snapshot()

    def _folded(self, folded: Folded) -> None:
        """Note how far the state is."""
        self._at = folded.id
        self._since_snapshot += folded.entries
        self._metrics.folded(folded)

    # --- snapshots ----------------------------------------------------------------------------

    def _wants_snapshot(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if self._behind and now_s - self._snapshot_s < SNAPSHOT_PAUSE_S:
            return False  # being back comes first
        return (
            self._since_snapshot >= self._snapshot_entries
            or self._at.ms - self._snapshot_ms >= SNAPSHOT_AGE_MS_MAX
        )

    async def _snapshot(self) -> None:
        if self._snapshot_writer is not None and not self._snapshot_writer.done():
            return
        self._since_snapshot = 0
        self._snapshot_ms = self._at.ms
        self._snapshot_s = asyncio.get_running_loop().time()
        snapshot = Snapshot(self._at, __version__, self._watch.dump())
        self._snapshot_writer = asyncio.create_task(self._write_snapshot(snapshot))

    async def _write_snapshot(self, snapshot: Snapshot) -> None:
        try:
            await asyncio.to_thread(self._snapshots.write, snapshot)
        except OSError as error:
            # Without a snapshot the next start takes longer; nothing is lost, so the watch goes on.
            self._metrics.snapshot_errors.inc()
            log.error("snapshot not written", partition=self._partition, error=str(error))
        else:
            self._safe = snapshot.entry_id
            self._registered_s = -READER_REGISTER_S
            self._metrics.snapshots.inc()

    async def _finish(self) -> None:
        if self._snapshot_writer is not None:
            await self._snapshot_writer
        if self._since_snapshot:
            await self._write_snapshot(Snapshot(self._at, __version__, self._watch.dump()))


async def run_until_refused(follower: Follower, stop: asyncio.Event) -> None:
    """Run; when journal or snapshots are not for this program, stay up, not ready, and say so."""
    try:
        await follower.run(stop)
    except EntryVersionError as error:
        follower.not_ready = f"this program is too old for the journal: {error}"
        log.error("program too old for the journal", error=str(error))
        await stop.wait()
    except SnapshotRefusedError as error:
        follower.not_ready = f"snapshots of other rules: {error}"
        log.error("snapshots of other rules", error=str(error))
        await stop.wait()
