"""Looks at many plain frames at once: their numbers, and whether anything in them is impossible.

The rules are those of `checks.fix_fault`, which alone gives reasons; a test holds the two together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.compile import jit, jit_inline
from firmware_contracts.table import (
    FIX,
    HEADER,
    HEADER_BYTES,
    LAT,
    LON,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
)
from ingest.checks import BATTERY_MAX, HEADING_MAX
from ingest.scan import PLAIN_BYTES

# Where in a plain frame the fields are that are judged, in the order in which `_judge` takes them.
# An argument and no constant of the kernel: compiled code is kept by this file's content, and the
# table stands in another.
_HEADER_FIELDS: Final = ("boot", "sequence", "device_time_ms")
_FIX_FIELDS: Final = (
    "time_offset_ms",
    "lat_e7",
    "lon_e7",
    "accuracy_dm",
    "heading_cdeg",
    "battery_pct",
)
_AT: Final = np.array(
    [HEADER.offset_of(name) for name in _HEADER_FIELDS]
    + [HEADER_BYTES + FIX.offset_of(name) for name in _FIX_FIELDS],
    np.int64,
)
_BOUNDS: Final = np.array(
    [*LAT, *LON, TIME_MS_MIN, TIME_MS_MAX, HEADING_MAX, U16_UNKNOWN, BATTERY_MAX, U8_UNKNOWN],
    np.int64,
)


class Judged(NamedTuple):
    """Which frames `checks.fix_fault` has nothing against (and are no last will); their numbers."""

    sound: npt.NDArray[np.bool_]
    boots: npt.NDArray[np.int64]
    sequences: npt.NDArray[np.int64]


def judge(frames: npt.NDArray[np.void], latest_ms: int) -> Judged:
    """Look at the header and the fix of plain frames.

    `latest_ms` is the latest time that is believed.
    """
    count = len(frames)
    raw = frames.view(np.uint8).reshape(count, PLAIN_BYTES)
    judged = Judged(np.empty(count, np.bool_), np.empty(count, np.int64), np.empty(count, np.int64))
    _judge(raw, latest_ms, _AT, _BOUNDS, *judged)
    return judged


@jit_inline
def _unsigned(raw: npt.NDArray[np.uint8], row: int, at: int, width: int) -> int:
    value = 0
    for index in range(width):
        value |= int(raw[row, at + index]) << (8 * index)
    return value


@jit_inline
def _signed32(raw: npt.NDArray[np.uint8], row: int, at: int) -> int:
    value = _unsigned(raw, row, at, 4)
    return value - ((value >> 31) << 32)


@jit
def _judge(
    raw: npt.NDArray[np.uint8],
    latest_ms: int,
    at: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    sound: npt.NDArray[np.bool_],
    boots: npt.NDArray[np.int64],
    sequences: npt.NDArray[np.int64],
) -> None:
    time_max = min(latest_ms, bounds[5])
    for row in range(len(raw)):
        boots[row] = _unsigned(raw, row, at[0], 4)
        sequences[row] = _unsigned(raw, row, at[1], 4)
        # A device time beyond int64 wraps to below zero here, which is refused as well.
        sealed_ms = _unsigned(raw, row, at[2], 8)
        time_ms = sealed_ms + _signed32(raw, row, at[3])
        lat = _signed32(raw, row, at[4])
        lon = _signed32(raw, row, at[5])
        heading = _unsigned(raw, row, at[7], 2)
        battery = int(raw[row, at[8]])
        sound[row] = (
            sequences[row] != 0
            and bounds[4] <= sealed_ms <= time_max
            and bounds[4] <= time_ms <= time_max
            and bounds[0] <= lat <= bounds[1]
            and bounds[2] <= lon <= bounds[3]
            and (lat != 0 or lon != 0)
            and _unsigned(raw, row, at[6], 2) != 0
            and (heading <= bounds[6] or heading == bounds[7])
            and (battery <= bounds[8] or battery == bounds[9])
        )
