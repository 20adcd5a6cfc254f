"""How persons move: reach in degrees, plausible jumps, velocity from fixes far enough apart."""

import math

from afstand.compile import jit_hot, jit_inline
from geofence.decision import sigma_mm
from geofence.integers import wide
from geofence.kernels.projection import chord_mm
from geofence.layout import NONE_MS, World
from geofence.parameters import (
    BASELINE_MS,
    JUMP_ACCURACIES,
    SEGMENT_MAX_MS,
    SPEED_MAX_MM_PER_MS,
    SPEED_UNKNOWN,
)

_MM_PER_E7_MIN = 11
"""A ten-millionth of a degree of latitude is 11.06 to 11.17 mm."""
_RADIAN_PER_E7 = math.pi / 1.8e9
_C2, _C4, _C6 = -1.0 / 2.0, 1.0 / 24.0, -1.0 / 720.0
_C8, _C10, _C12 = 1.0 / 40_320.0, -1.0 / 3_628_800.0, 1.0 / 479_001_600.0
_NEAR_MM = 1e7
_SPEED_WIRE_UNKNOWN = 65535
_SPEED_MM_S_MAX = 400_000


@jit_inline
def cosine(lat_e7: int) -> float:
    """Return cos(latitude) by its series (error below 1e-8), at least 0.01."""
    x = lat_e7 * _RADIAN_PER_E7
    y = x * x
    c = 1.0 + y * (_C2 + y * (_C4 + y * (_C6 + y * (_C8 + y * (_C10 + y * _C12)))))
    return max(c, 0.01)


@jit_inline
def reach_e7(reach_mm: int, lat_e7: int) -> tuple[int, int]:
    """Return how many degrees x 1e7 north-south and east-west surely cover a length."""
    north = reach_mm // _MM_PER_E7_MIN + 1
    return north, wide(north / cosine(lat_e7)) + 1


@jit_inline
def vector_mm(lat0: int, lon0: int, lat1: int, lon1: int) -> tuple[float, float]:
    """Return (north, east) in mm from one position to another nearby, on the ellipsoid.

    The lengths of a degree are the usual series in the latitude; beyond some 10 km the earth's
    curvature shows.
    """
    east = lon1 - lon0
    if east > 1_800_000_000:
        east -= 3_600_000_000
    elif east < -1_800_000_000:
        east += 3_600_000_000
    c = cosine((lat0 + lat1) // 2)
    c2 = 2.0 * c * c - 1.0
    c3 = (4.0 * c * c - 3.0) * c
    c4 = 2.0 * c2 * c2 - 1.0
    north_m = 111_132.954 - 559.822 * c2 + 1.175 * c4
    east_m = 111_412.84 * c - 93.5 * c3
    return (lat1 - lat0) * (north_m / 1e4), east * (east_m / 1e4)


@jit_inline
def displacement_mm(lat0: int, lon0: int, lat1: int, lon1: int) -> int:
    """Return how far somebody moved: in the plane up to 10 km, else the chord."""
    north, east = vector_mm(lat0, lon0, lat1, lon1)
    moved = math.sqrt(north * north + east * east)
    if moved < _NEAR_MM:
        return math.floor(moved + 0.5)
    return chord_mm(lat0, lon0, lat1, lon1)


@jit_inline
def implausible(moved_mm: int, dt_ms: int, accuracy0: int, accuracy1: int) -> bool:
    """Return whether no person can have moved so far, whatever the errors of both fixes."""
    slack = JUMP_ACCURACIES * (accuracy0 + accuracy1)
    return moved_mm - slack > SPEED_MAX_MM_PER_MS * max(dt_ms, 1000)


@jit_inline
def speed_of(
    speed_cm_s: int, has_previous: bool, moved_mm: int, dt_ms: int, accuracy0: int, accuracy1: int
) -> int:
    """Return the speed in mm/s: as reported, else from the last fix beyond its error."""
    if 0 <= speed_cm_s < _SPEED_WIRE_UNKNOWN:
        return min(speed_cm_s * 10, _SPEED_MM_S_MAX)
    if not has_previous or dt_ms < 1000 or dt_ms > SEGMENT_MAX_MS:
        return SPEED_UNKNOWN
    s0 = sigma_mm(accuracy0)
    s1 = sigma_mm(accuracy1)
    beyond = max(moved_mm - math.sqrt(s0 * s0 + s1 * s1), 0.0)
    return wide(min(beyond * 1000.0 / dt_ms, float(_SPEED_MM_S_MAX)))


@jit_hot
def update_velocity(
    world: World, person: int, time_ms: int, lat: int, lon: int, accuracy: int
) -> None:
    """Measure the velocity against a fix at least BASELINE_MS older; below the noise it is zero.

    The nearer of two earlier positions is moved up when it is old enough, so that the base is 30 to
    60 s old in a burst and the previous fix otherwise.
    """
    p = world.persons[person]
    ready = p["near_ms"] != NONE_MS and time_ms - p["near_ms"] >= BASELINE_MS
    if ready:
        base_ms, base_lat, base_lon = p["near_ms"], p["near_lat"], p["near_lon"]
        base_accuracy = p["near_accuracy"]
    else:
        base_ms, base_lat, base_lon = p["far_ms"], p["far_lat"], p["far_lon"]
        base_accuracy = p["far_accuracy"]
    north = 0.0
    east = 0.0
    # Only pairs ask for a velocity.
    fits = base_ms != NONE_MS and BASELINE_MS <= time_ms - base_ms <= SEGMENT_MAX_MS
    if fits and p["pairs"] > 0:
        dn, de = vector_mm(wide(base_lat), wide(base_lon), lat, lon)
        s0 = sigma_mm(wide(base_accuracy))
        s1 = sigma_mm(accuracy)
        if dn * dn + de * de > 4.0 * (s0 * s0 + s1 * s1):
            north = dn * 1000.0 / (time_ms - base_ms)
            east = de * 1000.0 / (time_ms - base_ms)
    p["north"] = math.floor(min(max(north, -4e8), 4e8) + 0.5)
    p["east"] = math.floor(min(max(east, -4e8), 4e8) + 0.5)
    if ready or p["near_ms"] == NONE_MS:
        p["far_ms"] = p["near_ms"]
        p["far_lat"] = p["near_lat"]
        p["far_lon"] = p["near_lon"]
        p["far_accuracy"] = p["near_accuracy"]
        p["near_ms"] = time_ms
        p["near_lat"] = lat
        p["near_lon"] = lon
        p["near_accuracy"] = accuracy
