"""Reading GeoJSON strictly: RFC 7946, and for zones the part of it that is an area.

`check` answers whether something is GeoJSON at all; `parse_geometry` whether it is an area that
can be a zone: Polygon, MultiPolygon, a Feature of one, a FeatureCollection of such, or a circle (a
Feature whose Point has a property "radius_m"). Shapely reads almost anything, so every rule is
checked here; it is asked only whether rings cross.

Nothing is repaired in silence. A fault is refused with a `Reason`, unless the caller named the
`Repair` that answers it; the repairs that were really made come back with the area and are kept
with the zone.

Stricter than the letter of the RFC: the right-hand rule holds for writers only there (section
3.1.6), and single or nested geometry collections are only discouraged (3.1.8): refused here. A
"crs" of 2008 is refused unless it names what the RFC has anyway. Foreign members are ignored
(6.1), as are altitudes. The number of digits is no fault (11.2 is advice).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import shapely

from afstand.limits import (
    ZONE_CIRCLE_RADIUS_M_MAX,
    ZONE_GEOJSON_BYTES_MAX,
    ZONE_VERTICES_MAX,
)
from geofence.kernels.rings import bounds_of, turn_of

Ring = npt.NDArray[
    np.float64
]  # [n, 2] longitude and latitude in degrees, the first repeated at the end
Polygon = tuple[Ring, ...]  # the shell, then its holes


class Reason(StrEnum):
    """Why something is no GeoJSON, or no zone."""

    TOO_LARGE = "too-large"
    MALFORMED_JSON = "malformed-json"
    DUPLICATE_KEY = "duplicate-key"
    NOT_AN_OBJECT = "not-an-object"
    UNKNOWN_TYPE = "unknown-type"
    MISSING_MEMBER = "missing-member"
    FORBIDDEN_MEMBER = "forbidden-member"
    BAD_MEMBER = "bad-member"
    BAD_BBOX = "bad-bbox"
    FOREIGN_CRS = "foreign-crs"
    BAD_COORDINATES = "bad-coordinates"
    BAD_POSITION = "bad-position"
    NOT_FINITE = "not-finite"
    TOO_FEW_POSITIONS = "too-few-positions"
    RING_NOT_CLOSED = "ring-not-closed"
    WRONG_WINDING = "wrong-winding"
    NESTED_COLLECTION = "nested-collection"
    SINGLE_COLLECTION = "single-collection"
    # From here on it is GeoJSON, but no zone.
    NOT_AN_AREA = "not-an-area"
    EMPTY = "empty"
    OUT_OF_RANGE = "out-of-range"
    ANTIMERIDIAN = "antimeridian"
    TOO_MANY_VERTICES = "too-many-vertices"
    SELF_INTERSECTION = "self-intersection"
    HOLE_OUTSIDE_SHELL = "hole-outside-shell"
    OVERLAPPING_PARTS = "overlapping-parts"
    NO_AREA = "no-area"
    TOO_WIDE = "too-wide"


class Repair(StrEnum):
    """What may be repaired, each only where the caller names it."""

    RING_CLOSED = "ring-closed"  # the first position is repeated at the end
    WINDING_REVERSED = "winding-reversed"  # a ring that turns the wrong way is read backwards
    SELF_INTERSECTION_RESOLVED = (
        "self-intersection-resolved"  # even-odd; lines and points fall away
    )
    PARTS_UNITED = "parts-united"  # overlapping or touching polygons become one


class GeoJSONError(ValueError):
    """Refused; `reason` for a counter, `detail` for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Limits(msgspec.Struct, frozen=True):
    """Bounds of what is read."""

    bytes_max: int = ZONE_GEOJSON_BYTES_MAX
    vertices_max: int = ZONE_VERTICES_MAX
    radius_m_max: float = ZONE_CIRCLE_RADIUS_M_MAX


DEFAULT_LIMITS: Final = Limits()


class Area(msgspec.Struct, frozen=True):
    """An area in degrees: polygons, or else a circle."""

    polygons: tuple[Polygon, ...]
    circle: tuple[float, float, float] | None  # longitude, latitude, radius in metres
    repairs: tuple[Repair, ...]


_GEOMETRY_DEPTH: Final = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
# Section 7.1: a member that defines one kind of object may not stand in another.
_FORBIDDEN: Final = {
    "geometry": ("geometry", "properties", "features"),
    "Feature": ("coordinates", "geometries", "features"),
    "FeatureCollection": ("coordinates", "geometries", "geometry", "properties"),
}
_CRS84: Final = ("urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84")
_HUGE: Final = 1e300
_OFF_EARTH: Final = "a position is not on the earth in degrees"


