"""ZoneSet: all zones in shared flat arrays. First version (signatures final, insides not).

FINAL SIGNATURES
    build(geometry, repairs=()) -> ZoneGrid          pure, slow (ms), may run off the hot thread; raises geofence.geojson.GeoJSONError
        geometry: GeoJSON as bytes/str/dict (Polygon, MultiPolygon, Feature, FeatureCollection) or a Circle(lat_e7, lon_e7, radius_mm)
        ZoneGrid: .source bytes (the geometry as given), .repairs tuple[str, ...] applied, ...
    ZoneSet()
    .put(zone_id, version, geometry | ZoneGrid, repairs=()) -> index    same id = same index; raises before anything changed
    .remove(zone_id) -> None ; .index(zone_id) -> int | None ; .version(zone_id) -> int | None ; .source(zone_id) -> bytes
    .arrays() -> ZoneArrays                           for kernels; take anew after put/remove
    .signed_distance_many(index[], x_mm[], y_mm[], tolerance_m[]) -> int64[]
    .dump() -> bytes ; ZoneSet.load(bytes) -> ZoneSet  exact
"""

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from geofence.kernels.arrays import ZoneArrays
from geofence.kernels.projection import rd_from_wgs84


class Circle(msgspec.Struct, frozen=True):
    """A circle on the earth."""

    lat_e7: int
    lon_e7: int
    radius_mm: int


class ZoneGrid(msgspec.Struct, frozen=True):
    """A zone ready to be put."""

    source: bytes
    repairs: tuple[str, ...]
    rings: Any


def build(geometry: Any, repairs: Iterable[str] = ()) -> ZoneGrid:
    """Read and compile one geometry."""
    if isinstance(geometry, Circle):
        import math

        k = 1 / math.cos(math.radians(geometry.lat_e7 / 1e7))
        r = geometry.radius_mm / 1000 / 111195.0
        ring = [
            [
                geometry.lon_e7 / 1e7 + r * k * math.cos(i * math.pi / 32),
                geometry.lat_e7 / 1e7 + r * math.sin(i * math.pi / 32),
            ]
            for i in range(64)
        ]
        ring.append(ring[0])
        geometry = {"type": "Polygon", "coordinates": [ring]}
    source = geometry if isinstance(geometry, bytes) else msgspec.json.encode(geometry)
    obj = msgspec.json.decode(source)
    while obj["type"] in ("Feature", "FeatureCollection"):
        obj = obj["geometry"] if obj["type"] == "Feature" else obj["features"][0]
    polys = obj["coordinates"] if obj["type"] == "MultiPolygon" else [obj["coordinates"]]
    rings = [
        [rd_from_wgs84(round(c[1] * 1e7), round(c[0] * 1e7)) for c in ring] for p in polys for ring in p
    ]
    return ZoneGrid(source, (), rings)


class ZoneSet:
    """All zones."""

    def __init__(self) -> None:
        self._zones: dict[str, tuple[int, int, ZoneGrid]] = {}
        self._next = 0

    def put(self, zone_id: str, version: int, geometry: Any, repairs: Iterable[str] = ()) -> int:
        """Add or replace."""
        grid = geometry if isinstance(geometry, ZoneGrid) else build(geometry, repairs)
        if zone_id in self._zones:
            index = self._zones[zone_id][0]
        else:
            index = self._next
            self._next += 1
        self._zones[zone_id] = (index, version, grid)
        return index

    def remove(self, zone_id: str) -> None:
        """Forget."""
        del self._zones[zone_id]

    def index(self, zone_id: str) -> int | None:
        """Index."""
        return self._zones[zone_id][0] if zone_id in self._zones else None

    def version(self, zone_id: str) -> int | None:
        """Version."""
        return self._zones[zone_id][1] if zone_id in self._zones else None

    def source(self, zone_id: str) -> bytes:
        """Geometry as given."""
        return self._zones[zone_id][2].source

    def arrays(self) -> ZoneArrays:
        """Arrays for kernels."""
        head = np.zeros((max(self._next, 1), 16), np.int64)
        vx: list[int] = []
        vy: list[int] = []
        runs: list[tuple[int, int]] = []
        for index, _, grid in self._zones.values():
            ox, oy = grid.rings[0][0]
            head[index, :5] = 0, len(runs), len(grid.rings), ox, oy
            for ring in grid.rings:
                runs.append((len(vx), len(ring) - 1))
                vx += [p[0] - ox for p in ring]
                vy += [p[1] - oy for p in ring]
        return ZoneArrays(
            head,
            np.zeros((1, 16)),
            np.array(vx, np.int32),
            np.array(vy, np.int32),
            np.array(runs, np.int32).reshape(-1, 2),
        )

    def signed_distance_many(self, index: Any, x_mm: Any, y_mm: Any, tolerance_m: Any) -> Any:
        """Signed distances, int64 mm."""
        from geofence.kernels.distance import signed_distance

        a = self.arrays()
        return np.array(
            [signed_distance(a, *q) for q in zip(index, x_mm, y_mm, tolerance_m, strict=True)],
            np.int64,
        )

    def dump(self) -> bytes:
        """Versioned dump."""
        return msgspec.msgpack.encode(
            [1, self._next, [[z, i, v, g.source, g.rings] for z, (i, v, g) in self._zones.items()]]
        )

    @classmethod
    def load(cls, blob: bytes) -> "ZoneSet":
        """Exact inverse of dump."""
        self = cls()
        _, self._next, rows = msgspec.msgpack.decode(blob)
        for z, i, v, s, r in rows:
            self._zones[z] = (i, v, ZoneGrid(s, (), r))
        return self
