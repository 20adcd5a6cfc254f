"""Reasons as small integers, so that kernels can name them. They live inside a process only."""

from typing import Final

from geofence.verdicts import Freshness, Label, RequestReason, VerdictReason, VerdictState

STATES: Final = tuple(VerdictState)
FRESHNESS: Final = tuple(Freshness)
REASONS: Final = tuple(VerdictReason)
REQUESTS: Final = tuple(RequestReason)
LABELS: Final = (
    Label.LATE_DELIVERY,
    Label.PARALLEL_TRAVEL,
    Label.JUMP_FROM_STANDSTILL,
    Label.IMPLAUSIBLE_SPEED,
    Label.POOR_ACCURACY,
    Label.POSITION_HELD,
    Label.ORDER_EXPIRING,
    Label.POSITION_PREDICTED,
    Label.CHANGED_SINCE,
    Label.COALESCED,
)
"""In the order of the bits of an event's labels (geofence.layout)."""

FIRST_POSITION: Final = REASONS.index(VerdictReason.FIRST_POSITION)
ONE_FIX: Final = REASONS.index(VerdictReason.ONE_FIX_BEYOND_DOUBT)
EVIDENCE_CONFIRMED: Final = REASONS.index(VerdictReason.EVIDENCE_CONFIRMED)
PASSED_THROUGH: Final = REASONS.index(VerdictReason.PASSED_THROUGH_BETWEEN_FIXES)
INSIDE_BUFFER: Final = REASONS.index(VerdictReason.INSIDE_BUFFER)
INSIDE_WARNING_RING: Final = REASONS.index(VerdictReason.INSIDE_WARNING_RING)
TIME_TO_CONTACT: Final = REASONS.index(VerdictReason.TIME_TO_CONTACT)
CLEARED: Final = REASONS.index(VerdictReason.CLEARED_BY_EVIDENCE)
TRAVELLING_ALIKE: Final = REASONS.index(VerdictReason.TRAVELLING_ALIKE)
DOUBT_ENDED: Final = REASONS.index(VerdictReason.DOUBT_ENDED)
LEFT_BUFFER: Final = REASONS.index(VerdictReason.LEFT_BUFFER)
LEFT_WARNING_RING: Final = REASONS.index(VerdictReason.LEFT_WARNING_RING)
CONTACT_NO_LONGER_NEAR: Final = REASONS.index(VerdictReason.CONTACT_NO_LONGER_NEAR)
IMPLAUSIBLE_JUMP: Final = REASONS.index(VerdictReason.IMPLAUSIBLE_JUMP)
WEARER_SILENT: Final = REASONS.index(VerdictReason.WEARER_SILENT)
PROTECTED_SILENT: Final = REASONS.index(VerdictReason.PROTECTED_SILENT)
BOTH_SILENT: Final = REASONS.index(VerdictReason.BOTH_SILENT)
SILENCE_ENDED: Final = REASONS.index(VerdictReason.SILENCE_ENDED)
LATE_FIX: Final = REASONS.index(VerdictReason.LATE_FIX_HISTORY)
REPORT_DUTY_MET: Final = REASONS.index(VerdictReason.REPORT_DUTY_MET)
REPORT_DUTY_PROVEN: Final = REASONS.index(VerdictReason.REPORT_DUTY_PROVEN)
NO_REASON: Final = -1

ASK_DOUBTFUL: Final = REQUESTS.index(RequestReason.DOUBTFUL_FIX)
ASK_POSSIBLE: Final = REQUESTS.index(RequestReason.POSSIBLE_BREACH)
ASK_JUMP: Final = REQUESTS.index(RequestReason.IMPLAUSIBLE_JUMP)
ASK_PARTNER: Final = REQUESTS.index(RequestReason.PARTNER_STALE)
ASK_APPROACH: Final = REQUESTS.index(RequestReason.APPROACH)
ASK_EDGE: Final = REQUESTS.index(RequestReason.EDGE_DOUBTFUL)
ASK_ABSENCE: Final = REQUESTS.index(RequestReason.ABSENCE_UNCERTAIN)
