"""Contact bans as stories: rings, approach, silence, many to many."""

from typing import Any

from geofence.orders import Role
from geofence.verdicts import (
    Freshness,
    Label,
    OrderKind,
    RequestReason,
    VerdictReason,
    VerdictState,
)
from tests.geofence.stories import MINUTE, NOON, Story, order, requests, told, verdicts

CLEAR, WARNING = VerdictState.CLEAR, VerdictState.WARNING
POSSIBLE, CONFIRMED = VerdictState.POSSIBLE, VerdictState.CONFIRMED


def pair(**fields: object) -> Story:
    """A protected person in the middle and a wearer 9 km away, ban of 500 m in force."""
    story = Story()
    story.order(kind=OrderKind.CONTACT_BAN, **fields)
    story.fix("victim", 0)
    story.fix("wearer", 9000)
    story.told.clear()
    return story


def together(story: Story, wearer: float, victim: float = 0.0) -> list[Any]:
    """A minute later, both report."""
    story.now += MINUTE
    return told(story.fixes(story.row("victim", victim), story.row("wearer", wearer)))


def test_first_positions() -> None:
    story = Story()
    found = story.order(kind=OrderKind.CONTACT_BAN)
    assert told(found) == [(VerdictState.UNKNOWN, VerdictReason.ORDER_CAME_INTO_FORCE)]
    found = story.fix("wearer", 9000)
    assert told(found) == []
    assert [(r.person_id, r.reason) for r in requests(found)] == [
        ("victim", RequestReason.PARTNER_STALE)
    ]
    assert told(story.fix("victim", 0)) == [(CLEAR, VerdictReason.FIRST_POSITION)]


def test_breach_and_its_end() -> None:
    story = pair(warning_m=1500, risk_class=2)
    together(story, 5000)
    assert together(story, 1400) == [(WARNING, VerdictReason.INSIDE_WARNING_RING)]
    assert together(story, 900) == []
    assert together(story, 300) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]
    assert together(story, 300) == [(CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED)]
    v = verdicts(story.told)[-1]
    assert v.distance_mm is not None
    assert abs(v.distance_mm - 300_000) < 300
    assert v.protected_id == "victim"
    assert v.wearer_position is not None
    assert v.protected_position is not None
    assert v.accuracy_mm == 7071
    together(story, 300)
    assert [together(story, far) for far in (700, 700)] == [[], []]
    assert together(story, 800) == [(WARNING, VerdictReason.CLEARED_BY_EVIDENCE)]
    assert together(story, 2500) == [(CLEAR, VerdictReason.LEFT_WARNING_RING)]


def test_time_to_contact_warns_before_any_ring() -> None:
    story = pair(time_to_contact_s=600, silence_s=900)
    story.now += MINUTE
    found = story.fix("wearer", 8200)  # 13 m/s
    assert told(found) == [], "one judgement is no approach yet"
    assert {(r.person_id, r.reason) for r in requests(found)} == {
        ("wearer", RequestReason.APPROACH),
        ("victim", RequestReason.APPROACH),
    }
    story.now += MINUTE
    found = story.fix("wearer", 7400)
    assert told(found) == [(WARNING, VerdictReason.TIME_TO_CONTACT)]
    v = verdicts(found)[0]
    assert v.closing_mm_s is not None
    assert 13_000 < v.closing_mm_s < 13_700
    assert v.time_to_contact_ms is not None
    # The way left to the radius at that speed.
    assert abs(v.time_to_contact_ms - (7400 - 500) / 13.34 * 1000) < 5000
    told_off = []
    for _ in range(3):
        story.now += MINUTE
        told_off += told(story.fix("wearer", 7400))
    assert told_off == [(CLEAR, VerdictReason.CONTACT_NO_LONGER_NEAR)]


def test_the_other_ones_fix_repeats_no_approach() -> None:
    story = pair(time_to_contact_s=600)
    story.now += MINUTE
    story.fix("wearer", 8200)
    story.told.clear()
    for _ in range(5):
        story.now += 5000
        story.fix("victim", 0)
    assert told(story.told) == []


