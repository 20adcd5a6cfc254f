"""The edges of one zone: the few of a leaf, or all of them by their boxes.

Each search gives the squared distance of a point to the edges, or on which side of them it lies,
counted from a point whose side is known. Coordinates are millimetres from the corner of the zone's
grid.
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
    C_SD,
    CELL_COLUMNS,
    COUNT_BITS,
    H_BOX,
    H_CELL,
    H_GRID,
    H_UPPER,
    H_VX,
    H_VY,
    H_X0,
    H_Y0,
    LIST,
    RUN_COLUMNS,
    RUN_EDGES_MAX,
)
from geofence.kernels.edges import bits_of, float_of, nearest_and_crossings, nearest_bits, sides

_Int32 = npt.NDArray[np.int32]

# A stored distance is rounded to a millimetre, an offset is not: two cover both.
SLACK_MM: Final = 2.0


@jit_inline
def _first_run(data: _Int32, run: int, ref: int) -> tuple[int, int, int, int]:
    """The runs of a leaf: how many, where the list is, first edge and count of the first run."""
    packed = LIST - ref
    count = packed & RUN_EDGES_MAX
    first = packed >> COUNT_BITS
    if count > 0:
        return 1, 0, first, count
    at = run + RUN_COLUMNS * (first + 1)
    return (
        int(data[np.uintp(at - RUN_COLUMNS)]),
        at,
        int(data[np.uintp(at)]),
        int(data[np.uintp(at + 1)]),
    )


@jit_part
def nearest_of_leaf(
    data: _Int32,
    vx: int,
    vy: int,
    run: int,
    ref: int,
    px: float,
    py: float,
    ux: float,
    uy: float,
    best: int,
) -> tuple[int, int]:
    """Bits of the smallest squared distance to a leaf's edges; how many lie between p and p + u."""
    runs, at, first, count = _first_run(data, run, ref)
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


@jit_part
def sides_of_leaf(
    data: _Int32,
    vx: int,
    vy: int,
    run: int,
    ref: int,
    px: float,
    py: float,
    ux: float,
    uy: float,
) -> tuple[int, bool]:
    """How many edges of a leaf lie between p and p + u, and whether p lies on one."""
    runs, at, first, count = _first_run(data, run, ref)
    total = 0
    while True:
        crossed, aligned = sides(data, vx + first, vy + first, count, px, py, ux, uy)
        if aligned > 0 and _on_run(data, vx + first, vy + first, count, px, py):
            return 0, True
        total += crossed
        runs -= 1
        if runs == 0:
            return total, False
        at += RUN_COLUMNS
        first = int(data[np.uintp(at)])
        count = int(data[np.uintp(at + 1)])


@jit_part
def _on_run(data: _Int32, vx: int, vy: int, count: int, px: float, py: float) -> bool:
    """Whether p lies on one of these edges; exact, because all is integer."""
    for i in range(count):
        ax = float(data[np.uintp(vx + i)]) - px
        ay = float(data[np.uintp(vy + i)]) - py
        bx = float(data[np.uintp(vx + i + 1)]) - px
        by = float(data[np.uintp(vy + i + 1)]) - py
        if ax * by == ay * bx and ax * bx <= 0.0 and ay * by <= 0.0:
            return True
    return False


@jit_inline
def box_d2(data: _Int32, box: int, px: float, py: float) -> float:
    """Squared distance of a point to a box."""
    dx = max(float(data[np.uintp(box + B_X0)]) - px, px - float(data[np.uintp(box + B_X1)]), 0.0)
    dy = max(float(data[np.uintp(box + B_Y0)]) - py, py - float(data[np.uintp(box + B_Y1)]), 0.0)
    return dx * dx + dy * dy


@jit_part
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


@jit_part
def sides_by_boxes(
    head: npt.NDArray[np.int64],
    data: _Int32,
    zone: int,
    px: float,
    py: float,
    ux: float,
    uy: float,
) -> tuple[int, bool]:
    """How many edges of the zone lie between p and p + u, and whether p lies on one; exact."""
    z = np.uintp(zone)
    vx = head[z, H_VX]
    vy = head[z, H_VY]
    first = head[z, H_BOX]
    total = 0
    # Boxes that meet the box of the path hold every edge that the path meets.
    x0 = min(px, px + ux)
    x1 = max(px, px + ux)
    y0 = min(py, py + uy)
    y1 = max(py, py + uy)
    for u in range(first, first + BOX_COLUMNS * head[z, H_UPPER], BOX_COLUMNS):
        if not _meets(data, u, x0, y0, x1, y1):
            continue
        low = first + BOX_COLUMNS * int(data[np.uintp(u + B_FIRST)])
        high = low + BOX_COLUMNS * int(data[np.uintp(u + B_COUNT)])
        for b in range(low, high, BOX_COLUMNS):
            if not _meets(data, b, x0, y0, x1, y1):
                continue
            edge = int(data[np.uintp(b + B_FIRST)])
            count = int(data[np.uintp(b + B_COUNT)])
            crossed, aligned = sides(data, vx + edge, vy + edge, count, px, py, ux, uy)
            if aligned > 0 and _on_run(data, vx + edge, vy + edge, count, px, py):
                return 0, True
            total += crossed
    return total, False


@jit_inline
def _meets(data: _Int32, box: int, x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether two boxes have a point in common."""
    return bool(
        (float(data[np.uintp(box + B_X0)]) <= x1)
        & (float(data[np.uintp(box + B_X1)]) >= x0)
        & (float(data[np.uintp(box + B_Y0)]) <= y1)
        & (float(data[np.uintp(box + B_Y1)]) >= y0)
    )


@jit_part
def by_boxes(
    head: npt.NDArray[np.int64],
    data: _Int32,
    zone: int,
    px: float,
    py: float,
    ux: float,
    uy: float,
    best: float,
) -> tuple[float, int]:
    """Squared distance to the boundary by the boxes, and how many edges lie between p and p + u."""
    z = np.uintp(zone)
    d2 = _nearest_by_boxes(
        data, head[z, H_VX], head[z, H_VY], head[z, H_BOX], head[z, H_UPPER], px, py, best
    )
    crossed, _ = sides_by_boxes(head, data, zone, px, py, ux, uy)
    return d2, crossed


@jit_part
def nearest_off_grid(
    head: npt.NDArray[np.int64], data: _Int32, zone: int, x_mm: int, y_mm: int
) -> float:
    """Squared distance of a point off the grid; the nearest root cell bounds the search."""
    z = np.uintp(zone)
    shape = head[z, H_GRID]
    shift = shape & 255
    columns = (shape >> 8) & 0xFFFFFF
    rows = shape >> 32
    pad = (1 << shift) >> 1
    px = float(x_mm - head[z, H_X0] + pad)
    py = float(y_mm - head[z, H_Y0] + pad)
    ix = min(max((x_mm - head[z, H_X0] + pad) >> shift, 0), columns - 1)
    iy = min(max((y_mm - head[z, H_Y0] + pad) >> shift, 0), rows - 1)
    half = ((1 << shift) - 1) * 0.5
    ux = (ix << shift) + half - px
    uy = (iy << shift) + half - py
    sd = float(data[np.uintp(head[z, H_CELL] + CELL_COLUMNS * (iy * columns + ix) + C_SD)])
    best = abs(sd) + math.sqrt(ux * ux + uy * uy) + SLACK_MM
    return _nearest_by_boxes(
        data, head[z, H_VX], head[z, H_VY], head[z, H_BOX], head[z, H_UPPER], px, py, best * best
    )
