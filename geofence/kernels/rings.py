"""What one ring of positions in degrees is like. [n, 2]: longitude and latitude."""

import numpy as np
import numpy.typing as npt

from afstand.compile import jit

_Float64 = npt.NDArray[np.float64]


@jit
def bounds_of(points: _Float64) -> tuple[float, float, float, float]:
    """South, north, west and east of positions."""
    west, south = points[0, 0], points[0, 1]
    east, north = west, south
    for k in range(1, points.shape[0]):
        west, east = min(west, points[k, 0]), max(east, points[k, 0])
        south, north = min(south, points[k, 1]), max(north, points[k, 1])
    return south, north, west, east


@jit
def turn_of(ring: _Float64) -> tuple[float, float]:
    """Twice the signed area of a closed ring, and the largest step in longitude."""
    turn = 0.0
    widest = 0.0
    for k in range(ring.shape[0] - 1):
        ax, ay = ring[k, 0] - ring[0, 0], ring[k, 1] - ring[0, 1]
        bx, by = ring[k + 1, 0] - ring[0, 0], ring[k + 1, 1] - ring[0, 1]
        turn += ax * by - bx * ay
        widest = max(widest, abs(bx - ax))
    return turn, widest
