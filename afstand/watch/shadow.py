"""A shadow: another version of the program beside the watches, that folds and compares.

It writes no outbox and no tick. What it computes is held against what the watches wrote; the first
difference is said as a metric, in the log and, through the journal, as a SYSTEM alarm. So a version
is tried on the live journal before it decides anything.
"""

import asyncio
from collections import deque
from typing import Any, Final

import msgspec
import structlog

from afstand.limits import SHADOW_TEXT_CHARACTERS_MAX, SHADOW_WAIT_S, WATCH_READ_ENTRIES_MAX
from afstand.watch.envelope import EnvelopeError, decode_envelope
from afstand.watch.follower import Follower
from afstand.watch.replica import Computed
from ingest.columns import EntryColumns
from ingest.entries import EntryKind
from ingest.outbox import OutboxEntry
from ingest.store import BEGINNING, EntryId

log = structlog.get_logger()
SHADOW_DIFFERS: Final = "shadow-differs"
_NOTHING: Final = "<nothing>"


def shadow_name(name: str) -> str:
    """The name under which a shadow says how far it is."""
    return f"shadow-{name}"


class Shadow(Follower):
    """Folds one partition and compares."""

    _compared = BEGINNING  # the outbox was read up to here
    _began = False
    _late_s: float | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._mine: deque[Computed] = deque()  # computed, and not yet compared
        self.differences = 0
        self.first = ""
        """The first difference, in words."""

    async def _connected(self) -> None:
        if not self._began:
            self._began = True
            self._compared = self._at

    async def _lost(self, last: EntryId) -> None:
        self._mine.clear()
        await super()._lost(last)
        self._compared = self._at

    async def _fold(self, entries: EntryColumns) -> None:
        # Nothing is awaited here, so all of it is folded whatever happens.
        for folded in self._watch.fold(entries):
            self._folded(folded)
            if folded.blob is not None:
                self._mine.append(Computed(folded.id, folded.blob))
        await self._compare()

    async def _before_read(self) -> None:
        await self._compare()

    async def _compare(self) -> None:
        """Read what the watches wrote about the entries that are folded, and hold it against."""
        while self._compared < self._at:
            theirs = await self._outbox.read(
                self._partition, self._compared, WATCH_READ_ENTRIES_MAX
            )
            known = [entry for entry in theirs if entry.id <= self._at]
            for entry in known:
                await self._hold_against(entry)
                self._compared = entry.id
            if len(known) < len(theirs) or not theirs:
                break
        await self._wait_for_theirs()

    async def _hold_against(self, theirs: OutboxEntry) -> None:
        self._late_s = None
        while self._mine and self._mine[0].id < theirs.id:
            mine = self._mine.popleft()
            await self._differ(mine.id, difference(mine.blob, None))
        if not self._mine or self._mine[0].id > theirs.id:
            await self._differ(theirs.id, difference(None, theirs.blob))
            return
        mine = self._mine.popleft()
        if mine.blob != theirs.blob:
            await self._differ(mine.id, difference(mine.blob, theirs.blob))

    async def _wait_for_theirs(self) -> None:
        """What no watch has written for long, none will write."""
        now_s = asyncio.get_running_loop().time()
        if not self._mine:
            self._late_s = None
        elif self._late_s is None:
            self._late_s = now_s
        elif now_s - self._late_s > SHADOW_WAIT_S:
            mine = self._mine.popleft()
            self._late_s = None
            await self._differ(mine.id, difference(mine.blob, None))

    async def _differ(self, entry_id: EntryId, what: str) -> None:
        self.differences += 1
        self._metrics.shadow_differences.inc()
        if self.first:
            return
        self.first = f"entry {entry_id}: {what}"
        log.error("shadow differs", partition=self._partition, entry=str(entry_id), what=what)
        signal = {"signal": SHADOW_DIFFERS, "detail": f"{self._name}: {self.first}"}
        await self._journal.append(
            self._partition, EntryKind.SIGNAL, msgspec.msgpack.encode(signal)
        )


def difference(mine: bytes | None, theirs: bytes | None) -> str:
    """Say where two outbox entries differ: the shadow's first, then that of the watches."""
    try:
        ours = _fields(mine)
        other = _fields(theirs)
    except EnvelopeError as error:
        return f"the outbox of the watches cannot be read: {error}"
    places = [*ours, *(place for place in other if place not in ours)]
    for place in places:
        if ours.get(place, _NOTHING) != other.get(place, _NOTHING):
            said = f"{place}: {_short(ours.get(place))} instead of {_short(other.get(place))}"
            return said[:SHADOW_TEXT_CHARACTERS_MAX]
    return "other bytes for the same outputs"


def _fields(blob: bytes | None) -> dict[str, Any]:
    """Every field of every output, by its place."""
    if blob is None:
        return {}
    envelope = decode_envelope(blob)
    found: dict[str, Any] = {"received_ms": envelope.received_ms}
    for index, output in enumerate(envelope.outputs):
        name = f"output {index}"
        found[name] = type(output).__name__
        for field in output.__struct_fields__:
            found[f"{name} {field}"] = getattr(output, field)
    return found


def _short(value: Any) -> str:
    # A difference goes into logs: a place of a person does not.
    if value is None:
        return _NOTHING
    return f"<{type(value).__name__}>" if isinstance(value, msgspec.Struct) else str(value)[:80]
