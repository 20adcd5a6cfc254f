"""The life of an order in the engine.

Force begins and ends at its own instants, and outside of it nothing escalates.
"""

import msgspec

from geofence.orders import Appeal
from geofence.verdicts import (
    Label,
    OrderKind,
    RequestReason,
    VerdictReason,
    VerdictState,
)
from tests.geofence.stories import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    Story,
    order,
    requests,
    told,
    verdicts,
)

CLEAR = VerdictState.CLEAR
POSSIBLE, CONFIRMED = VerdictState.POSSIBLE, VerdictState.CONFIRMED


def test_an_order_that_begins_while_the_wearer_stays_inside() -> None:
    story = Story()
    story.order(valid_from_ms=NOON + 30 * MINUTE)
    story.stay("wearer", 0, minutes=28)
    observed = verdicts(story.told)
    assert [v.state for v in observed] == [POSSIBLE, CONFIRMED]
    assert [v.escalate for v in observed] == [False, False]
    story.told.clear()
    # No fix arrives any more; the edge judges by itself.
    found = story.until(NOON + 31 * MINUTE)
    assert told(found) == [(CONFIRMED, VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_INSIDE)]
    v = verdicts(found)[0]
    assert (v.escalate, v.previous, v.at_ms) == (True, CONFIRMED, NOON + 30 * MINUTE)
    assert Label.POSITION_HELD in v.labels
    assert v.wearer_age_ms == 2 * MINUTE


def test_an_order_put_while_the_wearer_is_parked_inside() -> None:
    story = Story()
    story.stay("wearer", 0, minutes=5)
    found = story.order()
    assert told(found) == [(CONFIRMED, VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_INSIDE)]


def test_an_order_put_after_one_fix_inside_asks() -> None:
    story = Story()
    story.fix("wearer", 0)
    story.now += 10_000
    found = story.order(risk_class=2)
    assert told(found) == [(POSSIBLE, VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_INSIDE)]
    assert [r.reason for r in requests(found)] == [RequestReason.EDGE_DOUBTFUL]


def test_a_location_order_that_begins_while_absent() -> None:
    story = Story()
    story.stay("wearer", 5000, minutes=5)
    found = story.order(kind=OrderKind.LOCATION_ORDER)
    assert told(found) == [(CONFIRMED, VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_ABSENT)]


def test_a_pair_together_when_the_ban_begins() -> None:
    story = Story()
    story.order(kind=OrderKind.CONTACT_BAN, valid_from_ms=NOON + 10 * MINUTE)
    for _ in range(9):
        story.wait(MINUTE)
        story.fixes(story.row("victim", 0), story.row("wearer", 200))
    story.told.clear()
    found = story.until(NOON + 10 * MINUTE)
    assert told(found) == [(CONFIRMED, VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_INSIDE)]


def test_an_order_lapses_while_nobody_sends_a_fix() -> None:
    story = Story()
    story.order(valid_to_ms=NOON + HOUR)
    story.stay("wearer", 0, minutes=57)
    story.told.clear()
    found = story.wait(2 * HOUR)
    assert told(found)[0] == (CONFIRMED, VerdictReason.ORDER_LAPSED)
    lapsed = verdicts(found)[0]
    assert (lapsed.escalate, lapsed.at_ms) == (False, NOON + HOUR)
    # Still observed, never escalated.
    story.told.clear()
    story.stay("wearer", 900, minutes=5)
    story.stay("wearer", 0, minutes=5)
    states = [v.state for v in verdicts(story.told)]
    assert CONFIRMED in states
    assert not any(v.escalate for v in verdicts(story.told))
    assert requests(story.told) == [], "an order without force asks no battery of anybody"


def test_signed_served_and_valid_are_all_needed() -> None:
    story = Story()
    story.order(
        signed_at_ms=NOON + 10 * MINUTE,
        served_at_ms=NOON + 20 * MINUTE,
        valid_from_ms=NOON + 5 * MINUTE,
        silence_s=86_400,
    )
    story.fix("wearer", 5000)
    story.told.clear()
    found = story.wait(HOUR)
    assert [(v.at_ms, v.reason, v.escalate) for v in verdicts(found)] == [
        (NOON + 20 * MINUTE, VerdictReason.ORDER_CAME_INTO_FORCE, True)
    ]


def test_never_served_is_never_in_force() -> None:
    story = Story()
    story.order(served_at_ms=None)
    story.stay("wearer", 0, minutes=4)
    assert [v.escalate for v in verdicts(story.told)] == [False, False]


def test_suspended_and_resumed_by_new_versions() -> None:
    story = Story()
    base = order()
    story.put(base)
    story.stay("wearer", 0, minutes=4)
    story.told.clear()
    story.put(msgspec.structs.replace(base, version=2, suspended=True))
    assert told(story.told) == [(CONFIRMED, VerdictReason.ORDER_SUSPENDED)]
    assert not verdicts(story.told)[0].escalate
    assert verdicts(story.told)[0].order_version == 2
    story.told.clear()
    story.put(msgspec.structs.replace(base, version=3))
    assert told(story.told) == [(CONFIRMED, VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_INSIDE)]
    assert verdicts(story.told)[0].escalate


def test_an_appeal_suspends_unless_immediately_enforceable() -> None:
    for immediately, reason in (
        (False, VerdictReason.ORDER_SUSPENDED),
        (True, VerdictReason.ORDER_CHANGED),
    ):
        story = Story()
        base = order(immediately_enforceable=immediately)
        story.put(base)
        story.fix("wearer", 5000)
        story.told.clear()
        story.put(msgspec.structs.replace(base, version=2, appeal=Appeal.PENDING))
        assert told(story.told) == [(CLEAR, reason)]


def test_notice_before_the_end() -> None:
    story = Story()
    story.order(valid_to_ms=NOON + 20 * DAY, silence_s=86_400)
    story.told.clear()
    story.wait(21 * DAY)
    noticed = [v for v in verdicts(story.told) if v.reason is VerdictReason.ORDER_EXPIRING]
    assert [(v.at_ms - NOON) // DAY for v in noticed] == [6, 13, 18]
    assert all(Label.ORDER_EXPIRING in v.labels for v in noticed)
    assert verdicts(story.told)[-1].reason is VerdictReason.ORDER_LAPSED


def test_a_changed_ring_is_judged_at_once() -> None:
    story = Story()
    base = order(buffer_m=0)
    story.put(base)
    story.stay("wearer", 250, minutes=3)
    story.told.clear()
    story.put(msgspec.structs.replace(base, version=2, buffer_m=100))
    assert told(story.told) == [(VerdictState.WARNING, VerdictReason.ORDER_CHANGED)]


def test_a_lower_threshold_is_judged_at_once() -> None:
    story = Story()
    base = order(risk_class=3)
    story.put(base)
    story.stay("wearer", 5000, minutes=1)
    story.stay("wearer", 0, minutes=2)
    assert verdicts(story.told)[-1].state is POSSIBLE
    story.told.clear()
    story.put(msgspec.structs.replace(base, version=2, risk_class=1))
    assert told(story.told) == [(CONFIRMED, VerdictReason.ORDER_CHANGED)]


def test_a_wider_radius_is_judged_at_once() -> None:
    story = Story()
    base = order(kind=OrderKind.CONTACT_BAN)
    story.put(base)
    for _ in range(3):
        story.wait(MINUTE)
        story.fixes(story.row("victim", 0), story.row("wearer", 800))
    story.told.clear()
    story.put(msgspec.structs.replace(base, version=2, radius_m=1000))
    assert told(story.told) == [(POSSIBLE, VerdictReason.ORDER_CHANGED)]
