"""The error model against the formulas of domain.md 7.2, and against itself.

Stepwise and vectorised.
"""

import numpy as np
import pytest

from firmware_contracts import Mechanism
from simulators.gnss import (
    CELL_SIGMA_M,
    DRAWS,
    LATENCY_S,
    R68_PER_SIGMA,
    SKIES,
    WIFI_SHARE,
    WIFI_SIGMA_M,
    ErrorField,
    Receiver,
    draw_rows,
)
from simulators.paths import Environment, Mode, Truth
from simulators.seeds import stream

DEVICES = 4_000
OUTSIDE = (
    Environment.OPEN_SKY,
    Environment.SUBURB,
    Environment.CANYON,
    Environment.WINDOW,
    Environment.VEHICLE,
)

# The table, typed over from the document: sigma m, tau s, jump chance, jump scale m, success,
# reported / true.
TABLE = {
    Environment.OPEN_SKY: (4.0, 120.0, 0.002, 30.0, 0.99, 1.0),
    Environment.SUBURB: (7.0, 120.0, 0.005, 40.0, 0.97, 0.8),
    Environment.CANYON: (15.0, 180.0, 0.01, 60.0, 0.90, 0.6),
    Environment.WINDOW: (25.0, 600.0, 0.02, 100.0, 0.60, 0.5),
    Environment.DEEP_INDOOR: (None, 900.0, 0.05, 500.0, 0.20, None),
    Environment.VEHICLE: (5.0, 60.0, 0.003, 40.0, 0.97, 1.0),
}


def run(environment, steps, dt_s, rng, speed=(0.0, 0.0)):
    """The OU state, the whole error and the samples of DEVICES devices at every step."""
    field = ErrorField.start(DEVICES)
    states, errors, samples = [], [], []
    for _ in range(steps):
        seen = field.step(dt_s, environment, speed[0], speed[1], draw_rows(rng, DEVICES))
        states.append(field.ou_x.copy())
        errors.append(seen.error_x_m - field.bias_x)
        samples.append(seen)
    return field, np.array(states), np.array(errors), samples


@pytest.mark.parametrize("environment", Environment)
def test_the_table_is_the_documents(environment):
    sky = SKIES[environment]
    sigma, tau, chance, scale, success, honesty = TABLE[environment]
    assert (sky.tau_s, sky.jump_chance, sky.jump_scale_m, sky.success) == (
        tau,
        chance,
        scale,
        success,
    )
    if sigma is not None:
        assert (sky.sigma_m, sky.honesty) == (sigma, honesty)


@pytest.mark.parametrize("environment", OUTSIDE)
def test_sigma_and_autocorrelation_are_those_of_an_ornstein_uhlenbeck_process(environment, seed):
    sky, dt_s = SKIES[environment], 20.0
    _, states, _, _ = run(environment, 40, dt_s, stream(seed, "ou", int(environment)))
    for row in (0, 20, 39):
        # The standard error of a standard deviation is sigma / sqrt(2 n).
        assert states[row].std() == pytest.approx(sky.sigma_m, rel=5.0 / np.sqrt(2.0 * DEVICES))
        assert abs(states[row].mean()) < 5.0 * sky.sigma_m / np.sqrt(DEVICES)
    for lag in (1, 3, 10):
        found = np.corrcoef(states[5], states[5 + lag])[0, 1]
        expected = np.exp(-lag * dt_s / sky.tau_s)
        assert found == pytest.approx(
            expected, abs=5.0 * (1.0 - expected**2) / np.sqrt(DEVICES) + 1e-3
        )


def test_the_process_does_not_depend_on_how_often_it_is_looked_at(seed):
    sky = SKIES[Environment.CANYON]
    field = ErrorField.start(DEVICES)
    rng = stream(seed, "steps")
    field.step(0.0, Environment.CANYON, 0.0, 0.0, draw_rows(rng, DEVICES))
    start = field.ou_x.copy()
    for dt_s in (1.0, 5.0, 54.0):
        field.step(dt_s, Environment.CANYON, 0.0, 0.0, draw_rows(rng, DEVICES))
    assert np.corrcoef(start, field.ou_x)[0, 1] == pytest.approx(
        np.exp(-60.0 / sky.tau_s), abs=0.06
    )
    assert field.ou_x.std() == pytest.approx(sky.sigma_m, rel=0.06)


