"""From a device that speaks the line protocol to a broker: what a modem does for a firmware.

The device is a firmware on a serial line (a pty, a board's UART, a TCP socket), or the simulated
one. The bridge gives it time, a link and positions, publishes what it says, and is a rig for a
conformance test.
"""

import asyncio
import os
import pty
import socket
import subprocess
import time
import tty
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import aiomqtt

from firmware_contracts import ack_topic, cmd_topic
from firmware_contracts.conformance import Stimulus
from simulators.bench_device import BenchDevice
from simulators.client import CONNECT_TIMEOUT_S, PUBLISH_TIMEOUT_S, Broker, mqtt_client
from simulators.host_device import END, HostDeviceError, Said, read_said
from simulators.tasks import end_tasks

TICK_S: Final = 0.1
RECONNECT_S: Final = 0.2
LINE_BYTES_MAX: Final = 1 << 20
HERE: Final = (519_225_000, 44_791_700, 45)
BAUD_TIMEOUT_S: Final = 10.0


class Spoken(Protocol):
    """A device that is spoken to line by line."""

    first: Said

    async def say(self, line: str) -> Said:
        """Say one line; HostDeviceError when the device is gone."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class SimulatedLine:
    """The simulated device in this process."""

    def __init__(self, device: BenchDevice) -> None:
        self.first = device.first
        self._device = device

    async def say(self, line: str) -> Said:
        """Say one line."""
        return self._device.say(line)

    async def close(self) -> None:
        """Nothing to let go of."""


class StreamLine:
    """A device at the other end of a stream: a pty, a serial line, a socket."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        process: asyncio.subprocess.Process | None = None,
    ) -> None:
        self.first = Said([], None, False, [])
        self._reader = reader
        self._writer = writer
        self._process = process

    async def greet(self) -> "StreamLine":
        """Read what the device says first. A device that runs already says nothing of itself."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BAUD_TIMEOUT_S if self._process else 0.5):
                self.first = await self._answer()
        return self

    async def say(self, line: str) -> Said:
        """Say one line and read the answer."""
        self._writer.write(line.encode("ascii") + b"\n")
        try:
            async with asyncio.timeout(BAUD_TIMEOUT_S):
                await self._writer.drain()
                return await self._answer()
        except (OSError, TimeoutError) as error:
            raise HostDeviceError(f"the device does not answer: {error}") from None

    async def _answer(self) -> Said:
        lines: list[str] = []
        while True:
            try:
                raw = await self._reader.readline()
            except (OSError, ValueError) as error:  # a pty whose other end is gone gives EIO
                raise HostDeviceError(f"the line to the device broke: {error}") from None
            if not raw:
                raise HostDeviceError("the device has ended")
            line = raw.decode("ascii", "replace").strip()
            if line == END:
                return read_said(lines)
            if line:
                lines.append(line)

    async def close(self) -> None:
        """Close the line, and end the program if it is ours."""
        self._writer.close()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()


async def open_tcp(host: str, port: int) -> StreamLine:
    """A device behind a TCP socket."""
    reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
    return await StreamLine(reader, writer).greet()


async def open_tty(path: Path) -> StreamLine:
    """A device on a serial line or a pty; its speed is as it is set (stty)."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    return await (await _on_descriptor(descriptor, None)).greet()


