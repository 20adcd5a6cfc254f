"""The life of one alarm, after ISA-18.2 and OPC UA Part 9.

A class that latches is closed by a person only, whatever its conditions do, and can never be
silenced.
"""

from typing import Final

import msgspec

from afstand.limits import BOOK_SOURCES_PER_ALARM_MAX
from alerting.book import devices, incidents, indicators, runs, silences, telling
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.context import Context, rule_of
from alerting.book.outputs import Change, IncidentChange
from alerting.book.state import Alarm, Facts, Incident, Settled
from alerting.book.words import AlarmClass, Purpose

replace = msgspec.structs.replace

AGAIN_WITHIN_MS: Final = 3_600_000
"""An alarm that comes again so soon after its end stays open twice as long when it returns."""
SETTLE_MS_MAX: Final = 1_800_000
COVERED: Final = "covered-by-breach"
_BREACHES: Final = (AlarmClass.PROXIMITY, AlarmClass.AREA_BREACH)
_DEFAULT_ACKNOWLEDGEMENT_S: Final = 900


def ack_timer(alarm: Alarm) -> str:
    """Name of the timer that ends an acknowledgement."""
    return f"ack|{alarm.alarm_id}"


def settle_timer(alarm: Alarm) -> str:
    """Name of the timer that closes a returned alarm."""
    return f"settle|{alarm.alarm_id}"


def shelf_timer(alarm: Alarm) -> str:
    """Name of the timer that ends a shelving."""
    return f"shelf|{alarm.alarm_id}"


def _keep(cx: Context, alarm: Alarm) -> Alarm:
    cx.state.alarms.put(alarm.alarm_id, alarm)
    return alarm


# --- raising --------------------------------------------------------------------------------------


def raise_alarm(cx: Context, alarm_class: AlarmClass, facts: Facts, source: str) -> str:
    """A condition begins: a new alarm, or one source more of the one that is open.

    Answers the alarm's id.

    Empty when a bound kept it out; the caller tries again later.
    """
    incident = incidents.find_or_open(cx, alarm_class, facts)
    if incident is None:
        return ""
    for alarm_id in incident.alarm_ids:
        alarm = cx.state.alarms[alarm_id]
        if alarm.alarm_class is alarm_class and _same_matter(alarm.facts, facts):
            return _add_source(cx, alarm, facts, source).alarm_id
    return _new_alarm(cx, incident, alarm_class, facts, source).alarm_id


def _settled_key(incident: Incident, alarm_class: AlarmClass, facts: Facts) -> str:
    return f"{alarm_class}/{incident.subject}/{facts.protected_id or ''}/{facts.matter}"


def _settle_ms(cx: Context, incident: Incident, alarm_class: AlarmClass, facts: Facts) -> int:
    """How long a new alarm stays open after it returns: longer, when the last one was just over.

    What comes and goes all day is one alarm for most of it, not a hundred.
    """
    own_ms = ALARM_BOOK[alarm_class].settle_s * 1000
    last = cx.state.settled.get(_settled_key(incident, alarm_class, facts))
    return own_ms if last is None else max(own_ms, min(2 * last.settle_ms, SETTLE_MS_MAX))


def _same_matter(one: Facts, other: Facts) -> bool:
    return one.protected_id == other.protected_id and one.matter == other.matter


