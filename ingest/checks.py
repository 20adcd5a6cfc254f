"""What to do with one message.

Pure, apart from the memory of what was stored, which is passed in by whoever stored it.

The order of the checks is part of their meaning. A tag is checked before a frame may count as a
copy of another, or a forger could shut a true frame out; whatever cannot be proven is refused,
except an alarm: a panic press, a duress code or a cut strap from an unknown device, or with a wrong
tag, goes into the journal marked as unproven, within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import count
from typing import Final, NamedTuple

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
    STATUS,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
    struct_of,
)
from firmware_contracts.teltonika import AvlPacket, event_of, newest_fix_ms, read_packet
from firmware_contracts.topics import Lane, parse_topic, tracker_topic
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
_TRACKER_LANES: Final = (Lane.TRACKER, Lane.TRACKER_EVENT)
_EM_LANES: Final = {lane.value: lane for lane in _LANES}
# As plain integers: an operation on an IntFlag costs as much as a check.
_AUTHENTICATED: Final = int(FrameFlag.AUTHENTICATED)
_CLOCK_FAULT: Final = int(FrameFlag.CLOCK_FAULT)
_DUPLICATE_SUSPECT: Final = int(FrameFlag.DUPLICATE_SUSPECT)
_LAT_MIN, _LAT_MAX = LAT
_LON_MIN, _LON_MAX = LON
HEADING_MAX: Final = 35_999
BATTERY_MAX: Final = 100
_SERIALS: Final = count(1)


class Device:
    """A registered device with its key at hand: `tagger`, by which it is also told its acks.

    `serial` is another one for every object: a changed record is another object.
    """

    __slots__ = (
        "_former",
        "device_id",
        "handle",
        "partition",
        "record",
        "serial",
        "successor",
        "tagger",
    )

    def __init__(self, record: DeviceRecord, key: bytes = b"") -> None:
        key = key or record.key
        self.record = record
        self.serial = next(_SERIALS)
        self.device_id = record.device_id
        self.handle = record.handle
        self.partition = record.partition
        self.tagger = Tagger(record.device_id, key) if key else None
        # The same device under the key that it was asked to take, and its key before this one.
        asked = record.next_key if key == record.key else b""
        self.successor: Device | None = Device(record, asked) if asked else None
        former = record.former_key
        self._former = Tagger(record.device_id, former) if former else None

    def proven(self, frame: bytes, header: Header, now_ms: int) -> Device | None:
        """Return the device under the key by which a frame is proven; None when it is not.

        The former key counts for what was sealed before the present one only, and for a while: who
        has got hold of it can make no new frame (FC-114).
        """
        if self.tagger is not None and self.tagger.valid(frame):
            return self
        successor = self.successor
        if successor is not None and successor.tagger is not None and successor.tagger.valid(frame):
            return successor
        record = self.record
        if (
            self._former is not None
            and now_ms < record.former_until_ms
            and (header.boot, header.sequence) < record.former_before
            and header.sequence
            and self._former.valid(frame)
        ):
            return self
        return None


class Receipt(NamedTuple):
    """What a tracker's bridge is told when a packet is durable: which packet it was."""

    topic: str
    payload: bytes


class Accept(NamedTuple):
    """To be journalled.

    `tag` is how copies of the frame are known (`Checker.seen`); empty = they are not looked for.

    `device` is who is to be told that (`boot`, `sequence`) is durable; None = nobody. `receipt` is
    what a device that numbers nothing is told instead.
    """

    record: FrameRecord
    partition: str
    tag: bytes
    device: Device | None
    boot: int
    sequence: int
    reason: Reason | None = None  # an unproven alarm is quarantined too, for this reason
    detail: str = ""
    receipt: Receipt | None = None


class Copy(NamedTuple):
    """Stored before, by this intake: acknowledged again and not journalled again."""

    device: Device | None
    boot: int
    sequence: int
    receipt: Receipt | None = None


class Waiting(NamedTuple):
    """Taken before by this intake and not durable yet.

    To be acknowledged together with the first.
    """

    mark: Mark


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
    receipt: Receipt | None = None


class Ignore(NamedTuple):
    """Valid, and nothing that we want."""

    why: str


Outcome = Accept | Copy | Waiting | Refuse | Ignore


class Mark:
    """When the frames that were taken together became durable.

    None = not yet, and `copies` wait for it too.
    """

    __slots__ = ("copies", "stored_ms")

    def __init__(self) -> None:
        self.stored_ms: int | None = None
        self.copies: list[Message] = []

    def stored(self, now_ms: int) -> None:
        """Note the moment, and forget the copies (the caller has them)."""
        self.stored_ms = now_ms
        self.copies = []


