"""What an order would have meant in the past: the share of time that would have been a breach.

In a small town 500 m is impossible to keep (domain F19). Minute by minute, with the last fix not
older than five minutes; a minute in which somebody was unseen is not counted. A picture for whoever
decides about the order, not a verdict: no error circles, no evidence over time.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import shapely

from afstand.limits import CONSOLE_FEASIBILITY_S_MAX
from console.geometry import EARTH_M
from console.model.world import World
from console.ports import Link
from console.replay import TrackOf, read_tracks
from geofence.geojson import parse_geometry
from geofence.orders import Zone
from geofence.verdicts import OrderKind

MINUTE_MS: Final = 60_000
FRESH_MS: Final = 300_000


class Feasibility(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `breach_pct` None: nothing to compare. `complete`: the whole period was read."""

    from_ms: int
    to_ms: int
    minutes_compared: int
    minutes_unseen: int
    breach_pct: float | None
    longest_breach_min: int
    complete: bool


def areas_of(zones: Sequence[Zone]) -> list[Any]:
    """Zones as shapely areas in degrees."""
    areas = []
    for zone in zones:
        if zone.circle is not None:
            lat = zone.circle.lat_e7 / 1e7
            radius_deg = np.degrees(zone.circle.radius_m / EARTH_M)
            disc = shapely.buffer(shapely.Point(0, 0), radius_deg, quad_segs=32)
            disc = shapely.transform(disc, lambda xy, lat=lat: xy / [np.cos(np.radians(lat)), 1])
            at = np.array([zone.circle.lon_e7 / 1e7, lat])
            areas.append(shapely.transform(disc, lambda xy, at=at: xy + at))
        elif zone.geometry is not None:
            area = parse_geometry(zone.geometry, repairs=zone.repairs)
            polygons = [shapely.Polygon(rings[0], rings[1:]) for rings in area.polygons]
            areas.append(shapely.union_all(polygons))
    return areas


async def feasibility(
    link: Link,
    world: World,
    *,
    kind: OrderKind,
    wearer_id: str,
    protected_ids: Sequence[str],
    radius_m: int,
    areas: Sequence[Any],
    now_ms: int,
    hours: int,
) -> Feasibility:
    """Read the past and compare. Raises UnavailableError."""
    from_ms = now_ms - hours * 3_600_000
    persons = (wearer_id, *protected_ids)
    partition = world.persons[wearer_id].partition
    read = await read_tracks(
        link, world, partition, persons, from_ms, now_ms, within_s=CONSOLE_FEASIBILITY_S_MAX
    )
    minutes = np.arange(from_ms, now_ms, MINUTE_MS, dtype=np.int64)
    at = {person: _each_minute(read.tracks, person, minutes) for person in persons}
    lat, lon, seen = at[wearer_id]
    if kind is OrderKind.CONTACT_BAN:
        breach = np.zeros(len(minutes), np.bool_)
        compared = np.zeros(len(minutes), np.bool_)
        for person in protected_ids:
            other_lat, other_lon, other_seen = at[person]
            both = seen & other_seen
            near = _distance_m(lat, lon, other_lat, other_lon) < radius_m
            breach |= both & near
            compared |= both
    else:
        inside = np.zeros(len(minutes), np.bool_)
        for area in areas:
            inside |= shapely.contains_xy(area, lon, lat)
        compared = seen
        breach = seen & (inside if kind is OrderKind.AREA_BAN else ~inside)
    count = int(compared.sum())
    return Feasibility(
        from_ms=from_ms,
        to_ms=now_ms,
        minutes_compared=count,
        minutes_unseen=len(minutes) - count,
        breach_pct=round(100 * float(breach.sum()) / count, 1) if count else None,
        longest_breach_min=_longest(breach),
        complete=read.complete,
    )


Floats = npt.NDArray[np.float64]


def _each_minute(
    tracks: Sequence[TrackOf], person: str, minutes: npt.NDArray[np.int64]
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Latitude, longitude and whether the last fix is fresh, at each minute."""
    points = sorted(
        (point.time_ms, point.lat_e7, point.lon_e7)
        for track in tracks
        if track.person_id == person
        for point in track.points
    )
    if not points:
        nothing = np.zeros(len(minutes))
        return nothing, nothing, np.zeros(len(minutes), np.bool_)
    table = np.array(points, np.int64)
    row = np.searchsorted(table[:, 0], minutes, side="right") - 1
    found = table[np.maximum(row, 0)]
    fresh = (row >= 0) & (minutes - found[:, 0] <= FRESH_MS)
    return found[:, 1] / 1e7, found[:, 2] / 1e7, fresh


def _distance_m(lat: Floats, lon: Floats, other_lat: Floats, other_lon: Floats) -> Floats:
    middle = np.radians((lat + other_lat) / 2)
    east = np.radians(other_lon - lon) * np.cos(middle)
    north = np.radians(other_lat - lat)
    distance: Floats = np.hypot(east, north) * EARTH_M
    return distance


def _longest(breach: npt.NDArray[np.bool_]) -> int:
    longest = run = 0
    for one in breach.tolist():
        run = run + 1 if one else 0
        longest = max(longest, run)
    return longest
