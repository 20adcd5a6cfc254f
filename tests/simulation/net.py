"""Wires: bytes between a process and a server, late, in pieces, cut, or torn down at any moment.

A wire is what TCP makes of a network: in order and whole for as long as it lives. What loss, copies
and disorder do to messages is done where messages are sent again: at the devices' link
(`world.Radio`) and by the broker, which repeats what was not acknowledged.
"""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any, Protocol

from tests.simulation.loop import Process, SimulationLoop


class Server(Protocol):
    """What listens on a port."""

    up: bool

    def opened(self, wire: "Wire") -> None:
        """A client is there."""

    def received(self, wire: "Wire", data: bytes) -> None:
        """Bytes of a client."""

    def lost(self, wire: "Wire") -> None:
        """The client is gone."""


class Wire:
    """One connection."""

    def __init__(self, net: "Net", server: Server, name: str, process: Process) -> None:
        self.net = net
        self.server = server
        self.name = name  # of the server
        self.process = process
        self.number = net.next_number()
        self.transport = SimulatedTransport(self)
        self.open = True
        self.state: Any = None  # the server's own
        self._due_s = [0.0, 0.0]
        self._held: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []

    def to_client(self, data: bytes) -> None:
        """Send what the server says."""
        if self.open:
            self._carry(0, self.transport.arrived, data)

    def to_server(self, data: bytes) -> None:
        """Send what the client says."""
        if self.open:
            self._carry(1, self._at_server, data)
        elif self.server.up:  # it died unnoticed and is back: it does not know this connection
            error = ConnectionResetError("connection unknown")
            self.net.loop.post(self.process, self.net.delay_s(), self.transport.ended, error)

    def close_from_server(self) -> None:
        """The server closes."""
        if self.open:
            self._carry(0, self.transport.ended, None)

    def close_from_client(self) -> None:
        """The client closes, or its process is dead and the kernel does."""
        if self.open:
            self._carry(1, self._gone)

    def tear(self, error: Exception | None) -> None:
        """Both ends lose the connection; what was under way is gone."""
        if not self.open:
            return
        self.open = False
        self._held.clear()
        self.net.wires.pop(self.number, None)
        self.server.lost(self)
        loop = self.net.loop
        loop.post(self.process, self.net.delay_s(), self.transport.ended, error)

    def heal(self) -> None:
        """The network carries again: what was held arrives, or the connection broke meanwhile."""
        held, self._held = self._held, []
        if held and self.net.draw.random() < 0.5:
            self.tear(ConnectionResetError("reset after a cut"))
            return
        for way, callback, args in held:
            self._carry(way, callback, *args)

    def _carry(self, way: int, callback: Callable[..., None], *args: Any) -> None:
        loop = self.net.loop
        due_s = max(self._due_s[way] + 1e-6, loop.time() + self.net.delay_s())
        self._due_s[way] = due_s
        owner = self.process if way == 0 else loop.world
        loop.post(owner, due_s - loop.time(), self._deliver, way, callback, args)

    def _deliver(self, way: int, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self._held or self.net.is_cut(self.process, self.name):
            self._held.append((way, callback, args))
        elif self.open or callback == self.transport.ended:
            callback(*args)

    def _at_server(self, data: bytes) -> None:
        if self.server.up:
            self.server.received(self, data)

    def _gone(self) -> None:
        if self.open:
            self.open = False
            self.net.wires.pop(self.number, None)
            self.server.lost(self)


class SimulatedTransport(asyncio.Transport):
    """The client's end of a wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire
        self._protocol: Any = None
        self._closing = False
        self._paused = False
        self._waiting: list[bytes] = []
        self._lost = False

    def begin(self, protocol: Any) -> None:
        """Give the protocol its transport."""
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        if not self._closing and not self._lost:
            self._wire.to_server(bytes(data))

    def is_closing(self) -> bool:
        # A process that is dead, or buried after the run, has nothing open: its kernel closed it.
        # Whoever collects what it left (StreamWriter.__del__) has nothing to close or to tell.
        gone = not self._wire.process.alive or self._wire.net.loop.is_closed()
        return self._closing or self._lost or gone

    def close(self) -> None:
        if not self.is_closing():
            self._closing = True
            self._wire.close_from_client()
            self._wire.net.loop.call_soon(self._end, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._waiting:
            self._wire.net.loop.call_soon(self._give)

    def arrived(self, data: bytes) -> None:
        """Bytes from the server."""
        if self._closing or self._lost:
            return
        self._waiting.append(data)
        self._give()

    def ended(self, error: Exception | None) -> None:
        """The connection is no more."""
        self._end(error)

    def _give(self) -> None:
        draw = self._wire.net.draw
        protocol = self._protocol
        while self._waiting and not self._paused and not self.is_closing():
            data = self._waiting[0]
            if isinstance(protocol, asyncio.BufferedProtocol):
                buffer: Any = protocol.get_buffer(-1)
                size = min(len(buffer), len(data))
                if size > 1 and draw.random() < 0.1:
                    size = 1 + int(draw.random() * (size - 1))  # a read that ends anywhere
                buffer[:size] = data[:size]
            else:
                size = len(data)
            if size == len(data):
                del self._waiting[0]
            else:
                self._waiting[0] = data[size:]
            if isinstance(protocol, asyncio.BufferedProtocol):
                protocol.buffer_updated(size)
            else:
                protocol.data_received(data)

    def _end(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)


class Net:
    """All wires, and which processes can reach which servers."""

    def __init__(self, loop: SimulationLoop, draw: random.Random) -> None:
        self.loop = loop
        self.draw = draw
        self.wires: dict[int, Wire] = {}
        self._numbers = itertools.count()
        self.servers: dict[int, tuple[str, Server]] = {}
        self.slow = 1.0
        self._cuts: set[tuple[str, str]] = set()
        self._stuck: list[tuple[Any, ...]] = []
        self._waiting: list[tuple[Process, asyncio.Future[None]]] = []
        loop.connect = self.connect

    def next_number(self) -> int:
        """Give a new wire its number."""
        return next(self._numbers)

    def delay_s(self) -> float:
        """Draw how long something is under way."""
        return (0.0002 + self.draw.expovariate(1.0) * 0.001) * self.slow

    def listen(self, port: int, name: str, server: Server) -> None:
        """Let a server be reached."""
        self.servers[port] = (name, server)

    def is_cut(self, process: Process, server: str) -> bool:
        """Tell whether nothing passes between the two."""
        return bool(self._cuts) and (process.name, server) in self._cuts

    def cut(self, process_name: str, server: str) -> None:
        """Let nothing pass any more."""
        self._cuts.add((process_name, server))

    def heal(self, process_name: str, server: str) -> None:
        """Let it pass again."""
        self._cuts.discard((process_name, server))
        for wire in tuple(self.wires.values()):
            if (wire.process.name, wire.name) == (process_name, server):
                wire.heal()
        waiting, self._waiting = self._waiting, []
        stuck, self._stuck = self._stuck, []
        for one in stuck:
            if (one[0].name, one[1]) != (process_name, server):
                self._stuck.append(one)
            elif self.draw.random() < 0.5:
                self.loop.post(one[4], self.delay_s(), self._message, *one)
        for process, future in waiting:
            self.loop.tell(process, future, None)

    def message(
        self, process: Process, server: str, callback: Callable[..., None], *args: Any,
        to_process: bool = False,
    ) -> None:  # fmt: skip
        """Carry one request or answer between a process and a server.

        One that meets a cut arrives when that is healed, or never.
        """
        owner = process if to_process else self.loop.world
        self.loop.post(owner, self.delay_s(), self._message, process, server, callback, args, owner)

    def _message(
        self,
        process: Process,
        server: str,
        callback: Callable[..., None],
        args: tuple[Any, ...],
        owner: Process,
    ) -> None:
        if self.is_cut(process, server):
            self._stuck.append((process, server, callback, args, owner))
        else:
            callback(*args)

    async def passable(self, process: Process, server: str) -> None:
        """Return when the network carries between the two."""
        while self.is_cut(process, server):
            future = self.loop.create_future()
            self._waiting.append((process, future))
            await future

    async def connect(self, process: Process, factory: Callable[[], Any], port: int) -> Any:
        """See asyncio's `create_connection`."""
        name, server = self.servers[port]
        await asyncio.sleep(self.delay_s())
        await self.passable(process, name)
        if not server.up:
            raise ConnectionRefusedError(name)
        wire = Wire(self, server, name, process)
        self.wires[wire.number] = wire
        protocol = factory()
        wire.transport.begin(protocol)
        server.opened(wire)
        return wire.transport, protocol

    def process_died(self, process: Process, *, silently: bool) -> None:
        """Its kernel closes its connections; a machine that lost its power says nothing."""
        for wire in [one for one in self.wires.values() if one.process is process]:
            if silently:
                del self.wires[wire.number]
                wire.open = False
                self.loop.post(self.loop.world, 20.0, wire.server.lost, wire)
            else:
                wire.close_from_client()

    def server_died(self, server: Server, *, silently: bool) -> None:
        """Every client loses its connection, at once or when it sends again."""
        for wire in [one for one in self.wires.values() if one.server is server]:
            if silently:
                wire.open = False  # nobody answers; the client has to notice
                del self.wires[wire.number]
                server.lost(wire)
            else:
                wire.tear(ConnectionResetError("server died"))
