"""What a device is told: "stored up to". Pure; the time is passed in, and must never run backwards.

An acknowledgement names ranges of sequences of one boot that this intake has seen become durable.
An event is acknowledged at once, fixes at most once per interval and device; a range goes on from
what was told before, so that a lost acknowledgement is made good by the next one.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Final, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.compile import jit
from afstand.limits import ACK_RANGES_KEPT, FRAME_RECORDS_MAX
from firmware_contracts.frames import seal_acks
from firmware_contracts.topics import ack_topic
from ingest.checks import Device

Ints = npt.NDArray[np.int64]

_HANDLES_FIRST: Final = 1_024
_HANDLES_MAX: Final = 1 << 24  # of higher ones every frame is noted by itself


class DeviceAck(NamedTuple):
    """A frame for a device, or a receipt for a tracker's bridge (`device_id` is empty)."""

    device_id: str
    topic: str
    frame: bytes


class _Range(msgspec.Struct, gc=False):  # one per device at least: the collector need not see them
    boot: int
    first: int
    last: int
    told: bool = False


class _Told:
    """What a device was told and is to be told; the newest range comes last."""

    __slots__ = ("device", "due_ms", "ranges", "sent_ms", "topic")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.topic = ack_topic(device.device_id)
        self.ranges: list[_Range] = []
        self.sent_ms: int | None = None
        self.due_ms: int | None = None

    def add(self, boot: int, sequence: int) -> None:
        ranges = self.ranges
        for index in range(len(ranges) - 1, -1, -1):
            found = ranges[index]
            if found.boot == boot and found.first - 1 <= sequence <= found.last + 1:
                found.told = False
                if sequence > found.last:
                    found.last = sequence
                elif sequence < found.first:
                    found.first = sequence
                if len(ranges) > 1:
                    self._join(index)
                return
        ranges.append(_Range(boot, sequence, sequence))

    def _join(self, index: int) -> None:
        """Join the range at `index`, which has grown, with one that it now touches."""
        grown = self.ranges[index]
        for other_index, other in enumerate(self.ranges):
            touches = other.first <= grown.last + 1 and grown.first <= other.last + 1
            if other_index != index and other.boot == grown.boot and touches:
                grown.first = min(grown.first, other.first)
                grown.last = max(grown.last, other.last)
                del self.ranges[other_index]
                return


class Fixes(Protocol):
    """Fix frames in columns, as `pending.Fixes` has them."""

    @property
    def devices(self) -> list[Device]: ...  # noqa: D102 see pending.Fixes
    @property
    def handles(self) -> Ints: ...  # noqa: D102
    @property
    def serials(self) -> Ints: ...  # noqa: D102
    @property
    def boots(self) -> Ints: ...  # noqa: D102
    @property
    def sequences(self) -> Ints: ...  # noqa: D102


class _Growing(NamedTuple):
    """By handle: whose newest range waits to be told and grows, and how far it is.

    `serial` is that of the device; 0 = none of this device does.
    """

    serial: Ints
    boot: Ints
    last: Ints

    @classmethod
    def empty(cls, count: int) -> _Growing:
        return cls(*(np.zeros(count, np.int64) for _ in cls._fields))

    def with_room(self, count: int) -> _Growing:
        more = max(count - len(self.last), len(self.last))
        room = np.zeros(more, np.int64)
        return _Growing(*(np.concatenate((column, room)) for column in self))


