"""Scenario files: strict, and every problem told with its place.

And the world that is built from one.
"""

from typing import Any

import msgspec
import numpy as np
import pytest

from afstand import limits
from geofence.orders import Known, Order, problems
from simulators.demo import build_demo
from simulators.happenings import DeviceKind, Strap
from simulators.scenario import (
    DEMO,
    Scenario,
    ScenarioError,
    load_scenario,
    parse_scenario,
    person_ids,
)
from simulators.scene import set_scene
from simulators.truth import Area, within_intervals

T0 = 1_763_992_800_000
PLAN = {
    "format": "afstand.plan/1",
    "id": "plan",
    "steps": [{"audience": "police", "targets": ["meldkamer"]}],
}
AREA = {"kind": "area-ban", "plan": "plan"}
SMALL: dict[str, Any] = {
    "format": "afstand.scenario/1",
    "id": "small",
    "seed": 1,
    "centre": {"lat": 51.92, "lon": 4.48},
    "plans": [PLAN],
    "persons": [
        {
            "id": "a", "role": "protected", "device": "victim", "life": "still",
            "at": {"x_m": 100, "y_m": 0},
        },
        {
            "id": "b", "role": "wearer", "life": "still",
            "at": {"near": "a", "distance_m": 700, "bearing_deg": 90},
        },
    ],
    "zones": [{"id": "z", "at": {"near": "b", "distance_m": 300}, "size_m": 100}],
    "orders": [
        {
            "id": "ban", "wearer": "b", "protected": ["a"],
            "terms": {"kind": "contact-ban", "plan": "plan", "radius_m": 500},
        }
    ],
    "events": [{"do": "approach", "at_s": 10, "person": "b", "target": "a", "mode": "walk"}],
}  # fmt: skip


def with_(**changes) -> bytes:
    return msgspec.json.encode(SMALL | changes)


def parsed(**changes) -> Scenario:
    return parse_scenario(with_(**changes), "small.json")


def problems_of(**changes) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        parsed(**changes)
    return [str(problem) for problem in caught.value.problems]


