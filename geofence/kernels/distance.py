"""Signed distance of a point to a zone: the hot kernels. Positive inside."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from geofence.kernels.arrays import (
    B_COUNT,
    B_FIRST,
    B_X0,
    B_X1,
    B_Y0,
    B_Y1,
    BOX_COLUMNS,
    C_REF,
    C_SD,
    CELL_COLUMNS,
    CHILD_BITS,
    COUNT_BITS,
    FAR,
    FREE,
    H_BOX,
    H_CELL,
    H_GRID,
    H_RUN,
    H_STATE,
    H_UPPER,
    H_VX,
    H_VY,
    H_X0,
    H_X1,
    H_Y0,
    H_Y1,
    KIND_CIRCLE,
    NOWHERE_MM,
    RUN_COLUMNS,
    RUN_EDGES_MAX,
    ZoneArrays,
)
from geofence.kernels.compile import jit, jit_inline
from geofence.kernels.edges import bits_of, float_of, nearest_and_crossings, nearest_bits
from geofence.kernels.projection import (
    P_CENTRE_X,
    P_CENTRE_Y,
    P_K0,
    P_Q0,
    plane_from_degrees,
)

_Int32 = npt.NDArray[np.int32]

# A stored distance is rounded to a millimetre, an offset is not: two cover both.
_SLACK_MM: Final = 2.0


@jit_inline
def is_rd(zones: ZoneArrays, zone: int) -> bool:
    """Whether the zone is computed in RD, where one projection of a fix serves all zones."""
    return zones.head[np.uintp(zone), H_STATE] >> 1 == 0


@jit
def project(zones: ZoneArrays, zone: int, lat_e7: int, lon_e7: int) -> tuple[int, int]:
    """A position in the plane of this zone, millimetres."""
    state = zones.head[np.uintp(zone), H_STATE]
    if state == FREE:
        return 0, 0
    return plane_from_degrees(zones.planes[state >> 1], lat_e7 / 1e7, lon_e7 / 1e7)


@jit_inline
def scale_of(planes: npt.NDArray[np.float64], row: int, x_mm: float, y_mm: float) -> float:
    """`projection.scale_at` for a row of a table."""
    p = np.uintp(row)
    dx = x_mm - planes[p, P_CENTRE_X]
    dy = y_mm - planes[p, P_CENTRE_Y]
    return planes[p, P_K0] + planes[p, P_Q0] * (dx * dx + dy * dy)


@jit
def _nearest_of_leaf(
    data: _Int32,
    vx: int,
    vy: int,
    run: int,
    packed: int,
    px: float,
    py: float,
    ux: float,
    uy: float,
    best: int,
) -> tuple[int, int]:
    """Bits of the smallest squared distance to the edges of a leaf, and how many lie between p and its centre p + u."""
    count = packed & RUN_EDGES_MAX
    first = packed >> COUNT_BITS
    runs = 1
    at = 0
    if count == 0:
        at = run + RUN_COLUMNS * first
        runs = int(data[np.uintp(at)])
        at += RUN_COLUMNS
        first = int(data[np.uintp(at)])
        count = int(data[np.uintp(at + 1)])
    total = 0
    while True:
        best, more = nearest_and_crossings(
            data, vx + first, vy + first, count, px, py, ux, uy, best
        )
        total += more
        runs -= 1
        if runs == 0:
            return best, total
        at += RUN_COLUMNS
        first = int(data[np.uintp(at)])
        count = int(data[np.uintp(at + 1)])


@jit_inline
def box_d2(data: _Int32, box: int, px: float, py: float) -> float:
    """Squared distance of a point to a box."""
    dx = max(
        float(data[np.uintp(box + B_X0)]) - px, px - float(data[np.uintp(box + B_X1)]), 0.0
    )
    dy = max(
        float(data[np.uintp(box + B_Y0)]) - py, py - float(data[np.uintp(box + B_Y1)]), 0.0
    )
    return dx * dx + dy * dy


@jit
def _nearest_by_boxes(
    data: _Int32,
    vx: int,
    vy: int,
    boxes: int,
    upper: int,
    px: float,
    py: float,
    best: float,
) -> float:
    """Smallest squared distance to the boundary of the whole zone, searched below `best`."""
    bits = bits_of(best)
    for u in range(boxes, boxes + BOX_COLUMNS * upper, BOX_COLUMNS):
        if bits_of(box_d2(data, u, px, py)) >= bits:
            continue
        first = boxes + BOX_COLUMNS * int(data[np.uintp(u + B_FIRST)])
        last = first + BOX_COLUMNS * int(data[np.uintp(u + B_COUNT)])
        for b in range(first, last, BOX_COLUMNS):
            if bits_of(box_d2(data, b, px, py)) < bits:
                edge = int(data[np.uintp(b + B_FIRST)])
                count = int(data[np.uintp(b + B_COUNT)])
                bits = nearest_bits(data, vx + edge, vy + edge, count, px, py, bits)
    return float_of(bits)


@jit_inline
def _circle(zones: ZoneArrays, zone: int, x_mm: int, y_mm: int) -> int:
    head = zones.head
    z = np.uintp(zone)
    cx = float(head[z, H_GRID])
    cy = float(head[z, H_CELL])
    row = head[z, H_STATE] >> 1
    dx = float(x_mm) - cx
    dy = float(y_mm) - cy
    scale2 = scale_of(zones.planes, row, float(x_mm), float(y_mm)) * scale_of(
        zones.planes, row, cx, cy
    )
    d = head[z, H_VX] - math.sqrt((dx * dx + dy * dy) / scale2)
    return int(math.floor(d + 0.5))


@jit_inline
def signed_distance(
    zones: ZoneArrays, zone: int, x_mm: int, y_mm: int, tolerance_m: float
) -> int:
    """Signed distance of a point of the zone's plane, millimetres on the earth; the package says what it promises."""
    head = zones.head
    data = zones.data
    z = np.uintp(zone)
    state = head[z, H_STATE]
    if state == FREE:
        return NOWHERE_MM
    if state & 1 == KIND_CIRCLE:
        return _circle(zones, zone, x_mm, y_mm)

    # Scale between the point and the nearest point of the bounding box (see `projection`).
    x0 = head[z, H_X0]
    y0 = head[z, H_Y0]
    x = float(x_mm)
    y = float(y_mm)
    qx = min(max(x, float(x0)), float(head[z, H_X1]))
    qy = min(max(y, float(y0)), float(head[z, H_Y1]))
    row = state >> 1
    scale = scale_of(zones.planes, row, x, y)
    limit = tolerance_m * 1000.0
    dx = x - qx
    dy = y - qy
    outside2 = dx * dx + dy * dy
    if outside2 > 0.0:
        scale = math.sqrt(scale * scale_of(zones.planes, row, qx, qy))
        bound = math.sqrt(outside2) / scale
        if bound > limit + _SLACK_MM:
            return -int(bound)
    limit = limit * scale + _SLACK_MM

    shape = head[z, H_GRID]
    shift = shape & 255
    columns = (shape >> 8) & 0xFFFFFF
    rows = shape >> 32
    pad = (1 << shift) >> 1
    gx = x_mm - x0 + pad
    gy = y_mm - y0 + pad
    ix = min(max(gx >> shift, 0), columns - 1)
    iy = min(max(gy >> shift, 0), rows - 1)
    # Off the grid the nearest root cell still bounds the distance from above.
    off = ix != gx >> shift or iy != gy >> shift
    cells = head[z, H_CELL]
    cell = np.uintp(cells + CELL_COLUMNS * (iy * columns + ix))
    left = ix << shift
    low = iy << shift
    ref = int(data[cell + np.uintp(C_REF)])
    while ref >= 0 and not off:
        shift -= CHILD_BITS
        jx = (gx - left) >> shift
        jy = (gy - low) >> shift
        left += jx << shift
        low += jy << shift
        cell = np.uintp(cells + CELL_COLUMNS * (ref + (jy << CHILD_BITS) + jx))
        ref = int(data[cell + np.uintp(C_REF)])
    sd = float(data[cell + np.uintp(C_SD)])
    inside = sd > 0.0
    half = ((1 << shift) - 1) * 0.5
    px = float(gx)
    py = float(gy)
    ux = left + half - px
    uy = low + half - py
    away = math.sqrt(ux * ux + uy * uy)
    bound = abs(sd) - away - _SLACK_MM
    if bound > limit:
        magnitude = int(bound / scale)
        return magnitude if inside else -magnitude
    best = abs(sd) + away + _SLACK_MM
    best *= best
    if off or ref == FAR:
        inside = inside and not off
        d2 = _nearest_by_boxes(
            data, head[z, H_VX], head[z, H_VY], head[z, H_BOX], head[z, H_UPPER], px, py, best
        )
    else:
        bits, crossed = _nearest_of_leaf(
            data,
            head[z, H_VX],
            head[z, H_VY],
            head[z, H_RUN],
            -2 - ref,
            px,
            py,
            ux,
            uy,
            bits_of(best),
        )
        d2 = float_of(bits)
        inside = inside != (crossed & 1 == 1)
    magnitude = int(math.sqrt(d2) / scale + 0.5)
    return magnitude if inside else -magnitude


@jit
def signed_distance_wgs84(
    zones: ZoneArrays, zone: int, lat_e7: int, lon_e7: int, tolerance_m: float
) -> int:
    """Signed distance of a position in degrees x 1e7."""
    x, y = project(zones, zone, lat_e7, lon_e7)
    return signed_distance(zones, zone, x, y, tolerance_m)


@jit
def contains(zones: ZoneArrays, zone: int, x_mm: int, y_mm: int) -> bool:
    """Whether a point of the zone's plane lies inside, not on the boundary."""
    return signed_distance(zones, zone, x_mm, y_mm, 0.0) > 0


@jit
def signed_distance_many(
    zones: ZoneArrays,
    index: npt.NDArray[np.int64],
    x_mm: npt.NDArray[np.int64],
    y_mm: npt.NDArray[np.int64],
    tolerance_m: npt.NDArray[np.float64],
    distance_mm: npt.NDArray[np.int64],
) -> None:
    """Signed distances of n points, each to its own zone, into distance_mm[n]."""
    for i in range(index.size):
        distance_mm[i] = signed_distance(zones, index[i], x_mm[i], y_mm[i], tolerance_m[i])
