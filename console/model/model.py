"""The read model: `(state, input) -> state` over outbox entries and journal facts.

It reads no clock and no store. The same streams give the same state, however they are cut; a dump
goes on where it was made. What it cannot read is counted, and hides nothing else.
"""

from collections import Counter
from typing import Any, Final

import msgspec

from afstand.limits import (
    CONSOLE_LOG_ENTRIES_MAX,
    CONSOLE_LOG_ENTRIES_PER_SUBJECT_MAX,
    CONSOLE_REFUSALS_MAX,
)
from alerting.book.types import AlarmRecord, CommandRecord, DeviceCommand, Observation, Rejected
from console.model.incidents import Incidents, about_device
from console.model.indicators import Answer, Load, Page
from console.model.inputs import (
    CaseGone,
    DeviceSaid,
    FactSeen,
    FramesSeen,
    ModelInput,
    OutboxEntry,
)
from console.model.positions import Positions
from console.model.rows import START, Entry, IncidentRow, Place
from console.model.world import World

MODEL_FORMAT: Final = 2


class ModelError(ValueError):
    """A dump that cannot be loaded."""


class Refusal(msgspec.Struct, frozen=True):
    """Something the watch did not take, at its place in the journal."""

    what: str
    ref: str
    reason: str
    detail: str

    @property
    def words(self) -> str:
        """For a person to read."""
        return f"{self.what} {self.ref}: {self.reason}: {self.detail}"


class _Going(msgspec.Struct, frozen=True):
    """An erasure that the watch has not said to have taken yet.

    `devices`: handle, id and until when a person who goes had it.
    """

    gone: CaseGone
    devices: list[tuple[int, str, int]]


class _Dump(msgspec.Struct, kw_only=True):
    format: int
    outbox_at: dict[str, Place]
    journal_at: dict[str, Place]
    rows: list[IncidentRow]
    closed: list[str]
    forgotten: int
    changed: dict[str, list[str]]
    world: World
    positions: dict[str, Any]
    pages: list[Page]
    answers: list[Answer]
    floods: list[tuple[int, int]]
    flood_since_ms: int | None
    logs: dict[str, list[Entry]]
    refusals: dict[str, Refusal]
    notes: dict[str, int]
    going: dict[str, dict[str, _Going]] = {}