class RecentTags:
    """The frames taken last, by their tags, in two generations.

    At least `capacity`, at most twice as many.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: dict[bytes, Mark] = {}
        self._old: dict[bytes, Mark] = {}

    def add(self, tags: Iterable[bytes], mark: Mark) -> None:
        """Note frames as taken."""
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young.update(dict.fromkeys(tags, mark))

    def find(self, tag: bytes) -> Mark | None:
        """Return the mark of a frame, None when it is not known."""
        return self._young.get(tag) or self._old.get(tag)

    def knows_any(self, tags: Iterable[bytes]) -> bool:
        """Tell whether any of the frames is known."""
        return not (self._young.keys().isdisjoint(tags) and self._old.keys().isdisjoint(tags))


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
        self.clock_ahead_ms_max = clock_ahead_ms_max
        self._replay_after_ms = replay_after_ms
        self._devices: dict[str, Device] = {}
        # Devices heard under the key that they were asked to take: the first such boot, sequence.
        self.switched: dict[str, tuple[int, int]] = {}
        self.seen = RecentTags(SEEN_FRAMES_MAX)
        # Devices that we know have a bound of their own, so that a flood of invented names cannot
        # use it up.
        self._unproven_known = Bound(UNPROVEN_PER_DEVICE_MAX, UNPROVEN_PER_KIND_MAX)
        self._unproven_unknown = Bound(UNPROVEN_PER_DEVICE_MAX, UNPROVEN_PER_KIND_MAX)

    def device_of_fix(self, topic: str) -> Device | None:
        """Return the enabled device whose fix topic this is; None for every other topic."""
        levels = topic.split("/")
        if len(levels) != 3 or levels[0] != "em" or levels[2] != Lane.FIX:
            return None
        device = self._device(levels[1])
        return device if device is not None and device.record.enabled else None

    def check(self, message: Message) -> Outcome:
        """Return what to do with a message. Raises nothing for what stands in it."""
        if message.flaw:
            detail = f"{message.size} bytes" if message.size >= 0 else ""
            return Refuse(Reason(message.flaw), detail)
        # The topic of a registered device needs no more than taking apart; any other is read by the
        # contract's rules.
        levels = message.topic.split("/")
        if len(levels) == 3 and levels[0] == "em":
            lane, device = _EM_LANES.get(levels[2]), self._device(levels[1])
            if lane is not None and device is not None:
                return self._check_frame(message, levels[1], lane, device)
        try:
            device_id, lane = parse_topic(message.topic)
        except FrameError as error:
            return Refuse(reason_of(error.fault), error.detail)
        if lane is Lane.OWNTRACKS:
            return self._check_phone(message, self._device(device_id))
        if lane in _TRACKER_LANES:
            return self._check_tracker(message, device_id, self._device(device_id))
        return self._check_frame(message, device_id, lane, self._device(device_id))

    def _device(self, device_id: str) -> Device | None:
        record = self._find(device_id)
        if record is None:
            return None
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
            return self._unproven_frame(message, header, device_id, None, Reason.UNKNOWN_DEVICE)
        if device.tagger is None:
            return Refuse(Reason.WRONG_TOPIC, f"{device_id} is a phone or a tracker")
        proven = device.proven(frame, header, message.received_ms)
        if proven is None:
            return self._unproven_frame(message, header, device_id, device, Reason.BAD_TAG)
        if proven is device.successor:
            self.switched.setdefault(device_id, (header.boot, header.sequence))
        device = proven
        if not device.record.enabled:
            return self._unproven_frame(message, header, device_id, device, Reason.DISABLED_DEVICE)
        # The last will is the one frame that a device may send often in the same bytes: its
        # sequence is 0.
        tag = frame[-TAG_BYTES:] if header.sequence else b""
        return self._check_proven(message, header, code, device, tag)

    def _check_proven(
        self, message: Message, header: Header, code: LaneCode, device: Device, tag: bytes
    ) -> Outcome:
        boot, sequence = header.boot, header.sequence
        if tag:
            mark = self.seen.find(tag)
            if mark is not None:
                return self._copy(message, device, boot, sequence, mark)
        flags = _AUTHENTICATED
        latest_ms = message.received_ms + self.clock_ahead_ms_max
        if code is LaneCode.FIX:
            fault = fix_fault(message.payload, header, latest_ms)
            if fault is not None:
                reason, detail, clock_fault = fault
                return Refuse(reason, detail, device, boot, sequence, clock_fault)
        else:
            if code is LaneCode.STATUS and (fault_text := status_fault(message.payload, header)):
                return Refuse(Reason.IMPOSSIBLE_VALUE, fault_text, device, boot, sequence)
            if not TIME_MS_MIN <= header.device_time_ms <= latest_ms:
                flags |= _CLOCK_FAULT
        if message.dup:
            flags |= _DUPLICATE_SUSPECT
        record = FrameRecord(device.handle, code, flags, message.received_ms, message.payload)
        return Accept(record, device.partition, tag, device, boot, sequence)

    def _copy(
        self, message: Message, device: Device, boot: int, sequence: int, mark: Mark
    ) -> Outcome:
        if mark.stored_ms is None:
            return Waiting(mark)
        age_ms = message.received_ms - mark.stored_ms
        if age_ms > self._replay_after_ms and not message.dup:
            detail = f"boot {boot} sequence {sequence}, stored {age_ms} ms before"
            return Refuse(Reason.REPLAYED_SEQUENCE, detail, device, boot, sequence)
        return Copy(device, boot, sequence)

    def _unproven_frame(
        self,
        message: Message,
        header: Header,
        device_id: str,
        device: Device | None,
        reason: Reason,
    ) -> Outcome:
        """Refuse, unless it is an alarm."""
        if header.kind is not Kind.EVENT or URGENT.isdisjoint(event_codes(message.payload, header)):
            return Refuse(reason, device_id)
        latest_ms = message.received_ms + self.clock_ahead_ms_max
        wrong_clock = not TIME_MS_MIN <= header.device_time_ms <= latest_ms
        return self._unproven(
            message, LaneCode.EVENT, device_id, device, reason, wrong_clock=wrong_clock
        )

    def _unproven(
        self,
        message: Message,
        lane: LaneCode,
        device_id: str,
        device: Device | None,
        reason: Reason,
        *,
        wrong_clock: bool,
    ) -> Outcome:
        """Take an alarm, within bounds: who cannot prove a press may still be in need."""
        bound = self._unproven_unknown if device is None else self._unproven_known
        if not bound.allows(device_id, message.received_ms):
            return Refuse(Reason.UNAUTHENTICATED_FLOOD, f"{device_id}: {reason.value}")
        flags = _DUPLICATE_SUSPECT if message.dup else 0
        flags |= _CLOCK_FAULT if wrong_clock else 0
        known = device is not None
        record = FrameRecord(
            device.handle if device is not None else 0,
            lane,
            flags,
            message.received_ms,
            message.payload,
            "" if known else device_id,
        )
        partition = device.partition if device is not None else self._default_partition
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
        latest_ms = message.received_ms + self.clock_ahead_ms_max
        ahead_ms = max(fix.time_ms for fix in fixes) - latest_ms
        if ahead_ms > 0:
            return Refuse(Reason.FUTURE_TIME, f"{ahead_ms} ms", device, clock_fault=True)
        # A phone numbers nothing and signs nothing; who it is, is the broker's word (its ACL). The
        # same bytes are a copy.
        tag = blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=16).digest()
        mark = self.seen.find(tag)
        if mark is not None:
            return Waiting(mark) if mark.stored_ms is None else Copy(None, 0, 0)
        flags = _AUTHENTICATED
        if message.dup:
            flags |= _DUPLICATE_SUSPECT
        record = FrameRecord(
            device.handle, LaneCode.OWNTRACKS, flags, message.received_ms, message.payload
        )
        return Accept(record, device.partition, tag, None, 0, 0)

    # --- contract 3

    def _check_tracker(self, message: Message, imei: str, device: Device | None) -> Outcome:
        try:
            packet = read_packet(message.payload)
        except FrameError as error:
            return Refuse(reason_of(error.fault), error.detail)
        newest_ms = newest_fix_ms(packet)
        ahead_ms = (newest_ms or 0) - message.received_ms - self.clock_ahead_ms_max
        codes = tracker_events(packet)
        if device is None or not device.record.enabled:
            reason = Reason.UNKNOWN_DEVICE if device is None else Reason.DISABLED_DEVICE
            if URGENT.isdisjoint(codes):
                return Refuse(reason, imei)
            lane = LaneCode.TELTONIKA
            return self._unproven(message, lane, imei, device, reason, wrong_clock=ahead_ms > 0)
        if device.record.contract is not Contract.TELTONIKA:
            return Refuse(Reason.WRONG_TOPIC, f"{imei} is no tracker")
        tag = packet_tag(imei, message.payload)
        receipt = Receipt(tracker_topic(imei, Lane.TRACKER_ACK), tag)
        if ahead_ms > 0 and not codes:
            detail = f"{ahead_ms} ms beyond what is allowed"
            return Refuse(Reason.FUTURE_TIME, detail, device, clock_fault=True, receipt=receipt)
        mark = self.seen.find(tag)
        if mark is not None:
            return Waiting(mark) if mark.stored_ms is None else Copy(None, 0, 0, receipt)
        # Who it is, is the word of the bridge, which alone may write here (the broker's ACL).
        flags = _AUTHENTICATED
        flags |= _CLOCK_FAULT if ahead_ms > 0 else 0
        flags |= _DUPLICATE_SUSPECT if message.dup else 0
        record = FrameRecord(
            device.handle, LaneCode.TELTONIKA, flags, message.received_ms, message.payload
        )
        return Accept(record, device.partition, tag, None, 0, 0, receipt=receipt)


def packet_tag(imei: str, payload: bytes) -> bytes:
    """Return what a packet of a tracker is known by; its receipt holds it."""
    return blake2b(imei.encode() + b"\0" + payload, digest_size=16).digest()


def tracker_events(packet: AvlPacket) -> set[int]:
    """Return the codes of the events in a packet."""
    return {event[0] for record in packet.records if (event := event_of(record)) is not None}


_EVENT: Final = struct_of(Kind.EVENT)
_FIX: Final = struct_of(Kind.FIX)
_STATUS_BATTERY: Final = STATUS.offset_of("battery_pct")


def event_codes(frame: bytes, header: Header) -> set[int]:
    """Return the codes in an event frame whose structure is sound."""
    size = header.record_bytes
    starts = range(HEADER_BYTES, HEADER_BYTES + header.count * size, size)
    return {_EVENT.unpack_from(frame, start)[1] for start in starts}


def status_fault(frame: bytes, header: Header) -> str:
    """Return what is impossible in a status frame (FC-043), empty when nothing is."""
    first, size = HEADER_BYTES + _STATUS_BATTERY, header.record_bytes
    for battery in frame[first : HEADER_BYTES + header.count * size : size]:
        if BATTERY_MAX < battery < U8_UNKNOWN:
            return f"battery {battery}"
    return ""


def fix_fault(frame: bytes, header: Header, latest_ms: int) -> tuple[Reason, str, bool] | None:
    """Return why a fix frame is refused (and whether the clock is at fault), None if it is not.

    The same rules as `firmware_contracts.batch.decode_batch`, for one frame, and the bound on the
    future.
    """
    sealed_ms = header.device_time_ms
    if not TIME_MS_MIN <= sealed_ms <= TIME_MS_MAX:
        return Reason.IMPOSSIBLE_VALUE, f"device time {sealed_ms}", True
    newest_ms = sealed_ms
    unpack, size = _FIX.unpack_from, header.record_bytes
    for start in range(HEADER_BYTES, HEADER_BYTES + header.count * size, size):
        offset_ms, lat_e7, lon_e7, accuracy_dm, _, heading, _, _, battery, _, _ = unpack(
            frame, start
        )
        if offset_ms:
            time_ms = sealed_ms + offset_ms
            if not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
                return Reason.IMPOSSIBLE_VALUE, f"time {time_ms}", True
            newest_ms = max(newest_ms, time_ms)
        if (
            not _LAT_MIN <= lat_e7 <= _LAT_MAX
            or not _LON_MIN <= lon_e7 <= _LON_MAX
            or (lat_e7 == 0 and lon_e7 == 0)
            or accuracy_dm == 0
        ):
            return Reason.IMPOSSIBLE_VALUE, f"position {lat_e7}, {lon_e7}, {accuracy_dm}", False
        if heading > HEADING_MAX and heading != U16_UNKNOWN:
            return Reason.IMPOSSIBLE_VALUE, f"heading {heading}", False
        if battery > BATTERY_MAX and battery != U8_UNKNOWN:
            return Reason.IMPOSSIBLE_VALUE, f"battery {battery}", False
    ahead_ms = newest_ms - latest_ms
    if ahead_ms > 0:
        return Reason.FUTURE_TIME, f"{ahead_ms} ms beyond what is allowed", True
    return None
