"""From an area in degrees to a compiled zone: plane, chain of vertices, grid, boxes."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.limits import ZONE_CHAIN_VERTICES_MAX, ZONE_EXTENT_KM_MAX
from geofence.geojson import Area, GeoJSONError, Limits, Reason, parse_geometries
from geofence.kernels.arrays import (
    BOX_COLUMNS,
    BOX_EDGES,
    CELL_COLUMNS,
    EDGE_MM_MAX,
    H_UPPER,
    H_VX,
    HEAD_COLUMNS,
    KIND_CIRCLE,
    KIND_POLYGON,
    RUN_COLUMNS,
)
from geofence.kernels.chain import N_COLUMNS, link
from geofence.kernels.grid import (
    CELLS_PER_VERTEX_MAX,
    CELLS_SPARE,
    LEVELS_MAX,
    RUN_ROWS_MAX,
    STACK_COLUMNS,
    STACK_ROWS,
    build_boxes,
    build_grid,
)
from geofence.kernels.projection import (
    PLANE_COLUMNS,
    RD_EAST_DEG,
    RD_NORTH_DEG,
    RD_SOUTH_DEG,
    RD_WEST_DEG,
    local_plane,
    plane_from_degrees,
    rd_plane,
    scale_at,
)

# Changes whenever the same source would compile to other arrays; a dump of another version is
# compiled anew.
KERNEL_VERSION: Final = 1

# Longer edges are divided, in degrees: RFC 7946 means a straight line in longitude and latitude.
# What is left of the difference to a straight line in the plane is 0.1 m in the middle of a 2 km
# edge at 52 degrees.
EDGE_M_MAX: Final = 2_000.0
_CELLS_PER_VERTEX: Final = 0.5
_CELLS_MIN: Final = 1
_CELLS_MAX: Final = 16_384
_SHIFT_MIN: Final = 12
_NO_DATA: Final = np.empty(0, np.int32)


class ZoneGrid(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One compiled zone, ready to be put into a ZoneSet; see `arrays` for the columns."""

    source: bytes  # the geometry as given: evidence, and what a later version compiles again
    asked: tuple[str, ...]  # the repairs that were allowed
    repairs: tuple[str, ...]  # the repairs that were made
    plane: npt.NDArray[np.float64] | None  # None is RD
    box: tuple[int, int, int, int]  # south, north, west, east in degrees x 1e7
    radius_mm: int  # of a circle, whose box is its centre; else 0
    head: npt.NDArray[np.int64]  # places in `data` counted from its beginning
    data: npt.NDArray[np.int32]
    vertices: int  # with the repeated ends of rings

    @property
    def size_bytes(self) -> int:
        """Bytes that kernels read for this zone."""
        return self.head.nbytes + self.data.nbytes


class Given(NamedTuple):
    """A geometry to compile: its text as given, the same decoded, the repairs it may have."""

    source: bytes
    decoded: Any
    repairs: tuple[str, ...]


def compile_zone(source: bytes, given: Any, repairs: tuple[str, ...], limits: Limits) -> ZoneGrid:
    """Read and compile; raises GeoJSONError. The same source gives the same arrays anywhere."""
    (grid,) = compile_zones([Given(source, given, repairs)], limits)
    if isinstance(grid, GeoJSONError):
        raise grid
    return grid


def compile_zones(given: Sequence[Given], limits: Limits) -> list[ZoneGrid | GeoJSONError]:
    """Read and compile many: each its arrays or what is wrong with it."""
    areas = parse_geometries([(one.decoded, one.repairs) for one in given], limits=limits)
    return [_compiled(one, area) for one, area in zip(given, areas, strict=True)]


def _compiled(given: Given, area: Area | GeoJSONError) -> ZoneGrid | GeoJSONError:
    if isinstance(area, GeoJSONError):
        return area
    try:
        return compile_circle(given, area) if area.circle else _polygon(given, area)
    except GeoJSONError as error:
        return error


def _polygon(given: Given, area: Area) -> ZoneGrid:
    rings = [ring for polygon in area.polygons for ring in polygon]
    points = rings[0] if len(rings) == 1 else np.concatenate(rings)
    (west, south), (east, north) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    plane = _plane_for(south, north, west, east)
    vx, vy, ends, (left, low, right, top) = _chain(points, rings, plane)
    if max(right - left, top - low) > ZONE_EXTENT_KM_MAX * 1_000_000:
        raise GeoJSONError(Reason.TOO_WIDE, f"wider than {ZONE_EXTENT_KM_MAX} km")
    shift, columns, rows = _grid_shape(right - left, top - low, vx.size)
    pad = (1 << shift) >> 1
    vx32 = (vx - (left - pad)).astype(np.int32)
    vy32 = (vy - (low - pad)).astype(np.int32)
    cells, runs = _grid(vx32, vy32, ends, (shift, columns, rows))
    boxes, upper = _boxes(vx32, vy32, ends)
    head = np.zeros(HEAD_COLUMNS, np.int64)
    cell, x = 0, cells.size
    y, run = x + vx.size, x + 2 * vx.size
    head[: H_UPPER + 1] = (
        KIND_POLYGON,
        left,
        low,
        right,
        top,
        shift | columns << 8 | rows << 32,
        cell,
        x,
        y,
        run,
        run + runs.size,
        upper,
    )
    return ZoneGrid(
        source=given.source,
        asked=given.repairs,
        repairs=area.repairs,
        plane=plane if plane[0] else None,
        box=(
            math.floor(south * 1e7),
            math.ceil(north * 1e7),
            math.floor(west * 1e7),
            math.ceil(east * 1e7),
        ),
        radius_mm=0,
        head=head,
        data=np.concatenate((cells, vx32, vy32, runs, boxes)),
        vertices=vx.size,
    )


