"""The box of a zone in degrees: what most fixes are compared with, and nothing more."""

import math
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

_MM_PER_E7_MIN: Final = 11.0
_SLACK_MM: Final = 50_000
"""A straight edge in the plane of a zone bulges off its straight line in degrees by less."""
_LAT_MAX: Final = 900_000_000
_LON_MAX: Final = 1_800_000_000


class Box(msgspec.Struct, frozen=True, array_like=True):
    """South, north, west and east in degrees x 1e7."""

    south: int
    north: int
    west: int
    east: int


def points_box(points: npt.NDArray[np.float64], radius_m: float = 0.0) -> Box:
    """Return the box of positions [n, 2] (longitude, latitude in degrees), or of a circle."""
    west, south = points.min(axis=0).tolist()
    east, north = points.max(axis=0).tolist()
    box = Box(
        math.floor(south * 1e7),
        math.ceil(north * 1e7),
        math.floor(west * 1e7),
        math.ceil(east * 1e7),
    )
    return widened(box, math.ceil(radius_m * 1000)) if radius_m else box


@lru_cache(maxsize=65_536)
def widened(box: Box, margin_mm: int) -> Box:
    """Return the box with at least `margin_mm` more on every side, and the slack of projection."""
    up = math.ceil((margin_mm + _SLACK_MM) / _MM_PER_E7_MIN)
    highest = min(max(abs(box.south), abs(box.north)) + up, _LAT_MAX)
    across = math.ceil(up / max(math.cos(math.radians(highest / 1e7)), 0.01))
    west, east = box.west - across, box.east + across
    if west < -_LON_MAX or east > _LON_MAX:
        # It reaches across the antimeridian: every longitude may be near.
        west, east = -_LON_MAX, _LON_MAX
    return Box(max(box.south - up, -_LAT_MAX), min(box.north + up, _LAT_MAX), west, east)