def _new_alarm(
    cx: Context, incident: Incident, alarm_class: AlarmClass, facts: Facts, source: str
) -> Alarm:
    alarm = Alarm(
        alarm_id=f"{incident.incident_id}.{incident.alarm_count + 1}",
        incident_id=incident.incident_id,
        alarm_class=alarm_class,
        opened_ms=cx.now_ms,
        facts=facts,
        sources=(source,),
        confirmed=facts.confirmed,
        suppressed=_suppression(cx, incident, alarm_class, facts),
        out_of_service=_out_of_service(cx, alarm_class, facts),
        updated_ms=cx.now_ms,
        settle_ms=_settle_ms(cx, incident, alarm_class, facts),
    )
    known = alarm_class in incident.classes
    joined = replace(
        incident,
        alarm_ids=(*incident.alarm_ids, alarm.alarm_id),
        alarm_count=incident.alarm_count + 1,
        classes=incident.classes if known else (*incident.classes, alarm_class),
    )
    cx.state.incidents.put(incident.incident_id, joined)
    _keep(cx, alarm)
    incidents.void_proposal(cx, incident.incident_id, facts.reason)
    if incident.alarm_count:
        incidents.record(cx, joined, IncidentChange.JOINED, f"{alarm_class}: {facts.reason}")
    cx.record(alarm, Change.RAISED, facts.reason)
    if alarm_class in _BREACHES:
        _cover_approach(cx, joined, facts)
    if alarm.suppressed:
        cx.record(alarm, Change.SUPPRESSED, alarm.suppressed)
    if alarm.suppressed == silences.MASS_LOSS:
        cx.state.mass_suppressed.put(alarm.alarm_id, facts.risk_class)
    if alarm.out_of_service:
        cx.record(alarm, Change.OUT_OF_SERVICE, alarm.out_of_service)
    if not alarm.silenced:
        alarm = runs.start(cx, alarm, Purpose.ALERT, facts.reason)
    devices.first_actions(cx, alarm)
    return alarm


def _add_source(cx: Context, alarm: Alarm, facts: Facts, source: str) -> Alarm:
    """One condition more holds an open alarm: back after it returned, or another order as well."""
    returned = not alarm.active
    same = (alarm.facts.order_id, alarm.facts.person_id) == (facts.order_id, facts.person_id)
    same = same and not (rule_of(alarm).task and alarm.facts.reason != facts.reason)
    known = _known_silence(cx, alarm, facts)
    if source not in alarm.sources and len(alarm.sources) < BOOK_SOURCES_PER_ALARM_MAX:
        alarm = replace(alarm, sources=(*alarm.sources, source))
    cx.state.timers.clear(settle_timer(alarm))
    if known:
        return _with_facts(cx, alarm, facts)
    alarm = _with_facts(cx, replace(alarm, count=alarm.count + 1), facts)
    cx.record(alarm, Change.RAISED_AGAIN, facts.reason)
    if returned:
        alarm = _keep(cx, indicators.came_again(cx, alarm))
    incidents.void_proposal(cx, alarm.incident_id, facts.reason)
    if alarm.silenced:
        return _audible_for(cx, alarm, facts)
    if returned and not rule_of(alarm).latched and (same or not alarm.acknowledged):
        # It comes and goes: whoever has it in hand knows, everybody else is paged where it stopped.
        return runs.resume(cx, alarm)
    return _news(cx, alarm, facts, facts.reason)


def _known_silence(cx: Context, alarm: Alarm, facts: Facts) -> bool:
    """Whether the alarm already says that this person is silent.

    Another order that notices the same is no news.
    """
    if facts.reason not in silences.SILENT_REASONS:
        return False
    held_by = (cx.state.conditions.get(s) for s in alarm.sources)
    return any(
        c is not None
        and c.facts.person_id == facts.person_id
        and c.facts.reason in silences.SILENT_REASONS
        for c in held_by
    )


def _audible_for(cx: Context, alarm: Alarm, facts: Facts) -> Alarm:
    """End a silencing that does not cover the new condition.

    It is about another person, or says more than silence.
    """
    if alarm.out_of_service and not _out_of_service(cx, alarm.alarm_class, facts):
        alarm = _keep(cx, replace(alarm, out_of_service=""))
        cx.record(alarm, Change.IN_SERVICE, "another-person")
    if alarm.suppressed == silences.MASS_LOSS and facts.reason not in silences.SILENT_REASONS:
        cx.state.mass_suppressed.drop(alarm.alarm_id)
        alarm = _keep(cx, replace(alarm, suppressed=""))
        cx.record(alarm, Change.UNSUPPRESSED, "more-than-silence")
    if alarm.silenced:
        return alarm
    if alarm.acknowledged:
        return _news(cx, alarm, facts, facts.reason)
    return _start(cx, alarm, Purpose.ALERT, facts.reason)


