"""Incidents as the outbox tells them: the present state of each, and one merged timeline.

A record about an incident whose opening was never seen still makes a row: an alarm is never hidden
because its beginning is not known.
"""

import re
from collections.abc import Container
from typing import Final

from afstand.limits import (
    CONSOLE_CLOSED_INCIDENTS_MAX,
    CONSOLE_TIMELINE_ENTRIES_MAX,
    CONSOLE_TOLD_MAX,
)
from alerting.book.classes import PRIORITY_RANK
from alerting.book.types import (
    AlarmRecord,
    Audience,
    Change,
    CommandRecord,
    DeviceCommand,
    IncidentChange,
    IncidentRecord,
    IncidentState,
    Notice,
    Observation,
    Output,
)
from console.model.rows import AlarmRow, Closing, Entry, IncidentRow, Place, ToldRow

FIRST_KEPT: Final = 100

_PLAN: Final = (
    Change.STEP_STARTED,
    Change.STEP_MET,
    Change.STEP_MISSED,
    Change.STEP_PASSED,
    Change.FALLBACK_USED,
    Change.PLAN_ENDED,
    Change.LAST_RESORT,
)
_BY_ROOM: Final = ("operator", "closing-proposed")
"""Reasons of acknowledgements by people of the room; all others are receipts of receivers."""
_FULLEST: Final = (Audience.MONITORING_CENTRE, Audience.SHIFT_LEAD, Audience.POLICE)
"""Whose notices carry all fields."""


def lane_of(record: AlarmRecord) -> str:
    """Where a change of an alarm belongs in the timeline."""
    if record.change is Change.DELIVERY:
        return "delivery"
    if record.change in _PLAN:
        return "plan"
    if record.change in (Change.ACKNOWLEDGED, Change.ACKNOWLEDGEMENT_RENEWED):
        return "operator" if record.reason in _BY_ROOM else "delivery"
    return "operator" if record.by else "alarm"


OFFER: Final = re.compile(r"→ ([A-Za-z0-9._@-]{1,64}):")
"""A note that begins so offers the incident to somebody of the room: "→ bert: call her at ten"."""


def offer_note(to: str, text: str) -> str:
    """The note that offers an incident to `to`."""
    return f"→ {to}: {text}".strip()


