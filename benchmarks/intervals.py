"""95 % intervals of shares, rates and medians: what a number of runs can and cannot say."""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

_Z: Final = 1.959964
_TAIL: Final = 0.025


class Interval(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """Return "value (low-high)"."""
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def share(hits: int, of: int) -> Interval:
    """Return a share in percent with Wilson's interval; nan of nothing."""
    if of == 0:
        return Interval(math.nan, math.nan, math.nan)
    p = hits / of
    z2 = _Z * _Z / of
    middle = (p + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of)) / (1 + z2)
    return Interval(100 * p, 100 * max(middle - half, 0.0), 100 * min(middle + half, 1.0))


def rate(count: int, exposure: float) -> Interval:
    """Return a rate with the exact Poisson interval of its count; nan without exposure."""
    if exposure <= 0.0:
        return Interval(math.nan, math.nan, math.nan)
    low = 0.0 if count == 0 else _where(lambda m: 1.0 - _poisson(count - 1, m), count)
    high = _where(lambda m: 1.0 - _poisson(count, m), count, 1.0 - _TAIL)
    return Interval(count / exposure, low / exposure, high / exposure)


def _poisson(count: int, mean: float) -> float:
    """P(at most `count`) of a Poisson variable."""
    logs = (k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(count + 1))
    return min(math.fsum(math.exp(log) for log in logs), 1.0)


def _where(rising: Callable[[float], float], near: int, level: float = _TAIL) -> float:
    """Return where a rising function of a mean reaches a level."""
    low, high = 1e-9, 4.0 * near + 20.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return (low + high) / 2


def quantile(values: Sequence[float], q: float) -> Interval:
    """Return a quantile with the interval of its order statistics; nan of nothing."""
    if not values:
        return Interval(math.nan, math.nan, math.nan)
    ordered = sorted(values)
    count = len(ordered)
    half = _Z * math.sqrt(count * q * (1 - q))

    def at(rank: float) -> float:
        return ordered[min(max(math.ceil(rank) - 1, 0), count - 1)]

    return Interval(at(count * q), at(count * q - half), at(count * q + half + 1))