def repeat(cx: Context, alarm: Alarm, facts: Facts, detail: str = "") -> Alarm:
    """The same source again: a second press. It is news, whoever had the first in hand."""
    alarm = _with_facts(cx, replace(alarm, count=alarm.count + 1), facts)
    cx.record(alarm, Change.RAISED_AGAIN, facts.reason, detail=detail)
    incidents.void_proposal(cx, alarm.incident_id, facts.reason)
    return _news(cx, alarm, facts, facts.reason)


def refresh(cx: Context, alarm: Alarm, facts: Facts) -> Alarm:
    """Newer figures about the same source. Only a confirmation is told."""
    return _with_facts(cx, alarm, facts)


def _news(cx: Context, alarm: Alarm, facts: Facts, reason: str) -> Alarm:
    """Something happened that those in charge do not know yet.

    Page again if it was acknowledged, page if nobody was paged, else update.
    """
    if alarm.acknowledged:
        cx.state.timers.clear(ack_timer(alarm))
        alarm = replace(alarm, acknowledged=False)
        cx.record(alarm, Change.ACKNOWLEDGEMENT_VOID, reason)
        return _start(cx, alarm, Purpose.ALERT, reason)
    if alarm.silenced:
        return _keep(cx, alarm)
    if not alarm.round:
        return _start(cx, alarm, Purpose.ALERT, reason)
    plan = cx.state.plans[alarm.plan_key]
    if facts.plan_id and facts.plan_id != plan.id and _runs_another(cx, alarm, facts.plan_id):
        return _start(cx, alarm, Purpose.ALERT, "order-with-another-plan")
    return _keep(cx, telling.update(cx, alarm, reason, at_once=False))


def _runs_another(cx: Context, alarm: Alarm, plan_id: str) -> bool:
    key = cx.state.current_plans.get(plan_id)
    return key is not None and cx.state.plans[key].serves(alarm.alarm_class)


def _with_facts(cx: Context, alarm: Alarm, facts: Facts) -> Alarm:
    """Take newer facts.

    A breach once confirmed stays so; what nobody can prove does not replace what was proven.
    """
    if alarm.facts.authenticated and not facts.authenticated:
        return _keep(cx, alarm)
    newly = facts.confirmed and not alarm.confirmed
    confirmed = facts.confirmed or alarm.confirmed
    alarm = replace(alarm, facts=replace(facts, confirmed=confirmed), confirmed=confirmed)
    _keep(cx, alarm)
    if newly:
        cx.record(alarm, Change.CONFIRMED, facts.reason)
        incidents.void_proposal(cx, alarm.incident_id, facts.reason)
        if not alarm.silenced:
            alarm = telling.update(cx, alarm, facts.reason, at_once=True)
        alarm = runs.confirm(cx, alarm)
    return alarm


def _start(cx: Context, alarm: Alarm, purpose: Purpose, reason: str) -> Alarm:
    return runs.start(cx, alarm, purpose, reason) if runs.pages(alarm) else _keep(cx, alarm)


# --- returning ------------------------------------------------------------------------------------


def return_source(cx: Context, alarm: Alarm, source: str, reason: str) -> Alarm:
    """A condition ended.

    With the last one the alarm returns; a latched alarm stays open and goes on paging.
    """
    if source not in alarm.sources:
        return alarm
    alarm = replace(alarm, sources=tuple(s for s in alarm.sources if s != source))
    _keep(cx, alarm)
    if alarm.active:
        return alarm
    cx.record(alarm, Change.RETURNED, reason)
    if not rule_of(alarm).latched:
        runs.stop(cx, alarm)
        cx.state.timers.set(settle_timer(alarm), cx.now_ms + alarm.settle_ms)
    return alarm


