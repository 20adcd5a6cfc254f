"""CAP 1.2 (OASIS, ITU X.1303): a notice as a control room takes it.

The bytes follow from the notice, its key and the references alone, so that a redelivery after a
restart has the same identifier and time and is recognised as a copy.
"""

import re
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from alerting.book.types import AlarmClass, Notice, Position, Purpose
from alerting.notify.cap_texts import (
    CANCEL_EN,
    CANCEL_NL,
    CLASS_TEXTS,
    HISTORY_EN,
    HISTORY_NL,
    TEST_EN,
    TEST_NL,
    ClassText,
)
from alerting.notify.delivery import Delivery, RenderError
from alerting.notify.localtime import cap_time, local_text
from alerting.notify.settings import CapTarget
from alerting.notify.webhook import Rendered

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
PROFILE: Final = "afstand-cap-1"
"""Version of what this module puts into CAP: the `code` element; parameters are only ever added."""
CONTENT_TYPE: Final = "application/cap+xml; charset=utf-8"
RADIUS_KM_MIN: Final = 0.010

# XML 1.0 has no place for control characters and lone surrogates, escaped or not.
_NOT_XML: Final = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
)
_CRITICAL: Final = (
    AlarmClass.PANIC,
    AlarmClass.PROXIMITY,
    AlarmClass.TAMPER,
    AlarmClass.AREA_BREACH,
)


def identifier_of(key: str) -> str:
    """Give the CAP identifier of the notice with this idempotency key."""
    return f"afstand-{key}"


def reference_to(target: CapTarget, key: str, at_ms: int) -> str:
    """Give the extended identifier (sender,identifier,sent) by which later messages refer to it."""
    return f"{target.sender},{identifier_of(key)},{cap_time(at_ms)}"


class CapRenderer:
    """Renders for one control room, and knows what it was told before in the same incident."""

    def __init__(self, target: CapTarget, references: "Threads") -> None:
        self._target = target
        self._threads = references

    def __call__(self, delivery: Delivery) -> Rendered:
        """Give the CAP message; RenderError for what is no notice."""
        notice = delivery.body
        if not isinstance(notice, Notice):
            msg = "a control room takes notices, not commands"
            raise RenderError(msg)
        references = self._threads.before(delivery, notice)
        alert = build_alert(self._target, delivery.key, notice, references)
        body = tostring(alert, encoding="utf-8", xml_declaration=True)
        return Rendered(body, {"Content-Type": CONTENT_TYPE})


class Threads:
    """What each alarm has told this target so far: the messages that an update refers to."""

    def before(self, delivery: Delivery, notice: Notice) -> Sequence[str]:
        raise NotImplementedError
