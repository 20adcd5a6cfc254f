"""Commands to devices: what is asked, how often, and what an answer or its absence means."""

import itertools

import pytest

from alerting.book.types import DeviceCommand
from geofence.verdicts import PositionRequest, RequestReason

from .story import START_MS, Story


def request(story, person="W", interval_s=10, duration_s=120, reason="doubtful-fix"):
    return PositionRequest(
        person_id=person,
        order_id="order-1",
        interval_s=interval_s,
        duration_s=duration_s,
        reason=RequestReason(reason),
        at_ms=story.now_ms,
    )


@pytest.fixture
def story():
    with Story() as told:
        told.plan("plan-1", {"audience": "monitoring-centre", "targets": ["room"]})
        told.case(plan_id="plan-1", devices={"ankle": "W", "button": "P", "phone": "P"})
        yield told


def test_a_position_request_becomes_a_burst_on_every_device_of_the_person(story):
    story.take(request(story, "P", interval_s=5, duration_s=60))
    one, two = story.commands()
    assert (one.device_id, two.device_id) == ("button", "phone")
    assert (one.code, one.interval_s, one.duration_s) == ("burst", 5, 60)
    assert one.expires_ms == START_MS + 60_000
    assert one.incident_id is None
    assert one.reason == "doubtful-fix"


def test_a_person_without_a_device_cannot_be_asked_and_that_is_said(story):
    (seen,) = story.take(request(story, "nobody"))
    assert (seen.kind, seen.reason) == ("position-request", "no-device-known")


def test_a_device_that_already_reports_that_often_is_not_asked_again(story):
    story.take(request(story))
    story.forward(30)
    (record,) = story.take(request(story))
    assert (record.status, record.reason) == ("not-sent", "already-asked")
    story.forward(40)
    (command,) = story.take(request(story))
    assert isinstance(command, DeviceCommand), "less than half of it is left: prolonged"
    (command,) = story.take(request(story, interval_s=5))
    assert command.interval_s == 5, "a shorter interval is another wish"


def test_an_alarm_asks_both_sides_at_once(story):
    story.verdict("confirmed")
    story.expect("room proximity alert")
    assert [c.device_id for c in story.commands()] == ["ankle", "button", "phone"]
    assert {c.incident_id for c in story.commands()} == {story.incident()}
    story.acknowledge()


def test_a_press_asks_the_button_itself_first(story):
    story.event("panic", "button")
    story.expect("room panic alert")
    assert [c.device_id for c in story.commands()] == ["button", "phone", "ankle"]
    story.acknowledge()


def test_nothing_is_asked_of_a_device_that_nobody_knows(story):
    story.event("panic", "unknown-button")
    story.expect("monitoring-centre panic alert")
    assert story.commands() == []


@pytest.mark.parametrize("answer", ["done", "refused", "expired"])
def test_an_answer_settles_the_command(story, answer):
    story.take(request(story))
    (command,) = story.commands()
    story.forward(5)
    story.event(f"command-{answer}", "ankle", value=command.command_id)
    (record,) = story.command_records()
    assert (record.status, record.command_id) == (answer, command.command_id)
    story.event(f"command-{answer}", "ankle", value=command.command_id)
    assert story.observations()[-1].reason == "command-not-pending"
    assert story.book.figures()["commands_pending"] == 0


def test_a_refused_burst_may_be_asked_again_at_once(story):
    story.take(request(story))
    story.event("command-refused", "ankle", value=story.commands()[0].command_id)
    (again,) = story.take(request(story))
    assert isinstance(again, DeviceCommand)


def test_another_device_cannot_answer(story):
    story.take(request(story))
    story.event("command-done", "button", value=story.commands()[0].command_id)
    assert story.observations()[-1].reason == "command-not-pending"
    assert story.book.figures()["commands_pending"] == 1


def test_no_answer_by_the_expiry_is_an_event_of_its_own(story):
    story.take(request(story))
    story.forward(74)
    assert story.command_records() == []
    story.forward(1)
    (record,) = story.command_records()
    assert (record.status, record.at_ms) == ("unanswered", START_MS + 75_000)


def test_ids_are_unique_growing_and_fit_32_bits(story):
    for second in range(50):
        story.take(*(request(story, p, interval_s=60 - second) for p in ("W", "P")))
        story.forward(second % 3)
    ids = [c.command_id for c in story.commands()]
    assert len(ids) == 150
    assert all(a < b for a, b in itertools.pairwise(ids))
    assert max(ids) < 2**32


def test_a_new_book_does_not_give_the_ids_of_the_old_one():
    """A partition that starts from nothing must not confuse the devices with ids they have seen."""
    seen = []
    for start_s in (0, 60):
        story = Story()
        story.forward(start_s)
        story.case()
        story.take(request(story), request(story, "P"))
        seen += [c.command_id for c in story.commands()]
    assert len(set(seen)) == len(seen)
