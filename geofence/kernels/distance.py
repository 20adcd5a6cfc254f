"""Signed distance of a point to a zone: the hot kernels. Positive inside."""

import math

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_inline
from geofence.kernels.arrays import (
    C_REF,
    C_SD,
    CELL_COLUMNS,
    CHILD_BITS,
    FREE,
    H_CELL,
    H_GRID,
    H_RUN,
    H_STATE,
    H_VX,
    H_VY,
    H_X0,
    H_X1,
    H_Y0,
    H_Y1,
    KIND_CIRCLE,
    LIST,
    NOWHERE_MM,
    ZoneArrays,
)
from geofence.kernels.edges import bits_of, float_of
from geofence.kernels.projection import (
    P_CENTRE_X,
    P_CENTRE_Y,
    P_K0,
    P_Q0,
    plane_from_degrees,
)
from geofence.kernels.search import (
    SLACK_MM,
    by_boxes,
    nearest_of_leaf,
    nearest_off_grid,
    sides_by_boxes,
    sides_of_leaf,
)


@jit_inline
def is_rd(zones: ZoneArrays, zone: int) -> bool:
    """Whether the zone is computed in RD, where one projection of a fix serves all zones."""
    return bool(zones.head[np.uintp(zone), H_STATE] >> 1 == 0)


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
    return float(planes[p, P_K0] + planes[p, P_Q0] * (dx * dx + dy * dy))


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
    d = float(head[z, H_VX]) - math.sqrt((dx * dx + dy * dy) / scale2)
    return math.floor(d + 0.5)


@jit_inline
def root_cell(zones: ZoneArrays, zone: int, x_mm: int, y_mm: int) -> tuple[int, int, int, int]:
    """The root cell of a point: place in `data` (-1 off the grid), offset in the cell, shift."""
    head = zones.head
    z = np.uintp(zone)
    shape = head[z, H_GRID]
    shift = shape & 255
    pad = (1 << shift) >> 1
    gx = x_mm - head[z, H_X0] + pad
    gy = y_mm - head[z, H_Y0] + pad
    ix = gx >> shift
    iy = gy >> shift
    columns = (shape >> 8) & 0xFFFFFF
    rows = shape >> 32
    if (ix < 0) | (iy < 0) | (ix >= columns) | (iy >= rows):
        return -1, 0, 0, 0
    mask = (1 << shift) - 1
    return head[z, H_CELL] + CELL_COLUMNS * (iy * columns + ix), gx & mask, gy & mask, shift


@jit_inline
def child_cell(cells: int, ref: int, in_x: int, in_y: int, shift: int) -> tuple[int, int, int, int]:
    """The child cell of a point, as `root_cell` gives the root cell."""
    shift -= CHILD_BITS
    mask = (1 << shift) - 1
    child = ref + ((in_y >> shift) << CHILD_BITS) + (in_x >> shift)
    return cells + CELL_COLUMNS * child, in_x & mask, in_y & mask, shift


@jit_inline
def scale_between(zones: ZoneArrays, zone: int, x: float, y: float) -> float:
    """Scale of the plane between a point and the zone, for which its bounding box stands.

    Between two points it is the root of the product at both (see `projection`).
    """
    head = zones.head
    z = np.uintp(zone)
    row = head[z, H_STATE] >> 1
    here = scale_of(zones.planes, row, x, y)
    qx = min(max(x, float(head[z, H_X0])), float(head[z, H_X1]))
    qy = min(max(y, float(head[z, H_Y0])), float(head[z, H_Y1]))
    if qx == x and qy == y:
        return here
    return math.sqrt(here * scale_of(zones.planes, row, qx, qy))


@jit_inline
def far(
    zones: ZoneArrays, zone: int, x_mm: int, y_mm: int, tolerance_m: float
) -> tuple[bool, int, float]:
    """What the head alone decides: whether it does, the answer, the scale of the plane here."""
    head = zones.head
    z = np.uintp(zone)
    state = head[z, H_STATE]
    if state == FREE:
        return True, NOWHERE_MM, 1.0
    if state & 1 == KIND_CIRCLE:
        return True, _circle(zones, zone, x_mm, y_mm), 1.0
    x = float(x_mm)
    y = float(y_mm)
    scale = scale_between(zones, zone, x, y)
    dx = max(float(head[z, H_X0]) - x, x - float(head[z, H_X1]), 0.0)
    dy = max(float(head[z, H_Y0]) - y, y - float(head[z, H_Y1]), 0.0)
    outside2 = dx * dx + dy * dy
    if outside2 > 0.0:
        bound = math.sqrt(outside2) / scale
        if bound > tolerance_m * 1000.0 + SLACK_MM:
            return True, -int(bound), scale
    return False, 0, scale


@jit_inline
def limit_of(tolerance_m: float, scale: float) -> float:
    """What must be certain in the plane, millimetres, for an answer beyond the tolerance."""
    return tolerance_m * 1000.0 * scale + SLACK_MM


@jit_inline
def certain(sd: float, in_x: int, in_y: int, shift: int) -> tuple[float, float, float]:
    """What the distance at a cell's centre certifies at a point, and the way to the centre."""
    half = ((1 << shift) - 1) * 0.5
    ux = half - in_x
    uy = half - in_y
    return abs(sd) - math.sqrt(ux * ux + uy * uy) - SLACK_MM, ux, uy


