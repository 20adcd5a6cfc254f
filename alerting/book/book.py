"""The alarm book: a pure fold `(state, inputs, time) -> (state, outputs)`.

It reads no clock, no file and no network; the same inputs give the same outputs, byte for byte. A
step either returns or raises with the state as it was before.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from afstand.limits import BOOK_TIMERS_PER_STEP_MAX
from alerting.book import (
    activations,
    alarms,
    case_words,
    casefile,
    closing,
    conditions,
    decisions,
    devices,
    erasing,
    findings,
    floods,
    incidents,
    indicators,
    inputs,
    legal,
    moving,
    operators,
    patterns,
    runs,
    silences,
)
from alerting.book.classes_data import BOOK_VERSION
from alerting.book.context import Context
from alerting.book.inputs import Input, SystemSignal
from alerting.book.outputs import Output
from alerting.book.state import DUMP_FORMAT, Alarm, Rows, Snapshot, State
from alerting.book.words import SignalKind
from geofence.verdicts import PositionRequest, Verdict

_NOW: Final = "now-ms"
T = TypeVar("T")

_HANDLERS: Final[dict[type, Callable[[Context, Any], None]]] = {
    Verdict: findings.verdict,
    PositionRequest: devices.position_request,
    inputs.DeviceEvent: activations.event,
    inputs.SystemSignal: floods.signal,
    inputs.Receipt: activations.receipt,
    inputs.OrderTaken: legal.order_taken,
    inputs.Acknowledge: operators.acknowledge,
    inputs.Dispose: closing.dispose,
    inputs.Countersign: closing.countersign,
    inputs.Shelve: operators.shelve,
    inputs.Unshelve: operators.unshelve,
    inputs.OutOfService: operators.out_of_service,
    inputs.ReturnToService: operators.return_to_service,
    inputs.Decide: decisions.decide,
    inputs.Note: operators.note,
    inputs.TellProtected: operators.tell_protected,
    inputs.RaiseByHand: operators.raise_by_hand,
    inputs.Staffing: indicators.staffing,
    inputs.DefinePlan: operators.define_plan,
    inputs.DefineRoster: operators.define_roster,
    inputs.DefineCase: casefile.define_case,
    case_words.Screen: casefile.screen,
    case_words.Review: casefile.review,
    case_words.LogbookEntry: casefile.logbook_entry,
    case_words.SetCheckIn: casefile.set_check_in,
    case_words.CheckIn: casefile.check_in,
    case_words.Activate: activations.activate,
    case_words.ActivationStep: activations.activation_step,
    case_words.TellCause: casefile.tell_cause,
}


class StepError(Exception):
    """An input made the book raise; the state is as before.

    `index` says which, the cause says why.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"input {index} of the step raised")
        self.index = index


class SnapshotError(ValueError):
    """Bytes that are no snapshot of an alarm book, or one of another format."""


