"""From entries of journal and outbox to what the console's read model folds. Pure translation."""

from collections.abc import Sequence
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from afstand.commands import (
    CaseErased,
    CommandError,
    DecideOrder,
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    HandOverShift,
    JournalCommand,
    ProposeOrder,
    decode_command,
    define_zone,
)
from afstand.watch.envelope import ENVELOPE_FORMAT
from alerting.book.types import OUTPUT_FORMAT, DefineCase, DefinePlan, DefineRoster, Output
from console.model.inputs import (
    CaseGone,
    DeviceDefined,
    DeviceSaid,
    DeviceStatus,
    FactSeen,
    Fixes,
    FramesSeen,
    JournalFact,
    OrderDecided,
    OrderDefined,
    OrderProposed,
    OutboxEntry,
    PersonDefined,
    PlanDefined,
    RosterDefined,
    ShiftHandedOver,
    ZoneDefined,
)
from console.ports import SentCommand
from firmware_contracts.batch import DecodedEvents, DecodedFixes, DecodedStatus, decode_batch
from firmware_contracts.codes import EventCode
from firmware_contracts.owntracks import owntracks_to_columns
from geofence.compiled import CompiledZone
from geofence.orders import Zone
from ingest.entries import Entry, EntryError, EntryKind, FrameBatch, FrameFlag, LaneCode
from ingest.outbox import OutboxEntry as StreamEntry

_ENVELOPE: Final = msgspec.msgpack.Decoder(tuple[int, int, int, list[msgspec.Raw]])
_OUTPUT: Final[msgspec.msgpack.Decoder[Output]] = msgspec.msgpack.Decoder(Output)
_PROVEN: Final = int(FrameFlag.AUTHENTICATED)
_PHONE: Final = int(LaneCode.OWNTRACKS)
_Decoded = TypeVar("_Decoded", DecodedFixes, DecodedEvents, DecodedStatus)
_EVENT_NAMES: Final = {int(code): code.name.lower().replace("_", "-") for code in EventCode}


def outbox_input(partition: str, entry: StreamEntry) -> OutboxEntry:
    """Take an outbox entry apart by outputs, so that one that is not known hides no other."""
    outputs: list[Output] = []
    unreadable = 0
    try:
        envelope, output, _, raws = _ENVELOPE.decode(entry.blob)
        known = (envelope, output) == (ENVELOPE_FORMAT, OUTPUT_FORMAT)
    except msgspec.MsgspecError:
        raws, known = [], False
    if not known:
        return OutboxEntry(partition, *entry.id, [], unreadable=max(1, len(raws)))
    for raw in raws:
        try:
            outputs.append(_OUTPUT.decode(raw))
        except msgspec.MsgspecError:
            unreadable += 1
    return OutboxEntry(partition, *entry.id, outputs, unreadable)


def journal_input(
    partition: str, entry: Entry, handles: set[int] | None = None
) -> FramesSeen | FactSeen | None:
    """What a journal entry says to the console; None: nothing.

    `handles`: only the frames of these devices.
    """
    if entry.kind is EntryKind.FRAMES:
        return frames_input(partition, entry, handles)
    if entry.kind is EntryKind.COMMAND:
        try:
            fact = fact_of(decode_command(entry.blob))
        except CommandError:
            return None  # the watch says so in the outbox
        return None if fact is None else FactSeen(partition, *entry.id, fact)
    return None


def fact_of(command: JournalCommand) -> JournalFact | None:
    """The fact in a command; None for what operators do, which the outbox tells."""
    match command:
        case DefinePerson():
            return PersonDefined(command.person_id, command.role)
        case DefineDevice():
            return DeviceDefined(
                command.handle,
                command.device_id,
                command.person_id,
                command.role,
                command.enabled,
            )
        case DefineZone():
            return ZoneDefined(_drawn(command.zone, command.compiled))
        case DefineOrder():
            return OrderDefined(command.order)
        case DefinePlan():
            return PlanDefined(command.plan)
        case DefineRoster():
            return RosterDefined(command.roster)
        case DefineCase():
            return command
        case _:
            return _room_fact(command)


