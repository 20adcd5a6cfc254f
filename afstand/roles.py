"""The processes of the service: each wires one role from the configuration and runs it until stop.

A role serves its metrics and health before it works, and is ready only when it does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from afstand.config import Config
from afstand.delivery_log import StoreDeliveryLog
from afstand.health import NotReady, health_app, serving
from afstand.limits import REGISTRY_POLL_MS, WATCH_RETRY_S_MAX
from afstand.memory import settled
from afstand.outbox_source import JournalReceipts, StreamSource
from afstand.supervise import Child, afstand_command
from afstand.systemd import managed
from afstand.watch.beat import keep_beating
from afstand.watch.follower import Follower, Sources, run_until_refused
from afstand.watch.metrics import BookCollector, PartitionMetrics, WatchMetrics
from afstand.watch.replica import Replica
from afstand.watch.shadow import Shadow, shadow_name
from afstand.watch.snapshots import Snapshots
from afstand.watch.warming import warm_up
from alerting.notify.acknowledgements import Acknowledgements
from alerting.notify.channels import open_destinations
from alerting.notify.clock import SystemClock
from alerting.notify.metrics import Metrics as NotifyMetrics
from alerting.notify.notifier import Notifier
from ingest.archive.history import History
from ingest.bulk_read import BulkReader
from ingest.intake import IntakeSettings, new_health, run_intake
from ingest.journal import Journal
from ingest.mqtt import MqttSettings, TlsSettings
from ingest.outbox import Outbox
from ingest.readers import Readers
from ingest.registry import KeyBox, Registry
from ingest.store import Store, StoreUnavailableError, connect_store
from ingest.trackers import BrokerLink, TrackerMetrics, run_trackers
from ingest.where import where_is

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def open_store(config: Config) -> AsyncIterator[Store]:
    """The store of the configuration, closed at the end of the block."""
    store = connect_store(config.store_url(), cluster=config.store.cluster)
    try:
        yield store
    finally:
        await store.aclose()


@contextlib.asynccontextmanager
async def observed(
    config: Config, port: int, registry: CollectorRegistry, not_ready: NotReady
) -> AsyncIterator[None]:
    """Serve metrics and health while the block runs, tell systemd, and settle when ready."""
    ready = Gauge("afstand_ready", "1 while the role does its work", registry=registry)
    ready.set_function(lambda: not not_ready())
    async with (
        serving(health_app(registry, not_ready), config.http.host, port) as at,
        managed(not_ready),
        settled(not_ready),
    ):
        log.info("serving metrics and health", port=at)
        yield


async def intake(config: Config, stop: asyncio.Event) -> None:
    """Take messages from the broker into the journal."""
    broker = config.broker
    tls = TlsSettings(
        ca_file=broker.ca_file or None,
        cert_file=broker.cert_file or None,
        key_file=broker.key_file or None,
    )
    settings = IntakeSettings(
        mqtt=MqttSettings(
            host=broker.host,
            port=broker.port,
            protocol=broker.version,
            client_id=config.intake.client_id,
            username=broker.username or None,
            password=config.optional_secret("broker.password", broker.password) or None,
            tls=tls if broker.tls else None,
        ),
        group=config.intake.group,
        default_partition=config.partitions[0],
        store_url=config.store_url(),
        store_copies=config.store.copies_wanted,
        store_is_cluster=config.store.cluster,
    )
    registry = CollectorRegistry()
    health = new_health()
    box = KeyBox(config.master_key())

    def not_ready() -> str:
        return "; ".join(f"{part}: {why}" for part, why in health.problems.items())

    async with (
        open_store(config) as store,
        observed(config, config.intake.health_port, registry, not_ready),
    ):
        await run_intake(settings, store=store, box=box, metrics=registry, stop=stop, health=health)


async def trackers(config: Config, stop: asyncio.Event) -> None:
    """Carry packets of Teltonika trackers to the broker."""
    registry = CollectorRegistry()
    metrics = TrackerMetrics(registry)
    links: list[BrokerLink] = []

    def not_ready() -> str:
        return links[0].problem if links else "not listening yet"

    def listening(port: int, link: BrokerLink) -> None:
        log.info("listening for trackers", port=port)
        links.append(link)

    async with observed(config, config.trackers.health_port, registry, not_ready):
        await run_trackers(
            lambda: mqtt_client(config, config.trackers.client_id),
            host=config.trackers.host,
            port=config.trackers.port,
            metrics=metrics,
            stop=stop,
            listening=listening,
        )


def mqtt_client(config: Config, client_id: str) -> aiomqtt.Client:
    """A client of the configuration's broker, for what is not hot; not connected yet."""
    broker = config.broker
    tls = aiomqtt.TLSParameters(
        ca_certs=broker.ca_file or None,
        certfile=broker.cert_file or None,
        keyfile=broker.key_file or None,
    )
    modern = broker.version == "5"
    return aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=client_id,
        username=broker.username or None,
        password=config.optional_secret("broker.password", broker.password) or None,
        protocol=aiomqtt.ProtocolVersion.V5 if modern else aiomqtt.ProtocolVersion.V311,
        tls_params=tls if broker.tls else None,
    )


