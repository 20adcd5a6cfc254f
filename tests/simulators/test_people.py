"""Persons who live: the same every time, never faster than people are, home at night."""

import datetime as dt
from itertools import pairwise

import numpy as np
import pytest

from simulators.geo import LocalPlane
from simulators.paths import IN_VEHICLE, Environment, Mode
from simulators.people import (
    DAY_STARTS_H,
    DailyLife,
    choose_mode,
    day_of,
    draw_habits,
    local_ms,
    time_zone,
)
from simulators.seeds import device_key, stream
from simulators.world import BLOCK_M, JITTER_M, Town

ZONE = time_zone("Europe/Amsterdam")
MONDAY = dt.date(2026, 11, 23)
PLANE = LocalPlane(51.92, 4.48)


def life(seed: int, name: str) -> DailyLife:
    town = Town(PLANE, seed)
    return DailyLife(town, name, draw_habits(town, name, 5_000.0), ZONE)


def week(person: DailyLife, monday: dt.date = MONDAY):
    return [person.day(monday + dt.timedelta(days=n)) for n in range(7)]


def test_the_same_seed_gives_the_same_week_and_another_seed_another():
    one, same, other = (week(life(seed, "w-1")) for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        assert np.array_equal(a.t_ms, b.t_ms)
        assert np.array_equal(a.x_m, b.x_m)
        assert np.array_equal(a.environment, b.environment)
    assert any(not np.array_equal(a.x_m, b.x_m) for a, b in zip(one, other, strict=True))


def test_a_day_does_not_depend_on_which_day_was_asked_before():
    forward, backward = life(3, "w-1"), life(3, "w-1")
    days = [MONDAY + dt.timedelta(days=n) for n in range(5)]
    first = {day: forward.day(day).x_m.tolist() for day in days}
    again = {day: backward.day(day).x_m.tolist() for day in reversed(days)}
    assert first == again


def test_everybody_is_home_where_days_meet_and_motion_has_no_gap(seed):
    for number in range(20):
        person = life(seed, f"w-{number}")
        days = week(person)
        for before, after in pairwise(days):
            assert before.end_ms == after.start_ms
            assert (before.x_m[-1], before.y_m[-1]) == person.habits.home
            assert (after.x_m[0], after.y_m[0]) == person.habits.home


def test_nobody_moves_faster_than_their_vehicle(seed):
    fastest = {Mode.WALK: 2.5, Mode.CYCLE: 6.0, Mode.TRAM: 12.0, Mode.CAR: 16.0}
    for number in range(20):
        for path in week(life(seed, f"w-{number}")):
            span_s = np.diff(path.t_ms) / 1000.0
            length_m = np.hypot(np.diff(path.x_m), np.diff(path.y_m))
            for mode in np.unique(path.mode[:-1]):
                chosen = path.mode[:-1] == mode
                if mode == Mode.STILL:
                    assert length_m[chosen].max() == 0.0
                else:
                    assert (length_m[chosen] <= fastest[Mode(mode)] * span_s[chosen] + 1.0).all()


def test_the_environment_is_a_vehicle_exactly_in_vehicles(seed):
    for number in range(10):
        for path in week(life(seed, f"w-{number}")):
            moving = path.mode[:-1] != Mode.STILL
            in_vehicle = np.isin(path.mode[:-1], list(IN_VEHICLE))
            assert np.array_equal(
                path.environment[:-1][moving] == Environment.VEHICLE, in_vehicle[moving]
            )


def test_a_week_has_a_rhythm(seed):
    people = [life(seed, f"w-{number}") for number in range(60)]
    at_work = {"weekday": 0, "weekend": 0}
    at_night = 0
    for person in people:
        if person.habits.work is None:
            continue
        for day, name in ((1, "weekday"), (5, "weekend")):
            eleven = local_ms(MONDAY + dt.timedelta(days=day), 11.0, ZONE)
            truth = person.at(eleven)
            at_work[name] += (truth.x_m, truth.y_m) == person.habits.work
        night = person.at(local_ms(MONDAY, 27.0, ZONE))
        at_night += (night.x_m, night.y_m) == person.habits.home
    employed = sum(person.habits.work is not None for person in people)
    assert at_work["weekday"] > 0.7 * employed
    assert at_work["weekend"] == 0
    assert at_night == employed


def test_a_window_is_the_days_it_covers(seed):
    person = life(seed, "w-7")
    from_ms = local_ms(MONDAY, 22.0, ZONE)
    to_ms = from_ms + 2 * 86_400_000
    path = person.path(from_ms, to_ms)
    assert (path.start_ms, path.end_ms) == (from_ms, to_ms)
    for t_ms in np.linspace(from_ms, to_ms, 200).astype(np.int64):
        truth = person.at(int(t_ms))
        x, y = path.positions([t_ms])
        assert (x[0], y[0]) == pytest.approx((truth.x_m, truth.y_m), abs=1e-6)


@pytest.mark.parametrize(
    ("day", "hours"),
    [(dt.date(2026, 3, 28), 23), (dt.date(2026, 10, 24), 25), (dt.date(2026, 6, 1), 24)],
)
def test_a_day_in_which_the_clock_changes_has_its_true_length(day, hours):
    path = life(5, "w-1").day(day)
    assert path.end_ms - path.start_ms == hours * 3_600_000
    assert day_of(path.start_ms, ZONE) == day
    assert day_of(path.end_ms - 1, ZONE) == day
    assert day_of(path.end_ms, ZONE) == day + dt.timedelta(days=1)
    assert DAY_STARTS_H == 4


def test_charging_is_a_habit_that_is_sometimes_forgotten(seed):
    spans = [
        life(seed, f"w-{n}").charging(MONDAY + dt.timedelta(days=d))
        for n in range(60)
        for d in range(7)
    ]
    kept = [span for span in spans if span is not None]
    assert 0.86 < len(kept) / len(spans) < 0.98
    assert all(3_600_000 < off - on < 9_100_000 for on, off in kept)


def test_streets_are_where_they_were_and_routes_never_turn_back(seed):
    town = Town(PLANE, seed)
    assert town.crossing(3, -4) == Town(PLANE, seed).crossing(3, -4)
    assert town.crossing(3, -4) != town.crossing(-4, 3)
    route = town.route((0.0, 0.0), (2_000.0, -1_500.0), stream(seed, "route"))
    assert route[-1] == (2_000.0, -1_500.0)
    columns = [round(x / BLOCK_M) for x, _ in route[:-1]]
    rows = [round(y / BLOCK_M) for _, y in route[:-1]]
    assert columns == sorted(columns)
    assert rows == sorted(rows, reverse=True)
    steps = np.hypot(np.diff([x for x, _ in route[:-1]]), np.diff([y for _, y in route[:-1]]))
    assert steps.max() <= BLOCK_M + 3 * JITTER_M


def test_short_ways_are_walked(seed):
    rng = stream(seed, "modes")
    assert {choose_mode(500.0, True, rng) for _ in range(50)} == {Mode.WALK}
    assert Mode.CAR not in {choose_mode(3_000.0, False, rng) for _ in range(200)}


def test_streams_and_keys_depend_on_their_purpose():
    assert stream(1, "a", 2).random() == stream(1, "a", 2).random()
    draws = {
        stream(seed, *purpose).random()
        for seed in (1, 2)
        for purpose in (("a", 2), ("a", 3), ("b", 2))
    }
    assert len(draws) == 6
    keys = {device_key(seed, device) for seed in (1, 2) for device in ("d-1", "d-2")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {16}
