"""An independent model of the decision, scalar and slow: geofence.md and domain.md written down once more.

It shares no code with the engine: shapely and pyproj for distances, math.erf, math.tanh and math.log for
the rest, floats instead of integers. Because the engine rounds (probabilities to 1/1024), the model follows every evidence as
an interval and every state as a set: a disagreement is a state that no rounding explains.
"""

import math
from typing import Any, NamedTuple

import shapely
from pyproj import Geod, Transformer

CLEAR, WARNING, POSSIBLE, CONFIRMED = "clear", "warning", "possible", "confirmed"
H = {1: 2.0, 2: 3.0, 3: 4.5}
# A plane that is true to the millimetre around the middle of the stories.
PLANE = "+proj=aeqd +lat_0=51.92 +lon_0=4.47 +ellps=WGS84 +units=m"
TO_PLANE = Transformer.from_crs("EPSG:4326", PLANE, always_xy=True)
GEOD = Geod(ellps="WGS84")
# Half of the 1/1024 a probability is rounded to, and some millimetres of rounded distances.
ROUNDING = 0.6 / 1024


class Fix(NamedTuple):
    time_s: float
    lat: float
    lon: float
    accuracy_m: float


class Known(NamedTuple):
    """What is still possible: evidence in [low, high], one of these states."""

    low: float
    high: float
    states: frozenset[str]


def phi(z: float) -> float:
    return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))


def belief(depth_m: float, sigma_m: float) -> float:
    return 0.95 * phi(depth_m / sigma_m) + 0.025


def sigma(accuracy_m: float) -> float:
    believed = max(accuracy_m, 3.0)  # no receiver is better than that
    return math.sqrt((1.3 * believed / 1.515) ** 2 + 5.0**2)


def logit(p: float) -> float:
    # P is between 26/1024 and 998/1024 by the 5 % of a jump.
    p = min(max(p, 26 / 1024), 998 / 1024)
    return math.log(p / (1.0 - p))


def weight(dt_s: float) -> float:
    return math.tanh(dt_s / 120.0)


def step(known: Known, p: float, w: float, h: float) -> tuple[float, float]:
    """The interval of the evidence after one step, before the state."""
    slack = 2e-4
    low = min(max(known.low + w * logit(p - ROUNDING) - slack, 0.0), h + 2.0)
    high = min(max(known.high + w * logit(p + ROUNDING) + slack, 0.0), h + 2.0)
    return low, high


def states(
    before: frozenset[str], low: float, high: float, h: float, p: float, ring: float
) -> frozenset[str]:
    """Every state that some evidence within [low, high] and some rounding lead to."""
    found = set()
    # The ends, both sides of what is compared with, and zero.
    evidences = {low, high} | {e for e in (0.0, h, h - 1e-9, 1e-9) if low <= e <= high}
    for state in before:
        for evidence in evidences:
            for q in (p - ROUNDING, p + ROUNDING):
                for r in (ring - ROUNDING, ring + ROUNDING):
                    found.add(_state(state, evidence, h, q, r))
    return frozenset(found)


def _state(state: str, evidence: float, h: float, p: float, ring: float) -> str:
    if evidence >= h or (state == CONFIRMED and evidence > 0):
        return CONFIRMED
    if p > 0.95 or (state == POSSIBLE and evidence > 0):
        return POSSIBLE
    if ring >= 0.5 or (state == WARNING and ring >= 0.2):
        return WARNING
    return CLEAR


def advance(
    known: Known, p: float, passed: float, ring: float, dt_s: float, h: float
) -> Known:
    """Evidence and states after a fix, with the passage before it where that says more."""
    if known.states == {CONFIRMED}:
        passed = 0.0
    branches = []
    if passed > p - 2 * ROUNDING:
        low, high = step(known, passed, weight(dt_s / 2), h)
        before = known.states
        if low >= h:
            before = frozenset({CONFIRMED})
        elif high >= h:
            before |= {CONFIRMED}
        low, high = step(Known(low, high, before), p, weight(dt_s / 2), h)
        branches.append((low, high, before, max(p, passed)))
    if passed < p + 2 * ROUNDING:
        branches.append((*step(known, p, weight(dt_s), h), known.states, p))
    found = frozenset().union(*(states(b, lo, hi, h, q, ring) for lo, hi, b, q in branches))
    return Known(min(b[0] for b in branches), max(b[1] for b in branches), found)


