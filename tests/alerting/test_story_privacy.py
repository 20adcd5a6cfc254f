"""Planted coordinates: the protected person's place is in nothing that may not have it."""

import itertools
from typing import Any

import msgspec
import pytest

from alerting.book import telling
from alerting.book.audience import GUARDED, PLAIN, visible
from alerting.book.context import Context
from alerting.book.state import Facts
from alerting.book.types import (
    AlarmClass,
    Audience,
    Notice,
    OrderKind,
    Position,
    Purpose,
    RaiseByHand,
)

from .story import Story, verdict

PLANTED = Position(lat_e7=519_876_543, lon_e7=44_556_677, accuracy_mm=5_000, time_ms=1, mechanism=1)
WEARER = Position(lat_e7=511_223_344, lon_e7=49_887_766, accuracy_mm=5_000, time_ms=1, mechanism=1)
PLACE = (b"519876543", b"44556677")
FIGURES: dict[str, Any] = {
    "distance_mm": 123_457,
    "time_to_contact_ms": 98_765,
    "closing_mm_s": 13_579,
}

EVERY_CLASS = [c.value for c in AlarmClass if c is not AlarmClass.SYSTEM]
WEARER_CLASSES = ["area-breach", "approach", "order-breach", "device-dying"]


def everyone(story):
    """A plan that tells every audience everything it may be told."""
    staff = ("police", "probation", "monitoring-centre", "shift-lead")
    story.plan(
        "all",
        *(
            {"audience": a, "targets": [a], "classes": EVERY_CLASS, "deadline_s": 86_400}
            for a in staff
        ),
        {
            "audience": "protected-person",
            "targets": ["protected-device", "victim-sms"],
            "classes": EVERY_CLASS,
            "needs": "delivered",
            "deadline_s": 86_400,
        },
        {
            "audience": "wearer",
            "targets": ["wearer-device", "wearer-sms"],
            "classes": WEARER_CLASSES,
            "needs": "delivered",
            "deadline_s": 86_400,
        },
    )


def whole_life(story):
    """Everything that can happen, her place in every input that can carry it."""
    story.case(
        plan_id="all",
        protected=("P", "Q"),
        devices={"ankle": "W", "button-p": "P", "button-q": "Q"},
    )
    where: dict[str, Any] = {"wearer_position": WEARER, "protected_position": PLANTED, **FIGURES}
    states = ("warning", "possible", "confirmed", "possible", "warning", "clear")
    freshness = ("fresh", "wearer-stale", "protected-stale", "blind", "fresh")
    for kind, protected in (("contact-ban", "P"), ("contact-ban", "Q"), ("area-ban", None)):
        for state, fresh in itertools.product(states, freshness):
            story.take(
                verdict(state, kind=kind, protected=protected, freshness=fresh, risk=3,
                        order=f"{kind}-{protected}", at_ms=story.now_ms, **where)
            )  # fmt: skip
            story.unexpected.clear()
        story.take(verdict("confirmed", kind=kind, protected=protected, historic=True, **where))
        story.unexpected.clear()
    story.take(verdict("confirmed", kind="location-order", order="home", **where))
    story.unexpected.clear()
    events = ("panic", "duress", "strap-cut", "jamming", "battery-critical", "shutdown", "fall",
              "case-opened", "silence", "contact-radio", "self-test")  # fmt: skip
    for kind, device in itertools.product(events, ("button-p", "button-q", "unknown-button")):
        story.event(kind, device, position=PLANTED)
        story.unexpected.clear()
    for kind in events:
        story.event(kind, "ankle", position=WEARER)
        story.unexpected.clear()
    story.let_pass(601)  # what was kept back for a while is told too
    story.take(
        RaiseByHand(
            alarm_class=AlarmClass.APPROACH,
            by="operator-1",
            reason="she lives at 51.9876543, 4.4556677",
            wearer_id="W",
        )
    )
    story.unexpected.clear()
    for _ in range(40):
        story.forward(600, stop_at_notice=True)
        story.unexpected.clear()
    story.dispose_all()


@pytest.fixture(scope="module")
def said():
    story = Story()
    everyone(story)
    whole_life(story)
    return story


def carries_place(notice):
    data = msgspec.json.encode(notice)
    return any(part in data for part in PLACE) or b"51.98" in data


