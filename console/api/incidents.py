"""Incidents: the queue, one incident, its timeline and positions, and what operators do."""

from typing import Annotated, Literal

import msgspec

from afstand.limits import BOOK_TEXT_CHARS_MAX, CONSOLE_LIST_MAX, CONSOLE_TIME_MS_MAX
from alerting.book.roles import Right
from alerting.book.types import (
    Acknowledge,
    AlarmClass,
    Countersign,
    Dispose,
    Disposition,
    Note,
    OutOfService,
    RaiseByHand,
    ReturnToService,
    Shelve,
    TellProtected,
    Unshelve,
)
from console.api.commands import CommandView, send, show_command
from console.api.http import Answer, Call, NoBody, Route
from console.api.problems import Code, Problem
from console.geometry import Contact, contact
from console.model.incidents import leading, offer_note
from console.model.rows import AlarmRow, IncidentRow
from console.views import (
    AlarmView,
    EntryView,
    FactsView,
    IncidentView,
    NextView,
    OrderView,
    PersonPosition,
    alarm_view,
    entry_view,
    facts_view,
    incident_view,
    next_view,
    order_view,
    position_views,
    timeline,
)

TRACK_MS = 1_800_000
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=BOOK_TEXT_CHARS_MAX)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=CONSOLE_TIME_MS_MAX)]
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class IncidentsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which incidents."""

    state: Literal["open", "closed", "all"] = "open"
    person: str = ""


class IncidentsView(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents, and the place to follow the events from."""

    cursor: str
    now_ms: int
    incidents: tuple[IncidentView, ...]


class IncidentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One incident with what is needed to handle it."""

    incident: IncidentView
    next: NextView | None
    facts: FactsView | None
    orders: tuple[OrderView, ...]
    now_ms: int


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`after`: the key of the last entry one has."""

    after: str = ""


class TimelineView(msgspec.Struct, frozen=True, kw_only=True):
    """Entries in order of time. `left_out`: in the middle, beyond what is kept in memory."""

    entries: tuple[EntryView, ...]
    left_out: int


class PositionsView(msgspec.Struct, frozen=True, kw_only=True):
    """Where the persons of an incident were last; only those that the role may see."""

    now_ms: int
    positions: tuple[PersonPosition, ...]
    contact: Contact | None
    """Where and when they would meet, if both went on as now."""


class AlarmsView(msgspec.Struct, frozen=True, kw_only=True):
    """All open alarms, each with its incident."""

    now_ms: int
    alarms: tuple["AlarmInIncident", ...]


class AlarmInIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm and the incident it belongs to."""

    incident_id: str
    alarm: AlarmView


class DisposeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the incident is over. `despite_active`: it is known that a condition still holds."""

    disposition: Disposition
    note: Annotated[str, msgspec.Meta(max_length=BOOK_TEXT_CHARS_MAX)] = ""
    despite_active: bool = False


class AcknowledgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`alarm_id`: this alarm alone."""

    alarm_id: str | None = None


class NoteBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A remark for the timeline."""

    text: Text


class HandOverBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom of the room the incident is offered to, and what they must know."""

    to: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._@-]{1,64}$")]
    text: Annotated[str, msgspec.Meta(max_length=BOOK_TEXT_CHARS_MAX - 100)] = ""


class ShelveBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Silence an alarm for a time, with a reason."""

    reason: Text
    until_ms: TimeMs


class OutOfServiceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Alarms of one class about one person page nobody for a time."""

    alarm_class: AlarmClass
    reason: Text
    until_ms: TimeMs


class RaiseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alarm raised by a person: after a call, or as a drill."""

    alarm_class: AlarmClass
    reason: Text
    wearer_id: Id | None = None
    protected_id: Id | None = None
    drill: bool = False


# --- reading --------------------------------------------------------------------------------------


def row_of(call: Call) -> IncidentRow:
    """The incident that the path names."""
    row = call.services.hub.model.incidents.rows.get(call.path("incident_id"))
    if row is None:
        raise Problem(Code.NOT_FOUND)
    return row


