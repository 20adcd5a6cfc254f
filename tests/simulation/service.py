"""The roles of the service, wired from the real classes as `afstand.roles` wires them.

What is simulated stands below them: the store's client, the broker's wire, the disk of the
snapshots, the line to receivers and the machine's clock. The HTTP servers (health, metrics) are
left out.
"""

import asyncio
import errno
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiomqtt
import msgspec
from prometheus_client import CollectorRegistry

from afstand.outbox_source import JournalReceipts, StreamSource
from afstand.roles import DeviceKeys
from afstand.watch.follower import Sources, run_until_refused
from afstand.watch.metrics import WatchMetrics
from afstand.watch.replica import Replica
from afstand.watch.snapshots import Snapshot, Snapshots
from alerting.book.types import TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE, Audience
from alerting.notify.acknowledgements import Acknowledgements
from alerting.notify.clock import SystemClock
from alerting.notify.delivery import LANE_COMMANDS, Delivery, Outcome, OutcomeStatus
from alerting.notify.driver import Destination
from alerting.notify.metrics import Metrics as NotifyMetrics
from alerting.notify.mqtt import DeviceChannel
from alerting.notify.notifier import Notifier
from alerting.notify.settings import BrokerSettings, EventsTarget, LaneSettings
from alerting.notify.signing import Signer
from alerting.notify.source import MemoryDeliveryLog
from ingest.bulk_read import BulkReader
from ingest.intake import IntakeSettings, run_intake
from ingest.journal import Journal
from ingest.mqtt import MqttSettings
from ingest.outbox import Outbox
from ingest.readers import Readers
from ingest.registry import Registry
from ingest.resp import parse_address
from ingest.where import OneServer
from tests.simulation import broker as broker_module
from tests.simulation.broker import SimulatedBroker
from tests.simulation.loop import Process, settle
from tests.simulation.moves import Operator
from tests.simulation.net import Net
from tests.simulation.people import BOX
from tests.simulation.store import SimulatedStore, StoreClient

SECRET: Final = "whsec_" + "QUJD" * 8
TARGETS: Final[Mapping[str, Audience]] = {
    "meldkamer": Audience.POLICE,
    "meldkamer-sms": Audience.POLICE,
    "reclassering": Audience.PROBATION,
    "monitoring-centre": Audience.MONITORING_CENTRE,
    "shift-lead": Audience.SHIFT_LEAD,
}
LANE: Final = LaneSettings(age_ms_max=24 * 3_600_000, attempts_max=1_000)
STORE_URL: Final = "redis://store:6379"
SNAPSHOT_ENTRIES: Final = 25


class Disk:
    """Where a replica's snapshots are: it may be full, and what a death meets may be torn."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder = folder
        self.full = False
        self._draw = draw

    def tear(self) -> None:
        """The newest file is not what was written."""
        files = sorted(self.folder.rglob("*.snapshot"))
        if files:
            whole = files[-1].read_bytes()
            files[-1].write_bytes(whole[: int(self._draw.random() * len(whole))])


class DiskSnapshots(Snapshots):
    """The real files on a disk that may be full."""

    def __init__(self, disk: Disk, partition: str) -> None:
        super().__init__(disk.folder, partition)
        self._disk = disk

    def write(self, snapshot: Snapshot) -> Path:
        if self._disk.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().write(snapshot)


class Line:
    """What a notifier reaches receivers by; `world.Receiver` is at the other end."""

    def __init__(self, net: Net, process: Process, receiver: Any) -> None:
        self._net = net
        self._process = process
        self._receiver = receiver

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        future: asyncio.Future[Outcome] = self._net.loop.create_future()

        def answer(outcome: Outcome) -> None:
            self._net.message(
                self._process, self._receiver.name, settle, future, outcome, None, to_process=True
            )

        self._net.message(self._process, self._receiver.name, self._receiver.take, delivery, answer)
        return await future


class BrokerLine:
    """What a notifier publishes commands to devices by."""

    def __init__(self, net: Net, process: Process, broker: SimulatedBroker) -> None:
        self._net = net
        self._process = process
        self._broker = broker

    async def publish(self, topic: str, payload: bytes, ttl_ms: int) -> int:
        future: asyncio.Future[bool] = self._net.loop.create_future()

        def arrive() -> None:
            taken = self._broker.up
            self._broker.publish(topic, payload)
            self._net.message(
                self._process, broker_module.NAME, settle, future, taken, None, to_process=True
            )

        self._net.message(self._process, broker_module.NAME, arrive)
        if not await future:
            raise aiomqtt.MqttError("not connected to the broker")
        return 0


class Request:
    """An HTTP request as the endpoint reads it."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers = headers
        self.content = self
        self._body = body

    async def iter_chunked(self, size: int) -> Any:
        yield self._body