def circle_area(
    longitude: float, latitude: float, radius_m: Any, limits: Limits = DEFAULT_LIMITS
) -> Area:
    """A circle as an area, in degrees and metres; raises GeoJSONError for one off the earth."""
    if not _number(radius_m) or not 1.0 <= radius_m <= limits.radius_m_max:
        raise GeoJSONError(Reason.OUT_OF_RANGE, f"radius_m is not 1 to {limits.radius_m_max:g}")
    if not (-180.0 <= longitude <= 180.0 and -90.0 <= latitude <= 90.0):
        raise GeoJSONError(Reason.OUT_OF_RANGE, _OFF_EARTH)
    return Area((), (float(longitude), float(latitude), float(radius_m)), ())


def check(
    source: bytes | str | Mapping[str, Any], limits: Limits = DEFAULT_LIMITS
) -> dict[str, Any]:
    """Read and check any GeoJSON text; raises GeoJSONError for the first fault."""
    root = _decode(source, limits)
    _Reader(frozenset(), limits).object(root, "$")
    return root


def parse_geometry(
    source: bytes | str | Mapping[str, Any],
    *,
    limits: Limits = DEFAULT_LIMITS,
    repairs: Iterable[Repair | str] = (),
) -> Area:
    """Read an area for a zone; raises GeoJSONError for the first fault not to be repaired.

    A mapping is taken as decoded JSON; only the text can show duplicate keys and its own size.
    """
    (area,) = parse_geometries([(source, repairs)], limits=limits)
    if isinstance(area, GeoJSONError):
        raise area
    return area


def parse_geometries(
    sources: Iterable[tuple[bytes | str | Mapping[str, Any], Iterable[Repair | str]]],
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Area | GeoJSONError]:
    """Read many areas, each with the repairs it may have: the area or what is wrong with it.

    The same answers as one by one; whether rings cross is asked for all of them at once.
    """
    found: list[Area | GeoJSONError | None] = []
    readers: list[_Reader] = []
    for source, repairs in sources:
        reader = _Reader(frozenset(Repair(name) for name in repairs), limits)
        readers.append(reader)
        try:
            root = _decode(source, limits)
            reader.object(root, "$")
            found.append(reader.area(root))
        except GeoJSONError as error:
            found.append(error)
    simple = [k for k, area in enumerate(found) if area is None and readers[k].is_simple]
    for k, valid in zip(simple, _are_valid([readers[k].shell for k in simple]), strict=True):
        if valid:
            found[k] = readers[k].as_given()
    return [readers[k].valid() if area is None else area for k, area in enumerate(found)]


