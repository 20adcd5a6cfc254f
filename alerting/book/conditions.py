"""Conditions: what holds now. They raise alarms, hold them active and let them return.

A condition outlives its alarm: a breach that lasts after its alarm was closed by a person is known,
and looked at again (`recheck_s` of its class).
"""

from typing import Final

import msgspec

from afstand.limits import BOOK_CONDITIONS_MAX
from alerting.book import alarms, devices
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.context import Context
from alerting.book.outputs import Observation, RejectReason
from alerting.book.state import Condition, Facts
from alerting.book.words import AlarmClass, SignalKind

STILL_ACTIVE: Final = "still-active-after-disposition"
KEYS_KEPT: Final = 16
"""Presses of one source whose copies are recognised."""

DEFER_TIMER: Final = "defer"

replace = msgspec.structs.replace


def begin(
    cx: Context,
    key: str,
    alarm_class: AlarmClass,
    facts: Facts,
    *,
    lasting: bool,
    press: str = "",
    expires_ms: int | None = None,
    defer_ms: int = 0,
) -> None:
    """A condition holds (again).

    `press`: the key of a press, each of which is news; copies are refused. `defer_ms`: a new one
    raises its alarm when it still holds after so long; its first actions come at once.
    """
    state = cx.state
    old = _known(cx, key)
    if old is not None and press and press in old.keys:
        cx.reject(RejectReason.DUPLICATE, "device-event", press)
        return
    if old is None and len(state.conditions) >= BOOK_CONDITIONS_MAX:
        cx.signal(SignalKind.BOOK_LIMIT, f"conditions: {BOOK_CONDITIONS_MAX}")
        if not ALARM_BOOK[alarm_class].latched:
            return
    keys = () if old is None else old.keys
    condition = Condition(
        alarm_class=alarm_class,
        lasting=lasting,
        since_ms=cx.now_ms if old is None else old.since_ms,
        facts=facts,
        alarm_id="" if old is None else old.alarm_id,
        keys=(*keys, press)[-KEYS_KEPT:] if press else keys,
    )
    state.conditions.put(key, condition)
    if expires_ms is not None:
        state.timers.set(f"condition|{key}", cx.now_ms + expires_ms)
    if old is None and defer_ms > 0:
        _defer(cx, key, condition, defer_ms)
    elif old is None:
        _raise(cx, key, condition)
    elif not old.alarm_id:
        # Closed by a person while it lasted, or deferred: only more than what was known is news.
        if press or (facts.confirmed and not old.facts.confirmed):
            _raise(cx, key, condition)
    elif press:
        alarms.repeat(cx, state.alarms[old.alarm_id], facts)
    else:
        alarms.refresh(cx, state.alarms[old.alarm_id], facts)


def _known(cx: Context, key: str) -> Condition | None:
    """The condition as it holds now.

    An alarm keeps only so many of its sources. The condition of one it did not keep does not hear
    of the closing; it counts as new when it is said again, because nobody decided about it.
    """
    condition = cx.state.conditions.get(key)
    if condition is None or not condition.alarm_id:
        return condition
    alarm = cx.state.alarms.get(condition.alarm_id)
    return None if alarm is None or alarm.closed else condition


def incident_of(cx: Context, key: str) -> str:
    """The incident that a condition is part of, or nothing."""
    condition = cx.state.conditions.get(key)
    alarm = None if condition is None else cx.state.alarms.get(condition.alarm_id)
    return "" if alarm is None else alarm.incident_id


def _defer(cx: Context, key: str, condition: Condition, defer_ms: int) -> None:
    """Keep a condition from the operators for a while: it may end before it matters."""
    cx.state.timers.set(f"{DEFER_TIMER}|{key}", cx.now_ms + defer_ms)
    _observe(cx, condition, "deferred")
    devices.early_actions(cx, condition.alarm_class, condition.facts)


def deferred(cx: Context, key: str) -> None:
    """A condition still holds after the time that it was kept from the operators."""
    condition = cx.state.conditions.get(key)
    if condition is not None and not condition.alarm_id:
        _raise(cx, key, condition)


def _observe(cx: Context, condition: Condition, reason: str) -> None:
    facts = condition.facts
    cx.emit(
        Observation(
            kind=condition.alarm_class.value,
            reason=reason,
            at_ms=cx.now_ms,
            order_id=facts.order_id,
            order_kind=facts.order_kind,
            wearer_id=facts.wearer_id,
            protected_id=facts.protected_id,
            person_id=facts.person_id,
            device_id=facts.device_id,
        )
    )


def _raise(cx: Context, key: str, condition: Condition) -> None:
    state = cx.state
    state.timers.clear(f"recheck|{key}")
    state.timers.clear(f"{DEFER_TIMER}|{key}")
    alarm_id = alarms.raise_alarm(cx, condition.alarm_class, condition.facts, key)
    state.conditions.put(key, replace(condition, alarm_id=alarm_id))
    if not alarm_id:
        recheck_s = ALARM_BOOK[condition.alarm_class].recheck_s
        state.timers.set(f"recheck|{key}", cx.now_ms + recheck_s * 1000)


def end(cx: Context, key: str, reason: str) -> bool:
    """A condition no longer holds. False when it did not hold."""
    state = cx.state
    condition = state.conditions.get(key)
    if condition is None:
        return False
    condition = _known(cx, key)
    state.conditions.drop(key)
    state.timers.clear(f"condition|{key}")
    state.timers.clear(f"recheck|{key}")
    if f"{DEFER_TIMER}|{key}" in state.timers.rows:
        state.timers.clear(f"{DEFER_TIMER}|{key}")
        if condition is not None:
            _observe(cx, condition, "over-before-it-mattered")
    if condition is not None and condition.alarm_id:
        alarm = alarms.return_source(cx, state.alarms[condition.alarm_id], key, reason)
        if alarm.active:
            _facts_of_the_rest(cx, alarm.alarm_id)
    return True


def _facts_of_the_rest(cx: Context, alarm_id: str) -> None:
    """The alarm speaks about what still holds, no longer about what ended."""
    state = cx.state
    alarm = state.alarms[alarm_id]
    rest = state.conditions.get(alarm.sources[-1])
    if rest is not None:
        facts = replace(rest.facts, confirmed=alarm.confirmed)
        state.alarms.put(alarm_id, replace(alarm, facts=facts))


def recheck(cx: Context, key: str) -> None:
    """A condition has lasted since a person closed its alarm: it raises a new one."""
    condition = cx.state.conditions.get(key)
    if condition is not None and not condition.alarm_id:
        labels = tuple(label for label in condition.facts.labels if label != STILL_ACTIVE)
        facts = replace(condition.facts, labels=(*labels, STILL_ACTIVE))
        _raise(cx, key, replace(condition, facts=facts))
