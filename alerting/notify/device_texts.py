"""What is shown on a device: short, plain, calm, and never where anybody is.

A text fits the 64 bytes of a command with the mark of an exercise before it. The wearer reads
nothing of a contact ban or of a button that was pressed: no text may teach where the protected
person is.
"""

from typing import Final, Literal

from alerting.book.classes_data import ALARM_BOOK
from alerting.book.risk import CAUSES
from alerting.book.types import (
    AlarmClass,
    Audience,
    DeviceCommand,
    DeviceCommandCode,
    Disposition,
    EventKind,
    Notice,
    OrderKind,
    Purpose,
)
from alerting.notify.delivery import RenderError

Language = Literal["nl", "en"]
TEXT_BYTES_MAX: Final = 64
_DRILL: Final = {"nl": "OEFENING. ", "en": "EXERCISE. "}

Words = dict[str, str]
_PROTECTED: Final[dict[AlarmClass, Words]] = {
    AlarmClass.PANIC: {
        "nl": "Uw alarm is ontvangen. Blijf waar het veilig is.",
        "en": "Your alarm is received. Stay where it is safe.",
    },
    AlarmClass.PROXIMITY: {
        "nl": "Gevaar dichtbij. Ga naar veiligheid. Nood: 112.",
        "en": "Danger nearby. Go somewhere safe. Emergency: 112.",
    },
    AlarmClass.APPROACH: {
        "nl": "Wees alert: er kan iemand naderen. Nood: 112.",
        "en": "Be alert: somebody may approach. Emergency: 112.",
    },
    AlarmClass.AREA_BREACH: {
        "nl": "Wees alert: het verbod is geschonden. Nood: 112.",
        "en": "Be alert: the ban was broken. Emergency: 112.",
    },
    AlarmClass.TAMPER: {
        "nl": "Wees alert: de enkelband is verstoord. Nood: 112.",
        "en": "Be alert: the ankle monitor failed. Help: 112.",
    },
    AlarmClass.PAIR_BLIND: {
        "nl": "Wees alert: afstand nu onbekend. Nood: 112.",
        "en": "Be alert: distance unknown now. Emergency: 112.",
    },
}
_PROTECTED_OTHER: Final[Words] = {
    "nl": "Er is een melding. Vragen? Bel de meldcentrale.",
    "en": "There is a notice. Questions? Call the centre.",
}
_OWN_BATTERY: Final[Words] = {
    "nl": "De batterij is bijna leeg. Laad nu op.",
    "en": "The battery is almost empty. Charge it now.",
}
_OWN_LOCATION: Final[Words] = {
    "nl": "Uw plaats is niet te bepalen. Ga naar buiten.",
    "en": "Your place cannot be found. Go outside.",
}
_WEARER_AWAY: Final[Words] = {
    "nl": "U mag hier niet zijn. Ga weg, bel het toezicht.",
    "en": "You may not be here. Leave, call supervision.",
}
_WEARER_BORDER: Final[Words] = {
    "nl": "U mag de grens niet over. Keer om, bel het toezicht.",
    "en": "You may not cross the border. Turn back, call.",
}
_WEARER: Final[dict[AlarmClass, Words]] = {
    AlarmClass.AREA_BREACH: _WEARER_AWAY,
    AlarmClass.APPROACH: _WEARER_AWAY,
    AlarmClass.ORDER_BREACH: {
        "nl": "U bent niet op de afgesproken plek. Ga daarheen.",
        "en": "You are not where you must be now. Go there.",
    },
    AlarmClass.DEVICE_DYING: _OWN_BATTERY,
}
_WEARER_OTHER: Final[Words] = {
    "nl": "Er is een melding. Bel het toezicht.",
    "en": "There is a notice. Call supervision.",
}
_CLOSED: Final[Words] = {
    "nl": "De melding van eerder is gesloten.",
    "en": "The earlier notice is closed.",
}
_CLOSED_WHY: Final[dict[str, Words]] = {
    Disposition.FALSE_ALARM.value: {
        "nl": "Het alarm is voorbij. Het was vals alarm.",
        "en": "The alarm is over. It was a false alarm.",
    },
    Disposition.TECHNICAL.value: {
        "nl": "Het alarm is voorbij. Het was een storing.",
        "en": "The alarm is over. It was a technical fault.",
    },
    Disposition.PERMITTED.value: {
        "nl": "Het alarm is voorbij. Het was zo afgesproken.",
        "en": "The alarm is over. It had been arranged.",
    },
    Disposition.HANDLED.value: {
        "nl": "Het alarm is voorbij. Het is afgehandeld.",
        "en": "The alarm is over. It has been dealt with.",
    },
}
"""By how a person closed it: she hears afterwards what it was."""
_EXPLAINED: Final[dict[str, Words]] = {
    cause.value: {"nl": text.nl, "en": text.en} for cause, text in CAUSES.items()
}
_TEST: Final[Words] = {
    "nl": "Test ontvangen. Uw apparaat werkt.",
    "en": "Test received. Your device works.",
}


