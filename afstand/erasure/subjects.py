"""Whom the parts of archived entries are about, so that the archiver seals them for these persons.

Learned from the journal's definitions and the outbox's incidents, in their order. A frame is about
who carries the device; a record about the pair, or the wearer alone; a zone about whoever's order
names it, which may be said later, so it stands for itself (`zone:`) until it is asked.
"""

from collections.abc import Sequence
from typing import Final

from afstand.commands import (
    CaseErased,
    CommandError,
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
    MovePersons,
    ProposeOrder,
    TakeGroup,
    decode_command,
)
from afstand.erasure.retention import POSITIONS, RECORDS
from afstand.watch.envelope import EnvelopeError, decode_envelope
from alerting.book.types import DefineCase, IncidentRecord, Output, VerdictRecord
from geofence.orders import Order
from ingest.archive.keys import Subject
from ingest.archive.parts import HEADER_PARTS, handle_of
from ingest.columns import OUTPUTS, Item

ZONE: Final = "zone:"


class Subjects:
    """What is known so far. Pseudonyms only, in memory only."""

    def __init__(self) -> None:
        self._handles: dict[int, str] = {}
        self._devices: dict[str, str] = {}
        self._cases: dict[str, tuple[str, ...]] = {}
        self._incidents: dict[str, tuple[str, ...]] = {}
        self._orders: dict[str, tuple[str, ...]] = {}

    def learn(self, item: Item) -> None:
        """Take note of what an entry defines."""
        if item.kind == "command":
            command = _command(item.blob)
            match command:
                case DefineDevice(person_id=str() as person):
                    self._handles[command.handle] = person
                    self._devices[command.device_id] = person
                case DefineCase():
                    self._cases[command.case_id] = persons_of(command)
                    self._devices |= {one.device_id: one.person_id for one in command.devices}
                case DefineOrder():
                    self._orders[command.order.id] = order_persons(command.order)
        elif item.kind == OUTPUTS:
            for output in _outputs(item.blob):
                if isinstance(output, IncidentRecord):
                    persons = _some(output.wearer_id, output.protected_id)
                    if persons:
                        self._incidents[output.incident_id] = persons

    def subjects(self, item: Item, parts: Sequence[bytes]) -> Sequence[Subject | None]:
        """Return for each part whom it is about; None for nobody."""
        if item.kind == "frames" and len(parts) > HEADER_PARTS["frames"]:
            first = HEADER_PARTS["frames"]
            return [None] * first + [self._carrier(part) for part in parts[first:]]
        if item.kind == OUTPUTS and len(parts) > HEADER_PARTS[OUTPUTS]:
            outputs = _outputs(item.blob)
            if len(outputs) + HEADER_PARTS[OUTPUTS] == len(parts):
                return [None, *(_record(self._about(one)) for one in outputs)]
        if item.kind == "command" and (command := _command(item.blob)) is not None:
            if isinstance(command, TakeGroup):  # where everybody of the group was last
                return [Subject(POSITIONS, _some(*command.persons))]
            return [_record(self._commanded(command))]
        return [None] * len(parts)

    def _carrier(self, part: bytes) -> Subject | None:
        person = self._handles.get(handle_of(part))
        return None if person is None else Subject(POSITIONS, (person,))

    def _about(self, output: Output) -> tuple[str, ...]:
        if isinstance(output, VerdictRecord):
            return _some(output.verdict.wearer_id, output.verdict.protected_id)
        named = _some(getattr(output, "wearer_id", None), getattr(output, "protected_id", None))
        return named or self._referred(output)

    def _commanded(self, command: JournalCommand) -> tuple[str, ...]:
        match command:
            case DefinePerson():
                return (command.person_id,)
            case DefineDevice():
                return _some(command.person_id)
            case DefineZone():
                return (f"{ZONE}{command.zone.id}",)
            case DefineOrder() | ProposeOrder():
                return order_persons(command.order)
            case DefineCase():
                return persons_of(command)
            case MovePersons():
                return _some(*command.person_ids)
            case CaseErased():
                return ()  # what is left when the rest is gone
        return self._referred(command)

    def _referred(self, said: object) -> tuple[str, ...]:
        """By the incident, alarm, case, person, order or device that something names."""
        incident = getattr(said, "incident_id", None)
        alarm = getattr(said, "alarm_id", None) or ""
        found = self._incidents.get(incident or alarm.rpartition(".")[0])
        found = found or self._cases.get(getattr(said, "case_id", None) or "")
        found = found or _some(getattr(said, "person_id", None))
        found = found or self._orders.get(getattr(said, "order_id", None) or "")
        return found or _some(self._devices.get(getattr(said, "device_id", None) or ""))


def persons_of(case: DefineCase) -> tuple[str, ...]:
    """Return the persons of a case."""
    return _some(case.wearer_id, *case.protected_ids)


def order_persons(order: Order) -> tuple[str, ...]:
    """Return the persons that an order ties."""
    return _some(order.wearer_id, *order.protected_ids)


def _some(*names: str | None) -> tuple[str, ...]:
    return tuple(sorted({one for one in names if one}))


def _record(persons: tuple[str, ...]) -> Subject | None:
    return Subject(RECORDS, persons) if persons else None


def _command(blob: bytes) -> JournalCommand | None:
    try:
        return decode_command(blob)
    except CommandError:
        return None


def _outputs(blob: bytes) -> list[Output]:
    try:
        return decode_envelope(blob).outputs
    except EnvelopeError:
        return []