class Model:
    """What the console knows of all partitions."""

    def __init__(self) -> None:
        self.incidents = Incidents()
        self.world = World()
        self.positions = Positions()
        self.load = Load()
        self.logs: dict[str, list[Entry]] = {}
        self.refusals: dict[str, Refusal] = {}
        self.outbox_at: dict[str, Place] = {}
        self.journal_at: dict[str, Place] = {}
        self.notes: Counter[str] = Counter()
        self.going: dict[str, dict[str, _Going]] = {}
        self._logged = 0

    def fold(self, said: ModelInput) -> list[IncidentRow]:
        """Take one input; gives the incidents that it changed, each once."""
        at = Place(said.ms, said.seq)
        match said:
            case OutboxEntry():
                if at <= self.outbox_at.get(said.partition, START):
                    return []
                self.outbox_at[said.partition] = at
                changed = self._outbox(said, at)
                self._settle(said.partition)
                return changed
            case FramesSeen():
                if self._passed(said.partition, at):
                    return []
                self._frames(said)
            case FactSeen():
                if self._passed(said.partition, at):
                    return []
                if isinstance(said.fact, CaseGone):
                    self._erase(said.partition, at, said.fact)
                    return []
                refusal = self.refusals.get(f"{said.partition}-{at}")
                why = None if refusal is None else refusal.words
                self.world.define(said.partition, at, said.fact, why)
        return []

    def skip(self, partition: str, at: Place) -> None:
        """An entry of the journal that says nothing to the console."""
        self.journal_at[partition] = max(at, self.journal_at.get(partition, START))

    def log_of(self, person_id: str) -> list[Entry]:
        """What was seen of a person and their devices lately, oldest first."""
        found = list(self.logs.get(f"person/{person_id}", ()))
        for device in self.world.devices_of(person_id):
            found += self.log_of_device(device.handle, device.device_id)
        found.sort(key=_order)
        return found

    def log_of_device(self, handle: int, device_id: str) -> list[Entry]:
        """What a device said and was asked lately, oldest first."""
        said = self.logs.get(f"handle/{handle}", ())
        found = [msgspec.structs.replace(entry, device_id=device_id) for entry in said]
        found += self.logs.get(f"device/{device_id}", ())
        found.sort(key=_order)
        return found

    def _passed(self, partition: str, at: Place) -> bool:
        if at <= self.journal_at.get(partition, START):
            return True
        self.journal_at[partition] = at
        return False

    # --- outbox -------------------------------------------------------------------------------

    def _outbox(self, entry: OutboxEntry, at: Place) -> list[IncidentRow]:
        self.notes["unreadable-outputs"] += entry.unreadable
        changed: dict[str, IncidentRow] = {}
        for index, output in enumerate(entry.outputs):
            if isinstance(output, Rejected):
                self._refused(entry.partition, at, output)
                continue
            paged_ms = self._paged_ms(output)
            row = self.incidents.fold(entry.partition, at, index, output)
            if row is not None:
                changed[row.incident_id] = row
                if isinstance(output, AlarmRecord) and not row.drill:
                    self.load.fold(output, row.alarms[output.alarm_id], paged_ms)
            elif isinstance(output, Observation | DeviceCommand | CommandRecord):
                self._observed(f"{entry.partition}-{at}-{index}", output)
        return list(changed.values())

    def _paged_ms(self, output: object) -> int | None:
        if not isinstance(output, AlarmRecord):
            return None
        row = self.incidents.rows.get(output.incident_id)
        alarm = row.alarms.get(output.alarm_id) if row else None
        return alarm.paged_ms if alarm else None

    def _refused(self, partition: str, at: Place, said: Rejected) -> None:
        refusal = Refusal(said.what, said.ref, said.reason.value, said.detail)
        self.refusals[f"{partition}-{at}"] = refusal
        if len(self.refusals) > CONSOLE_REFUSALS_MAX:
            del self.refusals[next(iter(self.refusals))]
        self.world.refuse(partition, at, refusal.words)

    def _observed(self, key: str, said: Observation | DeviceCommand | CommandRecord) -> None:
        """Something about a device or a person outside any incident."""
        entry = about_device(said, key)
        subject = f"device/{said.device_id}"
        if isinstance(said, Observation) and not said.device_id:
            person = said.person_id or said.wearer_id or said.protected_id
            if person is None:
                return
            subject = f"person/{person}"
        self._log(subject, entry)

    # --- journal ------------------------------------------------------------------------------

    def _frames(self, said: FramesSeen) -> None:
        if said.fixes is not None and len(said.fixes.handle):
            self.positions.fold(said.fixes, said.ms)
        for status in said.statuses:
            self.positions.status(status)
        for event in said.events:
            self._event(event)

    def _event(self, event: DeviceSaid) -> None:
        if not event.handle:
            return  # of no device of ours; what it leads to is in the outbox
        subject = f"handle/{event.handle}"
        if any(entry.key == event.key for entry in self.logs.get(subject, ())):
            return  # every intake journals every event: a copy
        self._log(
            subject,
            Entry(
                key=event.key,
                at_ms=event.at_ms,
                lane="device",
                what=event.kind,
                reason="" if event.authenticated else "unauthenticated",
            ),
        )

    def _log(self, subject: str, entry: Entry) -> None:
        # Who was heard of last stands last: those long silent go first when there are too many.
        entries = self.logs.pop(subject, [])
        self.logs[subject] = entries
        entries.append(entry)
        self._logged += 1
        if len(entries) > CONSOLE_LOG_ENTRIES_PER_SUBJECT_MAX:
            del entries[0]
            self._logged -= 1
        while self._logged > CONSOLE_LOG_ENTRIES_MAX:
            self._logged -= len(self.logs.pop(next(iter(self.logs))))
            self.notes["logs-forgotten"] += 1

    # --- erasure ------------------------------------------------------------------------------

    def _erase(self, partition: str, at: Place, gone: CaseGone) -> None:
        devices = []
        for handle, until_ms in self.world.had_by(gone.persons):
            self.positions.forget(handle, until_ms)
            device_id = self.world.devices[handle].device_id
            devices.append((handle, device_id, at.ms if until_ms is None else until_ms))
        self.going.setdefault(partition, {})[str(at)] = _Going(gone, devices)
        self._settle(partition)

    def _settle(self, partition: str) -> None:
        """Forget what the watch has forgotten, as soon as the outbox says that it did.

        So it is the same whichever stream is read first; what the watch refused stays.
        """
        waiting = self.going.get(partition, {})
        for place in list(waiting):
            at = Place.parse(place)
            if at > self.outbox_at.get(partition, START):
                continue
            going = waiting.pop(place)
            refusal = self.refusals.get(f"{partition}-{place}")
            if refusal is not None and refusal.what == "erasure":
                continue
            for person_id in going.gone.persons:
                self._unlog(f"person/{person_id}", at.ms)
            for handle, device_id, until_ms in going.devices:
                self._unlog(f"handle/{handle}", until_ms)
                self._unlog(f"device/{device_id}", until_ms)
            if going.gone.records:
                persons = frozenset(going.gone.persons)
                self.incidents.forget(partition, going.gone.case_id, persons, at.ms)
                self.world.forget(partition, at, going.gone)

    def _unlog(self, subject: str, until_ms: int) -> None:
        entries = self.logs.pop(subject, [])
        kept = [entry for entry in entries if entry.at_ms > until_ms]
        self._logged -= len(entries) - len(kept)
        if kept:
            self.logs[subject] = kept

    # --- dumps --------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """The whole state; `load` of it goes on where it was."""
        incidents = self.incidents
        return msgspec.msgpack.encode(
            _Dump(
                format=MODEL_FORMAT,
                outbox_at=self.outbox_at,
                journal_at=self.journal_at,
                rows=list(incidents.rows.values()),
                closed=list(incidents.closed),
                forgotten=incidents.forgotten,
                changed={partition: list(ids) for partition, ids in incidents.changed.items()},
                world=self.world,
                positions=self.positions.dump(),
                pages=list(self.load.pages),
                answers=list(self.load.answers),
                floods=list(self.load.floods),
                flood_since_ms=self.load.flood_since_ms,
                logs=self.logs,
                refusals=self.refusals,
                notes=dict(self.notes),
                going=self.going,
            )
        )

    @classmethod
    def load_dump(cls, raw: bytes) -> "Model":
        """The reverse of `dump`. Raises ModelError for another format or no dump at all."""
        try:
            version = msgspec.msgpack.decode(raw, type=_Version).format
            if version != MODEL_FORMAT:
                raise ModelError(f"read model of format {version}, this program has {MODEL_FORMAT}")
            dumped = msgspec.msgpack.decode(raw, type=_Dump)
            positions = Positions.load(dumped.positions)
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"not a read model: {error}") from None
        model = cls()
        model.incidents.rows = {row.incident_id: row for row in dumped.rows}
        model.incidents.closed = dict.fromkeys(dumped.closed)
        model.incidents.forgotten = dumped.forgotten
        model.incidents.changed = {p: dict.fromkeys(ids) for p, ids in dumped.changed.items()}
        model.world, model.positions = dumped.world, positions
        model.load.pages.extend(dumped.pages)
        model.load.answers.extend(dumped.answers)
        model.load.floods.extend(dumped.floods)
        model.load.flood_since_ms = dumped.flood_since_ms
        model.logs, model.refusals = dumped.logs, dumped.refusals
        model.outbox_at, model.journal_at = dumped.outbox_at, dumped.journal_at
        model.notes = Counter(dumped.notes)
        model.going = dumped.going
        model._logged = sum(len(entries) for entries in dumped.logs.values())
        return model


def _order(entry: Entry) -> tuple[int, str]:
    return entry.at_ms, entry.key


class _Version(msgspec.Struct):
    format: int