def device_text(notice: Notice, language: Language) -> str:
    """Give the text of a notice for a device; RenderError where there must be none."""
    words = _words(notice)
    text = (_DRILL[language] if notice.drill else "") + words[language]
    if len(text.encode()) > TEXT_BYTES_MAX:
        msg = f"text of {notice.text_key} is too long"
        raise RenderError(msg)
    return text


def prompt_text(command: DeviceCommand, language: Language) -> str:
    """Give the text of a prompt by its reason; nothing for a command that shows none."""
    if command.code is not DeviceCommandCode.MESSAGE:
        return ""
    words = _PROMPTS.get(command.reason)
    if words is None:
        msg = f"no text for a prompt about {command.reason}"
        raise RenderError(msg)
    return words[language]


_PROMPTS: Final[dict[str, Words]] = {EventKind.BATTERY_CRITICAL.value: _OWN_BATTERY}


def _words(notice: Notice) -> Words:
    if notice.audience is Audience.WEARER:
        return _wearer_words(notice)
    if notice.audience is not Audience.PROTECTED_PERSON:
        msg = f"audience {notice.audience.value} is not reached on a device"
        raise RenderError(msg)
    if notice.purpose is Purpose.TEST:
        return _TEST
    if notice.purpose is Purpose.WITHDRAWN:
        return _CLOSED_WHY.get(notice.reason, _CLOSED)
    if notice.purpose is Purpose.EXPLANATION:
        return _EXPLAINED.get(notice.reason, _CLOSED)
    if _is_own(notice) and notice.alarm_class is AlarmClass.DEVICE_DYING:
        return _OWN_BATTERY
    if _is_own(notice) and notice.alarm_class is AlarmClass.LOCATION_DOUBT:
        return _OWN_LOCATION
    return _PROTECTED.get(notice.alarm_class, _PROTECTED_OTHER)


def _wearer_words(notice: Notice) -> Words:
    # The alarm book has decided this already; a mistake there must not end on the wearer's wrist.
    contact_ban = notice.order_kind is OrderKind.CONTACT_BAN
    if contact_ban or not ALARM_BOOK[notice.alarm_class].wearer_may_know:
        msg = f"the wearer is never told of {notice.alarm_class.value} or of a contact ban"
        raise RenderError(msg)
    if notice.purpose is Purpose.TEST:
        return _TEST
    if notice.purpose is Purpose.WITHDRAWN:
        return _CLOSED
    if notice.order_kind is OrderKind.EXIT_BAN:
        return _WEARER_BORDER
    return _WEARER.get(notice.alarm_class, _WEARER_OTHER)


def _is_own(notice: Notice) -> bool:
    """Tell whether the alarm is about the device that shows the text."""
    return notice.device_id is not None and notice.device_id == notice.subject_device_id