class Incidents:
    """The incidents of all partitions."""

    def __init__(self) -> None:
        self.rows: dict[str, IncidentRow] = {}
        self.closed: dict[str, None] = {}
        self.forgotten = 0
        # Per partition, least recently changed first: what a reader that was away has missed.
        self.changed: dict[str, dict[str, None]] = {}

    def open_rows(self) -> list[IncidentRow]:
        """All open incidents, oldest first."""
        return [row for row in self.rows.values() if row.open]

    def since(self, partition: str, after: Place) -> list[IncidentRow]:
        """The incidents that changed after a place, in the order of their last change."""
        found: list[IncidentRow] = []
        for incident_id in reversed(self.changed.get(partition, {})):
            row = self.rows[incident_id]
            if row.changed <= after:
                break
            found.append(row)
        found.reverse()
        return found

    def fold(self, partition: str, at: Place, index: int, output: Output) -> IncidentRow | None:
        """Take one output; gives the incident that it changed."""
        incident_id = getattr(output, "incident_id", None)
        if incident_id is None:
            return None
        row = self.rows.get(incident_id)
        if row is None:
            row = self._new(partition, at, incident_id)
        key = f"{partition}-{at}-{index}"
        match output:
            case IncidentRecord():
                self._incident(row, output, key)
            case AlarmRecord():
                _alarm(row, output, key)
            case Notice():
                _notice(row, output, key)
            case DeviceCommand() | CommandRecord() | Observation():
                add_entry(row, about_device(output, key))
            case _:
                return None
        self._touched(row, at)
        return row

    def _new(self, partition: str, at: Place, incident_id: str) -> IncidentRow:
        row = IncidentRow(
            incident_id=incident_id,
            partition=partition,
            subject="",
            opened_ms=at.ms,
            changed=at,
        )
        self.rows[incident_id] = row
        return row

    def _touched(self, row: IncidentRow, at: Place) -> None:
        row.changed = at
        order = self.changed.setdefault(row.partition, {})
        order.pop(row.incident_id, None)
        order[row.incident_id] = None

    def _incident(self, row: IncidentRow, said: IncidentRecord, key: str) -> None:
        row.subject = said.subject
        row.opened_ms = said.opened_at_ms
        row.wearer_id, row.protected_id = said.wearer_id, said.protected_id
        row.case_id = said.case_id
        row.priority = said.priority
        row.alarm_classes = said.alarm_classes
        row.plan_ids = said.plan_ids
        row.related = said.related or row.related
        row.drill = said.drill
        if said.change is IncidentChange.PROTECTED_TOLD:
            row.protected_told_by = said.by
        _closing(row, said)
        if said.change is IncidentChange.NOTE and (offer := OFFER.match(said.note)):
            row.offered_to, row.offered_by, row.offered_ms = offer[1], said.by, said.at_ms
        add_entry(
            row,
            Entry(
                key=key,
                at_ms=said.at_ms,
                lane="operator" if said.by else "incident",
                what=said.change.value,
                reason=said.disposition.value if said.disposition else said.reason,
                by=said.by,
                text=said.note,
            ),
        )
        if said.state is IncidentState.CLOSED:
            row.open = False
            row.closed_ms = said.at_ms
            row.disposition = said.disposition
            row.closed_by = said.by
            row.countersigned_by = said.countersigned_by
            self._bound_closed(row.incident_id)

    def forget(self, partition: str, case_id: str, persons: Container[str], until_ms: int) -> None:
        """Forget the incidents of a case, and of persons, that were closed up to a time."""
        for incident_id in list(self.closed):
            row = self.rows[incident_id]
            tied = row.wearer_id in persons or row.protected_id in persons
            of_it = tied or row.case_id == case_id
            if of_it and row.partition == partition and (row.closed_ms or 0) <= until_ms:
                del self.closed[incident_id]
                del self.rows[incident_id]
                self.changed[partition].pop(incident_id, None)

    def _bound_closed(self, incident_id: str) -> None:
        self.closed[incident_id] = None
        while len(self.closed) > CONSOLE_CLOSED_INCIDENTS_MAX:
            oldest = next(iter(self.closed))
            del self.closed[oldest]
            gone = self.rows.pop(oldest)
            self.changed[gone.partition].pop(oldest, None)
            self.forgotten += 1


def _closing(row: IncidentRow, said: IncidentRecord) -> None:
    if said.change is IncidentChange.CLOSING_PROPOSED and said.disposition is not None:
        row.closing = Closing(
            by=said.by, at_ms=said.at_ms, disposition=said.disposition, note=said.note
        )
    elif said.change in (IncidentChange.CLOSING_VOID, IncidentChange.CLOSED):
        row.closing = None


def _alarm(row: IncidentRow, said: AlarmRecord, key: str) -> None:
    alarm = row.alarms.get(said.alarm_id)
    if alarm is None:
        alarm = AlarmRow(
            alarm_id=said.alarm_id,
            alarm_class=said.alarm_class,
            priority=said.priority,
            state=said.state,
            reason=said.reason,
            opened_ms=said.at_ms,
            paged_ms=said.at_ms,
            changed_ms=said.at_ms,
            latched=said.latched,
        )
        row.alarms[said.alarm_id] = alarm
    answered = alarm.acknowledged or alarm.silenced
    acknowledged = said.change in (Change.ACKNOWLEDGED, Change.ACKNOWLEDGEMENT_RENEWED)
    if acknowledged:
        alarm.acknowledged_by, alarm.acknowledged_ms = said.by, said.at_ms
        row.owner, row.owner_ms = said.by, said.at_ms
        row.in_room = said.reason in _BY_ROOM
        if said.by != row.offered_by:
            row.offered_to, row.offered_by, row.offered_ms = "", "", None
    if said.change in (Change.RAISED, Change.RAISED_AGAIN, Change.CONFIRMED):
        alarm.reason = said.reason
    alarm.priority, alarm.state = said.priority, said.state
    alarm.changed_ms = said.at_ms
    alarm.latched, alarm.confirmed, alarm.count = said.latched, said.confirmed, said.count
    alarm.shelved_until_ms = said.shelved_until_ms
    alarm.suppressed, alarm.out_of_service = said.suppressed, said.out_of_service
    alarm.order_id = said.order_id or alarm.order_id
    alarm.device_id = said.device_id or alarm.device_id
    alarm.person_id = said.person_id or alarm.person_id
    if answered and not (alarm.acknowledged or alarm.silenced):
        # Somebody owes an answer again. While nobody has answered, the first page counts.
        alarm.paged_ms = said.at_ms
    if not alarm.acknowledged:
        alarm.acknowledged_by, alarm.acknowledged_ms = "", None
        _disown(row)
    if said.change is Change.DELIVERY:
        _receipt(row, said)
    add_entry(
        row,
        Entry(
            key=key,
            at_ms=said.at_ms,
            lane=lane_of(said),
            what=said.change.value,
            reason=said.reason,
            alarm_id=said.alarm_id,
            alarm_class=said.alarm_class.value,
            by=said.by,
            target=said.target,
            device_id=said.device_id or "",
            person_id=said.person_id or "",
            step=said.step,
            count=said.count,
            text=said.detail,
        ),
    )


