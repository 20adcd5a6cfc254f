"""Every way a step of a plan can go: answered, missed, failed, empty, delayed, repeated."""

import pytest

from afstand.limits import BOOK_REFERENCES_MAX
from alerting.book.types import (
    AlarmClass,
    RaiseByHand,
    Reference,
    TellProtected,
)

from .story import Story

PANIC_POLICE = {"audience": "police", "targets": ["police"], "classes": ["panic"]}


def told(*steps, **rest):
    """A story with one case under this plan."""
    story = Story()
    story.plan("plan-1", *steps, **rest)
    story.case(plan_id="plan-1")
    return story


def test_an_answered_step_is_left_alone_until_its_acknowledgement_expires():
    with told({**PANIC_POLICE, "deadline_s": 30}, acknowledgement_expires_s=300) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.forward(29)
        story.receipt("police panic alert", "acknowledged", by="cad-7")
        story.forward(300, stop_at_notice=True)
        (notice,) = story.expect("police panic escalation", at_s=329)
        assert (notice.round, notice.reason) == (2, "acknowledgement-expired")
        assert "acknowledgement-expired" in story.changes("panic")


def test_acknowledging_again_renews_the_term():
    with told(PANIC_POLICE, acknowledgement_expires_s=300) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.acknowledge()
        story.receipt("police panic alert", "acknowledged")
        story.forward(250)
        story.acknowledge("operator-2")
        story.forward(299)
        story.nothing_more()
        story.forward(1)
        story.expect("police panic escalation", at_s=550)
        assert "acknowledgement-renewed" in story.changes("panic")


def test_delivery_alone_does_not_answer_a_step_that_needs_an_acknowledgement():
    with told({**PANIC_POLICE, "deadline_s": 30, "fallback": ["police-sms"]}) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.receipt("police panic alert", "delivered")
        story.forward(30)
        story.expect("police-sms panic escalation", at_s=30)


def test_the_fallback_is_told_at_once_when_a_target_finally_fails():
    with told({**PANIC_POLICE, "deadline_s": 30, "fallback": ["police-sms"]}) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.forward(3)
        story.receipt("police panic alert", "failed")
        story.expect("police-sms panic escalation", at_s=3)
        story.receipt("police panic alert", "failed")
        story.receipt("police-sms panic escalation", "acknowledged")
        story.forward(120)