def settled(cx: Context, alarm: Alarm) -> None:
    """An alarm that is not latched stayed returned long enough: it closes by itself."""
    key = _settled_key(cx.state.incidents[alarm.incident_id], alarm.alarm_class, alarm.facts)
    cx.state.settled.put(key, Settled(alarm.settle_ms))
    cx.state.timers.set(f"settled|{key}", cx.now_ms + AGAIN_WITHIN_MS)
    close_alarm(cx, alarm, "returned", tell=True)
    incident = cx.state.incidents[alarm.incident_id]
    if not incident.alarm_ids:
        incidents.close(cx, incident, "every-alarm-returned")


def close_alarm(cx: Context, alarm: Alarm, reason: str, *, tell: bool, by: str = "") -> None:
    """Close an alarm; those who were told hear that it is over.

    A condition that lasts is kept: if it still lasts after a while it raises a new alarm.
    """
    state, rule = cx.state, rule_of(alarm)
    runs.stop(cx, alarm)
    for name in (ack_timer(alarm), settle_timer(alarm), shelf_timer(alarm)):
        state.timers.clear(name)
    for source in alarm.sources:
        condition = state.conditions.get(source)
        if condition is None:
            continue
        if condition.lasting:
            state.conditions.put(source, replace(condition, alarm_id=""))
            state.timers.set(f"recheck|{source}", cx.now_ms + rule.recheck_s * 1000)
        else:
            state.conditions.drop(source)
            state.timers.clear(f"condition|{source}")
    if tell:
        alarm = telling.tell_again(cx, alarm, Purpose.WITHDRAWN, reason)
    alarm = _keep(cx, replace(alarm, closed=True, sources=()))
    state.mass_suppressed.drop(alarm.alarm_id)
    cx.record(alarm, Change.CLOSED, reason, by=by)
    incident = state.incidents[alarm.incident_id]
    left = tuple(a for a in incident.alarm_ids if a != alarm.alarm_id)
    state.incidents.put(incident.incident_id, replace(incident, alarm_ids=left))
    state.timers.set(f"purge|{alarm.alarm_id}", cx.now_ms + incidents.KEEP_CLOSED_MS)


def purge(cx: Context, alarm: Alarm) -> None:
    """Forget a closed alarm and its deliveries."""
    for key in alarm.deliveries:
        cx.state.deliveries.drop(key)
    cx.state.alarms.drop(alarm.alarm_id)


# --- acknowledging --------------------------------------------------------------------------------


def acknowledge(cx: Context, alarm: Alarm, by: str, reason: str) -> Alarm:
    """Somebody has the alarm in hand, for as long as the plan lets an acknowledgement count."""
    plan = cx.state.plans.get(alarm.plan_key)
    by_plan_s = _DEFAULT_ACKNOWLEDGEMENT_S if plan is None else plan.acknowledgement_expires_s
    term_s = rule_of(alarm).acknowledged_s or by_plan_s
    cx.state.timers.set(ack_timer(alarm), cx.now_ms + term_s * 1000)
    change = Change.ACKNOWLEDGEMENT_RENEWED if alarm.acknowledged else Change.ACKNOWLEDGED
    alarm = _keep(cx, indicators.answered(cx, replace(alarm, acknowledged=True)))
    cx.record(alarm, change, reason, by=by)
    return runs.acknowledged(cx, alarm)


def acknowledgement_expired(cx: Context, alarm: Alarm) -> None:
    """Nobody disposed of it in time: it pages again from the start."""
    alarm = _keep(cx, replace(alarm, acknowledged=False))
    cx.record(alarm, Change.ACKNOWLEDGEMENT_EXPIRED, "term-over")
    _start(cx, alarm, Purpose.ESCALATION, "acknowledgement-expired")


def re_alarm(cx: Context, alarm: Alarm) -> None:
    """The plan ended without an answer a while ago: it pages again from the start."""
    if alarm.acknowledged or not runs.pages(alarm):
        return
    cx.record(alarm, Change.RE_ALARMED, "nobody-answered")
    _start(cx, alarm, Purpose.ESCALATION, "nobody-answered")


# --- silencing ------------------------------------------------------------------------------------


