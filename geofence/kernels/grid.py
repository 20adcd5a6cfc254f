"""Building the grid and the boxes of one zone. Slow (milliseconds), pure, off the hot thread.

Signed distance is 1-Lipschitz: it changes by at most |p - q| between p and q. So the distance at a cell's centre bounds it in the whole
cell, and an edge can be nearest to some point of a cell only if its distance to the centre is at most the smallest
one plus the cell's diagonal. The grid is built from the whole down: a square hands its children the edges that can
still matter, which shrink by about four at each step.
"""

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
    BOX_EDGES,
    C_REF,
    C_SD,
    CELL_COLUMNS,
    CHILD_BITS,
    COUNT_BITS,
    FAR,
    RUN_EDGES_MAX,
)
from geofence.kernels.compile import jit, jit_inline
from geofence.kernels.edges import crosses, squared_distance

_Int32 = npt.NDArray[np.int32]
_Float64 = npt.NDArray[np.float64]

# Edge lists are kept up to this distance from the boundary; beyond it an exact distance asks the boxes.
BAND_MM: Final = 300_000.0
# A cell within REFINE_MM of the boundary with more edges than this is refined, down to children of 2^SHIFT_MIN mm.
LEAF_EDGES: Final = 16
REFINE_MM: Final = 50_000.0
SHIFT_MIN: Final = 13
# Two runs with at most this many other edges between them are one run: a longer run costs less than a list.
_GAP_EDGES: Final = 6
# Certainty against rounding in a bound; every stored distance is rounded to a millimetre.
_SLACK_MM: Final = 2.0
_HALF_DIAGONAL: Final = math.sqrt(0.5)
_BLOCK: Final = 1 << (2 * CHILD_BITS)
# Squares that wait: at most a block or four siblings per level, of fewer than 32 levels.
_STACK: Final = 32 * _BLOCK


@jit_inline
def _room(rows: _Int32, used: int, more: int) -> _Int32:
    """The same rows with room for `more` behind the first `used`."""
    if used + more <= rows.shape[0]:
        return rows
    wider = np.empty((2 * (used + more), rows.shape[1]), np.int32)
    wider[:used] = rows[:used]
    return wider


@jit_inline
def _corner_bounds(
    ax: float, ay: float, bx: float, by: float, half: float
) -> tuple[float, float]:
    """Squared: the smallest distance of segment a-b to a square of this half size around the origin, the largest of its corners."""
    d0 = squared_distance(ax - half, ay - half, bx - half, by - half)
    d1 = squared_distance(ax + half, ay - half, bx + half, by - half)
    d2 = squared_distance(ax - half, ay + half, bx - half, by + half)
    d3 = squared_distance(ax + half, ay + half, bx + half, by + half)
    largest = max(max(d0, d1), max(d2, d3))
    # The smallest is at a corner, at an end, or 0 where the segment enters the square.
    smallest = min(min(d0, d1), min(d2, d3))
    ex = max(abs(ax) - half, 0.0)
    ey = max(abs(ay) - half, 0.0)
    smallest = min(smallest, ex * ex + ey * ey)
    ex = max(abs(bx) - half, 0.0)
    ey = max(abs(by) - half, 0.0)
    smallest = min(smallest, ex * ex + ey * ey)
    if (
        min(ax, bx) <= half
        and max(ax, bx) >= -half
        and min(ay, by) <= half
        and max(ay, by) >= -half
        and abs(ax * (by - ay) - ay * (bx - ax)) <= half * (abs(bx - ax) + abs(by - ay))
    ):
        smallest = 0.0
    return smallest, largest


