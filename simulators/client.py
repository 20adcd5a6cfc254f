"""One simulated device on a real broker: publishes its frames, hears acks and commands, reconnects.

Built on aiomqtt; MQTT 5 and 3.1.1. Deliberately plain: two lanes, each publishing one message at a
time, so that a panic press never waits for a fix that the broker has not taken yet.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firmware_contracts import (
    FrameError,
    Lane,
    ack_topic,
    cmd_topic,
    event_topic,
    fix_topic,
    parse_topic,
    status_topic,
)
from simulators.carrier import Carrier
from simulators.clock import SimulationClock
from simulators.happenings import Action, Happening, LinkChanges, Outgoing, Output, Received
from simulators.tasks import end_tasks

CONNECT_TIMEOUT_S: Final = 10.0
PUBLISH_TIMEOUT_S: Final = 30.0
BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
SESSION_EXPIRES_S: Final = 3_600
KEEP_ALIVE_S: Final = 60
# Without it Nagle's algorithm and delayed acknowledgements cost 40 ms per message.
NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

TOPICS: Final[dict[Lane, Callable[[str], str]]] = {
    Lane.FIX: fix_topic,
    Lane.EVENT: event_topic,
    Lane.STATUS: status_topic,
}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and how devices connect.

    `username` None: anonymous; "{device}" stands for the device id.
    """

    host: str
    port: int
    version: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password: Callable[[str], str] | None = None
    tls: Callable[[str], ssl.SSLContext] | None = None


class Published(NamedTuple):
    """One frame that the broker has taken (PUBACK)."""

    device_id: str
    lane: Lane
    payload: bytes
    sent_ms: int
    taken_ms: int


class Shown(NamedTuple):
    """Something the device showed to the person who carries it."""

    device_id: str
    action: Action
    at_ms: int


@dataclass(slots=True)
class Observer:
    """Callbacks for what a client sees; each may be None."""

    published: Callable[[Published], None] | None = None
    shown: Callable[[Shown], None] | None = None
    link: Callable[[str, bool, int], None] | None = None


def mqtt_client(broker: Broker, device_id: str, last_will: bytes | None) -> aiomqtt.Client:
    """Make the MQTT client of a device: a session that outlives the connection, and a last will."""
    modern = broker.version == "5"
    properties = None
    if modern:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRES_S
    return aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=device_id,
        username=None if broker.username is None else broker.username.format(device=device_id),
        password=None if broker.password is None else broker.password(device_id),
        protocol=aiomqtt.ProtocolVersion.V5 if modern else aiomqtt.ProtocolVersion.V311,
        # Each version has its own word for "keep my session" and refuses the other's.
        clean_start=False if modern else MQTT_CLEAN_START_FIRST_ONLY,
        clean_session=None if modern else False,
        properties=properties,
        will=None if last_will is None else aiomqtt.Will(status_topic(device_id), last_will, qos=1),
        keepalive=KEEP_ALIVE_S,
        timeout=CONNECT_TIMEOUT_S,
        socket_options=[NO_DELAY],
        tls_context=None if broker.tls is None else broker.tls(device_id),
    )