async def watch(config: Config, index: int, stop: asyncio.Event, *, refold: bool = False) -> None:
    """Run replica number `index` of every partition's watch."""

    def follower(partition: str, sources: Sources, metrics: PartitionMetrics) -> Follower:
        return Replica(
            partition,
            index,
            sources,
            Snapshots(replica_folder(config, index), partition),
            metrics,
            snapshot_entries=config.watch.snapshot_entries,
            refold=refold,
        )

    await _follow_all(config, index, follower, stop)


async def shadow(config: Config, name: str, stop: asyncio.Event, *, refold: bool = False) -> None:
    """Fold every partition beside the watches, and compare."""
    folder = Path(config.watch.data_dir) / shadow_name(name)

    def follower(partition: str, sources: Sources, metrics: PartitionMetrics) -> Follower:
        return Shadow(
            partition,
            shadow_name(name),
            sources,
            Snapshots(folder, partition),
            metrics,
            snapshot_entries=config.watch.snapshot_entries,
            others=[
                Snapshots(replica_folder(config, index), partition)
                for index in range(config.watch.replicas)
            ],
            refold=refold,
        )

    await _follow_all(config, config.watch.replicas, follower, stop)


def replica_folder(config: Config, index: int) -> Path:
    """Where replica number `index` keeps its snapshots."""
    return Path(config.watch.data_dir) / f"replica-{index}"


async def _follow_all(
    config: Config,
    place: int,
    make: Callable[[str, Sources, PartitionMetrics], Follower],
    stop: asyncio.Event,
) -> None:
    """Run a follower of every partition; `place` is added to the port of metrics and health."""
    registry = CollectorRegistry()
    metrics = WatchMetrics(registry)
    followers: list[Follower] = []
    compiled = False

    def not_ready() -> str:
        if not compiled:
            return "compiling kernels"
        return "; ".join(each.not_ready for each in followers if each.not_ready)

    port = config.watch.health_port + place if config.watch.health_port else 0
    async with open_store(config) as store, observed(config, port, registry, not_ready):
        await asyncio.to_thread(warm_up)
        for partition in config.partitions:
            sources = Sources(
                Journal(store),
                Outbox(store),
                past=History(store, Path(config.archive.dir), partition),
                readers=Readers(store),
                bulk=BulkReader(where_is(config.store_url(), cluster=config.store.cluster)),
            )
            followers.append(make(partition, sources, metrics.of(partition)))
        compiled = True
        registry.register(
            BookCollector(
                {
                    partition: follower.figures
                    for partition, follower in zip(config.partitions, followers, strict=True)
                }
            )
        )
        replicas = [each for each in followers if isinstance(each, Replica)]
        beating = asyncio.create_task(keep_beating(store, replicas))
        try:
            async with asyncio.TaskGroup() as group:
                for each in followers:
                    group.create_task(run_until_refused(each, stop))
        finally:
            beating.cancel()


async def notify(config: Config, stop: asyncio.Event) -> None:
    """Deliver what the watches decided, and take in what receivers say later."""
    settings = config.notify_settings()
    registry = CollectorRegistry()
    metrics = NotifyMetrics(registry)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(config))
        delivered = StoreDeliveryLog(store)
        keys = DeviceKeys(Registry(store, KeyBox(config.master_key())))
        source = StreamSource(
            Outbox(store), config.partitions, config.notify.consumer, Readers(store)
        )
        await stack.enter_async_context(
            observed(
                config,
                config.notify.health_port,
                registry,
                lambda: source.not_ready or keys.not_ready,
            )
        )
        keeping = asyncio.create_task(keys.keep_current())
        stack.callback(keeping.cancel)
        receipts = JournalReceipts(Journal(store), config.partitions)
        acknowledgements = Acknowledgements(settings.targets, receipts, delivered, clock, metrics)
        app = web.Application()
        app.add_routes(acknowledgements.routes())
        await stack.enter_async_context(serving(app, config.notify.host, config.notify.port))
        destinations = await stack.enter_async_context(
            open_destinations(settings, clock, keys.key_of)
        )
        await stack.enter_async_context(source.reading())
        notifier = Notifier(source, receipts, destinations, clock, metrics, delivered)
        running = asyncio.create_task(notifier.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        notifier.stop()
        stopping.cancel()
        await running


class DeviceKeys:
    """The keys of devices, as the registry has them, for frames that go to devices."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.not_ready = "registry not read"

    async def keep_current(self) -> None:
        """Read the registry, and what changes in it, for ever."""
        while True:
            try:
                if self.not_ready:
                    await self._registry.load_all()
                else:
                    await self._registry.refresh()
                self.not_ready = ""
            except (StoreUnavailableError, ValueError) as error:
                # Also what nobody can read yet: it may be mended while this runs.
                self.not_ready = f"registry not read: {error}"
                await asyncio.sleep(WATCH_RETRY_S_MAX)
            await asyncio.sleep(REGISTRY_POLL_MS / 1000)

    def key_of(self, device_id: str) -> bytes | None:
        """The key of an enabled device; None for one that has none or is not known."""
        device = self._registry.find(device_id)
        return device.key if device is not None and device.enabled and device.key else None


async def watch_replicas(config: Config, file: Path | None, stop: asyncio.Event) -> None:
    """Run all replicas of the configuration, a process each, and keep them running."""
    chosen = ("--config", str(file)) if file is not None else ()
    children = [
        Child(f"watch-{index}", afstand_command("watch", *chosen, "--replica", str(index)))
        for index in range(config.watch.replicas)
    ]
    for child in children:
        child.start()
    await stop.wait()
    await asyncio.gather(*(child.stop() for child in children))
