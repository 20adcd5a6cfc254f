"""One run: a seed makes a world, its troubles and their order, and either all holds or it is told.

Two phases. First trouble, drawn by the seed. Then everything is whole again, and within
`CALM_S_MAX` each press must be journalled, each notice settled and each alarm at its end.
"""

import contextlib
import functools
import gc
import itertools
import logging
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import msgspec
import structlog

from afstand import outbox_source, roles
from afstand.limits import INTAKE_TAKE_MAX
from afstand.watch import replica
from ingest import feed, intake
from ingest.devices import Role
from ingest.entries import EntryKind, entry_fields
from ingest.store import REGISTRY_DEVICES_KEY, journal_key
from tests.afstand.journal import START_MS
from tests.simulation import broker as broker_module
from tests.simulation import store as store_module
from tests.simulation.awaits import Point, waiting
from tests.simulation.broker import SimulatedBroker
from tests.simulation.checks import Checks
from tests.simulation.loop import Process, SimulationLoop
from tests.simulation.moves import OPERATOR, Operator
from tests.simulation.net import Net
from tests.simulation.people import (
    PARTITIONS,
    definitions,
    groups_of,
    in_the_way,
    registry_commands,
)
from tests.simulation.places import Broken
from tests.simulation.service import TARGETS, Disk, Service
from tests.simulation.store import SimulatedStore
from tests.simulation.troubles import Troubles
from tests.simulation.world import Carrier, Radio, receivers

PARTITION_COUNTS: Final = (1, 1, 2, 2, 3)
REFUSES: Final = 0.15  # share of worlds in which one partition cannot take one of the groups
TROUBLE_S: Final = (20.0, 70.0)
CALM_S_MAX: Final = 240.0
"""A lane's slowest back-off, the steps of the plan, the default plan behind it, and the greatest
step back of the store's clock, during which journal time stands still.
"""
AS_SHIPPED_EVERY: Final = 50
"""Seeds that this divides ask and tick as often as shipped, the others as `IDLE` says: what happens
while nothing happens is most of a run's cost.
"""
IDLE: Final[tuple[tuple[Any, str, float], ...]] = (
    (replica, "WATCH_QUIET_MS", 2_000),
    (intake, "_ACK_TURN_S", 0.8),
    (intake, "REGISTRY_POLL_MS", 5_000),
    (roles, "REGISTRY_POLL_MS", 5_000),
    (outbox_source, "OUTBOX_WAIT_S", 2.0),
)
OVERLOADED_EVERY: Final = 3
"""Seeds that this divides have intakes that take few messages a round and are often behind."""
TAKE_MAX: Final = 3
ROLES: Final = ("intake-0", "intake-1", "watch-0", "watch-1", "notify-0")


class Outcome(NamedTuple):
    """What became of a seed."""

    seed: int
    problem: str
    steps: int
    seconds: float  # of the simulated time
    entries: int
    copies: int
    delivered: int
    trace: tuple[str, ...]
    role_steps: dict[str, int]  # of the first process of each role
    troubles: dict[str, int]
    wishes: dict[str, int]  # for groups to move, by what became of them
    struck: frozenset[Point]  # where tasks were that a death ended
    seen: frozenset[Point]  # where tasks of a process were that was looked at


