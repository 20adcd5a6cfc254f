"""One replica of a partition's watch: reads the journal, folds it, writes the outbox.

Any number of replicas do this at once and need not know each other. Each computes the same outbox;
the store refuses an id that is there already, so exactly one copy counts and the death of a replica
delays nothing. What another replica wrote is compared with what this one computed: a difference is
a fault of the program or the machine, and is journalled as such.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, Protocol

import msgspec
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
from afstand.watch.snapshots import Snapshot, SnapshotError, Snapshots
from ingest.archive.chain import StreamName
from ingest.archive.names import ArchiveError, GapError
from ingest.bulk_read import ODD
from ingest.columns import EntryColumns
from ingest.entries import EntryKind, EntryVersionError
from ingest.journal import Journal
from ingest.outbox import Appended, Outbox, OutboxEntry
from ingest.store import BEGINNING, EntryId, StoreUnavailableError

log = structlog.get_logger()
STAGGER_MS: Final = 25


class Computed(NamedTuple):
    """What this replica holds to be the outbox entry of a journal entry."""

    id: EntryId
    blob: bytes


def reader_name(index: int) -> str:
    """The name under which replica number `index` says how far it is."""
    return f"watch-{index}"


class Past(Protocol):
    """The journal of a partition with what was moved into the archive."""

    async def trimmed_before(self) -> EntryId:
        """Return below which id the stream was trimmed."""
        ...

    def columns(self, stream: StreamName, after: EntryId) -> AsyncIterator[EntryColumns]:
        """Return all entries behind an id, page by page."""
        ...


class BulkReader(Protocol):
    """Reads many entries of the stream at once."""

    async def read(self, partition: str, after: EntryId) -> EntryColumns:
        """Return entries behind an id; some may be of kind ODD."""
        ...


class Registry(Protocol):
    """Where readers say how far they are, so that nothing is trimmed that they need."""

    async def register(self, partition: str, name: str, journal: EntryId, outbox: EntryId) -> None:
        """Say it."""
        ...


class Replica:
    """Runs one `Watch`. `index` only staggers the ticks of quiet times."""

    def __init__(
        self,
        partition: str,
        index: int,
        journal: Journal,
        outbox: Outbox,
        snapshots: Snapshots,
        metrics: PartitionMetrics,
        *,
        snapshot_entries: int,
        past: Past | None = None,
        readers: Registry | None = None,
        bulk: BulkReader | None = None,
    ) -> None:
        self._partition = partition
        self._block_ms = WATCH_QUIET_MS + STAGGER_MS * index
        self._journal = journal
        self._outbox = outbox
        self._snapshots = snapshots
        self._metrics = metrics
        self._snapshot_entries = snapshot_entries
        self._past = past
        self._readers = readers
        self._bulk = bulk
        self._behind = False  # a read was full: there is more at once
        self._name = reader_name(index)
        self._registered_s = -READER_REGISTER_S
        self._watch = Watch(partition)
        self._at = BEGINNING
        self._safe = BEGINNING  # a snapshot holds everything up to here
        self._written = BEGINNING  # the outbox has this id and none below it is missing
        self._since_snapshot = 0
        self._snapshot_ms = 0
        self._snapshot_s = -SNAPSHOT_PAUSE_S
        self._snapshot_writer: asyncio.Task[None] | None = None
        self._unsettled: deque[Computed] = deque()  # folded, and perhaps not written
        self._divergence_reported = False
        self.not_ready = "starting"

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until `stop`.

        Raises EntryVersionError at an entry that only a later program can read.
        """
        self._restore()
        pause_s = 0.05
        while not stop.is_set():
            try:
                self._written = await self._outbox.last_id(self._partition)
                await self._read_past(stop)
                await self._follow(stop)
            except (GapError, ArchiveError) as error:
                # Without these entries the state would be another one: better none.
                self.not_ready = str(error)
                log.error("journal has a gap", partition=self._partition, error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), WATCH_RETRY_S_MAX)
            except StoreUnavailableError as error:
                # The fold is ahead of the outbox by what was not confirmed. It is folded again from
                # the last snapshot, or simply kept: see _deliver, which asks the outbox what it has
                # before it writes.
                self.not_ready = f"store unavailable: {error}"
                self._metrics.store_errors.inc()
                log.warning("store unavailable", partition=self._partition, error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause_s)
                pause_s = min(pause_s * 2, WATCH_RETRY_S_MAX)
            else:
                pause_s = 0.05
        await self._finish()

    def _restore(self) -> None:
        for path in self._snapshots.candidates():
            try:
                snapshot = self._snapshots.read(path)
                self._watch = Watch.load(self._partition, snapshot.state)
            except (SnapshotError, WatchError) as error:
                log.warning("snapshot passed over", partition=self._partition, reason=str(error))
                continue
            self._at = self._safe = snapshot.entry_id
            self._snapshot_ms = self._at.ms
            log.info("snapshot loaded", partition=self._partition, entry=str(self._at))
            return

    async def _read_past(self, stop: asyncio.Event) -> None:
        """Fold what is in the archive alone. From `_register` on nothing more is trimmed."""
        await self._register(now=True)
        if self._past is None or await self._past.trimmed_before() <= self._at.next():
            return
        self.not_ready = "replaying the archive"
        await self._settle()
        self._behind = True
        async for entries in self._past.columns(StreamName.JOURNAL, self._at):
            await self._fold(entries)
            await self._register()
            if stop.is_set():
                return

    async def _register(self, *, now: bool = False) -> None:
        """Say from time to time what this replica will never need again: what a snapshot holds."""
        now_s = asyncio.get_running_loop().time()
        if self._readers is None or (not now and now_s - self._registered_s < READER_REGISTER_S):
            return
        self._registered_s = now_s
        await self._readers.register(self._partition, self._name, self._safe, self._safe)

    def figures(self) -> dict[str, int]:
        """Figures of the alarm book, for the metrics."""
        return self._watch.figures()

    async def _follow(self, stop: asyncio.Event) -> None:
        self.not_ready = self.not_ready and "replaying the journal"
        while not stop.is_set():
            await self._settle()
            await self._register()
            waits = not self._behind
            entries = await self._read()
            if not self._behind:
                self.not_ready = ""
            if not len(entries):
                if not waits:
                    continue
                # Time is the journal's: in a quiet time somebody must say that it passes. Twice is
                # harmless.
                await self._journal.append(self._partition, EntryKind.TICK, b"")
                continue
            await self._fold(entries)

    async def _read(self) -> EntryColumns:
        """Read what is next: many entries at once while there are many."""
        if self._behind and self._bulk is not None:
            found = await self._bulk.read(self._partition, self._at)
            usual = int(np.argmax(found.kind == ODD)) if (found.kind == ODD).any() else len(found)
            if usual:
                self._behind = len(found) >= WATCH_BEHIND_ENTRIES
                return found.part(0, usual)
        count = 1 if self._behind and self._bulk is not None else WATCH_READ_ENTRIES_MAX
        block_ms = None if self._behind else self._block_ms
        entries = await self._journal.read(self._partition, self._at, count, block_ms)
        self._behind = len(entries) == count
        return EntryColumns.of(entries)

    async def _fold(self, entries: EntryColumns) -> None:
        others: list[Computed] = []
        self._snapshot_ms = self._snapshot_ms or int(entries.ms[0])
        folding = self._watch.fold(entries)
        with self._metrics.reading(entries):
            try:
                for folded in folding:
                    if not self._folded(folded):
                        continue
                    if not await self._deliver(self._unsettled[0]):
                        others.append(self._unsettled[0])
                    self._unsettled.popleft()
            except BaseException:
                # The state is ahead by what was read together: so must be what is to be written.
                for folded in folding:
                    self._folded(folded)
                raise
        if others:
            await self._compare(others)
        if self._wants_snapshot():
            await self._snapshot()

    def _folded(self, folded: Folded) -> bool:
        """Note how far the state is; True when there is something to write."""
        self._at = folded.id
        self._since_snapshot += folded.entries
        self._metrics.folded(folded)
        if folded.blob is None:
            return False
        self._unsettled.append(Computed(folded.id, folded.blob))
        return True

    def _wants_snapshot(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if self._behind and now_s - self._snapshot_s < SNAPSHOT_PAUSE_S:
            return False  # being back comes first
        return (
            self._since_snapshot >= self._snapshot_entries
            or self._at.ms - self._snapshot_ms >= SNAPSHOT_AGE_MS_MAX
        )

    async def _settle(self) -> None:
        """After an error: bring out the entries whose fate was unknown.

        Before anything that follows them.
        """
        while self._unsettled:
            await self._deliver(self._unsettled[0])
            self._unsettled.popleft()

    async def _deliver(self, computed: Computed) -> bool:
        """Write one entry, or see that another replica has. True when this one's copy counts."""
        if computed.id <= self._written:
            return False
        if (
            await self._outbox.append(self._partition, computed.id, computed.blob)
            is Appended.ACCEPTED
        ):
            self._written = computed.id
            self._metrics.written.inc()
            return True
        self._metrics.refused.inc()
        self._written = await self._outbox.last_id(self._partition)
        return False

    async def _compare(self, mine: list[Computed]) -> None:
        """Hold what other replicas wrote against what this one computed."""
        before = EntryId(mine[0].id.ms - 1, 2**63)
        theirs = {
            entry.id: entry.blob for entry in await self._read_range(before, mine[-1].id, len(mine))
        }
        for computed in mine:
            blob = theirs.get(computed.id)
            if blob is None and await self._trimmed(computed.id):
                continue
            if blob != computed.blob:
                await self._report_divergence(computed, missing=blob is None)

    async def _read_range(self, after: EntryId, until: EntryId, count: int) -> list[OutboxEntry]:
        found: list[OutboxEntry] = []
        while True:
            part = await self._outbox.read(self._partition, after, count)
            found += [entry for entry in part if entry.id <= until]
            if len(part) < count or part[-1].id >= until:
                return found
            after = part[-1].id

    async def _trimmed(self, entry_id: EntryId) -> bool:
        first = await self._outbox.read(self._partition, BEGINNING, 1)
        return not first or first[0].id > entry_id

    async def _report_divergence(self, computed: Computed, *, missing: bool) -> None:
        self._metrics.divergences.inc()
        log.error(
            "replicas differ", partition=self._partition, entry=str(computed.id), missing=missing
        )
        if self._divergence_reported:
            return
        self._divergence_reported = True
        signal = {
            "signal": "replica-divergence",
            "detail": f"outbox entry {computed.id} {'is missing' if missing else 'differs'}",
        }
        await self._journal.append(
            self._partition, EntryKind.SIGNAL, msgspec.msgpack.encode(signal)
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


async def run_until_version(replica: Replica, stop: asyncio.Event) -> None:
    """Run a replica; when the journal speaks a later format, stay up, not ready, and say so."""
    try:
        await replica.run(stop)
    except EntryVersionError as error:
        replica.not_ready = f"this program is too old for the journal: {error}"
        log.error("program too old for the journal", error=str(error))
        await stop.wait()
