"""What receipts do: they move their step, and an acknowledgement takes the alarm in hand."""

import msgspec

from alerting.book import alarms, runs
from alerting.book.context import Context
from alerting.book.inputs import Receipt, ReceiptStatus
from alerting.book.outputs import Change, Observation, RejectReason

_FINAL_FAILURE = (ReceiptStatus.FAILED, ReceiptStatus.REFUSED)


def receipt(cx: Context, said: Receipt) -> None:
    """Take one receipt. It is believed only for the target that the notice was sent to."""
    state = cx.state
    delivery = state.deliveries.get(said.key)
    if delivery is None or delivery.target != said.target:
        cx.reject(RejectReason.UNKNOWN_DELIVERY, "receipt", said.key, said.target)
        return
    alarm = state.alarms.get(delivery.alarm_id)
    if alarm is None:
        cx.emit(Observation(kind="receipt", reason=said.status.value, at_ms=cx.now_ms))
        return
    cx.record(
        alarm,
        Change.DELIVERY,
        said.status.value,
        by=said.by,
        step=delivery.step,
        target=said.target,
        detail=said.detail,
    )
    if alarm.closed:
        return
    answered = said.status is ReceiptStatus.ACKNOWLEDGED
    if answered and runs.takes_in_hand(alarm, delivery.audience):
        # First the alarm, then the step: a plan whose last step is answered did not end unanswered.
        alarm = alarms.acknowledge(cx, alarm, said.by or said.target, "receipt")
    runs.receipt(cx, alarm, delivery, said.status)
    if said.status in _FINAL_FAILURE:
        state.deliveries.put(said.key, msgspec.structs.replace(delivery, final=True))
