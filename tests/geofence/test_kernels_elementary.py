"""The elementary functions against the C library, and their symmetries."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afstand.compile import jit
from geofence.kernels import elementary

NAMES = ("log", "exp", "tanh", "normal_cdf")
ULP = 2.0**-52


@jit
def _apply(x: Any, out: Any) -> None:
    for i in range(x.size):
        s, c = elementary.sin_cos_degrees(x[i])
        out[0, i] = s
        out[1, i] = c
        out[2, i] = elementary.log(abs(x[i]) + 1e-300)
        out[3, i] = elementary.exp(x[i])
        out[4, i] = elementary.tanh(x[i])
        out[5, i] = elementary.normal_cdf(x[i])


@jit
def _angles(y: Any, x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = elementary.arctan2(y[i], x[i])


def applied(x: np.ndarray) -> np.ndarray:
    out = np.empty((6, x.size))
    _apply(x, out)
    return out


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    rng = np.random.default_rng(11)
    scales = 10.0 ** rng.uniform(-12, 2.8, 40_000)
    return np.concatenate([scales * rng.choice([-1, 1], 40_000), np.arange(-720.0, 721.0, 7.5)])


def test_sine_and_cosine(draws: np.ndarray) -> None:
    out = applied(draws)
    # The conversion to radians rounds: reduce by whole turns in degrees first.
    reduced = np.array([math.remainder(x, 360.0) for x in draws])
    assert np.abs(out[0] - np.sin(np.radians(reduced))).max() < 4 * ULP
    assert np.abs(out[1] - np.cos(np.radians(reduced))).max() < 4 * ULP
    assert np.abs(out[0] ** 2 + out[1] ** 2 - 1.0).max() < 4 * ULP


def test_quarter_turns_are_exact() -> None:
    out = applied(np.array([0.0, 90.0, 180.0, 270.0, 360.0, -90.0, 1e9 * 360.0]))
    assert out[0].tolist() == [0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0]
    assert out[1].tolist() == [1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0]


def test_logarithm_and_exponential(draws: np.ndarray) -> None:
    out = applied(draws)
    true = np.log(np.abs(draws) + 1e-300)
    assert (np.abs(out[2] - true) <= 2 * ULP * np.maximum(np.abs(true), 1e-3)).all()
    true = np.exp(np.clip(draws, -700.0, 700.0))
    assert (np.abs(out[3] - true) <= 2 * ULP * true).all()


def test_tanh_and_normal(draws: np.ndarray) -> None:
    out = applied(draws)
    assert np.abs(out[4] - np.tanh(draws)).max() < 1e-15
    normal = NormalDist()
    assert np.abs(out[5] - [normal.cdf(x) for x in draws]).max() < 1e-14


def test_arctan2() -> None:
    rng = np.random.default_rng(12)
    y = rng.normal(0.0, 10.0 ** rng.uniform(-9, 9, 20_000))
    x = rng.normal(0.0, 10.0 ** rng.uniform(-9, 9, 20_000))
    y[:5] = [0.0, 0.0, 1.0, -1.0, 0.0]
    x[:5] = [1.0, -1.0, 0.0, 0.0, 0.0]
    out = np.empty(x.size)
    _angles(y, x, out)
    assert np.abs(out - np.arctan2(y, x)).max() <= 4 * ULP
    assert out[:5].tolist() == [0.0, math.pi, math.pi / 2, -math.pi / 2, 0.0]


@settings(deadline=None)  # the first call compiles
@given(st.floats(-40.0, 40.0), st.floats(0.0, 1.0))
def test_they_never_turn_back(x: float, step: float) -> None:
    out = applied(np.array([x, x + step]))
    for row in (3, 4, 5):
        assert out[row, 1] >= out[row, 0] - 2e-15 * max(1.0, out[row, 0])
    assert 0.0 <= out[5, 0] <= 1.0
