"""Positioning error after domain.md 7.2: OU (Gauss-Markov) error, jumps, sticky bias, mechanism.

error(t) = OU(sigma, tau) + sticky bias indoors + Student-t jumps (2 degrees of freedom) + latency x
speed in a vehicle.

The randomness of one attempt is a row of `DRAWS` numbers, drawn by the caller, and the model is a
pure function of (state, row). Stepwise (`Receiver`) and vectorised over many devices (`ErrorField`)
are the same arithmetic on the same rows, which a test holds them to.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_contracts import Mechanism
from simulators.geo import Floats, Ints
from simulators.paths import Bytes8, Environment, Truth


class Sky(NamedTuple):
    """One row of the table in domain.md 7.2."""

    sigma_m: float
    tau_s: float
    jump_chance: float
    jump_scale_m: float
    success: float
    honesty: float  # reported / true accuracy
    bias_m: float  # sigma of the sticky bias: our assumption, the table gives none
    satellites: int


SKIES: Final[dict[Environment, Sky]] = {
    Environment.OPEN_SKY: Sky(4.0, 120.0, 0.002, 30.0, 0.99, 1.0, 0.0, 14),
    Environment.SUBURB: Sky(7.0, 120.0, 0.005, 40.0, 0.97, 0.8, 0.0, 11),
    Environment.CANYON: Sky(15.0, 180.0, 0.01, 60.0, 0.90, 0.6, 0.0, 7),
    Environment.WINDOW: Sky(25.0, 600.0, 0.02, 100.0, 0.60, 0.5, 10.0, 5),
    # No GNSS at all: sigma comes from WiFi or the cell network, drawn per stay (`WIFI_SIGMA_M`,
    # `CELL_SIGMA_M`).
    Environment.DEEP_INDOOR: Sky(0.0, 900.0, 0.05, 500.0, 0.20, 1.0, 20.0, 0),
    Environment.VEHICLE: Sky(5.0, 60.0, 0.003, 40.0, 0.97, 1.0, 0.0, 12),
}
TABLE: Final[Floats] = np.array(
    [SKIES[environment] for environment in Environment], dtype=np.float64
)
SIGMA, TAU, JUMP_CHANCE, JUMP_SCALE, SUCCESS, HONESTY, BIAS, SATELLITES = range(8)

WIFI_SIGMA_M: Final = (40.0, 75.0)
CELL_SIGMA_M: Final = (300.0, 1_000.0)
WIFI_SHARE: Final = 0.7
WIFI_REPORTED_M: Final = 60.0
CELL_REPORTED_M: Final = 1_000.0
LATENCY_S: Final = (1.0, 3.0)
BIAS_HOLDS_S: Final = 3_600.0
# 68 % of a circular Gaussian lie within 1.515 sigma of one axis.
R68_PER_SIGMA: Final = 1.515

DRAWS: Final = 12
# Columns of a row: four normals, then uniforms.
(
    _OU_X,
    _OU_Y,
    _JUMP_X,
    _JUMP_Y,
    _BIAS_X,
    _BIAS_Y,
    _U_JUMP,
    _U_TAIL,
    _U_FIX,
    _U_BIAS,
    _U_KIND,
    _U_SIZE,
) = range(DRAWS)
_NORMALS: Final = 6


def draw_rows(rng: np.random.Generator, count: int) -> Floats:
    """Return the randomness of `count` attempts.

    Shape (count, DRAWS), normals first, then uniforms in (0, 1).
    """
    rows = np.empty((count, DRAWS))
    rows[:, :_NORMALS] = rng.standard_normal((count, _NORMALS))
    rows[:, _NORMALS:] = rng.random((count, DRAWS - _NORMALS))
    return rows


class Sample(NamedTuple):
    """What a receiver reports for one attempt.

    Error in metres included, accuracy as a 68 % radius.
    """

    x_m: float
    y_m: float
    accuracy_m: float
    speed_m_s: float
    heading_deg: float
    mechanism: Mechanism
    satellites: int


class FieldSamples(NamedTuple):
    """One attempt of every device: arrays of one length.

    Rows where `got` is false carry no position.
    """

    got: npt.NDArray[np.bool_]
    error_x_m: Floats
    error_y_m: Floats
    accuracy_m: Floats
    mechanism: Bytes8


@dataclass(slots=True)
class ErrorField:
    """The error state of n devices, stepped together. All arrays have length n."""

    ou_x: Floats
    ou_y: Floats
    bias_x: Floats
    bias_y: Floats
    sigma_m: Floats  # of the mechanism in use, drawn anew with each stay in a place without GNSS
    wifi: npt.NDArray[np.bool_]
    latency_s: Floats
    environment: Ints  # -1 before the first step
    jump_x: Floats
    jump_y: Floats
    jump_holds_s: Floats  # mean time that a jump lasts; 0: one attempt

    @classmethod
    def start(cls, count: int, jump_holds_s: float = 0.0) -> "ErrorField":
        """Return the state before any attempt.

        `jump_holds_s`: how long a jump lasts on average. The table's jumps last one attempt;
        longer ones are for asking how a decision bears reflections that stay.
        """
        zeros = np.zeros(count)
        return cls(
            zeros.copy(),
            zeros.copy(),
            zeros.copy(),
            zeros.copy(),
            zeros.copy(),
            np.zeros(count, dtype=np.bool_),
            np.full(count, LATENCY_S[0]),
            np.full(count, -1, dtype=np.int64),
            zeros.copy(),
            zeros.copy(),
            np.full(count, jump_holds_s),
        )

    def part(self, which: Ints) -> "ErrorField":
        """Return a copy of the state of some devices, to be stepped and put back."""
        return ErrorField(*(getattr(self, name)[which] for name in self.__slots__))

    def put(self, which: Ints, part: "ErrorField") -> None:
        """Put the state of some devices back."""
        for name in self.__slots__:
            getattr(self, name)[which] = getattr(part, name)

    def step(
        self,
        dt_s: npt.ArrayLike,
        environment: npt.ArrayLike,
        vx_m_s: npt.ArrayLike,
        vy_m_s: npt.ArrayLike,
        rows: Floats,
    ) -> FieldSamples:
        """Advance every device by `dt_s` into its environment and let it attempt a fix.

        `rows` (n, DRAWS).
        """
        places = np.broadcast_to(np.asarray(environment, dtype=np.int64), self.environment.shape)
        sky = TABLE[places]
        first = self.environment < 0
        changed = self.environment != places
        dt = np.broadcast_to(np.asarray(dt_s, dtype=np.float64), places.shape)
        self._settle(places, sky, changed, dt, rows)

        keeps = np.where(first, 0.0, np.exp(-dt / sky[:, TAU]))
        spread = self.sigma_m * np.sqrt(1.0 - keeps * keeps)
        self.ou_x = keeps * self.ou_x + spread * rows[:, _OU_X]
        self.ou_y = keeps * self.ou_y + spread * rows[:, _OU_Y]

        chance = sky[:, JUMP_CHANCE]
        jumps = rows[:, _U_JUMP] < chance
        holds = np.exp(-dt / np.maximum(self.jump_holds_s, 1e-9)) * (self.jump_holds_s > 0.0)
        stays = ~jumps & ~changed & (rows[:, _U_JUMP] - chance < (1.0 - chance) * holds)
        # Bivariate Student t, 2 d.o.f.: normal / sqrt(chi2(2) / 2), and chi2(2) / 2 is exponential.
        size = np.where(jumps, sky[:, JUMP_SCALE] / np.sqrt(-np.log1p(-rows[:, _U_TAIL])), 0.0)
        lag_s = np.where(places == Environment.VEHICLE, self.latency_s, 0.0)
        self.jump_x = np.where(stays, self.jump_x, size * rows[:, _JUMP_X])
        self.jump_y = np.where(stays, self.jump_y, size * rows[:, _JUMP_Y])
        error_x = self.ou_x + self.bias_x + self.jump_x - lag_s * np.asarray(vx_m_s)
        error_y = self.ou_y + self.bias_y + self.jump_y - lag_s * np.asarray(vy_m_s)

        deep = places == Environment.DEEP_INDOOR
        reported = np.where(
            deep,
            np.where(self.wifi, WIFI_REPORTED_M, CELL_REPORTED_M),
            R68_PER_SIGMA * self.sigma_m * sky[:, HONESTY],
        )
        mechanism = np.where(
            deep, np.where(self.wifi, Mechanism.WIFI, Mechanism.CELL), Mechanism.GNSS
        )
        got = rows[:, _U_FIX] < sky[:, SUCCESS]
        return FieldSamples(got, error_x, error_y, reported, mechanism.astype(np.uint8))

    def _settle(
        self, places: Ints, sky: Floats, changed: npt.NDArray[np.bool_], dt: Floats, rows: Floats
    ) -> None:
        """Draw what a new place brings: mechanism, its sigma, sticky bias, latency of this trip."""
        deep = places == Environment.DEEP_INDOOR
        self.wifi = np.where(changed, rows[:, _U_KIND] < WIFI_SHARE, self.wifi)
        low = np.where(self.wifi, WIFI_SIGMA_M[0], CELL_SIGMA_M[0])
        high = np.where(self.wifi, WIFI_SIGMA_M[1], CELL_SIGMA_M[1])
        drawn = np.where(deep, low + (high - low) * rows[:, _U_SIZE], sky[:, SIGMA])
        self.sigma_m = np.where(changed, drawn, self.sigma_m)
        latency_s = LATENCY_S[0] + (LATENCY_S[1] - LATENCY_S[0]) * rows[:, _U_SIZE]
        self.latency_s = np.where(changed, latency_s, self.latency_s)
        moves = changed | (rows[:, _U_BIAS] < -np.expm1(-dt / BIAS_HOLDS_S))
        self.bias_x = np.where(moves, sky[:, BIAS] * rows[:, _BIAS_X], self.bias_x)
        self.bias_y = np.where(moves, sky[:, BIAS] * rows[:, _BIAS_Y], self.bias_y)
        self.environment = places.copy()


class Receiver:
    """One device's positioning, step by step: deterministic from its generator."""

    __slots__ = ("_field", "_last_ms", "_rng")

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._field = ErrorField.start(1)
        self._last_ms: int | None = None

    def sense(self, t_ms: int, truth: Truth) -> Sample | None:
        """Attempt one fix at a true time and place; None when the attempt fails."""
        dt_s = 0.0 if self._last_ms is None else max(0.0, (t_ms - self._last_ms) / 1000.0)
        self._last_ms = t_ms
        rows = draw_rows(self._rng, 1)
        seen = self._field.step(dt_s, int(truth.environment), truth.vx_m_s, truth.vy_m_s, rows)
        if not seen.got[0]:
            return None
        speed = max(0.0, truth.speed_m_s + 0.2 * float(rows[0, _JUMP_X]))
        heading = float(np.degrees(np.arctan2(truth.vx_m_s, truth.vy_m_s))) % 360.0
        return Sample(
            truth.x_m + float(seen.error_x_m[0]),
            truth.y_m + float(seen.error_y_m[0]),
            float(seen.accuracy_m[0]),
            speed,
            heading,
            Mechanism(int(seen.mechanism[0])),
            SKIES[truth.environment].satellites,
        )
