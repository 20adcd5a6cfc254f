"""What the outcome of a risk screening means for a case, as data.

The screening is a judgement of people; this table only says what follows from it. The risk class
sets the thresholds of patterns (`patterns.py`); of an order it is part of the order itself, so an
order of a lower class is told to the owner instead of being changed behind a court's back.
"""

from typing import Final

import msgspec

from alerting.book.case_words import Cause, ChecklistStep, Concern
from alerting.book.classes import Text

RISK_VERSION: Final = "1"
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
QUIET_MS: Final = 182 * DAY_MS
"""Six months without an incident: scaling down is proposed."""
CHECK_IN_GRACE_MS: Final = 2 * HOUR_MS
ACTIVATION_MS: Final = {True: HOUR_MS // 2, False: 72 * HOUR_MS}
"""By when a button is live: urgent, and otherwise."""


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a concern. `plan_id` holds where the site has a plan of that name."""

    risk_class: int
    plan_id: str
    check_in_h: int
    may_scale_down: bool


RISKS: Final[dict[Concern, Risk]] = {
    Concern.HIGH: Risk(risk_class=1, plan_id="risk-high", check_in_h=24, may_scale_down=False),
    Concern.MODERATE: Risk(
        risk_class=2, plan_id="risk-moderate", check_in_h=168, may_scale_down=True
    ),
    Concern.LOW: Risk(risk_class=3, plan_id="risk-low", check_in_h=0, may_scale_down=True),
}

BY_MACHINE: Final = (ChecklistStep.TEST_PRESSED, ChecklistStep.TEST_RECEIVED)

CAUSES: Final[dict[Cause, Text]] = {
    Cause.POSITION_ERROR: Text(
        "Het was een meetfout. Er was niemand bij u.",
        "It was a measuring error. Nobody was near you.",
    ),
    Cause.DEVICE_FAULT: Text(
        "Het was een storing van een apparaat. Het is hersteld.",
        "A device had failed. It has been repaired.",
    ),
    Cause.NO_NETWORK: Text(
        "Er was even geen netwerk. Nu is alles weer goed.",
        "There was no network for a while. All is well again.",
    ),
    Cause.PASSED_BY: Text(
        "U reisde toevallig langs elkaar. Het is voorbij.",
        "Your ways crossed by chance. It is over.",
    ),
    Cause.PERMITTED: Text(
        "Het was afgesproken en toegestaan.", "It had been arranged and was permitted."
    ),
    Cause.TURNED_AWAY: Text(
        "Hij is aangesproken en weggegaan. Het is voorbij.",
        "He was spoken to and has left. It is over.",
    ),
    Cause.BREACH: Text(
        "Het verbod is overtreden. De politie weet ervan.",
        "The ban was broken. The police know about it.",
    ),
    Cause.ARRESTED: Text("Hij is aangehouden door de politie.", "The police have arrested him."),
    Cause.PRESSED_BY_MISTAKE: Text(
        "De knop was per ongeluk ingedrukt. Dat is niet erg.",
        "The button was pressed by mistake. That is all right.",
    ),
}
"""What the device shows: within 64 bytes, no place, no time, no name."""
