"""What follows from the findings of the geofence.

A verdict is the present level of one order (of one pair for a contact ban): its conditions are set
or ended to match. `breach/`, `near/` and `silent/` name them.
"""

from typing import Final

import msgspec

from afstand.limits import BOOK_HISTORY_ROWS_MAX
from alerting.book import conditions, decisions, floods, incidents, patterns, silences, telling
from alerting.book.context import Context
from alerting.book.outputs import Observation
from alerting.book.patterns import PatternKind
from alerting.book.plain import plain_notice
from alerting.book.rules import BREACH_CLASS, class_of_state, silence_defer_ms
from alerting.book.state import Facts, LateBreaches
from alerting.book.words import AlarmClass, Audience, Purpose, Role, SignalKind
from geofence.verdicts import Freshness, OrderKind, Verdict, VerdictState

LATE_GAP_MS: Final = 3_600_000
"""Late breaches of one order are told at most this often, gathered."""

_WEARER_SILENT: Final = (Freshness.WEARER_STALE, Freshness.BLIND)
_PROTECTED_SILENT: Final = (Freshness.PROTECTED_STALE, Freshness.BLIND)


def facts_of(verdict: Verdict, reason: str) -> Facts:
    """The facts of a verdict about its wearer."""
    return Facts(
        reason=reason,
        role=Role.WEARER,
        person_id=verdict.wearer_id,
        wearer_id=verdict.wearer_id,
        protected_id=verdict.protected_id,
        plan_id=verdict.plan_id,
        risk_class=verdict.risk_class,
        confirmed=verdict.state is VerdictState.CONFIRMED,
        order_id=verdict.order_id,
        order_kind=verdict.order_kind,
        order_version=verdict.order_version,
        zone_id=verdict.zone_id,
        zone_version=verdict.zone_version,
        state=verdict.state,
        labels=tuple(str(label) for label in verdict.labels),
        probability_1024=verdict.probability_1024,
        distance_mm=verdict.distance_mm,
        time_to_contact_ms=verdict.time_to_contact_ms,
        closing_mm_s=verdict.closing_mm_s,
        fix_ms=verdict.fix_ms,
        wearer_age_ms=verdict.wearer_age_ms,
        protected_age_ms=verdict.protected_age_ms,
        wearer_position=verdict.wearer_position,
        protected_position=verdict.protected_position,
    )


def _key(kind: str, verdict: Verdict) -> str:
    return f"{kind}/{verdict.order_id}/{verdict.protected_id or ''}"


def verdict(cx: Context, found: Verdict) -> None:
    """Take one verdict."""
    if found.historic:
        _late(cx, found)
        return
    if not found.escalate:
        for kind in ("breach", "near", "silent-wearer", "silent-protected"):
            conditions.end(cx, _key(kind, found), found.reason.value)
        _observe(cx, found, "order-not-enforceable")
        if found.state is VerdictState.CONFIRMED and found.order_kind in _NEAR_PATTERN:
            facts = facts_of(found, found.reason.value)
            kind = PatternKind.OUTSIDE_VALIDITY
            patterns.seen(cx, kind, decisions.key_of(facts), facts)
        return
    _silence(cx, found)
    _state(cx, found)


def _state(cx: Context, found: Verdict) -> None:
    breach_key, near_key = _key("breach", found), _key("near", found)
    if found.state is VerdictState.UNKNOWN:
        return  # No position says nothing new about a breach; silence has its own condition.
    wanted, rule = class_of_state(found)
    breach = BREACH_CLASS[found.order_kind]
    if found.state is VerdictState.POSSIBLE and breach_key in cx.state.conditions:
        wanted = breach  # It was a breach a moment ago: doubt does not end it.
    facts = facts_of(found, found.reason.value)
    before = cx.state.conditions.get(breach_key)
    if wanted is breach:
        conditions.end(cx, near_key, "breach")
        conditions.begin(cx, breach_key, breach, facts, lasting=True)
        if facts.confirmed and not (before is not None and before.facts.confirmed):
            decisions.breach_began(cx, facts, conditions.incident_of(cx, breach_key))
        return
    if before is not None and before.facts.confirmed:
        decisions.breach_went_on(cx, before.facts)
    conditions.end(cx, breach_key, found.reason.value)
    if wanted is AlarmClass.APPROACH:
        near = near_key in cx.state.conditions
        conditions.begin(
            cx, near_key, wanted, msgspec.structs.replace(facts, confirmed=True), lasting=True
        )
        if not near:
            kind = _NEAR_PATTERN[found.order_kind]
            about = decisions.key_of(facts)
            patterns.seen(cx, kind, about, facts, conditions.incident_of(cx, near_key))
        return
    conditions.end(cx, near_key, found.reason.value)
    if found.state is not VerdictState.CLEAR:
        _observe(cx, found, rule)


_NEAR_PATTERN: Final = {
    OrderKind.CONTACT_BAN: PatternKind.NEAR_MISSES,
    OrderKind.AREA_BAN: PatternKind.BOUNDARY_PROBING,
}


