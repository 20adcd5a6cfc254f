"""Signed distance. First version: exact loop over all edges, RD plane only."""

import math
from typing import Any

from geofence.kernels.arrays import NOWHERE_MM
from geofence.kernels.compile import jit
from geofence.kernels.projection import rd_from_wgs84


@jit
def is_rd(zones: Any, zone: int) -> bool:
    return zones.head[zone, 0] == 0


@jit
def project(zones: Any, zone: int, lat_e7: int, lon_e7: int) -> tuple[int, int]:
    return rd_from_wgs84(lat_e7, lon_e7)


@jit
def signed_distance(zones: Any, zone: int, x_mm: int, y_mm: int, tolerance_m: float) -> int:
    n = zones.head[zone, 2]
    if n == 0:
        return NOWHERE_MM
    ox = zones.head[zone, 3]
    oy = zones.head[zone, 4]
    start = zones.head[zone, 1]
    px = float(x_mm - ox)
    py = float(y_mm - oy)
    best = 1e300
    inside = False
    for r in range(start, start + n):
        first = zones.runs[r, 0]
        for i in range(first, first + zones.runs[r, 1]):
            ax = float(zones.vx[i]) - px
            ay = float(zones.vy[i]) - py
            bx = float(zones.vx[i + 1]) - px
            by = float(zones.vy[i + 1]) - py
            dx = bx - ax
            dy = by - ay
            l2 = dx * dx + dy * dy
            t = 0.0
            if l2 > 0.0:
                t = min(max(-(ax * dx + ay * dy) / l2, 0.0), 1.0)
            ex = ax + t * dx
            ey = ay + t * dy
            best = min(best, ex * ex + ey * ey)
            if (ay > 0.0) != (by > 0.0) and ((ax * by - bx * ay > 0.0) == (by > ay)):
                inside = not inside
    d = math.floor(math.sqrt(best) + 0.5)
    return d if inside else -d


@jit
def signed_distance_wgs84(
    zones: Any, zone: int, lat_e7: int, lon_e7: int, tolerance_m: float
) -> int:
    x, y = project(zones, zone, lat_e7, lon_e7)
    return signed_distance(zones, zone, x, y, tolerance_m)


@jit
def contains(zones: Any, zone: int, x_mm: int, y_mm: int) -> bool:
    return signed_distance(zones, zone, x_mm, y_mm, 0.0) > 0
