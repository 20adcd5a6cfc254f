"""The auditor: silent about a book that does its work (in every story), and loud about the rest."""

import pytest

from alerting.book.auditor import GRACE_MS, SETTLE_MS, TOLD_MS, Auditor, Missing
from alerting.book.types import Notice

from .story import Story

PLAN = (
    {"audience": "police", "targets": ["police"], "deadline_s": 60, "fallback": ["police-sms"],
     "classes": ["panic"]},
    {"audience": "monitoring-centre", "targets": ["room"], "deadline_s": 90},
)  # fmt: skip


@pytest.fixture
def story():
    """One press, told to police and room."""
    story = Story()
    story.plan("plan-1", *PLAN)
    story.case(plan_id="plan-1")
    story.event("panic", "button")
    story.expect("police panic alert", "room panic alert")
    return story


def heard(story, *, settle_ms=10**15, without=()):
    """An auditor that was given what came out so far, but for what `without` takes out."""
    auditor = Auditor(settle_ms)
    times = sorted({o.at_ms for o in story.outputs})
    for at_ms in times:
        entry = [o for o in story.outputs if o.at_ms == at_ms]
        auditor.take([o for o in entry if not any(drop(o) for drop in without)], at_ms)
    return auditor


def whats(auditor, now_ms):
    return [(one.what, one.detail) for one in auditor.missing(now_ms)]


def test_a_book_that_stops_is_noticed_by_its_deadlines(story):
    auditor = heard(story)
    assert whats(auditor, story.now_ms + 60_000 + GRACE_MS) == []
    late_ms = story.now_ms + 60_000 + GRACE_MS + 1
    assert whats(auditor, late_ms) == [(Missing.STEP_OVERDUE, "plan plan-1 step 0")]
    assert len(auditor.missing(late_ms + 30_000)) == 2


def test_a_step_that_tells_nobody_is_noticed(story):
    def lost(output):
        return isinstance(output, Notice) and output.target == "police"

    assert whats(heard(story, without=[lost]), story.now_ms) == [
        (Missing.STEP_TOLD_NOBODY, "plan plan-1 step 0")
    ]


def test_a_notice_without_any_word_of_its_target_is_noticed(story):
    story.forward(5)
    story.receipt("room panic alert", "delivered")
    story.acknowledge()
    auditor = heard(story, settle_ms=SETTLE_MS)
    late_ms = story.now_ms - 5_000 + SETTLE_MS + 1
    assert (Missing.NOT_SETTLED, "police") in whats(auditor, late_ms)
    assert not [one for one in auditor.missing(late_ms) if one.detail == "room"]


def test_a_critical_alarm_that_nobody_hears_of_any_more_is_noticed(story):
    def answered_by_no_timer(output):
        return getattr(output, "change", None) == "step-started"

    auditor = heard(story, without=[answered_by_no_timer])
    at_ms = story.now_ms + TOLD_MS
    assert Missing.NOBODY_TOLD not in [one.what for one in auditor.missing(at_ms)]
    assert Missing.NOBODY_TOLD in [one.what for one in auditor.missing(at_ms + 1)]
    story.acknowledge()
    assert Missing.NOBODY_TOLD not in [one.what for one in heard(story).missing(at_ms + 1)]


def test_a_plan_that_stands_still_owes_nothing_until_it_goes_on():
    story = Story()
    story.plan("plan-1", *PLAN)
    story.case(plan_id="plan-1")
    story.verdict("warning", plan_id="plan-1")
    story.expect("room approach alert")
    story.verdict("clear", plan_id="plan-1")
    auditor = heard(story)
    assert whats(auditor, story.now_ms + 10**9) == []
    story.forward(30)
    story.verdict("warning", plan_id="plan-1")
    story.hush()
    auditor = heard(story)
    assert whats(auditor, story.now_ms + 60_000) == []
    assert Missing.STEP_OVERDUE in [one.what for one in auditor.missing(story.now_ms + 120_000)]


def test_what_is_closed_is_forgotten(story):
    story.dispose()
    story.hush()
    auditor = heard(story)
    assert auditor.open_alarms == 0
    assert whats(auditor, story.now_ms + 10**9) == []


def test_the_number_of_alarms_is_bounded(monkeypatch, story):
    monkeypatch.setattr("alerting.book.auditor.AUDIT_ALARMS_MAX", 0)
    auditor = heard(story)
    assert auditor.open_alarms == 0
    assert auditor.forgotten > 0
