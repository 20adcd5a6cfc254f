"""A compiled zone as bytes: for the journal, so that no replica compiles, and for dumps.

Compiling takes tens of milliseconds for a large zone. Whoever gives a zone to the journal has
compiled it already, to check it; what he compiled goes along, so the replicas only copy it. The
source goes along too: it is the evidence, and what a program of another kernel version compiles.
"""

import zlib
from typing import Final

import msgspec
import numpy as np

from geofence.geojson import DEFAULT_LIMITS
from geofence.kernels.arrays import (
    CELL_COLUMNS,
    H_BOX,
    H_CELL,
    H_GRID,
    H_RUN,
    H_STATE,
    H_VX,
    H_VY,
    HEAD_COLUMNS,
    KIND_CIRCLE,
    KIND_POLYGON,
)
from geofence.kernels.build import KERNEL_VERSION, ZoneGrid, compile_zone
from geofence.kernels.projection import PLANE_COLUMNS

COMPILED_FORMAT: Final = 1
_SHIFT_MAX: Final = 40
"""A root cell of 2^40 mm is wider than the earth."""


class CompiledZone(msgspec.Struct, frozen=True, kw_only=True):
    """What `pack` makes of a ZoneGrid. Arrays are little-endian; `crc32` is over all of them.

    `source` is GeoJSON text, `asked` are the repairs that were allowed, `repairs` those that were
    made.
    """

    format: int
    kernel: int
    source: bytes
    asked: tuple[str, ...]
    repairs: tuple[str, ...]
    plane: bytes
    """Empty for the plane of RD."""
    head: bytes
    data: bytes
    vertices: int
    box: tuple[int, int, int, int]
    """South, north, west and east in degrees x 1e7."""
    radius_mm: int
    crc32: int


class CompiledError(ValueError):
    """Bytes that are no compiled zone, and why."""


def pack(grid: ZoneGrid) -> CompiledZone:
    """Return the bytes of a compiled zone; equal zones give equal bytes."""
    plane = b"" if grid.plane is None else grid.plane.astype("<f8").tobytes()
    head = grid.head.astype("<i8").tobytes()
    data = grid.data.astype("<i4").tobytes()
    return CompiledZone(
        format=COMPILED_FORMAT,
        kernel=KERNEL_VERSION,
        source=grid.source,
        asked=grid.asked,
        repairs=grid.repairs,
        plane=plane,
        head=head,
        data=data,
        vertices=int(grid.vertices),  # interpreted kernels count in numpy's integers
        box=grid.box,
        radius_mm=grid.radius_mm,
        crc32=_checksum(grid.source, plane, head, data),
    )


def is_current(compiled: CompiledZone) -> bool:
    """Return whether `unpack` need not compile: the kernels are of this program's version."""
    return compiled.kernel == KERNEL_VERSION


def unpack(compiled: CompiledZone) -> ZoneGrid:
    """Return the zone of its bytes; compile it from its source when other kernels made them.

    Raises CompiledError for bytes that are damaged, or geojson.GeoJSONError for a source that is
    none.
    """
    if compiled.format != COMPILED_FORMAT:
        raise CompiledError(f"compiled zone of format {compiled.format}, not {COMPILED_FORMAT}")
    parts = (compiled.source, compiled.plane, compiled.head, compiled.data)
    if _checksum(*parts) != compiled.crc32:
        raise CompiledError("compiled zone with a wrong checksum")
    if not is_current(compiled):
        return compile_zone(compiled.source, compiled.source, compiled.asked, DEFAULT_LIMITS)
    if (
        len(compiled.plane) not in (0, 8 * PLANE_COLUMNS)
        or len(compiled.head) != 8 * HEAD_COLUMNS
        or len(compiled.data) % 4
    ):
        raise CompiledError("compiled zone with arrays of other sizes")
    grid = ZoneGrid(
        source=compiled.source,
        asked=compiled.asked,
        repairs=compiled.repairs,
        plane=np.frombuffer(compiled.plane, "<f8") if compiled.plane else None,
        head=np.frombuffer(compiled.head, "<i8"),
        data=np.frombuffer(compiled.data, "<i4"),
        vertices=compiled.vertices,
        box=compiled.box,
        radius_mm=compiled.radius_mm,
    )
    _check(grid)
    return grid


def _checksum(*parts: bytes) -> int:
    total = 0
    for part in parts:
        total = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "little"), total))
    return total


def _check(grid: ZoneGrid) -> None:
    """Raise CompiledError unless the parts lie in the data as the kernels will look for them."""
    if grid.head[H_STATE] == KIND_CIRCLE:
        if len(grid.data):
            raise CompiledError("a circle with data")
        return
    cells, xs, ys, runs, boxes = (int(grid.head[k]) for k in (H_CELL, H_VX, H_VY, H_RUN, H_BOX))
    shape = int(grid.head[H_GRID])
    roots = (shape >> 8 & 0xFFFFFF) * (shape >> 32)
    if (
        grid.head[H_STATE] != KIND_POLYGON
        or shape & 0xFF > _SHIFT_MAX
        or not 0 == cells < xs < ys < runs <= boxes < len(grid.data)
        or ys - xs != grid.vertices
        or runs - ys != grid.vertices
        or not 0 < CELL_COLUMNS * roots <= xs
    ):
        raise CompiledError("compiled zone whose parts do not fit")