def persons_of(row: IncidentRow) -> tuple[str, ...]:
    """Whom an incident is about."""
    return tuple(one for one in (row.wearer_id, row.protected_id) if one is not None)


async def list_incidents(call: Call) -> IncidentsView:
    """Give the queue, or the closed incidents, newest first."""
    hub, state = call.services.hub, call.query.state
    rows = [
        row
        for row in hub.model.incidents.rows.values()
        if state == "all" or row.open == (state == "open")
    ]
    if call.query.person:
        rows = [row for row in rows if call.query.person in persons_of(row)]
    rows.sort(key=lambda row: row.closed_ms or row.opened_ms, reverse=True)
    if state != "open":
        rows = rows[:CONSOLE_LIST_MAX]
    return IncidentsView(
        cursor=hub.cursor(),
        now_ms=call.now_ms,
        incidents=tuple(incident_view(row, call.rights) for row in rows),
    )


async def show_incident(call: Call) -> IncidentDetail:
    """One incident. Logged as a consultation."""
    row, model = row_of(call), call.services.hub.model
    await call.consult("incident", persons_of(row), incident_id=row.incident_id)
    lead = leading(row)
    orders: tuple[OrderView, ...] = ()
    if Right.ORDERS in call.rights:
        about = model.world.orders_about([row.wearer_id, row.protected_id])
        orders = tuple(order_view(order, model, call.now_ms) for order in about)
    return IncidentDetail(
        incident=incident_view(row, call.rights),
        next=next_view(lead.alarm_class) if lead is not None else None,
        facts=facts_view(lead.facts, call.rights) if lead is not None and lead.facts else None,
        orders=orders,
        now_ms=call.now_ms,
    )


async def show_timeline(call: Call) -> TimelineView:
    """What happened, in order of time."""
    row = row_of(call)
    await call.consult("incident", persons_of(row), incident_id=row.incident_id)
    entries = timeline(row, call.services.hub.model)
    if call.query.after:
        keys = [entry.key for entry in entries]
        if call.query.after in keys:
            entries = entries[keys.index(call.query.after) + 1 :]
    return TimelineView(
        entries=tuple(entry_view(entry, call.rights) for entry in entries), left_out=row.left_out
    )


async def show_positions(call: Call) -> PositionsView:
    """Where the persons of an incident are. Logged as a consultation."""
    row, model = row_of(call), call.services.hub.model
    if not row.open and Right.LOOK_UP not in call.rights:
        raise Problem(Code.FORBIDDEN, "the incident is closed")
    persons = [
        person
        for person, right in (
            (row.wearer_id, Right.WEARER_POSITION),
            (row.protected_id, Right.PROTECTED_POSITION),
        )
        if person is not None and right in call.rights
    ]
    await call.consult("positions", tuple(persons), incident_id=row.incident_id)
    since_ms = call.now_ms - TRACK_MS
    views = [view for person in persons for view in position_views(person, model, since_ms)]
    met = None
    if Right.DISTANCE in call.rights and row.wearer_id and row.protected_id:
        met = contact(views, row.wearer_id, row.protected_id)
    return PositionsView(now_ms=call.now_ms, positions=tuple(views), contact=met)


async def list_alarms(call: Call) -> AlarmsView:
    """All open alarms."""
    rows = call.services.hub.model.incidents.open_rows()
    return AlarmsView(
        now_ms=call.now_ms,
        alarms=tuple(
            AlarmInIncident(incident_id=row.incident_id, alarm=alarm_view(alarm))
            for row in rows
            for alarm in row.alarms.values()
            if alarm.is_open
        ),
    )


# --- doing ----------------------------------------------------------------------------------------


async def acknowledge(call: Call) -> Answer:
    """Take an incident, or one alarm of it, in hand."""
    row = row_of(call)
    command = Acknowledge(
        incident_id=row.incident_id, by=call.session.name, alarm_id=call.body.alarm_id
    )
    return await send(call, row.partition, command)


