"""One MQTT connection: bytes in, messages out, with the reading paced and bounded.

The broker sends one packet a message, so under load the wake-ups cost more than the work. Below a
rate the link is driven by events; above it, it stops reading for a tick after every small read, so
that one wake-up takes what has arrived meanwhile. What has been read and not taken is bounded:
above the bound the link stops reading and TCP holds the broker back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from afstand.limits import MQTT_BUFFER_BYTES, MQTT_INBOX_BYTES_MAX, MQTT_INBOX_MESSAGES_MAX
from ingest.mqtt_codec import (
    PINGREQ,
    Codec,
    Control,
    MalformedPacketError,
    Message,
    PingAnswer,
    drain,
)

_TICK_S_MIN: Final = 0.002
_TICK_S_MAX: Final = 0.004
_TICK_ABOVE_PER_S: Final = 2_000
_TICK_BELOW_PER_S: Final = 1_000
_TICK_LONGEST_PER_S: Final = 10_000
_RATE_WINDOW_S: Final = 0.1


class Pace:
    """Measures the rate of messages and says whether to read by ticks, and how long one is.

    Pure: the time is passed in.
    """

    __slots__ = ("_count", "_since_s", "tick_s", "ticking")

    def __init__(self, now_s: float) -> None:
        self.ticking = False
        self.tick_s = _TICK_S_MIN
        self._since_s = now_s
        self._count = 0

    def count(self, messages: int, now_s: float) -> bool:
        """Take account of one read and return whether to read by ticks from now on."""
        self._count += messages
        elapsed_s = now_s - self._since_s
        if elapsed_s >= _RATE_WINDOW_S:
            rate = self._count / elapsed_s
            self.ticking = rate > (_TICK_BELOW_PER_S if self.ticking else _TICK_ABOVE_PER_S)
            # At 2,000 a second 2 ms save the wake-ups; at 10,000 it is the rounds that cost.
            share = min(1.0, rate / _TICK_LONGEST_PER_S)
            self.tick_s = _TICK_S_MIN + (_TICK_S_MAX - _TICK_S_MIN) * share
            self._since_s = now_s
            self._count = 0
        return self.ticking


class Link(asyncio.BufferedProtocol):
    """The protocol object of one connection, numbered `number`.

    `on_control` gets every packet that is no message; `on_messages` is called when there is
    something to take; `on_lost` once, with the reason.
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
        self._inbox: list[Message] = []
        self._inbox_bytes = 0
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
        if len(self._inbox) >= MQTT_INBOX_MESSAGES_MAX or self._inbox_bytes >= MQTT_INBOX_BYTES_MAX:
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

    def take(self, limit: int) -> list[Message]:
        """Return up to `limit` messages, oldest first."""
        if len(self._inbox) <= limit:
            taken, self._inbox = self._inbox, []
            self._inbox_bytes = 0
        else:
            taken, self._inbox = self._inbox[:limit], self._inbox[limit:]
            self._inbox_bytes -= sum(len(message.payload) for message in taken)
        if self._full and len(self._inbox) < MQTT_INBOX_MESSAGES_MAX // 2:
            self._full = False
            self._resume()
        return taken

    def waiting(self) -> bool:
        """Tell whether there is something to take."""
        return bool(self._inbox)

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
        drained = drain(self.codec, self._view[start:end], self._now_ms(), self.number)
        start += drained.consumed
        if start > end:
            self._skip = start - end
            start = end
        left = end - start
        if start and left:
            self._view[:left] = bytes(self._view[start:end])
        self._end = left
        if drained.messages:
            self._inbox += drained.messages
            self._inbox_bytes += sum([len(message.payload) for message in drained.messages])
        for control in drained.controls:
            if type(control) is not PingAnswer:
                self._on_control(control)
        return len(drained.messages)

    def _tick_over(self) -> None:
        self._tick = None
        self._resume()

    def _resume(self) -> None:
        if self._transport is not None and not self._full and self._tick is None:
            self._transport.resume_reading()
