"""What people do: acknowledge, silence, note, raise by hand, define. Closing is in `closing.py`."""

import msgspec

from afstand.limits import (
    BOOK_OUT_OF_SERVICE_MAX,
    BOOK_PLANS_MAX,
    BOOK_ROSTERS_MAX,
    BOOK_TEXT_CHARS_MAX,
)
from alerting.book import alarms, conditions, incidents, runs
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.context import Context
from alerting.book.inputs import (
    Acknowledge,
    DefinePlan,
    DefineRoster,
    Note,
    OutOfService,
    RaiseByHand,
    ReturnToService,
    Shelve,
    TellProtected,
    Unshelve,
)
from alerting.book.outputs import Defined, IncidentChange, RejectReason
from alerting.book.plans import ID_PATTERN, PlanError, parse_plan
from alerting.book.rosters import RosterError, parse_roster
from alerting.book.state import Alarm, Facts, Incident, Silenced
from alerting.book.words import AlarmClass, Role


def _open_incident(cx: Context, what: str, incident_id: str, by: str) -> Incident | None:
    """The open incident a command names.

    None, and a rejection, when there is none or nobody signs for the command.
    """
    if not by:
        cx.reject(RejectReason.NO_REASON_GIVEN, what, incident_id, "by")
        return None
    incident = cx.state.incidents.get(incident_id)
    if incident is None or incident.closed:
        cx.reject(RejectReason.UNKNOWN_INCIDENT, what, incident_id)
        return None
    return incident


def _open_alarm(cx: Context, what: str, alarm_id: str, by: str) -> Alarm | None:
    if not by:
        cx.reject(RejectReason.NO_REASON_GIVEN, what, alarm_id, "by")
        return None
    alarm = cx.state.alarms.get(alarm_id)
    if alarm is None or alarm.closed:
        cx.reject(RejectReason.UNKNOWN_ALARM, what, alarm_id)
        return None
    return alarm


def acknowledge(cx: Context, said: Acknowledge) -> None:
    """Take in hand every open alarm of the incident, or the one that is named."""
    incident = _open_incident(cx, "acknowledge", said.incident_id, said.by)
    if incident is None:
        return
    if said.alarm_id is not None and said.alarm_id not in incident.alarm_ids:
        cx.reject(RejectReason.UNKNOWN_ALARM, "acknowledge", said.alarm_id)
        return
    for alarm_id in (said.alarm_id,) if said.alarm_id is not None else incident.alarm_ids:
        alarms.acknowledge(cx, cx.state.alarms[alarm_id], said.by, "operator")


def shelve(cx: Context, said: Shelve) -> None:
    """Silence an alarm for a time, with a reason."""
    alarm = _open_alarm(cx, "shelve", said.alarm_id, said.by)
    if alarm is None or not _may_silence(
        cx, "shelve", said.alarm_id, alarm.alarm_class, said.reason, said.until_ms
    ):
        return
    alarms.shelve(cx, alarm, said.by, said.reason, said.until_ms)


def unshelve(cx: Context, said: Unshelve) -> None:
    """End the shelving of an alarm."""
    alarm = _open_alarm(cx, "unshelve", said.alarm_id, said.by)
    if alarm is None:
        return
    if alarm.shelved_until_ms is None:
        cx.reject(RejectReason.NOT_SHELVED, "unshelve", said.alarm_id)
        return
    alarms.unshelve(cx, alarm, said.by, "operator")


def out_of_service(cx: Context, said: OutOfService) -> None:
    """Let one class of alarms about one person page nobody for a time, with a reason."""
    what, ref = "out-of-service", said.person_id
    if not said.by or not ID_PATTERN.match(ref):
        reason = RejectReason.BAD_ID if said.by else RejectReason.NO_REASON_GIVEN
        cx.reject(reason, what, ref)
        return
    if not _may_silence(cx, what, ref, said.alarm_class, said.reason, said.until_ms):
        return
    key = f"{said.person_id}|{said.alarm_class}"
    if key not in cx.state.out_of_service and (
        len(cx.state.out_of_service) >= BOOK_OUT_OF_SERVICE_MAX
    ):
        cx.reject(RejectReason.LIMIT, what, ref)
        return
    cx.state.out_of_service.put(key, Silenced(said.until_ms, said.reason, said.by))
    cx.state.timers.set(f"service|{key}", said.until_ms)
    cx.emit(Defined(what=what, ref=key, at_ms=cx.now_ms))
    for alarm in _alarms_about(cx, said.person_id, said.alarm_class):
        if not alarm.out_of_service and len(alarm.sources) <= 1:
            alarms.put_out_of_service(cx, alarm, said.by, said.reason)


def return_to_service(cx: Context, said: ReturnToService) -> None:
    """End an out of service."""
    key = f"{said.person_id}|{said.alarm_class}"
    if key not in cx.state.out_of_service:
        cx.reject(RejectReason.NOT_OUT_OF_SERVICE, "return-to-service", said.person_id)
        return
    cx.state.timers.clear(f"service|{key}")
    service_over(cx, key, said.by, "operator")


def service_over(cx: Context, key: str, by: str, reason: str) -> None:
    """The time out of service has ended: what is still active pages."""
    cx.state.out_of_service.drop(key)
    cx.emit(Defined(what="return-to-service", ref=key, at_ms=cx.now_ms))
    person_id, _, alarm_class = key.partition("|")
    for alarm in _alarms_about(cx, person_id, AlarmClass(alarm_class)):
        if alarm.out_of_service:
            alarms.back_in_service(cx, alarm, by, reason)


