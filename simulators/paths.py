"""Where somebody truly is: piecewise linear motion, exact at every millisecond."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from simulators.geo import Floats, Ints

Bytes8 = npt.NDArray[np.uint8]


class Environment(IntEnum):
    """What the sky looks like from the ankle (domain.md 7.2)."""

    OPEN_SKY = 0
    SUBURB = 1
    CANYON = 2
    WINDOW = 3
    DEEP_INDOOR = 4
    VEHICLE = 5


class Mode(IntEnum):
    """How a person moves."""

    STILL = 0
    WALK = 1
    CYCLE = 2
    TRAM = 3
    CAR = 4
    MOTORWAY = 5
    TRAIN = 6


SPEED_M_S: dict[Mode, float] = {
    Mode.STILL: 0.0,
    Mode.WALK: 1.39,
    Mode.CYCLE: 4.2,
    Mode.TRAM: 8.3,
    Mode.CAR: 11.1,
    Mode.MOTORWAY: 27.8,
    Mode.TRAIN: 36.0,
}
IN_VEHICLE = frozenset({Mode.TRAM, Mode.CAR, Mode.MOTORWAY, Mode.TRAIN})


class Truth(NamedTuple):
    """The true state at one instant; metres in the world's plane, metres a second."""

    x_m: float
    y_m: float
    vx_m_s: float
    vy_m_s: float
    environment: Environment
    mode: Mode

    @property
    def speed_m_s(self) -> float:
        """Speed over the ground."""
        return float(np.hypot(self.vx_m_s, self.vy_m_s))


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Vertices in time order.

    Segment i runs from vertex i to i + 1 with the environment and mode of vertex i.

    `t_ms` int64, non-decreasing; `x_m`, `y_m` float64; all of one length >= 1. Before the first
    vertex and after the last one the person stands still there.
    """

    t_ms: Ints
    x_m: Floats
    y_m: Floats
    environment: Bytes8
    mode: Bytes8

    def __post_init__(self) -> None:
        if len(self.t_ms) == 0 or np.any(np.diff(self.t_ms) < 0):
            raise ValueError("a path needs vertices in time order")

    @property
    def start_ms(self) -> int:
        """Time of the first vertex."""
        return int(self.t_ms[0])

    @property
    def end_ms(self) -> int:
        """Time of the last vertex."""
        return int(self.t_ms[-1])

    def at(self, t_ms: float) -> Truth:
        """Return the true state at an instant."""
        last = len(self.t_ms) - 1
        i = int(np.searchsorted(self.t_ms, t_ms, side="right")) - 1
        if i < 0 or i >= last:
            i = max(0, min(i, last))
            still = (float(self.x_m[i]), float(self.y_m[i]), 0.0, 0.0)
            return Truth(*still, Environment(int(self.environment[i])), Mode.STILL)
        span_ms = int(self.t_ms[i + 1] - self.t_ms[i])
        share = (t_ms - float(self.t_ms[i])) / span_ms
        dx, dy = float(self.x_m[i + 1] - self.x_m[i]), float(self.y_m[i + 1] - self.y_m[i])
        return Truth(
            float(self.x_m[i]) + share * dx,
            float(self.y_m[i]) + share * dy,
            dx * 1000.0 / span_ms,
            dy * 1000.0 / span_ms,
            Environment(int(self.environment[i])),
            Mode(int(self.mode[i])),
        )

    def positions(self, t_ms: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the true x and y in metres at many instants."""
        times = np.asarray(t_ms, dtype=np.float64)
        return np.interp(times, self.t_ms, self.x_m), np.interp(times, self.t_ms, self.y_m)

    def environments(self, t_ms: npt.ArrayLike) -> Bytes8:
        """Return the environment at many instants."""
        i = np.searchsorted(self.t_ms, np.asarray(t_ms), side="right") - 1
        found: Bytes8 = self.environment[np.clip(i, 0, len(self.t_ms) - 1)]
        return found

    def velocities(self, t_ms: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the true velocity in metres a second at many instants (0 outside the path)."""
        times = np.asarray(t_ms, dtype=np.float64)
        if len(self.t_ms) < 2:
            return np.zeros(times.shape), np.zeros(times.shape)
        i = np.searchsorted(self.t_ms, times, side="right") - 1
        outside = (i < 0) | (i >= len(self.t_ms) - 1)
        i = np.clip(i, 0, len(self.t_ms) - 2)
        span_s = np.maximum(np.diff(self.t_ms), 1) / 1000.0
        vx, vy = (np.diff(self.x_m) / span_s)[i], (np.diff(self.y_m) / span_s)[i]
        return np.where(outside, 0.0, vx), np.where(outside, 0.0, vy)

    def window(self, from_ms: int, to_ms: int) -> "Path":
        """Cut the path to a window; both ends become vertices."""
        first, last = self.at(from_ms), self.at(to_ms)
        inner = (self.t_ms > from_ms) & (self.t_ms < to_ms)
        return Path(
            np.concatenate(([from_ms], self.t_ms[inner], [to_ms])).astype(np.int64),
            np.concatenate(([first.x_m], self.x_m[inner], [last.x_m])),
            np.concatenate(([first.y_m], self.y_m[inner], [last.y_m])),
            np.concatenate(
                ([first.environment], self.environment[inner], [last.environment])
            ).astype(np.uint8),
            np.concatenate(([first.mode], self.mode[inner], [last.mode])).astype(np.uint8),
        )

    def delayed(self, by_ms: int, x_m: float = 0.0, y_m: float = 0.0) -> "Path":
        """Return the same motion later and beside it: somebody who follows or travels along."""
        return Path(self.t_ms + by_ms, self.x_m + x_m, self.y_m + y_m, self.environment, self.mode)


class Mover(Protocol):
    """Whoever has a true position at any time, as a pure function of time."""

    def path(self, from_ms: int, to_ms: int) -> Path:
        """Return the true motion in a window."""
        ...

    def at(self, t_ms: int) -> Truth:
        """Return the true state at an instant."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """A mover along one given path, standing still before and after it."""

    track: Path

    def path(self, from_ms: int, to_ms: int) -> Path:
        """Return the true motion in a window."""
        return self.track.window(from_ms, to_ms)

    def at(self, t_ms: int) -> Truth:
        """Return the true state at an instant."""
        return self.track.at(t_ms)


@dataclass(frozen=True, slots=True)
class Switched:
    """Lives one life until an instant and another from then on (a daily life, then an approach)."""

    before: Mover
    after: Mover
    from_ms: int

    def path(self, from_ms: int, to_ms: int) -> Path:
        """Return the true motion in a window."""
        if to_ms < self.from_ms:
            return self.before.path(from_ms, to_ms)
        if from_ms >= self.from_ms:
            return self.after.path(from_ms, to_ms)
        return joined(
            [self.before.path(from_ms, self.from_ms), self.after.path(self.from_ms, to_ms)]
        )

    def at(self, t_ms: int) -> Truth:
        """Return the true state at an instant."""
        return self.before.at(t_ms) if t_ms < self.from_ms else self.after.at(t_ms)


def joined(parts: Sequence[Path]) -> Path:
    """Put paths one after the other; each must start no earlier than the one before it ends."""
    return Path(
        np.concatenate([part.t_ms for part in parts]),
        np.concatenate([part.x_m for part in parts]),
        np.concatenate([part.y_m for part in parts]),
        np.concatenate([part.environment for part in parts]),
        np.concatenate([part.mode for part in parts]),
    )


def standing(t_ms: int, x_m: float, y_m: float, environment: Environment) -> Path:
    """Return the path of somebody who never moves."""
    return Path(
        np.array([t_ms], dtype=np.int64),
        np.array([x_m]),
        np.array([y_m]),
        np.array([environment], dtype=np.uint8),
        np.array([Mode.STILL], dtype=np.uint8),
    )


class PathBuilder:
    """Builds a path leg by leg; starts at a place and a time."""

    def __init__(self, t_ms: int, x_m: float, y_m: float, environment: Environment) -> None:
        self._t: list[int] = [t_ms]
        self._x: list[float] = [x_m]
        self._y: list[float] = [y_m]
        self._environment: list[int] = [environment]
        self._mode: list[int] = [Mode.STILL]

    @property
    def now_ms(self) -> int:
        """Time reached so far."""
        return self._t[-1]

    @property
    def place(self) -> tuple[float, float]:
        """Place reached so far."""
        return self._x[-1], self._y[-1]

    def stay(self, until_ms: int, environment: Environment | None = None) -> "PathBuilder":
        """Stand still until an instant (nothing happens when it has passed)."""
        if environment is not None:
            self._environment[-1] = environment
        self._mode[-1] = Mode.STILL
        if until_ms > self._t[-1]:
            self._push(until_ms, self._x[-1], self._y[-1], self._environment[-1], Mode.STILL)
        return self

    def go(
        self,
        points: Iterable[tuple[float, float]],
        speed_m_s: float,
        mode: Mode,
        environments: Iterable[Environment] | Environment,
    ) -> "PathBuilder":
        """Move through points at a constant speed; one environment for all legs or one per leg."""
        fixed = environments if isinstance(environments, Environment) else None
        each = iter(()) if isinstance(environments, Environment) else iter(environments)
        for x, y in points:
            environment = fixed if fixed is not None else next(each)
            self._environment[-1], self._mode[-1] = environment, mode
            length_m = float(np.hypot(x - self._x[-1], y - self._y[-1]))
            if length_m > 0.0:
                took_ms = max(1, round(length_m / speed_m_s * 1000.0))
                self._push(self._t[-1] + took_ms, x, y, environment, mode)
        self._mode[-1] = Mode.STILL
        return self

    def _push(self, t_ms: int, x_m: float, y_m: float, environment: int, mode: int) -> None:
        self._t.append(t_ms)
        self._x.append(x_m)
        self._y.append(y_m)
        self._environment.append(environment)
        self._mode.append(mode)

    def build(self) -> Path:
        """Return the path so far."""
        return Path(
            np.array(self._t, dtype=np.int64),
            np.array(self._x),
            np.array(self._y),
            np.array(self._environment, dtype=np.uint8),
            np.array(self._mode, dtype=np.uint8),
        )