@pytest.mark.parametrize("environment", OUTSIDE[:4])
def test_jumps_come_as_often_and_are_as_large_as_they_should(environment, seed):
    sky, steps = SKIES[environment], 60
    _, states, errors, _ = run(environment, steps, 60.0, stream(seed, "jumps", int(environment)))
    jumps = (errors - states)[np.abs(errors - states) > 1e-9]
    expected = sky.jump_chance * steps * DEVICES
    assert abs(len(jumps) - expected) < 5.0 * np.sqrt(expected)
    # One axis is Student t with 2 degrees of freedom: |t| > 1 in 42.3 %, |t| > 4 in 5.7 % of cases.
    for bound, share in ((1.0, 0.42265), (4.0, 0.05719)):
        found = np.mean(np.abs(jumps) > bound * sky.jump_scale_m)
        assert found == pytest.approx(share, abs=5.0 * np.sqrt(share / len(jumps)))


@pytest.mark.parametrize("environment", Environment)
def test_fixes_succeed_as_often_as_they_should(environment, seed):
    _, _, _, samples = run(environment, 10, 60.0, stream(seed, "success", int(environment)))
    got = np.mean([seen.got for seen in samples])
    chance = SKIES[environment].success
    assert got == pytest.approx(chance, abs=5.0 * np.sqrt(chance * (1 - chance) / (10 * DEVICES)))


@pytest.mark.parametrize("environment", OUTSIDE)
def test_reported_accuracy_is_as_honest_as_the_place_allows(environment, seed):
    _, states, _, samples = run(environment, 3, 3_600.0, stream(seed, "honest", int(environment)))
    sky = SKIES[environment]
    assert np.allclose(samples[-1].accuracy_m, R68_PER_SIGMA * sky.sigma_m * sky.honesty)
    assert set(samples[-1].mechanism.tolist()) == {Mechanism.GNSS}
    # 68 % of the radial error lies within the radius that an honest receiver reports.
    if environment is Environment.OPEN_SKY:
        radial = np.hypot(states[0], states[2])  # two independent draws: an hour apart
        assert np.mean(radial < samples[-1].accuracy_m) == pytest.approx(0.682, abs=0.04)


def test_without_gnss_the_mechanism_says_so_and_stays_for_the_stay(seed):
    rng = stream(seed, "deep")
    field, states, _, samples = run(Environment.DEEP_INDOOR, 5, 60.0, rng)
    wifi = samples[0].mechanism == Mechanism.WIFI
    assert np.mean(wifi) == pytest.approx(WIFI_SHARE, abs=0.04)
    assert all(np.array_equal(seen.mechanism, samples[0].mechanism) for seen in samples)
    assert field.sigma_m[wifi].min() >= WIFI_SIGMA_M[0]
    assert field.sigma_m[wifi].max() <= WIFI_SIGMA_M[1]
    assert field.sigma_m[~wifi].min() >= CELL_SIGMA_M[0]
    assert field.sigma_m[~wifi].max() <= CELL_SIGMA_M[1]
    assert (states[0] / field.sigma_m).std() == pytest.approx(1.0, rel=0.06)
    again = field.step(60.0, Environment.SUBURB, 0.0, 0.0, draw_rows(rng, DEVICES))
    assert set(again.mechanism.tolist()) == {Mechanism.GNSS}


def test_indoors_the_bias_sticks_and_outdoors_there_is_none(seed):
    rng = stream(seed, "bias")
    field = ErrorField.start(DEVICES)
    field.step(0.0, Environment.WINDOW, 0.0, 0.0, draw_rows(rng, DEVICES))
    first = field.bias_x.copy()
    assert first.std() == pytest.approx(SKIES[Environment.WINDOW].bias_m, rel=0.06)
    for _ in range(10):
        field.step(60.0, Environment.WINDOW, 0.0, 0.0, draw_rows(rng, DEVICES))
    # Redrawn at exponential times of mean one hour: exp(-10 / 60) are still the same.
    assert np.mean(field.bias_x == first) == pytest.approx(np.exp(-1.0 / 6.0), abs=0.03)
    field.step(60.0, Environment.SUBURB, 0.0, 0.0, draw_rows(rng, DEVICES))
    assert not field.bias_x.any()


