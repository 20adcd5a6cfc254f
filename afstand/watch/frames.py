"""From the frames of a journal entry to fixes and events, each once.

The tags were checked at the intake, and what it found stands in the flags. Copies are dropped here
and only here, because only the journal knows all of them. Nothing raises for what stands in a
frame.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.commands import DefineDevice
from afstand.limits import EVENT_TAGS_KEPT
from afstand.watch.kernels import note_in_order
from afstand.watch.seen import Run, Seen
from alerting.book.types import DeviceEvent, EventKind, Position, Role
from firmware_contracts.batch import DecodedBatch, DecodedEvents, DecodedFixes, decode_batch
from firmware_contracts.codes import TAG_BYTES, EventCode
from firmware_contracts.owntracks import owntracks_to_columns
from firmware_contracts.teltonika import teltonika_to_columns
from geofence.engine import FixBatch
from ingest.entries import FrameBatch, FrameFlag, LaneCode

Ints = npt.NDArray[np.int64]
NO_POSITION: Final = 65_535
_AUTHENTICATED: Final = int(FrameFlag.AUTHENTICATED)
_OWNTRACKS: Final = int(LaneCode.OWNTRACKS)
_TELTONIKA: Final = int(LaneCode.TELTONIKA)
_CLOCK_FAULT: Final = int(FrameFlag.CLOCK_FAULT)
_KIND_OF: Final = {int(code): EventKind(code.name.lower().replace("_", "-")) for code in EventCode}


class Inputs(NamedTuple):
    """What an entry's frames say. `handles` has the device handle of each row of `fixes`."""

    fixes: FixBatch
    handles: npt.NDArray[np.int64]
    events: list[DeviceEvent]
    received_ms: int
    notes: Counter[str]


def no_inputs() -> Inputs:
    """What an entry without frames says."""
    none = np.zeros(0, np.int64)
    return Inputs(FixBatch(*(none for _ in FixBatch._fields)), none, [], 0, Counter())


def join_inputs(parts: Sequence[Inputs]) -> Inputs:
    """Put what parts of an entry say together, in their order; at least one."""
    columns = zip(*(part.fixes for part in parts), strict=True)
    received = [part.received_ms for part in parts if part.received_ms]
    notes: Counter[str] = Counter()
    for part in parts:
        notes += part.notes
    return Inputs(
        FixBatch(*(np.concatenate(column) for column in columns)),
        np.concatenate([part.handles for part in parts]),
        [event for part in parts for event in part.events],
        min(received, default=0),
        notes,
    )


