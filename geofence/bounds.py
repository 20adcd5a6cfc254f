"""The boxes of zones in degrees: what most fixes are compared with, and nothing more."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from afstand.compile import jit
from geofence.integers import wide
from geofence.kernels.elementary import sin_cos_degrees
from geofence.layout import Rows

# Columns of a table of boxes: degrees x 1e7, and the radius around a circle's centre.
X_SOUTH: Final = 0
X_NORTH: Final = 1
X_WEST: Final = 2
X_EAST: Final = 3
X_RADIUS: Final = 4
BOX_COLUMNS: Final = 5

_MM_PER_E7_MIN: Final = 11.0
_SLACK_MM: Final = 50_000
"""A straight edge in the plane of a zone bulges off its straight line in degrees by less."""
_LAT_MAX: Final = 900_000_000
_LON_MAX: Final = 1_800_000_000


@jit
def widen(
    boxes: npt.NDArray[np.int32], zones: npt.NDArray[np.int64], margin_mm: int, legs: Rows
) -> None:
    """Write the legs of zones: their boxes with at least `margin_mm` more on every side."""
    for k in range(zones.size):
        box = boxes[zones[k]]
        south, north = wide(box[X_SOUTH]), wide(box[X_NORTH])
        up = math.ceil((margin_mm + wide(box[X_RADIUS]) + _SLACK_MM) / _MM_PER_E7_MIN)
        highest = min(max(abs(south), abs(north)) + up, _LAT_MAX)
        _, cos = sin_cos_degrees(highest / 1e7)
        across = math.ceil(up / max(cos, 0.01))
        west, east = wide(box[X_WEST]) - across, wide(box[X_EAST]) + across
        if west < -_LON_MAX or east > _LON_MAX:
            # It reaches across the antimeridian: every longitude may be near.
            west, east = -_LON_MAX, _LON_MAX
        leg = legs[k]
        leg["south"] = max(south - up, -_LAT_MAX)
        leg["north"] = min(north + up, _LAT_MAX)
        leg["west"] = west
        leg["east"] = east
        leg["zone"] = zones[k]
        leg["unit"] = 0