class Simulation:
    """A world of one seed."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        say: Callable[[str], None],
        kill: tuple[str, int] | None = None,
    ) -> None:
        self.kill = kill
        self.draw = draw = random.Random(seed)
        self.say = say
        self.loop = SimulationLoop(random.Random(draw.random()))  # type: ignore[abstract]  # what asyncio uses
        self.partitions = PARTITIONS[: draw.choice(PARTITION_COUNTS)]
        self.groups = groups_of(len(self.partitions))
        self.checks = Checks(self.partitions, self.groups)
        self.net = Net(self.loop, random.Random(draw.random()))
        self.store = SimulatedStore(
            self.loop, random.Random(draw.random()), START_MS, self.checks.written
        )
        self.radio = Radio(self.loop, random.Random(draw.random()), None)
        self.broker = SimulatedBroker(
            self.loop, random.Random(draw.random()), self.checks.broker_told, self.radio.down
        )
        self.radio.broker = self.broker
        self.net.listen(store_module.PORT, store_module.NAME, self.store)
        self.net.listen(broker_module.PORT, broker_module.NAME, self.broker)
        self.receivers = receivers(self.net, draw, self.checks, TARGETS, START_MS)
        self.disks = {role: Disk(folder / role, draw) for role in ROLES}
        self.operator = Operator(self)
        self.service = Service(
            self.net, self.store, self.broker, self.receivers, self.disks, self.partitions,
            self.operator,
        )  # fmt: skip
        for receiver in self.receivers.values():
            receiver.service = self.service
        self.carriers = [
            Carrier(device, role, self.loop, draw, self.radio, self.checks, START_MS)
            for group in self.groups
            for device, role in zip(group.devices, (Role.WEARER, Role.PROTECTED), strict=True)
        ]
        self.processes: dict[str, Process] = {}
        self.firsts: dict[str, Process] = {}
        self.offsets_ms: dict[str, int] = {}
        self.struck: set[Point] = set()
        self.seen: defaultdict[str, set[Point]] = defaultdict(set)  # by role
        self.calm = False
        self.troubles = Troubles(self)

    # --- the roles and who starts them ------------------------------------------------------------

    def start_role(self, role: str) -> None:
        """Start a process, as systemd does."""
        process = Process(role)
        process.offset_ms = self.offsets_ms.get(role, 0)
        self.processes[role] = process
        if role not in self.firsts:
            self.firsts[role] = process
            if self.kill is not None and self.kill[0] == role:
                process.dies_at = self.kill[1]
        kind = role.split("-", maxsplit=1)[0]
        process.on_death.append(lambda: self._died(process))
        self.loop.spawn(process, self._main(process, getattr(self.service, kind)))
        self.say(f"{role} starts")

    async def _main(self, process: Process, main: Any) -> None:
        """A role ends by being killed, and in no other way."""
        try:
            await main(process)
        except BaseException as error:  # noqa: BLE001 reported as what it is
            inner = error
            while isinstance(inner, BaseExceptionGroup):
                inner = inner.exceptions[0]
            self.loop.faults.append(f"{process}: ended by {inner!r}")
        else:
            self.loop.faults.append(f"{process}: ended by itself")

    def _died(self, process: Process) -> None:
        self.struck.update(waiting(process))
        silently = self.draw.random() < 0.2
        self.say(f"{process} dies{' silently' if silently else ''} at step {process.steps}")
        self.net.process_died(process, silently=silently)
        if process.name.startswith("watch") and self.draw.random() < 0.2:
            self.disks[process.name].tear()
        delay_s = 0.05 + self.draw.expovariate(1.0) * (0.2 if self.calm else 1.0)
        self.loop.post(self.loop.world, delay_s, self.start_role, process.name)

    # --- the run ----------------------------------------------------------------------------------

    def run(self) -> str:
        """Run both phases; give what was broken, or nothing."""
        try:
            self._prepare()
            trouble_s = self.draw.uniform(*TROUBLE_S)
            if self.kill is None:
                self.troubles.plan(trouble_s)
            else:
                self.troubles.plan_happenings(trouble_s)
            self.loop.run(trouble_s, lambda: bool(self.loop.faults))
            self.calm = True
            self.say("calm")
            self.troubles.heal()
            ended = self.loop.run(trouble_s + CALM_S_MAX, self._ended)
            if self.loop.faults:
                return f"nobody caught: {self.loop.faults[0]}"
            if not ended:
                return (
                    f"after {CALM_S_MAX} s of calm: {list(itertools.islice(self._unfinished(), 5))}"
                )
            self.checks.at_the_end()
            self._registered()
        except Broken as error:
            return str(error)
        return ""

    def _prepare(self) -> None:
        for command in registry_commands(self.groups):
            self.store.put(*command)
        for group in self.groups:
            for blob in definitions(group):
                self._put(group.begins_in, blob)
        if len(self.partitions) > 1 and self.draw.random() < REFUSES:
            # The last partition cannot take the first group: it goes back.
            self._put(self.partitions[-1], in_the_way(self.groups[0]))
        for carrier in self.carriers:
            self.loop.post(
                self.loop.world, self.draw.random(), functools.partial(carrier.link, up=True)
            )
        for role in ROLES if len(self.partitions) == 1 else (*ROLES, OPERATOR):
            self.start_role(role)

    def _put(self, partition: str, blob: bytes) -> None:
        """Put a command into a journal before the run begins."""
        self._defined += 1
        fields = entry_fields(EntryKind.COMMAND, blob)
        entry_id = f"{START_MS - 1000 + self._defined}-0"
        command = ("XADD", journal_key(partition), entry_id, *fields)
        self.store.put(*command)
        self.checks.written(command)

    _defined = 0

    def _ended(self) -> bool:
        if self.loop.faults:
            return True
        now_s = self.loop.time()
        if now_s < self._look_s:
            return False
        self._look_s = now_s + 1.0
        return next(self._unfinished(), None) is None

    _look_s = 0.0

    def _registered(self) -> None:
        """The registry says where a group is: intakes take the short way."""
        records = self.store.model.hashes[REGISTRY_DEVICES_KEY]
        for group in self.groups:
            there = self.checks.places.partition_of(group)
            for device in group.devices:
                said = msgspec.msgpack.decode(records[device.encode()])[1]
                if said != there:
                    raise Broken(f"{device} is registered in {said} and is in {there}")

    def _unfinished(self) -> Iterator[str]:
        for wish in self.operator.wishes:
            yield f"{wish.group.persons} are to move to {wish.to}"
        yield from self.checks.unfinished()
        for carrier in self.carriers:
            if len(carrier.device.ring) > 2:
                name = carrier.device.spec.device_id
                yield f"{len(carrier.device.ring)} frames wait on {name}"


@contextlib.contextmanager
def simulated_time(loop: SimulationLoop, *, as_shipped: bool) -> Iterator[None]:
    """The machine's clock, as whatever runs at present sees it, and how often the idle ask."""

    def time_ns() -> int:
        return (START_MS + loop.current.offset_ms) * 1_000_000 + int(loop.time() * 1e9)

    def time_s() -> float:
        return time_ns() / 1e9

    with contextlib.ExitStack() as patched:
        for module, name, value in () if as_shipped else IDLE:
            patched.enter_context(mock.patch.object(module, name, value))
        patched.enter_context(mock.patch.object(time, "time_ns", time_ns))
        patched.enter_context(mock.patch.object(time, "time", time_s))
        yield


