"""Passing through between two fixes: crossings, distances by shapely, depths by dense sampling."""

import math
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.oracle import RealZone, points_near, polygon_of, put_all, real_zones, rings_of
from geofence.kernels.arrays import NOWHERE_MM
from geofence.kernels.distance import project
from geofence.kernels.projection import chord_mm
from geofence.kernels.segment import (
    DEPTH_ERROR_MM,
    DEPTH_ERROR_SHARE,
    segment_cannot_touch,
    segment_depth_many,
    segment_depth_wgs84,
)
from geofence.zones import Circle, ZoneSet, build

SQUARE = {
    "type": "Polygon",
    "coordinates": [[[4.5, 51.9], [4.51, 51.9], [4.51, 51.907], [4.5, 51.907], [4.5, 51.9]]],
}


def depths(
    zones: ZoneSet, index: int, start: np.ndarray, end: np.ndarray, tolerance_m: float = math.inf
) -> np.ndarray:
    count = len(start)
    found = np.empty(count, np.int64)
    x0, y0, x1, y1 = (np.ascontiguousarray(p[:, i]) for p in (start, end) for i in (0, 1))
    which, tolerance = np.full(count, index, np.int64), np.full(count, tolerance_m)
    segment_depth_many(zones.arrays(), which, x0, y0, x1, y1, tolerance, found)
    return found


