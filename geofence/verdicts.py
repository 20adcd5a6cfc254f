"""What the engine says: the records that every other package reads.

A finding is made only on a change (of state, freshness or enforceability) or for a historic breach,
never for every fix. Each verdict carries the figures that explain it: zone version, distance,
accuracy, probability, evidence, speeds and ages. All numbers are integers, so that the same journal
gives the same bytes everywhere.
"""

from enum import StrEnum
from typing import Final

import msgspec

VERDICT_FORMAT: Final = 2
"""Version of the records below; a consumer that stores them stores it beside them."""

UNIT_1024: Final = 1024
"""Probabilities and evidence are integers in 1/1024."""


class OrderKind(StrEnum):
    """The kinds of order (DESIGN section 6)."""

    CONTACT_BAN = "contact-ban"
    AREA_BAN = "area-ban"
    LOCATION_ORDER = "location-order"
    EXIT_BAN = "exit-ban"
    """Uitreisverbod: stay in a country. Eager like a ban; its buffer warns before the border."""


class VerdictState(StrEnum):
    """What the evidence says about one order (for a contact ban: about one pair of it)."""

    CLEAR = "clear"
    WARNING = "warning"
    """In the buffer or warning ring, or contact is possible within the order's time to contact."""
    POSSIBLE = "possible"
    """A breach beyond 95 % on one fix, not yet carried by the evidence over time."""
    CONFIRMED = "confirmed"
    """A breach: in a forbidden zone, within the radius, absent, or out of the country."""
    UNKNOWN = "unknown"
    """No usable position yet."""


class Freshness(StrEnum):
    """Whose last position is too old. Orders about one person know FRESH and WEARER_STALE only."""

    FRESH = "fresh"
    WEARER_STALE = "wearer-stale"
    PROTECTED_STALE = "protected-stale"
    BLIND = "blind"
    """Both are stale."""


class VerdictReason(StrEnum):
    """Why the verdict changed. The reason of the change, not of the state that lasts."""

    FIRST_POSITION = "first-position"
    ONE_FIX_BEYOND_DOUBT = "one-fix-beyond-doubt"
    EVIDENCE_CONFIRMED = "evidence-confirmed"
    PASSED_THROUGH_BETWEEN_FIXES = "passed-through-between-fixes"
    INSIDE_BUFFER = "inside-buffer"
    INSIDE_WARNING_RING = "inside-warning-ring"
    TIME_TO_CONTACT = "time-to-contact"
    CLEARED_BY_EVIDENCE = "cleared-by-evidence"
    DOUBT_ENDED = "doubt-ended"
    """A possible breach that the next fixes did not bear out."""
    LEFT_BUFFER = "left-buffer"
    LEFT_WARNING_RING = "left-warning-ring"
    CONTACT_NO_LONGER_NEAR = "contact-no-longer-near"
    TRAVELLING_ALIKE = "travelling-alike"
    """Nothing changed but this: both move fast and alike since, as in one train."""
    IMPLAUSIBLE_JUMP = "implausible-jump"
    """The fix asks for a speed that no person can have: doubted and asked about, not believed."""

    SCHEDULE_OPENED = "schedule-opened"
    SCHEDULE_OPENED_WHILE_ABSENT = "schedule-opened-while-absent"
    SCHEDULE_OPENED_WHILE_INSIDE = "schedule-opened-while-inside"
    """The hours of a ban began while the wearer was in the zone or near the protected person."""
    SCHEDULE_ENDED = "schedule-ended"
    REPORT_DUTY_MISSED = "report-duty-missed"
    REPORT_DUTY_MET = "report-duty-met"
    """Reported after all, after the hours of the duty."""
    REPORT_DUTY_PROVEN = "report-duty-proven"
    """A position from within the hours came late and shows that the duty was met in time."""

    ORDER_NOT_IN_FORCE = "order-not-in-force"
    ORDER_CAME_INTO_FORCE = "order-came-into-force"
    ORDER_CAME_INTO_FORCE_WHILE_INSIDE = "order-came-into-force-while-inside"
    ORDER_CAME_INTO_FORCE_WHILE_ABSENT = "order-came-into-force-while-absent"
    ORDER_CHANGED = "order-changed"
    ORDER_WITHDRAWN = "order-withdrawn"
    ORDER_EXPIRING = "order-expiring"
    ORDER_LAPSED = "order-lapsed"
    ORDER_SUSPENDED = "order-suspended"
    ZONE_CHANGED = "zone-changed"

    WEARER_SILENT = "wearer-silent"
    PROTECTED_SILENT = "protected-silent"
    BOTH_SILENT = "both-silent"
    SILENCE_ENDED = "silence-ended"

    LATE_FIX_HISTORY = "late-fix-history"
    """A fix that came late shows a breach in the past; the present state is untouched."""


