"""Signed distance and containment against naive Python and shapely, on drawn and real zones."""

import json
import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.compile import jit
from benchmarks.oracle import (
    REPAIRS,
    features,
    points_in_box,
    points_near,
    polygon_of,
    put_all,
    real_zones,
    rings_of,
)
from benchmarks.signs import check
from geofence.geojson import GeoJSONError
from geofence.kernels.arrays import BOXES, C_REF, CELL_COLUMNS, H_STATE, H_VX, NOWHERE_MM
from geofence.kernels.batch import contains_many
from geofence.kernels.distance import (
    contains,
    project,
    signed_distance,
    signed_distance_wgs84,
)
from geofence.kernels.projection import chord_mm, scale_at
from geofence.zones import Circle, ZoneGrid, ZoneSet, build

CHECKS = (
    40_000  # per commit; `python -m benchmarks signs --checks 10000000` draws as many as wanted
)


@jit
def one_by_one(
    zones: Any, index: Any, x: Any, y: Any, tolerance: Any, distance: Any, inside: Any
) -> None:
    """The scalar kernels, beside the batched ones."""
    for i in range(index.size):
        distance[i] = signed_distance(zones, index[i], x[i], y[i], tolerance[i])
        inside[i] = contains(zones, index[i], x[i], y[i])


