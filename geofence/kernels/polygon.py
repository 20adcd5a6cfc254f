"""From rings in degrees to the arrays of one zone: chain, grid, boxes. Pure, off the hot thread.

The chain is the vertices in plane millimetres, ring by ring: long edges are divided, vertices that
fall together are one, rings smaller than a millimetre go.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_part
from afstand.limits import ZONE_CHAIN_VERTICES_MAX, ZONE_EXTENT_KM_MAX
from geofence.kernels.arrays import (
    BOX_COLUMNS,
    BOX_EDGES,
    CELL_COLUMNS,
    EDGE_MM_MAX,
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
    HEAD_COLUMNS,
    KIND_CIRCLE,
    KIND_POLYGON,
    RUN_COLUMNS,
)
from geofence.kernels.grid import (
    CELLS_PER_VERTEX_MAX,
    CELLS_SPARE,
    LEVELS_MAX,
    RUN_ROWS_MAX,
    STACK_COLUMNS,
    STACK_ROWS,
    build_boxes,
    build_grid,
)
from geofence.kernels.projection import plane_from_degrees, scale_at

_Float64 = npt.NDArray[np.float64]
_Int64 = npt.NDArray[np.int64]

# Longer edges are divided, in degrees: RFC 7946 means a straight line in longitude and latitude.
# What is left of the difference to a straight line in the plane is 0.1 m in the middle of a 2 km
# edge at 52 degrees.
EDGE_M_MAX: Final = 2_000.0
_EDGE_MM_MAX: Final = 1000.0 * EDGE_M_MAX
_EXTENT_MM_MAX: Final = ZONE_EXTENT_KM_MAX * 1_000_000

# The root grid: so many cells a vertex, of at least 2^12 mm.
_CELLS_PER_VERTEX: Final = 0.5
_CELLS_MIN: Final = 1
_CELLS_MAX: Final = 16_384
_SHIFT_MIN: Final = 12

# What became of a polygon.
MADE: Final = 0
TOO_MANY: Final = 1
NOTHING: Final = 2
TOO_WIDE: Final = 3

# Columns of what `link` finds: vertices, how many there were before any fell together, the longest
# edge along an axis, and the extent in the plane.
_N_VERTICES: Final = 0
_N_PIECES: Final = 1
_N_LONGEST: Final = 2
_N_LEFT: Final = 3
_N_LOW: Final = 4
_N_RIGHT: Final = 5
_N_TOP: Final = 6
_N_COLUMNS: Final = 7


@jit_part
def _link(
    points: _Float64,
    rings: _Int64,
    plane: _Float64,
    x_mm: _Int64,
    y_mm: _Int64,
    ends: npt.NDArray[np.bool_],
    found: _Int64,
) -> None:
    """Write the chain of closed rings into x_mm, y_mm and ends, as far as they have room.

    A long edge becomes pieces, equal in degrees. Where found[_N_PIECES] is more than there is room
    for, nothing else holds.
    """
    pieces = 0
    used = 0
    for r in range(rings.size - 1):
        begin = used
        ax, ay = 0, 0
        for k in range(rings[r], rings[r + 1]):
            bx, by = plane_from_degrees(plane, points[k, 1], points[k, 0])
            parts = 1
            if k > rings[r]:
                dx = float(bx - ax)
                dy = float(by - ay)
                parts = max(math.ceil(math.sqrt(dx * dx + dy * dy) / _EDGE_MM_MAX), 1)
            pieces += parts
            if pieces <= x_mm.size:
                for j in range(1, parts + 1):
                    x, y = bx, by
                    if j < parts:
                        part = j / parts
                        lon = points[k - 1, 0] + part * (points[k, 0] - points[k - 1, 0])
                        lat = points[k - 1, 1] + part * (points[k, 1] - points[k - 1, 1])
                        x, y = plane_from_degrees(plane, lat, lon)
                    if used > begin and x == x_mm[used - 1] and y == y_mm[used - 1]:
                        continue
                    x_mm[used] = x
                    y_mm[used] = y
                    ends[used] = False
                    used += 1
            ax, ay = bx, by
        if used - begin < 4:
            # Smaller than the millimetre: no shell can be, a hole is nothing.
            used = begin
        else:
            ends[used - 1] = True
    found[_N_VERTICES] = used
    found[_N_PIECES] = pieces
    found[_N_LONGEST] = 0
    found[_N_LEFT], found[_N_LOW], found[_N_RIGHT], found[_N_TOP] = 2**62, 2**62, -(2**62), -(2**62)
    for k in range(used):
        found[_N_LEFT] = min(found[_N_LEFT], x_mm[k])
        found[_N_LOW] = min(found[_N_LOW], y_mm[k])
        found[_N_RIGHT] = max(found[_N_RIGHT], x_mm[k])
        found[_N_TOP] = max(found[_N_TOP], y_mm[k])
        if not ends[k]:
            apart = max(abs(x_mm[k + 1] - x_mm[k]), abs(y_mm[k + 1] - y_mm[k]))
            found[_N_LONGEST] = max(found[_N_LONGEST], apart)


@jit_part
def _grid_shape(width: int, height: int, vertices: int) -> tuple[int, int, int]:
    """Shift, columns and rows of the finest root grid that the number of vertices pays for."""
    cells_max = min(max(int(vertices * _CELLS_PER_VERTEX), _CELLS_MIN), _CELLS_MAX)
    shift = _SHIFT_MIN
    while True:
        columns = (width >> shift) + 2
        rows = (height >> shift) + 2
        if columns * rows <= cells_max or (1 << shift) > max(width, height):
            return shift, columns, rows
        shift += 1


@jit_part
def _boxes_of(ends: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """How many upper and how many lower boxes the rings of a chain need."""
    lower = 0
    edges = 0
    for k in range(ends.size):
        if ends[k]:
            lower += (edges + BOX_EDGES - 1) // BOX_EDGES
            edges = 0
        else:
            edges += 1
    return (lower + BOX_EDGES - 1) // BOX_EDGES, lower


@jit
def compile_polygon(
    points: _Float64, rings: _Int64, plane: _Float64
) -> tuple[int, int, _Int64, npt.NDArray[np.int32]]:
    """Compile closed rings: what became of it, the vertices left, head and data (see `arrays`).

    points [n, 2]: longitude and latitude in degrees; rings [r + 1]: where each ring begins.
    """
    head = np.zeros(HEAD_COLUMNS, np.int64)
    nothing = np.empty(0, np.int32)
    found = np.zeros(_N_COLUMNS, np.int64)
    room = points.shape[0]
    x_mm = np.empty(room, np.int64)
    y_mm = np.empty(room, np.int64)
    ends = np.empty(room, np.bool_)
    _link(points, rings, plane, x_mm, y_mm, ends, found)
    if found[_N_PIECES] > ZONE_CHAIN_VERTICES_MAX:
        return TOO_MANY, 0, head, nothing
    if found[_N_PIECES] > room:
        room = found[_N_PIECES]
        x_mm = np.empty(room, np.int64)
        y_mm = np.empty(room, np.int64)
        ends = np.empty(room, np.bool_)
        _link(points, rings, plane, x_mm, y_mm, ends, found)
    count = found[_N_VERTICES]
    width = found[_N_RIGHT] - found[_N_LEFT]
    height = found[_N_TOP] - found[_N_LOW]
    if count == 0:
        return NOTHING, 0, head, nothing
    if max(width, height) > _EXTENT_MM_MAX:
        return TOO_WIDE, 0, head, nothing
    assert found[_N_LONGEST] <= EDGE_MM_MAX
    grid = _grid_shape(width, height, count)
    shift, columns, rows = grid
    ends = ends[:count]
    vx = np.empty(count, np.int32)
    vy = np.empty(count, np.int32)
    pad = (1 << shift) >> 1
    for k in range(count):
        vx[k] = x_mm[k] - found[_N_LEFT] + pad
        vy[k] = y_mm[k] - found[_N_LOW] + pad
    cells_max = columns * rows + CELLS_PER_VERTEX_MAX * count + CELLS_SPARE
    cells = np.empty(CELL_COLUMNS * cells_max, np.int32)
    runs = np.empty(RUN_COLUMNS * RUN_ROWS_MAX * cells_max, np.int32)
    arena = np.empty(LEVELS_MAX * count, np.int32)
    work = np.empty(5 * count, np.float64)
    waiting = np.empty((STACK_ROWS, STACK_COLUMNS), np.int64)
    used, lists = build_grid(vx, vy, ends, grid, cells, runs, arena, work, waiting)
    upper, lower = _boxes_of(ends)
    boxes = np.empty(BOX_COLUMNS * (upper + lower), np.int32)
    build_boxes(vx, vy, ends, upper, boxes)
    head[H_STATE] = KIND_POLYGON
    head[H_X0], head[H_Y0] = found[_N_LEFT], found[_N_LOW]
    head[H_X1], head[H_Y1] = found[_N_RIGHT], found[_N_TOP]
    head[H_GRID] = shift | columns << 8 | rows << 32
    head[H_CELL] = 0
    head[H_VX] = CELL_COLUMNS * used
    head[H_VY] = head[H_VX] + count
    head[H_RUN] = head[H_VY] + count
    head[H_BOX] = head[H_RUN] + RUN_COLUMNS * lists
    head[H_UPPER] = upper
    data = np.empty(head[H_BOX] + boxes.size, np.int32)
    data[: head[H_VX]] = cells[: head[H_VX]]
    data[head[H_VX] : head[H_VY]] = vx
    data[head[H_VY] : head[H_RUN]] = vy
    data[head[H_RUN] : head[H_BOX]] = runs[: RUN_COLUMNS * lists]
    data[head[H_BOX] :] = boxes
    return MADE, count, head, data


@jit
def circle_heads(circles: _Float64, plane: _Float64, heads: npt.NDArray[np.int64]) -> None:
    """Write the heads of circles [n, 3]: longitude, latitude, radius in metres."""
    for k in range(circles.shape[0]):
        x, y = plane_from_degrees(plane, circles[k, 1], circles[k, 0])
        radius_mm = math.floor(circles[k, 2] * 1000.0 + 0.5)
        reach = int(radius_mm * scale_at(plane, x, y) * 1.01) + 1
        heads[k, H_STATE] = KIND_CIRCLE
        heads[k, H_X0], heads[k, H_X1] = x - reach, x + reach
        heads[k, H_Y0], heads[k, H_Y1] = y - reach, y + reach
        heads[k, H_GRID], heads[k, H_CELL], heads[k, H_VX] = x, y, radius_mm
