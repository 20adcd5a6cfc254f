"""The service about itself, and many at once: SYSTEM alarms that are said once, and mass loss."""

from typing import Final

import msgspec

from afstand.limits import (
    BOOK_MASS_LOSS_MAX_MS,
    BOOK_MASS_LOSS_TERM_MS,
    BOOK_MASS_LOSS_WINDOW_MS,
    BOOK_TEXT_CHARS_MAX,
)
from alerting.book import alarms, conditions, indicators, patterns, silences, telling
from alerting.book.context import Context
from alerting.book.inputs import SystemSignal
from alerting.book.outputs import Change
from alerting.book.state import Alarm, Facts
from alerting.book.words import AlarmClass, Purpose, SignalKind

replace = msgspec.structs.replace

QUIET_MS: Final = 300_000
"""A signal that nobody takes back counts as over when it was not said again for so long."""
EACH_IS_NEWS: Final = (SignalKind.DEVICE_SET_ASIDE,)
"""About somebody else each time: whoever has the first in hand hears of the next."""
SAY_AGAIN_MS: Final = 600_000
"""An open SYSTEM alarm is told again at most this often, with its count."""


def signal(cx: Context, said: SystemSignal) -> None:
    """Take one signal.

    The first of its kind raises the SYSTEM alarm, the others are counted in it.
    """
    key = f"system/{said.kind}"
    if said.ended:
        conditions.end(cx, key, "signal-ended")
        return
    facts = Facts(reason=said.kind.value, detail=said.detail[:BOOK_TEXT_CHARS_MAX])
    condition = cx.state.conditions.get(key)
    if condition is None or not condition.alarm_id:
        mass_loss = said.kind is SignalKind.MASS_LOSS
        expires_ms = None if said.lasting else QUIET_MS
        conditions.begin(
            cx,
            key,
            AlarmClass.SYSTEM,
            facts,
            lasting=mass_loss or said.lasting,
            expires_ms=expires_ms,
        )
        return
    if not said.lasting:
        cx.state.timers.set(f"condition|{key}", cx.now_ms + QUIET_MS)
    alarm = cx.state.alarms[condition.alarm_id]
    if said.kind in EACH_IS_NEWS:
        alarms.repeat(cx, alarm, facts, facts.detail)
        return
    alarm = replace(alarm, facts=facts, count=alarm.count + max(1, said.count))
    cx.state.alarms.put(alarm.alarm_id, alarm)
    if cx.now_ms - alarm.updated_ms >= SAY_AGAIN_MS:
        cx.record(alarm, Change.RAISED_AGAIN, "counted-since")
        telling.tell_again(cx, alarm, Purpose.UPDATE, "counted-since")


HIGHEST_RISK: Final = 1
UNKNOWN_RISK: Final = 9


# --- mass loss ------------------------------------------------------------------------------------


def fell_silent(cx: Context, person_id: str, risk_class: int) -> None:
    """A person went silent.

    With the last one of a mass loss, one SYSTEM alarm takes the place of the many.
    """
    if not silences.fell_silent(cx, person_id, risk_class):
        return
    facts = Facts(reason=silences.MASS_LOSS, detail=silences.ranked(cx.state))
    conditions.begin(cx, f"system/{SignalKind.MASS_LOSS}", AlarmClass.SYSTEM, facts, lasting=True)
    for silent_id in sorted(cx.state.mass_silent.rows):
        since_ms = cx.now_ms - BOOK_MASS_LOSS_WINDOW_MS
        patterns.forget_last(cx, patterns.PatternKind.REPEATED_SILENCE, silent_id, since_ms)
        for incident_id in cx.state.open_by_person.get(silent_id) or ():
            for alarm_id in cx.state.incidents[incident_id].alarm_ids:
                _suppress(cx, cx.state.alarms[alarm_id])


def _suppress(cx: Context, alarm: Alarm) -> None:
    only_silence = all(s.startswith("silent") for s in alarm.sources)
    if alarm.alarm_class in silences.SILENT_CLASSES and only_silence and not alarm.silenced:
        alarms.suppress(cx, alarm, silences.MASS_LOSS)
        cx.state.mass_suppressed.put(alarm.alarm_id, alarm.facts.risk_class)


def heard_again(cx: Context, person_id: str) -> None:
    """A person reports again. When most of them do, the mass loss is over."""
    if silences.heard_again(cx, person_id):
        mass_loss_over(cx, "most-are-heard-again")


def mass_loss_over(cx: Context, reason: str) -> None:
    """End the mass loss. Who is still silent pages after all, a few a minute."""
    silences.end(cx)
    conditions.end(cx, f"system/{SignalKind.MASS_LOSS}", reason)
    release(cx)


def term_over(cx: Context) -> None:
    """The term of a suppression is over: renewed while most are still silent, else the end."""
    mass = silences.current(cx.state)
    if mass.since_ms is None:
        return
    lasts_ms = cx.now_ms - mass.since_ms
    if not silences.most_are_silent(cx.state) or lasts_ms >= BOOK_MASS_LOSS_MAX_MS:
        mass_loss_over(cx, "longest-time")
        return
    cx.state.timers.set(silences.END_TIMER, cx.now_ms + BOOK_MASS_LOSS_TERM_MS)
    condition = cx.state.conditions.get(f"system/{SignalKind.MASS_LOSS}")
    alarm = None if condition is None else cx.state.alarms.get(condition.alarm_id)
    if alarm is not None and not alarm.closed:
        alarms.repeat(cx, alarm, replace(alarm.facts, detail=silences.ranked(cx.state)))
    release(cx)


def release(cx: Context) -> None:
    """Let the next few alarms page that the mass loss held back, the highest risk first.

    While it lasts only those of risk class 1.
    """
    rows = cx.state.mass_suppressed.rows
    most = HIGHEST_RISK if silences.active(cx.state) else UNKNOWN_RISK
    held = [alarm_id for alarm_id in rows if (rows[alarm_id] or UNKNOWN_RISK) <= most]
    order = sorted(held, key=lambda alarm_id: (rows[alarm_id] or UNKNOWN_RISK, alarm_id))
    at_once = max(1, indicators.current(cx.state).operators // 2)
    paged = 0
    for alarm_id in order:
        if paged == at_once:
            cx.state.timers.set(silences.RELEASE_TIMER, cx.now_ms + 60_000)
            break
        cx.state.mass_suppressed.drop(alarm_id)
        alarm = cx.state.alarms[alarm_id]
        alarms.unsuppress(cx, alarm, "mass-loss-over")
        paged += alarm.active
