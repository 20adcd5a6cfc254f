"""What happened with my alarm: an incident told to the protected person, in plain words.

Times and what was done; no place, no name, no figure from which a place follows, nothing of the
wearer but that he was dealt with.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from afstand.explain.sentences import Language
from alerting.book.classes import Text
from alerting.book.risk import CAUSES
from alerting.book.types import (
    AlarmRecord,
    Audience,
    CaseRecord,
    Change,
    Disposition,
    IncidentChange,
    IncidentRecord,
    Notice,
    Output,
    Purpose,
)

_OPENED = Text("Uw alarm kwam binnen.", "Your alarm came in.")
_TOLD = {
    Audience.POLICE: Text("De politie is gewaarschuwd.", "The police were alerted."),
    Audience.MONITORING_CENTRE: Text(
        "De meldcentrale is gewaarschuwd.", "The monitoring centre was alerted."
    ),
    Audience.PROBATION: Text("De reclassering is ingelicht.", "Probation was informed."),
    Audience.PROTECTED_PERSON: Text(
        "Op uw apparaat is een bericht gezet.", "A message was put on your device."
    ),
}
_TAKEN = Text("Iemand nam uw alarm in behandeling.", "Somebody took your alarm in hand.")
_CLOSED = {
    Disposition.HANDLED: Text("Het is afgehandeld.", "It was dealt with."),
    Disposition.FALSE_ALARM: Text("Het bleek vals alarm.", "It was found to be a false alarm."),
    Disposition.TECHNICAL: Text("Het bleek een storing.", "It was found to be a technical fault."),
    Disposition.PERMITTED: Text("Het bleek afgesproken te zijn.", "It had been arranged."),
    Disposition.DUPLICATE: Text("Het hoorde bij een ander alarm.", "It belonged to another alarm."),
    Disposition.TEST: Text("Het was een test.", "It was a test."),
}
_OVER = Text("Het alarm ging voorbij en is gesloten.", "The alarm passed and was closed.")


def feedback(
    outputs: Iterable[Output], incident_id: str, language: Language, zone: ZoneInfo
) -> list[str]:
    """Return the lines about one incident, oldest first; none for one that is not known."""
    said: dict[Text, int] = {}
    for output in outputs:
        if getattr(output, "incident_id", None) != incident_id:
            continue
        text = _line(output)
        if text is not None and text not in said:
            said[text] = getattr(output, "at_ms", 0)
    return [f"{_at(at_ms, zone)}  {getattr(text, language)}" for text, at_ms in said.items()]


def _line(output: Output) -> Text | None:
    match output:
        case IncidentRecord(change=IncidentChange.OPENED):
            return _OPENED
        case IncidentRecord(change=IncidentChange.CLOSED):
            return _OVER if output.disposition is None else _CLOSED[output.disposition]
        case AlarmRecord(change=Change.ACKNOWLEDGED):
            return _TAKEN
        case Notice(purpose=Purpose.ALERT | Purpose.ESCALATION):
            return _TOLD.get(output.audience)
        case CaseRecord() if output.cause is not None:
            return CAUSES[output.cause]
        case _:
            return None


def _at(at_ms: int, zone: ZoneInfo) -> str:
    at = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(zone)
    return f"{at:%d-%m-%Y %H:%M}"