def test_a_step_whose_every_target_failed_is_missed_at_once():
    with told(
        {**PANIC_POLICE, "targets": ["police", "police-2"], "deadline_s": 60},
        {"audience": "shift-lead", "targets": ["lead"], "classes": ["panic"], "on": "missed"},
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert", "police-2 panic alert")
        story.receipt("police panic alert", "failed")
        story.nothing_more()
        story.forward(2)
        story.receipt("police-2 panic alert", "refused")
        story.expect("lead panic escalation", at_s=2)


def test_one_acknowledgement_of_several_targets_is_enough():
    with told({**PANIC_POLICE, "targets": ["police", "police-2"], "deadline_s": 60}) as story:
        story.event("panic", "button")
        story.expect("police panic alert", "police-2 panic alert")
        story.receipt("police-2 panic alert", "acknowledged")
        story.receipt("police panic alert", "failed")
        story.forward(600)


def test_after_the_fallback_the_stand_in_and_the_last_resort_follow():
    with told(
        {**PANIC_POLICE, "deadline_s": 30, "fallback": ["police-sms"]},
        {
            "audience": "shift-lead",
            "targets": ["lead"],
            "classes": ["panic"],
            "on": "missed",
            "after_s": 10,
            "deadline_s": 45,
        },
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.forward(30)
        story.expect("police-sms panic escalation", at_s=30)
        story.forward(10)
        story.expect("lead panic escalation", at_s=40)
        story.forward(45)
        story.expect("monitoring-centre panic escalation", at_s=85)
        story.forward(60)
        story.expect("shift-lead panic escalation", at_s=145)
        story.forward(120)
        assert "plan-ended" in story.changes("panic")
        story.forward(120)
        (notice,) = story.expect("police panic escalation", at_s=385)
        assert notice.reason == "nobody-answered"
        assert "re-alarmed" in story.changes("panic")


def test_a_message_that_is_only_to_be_delivered_does_not_delay_the_last_resort():
    office = {"audience": "probation", "classes": ["panic"], "needs": "delivered"}
    with told(
        {**PANIC_POLICE, "deadline_s": 30},
        {**office, "targets": ["office"], "deadline_s": 600, "fallback": ["office-mail"]},
        {**office, "targets": ["archive"], "after_s": 300, "even_if_acknowledged": True},
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert", "office panic alert")
        story.forward(30)
        (notice,) = story.expect("monitoring-centre panic escalation", at_s=30)
        assert (notice.plan_id, notice.step, notice.round) == ("default", 0, 1)
        story.acknowledge()
        story.forward(270)
        story.expect("archive panic alert", at_s=300)
        story.receipt("archive panic alert", "delivered")
        story.forward(300)
        (notice,) = story.expect("office-mail panic escalation", at_s=600)
        assert (notice.plan_id, notice.step) == ("plan-1", 1)


def test_it_pages_for_ever_until_somebody_answers():
    with told({**PANIC_POLICE, "deadline_s": 30}) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        rounds = 0
        while rounds < 6:
            story.forward(600, stop_at_notice=True)
            said = {story.reads(n) for _, n in story.unexpected}
            story.expect(*said)
            rounds += "police panic escalation" in said
        story.acknowledge()
        story.forward(0)


def test_an_incident_without_a_plan_reaches_the_monitoring_centre_and_then_the_shift_lead():
    with Story() as story:
        story.case()
        story.verdict("confirmed")
        story.expect("monitoring-centre proximity alert")
        story.forward(60)
        story.expect("shift-lead proximity escalation", at_s=60)
        story.acknowledge()
        story.forward(300)


def test_a_plan_that_nobody_knows_is_replaced_by_the_default_and_said():
    with Story() as story:
        story.case()
        story.verdict("confirmed", plan_id="lost-plan")
        story.expect("monitoring-centre proximity alert")
        assert "last-resort" in story.changes("proximity")


def test_a_class_that_the_plan_does_not_serve_goes_by_the_default():
    with told(PANIC_POLICE) as story:
        story.event("strap-cut", "ankle")
        story.expect("monitoring-centre tamper alert")
        assert story.incidents()[story.incident()].plan_ids in ((), ("plan-1", "default"))


def test_an_empty_step_is_passed_at_once():
    with told(
        {**PANIC_POLICE, "targets": [], "deadline_s": 60},
        {
            "audience": "monitoring-centre",
            "targets": ["room"],
            "on": "missed",
            "classes": ["panic"],
        },
    ) as story:
        story.event("panic", "button")
        story.expect("room panic escalation", at_s=0)
        assert "step-passed" in story.changes("panic")


def test_an_empty_step_tells_its_fallback_at_once():
    with told({**PANIC_POLICE, "targets": [], "fallback": ["police-sms"]}) as story:
        story.event("panic", "button")
        story.expect("police-sms panic escalation", at_s=0)
        story.receipt("police-sms panic escalation", "acknowledged")
        story.forward(600)


def test_a_protected_person_without_a_device_is_nobody_to_tell():
    with Story() as story:
        story.plan(
            "plan-1",
            PANIC_POLICE,
            {
                "audience": "protected-person",
                "targets": ["protected-device"],
                "classes": ["panic"],
                "needs": "delivered",
            },
            {
                "audience": "monitoring-centre",
                "targets": ["room"],
                "classes": ["panic"],
                "on": "missed",
                "of": 1,
            },
        )
        story.case(plan_id="plan-1", devices={"ankle": "W"})
        story.event("panic", "stolen-button")
        story.expect("monitoring-centre panic alert")
        story.dispose()
        story.expect("monitoring-centre panic withdrawn")
        story.verdict("confirmed", plan_id="plan-1")
        story.expect("monitoring-centre proximity alert")
        story.dispose(despite_active=True)
        story.expect("monitoring-centre proximity withdrawn")
        story.take(_by_hand())
        story.expect("police panic alert", "room panic escalation")


def _by_hand():
    return RaiseByHand(
        alarm_class=AlarmClass.PANIC,
        by="operator-1",
        reason="call",
        wearer_id="W",
        protected_id="P",
    )


def test_every_device_of_every_protected_person_is_told_by_itself():
    with Story() as story:
        story.plan(
            "plan-1",
            {"audience": "monitoring-centre", "targets": ["room"]},
            {
                "audience": "protected-person",
                "targets": ["protected-device"],
                "classes": ["tamper"],
                "needs": "delivered",
            },
        )
        story.case(
            plan_id="plan-1",
            protected=("P", "Q"),
            devices={"ankle": "W", "button-p": "P", "phone-p": "P", "button-q": "Q"},
        )
        story.event("strap-cut", "ankle")
        notices = story.expect(
            "protected-device:button-p tamper alert",
            "protected-device:phone-p tamper alert",
            "protected-device:button-q tamper alert",
            "room tamper alert",
        )
        assert [n.protected_id for n in notices] == [None] * 4
        assert story.incidents()[story.incident()].subject == "person/W"


def test_steps_on_confirmed_wait_for_the_confirmation():
    with told(
        {"audience": "monitoring-centre", "targets": ["room"], "classes": ["proximity"]},
        {
            "audience": "police",
            "targets": ["police"],
            "classes": ["proximity"],
            "on": "confirmed",
            "after_s": 5,
        },
    ) as story:
        story.verdict("possible")
        story.expect("room proximity alert")
        story.acknowledge()
        story.forward(20)
        story.verdict("confirmed")
        story.expect("room proximity update")
        story.forward(5)
        story.expect("police proximity alert", at_s=25)


def test_steps_on_confirmed_start_at_once_for_what_is_certain():
    with told(
        {"audience": "monitoring-centre", "targets": ["room"], "classes": ["proximity"]},
        {"audience": "police", "targets": ["police"], "classes": ["proximity"], "on": "confirmed"},
    ) as story:
        story.verdict("confirmed")
        story.expect("room proximity alert", "police proximity alert")


def test_an_acknowledgement_spares_delayed_steps_but_not_those_that_ask_to_run():
    delayed = {"audience": "police", "classes": ["panic"], "after_s": 60, "needs": "delivered"}
    with told(
        {"audience": "monitoring-centre", "targets": ["room"], "classes": ["panic"]},
        {**delayed, "targets": ["spared"]},
        {**delayed, "targets": ["informed"], "even_if_acknowledged": True},
    ) as story:
        story.event("panic", "button")
        story.expect("room panic alert")
        story.acknowledge()
        story.forward(60)
        story.expect("informed panic alert", at_s=60)


def test_the_operator_does_not_answer_for_the_police():
    """A hand-over is complete only when the one it is handed to says so."""
    with told(
        {**PANIC_POLICE, "deadline_s": 60, "fallback": ["police-sms"]},
        {"audience": "monitoring-centre", "targets": ["room"], "classes": ["panic"]},
        {
            "audience": "shift-lead",
            "targets": ["lead"],
            "classes": ["panic"],
            "on": "missed",
            "of": 0,
        },
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert", "room panic alert")
        story.acknowledge()
        story.forward(60)
        story.expect("police-sms panic escalation", "lead panic escalation", at_s=60)


def test_the_police_take_it_in_hand_for_the_room():
    with told(
        PANIC_POLICE,
        {"audience": "monitoring-centre", "targets": ["room"], "classes": ["panic"]},
        {"audience": "shift-lead", "targets": ["lead"], "classes": ["panic"], "on": "missed"},
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert", "room panic alert")
        story.receipt("police panic alert", "acknowledged")
        story.forward(300)


def test_an_office_that_answers_by_machine_does_not_end_a_critical_escalation():
    with told(
        {"audience": "monitoring-centre", "targets": ["room"], "classes": ["tamper"]},
        {"audience": "probation", "targets": ["office"], "classes": ["tamper", "order-breach"]},
    ) as story:
        story.event("strap-cut", "ankle")
        story.expect("room tamper alert", "office tamper alert")
        story.receipt("office tamper alert", "acknowledged")
        assert "acknowledged" not in story.changes("tamper")
        story.forward(60)
        story.expect("monitoring-centre tamper escalation")
        story.acknowledge()
        story.verdict("confirmed", kind="location-order")
        story.expect("office order-breach alert")
        story.receipt("office order-breach alert", "acknowledged")
        assert "acknowledged" in story.changes("order-breach")


def test_the_protected_person_s_own_answer_is_no_acknowledgement_of_the_alarm():
    with told(
        PANIC_POLICE,
        {"audience": "protected-person", "targets": ["protected-device"], "classes": ["panic"]},
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert", "protected-device:button panic alert")
        story.receipt("protected-device:button panic alert", "acknowledged")
        assert "step-met" in story.changes("panic")
        assert "acknowledged" not in story.changes("panic")
        story.acknowledge()
        story.receipt("police panic alert", "acknowledged")


def test_an_acknowledgement_of_an_earlier_round_still_takes_the_alarm_in_hand():
    with told({**PANIC_POLICE, "deadline_s": 30}, acknowledgement_expires_s=60) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.acknowledge()
        story.receipt("police panic alert", "delivered")
        story.forward(30, stop_at_notice=True)
        story.forward(30)
        story.expect("police panic escalation", at_s=60)
        story.receipt("police panic alert", "acknowledged")
        assert story.alarm("panic").state == "active-acknowledged"
        story.receipt("police panic escalation", "acknowledged")
        story.forward(59)


@pytest.mark.parametrize(("policy", "heard"), [("tell", True), ("silent", False)])
def test_the_policy_of_the_case_decides_whether_the_protected_person_is_told(policy, heard):
    with Story() as story:
        story.plan(
            "plan-1",
            {"audience": "monitoring-centre", "targets": ["room"]},
            {
                "audience": "protected-person",
                "targets": ["protected-device"],
                "classes": ["proximity"],
                "needs": "delivered",
            },
            {
                "audience": "shift-lead",
                "targets": ["lead"],
                "classes": ["proximity"],
                "on": "missed",
                "of": 1,
            },
        )
        story.case(plan_id="plan-1", policy=policy)
        story.verdict("confirmed")
        victim = ("protected-device:button proximity alert",) if heard else ()
        story.expect("room proximity alert", *victim)
        story.acknowledge()
        for said in victim:
            story.receipt(said, "delivered")
        story.forward(300)


def test_under_ask_operator_the_protected_person_hears_when_the_operator_says_so():
    with Story() as story:
        story.plan(
            "plan-1",
            {"audience": "monitoring-centre", "targets": ["room"]},
            {
                "audience": "protected-person",
                "targets": ["protected-device"],
                "classes": ["proximity"],
                "needs": "delivered",
            },
            acknowledgement_expires_s=60,
        )
        story.case(plan_id="plan-1", policy="ask-operator")
        story.verdict("confirmed")
        story.expect("room proximity alert")
        story.acknowledge()
        story.forward(60)
        story.expect("room proximity escalation")
        story.take(TellProtected(incident_id=story.incident(), by="operator-1"))
        story.expect("protected-device:button proximity escalation")
        assert story.incidents()[story.incident()].change == "protected-told"
        story.acknowledge()


def test_repeated_pages_do_not_frighten_the_protected_person_again():
    with told(
        {**PANIC_POLICE, "deadline_s": 30},
        {
            "audience": "protected-person",
            "targets": ["protected-device"],
            "classes": ["panic"],
            "needs": "delivered",
        },
        acknowledgement_expires_s=60,
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert", "protected-device:button panic alert")
        story.receipt("protected-device:button panic alert", "delivered")
        story.receipt("police panic alert", "acknowledged")
        story.forward(60)
        story.expect("police panic escalation")
        story.receipt("police panic escalation", "acknowledged")


def test_the_plan_is_frozen_into_the_incident():
    with told(
        {**PANIC_POLICE, "deadline_s": 30, "fallback": ["police-sms"]},
        acknowledgement_expires_s=100,
    ) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.plan("plan-1", {**PANIC_POLICE, "targets": ["somebody-else"]})
        story.forward(30)
        story.expect("police-sms panic escalation")
        story.acknowledge()
        story.receipt("police-sms panic escalation", "acknowledged")
        story.forward(100)
        story.expect("police panic escalation")
        story.dispose()
        story.expect("police panic withdrawn", "police-sms panic withdrawn")
        story.event("panic", "button")
        story.expect("somebody-else panic alert")
        assert len(story.book._state.plans) == 3, "the old version went with its last incident"
        story.acknowledge()
        story.receipt("somebody-else panic alert", "acknowledged")


def test_a_plan_defined_again_the_same_is_not_a_new_version():
    with told(PANIC_POLICE) as story:
        before = story.book._state.current_plans["plan-1"]
        story.plan("plan-1", PANIC_POLICE)
        assert story.book._state.current_plans["plan-1"] == before


def test_a_second_order_with_another_plan_runs_its_own():
    with Story() as story:
        story.plan("plan-a", {"audience": "monitoring-centre", "targets": ["room-a"]})
        story.plan("plan-b", {"audience": "police", "targets": ["police-b"]})
        story.case()
        story.verdict("confirmed", plan_id="plan-a", order="order-a", kind="area-ban")
        story.expect("room-a area-breach alert")
        story.forward(5)
        story.verdict("confirmed", plan_id="plan-b", order="order-b", kind="area-ban")
        story.expect("police-b area-breach alert")
        assert len(story.alarms()) == 1
        story.acknowledge()
        story.receipt("police-b area-breach alert", "acknowledged")
        story.verdict("clear", plan_id="plan-a", order="order-a", kind="area-ban")
        assert story.state("area-breach") == "active-acknowledged", (
            "the other order is still broken"
        )


def test_each_class_of_an_incident_runs_its_plan_for_itself():
    """An answered alarm must not swallow the one that joins it."""
    with told({"audience": "monitoring-centre", "targets": ["room"]}) as story:
        story.event("shutdown", "ankle")
        story.expect("room device-dying alert")
        story.acknowledge()
        story.forward(60)
        story.event("strap-cut", "ankle")
        story.expect("room tamper alert")
        story.forward(60)
        story.expect("monitoring-centre tamper escalation", at_s=120)
        assert story.incidents()[story.incident()].alarm_classes == ("device-dying", "tamper")


def test_one_alarm_of_an_incident_may_be_acknowledged_by_itself():
    with told({"audience": "monitoring-centre", "targets": ["room"]}) as story:
        story.event("shutdown", "ankle")
        story.expect("room device-dying alert")
        story.event("strap-cut", "ankle")
        story.expect("room tamper alert")
        story.acknowledge(alarm_id=story.alarm("device-dying").alarm_id)
        assert story.state("tamper") == "active-unacknowledged"
        story.forward(60)
        story.expect("monitoring-centre tamper escalation")


def test_a_notice_refers_to_what_its_target_heard_of_the_alarm_before():
    with told(
        {"audience": "police", "targets": ["police"], "deadline_s": 60},
        {"audience": "shift-lead", "targets": ["lead"], "on": "missed", "deadline_s": 60},
        {"audience": "protected-person", "targets": ["protected-device"], "needs": "delivered"},
    ) as story:
        story.event("panic", "button")
        first, shown = story.expect("police panic alert", "protected-device:button panic alert")
        story.forward(60)
        (lead,) = story.expect("lead panic escalation")
        story.event("panic", "button")
        updates = story.expect(
            "police panic update", "lead panic update", "protected-device:button panic update"
        )
        by_target = {n.target: n for n in updates}
        assert first.references == lead.references == shown.references == ()
        key = story.key_of(first)
        assert by_target["police"].references == (Reference(key=key, at_ms=first.at_ms),)
        assert [r.key for r in by_target["lead"].references] == [story.key_of(lead)]
        assert by_target["protected-device"].references == ()
        story.acknowledge()


def test_of_a_long_thread_the_first_notice_and_the_last_few_are_referred_to():
    with told({"audience": "police", "targets": ["police"]}) as story:
        story.event("panic", "button")
        (first,) = story.expect("police panic alert")
        story.receipt("police panic alert", "acknowledged", by="cad-7")
        said = [first]
        for _ in range(40):
            story.forward(20)
            story.event("panic", "button")
            said += story.expect("police panic alert")
            story.receipt("police panic alert", "acknowledged", by="cad-7")
        keys = [reference.key for reference in said[-1].references]
        assert len(keys) == BOOK_REFERENCES_MAX
        assert keys == [story.key_of(n) for n in (said[0], *said[-BOOK_REFERENCES_MAX:-1])]