def _room_fact(command: JournalCommand) -> JournalFact | None:
    match command:
        case ProposeOrder():
            return OrderProposed(
                command.proposal_id,
                command.order,
                tuple(
                    _drawn(zone, compiled)
                    for zone, compiled in zip_longest(command.zones, command.compiled)
                ),
                command.by,
                command.reason,
            )
        case DecideOrder():
            return OrderDecided(command.proposal_id, command.by, command.approved, command.reason)
        case HandOverShift():
            return ShiftHandedOver(command.by, command.to, command.text, command.incidents)
        case CaseErased():
            return CaseGone(
                command.case_id,
                command.forget_case,
                command.persons,
                command.zones,
                command.orders,
            )
        case _:
            return None


def _drawn(zone: Zone, compiled: CompiledZone | None) -> Zone:
    """The zone with its geometry, which the journal holds once: in what was compiled."""
    if compiled is None or zone.geometry is not None or zone.circle is not None:
        return zone
    try:
        geometry = msgspec.json.decode(compiled.source, type=dict[str, Any])
    except msgspec.MsgspecError:
        return zone  # the watch refuses it
    return msgspec.structs.replace(zone, geometry=geometry)


def command_of(sent: SentCommand) -> JournalCommand:
    """The journal's command for what the console sends. Compiles zones: not for an event loop."""
    match sent:
        case OrderProposed():
            defined = [define_zone(zone) for zone in sent.zones]
            return ProposeOrder(
                proposal_id=sent.proposal_id,
                order=sent.order,
                zones=tuple(one.zone for one in defined),
                compiled=tuple(one.compiled for one in defined if one.compiled is not None),
                by=sent.by,
                reason=sent.reason,
            )
        case OrderDecided():
            return DecideOrder(
                proposal_id=sent.proposal_id,
                by=sent.by,
                approved=sent.approved,
                reason=sent.reason,
            )
        case ShiftHandedOver():
            return HandOverShift(by=sent.by, to=sent.to, text=sent.text, incidents=sent.incidents)
        case _:
            return sent


def journal_inputs(partition: str, entries: Sequence[Entry]) -> list[FramesSeen | FactSeen]:
    """What entries of a journal say to the console, each as `journal_input` gives it.

    Frames of entries that follow each other are decoded together: hundreds of small entries a
    second cost a decoder far more than what is in them.
    """
    found: list[FramesSeen | FactSeen] = []
    for kind, run in groupby(entries, attrgetter("kind")):
        if kind is EntryKind.FRAMES:
            found += frames_inputs(partition, list(run))
        else:
            said = (journal_input(partition, entry) for entry in run)
            found += [one for one in said if one is not None]
    return found


def frames_input(
    partition: str, entry: Entry, handles: set[int] | None = None
) -> FramesSeen | None:
    """The fixes, events and health in the frames of an entry; None when there are none.

    Fixes and health count from proven frames only, as in the watch. An entry that cannot be read
    says nothing here: the watch raises it.
    """
    return next(iter(frames_inputs(partition, [entry], handles)), None)


def frames_inputs(
    partition: str, entries: Sequence[Entry], handles: set[int] | None = None
) -> list[FramesSeen]:
    """The same of many entries; those that say nothing are left out."""
    read: list[tuple[Entry, FrameBatch, np.ndarray]] = []
    for entry in entries:
        try:
            batch = FrameBatch.read(entry.blob)
        except EntryError:
            continue
        wanted = np.ones(len(batch), np.bool_)
        if handles is not None:
            wanted = np.isin(batch.handles, np.fromiter(handles, np.int64, len(handles)))
        if wanted.any():
            read.append((entry, batch, wanted))
    if not read:
        return []
    em1 = [np.flatnonzero((batch.lanes != _PHONE) & wanted) for _, batch, wanted in read]
    starts = np.cumsum([0, *(len(batch.payload) for _, batch, _ in read)])
    offsets, lengths = [], []
    for (_, batch, _), rows, start in zip(read, em1, starts.tolist(), strict=False):
        offsets.append(batch.offsets[rows].astype(np.int64) + start)
        lengths.append(batch.lengths[rows])
    payload = b"".join(batch.payload for _, batch, _ in read)
    fixes, events, status, _ = decode_batch(
        payload, np.concatenate(offsets), np.concatenate(lengths)
    )
    first = np.cumsum([0, *map(len, em1)])
    found = []
    for index, ((entry, batch, wanted), rows) in enumerate(zip(read, em1, strict=True)):
        of_entry = first[index : index + 2]
        decoded = _cut(fixes, of_entry), _cut(events, of_entry), _cut(status, of_entry)
        said = _frames_seen(partition, entry, batch, wanted, rows, decoded)
        if said is not None:
            found.append(said)
    return found


