"""Area bans as stories: what is told, when, and that nothing else is."""

import itertools

import pytest

from geofence.engine import OrderRejected, RejectReason
from geofence.orders import CircleShape, Zone
from geofence.verdicts import Freshness, Label, RequestReason, VerdictReason, VerdictState
from tests.geofence.stories import (
    MINUTE,
    NOON,
    Story,
    circle,
    order,
    requests,
    square,
    told,
    verdicts,
)

CLEAR, WARNING = VerdictState.CLEAR, VerdictState.WARNING
POSSIBLE, CONFIRMED = VerdictState.POSSIBLE, VerdictState.CONFIRMED


def outside(**fields: object) -> Story:
    """A wearer 1 km north of a square zone of 200 m, order in force, first fix told."""
    story = Story()
    story.order(**fields)
    story.fix("wearer", 1200)
    story.told.clear()
    return story


def test_walk_in_and_out() -> None:
    story = outside(risk_class=2)
    story.now += MINUTE
    assert told(story.fix("wearer", 260)) == []
    story.now += MINUTE
    found = story.fix("wearer", 100)
    assert told(found) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]
    assert [r.reason for r in requests(found)] == [RequestReason.POSSIBLE_BREACH]
    story.now += MINUTE
    confirmed = verdicts(story.fix("wearer", 90))
    assert [(v.state, v.reason) for v in confirmed] == [
        (CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED)
    ]
    v = confirmed[0]
    assert (v.zone_id, v.zone_version, v.order_version) == ("zone", 1, 1)
    assert v.distance_mm is not None
    assert abs(v.distance_mm - 110_000) < 100
    assert (v.probability_1024, v.accuracy_mm) == (998, 5000)
    assert v.evidence_1024 >= 3 * 1024
    assert (v.escalate, v.historic, v.freshness) == (True, False, Freshness.FRESH)
    assert v.wearer_position is not None
    assert (v.wearer_position.time_ms, v.wearer_age_ms) == (story.now, 0)
    assert v.speed_mm_s is not None
    assert told(story.stay("wearer", 90, minutes=5)) == []
    left = story.stay("wearer", 400, minutes=5)
    assert told(left) == [(CLEAR, VerdictReason.CLEARED_BY_EVIDENCE)]


def test_one_jump_beyond_speed_is_doubted_and_asked_about() -> None:
    story = outside()
    story.now += 5000
    found = story.fix("wearer", 0)  # 1,200 m in 5 s
    assert verdicts(found) == []
    assert [r.reason for r in requests(found)] == [RequestReason.IMPLAUSIBLE_JUMP]
    position = story.engine.last_position("wearer")
    assert position is not None
    assert position.time_ms == NOON
    story.now += 5000
    assert story.fix("wearer", 1200) == []
    assert story.engine.fixes().doubted == 1


def test_the_second_jump_in_a_row_is_believed() -> None:
    story = outside()
    story.now += 5000
    story.fix("wearer", 0)
    story.now += 2000
    found = story.fix("wearer", 0, 20)
    assert told(found) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]
    assert Label.IMPLAUSIBLE_SPEED in verdicts(found)[0].labels


def test_passing_through_between_two_fixes_is_told() -> None:
    story = outside()
    story.now += MINUTE
    found = story.fix("wearer", -600)
    assert told(found) == [(POSSIBLE, VerdictReason.PASSED_THROUGH_BETWEEN_FIXES)]
    v = verdicts(found)[0]
    assert v.distance_mm is not None
    assert v.distance_mm > 150_000, "how deep the path ran, not where it ended"
    assert v.zone_id == "zone"
    story.now += MINUTE
    assert told(story.fix("wearer", -1400)) == [(CLEAR, VerdictReason.DOUBT_ENDED)]


def test_passing_beside_the_zone_is_not() -> None:
    story = outside()
    story.now += MINUTE
    assert verdicts(story.fix("wearer", 0, 1400)) == []


def test_no_path_is_drawn_over_a_long_silence() -> None:
    story = outside(silence_s=7200)
    story.now += 20 * MINUTE
    assert verdicts(story.fix("wearer", -1200)) == []


