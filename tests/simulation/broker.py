"""The simulated broker: MQTT 5 over wires, sessions, shared subscriptions, and what brokers do.

It repeats what was not acknowledged when a client comes back, sends some things twice, and may lose
every session when it dies (a broker's PUBACK is not durability). Devices are not connected by
wires: their link loses, copies and disorders messages (`world.Radio`).
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import mqtt5

from tests.simulation.loop import SimulationLoop
from tests.simulation.net import Wire

PORT: Final = 1883
NAME: Final = "broker"
_QUEUE_MAX: Final = 100_000


class Session:
    """What the broker keeps of a client: what waits, and what was sent and not acknowledged."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.filters: list[str] = []
        self.queue: deque[tuple[str, bytes]] = deque()
        self.in_flight: dict[int, tuple[str, bytes]] = {}
        self.wire: Wire | None = None
        self.window = 65_535
        self.next_id = 0


class SimulatedBroker:
    """The server.

    `acknowledged` is called for each PUBACK of a client with what it acknowledges; `to_device` with
    what is published below `em/`.
    """

    def __init__(
        self,
        loop: SimulationLoop,
        draw: random.Random,
        acknowledged: Callable[[str, str, bytes], None],
        to_device: Callable[[str, bytes], None],
    ) -> None:
        self._loop = loop
        self._draw = draw
        self._acknowledged = acknowledged
        self._to_device = to_device
        self.up = True
        self.copies = 0.0  # share of messages that it sends twice
        self._sessions: dict[str, Session] = {}
        self._turns: dict[str, int] = {}

    # --- life and death ---------------------------------------------------------------------------

    def die(self, *, keep: bool) -> None:
        """Kill -9; without `keep` its file holds nothing of its sessions."""
        self.up = False
        for session in self._sessions.values():
            session.wire = None
        if not keep:
            self._sessions.clear()

    def start(self) -> None:
        """Be there again."""
        self.up = True

    # --- messages ---------------------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes) -> None:
        """Take a message from a device."""
        if not self.up:
            return
        if topic.startswith("em/") and topic.endswith(("/ack", "/cmd")):
            self._to_device(topic, payload)
            return
        groups: dict[str, list[Session]] = {}
        for session in self._sessions.values():
            for pattern in session.filters:
                if pattern.startswith("$share/"):
                    group, _, plain = pattern[7:].partition("/")
                    if _matches(plain, topic):
                        groups.setdefault(f"{group} {plain}", []).append(session)
                elif _matches(pattern, topic):
                    self._enqueue(session, topic, payload)
        for name, members in groups.items():
            there = [one for one in members if one.wire is not None] or members
            turn = self._turns[name] = self._turns.get(name, 0) + 1
            self._enqueue(there[turn % len(there)], topic, payload)

    def _enqueue(self, session: Session, topic: str, payload: bytes) -> None:
        session.queue.append((topic, payload))
        if self._draw.random() < self.copies:
            session.queue.append((topic, payload))
        assert len(session.queue) < _QUEUE_MAX
        self._send(session)

    def _send(self, session: Session) -> None:
        out: list[bytes] = []
        while session.wire and session.queue and len(session.in_flight) < session.window:
            topic, payload = session.queue.popleft()
            session.next_id = session.next_id % 65_535 + 1
            while session.next_id in session.in_flight:
                session.next_id = session.next_id % 65_535 + 1
            session.in_flight[session.next_id] = (topic, payload)
            out.append(_publish(topic, payload, session.next_id, dup=False))
        if out and session.wire is not None:
            session.wire.to_client(b"".join(out))

    # --- wires ------------------------------------------------------------------------------------

    def opened(self, wire: Wire) -> None:
        wire.state = [b"", None]

    def received(self, wire: Wire, data: bytes) -> None:
        wire.state[0] += data
        while wire.open:
            try:
                packet, size = mqtt5.read(memoryview(wire.state[0]))
            except IndexError:
                return
            wire.state[0] = wire.state[0][size:]
            self._packet(wire, packet)

    def lost(self, wire: Wire) -> None:
        session = wire.state[1]
        if session is not None and session.wire is wire:
            session.wire = None

    def _packet(self, wire: Wire, packet: Any) -> None:
        session: Session | None = wire.state[1]
        if isinstance(packet, mqtt5.ConnectPacket):
            self._connect(wire, packet)
        elif session is None:
            wire.close_from_server()
        elif isinstance(packet, mqtt5.SubscribePacket):
            session.filters = [one.pattern for one in packet.topic_filters]
            granted = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE
            answer = mqtt5.SubAckPacket(packet.packet_id, [granted] * len(session.filters))
            wire.to_client(answer.write())
            self._send(session)
        elif isinstance(packet, mqtt5.PubAckPacket):
            found = session.in_flight.pop(packet.packet_id, None)
            if found is not None:
                self._acknowledged(session.client_id, *found)
            self._send(session)
        elif isinstance(packet, mqtt5.PublishPacket):
            self.publish(packet.topic, bytes(packet.payload or b""))
        elif isinstance(packet, mqtt5.PingReqPacket):
            wire.to_client(mqtt5.PingRespPacket().write())
        elif isinstance(packet, mqtt5.DisconnectPacket):
            wire.state[1] = None
            if session.wire is wire:
                session.wire = None
        else:
            raise TypeError(f"a packet that is not modelled: {packet!r}")

    def _connect(self, wire: Wire, packet: Any) -> None:
        known = self._sessions.get(packet.client_id)
        if known is not None and known.wire is not None and known.wire is not wire:
            known.wire.close_from_server()  # taken over
        present = known is not None and not packet.clean_start
        session = known if known is not None and present else Session(packet.client_id)
        self._sessions[packet.client_id] = session
        session.wire = wire
        session.window = packet.receive_max or 65_535
        wire.state[1] = session
        connack = mqtt5.ConnAckPacket(session_present=present)
        repeated = [
            _publish(topic, payload, number, dup=True)
            for number, (topic, payload) in session.in_flight.items()
        ]
        wire.to_client(b"".join((connack.write(), *repeated)))
        self._send(session)


def _publish(topic: str, payload: bytes, packet_id: int, *, dup: bool) -> bytes:
    qos = mqtt5.QoS.AT_LEAST_ONCE
    raw = mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id, duplicate=dup).write()
    return bytes(raw)


def _matches(pattern: str, topic: str) -> bool:
    wanted, given = pattern.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(
        one in ("+", other) for one, other in zip(wanted, given, strict=True)
    )
