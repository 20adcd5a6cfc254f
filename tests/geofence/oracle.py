"""An independent model of the decision.

Scalar and slow: geofence.md and domain.md written down once more.

It shares no code with the engine: shapely and pyproj for distances, math.erf, math.tanh and
math.log for the rest, floats instead of integers. Because the engine rounds (probabilities to
1/1024), the model follows every evidence as an interval and every state as a set: a disagreement is
a state that no rounding explains.
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
    speed_m_s: float | None = None


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


def weight(dt_s: float, p: float, leap: str = "moved") -> float:
    """How much a fix counts. A breach after a leap counts from the leap on, and with less."""
    if leap == "moved" or p <= 0.5:
        return min(math.tanh(dt_s / 30.0), 0.5)
    return 0.0 if leap == "leap" else min(math.tanh(dt_s / 120.0), 0.5)


class Leaps:
    """How one came to where the last fix was: moved, leapt, or with this very fix ("leap").

    A leap is a move beyond twice both accuracies from standstill to standstill. It is over when a
    fix shows movement, or lies where the leap began.
    """

    def __init__(self) -> None:
        self.how = "moved"
        self.start: Fix | None = None
        self.last: Fix | None = None
        self.speed: float | None = None

    def take(self, fix: Fix) -> str:
        """`fix.speed_m_s` as reported, None for unknown: then movement is taken for granted."""
        last, still = self.last, fix.speed_m_s is not None and fix.speed_m_s < 0.5
        was_still = self.speed is not None and self.speed < 0.5
        leaps = False
        if last is not None and still and was_still:
            slack = 2 * (max(fix.accuracy_m, 3.0) + max(last.accuracy_m, 3.0))
            leaps = math.hypot(*_local(last, fix)) > slack
        if self.how != "moved":
            assert self.start is not None
            assert last is not None
            slack = 2 * (max(fix.accuracy_m, 3.0) + max(last.accuracy_m, 3.0))
            over = not still or math.hypot(*_local(self.start, fix)) <= slack
            self.how = "moved" if over else "leap" if leaps else "leapt"
        elif leaps:
            self.how, self.start = "leap", last
        self.speed = fix.speed_m_s if fix.speed_m_s is not None else _derived(last, fix)
        self.last = fix
        return self.how


def _derived(last: Fix | None, fix: Fix) -> float | None:
    """Speed from two fixes, beyond their error."""
    if last is None or not 1 <= fix.time_s - last.time_s <= 600:
        return None
    moved = math.hypot(*_local(last, fix))
    error = math.hypot(sigma(last.accuracy_m), sigma(fix.accuracy_m))
    return max(moved - error, 0.0) / (fix.time_s - last.time_s)


def step(
    known: Known, p: float, w: float, h: float, p_low: float | None = None
) -> tuple[float, float]:
    """The interval of the evidence after one step, before the state."""
    slack = 2e-4
    p_low = p if p_low is None else p_low
    low = min(max(known.low + w * logit(p_low - ROUNDING) - slack, 0.0), h + 2.0)
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
    known: Known,
    p: float,
    passage: tuple[float, float],
    ring: float,
    dt_s: float,
    h: float,
    leap: str,
) -> Known:
    """Evidence and states after a fix, with the passage before it where that says more.

    `passage`: P of it at least and at most; the engine searches its depth to a sixteenth.
    """
    passed_low, passed = (0.0, 0.0) if known.states == {CONFIRMED} else passage
    branches = []
    if passed > p - 2 * ROUNDING:
        low, high = step(known, passed, weight(dt_s, passed, leap) / 2, h, passed_low)
        before = known.states
        if low >= h:
            before = frozenset({CONFIRMED})
        elif high >= h:
            before |= {CONFIRMED}
        low, high = step(Known(low, high, before), p, weight(dt_s, p, leap) / 2, h)
        branches.append((low, high, before, max(p, passed)))
    if passed_low < p + 2 * ROUNDING:
        branches.append((*step(known, p, weight(dt_s, p, leap), h), known.states, p))
    found = frozenset().union(*(states(b, lo, hi, h, q, ring) for lo, hi, b, q in branches))
    return Known(min(b[0] for b in branches), max(b[1] for b in branches), found)


class Area:
    """A wearer and one order about zones (GeoJSON geometries in degrees)."""

    def __init__(
        self,
        zones: list[dict[str, Any]],
        *,
        location: bool,
        ring_m: float,
        risk: int,
        leaving: bool = False,
    ) -> None:
        self.zones = [shapely.transform(shapely.geometry.shape(z), _plane) for z in zones]
        self.location = location
        self.leaving = leaving  # an exit ban: outside is the breach, at once
        self.ring = ring_m
        self.h = H[risk] * (1.5 if location else 1.0)
        self.known = Known(0.0, 0.0, frozenset({CLEAR}))
        self.last: Fix | None = None
        self.leaps = Leaps()

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
        elif self.leaving:
            p = belief(-depth, s)
            if self.ring:
                ring = belief(self.ring - depth, s)
        else:
            p = belief(depth, s)
            if self.ring:
                ring = belief(depth + self.ring, s)
        dt = 60.0 if self.last is None else fix.time_s - self.last.time_s
        passage = (0.0, 0.0)
        if self.last is not None and not self.location and not self.leaving:
            passage = self._passed(self.last, fix, s, dt)
        leap = self.leaps.take(fix)
        self.known = advance(self.known, p, passage, ring, dt, self.h, leap)
        self.last = fix
        return self.known

    def _passed(self, last: Fix, fix: Fix, s: float, dt: float) -> tuple[float, float]:
        """P, at least and at most, that the path ran through a zone and has no end in it."""
        a = TO_PLANE.transform(last.lon, last.lat)
        b = TO_PLANE.transform(fix.lon, fix.lat)
        if dt > 600 or a == b:
            return 0.0, 0.0
        least = best = 0.0
        wide = max(s, sigma(last.accuracy_m))
        speed = fix.speed_m_s if fix.speed_m_s is not None else _derived(last, fix)
        for zone in self.zones:
            if any(zone.covers(shapely.Point(end)) for end in (a, b)):
                continue
            inside = shapely.LineString([a, b]).intersection(zone)
            if inside.is_empty:
                continue
            depth = _deepest(zone, inside)
            if depth > 0:
                spread = math.hypot(wide, drift(speed) * dt / 2)
                best = max(best, belief(depth, spread))
                least = max(least, belief(depth * 15 / 16 - 0.25, spread))
        return least, best


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


class Person:
    """What is remembered of one of a pair.

    The last fix, its speed, the velocity over at least 30 s.
    """

    def __init__(self) -> None:
        self.last: Fix | None = None
        self.speed: float | None = None
        self.velocity = (0.0, 0.0)  # east, north
        self.anchors: list[Fix] = []
        self.leaps = Leaps()

    def take(self, fix: Fix) -> None:
        self.speed = fix.speed_m_s if fix.speed_m_s is not None else _derived(self.last, fix)
        self.leaps.take(fix)
        self.velocity = (0.0, 0.0)
        bases = [a for a in self.anchors[-2:] if fix.time_s - a.time_s >= 30]
        if bases and fix.time_s - bases[-1].time_s <= 600:
            base = bases[-1]
            way = _local(base, fix)
            if math.hypot(*way) > 2 * math.hypot(sigma(base.accuracy_m), sigma(fix.accuracy_m)):
                self.velocity = tuple(w / (fix.time_s - base.time_s) for w in way)  # type: ignore[assignment]
        if not self.anchors or fix.time_s - self.anchors[-1].time_s >= 30:
            self.anchors.append(fix)
        self.last = fix

    def place(self, origin: Fix, when_s: float) -> tuple[float, float]:
        """Where one is held to be: moved on for 30 s and back for 120 s when driving."""
        assert self.last is not None
        east, north = _local(origin, self.last)
        if self.speed is None or self.speed < 2.5:
            return east, north
        dt = min(max(when_s - self.last.time_s, -120.0), 30.0)
        return east + self.velocity[0] * dt, north + self.velocity[1] * dt

    def sigma(self, when_s: float) -> float:
        assert self.last is not None
        return math.hypot(
            sigma(self.last.accuracy_m), drift(self.speed) * abs(when_s - self.last.time_s)
        )


def drift(speed: float | None) -> float:
    """Metres by which a held position is wrong per second: still, walking, driving."""
    if speed is None:
        return 0.9
    return 0.3 if speed < 0.5 else 0.9 if speed < 2.5 else 3.0


class Pair:
    """A contact ban between a wearer and a protected person, each reporting in their own time."""

    def __init__(self, *, radius_m: float, warning_m: float, risk: int) -> None:
        self.radius = radius_m
        self.warning = warning_m
        self.h = H[risk]
        self.known = Known(0.0, 0.0, frozenset({CLEAR}))
        self.people = {"wearer": Person(), "victim": Person()}
        # The first judgement of this instant, when the one before was, and the evidence of then.
        self.together: float | None = None
        self.judged: float | None = None
        self.before: tuple[float | None, Known] = (None, self.known)

    def observe(self, who: str, fix: Fix) -> Known | None:
        """None: only one of both was seen so far."""
        me = self.people[who]
        partner = next(person for name, person in self.people.items() if name != who)
        last = me.last
        me.take(fix)
        if partner.last is None:
            return None
        now = fix.time_s
        d = math.dist(me.place(fix, now), partner.place(fix, now))
        s = math.hypot(me.sigma(now), partner.sigma(now))
        p = belief(self.radius - math.hypot(d, s), s)
        ring = belief(self.warning - math.hypot(d, s), s) if self.warning else 0.0
        passed = 0.0
        if last is not None and p <= 0.95:
            own_way = math.hypot(*_local(last, fix))
            # Who did not come far enough passed nobody; the other one's way is judged with theirs.
            if d - self.radius <= own_way:
                passed = self._passed(me, partner, last, fix, s)
        if self.together is None or now - self.together > 2.0:
            self.before = (self.judged, self.known)
            self.together = now
        since, known = self.before
        dt = 60.0 if since is None else now - since
        self.judged = now
        # Evidence goes on from before this instant, states from what was told last.
        known = Known(known.low, known.high, self.known.states)
        leap = max((me.leaps.how, partner.leaps.how), key=("moved", "leapt", "leap").index)
        self.known = advance(known, p, (passed, passed), ring, dt, self.h, leap)
        return self.known

    def _passed(self, me: Person, partner: Person, last: Fix, fix: Fix, s: float) -> float:
        """P of a passage: the way of one as the other saw it, moved along where driving."""
        dt = fix.time_s - last.time_s
        if dt > 600 or (last.lat, last.lon) == (fix.lat, fix.lon):
            return 0.0
        seen = []
        for f in (last, fix):
            there, here = partner.place(fix, f.time_s), _local(fix, f)
            seen.append((here[0] - there[0], here[1] - there[1]))
        nearest = shapely.LineString(seen).distance(shapely.Point(0, 0))
        if math.hypot(*seen[0]) < self.radius or nearest >= self.radius:
            return 0.0
        wide = math.hypot(s, drift(me.speed) * dt / 2)
        return belief(self.radius - math.hypot(nearest, wide), wide)


def _local(origin: Fix, fix: Fix) -> tuple[float, float]:
    """East and north in metres from one fix to another."""
    if (origin.lat, origin.lon) == (fix.lat, fix.lon):
        return 0.0, 0.0
    azimuth, _, length = GEOD.inv(origin.lon, origin.lat, fix.lon, fix.lat)
    return length * math.sin(math.radians(azimuth)), length * math.cos(math.radians(azimuth))
