"""The measurement of decision quality: its arithmetic, its verdict on hand-made cases, our rule."""

import math

import numpy as np
import pytest

from benchmarks.decision import Task, play, result
from benchmarks.intervals import quantile, rate, share
from benchmarks.rules import (
    CLEAR,
    CONFIRMED,
    OURS,
    OURS_ALONE,
    WARNED,
    Change,
    Filtered,
    InARow,
    Positions,
    judge,
)
from benchmarks.scoring import score
from simulators.suite import FIX_DTYPE, TUNING_SEEDS, Play, Run
from simulators.suite.boundary import coverage_lost, parked, walk_in
from simulators.suite.places import PLACES
from simulators.suite.queensland import by_car

SECOND = 1000


def test_intervals_are_those_of_the_tables() -> None:
    # Exact Poisson limits: 0 events -> 3.689, 5 events -> 1.623 to 11.668.
    assert rate(0, 1.0).high == pytest.approx(3.689, abs=1e-3)
    five = rate(5, 10.0)
    assert (five.value, five.low, five.high) == pytest.approx((0.5, 0.1623, 1.1668), abs=1e-3)
    # Wilson: 8 of 10 -> 49.0 to 94.3 %.
    eight = share(8, 10)
    assert (eight.low, eight.high) == pytest.approx((49.0, 94.3), abs=0.1)
    assert share(0, 100).low == 0.0
    assert share(100, 100).high == 100.0
    assert math.isnan(share(0, 0).value)
    assert math.isnan(rate(1, 0.0).value)
    middle = quantile([float(i) for i in range(1, 101)], 0.5)
    assert middle == (50.0, 41.0, 61.0)
    assert math.isnan(quantile([], 0.5).value)


def key_of(run: Run) -> tuple[str, str]:
    order = run.orders[0]
    return order["id"], (order.get("protected_ids") or ("",))[0]


def change(run: Run, state: str, at_ms: float, **more: object) -> Change:
    at = round(at_ms)
    fields = {"fix_ms": at, **more}
    return Change(key_of(run), state, at, **fields)  # type: ignore[arg-type]


def test_a_breach_is_met_missed_or_met_late() -> None:
    run = walk_in(1, PLACES[1])
    breach = run.breaches[0]
    met = [
        change(run, CONFIRMED, breach.from_ms + 20 * SECOND),
        change(run, CLEAR, breach.to_ms + 60 * SECOND),
    ]
    (scored,) = score([run], met)
    assert [o.delay_s for o in scored.outcomes] == [pytest.approx(20.0, abs=0.01)]
    assert scored.false_alarms == []
    (scored,) = score([run], [])
    assert [o.delay_s for o in scored.outcomes] == [None]
    late = [change(run, CONFIRMED, breach.to_ms + 200 * SECOND)]
    (scored,) = score([run], late)
    assert [o.delay_s for o in scored.outcomes] == [None]
    assert scored.false_alarms == late


def test_an_alarm_before_its_time_is_false_and_a_warning_is_none() -> None:
    run = walk_in(1, PLACES[1])
    before = run.breaches[0].from_ms - 120 * SECOND
    false = change(run, CONFIRMED, before)
    (scored,) = score([run], [false, change(run, CLEAR, before + SECOND)])
    assert scored.false_alarms == [false]
    (scored,) = score([run], [change(run, WARNED, before)])
    assert scored.false_alarms == []


def test_an_alarm_that_stays_is_one() -> None:
    run = parked(1, 50, hours=1.0)
    told = [change(run, CONFIRMED, run.start_ms + k * SECOND) for k in range(3)]
    (scored,) = score([run], told)
    assert scored.false_alarms == told[:1]
    (scored,) = score([run], [told[0], change(run, CLEAR, told[0].at_ms + 1), told[2]])
    assert scored.false_alarms == [told[0], told[2]]


def test_a_breach_of_the_past_counts_from_when_the_device_was_heard() -> None:
    run = coverage_lost(1, PLACES[1], returns_inside=False)
    breach = run.breaches[0]
    back_ms = run.devices[0].outages[0].to_ms
    assert breach.to_ms < back_ms
    told = [change(run, CLEAR, back_ms + 4_000, historic=True, fix_ms=breach.from_ms + 60_000)]
    (scored,) = score([run], told)
    assert [o.delay_s for o in scored.outcomes] == [pytest.approx(4.0, abs=0.01)]
    assert scored.false_alarms == []