def test_buffer_warns_and_ends_with_hysteresis() -> None:
    story = outside(buffer_m=100)
    story.now += MINUTE
    assert told(story.fix("wearer", 280)) == [(WARNING, VerdictReason.INSIDE_BUFFER)]
    # P(in the ring) goes to 0.4 and back: neither end nor beginning.
    for north in (302, 298, 302, 299):
        story.now += MINUTE
        assert told(story.fix("wearer", north)) == []
    story.now += MINUTE
    assert told(story.fix("wearer", 330)) == [(CLEAR, VerdictReason.LEFT_BUFFER)]


def test_two_fixes_with_one_timestamp_lose_no_entry() -> None:
    story = outside()
    story.now += MINUTE
    story.fix("wearer", 270)
    found = story.fixes(story.row("wearer", 250), story.row("wearer", 180))
    assert (POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT) in told(found)


def test_copies_are_harmless() -> None:
    story = outside()
    story.now += MINUTE
    row = story.row("wearer", 100)
    assert told(story.fixes(row, row, row)) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]
    assert story.fixes(row) == []
    assert story.engine.fixes().duplicates == 3


def test_a_fix_from_the_future_does_not_hide_the_device() -> None:
    story = outside()
    assert story.fix("wearer", 0, time_ms=story.now + 3_600_000) == []
    assert story.engine.fixes().from_future == 1
    story.now += MINUTE
    assert told(story.fix("wearer", 100)) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]


def test_a_clock_that_steps_back_is_followed_again() -> None:
    story = outside()
    story.now += MINUTE
    story.fix("wearer", 900, time_ms=story.now + 100_000)  # ahead: counts as now
    story.now += MINUTE
    assert told(story.fix("wearer", 100)) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]


def test_positions_that_are_none_are_counted() -> None:
    story = outside()
    handle = story.engine.person_handle("wearer")
    assert handle is not None
    story.fixes((handle, story.now, 910_000_000, 0, 50, 0, 0, 1))
    story.fixes((handle, -5, 0, 0, 50, 0, 0, 1))
    assert story.engine.fixes().unusable == 2


def test_requests_are_limited_per_person() -> None:
    story = Story()
    story.zone("other", square(200))
    for name, zone in (("one", "zone"), ("two", "other")):
        story.order(id=name, zone_ids=(zone,), risk_class=3)
    story.fix("wearer", 300)
    asked = []
    for _ in range(120):
        story.now += 10_000
        # 3 m outside of both: in doubt all the time.
        asked += requests(story.fix("wearer", 203, accuracy_m=8))
    assert {r.reason for r in asked} == {RequestReason.DOUBTFUL_FIX}
    gaps = [b.at_ms - a.at_ms for a, b in itertools.pairwise(asked)]
    assert min(gaps) >= 45_000
    assert len(asked) == 20, "the budget of an hour"
    story.now += 60 * MINUTE
    assert len(requests(story.fix("wearer", 203, accuracy_m=8))) == 1


def test_who_comes_near_fast_is_asked_before_the_boundary() -> None:
    story = outside()
    story.now += MINUTE
    found = story.fix("wearer", 700)  # 8 m/s, 500 m from the boundary
    assert [r.reason for r in requests(found)] == [RequestReason.APPROACH]
    story.now += MINUTE
    assert requests(story.fix("wearer", 1200)) == [], "going away"


def test_an_order_about_many_zones_has_one_state() -> None:
    story = Story()
    story.zone("north", square(100, 5000))
    story.zone("round", circle(300, 0, 5000))
    story.order(zone_ids=("zone", "north", "round"))
    story.fix("wearer", 2000)
    story.told.clear()
    story.stay("wearer", 5000, minutes=3)
    story.stay("wearer", 0, 5000, minutes=3)
    assert told(story.told) == [
        (POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT),
        (CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED),
    ]
    assert [v.zone_id for v in verdicts(story.told)] == ["north", "north"]