@jit_inline
def from_grid(head: npt.NDArray[np.int64], zone: int, x_mm: int, y_mm: int) -> tuple[float, float]:
    """The point from the grid's corner, as the edges are."""
    z = np.uintp(zone)
    pad = (1 << (head[z, H_GRID] & 255)) >> 1
    return float(x_mm - head[z, H_X0] + pad), float(y_mm - head[z, H_Y0] + pad)


@jit_inline
def near(
    zones: ZoneArrays,
    zone: int,
    x_mm: int,
    y_mm: int,
    tolerance_m: float,
    scale: float,
    cell: int,
    in_x: int,
    in_y: int,
    shift: int,
) -> int:
    """The answer from the cell without children that holds the point; cell -1 is off the grid."""
    head = zones.head
    data = zones.data
    z = np.uintp(zone)
    if cell < 0:
        d2 = nearest_off_grid(head, data, zone, x_mm, y_mm)
        return -int(math.sqrt(d2) / scale + 0.5)
    sd = float(data[np.uintp(cell + C_SD)])
    ref = int(data[np.uintp(cell + C_REF)])
    inside = sd > 0.0
    bound, ux, uy = certain(sd, in_x, in_y, shift)
    if bound > limit_of(tolerance_m, scale):
        magnitude = int(bound / scale)
        return magnitude if inside else -magnitude
    best = 2.0 * abs(sd) - bound
    px, py = from_grid(head, zone, x_mm, y_mm)
    if ref > LIST:
        d2, crossed = by_boxes(head, data, zone, px, py, ux, uy, best * best)
        inside = inside != (bound <= 0.0 and crossed & 1 == 1)
    else:
        bits, crossed = nearest_of_leaf(
            data,
            head[z, H_VX],
            head[z, H_VY],
            head[z, H_RUN],
            ref,
            px,
            py,
            ux,
            uy,
            bits_of(best * best),
        )
        d2 = float_of(bits)
        inside = inside != (crossed & 1 == 1)
    magnitude = int(math.sqrt(d2) / scale + 0.5)
    return magnitude if inside else -magnitude


@jit_inline
def _leaf_cell(zones: ZoneArrays, zone: int, x_mm: int, y_mm: int) -> tuple[int, int, int, int]:
    """The cell without children that holds a point."""
    cell, in_x, in_y, shift = root_cell(zones, zone, x_mm, y_mm)
    if cell < 0:
        return cell, in_x, in_y, shift
    cells = zones.head[np.uintp(zone), H_CELL]
    ref = int(zones.data[np.uintp(cell + C_REF)])
    while ref >= 0:
        cell, in_x, in_y, shift = child_cell(cells, ref, in_x, in_y, shift)
        ref = int(zones.data[np.uintp(cell + C_REF)])
    return cell, in_x, in_y, shift


@jit_inline
def signed_distance(zones: ZoneArrays, zone: int, x_mm: int, y_mm: int, tolerance_m: float) -> int:
    """Signed distance of a point of the zone's plane, millimetres on the earth.

    What an answer promises stands in the package's description.
    """
    decided, answer, scale = far(zones, zone, x_mm, y_mm, tolerance_m)
    if decided:
        return answer
    cell, in_x, in_y, shift = _leaf_cell(zones, zone, x_mm, y_mm)
    return near(zones, zone, x_mm, y_mm, tolerance_m, scale, cell, in_x, in_y, shift)


@jit_inline
def side(
    zones: ZoneArrays, zone: int, x_mm: int, y_mm: int, cell: int, in_x: int, in_y: int, shift: int
) -> bool:
    """Whether the point is inside, from the cell without children that holds it."""
    head = zones.head
    z = np.uintp(zone)
    if head[z, H_STATE] == FREE:
        return False
    if head[z, H_STATE] & 1 == KIND_CIRCLE:
        return _circle(zones, zone, x_mm, y_mm) > 0
    if cell < 0:
        return False
    sd = float(zones.data[np.uintp(cell + C_SD)])
    bound, ux, uy = certain(sd, in_x, in_y, shift)
    if bound > 0.0:
        return sd > 0.0
    px, py = from_grid(head, zone, x_mm, y_mm)
    ref = int(zones.data[np.uintp(cell + C_REF)])
    if ref > LIST:
        crossed, on = sides_by_boxes(head, zones.data, zone, px, py, ux, uy)
    else:
        crossed, on = sides_of_leaf(
            zones.data, head[z, H_VX], head[z, H_VY], head[z, H_RUN], ref, px, py, ux, uy
        )
    return (sd > 0.0) != (crossed & 1 == 1) and not on


@jit_inline
def contains(zones: ZoneArrays, zone: int, x_mm: int, y_mm: int) -> bool:
    """Whether a point of the zone's plane lies inside, not on the boundary."""
    cell = -1
    in_x = 0
    in_y = 0
    shift = 0
    if zones.head[np.uintp(zone), H_STATE] & 1 != KIND_CIRCLE:
        cell, in_x, in_y, shift = _leaf_cell(zones, zone, x_mm, y_mm)
    return side(zones, zone, x_mm, y_mm, cell, in_x, in_y, shift)


@jit
def signed_distance_wgs84(
    zones: ZoneArrays, zone: int, lat_e7: int, lon_e7: int, tolerance_m: float
) -> int:
    """Signed distance of a position in degrees x 1e7."""
    x, y = project(zones, zone, lat_e7, lon_e7)
    return signed_distance(zones, zone, x, y, tolerance_m)
