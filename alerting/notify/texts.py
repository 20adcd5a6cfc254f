"""What staff read of a notice on a phone or in a mailbox: what, how bad, since when, whom to call.

Neither is private: other people see a screen, and mail is kept. So no position, no distance, no
name and no id of a protected person; whoever has the right looks in the console by the incident.
"""

from typing import Final, Literal

from alerting.book.classes import Text
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.types import Notice, Priority, Purpose
from alerting.notify.localtime import local_text

Language = Literal["nl", "en"]
SMS_CHARACTERS_MAX: Final = 160
"""One message of GSM 03.38: what is longer is charged twice and may arrive torn."""

_PURPOSES: Final = {
    Purpose.ALERT: Text("MELDING", "ALERT"),
    Purpose.ESCALATION: Text("GEEN ANTWOORD", "NO ANSWER"),
    Purpose.UPDATE: Text("VERVOLG", "UPDATE"),
    Purpose.WITHDRAWN: Text("GESLOTEN", "CLOSED"),
    Purpose.TEST: Text("TEST", "TEST"),
    Purpose.HISTORY: Text("ACHTERAF", "HISTORY"),
    Purpose.TASK: Text("TAAK", "TASK"),
    Purpose.EXPLANATION: Text("UITLEG", "EXPLANATION"),
}
_PRIORITIES: Final = {
    Priority.CRITICAL: Text("kritiek", "critical"),
    Priority.HIGH: Text("hoog", "high"),
    Priority.MEDIUM: Text("middel", "medium"),
    Priority.LOW: Text("laag", "low"),
}
_EXERCISE: Final = Text("OEFENING", "EXERCISE")
_UNVERIFIED: Final = Text("niet geverifieerd", "not verified")
_INCIDENT: Final = Text("incident", "incident")
_CALL: Final = Text("Bel de meldcentrale.", "Call the centre.")
_SINCE: Final = Text("Sinds", "Since")
_ACTION: Final = Text("Wat te doen", "What to do")
_CONSEQUENCE: Final = Text("Gevolg", "Consequence")
_BY: Final = Text("Antwoord uiterlijk", "Answer by")
_MORE: Final = Text("Meer, met uw eigen rechten", "More, with your own rights")


def said(text: Text, language: Language) -> str:
    """The text in one language."""
    return text.nl if language == "nl" else text.en


def headline(notice: Notice, language: Language) -> str:
    """One line: exercise or not, purpose, class, priority."""
    parts = [
        said(_PURPOSES[notice.purpose], language),
        said(ALARM_BOOK[notice.alarm_class].title, language),
        said(_PRIORITIES[notice.priority], language),
    ]
    if notice.drill:
        parts.insert(0, said(_EXERCISE, language))
    if not notice.authenticated:
        parts.append(said(_UNVERIFIED, language))
    return " - ".join(parts)


def sms_text(notice: Notice, language: Language) -> str:
    """A text message of at most SMS_CHARACTERS_MAX characters of GSM 03.38, each one place wide."""
    start = f"{headline(notice, language)}, {local_text(notice.at_ms)[:16]}, "
    name = f"{said(_INCIDENT, language)} {notice.incident_id}."
    end = f" {said(_CALL, language)}"
    if len(start + name + end) > SMS_CHARACTERS_MAX:
        end = ""
    text = (start + name + end)[:SMS_CHARACTERS_MAX]
    return "".join([c if c in _GSM else "?" for c in text])


# Of the default alphabet only what is also ASCII and takes one place.
_GSM: Final = frozenset(
    "@$_ !\"#%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


def mail_text(notice: Notice, language: Language, data_url: str | None) -> str:
    """The body of a mail."""
    rule = ALARM_BOOK[notice.alarm_class]
    lines = [
        headline(notice, language),
        "",
        f"{said(_INCIDENT, language).capitalize()}: {notice.incident_id}",
        f"{said(_SINCE, language)}: {local_text(notice.opened_at_ms)}",
    ]
    if notice.purpose in (Purpose.ALERT, Purpose.ESCALATION, Purpose.TASK):
        lines += [
            f"{said(_CONSEQUENCE, language)}: {said(rule.consequence, language)}",
            f"{said(_ACTION, language)}: {said(rule.action, language)}",
        ]
    if notice.deadline_ms is not None:
        lines.append(f"{said(_BY, language)}: {local_text(notice.deadline_ms)}")
    if data_url is not None:
        address = f"{data_url.rstrip('/')}/incidents/{notice.incident_id}"
        lines.append(f"{said(_MORE, language)}: {address}")
    lines += ["", said(_CALL, language), ""]
    return "\n".join(lines)
