"""Patterns, breach counters and the decision that every breach owes."""

import pytest

from alerting.book.patterns import PATTERNS, ROWS
from alerting.book.types import BreachRecord, Decide, Decision

from .story import START_MS, Story

HOUR_S = 3600
DAY_S = 24 * HOUR_S
CENTRE = "monitoring-centre"
DESK = "desk"


@pytest.fixture
def story():
    with Story() as told:
        told.case(owners={"wearer": DESK})
        yield told


def near_miss(story: Story, **how: object) -> None:
    """An approach that ends by itself, told to the room and withdrawn."""
    story.verdict("warning", **how)
    story.expect(f"{CENTRE} approach alert")
    story.forward(30)
    story.verdict("clear", **how)
    story.forward(60)
    story.expect(f"{CENTRE} approach withdrawn")


def breach(story: Story, disposition: str = "handled", **how: object) -> None:
    """A confirmed breach that a person closes."""
    story.verdict("confirmed", **how)
    story.hush()
    story.acknowledge_all()
    story.verdict("clear", **how)
    story.dispose(disposition, lane="pair")
    story.hush()


def counters(story: Story) -> list[tuple[str, int, int]]:
    return [(str(r.change), r.count, r.owed) for r in story.outputs if isinstance(r, BreachRecord)]


# --- patterns -------------------------------------------------------------------------------------


def test_five_near_misses_in_14_days_are_a_pattern_for_the_owner(story):
    for day in range(4):
        near_miss(story)
        story.forward(3 * DAY_S - 90 if day < 3 else DAY_S)
    story.verdict("warning")
    approach, pattern = story.expect(f"{CENTRE} approach alert", f"{DESK} pattern alert")
    assert pattern.reason == "near-misses"
    assert pattern.detail.startswith("5 in 14 days: 2025-06-15 17:06, 2025-06-18 17:06, ")
    assert pattern.order_id == "order-1"
    assert pattern.wearer_position is pattern.distance_mm is None
    assert story.incidents()[pattern.incident_id].subject == "task/pair/W/P"
    assert pattern.incident_id != approach.incident_id
    story.dispose_all()


def test_four_near_misses_or_five_over_more_than_14_days_are_none(story):
    for _ in range(8):
        near_miss(story)
        story.forward(3.6 * DAY_S)


def test_after_a_pattern_counting_starts_anew(story):
    for _ in range(2):
        for n in range(5):
            story.verdict("warning")
            said = [f"{CENTRE} approach alert"] + [f"{DESK} pattern alert"] * (n == 4)
            story.expect(*said)
            story.verdict("clear")
            story.forward(60)
            story.expect(f"{CENTRE} approach withdrawn")
            story.forward(HOUR_S)
        story.dispose()
        story.expect(f"{DESK} pattern withdrawn")


def test_more_of_the_same_while_the_pattern_is_undecided_pages_the_owner_again(story):
    for n in range(10):
        story.verdict("warning")
        said = [f"{CENTRE} approach alert"] + [f"{DESK} pattern alert"] * (n in (4, 9))
        story.expect(*said)
        if n == 4:
            story.acknowledge_all("owner")
        story.verdict("clear")
        story.forward(60)
        story.expect(f"{CENTRE} approach withdrawn")
        story.forward(HOUR_S)
    story.dispose_all()


def test_an_approach_that_comes_and_goes_within_half_an_hour_counts_once(story):
    for _ in range(12):
        story.verdict("warning")
        story.hush()
        story.verdict("clear")
        story.let_pass(29 * 60)
    assert "pattern" not in {a.alarm_class for a in story.alarms().values()}


def test_the_highest_risk_needs_three_and_the_lowest_eight(story):
    for risk, count in ((1, 3), (3, 8)):
        for n in range(count):
            story.verdict("warning", order=f"order-{risk}", risk=risk)
            said = [f"{CENTRE} approach alert"] + [f"{DESK} pattern alert"] * (n == count - 1)
            story.expect(*said)
            story.verdict("clear", order=f"order-{risk}", risk=risk)
            story.forward(60)
            story.expect(f"{CENTRE} approach withdrawn")
            story.forward(HOUR_S)
        story.dispose()
        story.expect(f"{DESK} pattern withdrawn")


def test_the_risk_of_the_case_counts_when_it_is_higher_than_that_of_the_order():
    with Story() as story:
        story.case(owners={"wearer": DESK}, risk_class=1)
        for n in range(3):
            story.verdict("warning", risk=3)
            story.expect(*([f"{CENTRE} approach alert"] + [f"{DESK} pattern alert"] * (n == 2)))
            story.verdict("clear", risk=3)
            story.forward(60)
            story.expect(f"{CENTRE} approach withdrawn")
            story.forward(HOUR_S)
        story.dispose_all()


def test_near_misses_of_two_orders_are_counted_apart(story):
    for n in range(8):
        near_miss(story, order=f"order-{n % 2}")
        story.forward(HOUR_S)


