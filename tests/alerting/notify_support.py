"""Virtual time, fakes and ready-made notices for the tests of the notifier."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop, heappush
from typing import Any, Self

import msgspec
from prometheus_client import CollectorRegistry

from alerting.book.types import (
    AlarmClass,
    Audience,
    DeviceCommand,
    DeviceCommandCode,
    Notice,
    OrderKind,
    Position,
    Priority,
    Purpose,
    Receipt,
    ReceiptStatus,
)
from alerting.notify import (
    Delivery,
    DeliveryLog,
    Destination,
    LaneSettings,
    MemoryDeliveryLog,
    Metrics,
    Notifier,
    OutboxEntry,
    Outcome,
    OutcomeStatus,
)

START_MS = 1_764_500_000_000
SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtMDAwMDAwMDE="
OLD_SECRET = "whsec_" + "b2xkLXNlY3JldC1vbGQtc2VjcmV0LTAwMDAwMDAx"
OIN = "00000001823288444000"

DELIVERED = Outcome(status=OutcomeStatus.DELIVERED, detail="http-200")
RETRY = Outcome(status=OutcomeStatus.RETRY, detail="http-500", reached_target=False)
REFUSED = Outcome(status=OutcomeStatus.REFUSED, detail="http-422")


def notice(
    alarm_class: AlarmClass = AlarmClass.PROXIMITY,
    purpose: Purpose = Purpose.ALERT,
    target: str = "meldkamer",
    audience: Audience = Audience.POLICE,
    **changes,
) -> Notice:
    fields = {
        "incident_id": "inc-1",
        "alarm_id": "alarm-1",
        "alarm_class": alarm_class,
        "priority": Priority.CRITICAL,
        "plan_id": "plan-1",
        "step": 0,
        "target": target,
        "audience": audience,
        "purpose": purpose,
        "text_key": f"{alarm_class.value}.{purpose.value}",
        "reason": "evidence-confirmed",
        "at_ms": START_MS,
        "opened_at_ms": START_MS,
    }
    return Notice(**{**fields, **changes})


def full_notice(**changes) -> Notice:
    """A notice with every figure that a police control room may see."""
    position = Position(
        lat_e7=519_200_000, lon_e7=44_800_000, accuracy_mm=12_000, time_ms=START_MS - 9_000,
        mechanism=1,
    )  # fmt: skip
    other = Position(
        lat_e7=519_234_567, lon_e7=44_812_345, accuracy_mm=4_000, time_ms=START_MS - 4_000,
        mechanism=1,
    )  # fmt: skip
    fields = {
        "order_id": "order-7",
        "order_kind": OrderKind.CONTACT_BAN,
        "order_version": 3,
        "probability_1024": 1010,
        "distance_mm": 412_345,
        "time_to_contact_ms": 72_400,
        "closing_mm_s": 13_900,
        "fix_ms": START_MS - 9_000,
        "deadline_ms": START_MS + 60_000,
        "wearer_id": "wearer-4",
        "protected_id": "protected-9",
        "wearer_age_ms": 9_000,
        "protected_age_ms": 4_000,
        "wearer_position": position,
        "protected_position": other,
        "labels": ("parallel-travel",),
        "device_id": "em-4",
    }
    return notice(**{**fields, **changes})


def command(**changes) -> DeviceCommand:
    fields = {
        "device_id": "em-4",
        "code": DeviceCommandCode.BURST,
        "command_id": 17,
        "at_ms": START_MS,
        "expires_ms": START_MS + 60_000,
        "interval_s": 5,
        "duration_s": 120,
        "reason": "doubtful-fix",
    }
    return DeviceCommand(**{**fields, **changes})


class VirtualClock:
    """Time that stands still until a test moves it."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = start_ms
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self.wrong_ms = 0  # how far the wall clock is off; waiting does not look at it

    def now_ms(self) -> int:
        return self._now_ms + self.wrong_ms

    def steady_ms(self) -> int:
        return self._now_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        if duration_ms <= 0:
            await asyncio.sleep(0)
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heappush(self._sleepers, (self._now_ms + duration_ms, self._count, sleeper))
        await sleeper

    async def quiet(self) -> None:
        """Run everything that can run without time passing."""
        loop: Any = asyncio.get_running_loop()
        for _ in range(100_000):
            await asyncio.sleep(0)
            if not loop._ready:
                return
        raise AssertionError("the loop never rests: something spins without waiting")

    async def advance(self, duration_ms: int) -> None:
        end_ms = self._now_ms + duration_ms
        await self.quiet()
        while (due_ms := self._due_ms()) is not None and due_ms <= end_ms:
            await self._jump()
        self._now_ms = end_ms
        await self.quiet()

    async def run_until(self, done: Callable[[], bool], limit_ms: int = 86_400_000) -> None:
        """Let time jump from one timer to the next until `done()`."""
        end_ms = self._now_ms + limit_ms
        await self.quiet()
        while not done():
            due_ms = self._due_ms()
            assert due_ms is not None, "nothing waits any more, and it never came to be"
            assert due_ms <= end_ms, "it never came to be"
            await self._jump()

    def _due_ms(self) -> int | None:
        while self._sleepers and self._sleepers[0][2].done():
            heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def wake_next(self) -> bool:
        """Let time jump to the next timer and fire it; False when nothing waits for time."""
        if self._due_ms() is None:
            return False
        due_ms, _, sleeper = heappop(self._sleepers)
        self._now_ms = max(self._now_ms, due_ms)
        sleeper.set_result(None)
        return True

    async def _jump(self) -> None:
        self.wake_next()
        await self.quiet()


