"""One step of the book while it runs: the state, the time, and the outputs so far."""

from afstand.limits import BOOK_TEXT_CHARS_MAX
from alerting.book.classes import ClassRule
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.inputs import SystemSignal
from alerting.book.outputs import (
    AlarmRecord,
    AlarmState,
    Change,
    Output,
    Rejected,
    RejectReason,
)
from alerting.book.state import Alarm, State
from alerting.book.words import SignalKind


def alarm_state(alarm: Alarm) -> AlarmState:
    """The ISA-18.2 state of an alarm."""
    if alarm.closed:
        return AlarmState.CLOSED
    if alarm.active:
        return (
            AlarmState.ACTIVE_ACKNOWLEDGED
            if alarm.acknowledged
            else AlarmState.ACTIVE_UNACKNOWLEDGED
        )
    return (
        AlarmState.RETURNED_ACKNOWLEDGED
        if alarm.acknowledged
        else AlarmState.RETURNED_UNACKNOWLEDGED
    )


def rule_of(alarm: Alarm) -> ClassRule:
    """The row of the alarm book."""
    return ALARM_BOOK[alarm.alarm_class]


class Context:
    """What every part of a step needs. Lives for one call of `Book.step`."""

    __slots__ = ("entry_key", "first_index", "now_ms", "outputs", "signals", "state")

    def __init__(self, state: State, now_ms: int, entry_key: str, first_index: int) -> None:
        self.state = state
        self.now_ms = now_ms
        self.entry_key = entry_key
        self.first_index = first_index
        self.outputs: list[Output] = []
        self.signals: list[SystemSignal] = []

    def next_key(self) -> str:
        """The key of the next output: its place in the outbox.

        Also the stem of new ids, hence unique.
        """
        return f"{self.entry_key}-{self.first_index + len(self.outputs)}"

    def emit(self, output: Output) -> None:
        """Add an output."""
        self.outputs.append(output)

    def signal(self, kind: SignalKind, detail: str) -> None:
        """Something about the book itself, made a SYSTEM alarm at the end of the step."""
        self.signals.append(SystemSignal(kind=kind, at_ms=self.now_ms, detail=detail))

    def reject(self, reason: RejectReason, what: str, ref: str, detail: str = "") -> None:
        """Say that an input changed nothing, and why."""
        self.emit(
            Rejected(
                reason=reason,
                what=what,
                ref=ref[:64],
                at_ms=self.now_ms,
                detail=detail[:BOOK_TEXT_CHARS_MAX],
            )
        )

    def record(
        self,
        alarm: Alarm,
        change: Change,
        reason: str,
        *,
        by: str = "",
        step: int | None = None,
        target: str = "",
        detail: str = "",
    ) -> None:
        """Write one change of an alarm into the history."""
        facts = alarm.facts
        rule = rule_of(alarm)
        self.emit(
            AlarmRecord(
                alarm_id=alarm.alarm_id,
                incident_id=alarm.incident_id,
                alarm_class=alarm.alarm_class,
                priority=rule.priority,
                change=change,
                state=alarm_state(alarm),
                at_ms=self.now_ms,
                reason=reason,
                latched=rule.latched,
                confirmed=alarm.confirmed,
                count=alarm.count,
                shelved_until_ms=alarm.shelved_until_ms,
                suppressed=alarm.suppressed,
                out_of_service=alarm.out_of_service,
                by=by,
                step=step,
                target=target,
                detail=detail[:BOOK_TEXT_CHARS_MAX],
                order_id=facts.order_id,
                device_id=facts.device_id,
                person_id=facts.person_id,
            )
        )