class Area:
    """A wearer and one order about zones (GeoJSON geometries in degrees)."""

    def __init__(
        self, zones: list[dict[str, Any]], *, location: bool, ring_m: float, risk: int
    ) -> None:
        self.zones = [shapely.transform(shapely.geometry.shape(z), _plane) for z in zones]
        self.location = location
        self.ring = ring_m
        self.h = H[risk] * (1.5 if location else 1.0)
        self.known = Known(0.0, 0.0, frozenset({CLEAR}))
        self.last: Fix | None = None

    def depth(self, x: float, y: float) -> float:
        point = shapely.Point(x, y)
        return max(
            (1.0 if zone.covers(point) else -1.0) * zone.boundary.distance(point)
            for zone in self.zones
        )

    def observe(self, fix: Fix) -> Known:
        x, y = TO_PLANE.transform(fix.lon, fix.lat)
        depth = self.depth(x, y)
        s = sigma(fix.accuracy_m)
        ring = 0.0
        if self.location:
            p = belief(-depth - self.ring, s)
            if self.ring:
                ring = belief(-depth, s)
        else:
            p = belief(depth, s)
            if self.ring:
                ring = belief(depth + self.ring, s)
        dt = 60.0 if self.last is None else fix.time_s - self.last.time_s
        passed = 0.0 if self.location or self.last is None else self._passed(self.last, fix, s, dt)
        self.known = advance(self.known, p, passed, ring, dt, self.h)
        self.last = fix
        return self.known

    def _passed(self, last: Fix, fix: Fix, s: float, dt: float) -> float:
        """P that the straight path ran through a zone that it neither began nor ended in."""
        a = TO_PLANE.transform(last.lon, last.lat)
        b = TO_PLANE.transform(fix.lon, fix.lat)
        if dt > 600 or a == b:
            return 0.0
        best = 0.0
        wide = max(s, sigma(last.accuracy_m))
        moved = math.dist(a, b)
        speed = max(moved - math.hypot(s, sigma(last.accuracy_m)), 0.0) / dt if dt >= 1 else None
        drift = 0.9 if speed is None or 0.5 <= speed < 2.5 else (0.3 if speed < 0.5 else 3.0)
        for zone in self.zones:
            if any(zone.covers(shapely.Point(end)) for end in (a, b)):
                continue
            inside = shapely.LineString([a, b]).intersection(zone)
            if inside.is_empty:
                continue
            depth = _deepest(zone, inside)
            if depth > 0:
                best = max(best, belief(depth, math.hypot(wide, drift * dt / 2)))
        return best


def _deepest(zone: Any, inside: Any) -> float:
    """The largest distance to the boundary along lines inside: a fine comb, refined at its best."""
    best = 0.0
    for part in getattr(inside, "geoms", [inside]):
        low, high = 0.0, part.length
        for _ in range(6):
            width = (high - low) / 64
            ticks = [low + width * i for i in range(65)]
            points = shapely.line_interpolate_point(part, ticks)
            distances = shapely.distance(zone.boundary, points)
            k = int(distances.argmax())
            best = max(best, float(distances[k]))
            low, high = max(ticks[k] - width, 0.0), min(ticks[k] + width, part.length)
    return best


def _plane(points: Any) -> Any:
    """Rings in degrees to metres."""
    import numpy as np

    x, y = TO_PLANE.transform(points[:, 0], points[:, 1])
    return np.column_stack([x, y])


class Pair:
    """A contact ban between a wearer and a protected person, each reporting in their own time."""

    def __init__(self, *, radius_m: float, warning_m: float, risk: int) -> None:
        self.radius = radius_m
        self.warning = warning_m
        self.h = H[risk]
        self.known = Known(0.0, 0.0, frozenset({CLEAR}))
        self.last: dict[str, tuple[Fix, float | None]] = {}
        self.judged: float | None = None

    def observe(self, who: str, fix: Fix) -> Known | None:
        """None: only one of both was seen so far."""
        speed = self._speed(who, fix)
        before_fix = self.last.get(who)
        self.last[who] = (fix, speed)
        if len(self.last) < 2:
            return None
        sigmas = []
        for other, v in self.last.values():
            drift = 0.9 if v is None or 0.5 <= v < 2.5 else (0.3 if v < 0.5 else 3.0)
            sigmas.append(math.hypot(sigma(other.accuracy_m), drift * abs(fix.time_s - other.time_s)))
        s = math.hypot(*sigmas)
        (a, _), (b, _) = self.last.values()
        # The chord through the earth is a little shorter than the geodesic.
        arc = GEOD.inv(a.lon, a.lat, b.lon, b.lat)[2]
        d = arc - arc**3 / (24 * 6.371e6**2)
        p = belief(self.radius - math.hypot(d, s), s)
        ring = belief(self.warning - math.hypot(d, s), s) if self.warning else 0.0
        dt = 60.0 if self.judged is None else fix.time_s - self.judged
        self.judged = fix.time_s
        passed = 0.0
        if before_fix is not None and p <= 0.95:
            passed = self._passed(who, before_fix[0], fix, speed, s)
        self.known = advance(self.known, p, passed, ring, dt, self.h)
        return self.known

    def _speed(self, who: str, fix: Fix) -> float | None:
        if who not in self.last:
            return None
        last = self.last[who][0]
        dt = fix.time_s - last.time_s
        if dt < 1 or dt > 600:
            return None
        moved = GEOD.inv(last.lon, last.lat, fix.lon, fix.lat)[2]
        return max(moved - math.hypot(sigma(last.accuracy_m), sigma(fix.accuracy_m)), 0.0) / dt

    def _passed(self, who: str, last: Fix, fix: Fix, speed: float | None, s: float) -> float:
        dt = fix.time_s - last.time_s
        if dt > 600 or (last.lat, last.lon) == (fix.lat, fix.lon):
            return 0.0
        partner = next(f for name, (f, _) in self.last.items() if name != who)
        here = [_local(partner, f) for f in (last, fix)]
        if math.hypot(*here[0]) < self.radius:
            return 0.0
        nearest = shapely.LineString(here).distance(shapely.Point(0, 0))
        if nearest >= self.radius:
            return 0.0
        drift = 0.9 if speed is None or 0.5 <= speed < 2.5 else (0.3 if speed < 0.5 else 3.0)
        wide = math.hypot(s, drift * dt / 2)
        return belief(self.radius - math.hypot(nearest, wide), wide)


def _local(origin: Fix, fix: Fix) -> tuple[float, float]:
    azimuth, _, length = GEOD.inv(origin.lon, origin.lat, fix.lon, fix.lat)
    return length * math.sin(math.radians(azimuth)), length * math.cos(math.radians(azimuth))
