"""Segments. First version: samples every 0.5 m at most 2,000 of them."""

from typing import Any
import math

from geofence.kernels.compile import jit
from geofence.kernels.distance import project, signed_distance


@jit
def segment_cannot_touch(sd0_mm: int, sd1_mm: int, length_mm: float) -> bool:
    return sd0_mm < 0 and sd1_mm < 0 and float(-sd0_mm - sd1_mm) > length_mm


@jit
def segment_depth(
    zones: Any, zone: int, x0_mm: int, y0_mm: int, x1_mm: int, y1_mm: int, tolerance_m: float
) -> int:
    best = max(
        signed_distance(zones, zone, x0_mm, y0_mm, tolerance_m),
        signed_distance(zones, zone, x1_mm, y1_mm, tolerance_m),
    )
    n = int(min(2000.0, math.sqrt(float((x1_mm - x0_mm) ** 2 + (y1_mm - y0_mm) ** 2)) / 500.0))
    for i in range(1, n):
        best = max(
            best,
            signed_distance(
                zones,
                zone,
                x0_mm + (x1_mm - x0_mm) * i // n,
                y0_mm + (y1_mm - y0_mm) * i // n,
                tolerance_m,
            ),
        )
    return best


@jit
def segment_depth_wgs84(
    zones: Any,
    zone: int,
    lat0_e7: int,
    lon0_e7: int,
    lat1_e7: int,
    lon1_e7: int,
    tolerance_m: float,
) -> int:
    x0, y0 = project(zones, zone, lat0_e7, lon0_e7)
    x1, y1 = project(zones, zone, lat1_e7, lon1_e7)
    return segment_depth(zones, zone, x0, y0, x1, y1, tolerance_m)
