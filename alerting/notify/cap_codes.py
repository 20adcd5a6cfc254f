"""How each class of alarm counts in CAP 1.2, and what a control room is asked to do.

Titles and consequences come from the alarm book, so that operator and control room use one word for
one thing. The instruction is the control room's own: the book's is the operator's.
"""

from typing import Final, NamedTuple

from alerting.book.classes import Text
from alerting.book.types import AlarmClass


class CapCodes(NamedTuple):
    """Values of CAP; `certainty` is that of an alarm without a probability of its own."""

    urgency: str
    severity: str
    certainty: str


CODES: Final[dict[AlarmClass, CapCodes]] = {
    AlarmClass.PANIC: CapCodes("Immediate", "Extreme", "Observed"),
    AlarmClass.PROXIMITY: CapCodes("Immediate", "Extreme", "Likely"),
    AlarmClass.TAMPER: CapCodes("Immediate", "Severe", "Observed"),
    AlarmClass.AREA_BREACH: CapCodes("Immediate", "Severe", "Likely"),
    AlarmClass.APPROACH: CapCodes("Expected", "Severe", "Likely"),
    AlarmClass.PAIR_BLIND: CapCodes("Expected", "Moderate", "Unknown"),
    AlarmClass.ORDER_BREACH: CapCodes("Expected", "Moderate", "Likely"),
    AlarmClass.DEVICE_DYING: CapCodes("Future", "Minor", "Observed"),
    AlarmClass.LOCATION_DOUBT: CapCodes("Expected", "Moderate", "Possible"),
    AlarmClass.PATTERN: CapCodes("Past", "Minor", "Likely"),
    AlarmClass.LEGAL: CapCodes("Future", "Minor", "Observed"),
    AlarmClass.SYSTEM: CapCodes("Immediate", "Severe", "Observed"),
}

DISPATCH: Final = Text(
    "Stuur een eenheid volgens afspraak en bevestig de overdracht.",
    "Dispatch a unit as agreed and acknowledge the hand-over.",
)
ASSESS: Final = Text(
    "Beoordeel samen met de meldcentrale en bevestig de ontvangst.",
    "Assess together with the monitoring centre and acknowledge receipt.",
)
CLOSED: Final = Text(
    "Deze melding is gesloten. Geen actie meer nodig.",
    "This alert is closed. No further action needed.",
)
HISTORY: Final = Text(
    "Gebeurtenis in het verleden, uit nagekomen gegevens. Geen spoed.",
    "Event in the past, from data that came late. Not urgent.",
)
TEST: Final = Text(
    "Testbericht. Geen actie nodig.",
    "Test message. No action needed.",
)
EXERCISE: Final = Text(
    "OEFENING, geen echte melding",
    "EXERCISE, not a real alert",
)
UNVERIFIED: Final = Text(
    "Afzender niet geverifieerd",
    "Sender not verified",
)
"""Of a press whose frame had no valid tag: it is told, and told as such."""
