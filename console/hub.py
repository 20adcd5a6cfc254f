"""The live side of the read model: feeds it, and wakes whoever waits for what it folds.

One event loop, no locks. A listener holds no queue: it asks for what changed since the place it
has, so a slow one delays nobody and costs nothing but its own time.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from console.model.indicators import Indicators, compute
from console.model.inputs import FactSeen, ModelInput, OutboxEntry
from console.model.model import Model, Refusal
from console.model.rows import START, IncidentRow, Place
from console.ports import PartHealth


class Hub:
    """A model that grows while others read it."""

    def __init__(self, model: Model, partitions: Iterable[str]) -> None:
        self.model = model
        self.partitions = tuple(partitions)
        self.health: dict[str, PartHealth] = {}
        self.caught_up = False
        self.definitions = 0
        """Counts definitions, so that a reader knows that there are new ones."""
        self.operators = 0
        """How many operators are on duty: the load is judged per head."""
        self._wakers: set[asyncio.Event] = set()

    def feed(self, inputs: Iterable[ModelInput]) -> None:
        """Fold inputs, then wake the listeners if anything changed that they can see."""
        changed = False
        for said in inputs:
            self.model.fold(said)
            if isinstance(said, OutboxEntry):
                changed = True
            elif isinstance(said, FactSeen):
                self.definitions += 1
                changed = True
        if changed:
            self.wake()

    def set_health(self, parts: Mapping[str, PartHealth]) -> None:
        """Take what is known of the other parts; since when is kept while the code stays."""
        for name, part in parts.items():
            before = self.health.get(name)
            if before is not None and before.code == part.code:
                self.health[name] = msgspec.structs.replace(part, since_ms=before.since_ms)
                continue
            self.health[name] = part
            self.wake()

    def wake(self) -> None:
        """Wake all listeners."""
        for waker in self._wakers:
            waker.set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever something changed; whoever waits clears it."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            yield waker
        finally:
            self._wakers.discard(waker)

    # --- cursors ------------------------------------------------------------------------------

    def cursor(self) -> str:
        """Where the model is in every outbox: what a reader names to be told what it has missed."""
        at = self.model.outbox_at
        return ",".join(f"{name}:{at.get(name, START)}" for name in self.partitions)

    def since(self, cursor: Mapping[str, Place]) -> list[IncidentRow]:
        """The incidents that changed after a cursor."""
        found: list[IncidentRow] = []
        for partition in self.partitions:
            found += self.model.incidents.since(partition, cursor.get(partition, START))
        return found

    # --- commands -----------------------------------------------------------------------------

    async def applied(self, partition: str, at: Place, within_s: float) -> bool:
        """Wait until the watch has passed a place; False when it did not in time."""
        with self.listening() as waker, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.model.outbox_at.get(partition, START) < at:
                    waker.clear()
                    await waker.wait()
        return self.model.outbox_at.get(partition, START) >= at

    def refusal(self, partition: str, at: Place) -> Refusal | None:
        """Why the watch did not take what stands at a place."""
        return self.model.refusals.get(f"{partition}-{at}")

    # --- figures ------------------------------------------------------------------------------

    def indicators(self, now_ms: int) -> Indicators:
        """The figures of the room at this moment."""
        rows = self.model.incidents.open_rows()
        return compute(self.model.load, rows, now_ms, self.operators)


def parse_cursor(text: str) -> dict[str, Place]:
    """Read a cursor. Raises ValueError with what is wrong."""
    found: dict[str, Place] = {}
    for part in filter(None, text.split(",")):
        partition, colon, place = part.partition(":")
        if not colon:
            raise ValueError(f"not a cursor: {text[:80]!r}")
        found[partition] = Place.parse(place)
    return found
