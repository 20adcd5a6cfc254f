"""Real zones, random points around them, and what shapely says: shared by benchmarks and tests."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from geofence.kernels.arrays import H_GRID, H_RUN, H_STATE, H_VX, H_VY, H_X0, H_X1, H_Y0, H_Y1
from geofence.kernels.projection import scale_at
from geofence.zones import ZoneGrid, ZoneSet, build

Points = npt.NDArray[np.int64]  # [n, 2] millimetres in the plane of a zone

# The real files do not all keep the right-hand rule; three districts of Rotterdam cross themselves.
REPAIRS = ("winding-reversed", "self-intersection-resolved")
FILES = ("rotterdam", "amsterdam", "austria-steiermark", "nl_gemeenten_352")
NEAR_M = 100.0


class RealZone(NamedTuple):
    """A compiled zone and the same polygon for shapely, in metres of its plane."""

    name: str
    grid: ZoneGrid
    polygon: Any


def features(folder: Path, files: Sequence[str] = FILES) -> Iterator[tuple[str, bytes]]:
    """Name and text of every feature of the real zone files."""
    for file in files:
        collection = json.loads((folder / "zones" / f"{file}.geojson").read_text())
        for i, feature in enumerate(collection["features"]):
            yield f"{file}-{i}", json.dumps(feature).encode()


def real_zones(folder: Path, files: Sequence[str] = FILES) -> list[RealZone]:
    """All zones of the files, compiled, with their polygons."""
    zones = []
    for name, source in features(folder, files):
        grid = build(source, REPAIRS)
        zones.append(RealZone(name, grid, polygon_of(grid)))
    return zones


def put_all(zones: Sequence[RealZone]) -> ZoneSet:
    """A set with zone i at index i."""
    made = ZoneSet()
    for i, zone in enumerate(zones):
        assert made.put(zone.name, 1, zone.grid) == i
    return made


def rings_of(grid: ZoneGrid) -> list[Points]:
    """The closed rings of a compiled zone, in plane millimetres."""
    head = grid.head
    pad = (1 << (int(head[H_GRID]) & 255)) >> 1
    x = grid.data[head[H_VX] : head[H_VY]].astype(np.int64) + head[H_X0] - pad
    y = grid.data[head[H_VY] : head[H_RUN]].astype(np.int64) + head[H_Y0] - pad
    chain = np.stack([x, y], axis=1)
    rings = []
    start = 0
    while start < len(chain):
        # A ring ends where its first vertex stands again, and is closed only there.
        again = np.flatnonzero((chain[start + 1 :] == chain[start]).all(axis=1))
        end = start + 1 + int(again[0])
        rings.append(chain[start : end + 1])
        start = end + 1
    return rings


def polygon_of(grid: ZoneGrid) -> Any:
    """The MultiPolygon of a compiled zone in metres: shells turn left, holes follow their shell."""
    polygons: list[list[Any]] = []
    for ring in rings_of(grid):
        metres = ring / 1000.0
        if shapely.is_ccw(shapely.LinearRing(metres)):
            polygons.append([metres])
        else:
            polygons[-1].append(metres)
    return shapely.MultiPolygon([shapely.Polygon(rings[0], rings[1:]) for rings in polygons])


def points_near(
    rng: np.random.Generator, polygon: Any, count: int, within_m: float = NEAR_M
) -> Points:
    """Points within a square of +-within_m around random points of the boundary."""
    line = polygon.boundary
    along = rng.uniform(0.0, line.length, count)
    on = shapely.get_coordinates(shapely.line_interpolate_point(line, along))
    return _rounded(on + rng.uniform(-within_m, within_m, (count, 2)))


def points_in_box(rng: np.random.Generator, polygon: Any, count: int) -> Points:
    """Points anywhere in the bounding box."""
    x0, y0, x1, y1 = polygon.bounds
    return _rounded(rng.uniform((x0, y0), (x1, y1), (count, 2)))


def points_far(rng: np.random.Generator, polygon: Any, count: int) -> Points:
    """Points outside the bounding box by at least 2 km and up to three of its sizes."""
    x0, y0, x1, y1 = polygon.bounds
    middle = np.array([(x0 + x1) / 2.0, (y0 + y1) / 2.0])
    half = np.array([(x1 - x0) / 2.0, (y1 - y0) / 2.0])
    angle = rng.uniform(0.0, 2.0 * np.pi, count)
    reach = (np.hypot(*half) + 2000.0) * rng.uniform(1.0, 3.0, count)
    return _rounded(middle + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def _rounded(metres: npt.NDArray[np.float64]) -> Points:
    return np.floor(metres * 1000.0 + 0.5).astype(np.int64)


def scales(zones: ZoneSet, index: int, points: Points) -> npt.NDArray[np.float64]:
    """Metres in the plane per metre on the earth, from each point to the zone's bounding box."""
    arrays = zones.arrays()
    head = arrays.head[index]
    plane = arrays.planes[head[H_STATE] >> 1]
    low, high = head[[H_X0, H_Y0]], head[[H_X1, H_Y1]]
    beside = np.clip(points, low, high)
    return np.array(
        [
            np.sqrt(scale_at(plane, *p) * scale_at(plane, *q))
            for p, q in zip(points.tolist(), beside.tolist(), strict=True)
        ]
    )
