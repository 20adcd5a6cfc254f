"""Metres around a centre against pyproj's geodesics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from simulators.geo import LocalPlane, metres_per_degree, separation_m

GEOD = Geod(ellps="WGS84")
lats = st.floats(-79.0, 79.0)
lons = st.floats(-179.0, 179.0)
metres = st.floats(-20_000.0, 20_000.0)


@given(lats, lons, metres, metres)
def test_metres_to_degrees_and_back_is_the_same_place(lat, lon, x, y):
    plane = LocalPlane(lat, lon)
    back = plane.metres(*plane.degrees(x, y))
    assert back == pytest.approx((x, y), abs=1e-4)


@given(lats, lons, st.floats(-0.04, 0.04), st.floats(-0.04, 0.04))
def test_separation_is_the_geodesic(lat, lon, dlat, dlon):
    _, _, expected = GEOD.inv(lon, lat, lon + dlon, lat + dlat)
    # The chord is below the arc by d^3 / 24 R^2: 0.1 mm at 5 km.
    assert separation_m(lat, lon, lat + dlat, lon + dlon) == pytest.approx(
        expected, abs=1e-3 + 2e-16 * expected**3
    )


def test_a_degree_has_the_metres_of_the_ellipsoid():
    for lat in (-60.0, 0.0, 51.92, 79.0):
        lat_m, lon_m = metres_per_degree(lat)
        _, _, north = GEOD.inv(4.0, lat - 0.0005, 4.0, lat + 0.0005)
        _, _, east = GEOD.inv(4.0, lat, 4.001, lat)
        assert lat_m == pytest.approx(north * 1000.0, rel=1e-6)
        assert lon_m == pytest.approx(east * 1000.0, rel=1e-6)


def test_the_wire_has_whole_ten_millionths():
    assert LocalPlane(51.92, 4.48).e7(0.0, 0.0) == (519_200_000, 44_800_000)


def test_arrays_and_numbers_agree():
    plane = LocalPlane(51.92, 4.48)
    x, y = np.array([10.0, -300.0]), np.array([0.0, 777.0])
    lat, lon = plane.degrees_many(x, y)
    assert [plane.degrees(*p) for p in zip(x, y, strict=True)] == list(zip(lat, lon, strict=True))
    assert np.allclose(plane.metres_many(lat, lon), (x, y))


def test_a_centre_at_the_pole_is_refused():
    with pytest.raises(ValueError, match="centre"):
        LocalPlane(89.0, 0.0)
