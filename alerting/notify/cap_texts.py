"""What a control room reads, in Dutch and English, and how each class of alarm counts in CAP.

`urgency`, `severity` and `certainty` are the values of CAP 1.2; `certainty` here is that of an
alarm that carries no probability of its own.
"""

from typing import Final

import msgspec

from alerting.book.types import AlarmClass


class ClassText(msgspec.Struct, frozen=True, kw_only=True):
    """One class of alarm as a control room sees it."""

    event_nl: str
    event_en: str
    instruction_nl: str
    instruction_en: str
    urgency: str
    severity: str
    certainty: str


_GO_NL: Final = "Stuur een eenheid volgens afspraak en bevestig de overdracht."
_GO_EN: Final = "Dispatch a unit as agreed and acknowledge the hand-over."
_ASSESS_NL: Final = "Beoordeel samen met de meldcentrale en bevestig de ontvangst."
_ASSESS_EN: Final = "Assess together with the monitoring centre and acknowledge receipt."

CLASS_TEXTS: Final[dict[AlarmClass, ClassText]] = {
    AlarmClass.PANIC: ClassText(
        event_nl="Noodknop ingedrukt",
        event_en="Panic button pressed",
        instruction_nl=_GO_NL,
        instruction_en=_GO_EN,
        urgency="Immediate",
        severity="Extreme",
        certainty="Observed",
    ),
    AlarmClass.PROXIMITY: ClassText(
        event_nl="Contactverbod geschonden",
        event_en="Contact ban broken",
        instruction_nl=_GO_NL,
        instruction_en=_GO_EN,
        urgency="Immediate",
        severity="Extreme",
        certainty="Likely",
    ),
    AlarmClass.TAMPER: ClassText(
        event_nl="Enkelband gesaboteerd of verbroken",
        event_en="Ankle monitor tampered with or cut",
        instruction_nl=_GO_NL,
        instruction_en=_GO_EN,
        urgency="Immediate",
        severity="Severe",
        certainty="Observed",
    ),
    AlarmClass.AREA_BREACH: ClassText(
        event_nl="Gebiedsverbod geschonden",
        event_en="Area ban broken",
        instruction_nl=_GO_NL,
        instruction_en=_GO_EN,
        urgency="Immediate",
        severity="Severe",
        certainty="Likely",
    ),
    AlarmClass.APPROACH: ClassText(
        event_nl="Nadering van een verboden persoon of plaats",
        event_en="Approach of a forbidden person or place",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Expected",
        severity="Severe",
        certainty="Likely",
    ),
    AlarmClass.PAIR_BLIND: ClassText(
        event_nl="Afstand tussen drager en beschermde persoon onbekend",
        event_en="Distance between wearer and protected person unknown",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Expected",
        severity="Moderate",
        certainty="Unknown",
    ),
    AlarmClass.ORDER_BREACH: ClassText(
        event_nl="Niet op de opgelegde plaats",
        event_en="Not at the ordered place",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Expected",
        severity="Moderate",
        certainty="Likely",
    ),
    AlarmClass.DEVICE_DYING: ClassText(
        event_nl="Apparaat valt bijna uit",
        event_en="Device about to fail",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Future",
        severity="Minor",
        certainty="Observed",
    ),
    AlarmClass.LOCATION_DOUBT: ClassText(
        event_nl="Plaatsbepaling onbetrouwbaar",
        event_en="Position not to be trusted",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Expected",
        severity="Moderate",
        certainty="Possible",
    ),
    AlarmClass.PATTERN: ClassText(
        event_nl="Verontrustend patroon",
        event_en="Worrying pattern",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Past",
        severity="Minor",
        certainty="Likely",
    ),
    AlarmClass.LEGAL: ClassText(
        event_nl="Titel van de maatregel vraagt aandacht",
        event_en="Legal title needs attention",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Future",
        severity="Minor",
        certainty="Observed",
    ),
    AlarmClass.SYSTEM: ClassText(
        event_nl="Storing in het toezicht",
        event_en="Fault in the monitoring service",
        instruction_nl=_ASSESS_NL,
        instruction_en=_ASSESS_EN,
        urgency="Immediate",
        severity="Severe",
        certainty="Observed",
    ),
}

CANCEL_NL: Final = "Deze melding is gesloten. Geen actie meer nodig."
CANCEL_EN: Final = "This alert is closed. No further action needed."
HISTORY_NL: Final = "Gebeurtenis in het verleden, uit nagekomen gegevens. Geen spoed."
HISTORY_EN: Final = "Event in the past, from data that came late. Not urgent."
TEST_NL: Final = "Testbericht. Geen actie nodig."
TEST_EN: Final = "Test message. No action needed."
