"""What a role sees of the read model: the records of the API, cut down field by field.

A field that the role may not see is left out (UNSET), never sent as null, so that "not allowed" and
"not known" differ. Times in Unix ms, degrees x 1e7, distances in millimetres, as in the journal.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from alerting.book.classes_data import ALARM_BOOK
from alerting.book.closing import PROPOSAL_MS
from alerting.book.roles import Right
from alerting.book.types import AlarmClass, Notice, Priority
from console.model.incidents import leading
from console.model.indicators import RESPOND_MS
from console.model.model import Model
from console.model.positions import TrackPoint
from console.model.rows import AlarmRow, Entry, IncidentRow, Place, ToldRow
from console.model.world import DeviceRow, OrderRow
from geofence.orders import order_state

Rights = Collection[Right]


class AlarmView(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm of an incident. `due_ms`: when an answer is due; None while nobody owes one.

    `four_eyes`: two people close it, with a note.
    """

    id: str
    alarm_class: str
    priority: str
    state: str
    reason: str
    opened_ms: int
    paged_ms: int
    due_ms: int | None
    latched: bool
    four_eyes: bool
    confirmed: bool
    count: int
    acknowledged_by: str
    acknowledged_ms: int | None
    shelved_until_ms: int | None
    suppressed: str
    out_of_service: str
    order_id: str | None
    device_id: str | None
    person_id: str | None


class HandOverView(msgspec.Struct, frozen=True, kw_only=True):
    """How a hand-over to another party stands; complete only when that party acknowledged."""

    target: str
    audience: str
    status: str
    complete: bool
    needs: str
    told_ms: int
    deadline_ms: int | None
    status_ms: int | None
    by: str


class ClosingView(msgspec.Struct, frozen=True, kw_only=True):
    """A closing that was proposed: it counts once a second person signs, void after `until_ms`."""

    by: str
    at_ms: int
    until_ms: int
    disposition: str
    note: str | UnsetType = UNSET


class IncidentView(msgspec.Struct, frozen=True, kw_only=True):
    """An incident in the queue. Its alarms stand leading one first."""

    id: str
    partition: str
    changed: str
    state: str
    priority: str | None
    subject: str
    wearer_id: str | None
    protected_id: str | None
    case_id: str | None
    drill: bool
    opened_ms: int
    closed_ms: int | None
    owner: str
    owner_ms: int | None
    in_room: bool
    """Whether the owner is a person of the room, not a receiver that acknowledged."""
    offered_to: str
    """Whom the owner wants to take it over; complete when that person takes it in hand."""
    offered_by: str
    offered_ms: int | None
    due_ms: int | None
    """When an answer to the leading alarm is due; None while nobody owes one."""
    alarm_classes: tuple[str, ...]
    alarms: tuple[AlarmView, ...]
    hand_overs: tuple[HandOverView, ...]
    related: tuple[str, ...]
    disposition: str | None
    closed_by: str
    countersigned_by: str
    closing: ClosingView | None
    entries: int
    """Entries of its timeline, so that a reader knows whether there are new ones."""
    distance_mm: int | UnsetType | None = UNSET
    time_to_contact_ms: int | UnsetType | None = UNSET


class FactsView(msgspec.Struct, frozen=True, kw_only=True):
    """The figures behind the leading alarm, as the last notice told them."""

    at_ms: int
    reason: str
    confirmed: bool
    authenticated: bool
    order_id: str | None
    order_kind: str | None
    zone_id: str | None
    zone_version: int | None
    state: str | None
    labels: tuple[str, ...]
    fix_ms: int | None
    wearer_age_ms: int | None
    probability_1024: int | UnsetType | None = UNSET
    distance_mm: int | UnsetType | None = UNSET
    time_to_contact_ms: int | UnsetType | None = UNSET
    closing_mm_s: int | UnsetType | None = UNSET
    protected_age_ms: int | UnsetType | None = UNSET
    detail: str | UnsetType = UNSET


class NextView(msgspec.Struct, frozen=True, kw_only=True):
    """What the alarm book says must be done about the leading alarm."""

    alarm_class: str
    title: dict[str, str]
    consequence: dict[str, str]
    action: dict[str, str]
    respond_s: int
    latched: bool


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a timeline."""

    key: str
    at_ms: int
    lane: str
    what: str
    reason: str
    alarm_id: str
    alarm_class: str
    by: str
    target: str
    device_id: str
    person_id: str
    step: int | None
    count: int
    text: str | UnsetType = UNSET


class FixView(msgspec.Struct, frozen=True, kw_only=True):
    """The last known position of a device. Age is told by whoever reads: now - `time_ms`."""

    time_ms: int
    lat_e7: int
    lon_e7: int
    accuracy_m: float | None
    speed_m_s: float | None
    heading_deg: float | None
    mechanism: int


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """A device and its health, without where it is."""

    id: str
    person_id: str | None
    role: str
    enabled: bool
    partition: str
    last_fix_ms: int | None
    battery_pct: int | None
    status_ms: int | None
    stored_frames: int | None
    firmware: str | None


class PersonPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where a person was last, by each of their devices, and the track there."""

    person_id: str
    role: str
    device_id: str
    fix: FixView | None
    track: tuple[TrackPoint, ...]


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """An order and where it stands in its life."""

    id: str
    state: str
    partition: str
    defined_ms: int
    proposal_id: str
    versions: int
    order: dict[str, Any]


