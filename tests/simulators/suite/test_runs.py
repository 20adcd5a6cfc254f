"""The runs: what each family promises, by independent looks at its true paths."""

import msgspec
import numpy as np
import pytest
import shapely

from geofence.geojson import parse_geometry
from geofence.orders import Known, Order, problems
from simulators.suite import (
    HELD_OUT_SEEDS,
    TUNING_SEEDS,
    boundaries,
    coincidences,
    long_days,
    pair_day,
    queensland,
)
from simulators.suite.boundary import corner
from simulators.suite.kinds import TOUCH_M, WEARER
from simulators.suite.places import PLACES
from simulators.truth import distance_at

SEEDS = (1, 2, 3)


def everything(seed):
    return [*queensland(seed), *coincidences(seed), *boundaries(seed), *long_days(seed, hours=2.0)]


@pytest.fixture(scope="module")
def runs():
    return [run for seed in SEEDS for run in everything(seed)]


def family(runs, name):
    return [run for run in runs if run.family == name]


@pytest.mark.slow
def test_orders_and_zones_are_sound_data(runs):
    for run in runs:
        known = Known(run.persons.keys(), {zone["id"] for zone in run.zones})
        for entry in run.orders:
            order = msgspec.convert(entry, Order)
            assert problems(order, known) == [], run.name
            assert order.valid_from_ms < run.start_ms < run.end_ms < order.valid_to_ms
        for zone in run.zones:
            assert parse_geometry(zone["geometry"])


def test_ids_are_unique_over_seeds_families_and_places(runs):
    persons = [person for run in runs for person in run.persons]
    assert len(persons) == len(set(persons))
    orders = [order["id"] for run in runs for order in run.orders]
    assert len(orders) == len(set(orders))


@pytest.mark.slow
def test_the_truth_is_what_dense_sampling_sees(runs):
    """Every 2 s, with another library's geometry: inside exactly when the truth says so."""
    for run in runs[::3]:
        times = np.arange(run.start_ms, min(run.end_ms, run.start_ms + 7_200_000), 2_000)
        for order in run.orders:
            wearer = run.persons[order["wearer_id"]]
            mine = [b for b in run.breaches if b.order_id == order["id"]]
            for other in order.get("protected_ids") or order["zone_ids"]:
                spans = [(b.from_ms, b.to_ms) for b in mine if b.other_id == other]
                said = np.array([any(a <= t <= z for a, z in spans) for t in times])
                inside, margin = looked_at(run, order, other, wearer, times)
                sure = margin > 1.0
                assert np.array_equal(said[sure], inside[sure]), (run.name, run.place, run.seed)


def looked_at(run, order, other, wearer, times):
    if order["kind"] == "contact-ban":
        path = run.persons[other]
        apart = np.array([distance_at(wearer, path, t, run.plane) for t in times])
        return apart < order["radius_m"], np.abs(apart - order["radius_m"])
    geometry = next(zone["geometry"] for zone in run.zones if zone["id"] == other)
    rings = [[run.plane.metres(lat, lon) for lon, lat in ring] for ring in geometry["coordinates"]]
    polygon = shapely.Polygon(rings[0], rings[1:])
    points = shapely.points(*wearer.positions(times))
    inside = shapely.contains(polygon, points)
    margin = shapely.distance(polygon.boundary, points)
    return (inside if order["kind"] == "area-ban" else ~inside), margin


# --- Queensland -----------------------------------------------------------------------------------


def test_there_are_seven_scenarios_in_five_places(runs):
    mine = family(runs, "queensland")
    assert len(mine) == 35 * len(SEEDS)
    assert len({(run.name, run.place) for run in mine}) == 35
    assert {run.place for run in mine} == {place.name for place in PLACES}


def test_every_queensland_run_is_a_true_breach(runs):
    for run in family(runs, "queensland"):
        assert run.breaches, (run.name, run.place, run.seed)
        first = min(breach.from_ms for breach in run.breaches)
        # Somebody who listens has seen a few quiet minutes first.
        assert first - run.start_ms > 3 * 60_000
        assert max(breach.to_ms - breach.from_ms for breach in run.breaches) > 60_000


def test_devices_report_in_all_but_two_scenarios(runs):
    for run in family(runs, "queensland"):
        shown = any(breach.by_devices for breach in run.breaches)
        assert shown == (run.name not in ("device-left-behind", "strap-cut")), run.name
        assert bool(run.tampers) == (run.name == "strap-cut")
        for tamper in run.tampers:
            assert tamper.at_ms < min(breach.from_ms for breach in run.breaches)


