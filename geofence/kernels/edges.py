"""Small helpers over the edges of a chain: distance and crossings, on all lanes at once."""

import numpy as np
import numpy.typing as npt

from afstand.compile import jit_inline

# Below every product of an edge and a half-integer: decides points exactly on an edge, and nothing
# else.
_NUDGE = 2.0**-24


@jit_inline
def bits_of(value: float) -> int:
    """The bits of a non-negative float, which order like it.

    An integer minimum runs on all lanes, a float one does not.
    """
    return int(np.float64(value).view(np.int64))


@jit_inline
def float_of(bits: int) -> float:
    """Inverse of `bits_of`."""
    return float(np.int64(bits).view(np.float64))


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
def crosses(ax: float, ay: float, bx: float, by: float, ux: float, uy: float) -> bool:
    """Whether the edge a-b crosses the path u -> (0, uy) -> origin an odd number of times.

    Exact for integers. u has half-integer coordinates, so no vertex lies on its row; the origin is
    taken an infinitesimal step to the right, which decides vertices on its column and edges through
    the corner alike.
    """
    dx = bx - ax
    dy = by - ay
    origin = ax * dy - ay * dx
    corner = origin + uy * dx - dy * _NUDGE
    start = corner - ux * dy
    row = ((ay > uy) != (by > uy)) & ((start < 0.0) != (corner < 0.0))
    column = ((ax > 0.0) != (bx > 0.0)) & ((corner < 0.0) != (origin < 0.0))
    return row != column


@jit_inline
def nearest_bits(
    data: npt.NDArray[np.int32], vx: int, vy: int, count: int, px: float, py: float, best: int
) -> int:
    """Bits of the smallest squared distance of p to `count` edges, at most `best`.

    The edges begin at data[vx], data[vy]. Unsigned indexes, because a signed one might count from
    the end, and a load that might do so is no load of eight numbers at once.
    """
    for i in range(count):
        d2 = squared_distance(
            float(data[np.uintp(vx + i)]) - px,
            float(data[np.uintp(vy + i)]) - py,
            float(data[np.uintp(vx + i + 1)]) - px,
            float(data[np.uintp(vy + i + 1)]) - py,
        )
        best = min(best, bits_of(d2))
    return best


@jit_inline
def nearest_and_crossings(
    data: npt.NDArray[np.int32],
    vx: int,
    vy: int,
    count: int,
    px: float,
    py: float,
    ux: float,
    uy: float,
    best: int,
) -> tuple[int, int]:
    """`nearest_bits`, and how many of the edges the path from p + u crosses (see `crosses`)."""
    total = 0
    for i in range(count):
        ax = float(data[np.uintp(vx + i)]) - px
        ay = float(data[np.uintp(vy + i)]) - py
        bx = float(data[np.uintp(vx + i + 1)]) - px
        by = float(data[np.uintp(vy + i + 1)]) - py
        best = min(best, bits_of(squared_distance(ax, ay, bx, by)))
        total += int(crosses(ax, ay, bx, by, ux, uy))
    return best, total


@jit_inline
def sides(
    data: npt.NDArray[np.int32],
    vx: int,
    vy: int,
    count: int,
    px: float,
    py: float,
    ux: float,
    uy: float,
) -> tuple[int, int]:
    """How many edges the path from p + u to p crosses, and how many have p on their line."""
    total = 0
    aligned = 0
    for i in range(count):
        ax = float(data[np.uintp(vx + i)]) - px
        ay = float(data[np.uintp(vy + i)]) - py
        bx = float(data[np.uintp(vx + i + 1)]) - px
        by = float(data[np.uintp(vy + i + 1)]) - py
        total += int(crosses(ax, ay, bx, by, ux, uy))
        aligned += int(ax * by == ay * bx)
    return total, aligned
