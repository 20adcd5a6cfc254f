"""Breaches are counted per order, and each owes a decision of the authority by a deadline.

A confirmed breach starts the clock of its legal title; all breaches of one order without a decision
share the earliest deadline. The owners of the case are told at once and halfway; when nobody has
decided in time, that is a LEGAL task of its own (domain F27: breaches without consequence). What a
person closes as no breach is taken out of the count again.
"""

from typing import Final

import msgspec

from afstand.limits import BOOK_BREACH_ROWS_MAX, BOOK_BREACHES_OWED_MAX, BOOK_TEXT_CHARS_MAX
from alerting.book import cases, conditions, patterns
from alerting.book.calendar import date_text
from alerting.book.context import Context
from alerting.book.inputs import Decide, Decision
from alerting.book.outputs import BreachChange, BreachRecord, RejectReason
from alerting.book.plain import plain_notice
from alerting.book.state import Breaches, Facts, Occurrence
from alerting.book.titles import DEFAULT_DECIDE_WITHIN_H, title_of
from alerting.book.words import AlarmClass, Audience, Purpose, SignalKind

replace = msgspec.structs.replace

EPISODE_MS: Final = 1_800_000
"""A breach that begins again within this time of the last one's end is the same breach."""
HOUR_MS: Final = 3_600_000
REMIND_TIMER: Final = "decision-half"
DUE_TIMER: Final = "decision-due"
OVERDUE: Final = "decision-overdue"


def key_of(facts: Facts) -> str:
    """The name of the counter: an order, and the protected person where it names several."""
    return f"{facts.order_id}/{facts.protected_id or ''}"


