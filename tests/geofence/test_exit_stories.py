"""Exit bans: a country as a zone, leaving it is the breach."""

import math
from typing import Any

import numpy as np
import pytest
import shapely

from geofence.orders import RejectReason, Zone
from geofence.verdicts import OrderKind, RequestReason, VerdictReason, VerdictState
from geofence.zones import build
from tests.geofence.oracle import TO_PLANE
from tests.geofence.stories import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    Story,
    at,
    circle,
    order,
    requests,
    square,
    told,
    verdicts,
)

CLEAR, WARNING = VerdictState.CLEAR, VerdictState.WARNING
POSSIBLE, CONFIRMED = VerdictState.POSSIBLE, VerdictState.CONFIRMED
KM = 1000


def country(vertices: int, seed: int = 5) -> dict[str, Any]:
    """A country about 120 km wide with a ragged border and an exclave."""
    rng = np.random.default_rng(seed)
    turns = np.arange(vertices) * 2 * math.pi / vertices
    radii = 60 * KM * (1 + 0.15 * np.sin(3 * turns + 1) + 0.05 * np.sin(11 * turns))
    radii = radii + rng.uniform(-15, 15, vertices)
    ring = []
    for turn, radius in zip(turns.tolist(), radii.tolist(), strict=True):
        lat, lon = at(radius * math.sin(turn), radius * math.cos(turn))
        ring.append([lon / 1e7, lat / 1e7])
    exclave = square(2 * KM, 0, 90 * KM)["coordinates"]
    return {"type": "MultiPolygon", "coordinates": [[[*ring, ring[0]]], exclave]}


def banned(shape: Any = None, **fields: Any) -> Story:
    """A wearer who may not leave the square of 20 km around the middle."""
    story = Story(zone=square(10 * KM) if shape is None else shape)
    fields.setdefault("buffer_m", 2000)
    story.order(kind=OrderKind.EXIT_BAN, silence_s=86_400, **fields)
    return story


def test_driving_out_and_back() -> None:
    story = banned()
    story.fix("wearer", 0)
    story.told.clear()
    for north in (3 * KM, 6 * KM, 8.5 * KM, 9.5 * KM, 10.4 * KM, 11.5 * KM, 12.5 * KM):
        story.wait(MINUTE)
        story.fix("wearer", north)
    assert told(story.told) == [
        (WARNING, VerdictReason.INSIDE_BUFFER),
        (POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT),
        (CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED),
    ]
    out = verdicts(story.told)[-1]
    assert out.zone_id == "zone"
    assert out.escalate
    assert out.distance_mm is not None
    # The second fix beyond: 11.5 km north of the middle of a country that ends at 10 km.
    assert abs(out.distance_mm + 1_500_000) < 5_000
    assert out.terms.buffer_m == 2000
    assert [step.distance_mm < 0 for step in out.steps] == [True] * len(out.steps)
    story.told.clear()
    for north in (8 * KM, 4 * KM, 3 * KM, 2 * KM, KM):
        story.wait(5 * MINUTE)
        story.fix("wearer", north)
    assert told(story.told)[-1][0] is CLEAR
    assert told(story.told)[0][1] is VerdictReason.CLEARED_BY_EVIDENCE


def test_life_far_from_the_border_tells_nothing() -> None:
    story = banned()
    story.fix("wearer", 0, 5 * KM)
    story.told.clear()
    for k in range(200):
        story.wait(MINUTE)
        story.fix("wearer", 5 * KM * math.sin(k / 9), 5 * KM * math.cos(k / 7))
    assert story.told == []


def test_an_exit_ban_is_eager_and_a_location_order_tolerant() -> None:
    def minutes(kind: OrderKind) -> int:
        story = Story()
        story.order(kind=kind, risk_class=2)
        story.fix("wearer", 0)
        for minute in range(1, 9):
            story.wait(MINUTE)
            if any(v.state is CONFIRMED for v in verdicts(story.fix("wearer", 600))):
                return minute
        raise AssertionError("never confirmed")

    assert minutes(OrderKind.EXIT_BAN) == 2
    assert minutes(OrderKind.LOCATION_ORDER) == 3


def test_whoever_comes_near_the_border_fast_is_asked_to_report_often() -> None:
    story = banned(buffer_m=0)
    story.fix("wearer", 0)
    story.told.clear()
    for north in (2 * KM, 4 * KM, 6 * KM, 7.9 * KM):
        story.wait(MINUTE)
        story.fix("wearer", north)
    # 33 m/s: within 75 s of the border from 7.5 km on.
    assert [r.reason for r in requests(story.told)] == [RequestReason.APPROACH]
    story.told.clear()
    for _ in range(5):
        story.wait(MINUTE)
        story.fix("wearer", 7.9 * KM)
    assert requests(story.told) == [], "who stays there is not asked"