# Facts that are shown to everybody who may see the incident, and those that need a right.
_GUARDED: Final = {
    "probability_1024": Right.DISTANCE,
    "distance_mm": Right.DISTANCE,
    "time_to_contact_ms": Right.DISTANCE,
    "closing_mm_s": Right.DISTANCE,
    "protected_age_ms": Right.PROTECTED_POSITION,
    "detail": Right.FREE_TEXT,
}


def due_ms(alarm: AlarmRow) -> int | None:
    """When an answer is due (alarm book, EN 50518)."""
    if not alarm.is_open or alarm.acknowledged or alarm.silenced:
        return None
    return alarm.paged_ms + RESPOND_MS[alarm.alarm_class]


def alarm_view(alarm: AlarmRow) -> AlarmView:
    """One alarm."""
    return AlarmView(
        id=alarm.alarm_id,
        alarm_class=alarm.alarm_class.value,
        priority=alarm.priority.value,
        state=alarm.state.value,
        reason=alarm.reason,
        opened_ms=alarm.opened_ms,
        paged_ms=alarm.paged_ms,
        due_ms=due_ms(alarm),
        latched=alarm.latched,
        four_eyes=ALARM_BOOK[alarm.alarm_class].four_eyes,
        confirmed=alarm.confirmed,
        count=alarm.count,
        acknowledged_by=alarm.acknowledged_by,
        acknowledged_ms=alarm.acknowledged_ms,
        shelved_until_ms=alarm.shelved_until_ms,
        suppressed=alarm.suppressed,
        out_of_service=alarm.out_of_service,
        order_id=alarm.order_id,
        device_id=alarm.device_id,
        person_id=alarm.person_id,
    )


def incident_view(row: IncidentRow, rights: Rights) -> IncidentView:
    """An incident for the queue."""
    lead = leading(row)
    alarms = [alarm for alarm in row.alarms.values() if alarm.is_open]
    alarms.sort(key=lambda one: (one is not lead, one.opened_ms))
    closed = [alarm for alarm in row.alarms.values() if not alarm.is_open]
    facts = lead.facts if lead is not None else None
    view = IncidentView(
        id=row.incident_id,
        partition=row.partition,
        changed=f"{row.partition}:{Place(*row.changed)}",
        state="open" if row.open else "closed",
        priority=_priority(row, lead),
        subject=row.subject,
        wearer_id=row.wearer_id,
        protected_id=row.protected_id,
        case_id=row.case_id,
        drill=row.drill,
        opened_ms=row.opened_ms,
        closed_ms=row.closed_ms,
        owner=row.owner,
        owner_ms=row.owner_ms,
        in_room=row.in_room,
        offered_to=row.offered_to,
        offered_by=row.offered_by,
        offered_ms=row.offered_ms,
        due_ms=due_ms(lead) if lead is not None else None,
        alarm_classes=tuple(one.value for one in row.alarm_classes),
        alarms=tuple(alarm_view(alarm) for alarm in [*alarms, *closed]),
        hand_overs=tuple(_hand_over(told) for told in row.told.values()),
        related=row.related,
        disposition=row.disposition.value if row.disposition else None,
        closed_by=row.closed_by,
        countersigned_by=row.countersigned_by,
        closing=_closing_view(row, rights),
        entries=len(row.timeline) + row.left_out,
    )
    if Right.DISTANCE not in rights:
        return view
    return msgspec.structs.replace(
        view,
        distance_mm=facts.distance_mm if facts else None,
        time_to_contact_ms=facts.time_to_contact_ms if facts else None,
    )


def _closing_view(row: IncidentRow, rights: Rights) -> ClosingView | None:
    if row.closing is None:
        return None
    return ClosingView(
        by=row.closing.by,
        at_ms=row.closing.at_ms,
        until_ms=row.closing.at_ms + PROPOSAL_MS,
        disposition=row.closing.disposition.value,
        note=row.closing.note if Right.FREE_TEXT in rights else UNSET,
    )


def _priority(row: IncidentRow, lead: AlarmRow | None) -> str | None:
    found: Priority | None = lead.priority if lead is not None else row.priority
    return None if found is None else found.value


def _hand_over(told: ToldRow) -> HandOverView:
    done = (
        told.status == "acknowledged"
        if told.needs == "acknowledged"
        else told.status
        in (
            "acknowledged",
            "delivered",
        )
    )
    return HandOverView(
        target=told.target,
        audience=told.audience.value,
        status=told.status,
        complete=done,
        needs=told.needs,
        told_ms=told.last_ms,
        deadline_ms=told.deadline_ms,
        status_ms=told.status_ms,
        by=told.by,
    )