def _cut(part: _Decoded, frames: np.ndarray) -> _Decoded:
    """The rows of some frames, which are counted from the first of them."""
    start, end = np.searchsorted(part.frame, frames)
    columns: list[Any] = [column[start:end] for column in part]
    columns[0] = columns[0] - frames[0]
    return type(part)(*columns)


def _frames_seen(
    partition: str,
    entry: Entry,
    batch: FrameBatch,
    wanted: np.ndarray,
    em1: np.ndarray,
    decoded: tuple[DecodedFixes, DecodedEvents, DecodedStatus],
) -> FramesSeen | None:
    fixes, said_events, said_status = decoded
    proven = (batch.flags & _PROVEN) != 0
    parts = []
    if len(fixes.frame):
        parts.append(_fixes(fixes, batch.handles[em1].astype(np.int64), proven[em1]))
    if len(em1) < len(batch):
        theirs = np.flatnonzero((batch.lanes == _PHONE) & proven & wanted)
        if len(theirs):
            told, faults = owntracks_to_columns(
                batch.payload, batch.offsets[theirs], batch.lengths[theirs]
            )
            parts.append(_fixes(told, batch.handles[theirs].astype(np.int64), faults == 0))
    events = _events(said_events, batch, em1, proven, entry.id.ms)
    statuses = _statuses(said_status, batch, em1, proven, entry.id.ms)
    joined = _joined(parts)
    if joined is None and not events and not statuses:
        return None
    return FramesSeen(partition, *entry.id, joined, events, statuses)


def _fixes(
    fixes: DecodedFixes, handles: np.ndarray, counts: np.ndarray
) -> Fixes:  # columns of any integer type
    keep = counts[fixes.frame]
    return Fixes(
        handles[fixes.frame][keep],
        fixes.time_ms[keep],
        fixes.lat_e7[keep],
        fixes.lon_e7[keep],
        fixes.accuracy_dm[keep],
        fixes.speed_cm_s[keep],
        fixes.heading_cdeg[keep],
        fixes.mechanism[keep],
        fixes.battery_pct[keep],
    )


def _joined(parts: list[Fixes]) -> Fixes | None:
    parts = [part for part in parts if len(part.handle)]
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    return Fixes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _events(
    events: DecodedEvents, batch: FrameBatch, em1: np.ndarray, proven: np.ndarray, at_ms: int
) -> list[DeviceSaid]:
    found = []
    for row, at in enumerate(events.frame.tolist()):
        kind = _EVENT_NAMES.get(int(events.code[row]))
        if kind is None:
            continue
        index = int(em1[at])
        handle = int(batch.handles[index])
        found.append(
            DeviceSaid(
                handle=handle,
                device_id=batch.name(index) if not handle else "",
                kind=kind,
                at_ms=at_ms,
                device_ms=int(events.time_ms[row]),
                authenticated=bool(proven[index]),
                value=int(events.value[row]),
                key=f"{handle}/{events.boot[row]}/{events.sequence[row]}/{events.record[row]}",
            )
        )
    return found


def _statuses(
    status: DecodedStatus, batch: FrameBatch, em1: np.ndarray, proven: np.ndarray, at_ms: int
) -> list[DeviceStatus]:
    return [
        DeviceStatus(
            int(batch.handles[em1[at]]),
            at_ms,
            int(status.battery_pct[row]),
            int(status.network[row]),
            int(status.firmware[row]),
            int(status.stored_frames[row]),
            int(status.interval_moving_s[row]),
        )
        for row, at in enumerate(status.frame.tolist())
        if proven[em1[at]]
    ]
