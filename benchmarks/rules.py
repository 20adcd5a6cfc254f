"""The rules that are compared on ground truth: ours, and what others do with the same fixes.

A rule gets the runs it watches and then fixes as they arrive; it answers with changes of what it
holds true about an order. Only ours asks devices for more fixes; it is also shown without.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from geofence.engine import Engine, FixBatch, Role
from geofence.orders import parse_order, parse_zone
from geofence.verdicts import PositionRequest, Verdict, VerdictState
from simulators.suite import Play, Run
from simulators.suite.kinds import PROTECTED
from simulators.truth import Area

CONFIRMED: Final = "confirmed"
WARNED: Final = "warned"
"""In a ring, near in time, or possible: something is told, a breach is not."""
CLEAR: Final = "clear"


class Change(NamedTuple):
    """What a rule holds true from now on about one order, for a contact ban about one pair of it.

    `fix_ms` is the device time that it was decided by. A historic change is a breach of the past
    and says nothing of the present.
    """

    key: tuple[str, str]
    state: str
    at_ms: int
    fix_ms: int
    historic: bool = False
    labels: tuple[str, ...] = ()


class Wish(NamedTuple):
    """A request for more fixes."""

    person_id: str
    interval_s: int
    duration_s: int


class Ours:
    """The engine, as a watch drives it."""

    def __init__(self, play: Play) -> None:
        self.engine = Engine()
        handles = []
        now_ms = play.now_ms
        for player in play.devices:
            role = Role.PROTECTED if player.carried.role == PROTECTED else Role.WEARER
            handles.append(self.engine.put_person(player.carried.person_id, role))
        for run in play.runs:
            for zone in run.zones:
                self.engine.put_zone(parse_zone(json.dumps(zone)), now_ms)
            for order in run.orders:
                self.engine.put_order(parse_order(json.dumps(order)), now_ms)
        self.handles = np.array(handles, np.int64)

    def judge(self, fixes: npt.NDArray[Any], now_ms: int) -> tuple[list[Change], list[Wish]]:
        """Give the engine a batch, as a watch does."""
        batch = FixBatch(
            self.handles[fixes["device"]],
            *(
                fixes[name].astype(np.int64)
                for name in (
                    "time_ms",
                    "lat_e7",
                    "lon_e7",
                    "accuracy_dm",
                    "speed_cm_s",
                    "heading_cdeg",
                    "mechanism",
                )
            ),
        )
        changes: list[Change] = []
        wishes: list[Wish] = []
        for finding in self.engine.observe(batch, now_ms):
            if isinstance(finding, PositionRequest):
                wishes.append(Wish(finding.person_id, finding.interval_s, finding.duration_s))
                continue
            changes.append(_change(finding))
        return changes, wishes


def _change(verdict: Verdict) -> Change:
    state = WARNED
    if verdict.state is VerdictState.CONFIRMED:
        state = CONFIRMED
    elif verdict.state in (VerdictState.CLEAR, VerdictState.UNKNOWN):
        state = CLEAR
    fix_ms = verdict.at_ms if verdict.fix_ms is None else verdict.fix_ms
    labels = tuple(str(label) for label in verdict.labels)
    key = (verdict.order_id, verdict.protected_id or "")
    return Change(key, state, verdict.at_ms, fix_ms, verdict.historic, labels)


# --- what others do ---------------------------------------------------------------------------


class _Watched(NamedTuple):
    """One order of one run, or one pair of it, in metres of the run's plane."""

    key: tuple[str, str]
    wearer: int
    partner: int
    """Device of the protected person, -1 for an order about zones."""
    radius_m: float
    area: Area | None
    inside_is_breach: bool


class Reading(NamedTuple):
    """What one fix says about one order: inside or outside, nothing of how sure that is."""

    order: int
    breach: bool
    arrive_ms: int
    fix_ms: int


