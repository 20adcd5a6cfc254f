"""Finds the plain fixes in what a broker sent, without a Python object per message.

A plain fix is a PUBLISH at QoS 1, sent for the first time, without properties, that carries a frame
of contract version 1.0 with one fix in it: nearly everything that ever arrives. Every other packet
is left to the codec. Only where a packet begins and ends is decided here, and what its first bytes
are; no frame is believed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.compile import jit
from firmware_contracts.codes import MAGIC, MAJOR, MINOR, TAG_BYTES, Kind
from firmware_contracts.table import HEADER_DTYPE, dtype_of
from ingest.mqtt_codec import Message

PLAIN: Final = np.dtype(
    [("header", HEADER_DTYPE), ("fix", dtype_of(Kind.FIX)), ("tag", f"V{TAG_BYTES}")]
)
PLAIN_BYTES: Final = PLAIN.itemsize
HEAD_BYTES: Final = 8


def _head() -> bytes:
    """Return what a plain frame begins with.

    Magic, version, kind, flags, size and number of records.
    """
    header = np.zeros(1, HEADER_DTYPE)
    header["magic"], header["major"], header["minor"] = MAGIC, MAJOR, MINOR
    header["kind"], header["count"] = Kind.FIX, 1
    header["record_bytes"] = dtype_of(Kind.FIX).itemsize
    return header.tobytes()[:HEAD_BYTES]


HEAD: Final = np.frombuffer(_head(), np.uint8)
_PUBLISH_QOS_1: Final = 0x32
_ROWS_MAX: Final = 4_096  # packets found in one call; there may be more behind them

Rows = npt.NDArray[np.int32]


class Run(msgspec.Struct, frozen=True, gc=False):
    """Plain fixes that arrived together.

    A row of `rows`: topic from, topic to, packet id, frame from; in `raw`. `frames` are their
    frames.
    """

    link: int
    received_ms: int
    raw: bytes
    rows: Rows
    frames: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, count: int) -> tuple[Run, Run]:
        """Return the first `count` and the others."""
        rows, frames = self.rows, self.frames
        return (
            Run(self.link, self.received_ms, self.raw, rows[:count], frames[:count]),
            Run(self.link, self.received_ms, self.raw, rows[count:], frames[count:]),
        )

    def topics(self) -> list[bytes]:
        """Return the topic of every row."""
        raw = self.raw
        starts, ends = self.rows[:, 0].tolist(), self.rows[:, 1].tolist()
        return [raw[start:end] for start, end in zip(starts, ends, strict=True)]

    def message(self, index: int) -> Message:
        """Return one of them as a message."""
        topic_at, topic_end, packet_id, _ = self.rows[index].tolist()
        topic = self.raw[topic_at:topic_end].decode("utf-8", "replace")
        payload = self.frames[index].tobytes()
        return Message(topic, payload, packet_id, False, False, self.received_ms, self.link)


class Scanned(NamedTuple):
    """Plain fixes and their frames, `others` (from, to).

    Whole other packets, and where it stopped.
    """

    rows: Rows
    frames: npt.NDArray[np.void]
    others: Rows
    consumed: int


class Scanner:
    """Scans for one connection; `properties` = MQTT 5."""

    def __init__(self, *, properties: bool) -> None:
        self._properties = properties
        self._rows = np.empty((_ROWS_MAX, 4), np.int32)
        self._frames = np.empty((_ROWS_MAX, PLAIN_BYTES), np.uint8)
        self._others = np.empty((_ROWS_MAX, 2), np.int32)

    def scan(self, view: memoryview) -> Scanned:
        """Look at every whole packet at the start of `view`.

        Stops at one that is not all there, or cannot be one.
        """
        plain, other, consumed = _scan(
            np.frombuffer(view, np.uint8),
            self._properties,
            HEAD,
            self._rows,
            self._frames,
            self._others,
        )
        frames = self._frames[:plain].copy().view(PLAIN).reshape(plain)
        return Scanned(self._rows[:plain].copy(), frames, self._others[:other].copy(), consumed)


def warm_up() -> None:
    """Compile the scanner, so that the first message does not wait for it."""
    Scanner(properties=True).scan(memoryview(bytes(1)))


@jit
def _scan(
    raw: npt.NDArray[np.uint8],
    properties: bool,
    head: npt.NDArray[np.uint8],
    rows: Rows,
    frames: npt.NDArray[np.uint8],
    others: Rows,
) -> tuple[int, int, int]:
    size = len(raw)
    plain = other = at = 0
    while at < size and plain < len(rows) and other < len(others):
        remaining, width = 0, 0
        for index in range(at + 1, min(at + 5, size)):
            byte = int(raw[index])
            remaining |= (byte & 0x7F) << (7 * (index - at - 1))
            if byte < 0x80:
                width = index - at
                break
        end = at + 1 + width + remaining
        if width == 0 or end > size:
            break
        frame = end - PLAIN_BYTES
        topic = at + 1 + width + 2
        is_plain = raw[at] == _PUBLISH_QOS_1 and frame > topic
        if is_plain:
            topic_end = topic + (int(raw[topic - 2]) << 8 | int(raw[topic - 1]))
            expected = topic_end + 2
            if properties:
                is_plain = expected < frame and raw[expected] == 0
                expected += 1
            is_plain = is_plain and expected == frame
            for index in range(HEAD_BYTES):
                is_plain = is_plain and raw[frame + index] == head[index]
            if is_plain:
                packet_id = int(raw[topic_end]) << 8 | int(raw[topic_end + 1])
                is_plain = packet_id != 0
                rows[plain, 0] = topic
                rows[plain, 1] = topic_end
                rows[plain, 2] = packet_id
                rows[plain, 3] = frame
        if is_plain:
            for index in range(PLAIN_BYTES):
                frames[plain, index] = raw[frame + index]
            plain += 1
        else:
            others[other, 0] = at
            others[other, 1] = end
            other += 1
        at = end
    return plain, other, at


def puback_bytes(packet_ids: npt.NDArray[Any]) -> bytes:
    """Return one PUBACK (success) per packet id."""
    acks = np.empty(len(packet_ids), _PUBACK)
    acks["head"] = 0x4002
    acks["packet_id"] = packet_ids
    return acks.tobytes()


_PUBACK: Final = np.dtype([("head", ">u2"), ("packet_id", ">u2")])
