"""The intake: takes what devices send, checks it, makes it durable, and only then acknowledges it.

Each round: everything that has arrived -> checks -> ONE write to the store (an entry per partition,
and the quarantine) -> PUBACK -> acknowledgements to devices. Nothing is acknowledged before its
write is answered, so a process that dies at any moment loses nothing: the broker, and behind it the
device, sends again, and copies are harmless.

Events come in on a connection of their own, to every intake, so that no backlog of fixes ever
stands before a panic press. Fixes are shared among the intakes of a group where the broker can.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from afstand.limits import (
    ACK_INTERVAL_MS,
    ACK_SEND_MAX,
    CLOCK_AHEAD_MS_MAX,
    INTAKE_HELD_MAX,
    INTAKE_TAKE_MAX,
    REGISTRY_POLL_MS,
    REPLAY_AFTER_MS,
)
from ingest.acks import DeviceAcks
from ingest.bulk import Bulk, Plain
from ingest.checks import Accept, Checker, Copy, Device, Ignore, Outcome, Refuse, Waiting
from ingest.entries import FrameFlag, LaneCode
from ingest.health import Health
from ingest.journal import Append, Journal
from ingest.metrics import IntakeMetrics
from ingest.mqtt import Message, MqttClient, MqttSettings
from ingest.pending import Block, HeldRefusal, Pending, Planned, Row
from ingest.quarantine import quarantine_command
from ingest.reasons import Reason
from ingest.registry import KeyBox, Registry
from ingest.resp import RespWriter, parse_address
from ingest.signals import Signal, Signals
from ingest.store import EntryId, Store, StoreUnavailableError

EVENTS: Final = "events"
FIXES: Final = "fixes"
_EVENT_FILTERS: Final = ("em/+/event",)
_FIX_FILTERS: Final = ("em/+/fix", "em/+/status", "owntracks/+/+", "owntracks/+/+/event")
_CLOCK_FAULT: Final = int(FrameFlag.CLOCK_FAULT)
_ACK_TURN_S: Final = 0.1
_ACK_RETRY_MS: Final = 1_000

_log = structlog.get_logger("afstand.intake")


class IntakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an intake needs to know.

    `mqtt.client_id` must be another one for every intake and stay the same over restarts.

    Alarms from devices that nobody registered go to `default_partition`. With `store_url` the
    journal is written over connections of the intake's own, which costs a fraction; without (a
    cluster), through the store's client.
    """

    mqtt: MqttSettings
    group: str = "afstand"
    default_partition: str = "p0"
    store_url: str | None = None
    store_ca_file: str | None = None
    ack_interval_ms: int = ACK_INTERVAL_MS
    clock_ahead_ms_max: int = CLOCK_AHEAD_MS_MAX
    replay_after_ms: int = REPLAY_AFTER_MS


class Writer(Protocol):
    """What the intake needs of a journal; see `Journal.append_many`."""

    async def append_many(
        self, appends: Sequence[Append], also: Sequence[tuple[Any, ...]] = ()
    ) -> tuple[list[EntryId | StoreUnavailableError], list[Any]]:
        """Append entries and run commands in one write."""

    async def aclose(self) -> None:
        """Let go of what is the writer's own."""


def new_health() -> Health:
    """Return the health object of an intake, with its parts."""
    return Health("registry", "store", EVENTS, FIXES)


