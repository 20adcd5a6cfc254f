"""An efficient load publisher: MQTT PUBLISH at QoS 1 straight onto the socket, MQTT 5 and 3.1.1.

Made to cost little beside the service it loads: packets are joined per tick and connection, PUBACKs
are read as arrays. It records per message when it was due, when it was written and when its PUBACK
came, all on the machine's monotonic clock, so that a message that had to wait shows as waiting
instead of being left out.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import mqtt5
import numpy as np

from afstand.limits import SIM_IN_FLIGHT_MAX
from simulators.geo import Ints
from simulators.load_plan import LoadPlan

TICK_S: Final = 0.002
CONNECT_TIMEOUT_S: Final = 30.0
CONNECTING_AT_ONCE: Final = 100
PROGRESS_S: Final = 1.0
PUBLISH_QOS1: Final = 0x32
PUBACK_BYTE: Final = 0x40
PING_ANSWER: Final = 13
REFUSED: Final = 0x80


class LoadError(Exception):
    """The broker refused a connection or broke one."""


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where the load goes and how."""

    host: str
    port: int
    version: Literal["5", "3.1.1"] = "5"
    connections: int = 8
    window: int = (
        1_000  # unacknowledged messages per connection; the broker's Receive Maximum bounds it
    )
    username: str | None = None
    password: str | None = None
    client_prefix: str = "load"
    tls: ssl.SSLContext | None = None


@dataclass(slots=True)
class LoadRecord:
    """What happened to every message of a plan; monotonic ns, 0: it did not happen."""

    started_ns: int
    started_unix_ns: int
    due_ns: Ints
    sent_ns: Ints
    acked_ns: Ints
    sent: int = 0  # messages written
    acked: int = 0  # messages whose PUBACK came
    refused: int = 0
    lost: str = ""  # why a connection broke

    @property
    def rate_per_s(self) -> float:
        """The rate that was reached, from the first write to the last."""
        written = self.sent_ns[self.sent_ns > 0]
        span_ns = int(written.max() - written.min()) if len(written) > 1 else 0
        return (len(written) - 1) / (span_ns / 1e9) if span_ns else 0.0


def connect_packet(target: LoadTarget, client_id: str) -> bytes:
    """Return a CONNECT packet for a clean session without keep-alive."""
    if target.version == "5":
        return mqtt5.ConnectPacket(
            client_id,
            username=target.username,
            password=None if target.password is None else target.password.encode(),
            clean_start=True,
        ).write()
    flags = 0x02
    parts = [client_id]
    if target.username is not None:
        flags |= 0x80
        parts.append(target.username)
        if target.password is not None:
            flags |= 0x40
            parts.append(target.password)
    encoded = [part.encode() for part in parts]
    payload = b"".join(len(part).to_bytes(2, "big") + part for part in encoded)
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x00" + payload
    return b"\x10" + length_bytes(len(body)) + body


def length_bytes(length: int) -> bytes:
    """Encode a remaining length (MQTT 5, section 1.5.5)."""
    out = bytearray()
    while True:
        length, low = length >> 7, length & 0x7F
        out.append(low | (0x80 if length else 0))
        if not length:
            return bytes(out)


def publish_head(topic: bytes, body_bytes: int, version: str) -> bytes:
    """Return the bytes of a QoS 1 PUBLISH up to its packet id."""
    extra = 1 if version == "5" else 0  # an empty property list
    length = 2 + len(topic) + 2 + extra + body_bytes
    return bytes([PUBLISH_QOS1]) + length_bytes(length) + len(topic).to_bytes(2, "big") + topic


