"""Fixes that came late tell what was, and never change what is."""

import pytest

from geofence.verdicts import OrderKind, VerdictReason, VerdictState
from tests.geofence.stories import (
    HOUR,
    MINUTE,
    NOON,
    Story,
    as_bytes,
    told,
    verdicts,
    weekly,
)

CLEAR, CONFIRMED = VerdictState.CLEAR, VerdictState.CONFIRMED
LATE = (CONFIRMED, VerdictReason.LATE_FIX_HISTORY)


def after_a_gap(**fields: object) -> Story:
    """A wearer seen 5 km away, silent for 40 minutes, and seen there again."""
    story = Story()
    story.order(**fields)
    story.fix("wearer", 5000)
    story.wait(40 * MINUTE)
    story.fix("wearer", 5000)
    story.told.clear()
    return story


def visit(story: Story) -> list[tuple[int, int, int, int, int, int, int, int]]:
    """What the device kept: ten minutes inside, from 20 to 11 minutes ago."""
    return [
        story.row("wearer", 0 if 11 <= ago <= 20 else 3000, ago_ms=ago * MINUTE)
        for ago in range(30, 1, -1)
    ]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_burst_of_late_fixes_tells_one_historic_breach(newest_first: bool, at_once: bool) -> None:
    story = after_a_gap()
    rows = visit(story)
    if newest_first:
        rows.reverse()
    if at_once:
        story.fixes(*rows)
    else:
        for row in rows:
            story.fixes(row)
    assert told(story.told) == [LATE]
    v = verdicts(story.told)[0]
    assert (v.historic, v.escalate, v.previous) == (True, True, CLEAR)
    assert v.fix_ms is not None
    assert 11 * MINUTE <= story.now - v.fix_ms <= 20 * MINUTE
    assert v.zone_id == "zone"
    assert story.engine.fixes().late == 29
    # The present is as it was.
    position = story.engine.last_position("wearer")
    assert position is not None
    assert position.time_ms == story.now


def test_copies_of_late_fixes_tell_nothing_new() -> None:
    story = after_a_gap()
    story.fixes(*visit(story))
    story.told.clear()
    story.fixes(*visit(story))
    assert told(story.told) in ([], [LATE]), "a copy of a whole stay is at most told again"


def test_a_late_fix_never_ends_a_present_breach() -> None:
    story = Story()
    story.order()
    story.stay("wearer", 0, minutes=5)
    story.told.clear()
    story.fixes(*(story.row("wearer", 5000, ago_ms=k * 7000 + 100) for k in range(20)))
    assert story.told == []


def test_late_fixes_of_a_stay_that_is_known_tell_nothing() -> None:
    story = Story()
    story.order()
    story.stay("wearer", 0, minutes=20)
    story.stay("wearer", 5000, minutes=5)
    story.told.clear()
    story.fixes(*(story.row("wearer", 0, ago_ms=k * 20_000 + 7 * MINUTE) for k in range(30)))
    assert story.told == []


def test_a_breach_before_the_order_was_in_force_is_none() -> None:
    story = after_a_gap(valid_from_ms=NOON + 35 * MINUTE)
    story.fixes(*visit(story))
    assert story.told == []


def test_a_breach_while_the_order_was_in_force_is_one_though_it_lapsed() -> None:
    story = after_a_gap(valid_to_ms=NOON + 30 * MINUTE)
    story.fixes(*visit(story))
    assert told(story.told) == [LATE]
    assert verdicts(story.told)[0].escalate


def test_hours_of_then_count() -> None:
    # NOON is 17:06:40 in Amsterdam; the visit is from 17:26 to 17:36.
    for hours, expected in ((("17:00", "17:20"), []), (("17:00", "17:30"), [LATE])):
        story = after_a_gap(schedule=weekly((6, *hours)))
        story.told.clear()
        story.fixes(*visit(story))
        assert told(story.told) == expected


def test_two_visits_are_two_breaches() -> None:
    story = Story()
    story.order()
    story.fix("wearer", 5000)
    story.wait(3 * HOUR)
    story.fix("wearer", 5000)
    story.told.clear()
    rows = [
        story.row("wearer", 0 if ago // 20 in (2, 5) else 4000, ago_ms=ago * MINUTE)
        for ago in range(150, 1, -1)
    ]
    story.fixes(*rows)
    assert told(story.told) == [LATE, LATE]


def test_absence_that_came_late() -> None:
    story = Story()
    story.order(kind=OrderKind.LOCATION_ORDER)
    story.fix("wearer", 0)
    story.wait(40 * MINUTE)
    story.fix("wearer", 0)
    story.told.clear()
    story.fixes(*(story.row("wearer", 3000, ago_ms=k * MINUTE) for k in range(10, 20)))
    assert told(story.told) == [LATE]


def test_a_late_contact_is_found_with_where_the_other_was_then() -> None:
    story = Story()
    story.order(kind=OrderKind.CONTACT_BAN, silence_s=86_400)
    story.fix("wearer", 9000)
    for minute in range(40):
        story.now = NOON + minute * MINUTE
        # The protected person goes for a visit and comes back.
        story.fix("victim", 4000 if 10 <= minute <= 25 else 0)
    story.fix("wearer", 9000)
    story.told.clear()
    rows = [
        story.row("wearer", 4100 if 12 <= minute <= 20 else 9000, time_ms=NOON + minute * MINUTE)
        for minute in range(1, 38)
    ]
    story.fixes(*reversed(rows))
    assert told(story.told) == [LATE]
    v = verdicts(story.told)[0]
    assert v.protected_id == "victim"
    assert v.distance_mm is not None
    assert v.distance_mm < 150_000
    assert v.protected_position is not None
    assert v.fix_ms is not None
    assert abs(v.protected_position.time_ms - v.fix_ms) <= MINUTE


def test_the_protected_person_may_be_the_late_one() -> None:
    story = Story()
    story.order(kind=OrderKind.CONTACT_BAN, silence_s=86_400)
    story.fix("victim", 0)
    for minute in range(40):
        story.now = NOON + minute * MINUTE
        story.fix("wearer", 4000)
    story.fix("victim", 0)
    story.told.clear()
    rows = [
        story.row("victim", 3900 if 12 <= minute <= 20 else 0, time_ms=NOON + minute * MINUTE)
        for minute in range(1, 38)
    ]
    story.fixes(*rows)
    assert told(story.told) == [LATE]


def test_the_order_within_a_batch_does_not_matter() -> None:
    findings = []
    for turn in (1, 3, 7, 11):
        story = after_a_gap()
        rows = visit(story)
        story.fixes(*(rows[(k * turn) % len(rows)] for k in range(len(rows))))
        findings.append(as_bytes(story.told))
    assert len(set(findings)) == 1