def test_several_zones_are_one_country() -> None:
    story = Story(zone=square(10 * KM))
    story.zone("island", circle(3 * KM, 0, 40 * KM))
    story.order(kind=OrderKind.EXIT_BAN, zone_ids=("zone", "island"), silence_s=86_400)
    story.fix("wearer", 0)
    story.told.clear()
    story.wait(HOUR)
    story.fix("wearer", 0, 40 * KM)
    assert story.told == []
    story.wait(MINUTE)
    story.fix("wearer", 0, 30 * KM)  # 166 m/s: nobody is so fast
    assert told(story.told) == []
    story.wait(MINUTE)
    story.fix("wearer", 0, 30 * KM)
    # A quarter of the doubted fix and the whole of this one: 5/4 of 0.5 ln(39) is over 2.
    assert told(story.told) == [(CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED)]


def test_a_ban_that_begins_while_abroad_is_told_at_that_instant() -> None:
    story = banned(valid_from_ms=NOON + HOUR)
    story.fix("wearer", 30 * KM)
    for _ in range(59):
        story.wait(MINUTE)
        story.fix("wearer", 30 * KM)
    story.told.clear()
    story.until(NOON + 2 * HOUR)
    assert told(story.told) == [(CONFIRMED, VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_ABSENT)]
    assert verdicts(story.told)[0].at_ms == NOON + HOUR


def test_a_new_border_is_judged_at_that_instant() -> None:
    story = banned()
    story.stay("wearer", 8 * KM, minutes=3)
    story.told.clear()
    story.zone("zone", square(5 * KM), version=2)
    (verdict,) = verdicts(story.told)
    assert (verdict.state, verdict.reason) == (CONFIRMED, VerdictReason.ZONE_CHANGED)
    assert (verdict.zone_version, verdict.zone_since_ms) == (2, story.now)


def test_a_trip_abroad_that_is_known_later_is_a_breach_of_the_past() -> None:
    story = banned()
    story.fix("wearer", 0)
    story.wait(3 * HOUR)
    story.fix("wearer", 0)
    story.told.clear()
    story.fixes(
        *(story.row("wearer", 20 * KM, ago_ms=HOUR + k * MINUTE) for k in range(20)),
    )
    assert told(story.told) == [(CONFIRMED, VerdictReason.LATE_FIX_HISTORY)]


def test_what_does_not_belong_to_an_exit_ban_is_refused() -> None:
    from geofence.orders import Presence, problems
    from tests.geofence.stories import weekly

    class Everything:
        def __contains__(self, name: object) -> bool:
            return True

    from geofence.orders import Known

    known = Known(Everything(), Everything())
    for fields, reason in (
        ({"zone_ids": ()}, RejectReason.NO_ZONE),
        ({"radius_m": 500}, RejectReason.FOREIGN_FIELD),
        ({"presence": Presence.ONCE, "schedule": weekly((0, "09:00", "10:00"))},
         RejectReason.FOREIGN_FIELD),
    ):  # fmt: skip
        found = problems(order(kind=OrderKind.EXIT_BAN, **fields), known)
        assert [problem.reason for problem in found] == [reason]


@pytest.mark.slow
def test_a_country_of_forty_thousand_vertices() -> None:
    """Every fix near a long border: state and distance as shapely and the model of a step say."""
    shape = country(39_990)
    zone = shapely.transform(shapely.geometry.shape(shape), _plane)
    grid = build(shape)
    assert 39_000 < grid.vertices < 45_000
    story = Story()
    story.engine.put_zone(Zone(id="zone", version=2, geometry=shape), story.now, grid)
    story.order(kind=OrderKind.EXIT_BAN, risk_class=1, buffer_m=500, silence_s=86_400)
    rng = np.random.default_rng(3)
    border = zone.geoms[0].boundary
    seen = []
    checked = 0
    state = VerdictState.UNKNOWN
    for _ in range(60):
        along = border.interpolate(float(rng.uniform(0, border.length)))
        x, y = along.x + rng.uniform(-300, 300), along.y + rng.uniform(-300, 300)
        lon, lat = TO_PLANE.transform(x, y, direction="INVERSE")
        depth = zone.boundary.distance(shapely.Point(x, y))
        depth = depth if zone.contains(shapely.Point(x, y)) else -depth
        # Days between: every place can be reached, and three fixes outweigh what was before.
        for _ in range(3):
            story.now += DAY
            handle = story.engine.person_handle("wearer")
            assert handle is not None
            row = (handle, story.now, round(lat * 1e7), round(lon * 1e7), 50, 65535, 65535, 1)
            for verdict in verdicts(story.fixes(row)):
                state = verdict.state
                if verdict.fix_ms == story.now:
                    assert verdict.distance_mm is not None
                    assert abs(verdict.distance_mm / 1000 - depth) < 0.02 + 2e-5 * abs(depth)
                    checked += 1
        seen.append((state, depth))
    assert checked > 60
    sure = 40.0  # metres: P is then at its bound on either side
    assert {state for state, depth in seen if depth < -sure} == {CONFIRMED}
    assert CONFIRMED not in {state for state, depth in seen if depth > sure}


def _plane(points: Any) -> Any:
    x, y = TO_PLANE.transform(points[:, 0], points[:, 1])
    return np.column_stack([x, y])
