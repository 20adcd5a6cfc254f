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
from alerting.book.plans import DEFAULT_PLAN_ID, IN_HAND, SYSTEM_PLAN_ID, Plan, Step, StepStart
from alerting.book.state import Alarm, Delivery, StepState, StepStatus, Told
from alerting.book.words import (
    AlarmClass,
    Need,
    Priority,
    Purpose,
)

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
    plan = state.plans[plan_key]
    steps = tuple(_first_state(cx, alarm, plan, i) for i in range(len(plan.steps)))
    alarm = replace(
        alarm,
        plan_key=plan_key,
        round=alarm.round + 1,
        purpose=purpose,
        round_reason=reason,
        steps=steps,
    )
    for index, step in enumerate(plan.steps):
        if not step.serves(alarm.alarm_class):
            alarm = _wake_stand_ins(cx, alarm, plan, index)
    return advance(cx, alarm)


def _first_state(cx: Context, alarm: Alarm, plan: Plan, index: int) -> StepState:
    step = plan.steps[index]
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
    plan = cx.state.plans[alarm.plan_key]
    for index, step in enumerate(plan.steps):
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
    plan = cx.state.plans[alarm.plan_key]
    for index, step in enumerate(plan.steps):
        now = alarm.steps[index]
        if now.status is StepStatus.RUNNING and step.audience in IN_HAND:
            alarm = _met(cx, alarm, index, "in-hand")
        elif now.status is StepStatus.WAITING and _not_needed(alarm, step):
            alarm = _set(alarm, index, replace(now, status=StepStatus.SKIPPED, due_ms=None))
    return advance(cx, alarm)


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
    plan = cx.state.plans[alarm.plan_key]
    moved = True
    while moved:
        moved = False
        for index, now in enumerate(alarm.steps):
            if now.due_ms is None or now.due_ms > cx.now_ms or now.status in _OVER:
                continue
            if now.status is StepStatus.WAITING:
                alarm = _begin(cx, alarm, plan, index)
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
    return _see_whether_ended(cx, _keep(cx, alarm), plan)


def pages(alarm: Alarm) -> bool:
    """Whether its plan may run: open, not silenced, and active or latched."""
    if alarm.closed or alarm.silenced:
        return False
    return alarm.active or rule_of(alarm).latched


def _keep(cx: Context, alarm: Alarm) -> Alarm:
    cx.state.alarms.put(alarm.alarm_id, alarm)
    return alarm


def _tell(
    cx: Context, alarm: Alarm, plan: Plan, index: int, to: list[Told], purpose: Purpose
) -> Alarm:
    """Send the notices of a step and count who can still answer."""
    alarm, sent = telling.tell(cx, alarm, plan, index, to, purpose)
    now = alarm.steps[index]
    return _set(alarm, index, replace(now, unsettled=now.unsettled + sent))


def _set(alarm: Alarm, index: int, step: StepState) -> Alarm:
    steps = alarm.steps
    return replace(alarm, steps=(*steps[:index], step, *steps[index + 1 :]))


# --- one step -------------------------------------------------------------------------------------


def _begin(cx: Context, alarm: Alarm, plan: Plan, index: int) -> Alarm:
    step = plan.steps[index]
    now = alarm.steps[index]
    if _not_needed(alarm, step):
        return _set(alarm, index, replace(now, status=StepStatus.SKIPPED, due_ms=None))
    to, reason = telling.recipients(cx, alarm, step, step.targets)
    if not to:
        return _pass(cx, alarm, plan, index, reason)
    deadline_ms = cx.now_ms + step.deadline_s * 1000
    began = replace(now, status=StepStatus.RUNNING, due_ms=deadline_ms)
    alarm = _set(alarm, index, began)
    cx.record(alarm, Change.STEP_STARTED, alarm.round_reason, step=index)
    purpose = Purpose.ESCALATION if step.on is StepStart.MISSED else alarm.purpose
    return _tell(cx, alarm, plan, index, to, purpose)


def _pass(cx: Context, alarm: Alarm, plan: Plan, index: int, reason: str) -> Alarm:
    """Tell nobody in this step, and why.

    An empty step is passed at once, which counts as missed: its fallback is told and those who
    stand in for it start. A step that may not be told (policy, privacy, told before) is skipped:
    nobody has to stand in.
    """
    step = plan.steps[index]
    now = alarm.steps[index]
    if reason != telling.NOBODY:
        held = reason == VictimPolicy.ASK_OPERATOR
        status = StepStatus.HELD if held else StepStatus.SKIPPED
        alarm = _set(alarm, index, replace(now, status=status, due_ms=None))
        cx.record(alarm, Change.STEP_PASSED, reason, step=index)
        return alarm
    alarm = _set(alarm, index, replace(now, status=StepStatus.PASSED, due_ms=None))
    cx.record(alarm, Change.STEP_PASSED, reason, step=index)
    if telling.recipients(cx, alarm, step, step.fallback)[0]:
        due_ms = cx.now_ms + step.deadline_s * 1000
        alarm = _set(alarm, index, replace(now, status=StepStatus.RUNNING, due_ms=due_ms))
        alarm = _fall_back(cx, alarm, plan, index, reason)
    return _wake_stand_ins(cx, alarm, plan, index)


