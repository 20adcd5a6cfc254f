"""When the intake tells the watch about bad input.

A burst, anything unreadable on an event topic, and a wrong clock.

Pure. A signal is an entry of the journal, `{"signal": kind, "counts": {reason: n}, "devices":
[topic or id, ...], "detail": text}` in msgpack. Each kind has a rate; what happens meanwhile is
counted and goes with the next one.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import msgspec

from afstand.limits import (
    CLOCK_SIGNAL_DEVICES_MAX,
    CLOCK_SIGNAL_EVERY_MS,
    QUARANTINE_BURST_MESSAGES,
    QUARANTINE_BURST_WINDOW_MS,
    QUARANTINE_SIGNAL_EVERY_MS,
    SIGNAL_DEVICES_MAX,
)

QUARANTINE: Final = "quarantine"
CLOCK_FAULT: Final = "clock-fault"


class Signal(NamedTuple):
    """A signal to be journalled in `partition`."""

    partition: str
    blob: bytes


class _Body(msgspec.Struct, frozen=True):
    signal: str
    counts: dict[str, int]
    devices: list[str]
    detail: str


class Signals:
    """The rates of the signals of one intake."""

    def __init__(self, default_partition: str) -> None:
        self._partition = default_partition
        self._counts: Counter[str] = Counter()
        self._devices: dict[str, None] = {}
        self._window_ms = 0
        self._in_window = 0
        self._on_event_topic = False
        self._last_ms = -QUARANTINE_SIGNAL_EVERY_MS
        self._clocks: dict[str, int] = {}

    def refused(self, reason: str, topic: str, now_ms: int, *, event_topic: bool) -> None:
        """Count a message that went into the quarantine."""
        if now_ms - self._window_ms >= QUARANTINE_BURST_WINDOW_MS:
            self._window_ms = now_ms
            self._in_window = 0
            if now_ms - self._last_ms >= QUARANTINE_SIGNAL_EVERY_MS and not self._on_event_topic:
                self._counts.clear()  # a drip, and no burst
                self._devices.clear()
        self._in_window += 1
        self._counts[reason] += 1
        if len(self._devices) < SIGNAL_DEVICES_MAX:
            self._devices[topic[:80]] = None
        self._on_event_topic = self._on_event_topic or event_topic

    def due(self, now_ms: int) -> Signal | None:
        """Return the signal of a burst when it is time for one."""
        if now_ms - self._last_ms < QUARANTINE_SIGNAL_EVERY_MS:
            return None
        burst = self._in_window >= QUARANTINE_BURST_MESSAGES
        if not burst and not self._on_event_topic:
            return None
        detail = "unreadable message on an event topic" if self._on_event_topic else ""
        signal = self._signal(QUARANTINE, dict(self._counts), list(self._devices), detail)
        self._last_ms = now_ms
        self._in_window = 0
        self._on_event_topic = False
        self._counts.clear()
        self._devices.clear()
        return signal

    def clock_fault(self, device_id: str, partition: str, now_ms: int) -> Signal | None:
        """Return the signal that a device's clock is wrong, when it is time for one."""
        last_ms = self._clocks.get(device_id)
        if last_ms is not None and now_ms - last_ms < CLOCK_SIGNAL_EVERY_MS:
            return None
        if len(self._clocks) >= CLOCK_SIGNAL_DEVICES_MAX:
            self._clocks.clear()
        self._clocks[device_id] = now_ms
        signal = self._signal(CLOCK_FAULT, {}, [device_id], "")
        return signal._replace(partition=partition)

    def _signal(self, kind: str, counts: dict[str, int], devices: list[str], detail: str) -> Signal:
        body = _Body(kind, counts, devices, detail)
        return Signal(self._partition, msgspec.msgpack.encode(body))
