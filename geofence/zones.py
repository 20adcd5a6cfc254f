"""ZoneSet: all zones in shared flat arrays; adding or replacing one touches no other.

`build` is pure and slow (milliseconds) and may run in another thread; `ZoneSet.put` takes what it
built in microseconds: it writes the new version into free space and turns one row of `head` over
to it as its last act. A zone keeps its index over its versions. The geometry as given stays with
the zone as evidence.

A dump holds the compiled arrays beside the sources, because loading 400 municipalities from their
arrays takes milliseconds and compiling them seconds. Both give the same bits: compiling is integer
work on positions rounded to the millimetre.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from geofence.bounds import BOX_COLUMNS
from geofence.geojson import (
    DEFAULT_LIMITS,
    Area,
    GeoJSONError,
    Limits,
    circle_area,
    parse_geometries,
)
from geofence.kernels.arrays import (
    FREE,
    H_BOX,
    H_CELL,
    H_RUN,
    H_STATE,
    H_VX,
    H_VY,
    HEAD_COLUMNS,
    ZoneArrays,
    aligned_zeros,
)
from geofence.kernels.batch import signed_distance_many
from geofence.kernels.build import (
    KERNEL_VERSION,
    Given,
    ZoneGrid,
    compile_areas,
    compile_zone,
)
from geofence.kernels.projection import PLANE_COLUMNS, rd_plane

__all__ = ["Circle", "ZoneGrid", "ZoneSet", "build", "build_many", "source_of"]

Geometry = bytes | str | Mapping[str, Any]
_FORMAT: Final = "afstand.zones/3"
# 64 MiB that the system gives only when written to: 6,000 municipalities come and go without
# a copy of everything.
ROOM: Final = 1 << 24
# Columns of what is known of a zone beside its head.
_R_VERSION: Final = 0
_R_START: Final = 1  # where its numbers begin in `data`
_R_COUNT: Final = 2
_R_VERTICES: Final = 3
_R_SINCE: Final = 4  # from when the version counts, Unix ms
_ROW_COLUMNS: Final = 5
_Repairs = tuple[tuple[str, ...], tuple[str, ...]]  # asked for, and made
_PLACES: Final = [H_CELL, H_VX, H_VY, H_RUN, H_BOX]


class Circle(msgspec.Struct, frozen=True, gc=False):
    """A circle on the earth, for those who have no GeoJSON."""

    lat_e7: int
    lon_e7: int
    radius_mm: int

    def geojson(self) -> dict[str, Any]:
        """The same as the Feature that `geojson.parse_geometry` reads."""
        place = [self.lon_e7 / 1e7, self.lat_e7 / 1e7]
        return {
            "type": "Feature",
            "properties": {"radius_m": self.radius_mm / 1000},
            "geometry": {"type": "Point", "coordinates": place},
        }


_JSON: Final = msgspec.json.Encoder()
_ENCODER: Final = msgspec.msgpack.Encoder()


def source_of(geometry: Geometry | Circle) -> bytes:
    """A geometry as the text that is kept as evidence: as given, where text was given."""
    if isinstance(geometry, bytes):
        return geometry
    if isinstance(geometry, str):
        return geometry.encode()
    return _JSON.encode(geometry.geojson() if isinstance(geometry, Circle) else geometry)


def build(
    geometry: Geometry | Circle, repairs: Iterable[str] = (), limits: Limits = DEFAULT_LIMITS
) -> ZoneGrid:
    """Read and compile one geometry; pure, for any thread. Raises geojson.GeoJSONError."""
    (grid,) = build_many([(geometry, repairs)], limits)
    if isinstance(grid, GeoJSONError):
        raise grid
    return grid


def build_many(
    geometries: Sequence[tuple[Geometry | Circle, Iterable[str]]], limits: Limits = DEFAULT_LIMITS
) -> list[ZoneGrid | GeoJSONError]:
    """Read and compile many, each with the repairs it may have: its arrays or what is wrong."""
    given = [
        Given(source_of(geometry), geometry, tuple(repairs)) for geometry, repairs in geometries
    ]
    areas = iter(
        parse_geometries(
            [(one.decoded, one.repairs) for one in given if not isinstance(one.decoded, Circle)],
            limits=limits,
        )
    )
    return compile_areas(
        given,
        [
            _circle_area(one.decoded, limits) if isinstance(one.decoded, Circle) else next(areas)
            for one in given
        ],
    )


def _circle_area(circle: Circle, limits: Limits) -> Area | GeoJSONError:
    try:
        return circle_area(
            circle.lon_e7 / 1e7, circle.lat_e7 / 1e7, circle.radius_mm / 1000, limits
        )
    except GeoJSONError as error:
        return error


class _Pool:
    """Rows of one array handed out in spans: first fit, free neighbours joined."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array
        self.used = 0
        self._free: list[tuple[int, int]] = []

    def take(self, rows: npt.NDArray[Any]) -> int:
        """Copy rows into free space; where they begin."""
        count = len(rows)
        start = self._find(count)
        if self.used > len(self.array):
            # A new array: whoever still holds the old one reads what was true then.
            wider = np.zeros((self.used + self.used // 2, *self.array.shape[1:]), self.array.dtype)
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
        start = self.used
        self.used += count
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
        if joined[-1][0] + joined[-1][1] == self.used:
            self.used = joined.pop()[0]
        self._free = joined


class ZoneSet:
    """Zones by id, each at a fixed index, and the arrays that kernels read.

    What is known of a zone lies in columns by its index, so that a million of them are a few
    hundred bytes each.
    """

    def __init__(self, room: int = ROOM) -> None:
        """An empty set with room for so many numbers before its arrays have to grow."""
        self._indexes: dict[str, int] = {}
        self._free_indexes: list[int] = []
        self._ids: list[str | None] = []
        self._sources: list[bytes] = []
        self._repairs: dict[int, _Repairs] = {}
        self._head = np.full((16, HEAD_COLUMNS), FREE, np.int64)
        self._rows = np.zeros((16, _ROW_COLUMNS), np.int64)
        self._boxes = np.zeros((16, BOX_COLUMNS), np.int32)
        self._planes = _Pool(np.zeros((4, PLANE_COLUMNS), np.float64))
        self._data = _Pool(np.zeros(room, np.int32))
        self._arrays: ZoneArrays | None = None
        rd = np.zeros((1, PLANE_COLUMNS), np.float64)
        rd_plane(rd[0])
        self._planes.take(rd)

    def __len__(self) -> int:
        return len(self._indexes)

    def __contains__(self, zone_id: object) -> bool:
        return zone_id in self._indexes

    def put(
        self,
        zone_id: str,
        version: int,
        geometry: Geometry | Circle | ZoneGrid,
        repairs: Iterable[str] = (),
        since_ms: int = 0,
    ) -> int:
        """Add a zone or replace its version; its index. Raises GeoJSONError and changes nothing."""
        grid = geometry if isinstance(geometry, ZoneGrid) else build(geometry, repairs)
        index = self._indexes.get(zone_id)
        if index is not None:
            old = self._spans(index)
            self._place(index, version, grid, since_ms)
            self._release(*old)
            return index
        if self._free_indexes:
            index = self._free_indexes.pop()
        else:
            index = len(self._ids)
            self._ids.append(None)
            self._sources.append(b"")
        self._name(zone_id, index)
        self._place(index, version, grid, since_ms)
        return index

    def add(
        self,
        zone_ids: Sequence[str],
        versions: Sequence[int],
        grids: Sequence[ZoneGrid],
        since_ms: int = 0,
    ) -> list[int]:
        """Add zones that are not there yet, as `put` of one after another would; their indexes."""
        again = [self._free_indexes.pop() for _ in zone_ids[: len(self._free_indexes)]]
        first = len(self._ids)
        fresh = range(first, first + len(zone_ids) - len(again))
        indexes = [*again, *fresh]
        self._ids += [None] * len(fresh)
        self._sources += [b""] * len(fresh)
        if len(self._ids) > len(self._head):
            self._grow(len(self._ids) + len(self._ids) // 2)
        if not grids:
            return indexes
        heads = np.array([grid.head for grid in grids])
        counts = np.array([len(grid.data) for grid in grids])
        starts = np.where(counts > 0, np.cumsum(counts) - counts, 0)
        data = np.concatenate([grid.data for grid in grids])
        if len(data):
            starts += np.where(counts > 0, self._data.take(data), 0)
        spans = np.flatnonzero(counts)
        heads[spans[:, None], _PLACES] += starts[spans, None]
        for k, (index, grid) in enumerate(zip(indexes, grids, strict=True)):
            self._ids[index] = zone_ids[k]
            self._indexes[zone_ids[k]] = index
            self._sources[index] = grid.source
            if grid.asked or grid.repairs:
                self._repairs[index] = (grid.asked, grid.repairs)
            if grid.plane is not None:
                heads[k, H_STATE] |= self._planes.take(grid.plane[None, :]) << 1
        at = np.array(indexes)
        self._head[at] = heads
        vertices = [grid.vertices for grid in grids]
        since = np.full(len(grids), since_ms)
        self._rows[at] = np.column_stack((versions, starts, counts, vertices, since))
        self._boxes[at] = np.array([(*grid.box, grid.radius_mm) for grid in grids])
        self._arrays = None
        return indexes

    def _name(self, zone_id: str, index: int) -> None:
        self._ids[index] = zone_id
        self._indexes[zone_id] = index

    def _place(self, index: int, version: int, grid: ZoneGrid, since_ms: int) -> None:
        plane = 0 if grid.plane is None else self._planes.take(grid.plane[None, :])
        count = len(grid.data)
        start = self._data.take(grid.data) if count else 0
        if index >= len(self._head):
            self._grow(index + index // 2 + 1)
        self._sources[index] = grid.source
        self._repairs.pop(index, None)
        if grid.asked or grid.repairs:
            self._repairs[index] = (grid.asked, grid.repairs)
        self._rows[index] = (version, start, count, grid.vertices, since_ms)
        self._boxes[index] = (*grid.box, grid.radius_mm)
        head = grid.head
        if plane or count:
            head = head.copy()
            head[H_STATE] |= plane << 1
            if count:
                head[_PLACES] += start
        self._head[index] = head
        self._arrays = None

    def _grow(self, room: int) -> None:
        # New arrays: whoever still holds the old ones reads what was true then.
        head = aligned_zeros((room, HEAD_COLUMNS), np.int64)
        head[: len(self._head)] = self._head
        head[len(self._head) :] = FREE
        self._head = head
        rows = np.zeros((room, _ROW_COLUMNS), np.int64)
        rows[: len(self._rows)] = self._rows
        self._rows = rows
        boxes = np.zeros((room, BOX_COLUMNS), np.int32)
        boxes[: len(self._boxes)] = self._boxes
        self._boxes = boxes

    def _spans(self, index: int) -> tuple[int, int, int]:
        """Where a zone lies: row of its plane, first number and how many."""
        start, count = self._rows[index, [_R_START, _R_COUNT]].tolist()
        return int(self._head[index, H_STATE]) >> 1, start, count

    def _release(self, plane: int, start: int, count: int) -> None:
        self._planes.give(plane, 1 if plane else 0)
        self._data.give(start, count)

    def remove(self, zone_id: str) -> None:
        """Forget a zone; its index answers NOWHERE_MM until it is used again. Raises KeyError."""
        index = self._indexes.pop(zone_id)
        spans = self._spans(index)
        self._head[index] = FREE
        self._ids[index] = None
        self._sources[index] = b""
        self._repairs.pop(index, None)
        self._free_indexes.append(index)
        self._release(*spans)
        self._arrays = None

    def take_back(self, zone_id: str) -> None:
        """Undo the `put` of a new zone, newest first: its index is as if it had never been."""
        self.remove(zone_id)
        if self._free_indexes[-1] == len(self._ids) - 1:
            self._free_indexes.pop()
            self._ids.pop()
            self._sources.pop()

    def index(self, zone_id: str) -> int | None:
        """Where kernels find the zone."""
        return self._indexes.get(zone_id)

    def indexes(self) -> Mapping[str, int]:
        """The indexes of all zones."""
        return self._indexes

    def name(self, index: int) -> str | None:
        """The zone at an index; None for no zone."""
        return self._ids[index] if 0 <= index < len(self._ids) else None

    def told(self, index: int) -> tuple[str | None, int | None, int | None]:
        """The zone at an index, its version and from when that counts; None for no zone."""
        name = self.name(index)
        if name is None:
            return None, None, None
        return name, int(self._rows[index, _R_VERSION]), int(self._rows[index, _R_SINCE])

    def version(self, zone_id: str) -> int | None:
        """The version that was put last."""
        index = self._indexes.get(zone_id)
        return None if index is None else int(self._rows[index, _R_VERSION])

    def since_ms(self, zone_id: str) -> int | None:
        """From when that version counts, as `put` was told."""
        index = self._indexes.get(zone_id)
        return None if index is None else int(self._rows[index, _R_SINCE])

    def asked(self, zone_id: str) -> tuple[str, ...]:
        """The repairs that were allowed. Raises KeyError."""
        return self._repairs.get(self._indexes[zone_id], ((), ()))[0]

    def boxes(self) -> npt.NDArray[np.int32]:
        """The boxes of all zones by index (geofence.bounds)."""
        return self._boxes

    def grid(self, zone_id: str) -> ZoneGrid:
        """The compiled zone: its source, the repairs that were made, its plane. Raises KeyError."""
        index = self._indexes[zone_id]
        plane, start, count = self._spans(index)
        head = self._head[index].copy()
        head[H_STATE] &= 1
        if count:
            head[_PLACES] -= start
        asked, repairs = self._repairs.get(index, ((), ()))
        south, north, west, east, radius_mm = self._boxes[index].tolist()
        return ZoneGrid(
            source=self._sources[index],
            asked=asked,
            repairs=repairs,
            plane=self._planes.array[plane].copy() if plane else None,
            box=(south, north, west, east),
            radius_mm=radius_mm,
            head=head,
            data=self._data.array[start : start + count].copy(),
            vertices=int(self._rows[index, _R_VERTICES]),
        )

    def source(self, zone_id: str) -> bytes:
        """The geometry as it was given. Raises KeyError."""
        return self._sources[self._indexes[zone_id]]

    def arrays(self) -> ZoneArrays:
        """What kernels read: valid until the next `put` or `remove`."""
        if self._arrays is None:
            self._arrays = ZoneArrays(self._head, self._planes.array, self._data.array)
        return self._arrays

    @property
    def size_bytes(self) -> int:
        """Bytes in use: of what kernels read, of the tables by index and of the sources."""
        return (
            self._head.nbytes
            + self._rows.nbytes
            + self._boxes.nbytes
            + self._planes.array.nbytes
            + 4 * self._data.used
            + sum(map(len, self._sources))
        )

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

    # --- bytes --------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Everything, versioned; the same bytes for the same zones however they came to be."""
        count = len(self._ids)
        head, rows = self._head[:count].copy(), self._rows[:count].copy()
        used = head[:, H_STATE] != FREE
        counts = np.where(used, rows[:, _R_COUNT], 0)
        spans = np.flatnonzero(counts)
        places = rows[spans, _R_START]
        data = _joined(self._data.array, places, counts[spans])
        # Places are counted from each zone's beginning, planes in the order of their zones.
        starts = np.cumsum(counts) - counts
        head[spans[:, None], _PLACES] -= places[:, None]
        local = np.flatnonzero(used & (head[:, H_STATE] > 1))
        planes = self._planes.array[head[local, H_STATE] >> 1]
        head[local, H_STATE] &= 1
        rows[:, _R_START] = starts
        rows[~used] = 0
        boxes = self._boxes[:count].copy()
        boxes[~used] = 0
        return _ENCODER.encode(
            _Dump(
                _FORMAT,
                KERNEL_VERSION,
                self._ids,
                self._free_indexes,
                self._sources,
                sorted(self._repairs.items()),
                head.astype("<i8").tobytes(),
                rows.astype("<i8").tobytes(),
                boxes.astype("<i4").tobytes(),
                local.astype("<i8").tobytes(),
                planes.astype("<f8").tobytes(),
                data.astype("<i4").tobytes(),
            )
        )

    @classmethod
    def load(cls, blob: bytes) -> "ZoneSet":
        """The inverse of `dump`; raises ValueError for anything else."""
        try:
            dump = msgspec.msgpack.decode(blob, type=_Dump)
        except msgspec.DecodeError as error:
            raise ValueError(f"no dump of zones: {error}") from error
        if dump.form != _FORMAT:
            raise ValueError(f"unknown format {dump.form!r} of zones")
        zones = cls(room=0)
        zones._ids = list(dump.ids)
        zones._sources = dump.sources
        zones._free_indexes = dump.free
        zones._indexes = {name: k for k, name in enumerate(dump.ids) if name is not None}
        zones._repairs = dict(dump.repairs)
        if dump.kernel == KERNEL_VERSION:
            zones._take_arrays(dump)
        else:
            zones._compile_anew(np.frombuffer(dump.rows, "<i8").reshape(-1, _ROW_COLUMNS))
        return zones

    def _take_arrays(self, dump: "_Dump") -> None:
        count = len(dump.ids)
        self._grow(max(count, 16))
        head = np.frombuffer(dump.head, "<i8").reshape(count, HEAD_COLUMNS)
        rows = np.frombuffer(dump.rows, "<i8").reshape(count, _ROW_COLUMNS)
        self._head[:count], self._rows[:count] = head, rows
        self._boxes[:count] = np.frombuffer(dump.boxes, "<i4").reshape(count, BOX_COLUMNS)
        data = np.frombuffer(dump.data, "<i4")
        self._data = _Pool(np.zeros(max(ROOM, len(data)), np.int32))
        self._data.array[: len(data)] = data
        self._data.used = len(data)
        spans = np.flatnonzero(rows[:, _R_COUNT])
        self._head[spans[:, None], _PLACES] += rows[spans, _R_START, None]
        local = np.frombuffer(dump.local, "<i8")
        planes = np.frombuffer(dump.planes, "<f8").reshape(len(local), PLANE_COLUMNS)
        if len(local):
            first = self._planes.take(planes.astype(np.float64))
            self._head[local, H_STATE] |= (np.arange(first, first + len(local))) << 1

    def _compile_anew(self, rows: npt.NDArray[np.int64]) -> None:
        """Compile every source again, for kernels that read other arrays than those of the dump."""
        self._data = _Pool(np.zeros(ROOM, np.int32))
        for index, zone_id in enumerate(self._ids):
            if zone_id is not None:
                asked, _ = self._repairs.get(index, ((), ()))
                source = self._sources[index]
                grid = compile_zone(source, source, asked, DEFAULT_LIMITS)
                version, since_ms = rows[index, [_R_VERSION, _R_SINCE]].tolist()
                self._place(index, version, grid, since_ms)


class _Dump(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    form: str
    kernel: int
    ids: list[str | None]
    free: list[int]
    sources: list[bytes]
    repairs: list[tuple[int, _Repairs]]
    head: bytes
    rows: bytes
    boxes: bytes
    local: bytes  # the zones that have a plane of their own, and these planes
    planes: bytes
    data: bytes


def _joined(
    array: npt.NDArray[np.int32], places: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Spans of an array one behind another."""
    if len(places) == 0:
        return np.empty(0, np.int32)
    pairs = zip(places.tolist(), counts.tolist(), strict=True)
    return np.concatenate([array[start : start + count] for start, count in pairs])
