"""Small helpers over the edges of a chain: distance and crossings, on all lanes at once."""

import numpy as np
import numpy.typing as npt

from geofence.kernels.compile import jit_inline

# Half an ulp of nothing: pushes a point that lies exactly on an edge to one and the same side in every test (see `crossings`).
_NUDGE = 2.0**-24


@jit_inline
def bits_of(value: float) -> int:
    """The bits of a non-negative float order like the float: an integer minimum runs on all lanes, a float one does not."""
    return np.int64(np.float64(value).view(np.int64))


@jit_inline
def float_of(bits: int) -> float:
    """Inverse of `bits_of`."""
    return np.int64(bits).view(np.float64)


@jit_inline
def squared_distance(ax: float, ay: float, bx: float, by: float) -> float:
    """Squared distance of the origin to the segment a-b (not a point)."""
    dx = bx - ax
    dy = by - ay
    t = min(max(-(ax * dx + ay * dy) / (dx * dx + dy * dy), 0.0), 1.0)
    ex = ax + t * dx
    ey = ay + t * dy
    return ex * ex + ey * ey


@jit_inline
def nearest_bits(
    vx: npt.NDArray[np.int32],
    vy: npt.NDArray[np.int32],
    first: int,
    count: int,
    px: float,
    py: float,
    best: int,
) -> int:
    """Bits of the smallest squared distance of p to `count` edges from `first` on, at most `best`."""
    for i in range(first, first + count):
        d2 = squared_distance(
            float(vx[i]) - px, float(vy[i]) - py, float(vx[i + 1]) - px, float(vy[i + 1]) - py
        )
        best = min(best, bits_of(d2))
    return best


@jit_inline
def crossings(
    vx: npt.NDArray[np.int32],
    vy: npt.NDArray[np.int32],
    first: int,
    count: int,
    px: float,
    py: float,
    cx: float,
    cy: float,
) -> int:
    """How many edges the path c -> (px, cy) -> p crosses.

    c has half-integer coordinates, so no vertex lies on its row; p is taken an infinitesimal step to the right, which
    decides vertices on its column and edges through the corner alike. All products are exact.
    """
    ux = cx - px
    uy = cy - py
    total = 0
    for i in range(first, first + count):
        ax = float(vx[i]) - px
        ay = float(vy[i]) - py
        bx = float(vx[i + 1]) - px
        by = float(vy[i + 1]) - py
        dx = bx - ax
        dy = by - ay
        at_p = ax * dy - ay * dx
        nudged = at_p + uy * dx - dy * _NUDGE
        at_corner = nudged < 0.0
        at_centre = nudged - ux * dy < 0.0
        row = ((ay > uy) != (by > uy)) & (at_centre != at_corner)
        column = ((ax > 0.0) != (bx > 0.0)) & (at_corner != (at_p < 0.0))
        total += int(row) ^ int(column)
    return total