class DeviceAcks:
    """The acknowledgements of one intake. Bounded by the number of registered devices."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._told: dict[str, _Told] = {}
        self._due: list[tuple[int, str]] = []
        # (due, which); bounded by what the intake holds, since each is of a packet just written.
        self._receipts: deque[tuple[int, DeviceAck]] = deque()
        self._growing = _Growing.empty(_HANDLES_FIRST)

    def __len__(self) -> int:
        """Return how many acknowledgements wait, at most (one sent early is counted still)."""
        return len(self._due) + len(self._receipts)

    def durable(
        self, device: Device, boot: int, sequence: int, now_ms: int, *, at_once: bool
    ) -> None:
        """Note that a frame of `device` is durable (or settled in the quarantine).

        Sequence 0, the last will, is nobody's.
        """
        if sequence == 0 or device.tagger is None:
            return
        device_id = device.device_id
        told = self._told.get(device_id)
        if told is None:
            told = self._told[device_id] = _Told(device)
        self._stop_growing(told)
        told.device = device
        told.add(boot, sequence)
        due_ms = now_ms
        full = len(told.ranges) >= FRAME_RECORDS_MAX
        if not at_once and not full and told.sent_ms is not None:
            due_ms = max(now_ms, told.sent_ms + self._interval_ms)
        self._queue(told, due_ms)

    def durable_fixes(self, fixes: Fixes, now_ms: int) -> None:
        """Note many fix frames as durable.

        As `durable`, of devices that have a key, for sequences above 0.
        """
        rest = np.empty(len(fixes.handles), np.int64)
        columns = fixes.handles, fixes.serials, fixes.boots, fixes.sequences
        # The common case: the next one of a row that waits to be told.
        left = _grow(*columns, *self._growing, rest)
        for at in rest[:left].tolist():
            device = fixes.devices[at]
            boot, sequence = int(fixes.boots[at]), int(fixes.sequences[at])
            self.durable(device, boot, sequence, now_ms, at_once=False)
            self._grow_from_here(self._told[device.device_id])

    def _grow_from_here(self, told: _Told) -> None:
        """Let `_grow` go on with what waits to be told of a device."""
        handle = told.device.handle
        if told.due_ms is None or not 0 < handle < _HANDLES_MAX:
            return
        *others, newest = told.ranges
        if any(one.boot == newest.boot and one.first > newest.last for one in others):
            return  # it may grow into that one
        if handle >= len(self._growing.last):
            self._growing = self._growing.with_room(handle + 1)
        growing = self._growing
        growing.serial[handle] = told.device.serial
        growing.boot[handle], growing.last[handle] = newest.boot, newest.last

    def _stop_growing(self, told: _Told) -> None:
        """Take over what `_grow` has noted of a device."""
        growing, handle = self._growing, told.device.handle
        if handle >= len(growing.last) or growing.serial[handle] != told.device.serial:
            return
        growing.serial[handle] = 0
        newest = told.ranges[-1]
        if growing.last[handle] > newest.last:
            newest.last = int(growing.last[handle])
            newest.told = False

    def receipt(self, topic: str, payload: bytes, now_ms: int) -> None:
        """Note that a packet of a tracker is durable: its bridge is told at once."""
        self._receipts.append((now_ms, DeviceAck("", topic, payload)))

    def take_due(self, now_ms: int, limit: int, server_time_ms: int) -> list[DeviceAck]:
        """Return up to `limit` acknowledgements whose time has come.

        `sent` or `not_sent` says what became of each.
        """
        acks: list[DeviceAck] = []
        while self._receipts and self._receipts[0][0] <= now_ms and len(acks) < limit:
            acks.append(self._receipts.popleft()[1])
        while self._due and self._due[0][0] <= now_ms and len(acks) < limit:
            due_ms, device_id = heapq.heappop(self._due)
            told = self._told[device_id]
            if told.due_ms != due_ms:
                continue  # told meanwhile
            told.due_ms = None
            self._stop_growing(told)
            tagger = told.device.tagger
            news = [r for r in told.ranges if not r.told][:FRAME_RECORDS_MAX]
            if tagger is None or not news:
                continue
            records = [(r.boot, r.first, r.last) for r in news]
            frame = seal_acks(tagger, records, server_time_ms=server_time_ms)
            acks.append(DeviceAck(device_id, told.topic, frame))
            for one in news:
                one.told = True
            told.sent_ms = now_ms
            untold = [r for r in told.ranges if not r.told]
            told.ranges = untold or told.ranges[-ACK_RANGES_KEPT:]
            if untold:
                self._queue(told, now_ms)
        return acks

    def not_sent(self, ack: DeviceAck, retry_ms: int) -> None:
        """Note that an acknowledgement could not be sent; it is due again at `retry_ms`."""
        if not ack.device_id:
            self._receipts.append((retry_ms, ack))
            return
        told = self._told[ack.device_id]
        self._stop_growing(told)
        for one in told.ranges:
            one.told = False
        self._queue(told, retry_ms)

    def next_due_ms(self) -> int | None:
        """Return when the next one is due."""
        times = [due_ms for due_ms, _ in (*self._due[:1], *list(self._receipts)[:1])]
        return min(times, default=None)

    def _queue(self, told: _Told, due_ms: int) -> None:
        if told.due_ms is None or due_ms < told.due_ms:
            told.due_ms = due_ms
            heapq.heappush(self._due, (due_ms, told.device.device_id))


def warm_up() -> None:
    """Compile the kernel."""
    one = np.zeros(1, np.int64)
    _grow(one, one, one, one, *_Growing.empty(1), one)


@jit
def _grow(
    handles: Ints,
    serials: Ints,
    boots: Ints,
    sequences: Ints,
    growing: Ints,
    growing_boot: Ints,
    growing_last: Ints,
    rest: Ints,
) -> int:
    """Note frames that are next in a range that grows; put the others into `rest`."""
    left = 0
    for index in range(len(handles)):
        handle = handles[index]
        if (
            handle >= len(growing)
            or growing[handle] != serials[index]
            or growing_boot[handle] != boots[index]
            or growing_last[handle] + 1 != sequences[index]
        ):
            rest[left] = index
            left += 1
        else:
            growing_last[handle] = sequences[index]
    return left