class Positions:
    """Where devices are by their last fix, and which orders that breaches."""

    def __init__(self, play: Play) -> None:
        self.planes = [player.run.plane for player in play.devices]
        self.orders = _watched(play)
        self.of_device: dict[int, list[int]] = {}
        for i, order in enumerate(self.orders):
            for device in (order.wearer, order.partner):
                if device >= 0:
                    self.of_device.setdefault(device, []).append(i)
        self.last: dict[int, tuple[float, float, int]] = {}

    def read(self, fixes: npt.NDArray[Any]) -> list[Reading]:
        """Compare each fix with every order of its person."""
        readings = []
        for fix in fixes:
            device = int(fix["device"])
            position = self.position(device, fix)
            if position is None:
                continue
            self.last[device] = position
            for i in self.of_device.get(device, ()):
                breach = self.breach(self.orders[i])
                if breach is not None:
                    times = int(fix["arrive_ms"]), int(fix["time_ms"])
                    readings.append(Reading(i, breach, *times))
        return readings

    def position(self, device: int, fix: Any) -> tuple[float, float, int] | None:
        """Return where the device is taken to be: (x, y, time)."""
        return _plain(self, device, fix)

    def breach(self, order: _Watched) -> bool | None:
        """Return whether the last positions are a breach; None while one is missing."""
        here = self.last.get(order.wearer)
        if here is None:
            return None
        if order.partner >= 0:
            there = self.last.get(order.partner)
            if there is None:
                return None
            return math.hypot(here[0] - there[0], here[1] - there[1]) < order.radius_m
        assert order.area is not None
        return order.area.contains(here[0], here[1]) == order.inside_is_breach


class Filtered(Positions):
    """Where devices are by a Kalman filter of constant velocity, noise as the receiver claims."""

    ACCELERATION_M_S2: Final = 0.5
    """Spread of the unknown acceleration: a walker turns, a car brakes."""
    GAP_S: Final = 600.0

    def __init__(self, play: Play) -> None:
        super().__init__(play)
        self.filters: dict[int, tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}

    def position(self, device: int, fix: Any) -> tuple[float, float, int] | None:
        """Return where the filter takes the device to be; None for a fix out of order."""
        x, y, time_ms = _plain(self, device, fix)
        variance = (fix["accuracy_dm"] / 10.0 / 1.515) ** 2 + 1.0
        known = self.filters.get(device)
        if known is not None and time_ms <= known[0]:
            return None
        dt = self.GAP_S if known is None else (time_ms - known[0]) / 1000.0
        if known is None or dt >= self.GAP_S:
            mean = np.array([[x, 0.0], [y, 0.0]])
            spread = np.diag([variance, 25.0])
        else:
            move = np.array([[1.0, dt], [0.0, 1.0]])
            push = np.array([dt * dt / 2.0, dt]) * self.ACCELERATION_M_S2
            mean = known[1] @ move.T
            spread = move @ known[2] @ move.T + np.outer(push, push)
            gain = spread[:, 0] / (spread[0, 0] + variance)
            mean = mean + np.outer(np.array([x, y]) - mean[:, 0], gain)
            spread = spread - np.outer(gain, spread[0])
        self.filters[device] = (time_ms, mean, spread)
        return float(mean[0, 0]), float(mean[1, 0]), time_ms


def _plain(rule: Positions, device: int, fix: Any) -> tuple[float, float, int]:
    x, y = rule.planes[device].metres(fix["lat_e7"] / 1e7, fix["lon_e7"] / 1e7)
    return x, y, int(fix["time_ms"])


def _watched(play: Play) -> list[_Watched]:
    found = []
    for run in play.runs:
        for order in run.orders:
            wearer = play.index[order["wearer_id"]]
            for other in order.get("protected_ids", ()):
                radius_m = float(order["radius_m"])
                key = (order["id"], other)
                found.append(_Watched(key, wearer, play.index[other], radius_m, None, True))
            for zone_id in order.get("zone_ids", ()):
                geometry = next(z["geometry"] for z in run.zones if z["id"] == zone_id)
                area = Area.from_geojson(geometry, run.plane)
                inside = order["kind"] == "area-ban"
                found.append(_Watched((order["id"], ""), wearer, -1, 0.0, area, inside))
    return found