def _decode(source: bytes | str | Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return dict(source)
    if len(source) > limits.bytes_max:
        raise GeoJSONError(Reason.TOO_LARGE, f"more than {limits.bytes_max} bytes")
    try:
        text = source if isinstance(source, str) else source.decode("utf-8")
        root = json.loads(text, object_pairs_hook=_unique, parse_constant=_not_a_number)
    except GeoJSONError:
        raise
    except RecursionError as error:
        raise GeoJSONError(Reason.MALFORMED_JSON, "nested too deep") from error
    except ValueError as error:
        raise GeoJSONError(Reason.MALFORMED_JSON, str(error)) from error
    if not isinstance(root, dict):
        raise GeoJSONError(Reason.NOT_AN_OBJECT, "the text is not a JSON object")
    return root


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise GeoJSONError(Reason.DUPLICATE_KEY, f"member {twice[:64]!r} twice")
    return members


def _not_a_number(name: str) -> float:
    raise GeoJSONError(Reason.NOT_FINITE, f"{name} is not JSON")


class _Reader:
    """One pass over one document, which collects the rings of polygons in their order."""

    def __init__(self, repairs: frozenset[Repair], limits: Limits) -> None:
        self._allowed = repairs
        self._made: dict[Repair, None] = {}
        self._limits = limits
        self._polygons: list[Polygon] = []
        self._vertices = 0

    # --- any GeoJSON ---------------------------------------------------------------------------

    def object(self, item: Any, where: str) -> None:
        """A GeoJSON object of any type."""
        kind = self._type(item, where)
        if kind == "FeatureCollection":
            self._common(item, kind, where)
            features = self._member(item, "features", where)
            if not isinstance(features, list):
                raise GeoJSONError(Reason.BAD_MEMBER, f"{where}.features is not an array")
            for i, feature in enumerate(features):
                if self._type(feature, f"{where}.features[{i}]") != "Feature":
                    raise GeoJSONError(Reason.BAD_MEMBER, f"{where}.features[{i}] is no Feature")
                self._feature(feature, f"{where}.features[{i}]")
        elif kind == "Feature":
            self._feature(item, where)
        else:
            self._geometry(item, where, nested=False)

    def _type(self, item: Any, where: str) -> str:
        if not isinstance(item, dict):
            raise GeoJSONError(Reason.NOT_AN_OBJECT, f"{where} is not an object")
        kind = self._member(item, "type", where)
        if not isinstance(kind, str) or (
            kind not in _GEOMETRY_DEPTH
            and kind not in {"GeometryCollection", "Feature", "FeatureCollection"}
        ):
            raise GeoJSONError(Reason.UNKNOWN_TYPE, f"{where}.type is {str(kind)[:64]!r}")
        return kind

    @staticmethod
    def _member(item: dict[str, Any], name: str, where: str) -> Any:
        if name not in item:
            raise GeoJSONError(Reason.MISSING_MEMBER, f"{where} has no {name!r}")
        return item[name]

    def _common(self, item: dict[str, Any], role: str, where: str) -> None:
        """What holds for every GeoJSON object: forbidden members, bbox, crs."""
        for name in _FORBIDDEN[role]:
            if name in item:
                raise GeoJSONError(Reason.FORBIDDEN_MEMBER, f"{where} has {name!r}")
        bbox = item.get("bbox", [0, 0, 0, 0])
        if not isinstance(bbox, list) or len(bbox) not in {4, 6} or not all(map(_number, bbox)):
            raise GeoJSONError(Reason.BAD_BBOX, f"{where}.bbox is not 4 or 6 finite numbers")
        if "crs" in item and not _names_crs84(item["crs"]):
            raise GeoJSONError(Reason.FOREIGN_CRS, f"{where} has a coordinate reference system")

    def _feature(self, item: dict[str, Any], where: str) -> None:
        self._common(item, "Feature", where)
        if not isinstance(self._member(item, "properties", where), dict | None):
            raise GeoJSONError(Reason.BAD_MEMBER, f"{where}.properties is no object and not null")
        name = item.get("id", "")
        if not isinstance(name, str) and not _number(name):
            raise GeoJSONError(Reason.BAD_MEMBER, f"{where}.id is no string and no number")
        geometry = self._member(item, "geometry", where)
        if geometry is not None:
            self._geometry(geometry, f"{where}.geometry", nested=False)

    def _geometry(self, item: Any, where: str, *, nested: bool) -> None:
        kind = self._type(item, where)
        if kind in {"Feature", "FeatureCollection"}:
            raise GeoJSONError(Reason.UNKNOWN_TYPE, f"{where} is no geometry")
        self._common(item, "geometry", where)
        if kind == "GeometryCollection":
            if nested:
                raise GeoJSONError(Reason.NESTED_COLLECTION, f"{where} is a collection in one")
            self._collection(item, where)
            return
        if "geometries" in item:
            raise GeoJSONError(Reason.FORBIDDEN_MEMBER, f"{where} has 'geometries'")
        self._coordinates(kind, self._member(item, "coordinates", where), f"{where}.coordinates")

    def _collection(self, item: dict[str, Any], where: str) -> None:
        parts = self._member(item, "geometries", where)
        if not isinstance(parts, list):
            raise GeoJSONError(Reason.BAD_MEMBER, f"{where}.geometries is not an array")
        for i, part in enumerate(parts):
            self._geometry(part, f"{where}.geometries[{i}]", nested=True)
        if len(parts) == 1:
            raise GeoJSONError(Reason.SINGLE_COLLECTION, f"{where} is a collection of one")

    def _coordinates(self, kind: str, coordinates: Any, where: str) -> None:
        if kind == "Point":
            self._positions([coordinates], where)
        elif kind == "Polygon":
            self._polygon(coordinates, where)
        elif kind == "MultiPolygon":
            for i, polygon in enumerate(_array(coordinates, where)):
                self._polygon(polygon, f"{where}[{i}]")
        elif kind == "MultiLineString":
            for i, line in enumerate(_array(coordinates, where)):
                self._line(line, f"{where}[{i}]")
        elif kind == "LineString":
            self._line(coordinates, where)
        else:
            self._positions(_array(coordinates, where), where)

    def _line(self, line: Any, where: str) -> None:
        if len(self._positions(_array(line, where), where)) < 2:
            raise GeoJSONError(Reason.TOO_FEW_POSITIONS, f"{where} is a line of fewer than 2")

    @staticmethod
    def _positions(positions: list[Any], where: str) -> list[list[float]]:
        """Positions are arrays of two or three finite numbers."""
        if _are_positions(positions):
            return positions
        for i, position in enumerate(positions):
            if type(position) is not list or not 2 <= len(position) <= 3:
                raise GeoJSONError(
                    Reason.BAD_POSITION, f"{where}[{i}] is not an array of 2 or 3 numbers"
                )
            for value in position:
                kind = type(value)
                if kind is not float and kind is not int:
                    raise GeoJSONError(Reason.BAD_POSITION, f"{where}[{i}] holds no number")
                if not -_HUGE < value < _HUGE:
                    raise GeoJSONError(Reason.NOT_FINITE, f"{where}[{i}] is not finite")
        return positions

    def _polygon(self, rings: Any, where: str) -> None:
        polygon = []
        for i, ring in enumerate(_array(rings, where)):
            polygon.append(self._ring(ring, f"{where}[{i}]", hole=i > 0))
        if polygon:
            self._polygons.append(tuple(polygon))

    def _ring(self, ring: Any, where: str, *, hole: bool) -> Ring:
        positions = self._positions(_array(ring, where), where)
        if len(positions) >= 3 and positions[0] != positions[-1]:
            if not self._repair(Repair.RING_CLOSED):
                raise GeoJSONError(Reason.RING_NOT_CLOSED, f"{where} does not end where it begins")
            positions = [*positions, positions[0]]
        if len(positions) < 4:
            raise GeoJSONError(Reason.TOO_FEW_POSITIONS, f"{where} is a ring of fewer than 4")
        vertices = _vertices(positions)
        # 0 is judged with the shape. A ring over the antimeridian has no turn in degrees; it is
        # refused where an area is wanted.
        turn, widest = turn_of(vertices)
        if turn != 0.0 and (turn > 0.0) == hole and widest <= 180.0:
            if not self._repair(Repair.WINDING_REVERSED):
                side = "clockwise" if hole else "counterclockwise"
                raise GeoJSONError(Reason.WRONG_WINDING, f"{where} does not turn {side}")
            vertices = np.ascontiguousarray(vertices[::-1])
        self._vertices += len(vertices) - 1
        return vertices

    def _repair(self, repair: Repair) -> bool:
        if repair not in self._allowed:
            return False
        self._made[repair] = None
        return True

    # --- areas ---------------------------------------------------------------------------------

    def area(self, root: dict[str, Any]) -> Area | None:
        """The checked document as a circle; None: polygons, of which `valid` has to be asked."""
        features = root["features"] if root["type"] == "FeatureCollection" else [root]
        if not features:
            raise GeoJSONError(Reason.EMPTY, "the collection has no feature")
        for item in features:
            geometry = item["geometry"] if item["type"] == "Feature" else item
            kind = None if geometry is None else geometry["type"]
            if kind == "Point" and item["type"] == "Feature" and len(features) == 1:
                return self._circle(item)
            if kind not in {"Polygon", "MultiPolygon"}:
                raise GeoJSONError(Reason.NOT_AN_AREA, f"{kind or 'null'} is valid, but no area")
        if not self._polygons:
            raise GeoJSONError(Reason.EMPTY, "no polygon has a ring")
        if self._vertices > self._limits.vertices_max:
            raise GeoJSONError(
                Reason.TOO_MANY_VERTICES,
                f"{self._vertices} vertices, at most {self._limits.vertices_max}",
            )
        for polygon in self._polygons:
            for ring in polygon:
                _in_range(ring)
        return None

    @property
    def is_simple(self) -> bool:
        """Whether this is one polygon without holes."""
        return len(self._polygons) == 1 and len(self._polygons[0]) == 1

    @property
    def shell(self) -> Ring:
        """The first ring."""
        return self._polygons[0][0]

    def as_given(self) -> Area:
        """The polygons as they were read."""
        return self._area_of(tuple(self._polygons))

    def valid(self) -> Area | GeoJSONError:
        """The polygons, repaired as far as allowed, or what is wrong with them."""
        try:
            return self._area_of(self._valid(tuple(self._polygons)))
        except GeoJSONError as error:
            return error

    def _area_of(self, polygons: tuple[Polygon, ...]) -> Area:
        return Area(polygons, None, tuple(repair for repair in Repair if repair in self._made))

    def _circle(self, feature: dict[str, Any]) -> Area:
        radius_m = (feature["properties"] or {}).get("radius_m")
        if radius_m is None:
            raise GeoJSONError(Reason.NOT_AN_AREA, "Point without radius_m is valid, but no area")
        longitude, latitude = feature["geometry"]["coordinates"][:2]
        return circle_area(longitude, latitude, radius_m, self._limits)

    def _valid(self, polygons: tuple[Polygon, ...]) -> tuple[Polygon, ...]:
        """The polygons if no rings cross, else repaired as far as allowed."""
        shapes = [shapely.Polygon(polygon[0], polygon[1:]) for polygon in polygons]
        changed = False
        for i, shape in enumerate(shapes):
            fault = shapely.is_valid_reason(shape)
            if fault != "Valid Geometry":
                if not self._repair(Repair.SELF_INTERSECTION_RESOLVED):
                    raise GeoJSONError(_reason_of(fault), fault)
                shapes[i] = _areas_of(shapely.make_valid(shape))
                changed = True
        whole = shapely.MultiPolygon([part for shape in shapes for part in _parts(shape)])
        if whole.is_empty or whole.area == 0.0:
            raise GeoJSONError(Reason.NO_AREA, "nothing is left of it")
        if len(whole.geoms) > 1 and not whole.is_valid:
            if not self._repair(Repair.PARTS_UNITED):
                raise GeoJSONError(Reason.OVERLAPPING_PARTS, shapely.is_valid_reason(whole))
            whole = shapely.unary_union(whole)
            changed = True
        if not changed:
            return polygons
        return tuple(
            tuple(shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors))
            for part in _parts(shapely.orient_polygons(_areas_of(whole)))
        )


