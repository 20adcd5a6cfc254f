"""ZoneSet: all zones in shared flat arrays; adding or replacing one touches no other.

`build` is pure and slow (milliseconds) and may run in another thread; `ZoneSet.put` takes what it
built in microseconds: it writes the new version into free space and turns one row of `head` over
to it as its last act. A zone keeps its index over its versions. The geometry as given stays with
the zone as evidence.

A dump holds the compiled arrays beside the sources, because loading 400 municipalities from their
arrays takes milliseconds and compiling them seconds. Both give the same bits: compiling is integer
work on positions rounded to the millimetre.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from geofence.compiled import CompiledZone, pack, unpack
from geofence.geojson import DEFAULT_LIMITS, Limits
from geofence.kernels.arrays import (
    FREE,
    H_BOX,
    H_CELL,
    H_RUN,
    H_STATE,
    H_VX,
    H_VY,
    HEAD_COLUMNS,
    KIND_CIRCLE,
    ZoneArrays,
)
from geofence.kernels.batch import signed_distance_many
from geofence.kernels.build import ZoneGrid, compile_zone
from geofence.kernels.projection import PLANE_COLUMNS, rd_plane

__all__ = ["Circle", "ZoneGrid", "ZoneSet", "build", "source_of"]

Geometry = bytes | str | Mapping[str, Any]
_FORMAT: Final = "afstand.zones/2"
# 64 MiB that the system gives only when written to: 6,000 municipalities come and go without
# a copy of everything.
ROOM: Final = 1 << 24
_NO_DATA: Final = np.empty(0, np.int32)
_PLACES: Final = [H_CELL, H_VX, H_VY, H_RUN, H_BOX]


class Circle(msgspec.Struct, frozen=True):
    """A circle on the earth, for those who have no GeoJSON."""

    lat_e7: int
    lon_e7: int
    radius_mm: int

    def geojson(self) -> dict[str, Any]:
        """The same as the Feature that `geojson.parse_geometry` reads."""
        return {
            "type": "Feature",
            "properties": {"radius_m": self.radius_mm / 1000},
            "geometry": {
                "type": "Point",
                "coordinates": [self.lon_e7 / 1e7, self.lat_e7 / 1e7],
            },
        }


def build(
    geometry: Geometry | Circle, repairs: Iterable[str] = (), limits: Limits = DEFAULT_LIMITS
) -> ZoneGrid:
    """Read and compile one geometry; pure, for any thread. Raises geojson.GeoJSONError."""
    given = geometry.geojson() if isinstance(geometry, Circle) else geometry
    return compile_zone(source_of(geometry), given, tuple(repairs), limits)


def source_of(geometry: Geometry | Circle) -> bytes:
    """The text that stays with a zone as evidence of what was given."""
    given = geometry.geojson() if isinstance(geometry, Circle) else geometry
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return given.encode()
    return msgspec.json.encode(given)


class _Pool:
    """Rows of one array handed out in spans: first fit, free neighbours joined."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array
        self._used = 0
        self._free: list[tuple[int, int]] = []

    def take(self, rows: npt.NDArray[Any]) -> int:
        """Copy rows into free space; where they begin."""
        count = len(rows)
        start = self._find(count)
        if self._used > len(self.array):
            # A new array: whoever still holds the old one reads what was true then.
            wider = np.zeros(
                (self._used + self._used // 2, *self.array.shape[1:]), self.array.dtype
            )
            wider[:start] = self.array[:start]
            self.array = wider
        self.array[start : start + count] = rows
        return start

    def _find(self, count: int) -> int:
        for i, (start, free) in enumerate(self._free):
            if free >= count:
                if free == count:
                    del self._free[i]
                else:
                    self._free[i] = (start + count, free - count)
                return start
        start = self._used
        self._used += count
        return start

    def give(self, start: int, count: int) -> None:
        """Take a span back."""
        if count == 0:
            return
        joined: list[tuple[int, int]] = []
        for begin, size in sorted([*self._free, (start, count)]):
            if joined and joined[-1][0] + joined[-1][1] == begin:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((begin, size))
        if joined[-1][0] + joined[-1][1] == self._used:
            self._used = joined.pop()[0]
        self._free = joined


class _Entry(msgspec.Struct):
    """One zone: where it lies, and what it was compiled from (without the data that lies there)."""

    index: int
    version: int
    grid: ZoneGrid
    plane: int
    start: int
    count: int


class ZoneSet:
    """Zones by id, each at a fixed index, and the arrays that kernels read."""

    def __init__(self, room: int = ROOM) -> None:
        """An empty set with room for so many numbers before its arrays have to grow."""
        self._entries: dict[str, _Entry] = {}
        self._free_indexes: list[int] = []
        self._indexes = 0
        self._head = np.full((16, HEAD_COLUMNS), FREE, np.int64)
        self._planes = _Pool(np.zeros((4, PLANE_COLUMNS), np.float64))
        self._data = _Pool(np.zeros(room, np.int32))
        self._arrays: ZoneArrays | None = None
        rd = np.zeros((1, PLANE_COLUMNS), np.float64)
        rd_plane(rd[0])
        self._planes.take(rd)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, zone_id: str) -> bool:
        return zone_id in self._entries

    def put(
        self,
        zone_id: str,
        version: int,
        geometry: Geometry | Circle | ZoneGrid,
        repairs: Iterable[str] = (),
    ) -> int:
        """Add a zone or replace its version; its index. Raises GeoJSONError and changes nothing."""
        grid = geometry if isinstance(geometry, ZoneGrid) else build(geometry, repairs)
        old = self._entries.get(zone_id)
        if old is not None:
            index = old.index
        elif self._free_indexes:
            index = self._free_indexes.pop()
        else:
            index = self._indexes
            self._indexes += 1
        self._place(zone_id, version, grid, index)
        if old is not None:
            self._release(old)
        return index

    def _place(self, zone_id: str, version: int, grid: ZoneGrid, index: int) -> None:
        entry = _Entry(
            index=index,
            version=version,
            grid=msgspec.structs.replace(grid, data=_NO_DATA),
            plane=0 if grid.plane is None else self._planes.take(grid.plane[None, :]),
            start=self._data.take(grid.data),
            count=len(grid.data),
        )
        if index >= len(self._head):
            wider = np.full((index + index // 2 + 1, HEAD_COLUMNS), FREE, np.int64)
            wider[: len(self._head)] = self._head
            self._head = wider
        head = grid.head.copy()
        head[H_STATE] |= entry.plane << 1
        if grid.head[H_STATE] != KIND_CIRCLE:
            head[_PLACES] += entry.start
        self._head[index] = head
        self._entries[zone_id] = entry
        self._arrays = None

    def _release(self, entry: _Entry) -> None:
        self._planes.give(entry.plane, 0 if entry.grid.plane is None else 1)
        self._data.give(entry.start, entry.count)

    def remove(self, zone_id: str) -> None:
        """Forget a zone; its index answers NOWHERE_MM until it is used again. Raises KeyError."""
        entry = self._entries.pop(zone_id)
        self._head[entry.index] = FREE
        self._free_indexes.append(entry.index)
        self._release(entry)
        self._arrays = None

    def index(self, zone_id: str) -> int | None:
        """Where kernels find the zone."""
        entry = self._entries.get(zone_id)
        return None if entry is None else entry.index

    def version(self, zone_id: str) -> int | None:
        """The version that was put last."""
        entry = self._entries.get(zone_id)
        return None if entry is None else entry.version

    def grid(self, zone_id: str) -> ZoneGrid:
        """The compiled zone: its source, the repairs that were made, its plane. Raises KeyError."""
        return self._compiled(self._entries[zone_id])

    def _compiled(self, entry: _Entry) -> ZoneGrid:
        data = self._data.array[entry.start : entry.start + entry.count].copy()
        return msgspec.structs.replace(entry.grid, data=data)

    def source(self, zone_id: str) -> bytes:
        """The geometry as it was given. Raises KeyError."""
        return self._entries[zone_id].grid.source

    def arrays(self) -> ZoneArrays:
        """What kernels read: valid until the next `put` or `remove`."""
        if self._arrays is None:
            self._arrays = ZoneArrays(self._head, self._planes.array, self._data.array)
        return self._arrays

    def signed_distance_many(
        self,
        index: npt.NDArray[np.int64],
        x_mm: npt.NDArray[np.int64],
        y_mm: npt.NDArray[np.int64],
        tolerance_m: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.int64]:
        """Signed distances [n] of n points, each in the plane of its own zone; millimetres."""
        distance_mm = np.empty(len(index), np.int64)
        signed_distance_many(self.arrays(), index, x_mm, y_mm, tolerance_m, distance_mm)
        return distance_mm

    def dump(self) -> bytes:
        """Everything, versioned; the same bytes for the same zones however they came to be."""
        rows = [
            _Row(zone_id, entry.index, entry.version, pack(self._compiled(entry)))
            for zone_id, entry in sorted(self._entries.items(), key=lambda item: item[1].index)
        ]
        return msgspec.msgpack.encode(_Dump(_FORMAT, self._indexes, self._free_indexes, rows))

    @classmethod
    def load(cls, blob: bytes) -> "ZoneSet":
        """The inverse of `dump`; raises ValueError for anything else."""
        try:
            dump = msgspec.msgpack.decode(blob, type=_Dump)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no dump of zones: {error}") from error
        if dump.format != _FORMAT:
            raise ValueError(f"unknown format {dump.format!r} of zones")
        zones = cls()
        zones._indexes = dump.indexes
        zones._free_indexes = dump.free
        for row in dump.rows:
            zones._place(row.zone_id, row.version, unpack(row.compiled), row.index)
        return zones


class _Row(msgspec.Struct, frozen=True, array_like=True):
    zone_id: str
    index: int
    version: int
    compiled: CompiledZone


class _Dump(msgspec.Struct, frozen=True, array_like=True):
    format: str
    indexes: int
    free: list[int]
    rows: list[_Row]
