"""Many simulated devices against one broker, with a script of what happens to them when.

The fleet keeps the ground truth: every scripted happening with the instant at which it truly took
place.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from simulators.carrier import Carrier
from simulators.client import Broker, DeviceClient, Observer, Published, Shown
from simulators.clock import SimulationClock
from simulators.happenings import Happening
from simulators.tasks import end_tasks

CONNECTING_AT_ONCE: Final = 40
GOODBYE_S: Final = 2.0


class Coverage(NamedTuple):
    """A device enters or leaves radio coverage."""

    covered: bool


class Truly(NamedTuple):
    """Nothing that a device notices by itself: a true crossing, for the log only."""

    what: str


class Cue(NamedTuple):
    """One line of the script: at this instant this happens to this device."""

    at_ms: int
    device_id: str
    person_id: str
    label: str
    what: Happening | Coverage | Truly


class Happened(NamedTuple):
    """One line of the ground-truth log; `late_ms` is how late the script was played."""

    at_ms: int
    device_id: str
    person_id: str
    label: str
    late_ms: int


@dataclass(slots=True)
class FleetCounts:
    """What a fleet has done so far."""

    connected: int = 0
    connections: int = 0
    published: int = 0
    shown: int = 0
    stored_frames: int = 0


@dataclass(slots=True)
class FleetObserver:
    """Callbacks of a fleet; each may be None."""

    happened: Callable[[Happened], None] | None = None
    published: Callable[[Published], None] | None = None
    shown: Callable[[Shown], None] | None = None
    link: Callable[[str, bool, int], None] | None = None


@dataclass(slots=True)
class Fleet:
    """Carriers by device id and their script. `run` ends when it is cancelled or after `stop`."""

    carriers: dict[str, Carrier]
    cues: Sequence[Cue]
    broker: Broker
    clock: SimulationClock
    observer: FleetObserver = field(default_factory=FleetObserver)
    log: list[Happened] = field(default_factory=list)
    clients: dict[str, DeviceClient] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _counts: FleetCounts = field(default_factory=FleetCounts)

    def __post_init__(self) -> None:
        unknown = sorted({cue.device_id for cue in self.cues} - set(self.carriers))
        if unknown:
            raise ValueError(f"the script names devices that are not in the fleet: {unknown}")

    @property
    def counts(self) -> FleetCounts:
        """What the fleet has done so far, and how many frames wait on devices for an ack."""
        self._counts.stored_frames = sum(len(c.device.ring) for c in self.carriers.values())
        return self._counts

    def stop(self) -> None:
        """Ask `run` to end: every device disconnects."""
        self._stopping.set()

    async def run(self) -> None:
        """Run every device and the script until `stop` or cancellation.

        Raises what a device raised.
        """
        connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        observer = Observer(published=self._published, shown=self._shown, link=self._link)
        for device_id, carrier in self.carriers.items():
            self.clients[device_id] = DeviceClient(
                carrier, self.broker, self.clock, observer, connecting
            )
        work = [asyncio.create_task(client.run()) for client in self.clients.values()]
        script = asyncio.create_task(self._play())
        stopping = asyncio.create_task(self._stopping.wait())
        waiting = {*work, script, stopping}
        try:
            while not self._stopping.is_set():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            script.cancel()
            for client in self.clients.values():
                client.stop()
            await asyncio.wait(work, timeout=GOODBYE_S)
            await end_tasks((*work, script, stopping))

    async def connected(self, share: float = 1.0) -> None:
        """Wait until this share of the devices is connected."""
        while self._counts.connected < share * len(self.carriers):  # noqa: ASYNC110 - many edges, one condition
            await asyncio.sleep(0.02)

    def happen(self, device_id: str, what: Happening | Coverage, label: str = "by hand") -> None:
        """Let something happen now, outside the script; it is logged like the script."""
        self._do(Cue(self.clock.now_ms(), device_id, "", label, what))

    async def _play(self) -> None:
        for cue in sorted(self.cues, key=lambda cue: (cue.at_ms, cue.device_id)):
            await self.clock.sleep_until(cue.at_ms)
            self._do(cue)

    def _do(self, cue: Cue) -> None:
        client = self.clients[cue.device_id]
        match cue.what:
            case Coverage():
                client.set_coverage(covered=cue.what.covered)
            case Truly():
                pass
            case happening:
                client.happen(happening)
        entry = Happened(
            cue.at_ms, cue.device_id, cue.person_id, cue.label, self.clock.now_ms() - cue.at_ms
        )
        self.log.append(entry)
        if self.observer.happened is not None:
            self.observer.happened(entry)

    def _published(self, published: Published) -> None:
        self._counts.published += 1
        if self.observer.published is not None:
            self.observer.published(published)

    def _shown(self, shown: Shown) -> None:
        self._counts.shown += 1
        if self.observer.shown is not None:
            self.observer.shown(shown)

    def _link(self, device_id: str, up: bool, at_ms: int) -> None:
        self._counts.connected += 1 if up else -1
        self._counts.connections += 1 if up else 0
        if self.observer.link is not None:
            self.observer.link(device_id, up, at_ms)
