"""The bridge for Teltonika trackers: TCP on one side, the broker on the other.

It decides nothing. A packet goes to the broker as it came; the tracker is answered with the number
of its records only when the intake says that the packet is durable (its receipt), so a tracker
keeps what no intake has. A packet whose checksum is wrong is answered with 0 and goes to the broker
too: that is where the quarantine is. A tracker proves nothing: keep it on a private network (APN,
VPN).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

import aiomqtt
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from afstand.limits import (
    TRACKER_ACK_S_MAX,
    TRACKER_GREETING_S_MAX,
    TRACKER_SILENT_S_MAX,
    TRACKERS_MAX,
)
from firmware_contracts.faults import FrameError
from firmware_contracts.teltonika import (
    ACCEPTED_BYTE,
    HEAD_BYTES,
    has_event,
    packet_bytes,
    read_imei,
    read_packet,
)
from firmware_contracts.topics import Lane, parse_topic, tracker_topic
from ingest.checks import packet_tag

RECEIPTS: Final = "teltonika/+/ack"
RECONNECT_S: Final = 1.0
PUBLISH_S_MAX: Final = 10.0
_IMEI_BYTES: Final = 15

_log = structlog.get_logger("afstand.trackers")


class TrackerMetrics:
    """The figures of one bridge."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, doc: str, *labels: str) -> Counter:
            return Counter(f"afstand_trackers_{name}", doc, labels, registry=registry)

        self.connected = Gauge(
            "afstand_trackers_connected", "Trackers connected", registry=registry
        )
        self.broker = Gauge(
            "afstand_trackers_broker", "1 when connected to the broker", registry=registry
        )
        self.packets = counter("packets", "Packets by what became of them", "outcome")
        self.refused = counter("refused", "Connections refused", "reason")


class Publisher(Protocol):
    """What carries packets to the broker."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1; OSError when that cannot be done."""
        ...


class Read(NamedTuple):
    """A packet that came in: its bytes, and how many records it holds (0: it is not sound)."""

    payload: bytes
    records: int
    urgent: bool


def read_whole(payload: bytes) -> Read:
    """Look at a packet as far as the bridge must."""
    try:
        packet = read_packet(payload)
    except FrameError:
        return Read(payload, 0, urgent=False)
    return Read(payload, len(packet.records), urgent=has_event(packet))


class Trackers:
    """The connections of a bridge, and the packets whose receipts they wait for."""

    def __init__(
        self,
        publisher: Publisher,
        metrics: TrackerMetrics,
        *,
        connections_max: int = TRACKERS_MAX,
        ack_s_max: float = TRACKER_ACK_S_MAX,
        greeting_s_max: float = TRACKER_GREETING_S_MAX,
        silent_s_max: float = TRACKER_SILENT_S_MAX,
    ) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._connections_max = connections_max
        self._ack_s_max = ack_s_max
        self._greeting_s_max = greeting_s_max
        self._silent_s_max = silent_s_max
        self._waiting: dict[bytes, asyncio.Event] = {}
        self._connected = 0

    def receipt(self, topic: str, payload: bytes) -> None:
        """Take what an intake says is durable."""
        with suppress(FrameError):
            if parse_topic(topic)[1] is Lane.TRACKER_ACK:
                stored = self._waiting.get(payload)
                if stored is not None:
                    stored.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one tracker until it goes or says what is no packet."""
        if self._connected >= self._connections_max:
            self._metrics.refused.labels("too-many").inc()
            writer.close()
            return
        self._connected += 1
        self._metrics.connected.set(self._connected)
        try:
            await self._talk(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it went, or fell silent; what was not answered it sends again
        except FrameError as error:
            self._metrics.refused.labels(error.fault.value).inc()
        finally:
            self._connected -= 1
            self._metrics.connected.set(self._connected)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._greeting_s_max):
            imei = read_imei(await reader.readexactly(2 + _IMEI_BYTES))
        writer.write(ACCEPTED_BYTE)
        while True:
            async with asyncio.timeout(self._silent_s_max):
                head = await reader.readexactly(HEAD_BYTES)
                rest = await reader.readexactly(packet_bytes(head) - HEAD_BYTES)
            records = await self._pass_on(imei, read_whole(head + rest))
            writer.write(records.to_bytes(4))
            await writer.drain()

    async def _pass_on(self, imei: str, packet: Read) -> int:
        """Publish a packet; return what the tracker is answered. TimeoutError without a receipt."""
        topic = tracker_topic(imei, Lane.TRACKER_EVENT if packet.urgent else Lane.TRACKER)
        if not packet.records:
            await self._publisher.publish(topic, packet.payload)
            self._metrics.packets.labels("unsound").inc()
            return 0
        tag = packet_tag(imei, packet.payload)
        stored = self._waiting.setdefault(tag, asyncio.Event())
        try:
            await self._publisher.publish(topic, packet.payload)
            async with asyncio.timeout(self._ack_s_max):
                await stored.wait()
        except (OSError, TimeoutError):
            self._metrics.packets.labels("not-durable").inc()
            raise
        finally:
            self._waiting.pop(tag, None)
        self._metrics.packets.labels("durable").inc()
        return packet.records


class BrokerLink:
    """The bridge's connection to the broker, made again when it breaks."""

    def __init__(self, new_client: Callable[[], aiomqtt.Client], metrics: TrackerMetrics) -> None:
        self.problem = "not connected yet"
        self._new_client = new_client
        self._metrics = metrics
        self._client: aiomqtt.Client | None = None

    async def publish(self, topic: str, payload: bytes) -> None:
        """See `Publisher`."""
        client = self._client
        if client is None:
            raise ConnectionError(self.problem)
        try:
            await client.publish(topic, payload, qos=1, timeout=PUBLISH_S_MAX)
        except aiomqtt.MqttError as error:
            raise ConnectionError(str(error)) from None

    async def run(self, heard: Callable[[str, bytes], None]) -> None:
        """Stay connected and pass on what is heard, until cancelled."""
        while True:
            try:
                async with self._new_client() as client:
                    await client.subscribe(RECEIPTS, qos=1)
                    self._client, self.problem = client, ""
                    self._metrics.broker.set(1)
                    _log.info("connected to the broker")
                    async for message in client.messages:
                        heard(message.topic.value, message.payload)
            except (aiomqtt.MqttError, OSError) as error:
                self.problem = f"broker: {error}"
                _log.warning("no broker", problem=str(error))
            finally:
                self._client = None
                self._metrics.broker.set(0)
            await asyncio.sleep(RECONNECT_S)


async def run_trackers(
    new_client: Callable[[], aiomqtt.Client],
    *,
    host: str,
    port: int,
    metrics: TrackerMetrics,
    stop: asyncio.Event,
    listening: Callable[[int, BrokerLink], None] = lambda _port, _link: None,
) -> None:
    """Serve trackers until `stop` is set. `listening` is told the port and the broker's link."""
    link = BrokerLink(new_client, metrics)
    trackers = Trackers(link, metrics)
    carrying = asyncio.create_task(link.run(trackers.receipt))
    server = await asyncio.start_server(trackers.serve, host, port)
    listening(server.sockets[0].getsockname()[1], link)
    try:
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait([waiting, carrying], return_when=asyncio.FIRST_COMPLETED)
        if carrying.done():
            carrying.result()
    finally:
        server.close()
        for task in (carrying, waiting):
            task.cancel()
        await asyncio.gather(carrying, waiting, return_exceptions=True)
