"""CAP 1.2 (OASIS; ITU X.1303): a notice as a control room takes it.

The bytes follow from the notice and its key alone, whatever process renders it, so that a message
sent again has the same identifier, time and references and is recognised as a copy.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from alerting.book.classes import Text
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.types import (
    AlarmClass,
    Audience,
    Notice,
    Position,
    Priority,
    Purpose,
    Reference,
)
from alerting.notify import cap_codes
from alerting.notify.delivery import Delivery, RenderError
from alerting.notify.localtime import cap_time, local_text
from alerting.notify.settings import CapTarget
from alerting.notify.webhook import Rendered

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
PROFILE: Final = "afstand-cap-1"
"""Version of what this module puts into CAP (element `code`); a change only adds parameters."""
CONTENT_TYPE: Final = "application/cap+xml; charset=utf-8"
RADIUS_MM_MIN: Final = 10_000
"""No circle is drawn smaller than this: no receiver of a phone or bracelet is better everywhere."""
_OBSERVED_1024: Final = 973  # 95 %: what the engine calls a breach
_LIKELY_1024: Final = 512  # CAP: likely is more than about 50 %
# XML 1.0 has no place for control characters and lone surrogates, escaped or not.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Language(NamedTuple):
    """One `info` of the message."""

    tag: str
    field: str
    """The name of this language in a Text of the alarm book."""


_ROOMS: Final = (Audience.POLICE, Audience.MONITORING_CENTRE, Audience.SHIFT_LEAD)
LANGUAGES: Final = (Language("nl-NL", "nl"), Language("en", "en"))


class CapRenderer:
    """Renders for one control room."""

    def __init__(self, target: CapTarget) -> None:
        self._target = target

    def __call__(self, delivery: Delivery) -> Rendered:
        """Give the CAP message; RenderError for what is no notice."""
        notice = delivery.body
        if not isinstance(notice, Notice):
            msg = "a control room takes notices, not commands"
            raise RenderError(msg)
        body = build_alert(self._target, delivery.key, notice)
        return Rendered(body, {"Content-Type": CONTENT_TYPE})


class _Xml:
    """Writes elements in order: five times as fast as building a tree and writing that."""

    def __init__(self) -> None:
        self._parts = ["<?xml version='1.0' encoding='utf-8'?>\n"]

    def open(self, name: str, attributes: str = "") -> None:
        self._parts.append(f"<{name}{attributes}>")

    def close(self, name: str) -> None:
        self._parts.append(f"</{name}>\n")

    def add(self, name: str, text: str) -> None:
        self._parts.append(f"<{name}>{_escaped(text)}</{name}>\n")

    def done(self) -> bytes:
        return "".join(self._parts).encode()


def _escaped(text: str) -> str:
    text = _NOT_XML.sub("\ufffd", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def identifier_of(key: str) -> str:
    """Give the CAP identifier of the notice with this idempotency key."""
    return f"afstand-{key}"


def build_alert(target: CapTarget, key: str, notice: Notice) -> bytes:
    """Give the message."""
    xml = _Xml()
    xml.open("alert", f' xmlns="{NAMESPACE}"')
    xml.add("identifier", identifier_of(key))
    xml.add("sender", target.sender)
    xml.add("sent", cap_time(notice.at_ms))
    xml.add("status", _status(notice))
    xml.add("msgType", _message_type(notice))
    xml.add("source", target.sender_name)
    if target.addresses:
        xml.add("scope", "Private")
        xml.add("addresses", " ".join([_quoted(a) for a in target.addresses]))
    else:
        xml.add("scope", "Restricted")
        xml.add("restriction", target.restriction)
    xml.add("code", PROFILE)
    if notice.drill:
        xml.add("note", f"{cap_codes.EXERCISE.nl} / {cap_codes.EXERCISE.en}")
    if notice.references:
        references = [_reference(target, earlier) for earlier in notice.references]
        xml.add("references", " ".join(references))
    xml.add("incidents", _quoted(notice.incident_id))
    figures = tuple(parameters(notice))
    for language in LANGUAGES:
        _add_info(xml, target, notice, language, figures)
    xml.close("alert")
    return xml.done()


def _status(notice: Notice) -> str:
    if notice.drill:
        return "Exercise"
    return "Test" if notice.purpose is Purpose.TEST else "Actual"


def _message_type(notice: Notice) -> str:
    if notice.purpose is Purpose.WITHDRAWN:
        return "Cancel"
    if notice.purpose is Purpose.UPDATE:
        return "Update"
    # An escalation may be the first that this target hears of the alarm.
    return "Update" if notice.purpose is Purpose.ESCALATION and notice.references else "Alert"


def _reference(target: CapTarget, earlier: Reference) -> str:
    return f"{target.sender},{identifier_of(earlier.key)},{cap_time(earlier.at_ms)}"


def _add_info(
    xml: _Xml,
    target: CapTarget,
    notice: Notice,
    language: Language,
    figures: Sequence[tuple[str, str]],
) -> None:
    codes = cap_codes.CODES[notice.alarm_class]
    rule = ALARM_BOOK[notice.alarm_class]
    xml.open("info")
    xml.add("language", language.tag)
    xml.add("category", "Security")
    if notice.alarm_class is AlarmClass.SYSTEM:
        xml.add("category", "Infra")
    xml.add("event", _in(rule.title, language))
    xml.add("responseType", _response_type(notice))
    xml.add("urgency", "Past" if notice.purpose is Purpose.HISTORY else codes.urgency)
    xml.add("severity", codes.severity)
    xml.add("certainty", _certainty(notice, codes.certainty))
    xml.open("eventCode")
    xml.add("valueName", "afstand:alarm-class")
    xml.add("value", notice.alarm_class.value)
    xml.close("eventCode")
    xml.add("onset", cap_time(notice.at_ms if notice.fix_ms is None else notice.fix_ms))
    xml.add("senderName", target.sender_name)
    xml.add("headline", _headline(notice, language))
    xml.add("description", _description(notice, language))
    xml.add("instruction", _in(_instruction(notice), language))
    for name, value in figures:
        xml.open("parameter")
        xml.add("valueName", name)
        xml.add("value", value)
        xml.close("parameter")
    _add_areas(xml, notice, language)
    xml.close("info")


def _response_type(notice: Notice) -> str:
    if notice.purpose is Purpose.WITHDRAWN:
        return "AllClear"
    if notice.purpose is Purpose.TEST:
        return "None"
    critical = notice.priority is Priority.CRITICAL and notice.purpose is not Purpose.HISTORY
    return "Execute" if critical else "Assess"


def _instruction(notice: Notice) -> Text:
    if notice.purpose is Purpose.WITHDRAWN:
        return cap_codes.CLOSED
    if notice.purpose is Purpose.TEST:
        return cap_codes.TEST
    if notice.purpose is Purpose.HISTORY:
        return cap_codes.HISTORY
    critical = notice.priority is Priority.CRITICAL
    return cap_codes.DISPATCH if critical else cap_codes.ASSESS


def _certainty(notice: Notice, without_figure: str) -> str:
    if not notice.authenticated:
        return "Possible"
    if notice.probability_1024 is None:
        return without_figure
    if notice.probability_1024 >= _OBSERVED_1024 and notice.confirmed:
        return "Observed"
    return "Likely" if notice.probability_1024 >= _LIKELY_1024 else "Possible"


def _headline(notice: Notice, language: Language) -> str:
    parts = [_in(ALARM_BOOK[notice.alarm_class].title, language)]
    if notice.drill:
        parts.insert(0, _in(cap_codes.EXERCISE, language))
    if notice.wearer_id is not None:
        parts.append(notice.wearer_id)
    if not notice.authenticated:
        parts.append(_in(cap_codes.UNVERIFIED, language))
    return " - ".join(parts)


def _description(notice: Notice, language: Language) -> str:
    dutch = language.field == "nl"
    parts = [_in(ALARM_BOOK[notice.alarm_class].consequence, language)]
    if notice.distance_mm is not None:
        metres = round(abs(notice.distance_mm) / 1000)
        parts.append(f"{'Afstand' if dutch else 'Distance'} {metres} m.")
    if notice.probability_1024 is not None:
        percent = notice.probability_1024 * 100 // 1024
        parts.append(f"{'Kans' if dutch else 'Probability'} {percent} %.")
    if notice.time_to_contact_ms is not None:
        seconds = notice.time_to_contact_ms // 1000
        parts.append(f"{'Tijd tot contact' if dutch else 'Time to contact'} {seconds} s.")
    if notice.fix_ms is not None:
        parts.append(f"{'Gemeten' if dutch else 'Measured'} {local_text(notice.fix_ms)}.")
    parts.append(f"{'Gemeld' if dutch else 'Reported'} {local_text(notice.at_ms)}.")
    return " ".join(parts)


def parameters(notice: Notice) -> Iterator[tuple[str, str]]:
    """Give every figure of a notice by name, the unit last in the name. Names are never reused."""
    yield "alarm", notice.alarm_id
    yield "alarm-class", notice.alarm_class.value
    yield "priority", notice.priority.value
    yield "purpose", notice.purpose.value
    yield "needs", notice.needs.value
    yield "reason", notice.reason
    yield "plan", notice.plan_id
    yield "plan-step", str(notice.step)
    yield "plan-round", str(notice.round)
    yield "authenticated", _boolean(notice.authenticated)
    yield "confirmed", _boolean(notice.confirmed)
    yield "count", str(notice.count)
    optional: tuple[tuple[str, str | None], ...] = (
        ("order", notice.order_id),
        ("order-kind", notice.order_kind.value if notice.order_kind else None),
        ("order-version", _integer(notice.order_version)),
        ("zone", notice.zone_id),
        ("zone-version", _integer(notice.zone_version)),
        ("state", notice.state.value if notice.state else None),
        ("probability", _scaled(notice.probability_1024, 1024, 3)),
        ("distance-m", _scaled(notice.distance_mm, 1000, 1)),
        ("closing-speed-m-s", _scaled(notice.closing_mm_s, 1000, 1)),
        ("time-to-contact-s", _scaled(notice.time_to_contact_ms, 1000, 0)),
        ("wearer", notice.wearer_id),
        ("wearer-age-s", _scaled(notice.wearer_age_ms, 1000, 0)),
        ("protected-person", notice.protected_id),
        ("protected-person-age-s", _scaled(notice.protected_age_ms, 1000, 0)),
        ("device", notice.device_id),
        ("fix-time", None if notice.fix_ms is None else cap_time(notice.fix_ms)),
        ("acknowledge-by", None if notice.deadline_ms is None else cap_time(notice.deadline_ms)),
        ("labels", " ".join(notice.labels) or None),
        ("detail", notice.detail or None),
    )
    for name, value in optional:
        if value is not None:
            yield name, value


def _add_areas(xml: _Xml, notice: Notice, language: Language) -> None:
    dutch = language.field == "nl"
    places = [(notice.wearer_position, "Plaats van de drager" if dutch else "Place of the wearer")]
    # The alarm book gives these to nobody else; here it is not left to the alarm book alone.
    if notice.audience in _ROOMS:
        words = "Plaats van de beschermde persoon" if dutch else "Place of the protected person"
        places.append((notice.protected_position, words))
        words = "Plaats van het apparaat" if dutch else "Place of the device"
        places.append((notice.device_position, words))
    known = [(position, words) for position, words in places if position is not None]
    for position, words in known:
        xml.open("area")
        xml.add("areaDesc", f"{words}, {local_text(position.time_ms)}")
        xml.add("circle", circle(position))
        xml.close("area")
    if not known:
        xml.open("area")
        xml.add("areaDesc", "Plaats onbekend" if dutch else "Place unknown")
        xml.close("area")


def circle(position: Position) -> str:
    """Give a CAP circle: `latitude,longitude radius`, WGS84 degrees and km, 68 % inside."""
    radius_mm = max(RADIUS_MM_MIN, position.accuracy_mm)
    lat, lon = position.lat_e7 / 1e7, position.lon_e7 / 1e7
    return f"{lat:.6f},{lon:.6f} {radius_mm / 1e6:.3f}"


def _in(text: Text, language: Language) -> str:
    return text.nl if language.field == "nl" else text.en


def _quoted(word: str) -> str:
    # CAP 1.2, addresses and incidents: what contains white space is put in double quotes.
    return f'"{word}"' if any(c.isspace() for c in word) else word


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _integer(value: int | None) -> str | None:
    return None if value is None else str(value)


def _scaled(value: int | None, per_unit: int, decimals: int) -> str | None:
    return None if value is None else f"{value / per_unit:.{decimals}f}"