def shelve(cx: Context, alarm: Alarm, by: str, reason: str, until_ms: int) -> None:
    """Silence an alarm for a time. The caller has checked that its class may be."""
    runs.stop(cx, alarm)
    alarm = _keep(cx, replace(alarm, shelved_until_ms=until_ms))
    cx.state.timers.set(shelf_timer(alarm), until_ms)
    cx.record(alarm, Change.SHELVED, reason, by=by)


def unshelve(cx: Context, alarm: Alarm, by: str, reason: str) -> None:
    """End a shelving, by a person or by its time."""
    cx.state.timers.clear(shelf_timer(alarm))
    alarm = _keep(cx, replace(alarm, shelved_until_ms=None))
    cx.record(alarm, Change.UNSHELVED, reason, by=by)
    audible_again(cx, alarm, "shelving-over")


def put_out_of_service(cx: Context, alarm: Alarm, by: str, reason: str) -> None:
    """Let an open alarm page nobody because its person or device is out of service."""
    runs.stop(cx, alarm)
    alarm = _keep(cx, replace(alarm, out_of_service=reason))
    cx.record(alarm, Change.OUT_OF_SERVICE, reason, by=by)


def back_in_service(cx: Context, alarm: Alarm, by: str, reason: str) -> None:
    """Undo `put_out_of_service`."""
    alarm = _keep(cx, replace(alarm, out_of_service=""))
    cx.record(alarm, Change.IN_SERVICE, reason, by=by)
    audible_again(cx, alarm, "back-in-service")


def suppress(cx: Context, alarm: Alarm, reason: str) -> None:
    """Let an open alarm page nobody, by design and with the reason."""
    runs.stop(cx, alarm)
    alarm = _keep(cx, replace(alarm, suppressed=reason))
    cx.record(alarm, Change.SUPPRESSED, reason)


def unsuppress(cx: Context, alarm: Alarm, reason: str) -> None:
    """Undo `suppress`."""
    alarm = _keep(cx, replace(alarm, suppressed=""))
    cx.record(alarm, Change.UNSUPPRESSED, reason)
    audible_again(cx, alarm, reason)


def audible_again(cx: Context, alarm: Alarm, reason: str) -> None:
    """What silenced it is over: still active and in nobody's hand, it pages from the start.

    In somebody's hand its plan goes on: steps that run even so may wait yet.
    """
    if alarm.acknowledged:
        runs.resume(cx, alarm)
    else:
        _start(cx, alarm, Purpose.ALERT, reason)


def _suppression(cx: Context, incident: Incident, alarm_class: AlarmClass, facts: Facts) -> str:
    """Why a new alarm is suppressed by design, or nothing."""
    if not ALARM_BOOK[alarm_class].may_be_silenced:
        return ""
    if alarm_class is AlarmClass.APPROACH and _open_breach(cx, incident, facts):
        return COVERED
    if silences.suppresses(cx.state, alarm_class, facts):
        return silences.MASS_LOSS
    return ""


def _open_breach(cx: Context, incident: Incident, facts: Facts) -> bool:
    open_alarms = (cx.state.alarms[a] for a in incident.alarm_ids)
    return any(
        a.alarm_class in _BREACHES and a.facts.protected_id == facts.protected_id
        for a in open_alarms
    )


def _cover_approach(cx: Context, incident: Incident, facts: Facts) -> None:
    """What was an approach is a breach now: one alarm is enough."""
    for alarm_id in incident.alarm_ids:
        alarm = cx.state.alarms[alarm_id]
        same = alarm.facts.protected_id == facts.protected_id
        if alarm.alarm_class is not AlarmClass.APPROACH or not same:
            continue
        if alarm.active and not alarm.suppressed:
            suppress(cx, alarm, COVERED)
        elif not alarm.active:
            close_alarm(cx, alarm, COVERED, tell=False)


def _out_of_service(cx: Context, alarm_class: AlarmClass, facts: Facts) -> str:
    if not ALARM_BOOK[alarm_class].may_be_silenced or facts.person_id is None:
        return ""
    row = cx.state.out_of_service.get(f"{facts.person_id}|{alarm_class}")
    return "" if row is None else row.reason
