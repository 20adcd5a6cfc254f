"""The predicate files of JTS that concern points and polygons, asked of the kernels.

JTS has a plane without an earth; its polygons are put on the equator, one unit a thousandth of a
degree, where a local plane keeps rows and columns. What does not concern a point (or points) and an
area, or an empty one, is not ours; the test counts what it took, so that nothing drops out unseen.
"""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geofence.kernels.batch import contains_many
from geofence.kernels.distance import project
from geofence.zones import ZoneSet

UNIT_DEG = 1e-3


def on_earth(x: float, y: float) -> tuple[float, float]:
    return 20.0 + x * UNIT_DEG, 0.0 + y * UNIT_DEG


def zone_of(area: Any) -> tuple[ZoneSet, int]:
    """The area as a zone: oriented, without empty parts."""
    shape = shapely.orient_polygons(shapely.MultiPolygon([p for p in parts(area) if p.area]))
    moved = shapely.transform(shape, lambda xy: np.array([on_earth(*p) for p in xy]))
    zones = ZoneSet()
    return zones, zones.put("jts", 1, shapely.to_geojson(moved))


def parts(geometry: Any) -> list[Any]:
    return [part for part in shapely.get_parts(geometry) if not part.is_empty]


def sides(zones: ZoneSet, index: int, points: list[Any]) -> list[str]:
    """I, B or E for each point."""
    arrays = zones.arrays()
    where = []
    for point in points:
        lon, lat = on_earth(point.x, point.y)
        x, y = project(arrays, index, round(lat * 1e7), round(lon * 1e7))
        which, px, py = (np.array([value], np.int64) for value in (index, x, y))
        mm = zones.signed_distance_many(which, px, py, np.full(1, math.inf))[0]
        inside = np.empty(1, np.bool_)
        contains_many(arrays, which, px, py, inside)
        assert inside[0] == (mm > 0)
        where.append("I" if mm > 0 else "E" if mm < 0 else "B")
    return where


def predicates(where: list[str]) -> dict[str, bool]:
    """What JTS calls a set of points against an area, from the sides of the points."""
    meets = any(side != "E" for side in where)
    inner = any(side == "I" for side in where)
    return {
        "intersects": meets,
        "disjoint": not meets,
        "coveredBy": all(side != "E" for side in where),
        "within": all(side != "E" for side in where) and inner,
        "touches": meets and not inner,
        "crosses": inner and any(side == "E" for side in where),
        "overlaps": False,
        "equalsTopo": False,
    }


def cases(path: Path) -> list[tuple[str, Any, Any, list[Any]]]:
    root = ElementTree.parse(path).getroot()
    found = []
    for case in root.iter("case"):
        a, b = (shapely.from_wkt((case.findtext(name) or "").strip()) for name in ("a", "b"))
        found.append(
            (case.findtext("desc") or "", a, b, [test.find("op") for test in case.iter("test")])
        )
    return found


def is_points(geometry: Any) -> bool:
    return bool(parts(geometry)) and all(p.geom_type == "Point" for p in parts(geometry))


def is_area(geometry: Any) -> bool:
    return bool(parts(geometry)) and all(p.geom_type == "Polygon" for p in parts(geometry))


def test_predicates_of_points_and_areas(data: Path) -> None:
    taken = 0
    for name in ("general_TestRelatePA", "general_TestPreparedPointPredicate"):
        for desc, a, b, tests in cases(data / "conformance" / "jts" / f"{name}.xml"):
            points, area = (a, b) if is_points(a) else (b, a)
            assert is_points(points), desc
            assert is_area(area), desc
            said = predicates(sides(*zone_of(area), parts(points)))
            turned = {"contains": said["within"], "covers": said["coveredBy"]}
            if points is b:
                turned |= {
                    "within": False,
                    "coveredBy": False,
                    "contains": said["within"],
                    "covers": said["coveredBy"],
                }
            else:
                turned = {"contains": False, "covers": False}
            for op in tests:
                if op.get("name") == "relate":
                    continue
                expected = (op.text or "").strip() == "true"
                assert (said | turned)[op.get("name")] == expected, f"{desc}: {op.get('name')}"
                taken += 1
    assert taken == 113


def test_distances_of_points_and_areas(data: Path) -> None:
    taken = 0
    for desc, a, b, tests in cases(data / "conformance" / "jts" / "general_TestDistance.xml"):
        points, area = (a, b) if is_points(a) else (b, a)
        if not is_points(points) or not is_area(area):
            continue
        zones, index = zone_of(area)
        apart = min(0.0 if side != "E" else math.inf for side in sides(zones, index, parts(points)))
        for op in tests:
            assert apart == float((op.text or "").strip()), desc
            taken += 1
    assert taken == 2
