"""RD and the local planes against pyproj: positions, scale, distances, everywhere on the earth."""

import math

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence.kernels.projection import (
    PLANE_COLUMNS,
    chord_mm,
    local_plane,
    plane_from_degrees,
    plane_from_degrees_many,
    rd_from_degrees,
    rd_from_wgs84,
    rd_from_wgs84_many,
    rd_plane,
    scale_at,
)

# PROJ without its grid: what EPSG:28992 means when RDNAPTRANS is not installed.
RD = pyproj.Transformer.from_pipeline(
    "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=push +v_3 "
    "+step +proj=cart +ellps=WGS84 +step +inv +proj=helmert +x=565.4171 +y=50.3319 +z=465.5524 "
    "+rx=0.398957388243134 +ry=-0.343987817378283 +rz=1.87740163998045 +s=4.0725 "
    "+convention=coordinate_frame +step +inv +proj=cart +ellps=bessel +step +proj=pop +v_3 "
    "+step +proj=sterea +lat_0=52.1561605555556 +lon_0=5.38763888888889 +k=0.9999079 "
    "+x_0=155000 +y_0=463000 +ellps=bessel"
)
GEOD = pyproj.Geod(ellps="WGS84")
RNG_SEED = 7


def draw(south: float, north: float, west: float, east: float, count: int) -> np.ndarray:
    rng = np.random.default_rng(RNG_SEED)
    lat = rng.uniform(south, north, count)
    lon = rng.uniform(west, east, count)
    return np.round(np.stack([lat, lon]) * 1e7).astype(np.int32)


