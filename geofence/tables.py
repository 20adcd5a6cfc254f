"""Phi, logit and the weight of time as tables of rounded numbers.

Kernels use +, -, *, / and the square root only, which IEEE 754 fixes to the bit; the functions of
libm differ in the last place between machines. The tables are made once with libm and rounded so
coarsely (1e-12 and 1/65536) that its last place cannot show; a test pins their checksum.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from geofence.parameters import LEAP_MEMORY_MS, MEMORY_MS, UNIT, WEIGHT_MAX

PHI_STEPS: Final = 64
"""Knots per unit of z."""
PHI_Z_MAX: Final = 5
WEIGHT_STEP_MS: Final = 500
WEIGHT_KNOTS: Final = 1441
"""Both weights are at their maximum long before 720 s."""


def _phi_knots() -> npt.NDArray[np.float64]:
    """Phi and its slope per knot, in (2 * knots): even = value, odd = slope times the step."""
    knots = PHI_Z_MAX * PHI_STEPS + 2
    table = np.empty(2 * knots)
    for i in range(knots):
        z = i / PHI_STEPS
        table[2 * i] = round(0.5 + 0.5 * math.erf(z / math.sqrt(2.0)), 12)
        slope = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) / PHI_STEPS
        table[2 * i + 1] = round(slope, 12)
    return table


def _logits() -> npt.NDArray[np.int64]:
    """ln(p / (1 - p)) in 1/65536 for p in 1/1024; the ends repeat their neighbours."""
    table = np.empty(1025, np.int64)
    for i in range(1, 1024):
        table[i] = round(UNIT * math.log(i / (1024 - i)))
    table[0] = table[1]
    table[1024] = table[1023]
    return table


def _weights() -> npt.NDArray[np.int64]:
    """min(tanh(dt / memory), maximum) in 1/65536, a knot per 500 ms; the second half: leapt."""
    return np.array(
        [
            round(UNIT * min(math.tanh(i * WEIGHT_STEP_MS / memory_ms), WEIGHT_MAX))
            for memory_ms in (MEMORY_MS, LEAP_MEMORY_MS)
            for i in range(WEIGHT_KNOTS)
        ],
        np.int64,
    )


PHI: Final = _phi_knots()
LOGIT: Final = _logits()
WEIGHT: Final = _weights()
