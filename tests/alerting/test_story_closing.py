"""Closing by a person: four eyes for what is critical, one pair for everything else."""

from typing import Any

import pytest

from alerting.book.classes_data import ALARM_BOOK
from alerting.book.types import (
    Acknowledge,
    AlarmState,
    Countersign,
    Dispose,
    Disposition,
    IncidentRecord,
)

from .story import Story

CENTRE = "monitoring-centre"


@pytest.fixture
def story():
    with Story() as told:
        told.case()
        yield told


def propose(story: Story, by: str = "anna", **how: object) -> None:
    given: dict[str, Any] = {
        "disposition": Disposition.HANDLED,
        "note": "call 12, police on site",
    } | how
    story.take(Dispose(incident_id=story.incident(), by=by, **given))


def countersign(story: Story, by: str = "bas") -> None:
    story.take(Countersign(incident_id=story.incident(), by=by))


def changes(story: Story) -> list[str]:
    return [str(o.change) for o in story.outputs if isinstance(o, IncidentRecord)]


def refusals(story: Story) -> list[tuple[str, str]]:
    return [(r.what, str(r.reason)) for r in story.rejections()]


def test_a_critical_incident_is_closed_by_two_people(story):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story)
    assert story.state("panic") is AlarmState.ACTIVE_ACKNOWLEDGED, "it is in the proposer's hand"
    record = story.incidents()[story.incident()]
    assert (record.change, record.by, record.note) == (
        "closing-proposed", "anna", "call 12, police on site",
    )  # fmt: skip
    story.forward(300)
    countersign(story)
    story.expect(f"{CENTRE} panic withdrawn")
    (closed,) = story.incidents().values()
    assert (closed.change, closed.by, closed.countersigned_by, closed.disposition) == (
        "closed", "anna", "bas", "handled",
    )  # fmt: skip
    story.forward(86_400)


@pytest.mark.parametrize("by", ["anna", " Anna ", "ANNA"])
def test_nobody_countersigns_their_own_proposal(story, by):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story)
    countersign(story, by)
    assert refusals(story) == [("countersign", "same-person")]
    countersign(story)
    story.expect(f"{CENTRE} panic withdrawn")


def test_what_is_not_critical_one_person_closes(story):
    story.event("shutdown", "ankle")
    story.expect(f"{CENTRE} device-dying alert")
    story.event("charging", "ankle")
    propose(story, note="")
    story.expect(f"{CENTRE} device-dying withdrawn")
    assert changes(story) == ["opened", "closed"]


def test_a_critical_closing_gives_its_evidence(story):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story, note=" ")
    assert refusals(story) == [("dispose", "no-reason-given")]
    story.acknowledge()


def test_news_makes_a_proposal_void(story):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story)
    story.forward(20)
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    assert changes(story)[-1] == "closing-void"
    countersign(story)
    assert refusals(story) == [("countersign", "not-proposed")]
    story.acknowledge()


def test_another_alarm_or_a_confirmation_makes_a_proposal_void(story):
    story.verdict("possible", probability=0.97)
    story.expect(f"{CENTRE} proximity alert")
    propose(story, despite_active=True)
    story.verdict("confirmed")
    story.expect(f"{CENTRE} proximity update")
    assert changes(story)[-1] == "closing-void"
    propose(story, despite_active=True)
    story.event("strap-cut", "ankle")
    story.expect(f"{CENTRE} tamper alert")
    assert changes(story)[-2:] == ["closing-void", "joined"]
    story.dispose_all()


def test_a_proposal_that_nobody_countersigns_runs_out_and_the_alarm_pages_again(story):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story)
    story.forward(900)  # the acknowledgement that came with it
    story.expect(f"{CENTRE} panic escalation")
    story.acknowledge()
    story.forward(899)
    story.acknowledge()
    story.forward(1)
    assert changes(story)[-1] == "closing-void"
    countersign(story)
    assert refusals(story) == [("countersign", "not-proposed")]


def test_what_began_to_last_meanwhile_is_refused_to_the_second_person(story):
    story.event("strap-cut", "ankle")
    story.expect(f"{CENTRE} tamper alert")
    propose(story)
    assert refusals(story) == [("dispose", "condition-still-active")]
    story.event("strap-restored", "ankle")
    propose(story)
    story.event("strap-cut", "ankle")
    story.expect(f"{CENTRE} tamper alert")
    countersign(story)
    assert refusals(story)[-1] == ("countersign", "not-proposed")
    story.event("strap-restored", "ankle")
    propose(story)
    countersign(story)
    story.expect(f"{CENTRE} tamper withdrawn")


def test_one_quiet_alarm_of_a_critical_incident_needs_no_second_person(story):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    story.event("shutdown", "button")
    story.expect(f"{CENTRE} device-dying alert")
    story.event("charging", "button")
    propose(story, alarm_id=story.alarm("device-dying").alarm_id)
    story.expect(f"{CENTRE} device-dying withdrawn")
    propose(story, alarm_id=story.alarm("panic").alarm_id)
    assert changes(story)[-1] == "closing-proposed"
    countersign(story)
    story.expect(f"{CENTRE} panic withdrawn")
    assert story.open_incidents() == []


@pytest.mark.parametrize(
    ("incident_id", "by", "reason"),
    [("i-none", "bas", "unknown-incident"), (None, "", "no-reason-given")],
)
def test_a_countersign_that_cannot_be_taken_says_why(story, incident_id, by, reason):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story)
    story.take(Countersign(incident_id=incident_id or story.incident(), by=by))
    assert refusals(story) == [("countersign", reason)]


def test_a_later_proposal_replaces_the_earlier_one(story):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story)
    propose(story, by="carla", disposition=Disposition.FALSE_ALARM)
    countersign(story, "anna")
    story.expect(f"{CENTRE} panic withdrawn")
    (closed,) = story.incidents().values()
    assert (closed.by, closed.countersigned_by, closed.disposition) == (
        "carla", "anna", "false-alarm",
    )  # fmt: skip


def test_an_acknowledgement_does_not_touch_a_proposal(story):
    story.event("panic", "button")
    story.expect(f"{CENTRE} panic alert")
    propose(story)
    story.take(Acknowledge(incident_id=story.incident(), by="carla"))
    countersign(story)
    story.expect(f"{CENTRE} panic withdrawn")


def test_what_latches_needs_four_eyes_and_nothing_else():
    assert all(rule.four_eyes is rule.latched for rule in ALARM_BOOK.values())
