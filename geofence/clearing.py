"""Clearings: boxes in which a fix changes nothing for its person, so that no zone is asked.

Most people are at home, far from all of their zones, and their next fix is where the last one was.
When the zones were asked, what was found holds for a box around. Of the bans: no box of a leg
reaches into it, and of the zones whose boxes do it holds by their distances; it has to hold a fix
with all that it can be wrong by and how far its person gets soon. Of location orders: it lies
within each zone in which the person has to be, and has to hold a fix with its accuracy: the
breach is less likely than not then, so its evidence stays nothing and nobody is asked. As long as
fixes stay in both boxes, units at rest remain what they are (`geofence.areas.is_quiet`). Clearings
follow from fixes and zones alone; they change no answer, are not part of a dump, and go with every
change of legs.
"""

import math
from typing import Final

from afstand.compile import jit_hot, jit_inline, jit_part
from geofence.integers import wide
from geofence.layout import AREA, World
from geofence.motion import cosine

# Two boxes, degrees x 1e7: of the bans, then of the homes. South above north is no clearing.
BANS: Final = 0
HOMES: Final = 4
C_SOUTH: Final = 0
C_NORTH: Final = 1
C_WEST: Final = 2
C_EAST: Final = 3
CLEARING_COLUMNS: Final = 8
NO_CLEARING: Final = (1, 0, 1, 0, 1, 0, 1, 0)
HOME_MARGIN_MM: Final = 1_000
"""Beside its accuracy a fix has to be so far inside: at the very boundary the odds are even."""

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
def in_clearing(
    world: World, person: int, of: int, south: int, north: int, west: int, east: int
) -> bool:
    """Return whether a box lies in the clearing of a person, `of` BANS or HOMES."""
    clearing = world.clearings[person]
    return bool(
        (south >= clearing[of + C_SOUTH])
        & (north <= clearing[of + C_NORTH])
        & (west >= clearing[of + C_WEST])
        & (east <= clearing[of + C_EAST])
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
    """Find the clearing of the bans around the box of a fix.

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
        up, across = _square(lat, apart_mm)
        low, high = max(low, lat - up), min(high, lat + up)
        left, right = max(left, lon - across), min(right, lon + across)
        if low > south or high < north or left > west or right < east:
            return
    clearing = world.clearings[person]
    clearing[BANS + C_SOUTH] = low
    clearing[BANS + C_NORTH] = high
    clearing[BANS + C_WEST] = max(left, -_LON_MAX)
    clearing[BANS + C_EAST] = min(right, _LON_MAX)


@jit_part
def find_home(world: World, person: int, lat: int, lon: int, inside_mm: int) -> None:
    """Find the clearing of location orders around a fix that is `inside_mm` within each of them.

    Nowhere when it is not inside; anywhere (a huge `inside_mm`) when there is no such order.
    """
    low, high, left, right = lat, lat, lon, lon
    if inside_mm > _DISTANCE_MM_MAX:
        low, high, left, right = -_LON_MAX, _LON_MAX, -_LON_MAX, _LON_MAX
    elif inside_mm > 0 and abs(lat) <= _LAT_MAX:
        up, across = _square(lat, inside_mm)
        low, high = lat - up, lat + up
        left, right = max(lon - across, -_LON_MAX), min(lon + across, _LON_MAX)
    else:
        return
    clearing = world.clearings[person]
    clearing[HOMES + C_SOUTH] = low
    clearing[HOMES + C_NORTH] = high
    clearing[HOMES + C_WEST] = left
    clearing[HOMES + C_EAST] = right


@jit_inline
def _square(lat: int, distance_mm: int) -> tuple[int, int]:
    """Half the sides, in degrees, of a square whose corners are nearer than a distance."""
    half = min(distance_mm, _DISTANCE_MM_MAX) * _ROOT_HALF * _NARROWING / _MM_PER_E7_MAX
    return wide(math.floor(half)), wide(math.floor(half / cosine(lat)))