def test_a_warning_counts_while_it_lasts_until_they_meet() -> None:
    run = by_car(PLACES[1], 1)
    breach = next(b for b in run.breaches if b.kind == "contact-ban")
    assert breach.touch_ms is not None
    ended = [
        change(run, WARNED, breach.touch_ms - 600 * SECOND),
        change(run, CLEAR, breach.touch_ms - 500 * SECOND),
        change(run, WARNED, breach.touch_ms - 200 * SECOND),
        change(run, CONFIRMED, breach.touch_ms - 10 * SECOND),
    ]
    (scored,) = score([run], ended)
    outcome = next(o for o in scored.outcomes if o.breach is breach)
    assert outcome.warning_s == pytest.approx(200.0, abs=0.01)


def fixes(play: Play, *rows: tuple[int, float, float]) -> np.ndarray:
    """Fixes of device 0: (time, x, y)."""
    plane = play.devices[0].run.plane
    found = np.zeros(len(rows), FIX_DTYPE)
    for fix, (time_ms, x, y) in zip(found, rows, strict=True):
        fix["time_ms"], (fix["lat_e7"], fix["lon_e7"]) = time_ms, plane.e7(x, y)
        fix["accuracy_dm"] = 50
    return found


def test_rules_of_others_count_in_a_row() -> None:
    track = [(k * 60_000, x, 0.0) for k, x in enumerate([-100, 50, -100, 50, 60, 70, -90, -90])]
    play_of = Play([parked(1, 50, hours=1.0)])
    told = {}
    for count in (1, 2, 3):
        positions = Positions(play_of)
        changes = InARow(positions.orders, count).judge(positions.read(fixes(play_of, *track)))
        told[count] = [(c.state, c.fix_ms // 60_000) for c in changes]
    assert told[1] == [(CONFIRMED, 1), (CLEAR, 2), (CONFIRMED, 3), (CLEAR, 6)]
    assert told[2] == [(CONFIRMED, 4), (CLEAR, 7)]
    assert told[3] == [(CONFIRMED, 5)]


def test_kalman_follows_and_smooths() -> None:
    play_of = Play([parked(1, 50, hours=1.0)])
    positions = Filtered(play_of)
    rule = InARow(positions.orders, 1)
    still = [(k * 5_000, -30.0 if k != 8 else 2.0, 0.0) for k in range(12)]
    assert rule.judge(positions.read(fixes(play_of, *still))) == [], "one jump does not cross"
    inside = [(60_000 + k * 5_000, 60.0, 0.0) for k in range(20)]
    told = rule.judge(positions.read(fixes(play_of, *inside)))
    assert [c.state for c in told] == [CONFIRMED]


def test_without_requests_long_steps_and_short_ones_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [walk_in(seed, PLACES[0]) for seed in (1, 2)]
    told = judge(runs, (OURS_ALONE, "point in polygon", "Kalman"))
    assert all(told.values())
    monkeypatch.setattr("benchmarks.rules.STEP_MS", 700)
    assert judge(runs, (OURS_ALONE, "point in polygon", "Kalman")) == told


@pytest.mark.slow
def test_our_rule_misses_no_approach_and_is_early() -> None:
    seeds = tuple(TUNING_SEEDS[:2])
    runs = play(Task("queensland", seeds, (OURS,)))[OURS]
    runs += play(Task("boundaries", seeds, (OURS,)))[OURS]
    runs += play(Task("car-approaches", seeds, (OURS,)))[OURS]
    found = result(runs)
    assert found.queensland == (0, 50)
    assert found.missed.value == 0.0
    assert found.delay_median.value <= 30.0
    assert found.delay_p95.value <= 60.0
    assert found.warning.value >= 180.0


@pytest.mark.slow
def test_our_rule_keeps_quiet_beside_the_zone_and_apart() -> None:
    runs = play(Task("parked-50", tuple(TUNING_SEEDS[:8]), (OURS, "point in polygon")))
    assert sum(run.false_alarms for run in runs[OURS]) == 0
    assert sum(run.false_alarms for run in runs["point in polygon"]) > 0
    pairs = play(Task("pair-days", tuple(TUNING_SEEDS[:3]), (OURS,)))[OURS]
    assert sum(run.false_alarms for run in pairs) == 0


def test_processes_do_not_change_the_answer() -> None:
    task = Task("parked-50", (3,), ("2 in a row",), 30.0)
    assert play(task) == play(task)
