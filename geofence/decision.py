"""The decision, one step at a time: probability, evidence, state. Scalars in, integers out.

Every function here is called from kernels and is exact: a signed distance in millimetres becomes a
probability in 1/1024, and from there on only integers are compared.
"""

import math
from typing import Final

import numpy as np

from afstand.compile import jit_inline
from geofence.layout import LEAP, MOVED
from geofence.parameters import (
    ACCURACY_FLOOR_MM,
    BELIEF_FLOOR,
    BELIEF_SPAN,
    DRIFT_MM_S,
    HEADROOM,
    POSSIBLE_1024,
    RING_ENTER_1024,
    RING_LEAVE_1024,
    SIGMA_FLOOR_MM,
    SIGMA_PER_ACCURACY,
    STILL_MM_S,
    UNIT,
    WALK_MM_S,
)
from geofence.tables import LOGIT, PHI, PHI_STEPS, PHI_Z_MAX, WEIGHT, WEIGHT_KNOTS, WEIGHT_STEP_MS

# VerdictState as the kernels count it; the order is that of geofence.verdicts.VerdictState.
CLEAR: Final = 0
WARNING: Final = 1
POSSIBLE: Final = 2
CONFIRMED: Final = 3
UNKNOWN: Final = 4

_FLOORS: Final = np.array(ACCURACY_FLOOR_MM, np.int64)
_HALF: Final = UNIT // 2
EVEN_1024: Final = 512


@jit_inline
def believed_accuracy_mm(accuracy_mm: int, mechanism: int) -> int:
    """Return the 68 % radius that is believed: as claimed, not below the floor of its mechanism."""
    floor = _FLOORS[mechanism] if 0 <= mechanism < _FLOORS.size else _FLOORS[0]
    return max(accuracy_mm, int(floor))


@jit_inline
def sigma_mm(accuracy_mm: int) -> float:
    """Return sigma_eff across a boundary: sqrt((1.3 acc / 1.515)^2 + 5^2)."""
    s = SIGMA_PER_ACCURACY * accuracy_mm
    return math.sqrt(s * s + SIGMA_FLOOR_MM * SIGMA_FLOOR_MM)


@jit_inline
def phi(z: float) -> float:
    """Return the normal distribution function, cubic between knots (error below 1e-9)."""
    a = abs(z)
    if a >= PHI_Z_MAX:
        upper = 1.0
    else:
        scaled = a * PHI_STEPS
        i = int(scaled)
        t = scaled - i
        y0 = PHI[2 * i]
        m0 = PHI[2 * i + 1]
        y1 = PHI[2 * i + 2]
        m1 = PHI[2 * i + 3]
        c = y1 - y0 - m0
        d = m1 + m0 - 2.0 * (y1 - y0)
        upper = y0 + t * (m0 + t * (c - d + t * d))
    return upper if z >= 0.0 else 1.0 - upper


@jit_inline
def probability_1024(depth_mm: float, sigma: float) -> int:
    """Return P(depth > 0) = 0.95 Phi(depth / sigma) + 0.025 in 1/1024, rounded."""
    p = BELIEF_SPAN * phi(depth_mm / sigma) + BELIEF_FLOOR
    return math.floor(p * 1024.0 + 0.5)


@jit_inline
def drift_mm_s(speed_mm_s: int) -> int:
    """Return how fast the error of a held position grows; an unknown speed counts as walking."""
    if speed_mm_s < 0:
        return DRIFT_MM_S[1]
    if speed_mm_s < STILL_MM_S:
        return DRIFT_MM_S[0]
    if speed_mm_s < WALK_MM_S:
        return DRIFT_MM_S[1]
    return DRIFT_MM_S[2]


@jit_inline
def held_sigma_mm(accuracy_mm: int, speed_mm_s: int, age_ms: int) -> float:
    """Return the sigma of a position that is `age_ms` old: sqrt(sigma_eff^2 + (v age)^2)."""
    s = sigma_mm(accuracy_mm)
    growth = drift_mm_s(speed_mm_s) * (age_ms / 1000.0)
    return math.sqrt(s * s + growth * growth)


@jit_inline
def weight(dt_ms: int, p_1024: int, leapt: int) -> int:
    """Return in 1/65536 how much a fix counts: tanh(dt / memory), capped, linear between knots.

    A breach by one who leapt there from standstill counts from the leap on, and with the longer
    memory; what speaks against a breach always counts in full.
    """
    slow = leapt != MOVED and p_1024 > EVEN_1024
    if dt_ms <= 0 or (slow and leapt == LEAP):
        return 0
    first = WEIGHT_KNOTS if slow else 0
    i = dt_ms // WEIGHT_STEP_MS
    if i >= WEIGHT_KNOTS - 1:
        return int(WEIGHT[first + WEIGHT_KNOTS - 1])
    low = int(WEIGHT[first + i])
    rest = dt_ms - i * WEIGHT_STEP_MS
    return low + (int(WEIGHT[first + i + 1]) - low) * rest // WEIGHT_STEP_MS


@jit_inline
def step_evidence(evidence: int, p_1024: int, weight_65536: int, threshold: int) -> int:
    """Return clip(G + w logit P, 0, H + 2): the tempered CUSUM of geofence.md."""
    gain = (weight_65536 * int(LOGIT[p_1024]) + _HALF) >> 16
    return min(max(evidence + gain, 0), threshold + HEADROOM)


@jit_inline
def next_state(state: int, evidence: int, threshold: int, p_1024: int, ring_1024: int) -> int:
    """Return the state after a step.

    Confirmed at G >= H and held until G = 0. A possible breach (one fix with P > 0.95) is held
    while evidence is left. The ring (buffer, warning ring, time to contact) is entered and left at
    different probabilities.
    """
    if evidence >= threshold:
        return CONFIRMED
    if evidence > 0 and state == CONFIRMED:
        return CONFIRMED
    if p_1024 >= POSSIBLE_1024:
        return POSSIBLE
    if evidence > 0 and state == POSSIBLE:
        return POSSIBLE
    if ring_1024 >= RING_ENTER_1024:
        return WARNING
    if ring_1024 >= RING_LEAVE_1024 and state == WARNING:
        return WARNING
    return CLEAR