@pytest.mark.parametrize("audience", ["wearer", "probation", "protected-person"])
def test_a_planted_place_reaches_nobody_without_the_right_to_it(said, audience):
    notices = said.notices_to(audience)
    assert len(notices) > 5
    assert [n for n in notices if carries_place(n)] == []


@pytest.mark.parametrize("audience", ["police", "monitoring-centre"])
def test_the_same_life_does_carry_it_to_those_who_go_there(said, audience):
    assert any(carries_place(n) for n in said.notices_to(audience))


def test_the_wearer_never_hears_anything_from_which_her_place_follows(said):
    for notice in said.notices_to("wearer"):
        data = msgspec.json.encode(notice)
        for figure in FIGURES.values():
            assert str(figure).encode() not in data
        assert notice.order_kind != "contact-ban"
        assert notice.alarm_class in WEARER_CLASSES
        assert notice.protected_id is None
        assert notice.wearer_position is None
        assert notice.device_id is None
        assert notice.subject_device_id in (None, "ankle")


def test_the_wearer_is_told_of_what_is_his_own(said):
    heard = {n.alarm_class.value for n in said.notices_to("wearer")}
    assert heard == set(WEARER_CLASSES)


def test_who_sees_the_wearer_s_position_does_not_get_the_distance_beside_it(said):
    for notice in said.notices_to("probation"):
        assert notice.distance_mm is None
        assert notice.time_to_contact_ms is None


def test_a_protected_person_learns_nothing_about_another_one(said):
    for notice in said.notices_to("protected-person"):
        if notice.subject_device_id == "button-p":
            assert notice.protected_id in (None, "P")
        if notice.subject_device_id == "button-q":
            assert notice.protected_id in (None, "Q")
        assert notice.wearer_position is None


def test_no_command_to_a_device_carries_more_than_the_order_to_report(said):
    commands = said.commands()
    assert commands
    for command in commands:
        assert command.text == ""
        assert not any(part in msgspec.json.encode(command) for part in PLACE)


def test_the_wearer_hears_nothing_that_her_device_said():
    with Story() as story:
        everyone(story)
        story.case(plan_id="all")
        story.event("shutdown", "button")
        story.expect(
            *(f"{a} device-dying alert" for a in ("police", "probation", "monitoring-centre")),
            "shift-lead device-dying alert",
            "protected-device:button device-dying alert",
            "victim-sms device-dying alert",
        )


def test_who_was_told_of_an_area_does_not_hear_on_when_it_becomes_a_contact():
    """No input leads there today; the rule is asked again for every notice all the same."""
    story = Story()
    everyone(story)
    story.case(plan_id="all")
    story.verdict("warning", kind="area-ban")
    told = {n.audience.value for _, n in story.unexpected}
    assert {"wearer", "police"} <= told
    state = story.book._state
    (alarm,) = state.rows.alarms.values()
    for kind, hears in ((OrderKind.AREA_BAN, True), (OrderKind.CONTACT_BAN, False)):
        cx = Context(state, story.now_ms, "e", 0)
        facts = msgspec.structs.replace(alarm.facts, order_kind=kind)
        changed = msgspec.structs.replace(alarm, facts=facts)
        telling.tell_again(cx, changed, Purpose.UPDATE, "news")
        heard = {o.audience.value for o in cx.outputs if isinstance(o, Notice)}
        assert ("wearer" in heard) is hears
        assert "police" in heard


def test_every_field_of_the_facts_is_either_granted_or_withheld_on_purpose():
    withheld = {"reason", "role", "person_id", "plan_id", "risk_class", "matter"}
    assert set(Facts.__struct_fields__) == set(GUARDED) | set(PLAIN) | withheld
    assert set(GUARDED) | set(PLAIN) <= set(Notice.__struct_fields__)


@pytest.mark.parametrize("audience", list(Audience))
def test_what_is_not_granted_is_not_in_the_fields(audience):
    facts = Facts(
        reason="x",
        wearer_id="W",
        protected_id="P",
        wearer_position=WEARER,
        protected_position=PLANTED,
        device_position=PLANTED,
        detail="d",
        order_id="o",
        **FIGURES,
    )
    fields = visible(facts, audience, "P")
    for name in fields:
        assert name in PLAIN or audience in GUARDED[name]
