"""The activation of a button: from the order to a live, tested device, with a checklist.

Two of the steps are said by machines alone: that the device made a test press, and that whoever
must answer a press has received it. A press is always a press, also in the middle of an activation.
"""

from typing import Final

import msgspec

from afstand.limits import BOOK_ACTIVATIONS_MAX
from alerting.book import conditions, events, receipts, tasks
from alerting.book.case_words import Activate, ActivationStep, CaseChange, ChecklistStep
from alerting.book.context import Context
from alerting.book.inputs import DeviceEvent, Receipt, ReceiptStatus
from alerting.book.outputs import Notice, RejectReason
from alerting.book.risk import ACTIVATION_MS, BY_MACHINE
from alerting.book.state import Activation
from alerting.book.words import EventKind, Purpose

replace = msgspec.structs.replace

ACTIVATION_TIMER: Final = "activation"


def activate(cx: Context, said: Activate) -> None:
    """Begin: from now on it is a task with a time until the button is live and tested."""
    case = tasks.case_of(cx, "activate", said.case_id, said.by)
    if case is None:
        return
    if said.device_id not in [device.device_id for device in case.devices]:
        cx.reject(RejectReason.BAD_CASE, "activate", said.device_id, "not a device of the case")
        return
    state = cx.state
    if said.device_id not in state.activations and len(state.activations) >= BOOK_ACTIVATIONS_MAX:
        detail = f"{BOOK_ACTIVATIONS_MAX} activations"
        cx.reject(RejectReason.LIMIT, "activate", said.device_id, detail)
        return
    due_ms = cx.now_ms + ACTIVATION_MS[said.urgent]
    state.activations.put(said.device_id, Activation(said.case_id, cx.now_ms, due_ms))
    state.timers.set(f"{ACTIVATION_TIMER}|{said.device_id}", due_ms)
    tasks.record(
        cx,
        said.case_id,
        CaseChange.ACTIVATION_BEGUN,
        by=said.by,
        device_id=said.device_id,
        due_ms=due_ms,
    )
    detail = f"{said.device_id}: {', '.join(ChecklistStep)}"
    tasks.tell_owners(cx, case, "activation-begun", detail, due_ms)


def activation_step(cx: Context, said: ActivationStep) -> None:
    """A person did a step. What only a machine can know is not taken from a person."""
    if said.step in BY_MACHINE:
        detail = f"{said.step}: said by the device and its receiver alone"
        cx.reject(RejectReason.BAD_COMMAND, "activation-step", said.device_id, detail)
    elif not said.by:
        cx.reject(RejectReason.NO_REASON_GIVEN, "activation-step", said.device_id, "by")
    elif said.device_id not in cx.state.activations:
        cx.reject(RejectReason.NOT_PROPOSED, "activation-step", said.device_id)
    else:
        _step_done(cx, said.device_id, said.step, said.by)


def event(cx: Context, said: DeviceEvent) -> None:
    """An event of a device; a test press during an activation is one of its steps.

    A press is always a press, also in the middle of an activation.
    """
    first = len(cx.outputs)
    events.event(cx, said)
    activation = cx.state.activations.get(said.device_id)
    if activation is None or said.kind is not EventKind.SELF_TEST or not said.authenticated:
        return
    keys = tuple(
        f"{cx.entry_key}-{cx.first_index + place}"
        for place, output in enumerate(cx.outputs[first:], first)
        if isinstance(output, Notice) and output.purpose is Purpose.TEST
    )
    cx.state.activations.put(said.device_id, replace(activation, keys=activation.keys + keys))
    _step_done(cx, said.device_id, ChecklistStep.TEST_PRESSED, "")


def receipt(cx: Context, said: Receipt) -> None:
    """A receipt; one of a test press during an activation is one of its steps."""
    known = said.key in cx.state.deliveries
    receipts.receipt(cx, said)
    if not known or said.status not in (ReceiptStatus.DELIVERED, ReceiptStatus.ACKNOWLEDGED):
        return
    for device_id in sorted(cx.state.activations.rows):
        if said.key in cx.state.activations[device_id].keys:
            _step_done(cx, device_id, ChecklistStep.TEST_RECEIVED, said.by or said.target)
            return


def _step_done(cx: Context, device_id: str, step: ChecklistStep, by: str) -> None:
    activation = cx.state.activations[device_id]
    if step in activation.done:
        return
    done = tuple(one for one in ChecklistStep if one in (*activation.done, step))
    cx.state.activations.put(device_id, replace(activation, done=done))
    tasks.record(
        cx, activation.case_id, CaseChange.ACTIVATION_STEP, by=by, device_id=device_id, step=step
    )
    if len(done) < len(ChecklistStep):
        return
    cx.state.activations.drop(device_id)
    cx.state.timers.clear(f"{ACTIVATION_TIMER}|{device_id}")
    conditions.end(
        cx, tasks.matter(activation.case_id, f"activation-late/{device_id}"), "activated"
    )
    seconds = (cx.now_ms - activation.since_ms) // 1000
    tasks.record(
        cx,
        activation.case_id,
        CaseChange.ACTIVATED,
        device_id=device_id,
        facts={"seconds": seconds},
    )


def activation_late(cx: Context, device_id: str) -> None:
    """The time for an activation is over: a task until the button is live."""
    activation = cx.state.activations.get(device_id)
    case = None if activation is None else cx.state.cases.get(activation.case_id)
    if activation is None or case is None:
        return
    missing = [step for step in ChecklistStep if step not in activation.done]
    tasks.record(cx, case.case_id, CaseChange.ACTIVATION_LATE, device_id=device_id)
    tasks.task(cx, case, "activation-late", f"{device_id}: {', '.join(missing)}", f"/{device_id}")