@jit_inline
def _count_runs(edges: _Int32, start: int, count: int, ends: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Number of runs that cover these ascending edges, and of edges in them."""
    runs = 0
    covered = 0
    i = start
    while i < start + count:
        j = _run_end(edges, i, start + count, ends)
        runs += 1
        covered += edges[j] - edges[i] + 1
        i = j + 1
    return runs, covered


@jit_inline
def _run_end(edges: _Int32, i: int, stop: int, ends: npt.NDArray[np.bool_]) -> int:
    """Position of the last edge of the run that begins at position i."""
    first = edges[i]
    j = i
    while j + 1 < stop and edges[j + 1] - edges[j] <= _GAP_EDGES + 1:
        if edges[j + 1] - first >= RUN_EDGES_MAX:
            break
        joined = True
        for v in range(edges[j] + 1, edges[j + 1]):
            if ends[v]:
                joined = False
        if not joined:
            break
        j += 1
    return j


@jit
def build_grid(
    vx: _Int32, vy: _Int32, ends: npt.NDArray[np.bool_], shift: int, columns: int, rows: int
) -> tuple[_Int32, _Int32]:
    """Cells and lists of runs of one zone.

    vx, vy [n]: the chain, millimetres from the grid's corner, all > 0. ends [n]: True at the last vertex of each ring, where
    no edge begins. The grid has columns x rows root cells of 2^shift mm.
    """
    n = vx.size
    cells = np.empty((columns * rows + 8 * _BLOCK + n, CELL_COLUMNS), np.int32)
    used = columns * rows
    runs = np.empty((64, 2), np.int32)
    runs_used = 0

    arena = np.empty(16 * n + 1024, np.int32)
    distance = np.empty(n, np.float64)
    largest = np.empty(n, np.float64)
    all_edges = 0
    for v in range(n):
        if not ends[v]:
            arena[all_edges] = v
            all_edges += 1

    top_shift = shift
    while (1 << top_shift) < (max(columns, rows) << shift):
        top_shift += 1
    # A waiting square: corner, shift, its parent's edges in the arena, its parent's centre and side, its cell (-1 above the root cells).
    waiting = np.empty((_STACK, 6), np.int64)
    parent = np.empty((_STACK, 2), np.float64)
    waiting[0] = np.array([0, 0, top_shift, 0, all_edges, 0])
    waiting_cell = np.empty(_STACK, np.int64)
    waiting_cell[0] = 0 if top_shift == shift else -1
    # The parent of all: a point left of everything, outside.
    parent[0, 0] = -0.5
    parent[0, 1] = ((1 << top_shift) - 1) * 0.5
    depth = 1
    while depth > 0:
        depth -= 1
        x = waiting[depth, 0]
        y = waiting[depth, 1]
        s = waiting[depth, 2]
        start = waiting[depth, 3]
        count = waiting[depth, 4]
        inside = waiting[depth, 5] == 1
        cell = waiting_cell[depth]
        cx = x + ((1 << s) - 1) * 0.5
        cy = y + ((1 << s) - 1) * 0.5
        ux = parent[depth, 0] - cx
        uy = parent[depth, 1] - cy
        reach = _HALF_DIAGONAL * (1 << s)

        smallest = np.inf
        for k in range(count):
            e = arena[start + k]
            ax = float(vx[e]) - cx
            ay = float(vy[e]) - cy
            bx = float(vx[e + 1]) - cx
            by = float(vy[e + 1]) - cy
            d2 = squared_distance(ax, ay, bx, by)
            distance[k] = d2
            smallest = min(smallest, d2)
            if crosses(ax, ay, bx, by, ux, uy):
                inside = not inside
        nearest = math.sqrt(smallest)
        limit = (nearest + 2.0 * reach + _SLACK_MM) ** 2
        kept = start + count
        if kept + count > arena.size:
            wider = np.empty(2 * arena.size + count, np.int32)
            wider[:kept] = arena[:kept]
            arena = wider
        kept_count = 0
        for k in range(count):
            if distance[k] <= limit:
                arena[kept + kept_count] = arena[start + k]
                kept_count += 1

        child_bits = 1
        children = -1
        if cell >= 0:
            magnitude = max(1, int(nearest + 0.5))
            cells[cell, C_SD] = magnitude if inside else -magnitude
            if nearest - reach > BAND_MM:
                cells[cell, C_REF] = FAR
                continue
            # The tighter test: an edge further from the square than the furthest corner is from some other edge cannot matter.
            half = ((1 << s) - 1) * 0.5
            bound = np.inf
            for k in range(kept_count):
                e = arena[kept + k]
                distance[k], largest[k] = _corner_bounds(
                    float(vx[e]) - cx,
                    float(vy[e]) - cy,
                    float(vx[e + 1]) - cx,
                    float(vy[e + 1]) - cy,
                    half,
                )
                bound = min(bound, largest[k])
            bound = (math.sqrt(bound) + _SLACK_MM) ** 2
            survivors = 0
            for k in range(kept_count):
                if distance[k] <= bound:
                    arena[kept + survivors] = arena[kept + k]
                    survivors += 1
            kept_count = survivors
            run_count, covered = _count_runs(arena, kept, kept_count, ends)
            if (
                covered <= LEAF_EDGES
                or s - CHILD_BITS < SHIFT_MIN
                or nearest - reach > REFINE_MM
            ):
                if run_count == 1:
                    cells[cell, C_REF] = -2 - ((arena[kept] << COUNT_BITS) | covered)
                else:
                    cells[cell, C_REF] = -2 - (runs_used << COUNT_BITS)
                    runs = _room(runs, runs_used, run_count + 1)
                    runs[runs_used, 0] = run_count
                    runs[runs_used, 1] = 0
                    runs_used += 1
                    i = kept
                    while i < kept + kept_count:
                        j = _run_end(arena, i, kept + kept_count, ends)
                        runs[runs_used, 0] = arena[i]
                        runs[runs_used, 1] = arena[j] - arena[i] + 1
                        runs_used += 1
                        i = j + 1
                continue
            children = used
            cells = _room(cells, used, _BLOCK)
            used += _BLOCK
            cells[cell, C_REF] = children
            child_bits = CHILD_BITS
        t = s - child_bits
        for j in range((1 << (2 * child_bits)) - 1, -1, -1):
            left = x + ((j & ((1 << child_bits) - 1)) << t)
            low = y + ((j >> child_bits) << t)
            if (left >> shift) >= columns or (low >> shift) >= rows:
                continue
            waiting[depth, 0] = left
            waiting[depth, 1] = low
            waiting[depth, 2] = t
            waiting[depth, 3] = kept
            waiting[depth, 4] = kept_count
            waiting[depth, 5] = 1 if inside else 0
            parent[depth, 0] = cx
            parent[depth, 1] = cy
            if children >= 0:
                waiting_cell[depth] = children + j
            elif t == shift:
                waiting_cell[depth] = (low >> shift) * columns + (left >> shift)
            else:
                waiting_cell[depth] = -1
            depth += 1
    return cells[:used].copy(), runs[:runs_used].copy()


@jit
def build_boxes(vx: _Int32, vy: _Int32, ends: npt.NDArray[np.bool_]) -> tuple[_Int32, int]:
    """Bounding boxes of up to BOX_EDGES consecutive edges of one ring, and of up to BOX_EDGES such boxes: the upper ones first."""
    n = vx.size
    lower = np.empty((n, BOX_COLUMNS), np.int32)
    count = 0
    v = 0
    while v < n:
        if ends[v]:
            v += 1
            continue
        w = v
        while w - v < BOX_EDGES and not ends[w]:
            w += 1
        lower[count, B_X0] = vx[v : w + 1].min()
        lower[count, B_Y0] = vy[v : w + 1].min()
        lower[count, B_X1] = vx[v : w + 1].max()
        lower[count, B_Y1] = vy[v : w + 1].max()
        lower[count, B_FIRST] = v
        lower[count, B_COUNT] = w - v
        count += 1
        v = w
    upper = (count + BOX_EDGES - 1) // BOX_EDGES
    boxes = np.empty((upper + count, BOX_COLUMNS), np.int32)
    boxes[upper:] = lower[:count]
    for u in range(upper):
        first = u * BOX_EDGES
        last = min(first + BOX_EDGES, count)
        boxes[u, B_X0] = lower[first:last, B_X0].min()
        boxes[u, B_Y0] = lower[first:last, B_Y0].min()
        boxes[u, B_X1] = lower[first:last, B_X1].max()
        boxes[u, B_Y1] = lower[first:last, B_Y1].max()
        boxes[u, B_FIRST] = upper + first
        boxes[u, B_COUNT] = last - first
    return boxes, upper
