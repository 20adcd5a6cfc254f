"""The flat arrays that hold all zones of one ZoneSet, as the kernels see them.

A polygon zone is one closed chain of vertices per ring (the first vertex repeated at the end), its
edges, and above them two structures:

* the grid: root cells of 2^shift mm over the bounding box and half a cell around it, refined 4 x 4
  where edges are dense. A cell is 8 bytes: the signed distance at its centre and a reference: a
  block of children, FAR, BOXES, or the edges that can be nearest to any point of the cell, as one
  run of the chain or a list of runs.
* the boxes: bounding boxes of 16 consecutive edges and of 16 such boxes, for exact distances
  outside the band and for segments.

All coordinates are integers: a vertex is int32 millimetres from the grid's corner, a point int64
millimetres in the plane. Differences and the products of a coordinate with an edge (at most 2 km)
fit a float64 exactly, so every sign is exact, not "up to epsilon".
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

EXACT: Final = float("inf")
NOWHERE_MM: Final = -(10**12)

# Columns of `head`. The first eight are one cache line: all that a far point needs.
H_STATE: Final = 0  # FREE, or plane << 1 | KIND_
H_X0: Final = 1  # bounding box in the plane, millimetres
H_Y0: Final = 2
H_X1: Final = 3
H_Y1: Final = 4
H_GRID: Final = 5  # shift | columns << 8 | rows << 32; of a circle: centre x
H_CELL: Final = 6  # where in `data` the root cells begin; of a circle: centre y
H_VX: Final = 7  # where the x of the chain begin; of a circle: radius in millimetres on the earth
H_VY: Final = 8
H_RUN: Final = 9  # where the lists of runs begin
H_BOX: Final = 10  # where the boxes begin: the upper ones, then the lower ones
H_UPPER: Final = 11  # number of upper boxes
HEAD_COLUMNS: Final = 16

FREE: Final = -1
KIND_POLYGON: Final = 0
KIND_CIRCLE: Final = 1

# A cell: two numbers. A block of children has 2^CHILD_BITS x 2^CHILD_BITS cells.
C_SD: Final = 0  # signed distance of the centre in the plane, millimetres, never 0
# >= 0 first child; FAR; BOXES; else LIST - (first << COUNT_BITS | count), where count 0 means the
# list of runs at `first`.
C_REF: Final = 1
CELL_COLUMNS: Final = 2
FAR: Final = -1  # no edge within the band
BOXES: Final = -2  # too many edges for a list
LIST: Final = -3
COUNT_BITS: Final = 7
RUN_EDGES_MAX: Final = (1 << COUNT_BITS) - 1
CHILD_BITS: Final = 2

# A run: first edge, number of edges; a list of runs is headed by (number of runs, 0).
RUN_COLUMNS: Final = 2

# A box: corners, then for a lower one its first edge and their number, for an upper one its first
# box and their number.
B_X0: Final = 0
B_Y0: Final = 1
B_X1: Final = 2
B_Y1: Final = 3
B_FIRST: Final = 4
B_COUNT: Final = 5
BOX_COLUMNS: Final = 6
BOX_EDGES: Final = 16

# Products of an edge and a coordinate (up to 1,000 km, limits.ZONE_EXTENT_KM_MAX) stay exact in a
# float64; a chain (limits.ZONE_CHAIN_VERTICES_MAX) stays within the bits of a reference.
EDGE_MM_MAX: Final = 1 << 21


class ZoneArrays(NamedTuple):
    """All zones; kernels only read.

    Few arrays, because each costs at every call between kernels.
    """

    head: npt.NDArray[np.int64]  # [zones, HEAD_COLUMNS]
    planes: npt.NDArray[np.float64]  # [planes, PLANE_COLUMNS], row 0 is RD
    data: npt.NDArray[np.int32]  # each zone in one span: cells, x, y, lists of runs, boxes


_LINE_BYTES: Final = 64


def aligned_zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros that begin at a cache line, so that a row of 64 bytes is one line and not two.

    As with np.zeros the system gives memory only where it is written to.
    """
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    raw = np.zeros(size + _LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % _LINE_BYTES
    found: npt.NDArray[Any] = raw[start : start + size].view(kind).reshape(shape)
    return found