def test_a_protected_person_who_comes_near_is_warned_of_too() -> None:
    story = pair(time_to_contact_s=600)
    told_on = []
    for step in range(1, 4):
        story.now += MINUTE
        story.fix("wearer", 9000)
        told_on += told(story.fix("victim", 800.0 * step))
    assert told_on == [(WARNING, VerdictReason.TIME_TO_CONTACT)]


def test_passing_through_the_radius_between_two_fixes() -> None:
    story = pair()
    together(story, 5000)
    together(story, 1500)
    story.now += MINUTE
    assert told(story.fix("wearer", -700)) == [
        (POSSIBLE, VerdictReason.PASSED_THROUGH_BETWEEN_FIXES)
    ]


def test_silence_budgets_and_all_four_states() -> None:
    story = pair()
    start = story.now
    assert story.engine.next_due_ms() == start + 90_000
    assert story.wait(89_999) == []
    found = story.wait(1)
    # Both at once: the first one's timer tells both.
    assert [(v.freshness, v.reason) for v in verdicts(found)] == [
        (Freshness.BLIND, VerdictReason.BOTH_SILENT)
    ]
    assert {(r.person_id, r.reason) for r in requests(found)} == {
        ("wearer", RequestReason.PARTNER_STALE),
        ("victim", RequestReason.PARTNER_STALE),
    }
    found = story.fix("wearer", 9000)
    assert [(v.freshness, v.reason) for v in verdicts(found)] == [
        (Freshness.PROTECTED_STALE, VerdictReason.SILENCE_ENDED)
    ]
    found = story.fix("victim", 0)
    assert [v.freshness for v in verdicts(found)] == [Freshness.FRESH]
    story.now += 60_000
    story.fix("victim", 0)
    found = story.wait(30_000)
    assert [(v.freshness, v.reason) for v in verdicts(found)] == [
        (Freshness.WEARER_STALE, VerdictReason.WEARER_SILENT)
    ]
    assert verdicts(found)[0].wearer_age_ms == 90_000


def test_a_silent_pair_is_judged_again_as_its_uncertainty_grows() -> None:
    story = pair(warning_m=1200)
    for north in (5000, 2000, 2000, 2000):
        together(story, north)
    story.told.clear()
    story.wait(90_000)
    assert [v.state for v in verdicts(story.told)] == [CLEAR]
    # 2 km apart, warning at 1.2 km: half an hour of silence opens the ring again and again.
    due = story.engine.next_due_ms()
    assert due == story.now + 60_000
    story.wait(60 * MINUTE)
    assert story.engine.next_due_ms() is None, "reviews are bounded"


def test_one_silent_before_the_first_fix() -> None:
    story = Story()
    story.order(kind=OrderKind.CONTACT_BAN)
    story.fix("wearer", 9000)
    found = story.wait(90_000)
    assert [v.freshness for v in verdicts(found)][-1] is Freshness.BLIND


def test_parallel_travel_is_labelled_and_not_suppressed() -> None:
    story = pair()
    together(story, 4000)
    for k in range(6):
        story.now += MINUTE
        north = 1800.0 * k
        story.fixes(story.row("victim", north), story.row("wearer", north + 100))
    confirmed = [v for v in verdicts(story.told) if v.state is CONFIRMED]
    assert confirmed
    assert Label.PARALLEL_TRAVEL in confirmed[0].labels


def test_many_to_many() -> None:
    story = Story()
    story.engine.put_person("wearer2", Role.WEARER)
    story.engine.put_person("victim2", Role.PROTECTED)
    both = ("victim", "victim2")
    story.put(order(id="a", kind=OrderKind.CONTACT_BAN, protected_ids=both))
    story.put(order(id="b", kind=OrderKind.CONTACT_BAN, wearer_id="wearer2", protected_ids=both))
    places = {"victim": 0.0, "victim2": 5000.0, "wearer": 300.0, "wearer2": 5200.0}
    for _ in range(4):
        story.now += MINUTE
        story.fixes(*(story.row(name, north) for name, north in places.items()))
    breaches = {
        (v.order_id, v.wearer_id, v.protected_id)
        for v in verdicts(story.told)
        if v.state is CONFIRMED
    }
    assert breaches == {("a", "wearer", "victim"), ("b", "wearer2", "victim2")}
    # One of them is freed from the ban, another stays.
    story.told.clear()
    story.put(order(id="a", version=2, kind=OrderKind.CONTACT_BAN, protected_ids=("victim2",)))
    over, goes_on = verdicts(story.told)
    assert (over.order_id, over.protected_id) == ("a", "victim")
    assert (over.state, over.reason) == (VerdictState.CLEAR, VerdictReason.ORDER_WITHDRAWN)
    assert (over.previous, over.escalate, over.order_version) == (CONFIRMED, False, 2)
    assert (goes_on.order_id, goes_on.protected_id) == ("a", "victim2")
    story.told.clear()
    story.now += MINUTE
    story.fixes(*(story.row(name, north) for name, north in places.items()))
    assert story.told == []
    # And back again: it is judged anew from where they are.
    story.put(order(id="a", version=3, kind=OrderKind.CONTACT_BAN, protected_ids=both))
    back = [v for v in verdicts(story.told) if v.protected_id == "victim"]
    assert [v.state for v in back] == [VerdictState.POSSIBLE]


