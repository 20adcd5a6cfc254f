"""From an area in degrees to a compiled zone: plane, chain of vertices, grid, boxes."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.limits import ZONE_CHAIN_VERTICES_MAX, ZONE_EXTENT_KM_MAX
from geofence.geojson import Area, GeoJSONError, Limits, Reason, parse_geometries
from geofence.kernels.arrays import H_VX, HEAD_COLUMNS
from geofence.kernels.polygon import (
    EDGE_M_MAX,
    MADE,
    NOTHING,
    TOO_MANY,
    TOO_WIDE,
    circle_heads,
    compile_polygon,
)
from geofence.kernels.projection import (
    PLANE_COLUMNS,
    RD_EAST_DEG,
    RD_NORTH_DEG,
    RD_SOUTH_DEG,
    RD_WEST_DEG,
    local_plane,
    rd_plane,
)
from geofence.kernels.rings import bounds_of

# Changes whenever the same source would compile to other arrays; a dump of another version is
# compiled anew.
KERNEL_VERSION: Final = 1

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
    areas = parse_geometries([(given, repairs)], limits=limits)
    (grid,) = compile_areas([Given(source, given, repairs)], areas)
    if isinstance(grid, GeoJSONError):
        raise grid
    return grid


def compile_areas(
    given: Sequence[Given], areas: Sequence[Area | GeoJSONError]
) -> list[ZoneGrid | GeoJSONError]:
    """Compile areas, each beside what it was read from: its arrays or what is wrong with it."""
    circles = [
        (one, area, area.circle)
        for one, area in zip(given, areas, strict=True)
        if isinstance(area, Area) and area.circle
    ]
    compiled = iter(_circles(circles))
    found: list[ZoneGrid | GeoJSONError] = []
    for one, area in zip(given, areas, strict=True):
        if isinstance(area, GeoJSONError):
            found.append(area)
        else:
            found.append(next(compiled) if area.circle else _polygon(one, area))
    return found


_FAULTS: Final = {
    TOO_MANY: (
        Reason.TOO_MANY_VERTICES,
        f"over {ZONE_CHAIN_VERTICES_MAX}, edges over {EDGE_M_MAX:g} m divided",
    ),
    NOTHING: (Reason.NO_AREA, "smaller than a millimetre"),
    TOO_WIDE: (Reason.TOO_WIDE, f"wider than {ZONE_EXTENT_KM_MAX} km"),
}


def _polygon(given: Given, area: Area) -> ZoneGrid | GeoJSONError:
    rings = [ring for polygon in area.polygons for ring in polygon]
    points = rings[0] if len(rings) == 1 else np.concatenate(rings)
    south, north, west, east = bounds_of(points)
    plane = _plane_for(south, north, west, east)
    starts = np.array([0, *accumulate(map(len, rings))])
    became, vertices, head, data = compile_polygon(points, starts, plane)
    if became != MADE:
        return GeoJSONError(*_FAULTS[became])
    return ZoneGrid(
        source=given.source,
        asked=given.repairs,
        repairs=area.repairs,
        plane=None if plane is _RD else plane,
        box=(
            math.floor(south * 1e7),
            math.ceil(north * 1e7),
            math.floor(west * 1e7),
            math.ceil(east * 1e7),
        ),
        radius_mm=0,
        head=head,
        data=data,
        vertices=vertices,
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


def _circles(
    circles: Sequence[tuple[Given, Area, tuple[float, float, float]]],
) -> list[ZoneGrid]:
    """Circles: a centre, a radius, and a box with room for the growth of the scale."""
    where = np.array([circle for _, _, circle in circles]).reshape(-1, 3)
    heads = np.zeros((len(circles), HEAD_COLUMNS), np.int64)
    circle_heads(where, _RD, heads)
    degrees = where[:, [1, 1, 0, 0]] * 1e7
    degrees[:, ::2] = np.floor(degrees[:, ::2])
    degrees[:, 1::2] = np.ceil(degrees[:, 1::2])
    boxes = degrees.astype(np.int64).tolist()
    found = []
    for k, (given, area, (longitude, latitude, _)) in enumerate(circles):
        plane = _plane_for(latitude, latitude, longitude, longitude)
        if plane is not _RD:
            circle_heads(where[k : k + 1], plane, heads[k : k + 1])
        found.append(
            ZoneGrid(
                source=given.source,
                asked=given.repairs,
                repairs=area.repairs,
                plane=None if plane is _RD else plane,
                box=tuple(boxes[k]),
                radius_mm=int(heads[k, H_VX]),
                head=heads[k],
                data=_NO_DATA,
                vertices=0,
            )
        )
    return found
