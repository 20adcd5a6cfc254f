"""Whole tracks through the engine and through an independent model: every state has to agree."""

import math
from typing import Any

import numpy as np
import pytest

from geofence.verdicts import OrderKind, Verdict
from tests.geofence.oracle import TO_PLANE, Area, Fix
from tests.geofence.stories import NOON, UNKNOWN_SPEED, Story, at, batch, order, square


def zones_of(rng: np.random.Generator) -> list[dict[str, Any]]:
    """One to three zones: squares, thin strips, stars with notches."""
    found = []
    for _ in range(rng.integers(1, 4)):
        north, east = rng.uniform(-400, 400, 2)
        corners = int(rng.integers(3, 12))
        turns = np.sort(rng.uniform(0, 2 * math.pi, corners))
        if np.diff(turns, append=turns[0] + 2 * math.pi).max() > 3:
            found.append(square(float(rng.uniform(20, 250)), north, east))
            continue
        radii = rng.uniform(30, 300, corners)
        ring = []
        for turn, radius in zip(turns, radii, strict=True):
            lat, lon = at(north + radius * math.sin(turn), east + radius * math.cos(turn))
            ring.append([lon / 1e7, lat / 1e7])
        found.append({"type": "Polygon", "coordinates": [[*ring, ring[0]]]})
    return found


def walk(
    rng: np.random.Generator, count: int
) -> list[tuple[float, float, float, float, float | None]]:
    """A person about the zones: (dt in s, north, east, accuracy, speed as reported or None).

    At times still, at times fast; receivers that stand still jump now and then, and stay there.
    """
    north, east = rng.uniform(-700, 700, 2)
    speed, heading = 1.0, 0.0
    jump = np.zeros(2)
    steps = []
    for _ in range(count):
        if rng.random() < 0.15:
            speed = float(rng.choice([0.0, 1.3, 4.0, 14.0, 30.0]))
            heading = math.atan2(-north, -east) + float(rng.normal(0, 0.7))
        dt = float(rng.choice([1, 5, 5, 10, 15, 60, 60, 60, 120, 300]))
        north += speed * dt * math.sin(heading)
        east += speed * dt * math.cos(heading)
        accuracy = float(rng.choice([3, 5, 8, 15, 30, 60]))
        noise = rng.normal(0, accuracy / 2, 2)
        if dt >= 10 and rng.random() < 0.4:  # sooner it is doubted, which the model does not know
            jump = rng.normal(0, 150, 2) if speed == 0.0 and rng.random() < 0.5 else np.zeros(2)
        noise += jump
        told = round(speed + abs(float(rng.normal(0, 0.1))), 2) if rng.random() < 0.9 else None
        steps.append((dt, north + noise[0], east + noise[1], accuracy, told))
        if math.hypot(north, east) > 4000:
            heading = math.atan2(-north, -east)
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("kind", [OrderKind.AREA_BAN, OrderKind.LOCATION_ORDER, OrderKind.EXIT_BAN])
@pytest.mark.parametrize("seed", range(12))
def test_engine_agrees_with_the_model(seed: int, kind: OrderKind) -> None:
    location = kind is OrderKind.LOCATION_ORDER
    leaving = kind is OrderKind.EXIT_BAN
    rng = np.random.default_rng([seed, location + 2 * leaving])
    shapes = zones_of(rng)
    risk, ring = int(rng.integers(1, 4)), int(rng.choice([0, 25, 100]))
    story = Story()
    for i, shape in enumerate(shapes):
        story.zone(f"z{i}", shape)
    ids = tuple(f"z{i}" for i in range(len(shapes)))
    story.put(order(kind=kind, zone_ids=ids, risk_class=risk, buffer_m=ring))
    model = Area(shapes, location=location, leaving=leaving, ring_m=ring, risk=risk)
    shown = "unknown"
    sharp = changes = 0
    steps = walk(rng, 500)
    for k, (dt, north, east, accuracy, speed) in enumerate(steps):
        story.now += round(dt * 1000)
        wire = UNKNOWN_SPEED if speed is None else round(speed * 100)
        row = story.row("wearer", north, east, accuracy_m=accuracy, speed=wire)
        found = story.engine.observe(batch([row]), story.now)
        fix = Fix((story.now - NOON) / 1000, row[2] / 1e7, row[3] / 1e7, accuracy, speed)
        known = model.observe(fix)
        for verdict in (v for v in found if isinstance(v, Verdict)):
            assert verdict.previous == shown or verdict.state == shown
            shown = verdict.state.value
            changes += 1
            if verdict.fix_ms != story.now:
                continue  # a silence before this fix
            low, high = known.low - 0.002, known.high + 0.002
            assert low <= verdict.evidence_1024 / 1024 <= high, (seed, k)
            depth = verdict.distance_mm
            assert depth is not None
            if verdict.reason != "passed-through-between-fixes":
                x, y = TO_PLANE.transform(fix.lon, fix.lat)
                true = model.depth(float(x), float(y))
                assert abs(depth / 1000 - true) < 0.02 + 2e-5 * abs(true), (seed, k)
        assert shown in known.states, (seed, k, known)
        sharp += len(known.states) == 1
    assert changes > 3
    assert sharp > 0.98 * len(steps), "the model has to say one thing nearly always"