class RequestReason(StrEnum):
    """Why a device is asked to report more often for a while."""

    DOUBTFUL_FIX = "doubtful-fix"
    """The fix leaves open on which side of the boundary the person is."""
    POSSIBLE_BREACH = "possible-breach"
    IMPLAUSIBLE_JUMP = "implausible-jump"
    PARTNER_STALE = "partner-stale"
    """The other one of the pair reported; this one's last position is too old to decide with."""
    APPROACH = "approach"
    """Contact is possible soon: both report often until it is over."""
    EDGE_DOUBTFUL = "edge-doubtful"
    """A schedule or an order began and the last position is too old or too vague to judge it."""
    ABSENCE_UNCERTAIN = "absence-uncertain"


class Label(StrEnum):
    """Remarks for the operator. A label never suppresses a verdict."""

    LATE_DELIVERY = "late-delivery"
    """The fix was minutes old when it arrived, though it is the newest of its device."""
    PARALLEL_TRAVEL = "parallel-travel"
    JUMP_FROM_STANDSTILL = "jump-from-standstill"
    """Came there between two fixes that both report standstill: a reflection, or a short drive.
    Evidence of a breach grows slower until a fix shows movement."""
    IMPLAUSIBLE_SPEED = "implausible-speed"
    POOR_ACCURACY = "poor-accuracy"
    POSITION_HELD = "position-held"
    """Judged with a last known position, at an edge of time, not with a fresh fix."""
    ORDER_EXPIRING = "order-expiring"
    POSITION_PREDICTED = "position-predicted"
    """One of a pair drives and was moved on with constant velocity from an older fix."""
    CHANGED_SINCE = "changed-since"
    """A fix of the past was judged by a zone that counts from a later instant than the fix."""
    COALESCED = "coalesced"
    """The intake was behind: this fix, the newest believed one of its person in its journal entry,
    decided for older ones of that entry too. They are evidence and decided nothing themselves."""


class Position(msgspec.Struct, frozen=True):
    """A position as reported. Degrees x 1e7, the 68 % radius in mm, device time in Unix ms."""

    lat_e7: int
    lon_e7: int
    accuracy_mm: int
    time_ms: int
    mechanism: int


class EvidenceStep(msgspec.Struct, frozen=True, array_like=True):
    """One fix as it was added to the evidence: when, where, how sure, and the sum after it.

    `distance_mm` as in Verdict; `at_least` when it is a bound and the true one is larger (further
    in or out), because the exact one could change nothing.
    """

    fix_ms: int
    distance_mm: int
    at_least: bool
    accuracy_mm: int
    probability_1024: int
    evidence_1024: int


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the order said in the version that was judged, and the name of the decisive zone.

    So that a verdict of months ago can be explained without the order. Metres, Unix ms.
    """

    title: str = ""
    authority: str = ""
    case_number: str = ""
    zone_name: str = ""
    radius_m: int = 0
    warning_m: int = 0
    buffer_m: int = 0
    time_to_contact_s: int = 0
    report_duty: bool = False
    scheduled: bool = False
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    served_at_ms: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag="verdict"):
    """A change in what the engine holds true about one order (one pair of it for a contact ban).

    An order about zones has one state for all of its zones; `zone_id` names the decisive one.
    `distance_mm` is signed for zones, positive inside (the forbidden zone of an area ban, the
    required zone of a location order, the country of an exit ban), and of a passage between two
    fixes how deep the path ran; for a pair it is the separation. `probability_1024` is the
    probability of a breach at this moment: in the forbidden zone, within the radius, or outside the
    required zone or country. `escalate` is False while the order cannot be enforced (not signed,
    served, valid, or suspended): such a verdict is observed and never becomes an alarm. `historic`
    is True for a breach found in fixes that came late; `state` is then what held at `fix_ms`, and
    the present state of the order is `previous`.

    `zone_since_ms` is when `zone_version` began to count: the time of its journal entry.
    `threshold_1024` is what the evidence has to reach. `steps` show how it grew since it was
    nothing: at most STEPS_KEPT of the `steps_total` fixes that were added, evenly spread, the last
    one included.
    """

    order_id: str
    order_kind: OrderKind
    wearer_id: str
    protected_id: str | None
    plan_id: str
    risk_class: int
    state: VerdictState
    previous: VerdictState
    freshness: Freshness
    previous_freshness: Freshness
    reason: VerdictReason
    at_ms: int
    fix_ms: int | None
    zone_id: str | None
    zone_version: int | None
    order_version: int
    distance_mm: int | None
    accuracy_mm: int | None
    probability_1024: int
    evidence_1024: int
    speed_mm_s: int | None
    closing_mm_s: int | None
    time_to_contact_ms: int | None
    wearer_age_ms: int | None
    protected_age_ms: int | None
    historic: bool
    escalate: bool
    labels: tuple[Label, ...]
    wearer_position: Position | None
    protected_position: Position | None
    zone_since_ms: int | None = None
    threshold_1024: int = 0
    rules_version: int = 0
    steps: tuple[EvidenceStep, ...] = ()
    steps_total: int = 0
    terms: Terms = Terms()


class PositionRequest(msgspec.Struct, frozen=True, kw_only=True, tag="position-request"):
    """Ask the device of a person for a fix every `interval_s` during `duration_s` (the burst)."""

    person_id: str
    order_id: str
    interval_s: int
    duration_s: int
    reason: RequestReason
    at_ms: int


Finding = Verdict | PositionRequest