class _Connection(asyncio.Protocol):
    """One MQTT connection: a queue, a window of packet ids, and the PUBACKs."""

    def __init__(self, target: LoadTarget, client_id: str) -> None:
        self._target = target
        self._client_id = client_id
        self._plan = NO_PLAN
        self._record = new_record(NO_PLAN)
        self._modern = target.version == "5"
        self._heads: dict[tuple[int, int], bytes] = {}
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._free: deque[int] = deque()
        # Which message a packet id stands for. Numbers are put down one at a time through
        # memoryviews: with many connections most reads bring one PUBACK.
        self._message_of: list[int] = []
        self._sent_ns = self._record.sent_ns.data
        self._acked_ns = self._record.acked_ns.data
        self.queue: deque[int] = deque()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.window = 0
        self.lost: str | None = None
        self._writable = True
        self._closing = False

    def take(self, plan: LoadPlan, record: LoadRecord) -> None:
        """Publish messages of a plan from now on; those of the one before must be acknowledged."""
        self._plan, self._record = plan, record
        self._sent_ns, self._acked_ns = record.sent_ns.data, record.acked_ns.data
        self._heads.clear()

    # --- asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(connect_packet(self._target, self._client_id))

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        if not self.ready.done():
            data = self._connack(data)
        try:
            self._buffer = self._pubacks(data)
        except LoadError as error:
            self._fail(str(error))
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._fail(f"connection lost: {exc}")

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.flush()

    def close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.write(b"\xe0\x00")
            self._transport.close()

    # --- MQTT -------------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        self.lost = self.lost or reason
        self._record.lost = self._record.lost or reason
        if not self.ready.done():
            self.ready.set_exception(LoadError(f"{self._client_id}: {reason}"))

    def _connack(self, data: bytes) -> bytes:
        if len(data) < 4 or len(data) < 2 + data[1]:
            return data
        size = 2 + data[1]
        if data[0] != 0x20 or data[3]:
            self._fail(f"CONNACK {data[:4].hex()}")
            return b""
        window = min(self._target.window, SIM_IN_FLIGHT_MAX)
        if self._modern:
            packet, size = mqtt5.read(memoryview(data))
            assert isinstance(packet, mqtt5.ConnAckPacket)
            window = min(window, packet.receive_max)
        self.window = window
        self._free.extend(range(1, window + 1))
        self._message_of = [0] * (window + 1)
        self.ready.set_result(None)
        return data[size:]

    def _pubacks(self, data: bytes) -> bytes:
        """Count every PUBACK in the data; return what is left of an incomplete packet."""
        now_ns = time.monotonic_ns()
        at, size = 0, len(data)
        while size - at >= 4:
            if data[at] == PUBACK_BYTE and data[at + 1] == 2:
                self._done(data[at + 2] << 8 | data[at + 3], now_ns)
                at += 4
                continue
            whole = 2 + data[at + 1]
            if data[at + 1] & 0x80:
                raise LoadError(f"unexpected packet {data[at : at + 8].hex()}")
            if size - at < whole:
                break
            if data[at] == PUBACK_BYTE:
                self._done(data[at + 2] << 8 | data[at + 3], now_ns)
                if data[at + 4] >= REFUSED:
                    self._record.refused += 1
            elif data[at] >> 4 != PING_ANSWER:
                raise LoadError(f"the broker sent {data[at : at + 8].hex()}")
            at += whole
        rest = data[at:]
        if len(rest) == 2 and rest[0] >> 4 == PING_ANSWER:
            return b""
        if len(rest) >= 2 and rest[0] not in (PUBACK_BYTE, PING_ANSWER << 4):
            raise LoadError(f"the broker sent {rest[:8].hex()}")
        return rest

    def _done(self, packet_id: int, now_ns: int) -> None:
        if not 0 < packet_id < len(self._message_of):
            raise LoadError(f"a PUBACK of packet {packet_id}")
        self._acked_ns[self._message_of[packet_id]] = now_ns
        self._free.append(packet_id)
        self._record.acked += 1

    @property
    def in_flight(self) -> int:
        """Messages written whose PUBACK has not come."""
        return self.window - len(self._free)

    def flush(self) -> None:
        """Write as much of the queue as the window allows, in one go."""
        if not (self.queue and self._free and self._writable and self._transport is not None):
            return
        bodies, sent_ns, now_ns = self._plan.body, self._sent_ns, time.monotonic_ns()
        parts: list[bytes] = []
        properties = b"\x00" if self._modern else b""
        count = min(len(self.queue), len(self._free))
        for _ in range(count):
            message = self.queue.popleft()
            packet_id = self._free.popleft()
            self._message_of[packet_id] = message
            body = bodies[message]
            parts += (
                self._head(message, len(body)),
                packet_id.to_bytes(2, "big"),
                properties,
                body,
            )
            sent_ns[message] = now_ns
        self._record.sent += count
        self._transport.write(b"".join(parts))

    def _head(self, message: int, body_bytes: int) -> bytes:
        key = (int(self._plan.topic[message]), body_bytes)
        head = self._heads.get(key)
        if head is None:
            head = publish_head(self._plan.topics[key[0]], body_bytes, self._target.version)
            self._heads[key] = head
        return head


