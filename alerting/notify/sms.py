"""Text messages by a gateway: one POST per message, in whatever form the gateway wants it.

That the gateway took it is all that can be known here: it is delivered, and never acknowledged.
"""

from typing import Final
from urllib.parse import urlencode

import msgspec

from alerting.book.types import Notice
from alerting.notify.delivery import Delivery, RenderError
from alerting.notify.settings import SmsTarget
from alerting.notify.texts import sms_text
from alerting.notify.webhook import Rendered

_TYPES: Final = {"json": "application/json", "form": "application/x-www-form-urlencoded"}


class SmsRenderer:
    """Renders for one phone."""

    def __init__(self, target: SmsTarget) -> None:
        self._target = target

    def __call__(self, delivery: Delivery) -> Rendered:
        """Give the gateway's body; RenderError for what is no notice."""
        notice, target = delivery.body, self._target
        if not isinstance(notice, Notice):
            msg = "a phone takes notices, not commands"
            raise RenderError(msg)
        values = {
            "{to}": target.number,
            "{from}": target.sender,
            "{text}": sms_text(notice, target.language),
            "{key}": delivery.key,
        }
        fields = {name: values.get(word, word) for name, word in target.fields.items()}
        body = msgspec.json.encode(fields) if target.body == "json" else urlencode(fields).encode()
        return Rendered(body, {"Content-Type": _TYPES[target.body]})
