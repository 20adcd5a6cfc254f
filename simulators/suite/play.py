"""Runs played against anything that listens.

Fixes as they arrive, and requests that change what comes next.

Many runs are played side by side on one time axis. Nothing of a run depends on which others are
played with it: each device has its own stream of randomness. Whoever listens calls `advance` with
the next instant, gets what has arrived since, and may call `request`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_contracts import EventCode
from simulators.geo import Floats, Ints
from simulators.gnss import DRAWS, ErrorField
from simulators.network import Outage
from simulators.seeds import stream
from simulators.suite.kinds import Carried, Run

DELAY_MS: Final = (400, 2_500)  # uplink, least and mean of the exponential beyond it
DOWNLINK_MS: Final = (500, 1_500)
EVENT_DELAY_MS: Final = 5_000  # a cut strap is known to the device within 5 s (NIJ 5.4.1)
LATE_SPACING_MS: Final = 40  # stored fixes follow one another this fast when the network is back
JITTER_MS: Final = 500
REQUEST_LIVES_MS: Final = 60_000
FIELDS: Final = (
    ("device", np.int64),
    ("time_ms", np.int64),
    ("arrive_ms", np.int64),
    ("lat_e7", np.int32),
    ("lon_e7", np.int32),
    ("accuracy_dm", np.int32),
    ("speed_cm_s", np.int32),
    ("heading_cdeg", np.int32),
    ("mechanism", np.uint8),
)
FIX_DTYPE: Final = np.dtype([(name, kind) for name, kind in FIELDS])


class Event(NamedTuple):
    """An event that has arrived; `device` indexes `Play.devices`."""

    device: int
    code: EventCode
    time_ms: int
    arrive_ms: int


class Arrived(NamedTuple):
    """What arrived since the last call.

    Fixes (structured array of `FIX_DTYPE`, in order of arrival) and events.
    """

    fixes: npt.NDArray[Any]
    events: list[Event]


@dataclass(frozen=True, slots=True)
class Player:
    """One device of one run."""

    run: Run
    carried: Carried


class Play:
    """Runs in progress. All must start at the same instant; each ends at its own."""

    def __init__(self, runs: Sequence[Run], jump_holds_s: float = 0.0) -> None:
        starts = {run.start_ms for run in runs}
        if len(starts) != 1:
            raise ValueError("runs that are played together start together")
        self.runs = tuple(runs)
        self.devices = tuple(Player(run, carried) for run in runs for carried in run.devices)
        self.index = {player.carried.person_id: n for n, player in enumerate(self.devices)}
        if len(self.index) != len(self.devices):
            raise ValueError("two devices of one person")
        self.now_ms = starts.pop()
        self.end_ms = max(run.end_ms for run in runs)
        count = len(self.devices)
        self._field = ErrorField.start(count, jump_holds_s)
        self._rngs = [
            stream(p.run.seed, p.run.family, p.run.name, p.run.place, p.carried.person_id)
            for p in self.devices
        ]
        self._interval_ms = np.array(
            [p.carried.interval_s * 1000 for p in self.devices], dtype=np.int64
        )
        self._burst_ms = np.zeros(count, dtype=np.int64)
        self._burst_until = np.zeros(count, dtype=np.int64)
        self._last_ms = np.full(count, self.now_ms, dtype=np.int64)
        phase = [
            int(rng.integers(0, ms)) for rng, ms in zip(self._rngs, self._interval_ms, strict=True)
        ]
        self._next_ms: Ints = self.now_ms + np.array(phase, dtype=np.int64)
        self._ends_ms = np.array([p.run.end_ms for p in self.devices], dtype=np.int64)
        self._air: list[tuple[int, int, tuple[Any, ...]]] = []
        self._events = self._tampers()
        self._wishes: list[
            tuple[int, int, int, int, int]
        ] = []  # reach, order, device, interval, duration
        self._count = 0
        self._late: dict[int, int] = {}
        self.requests = 0

    def request(self, device: int, interval_s: int, duration_s: int, at_ms: int) -> None:
        """Ask a device to report every `interval_s` for `duration_s`, and at once; sent at `at_ms`.

        It reaches the device a little later, when there is coverage within a minute; otherwise it
        expires.
        """
        self.requests += 1
        low, mean = DOWNLINK_MS
        reach_ms = at_ms + low + int(self._rngs[device].exponential(mean - low))
        outage = _outage_at(self.devices[device].carried, reach_ms)
        if outage is not None:
            reach_ms = outage.to_ms + low
        if reach_ms - at_ms <= REQUEST_LIVES_MS:
            self._count += 1
            heappush(self._wishes, (reach_ms, self._count, device, interval_s, duration_s))

    def advance(self, to_ms: int) -> Arrived:
        """Move time on; return everything that has arrived by then."""
        if to_ms < self.now_ms:
            raise ValueError("time does not go back")
        while True:
            wish_ms = self._wishes[0][0] if self._wishes else to_ms + 1
            due_ms = int(self._next_ms.min(initial=to_ms + 1))
            if wish_ms <= to_ms and wish_ms <= due_ms:
                self._obey()
            elif due_ms <= to_ms:
                self._sense(min(to_ms, wish_ms))
            else:
                break
        self.now_ms = to_ms
        return self._arrived(to_ms)

    def next_due_ms(self) -> int | None:
        """Return the earliest instant at which something arrives or a device reports.

        None: all is over.
        """
        due = [int(self._next_ms.min(initial=2**62))]
        due += [queue[0][0] for queue in (self._air, self._wishes) if queue]
        due += [self._events[0].arrive_ms] if self._events else []
        first = min(due)
        return None if first >= 2**62 else first

    # --- inside -----------------------------------------------------------------------------------

    def _tampers(self) -> list[Event]:
        events = []
        for run in self.runs:
            for tamper in run.tampers:
                device = self.index[tamper.person_id]
                arrive_ms = tamper.at_ms + int(self._rngs[device].integers(500, EVENT_DELAY_MS))
                outage = _outage_at(self.devices[device].carried, arrive_ms)
                arrive_ms = outage.to_ms if outage is not None else arrive_ms
                events.append(Event(device, EventCode.STRAP_CUT, tamper.at_ms, arrive_ms))
        return sorted(events, key=lambda event: (event.arrive_ms, event.device))

    def _obey(self) -> None:
        reach_ms, _, device, interval_s, duration_s = heappop(self._wishes)
        running = reach_ms < self._burst_until[device]
        wanted_ms = interval_s * 1000
        self._burst_ms[device] = min(wanted_ms, self._burst_ms[device]) if running else wanted_ms
        self._burst_until[device] = max(reach_ms + duration_s * 1000, self._burst_until[device])
        # A device that has just reported need not do so at once again.
        soonest_ms = max(reach_ms, int(self._last_ms[device]) + 1_000)
        self._next_ms[device] = min(int(self._next_ms[device]), soonest_ms)

    def _sense(self, until_ms: int) -> None:
        """Let every device that is due by `until_ms` attempt its next fix."""
        which = np.flatnonzero(self._next_ms <= until_ms)
        times = self._next_ms[which]
        x, y, vx, vy, places = self._truths(which, times)
        rows = np.empty((len(which), DRAWS))
        for position, device in enumerate(which.tolist()):
            rng = self._rngs[device]
            rows[position, :6] = rng.standard_normal(6)
            rows[position, 6:] = rng.random(DRAWS - 6)
        part = self._field.part(which)
        seen = part.step((times - self._last_ms[which]) / 1000.0, places, vx, vy, rows)
        self._field.put(which, part)
        self._last_ms[which] = times
        speed = np.maximum(0.0, np.hypot(vx, vy) + 0.2 * rows[:, 2])
        heading = np.degrees(np.arctan2(vx, vy)) % 360.0
        for position in np.flatnonzero(seen.got).tolist():
            device, t_ms = int(which[position]), int(times[position])
            plane = self.devices[device].run.plane
            lat_e7, lon_e7 = plane.e7(
                float(x[position] + seen.error_x_m[position]),
                float(y[position] + seen.error_y_m[position]),
            )
            fix = (
                device, t_ms, lat_e7, lon_e7,
                max(1, round(float(seen.accuracy_m[position]) * 10.0)),
                round(float(speed[position]) * 100.0),
                round(float(heading[position]) * 100.0) % 36_000,
                int(seen.mechanism[position]),
            )  # fmt: skip
            self._send(device, t_ms, fix)
        self._plan(which, times)

    def _truths(self, which: Ints, times: Ints) -> tuple[Floats, Floats, Floats, Floats, Ints]:
        found = np.empty((5, len(which)))
        for position, (device, t_ms) in enumerate(zip(which.tolist(), times.tolist(), strict=True)):
            truth = self.devices[device].carried.path.at(t_ms)
            found[:, position] = (*truth[:4], truth.environment)
        x, y, vx, vy, places = found
        return x, y, vx, vy, places.astype(np.int64)

    def _send(self, device: int, t_ms: int, fix: tuple[Any, ...]) -> None:
        low, mean = DELAY_MS
        arrive_ms = t_ms + low + int(self._rngs[device].exponential(mean - low))
        outage = _outage_at(self.devices[device].carried, arrive_ms)
        if outage is not None:
            # Store and forward: in order, one after the other, when the network is back.
            last_ms = max(self._late.get(device, 0), outage.to_ms + low)
            arrive_ms = self._late[device] = last_ms + LATE_SPACING_MS
        self._count += 1
        heappush(self._air, (arrive_ms, self._count, fix))

    def _plan(self, which: Ints, times: Ints) -> None:
        bursting = times < self._burst_until[which]
        interval = np.where(
            bursting,
            np.minimum(self._burst_ms[which], self._interval_ms[which]),
            self._interval_ms[which],
        )
        jitter = np.array(
            [int(self._rngs[d].integers(-JITTER_MS, JITTER_MS + 1)) for d in which.tolist()]
        )
        after = times + np.maximum(1_000, interval + jitter)
        self._next_ms[which] = np.where(after < self._ends_ms[which], after, 2**62)

    def _arrived(self, to_ms: int) -> Arrived:
        fixes = []
        while self._air and self._air[0][0] <= to_ms:
            arrive_ms, _, fix = heappop(self._air)
            fixes.append((*fix[:2], arrive_ms, *fix[2:]))
        events = [event for event in self._events if event.arrive_ms <= to_ms]
        self._events = self._events[len(events) :]
        return Arrived(np.array(fixes, dtype=FIX_DTYPE), events)


def _outage_at(carried: Carried, t_ms: int) -> Outage | None:
    return next((o for o in carried.outages if o.from_ms <= t_ms < o.to_ms), None)
