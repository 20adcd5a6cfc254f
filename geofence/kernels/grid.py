"""Building the grid and the boxes of one zone. Slow (milliseconds), pure, off the hot thread.

Signed distance is 1-Lipschitz: it changes by at most |p - q| between p and q. So the distance at a
cell's centre bounds it in the whole cell, and an edge can be nearest to some point of a cell only
if its distance to the centre is at most the smallest one plus the cell's diagonal. The grid is
built from the whole down: a square hands its children the edges that can still matter, which
shrink by about four at each step.

Arrays are flat and made by the caller.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from afstand.compile import jit_inline, jit_part
from geofence.kernels.arrays import (
    B_COUNT,
    B_FIRST,
    B_X0,
    B_X1,
    B_Y0,
    B_Y1,
    BOX_COLUMNS,
    BOX_EDGES,
    BOXES,
    C_REF,
    C_SD,
    CELL_COLUMNS,
    CHILD_BITS,
    COUNT_BITS,
    FAR,
    LIST,
    RUN_COLUMNS,
    RUN_EDGES_MAX,
)
from geofence.kernels.edges import bits_of, crosses, float_of, squared_distance

_Int32 = npt.NDArray[np.int32]
_Float64 = npt.NDArray[np.float64]
_Int64 = npt.NDArray[np.int64]

# Edge lists are kept up to this distance from the boundary; beyond it an exact distance asks the
# boxes.
BAND_MM: Final = 300_000.0
# A cell within REFINE_MM of the boundary with more edges than LEAF_EDGES is refined, to children
# of 2^SHIFT_MIN mm.
LEAF_EDGES: Final = 12
REFINE_MM: Final = 1_000.0
SHIFT_MIN: Final = 12

# Two runs with at most this many other edges between them are one run: a longer run costs less
# than a list.
_GAP_EDGES: Final = 6
# What a strange or hostile zone may cost: a cell with more runs asks the boxes, a square with more
# edges is not looked at closely, and beyond so many cells a vertex nothing more is refined.
_RUNS_MAX: Final = 12
_EDGES_MAX: Final = 1024
CELLS_PER_VERTEX_MAX: Final = 8
CELLS_SPARE: Final = 1024
# Certainty against rounding in a bound; every stored distance is rounded to a millimetre.
_SLACK_MM: Final = 2.0
_HALF_DIAGONAL: Final = math.sqrt(0.5)
_BLOCK: Final = 1 << (2 * CHILD_BITS)

# A square that waits: its corner and shift, where its parent's edges are, the parent's side, its
# cell (-1 above the root cells), and twice the parent's centre. At most a block of siblings waits
# on each of fewer than 32 levels.
_W_X: Final = 0
_W_Y: Final = 1
_W_SHIFT: Final = 2
_W_START: Final = 3
_W_COUNT: Final = 4
_W_INSIDE: Final = 5
_W_CELL: Final = 6
_W_X2: Final = 7
_W_Y2: Final = 8
STACK_COLUMNS: Final = 9
STACK_ROWS: Final = 32 * _BLOCK
RUN_ROWS_MAX: Final = _RUNS_MAX + 1
# In the arena lie the edges of a square and of all squares around it.
LEVELS_MAX: Final = 32


@jit_part
def _gather(
    vx: _Int32, vy: _Int32, arena: _Int32, start: int, count: int, ends: _Float64, room: int
) -> None:
    """Both ends of the listed edges side by side: ax, ay, bx, by, each `room` long."""
    for k in range(count):
        e = int(arena[np.uintp(start + k)])
        ends[np.uintp(k)] = float(vx[np.uintp(e)])
        ends[np.uintp(room + k)] = float(vy[np.uintp(e)])
        ends[np.uintp(2 * room + k)] = float(vx[np.uintp(e + 1)])
        ends[np.uintp(3 * room + k)] = float(vy[np.uintp(e + 1)])


@jit_part
def _measure(
    ends: _Float64,
    room: int,
    count: int,
    cx: float,
    cy: float,
    ux: float,
    uy: float,
    distance: _Float64,
) -> tuple[float, int]:
    """Squared distance of a centre to each edge, the smallest; how many lie before c + u."""
    smallest = bits_of(np.inf)
    crossed = 0
    for k in range(count):
        ax = ends[np.uintp(k)] - cx
        ay = ends[np.uintp(room + k)] - cy
        bx = ends[np.uintp(2 * room + k)] - cx
        by = ends[np.uintp(3 * room + k)] - cy
        d2 = squared_distance(ax, ay, bx, by)
        distance[np.uintp(k)] = d2
        smallest = min(smallest, bits_of(d2))
        crossed += int(crosses(ax, ay, bx, by, ux, uy))
    return float_of(smallest), crossed


@jit_part
def _keep(
    arena: _Int32,
    start: int,
    count: int,
    distance: _Float64,
    limit: float,
    kept: int,
    ends: _Float64,
    room: int,
) -> int:
    """Copy the listed edges within a squared distance to `kept`, their ends too; how many."""
    more = 0
    for k in range(count):
        if distance[np.uintp(k)] <= limit:
            arena[np.uintp(kept + more)] = arena[np.uintp(start + k)]
            for part in range(0, 4 * room, room):
                ends[np.uintp(part + more)] = ends[np.uintp(part + k)]
            more += 1
    return more


@jit_inline
def _square_bounds(ax: float, ay: float, bx: float, by: float, half: float) -> tuple[float, float]:
    """Squared: smallest distance of segment a-b to a square around 0, largest to a corner."""
    d0 = squared_distance(ax - half, ay - half, bx - half, by - half)
    d1 = squared_distance(ax + half, ay - half, bx + half, by - half)
    d2 = squared_distance(ax - half, ay + half, bx - half, by + half)
    d3 = squared_distance(ax + half, ay + half, bx + half, by + half)
    largest = max(d0, d1, d2, d3)
    # The smallest is at a corner, at an end, or 0 where the segment enters the square.
    smallest = min(d0, d1, d2, d3)
    ex = max(abs(ax) - half, 0.0)
    ey = max(abs(ay) - half, 0.0)
    smallest = min(smallest, ex * ex + ey * ey)
    ex = max(abs(bx) - half, 0.0)
    ey = max(abs(by) - half, 0.0)
    smallest = min(smallest, ex * ex + ey * ey)
    touches = (
        (min(ax, bx) <= half)
        & (max(ax, bx) >= -half)
        & (min(ay, by) <= half)
        & (max(ay, by) >= -half)
        & (abs(ax * (by - ay) - ay * (bx - ax)) <= half * (abs(bx - ax) + abs(by - ay)))
    )
    return (0.0 if touches else smallest), largest


@jit_part
def _tighten(
    ends: _Float64, room: int, count: int, cx: float, cy: float, half: float, distance: _Float64
) -> float:
    """Squared distance of a square to each edge; above the returned one it cannot matter."""
    bound = bits_of(np.inf)
    for k in range(count):
        smallest, largest = _square_bounds(
            ends[np.uintp(k)] - cx,
            ends[np.uintp(room + k)] - cy,
            ends[np.uintp(2 * room + k)] - cx,
            ends[np.uintp(3 * room + k)] - cy,
            half,
        )
        distance[np.uintp(k)] = smallest
        bound = min(bound, bits_of(largest))
    limit = math.sqrt(float_of(bound)) + _SLACK_MM
    return limit * limit


@jit_inline
def _run_end(arena: _Int32, i: int, stop: int, ends: npt.NDArray[np.bool_]) -> int:
    """Position of the last edge of the run that begins at position i of ascending edges."""
    j = i
    while j + 1 < stop:
        e = arena[j]
        f = arena[j + 1]
        if f - e > _GAP_EDGES + 1 or f - arena[i] >= RUN_EDGES_MAX:
            break
        joined = True
        for v in range(e + 1, f):
            joined &= not ends[v]
        if not joined:
            break
        j += 1
    return j


@jit_part
def _cover(arena: _Int32, start: int, count: int, ends: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Number of runs that cover these edges, and of edges in them."""
    runs = 0
    covered = 0
    i = start
    while i < start + count:
        j = _run_end(arena, i, start + count, ends)
        runs += 1
        covered += arena[j] - arena[i] + 1
        i = j + 1
    return runs, covered