def acknowledgement(signer: Signer, target: str, key: str, now_ms: int) -> Request:
    """What a receiver posts when somebody there has taken a notice on."""
    body = msgspec.json.encode(
        {"target": target, "id": key, "status": "acknowledged", "by": "operator"}
    )
    return Request(signer.headers(f"ack-{key}", body, now_ms), body)


class Service:
    """How each role is started in a process of its own."""

    def __init__(
        self,
        net: Net,
        store: SimulatedStore,
        broker: SimulatedBroker,
        receivers: Mapping[str, Any],
        disks: Mapping[str, Disk],
        partitions: tuple[str, ...],
        operator: Operator,
    ) -> None:
        self._net = net
        self._store = store
        self._broker = broker
        self._receivers = receivers
        self._disks = disks
        self._partitions = partitions
        self._operator = operator
        self.endpoint: tuple[Process, Acknowledgements] | None = None
        self.problems: dict[str, Callable[[], str]] = {}
        """By role: why it is not ready."""

    async def intake(self, process: Process) -> None:
        """See `afstand.roles.intake`."""
        settings = IntakeSettings(
            mqtt=MqttSettings(host="broker", port=broker_module.PORT, client_id=process.name,
                              protocol="5"),
            default_partition=self._partitions[0],
            store_url=STORE_URL,
            ack_interval_ms=1_000,
        )  # fmt: skip
        store = StoreClient(self._net, process, self._store)
        await run_intake(
            settings, store=store, box=BOX, metrics=CollectorRegistry(), stop=asyncio.Event()
        )

    async def watch(self, process: Process) -> None:
        """See `afstand.roles.watch`."""
        store = StoreClient(self._net, process, self._store)
        metrics = WatchMetrics(CollectorRegistry())
        replicas = [
            Replica(
                partition,
                int(process.name[-1]),
                Sources(
                    Journal(store),
                    Outbox(store),
                    readers=Readers(store),
                    bulk=BulkReader(OneServer(parse_address(STORE_URL))),
                ),
                DiskSnapshots(self._disks[process.name], partition),
                metrics.of(partition),
                snapshot_entries=SNAPSHOT_ENTRIES,
            )
            for partition in self._partitions
        ]
        self.problems[process.name] = lambda: "; ".join(one.not_ready for one in replicas)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for replica in replicas:
                group.create_task(run_until_refused(replica, stop))

    async def operator(self, process: Process) -> None:
        """The command line that moves groups."""
        await self._operator.run(StoreClient(self._net, process, self._store))

    async def notify(self, process: Process) -> None:
        """See `afstand.roles.notify`."""
        store = StoreClient(self._net, process, self._store)
        metrics = NotifyMetrics(CollectorRegistry())
        clock, delivered = SystemClock(), MemoryDeliveryLog()
        keys = DeviceKeys(Registry(store, BOX))
        source = StreamSource(Outbox(store), self._partitions, "notify-1", Readers(store))
        keeping = asyncio.create_task(keys.keep_current())
        receipts = JournalReceipts(Journal(store), self._partitions)
        targets = {
            name: EventsTarget(
                url="http://localhost/", secrets=(SECRET,), audiences=(audience,), oin="0" * 20
            )
            for name, audience in TARGETS.items()
        }
        acknowledgements = Acknowledgements(targets, receipts, delivered, clock, metrics)
        self.endpoint = (process, acknowledgements)
        broker_settings = BrokerSettings(host="broker", lane=LANE)
        line: Any = BrokerLine(self._net, process, self._broker)
        channel = DeviceChannel(line, broker_settings, keys.key_of)
        destinations = {
            name: Destination(
                Line(self._net, process, self._receivers[name]), LANE, frozenset({audience})
            )
            for name, audience in TARGETS.items()
        }
        destinations[TARGET_PROTECTED_DEVICE] = Destination(
            channel, LANE, frozenset({Audience.PROTECTED_PERSON})
        )
        destinations[TARGET_WEARER_DEVICE] = Destination(
            channel, LANE, frozenset({Audience.WEARER})
        )
        destinations[LANE_COMMANDS] = Destination(channel, LANE, frozenset())
        async with source.reading():
            self.problems[process.name] = lambda: source.not_ready or keys.not_ready
            notifier = Notifier(source, receipts, destinations, clock, metrics, delivered)
            await notifier.run()
        keeping.cancel()


DELIVERED: Final = Outcome(status=OutcomeStatus.DELIVERED)
ACKNOWLEDGED: Final = Outcome(status=OutcomeStatus.ACKNOWLEDGED, by="operator")
NOT_THERE: Final = Outcome(status=OutcomeStatus.RETRY, detail="down", reached_target=False)