def event(**fields):
    return [{"do": "go-to", "at_s": 0, "person": "b", "to": {"x_m": 0}} | fields]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "afstand.scenario/9"}, ["small.json: format: Invalid enum value"]),
        ({"sede": 5}, ["small.json: -: Object contains unknown field `sede`"]),
        ({"seed": "x"}, ["small.json: seed: Expected `int`, got `str`"]),
        ({"centre": {"lat": 91, "lon": 0}}, ["small.json: centre.lat: Expected `float` <= 80.0"]),
        ({"events": event(do="fly")}, ["small.json: events[0]", "Invalid value 'fly'"]),
        ({"events": event(at_s=-1)}, ["events[0].at_s: Expected `float` >= 0.0"]),
        ({"events": event(person="nobody")}, ["small.json: events[0].person: no person 'nobody'"]),
        ({"events": event(to={"near": "c"})}, ["events[0].to.near: no named person 'c'"]),
        (
            {"events": [{"do": "approach", "at_s": 1, "person": "a", "target": "a"}]},
            ["events[0].target: nobody approaches themselves"],
        ),
        (
            {"events": [{"do": "enter-zone", "at_s": 1, "person": "a", "zone": "y"}]},
            ["events[0].zone: no zone 'y'"],
        ),
        ({"zones": [{"id": "z"}]}, ["zones[0]: needs either `at` or `geometry`"]),
        ({"plans": []}, ["orders[0].terms.plan: no plan 'plan'"]),
        (
            {"persons": SMALL["persons"] * 2},
            ["persons: 'a' stands twice", "persons: 'b' stands twice"],
        ),
        (
            {"groups": [{"prefix": "g", "count": 2_000_000, "role": "wearer"}]},
            ["groups[0].count: Expected `int` <= 200000"],
        ),
        (
            {"group_orders": [{"group": "g", "zone": "home", "terms": AREA}]},
            ["group_orders[0].group: no group 'g'"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(changes, told):
    found = "\n".join(problems_of(**changes))
    for text in told:
        assert text in found


def test_all_problems_are_told_at_once():
    orders = [
        {"id": "o", "wearer": "x", "zones": ["y"], "terms": {"kind": "area-ban", "plan": "p"}}
    ]
    assert problems_of(orders=orders) == [
        "small.json: orders[0].wearer: no person 'x'",
        "small.json: orders[0].zones: no zone 'y'",
        "small.json: orders[0].terms.plan: no plan 'p'",
    ]


def test_places_may_not_go_round_in_a_circle():
    persons = [
        {"id": "a", "role": "wearer", "at": {"near": "b"}},
        {"id": "b", "role": "wearer", "at": {"near": "a"}},
    ]
    assert any(
        "circle" in problem
        for problem in problems_of(persons=persons, zones=[], orders=[], events=[])
    )


def test_a_file_that_is_not_there_or_not_json_says_so(tmp_path):
    with pytest.raises(ScenarioError, match="No such file"):
        load_scenario(tmp_path / "none.json")
    for content in (b"", b"{", b"[]", b"\xff", b"[" * 100_000):
        path = tmp_path / "bad.json"
        path.write_bytes(content)
        with pytest.raises(ScenarioError, match=r"bad\.json"):
            load_scenario(path)


def test_a_file_is_bounded(monkeypatch):
    monkeypatch.setattr("simulators.scenario.SIM_SCENARIO_BYTES_MAX", 10)
    assert "more than 10 bytes" in problems_of()[0]
    assert limits.SIM_SCENARIO_BYTES_MAX > 10


# --- the world ------------------------------------------------------------------------------------


def test_places_and_truth_follow_the_script():
    world = build_demo(parsed(), T0)
    assert world.scene.actors["b"].start == pytest.approx((800.0, 0.0))
    expected = world.expected(T0, 600_000)
    assert [(one.what, one.person_id, one.other_id) for one in expected] == [
        ("contact-ban", "b", "a")
    ]
    # 200 m at 1.39 m/s after 10 s.
    assert expected[0].at_ms - T0 == pytest.approx(10_000 + 200 / 1.39 * 1000, abs=1_000)


def test_every_event_of_a_scenario_reaches_its_device():
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("cut-strap", {}), ("restore-strap", {}), ("open-case", {}),
        ("press-panic", {"duress": True}), ("self-test", {}), ("lose-coverage", {"for_s": 5}),
        ("jam", {"for_s": 5}), ("battery", {"percent": 5}), ("charge", {"for_s": 9}),
        ("reboot", {}),
        ("clock", {"fault": {"type": "step", "at_ms": T0, "offset_ms": 5}}),
    ]  # fmt: skip
    events = [{"do": do, "at_s": n, "person": "b"} | rest for n, (do, rest) in enumerate(kinds)]
    world = build_demo(parsed(events=events), T0)
    cues = world.cues(T0)
    assert len(cues) == len(kinds) + 3
    assert cues[0].what == Strap(cut=True)
    assert [e.what for e in world.expected(T0, 60_000)] == ["strap-cut", "case-opened", "duress"]


def test_people_move_as_the_script_says():
    events = [
        {"do": "follow", "at_s": 100, "person": "b", "target": "a", "gap_s": 30, "for_s": 100},
        {"do": "go-to", "at_s": 0, "person": "a", "to": {"x_m": 100, "y_m": 500}, "mode": "cycle"},
        {"do": "go-to", "at_s": 300, "person": "b", "to": {"x_m": -400, "y_m": 0}, "streets": True},
        {"do": "leave-device", "at_s": 400, "person": "b"},
        {"do": "enter-zone", "at_s": 1_000, "person": "a", "zone": "z", "mode": "car"},
        {
            "do": "leave-zone",
            "at_s": 1_200,
            "person": "a",
            "zone": "z",
            "distance_m": 900,
            "mode": "car",
        },
    ]
    scene = set_scene(parsed(events=events), T0)
    persons, devices = scene.movers(T0)
    a, b = persons["a"], persons["b"]
    assert a.at(T0 + 200_000)[:2] == (100.0, 500.0)
    assert b.at(T0 + 150_000)[:2] == a.at(T0 + 120_000)[:2]
    assert b.at(T0 + 3_000_000)[:2] == (-400.0, 0.0)
    left = devices["b"].at(T0 + 400_000)[:2]
    assert devices["b"].at(T0 + 3_000_000)[:2] == left != (-400.0, 0.0)
    zone = scene.zones["z"]
    area = zone.area(scene.plane)
    there = a.at(T0 + 1_190_000)
    assert area.contains(there.x_m, there.y_m)
    gone = a.at(T0 + 2_000_000)
    assert area.signed_distance_m(gone.x_m, gone.y_m) < -700


def test_a_geojson_zone_has_its_middle_inside():
    ring = [
        [4.48, 51.92],
        [4.50, 51.92],
        [4.50, 51.93],
        [4.481, 51.921],
        [4.48, 51.93],
        [4.48, 51.92],
    ]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    scene = set_scene(parsed(zones=[{"id": "z", "geometry": geometry}]), T0)
    zone = scene.zones["z"]
    assert Area.from_geojson(geometry, scene.plane).contains(*zone.middle)


# --- the demo -------------------------------------------------------------------------------------

DAY_MS = 86_400_000
HOURS = (0, 3, 8, 13, 19)


@pytest.fixture(scope="module")
def demo():
    return load_scenario(DEMO)


@pytest.mark.slow
def test_the_demo_is_two_hundred_wearers_and_twenty_pairs(demo):
    world = build_demo(demo, T0)
    persons = world.cases["persons"]
    assert sum(person["role"] == "wearer" for person in persons) == 200
    bans = [order for order in world.cases["orders"] if order["kind"] == "contact-ban"]
    assert len(bans) == 20
    assert len(persons) == len(person_ids(demo)) == len(world.cases["devices"])
    buttons = [a for a in world.scene.actors.values() if a.device is DeviceKind.BUTTON]
    assert len(buttons) == 10


@pytest.mark.slow
@pytest.mark.parametrize("hour", HOURS)
def test_five_things_and_nothing_else_truly_happen_in_the_demos_first_minutes(demo, hour):
    start_ms = T0 - T0 % DAY_MS + hour * 3_600_000
    world = build_demo(demo, start_ms)
    first = world.expected(start_ms, 50_000)
    assert sorted(one.what for one in first) == [
        "area-ban", "contact-ban", "location-order", "panic", "strap-cut",
    ]  # fmt: skip
    assert max(one.at_ms for one in first) - start_ms <= 20_000
    later = world.expected(start_ms, 1_800_000)
    assert [one[1:] for one in later] == [one[1:] for one in first]


@pytest.mark.slow
def test_the_demos_orders_are_in_force_and_sound(demo):
    cases = build_demo(demo, T0).cases
    known = Known({p["id"] for p in cases["persons"]}, {z["id"] for z in cases["zones"]})
    for entry in cases["orders"]:
        order = msgspec.convert(entry, Order)
        assert problems(order, known) == []
        assert order.valid_to_ms is not None
        assert order.valid_from_ms < T0 < order.valid_to_ms
        assert order.served_at_ms is not None
        if order.schedule is not None:
            assert [(w.day, w.start, w.end) for w in order.schedule.weekly] == [
                (day, "00:00", "24:00") for day in range(7)
            ]


@pytest.mark.slow
def test_the_demos_pairs_keep_apart_at_first(demo):
    scene = set_scene(demo, T0)
    persons, _ = scene.movers(T0)
    for order in scene.orders:
        for other in order.protected:
            if order.id.startswith("ban-"):
                wearer = persons[order.wearer].path(T0, T0 + 3_600_000)
                protected = persons[other].path(T0, T0 + 3_600_000)
                assert within_intervals(wearer, protected, 2_000.0, scene.plane) == []


@pytest.mark.slow
def test_the_same_scenario_is_the_same_world(demo):
    one, same = build_demo(demo, T0), build_demo(demo, T0)
    assert one.cases == same.cases
    assert one.keys == same.keys
    later = build_demo(demo, T0 + 5 * DAY_MS)
    assert later.keys == one.keys
    a, b = one.scene.movers(T0)[0], same.scene.movers(T0)[0]
    times = np.arange(T0, T0 + DAY_MS, 600_000)
    for name in ("gebied-007", "bram", "paar-w-003"):
        assert np.array_equal(
            a[name].path(T0, T0 + DAY_MS).positions(times),
            b[name].path(T0, T0 + DAY_MS).positions(times),
        )
