"""Incidents: one per pair or person.

Opening, finding, joining, closing, and the plan frozen into each.
"""

from typing import Final, NamedTuple

import msgspec

from afstand.limits import BOOK_INCIDENTS_MAX, BOOK_UNKNOWN_DEVICE_INCIDENTS_MAX
from alerting.book import cases
from alerting.book.classes import PRIORITY_RANK
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.context import Context
from alerting.book.inputs import Disposition
from alerting.book.outputs import IncidentChange, IncidentRecord, IncidentState
from alerting.book.plans import BUILT_IN_PLANS, DEFAULT_PLAN_ID, SYSTEM_PLAN_ID, Plan
from alerting.book.state import Facts, Incident, State
from alerting.book.words import AlarmClass, SignalKind

KEEP_CLOSED_MS: Final = 3_600_000
"""How long a closed incident is kept, so that receipts of its last notices still find it."""

OPEN: Final = "incidents-open"
UNKNOWN: Final = "incidents-of-unknown-devices"
PLAN_NUMBER: Final = "plan-number"


class Subject(NamedTuple):
    """What an incident is about. Ids hold no slash, so the name is unambiguous."""

    name: str
    wearer_id: str | None
    protected_id: str | None
    unknown_device: bool


def subject_of(state: State, alarm_class: AlarmClass, facts: Facts) -> Subject:
    """The pair, else the person, else the device or the part of the service.

    A person tied to exactly one other by the cases is filed under that pair, so that a cut strap
    and the approach that follows are one incident. Somebody tied to several is filed alone. Tasks
    of the case's owner are filed apart: what takes days must not keep an emergency open.
    """
    wearer_id, protected_id = facts.wearer_id, facts.protected_id
    if protected_id is None and wearer_id is not None:
        others = cases.counterparts(state, wearer_id)
        protected_id = others[0] if len(others) == 1 else None
    elif wearer_id is None and protected_id is not None:
        others = cases.counterparts(state, protected_id)
        wearer_id = others[0] if len(others) == 1 else None
    mark = "drill/" if facts.drill else ""
    if ALARM_BOOK[alarm_class].task:
        mark += "task/"
    if wearer_id is not None and protected_id is not None:
        return Subject(f"{mark}pair/{wearer_id}/{protected_id}", wearer_id, protected_id, False)
    person_id = wearer_id or protected_id or facts.person_id
    if person_id is not None:
        return Subject(f"{mark}person/{person_id}", wearer_id, protected_id, False)
    if facts.device_id is not None:
        return Subject(f"{mark}device/{facts.device_id}", None, None, True)
    return Subject(f"{mark}system/{facts.reason}", None, None, False)


def find(state: State, subject: Subject) -> Incident | None:
    """The open incident that an alarm about `subject` joins, if there is one."""
    incident_id = state.open_subjects.get(subject.name)
    if incident_id is None and subject.name.startswith("person/"):
        incident_id = _only_pair(state, subject.wearer_id or subject.protected_id or "")
    return None if incident_id is None else state.incidents[incident_id]


def _only_pair(state: State, person_id: str) -> str | None:
    """Somebody filed alone joins the one pair incident that is open about them, if it is one."""
    pairs = [
        i
        for i in state.open_by_person.get(person_id) or ()
        if state.incidents[i].subject.startswith("pair/")
    ]
    return pairs[0] if len(pairs) == 1 else None


def find_or_open(cx: Context, alarm_class: AlarmClass, facts: Facts) -> Incident | None:
    """The incident for a new alarm.

    None when the bound on open incidents keeps it out, which is said.
    """
    state = cx.state
    subject = subject_of(state, alarm_class, facts)
    found = find(state, subject)
    if found is not None:
        return found
    exempt = ALARM_BOOK[alarm_class].latched or alarm_class is AlarmClass.SYSTEM
    if not exempt and (state.numbers.get(OPEN) or 0) >= BOOK_INCIDENTS_MAX:
        cx.signal(SignalKind.BOOK_LIMIT, f"incidents open: {BOOK_INCIDENTS_MAX}")
        return None
    if subject.unknown_device:
        if (state.numbers.get(UNKNOWN) or 0) >= BOOK_UNKNOWN_DEVICE_INCIDENTS_MAX:
            cx.signal(
                SignalKind.BOOK_LIMIT, f"unknown devices: {BOOK_UNKNOWN_DEVICE_INCIDENTS_MAX}"
            )
            subject = Subject("device/*", None, None, True)
            found = find(state, subject)
            if found is not None:
                return found
        _count(state, UNKNOWN, 1)
    return _open(cx, subject, alarm_class, facts)