class Book:
    """The alarm book with its state."""

    def __init__(self, state: State | None = None) -> None:
        if state is None:
            state = State(Rows())
            incidents.install_built_in_plans(state)
            state.log.forget()
        self._state = state

    def step(
        self, inputs: Sequence[Input], now_ms: int, entry_key: str, first_index: int = 0
    ) -> list[Output]:
        """Fire the timers that are due, then take the inputs of one journal entry, in order.

        `now_ms` is the journal's time; it never runs back (an earlier time counts as the last one).
        `entry_key` is `{partition}-{entry id}`; the notice at place `i` of the outputs has the
        idempotency key `{entry_key}-{first_index + i}`. Raises `StepError` with the state as
        before.
        """
        state = self._state
        now_ms = max(now_ms, state.numbers.get(_NOW) or 0)
        cx = Context(state, now_ms, entry_key, first_index)
        index = -1
        try:
            state.numbers.put(_NOW, now_ms)
            _fire(cx)
            for index, item in enumerate(inputs):  # noqa: B007 - the fault names the last one begun
                _HANDLERS[type(item)](cx, item)
            casefile.after_step(cx)
            _say_signals(cx)
        except Exception as error:
            state.log.take_back(0)
            raise StepError(index) from error
        except BaseException:
            state.log.take_back(0)
            raise
        state.log.forget()
        return cx.outputs

    def next_due_ms(self) -> int | None:
        """When the next timer is due; None when nothing waits."""
        return self._state.timers.next_due_ms()

    def dump(self) -> bytes:
        """The whole state. Equal states give equal bytes."""
        return self._state.snapshot(BOOK_VERSION)

    @classmethod
    def load(cls, data: bytes) -> "Book":
        """The book that `dump` wrote: it goes on byte for byte as the first would.

        Raises `SnapshotError`.
        """
        try:
            head = msgspec.msgpack.decode(data, type=_Head)
            if head.format != DUMP_FORMAT:
                raise SnapshotError(f"format {head.format}, this program reads {DUMP_FORMAT}")
            snapshot = msgspec.msgpack.decode(data, type=Snapshot)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotError(str(error)) from error
        return cls(State(snapshot.rows))

    def case(self, case_id: str) -> inputs.DefineCase | None:
        """A case as it is now, with what a screening has set. Nothing that decides reads it."""
        return self._state.cases.get(case_id)

    # Groups of persons that move to another partition.

    def tied(self, person_ids: Sequence[str]) -> list[str]:
        """Everybody who is tied to these persons by cases, themselves too."""
        return moving.cases_of(self._state, person_ids)

    def in_the_way(self, members: moving.Members) -> str:
        """Why a group cannot leave now; empty when it can."""
        return moving.in_the_way(self._state, members)

    def cases_of(self, members: moving.Members) -> list[str]:
        """The cases of a group, sorted."""
        found = (self._state.person_cases.get(person) or () for person in members.persons)
        return sorted({case for cases in found for case in cases})

    def give_group(self, members: moving.Members) -> bytes:
        """Take a group out of the book and return what was known of it."""
        return self._at_once(lambda: moving.give(self._state, members))

    def take_group(self, raw: bytes) -> None:
        """Go on with a group that another book gave.

        Raises ValueError, with the state as before, for one of another version.
        """
        self._at_once(lambda: moving.take(self._state, raw))

    def forget_case(self, case_id: str, persons: Sequence[str], orders: Sequence[str]) -> str:
        """Forget a case, and persons and orders that are in no other one.

        Returns why it cannot be now, "" when it was done.
        """
        against = erasing.in_the_way(self._state, case_id, persons)
        if not against:
            self._at_once(lambda: erasing.forget(self._state, case_id, persons, orders))
        return against

    def _at_once(self, change: Callable[[], T]) -> T:
        try:
            changed = change()
        except BaseException:
            self._state.log.take_back(0)
            raise
        self._state.log.forget()
        return changed

    # Figures for the console and the metrics; nothing that decides reads them.

    def indicators(self) -> dict[str, int]:
        """The load on the operators, by name (`indicators.py`)."""
        now_ms = self._state.numbers.get(_NOW) or 0
        return indicators.figures(self._state, now_ms)

    def figures(self) -> dict[str, int]:
        """How much the book holds, by name."""
        state = self._state
        return {
            "incidents_open": state.numbers.get(incidents.OPEN) or 0,
            "alarms": len(state.alarms),
            "conditions": len(state.conditions),
            "deliveries": len(state.deliveries),
            "commands_pending": len(state.commands),
            "timers": len(state.timers.rows),
            "cases": len(state.cases),
            "plans": len(state.current_plans),
            "orders": len(state.orders),
            "patterns": len(state.patterns),
            "breaches_counted": len(state.breaches),
        }


class _Head(msgspec.Struct):
    format: int


# --- timers ---------------------------------------------------------------------------------------


