"""The playbooks that are shipped: one for each legal title, and two routes for an AWARE button."""

import json
from pathlib import Path

import pytest

from afstand.cli import main as afstand
from alerting.book.plans import parse_plan
from alerting.book.titles import BY_ID
from alerting.book.types import AlarmClass, Audience, RaiseByHand
from alerting.notify.cap import CapRenderer
from alerting.notify.delivery import delivery_of_notice
from alerting.notify.device_texts import device_text
from alerting.notify.events import data
from alerting.notify.mail import MailChannel
from alerting.notify.texts import sms_text

from .story import Story, order
from .test_channel_cap import target as cap_target
from .test_channel_mail import target as mail_target

FOLDER = Path(__file__).parents[2] / "deploy" / "plans"
FILES = sorted(FOLDER.glob("*.json"))
AWARE = ("aware-police", "aware-alarm-centre")
SUPERVISED = ("14c", "schorsing", "vi", "38z")
TOLD_ONLY = ("509hh",)
POLICE_FOR_AREAS = ("509hh", "huisverbod", "38v", "schorsing", "172a")


def story_of(name, *, protected=("P",), wearer="W", owners=None):
    story = Story()
    raw = json.loads((FOLDER / f"{name}.json").read_text())
    rest = {k: v for k, v in raw.items() if k not in ("format", "id", "steps")}
    story.plan(raw["id"], *raw["steps"], **rest)
    devices = {"button": "P"} | ({"ankle": "W"} if wearer else {})
    story.case(
        plan_id=name, wearer=wearer, protected=protected, devices=devices,
        owners=owners or {"protected": "owner"},
    )  # fmt: skip
    return story


def test_every_title_has_a_playbook_of_its_name():
    names = {path.stem for path in FILES}
    assert names == {*BY_ID, *AWARE}
    for path in FILES:
        assert parse_plan(path.read_bytes()).id == path.stem