def _are_positions(positions: list[Any]) -> bool:
    """Whether all is well; who is told no has to look which position is not."""
    if set(map(type, positions)) != {list} or not set(map(len, positions)) <= {2, 3}:
        return False
    if not set(map(type, chain.from_iterable(positions))) <= {float, int}:
        return False
    values: list[float] = list(chain.from_iterable(positions))
    return min(values) > -_HUGE and max(values) < _HUGE and sum(values) == sum(values)


def _vertices(positions: list[Any]) -> Ring:
    """Longitude and latitude of positions."""
    width = len(positions[0])
    if any(len(position) != width for position in positions):
        return np.array([(p[0], p[1]) for p in positions], np.float64)
    flat = np.fromiter(chain.from_iterable(positions), np.float64, width * len(positions))
    return np.ascontiguousarray(flat.reshape(-1, width)[:, :2])


def _are_valid(rings: Sequence[Ring]) -> list[bool]:
    """Whether each ring is the shell of a valid polygon with an area."""
    if not rings:
        return []
    which = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    shapes = shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=which))
    found: list[bool] = (shapely.is_valid(shapes) & (shapely.area(shapes) > 0.0)).tolist()
    return found


def _array(item: Any, where: str) -> list[Any]:
    if type(item) is not list:
        raise GeoJSONError(Reason.BAD_COORDINATES, f"{where} is not an array")
    return item