def simulate(
    seed: int,
    say: Callable[[str], None] | None = None,
    *,
    kill: tuple[str, int] | None = None,
) -> Outcome:
    """Run one seed; with `kill` (role, step) nothing goes wrong but that one death."""
    trace: list[str] = []

    def note(text: str) -> None:
        line = f"{world.loop.time():9.3f}  {text}"
        trace.append(line)
        if say is not None:
            say(line)

    if say is None:
        structlog.configure(processors=[_drop])
        logging.disable()
    random.seed(seed)  # the client spreads its reconnects by it
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    collecting = gc.isenabled()
    gc.disable()
    try:
        world = Simulation(seed, folder, note, kill)
        take_max = TAKE_MAX if seed % OVERLOADED_EVERY == 0 else INTAKE_TAKE_MAX
        with (
            simulated_time(world.loop, as_shipped=seed % AS_SHIPPED_EVERY == 0),
            mock.patch.object(feed, "INTAKE_TAKE_MAX", take_max),
        ):
            problem = world.run()
        world.loop.bury(list(world.processes.values()))
        checks = world.checks
        return Outcome(
            seed, problem, world.loop.steps, world.loop.time(), len(checks.entries), checks.copies,
            sum(checks.received.values()), tuple(trace),
            {role: process.steps for role, process in world.firsts.items()},
            world.troubles.happened | checks.overload, world.operator.outcomes(),
            frozenset(world.struck), frozenset().union(*world.seen.values()),
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder, ignore_errors=True)
        if collecting:
            gc.enable()


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent
