"""A plan while it runs for one alarm: steps, deadlines, fallbacks, receipts, the last resort.

Each alarm runs its plan for itself, so that no alarm that joins an incident is ever lost behind one
that was answered. All waiting is a timer `step|<alarm>|<step>` in the book: a start while the step
waits, its deadline while it runs.
"""

from typing import Final

import msgspec

from alerting.book import incidents, telling
from alerting.book.context import Context, rule_of
from alerting.book.inputs import ReceiptStatus, VictimPolicy
from alerting.book.outputs import Change
from alerting.book.plans import (
    DEFAULT_PLAN_ID,
    HANDLERS,
    IN_HAND,
    SYSTEM_PLAN_ID,
    Plan,
    Step,
    StepStart,
)
from alerting.book.state import Alarm, Delivery, StepState, StepStatus, Told
from alerting.book.words import Audience, Need, Priority, Purpose

replace = msgspec.structs.replace

_OVER: Final = (StepStatus.MET, StepStatus.MISSED, StepStatus.PASSED, StepStatus.SKIPPED)
_LAST_RESORT: Final = (DEFAULT_PLAN_ID, SYSTEM_PLAN_ID)


def step_timer(alarm_id: str, index: int) -> str:
    """Name of the timer of one step."""
    return f"step|{alarm_id}|{index}"


def start(cx: Context, alarm: Alarm, purpose: Purpose, reason: str) -> Alarm:
    """Run the alarm's plan from its first step.

    Answers the alarm as it is then; the table holds it too.
    """
    incident = cx.state.incidents[alarm.incident_id]
    plan_id = incidents.plan_id_for(cx.state, incident, alarm.alarm_class, alarm.facts)
    return _start_plan(cx, alarm, plan_id, purpose, reason)


def _start_plan(cx: Context, alarm: Alarm, plan_id: str, purpose: Purpose, reason: str) -> Alarm:
    state = cx.state
    stop(cx, alarm)
    incident = state.incidents[alarm.incident_id]
    incident, plan_key, stands_in = incidents.freeze_plan(cx, incident, plan_id)
    if stands_in:
        cx.record(alarm, Change.LAST_RESORT, "plan-not-known", detail=plan_id)
    elif not state.plans[plan_key].serves(alarm.alarm_class):
        _, plan_key, _ = incidents.freeze_plan(cx, incident, DEFAULT_PLAN_ID)
        cx.record(alarm, Change.LAST_RESORT, "plan-has-no-step-for-class", detail=plan_id)
    alarm = replace(
        alarm,
        plan_key=plan_key,
        resort_key="",
        round=alarm.round + 1,
        purpose=purpose,
        round_reason=reason,
        steps=(),
    )
    return advance(cx, _add_steps(cx, alarm, state.plans[plan_key]))


def _add_steps(cx: Context, alarm: Alarm, plan: Plan) -> Alarm:
    """Put the steps of a plan behind those that run already."""
    offset = len(alarm.steps)
    steps = tuple(_first_state(cx, alarm, step) for step in plan.steps)
    alarm = replace(alarm, steps=(*alarm.steps, *steps))
    for index, step in enumerate(plan.steps):
        if not step.serves(alarm.alarm_class):
            alarm = _wake_stand_ins(cx, alarm, offset + index)
    return alarm


def _script(cx: Context, alarm: Alarm) -> tuple[Step, ...]:
    """The steps that run for an alarm, in the order of `alarm.steps`."""
    own = cx.state.plans[alarm.plan_key].steps
    return (*own, *cx.state.plans[alarm.resort_key].steps) if alarm.resort_key else own


def _place(cx: Context, alarm: Alarm, index: int) -> tuple[Plan, int]:
    """Which plan step `index` of an alarm belongs to, and its number there."""
    own = cx.state.plans[alarm.plan_key]
    if index < len(own.steps):
        return own, index
    return cx.state.plans[alarm.resort_key], index - len(own.steps)


def _first_state(cx: Context, alarm: Alarm, step: Step) -> StepState:
    if not step.serves(alarm.alarm_class):
        return StepState(StepStatus.PASSED)
    starts = step.on is StepStart.OPEN or (step.on is StepStart.CONFIRMED and alarm.confirmed)
    return StepState(StepStatus.WAITING, cx.now_ms + step.after_s * 1000 if starts else None)


def stop(cx: Context, alarm: Alarm) -> None:
    """Clear the timers of the running plan. Its steps stay, so that `resume` can go on."""
    for index in range(len(alarm.steps)):
        cx.state.timers.clear(step_timer(alarm.alarm_id, index))
    cx.state.timers.clear(f"re-alarm|{alarm.alarm_id}")


def resume(cx: Context, alarm: Alarm) -> Alarm:
    """Go on where `stop` left off. Deadlines that passed meanwhile are due now."""
    return advance(cx, alarm) if alarm.round else _keep(cx, alarm)


def confirm(cx: Context, alarm: Alarm) -> Alarm:
    """The breach is confirmed: the steps that waited for that are due."""
    if not alarm.round:
        return _keep(cx, alarm)
    for index, step in enumerate(_script(cx, alarm)):
        now = alarm.steps[index]
        waits = now.status is StepStatus.WAITING and now.due_ms is None
        if waits and step.on is StepStart.CONFIRMED:
            due_ms = cx.now_ms + step.after_s * 1000
            alarm = _set(alarm, index, replace(now, due_ms=due_ms))
    return advance(cx, alarm)


def acknowledged(cx: Context, alarm: Alarm) -> Alarm:
    """Somebody has it in hand.

    Steps for the operators' own side are answered, delayed ones not needed.
    """
    if not alarm.round:
        return _keep(cx, alarm)
    for index, step in enumerate(_script(cx, alarm)):
        now = alarm.steps[index]
        if now.status is StepStatus.RUNNING and _own_side(alarm, step.audience):
            alarm = _met(cx, alarm, index, "in-hand")
        elif now.status is StepStatus.WAITING and _not_needed(alarm, step):
            alarm = _set(alarm, index, replace(now, status=StepStatus.SKIPPED, due_ms=None))
    return advance(cx, alarm)


def _own_side(alarm: Alarm, audience: Audience) -> bool:
    """Whether a step for this audience is answered when the alarm is in somebody's hand."""
    return audience in IN_HAND or (rule_of(alarm).task and audience is Audience.CASE_OWNER)


def _not_needed(alarm: Alarm, step: Step) -> bool:
    return alarm.acknowledged and step.on is StepStart.OPEN and not step.even_if_acknowledged


def release_protected(cx: Context, alarm: Alarm) -> Alarm:
    """The operator decided that the protected person is told: held steps start now."""
    if not alarm.round:
        return _keep(cx, alarm)
    for index, now in enumerate(alarm.steps):
        if now.status is StepStatus.HELD:
            alarm = _set(alarm, index, StepState(StepStatus.WAITING, cx.now_ms))
    return advance(cx, alarm)


def timer(cx: Context, alarm: Alarm, index: int) -> Alarm:
    """A start or a deadline of one step is due."""
    if alarm.steps[index].status is StepStatus.RUNNING:
        alarm = _deadline(cx, alarm, index)
    return advance(cx, alarm)


def advance(cx: Context, alarm: Alarm) -> Alarm:
    """Start what is due, end what is overdue, set the timers of the rest.

    Does nothing but keep the alarm while its plan stands still (returned, shelved, suppressed,
    closed).
    """
    if not pages(alarm):
        return _keep(cx, alarm)
    moved = True
    while moved:
        moved = False
        for index, now in enumerate(alarm.steps):
            if now.due_ms is None or now.due_ms > cx.now_ms or now.status in _OVER:
                continue
            if now.status is StepStatus.WAITING:
                alarm = _begin(cx, alarm, index)
            else:
                alarm = _deadline(cx, alarm, index)
            moved = True
            break
    for index, now in enumerate(alarm.steps):
        name = step_timer(alarm.alarm_id, index)
        if now.due_ms is not None and now.status not in _OVER:
            cx.state.timers.set(name, now.due_ms)
        else:
            cx.state.timers.clear(name)
    return _see_whether_ended(cx, _keep(cx, alarm))


def pages(alarm: Alarm) -> bool:
    """Whether its plan may run: open, not silenced, and active or latched."""
    if alarm.closed or alarm.silenced:
        return False
    return alarm.active or rule_of(alarm).latched


def _keep(cx: Context, alarm: Alarm) -> Alarm:
    cx.state.alarms.put(alarm.alarm_id, alarm)
    return alarm


def _tell(cx: Context, alarm: Alarm, index: int, to: list[Told], purpose: Purpose) -> Alarm:
    """Send the notices of a step and count who can still answer."""
    plan, number = _place(cx, alarm, index)
    if alarm.resort_key and plan.id == DEFAULT_PLAN_ID:
        purpose = Purpose.ESCALATION
    alarm, sent = telling.tell(cx, alarm, index, plan, number, to, purpose)
    now = alarm.steps[index]
    return _set(alarm, index, replace(now, unsettled=now.unsettled + sent))


def _set(alarm: Alarm, index: int, step: StepState) -> Alarm:
    steps = alarm.steps
    return replace(alarm, steps=(*steps[:index], step, *steps[index + 1 :]))


# --- one step -------------------------------------------------------------------------------------