def _deadline(cx: Context, alarm: Alarm, index: int) -> Alarm:
    plan = cx.state.plans[alarm.plan_key]
    now = alarm.steps[index]
    cx.record(alarm, Change.STEP_MISSED, "deadline", step=index)
    if not now.fallback_used and plan.steps[index].fallback:
        due_ms = cx.now_ms + plan.steps[index].deadline_s * 1000
        alarm = _set(alarm, index, replace(now, due_ms=due_ms))
        alarm = _fall_back(cx, alarm, plan, index, "deadline")
    else:
        alarm = _set(alarm, index, replace(now, status=StepStatus.MISSED, due_ms=None))
    return _wake_stand_ins(cx, alarm, plan, index)


def _fall_back(cx: Context, alarm: Alarm, plan: Plan, index: int, reason: str) -> Alarm:
    step = plan.steps[index]
    alarm = _set(alarm, index, replace(alarm.steps[index], fallback_used=True))
    to, _ = telling.recipients(cx, alarm, step, step.fallback)
    cx.record(alarm, Change.FALLBACK_USED, reason, step=index)
    return _tell(cx, alarm, plan, index, to, Purpose.ESCALATION)


def _met(cx: Context, alarm: Alarm, index: int, reason: str, target: str = "") -> Alarm:
    alarm = _set(alarm, index, replace(alarm.steps[index], status=StepStatus.MET, due_ms=None))
    cx.record(alarm, Change.STEP_MET, reason, step=index, target=target)
    return alarm


def _failed(cx: Context, alarm: Alarm, index: int, target: str) -> Alarm:
    """A notice of a running step has finally failed.

    Its fallback is told at once; when nobody is left, the step is missed at once.
    """
    plan = cx.state.plans[alarm.plan_key]
    now = alarm.steps[index]
    alarm = _set(alarm, index, replace(now, unsettled=max(0, now.unsettled - 1)))
    if not now.fallback_used and plan.steps[index].fallback:
        alarm = _fall_back(cx, alarm, plan, index, f"failed: {target}")
    if alarm.steps[index].unsettled:
        return alarm
    missed = replace(alarm.steps[index], status=StepStatus.MISSED, due_ms=None)
    alarm = _set(alarm, index, missed)
    cx.record(alarm, Change.STEP_MISSED, "every-target-failed", step=index, target=target)
    return _wake_stand_ins(cx, alarm, plan, index)


def _wake_stand_ins(cx: Context, alarm: Alarm, plan: Plan, missed: int) -> Alarm:
    """Set the steps going that wait for step `missed` to be missed."""
    for index in range(missed + 1, len(plan.steps)):
        now = alarm.steps[index]
        waits = now.status is StepStatus.WAITING and now.due_ms is None
        if (
            waits
            and plan.steps[index].on is StepStart.MISSED
            and plan.stands_in_for(index) == missed
        ):
            due_ms = cx.now_ms + plan.steps[index].after_s * 1000
            alarm = _set(alarm, index, replace(now, due_ms=due_ms))
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
    needs = cx.state.plans[alarm.plan_key].steps[index].needs
    if status is ReceiptStatus.ACKNOWLEDGED or needs is Need.DELIVERED:
        alarm = _met(cx, alarm, index, status.value, delivery.target)
    return advance(cx, alarm)


def _see_whether_ended(cx: Context, alarm: Alarm, plan: Plan) -> Alarm:
    """See whether the plan has ended without an answer: the last resort, later all again."""
    name = f"re-alarm|{alarm.alarm_id}"
    if alarm.acknowledged or any(
        s.due_ms is not None and s.status not in _OVER for s in alarm.steps
    ):
        cx.state.timers.clear(name)
        return alarm
    if name in cx.state.timers.rows or not _answer_owed(alarm, plan):
        return alarm
    cx.record(alarm, Change.PLAN_ENDED, "nobody-answered", detail=plan.id)
    if plan.id not in _LAST_RESORT and alarm.alarm_class is not AlarmClass.SYSTEM:
        cx.record(alarm, Change.LAST_RESORT, "nobody-answered", detail=plan.id)
        return _start_plan(cx, alarm, DEFAULT_PLAN_ID, Purpose.ESCALATION, "nobody-answered")
    cx.state.timers.set(name, cx.now_ms + rule_of(alarm).re_alarm_s * 1000)
    return alarm


def _answer_owed(alarm: Alarm, plan: Plan) -> bool:
    """Whether somebody was to answer and did not, or nobody could be told at all.

    Always for critical classes.
    """
    if rule_of(alarm).priority is Priority.CRITICAL:
        return True
    told = False
    for step, now in zip(plan.steps, alarm.steps, strict=True):
        if not step.serves(alarm.alarm_class):
            continue
        if now.status is StepStatus.MISSED:
            return True
        if now.status is StepStatus.PASSED and step.needs is Need.ACKNOWLEDGED:
            return True
        told = told or now.status is StepStatus.MET
    return not told
