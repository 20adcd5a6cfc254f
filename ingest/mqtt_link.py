"""One MQTT connection: bytes in, messages out, with the reading paced and bounded.

The broker sends one packet a message, so under load the wake-ups cost more than the work. Below a
rate the link is driven by events; above it, it stops reading for a tick after every small read, so
that one wake-up takes what has arrived meanwhile. What has been read and not taken is bounded:
above the bound the link stops reading and TCP holds the broker back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from afstand.limits import (
    MQTT_BUFFER_BYTES,
    MQTT_INBOX_BYTES_MAX,
    MQTT_INBOX_MESSAGES_MAX,
    MQTT_RATE_WINDOW_S,
    MQTT_TICK_ABOVE_PER_S,
    MQTT_TICK_BELOW_PER_S,
    MQTT_TICK_LONGEST_PER_S,
    MQTT_TICK_MESSAGES_MAX,
    MQTT_TICK_S_MAX,
    MQTT_TICK_S_MIN,
    MQTT_TICK_SHORTEST_PER_S,
)
from ingest.mqtt_codec import (
    PINGREQ,
    Codec,
    Control,
    MalformedPacketError,
    Message,
    PingAnswer,
    drain,
)
from ingest.scan import PLAIN_BYTES, Run, Scanner


def tick_s(rate_per_s: float) -> float:
    """Return how long to let messages gather at a rate (docs/adr/0040).

    A round costs intake, store and each watch as much as many fixes do, so long ticks are cheap;
    presses have a connection of their own, which never waits.
    """
    share = (rate_per_s - MQTT_TICK_SHORTEST_PER_S) / (
        MQTT_TICK_LONGEST_PER_S - MQTT_TICK_SHORTEST_PER_S
    )
    longest_s = MQTT_TICK_S_MIN + (MQTT_TICK_S_MAX - MQTT_TICK_S_MIN) * min(1.0, max(0.0, share))
    return min(longest_s, MQTT_TICK_MESSAGES_MAX / max(1.0, rate_per_s))


class Pace:
    """Measures the rate of messages and says whether to read by ticks, and how long one is.

    Pure: the time is passed in.
    """

    __slots__ = ("_count", "_since_s", "tick_s", "ticking")

    def __init__(self, now_s: float) -> None:
        self.ticking = False
        self.tick_s = MQTT_TICK_S_MIN
        self._since_s = now_s
        self._count = 0

    def count(self, messages: int, now_s: float) -> bool:
        """Take account of one read and return whether to read by ticks from now on."""
        self._count += messages
        elapsed_s = now_s - self._since_s
        if elapsed_s >= MQTT_RATE_WINDOW_S:
            rate = self._count / elapsed_s
            self.ticking = rate > (MQTT_TICK_BELOW_PER_S if self.ticking else MQTT_TICK_ABOVE_PER_S)
            self.tick_s = tick_s(rate)
            self._since_s = now_s
            self._count = 0
        return self.ticking


class Taken(NamedTuple):
    """What was taken: messages, and plain fixes in runs."""

    messages: list[Message]
    runs: list[Run]

    def __len__(self) -> int:
        return len(self.messages) + sum([len(run) for run in self.runs])


class Inbox:
    """What was read and not yet taken."""

    __slots__ = ("_messages", "_runs", "bytes", "count")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._runs: list[Run] = []
        self.count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self.count

    def add(self, messages: list[Message]) -> None:
        """Put messages at the end."""
        if messages:
            self._messages += messages
            self.count += len(messages)
            self.bytes += sum([len(message.payload) for message in messages])

    def add_run(self, run: Run) -> None:
        """Put a run at the end."""
        self._runs.append(run)
        self.count += len(run)
        self.bytes += len(run) * PLAIN_BYTES

    def add_taken(self, taken: Taken) -> None:
        """Put what was taken from another inbox at the end."""
        self.add(taken.messages)
        for run in taken.runs:
            self.add_run(run)

    def take(self, limit: int, singles_max: int) -> Taken:
        """Return up to `limit` messages, oldest first.

        Those that are no plain fixes come first, and are at most `singles_max`.
        """
        messages = self._messages[: min(limit, singles_max)]
        del self._messages[: len(messages)]
        room = limit - len(messages)
        runs: list[Run] = []
        while room > 0 and self._runs:
            run = self._runs[0]
            if len(run) <= room:
                del self._runs[0]
            else:
                run, self._runs[0] = run.split(room)
            runs.append(run)
            room -= len(run)
        self.count -= limit - room
        self.bytes -= sum([len(message.payload) for message in messages])
        self.bytes -= PLAIN_BYTES * sum([len(run) for run in runs])
        return Taken(messages, runs)


class Link(asyncio.BufferedProtocol):
    """The protocol object of one connection, numbered `number`.

    `paced`: read by ticks under load, and give plain fixes in runs. `on_control` gets every packet
    that is no message; `on_messages` is called when there is something to take; `on_lost` once,
    with the reason.
    """

    def __init__(
        self,
        number: int,
        codec: Codec,
        *,
        paced: bool,
        now_ms: Callable[[], int],
        on_control: Callable[[Control], None],
        on_messages: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.number = number
        self.codec = codec
        self.reason = ""  # why the connection is being closed, when we know
        self.read_s = 0.0  # loop time of the last read
        self.written_s = 0.0
        self.writable = False
        self._paced = paced
        self._now_ms = now_ms
        self._on_control = on_control
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._view = memoryview(bytearray(MQTT_BUFFER_BYTES))
        self._end = 0
        self._skip = 0
        self._inbox = Inbox()
        self._scanner = Scanner(properties=codec.version == "5") if paced else None
        self._full = False
        self._tick: asyncio.TimerHandle | None = None
        self._pace = Pace(self._loop.time())

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.writable = True
        self.read_s = self.written_s = self._loop.time()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 asyncio's signature
        """See asyncio. Never empty: a packet that is kept whole is smaller than the buffer."""
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        now_s = self._loop.time()
        self.read_s = now_s
        if self._transport is None or self._transport.is_closing():
            return
        room = len(self._view) - self._end
        try:
            messages = self._drain(self._end + nbytes)
        except MalformedPacketError as error:
            self.close(f"malformed packet: {error}")
            return
        ticking = self._pace.count(messages, now_s)
        if len(self._inbox) >= MQTT_INBOX_MESSAGES_MAX or self._inbox.bytes >= MQTT_INBOX_BYTES_MAX:
            self._full = True
            self._transport.pause_reading()
        elif ticking and self._paced and nbytes < room:
            self._tick = self._loop.call_later(self._pace.tick_s, self._tick_over)
            self._transport.pause_reading()
        if messages:
            self._on_messages()

    def pause_writing(self) -> None:
        """See asyncio."""
        self.writable = False

    def resume_writing(self) -> None:
        """See asyncio."""
        self.writable = self._transport is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        self.writable = False
        if self._tick is not None:
            self._tick.cancel()
        why = type(exc).__name__ if exc else "closed by the broker"
        self._on_lost(self.reason or why)

    # --- our side

    @property
    def ticking(self) -> bool:
        """Whether the link reads by ticks."""
        return self._pace.ticking and self._paced

    @property
    def held_back(self) -> bool:
        """Whether reading is stopped because too much waits to be taken."""
        return self._full

    def take(self, limit: int, singles_max: int) -> Taken:
        """See `Inbox.take`."""
        taken = self._inbox.take(limit, singles_max)
        if self._full and len(self._inbox) < MQTT_INBOX_MESSAGES_MAX // 2:
            self._full = False
            self._resume()
        return taken

    def waiting(self) -> bool:
        """Tell whether there is something to take."""
        return len(self._inbox) > 0

    def write(self, raw: bytes) -> None:
        """Send bytes; nothing happens when the connection is going or gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(raw)
            self.written_s = self._loop.time()

    def ping(self) -> None:
        """Send PINGREQ."""
        self.write(PINGREQ)

    def close(self, reason: str) -> None:
        """Close, sending what is queued; `on_lost` follows."""
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Close at once."""
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.abort()

    def _drain(self, end: int) -> int:
        """Take in the buffer up to `end`, keep what is left, return the number of messages."""
        start = min(self._skip, end)
        self._skip -= start
        before = len(self._inbox)
        if self._scanner is not None:
            start += self._scan(self._scanner, self._view[start:end])
        drained = drain(self.codec, self._view[start:end], self._now_ms(), self.number)
        self._inbox.add(drained.messages)
        self._control(drained.controls)
        start += drained.consumed
        if start > end:
            self._skip = start - end
            start = end
        left = end - start
        if start and left:
            self._view[:left] = bytes(self._view[start:end])
        self._end = left
        return len(self._inbox) - before

    def _scan(self, scanner: Scanner, view: memoryview) -> int:
        """Take in the plain fixes of `view` and the packets between them.

        Return how much that was.
        """
        rows, frames, others, consumed = scanner.scan(view)
        now_ms = self._now_ms()
        if len(rows):
            self._inbox.add_run(Run(self.number, now_ms, bytes(view[:consumed]), rows, frames))
        for first, last in others.tolist():
            drained = drain(self.codec, view[first:last], now_ms, self.number)
            if drained.consumed != last - first:
                raise MalformedPacketError("a packet of two sizes")
            self._inbox.add(drained.messages)
            self._control(drained.controls)
        return consumed

    def _control(self, controls: list[Control]) -> None:
        for control in controls:
            if type(control) is not PingAnswer:
                self._on_control(control)

    def _tick_over(self) -> None:
        self._tick = None
        self._resume()

    def _resume(self) -> None:
        if self._transport is not None and not self._full and self._tick is None:
            self._transport.resume_reading()