def breach_began(cx: Context, facts: Facts, incident_id: str, *, historic: bool = False) -> None:
    """A confirmed breach of an order in force. `historic`: found in fixes that came late."""
    state = cx.state
    key = key_of(facts)
    row = state.breaches.get(key)
    if row is None and len(state.breaches) >= BOOK_BREACH_ROWS_MAX:
        cx.signal(SignalKind.BOOK_LIMIT, f"counters of breaches: {BOOK_BREACH_ROWS_MAX}")
        return
    if row is not None and row.count and cx.now_ms - row.last_ms < EPISODE_MS:
        state.breaches.put(key, replace(row, last_ms=cx.now_ms))
        return
    row = row or Breaches(facts=_without_places(facts), first_ms=cx.now_ms)
    full = len(row.owed) >= BOOK_BREACHES_OWED_MAX
    first = row.due_ms is None
    row = replace(
        row,
        facts=_without_places(facts),
        count=row.count + 1,
        last_ms=cx.now_ms,
        owed=row.owed if full else (*row.owed, Occurrence(cx.now_ms, incident_id)),
        owed_more=row.owed_more + full,
        due_ms=cx.now_ms + _decide_within_ms(cx, facts) if first else row.due_ms,
    )
    state.breaches.put(key, row)
    _remember(cx, incident_id, key)
    _record(cx, row, BreachChange.COUNTED, incident_id=incident_id, historic=historic)
    if first and row.due_ms is not None:
        state.timers.set(f"{REMIND_TIMER}|{key}", (cx.now_ms + row.due_ms) // 2)
        state.timers.set(f"{DUE_TIMER}|{key}", row.due_ms)
        _tell_owners(cx, row, "decision-owed")
    patterns.seen(cx, patterns.PatternKind.REPEATED_BREACH, key, facts, incident_id)


def breach_went_on(cx: Context, facts: Facts) -> None:
    """A breach ended now: one that begins again soon is the same."""
    row = cx.state.breaches.get(key_of(facts))
    if row is not None:
        cx.state.breaches.put(key_of(facts), replace(row, last_ms=cx.now_ms))


def _decide_within_ms(cx: Context, facts: Facts) -> int:
    order = cx.state.orders.get(facts.order_id or "")
    title = None if order is None else title_of(order)
    return (DEFAULT_DECIDE_WITHIN_H if title is None else title.decide_within_h) * HOUR_MS


def _without_places(facts: Facts) -> Facts:
    return Facts(
        reason=facts.reason,
        role=facts.role,
        person_id=facts.person_id,
        wearer_id=facts.wearer_id,
        protected_id=facts.protected_id,
        plan_id=facts.plan_id,
        risk_class=facts.risk_class,
        order_id=facts.order_id,
        order_kind=facts.order_kind,
        order_version=facts.order_version,
    )


def _remember(cx: Context, incident_id: str, key: str) -> None:
    incident = cx.state.incidents.get(incident_id)
    mark = f"breach:{key}"
    if incident is not None and mark not in incident.counted:
        counted = (*incident.counted, mark)
        cx.state.incidents.put(incident_id, replace(incident, counted=counted))


def _owed(row: Breaches) -> int:
    return len(row.owed) + row.owed_more


def _record(
    cx: Context,
    row: Breaches,
    change: BreachChange,
    *,
    incident_id: str = "",
    historic: bool = False,
    by: str = "",
    decision: Decision | None = None,
    note: str = "",
) -> None:
    cx.emit(
        BreachRecord(
            order_id=row.facts.order_id or "",
            change=change,
            at_ms=cx.now_ms,
            count=row.count,
            owed=_owed(row),
            wearer_id=row.facts.wearer_id,
            protected_id=row.facts.protected_id,
            due_ms=row.due_ms,
            incident_id=incident_id or None,
            historic=historic,
            by=by,
            decision=decision,
            note=note,
        )
    )


def _tell_owners(cx: Context, row: Breaches, reason: str) -> None:
    facts = replace(
        row.facts,
        reason=reason,
        detail=f"{_owed(row)} without a decision, {row.count} in all; by "
        f"{date_text(row.due_ms or 0)}",
    )
    for target in cases.owner_targets(cx.state, facts.wearer_id, facts.protected_id):
        plain_notice(
            cx,
            "d",
            AlarmClass.LEGAL,
            facts,
            facts.plan_id,
            target,
            Audience.CASE_OWNER,
            Purpose.TASK,
            _owed(row),
            deadline_ms=row.due_ms,
        )


# --- time -----------------------------------------------------------------------------------------


def half_time(cx: Context, key: str) -> None:
    """Half of the time for a decision is over."""
    row = cx.state.breaches.get(key)
    if row is not None and row.due_ms is not None:
        _record(cx, row, BreachChange.REMINDED)
        _tell_owners(cx, row, "decision-reminder")


def overdue(cx: Context, key: str) -> None:
    """Nobody decided in time: a task that stays until somebody does."""
    row = cx.state.breaches.get(key)
    if row is None or row.due_ms is None:
        return
    _record(cx, row, BreachChange.OVERDUE)
    facts = replace(
        row.facts,
        reason=OVERDUE,
        detail=f"{_owed(row)} breaches without a decision, due {date_text(row.due_ms)}",
        matter=f"{OVERDUE}/{key}",
    )
    conditions.begin(cx, f"{OVERDUE}/{key}", AlarmClass.LEGAL, facts, lasting=True)


# --- people ---------------------------------------------------------------------------------------


def decide(cx: Context, said: Decide) -> None:
    """The authority decided about everything that it owed for an order."""
    key = f"{said.order_id}/{said.protected_id or ''}"
    row = cx.state.breaches.get(key)
    if not said.by or not said.note.strip():
        cx.reject(RejectReason.NO_REASON_GIVEN, "decide", said.order_id, "by and note")
    elif len(said.note) > BOOK_TEXT_CHARS_MAX:
        detail = f"a note of more than {BOOK_TEXT_CHARS_MAX} characters"
        cx.reject(RejectReason.LIMIT, "decide", said.order_id, detail)
    elif row is None or row.due_ms is None:
        cx.reject(RejectReason.NOTHING_OWED, "decide", said.order_id)
    else:
        none = said.decision is Decision.NO_BREACH
        count = row.count - _owed(row) if none else row.count
        row = replace(row, count=count, owed=(), owed_more=0, due_ms=None)
        cx.state.breaches.put(key, row)
        _settled(cx, key)
        _record(cx, row, BreachChange.DECIDED, by=said.by, decision=said.decision, note=said.note)


def withdraw(cx: Context, incident_id: str, keys: tuple[str, ...]) -> None:
    """A person closed an incident as no breach: what it counted is taken back."""
    for mark in keys:
        kind, _, key = mark.partition(":")
        row = cx.state.breaches.get(key) if kind == "breach" else None
        if row is None:
            continue
        left = tuple(o for o in row.owed if o.incident_id != incident_id)
        if len(left) == len(row.owed):
            continue
        row = replace(row, count=row.count - len(row.owed) + len(left), owed=left)
        if not _owed(row):
            row = replace(row, due_ms=None)
            _settled(cx, key)
        cx.state.breaches.put(key, row)
        _record(cx, row, BreachChange.WITHDRAWN, incident_id=incident_id)


def forget_order(cx: Context, order_id: str, protected_ids: tuple[str, ...]) -> None:
    """An order is forgotten: so is its counter, unless a decision is still owed."""
    for protected_id in ("", *protected_ids):
        key = f"{order_id}/{protected_id}"
        row = cx.state.breaches.get(key)
        if row is not None and row.due_ms is None:
            cx.state.breaches.drop(key)


def _settled(cx: Context, key: str) -> None:
    for timer in (REMIND_TIMER, DUE_TIMER):
        cx.state.timers.clear(f"{timer}|{key}")
    conditions.end(cx, f"{OVERDUE}/{key}", "decided")