def _begin(cx: Context, alarm: Alarm, index: int) -> Alarm:
    step = _script(cx, alarm)[index]
    now = alarm.steps[index]
    if _not_needed(alarm, step):
        return _set(alarm, index, replace(now, status=StepStatus.SKIPPED, due_ms=None))
    to, reason = _recipients(cx, alarm, index, step.targets)
    if not to:
        return _pass(cx, alarm, index, reason)
    deadline_ms = cx.now_ms + step.deadline_s * 1000
    began = replace(now, status=StepStatus.RUNNING, due_ms=deadline_ms)
    alarm = _set(alarm, index, began)
    _record(cx, alarm, Change.STEP_STARTED, alarm.round_reason, index)
    purpose = Purpose.ESCALATION if step.on is StepStart.MISSED else alarm.purpose
    return _tell(cx, alarm, index, to, purpose)


def _record(
    cx: Context, alarm: Alarm, change: Change, reason: str, index: int, target: str = ""
) -> None:
    """Write what a step did into the history, under its own plan and number."""
    plan, number = _place(cx, alarm, index)
    cx.record(alarm, change, reason, step=number, target=target, detail=plan.id)


def _recipients(
    cx: Context, alarm: Alarm, index: int, targets: tuple[str, ...]
) -> tuple[list[Told], str]:
    """Who a step tells. What only repeats, and the last resort, frighten nobody a second time."""
    step = _script(cx, alarm)[index]
    repeats = alarm.purpose is Purpose.ESCALATION or _place(cx, alarm, index)[1] != index
    return telling.recipients(cx, alarm, step, targets, repeats=repeats)


def _pass(cx: Context, alarm: Alarm, index: int, reason: str) -> Alarm:
    """Tell nobody in this step, and why.

    An empty step is passed at once, which counts as missed: its fallback is told and those who
    stand in for it start. A step that may not be told (policy, privacy, told before) is skipped:
    nobody has to stand in.
    """
    step = _script(cx, alarm)[index]
    now = alarm.steps[index]
    if reason != telling.NOBODY:
        held = reason == VictimPolicy.ASK_OPERATOR
        status = StepStatus.HELD if held else StepStatus.SKIPPED
        alarm = _set(alarm, index, replace(now, status=status, due_ms=None))
        _record(cx, alarm, Change.STEP_PASSED, reason, index)
        return alarm
    alarm = _set(alarm, index, replace(now, status=StepStatus.PASSED, due_ms=None))
    _record(cx, alarm, Change.STEP_PASSED, reason, index)
    if _recipients(cx, alarm, index, step.fallback)[0]:
        due_ms = cx.now_ms + step.deadline_s * 1000
        alarm = _set(alarm, index, replace(now, status=StepStatus.RUNNING, due_ms=due_ms))
        alarm = _fall_back(cx, alarm, index, reason)
    return _wake_stand_ins(cx, alarm, index)


def _deadline(cx: Context, alarm: Alarm, index: int) -> Alarm:
    step = _script(cx, alarm)[index]
    now = alarm.steps[index]
    _record(cx, alarm, Change.STEP_MISSED, "deadline", index)
    if not now.fallback_used and step.fallback:
        due_ms = cx.now_ms + step.deadline_s * 1000
        alarm = _set(alarm, index, replace(now, due_ms=due_ms))
        alarm = _fall_back(cx, alarm, index, "deadline")
    else:
        alarm = _set(alarm, index, replace(now, status=StepStatus.MISSED, due_ms=None))
    return _wake_stand_ins(cx, alarm, index)


def _fall_back(cx: Context, alarm: Alarm, index: int, reason: str) -> Alarm:
    fallback = _script(cx, alarm)[index].fallback
    alarm = _set(alarm, index, replace(alarm.steps[index], fallback_used=True))
    to, _ = _recipients(cx, alarm, index, fallback)
    _record(cx, alarm, Change.FALLBACK_USED, reason, index)
    return _tell(cx, alarm, index, to, Purpose.ESCALATION)


def _met(cx: Context, alarm: Alarm, index: int, reason: str, target: str = "") -> Alarm:
    alarm = _set(alarm, index, replace(alarm.steps[index], status=StepStatus.MET, due_ms=None))
    _record(cx, alarm, Change.STEP_MET, reason, index, target)
    return alarm


def _failed(cx: Context, alarm: Alarm, index: int, target: str) -> Alarm:
    """A notice of a running step has finally failed.

    Its fallback is told at once; when nobody is left, the step is missed at once.
    """
    now = alarm.steps[index]
    alarm = _set(alarm, index, replace(now, unsettled=max(0, now.unsettled - 1)))
    if not now.fallback_used and _script(cx, alarm)[index].fallback:
        alarm = _fall_back(cx, alarm, index, f"failed: {target}")
    if alarm.steps[index].unsettled:
        return alarm
    missed = replace(alarm.steps[index], status=StepStatus.MISSED, due_ms=None)
    alarm = _set(alarm, index, missed)
    _record(cx, alarm, Change.STEP_MISSED, "every-target-failed", index, target)
    return _wake_stand_ins(cx, alarm, index)


