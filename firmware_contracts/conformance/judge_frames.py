"""Judges of single frames, of numbers and of time."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from firmware_contracts.codes import (
    EventCode,
    FixFlag,
    FrameFlag,
    Kind,
    StatusFlag,
    StatusReason,
)
from firmware_contracts.conformance.case import Case, Finding, Findings
from firmware_contracts.conformance.frames import Frame
from firmware_contracts.conformance.log import Stimulus
from firmware_contracts.faults import Fault
from firmware_contracts.frames import FRAME_BYTES_MIN
from firmware_contracts.table import (
    HEADER_BYTES,
    HEADER_STRUCT,
    LAT,
    LON,
    RECORDS,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U8_UNKNOWN,
    U16_UNKNOWN,
)
from firmware_contracts.topics import KIND_OF_LANE, Lane

_BY_FAULT: Final[dict[Fault, str]] = {
    Fault.TRUNCATED: "FC-001",
    Fault.OVERSIZED: "FC-007",
    Fault.BAD_MAGIC: "FC-003",
    Fault.UNKNOWN_VERSION: "FC-004",
    Fault.UNKNOWN_KIND: "FC-008",
    Fault.WRONG_DIRECTION: "FC-009",
    Fault.BAD_COUNT: "FC-007",
    Fault.BAD_LENGTH: "FC-001",
}
_KIND_OF_BRANCH: Final = {
    lane.value: kind
    for lane, kind in KIND_OF_LANE.items()
    if lane in (Lane.FIX, Lane.EVENT, Lane.STATUS)
}
HEADING_MAX: Final = 35_999
BATTERY_MAX: Final = 100


def structure(case: Case) -> Findings:
    """FC-001 to FC-010: every message on the device's topics is a sound frame."""
    for frame in case.frames:
        if frame.error is not None:
            yield Finding(_broken_rule(frame), False, frame.item, str(frame.error))
            continue
        for sentence in ("FC-001", "FC-007", "FC-009"):
            yield Finding(sentence, True, frame.item, "a sound frame")
        assert frame.header is not None
        spare = frame.reserved or frame.header.flags & ~int(FrameFlag.FROM_SERVER)
        spare = spare or any(record.get("reserved", 0) for record in frame.records)
        spare = spare or _spare_bits(frame)
        yield Finding("FC-010", not spare, frame.item, "reserved fields and unassigned bits")


def _spare_bits(frame: Frame) -> int:
    name, known = {
        Kind.FIX: ("fix_flags", sum(FixFlag)),
        Kind.STATUS: ("status_flags", sum(StatusFlag)),
    }.get(frame.kind or Kind.EVENT, ("", 0))
    spare = 0
    for record in frame.records:
        spare |= record.get(name, 0) & ~known
    return spare


def _broken_rule(frame: Frame) -> str:
    """The sentence that a message breaks that is no frame."""
    assert frame.error is not None
    payload, fault = frame.item.payload, frame.error.fault
    if fault is Fault.BAD_LENGTH and len(payload) >= FRAME_BYTES_MIN:
        record_bytes, count = HEADER_STRUCT.unpack_from(payload)[5:7]
        kind = Kind(payload[4])
        if record_bytes != RECORDS[kind].bytes and len(payload) > HEADER_BYTES + count:
            return "FC-006"
    return _BY_FAULT[fault]


def tags(case: Case) -> Findings:
    """FC-020: every frame has its device's tag."""
    for frame in case.frames:
        if frame.header is not None:
            why = "its tag" if frame.tag_valid else "not the tag of this device and key"
            yield Finding("FC-020", frame.tag_valid, frame.item, why)


def topics(case: Case) -> Findings:
    """FC-050: the topic of its kind, QoS 1, not retained."""
    for frame in case.frames:
        item = frame.item
        if frame.branch not in _KIND_OF_BRANCH:
            yield Finding("FC-050", False, item, "no topic of a device")
        elif frame.kind is not None and _KIND_OF_BRANCH[frame.branch] is not frame.kind:
            yield Finding("FC-050", False, item, f"{frame.kind.name} on {frame.branch}")
        elif item.qos != 1 or item.retained:
            yield Finding("FC-050", False, item, f"QoS {item.qos}, retained: {item.retained}")
        else:
            yield Finding("FC-050", True, item, "QoS 1, not retained, on the topic of its kind")


def boots(case: Case) -> Findings:
    """FC-030: the boot counter is larger after every restart."""
    restarts = case.stimuli(Stimulus.BOOT)
    for did in restarts:
        end_ms = min((one.at_ms for one in restarts if one.at_ms > did.at_ms), default=case.end_ms)
        before = [frame.key[0] for frame in case.first if frame.at_ms < did.at_ms]
        sealed = [frame for frame in case.first if did.at_ms < frame.at_ms <= end_ms]
        if before and sealed:
            # What was sealed before the restart may be heard first.
            newest = max(sealed, key=lambda frame: frame.key[0])
            why = f"boot {newest.key[0]} after {max(before)}"
            yield Finding("FC-030", newest.key[0] > max(before), newest.item, why)


def sequences(case: Case) -> Findings:
    """FC-031: from 1, by one, and a frame sent again is the same bytes."""
    known: dict[tuple[int, int], Frame] = {}
    for frame in case.first:
        other = known.setdefault(frame.key, frame)
        if other is not frame:
            yield Finding("FC-031", False, frame.item, f"{frame.key} once more, with other bytes")
    for frames in case.sent.values():
        for frame in frames[1:]:
            same = frame.item.payload == frames[0].item.payload
            why = "the same bytes" if same else f"what was {frames[0].key} is now {frame.key}"
            yield Finding("FC-031", same, frame.item, f"sent again: {why}")
    for boot in dict.fromkeys(frame.key[0] for frame in case.first):
        mine = [frame for frame in case.first if frame.key[0] == boot]
        yield from _numbers_of_boot(case, sorted(mine, key=lambda frame: frame.key))