def _plane_for(south: float, north: float, west: float, east: float) -> npt.NDArray[np.float64]:
    """RD where it is at home; else a plane that touches the earth in the middle of the zone."""
    if (
        west >= RD_WEST_DEG
        and east <= RD_EAST_DEG
        and south >= RD_SOUTH_DEG
        and north <= RD_NORTH_DEG
    ):
        return _RD
    plane = np.zeros(PLANE_COLUMNS, np.float64)
    local_plane(plane, (south + north) / 2.0, (west + east) / 2.0)
    return plane


def _rd() -> npt.NDArray[np.float64]:
    plane = np.zeros(PLANE_COLUMNS, np.float64)
    rd_plane(plane)
    return plane


_RD: Final = _rd()


def compile_circle(given: Given, area: Area) -> ZoneGrid:
    """A circle: a centre, a radius, and a box with room for the growth of the scale."""
    assert area.circle is not None
    longitude, latitude, radius_m = area.circle
    plane = _plane_for(latitude, latitude, longitude, longitude)
    x, y = plane_from_degrees(plane, latitude, longitude)
    radius_mm = math.floor(radius_m * 1000.0 + 0.5)
    reach = int(radius_mm * scale_at(plane, x, y) * 1.01) + 1
    head = np.zeros(HEAD_COLUMNS, np.int64)
    head[: H_VX + 1] = (
        KIND_CIRCLE,
        x - reach,
        y - reach,
        x + reach,
        y + reach,
        x,
        y,
        radius_mm,
    )
    lat_e7, lon_e7 = latitude * 1e7, longitude * 1e7
    return ZoneGrid(
        source=given.source,
        asked=given.repairs,
        repairs=area.repairs,
        plane=plane if plane[0] else None,
        box=(math.floor(lat_e7), math.ceil(lat_e7), math.floor(lon_e7), math.ceil(lon_e7)),
        radius_mm=radius_mm,
        head=head,
        data=_NO_DATA,
        vertices=0,
    )


def _chain(
    points: npt.NDArray[np.float64],
    rings: Sequence[npt.NDArray[np.float64]],
    plane: npt.NDArray[np.float64],
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_], tuple[int, int, int, int]
]:
    """All rings one behind another in plane millimetres, where each ends, the extent of all."""
    starts = np.cumsum([0, *map(len, rings)])
    room = len(points)
    while True:
        x, y = np.empty(room, np.int64), np.empty(room, np.int64)
        ends = np.empty(room, np.bool_)
        found = np.empty(N_COLUMNS, np.int64)
        link(points, starts, plane, EDGE_M_MAX * 1000.0, x, y, ends, found)
        count, pieces, longest, left, low, right, top = found.tolist()
        if pieces <= room:
            break
        if pieces > ZONE_CHAIN_VERTICES_MAX:
            raise GeoJSONError(
                Reason.TOO_MANY_VERTICES,
                f"over {ZONE_CHAIN_VERTICES_MAX}, edges over {EDGE_M_MAX:g} m divided",
            )
        room = pieces
    if count == 0:
        raise GeoJSONError(Reason.NO_AREA, "smaller than a millimetre")
    assert longest <= EDGE_MM_MAX
    return x[:count], y[:count], ends[:count], (left, low, right, top)


def _grid(
    vx: npt.NDArray[np.int32],
    vy: npt.NDArray[np.int32],
    ends: npt.NDArray[np.bool_],
    grid: tuple[int, int, int],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Cells and lists of runs."""
    work = np.empty(5 * vx.size, np.float64)
    waiting = np.empty((STACK_ROWS, STACK_COLUMNS), np.int64)
    cells_max = grid[1] * grid[2] + CELLS_PER_VERTEX_MAX * vx.size + CELLS_SPARE
    cells = np.empty(CELL_COLUMNS * cells_max, np.int32)
    runs = np.empty(RUN_COLUMNS * RUN_ROWS_MAX * cells_max, np.int32)
    arena = np.empty(LEVELS_MAX * vx.size, np.int32)
    cells_used, runs_used = build_grid(vx, vy, ends, grid, cells, runs, arena, work, waiting)
    return cells[: CELL_COLUMNS * cells_used], runs[: RUN_COLUMNS * runs_used]


def _boxes(
    vx: npt.NDArray[np.int32], vy: npt.NDArray[np.int32], ends: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], int]:
    """All boxes, and how many of them are upper ones."""
    rings = np.diff(np.concatenate(([-1], np.flatnonzero(ends)))) - 1
    lower = int(np.sum(-(-rings // BOX_EDGES)))
    upper = -(-lower // BOX_EDGES)
    boxes = np.empty(BOX_COLUMNS * (upper + lower), np.int32)
    used = build_boxes(vx, vy, ends, upper, boxes)
    assert used == upper + lower
    return boxes, upper


def _grid_shape(width: int, height: int, vertices: int) -> tuple[int, int, int]:
    """Shift, columns and rows of the finest root grid that the number of vertices pays for."""
    cells_max = min(max(int(vertices * _CELLS_PER_VERTEX), _CELLS_MIN), _CELLS_MAX)
    shift = _SHIFT_MIN
    while True:
        columns = (width >> shift) + 2
        rows = (height >> shift) + 2
        if columns * rows <= cells_max or (1 << shift) > max(width, height):
            return shift, columns, rows
        shift += 1