@jit_part
def _write_runs(
    arena: _Int32,
    start: int,
    count: int,
    ends: npt.NDArray[np.bool_],
    runs: _Int32,
    row: int,
    run_count: int,
) -> int:
    """Write a list of runs; the next free row."""
    runs[RUN_COLUMNS * row] = run_count
    runs[RUN_COLUMNS * row + 1] = 0
    row += 1
    i = start
    while i < start + count:
        j = _run_end(arena, i, start + count, ends)
        runs[RUN_COLUMNS * row] = arena[i]
        runs[RUN_COLUMNS * row + 1] = arena[j] - arena[i] + 1
        row += 1
        i = j + 1
    return row


@jit_part
def _push(
    waiting: _Int64,
    depth: int,
    bits: int,
    edges: tuple[int, int],
    inside: bool,
    children: int,
    grid: tuple[int, int, int],
) -> int:
    """Let the children of the square in row `depth` wait in its place, those on the grid."""
    x = waiting[depth, _W_X]
    y = waiting[depth, _W_Y]
    s = waiting[depth, _W_SHIFT]
    shift, columns, rows = grid
    t = s - bits
    for j in range((1 << (2 * bits)) - 1, -1, -1):
        left = x + ((j & ((1 << bits) - 1)) << t)
        low = y + ((j >> bits) << t)
        if (left >> shift) >= columns or (low >> shift) >= rows:
            continue
        cell = -1
        if children >= 0:
            cell = children + j
        elif t == shift:
            cell = (low >> shift) * columns + (left >> shift)
        _wait(waiting, depth, left, low, t, edges, inside, cell)
        waiting[depth, _W_X2] = 2 * x + (1 << s) - 1
        waiting[depth, _W_Y2] = 2 * y + (1 << s) - 1
        depth += 1
    return depth