NO_PLAN: Final = LoadPlan(
    [],
    np.zeros(0, dtype=np.int64),
    np.zeros(0, dtype=np.int32),
    np.zeros(0, dtype=np.int32),
    np.zeros(0, dtype=np.bool_),
    np.zeros(0, dtype=np.int64),
    [],
    0,
    0,
)


def new_record(plan: LoadPlan) -> LoadRecord:
    """Make an empty record for a plan."""
    due, sent, acked = (np.zeros(len(plan), dtype=np.int64) for _ in range(3))
    return LoadRecord(0, 0, due, sent, acked)


Progress = Callable[[LoadRecord], None]


async def run_load(plan: LoadPlan, target: LoadTarget, *, drain_s: float = 10.0) -> LoadRecord:
    """Connect, publish a plan at its instants, disconnect: see `connected` and `publish`."""
    async with connected(target) as connections:
        return await publish(plan, connections, drain_s=drain_s)


async def publish(
    plan: LoadPlan,
    connections: "list[_Connection]",
    *,
    drain_s: float = 10.0,
    progress: Progress | None = None,
) -> LoadRecord:
    """Publish a plan at its instants.

    Return when every PUBACK has come, or `drain_s` after the last message.

    A device keeps to one connection, so its frames stay in order. Presses go to the front of their
    queue. `progress` is called about once a second. Raises LoadError when a connection breaks.
    """
    record = new_record(plan)
    for connection in connections:
        if connection.lost is not None:
            raise LoadError(connection.lost)
        connection.take(plan, record)
    # The device times in the frames are the planned instants: wait for the first one.
    await asyncio.sleep(max(0.0, plan.start_ms / 1000.0 - time.time()))
    record.started_ns, record.started_unix_ns = time.monotonic_ns(), time.time_ns()
    record.due_ns[:] = plan.offset_ns + record.started_ns
    told = asyncio.create_task(_tell(record, progress)) if progress is not None else None
    try:
        await _feed(plan, connections, record)
        deadline = time.monotonic() + drain_s
        while record.acked < record.sent or record.sent < len(plan):
            if record.lost:
                raise LoadError(record.lost)
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(TICK_S)
    finally:
        if told is not None:
            told.cancel()
    return record


async def _tell(record: LoadRecord, progress: Progress) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        progress(record)


@asynccontextmanager
async def connected(target: LoadTarget) -> "AsyncIterator[list[_Connection]]":
    """Hold the connections of a target. Raises LoadError when one is refused."""
    connections: list[_Connection] = []
    try:
        while len(connections) < target.connections:
            connections += await _connect_some(target, len(connections))
        yield connections
    finally:
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)


async def _connect_some(target: LoadTarget, first: int) -> "list[_Connection]":
    loop = asyncio.get_running_loop()
    batch: list[_Connection] = []
    try:
        for number in range(first, min(target.connections, first + CONNECTING_AT_ONCE)):
            make = partial(_Connection, target, f"{target.client_prefix}-{number}")
            _, connection = await loop.create_connection(
                make, target.host, target.port, ssl=target.tls
            )
            batch.append(connection)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await asyncio.gather(*(connection.ready for connection in batch))
    except BaseException:
        for connection in batch:
            connection.close()
        raise
    return batch


async def _feed(plan: LoadPlan, connections: "list[_Connection]", record: LoadRecord) -> None:
    owner = (plan.device % len(connections)).tolist()
    panic = plan.panic.tolist()
    next_message, count = 0, len(plan)
    while next_message < count:
        until = int(np.searchsorted(record.due_ns, time.monotonic_ns(), side="right"))
        touched: dict[int, None] = {}
        for message in range(next_message, until):
            queue = connections[owner[message]].queue
            if panic[message]:
                queue.appendleft(message)
            else:
                queue.append(message)
            touched[owner[message]] = None
        next_message = until
        for number in touched:
            connections[number].flush()
        if record.lost:
            raise LoadError(record.lost)
        await asyncio.sleep(TICK_S)
