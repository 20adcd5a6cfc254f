"""Passing through: how deep the straight way between two fixes goes into a zone.

Outside and clear of the zone the answer is exact: minus the distance of segment and zone. Where
the segment crosses or an end lies inside, the greatest depth is searched by halving: signed
distance is 1-Lipschitz, so an interval of length l with f and g at its ends holds nothing above (f
+ g + l) / 2. The search stops within DEPTH_ERROR of the truth, never above it; whether the segment
enters at all is decided by exact crossings, not by the search.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_call, jit_inline, jit_part
from geofence.kernels.arrays import (
    B_COUNT,
    B_FIRST,
    B_X0,
    B_X1,
    B_Y0,
    B_Y1,
    BOX_COLUMNS,
    FREE,
    H_BOX,
    H_CELL,
    H_GRID,
    H_STATE,
    H_UPPER,
    H_VX,
    H_VY,
    KIND_CIRCLE,
    NOWHERE_MM,
    ZoneArrays,
)
from geofence.kernels.distance import (
    from_grid,
    project,
    scale_between,
    scale_of,
    signed_distance,
)
from geofence.kernels.edges import squared_distance

_Int32 = npt.NDArray[np.int32]
_Int64 = npt.NDArray[np.int64]

# The depth found is below the greatest by at most the larger of these.
DEPTH_ERROR_MM: Final = 250.0
DEPTH_ERROR_SHARE: Final = 1.0 / 16.0
# Halvings of one interval: a segment of 1,000 km comes down to a millimetre.
_LEVELS: Final = 30


@jit_inline
def segment_cannot_touch(sd0_mm: int, sd1_mm: int, length_mm: float) -> bool:
    """Whether the signed distances of both ends, or bounds of them, rule out a contact."""
    return (sd0_mm < 0) & (sd1_mm < 0) & (float(-sd0_mm - sd1_mm) > length_mm)


@jit_inline
def _edge_d2(
    ax: float, ay: float, bx: float, by: float, dx: float, dy: float
) -> tuple[float, bool]:
    """Squared distance of segment 0-d to edge a-b; whether they cross in an inner point."""
    a = dx * ay - dy * ax
    b = dx * by - dy * bx
    ex = bx - ax
    ey = by - ay
    o = ey * ax - ex * ay
    p = o - ey * dx + ex * dy
    if ((a < 0.0) != (b < 0.0)) and ((o < 0.0) != (p < 0.0)):
        return 0.0, a != 0.0 and b != 0.0 and o != 0.0 and p != 0.0
    d2 = min(squared_distance(ax, ay, bx, by), squared_distance(ax - dx, ay - dy, bx - dx, by - dy))
    if dx != 0.0 or dy != 0.0:
        d2 = min(d2, squared_distance(-ax, -ay, dx - ax, dy - ay))
        d2 = min(d2, squared_distance(-bx, -by, dx - bx, dy - by))
    return d2, False


@jit_inline
def _box_bound(
    data: _Int32, box: int, px: float, py: float, dx: float, dy: float, length: float
) -> float:
    """A lower bound of the squared distance of segment p, p + d to a box: by axes, and across."""
    x0 = float(data[np.uintp(box + B_X0)]) - px
    y0 = float(data[np.uintp(box + B_Y0)]) - py
    x1 = float(data[np.uintp(box + B_X1)]) - px
    y1 = float(data[np.uintp(box + B_Y1)]) - py
    gap_x = max(x0 - max(dx, 0.0), min(dx, 0.0) - x1, 0.0)
    gap_y = max(y0 - max(dy, 0.0), min(dy, 0.0) - y1, 0.0)
    bound = gap_x * gap_x + gap_y * gap_y
    if length > 0.0:
        across = abs(dx * (y0 + y1) - dy * (x0 + x1)) - abs(dx) * (y1 - y0) - abs(dy) * (x1 - x0)
        if across > 0.0:
            # Half, because the sums above are twice the middle and twice the half sizes; a
            # millimetre for the rounding.
            apart = max(0.5 * across / length - 1.0, 0.0)
            bound = max(bound, apart * apart)
    return bound


@jit_part
def _nearest_to_segment(
    data: _Int32,
    vx: int,
    vy: int,
    boxes: int,
    upper: int,
    px: float,
    py: float,
    dx: float,
    dy: float,
    best: float,
) -> tuple[float, bool]:
    """Smallest squared distance of segment p, p + d to the boundary; whether it surely enters."""
    length = math.sqrt(dx * dx + dy * dy)
    enters = False
    for u in range(boxes, boxes + BOX_COLUMNS * upper, BOX_COLUMNS):
        if _box_bound(data, u, px, py, dx, dy, length) > best:
            continue
        first = boxes + BOX_COLUMNS * int(data[np.uintp(u + B_FIRST)])
        last = first + BOX_COLUMNS * int(data[np.uintp(u + B_COUNT)])
        for b in range(first, last, BOX_COLUMNS):
            if _box_bound(data, b, px, py, dx, dy, length) > best:
                continue
            edge = int(data[np.uintp(b + B_FIRST)])
            for e in range(edge, edge + int(data[np.uintp(b + B_COUNT)])):
                d2, crosses = _edge_d2(
                    float(data[np.uintp(vx + e)]) - px,
                    float(data[np.uintp(vy + e)]) - py,
                    float(data[np.uintp(vx + e + 1)]) - px,
                    float(data[np.uintp(vy + e + 1)]) - py,
                    dx,
                    dy,
                )
                best = min(best, d2)
                enters = enters or crosses
    return best, enters


@jit_part
def _deepest(
    zones: ZoneArrays,
    zone: int,
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    sd0: float,
    sd1: float,
    enough: float,
) -> float:
    """The greatest signed distance along a segment, mm, or the first found above `enough`."""
    dx = float(x1 - x0)
    dy = float(y1 - y0)
    length = math.sqrt(dx * dx + dy * dy)
    best = max(sd0, sd1)
    # Depth first with an implicit stack: interval `at` of 2^level equal ones; the values at its
    # ends are asked again when needed.
    level = 0
    at = 0
    low = sd0
    while True:
        high = sd1
        if at + 1 < 1 << level:
            high = _depth_at(zones, zone, x0, y0, dx, dy, at + 1, level)
        best = max(best, high)
        if best > enough:
            return best
        part = 1.001 * length / float(1 << level)
        margin = max(DEPTH_ERROR_MM, DEPTH_ERROR_SHARE * best)
        if level < _LEVELS and 0.5 * (low + high + part) > best + margin:
            level += 1
            at *= 2
            continue
        # Done with this interval: go on with the next, as long as it may be.
        at += 1
        low = high
        while level > 0 and at & 1 == 0:
            at >>= 1
            level -= 1
        if at >= 1 << level:
            return best


@jit_inline
def _depth_at(
    zones: ZoneArrays, zone: int, x0: int, y0: int, dx: float, dy: float, at: int, level: int
) -> float:
    share = float(at) / float(1 << level)
    x = x0 + math.floor(dx * share + 0.5)
    y = y0 + math.floor(dy * share + 0.5)
    return float(signed_distance(zones, zone, x, y, np.inf))


@jit_inline
def _circle_depth(zones: ZoneArrays, zone: int, x0: int, y0: int, x1: int, y1: int) -> int:
    head = zones.head
    z = np.uintp(zone)
    cx = float(head[z, H_GRID])
    cy = float(head[z, H_CELL])
    ax = float(x0) - cx
    ay = float(y0) - cy
    bx = float(x1) - cx
    by = float(y1) - cy
    d2 = ax * ax + ay * ay
    dx = bx - ax
    dy = by - ay
    along = dx * dx + dy * dy
    t = 0.0
    if along > 0.0:
        t = min(max(-(ax * dx + ay * dy) / along, 0.0), 1.0)
    nx = ax + t * dx
    ny = ay + t * dy
    d2 = nx * nx + ny * ny
    row = head[z, H_STATE] >> 1
    scale2 = scale_of(zones.planes, row, cx, cy) * scale_of(zones.planes, row, nx + cx, ny + cy)
    return math.floor(float(head[z, H_VX]) - math.sqrt(d2 / scale2) + 0.5)


@jit_call
def segment_depth(
    zones: ZoneArrays, zone: int, x0_mm: int, y0_mm: int, x1_mm: int, y1_mm: int, tolerance_m: float
) -> int:
    """The greatest signed distance along a segment of the zone's plane, millimetres on the earth.

    Above 0 the segment passes through the interior (or ends there), 0 is a touch, below 0 is minus
    the distance of segment and zone. An answer beyond the tolerance, on either side, is a lower
    bound of the true one.
    """
    head = zones.head
    z = np.uintp(zone)
    state = head[z, H_STATE]
    if state == FREE:
        return NOWHERE_MM
    if state & 1 == KIND_CIRCLE:
        return _circle_depth(zones, zone, x0_mm, y0_mm, x1_mm, y1_mm)
    dx = float(x1_mm - x0_mm)
    dy = float(y1_mm - y0_mm)
    length = math.sqrt(dx * dx + dy * dy)
    reach_m = tolerance_m + 0.0005 * length + 0.01
    sd0 = signed_distance(zones, zone, x0_mm, y0_mm, reach_m)
    sd1 = signed_distance(zones, zone, x1_mm, y1_mm, reach_m)
    if sd0 < 0 and sd1 < 0:
        # In the plane a length is up to a thousandth longer than on the earth: on the safe side,
        # as is the division below.
        clear = 0.5 * (-float(sd0) - float(sd1) - length)
        if clear > 1000.0 * tolerance_m:
            return -int(clear)
        scale = scale_between(zones, zone, 0.5 * (x0_mm + x1_mm), 0.5 * (y0_mm + y1_mm))
        px, py = from_grid(head, zone, x0_mm, y0_mm)
        ax = float(zones.data[np.uintp(head[z, H_VX])]) - px
        ay = float(zones.data[np.uintp(head[z, H_VY])]) - py
        best, enters = _nearest_to_segment(
            zones.data,
            head[z, H_VX],
            head[z, H_VY],
            head[z, H_BOX],
            head[z, H_UPPER],
            px,
            py,
            dx,
            dy,
            ax * ax + ay * ay,
        )
        if best > 0.0:
            return -max(1, int(math.sqrt(best) / scale + 0.5))
        floor = 1 if enters else 0
        sd0 = signed_distance(zones, zone, x0_mm, y0_mm, np.inf)
        sd1 = signed_distance(zones, zone, x1_mm, y1_mm, np.inf)
    else:
        floor = max(sd0, sd1)
    deepest = _deepest(
        zones,
        zone,
        x0_mm,
        y0_mm,
        x1_mm,
        y1_mm,
        float(sd0),
        float(sd1),
        1000.0 * tolerance_m,
    )
    return max(floor, int(deepest))


@jit
def segment_depth_wgs84(
    zones: ZoneArrays,
    zone: int,
    lat0_e7: int,
    lon0_e7: int,
    lat1_e7: int,
    lon1_e7: int,
    tolerance_m: float,
) -> int:
    """`segment_depth` between two positions in degrees x 1e7."""
    x0, y0 = project(zones, zone, lat0_e7, lon0_e7)
    x1, y1 = project(zones, zone, lat1_e7, lon1_e7)
    return segment_depth(zones, zone, x0, y0, x1, y1, tolerance_m)


@jit
def segment_depth_many(
    zones: ZoneArrays,
    index: _Int64,
    x0_mm: _Int64,
    y0_mm: _Int64,
    x1_mm: _Int64,
    y1_mm: _Int64,
    tolerance_m: npt.NDArray[np.float64],
    depth_mm: _Int64,
) -> None:
    """`segment_depth` of n segments, each with its own zone, into depth_mm[n]."""
    for i in range(index.size):
        depth_mm[i] = segment_depth(
            zones, index[i], x0_mm[i], y0_mm[i], x1_mm[i], y1_mm[i], tolerance_m[i]
        )
