"""Groups move to another partition while they are watched: the operator's command, as it is.

The operator is a process like the others: it is killed, stopped and cut off, and asks again, which
is said to be harmless. What it was told is kept: each wish ends as done, or refused with a reason.
"""

import asyncio
import re
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from afstand.commands import JournalCommand
from afstand.moving import MoveError, move
from afstand.tools import command_and_answer
from alerting.book.types import Acknowledge, Countersign, Dispose, Disposition
from ingest.registry import Registry
from ingest.store import Store, StoreUnavailableError
from tests.simulation.people import BOX, Group

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

OPERATOR: Final = "operator"
_PAUSE_S: Final = 2.0
_REFUSALS_MAX: Final = 2  # the incident is closed, and a new one is open: then it is left at that


class Wish:
    """A group is to move to a partition. `ended` says what became of it; empty: nothing yet."""

    def __init__(self, group: Group, to: str, *, closes: bool) -> None:
        self.group = group
        self.to = to
        self.closes = closes  # the operator closes an incident that is in the way
        self.refusals = 0
        self.ended = ""


class Operator:
    """Who moves groups, one after the other. `wishes` outlives the process."""

    def __init__(self, world: "Simulation") -> None:
        self._world = world
        self.wishes: deque[Wish] = deque()
        self.ended: list[Wish] = []

    def wish(self, group: Group, to: str, *, closes: bool) -> None:
        """Ask for a move from now on."""
        self.wishes.append(Wish(group, to, closes=closes))
        self._world.say(f"{group.wearer} and {group.protected} are to move to {to}")

    def all(self) -> tuple[Wish, ...]:
        """Every wish, in their order."""
        return (*self.ended, *self.wishes)

    def outcomes(self) -> dict[str, int]:
        """Count what became of the wishes."""
        return Counter(re.sub(r"[ai]-p\d\S+|p\d|\d+", "...", one.ended)[:60] for one in self.ended)

    async def run(self, store: Store) -> None:
        """The process: does what is wished, for ever."""
        while True:
            if self.wishes and await self._tried(store, self.wishes[0]):
                wish = self.wishes.popleft()
                self.ended.append(wish)
                self._world.say(f"{wish.group.wearer} to {wish.to}: {wish.ended}")
            await asyncio.sleep(_PAUSE_S)

    async def _tried(self, store: Store, wish: Wish) -> bool:
        """Ask once; True when that was the end of it."""
        try:
            registry = Registry(store, BOX)
            await registry.load_all()
            person = wish.group.wearer
            devices = await move(store, registry, self._world.partitions, person, wish.to, "ans")
        except StoreUnavailableError:
            return False
        except MoveError as error:
            return await self._told(store, wish, str(error))
        if sorted(devices) != sorted(wish.group.devices):
            self._world.loop.faults.append(f"{devices} moved for {wish.group.devices}")
        wish.ended = "moved"
        return True

    async def _told(self, store: Store, wish: Wish, why: str) -> bool:
        if why.endswith(" already"):
            wish.ended = "is there"
        elif "it goes back" in why and "has not come" not in why:
            wish.ended = why
        elif why.startswith("refused: condition-still-active"):
            wish.refusals += 1
            if wish.closes and " is open" in why and wish.refusals <= _REFUSALS_MAX:
                await self._close(store, why.partition(" incident ")[2].split(" ")[0])
            else:
                wish.ended = why
        return bool(wish.ended)

    async def _close(self, store: Store, incident_id: str) -> None:
        source = incident_id.split("-")[1]
        said: tuple[JournalCommand, ...] = (
            Acknowledge(incident_id=incident_id, by="ans"),
            Dispose(
                incident_id=incident_id, disposition=Disposition.HANDLED, by="ans", note="call 12",
                despite_active=True,
            ),
            Countersign(incident_id=incident_id, by="bas"),
        )  # fmt: skip
        for command in said:
            try:
                await command_and_answer(store, source, command)
            except StoreUnavailableError:
                return  # the next refusal says whether it is open yet