def _open(cx: Context, subject: Subject, alarm_class: AlarmClass, facts: Facts) -> Incident:
    state = cx.state
    case = cases.case_for(state, subject.wearer_id, subject.protected_id)
    incident = Incident(
        incident_id=f"i-{cx.next_key()}",
        subject=subject.name,
        opened_ms=cx.now_ms,
        wearer_id=subject.wearer_id,
        protected_id=subject.protected_id,
        case_id=None if case is None else case.case_id,
        drill=facts.drill,
        classes=(alarm_class,),
    )
    related = _related(state, incident)
    record(cx, incident, IncidentChange.OPENED, facts.reason, related=related)
    state.open_subjects.put(subject.name, incident.incident_id)
    for person_id in (subject.wearer_id, subject.protected_id):
        if person_id is not None:
            others = state.open_by_person.get(person_id) or ()
            state.open_by_person.put(person_id, (*others, incident.incident_id))
    _count(state, OPEN, 1)
    state.incidents.put(incident.incident_id, incident)
    return incident


def _related(state: State, incident: Incident) -> tuple[str, ...]:
    found: list[str] = []
    for person_id in (incident.wearer_id, incident.protected_id):
        if person_id is not None:
            found.extend(i for i in state.open_by_person.get(person_id) or () if i not in found)
    return tuple(found)


def _count(state: State, name: str, change: int) -> None:
    state.numbers.put(name, (state.numbers.get(name) or 0) + change)


def record(
    cx: Context,
    incident: Incident,
    change: IncidentChange,
    reason: str,
    *,
    by: str = "",
    countersigned_by: str = "",
    note: str = "",
    disposition: Disposition | None = None,
    related: tuple[str, ...] = (),
) -> None:
    """Write one change of an incident into the history."""
    state = cx.state
    priorities = (ALARM_BOOK[c].priority for c in incident.classes)
    cx.emit(
        IncidentRecord(
            incident_id=incident.incident_id,
            subject=incident.subject,
            change=change,
            state=IncidentState.CLOSED if incident.closed else IncidentState.OPEN,
            at_ms=cx.now_ms,
            opened_at_ms=incident.opened_ms,
            wearer_id=incident.wearer_id,
            protected_id=incident.protected_id,
            case_id=incident.case_id,
            priority=min(priorities, key=PRIORITY_RANK.__getitem__, default=None),
            alarm_classes=incident.classes,
            plan_ids=tuple(state.plans[k].id for k in incident.plan_keys if k in state.plans),
            related=related,
            reason=reason,
            by=by,
            countersigned_by=countersigned_by,
            disposition=disposition,
            note=note,
            drill=incident.drill,
        )
    )


def close(
    cx: Context,
    incident: Incident,
    reason: str,
    *,
    by: str = "",
    countersigned_by: str = "",
    note: str = "",
    disposition: Disposition | None = None,
) -> None:
    """Close an incident whose alarms are all closed.

    Its rows go when its last receipts can have come.
    """
    state = cx.state
    closed = msgspec.structs.replace(incident, closed=True, alarm_ids=())
    state.incidents.put(incident.incident_id, closed)
    state.open_subjects.drop(incident.subject)
    for person_id in (incident.wearer_id, incident.protected_id):
        if person_id is None:
            continue
        others = state.open_by_person.get(person_id) or ()
        left = tuple(i for i in others if i != incident.incident_id)
        if left:
            state.open_by_person.put(person_id, left)
        else:
            state.open_by_person.drop(person_id)
    _count(state, OPEN, -1)
    if incident.subject.startswith("device/"):
        _count(state, UNKNOWN, -1)
    record(
        cx,
        closed,
        IncidentChange.CLOSED,
        reason,
        by=by,
        countersigned_by=countersigned_by,
        note=note,
        disposition=disposition,
    )
    for key in incident.plan_keys:
        release_plan(state, key)
    state.timers.set(f"purge-incident|{incident.incident_id}", cx.now_ms + KEEP_CLOSED_MS)


