"""What to do with one message.

Pure, apart from the memory of what was stored, which is passed in by whoever stored it.

The order of the checks is part of their meaning. A tag is checked before a frame may count as a
copy of another, or a forger could shut a true frame out; whatever cannot be proven is refused,
except an alarm: a panic press, a duress code or a cut strap from an unknown device, or with a wrong
tag, goes into the journal marked as unproven, within bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, NamedTuple

from afstand.limits import (
    CLOCK_AHEAD_MS_MAX,
    REPLAY_AFTER_MS,
    SEEN_FRAMES_MAX,
    UNPROVEN_DEVICES_MAX,
    UNPROVEN_PER_DEVICE_MAX,
    UNPROVEN_PER_KIND_MAX,
    UNPROVEN_WINDOW_MS,
)
from firmware_contracts.codes import TAG_BYTES, EventCode, Kind
from firmware_contracts.faults import FrameError
from firmware_contracts.frames import Header, Tagger, read_header
from firmware_contracts.owntracks import OwnTracksFix, read_owntracks
from firmware_contracts.table import (
    HEADER_BYTES,
    LAT,
    LON,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
    struct_of,
)
from firmware_contracts.topics import Lane, parse_topic
from ingest.devices import Contract, DeviceRecord
from ingest.entries import FrameFlag, FrameRecord, LaneCode
from ingest.mqtt_codec import Message
from ingest.reasons import Reason, reason_of

URGENT: Final = frozenset({EventCode.PANIC, EventCode.DURESS, EventCode.STRAP_CUT})
_LANES: Final = {
    Lane.FIX: (LaneCode.FIX, Kind.FIX),
    Lane.EVENT: (LaneCode.EVENT, Kind.EVENT),
    Lane.STATUS: (LaneCode.STATUS, Kind.STATUS),
}
_AUTHENTICATED: Final = FrameFlag.AUTHENTICATED
_HEADING_MAX: Final = 35_999
_BATTERY_MAX: Final = 100


class Device:
    """A registered device with its key at hand."""

    __slots__ = ("record", "tagger")

    def __init__(self, record: DeviceRecord) -> None:
        self.record = record
        self.tagger = Tagger(record.device_id, record.key) if record.key else None


class Accept(NamedTuple):
    """To be journalled.

    `tag` names the frame for `Checker.stored`; empty = copies are not looked for.

    `device` is who is to be told that (`boot`, `sequence`) is durable; None = nobody.
    """

    record: FrameRecord
    partition: str
    tag: bytes
    device: Device | None
    boot: int
    sequence: int
    reason: Reason | None = None  # an unproven alarm is quarantined too, for this reason
    detail: str = ""


class Copy(NamedTuple):
    """Stored before, by this intake: acknowledged again and not journalled again."""

    device: Device | None
    boot: int
    sequence: int


class Refuse(NamedTuple):
    """To be quarantined.

    A proven frame (`device` is set) is told to the device as done with: sending it again helps
    nobody.
    """

    reason: Reason
    detail: str
    device: Device | None = None
    boot: int = 0
    sequence: int = 0
    clock_fault: bool = False  # the device's clock is wrong


class Ignore(NamedTuple):
    """Valid, and nothing that we want."""

    why: str


Outcome = Accept | Copy | Refuse | Ignore


class RecentTags:
    """The frames stored last, by their tags, in two generations.

    At least `capacity`, at most twice as many.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def add(self, tag: bytes, now_ms: int) -> None:
        """Note a frame as stored."""
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young[tag] = now_ms

    def when(self, tag: bytes) -> int | None:
        """Return when a frame was stored, None when it is not known."""
        found = self._young.get(tag)
        return self._old.get(tag) if found is None else found


class Bound:
    """At most `per_name` of one name and `total` altogether in a window of `UNPROVEN_WINDOW_MS`."""

    def __init__(self, per_name: int, total: int) -> None:
        self._per_name = per_name
        self._total = total
        self._window = -1
        self._counts: dict[str, int] = {}
        self._sum = 0

    def allows(self, name: str, now_ms: int) -> bool:
        """Count one of `name` and tell whether it is within the bound."""
        window = now_ms // UNPROVEN_WINDOW_MS
        if window != self._window:
            self._window, self._sum = window, 0
            self._counts.clear()
        count = self._counts.get(name, 0)
        if count >= self._per_name or self._sum >= self._total:
            return False
        if count == 0 and len(self._counts) >= UNPROVEN_DEVICES_MAX:
            return False
        self._counts[name] = count + 1
        self._sum += 1
        return True