def against_shapely(zones: ZoneSet, index: int, zone: RealZone, rng: np.random.Generator) -> None:
    count = 200
    start = points_near(rng, zone.polygon, count, 300.0)
    length_mm = rng.choice([0, 1_000, 50_000, 300_000, 1_500_000, 8_000_000], count)
    angle = rng.uniform(0.0, 2.0 * math.pi, count)
    step = length_mm[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    end = start + np.round(step).astype(np.int64)
    found = depths(zones, index, start, end)
    ways = [
        shapely.LineString([a, b]) if tuple(a) != tuple(b) else shapely.Point(a)
        for a, b in zip((start / 1000.0).tolist(), (end / 1000.0).tolist(), strict=True)
    ]
    meets = shapely.intersects(zone.polygon, ways)
    apart_mm = shapely.distance(zone.polygon, ways) * 1000.0
    assert ((found >= 0) == meets).all()
    outside = found < 0
    assert (np.abs(found + apart_mm)[outside] <= 0.51 + 2e-4 * apart_mm[outside]).all()
    # With a tolerance an answer is the same or a bound beyond it.
    near = depths(zones, index, start, end, 40.0)
    assert ((near > 0) == (found > 0)).all()
    within = np.abs(near) <= 40_000
    assert (near[within] == found[within]).all()
    assert (np.abs(near) <= np.abs(found) + DEPTH_ERROR_MM + 0.1 * np.abs(found)).all()
    assert (np.abs(found)[~within] >= 40_000).all()
    for i in np.flatnonzero(found > 0)[:12]:
        sampled, spacing = sample(zones, index, start[i], end[i])
        margin = max(DEPTH_ERROR_MM, DEPTH_ERROR_SHARE * found[i]) + 2.0
        assert found[i] >= sampled - margin
        assert found[i] <= sampled + spacing / 2.0 + 2.0


def sample(zones: ZoneSet, index: int, start: np.ndarray, end: np.ndarray) -> tuple[float, float]:
    """The greatest signed distance of many points on the way, and how far apart they are."""
    length = math.dist(start, end)
    count = min(3_000, max(2, int(length / 200.0)))
    share = np.linspace(0.0, 1.0, count)[:, None]
    points = np.round(start + share * (end - start)).astype(np.int64)
    sd = zones.signed_distance_many(
        np.full(count, index, np.int64),
        np.ascontiguousarray(points[:, 0]),
        np.ascontiguousarray(points[:, 1]),
        np.full(count, math.inf),
    )
    return float(sd.max()), length / (count - 1)


@pytest.mark.slow
def test_real_zones_against_shapely(data: Path, seed: int) -> None:
    zones = real_zones(data, ("rotterdam",))
    made = put_all(zones)
    rng = np.random.default_rng(seed)
    for index, zone in enumerate(zones):
        against_shapely(made, index, zone, rng)


@pytest.fixture(scope="module")
def square() -> tuple[ZoneSet, np.ndarray]:
    """A square of about 700 x 780 m, and its corners in the plane."""
    zones = ZoneSet()
    zones.put("square", 1, SQUARE)
    return zones, rings_of(zones.grid("square"))[0][:4]


def depth(zones: ZoneSet, a: np.ndarray, b: np.ndarray) -> int:
    both = [depths(zones, 0, np.array([p]), np.array([q]))[0] for p, q in ((a, b), (b, a))]
    margin = max(DEPTH_ERROR_MM, DEPTH_ERROR_SHARE * abs(both[0]))
    assert abs(both[0] - both[1]) <= margin
    return int(max(both))


def test_right_through_the_middle(square: tuple[ZoneSet, np.ndarray]) -> None:
    zones, corners = square
    middle = corners.mean(axis=0).astype(np.int64)
    across = np.array([2_000_000, 0])
    deepest = depth(zones, middle - across, middle + across)
    half_width = math.dist(corners[0], corners[1]) / 2.0
    assert abs(deepest - half_width) < DEPTH_ERROR_SHARE * half_width + 5_000


def test_over_a_corner_by_millimetres(square: tuple[ZoneSet, np.ndarray]) -> None:
    zones, corners = square
    outward = (corners[0] - corners.mean(axis=0)) / math.dist(corners[0], corners.mean(axis=0))
    along = np.array([-outward[1], outward[0]]) * 400_000.0
    for offset_mm, meets in ((-2_000, True), (-3, True), (3, False), (2_000, False)):
        at = corners[0] + outward * offset_mm
        a, b = np.round(at - along).astype(np.int64), np.round(at + along).astype(np.int64)
        found = depth(zones, a, b)
        assert (found > 0) == meets
        if not meets:
            assert abs(found + offset_mm) <= 2


def test_touching_is_not_entering(square: tuple[ZoneSet, np.ndarray]) -> None:
    zones, corners = square
    # Along the line of a side, beyond its end: no contact. Ending on the corner: a touch.
    side = corners[1] - corners[0]
    assert depth(zones, corners[0] - side, corners[0]) == 0
    assert depth(zones, corners[0] - side, corners[0] - side // 2) < 0
    assert depth(zones, corners[0], corners[0]) == 0


def test_without_moving_it_is_the_signed_distance(square: tuple[ZoneSet, np.ndarray]) -> None:
    zones, corners = square
    rng = np.random.default_rng(4)
    points = corners[0] + rng.integers(-500_000, 1_500_000, (300, 2))
    sd = zones.signed_distance_many(
        np.zeros(300, np.int64),
        np.ascontiguousarray(points[:, 0]),
        np.ascontiguousarray(points[:, 1]),
        np.full(300, math.inf),
    )
    assert (depths(zones, 0, points, points) == sd).all()


def test_a_way_of_a_thousand_kilometres(square: tuple[ZoneSet, np.ndarray]) -> None:
    zones, corners = square
    middle = corners.mean(axis=0).astype(np.int64)
    far = np.array([800_000_000, 600_000_000])
    assert depth(zones, middle - far, middle + far) > 200_000
    beside = np.array([-60_000_000, 80_000_000])
    found = depth(zones, middle - far + beside, middle + far + beside)
    assert -101_000_000 < found < -98_000_000


def test_a_hole_is_outside() -> None:
    shell = [[4.5, 51.9], [4.54, 51.9], [4.54, 51.93], [4.5, 51.93], [4.5, 51.9]]
    hole = [[4.51, 51.91], [4.51, 51.92], [4.53, 51.92], [4.53, 51.91], [4.51, 51.91]]
    grid = build({"type": "Polygon", "coordinates": [shell, hole]})
    zones = ZoneSet()
    zones.put("ring", 1, grid)
    ring = rings_of(grid)[1]
    middle = ring[:-1].mean(axis=0).astype(np.int64)
    assert depth(zones, middle, middle + 1_000) < -100_000
    # From the hole to the world outside: through the ring.
    assert depth(zones, middle, middle + np.array([9_000_000, 0])) > 100_000
    shape = polygon_of(grid)
    assert not shape.contains(shapely.Point(middle / 1000.0))


@pytest.mark.parametrize("radius_m", [20, 500, 20_000])
def test_circles(radius_m: int) -> None:
    zones = ZoneSet()
    index = zones.put("c", 1, Circle(519200000, 44800000, radius_m * 1000))
    arrays = zones.arrays()
    # Past the circle to the north, from west to east on a straight way in the plane.
    for north_e7 in (0, 3_000, 60_000, 4_000_000):
        start = (519200000 + north_e7, 44800000 - 2_000_000)
        end = (519200000 + north_e7, 44800000 + 2_000_000)
        found = segment_depth_wgs84(arrays, index, *start, *end, math.inf)
        nearest_mm = chord_mm(519200000, 44800000, 519200000 + north_e7, 44800000)
        # The straight way bulges from the parallel by 60 m at these 27 km.
        assert abs(found - (radius_m * 1000 - nearest_mm)) < 100_000
    x, y = project(arrays, index, 519200000, 44800000)
    here = np.array([[x, y]])
    assert depths(zones, index, here, here)[0] == radius_m * 1000


def test_a_free_row_is_nowhere() -> None:
    zones = ZoneSet()
    here = np.zeros((1, 2), np.int64)
    assert depths(zones, 5, here, here)[0] == NOWHERE_MM


@settings(deadline=None)
@given(st.integers(-1_000, 1_000), st.integers(-1_000, 1_000), st.floats(0.0, 1_000.0))
def test_what_cannot_touch(sd0: int, sd1: int, length: float) -> None:
    said = segment_cannot_touch(sd0, sd1, length)
    # On a line: outside at both ends, and the free lengths do not meet.
    assert said == (sd0 < 0 and sd1 < 0 and -sd0 - sd1 > length)


@pytest.mark.slow
def test_what_cannot_touch_does_not(data: Path, seed: int) -> None:
    zones = real_zones(data, ("rotterdam",))[:6]
    made = put_all(zones)
    rng = np.random.default_rng(seed)
    for index, zone in enumerate(zones):
        start = points_near(rng, zone.polygon, 500, 400.0)
        end = start + rng.integers(-400_000, 400_000, start.shape)
        found = depths(made, index, start, end)
        which = np.full(500, index, np.int64)
        sd = [
            made.signed_distance_many(
                which,
                np.ascontiguousarray(points[:, 0]),
                np.ascontiguousarray(points[:, 1]),
                np.full(500, 30.0),
            )
            for points in (start, end)
        ]
        for i in range(500):
            length = math.dist(start[i], end[i])
            if segment_cannot_touch(int(sd[0][i]), int(sd[1][i]), length * 1.001):
                assert found[i] < 0