def facts_view(facts: Notice, rights: Rights) -> FactsView:
    """The figures behind an alarm."""
    guarded = {field: getattr(facts, field) for field, right in _GUARDED.items() if right in rights}
    return FactsView(
        at_ms=facts.at_ms,
        reason=facts.reason,
        confirmed=facts.confirmed,
        authenticated=facts.authenticated,
        order_id=facts.order_id,
        order_kind=facts.order_kind.value if facts.order_kind else None,
        zone_id=facts.zone_id,
        zone_version=facts.zone_version,
        state=facts.state.value if facts.state else None,
        labels=facts.labels,
        fix_ms=facts.fix_ms,
        wearer_age_ms=facts.wearer_age_ms,
        **guarded,
    )


def next_view(alarm_class: AlarmClass) -> NextView:
    """The row of the alarm book."""
    rule = ALARM_BOOK[alarm_class]
    return NextView(
        alarm_class=alarm_class.value,
        title={"nl": rule.title.nl, "en": rule.title.en},
        consequence={"nl": rule.consequence.nl, "en": rule.consequence.en},
        action={"nl": rule.action.nl, "en": rule.action.en},
        respond_s=rule.respond_s,
        latched=rule.latched,
    )


def entry_view(entry: Entry, rights: Rights) -> EntryView:
    """An entry of a timeline; free words only for those who may read them."""
    return EntryView(
        key=entry.key,
        at_ms=entry.at_ms,
        lane=entry.lane,
        what=entry.what,
        reason=entry.reason,
        alarm_id=entry.alarm_id,
        alarm_class=entry.alarm_class,
        by=entry.by,
        target=entry.target,
        device_id=entry.device_id,
        person_id=entry.person_id,
        step=entry.step,
        count=entry.count,
        text=entry.text if Right.FREE_TEXT in rights else UNSET,
    )


def timeline(row: IncidentRow, model: Model) -> list[Entry]:
    """The timeline of an incident with what the devices of its persons said meanwhile."""
    before_ms, until_ms = row.opened_ms - 1_800_000, row.closed_ms
    said = [
        entry
        for person in (row.wearer_id, row.protected_id)
        if person is not None
        for entry in model.log_of(person)
        if entry.at_ms >= before_ms and (until_ms is None or entry.at_ms <= until_ms)
    ]
    found = {entry.key: entry for entry in [*said, *row.timeline]}
    return sorted(found.values(), key=lambda entry: entry.at_ms)


def device_view(device: DeviceRow, model: Model) -> DeviceView:
    """A device and its health."""
    fix = model.positions.last(device.handle)
    status = model.positions.statuses.get(device.handle)
    battery = fix.battery_pct if fix is not None else None
    if status is not None and status.battery_pct != 255 and (fix is None or battery is None):
        battery = status.battery_pct
    firmware = None
    if status is not None:
        version = status.firmware
        firmware = f"{version >> 24}.{version >> 16 & 255}.{version & 65_535}"
    return DeviceView(
        id=device.device_id,
        person_id=device.person_id,
        role=device.role.value,
        enabled=device.enabled,
        partition=device.partition,
        last_fix_ms=fix.time_ms if fix else None,
        battery_pct=battery,
        status_ms=status.at_ms if status else None,
        stored_frames=status.stored_frames if status else None,
        firmware=firmware,
    )


def position_views(person_id: str, model: Model, since_ms: int | None) -> list[PersonPosition]:
    """Where a person was last, with the track since then (None: without).

    The caller has checked the right and logged the look-up.
    """
    found = []
    person = model.world.persons.get(person_id)
    for device in model.world.devices_of(person_id):
        fix = model.positions.last(device.handle)
        found.append(
            PersonPosition(
                person_id=person_id,
                role=person.role.value if person else device.role.value,
                device_id=device.device_id,
                fix=None
                if fix is None
                else FixView(
                    time_ms=fix.time_ms,
                    lat_e7=fix.lat_e7,
                    lon_e7=fix.lon_e7,
                    accuracy_m=fix.accuracy_m,
                    speed_m_s=fix.speed_m_s,
                    heading_deg=fix.heading_deg,
                    mechanism=fix.mechanism,
                ),
                track=()
                if since_ms is None
                else tuple(model.positions.track(device.handle, since_ms)),
            )
        )
    return found


def order_view(row: OrderRow, model: Model, now_ms: int) -> OrderView:
    """An order as it stands now."""
    return OrderView(
        id=row.order.id,
        state=order_state(row.order, now_ms).value,
        partition=row.partition,
        defined_ms=row.at.ms,
        proposal_id=row.proposal_id,
        versions=len(model.world.orders.get(row.order.id, ())),
        order=msgspec.to_builtins(row.order),
    )