class Checker:
    """Checks messages.

    `find` gives the record of a device id; a changed record is another object.
    """

    def __init__(
        self,
        find: Callable[[str], DeviceRecord | None],
        *,
        default_partition: str,
        clock_ahead_ms_max: int = CLOCK_AHEAD_MS_MAX,
        replay_after_ms: int = REPLAY_AFTER_MS,
    ) -> None:
        self._find = find
        self._default_partition = default_partition
        self._clock_ahead_ms_max = clock_ahead_ms_max
        self._replay_after_ms = replay_after_ms
        self._devices: dict[str, Device] = {}
        self._seen = RecentTags(SEEN_FRAMES_MAX)
        # Devices that we know have a bound of their own, so that a flood of invented names cannot
        # use it up.
        self._unproven_known = Bound(UNPROVEN_PER_DEVICE_MAX, UNPROVEN_PER_KIND_MAX)
        self._unproven_unknown = Bound(UNPROVEN_PER_DEVICE_MAX, UNPROVEN_PER_KIND_MAX)

    def stored(self, tag: bytes, now_ms: int) -> None:
        """Note that the frame with this tag is durable."""
        if tag:
            self._seen.add(tag, now_ms)

    def check(self, message: Message) -> Outcome:
        """Return what to do with a message. Raises nothing for what stands in it."""
        if message.flaw:
            detail = f"{message.size} bytes" if message.size >= 0 else ""
            return Refuse(Reason(message.flaw), detail)
        try:
            device_id, lane = parse_topic(message.topic)
        except FrameError as error:
            return Refuse(reason_of(error.fault), error.detail)
        record = self._find(device_id)
        device = None if record is None else self._device(device_id, record)
        if lane is Lane.OWNTRACKS:
            return self._check_phone(message, device)
        return self._check_frame(message, device_id, lane, device)

    def _device(self, device_id: str, record: DeviceRecord) -> Device:
        device = self._devices.get(device_id)
        if device is None or device.record is not record:
            device = self._devices[device_id] = Device(record)
        return device

    # --- contract 1

    def _check_frame(
        self, message: Message, device_id: str, lane: Lane, device: Device | None
    ) -> Outcome:
        ours = _LANES.get(lane)
        if ours is None:
            return Refuse(Reason.WRONG_TOPIC, f"{lane.value} is the server's")
        code, kind = ours
        frame = message.payload
        try:
            header = read_header(frame)
        except FrameError as error:
            return Refuse(reason_of(error.fault), error.detail)
        if header.kind is not kind:
            return Refuse(Reason.WRONG_TOPIC, f"{header.kind.name} on {lane.value}")
        if device is None:
            return self._unproven(message, header, device_id, None, Reason.UNKNOWN_DEVICE)
        if device.tagger is None:
            return Refuse(Reason.WRONG_TOPIC, f"{device_id} is a phone")
        if not device.tagger.valid(frame):
            return self._unproven(message, header, device_id, device, Reason.BAD_TAG)
        if not device.record.enabled:
            return self._unproven(message, header, device_id, device, Reason.DISABLED_DEVICE)
        # The last will is the one frame that a device may send often in the same bytes: its
        # sequence is 0.
        tag = frame[-TAG_BYTES:] if header.sequence else b""
        return self._check_proven(message, header, code, device, tag)

    def _check_proven(
        self, message: Message, header: Header, code: LaneCode, device: Device, tag: bytes
    ) -> Outcome:
        boot, sequence = header.boot, header.sequence
        if tag:
            stored_ms = self._seen.when(tag)
            if stored_ms is not None:
                return self._copy(message, device, boot, sequence, stored_ms)
        flags = _AUTHENTICATED
        latest_ms = message.received_ms + self._clock_ahead_ms_max
        if code is LaneCode.FIX:
            fault = fix_fault(message.payload, header, latest_ms)
            if fault is not None:
                reason, detail, clock_fault = fault
                return Refuse(reason, detail, device, boot, sequence, clock_fault)
        elif not TIME_MS_MIN <= header.device_time_ms <= latest_ms:
            flags |= FrameFlag.CLOCK_FAULT
        if message.dup:
            flags |= FrameFlag.DUPLICATE_SUSPECT
        record = FrameRecord(
            device.record.handle, code, flags, message.received_ms, message.payload
        )
        return Accept(record, device.record.partition, tag, device, boot, sequence)

    def _copy(
        self, message: Message, device: Device, boot: int, sequence: int, stored_ms: int
    ) -> Outcome:
        age_ms = message.received_ms - stored_ms
        if age_ms > self._replay_after_ms and not message.dup:
            detail = f"boot {boot} sequence {sequence}, stored {age_ms} ms before"
            return Refuse(Reason.REPLAYED_SEQUENCE, detail, device, boot, sequence)
        return Copy(device, boot, sequence)

    def _unproven(
        self,
        message: Message,
        header: Header,
        device_id: str,
        device: Device | None,
        reason: Reason,
    ) -> Outcome:
        """Refuse, unless it is an alarm.

        A press that cannot be proven may still be somebody in need.
        """
        if header.kind is not Kind.EVENT or URGENT.isdisjoint(event_codes(message.payload, header)):
            return Refuse(reason, device_id)
        bound = self._unproven_unknown if device is None else self._unproven_known
        if not bound.allows(device_id, message.received_ms):
            return Refuse(Reason.UNAUTHENTICATED_FLOOD, f"{device_id}: {reason.value}")
        flags = FrameFlag.DUPLICATE_SUSPECT if message.dup else FrameFlag(0)
        latest_ms = message.received_ms + self._clock_ahead_ms_max
        if not TIME_MS_MIN <= header.device_time_ms <= latest_ms:
            flags |= FrameFlag.CLOCK_FAULT
        known = device is not None
        record = FrameRecord(
            device.record.handle if device is not None else 0,
            LaneCode.EVENT,
            flags,
            message.received_ms,
            message.payload,
            "" if known else device_id,
        )
        partition = device.record.partition if device is not None else self._default_partition
        return Accept(record, partition, b"", None, 0, 0, reason, device_id)

    # --- contract 2

    def _check_phone(self, message: Message, device: Device | None) -> Outcome:
        try:
            results = read_owntracks(message.payload)
        except FrameError as error:
            return Refuse(reason_of(error.fault), error.detail)
        fixes = [result for result in results if isinstance(result, OwnTracksFix)]
        if not fixes:
            return Ignore(str(getattr(results[0], "reason", "")))
        if device is None:
            return Refuse(Reason.UNKNOWN_DEVICE, message.topic)
        if device.record.contract is not Contract.OWNTRACKS:
            return Refuse(Reason.WRONG_TOPIC, f"{device.record.device_id} is no phone")
        if not device.record.enabled:
            return Refuse(Reason.DISABLED_DEVICE, device.record.device_id)
        latest_ms = message.received_ms + self._clock_ahead_ms_max
        ahead_ms = max(fix.time_ms for fix in fixes) - latest_ms
        if ahead_ms > 0:
            return Refuse(Reason.FUTURE_TIME, f"{ahead_ms} ms", device, clock_fault=True)
        # A phone numbers nothing and signs nothing; who it is, is the broker's word (its ACL). The
        # same bytes are a copy.
        tag = blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=16).digest()
        if self._seen.when(tag) is not None:
            return Copy(None, 0, 0)
        flags = _AUTHENTICATED
        if message.dup:
            flags |= FrameFlag.DUPLICATE_SUSPECT
        record = FrameRecord(
            device.record.handle, LaneCode.OWNTRACKS, flags, message.received_ms, message.payload
        )
        return Accept(record, device.record.partition, tag, None, 0, 0)


