"""The case around the alarm: what people say about a case, and what is recorded of it.

Risk screening, reviews, the protected person's own logbook, check-ins, the urgent activation of a
button, and the cause of an alarm told afterwards. Times are Unix ms of the journal, except
`happened_ms` and `screened_ms`, which a person gave.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

# --- words ----------------------------------------------------------------------------------------


class Concern(StrEnum):
    """The outcome of a screening (SASH and the like): how great the concern is."""

    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"


class ReviewOutcome(StrEnum):
    """What the case conference decided."""

    KEEP = "keep"
    TIGHTEN = "tighten"
    SCALE_DOWN = "scale-down"
    END = "end"


class ChecklistStep(StrEnum):
    """What an activation needs, in the order in which it is usually done."""

    HANDED_OVER = "handed-over"
    INSTRUCTED = "instructed"
    TEST_PRESSED = "test-pressed"
    """Said by the device itself, never by a person."""
    TEST_RECEIVED = "test-received"
    """Said by a receipt of whoever must answer a press, never by a person."""


class Cause(StrEnum):
    """Why there was an alarm, in words that the protected person can use."""

    POSITION_ERROR = "position-error"
    DEVICE_FAULT = "device-fault"
    NO_NETWORK = "no-network"
    PASSED_BY = "passed-by"
    """Both were on the way without knowing of one another."""
    PERMITTED = "permitted"
    TURNED_AWAY = "turned-away"
    BREACH = "breach"
    ARRESTED = "arrested"
    PRESSED_BY_MISTAKE = "pressed-by-mistake"


class CaseChange(StrEnum):
    """What happened to a case."""

    SCREENED = "screened"
    REVIEW_DUE = "review-due"
    REVIEWED = "reviewed"
    SCALE_DOWN_PROPOSED = "scale-down-proposed"
    CHECK_IN_SET = "check-in-set"
    CHECK_IN_DUE = "check-in-due"
    CHECK_IN_MISSED = "check-in-missed"
    CHECKED_IN = "checked-in"
    ACTIVATION_BEGUN = "activation-begun"
    ACTIVATION_STEP = "activation-step"
    ACTIVATED = "activated"
    ACTIVATION_LATE = "activation-late"
    CAUSE_TOLD = "cause-told"


# --- what people say ------------------------------------------------------------------------------


class Screen(msgspec.Struct, frozen=True, kw_only=True, tag="screen"):
    """The outcome of a risk screening. It sets risk class, plan and thresholds (`risk.py`)."""

    case_id: str
    by: str
    concern: Concern
    screened_ms: int
    instrument: str = "SASH"
    note: str = ""


class Review(msgspec.Struct, frozen=True, kw_only=True, tag="review"):
    """The case was looked at by those who answer for it."""

    case_id: str
    by: str
    outcome: ReviewOutcome
    note: str


class LogbookEntry(msgspec.Struct, frozen=True, kw_only=True, tag="logbook-entry"):
    """Something the protected person wrote, in her own words.

    `file_sha256`: the hash of a picture or a sound that she keeps, so that it can be shown later to
    be the one she had then.
    """

    case_id: str
    person_id: str
    text: str
    happened_ms: int
    by: str = ""
    """Who took it down for her; empty: herself."""
    incident_id: str | None = None
    file_name: str = ""
    file_sha256: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""


class SetCheckIn(msgspec.Struct, frozen=True, kw_only=True, tag="set-check-in"):
    """How often somebody hears from the protected person how she is. 0 hours: no more."""

    case_id: str
    by: str
    every_h: Annotated[int, msgspec.Meta(ge=0, le=2160)]


class CheckIn(msgspec.Struct, frozen=True, kw_only=True, tag="check-in"):
    """The protected person was heard. `well` False: she asks to be called."""

    case_id: str
    person_id: str
    well: bool
    by: str = ""
    text: str = ""


class Activate(msgspec.Struct, frozen=True, kw_only=True, tag="activate"):
    """A button is to be live soon: at once when urgent."""

    case_id: str
    device_id: str
    by: str
    urgent: bool = True


class ActivationStep(msgspec.Struct, frozen=True, kw_only=True, tag="activation-step"):
    """A step of an activation was done by a person."""

    device_id: str
    by: str
    step: ChecklistStep


class TellCause(msgspec.Struct, frozen=True, kw_only=True, tag="tell-cause"):
    """Explain to the protected person, afterwards, why there was an alarm."""

    incident_id: str
    by: str
    cause: Cause


CaseCommand = (
    Screen | Review | LogbookEntry | SetCheckIn | CheckIn | Activate | ActivationStep | TellCause
)

# --- what is recorded -----------------------------------------------------------------------------


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True, tag="case-record", omit_defaults=True):
    """One change of a case. `facts`: the evidence of a proposal, in figures."""

    case_id: str
    change: CaseChange
    at_ms: int
    by: str = ""
    person_id: str | None = None
    device_id: str | None = None
    incident_id: str | None = None
    concern: Concern | None = None
    risk_class: int | None = None
    outcome: ReviewOutcome | None = None
    step: ChecklistStep | None = None
    cause: Cause | None = None
    due_ms: int | None = None
    note: str = ""
    facts: dict[str, int] = {}


class LogbookRecord(
    msgspec.Struct, frozen=True, kw_only=True, tag="logbook-record", omit_defaults=True
):
    """What the protected person wrote, as she wrote it, on the timeline of her case."""

    case_id: str
    person_id: str
    at_ms: int
    happened_ms: int
    text: str
    by: str = ""
    incident_id: str | None = None
    file_name: str = ""
    file_sha256: str = ""