def test_a_vehicle_is_seen_where_it_was_one_to_three_seconds_ago(seed):
    rng = stream(seed, "latency")
    _, states, errors, _ = run(Environment.VEHICLE, 5, 1.0, rng, speed=(20.0, 0.0))
    lag_s = np.median((errors - states) / -20.0, axis=0)
    assert LATENCY_S[0] - 1e-9 <= lag_s.min()
    assert lag_s.mean() == pytest.approx(sum(LATENCY_S) / 2, abs=0.15)


def test_step_by_step_is_the_same_as_all_devices_at_once(seed):
    truths = [
        Truth(0.0, 0.0, 3.0 * n, -n, environment, Mode.WALK)
        for n, environment in enumerate((*Environment, Environment.SUBURB, Environment.VEHICLE))
    ]
    rows = draw_rows(stream(seed, "same"), 5)
    together = ErrorField.start(5)
    for step, truth in enumerate(truths):
        draws = np.roll(rows, step, axis=0)
        seen = together.step(10.0 * step, int(truth.environment), truth.vx_m_s, truth.vy_m_s, draws)
        for device in range(5):
            alone = ErrorField.start(1)
            for n, earlier in enumerate(truths[: step + 1]):
                row = np.roll(rows, n, axis=0)[device : device + 1]
                one = alone.step(
                    10.0 * n, int(earlier.environment), earlier.vx_m_s, earlier.vy_m_s, row
                )
            assert one.error_x_m[0] == seen.error_x_m[device]
            assert one.error_y_m[0] == seen.error_y_m[device]
            assert one.accuracy_m[0] == seen.accuracy_m[device]
            assert one.got[0] == seen.got[device]


def test_a_receiver_is_the_same_from_the_same_seed(seed):
    truth = Truth(100.0, 200.0, 1.0, 1.0, Environment.SUBURB, Mode.WALK)
    one, same = Receiver(stream(seed, "r", 1)), Receiver(stream(seed, "r", 1))
    other = Receiver(stream(seed, "r", 2))
    first = [one.sense(t, truth) for t in range(0, 600_000, 10_000)]
    assert first == [same.sense(t, truth) for t in range(0, 600_000, 10_000)]
    assert first != [other.sense(t, truth) for t in range(0, 600_000, 10_000)]
    sample = next(sample for sample in first if sample is not None)
    assert sample.heading_deg == pytest.approx(45.0)
    assert sample.mechanism is Mechanism.GNSS
    assert abs(sample.x_m - 100.0) < 200.0


def test_a_row_of_randomness_has_normals_then_uniforms(seed):
    rows = draw_rows(stream(seed, "rows"), 5_000)
    assert rows.shape == (5_000, DRAWS)
    assert rows[:, :6].std() == pytest.approx(1.0, abs=0.02)
    assert (rows[:, 6:] >= 0.0).all()
    assert (rows[:, 6:] < 1.0).all()


def test_jumps_last_as_long_as_asked():
    rng = np.random.default_rng(5)
    field = ErrorField.start(2_000, jump_holds_s=20.0)
    lengths = np.zeros(2_000)
    begun = ended = 0
    place = np.full(2_000, int(Environment.SUBURB))
    total = 0.0
    for _ in range(200):
        before = field.jump_x.copy()
        field.step(5.0, place, 0.0, 0.0, draw_rows(rng, 2_000))
        new = (field.jump_x != 0.0) & (field.jump_x != before)
        over = (before != 0.0) & (field.jump_x != before)
        total += lengths[over].sum()
        ended += int(over.sum())
        begun += int(new.sum())
        lengths = np.where(new, 1.0, np.where(field.jump_x != 0.0, lengths + 1.0, 0.0))
    chance = SKIES[Environment.SUBURB].jump_chance
    assert begun == pytest.approx(2_000 * 200 * chance, rel=0.1)
    # Geometric: it stays for another 5 s with exp(-5 / 20), unless a new jump replaces it.
    stays = (1 - chance) * np.exp(-5.0 / 20.0)
    assert total / ended == pytest.approx(1 / (1 - stays), rel=0.1)