def _wake_stand_ins(cx: Context, alarm: Alarm, missed: int) -> Alarm:
    """Set the steps going that wait for step `missed` to be missed."""
    plan, missed_number = _place(cx, alarm, missed)
    offset = missed - missed_number
    for number in range(missed_number + 1, len(plan.steps)):
        step, now = plan.steps[number], alarm.steps[offset + number]
        waits = now.status is StepStatus.WAITING and now.due_ms is None
        stands_in = step.on is StepStart.MISSED and plan.stands_in_for(number) == missed_number
        if waits and stands_in:
            due_ms = cx.now_ms + step.after_s * 1000
            alarm = _set(alarm, offset + number, replace(now, due_ms=due_ms))
    return alarm


# --- receipts and the end -------------------------------------------------------------------------


def receipt(cx: Context, alarm: Alarm, delivery: Delivery, status: ReceiptStatus) -> Alarm:
    """What a receipt does to the step its notice belongs to."""
    index = delivery.step
    if delivery.round != alarm.round or index < 0:
        return alarm
    now = alarm.steps[index]
    if now.status is not StepStatus.RUNNING:
        return alarm
    if status in (ReceiptStatus.FAILED, ReceiptStatus.REFUSED):
        if delivery.final:
            return alarm
        if not pages(alarm):
            # The plan stands still: its deadline tells the fallback when it goes on.
            left = replace(now, unsettled=max(0, now.unsettled - 1))
            return _keep(cx, _set(alarm, index, left))
        return advance(cx, _failed(cx, alarm, index, delivery.target))
    needs = _script(cx, alarm)[index].needs
    if status is ReceiptStatus.ACKNOWLEDGED or needs is Need.DELIVERED:
        alarm = _met(cx, alarm, index, status.value, delivery.target)
    return advance(cx, alarm)


def takes_in_hand(alarm: Alarm, audience: Audience) -> bool:
    """Whether an acknowledgement by this audience means that somebody handles the alarm."""
    if audience is Audience.PROBATION:
        return rule_of(alarm).priority is not Priority.CRITICAL
    if audience is Audience.CASE_OWNER:
        return rule_of(alarm).task
    return audience in HANDLERS


def _see_whether_ended(cx: Context, alarm: Alarm) -> Alarm:
    """When nobody is left who could still take the alarm in hand: the last resort, later all again.

    What is only to be delivered goes on beside it; a message to an office must not delay a life.
    """
    name = f"re-alarm|{alarm.alarm_id}"
    script = _script(cx, alarm)
    if alarm.acknowledged or _may_be_answered(alarm, script):
        cx.state.timers.clear(name)
        return alarm
    if name in cx.state.timers.rows or not _answer_owed(alarm, script):
        return alarm
    plan = cx.state.plans[alarm.plan_key]
    cx.record(alarm, Change.PLAN_ENDED, "nobody-answered", detail=plan.id)
    if alarm.resort_key or plan.id in _LAST_RESORT:
        cx.state.timers.set(name, cx.now_ms + rule_of(alarm).re_alarm_s * 1000)
        return alarm
    cx.record(alarm, Change.LAST_RESORT, "nobody-answered", detail=plan.id)
    incident = cx.state.incidents[alarm.incident_id]
    _, resort_key, _ = incidents.freeze_plan(cx, incident, DEFAULT_PLAN_ID)
    alarm = replace(alarm, resort_key=resort_key, round_reason="nobody-answered")
    return advance(cx, _add_steps(cx, alarm, cx.state.plans[resort_key]))


def _may_be_answered(alarm: Alarm, script: tuple[Step, ...]) -> bool:
    return any(
        now.due_ms is not None
        and now.status not in _OVER
        and step.needs is Need.ACKNOWLEDGED
        and takes_in_hand(alarm, step.audience)
        for step, now in zip(script, alarm.steps, strict=True)
    )


def _answer_owed(alarm: Alarm, script: tuple[Step, ...]) -> bool:
    """Whether somebody was to answer and did not, or nobody could be told at all.

    Always for critical classes. A plan that only informs owes nothing once it has informed.
    """
    if rule_of(alarm).priority is Priority.CRITICAL:
        return True
    informed = False
    for step, now in zip(script, alarm.steps, strict=True):
        if not step.serves(alarm.alarm_class):
            continue
        answers = step.needs is Need.ACKNOWLEDGED
        if answers and now.status in (StepStatus.MISSED, StepStatus.PASSED):
            return True
        if now.due_ms is not None and now.status not in _OVER:
            informed = True  # or it will be missed, and this is asked again
        if now.status is StepStatus.MISSED:
            return True
        informed = informed or now.status is StepStatus.MET
    return not informed
