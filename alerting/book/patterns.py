"""Patterns: single events that are no alarm each, and together point to growing danger.

Near-misses, a boundary that is probed, repeated silence: each is counted per order or person within
a window; when enough came together a PATTERN alarm is raised for the owner of the case, with the
times, and counting starts anew. What a person later closes as a false or technical alarm is taken
out of the count again (domain 3.6: single signals that were never put side by side).
"""

from enum import StrEnum
from typing import Final

import msgspec

from afstand.limits import BOOK_PATTERN_ROWS_MAX
from alerting.book import cases, conditions
from alerting.book.calendar import date_text
from alerting.book.classes import Text
from alerting.book.context import Context
from alerting.book.outputs import Observation
from alerting.book.state import Facts, Occurrence, Occurrences
from alerting.book.words import AlarmClass, SignalKind

PATTERNS_VERSION: Final = "1"
DAY_MS: Final = 86_400_000
TIMER: Final = "pattern"


class PatternKind(StrEnum):
    """What is counted."""

    NEAR_MISSES = "near-misses"
    BOUNDARY_PROBING = "boundary-probing"
    REPEATED_BREACH = "repeated-breach"
    OUTSIDE_VALIDITY = "contact-outside-validity"
    REPEATED_SILENCE = "repeated-silence"
    REPEATED_OBSTRUCTION = "repeated-obstruction"
    REPEATED_EMPTY = "repeated-empty"


class PatternRule(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a kind within `window_days` are a pattern, for risk class 1, 2 and 3.

    Occurrences less than `gap_s` after the last sign of the one before count as the same.
    """

    kind: PatternKind
    title: Text
    counts: tuple[int, int, int]
    window_days: int = 14
    gap_s: int = 1800


ROWS: Final = (
    PatternRule(
        kind=PatternKind.NEAR_MISSES,
        title=Text("Steeds bijna te dichtbij", "Near-misses"),
        counts=(3, 5, 8),
    ),
    PatternRule(
        kind=PatternKind.BOUNDARY_PROBING,
        title=Text("Aftasten van de grens", "Probing of a boundary"),
        counts=(4, 6, 10),
    ),
    PatternRule(
        kind=PatternKind.REPEATED_BREACH,
        title=Text("Herhaalde overtreding", "Repeated breach"),
        counts=(2, 3, 4),
    ),
    PatternRule(
        kind=PatternKind.OUTSIDE_VALIDITY,
        title=Text("Contact buiten de geldigheid", "Contact while not in force"),
        counts=(1, 2, 3),
    ),
    PatternRule(
        kind=PatternKind.REPEATED_SILENCE,
        title=Text("Herhaald uit beeld", "Repeated silence"),
        counts=(6, 10, 15),
    ),
    PatternRule(
        kind=PatternKind.REPEATED_OBSTRUCTION,
        title=Text("Herhaalde afscherming of storing", "Repeated shielding or jamming"),
        counts=(3, 4, 6),
    ),
    PatternRule(
        kind=PatternKind.REPEATED_EMPTY,
        title=Text("Herhaald leeg apparaat", "Repeatedly empty device"),
        counts=(4, 6, 8),
    ),
)
PATTERNS: Final = {rule.kind: rule for rule in ROWS}


def seen(cx: Context, kind: PatternKind, about: str, facts: Facts, incident_id: str = "") -> None:
    """Something happened that is counted, for an order (and pair) or for a person."""
    state, rule = cx.state, PATTERNS[kind]
    key = f"{kind}/{about}"
    row = state.patterns.get(key)
    if row is None and len(state.patterns) >= BOOK_PATTERN_ROWS_MAX:
        cx.signal(SignalKind.BOOK_LIMIT, f"patterns: {BOOK_PATTERN_ROWS_MAX}")
        return
    row = row or Occurrences()
    state.timers.set(f"{TIMER}|{key}", cx.now_ms + rule.window_days * DAY_MS)
    if row.last_ms is not None and cx.now_ms - row.last_ms < rule.gap_s * 1000:
        state.patterns.put(key, msgspec.structs.replace(row, last_ms=cx.now_ms))
        return
    horizon_ms = cx.now_ms - rule.window_days * DAY_MS
    recent = tuple(o for o in row.seen if o.at_ms > horizon_ms)
    recent = (*recent, Occurrence(cx.now_ms, incident_id))
    _counted_in(cx, incident_id, key)
    enough = len(recent) >= rule.counts[risk_class(cx, facts) - 1]
    state.patterns.put(key, Occurrences(() if enough else recent, cx.now_ms))
    if enough:
        _raise(cx, rule, key, facts, recent)


def risk_class(cx: Context, facts: Facts) -> int:
    """The risk class that sets a threshold: the stricter of order and case, 2 where none is."""
    case = cases.case_for(cx.state, facts.wearer_id, facts.protected_id)
    named = [r for r in (facts.risk_class, 0 if case is None else case.risk_class) if r]
    return min(named, default=2)


def _raise(
    cx: Context, rule: PatternRule, key: str, facts: Facts, recent: tuple[Occurrence, ...]
) -> None:
    times = ", ".join(date_text(o.at_ms) for o in recent)
    told = Facts(
        reason=rule.kind.value,
        role=facts.role,
        person_id=facts.person_id,
        wearer_id=facts.wearer_id,
        protected_id=facts.protected_id,
        plan_id=facts.plan_id,
        risk_class=facts.risk_class,
        order_id=facts.order_id,
        order_kind=facts.order_kind,
        order_version=facts.order_version,
        detail=f"{len(recent)} in {rule.window_days} days: {times}",
        matter=key,
    )
    press = f"{key}/{cx.now_ms}"
    conditions.begin(cx, key, AlarmClass.PATTERN, told, lasting=False, press=press)


def _counted_in(cx: Context, incident_id: str, key: str) -> None:
    """Remember with the incident what was counted because of it."""
    incident = cx.state.incidents.get(incident_id)
    if incident is not None and key not in incident.counted:
        counted = (*incident.counted, key)
        cx.state.incidents.put(incident_id, msgspec.structs.replace(incident, counted=counted))


def withdraw(cx: Context, incident_id: str, keys: tuple[str, ...]) -> None:
    """A person decided that an incident was nothing: it no longer counts towards a pattern."""
    for key in keys:
        row = cx.state.patterns.get(key)
        if row is None:
            continue
        left = tuple(o for o in row.seen if o.incident_id != incident_id)
        if len(left) == len(row.seen):
            continue
        cx.state.patterns.put(key, msgspec.structs.replace(row, seen=left))
        cx.emit(
            Observation(
                kind="pattern",
                reason="taken-out-of-the-count",
                at_ms=cx.now_ms,
                incident_id=incident_id,
                count=len(row.seen) - len(left),
            )
        )


def forget_last(cx: Context, kind: PatternKind, person_id: str, since_ms: int) -> None:
    """Take back what was counted for one person since then: it was a trouble of the network."""
    key = f"{kind}/{person_id}"
    row = cx.state.patterns.get(key)
    if row is not None:
        left = tuple(o for o in row.seen if o.at_ms <= since_ms)
        cx.state.patterns.put(key, msgspec.structs.replace(row, seen=left))


def over(cx: Context, key: str) -> None:
    """Nothing of this kind was seen for a whole window: it is forgotten."""
    cx.state.patterns.drop(key)