def proposal_timer(incident_id: str) -> str:
    """Name of the timer that ends a proposal to close."""
    return f"proposal|{incident_id}"


def void_proposal(cx: Context, incident_id: str, reason: str) -> None:
    """A proposal to close no longer holds: something happened since, or its time is over."""
    incident = cx.state.incidents.get(incident_id)
    if incident is None or incident.proposal is None:
        return
    by = incident.proposal.said.by
    incident = msgspec.structs.replace(incident, proposal=None)
    cx.state.incidents.put(incident_id, incident)
    cx.state.timers.clear(proposal_timer(incident_id))
    record(cx, incident, IncidentChange.CLOSING_VOID, reason, by=by)


# --- the frozen plan ------------------------------------------------------------------------------


def install_built_in_plans(state: State) -> None:
    """Make the two plans that always exist known to a new book."""
    for plan in BUILT_IN_PLANS:
        define_plan(state, plan)


def define_plan(state: State, plan: Plan) -> bool:
    """Make `plan` the one that incidents opened from now on freeze. False when it is as it was."""
    old_key = state.current_plans.get(plan.id)
    if old_key is not None and state.plans[old_key] == plan:
        return False
    number = (state.numbers.get(PLAN_NUMBER) or 0) + 1
    state.numbers.put(PLAN_NUMBER, number)
    key = f"{plan.id}@{number}"
    state.plans.put(key, plan)
    state.current_plans.put(plan.id, key)
    if old_key is not None and not state.plan_uses.get(old_key):
        state.plans.drop(old_key)
    return True


def freeze_plan(cx: Context, incident: Incident, plan_id: str) -> tuple[Incident, str, bool]:
    """The version of a plan that this incident goes by: the first it used, whatever changed.

    Answers the incident, the key of the plan, and whether a plan had to stand in for one that is
    not known.
    """
    state = cx.state
    for key in incident.plan_keys:
        if state.plans[key].id == plan_id:
            return incident, key, False
    current = state.current_plans.get(plan_id)
    if current is None:
        incident, key, _ = freeze_plan(cx, incident, DEFAULT_PLAN_ID)
        return incident, key, True
    state.plan_uses.put(current, (state.plan_uses.get(current) or 0) + 1)
    incident = msgspec.structs.replace(incident, plan_keys=(*incident.plan_keys, current))
    state.incidents.put(incident.incident_id, incident)
    return incident, current, False


def release_plan(state: State, key: str) -> None:
    """An incident no longer needs this version of a plan."""
    uses = (state.plan_uses.get(key) or 0) - 1
    if uses > 0:
        state.plan_uses.put(key, uses)
        return
    state.plan_uses.drop(key)
    plan = state.plans.get(key)
    if plan is not None and state.current_plans.get(plan.id) != key:
        state.plans.drop(key)


def current_plan(state: State, facts: Facts) -> Plan:
    """The plan of what opens no incident: its order's, its case's, or the default."""
    case = cases.case_for(state, facts.wearer_id, facts.protected_id)
    wanted = facts.plan_id or (case.plan_id if case is not None else None) or DEFAULT_PLAN_ID
    key = state.current_plans.get(wanted) or state.current_plans[DEFAULT_PLAN_ID]
    return state.plans[key]


def plan_id_for(state: State, incident: Incident, alarm_class: AlarmClass, facts: Facts) -> str:
    """Which plan an alarm goes by: its order's, else its case's, else the default."""
    if alarm_class is AlarmClass.SYSTEM:
        return SYSTEM_PLAN_ID
    if facts.plan_id:
        return facts.plan_id
    case = state.cases.get(incident.case_id) if incident.case_id else None
    if case is not None and case.plan_id:
        return case.plan_id
    return DEFAULT_PLAN_ID