def _disown(row: IncidentRow) -> None:
    """Nobody has it in hand any more when no open alarm of it is acknowledged."""
    if not any(alarm.is_open and alarm.acknowledged for alarm in row.alarms.values()):
        row.owner, row.owner_ms, row.in_room = "", None, False


def _receipt(row: IncidentRow, said: AlarmRecord) -> None:
    told = row.told.get(f"{said.alarm_id}|{said.target}")
    # A delivery that is said after its acknowledgement takes nothing back.
    if told is not None and not (told.status == "acknowledged" and said.reason == "delivered"):
        told.status, told.status_ms, told.by = said.reason, said.at_ms, said.by


def _notice(row: IncidentRow, said: Notice, key: str) -> None:
    alarm = row.alarms.get(said.alarm_id)
    if alarm is not None and _says_more(said, alarm.facts):
        alarm.facts = said
    told_key = f"{said.alarm_id}|{said.target}"
    before = row.told.pop(told_key, None)
    if len(row.told) >= CONSOLE_TOLD_MAX:
        del row.told[next(iter(row.told))]
    row.told[told_key] = ToldRow(
        alarm_id=said.alarm_id,
        target=said.target,
        audience=said.audience,
        purpose=said.purpose.value,
        needs=said.needs.value,
        step=said.step,
        first_ms=before.first_ms if before else said.at_ms,
        last_ms=said.at_ms,
        deadline_ms=said.deadline_ms,
    )
    add_entry(
        row,
        Entry(
            key=key,
            at_ms=said.at_ms,
            lane="delivery",
            what=said.purpose.value,
            reason=said.reason,
            alarm_id=said.alarm_id,
            alarm_class=said.alarm_class.value,
            target=said.target,
            step=said.step if said.step >= 0 else None,
        ),
    )


def _says_more(said: Notice, known: Notice | None) -> bool:
    return known is None or said.audience in _FULLEST or known.audience not in _FULLEST


def about_device(said: DeviceCommand | CommandRecord | Observation, key: str) -> Entry:
    """What was asked of a device, what it answered, or what was seen and is no alarm."""
    match said:
        case DeviceCommand():
            what, reason = f"asked-{said.code.value}", said.reason
        case CommandRecord():
            what, reason = f"command-{said.status.value}", said.reason
        case Observation():
            what, reason = said.kind, said.reason
    return Entry(
        key=key,
        at_ms=said.at_ms,
        lane="device",
        what=what,
        reason=reason,
        device_id=said.device_id or "",
        person_id=getattr(said, "person_id", None) or "",
    )


def add_entry(row: IncidentRow, entry: Entry) -> None:
    """Add to the timeline; past the bound the middle goes, and how much is said."""
    row.timeline.append(entry)
    if len(row.timeline) > CONSOLE_TIMELINE_ENTRIES_MAX:
        del row.timeline[FIRST_KEPT]
        row.left_out += 1


def leading(row: IncidentRow) -> AlarmRow | None:
    """The alarm that decides where the incident stands: the most urgent that waits longest."""
    alarms = [alarm for alarm in row.alarms.values() if alarm.is_open]
    if not alarms:
        return None
    return min(
        alarms,
        key=lambda one: (
            one.acknowledged or one.silenced,
            PRIORITY_RANK[one.priority],
            one.paged_ms,
        ),
    )
