"""From rings in degrees to the chain of a zone: its vertices in plane millimetres, ring by ring.

Long edges are divided, vertices that fall together are one, rings smaller than a millimetre go.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from geofence.kernels.compile import jit
from geofence.kernels.projection import plane_from_degrees

_Float64 = npt.NDArray[np.float64]
_Int64 = npt.NDArray[np.int64]

# Columns of what `link` finds: vertices, how many there were before any fell together, the longest
# edge along an axis, and the extent in the plane.
N_VERTICES: Final = 0
N_PIECES: Final = 1
N_LONGEST: Final = 2
N_LEFT: Final = 3
N_LOW: Final = 4
N_RIGHT: Final = 5
N_TOP: Final = 6
N_COLUMNS: Final = 7


@jit
def link(
    points: _Float64,
    rings: _Int64,
    plane: _Float64,
    edge_mm_max: float,
    x_mm: _Int64,
    y_mm: _Int64,
    ends: npt.NDArray[np.bool_],
    found: _Int64,
) -> None:
    """Write the chain of closed rings into x_mm, y_mm and ends, as far as they have room.

    points [n, 2]: longitude and latitude in degrees; rings [r + 1]: where each begins. An edge
    longer than edge_mm_max becomes equal pieces, equal in degrees. Where found[N_PIECES] is more
    than there is room for, nothing else holds.
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
                parts = max(math.ceil(math.sqrt(dx * dx + dy * dy) / edge_mm_max), 1)
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
    found[N_VERTICES] = used
    found[N_PIECES] = pieces
    found[N_LONGEST] = 0
    found[N_LEFT], found[N_LOW], found[N_RIGHT], found[N_TOP] = 2**62, 2**62, -(2**62), -(2**62)
    for k in range(used):
        found[N_LEFT] = min(found[N_LEFT], x_mm[k])
        found[N_LOW] = min(found[N_LOW], y_mm[k])
        found[N_RIGHT] = max(found[N_RIGHT], x_mm[k])
        found[N_TOP] = max(found[N_TOP], y_mm[k])
        if not ends[k]:
            apart = max(abs(x_mm[k + 1] - x_mm[k]), abs(y_mm[k + 1] - y_mm[k]))
            found[N_LONGEST] = max(found[N_LONGEST], apart)
