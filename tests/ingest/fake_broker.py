"""A broker that does as it is told: real sockets, MQTT 5, one behaviour per connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

import mqtt5

Behaviour = Callable[["Session"], Awaitable[None]]


class Session:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.asked: mqtt5.ConnectPacket | None = None
        self.wanted: mqtt5.SubscribePacket | None = None
        self.acked: list[int] = []
        self.published: list[mqtt5.PublishPacket] = []
        self.pings = 0
        self.disconnected = False
        self._buffer = b""

    @property
    def connect(self) -> mqtt5.ConnectPacket:
        """The client's CONNECT."""
        assert self.asked is not None
        return self.asked

    @property
    def filters(self) -> list[str]:
        """What the client subscribed to."""
        assert self.wanted is not None
        return [one.pattern for one in self.wanted.topic_filters]

    def send(self, *packets: mqtt5.Packet) -> None:
        """Send packets in one write."""
        self.writer.write(b"".join(packet.write() for packet in packets))

    async def read(self) -> mqtt5.Packet | None:
        """Read one packet; None at the end."""
        while True:
            try:
                packet, size = mqtt5.read(memoryview(self._buffer))
            except IndexError:
                more = await self.reader.read(65_536)
                if not more:
                    return None
                self._buffer += more
            else:
                self._buffer = self._buffer[size:]
                return packet

    async def accept(self, **connack: object) -> None:
        """Take CONNECT and SUBSCRIBE and grant both."""
        packet = await self.read()
        assert isinstance(packet, mqtt5.ConnectPacket)
        self.asked = packet
        self.send(mqtt5.ConnAckPacket(**connack))  # type: ignore[arg-type]
        asked = await self.read()
        assert isinstance(asked, mqtt5.SubscribePacket)
        self.wanted = asked
        granted = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE
        self.send(mqtt5.SubAckPacket(asked.packet_id, [granted] * len(asked.topic_filters)))

    async def serve(self, *, answer_pings: bool = True) -> None:
        """Read until the client goes, noting what it sends."""
        while (packet := await self.read()) is not None:
            match packet:
                case mqtt5.PubAckPacket():
                    self.acked.append(packet.packet_id)
                case mqtt5.PublishPacket():
                    self.published.append(packet)
                case mqtt5.PingReqPacket():
                    self.pings += 1
                    if answer_pings:
                        self.send(mqtt5.PingRespPacket())
                case mqtt5.DisconnectPacket():
                    self.disconnected = True

    def deliver(self, topic: str, payload: bytes, packet_id: int, *, dup: bool = False) -> None:
        """Send a message at QoS 1."""
        self.send(
            mqtt5.PublishPacket(
                topic,
                payload,
                qos=mqtt5.QoS.AT_LEAST_ONCE,
                packet_id=packet_id,
                duplicate=dup,
            )
        )


class FakeBroker:
    """Gives each connection the next behaviour; the last one serves all that follow."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = list(behaviours)
        self.sessions: list[Session] = []
        self._server: asyncio.Server | None = None
        self.port = 0
        self.errors: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for session in self.sessions:
            session.writer.transport.abort()
        await self._server.wait_closed()
        assert self.errors == []

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(reader, writer)
        behaviour = self._behaviours[min(len(self.sessions), len(self._behaviours) - 1)]
        self.sessions.append(session)
        try:
            await behaviour(session)
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 reported when the broker closes
            self.errors.append(error)
        writer.close()


async def serving(session: Session) -> None:
    """Behave: accept and serve."""
    await session.accept()
    await session.serve()


async def until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Let the loop run until the condition holds."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "not in time"
        await asyncio.sleep(0.005)
