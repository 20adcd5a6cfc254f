"""Random lives of a small town, as lists of calls that any engine can be put through."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from geofence.engine import Engine
from geofence.orders import Appeal, Presence, Role, Zone
from geofence.verdicts import Finding, OrderKind
from tests.geofence.stories import HOUR, MINUTE, NOON, at, batch, circle, order, square, weekly

Step = Callable[[Engine], list[Finding]]
WEARERS, VICTIMS, ZONES = 6, 4, 8


def definitions(rng: np.random.Generator) -> list[Step]:
    """Persons, zones and orders of all kinds."""
    steps: list[Step] = []
    for name, role, count in (("w", Role.WEARER, WEARERS), ("v", Role.PROTECTED, VICTIMS)):
        steps += [_put_person(f"{name}{k}", role) for k in range(count)]
    for k in range(ZONES):
        north, east = rng.uniform(-2500, 2500, 2)
        shape: dict[str, Any] = {"geometry": square(float(rng.uniform(80, 500)), north, east)}
        if k % 3 == 2:
            shape = {"circle": circle(int(rng.integers(80, 500)), north, east)}
        zone = Zone(id=f"z{k}", **shape)
        steps.append(_put_zone(zone))
    steps += [_put_order(_order(rng, k, 1)) for k in range(14)]
    return steps


def _put_person(name: str, role: Role) -> Step:
    def step(engine: Engine) -> list[Finding]:
        engine.put_person(name, role)
        return []

    return step


def _put_zone(zone: Zone) -> Step:
    return lambda engine: engine.put_zone(zone, NOON)


def _put_order(order: Any) -> Step:
    return lambda engine: engine.put_order(order, NOON)


def _order(rng: np.random.Generator, k: int, version: int) -> Any:
    kind = list(OrderKind)[k % 3]
    fields: dict[str, Any] = {
        "id": f"o{k}",
        "version": version,
        "kind": kind,
        "wearer_id": f"w{k % WEARERS}",
        "risk_class": int(rng.integers(1, 4)),
        "valid_from_ms": NOON + int(rng.integers(-5, 3)) * HOUR,
        "valid_to_ms": NOON + int(rng.integers(4, 9)) * HOUR if rng.random() < 0.4 else None,
        "suspended": bool(rng.random() < 0.1),
        "appeal": Appeal.PENDING if rng.random() < 0.1 else Appeal.NONE,
        "silence_s": int(rng.choice([60, 300, 1200])) if rng.random() < 0.3 else None,
    }
    if rng.random() < 0.5:
        day = 6  # NOON is a Sunday, 17:06 in Amsterdam
        fields["schedule"] = weekly((day, "17:30", "18:45"), (day, "20:00", "23:00"))
    if kind is OrderKind.CONTACT_BAN:
        ids = rng.permutation(VICTIMS)[: rng.integers(1, 4)]
        fields["protected_ids"] = tuple(f"v{i}" for i in ids)
        fields["radius_m"] = int(rng.choice([300, 500]))
        fields["warning_m"] = int(rng.choice([0, 1000]))
        fields["time_to_contact_s"] = int(rng.choice([0, 600]))
    else:
        ids = rng.permutation(ZONES)[: rng.integers(1, 4)]
        fields["zone_ids"] = tuple(f"z{i}" for i in ids)
        fields["buffer_m"] = int(rng.choice([0, 50]))
        if kind is OrderKind.LOCATION_ORDER and "schedule" in fields and rng.random() < 0.3:
            fields["presence"] = Presence.ONCE
    return order(**fields)


def life(rng: np.random.Generator, count: int) -> list[Step]:
    """Fixes in batches, ticks, late bursts, copies, jumps, new versions of zones and orders."""
    people = WEARERS + VICTIMS
    place = rng.uniform(-2500, 2500, (people, 2))
    speed = np.zeros(people)
    heading = np.zeros(people)
    now = NOON
    versions = {"z": 1, "o": 1}
    steps: list[Step] = []
    for _ in range(count):
        dt = float(rng.choice([1, 5, 20, 60, 60, 120]))
        now += round(dt * 1000)
        place[:, 0] += speed * dt * np.sin(heading)
        place[:, 1] += speed * dt * np.cos(heading)
        turn = rng.random(people) < 0.2
        speed[turn] = rng.choice([0.0, 1.3, 5.0, 14.0], turn.sum())
        back = np.arctan2(-place[:, 0], -place[:, 1])
        heading[turn] = back[turn] + rng.normal(0, 0.9, turn.sum())
        kind = rng.random()
        if kind < 0.85:
            rows = batch(_rows(rng, place, now))
            steps.append(lambda e, r=rows, t=now: e.observe(r, t))  # type: ignore[misc]
        elif kind < 0.95:
            now += int(rng.integers(0, 400)) * 1000
            steps.append(lambda e, t=now: e.advance(t))  # type: ignore[misc]
        elif kind < 0.975:
            versions["z"] += 1
            north, east = rng.uniform(-2500, 2500, 2)
            zone = Zone(
                id=f"z{rng.integers(ZONES)}",
                version=versions["z"],
                geometry=square(float(rng.uniform(80, 500)), north, east),
            )
            steps.append(lambda e, z=zone, t=now: e.put_zone(z, t))  # type: ignore[misc]
        else:
            versions["o"] += 1
            changed = _order(rng, int(rng.integers(14)), versions["o"])
            steps.append(lambda e, o=changed, t=now: e.put_order(o, t))  # type: ignore[misc]
    return steps


def _rows(rng: np.random.Generator, place: Any, now: int) -> list[Any]:
    rows = []
    for person in rng.permutation(len(place))[: rng.integers(1, len(place))]:
        accuracy = float(rng.choice([4, 8, 20, 60]))
        north, east = place[person] + rng.normal(0, accuracy / 2, 2)
        if rng.random() < 0.02:
            north += 5000  # a jump
        late = int(rng.exponential(900_000)) if rng.random() < 0.1 else 0
        lat, lon = at(float(north), float(east))
        known = rng.random() < 0.5
        speed = int(rng.integers(0, 2000)) if known else 65535
        row = (int(person), now - late, lat, lon, round(accuracy * 10), speed, 65535, 1)
        rows += [row] * (2 if rng.random() < 0.05 else 1)
        if late:
            rows += [(row[0], row[1] - k * MINUTE, *row[2:]) for k in range(1, 8)]
    return rows


def run(engine: Engine, steps: list[Step]) -> list[bytes]:
    """The findings of each step, as bytes."""
    return [msgspec.msgpack.encode(step(engine)) for step in steps]


def town(seed: int, count: int) -> list[Step]:
    rng = np.random.default_rng([seed, 1])
    return definitions(rng) + life(rng, count)