class Devices:
    """The registered devices as the journal defined them, and what was seen of each."""

    def __init__(self) -> None:
        self.known: dict[int, DefineDevice] = {}
        self.seen: dict[int, Seen] = {}
        self._presses: dict[int, dict[str, None]] = {}
        self.set_aside: dict[int, str] = {}
        self.changes = 0
        """Grows with every change of what a device is."""
        self._handles: dict[str, int] = {}
        self._person_row = np.full(1024, -1, np.int64)
        # Boot and last number of the run of each device that grows: `seen` knows the rest of it.
        self._boots = np.full(1024, -1, np.int64)
        self._last = np.full(1024, -1, np.int64)

    def define(self, device: DefineDevice, person_row: int) -> None:
        """Take a device into account.

        `person_row`: the engine's number of its person, -1 for none.
        """
        self.changes += 1
        self.known[device.handle] = device
        self._handles[device.device_id] = device.handle
        self.set_aside.pop(device.handle, None)
        if device.handle >= len(self._person_row):
            self._make_room(device.handle + 1)
        self._person_row[device.handle] = person_row if device.enabled else -1

    def _make_room(self, count: int) -> None:
        room = np.full(max(count - len(self._person_row), len(self._person_row)), -1, np.int64)
        first = len(self._person_row)
        self._person_row = np.concatenate((self._person_row, room))
        self._boots = np.concatenate((self._boots, room))
        self._last = np.concatenate((self._last, room))
        for handle, seen in self.seen.items():
            if first <= handle < len(self._last):
                self._boots[handle], self._last[handle] = seen.boot, seen.last

    def set_fixes_aside(self, handle: int, reason: str) -> None:
        """Believe no fix of this device any more; its events still count."""
        self.changes += 1
        self.set_aside[handle] = reason
        self._person_row[handle] = -1

    def find(self, device_id: str) -> DefineDevice | None:
        """Give the device with this id."""
        handle = self._handles.get(device_id)
        return None if handle is None else self.known[handle]

    def person_rows(self, handles: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The engine's number of the person of each device, -1 where its fixes do not count."""
        known = handles < len(self._person_row)
        rows = np.full(len(handles), -1, np.int64)
        rows[known] = self._person_row[handles[known]]
        return rows

    def is_new(self, handle: int, boot: int, sequence: int) -> bool:
        """Note an authenticated frame; False for a copy."""
        known = handle < len(self._last)
        seen = self.seen.get(handle)
        if seen is None:
            seen = self.seen[handle] = Seen(boot, sequence)
            new = True
        else:
            if known:
                seen.last = int(self._last[handle])
            new = seen.add(boot, sequence)
        if known:
            self._boots[handle], self._last[handle] = seen.boot, seen.last
        return new

    def note_all(
        self, handles: Ints, boots: Ints, sequences: Ints, wanted: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Note the wanted frames, in their order; False for each that is a copy."""
        fresh = np.ones(len(handles), np.bool_)
        at = 0
        while True:
            at = note_in_order(handles, boots, sequences, wanted, self._boots, self._last, at)
            if at == len(handles):
                return fresh
            fresh[at] = self.is_new(int(handles[at]), int(boots[at]), int(sequences[at]))
            at += 1

    def keep(self, handles: Iterable[int]) -> Callable[[], None]:
        """Return what makes these devices' frames as little seen as they are now."""
        handles = tuple(handles)
        seen = {one: self.seen[one].copy() for one in handles if one in self.seen}
        presses = {one: dict(self._presses[one]) for one in handles if one in self._presses}
        rows = [one for one in handles if one < len(self._last)]
        boots, last = self._boots[rows].copy(), self._last[rows].copy()

        def restore() -> None:
            for one in handles:
                self.seen.pop(one, None)
                self._presses.pop(one, None)
            self.seen |= seen
            self._presses |= presses
            self._boots[rows], self._last[rows] = boots, last

        return restore

    def is_new_event(self, handle: int, tag: str) -> bool:
        """Note an authenticated event frame by its tag; False for a copy.

        Not by its number: a device that lost its boot counter uses numbers again, and a press is
        dropped only when it is the very same bytes. Past the bound the oldest is forgotten.
        """
        known = self._presses.setdefault(handle, {})
        if tag in known:
            return False
        known[tag] = None
        if len(known) > EVENT_TAGS_KEPT:
            del known[next(iter(known))]
        return True

    def part(self, handles: Iterable[int]) -> "DumpedDevices":
        """These devices and what was seen of each, for another partition."""
        chosen = set(handles)
        dumped = msgspec.convert(self.dump(), DumpedDevices)
        return DumpedDevices(
            [one for one in dumped.known if one[0].handle in chosen],
            [one for one in dumped.seen if one[0] in chosen],
            [one for one in dumped.presses if one[0] in chosen],
            [one for one in dumped.set_aside if one[0] in chosen],
        )

    def forget(self, handles: Iterable[int]) -> None:
        """Know nothing of these devices any more."""
        self.changes += 1
        for handle in handles:
            device = self.known.pop(handle)
            self._handles.pop(device.device_id, None)
            for rows in (self.seen, self._presses, self.set_aside):
                rows.pop(handle, None)
            for column in (self._person_row, self._boots, self._last):
                column[handle] = -1

    def take(self, dumped: "DumpedDevices", row_of: Callable[[str], int | None]) -> None:
        """Go on with devices of another partition (`part`). `row_of`: the engine's person."""
        for device, _ in dumped.known:
            row = row_of(device.person_id) if device.person_id else None
            self.define(device, -1 if row is None else row)
        self._note(dumped)
        for handle, reason in dumped.set_aside:
            self.set_fixes_aside(handle, reason)

    def dump(self) -> list[object]:
        """All of it, in the order of definition."""
        for handle, seen in self.seen.items():
            if handle < len(self._last):
                seen.last = int(self._last[handle])
        return [
            [(device, int(self._person_row[handle])) for handle, device in self.known.items()],
            [(handle, seen.dump()) for handle, seen in self.seen.items()],
            [(handle, list(tags)) for handle, tags in self._presses.items()],
            list(self.set_aside.items()),
        ]

    @classmethod
    def load(cls, dumped: "DumpedDevices") -> "Devices":
        """The reverse of `dump`."""
        devices = cls()
        for device, row in dumped.known:
            devices.define(device, row)
            devices._person_row[device.handle] = row
        devices._note(dumped)
        devices.set_aside = dict(dumped.set_aside)
        return devices

    def _note(self, dumped: "DumpedDevices") -> None:
        for handle, runs in dumped.seen:
            seen = self.seen[handle] = Seen.load(runs)
            if handle < len(self._last):
                self._boots[handle], self._last[handle] = seen.boot, seen.last
        for handle, tags in dumped.presses:
            self._presses[handle] = dict.fromkeys(tags)


class DumpedDevices(msgspec.Struct, array_like=True):
    """The shape of `Devices.dump`."""

    known: list[tuple[DefineDevice, int]]
    seen: list[tuple[int, list[Run]]]
    presses: list[tuple[int, list[str]]]
    set_aside: list[tuple[int, str]]


def read_inputs(batch: FrameBatch, devices: Devices, now_ms: int) -> Inputs:
    """Decode all frames of an entry, drop the copies, name persons.

    Notes what was seen (`devices.seen`).
    """
    notes: Counter[str] = Counter()
    handles = batch.handles.astype(np.int64)
    proven = (batch.flags & _AUTHENTICATED) != 0
    phones = batch.lanes == _OWNTRACKS
    trackers = batch.lanes == _TELTONIKA
    em1 = np.flatnonzero(~(phones | trackers))
    decoded = decode_batch(batch.payload, batch.offsets[em1], batch.lengths[em1])
    fresh = _fresh(decoded, handles[em1], proven[em1], devices)
    for at in np.unique(decoded.events.frame).tolist() if len(decoded.events.frame) else ():
        index = int(em1[at])
        fresh[at] = not proven[index] or devices.is_new_event(
            int(handles[index]), _tag(batch, index)
        )
    # The intake reads what it journals, so a frame with a fault is one of a contract that this
    # program is too old for.
    sound = decoded.fault == 0
    notes["undecodable"] += len(sound) - int(np.count_nonzero(sound))
    notes["duplicate"] += int(np.count_nonzero(sound & ~fresh))
    events: list[DeviceEvent] = []
    if len(decoded.events.frame):
        events = _events(decoded.events, batch, em1, fresh, devices, now_ms)
    columns = _columns(decoded.fixes, handles[em1], fresh & proven[em1])
    if phones.any():
        columns = _with_phones(columns, batch, handles, np.flatnonzero(phones & proven), notes)
    if trackers.any():
        fixes, happened = _tracked(batch, np.flatnonzero(trackers), proven, devices, now_ms, notes)
        columns = _joined(columns, fixes)
        events += happened
    owner, rows = columns[0], devices.person_rows(columns[0])
    ours = rows >= 0
    counted = int(np.count_nonzero(ours))
    notes["fixes"] += counted
    notes["fixes-without-person"] += len(ours) - counted
    notes["events"] += len(events)
    if counted < len(ours):
        owner, rows = owner[ours], rows[ours]
        columns = tuple(column[ours] for column in columns)
    return Inputs(FixBatch(rows, *columns[1:]), owner, events, int(batch.received_ms.min()), notes)


def _tag(batch: FrameBatch, index: int) -> str:
    """The authentication tag of a frame: no two different frames of a device have the same.

    A tracker gives none: the digest of its packet.
    """
    if batch.lanes[index] == _TELTONIKA:
        return blake2b(batch.frame(index), digest_size=TAG_BYTES).hexdigest()
    return bytes(batch.frame(index)[-TAG_BYTES:]).hex()


def _fresh(
    decoded: DecodedBatch,
    handles: npt.NDArray[np.int64],
    proven: npt.NDArray[np.bool_],
    devices: Devices,
) -> npt.NDArray[np.bool_]:
    """Which frames count: sound, and not a copy.

    A forged frame is never noted, or it could shut out a true one.
    """
    boots, sequences = np.zeros(len(handles), np.int64), np.zeros(len(handles), np.int64)
    for records in (decoded.fixes, decoded.events, decoded.status):
        if len(records.frame):
            boots[records.frame] = records.boot
            sequences[records.frame] = records.sequence
    fresh: npt.NDArray[np.bool_] = decoded.fault == 0
    fresh &= devices.note_all(handles, boots, sequences, fresh & proven)
    return fresh


Columns = tuple[npt.NDArray[Any], ...]


def _columns(
    fixes: DecodedFixes, handles: npt.NDArray[np.int64], counts: npt.NDArray[np.bool_]
) -> Columns:
    """The handle of each fix and what the engine wants of it, for the frames that count."""
    columns = (
        handles[fixes.frame],
        fixes.time_ms,
        fixes.lat_e7,
        fixes.lon_e7,
        fixes.accuracy_dm,
        fixes.speed_cm_s,
        fixes.heading_cdeg,
        fixes.mechanism,
    )
    keep = counts[fixes.frame]
    return columns if keep.all() else tuple(column[keep] for column in columns)


def _with_phones(
    columns: Columns,
    batch: FrameBatch,
    handles: npt.NDArray[np.int64],
    phones: npt.NDArray[np.int64],
    notes: Counter[str],
) -> Columns:
    """Add the fixes of OwnTracks phones.

    A phone numbers nothing: the engine knows a copy of its fix by its time.
    """
    fixes, faults = owntracks_to_columns(
        batch.payload, batch.offsets[phones], batch.lengths[phones]
    )
    notes["undecodable"] += int(np.count_nonzero(faults))
    return _joined(columns, _columns(fixes, handles[phones], faults == 0))


def _joined(columns: Columns, theirs: Columns) -> Columns:
    return tuple(np.concatenate(both) for both in zip(columns, theirs, strict=True))


def _tracked(
    batch: FrameBatch,
    trackers: npt.NDArray[np.int64],
    proven: npt.NDArray[np.bool_],
    devices: Devices,
    now_ms: int,
    notes: Counter[str],
) -> tuple[Columns, list[DeviceEvent]]:
    """The fixes and events of Teltonika trackers.

    A tracker numbers nothing: a copy of a packet is known by its bytes. With a clock that is ahead
    the packet's events count, and its fixes do not.
    """
    tracked = teltonika_to_columns(batch.payload, batch.offsets[trackers], batch.lengths[trackers])
    sound = tracked.fault == 0
    notes["undecodable"] += len(sound) - int(np.count_nonzero(sound))
    fresh = sound.copy()
    for at in np.unique(tracked.events.frame).tolist():
        index = int(trackers[at])
        fresh[at] = not proven[index] or devices.is_new_event(
            int(batch.handles[index]), _tag(batch, index)
        )
    notes["duplicate"] += int(np.count_nonzero(sound & ~fresh))
    timely = (batch.flags[trackers] & _CLOCK_FAULT) == 0
    handles = batch.handles[trackers].astype(np.int64)
    fixes = _columns(tracked.fixes, handles, fresh & proven[trackers] & timely)
    return fixes, _events(tracked.events, batch, trackers, fresh, devices, now_ms)


def _events(
    events: DecodedEvents,
    batch: FrameBatch,
    em1: npt.NDArray[np.int64],
    fresh: npt.NDArray[np.bool_],
    devices: Devices,
    now_ms: int,
) -> list[DeviceEvent]:
    found = []
    for row, at in enumerate(events.frame.tolist()):
        kind = _KIND_OF.get(int(events.code[row]))
        if not fresh[at] or kind is None:
            continue
        index = int(em1[at])
        handle = int(batch.handles[index])
        device = devices.known.get(handle)
        name = device.device_id if device else batch.name(index) or f"handle-{handle}"
        accuracy = int(events.accuracy_dm[row])
        device_ms = int(events.time_ms[row])
        position = None
        if accuracy != NO_POSITION:
            position = Position(
                lat_e7=int(events.lat_e7[row]),
                lon_e7=int(events.lon_e7[row]),
                accuracy_mm=accuracy * 100,
                # A device without a clock says 0: its press is of now.
                time_ms=device_ms or now_ms,
                mechanism=int(events.mechanism[row]),
            )
        found.append(
            DeviceEvent(
                device_id=name,
                person_id=device.person_id if device else None,
                role=Role(device.role) if device else Role.UNKNOWN,
                kind=kind,
                at_ms=now_ms,
                device_ms=device_ms,
                authenticated=bool(batch.flags[index] & FrameFlag.AUTHENTICATED),
                position=position,
                key=(
                    f"{name}/{events.boot[row]}/{events.sequence[row]}/{events.record[row]}"
                    f"/{_tag(batch, index)[:8]}"
                ),
                value=int(events.value[row]),
            )
        )
        if batch.flags[index] & FrameFlag.CLOCK_FAULT and handle:
            found.append(
                msgspec.structs.replace(
                    found[-1], kind=EventKind.CLOCK_FAULT, key=f"{found[-1].key}/clock"
                )
            )
    return found