def _records(layout: Struct, frame: bytes, header: Header) -> list[tuple[Any, ...]]:
    size = header.record_bytes
    starts = range(HEADER_BYTES, HEADER_BYTES + header.count * size, size)
    return [layout.unpack_from(frame, start) for start in starts]


_EVENT: Final = struct_of(Kind.EVENT)
_FIX: Final = struct_of(Kind.FIX)


def event_codes(frame: bytes, header: Header) -> set[int]:
    """Return the codes in an event frame whose structure is sound."""
    return {record[1] for record in _records(_EVENT, frame, header)}


def fix_fault(frame: bytes, header: Header, latest_ms: int) -> tuple[Reason, str, bool] | None:
    """Return why a fix frame is refused (and whether the clock is at fault), None if it is not.

    The same rules as `firmware_contracts.batch.decode_batch`, for one frame, and the bound on the
    future.
    """
    sealed_ms = header.device_time_ms
    if not TIME_MS_MIN <= sealed_ms <= TIME_MS_MAX:
        return Reason.IMPOSSIBLE_VALUE, f"device time {sealed_ms}", True
    newest_ms = 0
    for index, fix in enumerate(_records(_FIX, frame, header)):
        offset_ms, lat_e7, lon_e7, accuracy_dm, _, heading, _, _, battery, _, _ = fix
        time_ms = sealed_ms + offset_ms
        if not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
            return Reason.IMPOSSIBLE_VALUE, f"record {index}: time {time_ms}", True
        newest_ms = max(newest_ms, time_ms)
        if (
            not LAT[0] <= lat_e7 <= LAT[1]
            or not LON[0] <= lon_e7 <= LON[1]
            or (lat_e7 == 0 and lon_e7 == 0)
            or accuracy_dm == 0
        ):
            detail = f"record {index}: position {lat_e7}, {lon_e7}, {accuracy_dm}"
            return Reason.IMPOSSIBLE_VALUE, detail, False
        if heading > _HEADING_MAX and heading != U16_UNKNOWN:
            return Reason.IMPOSSIBLE_VALUE, f"record {index}: heading {heading}", False
        if battery > _BATTERY_MAX and battery != U8_UNKNOWN:
            return Reason.IMPOSSIBLE_VALUE, f"record {index}: battery {battery}", False
    ahead_ms = max(newest_ms, sealed_ms) - latest_ms
    if ahead_ms > 0:
        return Reason.FUTURE_TIME, f"{ahead_ms} ms beyond what is allowed", True
    return None