def test_whoever_comes_to_the_door_touches(runs):
    for run in family(runs, "queensland"):
        contact = [b for b in run.breaches if b.kind == "contact-ban"]
        if run.name in ("on-foot", "by-car", "strap-cut", "both-move", "device-left-behind"):
            touched = [b for b in contact if b.touch_ms is not None]
            assert touched, (run.name, run.place, run.seed)
            for breach in touched:
                one, other = run.persons[breach.wearer_id], run.persons[breach.other_id]
                assert distance_at(one, other, breach.touch_ms, run.plane) == pytest.approx(
                    TOUCH_M, abs=0.1
                )
                assert breach.touch_ms >= breach.from_ms


def test_a_car_comes_from_beyond_the_warning_ring(runs):
    for run in family(runs, "queensland"):
        if run.name == "by-car":
            wearer, protected = run.persons.values()
            assert distance_at(wearer, protected, run.start_ms, run.plane) > 4_900


# --- the others -----------------------------------------------------------------------------------


def test_coincidences_are_true_contacts_with_a_reason(runs):
    for run in family(runs, "coincidence"):
        assert run.breaches, (run.name, run.seed)
        assert {b.coincidence for b in run.breaches} <= {"motorway", "train", "festival"}
        assert all(b.by_devices for b in run.breaches)
        longest = max(b.to_ms - b.from_ms for b in run.breaches)
        assert longest < 60_000 if run.name == "oncoming" else longest > 300_000


def test_innocent_runs_are_innocent(runs):
    for run in family(runs, "boundary"):
        innocent = run.name.startswith(("parked", "drive-by", "indoor"))
        if run.name != "next-door":
            assert run.innocent == innocent, (run.name, run.place, run.seed)


def test_a_parked_device_is_as_far_outside_as_it_says(runs):
    for run in family(runs, "boundary"):
        if run.name.startswith("parked"):
            (path,) = run.persons.values()
            x, y = path.positions([run.start_ms, run.end_ms])
            assert [corner(p) for p in zip(x, y, strict=True)] == [int(run.name.split("-")[1])] * 2
            assert run.device_days == pytest.approx(2.0 / 24.0)


def test_visits_last_as_long_as_they_say(runs):
    for run in family(runs, "boundary"):
        spans = [b.to_ms - b.from_ms for b in run.breaches]
        if run.name == "two-minutes":
            assert spans == [pytest.approx(120_000, abs=20)]
        elif run.name == "drive-through":
            assert spans == [pytest.approx(800.0 / (50.0 / 3.6) * 1000.0, abs=5.0)]
        elif run.name == "walk-in":
            assert spans[0] > 900_000


def test_coverage_is_lost_over_the_crossing_and_back_when_it_says(runs):
    for run in family(runs, "boundary"):
        if run.name.startswith("late"):
            (outage,) = run.devices[0].outages
            (breach,) = run.breaches
            assert outage.from_ms < breach.from_ms < outage.to_ms
            assert (outage.to_ms < breach.to_ms) == (run.name == "late-inside")
            assert outage.to_ms + 60_000 < run.end_ms


@pytest.mark.slow
def test_a_pair_that_keeps_apart_for_a_day_truly_does():
    for seed in SEEDS:
        run = pair_day(seed)
        assert run.innocent
        assert run.end_ms - run.start_ms == 86_400_000
        wearer, protected = run.persons.values()
        times = np.arange(run.start_ms, run.end_ms, 30_000)
        apart = [distance_at(wearer, protected, int(t), run.plane) for t in times]
        assert min(apart) > 500
        assert run.device_days == 1.0
        assert [d.role for d in run.devices].count(WEARER) == 1


@pytest.mark.slow
def test_the_same_seed_is_the_same_run_and_another_seed_another():
    for one, same, other in zip(everything(5), everything(5), everything(6), strict=True):
        assert one.breaches == same.breaches
        assert one.orders == same.orders
        assert all(
            np.array_equal(one.persons[p].x_m, same.persons[p].x_m)
            and np.array_equal(one.persons[p].t_ms, same.persons[p].t_ms)
            for p in one.persons
        )
        assert set(one.persons) != set(other.persons)


def test_no_seed_is_both_for_tuning_and_held_out():
    assert not set(TUNING_SEEDS) & set(HELD_OUT_SEEDS)
