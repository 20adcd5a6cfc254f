"""Many checks at once: those that wait for memory wait together.

A check of a cold zone waits for its cell, then for the child, then for the edges. One after
another these are three waits for each check; here all checks of a stage take each step before any
takes the next. The answers are those of `distance`, bit for bit.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_inline, jit_part
from geofence.kernels.arrays import (
    C_REF,
    C_SD,
    COUNT_BITS,
    H_CELL,
    H_RUN,
    H_STATE,
    H_VX,
    H_VY,
    KIND_CIRCLE,
    LIST,
    RUN_COLUMNS,
    RUN_EDGES_MAX,
    ZoneArrays,
)
from geofence.kernels.distance import certain, child_cell, far, limit_of, near, root_cell, side
from geofence.kernels.prefetch import prefetch

_Int64 = npt.NDArray[np.int64]
_Float64 = npt.NDArray[np.float64]

# Checks that wait together, and what is noted of each: which it is, its cell, its place in the
# cell, the cell's size; then two lists of rows, one behind another: of those that go deeper, and of
# those that the head and the cells do not decide.
STAGE: Final = 64
_N_CHECK: Final = 0
_N_CELL: Final = 1
_N_IN_X: Final = 2
_N_IN_Y: Final = 3
_N_SHIFT: Final = 4
_N_DEEPER: Final = 5
_N_OPEN: Final = 6
NOTE_COLUMNS: Final = 7


@jit_inline
def _note(notes: _Int64, at: int, cell: int, in_x: int, in_y: int, shift: int) -> None:
    n = np.uintp(at)
    notes[n, _N_CELL] = cell
    notes[n, _N_IN_X] = in_x
    notes[n, _N_IN_Y] = in_y
    notes[n, _N_SHIFT] = shift


@jit_part
def _descend(
    zones: ZoneArrays,
    index: _Int64,
    notes: _Int64,
    count: int,
    limits_mm: _Float64,
    bounds_mm: _Float64,
) -> int:
    """Take all noted checks from their root cells to their leaves, one level at a time.

    Into bounds_mm goes what the distance at the centre of the leaf certifies, signed. Where that
    is not beyond the limit the check stays open: its edges are asked for; how many are open.
    """
    data = zones.data
    left = count
    for k in range(count):
        notes[np.uintp(k), _N_DEEPER] = k
    still_open = 0
    while left > 0:
        deeper = 0
        for k in range(left):
            at = notes[np.uintp(k), _N_DEEPER]
            n = np.uintp(at)
            cell = notes[n, _N_CELL]
            if cell < 0:
                notes[np.uintp(still_open), _N_OPEN] = at
                still_open += 1
                continue
            head = zones.head[np.uintp(index[np.uintp(notes[n, _N_CHECK])])]
            ref = int(data[np.uintp(cell + C_REF)])
            if ref >= 0:
                cell, in_x, in_y, shift = child_cell(
                    head[H_CELL], ref, notes[n, _N_IN_X], notes[n, _N_IN_Y], notes[n, _N_SHIFT]
                )
                prefetch(data, cell, 0)
                _note(notes, at, cell, in_x, in_y, shift)
                notes[np.uintp(deeper), _N_DEEPER] = at
                deeper += 1
                continue
            sd = float(data[np.uintp(cell + C_SD)])
            bound, _, _ = certain(sd, notes[n, _N_IN_X], notes[n, _N_IN_Y], notes[n, _N_SHIFT])
            bounds_mm[n] = bound if sd > 0.0 else -bound
            if bound <= limits_mm[n]:
                notes[np.uintp(still_open), _N_OPEN] = at
                still_open += 1
                if ref <= LIST:
                    _ask_for_edges(data, head, LIST - ref)
        left = deeper
    return still_open


@jit_inline
def _ask_for_edges(data: npt.NDArray[np.int32], head: _Int64, packed: int) -> None:
    first = packed >> COUNT_BITS
    edges = packed & RUN_EDGES_MAX
    if edges == 0:
        prefetch(data, head[H_RUN] + RUN_COLUMNS * first, 0)
        return
    prefetch(data, head[H_VX] + first, 0)
    prefetch(data, head[H_VX] + first + edges, 0)
    prefetch(data, head[H_VY] + first, 0)
    prefetch(data, head[H_VY] + first + edges, 0)


@jit
def signed_distance_many(
    zones: ZoneArrays,
    index: _Int64,
    x_mm: _Int64,
    y_mm: _Int64,
    tolerance_m: _Float64,
    distance_mm: _Int64,
) -> None:
    """Signed distances of n points, each to its own zone, into distance_mm[n]."""
    notes = np.empty((STAGE, NOTE_COLUMNS), np.int64)
    scales = np.empty(STAGE, np.float64)
    limits_mm = np.empty(STAGE, np.float64)
    bounds_mm = np.zeros(STAGE, np.float64)
    for first in range(0, index.size, STAGE):
        count = 0
        for i in range(first, min(first + STAGE, index.size)):
            k = np.uintp(i)
            decided, answer, scale = far(zones, index[k], x_mm[k], y_mm[k], tolerance_m[k])
            distance_mm[k] = answer
            if not decided:
                cell, in_x, in_y, shift = root_cell(zones, index[k], x_mm[k], y_mm[k])
                prefetch(zones.data, max(cell, 0), 0)
                notes[np.uintp(count), _N_CHECK] = i
                _note(notes, count, cell, in_x, in_y, shift)
                scales[count] = scale
                limits_mm[count] = limit_of(tolerance_m[k], scale)
                count += 1
        still_open = _descend(zones, index, notes, count, limits_mm, bounds_mm)
        for j in range(count):
            n = np.uintp(j)
            distance_mm[np.uintp(notes[n, _N_CHECK])] = int(bounds_mm[n] / scales[n])
        for j in range(still_open):
            n = np.uintp(notes[np.uintp(j), _N_OPEN])
            k = np.uintp(notes[n, _N_CHECK])
            distance_mm[k] = near(
                zones,
                index[k],
                x_mm[k],
                y_mm[k],
                tolerance_m[k],
                scales[n],
                notes[n, _N_CELL],
                notes[n, _N_IN_X],
                notes[n, _N_IN_Y],
                notes[n, _N_SHIFT],
            )


@jit
def contains_many(
    zones: ZoneArrays,
    index: _Int64,
    x_mm: _Int64,
    y_mm: _Int64,
    inside: npt.NDArray[np.bool_],
) -> None:
    """`contains` for n points, each in its own zone, into inside[n]."""
    notes = np.empty((STAGE, NOTE_COLUMNS), np.int64)
    limits_mm = np.zeros(STAGE, np.float64)
    bounds_mm = np.zeros(STAGE, np.float64)
    for first in range(0, index.size, STAGE):
        count = 0
        for i in range(first, min(first + STAGE, index.size)):
            k = np.uintp(i)
            inside[k] = False
            cell = -1
            in_x = 0
            in_y = 0
            shift = 0
            # A free row counts as a circle here: `side` knows both.
            if zones.head[np.uintp(index[k]), H_STATE] & 1 != KIND_CIRCLE:
                cell, in_x, in_y, shift = root_cell(zones, index[k], x_mm[k], y_mm[k])
                if cell < 0:
                    continue
                prefetch(zones.data, cell, 0)
            notes[np.uintp(count), _N_CHECK] = i
            _note(notes, count, cell, in_x, in_y, shift)
            count += 1
        still_open = _descend(zones, index, notes, count, limits_mm, bounds_mm)
        for j in range(count):
            n = np.uintp(j)
            inside[np.uintp(notes[n, _N_CHECK])] = bounds_mm[n] > 0.0
        for j in range(still_open):
            n = np.uintp(notes[np.uintp(j), _N_OPEN])
            k = np.uintp(notes[n, _N_CHECK])
            inside[k] = side(
                zones,
                index[k],
                x_mm[k],
                y_mm[k],
                notes[n, _N_CELL],
                notes[n, _N_IN_X],
                notes[n, _N_IN_Y],
                notes[n, _N_SHIFT],
            )