@jit_inline
def _wait(
    waiting: _Int64,
    depth: int,
    x: int,
    y: int,
    s: int,
    edges: tuple[int, int],
    inside: bool,
    cell: int,
) -> None:
    """Note a square that waits; its parent's centre is the caller's."""
    waiting[depth, _W_X] = x
    waiting[depth, _W_Y] = y
    waiting[depth, _W_SHIFT] = s
    waiting[depth, _W_START] = edges[0]
    waiting[depth, _W_COUNT] = edges[1]
    waiting[depth, _W_INSIDE] = int(inside)
    waiting[depth, _W_CELL] = cell


@jit_part
def _start(
    ends: npt.NDArray[np.bool_], arena: _Int32, waiting: _Int64, grid: tuple[int, int, int]
) -> None:
    """Let the whole wait: a square over all of the grid, and every edge."""
    shift, columns, rows = grid
    edges = 0
    for v in range(ends.size):
        if not ends[v]:
            arena[edges] = v
            edges += 1
    top = shift
    while (1 << top) < (max(columns, rows) << shift):
        top += 1
    _wait(waiting, 0, 0, 0, top, (0, edges), False, 0 if top == shift else -1)
    # The parent of all is a point left of everything, outside.
    waiting[0, _W_X2] = -1
    waiting[0, _W_Y2] = (1 << top) - 1


@jit_part
def _narrow(
    vx: _Int32, vy: _Int32, arena: _Int32, work: _Float64, waiting: _Int64, at: int
) -> tuple[int, float, bool]:
    """Keep the edges that can be nearest to a point of square `at` behind its parent's.

    How many, the distance of its centre to the nearest of them, the side of its centre.
    """
    room = vx.size
    ends = work[room:]
    start = waiting[at, _W_START]
    count = waiting[at, _W_COUNT]
    half = ((1 << waiting[at, _W_SHIFT]) - 1) * 0.5
    cx = waiting[at, _W_X] + half
    cy = waiting[at, _W_Y] + half
    ux = waiting[at, _W_X2] * 0.5 - cx
    uy = waiting[at, _W_Y2] * 0.5 - cy
    _gather(vx, vy, arena, start, count, ends, room)
    smallest, crossed = _measure(ends, room, count, cx, cy, ux, uy, work)
    nearest = math.sqrt(smallest)
    reach = _HALF_DIAGONAL * (1 << waiting[at, _W_SHIFT])
    limit = nearest + 2.0 * reach + _SLACK_MM
    count = _keep(arena, start, count, work, limit * limit, start + count, ends, room)
    if waiting[at, _W_CELL] >= 0 and nearest - reach <= BAND_MM and count <= _EDGES_MAX:
        limit = _tighten(ends, room, count, cx, cy, half, work)
        kept = start + waiting[at, _W_COUNT]
        count = _keep(arena, kept, count, work, limit, kept, ends, room)
    return count, nearest, (waiting[at, _W_INSIDE] == 1) != (crossed & 1 == 1)