def test_many_orders_on_one_wearer_keep_their_states_apart() -> None:
    story = Story()
    for k in range(12):
        story.zone(f"z{k}", square(100, 1000.0 * k))
        story.order(id=f"o{k}", zone_ids=(f"z{k}",))
        if k == 5:
            story.fix("wearer", 400)
            story.stay("wearer", 5000, minutes=3)
    states = {v.order_id: v.state for v in verdicts(story.told)}
    assert states["o5"] is CONFIRMED
    # The new ones were judged where the wearer was.
    assert {state for name, state in states.items() if name != "o5"} == {CLEAR}
    story.told.clear()
    story.stay("wearer", 400, minutes=6)
    assert told(story.told) == [(CLEAR, VerdictReason.CLEARED_BY_EVIDENCE)]


def test_a_zone_outside_of_the_netherlands() -> None:
    story = Story()
    lat, lon = -338_600_000, 1_512_100_000  # Sydney
    story.engine.put_zone(
        Zone(id="far", circle=CircleShape(lat_e7=lat, lon_e7=lon, radius_m=200)), story.now
    )
    story.put(order(zone_ids=("far",)))
    handle = story.engine.person_handle("wearer")
    assert handle is not None
    for k, north in enumerate((5000, 300, 100, 50)):
        story.now += MINUTE
        lat_e7 = lat + round(north * 1e7 / 110_900)
        story.fixes((handle, story.now, lat_e7, lon, 50, 65535, 65535, 1))
        if k == 0:
            story.told.clear()
    assert told(story.told) == [
        (POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT),
        (CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED),
    ]
    distance = verdicts(story.told)[-1].distance_mm
    assert distance is not None
    assert abs(distance - 150_000) < 500


# --- zones that change ---------------------------------------------------------------------------


def test_a_zone_drawn_over_a_wearer_who_stays_is_judged_at_once() -> None:
    story = outside()
    story.stay("wearer", 1000, minutes=5)
    found = story.zone("zone", square(200, 1000), version=2)
    assert told(found) == [(CONFIRMED, VerdictReason.ZONE_CHANGED)]
    v = verdicts(found)[0]
    assert (v.zone_version, v.at_ms, v.fix_ms) == (2, story.now, story.now)
    assert Label.POSITION_HELD in v.labels


def test_a_zone_drawn_over_one_fix_is_possible_and_asked_about() -> None:
    story = outside()
    found = story.zone("zone", square(200, 1200), version=2)
    assert told(found) == [(POSSIBLE, VerdictReason.ZONE_CHANGED)]
    assert [r.reason for r in requests(found)] == [RequestReason.EDGE_DOUBTFUL]


def test_a_zone_moved_away_clears() -> None:
    story = outside()
    story.stay("wearer", 100, minutes=3)
    story.told.clear()
    assert told(story.zone("zone", square(200, 9000), version=2)) == [
        (CLEAR, VerdictReason.ZONE_CHANGED)
    ]
    assert story.stay("wearer", 100, minutes=2) == []


def test_the_same_version_again_is_nothing_and_an_older_one_refused() -> None:
    story = outside()
    assert story.zone("zone", square(200)) == []
    story.zone("zone", square(100), version=3)
    with pytest.raises(OrderRejected) as caught:
        story.zone("zone", square(100), version=2)
    assert caught.value.reason is RejectReason.OLDER_VERSION
    with pytest.raises(OrderRejected):
        story.zone("zone", square(50), version=3)


@pytest.mark.parametrize(
    "zone",
    [
        Zone(id="z"),
        Zone(id="z", geometry=square(10), circle=circle(10)),
        Zone(id="z", geometry={"type": "Polygon", "coordinates": []}),
        Zone(id="z", geometry={"type": "Point", "coordinates": [4.4, 51.9]}),
        Zone(id="z", geometry={"nonsense": True}),
    ],
)
def test_a_zone_without_a_shape_is_refused(zone: Zone) -> None:
    story = outside()
    before = story.engine.dump()
    with pytest.raises(OrderRejected) as caught:
        story.engine.put_zone(zone, story.now)
    assert caught.value.reason is RejectReason.BAD_GEOMETRY
    assert story.engine.dump() == before


# --- silence -------------------------------------------------------------------------------------


