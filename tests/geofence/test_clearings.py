"""Clearings are a shortcut: an engine that forgets them before every step tells the same."""

from typing import Any

import numpy as np
import pytest

from geofence.clearing import BANS, C_NORTH, C_SOUTH, HOMES, NO_CLEARING
from geofence.engine import Engine
from geofence.orders import Role, Zone
from geofence.verdicts import OrderKind, Verdict, VerdictState
from tests.geofence import scripts
from tests.geofence.scripts import Step
from tests.geofence.stories import NOON, at, batch, circle, order, square, weekly

PLACES = ((0, 0), (3_000, 0), (0, 4_000))


def forget(engine: Engine) -> None:
    tables = engine._docket.tables
    tables.world.clearings[: tables.persons] = NO_CLEARING


def told_alike(steps: list[Step], seed: int) -> Engine:
    """Put two engines through the steps, one of which forgets; the other one."""
    knowing, forgetting = Engine(), Engine()
    for number, step in enumerate(steps):
        forget(forgetting)
        assert step(knowing) == step(forgetting), f"seed {seed}, step {number}"
        assert knowing.dump() == forgetting.dump(), f"seed {seed}, step {number}"
    return knowing


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_random_town_is_told_alike(seed):
    told_alike(scripts.town(seed, 120), seed)


def homes(rng: np.random.Generator) -> list[Step]:
    """Wearers who have to be at home, at one of two places, at night; bans far away and beside."""
    steps: list[Step] = []
    for k, (north, east) in enumerate(PLACES):
        steps.append(_person(f"w{k}"))
        radius = int(rng.choice([60, 150, 400]))
        shape: dict[str, Any] = {"geometry": square(float(radius), north, east)}
        if k != 1:
            shape = {"circle": circle(radius, north, east)}
        steps.append(_zone(Zone(id=f"home{k}", **shape)))
    steps.append(_zone(Zone(id="beside", circle=circle(100, 500, 0))))
    for k in range(len(PLACES)):
        fields: dict[str, Any] = {"wearer_id": f"w{k}", "buffer_m": int(rng.choice([0, 30]))}
        places = ("home0", "home1") if k == 0 else (f"home{k}",)
        if rng.random() < 0.5:
            fields["schedule"] = weekly((6, "17:30", "18:10"), (6, "18:30", "23:00"))
        home = order(id=f"h{k}", kind=OrderKind.LOCATION_ORDER, zone_ids=places, **fields)
        ban = order(id=f"b{k}", kind=OrderKind.AREA_BAN, zone_ids=("beside",), wearer_id=f"w{k}")
        steps += [_order(home), _order(ban)]
    return steps


def _person(name: str) -> Step:
    def step(engine: Engine) -> list[Any]:
        engine.put_person(name, Role.WEARER)
        return []

    return step


def _zone(zone: Zone) -> Step:
    return lambda engine: engine.put_zone(zone, NOON)


def _observe(fixes: Any, now: int) -> Step:
    return lambda engine: engine.observe(fixes, now)


def _order(one: Any) -> Step:
    return lambda engine: engine.put_order(one, NOON)


def nights(rng: np.random.Generator, count: int) -> list[Step]:
    """At home, at the wall, out of the door, sometimes with a fix that is kilometres wide."""
    steps: list[Step] = []
    now = NOON
    spread = np.array([5.0, 5.0, 5.0])
    for _ in range(count):
        now += int(rng.choice([5_000, 60_000, 60_000]))
        turn = rng.random(3) < 0.1
        spread[turn] = rng.choice([3.0, 8.0, 60.0, 150.0, 400.0], turn.sum())
        rows = []
        for k, (north, east) in enumerate(PLACES):
            accuracy_dm = int(rng.choice([30, 80, 300, 65_000], p=[0.4, 0.4, 0.15, 0.05]))
            off = rng.normal(0, spread[k], 2)
            lat, lon = at(float(north + off[0]), float(east + off[1]))
            speed = int(rng.choice([0, 120, 65_535]))
            rows.append((k, now, lat, lon, accuracy_dm, speed, 65_535, int(rng.integers(1, 3))))
        steps.append(_observe(batch(rows), now))
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_nights_at_home_are_told_alike(seed):
    rng = np.random.default_rng([seed, 2])
    engine = told_alike([*homes(rng), *nights(rng, 150)], seed)
    clearings = engine._docket.tables.world.clearings[: len(PLACES)]
    for of in (BANS, HOMES):
        found = clearings[:, of + C_SOUTH] < clearings[:, of + C_NORTH]
        assert found.any(), f"seed {seed}: nobody was ever in a clearing"


def test_a_home_is_left_alone_and_asked_again_when_the_order_changes():
    """At rest deep inside: no unit is looked at. A new zone of the order: at once it is."""
    engine, now = Engine(), NOON
    north, east = PLACES[0]
    lat, lon = at(float(north), float(east))
    home = order(id="h", kind=OrderKind.LOCATION_ORDER, zone_ids=("home",), wearer_id="w")
    steps = [_person("w"), _zone(Zone(id="home", circle=circle(150, north, east))), _order(home)]
    for step in steps:
        step(engine)

    def minutes(count: int) -> list[VerdictState]:
        nonlocal now
        told = []
        for _ in range(count):
            now += 60_000
            told += engine.observe(batch([(0, now, lat, lon, 40, 0, 65_535, 1)]), now)
        return [one.state for one in told if isinstance(one, Verdict)]

    assert minutes(4) == [VerdictState.CLEAR]
    world = engine._docket.tables.world
    assert world.persons[0]["active"] == 0
    assert world.clearings[0, HOMES + C_SOUTH] < lat < world.clearings[0, HOMES + C_NORTH]
    moved = engine.put_zone(Zone(id="home", version=2, circle=circle(100, 9_000, 0)), now)
    assert [one.state for one in moved if isinstance(one, Verdict)] == [VerdictState.CONFIRMED]
    engine.put_zone(Zone(id="home", version=3, circle=circle(150, north, east)), now)
    assert minutes(4) == []
    north += 2_000
    lat, lon = at(float(north), float(east))
    assert VerdictState.CONFIRMED in minutes(4)
