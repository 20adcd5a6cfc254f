"""Pairs through the engine and through an independent model: every state has to agree."""

import math
from typing import Any

import numpy as np
import pytest

from geofence.verdicts import OrderKind, Verdict
from tests.geofence.oracle import Fix, Pair
from tests.geofence.stories import NOON, UNKNOWN_SPEED, Story, batch, order

FIXES = 500


class Walker:
    """Somebody about the middle, at times still, at times fast, drawn to it."""

    def __init__(self, rng: np.random.Generator, spread_m: float) -> None:
        self.rng = rng
        self.reach = spread_m
        self.north, self.east = rng.uniform(-spread_m, spread_m, 2)
        self.speed = self.heading = 0.0
        self.jump = np.zeros(2)
        self.when = self.since = 0.0

    def at(self, when: float) -> tuple[float, float]:
        rng = self.rng
        dt = when - self.when
        self.when = when
        self.since = dt
        self.north += self.speed * dt * math.sin(self.heading)
        self.east += self.speed * dt * math.cos(self.heading)
        distance = math.hypot(self.north, self.east)
        if distance > self.reach:
            self.speed = min(distance / 100, 30.0)
            self.heading = math.atan2(-self.north, -self.east)
        elif rng.random() < 0.3:
            self.speed = float(rng.choice([0.0, 0.0, 1.3, 4.0, 14.0]))
            self.heading = math.atan2(-self.north, -self.east) + float(rng.normal(0, 0.9))
        return self.north, self.east

    def reported(self) -> float:
        return round(self.speed + abs(float(self.rng.normal(0, 0.1))), 2)

    def reflection(self) -> Any:
        """Receivers that stand still jump now and then, and stay there."""
        if self.since >= 20 and self.rng.random() < 0.4:  # sooner it is doubted
            jumps = self.speed == 0.0 and self.rng.random() < 0.5
            self.jump = self.rng.normal(0, 250, 2) if jumps else np.zeros(2)
        return self.jump


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_engine_agrees_with_the_model(seed: int) -> None:
    rng = np.random.default_rng([seed, 7])
    risk = int(rng.integers(1, 4))
    radius = int(rng.choice([250, 500, 800]))
    warning = int(rng.choice([0, 1200]))
    story = Story()
    # Silence is for other tests: its timers judge the ring once more, and rings remember.
    ban = order(
        kind=OrderKind.CONTACT_BAN,
        radius_m=radius,
        warning_m=warning,
        risk_class=risk,
        silence_s=86_400,
    )
    story.put(ban)
    model = Pair(radius_m=radius, warning_m=warning, risk=risk)
    people = {"wearer": Walker(rng, 1500), "victim": Walker(rng, 200)}
    shown = "unknown"
    sharp = judged = changes = 0
    for _ in range(FIXES):
        dt_s = float(rng.choice([1, 5, 10, 30, 60, 60, 80, 200]))
        story.now += round(dt_s * 1000)
        who = str(rng.choice(["wearer", "wearer", "victim"]))
        north, east = people[who].at((story.now - NOON) / 1000)
        accuracy = float(rng.choice([3, 5, 8, 15, 40]))
        noise = rng.normal(0, accuracy / 2, 2) + people[who].reflection()
        speed = people[who].reported() if rng.random() < 0.9 else None
        wire = UNKNOWN_SPEED if speed is None else round(speed * 100)
        row = story.row(who, north + noise[0], east + noise[1], accuracy_m=accuracy, speed=wire)
        found = story.engine.observe(batch([row]), story.now)
        fix = Fix((story.now - NOON) / 1000, row[2] / 1e7, row[3] / 1e7, accuracy, speed)
        known = model.observe(who, fix)
        for verdict in (v for v in found if isinstance(v, Verdict)):
            shown = verdict.state.value
            changes += verdict.state != verdict.previous
            if verdict.fix_ms == story.now and known is not None:
                low, high = known.low - 0.002, known.high + 0.002
                assert low <= verdict.evidence_1024 / 1024 <= high, (seed, fix)
        if known is None:
            assert shown == "unknown"
            continue
        judged += 1
        assert shown in known.states, (seed, fix, known)
        sharp += len(known.states) == 1
    assert changes >= 3
    assert sharp > 0.95 * judged, "the model has to say one thing nearly always"