def wall_clock_ms() -> int:
    """Return this machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class _Connection:
    """One of the two sessions with what was taken from it."""

    def __init__(self, name: str, client: MqttClient, writer: Writer) -> None:
        self.name = name
        self.writer = writer
        self.client = client
        self.pending = Pending()
        self.problems: dict[str, str] = {}  # what cannot be written, and why


class Intake:
    """One intake. `run` works until `stop` is set."""

    def __init__(
        self,
        settings: IntakeSettings,
        *,
        new_writer: Callable[[], Writer],
        registry: Registry,
        metrics: IntakeMetrics,
        health: Health,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._settings = settings
        self._new_writer = new_writer
        self._registry = registry
        self._metrics = metrics
        self._health = health
        self._now_ms = now_ms
        self._stopping = False
        self._checker = Checker(
            registry.find,
            default_partition=settings.default_partition,
            clock_ahead_ms_max=settings.clock_ahead_ms_max,
            replay_after_ms=settings.replay_after_ms,
        )
        self._bulk = Bulk(self._checker, lambda: registry.generation)
        self._signals = Signals(settings.default_partition)
        self._acks = DeviceAcks(settings.ack_interval_ms)
        self._events = self._connect(EVENTS, lambda _: _EVENT_FILTERS, paced=False)
        self._fixes = self._connect(FIXES, self._fix_filters, paced=True)

    def _connect(
        self, name: str, filters: Callable[[bool], Sequence[str]], *, paced: bool
    ) -> _Connection:
        client = MqttClient(
            self._settings.mqtt,
            client_id=f"{self._settings.mqtt.client_id}-{name}",
            filters=filters,
            paced=paced,
            now_ms=self._now_ms,
            on_change=lambda: self._connection_changed(connection),
        )
        connection = _Connection(name, client, self._new_writer())
        return connection

    def _fix_filters(self, shared: bool) -> Sequence[str]:
        prefix = f"$share/{self._settings.group}/" if shared else ""
        return [prefix + pattern for pattern in _FIX_FILTERS]

    def _connection_changed(self, connection: _Connection) -> None:
        client, name = connection.client, connection.name
        self._health.set(name, "" if client.connected else client.reason)
        self._metrics.connected.labels(name).set(client.connected)
        if client.connected:
            _log.info("connected", connection=name, mqtt=client.version, shared=client.shared)
        else:
            kind = re.split(r" ?[:(]", client.reason)[0]
            self._metrics.disconnects.labels(name, kind).inc()
            _log.warning("disconnected", connection=name, reason=client.reason)

    @staticmethod
    def _steady_ms() -> int:
        """Return a clock for waiting.

        A step of the wall clock must neither hold up nor hurry anything.
        """
        return int(asyncio.get_running_loop().time() * 1000)

    # --- running

    async def run(self, stop: asyncio.Event) -> None:
        """Take messages until `stop` is set.

        What was taken by then is written and acknowledged if the store answers.
        """
        connections = (self._events, self._fixes)
        try:
            await self._run(connections, stop)
        finally:
            for connection in connections:
                await connection.writer.aclose()

    async def _run(self, connections: Sequence[_Connection], stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(c.client.run()) for c in connections]
            background.append(tasks.create_task(self._poll_registry()))
            background.append(tasks.create_task(self._tell_devices()))
            working = [tasks.create_task(self._work(c)) for c in connections]
            background.append(tasks.create_task(self._wait_for_stop(stop)))
            await asyncio.wait(working)
            for task in background:
                task.cancel()

    async def _wait_for_stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping = True
        self._events.client.wake()
        self._fixes.client.wake()

    async def _work(self, connection: _Connection) -> None:
        """Take, check, write, acknowledge; for one connection."""
        client, pending = connection.client, connection.pending
        while not self._stopping:
            wait_s = pending.wait_s(self._steady_ms())
            room = INTAKE_HELD_MAX - pending.messages
            if room > 0 and wait_s != 0:
                await client.wait(wait_s)
            elif wait_s:
                await asyncio.sleep(wait_s)
            self._take(connection, min(room, INTAKE_TAKE_MAX))
            await self._write(connection)
        await self._write(connection)

    async def _poll_registry(self) -> None:
        while True:
            await asyncio.sleep(REGISTRY_POLL_MS / 1000)
            try:
                changed = await self._registry.refresh()
            except (StoreUnavailableError, ValueError) as error:
                self._health.set("registry", str(error))
                continue
            self._health.set("registry", "")
            if changed:
                _log.info("registry changed", devices=len(changed))
            self._metrics.devices.set(len(self._registry))
            self._metrics.devices_broken.set(len(self._registry.broken))
            self._metrics.ready.set(self._health.ready)
            for connection in (self._events, self._fixes):
                name, client = connection.name, connection.client
                self._metrics.ticking.labels(name).set(client.ticking)
                self._metrics.passed_over.labels(name).set(client.others)

    async def _tell_devices(self) -> None:
        while True:
            more = self._send_acks()
            await asyncio.sleep(0 if more else _ACK_TURN_S)

    # --- one round

    def _take(self, connection: _Connection, limit: int) -> None:
        messages = connection.client.take(limit) if limit > 0 else []
        if not messages:
            return
        began_s = time.perf_counter()
        done: list[Message] = []
        now_ms = self._steady_ms()
        passed, rest = self._check_plain(messages)
        for plain in passed:
            mark = connection.pending.hold_fixes(plain.partition, plain.fixes)
            self._checker.seen.add(plain.tags, mark)
        for message in rest:
            outcome = self._check(message)
            if isinstance(outcome, Accept):
                self._hold(connection, outcome, message)
            elif isinstance(outcome, Refuse):
                self._refuse(connection, outcome, message, now_ms)
            elif isinstance(outcome, Waiting):
                connection.pending.hold_copy(outcome.mark, message)
                self._metrics.copies.labels(connection.name).inc()
            else:
                self._settle(connection, outcome, now_ms)
                done.append(message)
        if done:
            self._acknowledge(connection, done)
        signal = self._signals.due(now_ms)
        if signal is not None:
            self._give(connection, signal)
        name = connection.name
        self._metrics.received.labels(name).inc(len(messages))
        self._metrics.batch.labels(name).observe(len(messages))
        self._metrics.check_s.labels(name).observe(time.perf_counter() - began_s)

    def _check_plain(self, messages: list[Message]) -> tuple[list[Plain], list[Message]]:
        try:
            return self._bulk.check(messages)
        except Exception:  # noqa: BLE001 what fails together is checked one by one
            _log.exception("bulk check failed")
            return [], messages

    def _check(self, message: Message) -> Outcome:
        try:
            return self._checker.check(message)
        except Exception as error:  # noqa: BLE001 one poison message must never keep the next out
            _log.exception("check failed", topic=message.topic)
            return Refuse(Reason.INTERNAL_ERROR, type(error).__name__)

    def _hold(self, connection: _Connection, accept: Accept, message: Message) -> None:
        row = Row(accept.record, message, accept.device, accept.boot, accept.sequence)
        mark = connection.pending.hold(accept.partition, row)
        if accept.tag:
            self._checker.seen.add((accept.tag,), mark)
        if accept.reason is not None:
            self._quarantine(connection, message, accept.reason, accept.detail, None)
            self._metrics.unproven.labels(accept.reason.value).inc()
        if accept.record.flags & _CLOCK_FAULT:
            self._metrics.clock_faults.inc()

    def _refuse(
        self, connection: _Connection, refuse: Refuse, message: Message, now_ms: int
    ) -> None:
        self._quarantine(connection, message, refuse.reason, refuse.detail, refuse)
        event_topic = connection is self._events and refuse.device is None
        self._signals.refused(refuse.reason.value, message.topic, now_ms, event_topic=event_topic)
        if refuse.clock_fault and refuse.device is not None:
            self._metrics.clock_faults.inc()
            record = refuse.device.record
            signal = self._signals.clock_fault(record.device_id, record.partition, now_ms)
            if signal is not None:
                self._give(connection, signal)

    def _quarantine(
        self,
        connection: _Connection,
        message: Message,
        reason: Reason,
        detail: str,
        refuse: Refuse | None,
    ) -> None:
        command = quarantine_command(message, reason.value, detail, self._settings.mqtt.client_id)
        held = HeldRefusal(command, refuse, message if refuse is not None else None)
        connection.pending.hold_refusal(held)
        self._metrics.quarantined.labels(reason.value).inc()

    def _settle(self, connection: _Connection, outcome: Copy | Ignore, now_ms: int) -> None:
        if isinstance(outcome, Ignore):
            self._metrics.ignored.labels(outcome.why).inc()
            return
        self._metrics.copies.labels(connection.name).inc()
        if outcome.device is not None:
            self._durable(connection, outcome.device, outcome.boot, outcome.sequence, now_ms)

    def _durable(
        self, connection: _Connection, device: Device, boot: int, sequence: int, now_ms: int
    ) -> None:
        at_once = connection is self._events
        self._acks.durable(device, boot, sequence, now_ms, at_once=at_once)

    def _give(self, connection: _Connection, signal: Signal) -> None:
        connection.pending.hold_signal(signal.partition, signal.blob)
        self._metrics.signals.inc()

    async def _write(self, connection: _Connection) -> None:
        pending, name = connection.pending, connection.name
        plan = pending.plan(self._steady_ms(), lambda row, e: self._poison(connection, row, e))
        if plan.entries or plan.refusals:
            began_s = time.perf_counter()
            try:
                results, answers = await connection.writer.append_many(
                    [planned.append for planned in plan.entries],
                    [refusal.command for refusal in plan.refusals],
                )
            except StoreUnavailableError as error:
                self._store_failed(connection, "store", str(error))
            else:
                self._metrics.write_s.labels(name).observe(time.perf_counter() - began_s)
                self._written(connection, plan.entries, results, plan.refusals, answers)
        self._metrics.held.labels(name).set(pending.messages)

    def _poison(self, connection: _Connection, row: Row, error: Exception) -> None:
        _log.error("frame cannot be journalled", error=str(error))
        refuse = Refuse(Reason.INTERNAL_ERROR, type(error).__name__)
        self._refuse(connection, refuse, row.message, self._steady_ms())

    def _store_failed(self, connection: _Connection, what: str, problem: str) -> None:
        """Note a failed write of a partition, of the "quarantine" or of everything ("store")."""
        if what in {"store", "quarantine"}:
            connection.pending.store_failed(self._steady_ms())
        else:
            connection.pending.partition_failed(what, self._steady_ms())
        self._metrics.store_failures.labels(what).inc()
        if connection.problems.get(what) != problem:
            _log.error("write failed", connection=connection.name, what=what, problem=problem)
        connection.problems[what] = problem
        self._report_store()

    def _store_works(self, connection: _Connection, what: str) -> None:
        if connection.problems.pop(what, None) is not None:
            _log.info("writes work again", connection=connection.name, what=what)
            self._report_store()

    def _report_store(self) -> None:
        problems = [*self._events.problems.items(), *self._fixes.problems.items()]
        self._health.set("store", "; ".join(f"{what}: {problem}" for what, problem in problems))

    def _written(
        self,
        connection: _Connection,
        entries: list[Planned],
        results: list[EntryId | StoreUnavailableError],
        refusals: list[HeldRefusal],
        answers: list[Any],
    ) -> None:
        """Acknowledge what is durable, and only that."""
        pending = connection.pending
        now_ms, wall_ms = self._steady_ms(), self._now_ms()
        done: list[Message] = []
        failed: dict[str, str] = {}
        lanes: Counter[LaneCode] = Counter()
        for planned, result in zip(entries, results, strict=True):
            if isinstance(result, StoreUnavailableError):
                failed[planned.append.partition] = str(result)
                continue
            block = planned.block
            if block is not None:
                done += block.messages()
                self._block_durable(connection, block, lanes, now_ms)
            pending.entry_written(planned, wall_ms)
            self._store_works(connection, planned.append.partition)
        pending.store_answered()
        self._store_works(connection, "store")
        for partition, problem in failed.items():
            self._store_failed(connection, partition, problem)
        self._settle_refusals(connection, refusals, answers, done, now_ms)
        if done:
            oldest_ms = min([message.received_ms for message in done])
            self._metrics.durable_s.labels(connection.name).observe((wall_ms - oldest_ms) / 1000)
            self._acknowledge(connection, done)
        for lane, count in lanes.items():
            self._metrics.journalled.labels(lane.name.lower()).inc(count)
        self._send_acks()

    def _block_durable(
        self, connection: _Connection, block: Block, lanes: Counter[LaneCode], now_ms: int
    ) -> None:
        for fixes in block.fixes:
            lanes[LaneCode.FIX] += len(fixes.messages)
            self._acks.durable_fixes(fixes.devices, fixes.boots, fixes.sequences, now_ms)
        for row in block.rows:
            lanes[row.record.lane] += 1
            if row.device is not None:
                self._durable(connection, row.device, row.boot, row.sequence, now_ms)

    def _settle_refusals(
        self,
        connection: _Connection,
        refusals: list[HeldRefusal],
        answers: list[Any],
        done: list[Message],
        now_ms: int,
    ) -> None:
        written = []
        for refusal, answer in zip(refusals, answers, strict=True):
            if isinstance(answer, Exception):
                self._store_failed(connection, "quarantine", str(answer))
                continue
            written.append(refusal)
            if refusal.message is not None:
                done.append(refusal.message)
            refuse = refusal.refuse
            if refuse is not None and refuse.device is not None:
                self._durable(connection, refuse.device, refuse.boot, refuse.sequence, now_ms)
        if written:
            connection.pending.refusals_written(written)
            self._store_works(connection, "quarantine")

    def _acknowledge(self, connection: _Connection, messages: list[Message]) -> None:
        stale = len(messages) - connection.client.ack(messages)
        if stale:
            self._metrics.stale.inc(stale)

    def _send_acks(self) -> bool:
        """Send what devices are to be told now, in one write; tell whether more is due."""
        now_ms = self._steady_ms()
        acks = self._acks.take_due(now_ms, ACK_SEND_MAX, self._now_ms())
        if not acks:
            return False
        frames = [(ack.topic, ack.frame) for ack in acks]
        if self._events.client.publish(frames) or self._fixes.client.publish(frames):
            self._metrics.acks.inc(len(acks))
            return len(acks) == ACK_SEND_MAX
        for ack in acks:
            self._acks.not_sent(ack, now_ms + _ACK_RETRY_MS)
        self._metrics.acks_delayed.inc(len(acks))
        return False


async def run_intake(
    settings: IntakeSettings,
    *,
    store: Store,
    box: KeyBox,
    metrics: CollectorRegistry,
    stop: asyncio.Event,
    health: Health | None = None,
    new_writer: Callable[[], Writer] | None = None,
) -> None:
    """Load the registry (waiting for the store if need be) and take messages until `stop` is set.

    `health` is from `new_health`. The store's connections stay the caller's to close. Raises only
    for a fault of our own.
    """
    health = health or new_health()
    registry = Registry(store, box)
    figures = IntakeMetrics(metrics)
    while not stop.is_set():
        try:
            devices = await registry.load_all()
        except StoreUnavailableError as error:
            health.set("registry", str(error))
            _log.warning("registry not read", problem=str(error))
            await _sleep_unless(stop, REGISTRY_POLL_MS / 1000)
            continue
        break
    else:
        return
    _log.info("registry read", devices=devices, broken=len(registry.broken))
    health.set("registry", "")
    health.set("store", "")
    figures.devices.set(devices)
    figures.devices_broken.set(len(registry.broken))
    intake = Intake(
        settings,
        new_writer=new_writer or partial(_new_writer, settings, store),
        registry=registry,
        metrics=figures,
        health=health,
    )
    await intake.run(stop)


def _new_writer(settings: IntakeSettings, store: Store) -> Writer:
    if settings.store_url is None:
        return Journal(store)
    return RespWriter(parse_address(settings.store_url), ca_file=settings.store_ca_file)


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
