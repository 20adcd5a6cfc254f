"""Ground truth: when somebody truly was inside a polygon or within a radius of somebody else.

Computed from the true paths alone, with geometry of its own: no fix, no engine, no `geofence`.
Times are Unix milliseconds as floats: crossings of linear motion with straight edges are exact, not
sampled.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from simulators.geo import Floats, LocalPlane, metres_per_degree, separation_m
from simulators.paths import Mover, Path


class Interval(NamedTuple):
    """A span of time in which something was true; open where the window ended first."""

    from_ms: float
    to_ms: float

    @property
    def length_ms(self) -> float:
        """How long it lasted."""
        return self.to_ms - self.from_ms


class Closest(NamedTuple):
    """The closest approach of two persons."""

    at_ms: float
    distance_m: float


class Area:
    """A polygon or multipolygon with holes, in the plane's metres, by its edges (even-odd rule)."""

    __slots__ = ("x0", "x1", "y0", "y1")

    def __init__(self, rings: Sequence[Sequence[tuple[float, float]]]) -> None:
        edges = [
            (*a, *b)
            for ring in rings
            for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)
            if a != b
        ]
        if not edges:
            raise ValueError("an area needs edges")
        columns = np.array(edges, dtype=np.float64).T
        self.x0, self.y0, self.x1, self.y1 = columns

    @classmethod
    def from_geojson(cls, geometry: Mapping[str, Any], plane: LocalPlane) -> "Area":
        """Read a Polygon or MultiPolygon (degrees, longitude first)."""
        polygons = (
            [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        )
        return cls(
            [
                [plane.metres(place[1], place[0]) for place in ring]
                for polygon in polygons
                for ring in polygon
            ]
        )

    def contains(self, x_m: float, y_m: float) -> bool:
        """Whether a point is inside (even-odd; on the boundary: either)."""
        above = (self.y0 > y_m) != (self.y1 > y_m)
        dy = np.where(above, self.y1 - self.y0, 1.0)
        crossing_x = self.x0 + (y_m - self.y0) / dy * (self.x1 - self.x0)
        return bool(np.count_nonzero(above & (crossing_x > x_m)) % 2)

    def signed_distance_m(self, x_m: float, y_m: float) -> float:
        """Distance to the boundary in the plane's metres, positive inside."""
        dx, dy = self.x1 - self.x0, self.y1 - self.y0
        share = np.clip(
            ((x_m - self.x0) * dx + (y_m - self.y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0
        )
        nearest = np.hypot(self.x0 + share * dx - x_m, self.y0 + share * dy - y_m).min()
        return float(nearest) if self.contains(x_m, y_m) else -float(nearest)

    def crossings(self, ax: float, ay: float, bx: float, by: float) -> Floats:
        """Return the shares (0 to 1) of a straight move at which it meets the boundary, sorted."""
        ux, uy = bx - ax, by - ay
        ex, ey = self.x1 - self.x0, self.y1 - self.y0
        cross = ux * ey - uy * ex
        meets = np.abs(cross) > 1e-12
        safe = np.where(meets, cross, 1.0)
        along = ((self.x0 - ax) * ey - (self.y0 - ay) * ex) / safe
        across = ((self.x0 - ax) * uy - (self.y0 - ay) * ux) / safe
        hit = meets & (along >= 0.0) & (along <= 1.0) & (across >= 0.0) & (across <= 1.0)
        return np.sort(along[hit])


def inside_intervals(path: Path, area: Area) -> list[Interval]:
    """Return when a path was inside an area, in order, adjacent spans merged."""
    found: list[Interval] = []
    for i in range(len(path.t_ms) - 1):
        ax, ay, bx, by = (
            float(v) for v in (path.x_m[i], path.y_m[i], path.x_m[i + 1], path.y_m[i + 1])
        )
        t0, span_ms = float(path.t_ms[i]), float(path.t_ms[i + 1] - path.t_ms[i])
        if span_ms == 0.0:
            continue
        cuts = [0.0, *area.crossings(ax, ay, bx, by).tolist(), 1.0]
        for lower, upper in pairwise(cuts):
            middle = (lower + upper) / 2.0
            if upper > lower and area.contains(ax + (bx - ax) * middle, ay + (by - ay) * middle):
                _append(found, t0 + lower * span_ms, t0 + upper * span_ms)
    return found


def _append(found: list[Interval], from_ms: float, to_ms: float) -> None:
    """Add a span, merged with the last one when they touch (1 us: rounding at a vertex)."""
    if found and from_ms - found[-1].to_ms <= 1e-3:
        found[-1] = Interval(found[-1].from_ms, to_ms)
    else:
        found.append(Interval(from_ms, to_ms))


def outside_intervals(path: Path, area: Area) -> list[Interval]:
    """Return when a path was outside an area: the breaches of a location order."""
    found: list[Interval] = []
    reached = float(path.start_ms)
    for inside in inside_intervals(path, area):
        if inside.from_ms > reached:
            found.append(Interval(reached, inside.from_ms))
        reached = inside.to_ms
    if path.end_ms > reached:
        found.append(Interval(reached, float(path.end_ms)))
    return found


def _relative(one: Path, other: Path, plane: LocalPlane) -> tuple[Floats, Floats, Floats]:
    """Return the common vertex times of two paths and the separation vector there.

    In true local metres.
    """
    from_ms, to_ms = max(one.start_ms, other.start_ms), min(one.end_ms, other.end_ms)
    if to_ms < from_ms:
        raise ValueError("the paths have no time in common")
    times = np.unique(np.concatenate((one.t_ms, other.t_ms, [from_ms, to_ms])))
    times = times[(times >= from_ms) & (times <= to_ms)].astype(np.float64)
    ax, ay = one.positions(times)
    bx, by = other.positions(times)
    lat_m, lon_m = metres_per_degree(plane.lat_deg + (ay + by) / 2.0 / plane.lat_m)
    return times, (bx - ax) * (lon_m / plane.lon_m), (by - ay) * (lat_m / plane.lat_m)


def within_intervals(one: Path, other: Path, radius_m: float, plane: LocalPlane) -> list[Interval]:
    """Return when two persons were within a radius of each other.

    Between two vertices the separation is linear, so its square is a parabola with exact roots.
    Metres are those of the pair's own latitude at each vertex.
    """
    times, dx, dy = _relative(one, other, plane)
    found: list[Interval] = []
    if len(times) == 1:
        return found
    for i in range(len(times) - 1):
        span_ms = times[i + 1] - times[i]
        vx, vy = dx[i + 1] - dx[i], dy[i + 1] - dy[i]
        a, b = vx * vx + vy * vy, 2.0 * (dx[i] * vx + dy[i] * vy)
        c = dx[i] * dx[i] + dy[i] * dy[i] - radius_m * radius_m
        if a == 0.0:
            if c <= 0.0:
                _append(found, float(times[i]), float(times[i + 1]))
            continue
        inner = b * b - 4.0 * a * c
        if inner <= 0.0:
            continue
        root = float(np.sqrt(inner))
        lower, upper = max(0.0, (-b - root) / (2.0 * a)), min(1.0, (-b + root) / (2.0 * a))
        if upper > lower:
            _append(found, float(times[i] + lower * span_ms), float(times[i] + upper * span_ms))
    return found


def closest_approach(one: Path, other: Path, plane: LocalPlane) -> Closest:
    """Return when two persons were closest and how close (on the ellipsoid)."""
    times, dx, dy = _relative(one, other, plane)
    best_ms, best_m2 = float(times[0]), float(dx[0] ** 2 + dy[0] ** 2)
    for i in range(len(times) - 1):
        vx, vy = dx[i + 1] - dx[i], dy[i + 1] - dy[i]
        a = vx * vx + vy * vy
        share = 0.0 if a == 0.0 else min(1.0, max(0.0, -(dx[i] * vx + dy[i] * vy) / a))
        m2 = float((dx[i] + share * vx) ** 2 + (dy[i] + share * vy) ** 2)
        if m2 < best_m2:
            best_ms, best_m2 = float(times[i] + share * (times[i + 1] - times[i])), m2
    return Closest(best_ms, distance_at(one, other, best_ms, plane))


def distance_at(one: Path | Mover, other: Path | Mover, t_ms: float, plane: LocalPlane) -> float:
    """Return the true distance in metres between two persons at an instant."""
    a, b = one.at(t_ms), other.at(t_ms)  # type: ignore[arg-type] # a Mover takes whole milliseconds, a Path any
    return float(separation_m(*plane.degrees(a.x_m, a.y_m), *plane.degrees(b.x_m, b.y_m)))
