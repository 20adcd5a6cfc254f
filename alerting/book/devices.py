"""Commands to devices: bursts, automatic first actions, and the answers.

A command is sent at most as often as it helps: a device that is already reporting that often is not
asked again. A command without an answer by its expiry is an event of its own.
"""

from typing import Final

from afstand.limits import BOOK_COMMANDS_PENDING_MAX
from alerting.book import cases
from alerting.book.classes import FirstAction
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.context import Context
from alerting.book.inputs import DeviceEvent
from alerting.book.outputs import (
    CommandRecord,
    CommandStatus,
    DeviceCommand,
    DeviceCommandCode,
    Observation,
)
from alerting.book.state import Alarm, Asked, Facts, PendingCommand
from alerting.book.words import AlarmClass, EventKind, SignalKind
from geofence.verdicts import PositionRequest

BURST_INTERVAL_S: Final = 10
BURST_DURATION_S: Final = 300
ANSWER_MS: Final = 60_000
"""How long a command may wait for its device; later it would act on a situation that has passed."""
PROMPT_MS: Final = 600_000
"""How long a prompt may wait for its device."""
PROMPTED: Final = (EventKind.BATTERY_CRITICAL.value,)
"""Reasons that a device has a text of its own for; the notifier has the texts."""
GRACE_MS: Final = 15_000
"""An answer given just before the expiry may still be on its way."""
GAP_MS: Final = 10_000
"""Least time between two bursts asked of one device, unless a shorter interval is wanted."""

LAST_ID: Final = "last-command-id"
_ID_MASK: Final = 0xFFFF_FFFF

_ANSWERS: Final = {
    EventKind.COMMAND_DONE: CommandStatus.DONE,
    EventKind.COMMAND_REFUSED: CommandStatus.REFUSED,
    EventKind.COMMAND_EXPIRED: CommandStatus.EXPIRED,
}


def first_actions(cx: Context, alarm: Alarm) -> None:
    """What the alarm book says is done at once, before anybody has answered. Never in a drill."""
    if not alarm.suppressed:
        _actions(cx, alarm.alarm_class, alarm.facts, alarm.incident_id)


def early_actions(cx: Context, alarm_class: AlarmClass, facts: Facts) -> None:
    """The same for what is kept from the operators for a while: it may help before it matters."""
    _actions(cx, alarm_class, facts, None)


def _actions(cx: Context, alarm_class: AlarmClass, facts: Facts, incident_id: str | None) -> None:
    if facts.drill:
        return
    state = cx.state
    found: list[str] = []
    for action in ALARM_BOOK[alarm_class].first_actions:
        if action is FirstAction.PROMPT_DEVICE:
            _prompt(cx, facts, incident_id)
            continue
        if action is FirstAction.BURST_DEVICE:
            own = (facts.device_id,) if facts.device_id else ()
            devices = tuple(d for d in own if d in state.device_persons)
            devices += cases.devices_of(state, facts.person_id)
        else:
            side = cases.wearers_of if action is FirstAction.BURST_WEARER else cases.protected_of
            persons = side(state, facts)
            devices = tuple(d for p in persons for d in cases.devices_of(state, p))
        found.extend(d for d in devices if d not in found)
    for device_id in found:
        _burst(cx, device_id, BURST_INTERVAL_S, BURST_DURATION_S, alarm_class.value, incident_id)


def _prompt(cx: Context, facts: Facts, incident_id: str | None) -> None:
    """Say on the device itself what can be done; the text is the notifier's, by the reason."""
    device_id = facts.device_id
    if device_id is None or device_id not in cx.state.device_persons:
        return
    if facts.reason in PROMPTED and _room(cx, device_id, incident_id):
        command_id = _next_id(cx)
        expires_ms = cx.now_ms + PROMPT_MS
        cx.emit(
            DeviceCommand(
                device_id=device_id,
                code=DeviceCommandCode.MESSAGE,
                command_id=command_id,
                at_ms=cx.now_ms,
                expires_ms=expires_ms,
                incident_id=incident_id,
                reason=facts.reason,
            )
        )
        _await_answer(cx, device_id, command_id, expires_ms, incident_id, facts.reason)


def _room(cx: Context, device_id: str, incident_id: str | None) -> bool:
    """Whether one more command may wait for its answer; says so where it may not."""
    if len(cx.state.commands) < BOOK_COMMANDS_PENDING_MAX:
        return True
    _held_back(cx, device_id, "limit-of-pending-commands", incident_id)
    cx.signal(SignalKind.BOOK_LIMIT, f"pending commands: {BOOK_COMMANDS_PENDING_MAX}")
    return False


