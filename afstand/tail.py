"""Follows journal and outbox as they grow, and remembers when what was seen.

An observer only: it writes nothing and nobody waits for it. The demo shows what it sees; tests and
benchmarks compare it with what receivers got.
"""

import asyncio
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from afstand.limits import TAIL_NOTICES_MAX, TAIL_SAMPLES_MAX, WATCH_READ_ENTRIES_MAX
from afstand.watch.envelope import decode_envelope, output_key
from alerting.book.types import IncidentRecord, IncidentState, Notice
from firmware_contracts.batch import decode_batch
from ingest.archive.history import History
from ingest.entries import Entry, EntryKind, FrameBatch
from ingest.journal import Journal
from ingest.outbox import Outbox, OutboxEntry
from ingest.store import BEGINNING, Store, StoreUnavailableError

PAUSE_S: Final = 0.2
NO_ARCHIVE: Final = Path("no-archive")


def wall_ms() -> int:
    """This machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Seen(NamedTuple):
    """One notice, with the times of its way: read by the intake, journalled, seen in the outbox."""

    key: str
    notice: Notice
    received_ms: int
    journalled_ms: int
    outbox_ms: int


class Samples:
    """The newest samples of one stage, in milliseconds."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=TAIL_SAMPLES_MAX)

    def add(self, value_ms: float) -> None:
        """Note one."""
        self._values.append(value_ms)

    def __len__(self) -> int:
        return len(self._values)

    def percentiles(self, *which: float) -> list[float]:
        """The given percentiles; NaN without a sample."""
        if not self._values:
            return [float("nan")] * len(which)
        return [float(one) for one in np.percentile(np.array(self._values), which)]


class Tail:
    """What is seen of one partition from now on."""

    def __init__(self, store: Store, partition: str, archive: Path = NO_ARCHIVE) -> None:
        self._history = History(store, archive, partition)
        self._journal = Journal(store)
        self._outbox = Outbox(store)
        self._partition = partition
        self.fixes = 0
        self.frames = 0
        self.intake = Samples()
        self.watch = Samples()
        self.notices: dict[str, Seen] = {}
        self.order: deque[str] = deque()
        self.incidents: dict[str, IncidentRecord] = {}

    async def run(self) -> None:
        """Follow both streams until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_journal())
            group.create_task(self._follow_outbox())

    async def _follow_journal(self) -> None:
        after = await self._journal.last_id(self._partition)
        while True:
            try:
                entries = await self._journal.read(
                    self._partition, after, WATCH_READ_ENTRIES_MAX, 250
                )
            except StoreUnavailableError:
                await asyncio.sleep(PAUSE_S)
                continue
            for entry in entries:
                after = entry.id
                if entry.kind is EntryKind.FRAMES:
                    self._frames(entry)

    def _frames(self, entry: Entry) -> None:
        batch = FrameBatch.read(entry.blob)
        self.frames += len(batch)
        self.fixes += len(decode_batch(batch.payload, batch.offsets, batch.lengths).fixes.frame)
        self.intake.add(max(0.0, entry.id.ms - float(batch.received_ms.min())))

    async def _follow_outbox(self) -> None:
        after = BEGINNING
        while True:
            try:
                async for entries in self._history.outbox(after):
                    after = entries[-1].id
                    for entry in entries:
                        self._outputs(entry, wall_ms())
                break
            except StoreUnavailableError:
                await asyncio.sleep(PAUSE_S)
        while True:
            try:
                entries = await self._outbox.read(
                    self._partition, after, WATCH_READ_ENTRIES_MAX, 250
                )
            except StoreUnavailableError:
                await asyncio.sleep(PAUSE_S)
                continue
            now_ms = wall_ms()
            for entry in entries:
                after = entry.id
                self._outputs(entry, now_ms)

    def _outputs(self, entry: OutboxEntry, now_ms: int) -> None:
        envelope = decode_envelope(entry.blob)
        if envelope.received_ms:
            self.watch.add(max(0, now_ms - entry.id.ms))
        for index, output in enumerate(envelope.outputs):
            if isinstance(output, Notice):
                key = output_key(self._partition, entry.id, index)
                self.notices[key] = Seen(key, output, envelope.received_ms, entry.id.ms, now_ms)
                self.order.append(key)
                if len(self.order) > TAIL_NOTICES_MAX:
                    self.notices.pop(self.order.popleft(), None)
            elif isinstance(output, IncidentRecord):
                if output.state is IncidentState.OPEN:
                    self.incidents[output.incident_id] = output
                else:
                    self.incidents.pop(output.incident_id, None)