def test_a_wearer_may_be_protected_from_another() -> None:
    story = Story()
    story.engine.put_person("other", Role.WEARER)
    story.put(order(id="a", kind=OrderKind.CONTACT_BAN, protected_ids=("other",)))
    story.put(
        order(id="b", kind=OrderKind.CONTACT_BAN, wearer_id="other", protected_ids=("wearer",))
    )
    for _ in range(4):
        story.now += MINUTE
        story.fixes(story.row("wearer", 0), story.row("other", 100))
    assert {v.order_id for v in verdicts(story.told) if v.state is CONFIRMED} == {"a", "b"}


def test_a_stale_partner_is_asked_where_it_matters() -> None:
    story = pair()
    story.now += 60_000
    story.fix("wearer", 9000)
    story.told.clear()
    story.now += 35_000
    # 95 s since the protected person was heard; a person can come far in that time.
    found = story.fix("wearer", 8900)
    assert [(r.person_id, r.reason) for r in requests(found)] == [
        ("victim", RequestReason.PARTNER_STALE)
    ]
    far = pair()
    far.now += 95_000
    far.fix("wearer", 60_000)  # implausible: doubted
    far.now += 1000
    assert [r for r in requests(far.fix("wearer", 60_010)) if r.person_id == "victim"] == []


def test_a_pair_is_judged_when_either_reports() -> None:
    story = pair()
    for north in (5000, 1000, 1000, 1000):
        together(story, north)
    story.now += 30_000
    assert told(story.fix("victim", 700)) == [(POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT)]


def test_hours_of_a_contact_ban() -> None:
    from tests.geofence.stories import weekly

    # NOON is a Sunday, 17:06:40 in Amsterdam.
    story = pair(schedule=weekly((6, "18:00", "22:00")))
    for north in (4000, 300, 300, 300, 300):
        assert together(story, north) == [], "outside of the hours nothing is told"
    opens = NOON + 53 * MINUTE + 20_000
    while story.now < opens - 80_000:
        together(story, 300)
    story.until(opens - 30_000)
    story.fixes(story.row("victim", 0), story.row("wearer", 300))
    found = story.until(opens)
    assert told(found) == [(CONFIRMED, VerdictReason.SCHEDULE_OPENED_WHILE_INSIDE)]
    assert verdicts(found)[0].at_ms == opens


def test_a_stay_that_becomes_a_journey_is_told_once() -> None:
    story = pair()
    for _ in range(6):
        story.now += MINUTE
        story.fixes(story.row("victim", 0), story.row("wearer", 100))
    assert verdicts(story.told)[-1].state is CONFIRMED
    story.told.clear()
    for k in range(1, 9):
        story.now += MINUTE
        story.fixes(story.row("victim", 1800.0 * k), story.row("wearer", 1800.0 * k + 100))
    assert told(story.told) == [(CONFIRMED, VerdictReason.TRAVELLING_ALIKE)]
    assert Label.PARALLEL_TRAVEL in verdicts(story.told)[0].labels
    # It stops on the way and goes on: the same stay, the same remark.
    for k in range(1, 9):
        story.now += MINUTE
        north = 14_400.0 + 1800.0 * max(k - 4, 0)
        story.fixes(story.row("victim", north), story.row("wearer", north + 100))
    assert len(verdicts(story.told)) == 1
