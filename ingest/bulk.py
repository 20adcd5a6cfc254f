"""The checks of `checks.py` for many plain fix frames at once.

Nearly everything that arrives is one thing: a frame of contract version 1.0 with one fix in it,
from a registered device, in order. Those are checked here, column by column, at a fraction of the
cost. Whatever is anything else, or is refused, is left to `Checker.check`, which alone gives
reasons; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_contracts.codes import MAGIC, MAJOR, MINOR, TAG_BYTES, Kind
from firmware_contracts.frames import Tagger
from firmware_contracts.table import (
    HEADER_DTYPE,
    LAT,
    LON,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
    dtype_of,
)
from ingest.checks import BATTERY_MAX, HEADING_MAX, Checker, Device
from ingest.entries import FrameFlag, FrameRecord, LaneCode
from ingest.mqtt_codec import Message

PLAIN: Final = np.dtype(
    [("header", HEADER_DTYPE), ("fix", dtype_of(Kind.FIX)), ("tag", f"V{TAG_BYTES}")]
)
PLAIN_BYTES: Final = PLAIN.itemsize
# The eight bytes that a plain frame begins with: magic, version, kind, flags, size and number of
# records.
_HEAD: Final = np.zeros(1, HEADER_DTYPE)
for _name, _value in (
    ("magic", MAGIC),
    ("major", MAJOR),
    ("minor", MINOR),
    ("kind", Kind.FIX),
    ("record_bytes", dtype_of(Kind.FIX).itemsize),
    ("count", 1),
):
    _HEAD[_name] = _value
_HEAD_BYTES: Final = _HEAD.tobytes()[:8]
_AUTHENTICATED: Final = int(FrameFlag.AUTHENTICATED)
_FIX_LANE: Final = LaneCode.FIX


class Taken(NamedTuple):
    """A frame that passed: what `Checker.check` would have given as Accept."""

    record: FrameRecord
    message: Message
    device: Device
    boot: int
    sequence: int
    tag: bytes


class Bulk:
    """Splits a batch into the frames that pass and the messages that need a closer look."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._ahead_ms = checker.clock_ahead_ms_max

    def check(self, messages: Sequence[Message]) -> tuple[list[Taken], list[Message]]:
        """Return the frames that pass, each once, and all other messages, both in order."""
        rest: list[Message] = []
        plain: list[Message] = []
        devices: list[Device] = []
        find = self._checker.device_of_fix
        for message in messages:
            if len(message.payload) == PLAIN_BYTES and message.payload.startswith(_HEAD_BYTES):
                device = find(message.topic)
                if device is not None and not message.dup and not message.flaw:
                    plain.append(message)
                    devices.append(device)
                    continue
            rest.append(message)
        if not plain:
            return [], rest
        frames = np.frombuffer(b"".join([message.payload for message in plain]), PLAIN)
        received_ms = np.array([message.received_ms for message in plain], np.int64)
        header = frames["header"]
        sound = _sound(header, frames["fix"], received_ms + self._ahead_ms).tolist()
        boots, sequences = header["boot"].tolist(), header["sequence"].tolist()
        taken: list[Taken] = []
        seen = self._checker.seen.find
        in_batch: set[bytes] = set()
        for index, message in enumerate(plain):
            device, payload = devices[index], message.payload
            tag = payload[-TAG_BYTES:]
            if (
                sound[index]
                and seen(tag) is None
                and tag not in in_batch
                and _valid(device.tagger, payload)
            ):
                in_batch.add(tag)
                record = FrameRecord(
                    device.record.handle, _FIX_LANE, _AUTHENTICATED, message.received_ms, payload
                )
                taken.append(Taken(record, message, device, boots[index], sequences[index], tag))
            else:
                rest.append(message)
        return taken, rest


def _valid(tagger: Tagger | None, payload: bytes) -> bool:
    return tagger is not None and tagger.valid(payload)


def _sound(
    header: npt.NDArray[np.void], fix: npt.NDArray[np.void], latest_ms: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return which frames `checks.fix_fault` finds nothing wrong with, and are no last will."""
    # A device time beyond int64 wraps to below zero here, which is refused as well.
    sealed_ms = header["device_time_ms"].astype(np.int64)
    offset_ms = fix["time_offset_ms"].astype(np.int64)
    time_ms = sealed_ms + offset_ms
    lat, lon = fix["lat_e7"], fix["lon_e7"]
    heading, battery = fix["heading_cdeg"], fix["battery_pct"]
    sound: npt.NDArray[np.bool_] = (
        (header["sequence"] != 0)
        & (np.minimum(time_ms, sealed_ms) >= TIME_MS_MIN)
        & (np.maximum(time_ms, sealed_ms) <= np.minimum(latest_ms, TIME_MS_MAX))
        & (lat >= LAT[0])
        & (lat <= LAT[1])
        & (lon >= LON[0])
        & (lon <= LON[1])
        & ((lat != 0) | (lon != 0))
        & (fix["accuracy_dm"] != 0)
        & ((heading <= HEADING_MAX) | (heading == U16_UNKNOWN))
        & ((battery <= BATTERY_MAX) | (battery == U8_UNKNOWN))
    )
    return sound