def rd_many(lat_e7: np.ndarray, lon_e7: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.empty(lat_e7.size, np.int64), np.empty(lat_e7.size, np.int64)
    rd_from_wgs84_many(lat_e7, lon_e7, x, y)
    return x, y


@pytest.mark.parametrize(
    "box",
    [(50.7, 53.6, 3.2, 7.3), (36.0, 60.0, -10.0, 25.0), (-80.0, 88.0, -170.0, 175.0)],
    ids=["netherlands", "europe", "earth"],
)
def test_rd_is_pyprojs_to_the_millimetre(box: tuple[float, float, float, float]) -> None:
    lat, lon = draw(*box, 20_000)
    x, y = rd_many(lat, lon)
    true_x, true_y = RD.transform(lon / 1e7, lat / 1e7)
    # Half a millimetre of rounding in each coordinate, and at most 1e-9 of the way beside.
    allowed = 0.00075 + 1e-9 * np.hypot(true_x, true_y)
    assert (np.hypot(x / 1000.0 - true_x, y / 1000.0 - true_y) < allowed).all()


def test_rd_is_what_pyproj_calls_epsg_28992() -> None:
    named = pyproj.Transformer.from_crs(4326, 28992, always_xy=True)
    lat, lon = draw(51.0, 53.4, 3.6, 7.1, 200)
    true_x, true_y = named.transform(lon / 1e7, lat / 1e7)
    x, y = rd_many(lat, lon)
    # With the grid installed pyproj is up to 22 cm better than the seven parameters.
    assert np.hypot(x / 1000.0 - true_x, y / 1000.0 - true_y).max() < 0.3


def test_the_centre_is_amersfoort() -> None:
    # Onze-Lieve-Vrouwetoren: 155000, 463000 by definition.
    x, y = rd_from_wgs84(521551729, 53872035)
    assert abs(x - 155_000_000) < 500
    assert abs(y - 463_000_000) < 500


def test_one_and_many_and_degrees_agree_in_every_bit() -> None:
    lat, lon = draw(-85.0, 85.0, -180.0, 180.0, 2_000)
    x, y = rd_many(lat, lon)
    for i in range(0, 2_000, 7):
        one = rd_from_wgs84(int(lat[i]), int(lon[i]))
        assert one == (x[i], y[i])
        assert rd_from_degrees(lat[i] / 1e7, lon[i] / 1e7) == one


@settings(deadline=None)  # the first call compiles
@given(st.integers(-900_000_000, 900_000_000), st.integers(-1_800_000_000, 1_800_000_000))
def test_every_position_has_finite_coordinates(lat_e7: int, lon_e7: int) -> None:
    x, y = rd_from_wgs84(lat_e7, lon_e7)
    assert abs(x) <= 10**15
    assert abs(y) <= 10**15
    plane = np.zeros(PLANE_COLUMNS)
    local_plane(plane, 47.0, 15.0)
    x, y = plane_from_degrees(plane, lat_e7 / 1e7, lon_e7 / 1e7)
    assert abs(x) <= 10**15
    assert abs(y) <= 10**15


def distances(plane: np.ndarray, lat: float, lon: float, radius_m: float, apart_m: float) -> list:
    """Error in metres of pairs a given distance apart, within a radius of a place."""
    rng = np.random.default_rng(RNG_SEED)
    errors = []
    for _ in range(150):
        lon1, lat1, _ = GEOD.fwd(lon, lat, rng.uniform(0, 360), radius_m * math.sqrt(rng.random()))
        lon2, lat2, _ = GEOD.fwd(lon1, lat1, rng.uniform(0, 360), apart_m)
        a, b = plane_from_degrees(plane, lat1, lon1), plane_from_degrees(plane, lat2, lon2)
        scale = math.sqrt(scale_at(plane, *a) * scale_at(plane, *b))
        errors.append(math.dist(a, b) / 1000.0 / scale - apart_m)
    return errors


@pytest.mark.parametrize(
    ("place", "allowed_m_per_km"),
    [
        ((52.15, 5.38, 150e3), 0.006),
        ((48.85, 2.35, 10e3), 0.006),
        ((36.7, -4.4, 10e3), 0.06),
        ((40.7, -74.0, 10e3), 0.06),
    ],
    ids=["netherlands", "paris", "malaga", "new-york"],
)
def test_scale_of_rd(place: tuple[float, float, float], allowed_m_per_km: float) -> None:
    plane = np.zeros(PLANE_COLUMNS)
    rd_plane(plane)
    assert max(map(abs, distances(plane, *place, 1000.0))) < allowed_m_per_km


@pytest.mark.parametrize(
    ("lat", "lon"), [(47.0, 15.4), (0.1, -78.0), (70.0, 25.0), (-54.8, -68.3), (89.0, 10.0)]
)
@pytest.mark.parametrize(("radius_m", "allowed_m_per_km"), [(50e3, 0.002), (300e3, 0.004)])
def test_local_plane_against_geodesics(
    lat: float, lon: float, radius_m: float, allowed_m_per_km: float
) -> None:
    plane = np.zeros(PLANE_COLUMNS)
    local_plane(plane, lat, lon)
    assert max(map(abs, distances(plane, lat, lon, radius_m, 1000.0))) < allowed_m_per_km


def test_from_the_other_side_of_the_earth_a_zone_is_far() -> None:
    plane = np.zeros(PLANE_COLUMNS)
    rd_plane(plane)
    a = rd_from_wgs84(520000000, 50000000)
    for lat, lon in ((-52.0, -175.0), (-52.15, -174.61), (-41.0, 174.0), (-89.99, 0.0)):
        b = plane_from_degrees(plane, lat, lon)
        scale = math.sqrt(scale_at(plane, *a) * scale_at(plane, *b))
        apart_m = math.dist(a, b) / 1000.0 / scale
        # A chord, so below the arc, but by no more than chords are.
        arc_m = GEOD.inv(5.0, 52.0, lon, lat)[2]
        assert 0.62 * arc_m < apart_m < arc_m


def test_pairs_by_the_chord() -> None:
    rng = np.random.default_rng(RNG_SEED)
    for apart_m in (0.5, 50.0, 500.0, 5_000.0):
        for _ in range(100):
            lat, lon = rng.uniform(-80, 80), rng.uniform(-180, 180)
            lon2, lat2, _ = GEOD.fwd(lon, lat, rng.uniform(0, 360), apart_m)
            e7 = [round(v * 1e7) for v in (lat, lon, lat2, lon2)]
            true_m = GEOD.inv(e7[1] / 1e7, e7[0] / 1e7, e7[3] / 1e7, e7[2] / 1e7)[2]
            assert abs(chord_mm(*e7) / 1000.0 - true_m) < 0.0008


def test_vertices_in_degrees_keep_their_digits() -> None:
    plane = np.zeros(PLANE_COLUMNS)
    rd_plane(plane)
    lat, lon = np.array([51.923456789012]), np.array([4.478901234567])
    x, y = np.empty(1, np.int64), np.empty(1, np.int64)
    plane_from_degrees_many(plane, lat, lon, x, y)
    true_x, true_y = RD.transform(lon[0], lat[0])
    assert math.hypot(x[0] / 1000 - true_x, y[0] / 1000 - true_y) < 0.00075