def _await_answer(
    cx: Context,
    device_id: str,
    command_id: int,
    expires_ms: int,
    incident_id: str | None,
    reason: str,
) -> None:
    pending = PendingCommand(device_id, expires_ms, incident_id, reason)
    cx.state.commands.put(str(command_id), pending)
    cx.state.timers.set(f"command|{command_id}", expires_ms + GRACE_MS)


def position_request(cx: Context, request: PositionRequest) -> None:
    """The geofence wants fixes of a person more often for a while."""
    devices = cases.devices_of(cx.state, request.person_id)
    if not devices:
        cx.emit(
            Observation(
                kind="position-request",
                reason="no-device-known",
                at_ms=cx.now_ms,
                order_id=request.order_id,
                person_id=request.person_id,
            )
        )
    for device_id in devices:
        _burst(cx, device_id, request.interval_s, request.duration_s, request.reason.value, None)


def _burst(
    cx: Context,
    device_id: str,
    interval_s: int,
    duration_s: int,
    reason: str,
    incident_id: str | None,
) -> None:
    state = cx.state
    until_ms = cx.now_ms + duration_s * 1000
    asked = state.asked.get(device_id)
    if asked is not None and interval_s >= asked.interval_s:
        long_enough = asked.until_ms >= until_ms - duration_s * 500
        if long_enough or cx.now_ms - asked.at_ms < GAP_MS:
            _held_back(cx, device_id, "already-asked", incident_id)
            return
    if not _room(cx, device_id, incident_id):
        return
    command_id = _next_id(cx)
    expires_ms = cx.now_ms + ANSWER_MS
    cx.emit(
        DeviceCommand(
            device_id=device_id,
            code=DeviceCommandCode.BURST,
            command_id=command_id,
            at_ms=cx.now_ms,
            expires_ms=expires_ms,
            interval_s=interval_s,
            duration_s=duration_s,
            incident_id=incident_id,
            reason=reason,
        )
    )
    state.asked.put(device_id, Asked(until_ms, interval_s, cx.now_ms))
    _await_answer(cx, device_id, command_id, expires_ms, incident_id, reason)
    state.timers.set(f"asked|{device_id}", until_ms)


def _next_id(cx: Context) -> int:
    """Seconds of the journal, or one more than the last id when that second is taken.

    So ids of one device grow and are never given twice, also when its partition or the book's state
    is new.
    """
    last = cx.state.numbers.get(LAST_ID) or 0
    command_id = max(last + 1, cx.now_ms // 1000) & _ID_MASK
    cx.state.numbers.put(LAST_ID, command_id)
    return command_id


def _held_back(cx: Context, device_id: str, reason: str, incident_id: str | None) -> None:
    cx.emit(
        CommandRecord(
            device_id=device_id,
            command_id=0,
            status=CommandStatus.NOT_SENT,
            at_ms=cx.now_ms,
            incident_id=incident_id,
            reason=reason,
        )
    )


def answered(cx: Context, event: DeviceEvent) -> None:
    """A device answered a command; `value` of the event is the command's id."""
    pending = cx.state.commands.get(str(event.value))
    if pending is None or pending.device_id != event.device_id:
        cx.emit(
            Observation(
                kind=event.kind.value,
                reason="command-not-pending",
                at_ms=cx.now_ms,
                device_id=event.device_id,
                person_id=event.person_id,
            )
        )
        return
    _settle(cx, event.value, pending, _ANSWERS[event.kind])
    if event.kind is not EventKind.COMMAND_DONE:
        # It does not report more often after all: the next request must not be held back.
        _forget_asked(cx, event.device_id)


def unanswered(cx: Context, command_id: str) -> None:
    """The time for an answer is over."""
    pending = cx.state.commands.get(command_id)
    if pending is not None:
        _settle(cx, int(command_id), pending, CommandStatus.UNANSWERED)
        _forget_asked(cx, pending.device_id)


def burst_over(cx: Context, device_id: str) -> None:
    """The burst that was asked has run out."""
    cx.state.asked.drop(device_id)


def _forget_asked(cx: Context, device_id: str) -> None:
    cx.state.asked.drop(device_id)
    cx.state.timers.clear(f"asked|{device_id}")


def _settle(cx: Context, command_id: int, pending: PendingCommand, status: CommandStatus) -> None:
    cx.state.commands.drop(str(command_id))
    cx.state.timers.clear(f"command|{command_id}")
    cx.emit(
        CommandRecord(
            device_id=pending.device_id,
            command_id=command_id,
            status=status,
            at_ms=cx.now_ms,
            incident_id=pending.incident_id,
            reason=pending.reason,
        )
    )
