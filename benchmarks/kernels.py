"""Signed distance and containment on real zones, beside the libraries that others would use.

One core, one run: the kernels; shapely (contains_xy on prepared polygons, grouped by polygon;
distance to the boundary; an STRtree over the edges); a SIMD loop over all edges; Redis GEO when a
redis-server is installed; PostGIS when AFSTAND_POSTGIS names a database (a libpq connection
string). Ours answers in shuffled order, each check another zone; shapely gets its favourite order.
Times are processor time of this thread, the best of several passes; ratios count, nanoseconds are
this machine's.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from afstand.compile import jit
from benchmarks.common import data_folder, parser, report
from benchmarks.oracle import (
    REPAIRS,
    Points,
    RealZone,
    points_far,
    points_in_box,
    points_near,
    polygon_of,
    put_all,
    real_zones,
    rings_of,
)
from benchmarks.peers import postgis_rows, redis_rows
from geofence.kernels.batch import contains_many, signed_distance_many
from geofence.kernels.edges import bits_of, float_of, nearest_and_crossings
from geofence.zones import build

TOLERANCE_M = 120.0
PLACES: dict[str, Callable[[np.random.Generator, Any, int], Points]] = {
    "near": points_near,
    "box": points_in_box,
    "far": points_far,
}
MUNICIPALITIES = "Dutch municipalities"
LARGE = "1k-19k vertices"


class Checks(NamedTuple):
    """Points, each with its zone, in shuffled order."""

    zone: npt.NDArray[np.int64]
    x_mm: npt.NDArray[np.int64]
    y_mm: npt.NDArray[np.int64]


def star(vertices: int, radius_deg: float, latitude: float) -> bytes:
    """A jagged star of a given size, for the classes of which there is no real zone."""
    rng = np.random.default_rng(vertices)
    angle = np.arange(vertices) * 2.0 * np.pi / vertices
    waves = sum(0.15 / k * np.sin(k * angle + rng.uniform(0.0, 6.0)) for k in range(2, 9))
    radius = radius_deg * (1.0 + waves + rng.uniform(-0.002, 0.002, vertices))
    lon = 5.0 + radius * np.cos(angle) / np.cos(np.radians(latitude))
    lat = latitude + radius * np.sin(angle)
    ring = ",".join(
        f"[{a:.7f},{b:.7f}]" for a, b in zip([*lon, lon[0]], [*lat, lat[0]], strict=True)
    )
    return f'{{"type":"Polygon","coordinates":[[{ring}]]}}'.encode()


def classes(zones: Sequence[RealZone]) -> Iterator[tuple[str, list[RealZone]]]:
    """Zones by size."""
    small = [build(star(64, 0.004 + 0.0001 * i, 51.5 + 0.01 * i)) for i in range(50)]
    yield "64 vertices", [RealZone(f"star-{i}", g, polygon_of(g)) for i, g in enumerate(small)]
    yield (
        MUNICIPALITIES,
        [zone for zone in zones if zone.name.startswith("nl_gemeenten")],
    )
    yield LARGE, [zone for zone in zones if zone.grid.vertices >= 968]
    yield "5k-19k vertices", [zone for zone in zones if zone.grid.vertices >= 5000]
    huge = build(star(37_500, 0.4, 52.0))
    yield "37,500 vertices", [RealZone("star", huge, polygon_of(huge))]


def checks_of(zones: Sequence[RealZone], place: str, count: int, seed: int) -> Checks:
    """About `count` points at one kind of place, spread over the zones."""
    rng = np.random.default_rng(seed)
    each = max(1, count // len(zones))
    points = np.concatenate([PLACES[place](rng, zone.polygon, each) for zone in zones])
    order = rng.permutation(len(points))
    return Checks(
        np.repeat(np.arange(len(zones)), each)[order],
        np.ascontiguousarray(points[order, 0]),
        np.ascontiguousarray(points[order, 1]),
    )


def best_ns(
    work: Callable[..., object], arguments: tuple[Any, ...], count: int, passes: int
) -> float:
    """Processor time per check of the best of several passes, ns."""
    times = []
    for _ in range(passes):
        started = time.thread_time_ns()
        work(*arguments)
        times.append(time.thread_time_ns() - started)
    return min(times) / count


@jit
def _brute_force(
    chain: npt.NDArray[np.int32],
    rings: npt.NDArray[np.int64],
    zone_rings: npt.NDArray[np.int64],
    zone: npt.NDArray[np.int64],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    distance: npt.NDArray[np.float64],
) -> None:
    """Signed distance by all edges; chain is all x, then all y; sides count from the far left."""
    half = chain.size // 2
    for i in range(zone.size):
        bits = bits_of(np.inf)
        crossed = 0
        for r in range(zone_rings[zone[i]], zone_rings[zone[i] + 1]):
            first = rings[r]
            count = rings[r + 1] - first - 1
            bits, more = nearest_and_crossings(
                chain, first, half + first, count, x[i], y[i], -(2.0**31) - 0.5, 0.5, bits
            )
            crossed += more
        side = 1.0 if crossed & 1 == 1 else -1.0
        distance[i] = side * np.sqrt(float_of(bits))


def our_rows(zones: Sequence[RealZone], checks: Checks, passes: int) -> dict[str, float]:
    """The kernels and the SIMD loop, ns per check."""
    arrays = put_all(zones).arrays()
    count = len(checks.zone)
    distance = np.empty(count, np.int64)
    inside = np.empty(count, np.bool_)
    found = {}
    for name, tolerance_m in (("exact", np.inf), ("tolerance", TOLERANCE_M)):
        tolerance = np.full(count, tolerance_m)
        arguments = (arrays, *checks, tolerance, distance)
        signed_distance_many(*arguments)
        found[name] = best_ns(signed_distance_many, arguments, count, passes)
    sides = (arrays, *checks, inside)
    contains_many(*sides)
    found["contains"] = best_ns(contains_many, sides, count, passes)
    found["brute force"] = _brute_force_ns(zones, checks)
    return found


def _brute_force_ns(zones: Sequence[RealZone], checks: Checks) -> float:
    rings = [ring for zone in zones for ring in rings_of(zone.grid)]
    per_zone = [len(rings_of(zone.grid)) for zone in zones]
    # From a corner that all zones share nothing fits 31 bits: each zone from its own first vertex.
    corners = np.array([rings_of(zone.grid)[0][0] for zone in zones])
    shifted = [
        ring - corners[which]
        for ring, which in zip(rings, np.repeat(np.arange(len(zones)), per_zone), strict=True)
    ]
    chain = np.concatenate([np.concatenate(shifted)[:, 0], np.concatenate(shifted)[:, 1]])
    some = slice(0, max(200, min(len(checks.zone), 20_000_000 // max(1, len(chain) // len(zones)))))
    which = checks.zone[some]
    arguments = (
        chain.astype(np.int32),
        np.concatenate([[0], np.cumsum([len(ring) for ring in rings])]),
        np.concatenate([[0], np.cumsum(per_zone)]),
        which,
        (checks.x_mm[some] - corners[which, 0]).astype(np.float64),
        (checks.y_mm[some] - corners[which, 1]).astype(np.float64),
        np.empty(len(which), np.float64),
    )
    _brute_force(*arguments)
    return best_ns(_brute_force, arguments, len(which), 2)


def shapely_rows(zones: Sequence[RealZone], checks: Checks, passes: int) -> dict[str, float]:
    """Shapely on the same points, grouped by polygon, ns per check."""
    contains, distance, tree = [], [], []
    for i, zone in enumerate(zones):
        mine = np.flatnonzero(checks.zone == i)
        x, y = checks.x_mm[mine] / 1000.0, checks.y_mm[mine] / 1000.0
        shapely.prepare(zone.polygon)
        boundary = zone.polygon.boundary
        contains.append(best_ns(shapely.contains_xy, (zone.polygon, x, y), len(mine), passes))
        few = max(1, min(len(mine), 200_000 // zone.grid.vertices))
        points = shapely.points(x[:few], y[:few])
        distance.append(best_ns(shapely.distance, (boundary, points), len(points), 2))
        if i < 20:
            tree.append(_tree_ns(zone.polygon, points))
    return {
        "shapely contains": float(np.mean(contains)),
        "shapely distance": float(np.mean(distance)),
        "shapely STRtree": float(np.mean(tree)),
    }


def _tree_ns(polygon: Any, points: npt.NDArray[Any]) -> float:
    edges = []
    for line in shapely.get_parts(shapely.get_parts(polygon.boundary)):
        vertices = shapely.get_coordinates(line)
        edges.append(np.stack([vertices[:-1], vertices[1:]], axis=1))
    made = shapely.STRtree(shapely.linestrings(np.concatenate(edges)))
    return best_ns(made.query_nearest, (points, None, True), len(points), 2)


def run(
    zones: Sequence[RealZone], count: int = 100_000, passes: int = 7, seed: int = 1
) -> tuple[dict[str, float], list[dict[str, object]]]:
    """Measure all classes; the figures, and the rows of the table."""
    figures: dict[str, float] = {}
    rows: list[dict[str, object]] = []
    for name, members in classes(zones):
        for place in PLACES:
            checks = checks_of(members, place, count, seed)
            found = our_rows(members, checks, passes) | shapely_rows(members, checks, 3)
            rows.append({"zones": name, "points": place, **found})
            print(f"  {name}, {place}: done", flush=True)
            if name == LARGE:
                figures |= _figures(place, found)
        if name == LARGE:
            figures |= _sizes(members)
        if name == MUNICIPALITIES:
            sizes = [zone.grid.size_bytes / 1024.0 for zone in members]
            figures["kb_per_municipality"] = float(np.mean(sizes))
            figures["kb_per_municipality_max"] = float(np.max(sizes))
    return figures, rows


def _figures(place: str, found: dict[str, float]) -> dict[str, float]:
    if place == "near":
        return {
            "near_ns": found["exact"],
            "near_ratio_to_shapely_distance": found["shapely distance"] / found["exact"],
            "contains_ns": found["contains"],
            "contains_ratio_to_shapely": found["shapely contains"] / found["contains"],
        }
    if place == "far":
        return {
            "far_ns": found["tolerance"],
            "far_ratio_to_shapely_distance": found["shapely distance"] / found["tolerance"],
        }
    return {"box_ns": found["tolerance"]}


def _sizes(zones: Sequence[RealZone]) -> dict[str, float]:
    sizes = [zone.grid.size_bytes / 1024.0 for zone in zones]
    times = [best_ns(build, (zone.grid.source, REPAIRS), 1, 3) / 1e6 for zone in zones]
    return {
        "kb_per_zone": float(np.mean(sizes)),
        "kb_per_zone_max": float(np.max(sizes)),
        "build_ms_per_zone": float(np.mean(times)),
        "build_ms_per_zone_max": float(np.max(times)),
    }


def plot(figure: Any, rows: Sequence[dict[str, object]]) -> None:
    """Ours and shapely, by class and place, on a logarithmic scale."""
    axes = figure.subplots()
    names = [name for name in rows[0] if name not in {"zones", "points"}]
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        places = np.arange(len(rows)) + (k - len(names) / 2 + 0.5) * width
        axes.bar(places, [row[name] for row in rows], width, label=name)
    axes.set_yscale("log")
    axes.set_ylabel("ns per (point, zone) check")
    labels = [f"{row['zones']}\n{row['points']}" for row in rows]
    axes.set_xticks(np.arange(len(rows)), labels, fontsize=6, rotation=90)
    axes.legend(fontsize=7, ncols=4)
    axes.grid(axis="y", alpha=0.3)


def main(argv: list[str]) -> int:
    """Run and report."""
    options = parser("kernels", "Signed distance and containment on real zones, beside peers.")
    options.add_argument("--points", type=int, default=100_000, help="checks per row (100,000)")
    options.add_argument("--passes", type=int, default=7, help="passes, the best counts (7)")
    args = options.parse_args(argv)
    zones = real_zones(data_folder())
    print(f"{len(zones)} real zones", flush=True)
    figures, rows = run(zones, args.points, args.passes)
    large = [zone for zone in zones if zone.grid.vertices >= 968]
    others: list[str] = []
    servers: dict[str, str] = {}
    for peer in (redis_rows, postgis_rows):
        lines, more = peer(large, checks_of(large, "near", 2_000, 2))
        others += lines
        servers |= more
    report("kernels", figures, rows, lambda figure: plot(figure, rows), args,
           geos=shapely.geos_version_string, **servers)  # fmt: skip
    print("\nOver a connection, near points of the same zones:")
    for line in others:
        print(f"  {line}")
    return 0