@jit_part
def build_grid(
    vx: _Int32,
    vy: _Int32,
    ends: npt.NDArray[np.bool_],
    grid: tuple[int, int, int],
    cells: _Int32,
    runs: _Int32,
    arena: _Int32,
    work: _Float64,
    waiting: _Int64,
) -> tuple[int, int]:
    """Fill cells and lists of runs of one zone; how many cells and rows were used.

    vx, vy [n]: the chain, millimetres from the grid's corner, all > 0. ends [n]: True at the last
    vertex of each ring, where no edge begins. grid: shift, columns and rows of the root cells of
    2^shift mm. The room in cells bounds the refinement; runs has room for RUN_ROWS_MAX a cell.
    Room for work: arena [LEVELS_MAX n], work [5 n], waiting.
    """
    cells_max = cells.size // CELL_COLUMNS
    cells_used = grid[1] * grid[2]
    runs_used = 0
    _start(ends, arena, waiting, grid)
    depth = 1
    while depth > 0:
        depth -= 1
        s = waiting[depth, _W_SHIFT]
        cell = waiting[depth, _W_CELL]
        kept = waiting[depth, _W_START] + waiting[depth, _W_COUNT]
        count, nearest, inside = _narrow(vx, vy, arena, work, waiting, depth)
        bits = 1
        children = -1
        if cell >= 0:
            magnitude = max(1, int(nearest + 0.5))
            cells[CELL_COLUMNS * cell + C_SD] = magnitude if inside else -magnitude
            clear = nearest - _HALF_DIAGONAL * (1 << s)
            if clear > BAND_MM:
                cells[CELL_COLUMNS * cell + C_REF] = FAR
                continue
            run_count, covered = _cover(arena, kept, count, ends)
            if (
                covered <= LEAF_EDGES
                or count > _EDGES_MAX
                or s - CHILD_BITS < SHIFT_MIN
                or clear > REFINE_MM
                or cells_used + _BLOCK > cells_max
            ):
                ref = LIST - ((arena[kept] << COUNT_BITS) | covered)
                if run_count > _RUNS_MAX:
                    ref = BOXES
                elif run_count > 1:
                    ref = LIST - (runs_used << COUNT_BITS)
                    runs_used = _write_runs(arena, kept, count, ends, runs, runs_used, run_count)
                cells[CELL_COLUMNS * cell + C_REF] = ref
                continue
            children = cells_used
            cells_used += _BLOCK
            cells[CELL_COLUMNS * cell + C_REF] = children
            bits = CHILD_BITS
        depth = _push(waiting, depth, bits, (kept, count), inside, children, grid)
    return cells_used, runs_used


@jit_inline
def _extend(boxes: _Int32, box: int, x0: int, y0: int, x1: int, y1: int) -> None:
    """Make a box cover another."""
    boxes[box + B_X0] = min(boxes[box + B_X0], x0)
    boxes[box + B_Y0] = min(boxes[box + B_Y0], y0)
    boxes[box + B_X1] = max(boxes[box + B_X1], x1)
    boxes[box + B_Y1] = max(boxes[box + B_Y1], y1)


@jit_inline
def _begin(boxes: _Int32, box: int, first: int) -> None:
    """An empty box."""
    boxes[box + B_X0] = 0x7FFFFFFF
    boxes[box + B_Y0] = 0x7FFFFFFF
    boxes[box + B_X1] = 0
    boxes[box + B_Y1] = 0
    boxes[box + B_FIRST] = first
    boxes[box + B_COUNT] = 0


@jit_part
def build_boxes(
    vx: _Int32, vy: _Int32, ends: npt.NDArray[np.bool_], upper: int, boxes: _Int32
) -> int:
    """Fill the boxes, `upper` of them the upper ones in front; how many in all.

    A lower box covers up to BOX_EDGES consecutive edges of one ring, an upper one up to BOX_EDGES
    lower ones.
    """
    used = upper
    lower = 0
    for v in range(vx.size):
        if ends[v]:
            lower = 0
            continue
        if lower == 0 or boxes[lower + B_COUNT] == BOX_EDGES:
            lower = BOX_COLUMNS * used
            _begin(boxes, lower, v)
            used += 1
        for w in (v, v + 1):
            _extend(boxes, lower, vx[w], vy[w], vx[w], vy[w])
        boxes[lower + B_COUNT] += 1
    for b in range(used - upper):
        box = BOX_COLUMNS * (b // BOX_EDGES)
        if b % BOX_EDGES == 0:
            _begin(boxes, box, upper + b)
        low = BOX_COLUMNS * (upper + b)
        _extend(
            boxes,
            box,
            boxes[low + B_X0],
            boxes[low + B_Y0],
            boxes[low + B_X1],
            boxes[low + B_Y1],
        )
        boxes[box + B_COUNT] += 1
    return used