def test_what_was_closed_as_technical_is_taken_out_of_the_count(story):
    for _ in range(6):
        story.verdict("warning")
        story.expect(f"{CENTRE} approach alert")
        story.verdict("clear")
        story.dispose("technical")
        story.expect(f"{CENTRE} approach withdrawn")
        story.forward(HOUR_S)
    assert [o.reason for o in story.observations()] == ["taken-out-of-the-count"] * 6


def test_probing_a_boundary_six_times_is_a_pattern(story):
    for n in range(6):
        story.verdict("warning", kind="area-ban", reason="inside-buffer")
        story.expect(*([f"{CENTRE} approach alert"] + [f"{DESK} pattern alert"] * (n == 5)))
        story.verdict("clear", kind="area-ban")
        story.forward(60)
        story.expect(f"{CENTRE} approach withdrawn")
        story.forward(HOUR_S)
    assert story.alarm("pattern").reason == "boundary-probing"
    story.dispose_all()


def test_ten_silences_of_one_person_are_a_pattern_whatever_order_sees_them(story):
    patterns = []
    for n in range(10):
        for freshness in ("wearer-stale", "fresh"):
            for order in ("order-1", "order-2"):
                story.verdict("clear", order=order, freshness=freshness)
                story.hush()
            story.let_pass(HOUR_S)
        patterns = [a for a in story.alarms().values() if a.alarm_class == "pattern"]
        assert len(patterns) == (n == 9), n
    assert patterns[0].reason == "repeated-silence"
    assert patterns[0].person_id == "W"
    story.dispose_all()


def test_silence_in_a_mass_loss_is_nobodys_pattern(story):
    for persons in range(40):
        story.case(
            case_id=f"c{persons}", wearer=f"W{persons}", protected=(f"P{persons}",), devices={}
        )
    for _ in range(12):
        for persons in range(40):
            story.verdict(
                "clear", order=f"o{persons}", wearer=f"W{persons}", protected=f"P{persons}",
                freshness="wearer-stale",
            )  # fmt: skip
            story.hush()
        for persons in range(40):
            story.verdict("clear", order=f"o{persons}", wearer=f"W{persons}",
                          protected=f"P{persons}")  # fmt: skip
            story.hush()
        story.let_pass(HOUR_S)
    assert not [a for a in story.alarms().values() if a.alarm_class == "pattern"]


@pytest.mark.parametrize(
    ("kind", "ended", "reason", "count"),
    [
        ("jamming", "jamming-ended", "repeated-obstruction", 4),
        ("shielding", "shielding-ended", "repeated-obstruction", 4),
        ("battery-critical", "charging", "repeated-empty", 6),
    ],
)
def test_trouble_with_one_device_that_keeps_coming_is_a_pattern(story, kind, ended, reason, count):
    for n in range(count):
        story.event(kind, "ankle")
        story.expect(*[f"{DESK} pattern alert"] * (n == count - 1))
        story.event(ended, "ankle")
        story.let_pass(HOUR_S)
    assert story.alarm("pattern").reason == reason
    story.dispose_all()


def test_contact_while_the_order_is_not_in_force_is_never_a_breach_and_soon_a_pattern(story):
    story.verdict("confirmed", escalate=False, reason="order-not-in-force")
    story.forward(HOUR_S)
    story.verdict("confirmed", escalate=False, reason="order-not-in-force")
    (notice,) = story.expect(f"{DESK} pattern alert")
    assert notice.reason == "contact-outside-validity"
    assert counters(story) == []
    story.dispose_all()


@pytest.mark.parametrize("rule", ROWS, ids=lambda r: r.kind)
def test_a_rule_asks_for_less_the_higher_the_risk(rule):
    first, second, third = rule.counts
    assert 1 <= first <= second <= third
    assert PATTERNS[rule.kind] is rule


def test_what_was_counted_is_forgotten_after_a_window(story):
    near_miss(story)
    assert story.book.figures()["patterns"] == 1
    story.forward(14 * DAY_S)
    assert story.book.figures()["patterns"] == 0
    assert story.book.next_due_ms() is None


# --- breaches and decisions -----------------------------------------------------------------------


def test_a_breach_starts_the_clock_of_its_title_and_reminds(story):
    story.order()  # 509hh: the prosecutor decides within 24 hours
    story.verdict("confirmed")
    (_, task) = story.expect(f"{CENTRE} proximity alert", f"{DESK} legal task")
    assert task.deadline_ms == START_MS + DAY_S * 1000
    assert task.detail == "1 without a decision, 1 in all; by 2025-06-16 17:06"
    story.verdict("clear")
    story.dispose(lane="pair")
    story.expect(f"{CENTRE} proximity withdrawn")
    story.forward(12 * HOUR_S)
    (reminder,) = story.expect(f"{DESK} legal task", at_s=12 * HOUR_S)
    assert reminder.reason == "decision-reminder"
    story.forward(12 * HOUR_S)
    (overdue,) = story.expect(f"{DESK} legal alert", at_s=DAY_S)
    assert overdue.reason == "decision-overdue"
    story.acknowledge("owner")
    story.take(
        Decide(order_id="order-1", protected_id="P", by="prosecutor", note="to court on Friday",
               decision=Decision.PROSECUTED)
    )  # fmt: skip
    story.forward(60)
    story.expect(f"{DESK} legal withdrawn")
    assert counters(story) == [
        ("counted", 1, 1), ("reminded", 1, 1), ("overdue", 1, 1), ("decided", 1, 0),
    ]  # fmt: skip
    story.forward(30 * DAY_S)


