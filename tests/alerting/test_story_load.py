"""The load on the operators: floods, chattering, standing and stale alarms, time to answer."""

import random

import pytest

from alerting.book.types import AlarmRecord, FloodRecord, Staffing

from .story import START_MS, Story

CENTRE = "monitoring-centre"


def approach(story: Story, n: int) -> None:
    """One more alarm that pages the operators."""
    story.verdict("warning", order=f"order-{n}", wearer=f"w{n}", protected=f"p{n}")


def floods(story: Story) -> list[tuple[bool, float, int]]:
    return [
        (r.began, (r.at_ms - START_MS) / 1000, r.alarms_10min)
        for r in story.outputs
        if isinstance(r, FloodRecord)
    ]


# --- floods ---------------------------------------------------------------------------------------


def test_more_than_ten_alarms_in_ten_minutes_for_each_operator_are_a_flood():
    with Story(operators=2) as story:
        for n in range(20):
            approach(story, n)
            story.expect(f"{CENTRE} approach alert")
            story.acknowledge_one(story.open_incidents()[-1])
            story.forward(1)
        assert story.book.indicators()["alarms_10min"] == 20
        assert story.book.indicators()["flood"] == 0
        approach(story, 20)
        (_, flood) = story.expect(f"{CENTRE} approach alert", "shift-lead system alert")
        assert flood.reason == "alarm-flood"
        assert flood.detail == "21 alarms in 10 minutes for 2 operators"
        story.acknowledge_all()
        assert story.book.indicators()["flood"] == 1
        # It ends when fewer than 5 for each are within the window: the 12th has left it.
        story.let_pass(600 + 11 - 20 - 0.001)
        assert floods(story) == [(True, 20, 21)]
        story.let_pass(0.001)
        assert floods(story) == [(True, 20, 21), (False, 611, 9)]
        assert story.book.indicators()["flood_ms"] == 591_000
        # Acknowledged and left, they all page again when that has expired: a flood of its own.
        story.let_pass(600)
        assert floods(story)[2] == (True, 920, 21)


def test_more_operators_end_a_flood_and_fewer_begin_one():
    with Story(operators=1) as story:
        for n in range(11):
            approach(story, n)
            story.hush()
        assert [f[0] for f in floods(story)] == [True]
        story.take(Staffing(operators=3, by="shift lead"))
        assert [f[0] for f in floods(story)] == [True, False]
        story.take(Staffing(operators=1, by="shift lead"))
        assert [f[0] for f in floods(story)] == [True, False, True]
        story.hush()


@pytest.mark.parametrize(
    ("operators", "by", "reason"), [(0, "x", "limit"), (10_001, "x", "limit"), (2, "", "no-reason")]
)
def test_a_staffing_that_cannot_be_says_why(operators, by, reason):
    with Story() as story:
        story.take(Staffing(operators=operators, by=by))
        (refused,) = story.rejections()
        assert str(refused.reason).startswith(reason)
        assert story.book.indicators()["operators"] == 2


def test_tasks_drills_and_the_trouble_of_the_service_are_no_load_of_operators():
    with Story(operators=1) as story:
        story.case(owners={"wearer": "desk"})
        for n in range(15):
            story.order(f"order-{n}", days=None)
            story.expect("desk legal alert")
        story.signal("journal-lag")
        story.expect("shift-lead system alert")
        story.acknowledge_all()
        assert story.book.indicators()["annunciations"] == 0
        assert floods(story) == []


def test_an_alarm_counts_once_for_each_round_however_many_are_told():
    with Story() as story:
        story.plan("plan", {"audience": "monitoring-centre", "targets": ["a", "b"]},
                   {"audience": "monitoring-centre", "targets": ["c"], "on": "missed"})  # fmt: skip
        story.case(plan_id="plan")
        story.event("panic", "button")
        story.expect("a panic alert", "b panic alert")
        story.forward(60)
        story.expect("c panic escalation")
        assert story.book.indicators()["annunciations"] == 1
        story.acknowledge()
        story.forward(900)
        story.expect("a panic escalation", "b panic escalation")
        assert story.book.indicators()["annunciations"] == 2
        assert story.book.indicators()["raised_critical"] == 1
        story.acknowledge()


def test_the_flood_is_what_a_plain_count_says():
    """Random alarms against a count over the list of all of them."""
    rng = random.Random(7)
    times: list[int] = []
    flood = False
    with Story(operators=2) as story:
        for n in range(300):
            story.let_pass(rng.choice((0, 1, 5, 20, 200)))
            # every end of a flood in between happens when the window lets go
            while flood and len([t for t in times if t > story.now_ms - 600_000]) < 10:
                flood = False
            approach(story, n)
            story.hush()
            story.acknowledge_one(story.open_incidents()[-1])
            story.verdict("clear", order=f"order-{n}", wearer=f"w{n}", protected=f"p{n}")
            story.hush()
            times.append(story.now_ms)
            if len([t for t in times if t > story.now_ms - 600_000]) > 20:
                flood = True
            said = story.book.indicators()
            assert said["flood"] == int(flood), n
            assert said["alarms_10min"] == len([t for t in times if t > story.now_ms - 600_000])
        assert len(floods(story)) > 4


# --- chattering, standing, stale ------------------------------------------------------------------


def test_an_alarm_that_comes_back_three_times_within_a_minute_chatters():
    with Story() as story:
        for n in range(6):
            story.verdict("warning")
            story.hush()
            story.forward(5)
            story.verdict("clear")
            story.forward(5)
            chattering = [r for r in story.outputs
                          if isinstance(r, AlarmRecord) and r.change == "chattering"]  # fmt: skip
            assert len(chattering) == (n >= 3)
        assert story.book.indicators()["chattering"] == 1
        story.let_pass(600)


def test_standing_and_stale_alarms_are_those_still_active():
    with Story(operators=50) as story:
        story.verdict("warning")
        story.expect(f"{CENTRE} approach alert")
        story.acknowledge()
        assert (story.book.indicators()["standing"], story.book.indicators()["stale"]) == (1, 0)
        story.let_pass(86_400)
        assert (story.book.indicators()["standing"], story.book.indicators()["stale"]) == (1, 1)
        story.verdict("clear")
        story.hush()
        assert story.book.indicators()["standing"] == 0
        story.let_pass(60)


# --- time to answer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "seconds", "figure"),
    [
        ("panic", 30, "answered_urgent_within_30_s"),
        ("panic", 31, "answered_urgent_within_60_s"),
        ("strap-cut", 61, "answered_urgent_later"),
        ("shutdown", 90, "answered_other_within_90_s"),
        ("shutdown", 180, "answered_other_within_180_s"),
        ("shutdown", 181, "answered_other_later"),
    ],
)
def test_the_time_to_answer_is_held_against_en_50518(event, seconds, figure):
    with Story() as story:
        story.case()
        story.event(event, "button" if event == "panic" else "ankle")
        story.hush()
        story.let_pass(seconds)
        story.acknowledge()
        said = story.book.indicators()
        assert {name: n for name, n in said.items() if name.startswith("answered") and n} == {
            figure: 1
        }
        story.acknowledge()
        assert story.book.indicators()[figure] == 1, "an alarm is answered once"


def test_the_indicators_survive_a_restart():
    with Story(operators=1) as story:
        for n in range(11):
            approach(story, n)
            story.hush()
        before = story.book.indicators()
        assert type(story.book).load(story.book.dump()).indicators() == before
        assert before["flood"] == 1
