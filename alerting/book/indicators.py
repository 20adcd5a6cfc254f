"""What the alarm load is: the figures of ISA-18.2 and EN 50518, kept by the book itself.

Per operator: alarms in the last 10 minutes, and whether that is a flood (begins above 10, ends
below 5). Besides: standing and stale alarms, chattering, the split by priority, and how fast alarms
are answered. They are a part of the state, so a restart loses none of them, and a flood begins and
ends at the same entry on every replica.

An *annunciation* is an alarm that begins to page operators: one per alarm and round of its plan,
however many are told. Tasks and SYSTEM are not for operators and are left out.
"""

from typing import Final

import msgspec

from afstand.limits import BOOK_ANNUNCIATIONS_KEPT, BOOK_OPERATORS_MAX
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.context import Context, rule_of
from alerting.book.inputs import Staffing, SystemSignal
from alerting.book.outputs import Change, FloodRecord, RejectReason
from alerting.book.state import Alarm, Desk, State
from alerting.book.words import AlarmClass, Audience, Priority, Purpose, SignalKind

replace = msgspec.structs.replace

WINDOW_MS: Final = 600_000
FLOOD_BEGINS_ABOVE: Final = 10
FLOOD_ENDS_BELOW: Final = 5
"""Alarms in 10 minutes, for each operator (ISA-18.2)."""
OPERATORS_DEFAULT: Final = 2
"""EN 50518: at least two are on duty."""
STALE_MS: Final = 86_400_000
CHATTER_COUNT: Final = 3
CHATTER_MS: Final = 60_000
"""An alarm that comes so often within this time chatters."""
URGENT_RESPOND_S: Final = 30
ANSWER_S: Final = {True: (30, 60), False: (90, 180)}
"""EN 50518: 80 % within the first, 98.5 % within the second; for urgent alarms, and for others."""
TIMER: Final = "flood"

_ROW: Final = "now"


def current(state: State) -> Desk:
    """The desk as it is."""
    return state.desk.get(_ROW) or Desk(operators=OPERATORS_DEFAULT)


def _count(state: State, name: str, change: int = 1) -> None:
    state.numbers.put(name, (state.numbers.get(name) or 0) + change)


# --- what happens ---------------------------------------------------------------------------------


def told(cx: Context, alarm: Alarm, audience: Audience, purpose: Purpose) -> Alarm:
    """A notice goes out; the first of a round that pages operators is an annunciation."""
    pages = purpose in (Purpose.ALERT, Purpose.ESCALATION)
    for_operators = audience is Audience.MONITORING_CENTRE and _operators_own(alarm.alarm_class)
    if not (pages and for_operators) or alarm.annunciated == alarm.round or alarm.facts.drill:
        return alarm
    state = cx.state
    if not alarm.annunciated:
        _count(state, f"raised/{rule_of(alarm).priority}")
    _count(state, "annunciations")
    desk = current(state)
    recent = (*_within(desk.recent, cx.now_ms), cx.now_ms)[-BOOK_ANNUNCIATIONS_KEPT:]
    _keep(cx, replace(desk, recent=recent))
    first_ms = alarm.annunciated_ms or cx.now_ms
    return replace(alarm, annunciated=alarm.round, annunciated_ms=first_ms)


def _operators_own(alarm_class: AlarmClass) -> bool:
    return alarm_class is not AlarmClass.SYSTEM and not ALARM_BOOK[alarm_class].task


def _within(recent: tuple[int, ...], now_ms: int) -> tuple[int, ...]:
    return tuple(at_ms for at_ms in recent if at_ms > now_ms - WINDOW_MS)


def answered(cx: Context, alarm: Alarm) -> Alarm:
    """Somebody took an alarm in hand: how fast that was counts once per alarm."""
    if not alarm.annunciated_ms or alarm.answered:
        return alarm
    urgent = rule_of(alarm).respond_s <= URGENT_RESPOND_S
    seconds = (cx.now_ms - alarm.annunciated_ms) / 1000
    bucket = next((f"within-{s}-s" for s in ANSWER_S[urgent] if seconds <= s), "later")
    _count(cx.state, f"answered/{'urgent' if urgent else 'other'}/{bucket}")
    return replace(alarm, answered=True)


