"""The archive of a partition: both streams, and what may be trimmed.

Trimmed is only what every reader has passed. A reader that is expected or registered and says
nothing for long holds the trim and is told, once per episode; it is never passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ingest.archive.chain import StreamName
from ingest.archive.history import History
from ingest.archive.mover import Ages, Fault, Mover
from ingest.archive.sealing import Sealer
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.readers import Reader, Readers
from ingest.store import BEGINNING, EntryId, Store, command

READER_SILENT: Final = "reader-silent"
ARCHIVE_FAULT: Final = "archive-fault"


class Expected(NamedTuple):
    """Who has to have read an entry before it is trimmed, whether registered or not.

    `readers` by name; `group` is the outbox's consumer group, whose members register as
    `{group}:{member}` to be heard of. Silent after `silent_ms`.
    """

    readers: Sequence[str]
    group: str
    silent_ms: int


class Cycle(NamedTuple):
    """What one look did."""

    chained: int
    moved: dict[StreamName, int]
    trimmed: dict[StreamName, int]
    faults: list[Fault]
    readers: list[Reader]
    silent: list[str]
    """Those that are silent now and were not at the last look."""
    now_ms: int


class PartitionArchiver:
    """Looks again and again. After an error: `reopen`, then go on."""

    def __init__(
        self,
        store: Store,
        root: Path,
        partition: str,
        ages: Ages,
        expected: Expected,
        sealer: Sealer | None = None,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._past = History(store, root, partition)
        self._partition = partition
        self._expected = expected
        self._readers = Readers(store)
        self._outbox = Outbox(store)
        self._started_ms = 0
        self._learned = False
        self._silent: list[str] = []
        self.movers = {
            name: Mover(store, root, partition, name, ages, sealer) for name in StreamName
        }

    async def reopen(self) -> None:
        """See what disk and store have. Raises OSError and StoreUnavailableError."""
        for mover in self.movers.values():
            await mover.open()
        if self._sealer is not None and not self._learned:
            # Whom a frame is about is said by definitions that may be years old.
            for name, mover in self.movers.items():
                async for part in self._past.columns(name, until=mover.moved):
                    for index in range(len(part)):
                        self._sealer.learn(part.item(index))
            self._learned = True

    async def cycle(self) -> Cycle:
        """Chain, move, trim. Raises OSError, ArchiveError and StoreUnavailableError."""
        now_ms = await _now_ms(self._store)
        chained, moved, faults = 0, {}, []
        for name, mover in self.movers.items():
            chained += await mover.follow()
            file = await mover.move(now_ms)
            moved[name] = 0 if file is None else 1
            faults += mover.faults
        readers = await self._readers.all(self._partition)
        late = self._late(readers, now_ms)
        silent = [name for name in late if name not in self._silent]
        trimmed = {}
        for name, passed in (await self._passed(readers)).items():
            trimmed[name] = await self.movers[name].trim(passed)
        await self._tell(faults, silent)
        for mover in self.movers.values():
            mover.faults = []
        self._silent = late
        return Cycle(chained, moved, trimmed, faults, readers, silent, now_ms)

    async def _passed(self, readers: Sequence[Reader]) -> dict[StreamName, EntryId]:
        """Up to which entry of each stream nobody needs anything any more."""
        missing = set(self._expected.readers) - {reader.name for reader in readers}
        groups = await self._outbox.groups(self._partition)
        if missing or not readers:
            journal = outbox = BEGINNING
        else:
            journal = min(reader.journal for reader in readers)
            outbox = min(reader.outbox for reader in readers)
        if self._expected.group not in groups:
            outbox = BEGINNING
        else:
            outbox = min(outbox, (await self._outbox.done_before(self._partition)).before())
        return {StreamName.JOURNAL: journal, StreamName.OUTBOX: outbox}

    def _late(self, readers: Sequence[Reader], now_ms: int) -> list[str]:
        """From whom nothing was heard for long."""
        self._started_ms = self._started_ms or now_ms
        heard = dict.fromkeys(self._expected.readers, self._started_ms)
        heard |= {reader.name: reader.seen_ms for reader in readers}
        group = self._expected.group
        members = [one.seen_ms for one in readers if one.name.startswith(f"{group}:")]
        heard[group] = max(members, default=self._started_ms)
        silent_ms = self._expected.silent_ms
        return sorted(name for name, at_ms in heard.items() if now_ms - at_ms > silent_ms)

    async def _tell(self, faults: Sequence[Fault], silent: Sequence[str]) -> None:
        """Make SYSTEM alarms of it: as entries of the journal, as everything else."""
        said = [(ARCHIVE_FAULT, f"{f.stream} behind {f.after}: {f.what}") for f in faults]
        minutes = self._expected.silent_ms / 60_000
        words = f"says nothing for {minutes:g} minutes: nothing is trimmed"
        said += [(READER_SILENT, f"{name} {words}") for name in silent]
        for signal, detail in said:
            blob = msgspec.msgpack.encode({"signal": signal, "detail": detail})
            await Journal(self._store).append(self._partition, EntryKind.SIGNAL, blob)


async def _now_ms(store: Store) -> int:
    answer = await command(store, "TIME")
    # A cluster answers for every node: the one that is behind the others decides.
    times = list(answer.values()) if isinstance(answer, dict) else [answer]
    return min(int(seconds) * 1000 + int(micros) // 1000 for seconds, micros in times)
