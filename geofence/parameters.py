"""The numbers of the decision, by name, with where they come from.

Nothing here depends on an order: what differs per order (risk class, rings, silence) is in the
order. A change of a number changes verdicts, so it is a change of the rule version that is stored
with the state (`RULES_VERSION`).
"""

from typing import Final

RULES_VERSION: Final = 3
"""Stored in every dump: a state made under other numbers is not continued silently."""

# --- fixed point ----------------------------------------------------------------------------------
UNIT: Final = 65536
"""Evidence, logits and weights are integers in 1/65536; probabilities in 1/1024."""

# --- error of a fix -------------------------------------------------------------------------------
SIGMA_PER_ACCURACY: Final = 1.3 / 1.515
"""Sigma across the boundary from the 68 % radius, times 1.3: receivers are optimistic."""
SIGMA_FLOOR_MM: Final = 5000.0
"""sigma_eff^2 = (1.3 sigma)^2 + 5^2 m."""
ACCURACY_FLOOR_MM: Final = (3_000, 3_000, 20_000, 200_000, 1_000)
"""The smallest 68 % radius believed, by mechanism (unknown, GNSS, Wi-Fi, cell, beacon)."""
REACH_ACCURACIES: Final = 6
"""Beyond six accuracies and 30 m from a boundary a fix is not doubtful."""
REACH_MM: Final = 30_000
BELIEF_SPAN: Final = 0.95
"""P(in) = 0.95 Phi(sd / sigma_eff) + 0.025: any fix can be a jump, whatever accuracy it claims."""
BELIEF_FLOOR: Final = 0.025

# --- evidence -------------------------------------------------------------------------------------
MEMORY_MS: Final = 30_000
"""w = tanh(dt / 30 s): how much of a fix is news. The error within its accuracy is in P already;
what time has to rule out is a jump (docs/adr/0008)."""
LEAP_MEMORY_MS: Final = 120_000
"""The same for a breach by one who leapt there from standstill, counted from the leap on: what
reflects a signal stays a while."""
WEIGHT_MAX: Final = 0.5
"""No single fix confirms: 0.5 logit(0.975) = 1.83 stays below the smallest H."""
LEAP_ACCURACIES: Final = 2
"""Who moved further than the 68 % radii of both fixes twice, standing still at both, leapt."""
FIRST_FIX_MS: Final = 60_000
"""The interval assumed before a fix that has no predecessor."""
THRESHOLDS: Final = (2 * UNIT, 3 * UNIT, 4 * UNIT + UNIT // 2)
"""H by risk class 1 (highest risk), 2, 3."""
HEADROOM: Final = 2 * UNIT
"""Evidence is capped at H + 2, so that a long stay is forgotten in bounded time."""
TOLERANCE_NUMERATOR: Final = 3
"""Location orders are tolerant on exit: their H is 3/2 of that of a ban of the same risk class."""
TOLERANCE_DENOMINATOR: Final = 2
POSSIBLE_1024: Final = 973
"""One fix with P > 0.95 is a possible breach."""
DOUBT_1024: Final = 103
"""Between P = 0.1 and 0.95 a fix of a ban is doubtful and asks for a burst."""
ABSENCE_DOUBT_1024: Final = 512
"""Location orders ask later: in doubt from P(absent) = 0.5."""
RING_ENTER_1024: Final = 512
RING_LEAVE_1024: Final = 205
"""Hysteresis of buffer and warning rings, on the probability and not on metres."""
DOUBTED_SHIFT: Final = 2
"""A fix with an implausible jump feeds a quarter (2^-2) of its evidence."""

# --- movement -------------------------------------------------------------------------------------
SPEED_MAX_MM_PER_MS: Final = 100
"""100 m/s, 360 km/h: faster than every train. A fix that needs more is doubted once."""
JUMP_ACCURACIES: Final = 2
SPEED_UNKNOWN: Final = -1
STILL_MM_S: Final = 500
WALK_MM_S: Final = 2_500
DRIFT_MM_S: Final = (300, 900, 3_000)
"""Growth of the position error per second of age (68 %, GeoLife): still, walking, vehicle."""
BASELINE_MS: Final = 30_000
"""A velocity is measured between fixes at least this far apart."""
VELOCITY_AGE_MAX_MS: Final = 120_000
AHEAD_MS: Final = 30_000
"""Who drives is moved on with constant velocity for so long; it helps nobody else, nor longer."""
BEHIND_MS: Final = 120_000
"""And back along the measured way, for a partner whose last fix is later than the one judged."""
TOGETHER_MS: Final = 2_000
"""Fixes of a pair within this time are judged as one: the second one replaces the first."""
SEGMENT_MAX_MS: Final = 600_000
"""Between fixes further apart than this the straight line says nothing about the path."""
APPROACH_MS: Final = 75_000
"""Who reaches a boundary within this time at the present speed is asked to report often: a minute's
interval and the way of the request."""
APPROACH_SPEED_MAX_MM_S: Final = 50_000
CLOSING_MIN_MM_S: Final = 800
"""Slower closing than this is not an approach."""
PARALLEL_SPEED_MM_S: Final = 3_000

# --- silence --------------------------------------------------------------------------------------
PAIR_SILENCE_MS: Final = 90_000
SILENCE_MS: Final = 300_000
REVIEW_MS: Final = 60_000
"""A silent pair is judged again this often, because its uncertainty grows."""
REVIEWS_MAX: Final = 30
LATE_DELIVERY_MS: Final = 120_000
FUTURE_MAX_MS: Final = 120_000
"""Device time further ahead than this is not used; ingest has quarantined it already."""

# --- history --------------------------------------------------------------------------------------
HISTORY_GAP_MS: Final = 600_000
"""Late fixes further apart than this do not belong to one stay."""
TRACK_POINTS: Final = 64
TRACK_SPACING_MS: Final = 20_000
"""Persons in a contact ban keep their last positions: late fixes find the partner of then."""

# --- explanation ----------------------------------------------------------------------------------
STEPS_KEPT: Final = 8
"""Fixes that are kept with a unit or pair to show how its evidence grew."""

# --- position requests ----------------------------------------------------------------------------
BURST_INTERVAL_S: Final = 5
BURST_DURATION_S: Final = 60
REQUEST_GAP_MS: Final = 45_000
"""At most one request a person in this time; a doubt that lasts renews the burst."""
DOUBT_REQUESTS_PER_HOUR: Final = 20
"""Who lives beside a boundary is in doubt all day; this keeps the battery. Not for breaches."""
STALE_PARTNER_MS: Final = 30_000
"""With a contact in doubt, a partner whose position is older than this is asked for one."""

# --- validity -------------------------------------------------------------------------------------
DAY_MS: Final = 86_400_000
EXPIRING_DAYS: Final = (14, 7, 2)