def _fire(cx: Context) -> None:
    """Fire every timer that is due.

    One that raises is set aside by itself: it must not stop the book for ever.
    """
    state = cx.state
    for _ in range(BOOK_TIMERS_PER_STEP_MAX):
        mark, outputs, signals = state.log.mark(), len(cx.outputs), len(cx.signals)
        name = state.timers.pop_due(cx.now_ms)
        if name is None:
            return
        kind, _, rest = name.partition("|")
        try:
            _TIMERS[kind](cx, rest)
        except Exception as error:  # noqa: BLE001 - whatever it is, the alarms behind it must go on
            state.log.take_back(mark)
            del cx.outputs[outputs:]
            del cx.signals[signals:]
            state.timers.clear(name)
            cx.signal(SignalKind.TIMER_FAULT, f"{name}: {type(error).__name__}")


def _say_signals(cx: Context) -> None:
    """Make SYSTEM alarms of what the book had to say about itself, each kind once per step."""
    said: list[SignalKind] = []
    while cx.signals:
        signal: SystemSignal = cx.signals.pop(0)
        if signal.kind not in said:
            said.append(signal.kind)
            floods.signal(cx, signal)


def _with_alarm(act: Callable[[Context, Alarm], object]) -> Callable[[Context, str], None]:
    def fire(cx: Context, alarm_id: str) -> None:
        alarm = cx.state.alarms.get(alarm_id)
        if alarm is not None and not alarm.closed:
            act(cx, alarm)

    return fire


def _step_timer(cx: Context, rest: str) -> None:
    alarm_id, _, index = rest.rpartition("|")
    _with_alarm(lambda c, alarm: runs.timer(c, alarm, int(index)))(cx, alarm_id)


def _condition_over(cx: Context, key: str) -> None:
    conditions.end(cx, key, "not-said-again")


def _purge(cx: Context, alarm_id: str) -> None:
    alarm = cx.state.alarms.get(alarm_id)
    if alarm is not None:
        alarms.purge(cx, alarm)


_TIMERS: Final[dict[str, Callable[[Context, str], None]]] = {
    "step": _step_timer,
    "re-alarm": _with_alarm(alarms.re_alarm),
    "ack": _with_alarm(alarms.acknowledgement_expired),
    "settle": _with_alarm(alarms.settled),
    "shelf": _with_alarm(lambda cx, alarm: alarms.unshelve(cx, alarm, "", "time-over")),
    "settled": lambda cx, key: cx.state.settled.drop(key),
    "purge": _purge,
    "purge-incident": lambda cx, incident_id: cx.state.incidents.drop(incident_id),
    "condition": _condition_over,
    "recheck": conditions.recheck,
    conditions.DEFER_TIMER: findings.deferred,
    "service": lambda cx, key: operators.service_over(cx, key, "", "time-over"),
    "command": devices.unanswered,
    "asked": devices.burst_over,
    "late": findings.late_timer,
    legal.TIMER: legal.edge,
    indicators.TIMER: indicators.look,
    patterns.TIMER: patterns.over,
    decisions.REMIND_TIMER: decisions.half_time,
    decisions.DUE_TIMER: decisions.overdue,
    casefile.REVIEW_TIMER: casefile.review_due,
    casefile.QUIET_TIMER: casefile.quiet,
    casefile.CHECK_IN_TIMER: casefile.check_in_due,
    casefile.MISSED_TIMER: casefile.check_in_missed,
    activations.ACTIVATION_TIMER: activations.activation_late,
    legal.GONE_TIMER: legal.gone,
    "proposal": lambda cx, incident_id: incidents.void_proposal(cx, incident_id, "time-over"),
    "forget": lambda cx, key: cx.state.deliveries.drop(key),
    "test": lambda _cx, _device_id: None,
    silences.END_TIMER: lambda cx, _: floods.term_over(cx),
    silences.RELEASE_TIMER: lambda cx, _: floods.release(cx),
}
