"""Notices without an alarm: a test press, a breach in the past."""

from alerting.book import audience as views
from alerting.book.context import Context
from alerting.book.incidents import KEEP_CLOSED_MS
from alerting.book.outputs import Notice
from alerting.book.state import Delivery, Facts
from alerting.book.words import AlarmClass, Audience, Priority, Purpose


def plain_notice(
    cx: Context,
    mark: str,
    alarm_class: AlarmClass,
    facts: Facts,
    plan_id: str,
    target: str,
    audience: Audience,
    purpose: Purpose,
    count: int = 1,
    deadline_ms: int | None = None,
) -> None:
    """A notice without an alarm. It has an id of its own and is forgotten after a while."""
    key = cx.next_key()
    own_id = f"{mark}-{key}"
    cx.emit(
        Notice(
            incident_id=own_id,
            alarm_id=own_id,
            alarm_class=alarm_class,
            priority=Priority.LOW,
            plan_id=plan_id,
            step=-1,
            target=target,
            audience=audience,
            purpose=purpose,
            text_key=f"{alarm_class}.{purpose}",
            reason=facts.reason,
            at_ms=cx.now_ms,
            opened_at_ms=cx.now_ms,
            count=count,
            deadline_ms=deadline_ms,
            **views.visible(facts, audience, None),
        )
    )
    cx.state.deliveries.put(key, Delivery("", 0, -1, target, audience))
    cx.state.timers.set(f"forget|{key}", cx.now_ms + KEEP_CLOSED_MS)