def test_a_decision_in_time_ends_the_clock(story):
    breach(story)
    story.forward(HOUR_S)
    story.take(
        Decide(order_id="order-1", protected_id="P", by="prosecutor", note="arrested",
               decision=Decision.ARRESTED)
    )  # fmt: skip
    story.forward(30 * DAY_S)
    assert counters(story)[-1] == ("decided", 1, 0)


def test_several_breaches_share_the_first_deadline_and_one_decision(story):
    story.order(kind="area-ban", title="huisverbod", days=10)
    for _ in range(2):
        breach(story, kind="area-ban", protected=None)
        story.forward(HOUR_S)
    assert counters(story) == [("counted", 1, 1), ("counted", 2, 2)]
    due = {r.due_ms for r in story.outputs if isinstance(r, BreachRecord)}
    assert due == {START_MS + DAY_S * 1000}
    story.take(Decide(order_id="order-1", by="mayor", note="held", decision=Decision.ARRESTED))
    story.forward(HOUR_S)
    breach(story, kind="area-ban", protected=None)
    assert counters(story)[-1] == ("counted", 3, 1)
    story.dispose_all()


def test_a_breach_that_goes_on_after_a_short_pause_is_the_same(story):
    story.verdict("confirmed")
    story.hush()
    story.acknowledge_all()
    for _ in range(3):
        story.verdict("clear")
        story.let_pass(600)
        story.verdict("confirmed")
        story.hush()
        story.acknowledge_all()
        story.let_pass(600)
    assert counters(story) == [("counted", 1, 1)]
    story.dispose_all()


def test_a_breach_that_was_none_is_taken_out_of_the_count_and_owes_nothing(story):
    story.verdict("confirmed")
    story.expect(f"{CENTRE} proximity alert", f"{DESK} legal task")
    story.verdict("clear")
    story.dispose("permitted", lane="pair")
    story.expect(f"{CENTRE} proximity withdrawn")
    story.forward(30 * DAY_S)
    assert counters(story) == [("counted", 1, 1), ("withdrawn", 0, 0)]


def test_an_unconfirmed_breach_counts_when_it_is_confirmed(story):
    story.verdict("possible", probability=0.97)
    story.expect(f"{CENTRE} proximity alert")
    assert counters(story) == []
    story.forward(20)
    story.verdict("confirmed")
    story.expect(f"{CENTRE} proximity update", f"{DESK} legal task")
    story.dispose_all()


def test_repeated_breaches_are_a_pattern(story):
    for n in range(3):
        story.verdict("confirmed")
        said = [story.reads(notice) for _, notice in story.unexpected]
        assert (f"{DESK} pattern alert" in said) == (n == 2)
        story.hush()
        story.acknowledge_all()
        story.verdict("clear")
        story.dispose(lane="pair")
        story.hush()
        story.forward(HOUR_S)
    story.dispose_all()


def test_a_breach_in_fixes_that_came_late_counts_and_owes_a_decision(story):
    story.verdict("confirmed", historic=True)
    story.expect(f"{DESK} legal task")
    (record,) = [r for r in story.outputs if isinstance(r, BreachRecord)]
    assert record.historic
    assert record.incident_id is None


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"order_id": "order-2"}, "nothing-owed"),
        ({"by": ""}, "no-reason-given"),
        ({"note": " "}, "no-reason-given"),
        ({"note": "x" * 2001}, "limit"),
        ({"protected_id": None}, "nothing-owed"),
    ],
)
def test_a_decision_that_cannot_be_taken_says_why(story, how, reason):
    breach(story)
    given = {"order_id": "order-1", "protected_id": "P", "by": "om", "note": "no",
             "decision": Decision.NO_ACTION} | how  # fmt: skip
    story.take(Decide(**given))
    assert [r.reason for r in story.rejections()] == [reason]
    story.take(
        Decide(order_id="order-1", protected_id="P", by="om", note="ok", decision=Decision.WARNED)
    )


def test_a_decision_that_it_was_no_breach_lowers_the_count(story):
    breach(story)
    story.take(
        Decide(order_id="order-1", protected_id="P", by="om", note="drift",
               decision=Decision.NO_BREACH)
    )  # fmt: skip
    assert counters(story)[-1] == ("decided", 0, 0)