def _radius_mm(cx: Context, found: Verdict) -> int:
    """Within which distance of each other a pair must not be, warning ring included."""
    order = cx.state.orders.get(found.order_id)
    return 0 if order is None else max(order.radius_m, order.warning_m) * 1000


def _silence(cx: Context, found: Verdict) -> None:
    pair = found.order_kind is OrderKind.CONTACT_BAN
    alarm_class = AlarmClass.PAIR_BLIND if pair else AlarmClass.LOCATION_DOUBT
    sides = (
        ("silent-wearer", found.wearer_id, Role.WEARER, _WEARER_SILENT),
        ("silent-protected", found.protected_id, Role.PROTECTED, _PROTECTED_SILENT),
    )
    for kind, person_id, role, silent in sides:
        key = _key(kind, found)
        if person_id is None:
            continue
        if found.freshness in silent:
            known = key in cx.state.conditions
            if not known:
                floods.fell_silent(cx, person_id, found.risk_class)
            facts = msgspec.structs.replace(
                facts_of(found, f"{role}-silent"), role=role, person_id=person_id, confirmed=True
            )
            defer_ms = silence_defer_ms(found, _radius_mm(cx, found))
            conditions.begin(cx, key, alarm_class, facts, lasting=True, defer_ms=defer_ms)
            if not known:
                _count_silence(cx, key)
        elif conditions.end(cx, key, "silence-ended"):
            floods.heard_again(cx, person_id)


def deferred(cx: Context, key: str) -> None:
    """A condition still holds after the time that it was kept from the operators."""
    conditions.deferred(cx, key)
    _count_silence(cx, key)


def _count_silence(cx: Context, key: str) -> None:
    """Silence that came to matter may be a pattern; a loss of the network says nothing."""
    condition = cx.state.conditions.get(key)
    if condition is None or not condition.alarm_id or silences.active(cx.state):
        return
    facts = condition.facts
    if facts.reason in silences.SILENT_REASONS and facts.person_id is not None:
        incident_id = conditions.incident_of(cx, key)
        patterns.seen(cx, PatternKind.REPEATED_SILENCE, facts.person_id, facts, incident_id)


def _observe(cx: Context, found: Verdict, reason: str, count: int = 1) -> None:
    cx.emit(
        Observation(
            kind="verdict",
            reason=reason,
            at_ms=cx.now_ms,
            order_id=found.order_id,
            order_kind=found.order_kind,
            state=found.state,
            historic=found.historic,
            fix_ms=found.fix_ms,
            wearer_id=found.wearer_id,
            protected_id=found.protected_id,
            person_id=found.wearer_id,
            probability_1024=found.probability_1024,
            distance_mm=found.distance_mm,
            count=count,
        )
    )


# --- breaches found late --------------------------------------------------------------------------


def _late(cx: Context, found: Verdict) -> None:
    """A breach in the past: recorded, never an alarm.

    Probation hears of it, gathered and not urgent.
    """
    _observe(cx, found, "late-fix-history" if found.escalate else "order-not-enforceable")
    if not found.escalate or found.state is not VerdictState.CONFIRMED:
        return
    state = cx.state
    key = _key("late", found)
    decisions.breach_began(cx, facts_of(found, found.reason.value), "", historic=True)
    row = state.late.get(key)
    if row is not None:
        facts = facts_of(found, found.reason.value)
        state.late.put(key, LateBreaches(untold=row.untold + 1, facts=facts))
        return
    if len(state.late) >= BOOK_HISTORY_ROWS_MAX:
        cx.signal(SignalKind.BOOK_LIMIT, f"orders with late breaches: {BOOK_HISTORY_ROWS_MAX}")
        return
    facts = facts_of(found, found.reason.value)
    _tell_history(cx, facts, 1)
    state.late.put(key, LateBreaches(untold=0, facts=facts))
    state.timers.set(f"late|{key}", cx.now_ms + LATE_GAP_MS)


def late_timer(cx: Context, key: str) -> None:
    """The gathering time of one order is over: tell what came meanwhile."""
    row = cx.state.late.get(key)
    if row is None:
        return
    if not row.untold:
        cx.state.late.drop(key)
        return
    _tell_history(cx, row.facts, row.untold)
    cx.state.late.put(key, LateBreaches(untold=0, facts=row.facts))
    cx.state.timers.set(f"late|{key}", cx.now_ms + LATE_GAP_MS)


def _tell_history(cx: Context, facts: Facts, count: int) -> None:
    plan = incidents.current_plan(cx.state, facts)
    alarm_class = BREACH_CLASS[facts.order_kind or OrderKind.AREA_BAN]
    told: list[str] = []
    for step in plan.steps:
        if step.audience is Audience.PROBATION and step.serves(alarm_class):
            told.extend(t for t in step.targets if t not in told)
    for target in telling.now_reached(cx, tuple(told)):
        plain_notice(
            cx, "h", alarm_class, facts, plan.id, target, Audience.PROBATION, Purpose.HISTORY, count
        )