def _alarms_about(cx: Context, person_id: str, alarm_class: AlarmClass) -> list[Alarm]:
    state = cx.state
    return [
        alarm
        for incident_id in state.open_by_person.get(person_id) or ()
        for alarm_id in state.incidents[incident_id].alarm_ids
        if (alarm := state.alarms[alarm_id]).alarm_class is alarm_class
        and alarm.facts.person_id == person_id
    ]


def _may_silence(
    cx: Context, what: str, ref: str, alarm_class: AlarmClass, reason: str, until_ms: int
) -> bool:
    """Whether this class may be silenced at all, for a reason, and for so long."""
    rule = ALARM_BOOK[alarm_class]
    if not rule.may_be_silenced:
        cx.reject(RejectReason.NEVER_SUPPRESSED, what, ref, alarm_class.value)
    elif not reason.strip():
        cx.reject(RejectReason.NO_REASON_GIVEN, what, ref, "reason")
    elif until_ms <= cx.now_ms:
        cx.reject(RejectReason.IN_THE_PAST, what, ref)
    elif until_ms - cx.now_ms > rule.shelve_max_s * 1000:
        cx.reject(RejectReason.TOO_LONG, what, ref, f"at most {rule.shelve_max_s} s")
    else:
        return _short(cx, what, ref, reason)
    return False


def _short(cx: Context, what: str, ref: str, text: str) -> bool:
    if len(text) > BOOK_TEXT_CHARS_MAX:
        detail = f"{len(text)} characters, at most {BOOK_TEXT_CHARS_MAX}"
        cx.reject(RejectReason.LIMIT, what, ref, detail)
        return False
    return True


def note(cx: Context, said: Note) -> None:
    """Put a remark on the incident's timeline."""
    incident = _open_incident(cx, "note", said.incident_id, said.by)
    if incident is not None and _short(cx, "note", said.incident_id, said.text):
        incidents.record(cx, incident, IncidentChange.NOTE, "note", by=said.by, note=said.text)


def tell_protected(cx: Context, said: TellProtected) -> None:
    """The operator has the protected person told, where the policy leaves that to the operator."""
    incident = _open_incident(cx, "tell-protected", said.incident_id, said.by)
    if incident is None:
        return
    released = msgspec.structs.replace(incident, protected_released=True)
    cx.state.incidents.put(incident.incident_id, released)
    incidents.record(cx, released, IncidentChange.PROTECTED_TOLD, "operator", by=said.by)
    for alarm_id in incident.alarm_ids:
        runs.release_protected(cx, cx.state.alarms[alarm_id])


def raise_by_hand(cx: Context, said: RaiseByHand) -> None:
    """A person raises an alarm. It lasts until it is disposed of."""
    ids = tuple(i for i in (said.wearer_id, said.protected_id) if i is not None)
    ref = ids[0] if ids else said.alarm_class.value
    if not said.by or not said.reason.strip():
        cx.reject(RejectReason.NO_REASON_GIVEN, "raise-by-hand", ref)
        return
    if not all(ID_PATTERN.match(i) for i in ids):
        cx.reject(RejectReason.BAD_ID, "raise-by-hand", ref)
        return
    if not ids and said.alarm_class is not AlarmClass.SYSTEM:
        cx.reject(RejectReason.NO_PERSON, "raise-by-hand", ref)
        return
    if not _short(cx, "raise-by-hand", ref, said.reason):
        return
    facts = Facts(
        reason="by-hand",
        role=Role.WEARER if said.wearer_id else Role.PROTECTED,
        person_id=said.wearer_id or said.protected_id,
        wearer_id=said.wearer_id,
        protected_id=said.protected_id,
        drill=said.drill,
        detail=said.reason,
    )
    conditions.begin(cx, f"hand/{cx.next_key()}", said.alarm_class, facts, lasting=False)


def define_roster(cx: Context, said: DefineRoster) -> None:
    """Take a roster; it holds at once. A roster that is wrong changes nothing."""
    try:
        roster = parse_roster(said.roster)
    except RosterError as error:
        first = error.problems[0]
        cx.reject(RejectReason.BAD_ROSTER, "define-roster", first.roster, str(error))
        return
    if roster.id not in cx.state.rosters and len(cx.state.rosters) >= BOOK_ROSTERS_MAX:
        detail = f"{BOOK_ROSTERS_MAX} rosters"
        cx.reject(RejectReason.LIMIT, "define-roster", roster.id, detail)
        return
    cx.state.rosters.put(roster.id, roster)
    cx.emit(Defined(what="roster", ref=roster.id, at_ms=cx.now_ms))


def define_plan(cx: Context, said: DefinePlan) -> None:
    """Take a plan for incidents that open from now on. A plan that is wrong changes nothing."""
    try:
        plan = parse_plan(said.plan)
    except PlanError as error:
        first = error.problems[0]
        cx.reject(RejectReason.BAD_PLAN, "define-plan", first.plan, str(error))
        return
    if plan.id not in cx.state.current_plans and len(cx.state.current_plans) >= BOOK_PLANS_MAX:
        cx.reject(RejectReason.LIMIT, "define-plan", plan.id, f"{BOOK_PLANS_MAX} plans")
        return
    incidents.define_plan(cx.state, plan)
    cx.emit(Defined(what="plan", ref=plan.id, at_ms=cx.now_ms))