def _numbers_of_boot(case: Case, mine: list[Frame]) -> Findings:
    if any(code == EventCode.MEMORY_FULL for frame in mine for code, _ in frame.events()):
        return  # some were dropped, and it was said
    began_ms = min(frame.at_ms for frame in mine)
    if any(did.at_ms < began_ms for did in case.stimuli(Stimulus.BOOT)):
        first = mine[0].key[1]
        yield Finding("FC-031", first == 1, mine[0].item, f"the first of its boot: {first}")
    for before, after in pairwise(mine):
        # What was sealed without a link may have had to go; within one connection nothing has.
        assert before.header is not None
        sealed_ms = min(before.header.device_time_ms, before.at_ms)
        if sealed_ms and case.undisturbed(sealed_ms, max(before.at_ms, after.at_ms)):
            why = f"{after.key[1]} after {before.key[1]}"
            yield Finding("FC-031", after.key[1] - before.key[1] <= 1, after.item, why)


def wills(case: Case) -> Findings:
    """FC-032, FC-052: sequence 0 is the last will's, and the last will is sent."""
    for frame in case.frames:
        if frame.header is None or not frame.tag_valid:
            continue
        will = frame.kind is Kind.STATUS and any(
            record["reason"] == StatusReason.LAST_WILL for record in frame.records
        )
        if frame.header.sequence == 0:
            yield Finding("FC-032", frame.kind is Kind.STATUS, frame.item, "sequence 0")
            if frame.kind is Kind.STATUS:
                yield Finding("FC-052", will, frame.item, "the frame with sequence 0")
        elif will:
            yield Finding("FC-052", False, frame.item, f"a last will of {frame.key}")
    for did in case.stimuli(Stimulus.LINK_CUT):
        up = [one.at_ms for one in case.stimuli(Stimulus.LINK_UP) if one.at_ms > did.at_ms]
        end_ms = min(up, default=case.end_ms)
        told = [frame for frame in case.frames if did.at_ms <= frame.at_ms <= end_ms]
        if not any(frame.key[1] == 0 and frame.tag_valid for frame in told):
            yield Finding("FC-052", False, did, "the connection broke and no last will came")


def clocks(case: Case) -> Findings:
    """FC-033: the time at which a frame was sealed, or 0 while the clock is not set."""
    slack_ms = round(case.patience.clock_s * 1000)
    for frame in case.first:
        assert frame.header is not None
        sealed_ms, at_ms = frame.header.device_time_ms, frame.at_ms
        if sealed_ms > at_ms + slack_ms:
            why = f"{sealed_ms - at_ms} ms ahead"
            yield Finding("FC-033", False, frame.item, why)
            continue
        unset = not case.clock_set(at_ms)
        if unset and frame.kind is Kind.EVENT and sealed_ms and _fresh(case, frame):
            why = "a time although the clock is not set"
            yield Finding("FC-033", False, frame.item, why)
        elif not unset and sealed_ms and frame.kind is Kind.EVENT and _fresh(case, frame):
            right = at_ms - sealed_ms <= slack_ms
            why = f"{at_ms - sealed_ms} ms ago"
            yield Finding("FC-033", right, frame.item, why)
        elif unset and not sealed_ms:
            yield Finding("FC-033", True, frame.item, "0 while the clock is not set")


def _fresh(case: Case, frame: Frame) -> bool:
    """Whether a frame was sealed about when it was heard: its device was linked all the time."""
    since_ms = frame.at_ms - round(case.patience.quiet_s * 1000)
    recent = case.stimuli(Stimulus.LINK_UP, Stimulus.BOOT, Stimulus.CLOCK_SET, Stimulus.CLOCK_UNSET)
    return case.linked(frame.at_ms) and not any(
        since_ms <= did.at_ms <= frame.at_ms
        for did in recent
        if did.what is not Stimulus.CLOCK_UNSET
    )


def values(case: Case) -> Findings:
    """FC-035, FC-040 to FC-043: no fix that a reader must refuse."""
    for frame in case.first:
        if frame.kind is not Kind.FIX or frame.header is None:
            continue
        sealed_ms = frame.header.device_time_ms
        for record in frame.records:
            time_ms = sealed_ms + record["time_offset_ms"]
            plausible = all(TIME_MS_MIN <= one <= TIME_MS_MAX for one in (sealed_ms, time_ms))
            lat, lon = record["lat_e7"], record["lon_e7"]
            on_earth = LAT[0] <= lat <= LAT[1] and LON[0] <= lon <= LON[1]
            heading, battery = record["heading_cdeg"], record["battery_pct"]
            sound = heading <= HEADING_MAX or heading == U16_UNKNOWN
            sound = sound and (battery <= BATTERY_MAX or battery == U8_UNKNOWN)
            yield Finding("FC-035", plausible, frame.item, f"time {time_ms}")
            yield Finding("FC-040", on_earth, frame.item, f"{lat}, {lon}")
            yield Finding("FC-041", bool(lat or lon), frame.item, f"{lat}, {lon}")
            yield Finding(
                "FC-042", record["accuracy_dm"] > 0, frame.item, f"{record['accuracy_dm']} dm"
            )
            yield Finding("FC-043", sound, frame.item, f"heading {heading}, charge {battery}")


FRAMES: Final[tuple[Callable[[Case], Findings], ...]] = (
    structure, tags, topics, boots, sequences, wills, clocks, values,
)  # fmt: skip
