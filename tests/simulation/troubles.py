"""What goes wrong in the first phase: kinds and times drawn by the seed.

Each seed uses some kinds only (a run with everything at once hides what one thing alone shows).
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from firmware_contracts import EventCode
from tests.simulation import broker as broker_module
from tests.simulation import store as store_module
from tests.simulation.awaits import Eye

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

CLOCK_STEP_MS: Final = 15_000
"""Of the store's clock: journal time stands still for as long as it goes back."""
KINDS: Final = (
    "kill", "kill-anew", "kill-often", "stop", "cut", "store-dies", "store-stops", "store-slow",
    "disk-full", "node-away", "broker-dies", "store-clock", "machine-clock", "device-clock",
    "receiver", "coverage", "reboot", "slow-net", "watch-disk", "junk",
)  # fmt: skip


class Troubles:
    """The plan of one seed."""

    def __init__(self, world: "Simulation") -> None:
        self._world = world
        self._draw = world.draw
        self._after: list[Callable[[], None]] = []  # what makes whole again what is broken
        self.happened: dict[str, int] = {}

    def plan(self, until_s: float) -> None:
        """Draw what happens up to an instant."""
        world, draw = self._world, self._draw
        world.radio.loss = draw.choice((0.0, 0.0, 0.1, 0.3)) * draw.random()
        world.radio.copies = draw.choice((0.0, 0.0, 0.2, 0.5)) * draw.random()
        world.radio.late_s = draw.choice((0.01, 0.05, 0.5, 2.0))
        world.broker.copies = draw.choice((0.0, 0.0, 0.3))
        self.plan_happenings(until_s)
        kinds = [kind for kind in KINDS if draw.random() < 0.25]
        for _ in range(draw.randrange(2 + 6 * len(kinds)) if kinds else 0):
            kind = draw.choice(kinds)
            self._at(until_s * draw.random(), functools.partial(self._trouble, kind))

    def heal(self) -> None:
        """Make everything whole, now."""
        world = self._world
        world.radio.loss = world.radio.copies = world.broker.copies = 0.0
        world.radio.late_s = 0.05
        world.net.slow = 1.0
        while self._after:
            self._after.pop()()
        for process in world.processes.values():
            process.dies_at = process.eye = None

    # --- what people do ---------------------------------------------------------------------------

    def plan_happenings(self, until_s: float) -> None:
        """Draw when buttons are pressed and straps are cut."""
        world, draw = self._world, self._draw
        for tag, victim in zip(world.carriers[::2], world.carriers[1::2], strict=True):
            for _ in range(draw.randrange(1, 4)):
                carrier = victim if draw.random() < 0.8 else tag
                code = EventCode.PANIC if draw.random() < 0.8 else EventCode.DURESS
                self._at(until_s * draw.random(), functools.partial(carrier.press, code))
            if draw.random() < 0.4:
                self._at(until_s * draw.random(), tag.cut_strap)
        if len(world.partitions) > 1:
            for _ in range(draw.randrange(5)):
                self._at(until_s * draw.random(), self._wish)

    def _wish(self) -> None:
        """Let a group move, mostly to where it is not going already."""
        world, draw = self._world, self._draw
        group = draw.choice(world.groups)
        going = [wish.to for wish in world.operator.all() if wish.group is group]
        there = going[-1] if going else group.begins_in
        others = [one for one in world.partitions if one != there or draw.random() < 0.1]
        to = draw.choice(others)
        world.operator.wish(group, to, closes=draw.random() < 0.7)
        if world.kill is None and draw.random() < 0.5:  # just then something goes wrong
            kind = draw.choice(("node-away", "node-away", "kill-anew", "kill-often", "stop", "cut"))
            act = functools.partial(self._node_away, to) if kind == "node-away" else None
            self._at(
                world.loop.time() + 3 * draw.random(),
                functools.partial(self._trouble, kind, act),
            )

    # --- what breaks ------------------------------------------------------------------------------

    def _trouble(self, kind: str, act: Callable[[], None] | None = None) -> None:
        if self._world.calm:
            return
        self.happened[kind] = self.happened.get(kind, 0) + 1
        (act or getattr(self, "_" + kind.replace("-", "_")))()

    def _at(self, when_s: float, action: Callable[[], None]) -> None:
        loop = self._world.loop
        loop.post(loop.world, when_s - loop.time(), action)

    def _for_a_while(self, what: str, longest_s: float, undo: Callable[[], None]) -> None:
        """Undo it after a time, or when the trouble ends."""
        duration_s = longest_s * self._draw.random() ** 2
        self._world.say(f"{what} for {duration_s:.2f} s")
        done = False

        def once() -> None:
            nonlocal done
            if not done:
                done = True
                self._world.say(f"{what}: over")
                undo()

        self._after.append(once)
        self._at(self._world.loop.time() + duration_s, once)

    def _some_role(self) -> str:
        return self._draw.choice(tuple(self._world.processes))

    def _kill(self) -> None:
        process = self._world.processes[self._some_role()]
        process.dies_at = process.steps + 1 + int(self._draw.expovariate(1.0) * 60)

    def _kill_anew(self) -> None:
        """Kill a process where it waits for the first time (`awaits`)."""
        world, draw = self._world, self._draw
        process = world.processes[self._some_role()]

        def somewhere_new() -> None:
            if draw.random() < 0.2:
                world.loop.kill(process)

        process.eye = Eye(process, world.seen[process.name], somewhere_new, 600)

    def _kill_often(self) -> None:
        role = self._some_role()
        for _ in range(3):
            self._at(
                self._world.loop.time() + self._draw.random() * 5,
                lambda: self._world.loop.kill(self._world.processes[role]),
            )

    def _stop(self) -> None:
        world = self._world
        process = world.processes[self._some_role()]
        if not process.stopped:
            world.loop.stop_process(process)
            self._for_a_while(f"{process} is stopped", 40, lambda: world.loop.go_on(process))

    def _cut(self) -> None:
        """Part one role and one server, or some roles and everything."""
        world, draw = self._world, self._draw
        if draw.random() < 0.5:
            role = self._some_role()
            pairs = [(role, draw.choice(self._servers_of(role)))]
        else:
            roles = [role for role in world.processes if draw.random() < 0.5]
            pairs = [(role, server) for role in roles for server in self._servers_of(role)]
        for role, server in pairs:
            world.net.cut(role, server)

        def undo() -> None:
            for role, server in pairs:
                world.net.heal(role, server)

        what = " and ".join(dict.fromkeys(role for role, _ in pairs))
        self._for_a_while(
            f"{what} cut from {', '.join(dict.fromkeys(s for _, s in pairs))}", 40, undo
        )

    def _servers_of(self, role: str) -> list[str]:
        servers = [store_module.NAME]
        if role.startswith("intake"):
            servers.append(broker_module.NAME)
        if role.startswith("notify"):
            servers += [broker_module.NAME, *self._world.receivers]
        return servers

    def _store_dies(self) -> None:
        world = self._world
        if not world.store.up:
            return
        world.store.die()
        world.net.server_died(world.store, silently=self._draw.random() < 0.2)
        self._for_a_while("store is dead", 10, self._store_up)

    def _store_up(self) -> None:
        if not self._world.store.up:
            self._world.store.start()

    def _store_stops(self) -> None:
        world = self._world
        if not world.store.stopped:
            world.store.halt()
            self._for_a_while("store is stopped", 30, world.store.go_on)

    def _store_slow(self) -> None:
        store = self._world.store
        store.stall_s = self._draw.random()

        def undo() -> None:
            store.stall_s = 0.0

        self._for_a_while("disk of the store is slow", 20, undo)

    def _disk_full(self) -> None:
        store = self._world.store
        store.disk_full = self._draw.choice(("refuse", "die"))

        def undo() -> None:
            store.disk_full = ""
            self._store_up()

        self._for_a_while(f"disk of the store is full ({store.disk_full})", 20, undo)

    def _node_away(self, name: str = "") -> None:
        """Of a cluster, the node that has a partition's streams."""
        store, name = self._world.store, name or self._draw.choice(self._world.partitions)
        store.away.add(name)
        self._for_a_while(f"node of {name} is away", 30, lambda: store.away.discard(name))

    def _broker_dies(self) -> None:
        world, draw = self._world, self._draw
        if not world.broker.up:
            return
        keep = draw.random() < 0.6
        world.broker.die(keep=keep)
        world.net.server_died(world.broker, silently=draw.random() < 0.2)
        for carrier in world.carriers:
            carrier.link(up=False)

        def undo() -> None:
            world.broker.start()
            for carrier in world.carriers:
                carrier.link(up=True)

        self._for_a_while(f"broker is dead{'' if keep else ', its sessions lost'}", 10, undo)

    def _store_clock(self) -> None:
        store, draw = self._world.store, self._draw
        store.offset_ms = round(draw.uniform(-CLOCK_STEP_MS / 2, CLOCK_STEP_MS / 2))
        self._world.say(f"clock of the store is {store.offset_ms} ms off")

    def _machine_clock(self) -> None:
        world, draw = self._world, self._draw
        role = self._some_role()
        offset_ms = round(draw.choice((1_000, 20_000, 4_000_000)) * draw.uniform(-1, 1))
        world.offsets_ms[role] = world.processes[role].offset_ms = offset_ms
        self._world.say(f"clock of {role} is {offset_ms} ms off")

        def undo() -> None:
            world.offsets_ms[role] = world.processes[role].offset_ms = 0

        self._for_a_while(f"clock of {role} is wrong", 60, undo)

    def _device_clock(self) -> None:
        carrier = self._draw.choice(self._world.carriers)
        offset_ms = round(self._draw.choice((5_000, 50_000, 500_000)) * self._draw.uniform(-1, 1))
        carrier.break_clock(offset_ms)
        name = carrier.device.spec.device_id
        self._for_a_while(f"clock of {name} is wrong", 20, lambda: carrier.break_clock(0))

    def _receiver(self) -> None:
        receiver = self._draw.choice(tuple(self._world.receivers.values()))
        receiver.mode = self._draw.choice(("down", "hang", "flaky"))

        def undo() -> None:
            receiver.mode = "up"

        self._for_a_while(f"{receiver.name} is {receiver.mode}", 60, undo)

    def _coverage(self) -> None:
        carrier = self._draw.choice(self._world.carriers)
        carrier.link(up=False)
        name = carrier.device.spec.device_id
        self._for_a_while(f"{name} has no coverage", 30, lambda: carrier.link(up=True))

    def _reboot(self) -> None:
        self._draw.choice(self._world.carriers).reboot()

    def _slow_net(self) -> None:
        net = self._world.net
        net.slow = self._draw.choice((20.0, 100.0, 500.0))

        def undo() -> None:
            net.slow = 1.0

        self._for_a_while(f"the net is {net.slow:.0f} times as slow", 20, undo)

    def _watch_disk(self) -> None:
        disk = self._world.disks[self._draw.choice(("watch-0", "watch-1"))]
        disk.full = True

        def undo() -> None:
            disk.full = False

        self._for_a_while(f"disk {disk.folder.name} is full", 60, undo)

    def _junk(self) -> None:
        world, draw = self._world, self._draw
        topic = draw.choice(
            ("em/tag-1/event", "em/nobody-9/event", "em/victim-2/fix", "em/x/status")
        )
        world.radio.up(topic, draw.randbytes(draw.randrange(60)))