def came_again(cx: Context, alarm: Alarm) -> Alarm:
    """An alarm came again: three times within a minute it chatters, which is said once a while."""
    times = (*alarm.came_ms, cx.now_ms)[-CHATTER_COUNT:]
    alarm = replace(alarm, came_ms=times)
    if len(times) == CHATTER_COUNT and times[-1] - times[0] <= CHATTER_MS:
        alarm = replace(alarm, came_ms=())
        _count(cx.state, "chattering")
        cx.record(alarm, Change.CHATTERING, "comes-and-goes")
    return alarm


def staffing(cx: Context, said: Staffing) -> None:
    """How many operators are at work from now on."""
    if not said.by:
        cx.reject(RejectReason.NO_REASON_GIVEN, "staffing", "", "by")
    elif not 1 <= said.operators <= BOOK_OPERATORS_MAX:
        detail = f"{said.operators} operators, 1 to {BOOK_OPERATORS_MAX}"
        cx.reject(RejectReason.LIMIT, "staffing", said.by, detail)
    else:
        _keep(cx, replace(current(cx.state), operators=said.operators))


# --- floods ---------------------------------------------------------------------------------------


def _keep(cx: Context, desk: Desk) -> None:
    """Store the desk; begin or end a flood, and set the time to look again."""
    state = cx.state
    desk = replace(desk, recent=_within(desk.recent, cx.now_ms))
    rate = len(desk.recent)
    if desk.flood_since_ms is None and rate > FLOOD_BEGINS_ABOVE * desk.operators:
        desk = replace(desk, flood_since_ms=cx.now_ms)
        _count(state, "floods")
        _say(cx, desk, began=True, since_ms=cx.now_ms)
        detail = f"{rate} alarms in 10 minutes for {desk.operators} operators"
        cx.signals.append(
            SystemSignal(kind=SignalKind.ALARM_FLOOD, at_ms=cx.now_ms, detail=detail, lasting=True)
        )
    elif desk.flood_since_ms is not None and rate < FLOOD_ENDS_BELOW * desk.operators:
        since_ms = desk.flood_since_ms
        _count(state, "flood-ms", cx.now_ms - since_ms)
        desk = replace(desk, flood_since_ms=None)
        _say(cx, desk, began=False, since_ms=since_ms)
        cx.signals.append(SystemSignal(kind=SignalKind.ALARM_FLOOD, at_ms=cx.now_ms, ended=True))
    state.desk.put(_ROW, desk)
    if desk.flood_since_ms is None:
        state.timers.clear(f"{TIMER}|")
        return
    # The flood ends when all but so many of the recent ones have left the window.
    last_to_leave = desk.recent[-FLOOD_ENDS_BELOW * desk.operators]
    state.timers.set(f"{TIMER}|", last_to_leave + WINDOW_MS)


def _say(cx: Context, desk: Desk, *, began: bool, since_ms: int) -> None:
    cx.emit(
        FloodRecord(
            began=began,
            at_ms=cx.now_ms,
            since_ms=since_ms,
            alarms_10min=len(desk.recent),
            operators=desk.operators,
        )
    )


def look(cx: Context, _: str) -> None:
    """The window moved on: see whether the flood is over."""
    _keep(cx, current(cx.state))


# --- the figures ----------------------------------------------------------------------------------


def figures(state: State, now_ms: int) -> dict[str, int]:
    """Every indicator by name: levels as they are now, and counts since the book began."""
    desk = current(state)
    standing = stale = 0
    for incident in state.rows.incidents.values():
        for alarm_id in incident.alarm_ids:
            alarm = state.alarms[alarm_id]
            standing += alarm.active
            stale += alarm.active and now_ms - alarm.opened_ms >= STALE_MS
    flood_ms = state.numbers.get("flood-ms") or 0
    if desk.flood_since_ms is not None:
        flood_ms += now_ms - desk.flood_since_ms
    found = {
        "operators": desk.operators,
        "alarms_10min": len(_within(desk.recent, now_ms)),
        "flood": int(desk.flood_since_ms is not None),
        "flood_ms": flood_ms,
        "floods": state.numbers.get("floods") or 0,
        "annunciations": state.numbers.get("annunciations") or 0,
        "chattering": state.numbers.get("chattering") or 0,
        "standing": standing,
        "stale": stale,
    }
    for priority in Priority:
        found[f"raised_{priority}"] = state.numbers.get(f"raised/{priority}") or 0
    for urgent, limits in ANSWER_S.items():
        group = "urgent" if urgent else "other"
        for bucket in (*(f"within-{s}-s" for s in limits), "later"):
            name = f"answered_{group}_{bucket.replace('-', '_')}"
            found[name] = state.numbers.get(f"answered/{group}/{bucket}") or 0
    return found