class InARow:
    """A breach, or its end, counts after so many readings in a row."""

    def __init__(self, orders: Sequence[_Watched], in_a_row: int) -> None:
        self.orders, self.in_a_row = orders, in_a_row
        self.count = [0] * len(orders)
        self.state = [False] * len(orders)

    def judge(self, readings: Sequence[Reading]) -> list[Change]:
        """Count readings that differ from what is held true."""
        changes = []
        for i, breach, arrive_ms, fix_ms in readings:
            self.count[i] = 0 if breach == self.state[i] else self.count[i] + 1
            if self.count[i] >= self.in_a_row:
                self.state[i], self.count[i] = breach, 0
                state = CONFIRMED if breach else CLEAR
                changes.append(Change(self.orders[i].key, state, arrive_ms, fix_ms))
        return changes


OURS: Final = "ours"
OURS_ALONE: Final = "ours, no bursts"
OTHERS: Final[dict[str, tuple[type[Positions], int]]] = {
    "point in polygon": (Positions, 1),
    "2 in a row": (Positions, 2),
    "3 in a row": (Positions, 3),
    "Kalman": (Filtered, 1),
}
RULES: Final = (OURS, OURS_ALONE, *OTHERS)
TICK_MS: Final = 1_000
"""Our rule judges this often, as a watch does that reads what has come since."""
STEP_MS: Final = 30_000
"""Where nobody asks for fixes a play goes in steps of this, which changes nothing of it."""


def judge(
    runs: Sequence[Run], rules: Iterable[str], jump_holds_s: float = 0.0
) -> dict[str, list[Change]]:
    """Play runs and return the changes of each rule. Rules that ask for nothing share one play."""
    wanted = set(rules)
    found: dict[str, list[Change]] = {}
    if OURS in wanted:
        found[OURS] = _judge_asking(Play(runs, jump_holds_s))
    if wanted - {OURS}:
        found |= _judge_alike(Play(runs, jump_holds_s), wanted)
    return found


def _judge_asking(play: Play) -> list[Change]:
    """Our rule, whose requests change what comes next."""
    ours = Ours(play)
    found: list[Change] = []
    while (due_ms := play.next_due_ms()) is not None:
        now_ms = _tick_of(play.now_ms, max(due_ms, play.now_ms + 1))
        changes, wishes = ours.judge(play.advance(now_ms).fixes, now_ms)
        found += changes
        for wish in wishes:
            play.request(play.index[wish.person_id], wish.interval_s, wish.duration_s, now_ms)
    return found


def _judge_alike(play: Play, wanted: set[str]) -> dict[str, list[Change]]:
    """The rules that take what comes."""
    alone = Ours(play)
    kinds = {kind: kind(play) for name, (kind, _) in OTHERS.items() if name in wanted}
    counters = {
        name: InARow(kinds[kind].orders, in_a_row)
        for name, (kind, in_a_row) in OTHERS.items()
        if name in wanted
    }
    found: dict[str, list[Change]] = {name: [] for name in RULES if name in wanted - {OURS}}
    start_ms = play.now_ms
    while (due_ms := play.next_due_ms()) is not None:
        fixes = play.advance(max(due_ms, play.now_ms + STEP_MS)).fixes
        if OURS_ALONE in wanted:
            ticks = -(-(fixes["arrive_ms"] - start_ms) // TICK_MS)
            for part in np.split(fixes, np.flatnonzero(np.diff(ticks)) + 1):
                if len(part):
                    now_ms = _tick_of(start_ms, int(part["arrive_ms"][-1]))
                    found[OURS_ALONE] += alone.judge(part, now_ms)[0]
        readings = {kind: positions.read(fixes) for kind, positions in kinds.items()}
        for name, counter in counters.items():
            found[name] += counter.judge(readings[OTHERS[name][0]])
    return found


def _tick_of(start_ms: int, at_ms: int) -> int:
    """Return the first tick from `start_ms` on that is not before an instant."""
    return start_ms - (start_ms - at_ms) // TICK_MS * TICK_MS