def test_no_playbook_leaves_a_press_unanswered(capsys):
    checked = [str(FOLDER / f"{name}.json") for name in ("509hh", *AWARE)]  # differ the most
    code = afstand(["plans", "check", *checked, "--class", "panic"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "0 problems, 0 warnings" in said.out + said.err


@pytest.mark.parametrize("title", BY_ID)
def test_a_meeting_that_nobody_answers(title):
    story = story_of(title)
    story.verdict("confirmed")
    at_once = ["meldkamer proximity alert", "monitoring-centre proximity alert",
               "protected-device:button proximity alert", "owner legal task"]  # fmt: skip
    office = title in (*SUPERVISED, *TOLD_ONLY)
    story.expect(*at_once, *(["reclassering proximity alert"] if office else []), at_s=0)
    story.forward(30)
    if office:
        story.receipt("reclassering proximity alert", "delivered")
    story.forward(30)
    story.expect("meldkamer-2 proximity escalation", at_s=60)
    story.forward(30)
    story.expect("shift-lead proximity escalation", at_s=90)
    story.forward(120)
    story.expect("wachtleider-sms proximity escalation", at_s=210)
    story.acknowledge()


@pytest.mark.parametrize("title", BY_ID)
def test_who_hears_of_an_entry_into_a_forbidden_zone(title):
    story = story_of(title)
    story.verdict("confirmed", kind="area-ban")
    said = {story.reads(notice) for _, notice in story.unexpected}
    assert "monitoring-centre area-breach alert" in said
    assert "wearer-device:ankle area-breach alert" in said
    assert ("meldkamer area-breach alert" in said) is (title in POLICE_FOR_AREAS)
    assert ("reclassering area-breach alert" in said) is (title in (*SUPERVISED, *TOLD_ONLY))
    story.hush()
    story.acknowledge()


@pytest.mark.parametrize("title", ["huisverbod", "38v", "172a"])
def test_a_route_without_a_probation_officer_ends_with_the_owner_of_the_case(title):
    story = story_of(title)
    story.take(RaiseByHand(alarm_class=AlarmClass.PATTERN, by="op", reason="r", wearer_id="W"))
    story.expect("owner pattern alert")
    assert story.notices_to("probation") == []


@pytest.mark.parametrize("title", SUPERVISED)
def test_the_office_answers_for_a_broken_location_order(title):
    story = story_of(title)
    story.verdict("confirmed", kind="location-order")
    story.expect("monitoring-centre order-breach alert", "reclassering order-breach alert",
                 "wearer-device:ankle order-breach alert", "owner legal task")  # fmt: skip
    story.receipt("reclassering order-breach alert", "acknowledged", by="toezichthouder")
    story.receipt("wearer-device:ankle order-breach alert", "delivered")
    story.forward(800)
    assert not story.unexpected


def test_an_aware_press_goes_straight_to_the_police():
    with story_of("aware-police", wearer=None) as story:
        story.event("panic", "button")
        story.expect("meldkamer panic alert", "protected-device:button panic alert", at_s=0)
        story.receipt("protected-device:button panic alert", "delivered")
        story.forward(60)
        story.expect("meldkamer-2 panic escalation", "monitoring-centre panic escalation", at_s=60)
        story.forward(90)
        story.expect("shift-lead panic escalation", at_s=150)
        story.receipt("meldkamer panic alert", "acknowledged", by="centralist")


def test_an_aware_press_by_an_alarm_centre_reaches_the_police_when_that_is_silent():
    with story_of("aware-alarm-centre", wearer=None) as story:
        story.event("panic", "button")
        story.expect("alarm-centre panic alert", "protected-device:button panic alert", at_s=0)
        story.receipt("protected-device:button panic alert", "delivered")
        story.forward(30)
        story.expect("meldkamer panic escalation", at_s=30)
        story.forward(60)
        story.expect("meldkamer-2 panic escalation", "shift-lead panic escalation", at_s=90)
        story.receipt("meldkamer panic escalation", "acknowledged", by="centralist")


def test_an_alarm_centre_that_answers_has_it_in_hand():
    with story_of("aware-alarm-centre", wearer=None) as story:
        story.event("panic", "button")
        story.expect("alarm-centre panic alert", "protected-device:button panic alert")
        story.receipt("protected-device:button panic alert", "delivered")
        story.receipt("alarm-centre panic alert", "acknowledged", by="pac-7")
        story.forward(890)


@pytest.mark.parametrize("name", AWARE)
def test_a_test_press_is_told_as_a_test_and_is_no_alarm(name):
    with story_of(name, wearer=None) as story:
        story.event("self-test", "button")
        (test,) = story.expect("monitoring-centre panic test")
        assert "TEST" in sms_text(test, "nl")
        assert story.incidents() == {}


def test_a_press_from_a_button_that_nobody_knows_pages_and_is_marked():
    with story_of("aware-police", wearer=None) as story:
        story.event("panic", "stolen-button", authenticated=False)
        (told,) = story.expect("monitoring-centre panic alert")
        assert not told.authenticated
        assert told.device_id == "stolen-button"
        assert "niet geverifieerd" in sms_text(told, "nl")
        story.forward(60)
        story.expect("shift-lead panic escalation")
        story.acknowledge()


def test_an_exercise_is_marked_in_every_message_of_its_whole_life():
    story = story_of("509hh")
    story.take(RaiseByHand(alarm_class=AlarmClass.PROXIMITY, by="lead", reason="drill",
                           wearer_id="W", protected_id="P", drill=True))  # fmt: skip
    story.let_pass(1200)
    story.dispose_all()
    notices = [o for o in story.outputs if type(o).__name__ == "Notice"]
    assert {n.purpose for n in notices} >= {"alert", "escalation", "withdrawn"}
    assert {n.target for n in notices} >= {"meldkamer", "meldkamer-2", "reclassering",
                                           "wachtleider-sms", "protected-device"}  # fmt: skip
    assert all(o.drill for o in story.outputs if type(o).__name__ in ("Notice", "IncidentRecord"))
    mail = MailChannel(mail_target(), None)
    for number, notice in enumerate(notices):
        delivery = delivery_of_notice(f"p-{number}-0-0", notice)
        assert sms_text(notice, "nl").startswith("OEFENING")
        assert str(mail.render(delivery)["Subject"]).startswith("OEFENING")
        assert data(notice)["drill"] is True
        cap = CapRenderer(cap_target())(delivery).body.decode()
        assert "<status>Exercise</status>" in cap
        assert cap.count("OEFENING") >= 2
        if notice.audience in (Audience.PROTECTED_PERSON, Audience.WEARER):
            assert device_text(notice, "nl").startswith("OEFENING")
    assert story.commands() == []


def test_an_order_of_a_title_runs_the_playbook_that_it_names():
    assert order("o-1", plan_id="509hh").plan_id == "509hh"
    story = story_of("509hh")
    story.case(plan_id=None, devices={"button": "P", "ankle": "W"})
    story.verdict("confirmed", plan_id="509hh")
    (police,) = [n for _, n in story.unexpected if n.target == "meldkamer"]
    assert police.plan_id == "509hh"
    story.hush()
    story.acknowledge()