async def dispose(call: Call) -> Answer:
    """Close an incident; where four eyes are asked for, propose to close it."""
    row = row_of(call)
    command = Dispose(
        incident_id=row.incident_id,
        by=call.session.name,
        disposition=call.body.disposition,
        note=call.body.note,
        despite_active=call.body.despite_active,
    )
    answer = await send(call, row.partition, command)
    if row.open and row.closing is not None and isinstance(answer.body, CommandView):
        body = msgspec.structs.replace(answer.body, reason="awaits-countersignature")
        return answer._replace(body=body)
    return answer


async def countersign(call: Call) -> Answer:
    """Agree, as a second person, with the closing that was proposed."""
    row = row_of(call)
    command = Countersign(incident_id=row.incident_id, by=call.session.name)
    return await send(call, row.partition, command)


async def note(call: Call) -> Answer:
    """Put a remark on the timeline."""
    row = row_of(call)
    command = Note(incident_id=row.incident_id, by=call.session.name, text=call.body.text)
    return await send(call, row.partition, command)


async def hand_over(call: Call) -> Answer:
    """Offer an incident to somebody of the room; complete when they take it in hand."""
    row = row_of(call)
    if call.body.to == call.session.name:
        raise Problem(Code.CONFLICT, "an incident is handed over to somebody else")
    text = offer_note(call.body.to, call.body.text)
    command = Note(incident_id=row.incident_id, by=call.session.name, text=text)
    return await send(call, row.partition, command)


async def tell_protected(call: Call) -> Answer:
    """Have the protected person told, where the case leaves that to the operator."""
    row = row_of(call)
    command = TellProtected(incident_id=row.incident_id, by=call.session.name)
    return await send(call, row.partition, command)


async def raise_by_hand(call: Call) -> Answer:
    """Raise an alarm by hand."""
    said, hub = call.body, call.services.hub
    persons = [one for one in (said.wearer_id, said.protected_id) if one is not None]
    rows = [hub.model.world.persons.get(one) for one in persons]
    partitions = {row.partition for row in rows if row is not None}
    if len(partitions) > 1:
        raise Problem(Code.CONFLICT, "these persons are not watched together")
    command = RaiseByHand(
        alarm_class=said.alarm_class,
        by=call.session.name,
        reason=said.reason,
        wearer_id=said.wearer_id,
        protected_id=said.protected_id,
        drill=said.drill,
    )
    return await send(call, next(iter(partitions), hub.partitions[0]), command)


def _alarm_of(call: Call) -> tuple[IncidentRow, AlarmRow]:
    alarm_id = call.path("alarm_id")
    row = call.services.hub.model.incidents.rows.get(alarm_id.rpartition(".")[0])
    alarm = row.alarms.get(alarm_id) if row is not None else None
    if row is None or alarm is None:
        raise Problem(Code.NOT_FOUND)
    return row, alarm


async def shelve(call: Call) -> Answer:
    """Silence an alarm for a time."""
    row, alarm = _alarm_of(call)
    command = Shelve(
        alarm_id=alarm.alarm_id,
        by=call.session.name,
        reason=call.body.reason,
        until_ms=call.body.until_ms,
    )
    return await send(call, row.partition, command)


async def unshelve(call: Call) -> Answer:
    """End the shelving of an alarm."""
    row, alarm = _alarm_of(call)
    command = Unshelve(alarm_id=alarm.alarm_id, by=call.session.name)
    return await send(call, row.partition, command)


def _partition_of_person(call: Call) -> str:
    person = call.services.hub.model.world.persons.get(call.path("person_id"))
    if person is None:
        raise Problem(Code.NOT_FOUND)
    return person.partition


async def put_out_of_service(call: Call) -> Answer:
    """Put one class of alarms about a person out of service for a time."""
    command = OutOfService(
        person_id=call.path("person_id"),
        alarm_class=call.body.alarm_class,
        by=call.session.name,
        reason=call.body.reason,
        until_ms=call.body.until_ms,
    )
    return await send(call, _partition_of_person(call), command)