def asked(
    zones: ZoneSet, index: int, points: np.ndarray, tolerance_m: float = math.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances and sides; the scalar and the batched kernels must agree."""
    count = len(points)
    which = np.full(count, index, np.int64)
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    tolerance = np.full(count, tolerance_m)
    many = zones.signed_distance_many(which, x, y, tolerance)
    sides, inside = np.empty(count, np.bool_), np.empty(count, np.bool_)
    contains_many(zones.arrays(), which, x, y, sides)
    single = np.empty(count, np.int64)
    one_by_one(zones.arrays(), which, x, y, tolerance, single, inside)
    assert (single == many).all()
    assert (inside == sides).all()
    return many, sides


def naive(rings: list[list[tuple[int, int]]], px: int, py: int) -> tuple[bool, bool, float]:
    """(inside, on the boundary, distance) with exact fractions and no cleverness."""
    inside = on = False
    nearest = math.inf
    for ring in rings:
        for (ax, ay), (bx, by) in pairwise(ring):
            dx, dy = bx - ax, by - ay
            if dx == dy == 0:
                continue
            t = Fraction((px - ax) * dx + (py - ay) * dy, dx * dx + dy * dy)
            t = min(max(t, Fraction(0)), Fraction(1))
            ex, ey = ax + t * dx - px, ay + t * dy - py
            on = on or (ex == 0 and ey == 0)
            nearest = min(nearest, math.sqrt(ex * ex + ey * ey))
            if (ay > py) != (by > py) and px < ax + Fraction((py - ay) * dx, dy):
                inside = not inside
    return inside and not on, on, nearest


def scale(zones: ZoneSet, index: int, x: int, y: int) -> float:
    arrays = zones.arrays()
    head = arrays.head[index]
    plane = arrays.planes[head[H_STATE] >> 1]
    beside = min(max(x, int(head[1])), int(head[3])), min(max(y, int(head[2])), int(head[4]))
    return math.sqrt(scale_at(plane, x, y) * scale_at(plane, *beside))


def against_naive(grid: ZoneGrid, points: np.ndarray) -> None:
    zones = ZoneSet()
    zones.put("z", 1, grid)
    rings = [[(int(x), int(y)) for x, y in ring] for ring in rings_of(grid)]
    distances, sides = asked(zones, 0, points)
    for (x, y), mm, side in zip(points.tolist(), distances.tolist(), sides.tolist(), strict=True):
        inside, on, nearest = naive(rings, x, y)
        true = nearest / scale(zones, 0, x, y)
        assert abs(abs(mm) - true) <= 0.500001 + 1e-12 * true
        assert side == inside
        assert mm == 0 or (mm > 0) == inside
        if on:
            assert mm == 0


def ring_points(ring: np.ndarray) -> np.ndarray:
    """Vertices, middles of edges, and points a millimetre or two beside them."""
    middles = (ring[:-1] + ring[1:]) // 2
    base = np.concatenate([ring[:-1], middles])
    beside = [base + np.array([dx, dy]) for dx in (-1, 0, 2) for dy in (-2, 0, 1)]
    # And points that share a row or a column with a vertex, where a careless parity goes wrong.
    rows = np.stack([base[:, 0], np.roll(base[:, 1], 1)], axis=1)
    return np.concatenate([*beside, rows])


def polygon_json(rings: list[list[list[float]]]) -> bytes:
    return json.dumps({"type": "Polygon", "coordinates": rings}).encode()


@st.composite
def stars(draw: st.DrawFn) -> bytes:
    """A star-shaped polygon with or without a star-shaped hole, of metres to kilometres."""
    size = draw(st.sampled_from([2e-5, 3e-4, 4e-3, 5e-2]))
    east, north = draw(st.sampled_from([(4.5, 51.9), (15.4, 47.1), (-70.3, -53.2)]))
    rings = []
    for hole in range(draw(st.integers(1, 2))):
        count = draw(st.integers(3, 40))
        radii = draw(st.lists(st.floats(0.5, 1.0), min_size=count, max_size=count))
        reach = size * (0.4 if hole else 1.0)
        ring = [
            [
                east + reach * r * math.cos(2 * math.pi * i / count),
                north + reach * r * math.sin(2 * math.pi * i / count) * 0.7,
            ]
            for i, r in enumerate(radii)
        ]
        if hole:
            ring.reverse()
        rings.append([*ring, ring[0]])
    return polygon_json(rings)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(stars(), st.integers(0, 2**32 - 1))
def test_drawn_polygons_against_naive_python(source: bytes, seed: int) -> None:
    try:
        grid = build(source)
    except GeoJSONError:
        return
    rng = np.random.default_rng(seed)
    shape = polygon_of(grid)
    points = np.concatenate(
        [
            points_in_box(rng, shape, 12),
            points_near(rng, shape, 8, 0.05),
            ring_points(rings_of(grid)[0])[rng.permutation(11)],
        ]
    )
    against_naive(grid, points)


def right_angles() -> bytes:
    """A comb of edges along rows and columns, with a hole: ties everywhere."""
    step = 1e-4
    low = [[4.0 + i * step, 52.0] for i in range(9)]
    high = []
    for i in range(8, -1, -1):
        top = 52.001 if i % 2 else 52.002
        high += [[4.0 + i * step, top], [4.0 + max(i - 1, 0) * step, top]]
    hole = [[4.0002, 52.0002], [4.0002, 52.0006], [4.0006, 52.0006], [4.0006, 52.0002]]
    shell = shapely.Polygon([*low, *high], [hole]).buffer(0)
    shell = shapely.orient_polygons(shell)
    return shapely.to_geojson(shell).encode()


def test_vertices_edges_rows_and_columns_against_naive_python() -> None:
    grid = build(right_angles())
    against_naive(grid, np.concatenate([ring_points(ring) for ring in rings_of(grid)]))


@pytest.mark.slow
def test_every_point_of_a_small_grid() -> None:
    # Two squares that touch in a corner, a hole that touches its shell in one.
    step = 1.2e-7
    a = [[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]]
    hole = [[0, 0], [10, 20], [20, 10], [0, 0]]
    b = [[40, 40], [80, 40], [80, 80], [40, 80], [40, 40]]
    rings = [[[15.0 + x * step, 47.0 + y * step] for x, y in ring] for ring in (a, hole, b)]
    source = {"type": "MultiPolygon", "coordinates": [rings[:2], rings[2:]]}
    grid = build(source)
    low = np.min([ring.min(axis=0) for ring in rings_of(grid)], axis=0) - 20
    high = np.max([ring.max(axis=0) for ring in rings_of(grid)], axis=0) + 20
    every = [np.arange(low[i], high[i], 17) for i in (0, 1)]
    points = np.stack(np.meshgrid(*every), axis=-1).reshape(-1, 2)
    against_naive(grid, np.concatenate([points, *(ring_points(ring) for ring in rings_of(grid))]))


@pytest.mark.slow
def test_the_real_zones_against_shapely(data: Path, seed: int) -> None:
    zones = real_zones(data, ("rotterdam", "amsterdam"))
    found = check(zones, CHECKS, seed, distances_per_zone=60)
    assert found.checks >= CHECKS
    assert not found.wrong, f"seed {seed}"
    assert found.distance_error_mm <= 0.51
    assert len(found.touching) <= found.checks / 1000


@pytest.mark.slow
def test_large_real_zones_against_shapely_and_themselves(data: Path, seed: int) -> None:
    zones = real_zones(data, ("austria-steiermark",))[:4]
    found = check(zones, 8_000, seed, distances_per_zone=30)
    assert not found.wrong, f"seed {seed}"
    assert found.distance_error_mm <= 0.51
    made = put_all(zones)
    rng = np.random.default_rng(seed)
    for index, zone in enumerate(zones):
        near = points_near(rng, zone.polygon, 2_000, 500.0)
        box = points_in_box(rng, zone.polygon, 2_000)
        points = np.concatenate([near, box])
        exact, sides = asked(made, index, points)
        for tolerance_m in (0.0, 30.0, 400.0, 5_000.0):
            answer, same = asked(made, index, points, tolerance_m)
            assert (same == sides).all()
            assert ((answer > 0) == (exact > 0)).all()
            within = np.abs(answer) <= tolerance_m * 1000.0
            assert (answer[within] == exact[within]).all()
            assert (np.abs(answer) <= np.abs(exact)).all()
            assert (np.abs(exact[~within]) > tolerance_m * 1000.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("inner", [0.01, 0.97])
def test_a_zone_of_spikes_costs_little_and_stays_right(inner: float) -> None:
    # All edges are near the middle: no list could hold them, so cells there ask the boxes.
    count = 8_000
    angle = 2.0 * np.pi * np.arange(count) / count
    radius = 0.02 * np.where(np.arange(count) % 2, 1.0, inner)
    ring = np.stack([5.0 + radius * np.cos(angle), 52.0 + 0.6 * radius * np.sin(angle)], axis=1)
    grid = build(polygon_json([[*ring.tolist(), ring[0].tolist()]]))
    assert grid.size_bytes < 120 * grid.vertices
    refs = grid.data[C_REF : grid.head[H_VX] : CELL_COLUMNS]
    assert (refs == BOXES).any() == (inner < 0.1)
    zones = ZoneSet()
    zones.put("spikes", 1, grid)
    shape = polygon_of(grid)
    shapely.prepare(shape)
    rng = np.random.default_rng(9)
    middle = rings_of(grid)[0].mean(axis=0).astype(np.int64)
    points = np.concatenate(
        [
            points_in_box(rng, shape, 1_500),
            points_near(rng, shape, 500, 1.0),
            middle + rng.integers(-60_000, 60_000, (1_000, 2)),
        ]
    )
    exact, sides = asked(zones, 0, points)
    truth = shapely.contains_xy(shape, *(points / 1000.0).T)
    apart = shapely.distance(shape.boundary, shapely.points(points / 1000.0))
    clear = apart > 0.001
    assert (sides[clear] == truth[clear]).all()
    assert ((exact > 0)[clear] == truth[clear]).all()
    assert np.abs(np.abs(exact) / 1000.0 - apart).max() < 0.2


def in_degrees(source: bytes) -> Any:
    """The geometry as it stands in the file, for shapely."""
    return shapely.from_geojson(json.dumps(json.loads(source)["geometry"]))


def degrees_near(rng: np.random.Generator, shape: Any, count: int, within_m: float) -> np.ndarray:
    """Positions [n, 2] of degrees x 1e7 (lon, lat) around the boundary."""
    line = shape.boundary
    on = shapely.get_coordinates(
        shapely.line_interpolate_point(line, rng.uniform(0.0, line.length, count))
    )
    spread = within_m / 111_000.0
    return np.round((on + rng.uniform(-spread, spread, (count, 2))) * 1e7).astype(np.int64)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["nl_gemeenten_352", "austria-steiermark"])
def test_signs_against_the_file_itself(data: Path, seed: int, file: str) -> None:
    # Nothing of ours in the oracle: degrees from the file, shapely in degrees.
    rng = np.random.default_rng(seed)
    for name, source in list(features(data, [file]))[:: 20 if file.startswith("nl") else 4]:
        zones = ZoneSet()
        zones.put(name, 1, source, REPAIRS)
        shape = in_degrees(source)
        shapely.prepare(shape)
        positions = degrees_near(rng, shape, 800, 20.0)
        points = np.array([project(zones.arrays(), 0, b, a) for a, b in positions.tolist()])
        exact, _ = asked(zones, 0, points)
        truth = shapely.contains_xy(shape, *(positions / 1e7).T)
        # An edge of up to 2 km is straight in the plane; in degrees it bulges by up to 0.12 m.
        clear = np.abs(exact) > 130
        assert ((exact > 0) == truth)[clear].all()
        assert clear.mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("file", ["nl_gemeenten_352", "austria-steiermark"])
def test_distances_against_geodesics(data: Path, seed: int, file: str) -> None:
    # In an equidistant plane around the fix itself every distance to it is the geodesic one.
    rng = np.random.default_rng(seed)
    for name, source in list(features(data, [file]))[:: 60 if file.startswith("nl") else 6]:
        zones = ZoneSet()
        zones.put(name, 1, source, REPAIRS)
        shape = in_degrees(source)
        line = shapely.segmentize(shape.boundary, 0.001)
        for lon_e7, lat_e7 in degrees_near(rng, shape, 6, 3_000.0).tolist():
            plane = pyproj.Transformer.from_crs(
                4326, f"+proj=aeqd +lat_0={lat_e7 / 1e7} +lon_0={lon_e7 / 1e7}", always_xy=True
            )
            around = shapely.transform(line, lambda xy, p=plane: np.array(p.transform(*xy.T)).T)
            true_mm = 1000.0 * shapely.distance(around, shapely.Point(0.0, 0.0))
            mm = signed_distance_wgs84(zones.arrays(), 0, lat_e7, lon_e7, math.inf)
            # RD is 4 ppm small; the bulge of edges as above.
            assert abs(abs(mm) - true_mm) < 130 + 1e-5 * true_mm


def test_distance_is_lipschitz_across_cells_and_planes() -> None:
    grid = build(right_angles())
    zones = ZoneSet()
    zones.put("z", 1, grid)
    (x0, y0), (x1, y1) = rings_of(grid)[0].min(axis=0), rings_of(grid)[0].max(axis=0)
    rng = np.random.default_rng(3)
    start = rng.integers((x0 - 300_000, y0 - 300_000), (x1 + 300_000, y1 + 300_000), (4_000, 2))
    moved = start + rng.integers(-40_000, 40_000, start.shape)
    a, _ = asked(zones, 0, start)
    b, _ = asked(zones, 0, moved)
    assert (np.abs(a - b) <= np.hypot(*(start - moved).T) * 1.0003 + 1.0).all()


@pytest.mark.parametrize("radius_m", [1, 150, 5_000, 90_000])
@pytest.mark.parametrize(("lat", "lon"), [(51.92, 4.48), (-33.9, 18.4)])
def test_circles_against_the_chord(radius_m: int, lat: float, lon: float) -> None:
    centre = round(lat * 1e7), round(lon * 1e7)
    zones = ZoneSet()
    index = zones.put("c", 1, Circle(*centre, radius_m * 1000))
    rng = np.random.default_rng(radius_m)
    reach = int(radius_m / 111e3 * 1e7 * 3) + 2
    for lat_e7, lon_e7 in (np.array(centre) + rng.integers(-reach, reach, (200, 2))).tolist():
        true_mm = radius_m * 1000 - chord_mm(*centre, lat_e7, lon_e7)
        mm = signed_distance_wgs84(zones.arrays(), index, lat_e7, lon_e7, math.inf)
        # Seven parameters of RD shrink by 4 ppm, and the ellipsoid is no sphere.
        assert abs(mm - true_mm) <= 2 + 3e-5 * abs(true_mm - radius_m * 1000)
    points = np.array([[*project(zones.arrays(), index, *centre)]])
    distances, sides = asked(zones, index, points)
    assert abs(distances[0] - radius_m * 1000) <= 1
    assert sides[0]


def test_a_zone_abroad_is_computed_in_its_own_plane() -> None:
    step = 0.01
    ring = [[15.4, 47.0], [15.4 + step, 47.0], [15.4 + step, 47.0 + step], [15.4, 47.0 + step]]
    zones = ZoneSet()
    index = zones.put("graz", 1, polygon_json([[*ring, ring[0]]]))
    inside = signed_distance_wgs84(zones.arrays(), index, 470050000, 154050000, math.inf)
    # The nearest side is the western or eastern one, half of 0.01 degrees of longitude away.
    half = chord_mm(470050000, 154050000, 470050000, 154000000)
    assert abs(inside - half) < 30
    # A fix from the other side of the world is far, and outside.
    for lat_e7, lon_e7 in ((-470000000, -1646000000), (521000000, 51000000), (0, 0)):
        far = signed_distance_wgs84(zones.arrays(), index, lat_e7, lon_e7, 100.0)
        chord = chord_mm(lat_e7, lon_e7, 470050000, 154050000)
        assert far < -500_000_000
        assert 0.8 * chord < -far < 1.01 * chord


def test_long_edges_are_straight_in_degrees() -> None:
    # A parallel is no straight line in any plane: 1 degree of it bulges by 190 m.
    ring = [[5.0, 52.0], [6.0, 52.0], [6.0, 52.5], [5.0, 52.5], [5.0, 52.0]]
    zones = ZoneSet()
    index = zones.put("z", 1, polygon_json([ring]))
    middle = signed_distance_wgs84(zones.arrays(), index, 520000000, 55000000, math.inf)
    assert abs(middle) < 150
    assert signed_distance_wgs84(zones.arrays(), index, 520000200, 55000000, math.inf) > 0
    assert signed_distance_wgs84(zones.arrays(), index, 519999800, 55000000, math.inf) < 0


def test_an_empty_row_is_nowhere() -> None:
    zones = ZoneSet()
    assert signed_distance_wgs84(zones.arrays(), 3, 520000000, 50000000, 10.0) == NOWHERE_MM
    _, sides = asked(zones, 3, np.zeros((1, 2), np.int64))
    assert not sides[0]