def test_silence_of_five_minutes_is_told_once_and_ends() -> None:
    story = outside()
    assert story.engine.next_due_ms() == NOON + 5 * MINUTE
    assert story.wait(5 * MINUTE - 1) == []
    found = story.wait(1)
    assert told(found) == [(CLEAR, VerdictReason.WEARER_SILENT)]
    v = verdicts(found)[0]
    assert (v.freshness, v.previous_freshness) == (Freshness.WEARER_STALE, Freshness.FRESH)
    assert (v.at_ms, v.wearer_age_ms) == (NOON + 5 * MINUTE, 5 * MINUTE)
    assert story.wait(60 * MINUTE) == []
    found = story.fix("wearer", 1000)
    assert told(found) == [(CLEAR, VerdictReason.SILENCE_ENDED)]
    assert verdicts(found)[0].freshness is Freshness.FRESH


def test_silence_before_any_fix_counts_from_the_order() -> None:
    story = Story()
    story.order(silence_s=60)
    found = story.wait(2 * MINUTE)
    assert told(found) == [(VerdictState.UNKNOWN, VerdictReason.WEARER_SILENT)]
    assert verdicts(found)[0].at_ms == NOON + MINUTE
    assert verdicts(found)[0].wearer_position is None


def test_an_old_fix_that_is_the_newest_ends_no_silence() -> None:
    story = outside()
    story.wait(20 * MINUTE)
    story.told.clear()
    found = story.fix("wearer", 100, ago_ms=10 * MINUTE)
    assert [v.freshness for v in verdicts(found)] == [Freshness.WEARER_STALE]
    assert Label.LATE_DELIVERY in verdicts(found)[0].labels


def standing_outside() -> Story:
    """A wearer who stands 60 m outside of the zone and says so."""
    story = outside(risk_class=1)
    for _ in range(2):
        story.now += MINUTE
        story.fix("wearer", 260, speed=0)
    story.told.clear()
    return story


def test_a_leap_from_standstill_is_possible_at_once_and_confirmed_only_when_it_lasts() -> None:
    story = standing_outside()
    story.now += MINUTE
    found = story.fix("wearer", 100, speed=0)
    assert told(found) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]
    assert Label.JUMP_FROM_STANDSTILL in verdicts(found)[0].labels
    assert verdicts(found)[0].evidence_1024 == 0
    assert [r.reason for r in requests(found)] == [RequestReason.POSSIBLE_BREACH]
    # 3.66 tanh(5 s / 120 s) a fix: H = 2 with the fourteenth.
    for _ in range(13):
        story.now += 5000
        assert told(story.fix("wearer", 100, speed=0)) == []
    story.now += 5000
    found = story.fix("wearer", 100, speed=0)
    assert told(found) == [(CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED)]
    assert Label.JUMP_FROM_STANDSTILL in verdicts(found)[0].labels


def test_movement_after_a_leap_counts_in_full() -> None:
    story = standing_outside()
    story.now += MINUTE
    story.fix("wearer", 100, speed=0)
    # 3.66 tanh(5 s / 30 s) a fix: H = 2 with the fourth.
    states = []
    for _ in range(4):
        story.now += 5000
        states += told(story.fix("wearer", 100, speed=120))
    assert states == [(CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED)]
    assert Label.JUMP_FROM_STANDSTILL not in verdicts(story.told)[-1].labels


def test_a_leap_back_ends_it_and_clears() -> None:
    story = standing_outside()
    story.now += MINUTE
    story.fix("wearer", 100, speed=0)
    story.now += 5000
    assert told(story.fix("wearer", 258, speed=0)) == [(CLEAR, VerdictReason.DOUBT_ENDED)]
    story.now += 5000
    found = story.fix("wearer", 100, speed=120)
    assert told(found) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]
    assert Label.JUMP_FROM_STANDSTILL not in verdicts(found)[0].labels


def test_without_a_reported_speed_nothing_is_slowed() -> None:
    story = outside(risk_class=1)
    for north in (260, 260, 100):
        story.now += MINUTE
        found = story.fix("wearer", north)
    assert verdicts(found)[0].evidence_1024 > 1024
    assert Label.JUMP_FROM_STANDSTILL not in verdicts(found)[0].labels


def test_no_single_fix_confirms_even_after_a_passage() -> None:
    story = outside(risk_class=1)
    story.now += 4 * MINUTE
    found = story.fix("wearer", 180)
    assert told(found) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]
    assert verdicts(found)[0].evidence_1024 < 2 * 1024
