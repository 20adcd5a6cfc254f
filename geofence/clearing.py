"""Clearings: boxes in which a person is far from every zone of an area ban, so that none is asked.

Most people are at home, far from all of their zones, and their next fix is where the last one was.
When the zones were asked, what was found holds for a box around: no box of a leg reaches into it,
and of the zones whose boxes do it holds by their distances. As long as fixes, with all they can be
wrong by, stay in that box, nothing of the bans can change (`geofence.areas.is_quiet`). A clearing
follows from fixes and zones alone; it changes no answer, is not part of a dump, and goes with every
change of legs.
"""

import math
from typing import Final

from geofence.integers import wide
from geofence.kernels.compile import jit_part
from geofence.layout import AREA, World
from geofence.motion import cosine
from geofence.parts import jit_hot

# Columns: degrees x 1e7. South above north is no clearing.
C_SOUTH: Final = 0
C_NORTH: Final = 1
C_WEST: Final = 2
C_EAST: Final = 3
CLEARING_COLUMNS: Final = 4
NO_CLEARING: Final = (1, 0, 1, 0)

_REACH_E7 = 10_000_000
"""A clearing reaches no further than this from a fix: 110 km."""
_DISTANCE_MM_MAX = 50_000_000
_LAT_MAX = 800_000_000
_LON_MAX = 2_000_000_000
_MM_PER_E7_MAX = 11.2
_NARROWING = 0.97
"""The cosine of the latitude changes by less within the largest distance."""
_ROOT_HALF = math.sqrt(0.5)


@jit_hot
def in_clearing(world: World, person: int, south: int, north: int, west: int, east: int) -> bool:
    """Return whether a box lies in the clearing of a person."""
    clearing = world.clearings[person]
    return bool(
        (south >= clearing[C_SOUTH])
        & (north <= clearing[C_NORTH])
        & (west >= clearing[C_WEST])
        & (east <= clearing[C_EAST])
    )


@jit_part
def find_clearing(
    world: World,
    person: int,
    south: int,
    north: int,
    west: int,
    east: int,
    lat: int,
    lon: int,
    apart_mm: int,
) -> None:
    """Find the clearing around the box of a fix.

    The legs of bans whose boxes meet that box are at least `apart_mm` from the fix, beyond their
    rings; the others are cut off, each on the side where most is left.
    """
    p = world.persons[person]
    leg0 = wide(p["leg0"])
    unit0 = wide(p["unit0"])
    low, high = south - _REACH_E7, north + _REACH_E7
    left, right = west - _REACH_E7, east + _REACH_E7
    hit = False
    for k in range(leg0, leg0 + wide(p["legs"])):
        leg = world.legs[k]
        if world.units[unit0 + wide(leg["unit"])]["kind"] != AREA:
            continue
        above = wide(leg["south"]) - north
        below = south - wide(leg["north"])
        beyond = wide(leg["west"]) - east
        before = west - wide(leg["east"])
        most = max(above, below, beyond, before)
        if most <= 0:
            hit = True
        elif most == above:
            high = min(high, north + above - 1)
        elif most == below:
            low = max(low, south - below + 1)
        elif most == beyond:
            right = min(right, east + beyond - 1)
        else:
            left = max(left, west - before + 1)
    if hit:
        if apart_mm <= 0 or abs(lat) > _LAT_MAX:
            return
        # A square whose corners are nearer than any of those zones.
        half = min(apart_mm, _DISTANCE_MM_MAX) * _ROOT_HALF * _NARROWING / _MM_PER_E7_MAX
        up = math.floor(half)
        across = math.floor(half / cosine(lat))
        low, high = max(low, lat - up), min(high, lat + up)
        left, right = max(left, lon - across), min(right, lon + across)
        if low > south or high < north or left > west or right < east:
            return
    clearing = world.clearings[person]
    clearing[C_SOUTH] = low
    clearing[C_NORTH] = high
    clearing[C_WEST] = max(left, -_LON_MAX)
    clearing[C_EAST] = min(right, _LON_MAX)