def _number(value: Any) -> bool:
    return type(value) in {int, float} and -_HUGE < value < _HUGE


def _names_crs84(crs: Any) -> bool:
    properties = crs.get("properties") if isinstance(crs, dict) else None
    return isinstance(properties, dict) and properties.get("name") in _CRS84


def _in_range(ring: Ring) -> None:
    south, north, west, east = bounds_of(ring)
    if west < -180.0 or east > 180.0 or south < -90.0 or north > 90.0:
        raise GeoJSONError(Reason.OUT_OF_RANGE, _OFF_EARTH)
    if turn_of(ring)[1] > 180.0:
        raise GeoJSONError(
            Reason.ANTIMERIDIAN, "an edge spans more than 180 degrees: cut it at the antimeridian"
        )


def _reason_of(fault: str) -> Reason:
    if fault.startswith(("Hole lies", "Nested holes")):
        return Reason.HOLE_OUTSIDE_SHELL
    return Reason.SELF_INTERSECTION


def _parts(shape: Any) -> list[Any]:
    return [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]


def _areas_of(shape: Any) -> Any:
    """Only the polygons of what a repair gave."""
    if shape.geom_type == "GeometryCollection":
        parts = [area for part in shape.geoms for area in _parts(part)]
        return shapely.MultiPolygon(parts)
    return shapely.MultiPolygon(_parts(shape))