class World:
    """What outlives a notifier: outbox, journal, delivery log, and the targets' own memory."""

    def __init__(self, entries: Sequence[OutboxEntry] = ()) -> None:
        self.entries = list(entries)
        self.given: set[str] = set()  # in any life
        self.acknowledged: set[str] = set()
        self.receipts: list[Receipt] = []
        self.log = MemoryDeliveryLog()
        self.sent: list[tuple[str, str, int]] = []  # (target, key, time) of every attempt
        self.got: list[tuple[str, str, int]] = []  # of those the target took in
        self.problems: list[str] = []

    def receipts_of(self, key: str) -> list[ReceiptStatus]:
        return [receipt.status for receipt in self.receipts if receipt.key == key]

    @property
    def all_acknowledged(self) -> bool:
        return all(entry.entry_key in self.acknowledged for entry in self.entries)


class Life:
    """One run of the service. After `kill` nothing that it still tries has an effect."""

    def __init__(self) -> None:
        self.alive = True

    def kill(self) -> None:
        self.alive = False

    async def point(self) -> None:
        """A place where the process may die: nothing after it happens when it has."""
        await asyncio.sleep(0)
        if not self.alive:
            await asyncio.Event().wait()


class FakeSource:
    """An outbox with a consumer group: what is not acknowledged comes again after a restart."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life
        self._given: set[str] = set()  # in this life
        self._news = asyncio.Event()

    def add(self, *entries: OutboxEntry) -> None:
        self._world.entries.extend(entries)
        self._news.set()

    async def take(self, count_max: int) -> Sequence[OutboxEntry]:
        while True:
            await self._life.point()
            found = [
                entry
                for entry in self._world.entries
                if entry.entry_key not in self._world.acknowledged
                and entry.entry_key not in self._given
            ][:count_max]
            if found:
                again = [
                    msgspec.structs.replace(entry, redelivered=entry.entry_key in self._world.given)
                    for entry in found
                ]
                self._given.update(entry.entry_key for entry in found)
                self._world.given.update(entry.entry_key for entry in found)
                return again
            self._news.clear()
            await self._news.wait()

    async def acknowledge(self, entries: Sequence[OutboxEntry]) -> None:
        await self._life.point()
        for entry in entries:
            self._check(entry)
            self._world.acknowledged.add(entry.entry_key)
        await self._life.point()

    def _check(self, entry: OutboxEntry) -> None:
        """The rule: acknowledged only when each notice of it has a receipt in the journal."""
        for index, output in enumerate(entry.outputs):
            if isinstance(output, Notice) and not self._world.receipts_of(entry.key_of(index)):
                self._world.problems.append(f"{entry.key_of(index)} acknowledged without a receipt")


Behaviour = Callable[[Delivery, int], Outcome | Exception | None]
"""From a delivery and the number of the attempt; None hangs."""


class FakeChannel:
    def __init__(
        self, name: str, world: World, life: Life, clock: VirtualClock, behave: Behaviour
    ) -> None:
        self._name = name
        self._world = world
        self._life = life
        self._clock = clock
        self._behave = behave
        self._attempts: dict[str, int] = {}
        self.running = 0
        self.running_max = 0

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            await self._life.point()
            attempt = self._attempts[delivery.key] = self._attempts.get(delivery.key, 0) + 1
            self._world.sent.append((self._name, delivery.key, now_ms))
            outcome = self._behave(delivery, attempt)
            if isinstance(outcome, Exception):
                raise outcome
            while outcome is None:
                await asyncio.Event().wait()
            if outcome.status in {OutcomeStatus.DELIVERED, OutcomeStatus.ACKNOWLEDGED}:
                self._world.got.append((self._name, delivery.key, now_ms))
            await self._life.point()
            return outcome
        finally:
            self.running -= 1


def good(delivery: Delivery, attempt: int) -> Outcome:
    return DELIVERED


def hang(delivery: Delivery, attempt: int) -> None:
    return None


class Rig:
    """A notifier with fakes around it, in virtual time."""

    def __init__(
        self,
        behaviours: dict[str, Behaviour],
        world: World | None = None,
        clock: VirtualClock | None = None,
        lane: LaneSettings | None = None,
        log: DeliveryLog | None = None,
        journal: Callable[[Receipt], Awaitable[None]] | None = None,
        audiences: frozenset[Audience] = frozenset(Audience),
    ) -> None:
        self.world = world or World()
        self.clock = clock or VirtualClock()
        self.life = Life()
        self.source: Any = FakeSource(self.world, self.life)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.channels: dict[str, Any] = {
            name: FakeChannel(name, self.world, self.life, self.clock, behave)
            for name, behave in behaviours.items()
        }
        destinations = {
            name: Destination(channel, lane or LaneSettings(), audiences)
            for name, channel in self.channels.items()
        }
        self.notifier = Notifier(
            self.source,
            journal or self.journal,
            destinations,
            self.clock,
            self.metrics,
            log if log is not None else self.world.log,
        )
        self.task: Any = None

    async def journal(self, receipt: Receipt) -> None:
        await self.life.point()
        self.world.receipts.append(receipt)
        await self.life.point()

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.notifier.run())
        await self.clock.quiet()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """kill -9: from here on nothing of this notifier has any effect."""
        self.life.kill()
        if self.task is None:
            return
        self.task.cancel()
        await asyncio.wait((self.task,))
        if not self.task.cancelled():
            self.task.result()

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Poll, in real time, until something is so; TimeoutError when it never is."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is outside this loop's reach
            await asyncio.sleep(0.005)


def entry(number: int, *outputs: Any, partition: str = "p0", **fields) -> OutboxEntry:
    return OutboxEntry(
        partition=partition, entry_id=f"{START_MS + number}-0", outputs=tuple(outputs), **fields
    )


def key(number: int, index: int = 0, partition: str = "p0") -> str:
    return f"{partition}-{START_MS + number}-0-{index}"
