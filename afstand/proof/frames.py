"""One journalled frame as it stands in a bundle: the bytes, the tag, and what they say."""

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from afstand.commands import DefineDevice
from firmware_contracts.batch import decode_batch
from firmware_contracts.codes import TAG_BYTES, EventCode
from firmware_contracts.owntracks import owntracks_to_columns
from firmware_contracts.teltonika import teltonika_to_columns
from ingest.entries import RECORD, FrameFlag, LaneCode

UNKNOWN_DM: Final = 65_535


class Point(NamedTuple):
    """One fix: device time, place, 68 % radius in metres (None: not said)."""

    time_ms: int
    lat_e7: int
    lon_e7: int
    accuracy_m: float | None


class Track(msgspec.Struct):
    """The fixes of one device, in order of arrival."""

    device_id: str
    person_id: str
    protected: bool
    points: list[Point] = []


class FrameLine(NamedTuple):
    """What a bundle says about a frame."""

    said: dict[str, Any]
    points: list[Point]


def frame_line(device: DefineDevice, part: bytes, frame: bytes) -> FrameLine:
    """Describe a frame; `part` is its part of the entry. Never raises for what stands in it."""
    row = np.frombuffer(part, RECORD, 1)[0]
    lane = LaneCode(int(row["lane"]))
    columns, events = _columns(lane, frame)
    points = [
        Point(
            int(columns.time_ms[k]),
            int(columns.lat_e7[k]),
            int(columns.lon_e7[k]),
            _metres(int(columns.accuracy_dm[k])),
        )
        for k in range(len(columns.time_ms))
    ]
    said = {
        "frame": True,
        "said": frame.hex(),
        "tag": frame[-TAG_BYTES:].hex() if lane in _TAGGED else None,
        "device": device.device_id,
        "person": device.person_id,
        "lane": lane.name.lower(),
        "flags": [flag.name for flag in FrameFlag if flag.value & int(row["flags"])],
        "received_ms": int(row["received_ms"]),
        "fixes": [point._asdict() for point in points],
        "events": events,
    }
    return FrameLine(said, points)


_TAGGED: Final = (LaneCode.FIX, LaneCode.EVENT, LaneCode.STATUS)


def _columns(lane: LaneCode, frame: bytes) -> tuple[Any, list[str]]:
    whole = memoryview(frame), np.zeros(1, np.int64), np.array([len(frame)])
    if lane is LaneCode.OWNTRACKS:
        return owntracks_to_columns(*whole)[0], []
    read: Any = teltonika_to_columns(*whole) if lane is LaneCode.TELTONIKA else decode_batch(*whole)
    return read.fixes, [_CODES.get(int(code), str(int(code))) for code in read.events.code]


_CODES: Final = {int(code): code.name.lower().replace("_", "-") for code in EventCode}


def _metres(decimetres: int) -> float | None:
    return None if decimetres >= UNKNOWN_DM else decimetres / 10
