"""The checks of `checks.py` for many plain fix frames at once.

Nearly everything that arrives is one thing: a frame of contract version 1.0 with one fix in it,
from a registered device, in order. Those are checked here, column by column, at a fraction of the
cost. Whatever is anything else, or is refused, is left to `Checker.check`, which alone gives
reasons; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_contracts.codes import MAGIC, MAJOR, MINOR, TAG_BYTES, Kind
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
from ingest.mqtt_codec import Message
from ingest.pending import Fixes

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


class Plain(NamedTuple):
    """Fixes that pass, of one partition, and their tags."""

    partition: str
    fixes: Fixes
    tags: list[bytes]


class Bulk:
    """Splits a batch into the frames that pass and the messages that need a closer look.

    `generation` changes whenever any device's record does.
    """

    def __init__(self, checker: Checker, generation: Callable[[], int]) -> None:
        self._checker = checker
        self._generation = generation
        self._known_generation = generation()
        self._devices: dict[str, Device] = {}  # by fix topic; as many as are registered

    def check(self, messages: Sequence[Message]) -> tuple[list[Plain], list[Message]]:
        """Return the frames that pass, each once, by partition, and all other messages in order."""
        candidates: list[Message] = []
        devices: list[Device] = []
        rest: list[Message] = []
        find = self._topics().get
        for message in messages:
            payload = message.payload
            if len(payload) == PLAIN_BYTES and payload.startswith(_HEAD_BYTES):
                device = find(message.topic) or self._device(message.topic)
                if device is not None and not message.dup and not message.flaw:
                    candidates.append(message)
                    devices.append(device)
                    continue
            rest.append(message)
        if not candidates:
            return [], rest
        payloads = [message.payload for message in candidates]
        tags = [payload[-TAG_BYTES:] for payload in payloads]
        frames = np.frombuffer(b"".join(payloads), PLAIN)
        received_ms = np.fromiter([m.received_ms for m in candidates], np.int64, len(candidates))
        latest_ms = received_ms + self._checker.clock_ahead_ms_max
        header = frames["header"]
        good = _sound(header, frames["fix"], latest_ms)
        good &= np.fromiter(map(_valid, devices, payloads), np.bool_, len(candidates))
        self._leave_copies(tags, good)
        columns = [candidates, devices, header["boot"].tolist(), header["sequence"].tolist(), tags]
        if not good.all():
            chosen = good.tolist()
            rest += [m for m, passes in zip(candidates, chosen, strict=True) if not passes]
            columns = [list(compress(column, chosen)) for column in columns]
        return _by_partition(columns), rest

    def _topics(self) -> dict[str, Device]:
        generation = self._generation()
        if generation != self._known_generation:
            self._known_generation = generation
            self._devices.clear()
        return self._devices

    def _device(self, topic: str) -> Device | None:
        device = self._checker.device_of_fix(topic)
        if device is not None:
            self._devices[topic] = device
        return device

    def _leave_copies(self, tags: list[bytes], good: npt.NDArray[np.bool_]) -> None:
        """Let no frame pass that is known, or that stands before in the same batch."""
        seen = self._checker.seen
        if len(set(tags)) == len(tags) and not seen.knows_any(tags):
            return
        before: set[bytes] = set()
        for index, tag in enumerate(tags):
            if tag in before or seen.find(tag) is not None:
                good[index] = False
            elif good[index]:  # a forged one shuts nobody out
                before.add(tag)


def _valid(device: Device, payload: bytes) -> bool:
    return device.tagger is not None and device.tagger.valid(payload)


def _by_partition(columns: list[list[Any]]) -> list[Plain]:
    """Cut the columns (messages, devices, boots, sequences, tags) by partition."""
    devices: list[Device] = columns[1]
    partitions = dict.fromkeys([device.partition for device in devices])
    if len(partitions) == 1:
        return [Plain(devices[0].partition, Fixes(*columns[:4]), columns[4])]
    plain: list[Plain] = []
    for partition in partitions:
        chosen = [device.partition == partition for device in devices]
        part = [list(compress(column, chosen)) for column in columns]
        plain.append(Plain(partition, Fixes(*part[:4]), part[4]))
    return plain


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
