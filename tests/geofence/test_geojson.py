"""Strict reading: the conformance files, every reason, every repair, hostile input."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.limits import ZONE_VERTICES_MAX
from geofence.geojson import (
    GeoJSONError,
    Limits,
    Reason,
    Repair,
    check,
    parse_geometry,
)

SQUARE = [[4.0, 52.0], [4.1, 52.0], [4.1, 52.1], [4.0, 52.1], [4.0, 52.0]]
HOLE = [[4.02, 52.02], [4.02, 52.08], [4.08, 52.08], [4.08, 52.02], [4.02, 52.02]]
BOW_TIE = [[4.0, 52.0], [4.12, 52.13], [4.0, 52.1], [4.1, 52.0], [4.0, 52.0]]
EAST = [[4.1, 52.0], [4.2, 52.0], [4.2, 52.1], [4.1, 52.1], [4.1, 52.0]]
APART = [[x + 0.5, y] for x, y in SQUARE]

# bad/ files that RFC 7946 does not call wrong. They are no area, so no zone is made of them either.
EXCEPTIONS = {
    "excessive_precision_truncated.geojson": "section 11.2 advises fewer digits; our own real "
    "zones, and good/issue82.geojson, have more",
}
# good/ files that are GeoJSON and no zone, beside those that are simply no area.
NO_ZONE = {
    "issue82.geojson": Reason.OUT_OF_RANGE,
}
AREAS = {"good-polygon.geojson", "multipolygon.geojson"}


def polygon(*rings: list[Any], **more: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings), **more}


def refused(source: Any, **options: Any) -> Reason:
    with pytest.raises(GeoJSONError) as caught:
        parse_geometry(source, **options)
    assert caught.value.detail
    return caught.value.reason


def conformance(data: Path, kind: str) -> list[Path]:
    files = sorted((data / "conformance" / "geojson" / kind).glob("*.geojson"))
    assert len(files) > 10
    return files


def test_every_bad_file_is_refused(data: Path) -> None:
    accepted = []
    for path in conformance(data, "bad"):
        refused(path.read_bytes())
        try:
            check(path.read_bytes())
        except GeoJSONError:
            continue
        accepted.append(path.name)
    assert accepted == list(EXCEPTIONS)


def test_every_good_file_is_geojson_and_says_why_it_is_no_zone(data: Path) -> None:
    for path in conformance(data, "good"):
        check(path.read_bytes())
        if path.name in AREAS:
            assert parse_geometry(path.read_bytes()).polygons
        else:
            reason = refused(path.read_bytes())
            assert reason == NO_ZONE.get(path.name, Reason.NOT_AN_AREA), path.name


@pytest.mark.slow
def test_the_real_zones_are_read_with_the_repairs_they_need(data: Path) -> None:
    made: dict[str, int] = {}
    for path in sorted((data / "zones").glob("*.geojson")):
        for feature in json.loads(path.read_bytes())["features"]:
            area = parse_geometry(feature, repairs=list(Repair))
            assert all(shapely.Polygon(p[0], p[1:]).is_valid for p in area.polygons)
            name = f"{path.stem}: {','.join(area.repairs) or 'none'}"
            made[name] = made.get(name, 0) + 1
    assert made == {
        "amsterdam: winding-reversed": 97,
        "austria-steiermark: winding-reversed": 13,
        "nl_gemeenten_352: none": 352,
        "rotterdam: winding-reversed": 19,
        "rotterdam: winding-reversed,self-intersection-resolved": 3,
    }


def test_polygon_with_a_hole() -> None:
    area = parse_geometry(polygon(SQUARE, HOLE))
    assert area.circle is None
    assert area.repairs == ()
    (rings,) = area.polygons
    assert [ring.tolist() for ring in rings] == [SQUARE, HOLE]


@pytest.mark.parametrize("wrap", ["bytes", "str", "feature", "collection", "multi", "altitude"])
def test_the_same_area_in_other_clothes(wrap: str) -> None:
    plain: Any = polygon(SQUARE, HOLE)
    feature = {"type": "Feature", "id": 7, "properties": None, "geometry": plain}
    source: Any = {
        "bytes": json.dumps(plain).encode(),
        "str": json.dumps(plain),
        "feature": feature,
        "collection": {"type": "FeatureCollection", "features": [feature], "foreign": {"a": 1}},
        "multi": {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE]]},
        "altitude": polygon([[*p, 12.5] for p in SQUARE], HOLE),
    }[wrap]
    (rings,) = parse_geometry(source).polygons
    assert [ring.tolist() for ring in rings] == [SQUARE, HOLE]


def test_several_features_are_one_area() -> None:
    features = [
        {"type": "Feature", "properties": {}, "geometry": polygon(ring)} for ring in (SQUARE, APART)
    ]
    area = parse_geometry({"type": "FeatureCollection", "features": features})
    assert [p[0].tolist() for p in area.polygons] == [SQUARE, APART]


def test_circle() -> None:
    point = {"type": "Point", "coordinates": [4.5, 52.5]}
    feature = {"type": "Feature", "properties": {"radius_m": 250}, "geometry": point}
    assert parse_geometry(feature).circle == (4.5, 52.5, 250.0)
    for radius in (0, -5, 1e9, "250", True, math.inf):
        feature["properties"] = {"radius_m": radius}
        assert refused(feature) == Reason.OUT_OF_RANGE
    feature["properties"] = {"radius": 250}
    assert refused(feature) == Reason.NOT_AN_AREA
    assert refused(point) == Reason.NOT_AN_AREA


REFUSED = {
    "empty text": (b"", Reason.MALFORMED_JSON),
    "no utf-8": (b'{"type":"\xff"}', Reason.MALFORMED_JSON),
    "byte order mark": (b"\xef\xbb\xbf{}", Reason.MALFORMED_JSON),
    "nested too deep": (b'{"type":' * 100_000, Reason.MALFORMED_JSON),
    "array": (b"[]", Reason.NOT_AN_OBJECT),
    "nan": (b'{"type":"Point","coordinates":[NaN,1]}', Reason.NOT_FINITE),
    "infinity": (b'{"type":"Point","coordinates":[1e999,1]}', Reason.NOT_FINITE),
    "twice": (b'{"type":"Polygon","type":"Polygon","coordinates":[]}', Reason.DUPLICATE_KEY),
    "twice, deep": (b'{"type":"Point","coordinates":[1,2],"a":{"b":1,"b":1}}', "duplicate-key"),
    "boolean position": (polygon([[True, 52.0], *SQUARE[1:]]), Reason.BAD_POSITION),
    "text position": (polygon([["4.0", 52.0], *SQUARE[1:]]), Reason.BAD_POSITION),
    "short position": (polygon([[4.0], *SQUARE[1:]]), Reason.BAD_POSITION),
    "long position": (polygon([[4.0, 52.0, 1.0, 2.0], *SQUARE[1:]]), Reason.BAD_POSITION),
    "flat ring": (polygon([4.0, 52.0, 4.1, 52.0]), Reason.BAD_POSITION),
    "ring is an object": (polygon({}), Reason.BAD_COORDINATES),  # type: ignore[arg-type]
    "three positions": (polygon([*SQUARE[:2], SQUARE[0]]), Reason.TOO_FEW_POSITIONS),
    "open ring": (polygon(SQUARE[:-1]), Reason.RING_NOT_CLOSED),
    "clockwise shell": (polygon(SQUARE[::-1]), Reason.WRONG_WINDING),
    "counterclockwise hole": (polygon(SQUARE, HOLE[::-1]), Reason.WRONG_WINDING),
    "bow tie": (polygon(BOW_TIE), Reason.SELF_INTERSECTION),
    "line there and back": (
        polygon([[4.0, 52.0], [4.1, 52.1], [4.0, 52.0], [4.0, 52.0]]),
        Reason.SELF_INTERSECTION,
    ),
    "hole outside": (
        polygon(SQUARE, [[x + 0.5, y] for x, y in HOLE]),
        Reason.HOLE_OUTSIDE_SHELL,
    ),
    "parts overlap": (
        {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[x + 0.05, y] for x, y in SQUARE]]]},
        Reason.OVERLAPPING_PARTS,
    ),
    "parts share a side": (
        {"type": "MultiPolygon", "coordinates": [[SQUARE], [EAST]]},
        Reason.OVERLAPPING_PARTS,
    ),
    "latitude": (polygon([[x, y + 40.0] for x, y in SQUARE]), Reason.OUT_OF_RANGE),
    "longitude": (polygon([[x + 360.0, y] for x, y in SQUARE]), Reason.OUT_OF_RANGE),
    "antimeridian": (
        polygon([[-179.9, 10.0], [-179.9, 11.0], [179.9, 11.0], [179.9, 10.0], [-179.9, 10.0]]),
        Reason.ANTIMERIDIAN,
    ),
    "no ring": (polygon(), Reason.EMPTY),
    "no polygon": ({"type": "MultiPolygon", "coordinates": []}, Reason.EMPTY),
    "no feature": ({"type": "FeatureCollection", "features": []}, Reason.EMPTY),
    "foreign crs": (
        polygon(SQUARE, crs={"type": "name", "properties": {"name": "EPSG:28992"}}),
        Reason.FOREIGN_CRS,
    ),
    "odd crs": (polygon(SQUARE, crs="x"), Reason.FOREIGN_CRS),
    "null crs": (polygon(SQUARE, crs=None), Reason.FOREIGN_CRS),
    "feature in a geometry": (polygon(SQUARE, properties={}), Reason.FORBIDDEN_MEMBER),
    "bbox": (polygon(SQUARE, bbox=[1, 2, 3]), Reason.BAD_BBOX),
    "collection": (
        {"type": "GeometryCollection", "geometries": [polygon(SQUARE), polygon(APART)]},
        Reason.NOT_AN_AREA,
    ),
    "missing geometry": ({"type": "Feature", "properties": {}}, Reason.MISSING_MEMBER),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    source, reason = REFUSED[name]
    assert refused(source) == reason


def test_crs84_by_its_old_name_is_what_the_rfc_has_anyway() -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    assert parse_geometry(polygon(SQUARE, crs=crs)).polygons


def test_bounds() -> None:
    text = json.dumps(polygon(SQUARE)).encode()
    assert refused(text, limits=Limits(bytes_max=len(text) - 1)) == Reason.TOO_LARGE
    assert parse_geometry(text, limits=Limits(bytes_max=len(text))).polygons
    assert refused(text, limits=Limits(vertices_max=3)) == Reason.TOO_MANY_VERTICES
    assert parse_geometry(text, limits=Limits(vertices_max=4)).polygons
    angle = np.arange(ZONE_VERTICES_MAX) * 2.0 * math.pi / ZONE_VERTICES_MAX
    ring = np.stack([5.0 + 0.1 * np.cos(angle), 52.0 + 0.1 * np.sin(angle)], axis=1).tolist()
    assert parse_geometry(polygon([*ring, ring[0]])).polygons


@pytest.mark.parametrize(
    ("source", "repair"),
    [
        (polygon(SQUARE[:-1]), Repair.RING_CLOSED),
        (polygon(SQUARE[::-1]), Repair.WINDING_REVERSED),
        (polygon(SQUARE, HOLE[::-1]), Repair.WINDING_REVERSED),
        (polygon(BOW_TIE), Repair.SELF_INTERSECTION_RESOLVED),
        (
            {"type": "MultiPolygon", "coordinates": [[SQUARE], [EAST]]},
            Repair.PARTS_UNITED,
        ),
    ],
)
def test_a_repair_is_made_only_when_named_and_always_told(source: Any, repair: Repair) -> None:
    refused(source)
    refused(source, repairs=[other for other in Repair if other != repair])
    area = parse_geometry(source, repairs=[repair.value])
    assert area.repairs == (repair,)
    for shell, *holes in area.polygons:
        assert shapely.Polygon(shell, holes).is_valid
        assert shapely.is_ccw(shapely.LinearRing(shell))
        assert not any(shapely.is_ccw(shapely.LinearRing(hole)) for hole in holes)


def test_an_allowed_repair_that_nothing_needs_is_not_told() -> None:
    assert parse_geometry(polygon(SQUARE, HOLE), repairs=list(Repair)).repairs == ()


def test_a_repaired_crossing_is_the_even_odd_area() -> None:
    area = parse_geometry(polygon(BOW_TIE), repairs=[Repair.SELF_INTERSECTION_RESOLVED])
    shape = shapely.MultiPolygon([shapely.Polygon(p[0], p[1:]) for p in area.polygons])
    rng = np.random.default_rng(1)
    for x, y in rng.uniform((4.0, 52.0), (4.12, 52.13), (500, 2)):
        crossed = 0
        for (ax, ay), (bx, by) in pairwise(BOW_TIE):
            crossed += (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax)
        assert shapely.contains_xy(shape, x, y) == (crossed % 2 == 1)


def test_an_unknown_repair_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="tidy"):
        parse_geometry(polygon(SQUARE), repairs=["tidy"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
names = st.sampled_from(["type", "coordinates", "geometry", "features", "properties", "bbox", "id"])
kinds = st.sampled_from(
    ["Point", "Polygon", "MultiPolygon", "Feature", "FeatureCollection", "GeometryCollection"]
)
coordinates = st.recursive(
    st.floats() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=5)
)
documents = st.recursive(
    st.fixed_dictionaries(
        {"type": kinds}, optional={"coordinates": coordinates, "bbox": json_values}
    ),
    lambda inner: st.fixed_dictionaries(
        {"type": kinds},
        optional={
            "geometry": inner | json_values,
            "features": st.lists(inner | json_values, max_size=3),
            "properties": json_values,
            "coordinates": coordinates,
            "geometries": st.lists(inner, max_size=3),
        },
    ),
    max_leaves=5,
)


@pytest.mark.slow
@settings(deadline=None)
@given(documents | st.dictionaries(names, json_values))
def test_whatever_comes_it_is_an_area_or_a_reason(document: dict[str, Any]) -> None:
    for source in (document, json.dumps(document)):
        outcome: Any
        try:
            outcome = parse_geometry(source, repairs=list(Repair))
        except GeoJSONError as error:
            outcome = error.reason
        assert outcome in Reason or outcome.polygons or outcome.circle


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_whatever_bytes_come(source: bytes) -> None:
    with pytest.raises(GeoJSONError):
        parse_geometry(source)
