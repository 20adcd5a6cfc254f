"""The simulated week: its truth is what the movers did, and its count is that of the book."""

import numpy as np
import pytest

from benchmarks.week import Alarm, Week, lost
from benchmarks.week_world import (
    DAY_MS,
    START_MS,
    ZONE_M,
    Trip,
    TrueEvent,
    live_day,
    plan_trips,
    populate,
    separations,
    truths_of_day,
)


@pytest.fixture(scope="module")
def people():
    return populate(60, 5)


def test_the_population_has_pairs_wearers_and_buttons(people):
    assert len(people) + people.buttons == 60
    tied = np.flatnonzero(people.pair >= 0)
    assert len(tied) == 36
    assert all(people.pair[people.pair[one]] == one for one in tied)
    assert (people.wearer[tied] != people.wearer[people.pair[tied]]).all()


def test_places_and_metres_are_each_others_reverse(people):
    person = np.arange(len(people))
    x, y = people.home.T
    back = people.metres(person, *people.places(person, x, y))
    assert np.allclose(back, (x, y), atol=1e-6)


def test_a_trip_into_the_zone_is_a_true_entry(people):
    one = int(np.flatnonzero(people.wearer & ~people.beacon)[0])
    goal = (float(people.zone[one][0]), float(people.zone[one][1]))
    day = live_day(people, 0, [Trip(one, 0, 700, goal, 15)])
    inside = np.hypot(day.x[one] - goal[0], day.y[one] - goal[1]) < ZONE_M
    (entry,) = [t for t in truths_of_day(people, 0, day) if t.kind == "entry" and t.person == one]
    minutes = np.flatnonzero(inside)
    assert entry.from_ms == START_MS + int(minutes[0]) * 60_000
    assert entry.to_ms == START_MS + int(minutes[-1]) * 60_000
    assert entry.to_ms - entry.from_ms >= 15 * 60_000


def test_whoever_has_a_curfew_is_home_in_its_hours(people):
    day = live_day(people, 1, [])
    for one in np.flatnonzero(people.beacon).tolist():
        away = np.hypot(day.x[one] - people.home[one][0], day.y[one] - people.home[one][1])
        assert away[:240].max() < 1
        assert away[1200:].max() < 1
    assert not [t for t in truths_of_day(people, 1, day) if t.kind == "absence"]


def test_the_distance_of_a_pair_does_not_depend_on_whose_plane_it_is_taken_in(people):
    day = live_day(people, 0, [])
    one = int(np.flatnonzero(people.wearer & (people.pair >= 0))[0])
    other = int(people.pair[one])
    there, back = separations(people, one, other, day), separations(people, other, one, day)
    assert np.allclose(there, back, rtol=0.01)


def test_what_nobody_was_told_of_is_lost():
    week = Week(20, 1, 3, 1)
    name = week.people.name(0)
    truth = TrueEvent("entry", 0, -1, START_MS, START_MS + 600_000, ("area-breach",))
    assert lost(week, [truth]) == [truth]
    for raised, closed, found in (
        (START_MS - 10, START_MS - 5, False),
        (START_MS - 10, START_MS + 5, True),
        (START_MS + 899_000, START_MS + DAY_MS, True),
        (START_MS + 901_000, START_MS + DAY_MS, False),
    ):
        week.alarms = {"a": Alarm("area-breach", (name,), raised, closed)}
        assert (lost(week, [truth]) == []) is found
    week.alarms = {"a": Alarm("order-breach", (name,), START_MS, START_MS + DAY_MS)}
    assert lost(week, [truth]) == [truth]
    week.historic = [(START_MS + 3_600_000, name)]
    assert lost(week, [truth]) == []


def test_what_was_kept_by_a_device_counts_from_when_it_was_told():
    week = Week(20, 1, 3, 1)
    name, told_ms = week.people.name(0), START_MS + 3_600_000
    truth = TrueEvent("contact", 0, 1, START_MS, START_MS + 600_000, ("proximity",))
    never_ms = START_MS + DAY_MS
    late = Alarm("proximity", (name,), told_ms + 299_000, never_ms)
    week.alarms = {"a": late}
    assert lost(week, [truth]) == [truth]  # its devices were in contact
    week.delays = {name: [(START_MS + 60_000, told_ms)]}
    assert lost(week, [truth]) == []
    week.alarms = {"a": Alarm("proximity", (name,), told_ms + 301_000, never_ms)}
    assert lost(week, [truth]) == [truth]
    # Nobody can be told more than an approach of a pair of which one is out of contact.
    week.alarms = {"a": Alarm("approach", (name,), START_MS - 60_000, START_MS + 120_000)}
    assert lost(week, [truth]) == []
    week.delays = {}
    assert lost(week, [truth]) == [truth]


def test_trips_lie_within_their_days(people):
    trips = plan_trips(people, 7, 9)
    assert {trip.day for trip in trips} <= set(range(7))
    assert len(trips) >= 4


@pytest.mark.slow
def test_a_day_of_few_devices_loses_nothing_true():
    week = Week(40, 1, 11, 1)
    truths = week.run(progress=False)
    assert lost(week, truths) == []
    said = week.book.indicators()
    assert said["annunciations"] == len(week.pages) > 0
    assert sum(count for kind, count in week.raw.items() if kind) > 10 * len(week.pages)