class DeviceClient:
    """Runs one carrier against one broker until it is cancelled."""

    def __init__(
        self,
        carrier: Carrier,
        broker: Broker,
        clock: SimulationClock,
        observer: Observer,
        connecting: asyncio.Semaphore,
    ) -> None:
        """Share `connecting` among the devices of a process: so many connect at once."""
        self.carrier = carrier
        self.device_id = carrier.device.spec.device_id
        self.connected = asyncio.Event()
        self._broker = broker
        self._clock = clock
        self._observer = observer
        self._connecting = connecting
        self._stopping = False
        self._in_coverage = True
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._drop = asyncio.Event()
        self._changed = asyncio.Event()
        self._queues: dict[bool, deque[Outgoing]] = {True: deque(), False: deque()}
        self._filled: dict[bool, asyncio.Event] = {True: asyncio.Event(), False: asyncio.Event()}

    async def run(self) -> None:
        """Live until `stop`: timers always, a connection whenever there is coverage."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._timers())
            tasks.create_task(self._connections())

    def stop(self) -> None:
        """Ask `run` to end: disconnect and be quiet.

        Surer than a cancellation, which on Python 3.11 a `wait_for` inside aiomqtt may swallow.
        """
        self._stopping = True
        self._changed.set()
        self._reachable.set()
        self._drop.set()

    def happen(self, happening: Happening) -> None:
        """Let something happen to the device now."""
        self._take(self.carrier.handle(happening, self._clock.now_ms()))
        self._changed.set()

    def set_coverage(self, *, covered: bool) -> None:
        """Enter or leave radio coverage."""
        self._in_coverage = covered
        self._judge_link()

    def _judge_link(self) -> None:
        """Hold a connection only in coverage and while the device, which may restart, wants one."""
        device = self.carrier.device
        if self._in_coverage and device.running:
            self._reachable.set()
        else:
            self._reachable.clear()
        if not self._reachable.is_set() or (self.connected.is_set() and not device.linked):
            self._drop.set()

    def _take(self, output: Output) -> None:
        for frame in output.frames:
            urgent = frame.lane is Lane.EVENT
            self._queues[urgent].append(frame)
            self._filled[urgent].set()
        if self._observer.shown is not None:
            for action in output.actions:
                self._observer.shown(Shown(self.device_id, action, self._clock.now_ms()))
        self._judge_link()

    async def _timers(self) -> None:
        while not self._stopping:
            self._changed.clear()
            due_ms = self.carrier.due_ms(self._clock.now_ms())
            waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._changed.wait())]
            if due_ms is not None:
                waits.append(asyncio.create_task(self._clock.sleep_until(due_ms)))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if due_ms is not None and self._clock.now_ms() >= due_ms:
                self._take(self.carrier.wake(self._clock.now_ms()))

    async def _connections(self) -> None:
        failures = 0
        while True:
            await self._reachable.wait()
            if self._stopping:
                return
            try:
                await self._session()
                failures = 0
            except (aiomqtt.MqttError, OSError, TimeoutError):
                failures = 0 if self.connected.is_set() else failures + 1
            finally:
                self._link(up=False)
            if self._reachable.is_set() and not self._stopping:
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    def _link(self, *, up: bool) -> None:
        if up == self.connected.is_set():
            return
        for queue in self._queues.values():
            queue.clear()  # The device's ring still has them all.
        if up:
            self.connected.set()
        else:
            self.connected.clear()
        self.happen(LinkChanges(up=up))
        if self._observer.link is not None:
            self._observer.link(self.device_id, up, self._clock.now_ms())

    async def _session(self) -> None:
        """Hold one connection until it breaks (raises) or has to be dropped (returns)."""
        async with self._connecting:
            client = mqtt_client(self._broker, self.device_id, self.carrier.device.last_will())
            await client.__aenter__()
        try:
            await client.subscribe(
                [(ack_topic(self.device_id), 1), (cmd_topic(self.device_id), 1)],
                timeout=CONNECT_TIMEOUT_S,
            )
            if not self._stopping:
                self._drop.clear()
            self._link(up=True)
            work = [
                asyncio.create_task(self._hear(client)),
                asyncio.create_task(self._publish(client, urgent=True)),
                asyncio.create_task(self._publish(client, urgent=False)),
                asyncio.create_task(self._drop.wait()),
            ]
            try:
                done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                await end_tasks(work)
        finally:
            with suppress(aiomqtt.MqttError, OSError, TimeoutError):
                await client.__aexit__(None, None, None)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            try:
                device_id, lane = parse_topic(message.topic.value)
            except FrameError:
                continue
            if device_id == self.device_id:
                self.happen(Received(lane, message.payload))

    async def _publish(self, client: aiomqtt.Client, *, urgent: bool) -> None:
        queue, filled = self._queues[urgent], self._filled[urgent]
        while True:
            await filled.wait()
            filled.clear()
            while queue:
                frame = queue.popleft()
                sent_ms = self._clock.now_ms()
                await client.publish(
                    TOPICS[frame.lane](self.device_id),
                    frame.payload,
                    qos=1,
                    timeout=PUBLISH_TIMEOUT_S,
                )
                if self._observer.published is not None:
                    taken_ms = self._clock.now_ms()
                    self._observer.published(
                        Published(self.device_id, frame.lane, frame.payload, sent_ms, taken_ms)
                    )