async def return_to_service(call: Call) -> Answer:
    """End an out of service."""
    try:
        alarm_class = AlarmClass(call.path("alarm_class"))
    except ValueError:
        raise Problem(Code.NOT_FOUND) from None
    command = ReturnToService(
        person_id=call.path("person_id"), alarm_class=alarm_class, by=call.session.name
    )
    return await send(call, _partition_of_person(call), command)


_DONE = (200, 202)
_ONE = "/v1/incidents/{incident_id}"
_MASKS = "distances, protected-side ages and free words without their rights"
ROUTES = (
    Route("GET", "/v1/incidents", "list-incidents", "The queue", list_incidents,
          (Right.QUEUE,), IncidentsView, IncidentsQuery, tag="incidents", masks="distances"),
    Route("POST", "/v1/incidents", "raise-alarm", "Raise an alarm by hand or a drill",
          raise_by_hand, (Right.RAISE,), CommandView, body=RaiseBody, statuses=_DONE,
          tag="incidents"),
    Route("GET", _ONE, "show-incident", "One incident", show_incident,
          (Right.QUEUE,), IncidentDetail, tag="incidents", masks=_MASKS),
    Route("GET", f"{_ONE}/timeline", "show-timeline", "What happened", show_timeline,
          (Right.TIMELINE,), TimelineView, TimelineQuery, tag="incidents", masks="free words"),
    Route("GET", f"{_ONE}/positions", "show-positions", "Where its persons are", show_positions,
          (Right.WEARER_POSITION, Right.PROTECTED_POSITION), PositionsView, tag="incidents",
          masks="the protected person, and where both would meet"),
    Route("POST", f"{_ONE}/acknowledgements", "acknowledge", "Take it in hand", acknowledge,
          (Right.HANDLE,), CommandView, body=AcknowledgeBody, statuses=_DONE, tag="incidents"),
    Route("POST", f"{_ONE}/dispositions", "dispose", "Close it", dispose,
          (Right.CLOSE,), CommandView, body=DisposeBody, statuses=_DONE, tag="incidents"),
    Route("POST", f"{_ONE}/countersignatures", "countersign",
          "Agree, as a second person, with the closing that was proposed", countersign,
          (Right.CLOSE,), CommandView, body=NoBody, statuses=_DONE, tag="incidents"),
    Route("POST", f"{_ONE}/notes", "note", "Put a remark on its timeline", note,
          (Right.HANDLE,), CommandView, body=NoteBody, statuses=_DONE, tag="incidents"),
    Route("POST", f"{_ONE}/hand-overs", "hand-over", "Offer it to somebody of the room",
          hand_over, (Right.HANDLE,), CommandView, body=HandOverBody, statuses=_DONE,
          tag="incidents"),
    Route("POST", f"{_ONE}/protected-notices", "tell-protected",
          "Have the protected person told", tell_protected,
          (Right.HANDLE,), CommandView, body=NoBody, statuses=_DONE, tag="incidents"),
    Route("GET", "/v1/alarms", "list-alarms", "All open alarms", list_alarms,
          (Right.QUEUE,), AlarmsView, tag="alarms"),
    Route("POST", "/v1/alarms/{alarm_id}/shelvings", "shelve", "Silence an alarm for a time",
          shelve, (Right.SILENCE,), CommandView, body=ShelveBody, statuses=_DONE, tag="alarms"),
    Route("DELETE", "/v1/alarms/{alarm_id}/shelvings", "unshelve", "End a shelving",
          unshelve, (Right.SILENCE,), CommandView, statuses=_DONE, tag="alarms"),
    Route("POST", "/v1/persons/{person_id}/out-of-service", "put-out-of-service",
          "Silence one class of alarms about a person for a time", put_out_of_service,
          (Right.SILENCE,), CommandView, body=OutOfServiceBody, statuses=_DONE, tag="persons"),
    Route("DELETE", "/v1/persons/{person_id}/out-of-service/{alarm_class}", "return-to-service",
          "End an out of service", return_to_service,
          (Right.SILENCE,), CommandView, statuses=_DONE, tag="persons"),
    Route("GET", "/v1/commands/{command_id}", "show-command", "What became of a command",
          show_command, (), CommandView, tag="commands"),
)  # fmt: skip
