"""From an area in degrees to a compiled zone: plane, chain of vertices, grid, boxes."""

import math
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.limits import ZONE_CHAIN_VERTICES_MAX, ZONE_EXTENT_KM_MAX
from geofence.bounds import Box, points_box
from geofence.geojson import Area, GeoJSONError, Limits, Reason, parse_geometry
from geofence.kernels.arrays import (
    BOX_COLUMNS,
    BOX_EDGES,
    CELL_COLUMNS,
    EDGE_MM_MAX,
    H_BOX,
    H_CELL,
    H_GRID,
    H_RUN,
    H_STATE,
    H_UPPER,
    H_VX,
    H_VY,
    H_X0,
    H_X1,
    H_Y0,
    H_Y1,
    HEAD_COLUMNS,
    KIND_CIRCLE,
    KIND_POLYGON,
    RUN_COLUMNS,
)
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
    plane_from_degrees_many,
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


class ZoneGrid(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled zone, ready to be put into a ZoneSet; see `arrays` for the columns."""

    source: bytes  # the geometry as given: evidence, and what a later version compiles again
    asked: tuple[str, ...]  # the repairs that were allowed
    repairs: tuple[str, ...]  # the repairs that were made
    plane: npt.NDArray[np.float64] | None  # None is RD
    head: npt.NDArray[np.int64]  # places in `data` counted from its beginning
    data: npt.NDArray[np.int32]
    vertices: int  # with the repeated ends of rings
    box: Box

    @property
    def size_bytes(self) -> int:
        """Bytes that kernels read for this zone."""
        return self.head.nbytes + self.data.nbytes


def compile_zone(source: bytes, given: Any, repairs: tuple[str, ...], limits: Limits) -> ZoneGrid:
    """Read and compile; raises GeoJSONError. The same source gives the same arrays anywhere."""
    area = parse_geometry(given, limits=limits, repairs=repairs)
    points = (
        np.array([area.circle[:2]])
        if area.circle
        else np.concatenate([ring for polygon in area.polygons for ring in polygon])
    )
    plane = _plane_for(points)
    head = np.zeros(HEAD_COLUMNS, np.int64)
    if area.circle:
        return _circle(area, source, repairs, plane, head, points_box(points, area.circle[2]))
    vx, vy, ends = _chain(area, plane)
    left, low = int(vx.min()), int(vy.min())
    right, top = int(vx.max()), int(vy.max())
    if max(right - left, top - low) > ZONE_EXTENT_KM_MAX * 1_000_000:
        raise GeoJSONError(Reason.TOO_WIDE, f"wider than {ZONE_EXTENT_KM_MAX} km")
    shift, columns, rows = _grid_shape(right - left, top - low, vx.size)
    pad = (1 << shift) >> 1
    vx32 = (vx - (left - pad)).astype(np.int32)
    vy32 = (vy - (low - pad)).astype(np.int32)
    cells, runs = _grid(vx32, vy32, ends, (shift, columns, rows))
    boxes, upper = _boxes(vx32, vy32, ends)
    head[H_STATE] = KIND_POLYGON
    head[H_X0], head[H_Y0], head[H_X1], head[H_Y1] = left, low, right, top
    head[H_GRID] = shift | columns << 8 | rows << 32
    head[H_UPPER] = upper
    parts = (cells, vx32, vy32, runs, boxes)
    places = np.cumsum([0, *(part.size for part in parts)])
    head[[H_CELL, H_VX, H_VY, H_RUN, H_BOX]] = places[:-1]
    return ZoneGrid(
        source=source,
        asked=repairs,
        repairs=area.repairs,
        plane=plane if plane[0] else None,
        head=head,
        data=np.concatenate(parts),
        vertices=vx.size,
        box=points_box(points),
    )


def _plane_for(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """RD where it is at home; else a plane that touches the earth in the middle of the zone."""
    west, south = points.min(axis=0)
    east, north = points.max(axis=0)
    plane = np.zeros(PLANE_COLUMNS, np.float64)
    if (
        west >= RD_WEST_DEG
        and east <= RD_EAST_DEG
        and south >= RD_SOUTH_DEG
        and north <= RD_NORTH_DEG
    ):
        rd_plane(plane)
    else:
        local_plane(plane, float((south + north) / 2.0), float((west + east) / 2.0))
    return plane


def _circle(
    area: Area,
    source: bytes,
    repairs: tuple[str, ...],
    plane: npt.NDArray[np.float64],
    head: npt.NDArray[np.int64],
    box: Box,
) -> ZoneGrid:
    """A circle: a centre, a radius, and a box with room for the growth of the scale."""
    assert area.circle is not None
    longitude, latitude, radius_m = area.circle
    x, y = _project(np.array([[longitude, latitude]]), plane)
    cx, cy = int(x[0]), int(y[0])
    radius_mm = math.floor(radius_m * 1000.0 + 0.5)
    reach = int(radius_mm * scale_at(plane, cx, cy) * 1.01) + 1
    head[H_STATE] = KIND_CIRCLE
    head[H_X0], head[H_X1] = cx - reach, cx + reach
    head[H_Y0], head[H_Y1] = cy - reach, cy + reach
    head[H_GRID], head[H_CELL], head[H_VX] = cx, cy, radius_mm
    return ZoneGrid(
        source=source,
        asked=repairs,
        repairs=area.repairs,
        plane=plane if plane[0] else None,
        head=head,
        data=np.empty(0, np.int32),
        vertices=0,
        box=box,
    )


def _project(
    points: npt.NDArray[np.float64], plane: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    x = np.empty(len(points), np.int64)
    y = np.empty(len(points), np.int64)
    longitude, latitude = (np.ascontiguousarray(column) for column in points.T)
    plane_from_degrees_many(plane, latitude, longitude, x, y)
    return x, y


def _chain(
    area: Area, plane: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """All rings one behind another in plane millimetres, and where each ends."""
    xs, ys, ends = [], [], []
    vertices = 0
    for polygon in area.polygons:
        for ring in polygon:
            x, y = _project(ring, plane)
            pieces = np.ceil(np.hypot(np.diff(x), np.diff(y)) / (EDGE_M_MAX * 1000.0))
            pieces = np.maximum(pieces, 1.0)
            vertices += int(pieces.sum()) + 1
            if vertices > ZONE_CHAIN_VERTICES_MAX:
                raise GeoJSONError(
                    Reason.TOO_MANY_VERTICES,
                    f"over {ZONE_CHAIN_VERTICES_MAX}, edges over {EDGE_M_MAX:g} m divided",
                )
            if pieces.max() > 1.0:
                x, y = _project(_divided(ring, pieces.astype(np.int64)), plane)
            moved = np.concatenate(([True], (np.diff(x) != 0) | (np.diff(y) != 0)))
            x, y = x[moved], y[moved]
            if len(x) < 4:
                # Smaller than the millimetre: no shell can be, a hole is nothing.
                continue
            assert max(np.abs(np.diff(x)).max(), np.abs(np.diff(y)).max()) <= EDGE_MM_MAX
            xs.append(x)
            ys.append(y)
            end = np.zeros(len(x), np.bool_)
            end[-1] = True
            ends.append(end)
    if not xs:
        raise GeoJSONError(Reason.NO_AREA, "smaller than a millimetre")
    return np.concatenate(xs), np.concatenate(ys), np.concatenate(ends)


def _divided(
    ring: npt.NDArray[np.float64], pieces: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The ring with edge i in so many equal pieces (in degrees)."""
    edge = np.repeat(np.arange(len(pieces)), pieces)
    first = np.concatenate(([0], np.cumsum(pieces)))[:-1]
    part = (np.arange(len(edge)) - first[edge]) / pieces[edge]
    points = ring[edge] + part[:, None] * (ring[edge + 1] - ring[edge])
    return np.concatenate((points, ring[-1:]))


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
