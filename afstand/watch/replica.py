"""One replica of a partition's watch: reads the journal, folds it, writes the outbox.

Any number of replicas do this at once and need not know each other. Each computes the same outbox;
the store refuses an id that is there already, so exactly one copy counts and the death of a replica
delays nothing. What another replica wrote is compared with what this one computed: a difference is
a fault of the program or the machine, and is journalled as such.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from afstand.limits import PASS_ON_PAUSE_S, PASSING_MAX, STORE_NODE_PATIENCE_S, WATCH_QUIET_MS
from afstand.watch.fold import Folded
from afstand.watch.follower import Follower, Sources
from afstand.watch.metrics import PartitionMetrics
from afstand.watch.moving import Passed
from afstand.watch.snapshots import Snapshots
from ingest.archive.chain import StreamName
from ingest.columns import EntryColumns
from ingest.entries import EntryKind
from ingest.outbox import Appended, OutboxEntry
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


class Replica(Follower):
    """Runs one `Watch`. `index` names it, and staggers the ticks of quiet times."""

    def __init__(
        self,
        partition: str,
        index: int,
        sources: Sources,
        snapshots: Snapshots,
        metrics: PartitionMetrics,
        *,
        snapshot_entries: int,
        others: Sequence[Snapshots] = (),
        refold: bool = False,
    ) -> None:
        super().__init__(
            partition,
            reader_name(index),
            sources,
            snapshots,
            metrics,
            snapshot_entries=snapshot_entries,
            block_ms=WATCH_QUIET_MS + STAGGER_MS * index,
            others=others,
            refold=refold,
        )
        self.index = index
        self._written = BEGINNING  # the outbox has this id and none below it is missing
        self._unsettled: deque[Computed] = deque()  # folded, and perhaps not written
        self._passing: deque[Passed] = deque()  # for other partitions, in their order
        self._pass_again_s = 0.0
        self._divergence_reported = False
        self._not_compared = BEGINNING  # up to here the outbox may be of other rules

    async def _connected(self) -> None:
        last = await self._outbox.last_id(self._partition)
        if self._written > await self._trimmed_before(StreamName.OUTBOX):
            there = await self._outbox.newest_until(self._partition, self._written)
            if there < self._written:
                # What the store lost is computed again and written again, under the same ids.
                await self._lost(there)
        if self._refold and self._not_compared == BEGINNING:
            self._not_compared = last
        self._written = last

    async def _lost(self, last: EntryId) -> None:
        self._unsettled.clear()
        await super()._lost(last)

    async def _quiet(self) -> None:
        # Time is the journal's: somebody must say that it passes. Twice is harmless.
        await self._journal.append(self._partition, EntryKind.TICK, b"")

    async def _fold(self, entries: EntryColumns) -> None:
        others: list[Computed] = []
        folding = self._watch.fold(entries)
        try:
            for folded in folding:
                if not self._to_write(folded):
                    continue
                if not await self._deliver(self._unsettled[0]):
                    others.append(self._unsettled[0])
                self._unsettled.popleft()
        except BaseException:
            # The state is ahead by what was read together: so must be what is to be written.
            for folded in folding:
                self._to_write(folded)
            raise
        if others:
            await self._compare(others)
        await self._pass_on()

    def _to_write(self, folded: Folded) -> bool:
        self._folded(folded)
        self._passing += folded.passed
        if folded.blob is None:
            return False
        self._unsettled.append(Computed(folded.id, folded.blob))
        return True

    async def _before_read(self) -> None:
        """After an error: bring out the entries whose fate was unknown.

        Before anything that follows them.
        """
        while self._unsettled:
            await self._deliver(self._unsettled[0])
            self._unsettled.popleft()
        await self._pass_on()

    async def _pass_on(self) -> None:
        """Give other partitions what is about persons who moved there.

        Their node of the store may be away: that holds up nobody here. Every replica passes
        everything on, because none knows whether another lives to do it; copies are harmless.
        """
        now_s = asyncio.get_running_loop().time()
        if not self._passing or now_s < self._pass_again_s:
            return
        try:
            async with asyncio.timeout(STORE_NODE_PATIENCE_S):
                while self._passing:
                    await self._journal.append(*self._passing[0])
                    self._passing.popleft()
        except (StoreUnavailableError, TimeoutError) as error:
            self._pass_again_s = now_s + PASS_ON_PAUSE_S
            log.warning("not passed on", partition=self._partition, error=str(error))
            if len(self._passing) > PASSING_MAX:
                raise StoreUnavailableError("too much is to be passed on") from error

    def _wants_snapshot(self) -> bool:
        # Whoever starts from a snapshot passes nothing on that lies before it.
        return not self._passing and super()._wants_snapshot()

    async def _finish(self) -> None:
        self._pass_again_s = 0.0
        await self._pass_on()
        if self._passing:
            self._since_snapshot = 0
        await super()._finish()

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
        mine = [computed for computed in mine if computed.id > self._not_compared]
        if not mine:
            return
        before = mine[0].id.before()
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
