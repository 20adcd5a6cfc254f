"""The box of a zone in degrees: what most fixes are compared with, and nothing more."""

import math
from functools import lru_cache
from typing import Any, Final

import msgspec

from geofence.orders import Zone

_MM_PER_E7_MIN: Final = 11.0
_SLACK_MM: Final = 50_000
"""A straight edge in the plane of a zone bulges off its straight line in degrees by less."""
_LAT_MAX: Final = 900_000_000
_LON_MAX: Final = 1_800_000_000


class Box(msgspec.Struct, frozen=True, array_like=True):
    """South, north, west and east in degrees x 1e7."""

    south: int
    north: int
    west: int
    east: int


def zone_box(zone: Zone) -> Box:
    """Return the box of a zone's shape. Raises ValueError for a shape without positions."""
    if zone.circle is not None:
        c = zone.circle
        return widened(Box(c.lat_e7, c.lat_e7, c.lon_e7, c.lon_e7), c.radius_m * 1000)
    if zone.geometry is None:
        raise ValueError("neither a geometry nor a circle")
    return _geojson_box(zone.geometry)


def _geojson_box(root: dict[str, Any]) -> Box:
    """Return the box around all positions; a Feature with a Point and a radius is a circle."""
    features = root.get("features", [root])
    boxes = []
    for feature in features:
        lons: list[float] = []
        lats: list[float] = []
        _collect(feature, lons, lats)
        if not lons:
            raise ValueError("a geometry has no positions")
        box = Box(
            math.floor(min(lats) * 1e7),
            math.ceil(max(lats) * 1e7),
            math.floor(min(lons) * 1e7),
            math.ceil(max(lons) * 1e7),
        )
        radius_m = (feature.get("properties") or {}).get("radius_m", 0)
        boxes.append(widened(box, math.ceil(radius_m * 1000)) if radius_m else box)
    return Box(
        min(box.south for box in boxes),
        max(box.north for box in boxes),
        min(box.west for box in boxes),
        max(box.east for box in boxes),
    )


@lru_cache(maxsize=65_536)
def widened(box: Box, margin_mm: int) -> Box:
    """Return the box with at least `margin_mm` more on every side, and the slack of projection."""
    up = math.ceil((margin_mm + _SLACK_MM) / _MM_PER_E7_MIN)
    highest = min(max(abs(box.south), abs(box.north)) + up, _LAT_MAX)
    across = math.ceil(up / max(math.cos(math.radians(highest / 1e7)), 0.01))
    west, east = box.west - across, box.east + across
    if west < -_LON_MAX or east > _LON_MAX:
        # It reaches across the antimeridian: every longitude may be near.
        west, east = -_LON_MAX, _LON_MAX
    return Box(max(box.south - up, -_LAT_MAX), min(box.north + up, _LAT_MAX), west, east)


def _collect(node: Any, lons: list[float], lats: list[float]) -> None:
    """Gather the positions below the members of GeoJSON that hold any, without recursion."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [
                item[key] for key in ("geometry", "geometries", "coordinates") if key in item
            ]
        elif isinstance(item, list):
            if len(item) >= 2 and all(isinstance(x, int | float) for x in item):
                lons.append(float(item[0]))
                lats.append(float(item[1]))
            else:
                waiting += item
