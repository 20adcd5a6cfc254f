"""CloudEvents 1.0 in the NL GOV profile (Logius): a notice as reclassering and partners take it.

`source` is a URN of the organisation's OIN and this system; `type` is a reversed domain name with
one version; `time` is when the event was logged: the journal's time. What is sensitive is not in
the event: no position, no distance to anybody, nothing of the protected person. `dataref` says
where a receiver with the right to it fetches more, and each such consultation is logged there.
"""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

from alerting.book.types import Notice
from alerting.notify.delivery import Delivery, RenderError
from alerting.notify.settings import EventsTarget
from alerting.notify.webhook import Rendered

TYPE_VERSION: Final = "v1"
DATA_SCHEMA: Final = "urn:nld:afstand:schema:notice:1"


class EventsRenderer:
    """Renders for one organisation."""

    def __init__(self, target: EventsTarget) -> None:
        self._target = target

    def __call__(self, delivery: Delivery) -> Rendered:
        """Give the event; RenderError for what is no notice or no valid CloudEvent."""
        notice = delivery.body
        if not isinstance(notice, Notice):
            msg = "an organisation takes notices, not commands"
            raise RenderError(msg)
        try:
            event = CloudEvent(attributes(self._target, delivery.key, notice), data(notice))
        except CloudEventValidationError as error:
            raise RenderError(str(error)) from error
        binary = self._target.mode == "binary"
        message = to_binary_event(event) if binary else to_structured_event(event)
        return Rendered(message.body, message.headers)


def source_of(target: EventsTarget) -> str:
    """Give the URN of this system: unique together with the id of an event."""
    return f"urn:nld:oin:{target.oin}:systeem:{target.system}"


def attributes(target: EventsTarget, key: str, notice: Notice) -> dict[str, Any]:
    """Give the context attributes."""
    alarm_class, purpose = notice.alarm_class.value, notice.purpose.value
    found: dict[str, Any] = {
        "specversion": "1.0",
        "id": key,
        "source": source_of(target),
        "type": f"nl.afstand.alarm.{alarm_class}.{purpose}.{TYPE_VERSION}",
        "time": _time(notice.at_ms),
        "subject": notice.incident_id,
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
    }
    if target.data_url is not None:
        base = target.data_url.rstrip("/")
        found["dataref"] = f"{base}/incidents/{quote(notice.incident_id, safe='')}"
    return found


def data(notice: Notice) -> dict[str, Any]:
    """Give the payload: what a receiver needs to know whom to call and how fast, and no more."""
    found: dict[str, Any] = {
        "incident": notice.incident_id,
        "alarm": notice.alarm_id,
        "alarm_class": notice.alarm_class.value,
        "priority": notice.priority.value,
        "purpose": notice.purpose.value,
        "reason": notice.reason,
        "at_ms": notice.at_ms,
        "opened_at_ms": notice.opened_at_ms,
        "needs": notice.needs.value,
        "drill": notice.drill,
        "authenticated": notice.authenticated,
        "confirmed": notice.confirmed,
    }
    optional = {
        "acknowledge_by_ms": notice.deadline_ms,
        "order": notice.order_id,
        "order_kind": notice.order_kind.value if notice.order_kind else None,
        "order_version": notice.order_version,
        "wearer": notice.wearer_id,
    }
    found.update({name: value for name, value in optional.items() if value is not None})
    return found


def _time(at_ms: int) -> datetime:
    seconds, ms = divmod(at_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ms * 1000)