async def open_program(arguments: list[str]) -> StreamLine:
    """A firmware compiled for this machine, on a pty as on a serial line."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    return await (await _on_descriptor(ours, process)).greet()


async def _on_descriptor(descriptor: int, process: asyncio.subprocess.Process | None) -> StreamLine:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    protocol = asyncio.StreamReaderProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(os.dup(descriptor), "rb", 0))
    transport, flow = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", 0)
    )
    writer = asyncio.StreamWriter(transport, flow, reader, loop)
    return StreamLine(reader, writer, process)


class Bridge:
    """One device on one broker, and the rig of it. `run` until `stop`."""

    able = frozenset(Stimulus)

    def __init__(
        self, device_id: str, device: Spoken, broker: Broker, *, speed: float = 1.0
    ) -> None:
        """`speed` = how much faster the device's own counter runs, for tests of its patience."""
        self.shown: list[str] = []
        self.connected = asyncio.Event()
        self._device_id = device_id
        self._device = device
        self._broker = broker
        self._speed = speed
        self._lock = asyncio.Lock()
        self._will = device.first.will
        self._client: aiomqtt.Client | None = None
        self._queue: deque[tuple[str, bytes]] = deque()
        self._filled = asyncio.Event()
        self._covered = asyncio.Event()
        self._covered.set()
        self._drop = asyncio.Event()
        self._clock_set = True
        self._fixes = 0
        self._stopping = asyncio.Event()
        self._started_s = time.monotonic()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()
        self._covered.set()
        self._drop.set()

    async def run(self) -> None:
        """Carry messages until `stop`. Raises HostDeviceError when the device is gone."""
        work = [
            asyncio.create_task(self._time()),
            asyncio.create_task(self._connections()),
            asyncio.create_task(self._stopping.wait()),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(work)
            await self._device.close()

    # --- the device

    async def _say(self, line: str) -> None:
        async with self._lock:
            await self._say_locked(line)

    async def _say_locked(self, line: str) -> None:
        said = await self._device.say(line)
        self._will = said.will or self._will
        self.shown += said.shown
        if self._client is not None:
            self._queue.extend(said.frames)
            self._filled.set()
        if said.wants_fix:
            await self._say_locked(self._fix())

    def _fix(self) -> str:
        self._fixes += 1
        return f"fix {HERE[0] + self._fixes} {HERE[1]} {HERE[2]}"

    def _now(self) -> str:
        tick_ms = int((time.monotonic() - self._started_s) * 1000 * self._speed) % 2**32
        return f"at {tick_ms} {time.time_ns() // 1_000_000 if self._clock_set else 0}"

    async def _time(self) -> None:
        while True:
            await self._say(self._now())
            await asyncio.sleep(TICK_S / max(1.0, self._speed / 10))

    # --- the broker

    async def _connections(self) -> None:
        while not self._stopping.is_set():
            await self._covered.wait()
            with suppress(aiomqtt.MqttError, OSError, TimeoutError):
                await self._session()
            await asyncio.sleep(RECONNECT_S)

    async def _session(self) -> None:
        self._drop.clear()
        will = None if self._will is None else self._will[1]
        async with mqtt_client(self._broker, self._device_id, will) as client:
            topics = [(ack_topic(self._device_id), 1), (cmd_topic(self._device_id), 1)]
            await client.subscribe(topics, timeout=CONNECT_TIMEOUT_S)
            self._client = client
            try:
                await self._say(self._now())
                await self._say("link up")
                self.connected.set()
                await self._carry(client)
            finally:
                self._client = None
                self._queue.clear()
                self.connected.clear()
                await self._say("link down")

    async def _carry(self, client: aiomqtt.Client) -> None:
        work: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._hear(client)),
            asyncio.create_task(self._publish(client)),
            asyncio.create_task(self._drop.wait()),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(work)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            if isinstance(payload, bytes):
                await self._say("in " + payload.hex())

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                topic, payload = self._queue.popleft()
                await client.publish(topic, payload, qos=1, timeout=PUBLISH_TIMEOUT_S)

    # --- the rig

    async def do(self, what: Stimulus, argument: int) -> str:
        """Let something happen to the device; see `rig.Rigged`."""
        await self._say(self._now())
        match what:
            case Stimulus.BOOT:
                async with self._lock:
                    await self._say_locked("boot")
                self._cut()
            case Stimulus.LINK_CUT:
                self._covered.clear()
                self._cut()
            case Stimulus.LINK_UP:
                self._covered.set()
            case Stimulus.PRESS:
                await self._say(f"press {argument}")
            case Stimulus.FIX:
                for _ in range(max(1, argument)):
                    await self._say(self._now())
                    await self._say(self._fix())
            case Stimulus.NO_FIX:
                await self._say("fix none")
            case Stimulus.CLOCK_UNSET | Stimulus.CLOCK_SET:
                self._clock_set = what is Stimulus.CLOCK_SET
                await self._say(self._now())
        return ""

    def _cut(self) -> None:
        """Break the connection without a word, so that the broker publishes the last will."""
        client = self._client
        if client is not None:
            link = client._client.socket()  # noqa: SLF001 - aiomqtt has no word for it
            if isinstance(link, socket.socket):
                with suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)
        self._drop.set()
