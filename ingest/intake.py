"""The intake: takes what devices send, checks it, makes it durable, and only then acknowledges it.

A process that dies at any moment loses nothing: what it had not acknowledged the broker, and behind
it the device, sends again, and copies are harmless.

Events come in on a connection of their own, to every intake, so that no backlog of fixes ever
stands before a panic press. Fixes are shared among the intakes of a group where the broker can.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from afstand.limits import ACK_SEND_MAX, REGISTRY_POLL_MS
from ingest.acks import DeviceAcks
from ingest.bulk import Bulk, warm_up
from ingest.checks import Checker
from ingest.cluster_writer import ClusterWriter
from ingest.feed import Core, Feed, steady_ms
from ingest.health import Health
from ingest.journal import Journal
from ingest.metrics import IntakeMetrics
from ingest.mqtt import MqttClient
from ingest.registry import KeyBox, Registry
from ingest.resp import Address, RespWriter, parse_address
from ingest.settings import EVENTS, FIXES, Devices, IntakeSettings, Writer, new_health
from ingest.signals import Signals
from ingest.store import Store, StoreUnavailableError
from ingest.where import where_is

__all__ = ["Intake", "IntakeSettings", "new_health", "run_intake", "wall_clock_ms"]

_EVENT_FILTERS: Final = ("em/+/event", "teltonika/+/event")
_FIX_FILTERS: Final = (
    "em/+/fix",
    "em/+/status",
    "owntracks/+/+",
    "owntracks/+/+/event",
    "teltonika/+/avl",
)
_ACK_TURN_S: Final = 0.1
_ACK_RETRY_MS: Final = 1_000

_log = structlog.get_logger("afstand.intake")


def wall_clock_ms() -> int:
    """Return this machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Intake:
    """One intake. `run` works until `stop` is set."""

    def __init__(
        self,
        settings: IntakeSettings,
        *,
        new_writer: Callable[[], Writer],
        registry: Devices,
        metrics: IntakeMetrics,
        health: Health,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._health = health
        self._now_ms = now_ms
        self._acks = DeviceAcks(settings.ack_interval_ms)
        self._checker = checker = Checker(
            registry.find,
            default_partition=settings.default_partition,
            clock_ahead_ms_max=settings.clock_ahead_ms_max,
            replay_after_ms=settings.replay_after_ms,
        )
        core = Core(
            name=settings.mqtt.client_id,
            checker=checker,
            bulk=Bulk(checker, lambda: registry.generation),
            signals=Signals(settings.default_partition),
            acks=self._acks,
            metrics=metrics,
            now_ms=now_ms,
            tell_devices=self._send_acks,
            store_changed=self._report_store,
        )
        # The events are few and read as they come; the fixes are many and read by ticks.
        self._events = self._feed(EVENTS, core, new_writer(), lambda _: _EVENT_FILTERS)
        self._fixes = self._feed(FIXES, core, new_writer(), self._fix_filters)
        self._feeds = (self._events, self._fixes)

    def _feed(
        self, name: str, core: Core, writer: Writer, filters: Callable[[bool], Sequence[str]]
    ) -> Feed:
        client = MqttClient(
            self._settings.mqtt,
            client_id=f"{self._settings.mqtt.client_id}-{name}",
            filters=filters,
            paced=name == FIXES,
            now_ms=self._now_ms,
            on_change=lambda: self._connection_changed(feed),
        )
        feed = Feed(name, client, writer, core, urgent=name == EVENTS)
        return feed

    def _fix_filters(self, shared: bool) -> Sequence[str]:
        prefix = f"$share/{self._settings.group}/" if shared else ""
        return [prefix + pattern for pattern in _FIX_FILTERS]

    async def run(self, stop: asyncio.Event) -> None:
        """Take messages until `stop` is set.

        What was taken by then is written and acknowledged if the store answers.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(feed.client.run()) for feed in self._feeds]
                background.append(tasks.create_task(self._poll_registry()))
                background.append(tasks.create_task(self._tell_devices()))
                background.append(tasks.create_task(self._wait_for(stop)))
                await asyncio.wait([tasks.create_task(feed.work()) for feed in self._feeds])
                for task in background:
                    task.cancel()
        finally:
            for feed in self._feeds:
                await feed.writer.aclose()

    async def _wait_for(self, stop: asyncio.Event) -> None:
        await stop.wait()
        for feed in self._feeds:
            feed.stop()

    async def _poll_registry(self) -> None:
        while True:
            await asyncio.sleep(REGISTRY_POLL_MS / 1000)
            try:
                await self._promote()
                changed = await self._registry.refresh()
            except (StoreUnavailableError, ValueError) as error:
                self._health.set("registry", str(error))
            else:
                self._health.set("registry", "")
                if changed:
                    _log.info("registry changed", devices=len(changed))
            self._gauge()

    async def _promote(self) -> None:
        """Make the next key the key of devices that were heard under it."""
        for device_id, number in list(self._checker.switched.items()):
            if await self._registry.promote(device_id, *number, self._now_ms()):
                _log.info("device has its next key", device=device_id)
            del self._checker.switched[device_id]

    def _gauge(self) -> None:
        metrics = self._metrics
        metrics.devices.set(len(self._registry))
        metrics.devices_broken.set(len(self._registry.broken))
        metrics.ready.set(self._health.ready)
        for feed in self._feeds:
            metrics.ticking.labels(feed.name).set(feed.client.ticking)
            metrics.passed_over.labels(feed.name).set(feed.client.others)

    def _connection_changed(self, feed: Feed) -> None:
        client, name = feed.client, feed.name
        self._health.set(name, "" if client.connected else client.reason)
        self._metrics.connected.labels(name).set(client.connected)
        if client.connected:
            _log.info("connected", connection=name, mqtt=client.version, shared=client.shared)
        else:
            kind = re.split(r" ?[:(]", client.reason)[0]  # without what is different every time
            self._metrics.disconnects.labels(name, kind).inc()
            _log.warning("disconnected", connection=name, reason=client.reason)

    def _report_store(self) -> None:
        problems = [item for feed in self._feeds for item in feed.problems.items()]
        self._health.set("store", "; ".join(f"{what}: {problem}" for what, problem in problems))

    # --- what devices are told

    async def _tell_devices(self) -> None:
        while True:
            more = self._send_acks()
            await asyncio.sleep(0 if more else _ACK_TURN_S)

    def _send_acks(self) -> bool:
        """Send what devices are to be told now, in one write; tell whether more is due."""
        now_ms = steady_ms()
        acks = self._acks.take_due(now_ms, ACK_SEND_MAX, self._now_ms())
        if not acks:
            return False
        frames = [(ack.topic, ack.frame) for ack in acks]
        if any(feed.client.publish(frames) for feed in self._feeds):
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
    health.set("registry", "compiling kernels")
    # A cold machine compiles for minutes; health and metrics answer meanwhile.
    await asyncio.to_thread(warm_up)
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

    def writer_of(node: Address) -> RespWriter:
        return RespWriter(node, ca_file=settings.store_ca_file, copies=settings.store_copies)

    if settings.store_is_cluster:
        return ClusterWriter(where_is(settings.store_url, cluster=True), writer_of)
    return writer_of(parse_address(settings.store_url))


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
