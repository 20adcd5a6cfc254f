"""Signs and distances of the kernels against shapely, on the real zones; not a speed, a proof.

Random points near, in and far from every real zone: the sign of the signed distance against
shapely's contains_xy, in every point; the distance against shapely.distance, in a share of them. A
disagreement within a millimetre of the boundary is listed apart (both compute with rounded
coordinates there); any other one makes the run fail.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from benchmarks.common import data_folder, parser, report
from benchmarks.oracle import (
    RealZone,
    points_far,
    points_in_box,
    points_near,
    put_all,
    real_zones,
    scales,
)
from geofence.kernels.batch import contains_many
from geofence.zones import ZoneSet

# Shares of the points: within 2 m of the boundary, within 100 m, in the bounding box, far outside.
_SHARES = (0.25, 0.4, 0.25, 0.1)
_BATCH = 5_000
_LISTED_MAX = 1_000


class Findings(NamedTuple):
    """What a run found."""

    checks: int
    wrong: list[tuple[str, int, int]]  # zone and point: another sign, more than 1 mm from the line
    touching: list[tuple[str, int, int]]  # another sign within a millimetre of the boundary
    distances: int
    distance_error_mm: float
    beside: int  # signs of `contains` that differ from those of the signed distance


def check(
    zones: Sequence[RealZone], checks: int, seed: int, distances_per_zone: int = 200
) -> Findings:
    """Compare about `checks` points, spread over the zones."""
    rng = np.random.default_rng(seed)
    made = put_all(zones)
    found = Findings(0, [], [], 0, 0.0, 0)
    per_zone = max(len(_SHARES) * 4, -(-checks // len(zones)))
    for index, zone in enumerate(zones):
        shapely.prepare(zone.polygon)
        left = per_zone
        while left > 0:
            count = min(left, _BATCH)
            part = distances_per_zone * count // per_zone
            found = _check_zone(rng, made, index, zone, count, part, found)
            left -= count
    return found


def _points(rng: np.random.Generator, polygon: Any, count: int) -> npt.NDArray[np.int64]:
    share = [int(count * part) for part in _SHARES]
    share[1] += count - sum(share)
    return np.concatenate(
        [
            points_near(rng, polygon, share[0], 2.0),
            points_near(rng, polygon, share[1]),
            points_in_box(rng, polygon, share[2]),
            points_far(rng, polygon, share[3]),
        ]
    )


def _check_zone(
    rng: np.random.Generator,
    made: ZoneSet,
    index: int,
    zone: RealZone,
    count: int,
    distances: int,
    found: Findings,
) -> Findings:
    points = _points(rng, zone.polygon, count)
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    which = np.full(count, index, np.int64)
    # Some checks with a tolerance, which may answer with a bound, and some without.
    tolerance = np.where(rng.random(count) < 0.5, np.inf, 120.0)
    sd = made.signed_distance_many(which, x, y, tolerance)
    inside = np.empty(count, np.bool_)
    contains_many(made.arrays(), which, x, y, inside)
    truth = shapely.contains_xy(zone.polygon, x / 1000.0, y / 1000.0)
    wrong, touching = list(found.wrong), list(found.touching)
    for i in np.flatnonzero(((sd > 0) != truth) | (inside != truth)):
        apart = zone.polygon.boundary.distance(shapely.Point(x[i] / 1000.0, y[i] / 1000.0))
        (touching if apart <= 0.001 else wrong).append((zone.name, int(x[i]), int(y[i])))
    sample = rng.permutation(count)[:distances]
    exact = made.signed_distance_many(
        which[sample], x[sample], y[sample], np.full(len(sample), np.inf)
    )
    true_mm = (
        1000.0
        * shapely.distance(zone.polygon.boundary, shapely.points(points[sample] / 1000.0))
        / scales(made, index, points[sample])
    )
    error = float(np.abs(np.abs(exact) - true_mm).max(initial=0.0))
    return Findings(
        checks=found.checks + count,
        wrong=wrong,
        touching=touching,
        distances=found.distances + len(sample),
        distance_error_mm=max(found.distance_error_mm, error),
        beside=found.beside + int(np.sum((sd > 0) != inside)),
    )


def main(argv: list[str]) -> int:
    """Run and report; 1 if anything is wrong."""
    options = parser("signs", "Signs and distances against shapely on the real zones.")
    options.add_argument("--checks", type=int, default=1_000_000, help="random points (1,000,000)")
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args(argv)
    started = time.perf_counter()
    zones = real_zones(data_folder())
    print(f"{len(zones)} real zones; {args.checks:,} points, seed {args.seed}", flush=True)
    found = check(zones, args.checks, args.seed)
    for kind, points in (("WRONG", found.wrong), ("within 1 mm", found.touching)):
        for name, x, y in points[:_LISTED_MAX]:
            print(f"{kind}: {name} at {x} {y} mm")
    figures = {
        "checks": float(found.checks),
        "wrong_signs": float(len(found.wrong)),
        "signs_within_1_mm": float(len(found.touching)),
        "distances": float(found.distances),
        "distance_error_mm_max": found.distance_error_mm,
    }
    rows = [{"what": name, "value": value} for name, value in figures.items()]
    rows.append({"what": "seconds", "value": time.perf_counter() - started})
    report("signs", figures, rows, None, args, geos=shapely.geos_version_string)
    return 1 if found.wrong or found.distance_error_mm > 10.0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
