"""Clocks.

The named ways in which a device's clock is wrong, and the time that a simulation runs on.
"""

import asyncio
import time
from typing import Final, Protocol

import msgspec
import numpy as np

CLOCK_NOT_SET: Final = 0


class Steady(msgspec.Struct, frozen=True, tag="steady", forbid_unknown_fields=True):
    """No fault: disciplined by GNSS."""

    def device_time_ms(self, true_ms: int) -> int:
        """Return what the device believes the time is."""
        return true_ms


class LinearDrift(msgspec.Struct, frozen=True, tag="linear-drift", forbid_unknown_fields=True):
    """A clock that gains `ppm` microseconds a second since `since_ms`."""

    ppm: float
    since_ms: int

    def device_time_ms(self, true_ms: int) -> int:
        """Return what the device believes the time is."""
        return true_ms + round((true_ms - self.since_ms) * self.ppm / 1e6)


class Step(msgspec.Struct, frozen=True, tag="step", forbid_unknown_fields=True):
    """A clock that is right until `at_ms` and `offset_ms` off from then on.

    A bad network time, a week rollover.
    """

    at_ms: int
    offset_ms: int

    def device_time_ms(self, true_ms: int) -> int:
        """Return what the device believes the time is."""
        return true_ms + (self.offset_ms if true_ms >= self.at_ms else 0)


class Periodic(msgspec.Struct, frozen=True, tag="periodic", forbid_unknown_fields=True):
    """A clock that swings `amplitude_ms` to both sides every `period_ms` (temperature)."""

    amplitude_ms: int
    period_ms: int

    def device_time_ms(self, true_ms: int) -> int:
        """Return what the device believes the time is."""
        turn = (true_ms % self.period_ms) / self.period_ms
        return true_ms + round(self.amplitude_ms * float(np.sin(2.0 * np.pi * turn)))


class NotSet(msgspec.Struct, frozen=True, tag="not-set", forbid_unknown_fields=True):
    """A clock that has not been set since the battery was empty: device time 0 until `until_ms`."""

    until_ms: int

    def device_time_ms(self, true_ms: int) -> int:
        """Return what the device believes the time is."""
        return true_ms if true_ms >= self.until_ms else CLOCK_NOT_SET


ClockFault = Steady | LinearDrift | Step | Periodic | NotSet


class SimulationClock(Protocol):
    """The time a fleet runs on."""

    def now_ms(self) -> int:
        """Return the present Unix time of the simulation in ms."""
        ...

    async def sleep_until(self, t_ms: int) -> None:
        """Wait until an instant of the simulation."""
        ...


class RealClock:
    """Wall-clock time, `speed` times as fast, starting at `start_ms` (now when not given).

    It advances with the monotonic clock, so a step of the machine's clock does not move it.
    """

    def __init__(self, start_ms: int | None = None, speed: float = 1.0) -> None:
        if not speed > 0.0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self._start_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms
        self._from_s = time.monotonic()
        self._speed = speed

    def now_ms(self) -> int:
        """Return the present Unix time of the simulation in ms."""
        return self._start_ms + int((time.monotonic() - self._from_s) * self._speed * 1000.0)

    async def sleep_until(self, t_ms: int) -> None:
        """Wait until an instant of the simulation."""
        await asyncio.sleep(max(0.0, (t_ms - self.now_ms()) / 1000.0 / self._speed))


class HandClock:
    """A clock that a test moves by hand; nobody waits for real."""

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms
        self._moved = asyncio.Condition()

    def now_ms(self) -> int:
        """Return the present Unix time of the simulation in ms."""
        return self._now_ms

    async def advance(self, by_ms: int) -> None:
        """Move time on and wake whoever waited for it."""
        async with self._moved:
            self._now_ms += by_ms
            self._moved.notify_all()

    async def sleep_until(self, t_ms: int) -> None:
        """Wait until an instant of the simulation."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._now_ms >= t_ms)
