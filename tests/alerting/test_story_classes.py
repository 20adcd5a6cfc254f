"""One story for each class of alarm: what raises it, who hears, what ends it."""

import pytest

from alerting.book.types import AlarmClass, AlarmState, Audience, Purpose, RaiseByHand

from .story import START_MS, Story

CENTRE = "monitoring-centre"

CHAIN = (
    {
        "audience": "police",
        "targets": ["meldkamer"],
        "classes": ["panic", "proximity", "tamper", "area-breach"],
        "deadline_s": 60,
        "fallback": ["meldkamer-sms"],
    },
    {
        "audience": "protected-person",
        "targets": ["protected-device"],
        "classes": ["panic", "proximity", "area-breach", "approach"],
        "needs": "delivered",
    },
    {"audience": "monitoring-centre", "targets": ["room"]},
    {
        "audience": "probation",
        "targets": ["reclassering"],
        "classes": ["order-breach", "area-breach"],
        "needs": "delivered",
    },
)


@pytest.fixture
def story():
    with Story() as told:
        told.plan("chain", *CHAIN)
        told.case(plan_id="chain")
        yield told


def test_panic_reaches_police_and_the_protected_person_and_waits_for_a_disposition(story):
    story.event("panic", "button")
    police, victim, room = story.expect(
        "meldkamer panic alert", "protected-device:button panic alert", "room panic alert"
    )
    assert (police.audience, police.priority, police.purpose) == (
        Audience.POLICE,
        "critical",
        Purpose.ALERT,
    )
    assert victim.protected_id == "P"
    assert room.wearer_id == "W", "the room must know whom she may be afraid of"
    story.acknowledge()
    story.receipt("meldkamer panic alert", "acknowledged")
    story.receipt("protected-device:button panic alert", "delivered")
    story.forward(600)
    assert story.state("panic") is AlarmState.ACTIVE_ACKNOWLEDGED
    story.dispose()
    story.expect(
        "meldkamer panic withdrawn",
        "protected-device:button panic withdrawn",
        "room panic withdrawn",
    )
    assert story.open_incidents() == []
    story.forward(86_400)


def test_duress_and_a_fall_of_the_protected_person_are_panic(story):
    story.event("duress", "button")
    story.expect("meldkamer panic alert", "protected-device:button panic alert", "room panic alert")
    story.forward(1)
    story.event("fall", "button")
    assert story.alarm("panic").count == 2
    story.forward(20)
    story.event("panic", "button")
    story.expect(
        "meldkamer panic update", "protected-device:button panic update", "room panic update"
    )
    story.dispose()
    story.expect(
        "meldkamer panic withdrawn",
        "protected-device:button panic withdrawn",
        "room panic withdrawn",
    )


def test_a_button_pressed_twenty_times_updates_at_most_every_fifteen_seconds(story):
    said = ("meldkamer panic {}", "protected-device:button panic {}", "room panic {}")
    story.event("panic", "button")
    story.expect(*(s.format("alert") for s in said))
    for _ in range(14):
        story.forward(1)
        story.event("panic", "button")
    story.forward(0.999)
    story.event("panic", "button")
    story.forward(0.001)
    story.event("panic", "button")
    (*_, notice) = story.expect(*(s.format("update") for s in said), at_s=15)
    assert notice.count == 17


def test_a_fall_of_a_wearer_is_only_observed(story):
    story.event("fall", "ankle")
    assert [o.reason for o in story.observations()] == ["fall-of-wearer"]


def test_a_press_of_an_unknown_device_reaches_the_monitoring_centre_marked_as_such(story):
    story.event("panic", "button-nobody-knows")
    (notice,) = story.expect(f"{CENTRE} panic alert")
    assert notice.device_id == "button-nobody-knows"
    assert notice.wearer_id is None
    assert notice.protected_id is None
    assert story.incidents()[story.incident()].subject == "device/button-nobody-knows"
    story.dispose("technical")
    story.expect(f"{CENTRE} panic withdrawn")


def test_a_press_that_is_not_authenticated_opens_an_incident_and_says_so(story):
    story.event("panic", "button", authenticated=False)
    notices = story.expect(
        "meldkamer panic alert", "protected-device:button panic alert", "room panic alert"
    )
    assert [n.authenticated for n in notices] == [False] * 3
    story.forward(30)
    story.event("panic", "button")
    notices = story.expect(
        "meldkamer panic update", "protected-device:button panic update", "room panic update"
    )
    assert [n.authenticated for n in notices] == [True] * 3
    story.forward(20)
    story.event("panic", "button", authenticated=False)
    notices = story.expect(
        "meldkamer panic update", "protected-device:button panic update", "room panic update"
    )
    assert [n.authenticated for n in notices] == [True] * 3, "proven once stays proven"


@pytest.mark.parametrize("kind", ["strap-cut", "jamming", "battery-critical", "silence"])
def test_anything_but_a_press_must_come_from_a_device_that_proved_itself(story, kind):
    story.event(kind, "ankle", authenticated=False)
    assert [o.reason for o in story.observations()] == ["not-authenticated"]


def test_a_forged_end_of_a_tamper_does_not_count(story):
    story.event("strap-cut", "ankle")
    story.expect("meldkamer tamper alert", "room tamper alert")
    story.event("strap-restored", "ankle", authenticated=False)
    assert story.state("tamper") is AlarmState.ACTIVE_UNACKNOWLEDGED


def test_the_same_press_from_two_intakes_is_one_press(story):
    story.event("panic", "button", key="button/7/1")
    story.expect("meldkamer panic alert", "protected-device:button panic alert", "room panic alert")
    story.event("panic", "button", key="button/7/1")
    assert story.alarm("panic").count == 1
    assert [r.reason for r in story.rejections()] == ["duplicate"]


def test_a_test_press_is_never_an_alarm():
    with Story() as story:
        story.plan(
            "tested",
            {"audience": "monitoring-centre", "targets": ["room"]},
            self_test={"audience": "monitoring-centre", "targets": ["room"]},
        )
        story.case(plan_id="tested")
        story.event("self-test", "button")
        (notice,) = story.expect("room panic test")
        assert notice.priority == "low"
        story.receipt("room panic test", "delivered")
        story.forward(2)
        story.event("self-test", "button")
        assert story.open_incidents() == []
        assert [o.reason for o in story.observations()] == ["delivered", "tested-just-before"]
        story.forward(10)
        story.event("self-test", "button")
        story.expect("room panic test")


def test_a_test_press_where_nobody_wants_to_hear_of_it_is_recorded(story):
    story.event("self-test", "button")
    assert [o.reason for o in story.observations()] == ["no-target-for-tests"]


def test_proximity_is_told_possible_then_confirmed_and_latches(story):
    story.verdict("possible", distance_mm=180_000, probability=0.96)
    police, victim, _ = story.expect(
        "meldkamer proximity alert",
        "protected-device:button proximity alert",
        "room proximity alert",
    )
    assert not police.confirmed
    assert police.distance_mm == victim.distance_mm == 180_000
    story.forward(5)
    story.verdict("confirmed", distance_mm=120_000)
    notices = story.expect(
        "meldkamer proximity update",
        "protected-device:button proximity update",
        "room proximity update",
    )
    assert all(n.confirmed and n.distance_mm == 120_000 for n in notices if n.distance_mm)
    story.acknowledge()
    story.receipt("meldkamer proximity alert", "acknowledged")
    story.receipt("protected-device:button proximity alert", "delivered")
    story.verdict("clear")
    story.forward(500)
    assert story.state("proximity") is AlarmState.RETURNED_ACKNOWLEDGED
    story.dispose()
    story.expect(
        "meldkamer proximity withdrawn",
        "protected-device:button proximity withdrawn",
        "room proximity withdrawn",
    )


@pytest.mark.parametrize(
    ("risk", "probability", "alarm_class"),
    [
        (1, 0.951, "proximity"),
        (2, 0.951, "proximity"),
        (3, 0.951, "approach"),
        (3, 0.97, "proximity"),
    ],
)
def test_risk_class_decides_whether_one_fix_is_a_breach(risk, probability, alarm_class):
    with Story() as story:
        story.case()
        story.verdict("possible", risk=risk, probability=probability)
        story.expect(f"{CENTRE} {alarm_class} alert")


def test_a_passage_between_two_fixes_is_a_breach_for_every_risk_class():
    with Story() as story:
        story.case()
        story.verdict(
            "possible",
            kind="area-ban",
            risk=3,
            probability=0.2,
            reason="passed-through-between-fixes",
        )
        story.expect(f"{CENTRE} area-breach alert")


def test_doubt_after_a_confirmed_breach_does_not_end_it(story):
    story.verdict("confirmed", kind="area-ban")
    story.expect("meldkamer area-breach alert", "protected-device:button area-breach alert",
                 "room area-breach alert", "reclassering area-breach alert")  # fmt: skip
    story.verdict("possible", kind="area-ban", risk=3, probability=0.3)
    story.verdict("unknown", kind="area-ban")
    assert story.state("area-breach") is AlarmState.ACTIVE_UNACKNOWLEDGED
    assert story.alarm("area-breach").confirmed


def test_tamper_stays_open_when_the_strap_is_closed_again(story):
    story.event("strap-cut", "ankle")
    story.expect("meldkamer tamper alert", "room tamper alert")
    story.acknowledge()
    story.receipt("meldkamer tamper alert", "acknowledged")
    story.forward(240)
    story.event("strap-restored", "ankle")
    story.forward(600)
    assert story.state("tamper") is AlarmState.RETURNED_ACKNOWLEDGED
    story.dispose("technical")
    story.expect("meldkamer tamper withdrawn", "room tamper withdrawn")


def test_a_tamper_that_returned_and_that_nobody_answered_goes_on_paging(story):
    story.event("strap-cut", "ankle")
    story.expect("meldkamer tamper alert", "room tamper alert")
    story.event("strap-restored", "ankle")
    assert story.state("tamper") is AlarmState.RETURNED_UNACKNOWLEDGED
    story.forward(60)
    story.expect("meldkamer-sms tamper escalation", at_s=60)
    story.forward(60)
    story.expect(f"{CENTRE} tamper escalation", at_s=120)


def test_an_opened_case_waits_for_a_person(story):
    story.event("case-opened", "ankle")
    story.expect("meldkamer tamper alert", "room tamper alert")
    story.forward(1)
    story.dispose("technical")
    story.expect("meldkamer tamper withdrawn", "room tamper withdrawn")


def test_an_area_breach_reaches_probation_too_and_a_second_entry_pages_again(story):
    story.verdict("confirmed", kind="area-ban")
    first = (
        "meldkamer area-breach alert",
        "protected-device:button area-breach alert",
        "room area-breach alert",
        "reclassering area-breach alert",
    )
    notices = story.expect(*first)
    assert {n.zone_id for n in notices if n.audience is not Audience.PROTECTED_PERSON} == {"zone-1"}
    story.acknowledge()
    story.verdict("clear", kind="area-ban")
    story.forward(120, stop_at_notice=True)
    story.expect("meldkamer-sms area-breach escalation", at_s=60)
    story.verdict("confirmed", kind="area-ban")
    story.expect(*first)
    assert len(story.incidents()) == 1, "the same subject: the same incident"
    assert "acknowledgement-void" in story.changes("area-breach")


def test_approach_withdraws_by_itself_after_it_settled(story):
    story.verdict("warning", time_to_contact_ms=240_000)
    victim, room = story.expect("protected-device:button approach alert", "room approach alert")
    assert victim.time_to_contact_ms == room.time_to_contact_ms == 240_000
    story.forward(10)
    story.verdict("clear", reason="contact-no-longer-near")
    story.forward(59)
    story.nothing_more()
    story.forward(1)
    story.expect("protected-device:button approach withdrawn", "room approach withdrawn", at_s=70)
    assert story.open_incidents() == []


def test_an_approach_that_comes_and_goes_is_one_alarm(story):
    story.verdict("warning")
    story.expect("protected-device:button approach alert", "room approach alert")
    for _ in range(5):
        story.forward(4)
        story.verdict("clear")
        story.forward(4)
        story.verdict("warning")
    assert story.alarm("approach").count == 6
    assert len(story.alarms()) == 1
    story.forward(20)
    story.expect(f"{CENTRE} approach escalation", at_s=60)


def test_an_approach_becomes_a_breach_and_is_one_incident(story):
    story.verdict("warning")
    story.expect("protected-device:button approach alert", "room approach alert")
    story.forward(20)
    story.verdict("confirmed")
    story.expect(
        "meldkamer proximity alert",
        "protected-device:button proximity alert",
        "room proximity alert",
    )
    assert story.state("approach") is AlarmState.CLOSED
    assert len(story.incidents()) == 1
    story.acknowledge()
    story.receipt("meldkamer proximity alert", "acknowledged")
    story.receipt("protected-device:button proximity alert", "delivered")
    story.verdict("warning", reason="left-warning-ring")
    assert story.alarm("approach").suppressed == "covered-by-breach"
    story.verdict("clear")
    story.forward(300)


def test_pair_blind_names_who_is_silent_and_the_second_one_is_news(story):
    story.verdict("unknown", freshness="wearer-stale", risk=1)
    (notice,) = story.expect("room pair-blind alert")
    assert notice.reason == "wearer-silent"
    story.acknowledge()
    story.forward(30)
    story.verdict("unknown", freshness="blind", risk=1)
    (notice,) = story.expect("room pair-blind alert")
    assert notice.reason == "protected-silent"
    story.acknowledge()
    story.verdict("clear", freshness="wearer-stale")
    assert story.state("pair-blind") is AlarmState.ACTIVE_ACKNOWLEDGED
    story.verdict("clear")
    story.forward(120)
    story.expect("room pair-blind withdrawn", at_s=150)


def test_the_silence_of_one_person_is_a_doubt_about_his_place(story):
    story.verdict("unknown", kind="area-ban", freshness="wearer-stale")
    story.expect("room location-doubt alert")
    story.verdict("unknown", kind="area-ban", order="order-2", freshness="wearer-stale")
    story.verdict("clear", kind="area-ban")
    assert story.state("location-doubt") is AlarmState.ACTIVE_UNACKNOWLEDGED
    story.verdict("clear", kind="area-ban", order="order-2")
    story.forward(120)
    story.expect("room location-doubt withdrawn")


def test_silence_said_by_the_service_is_blindness_of_the_pair(story):
    story.event("silence", "button")
    story.expect("room pair-blind alert")
    story.event("silence-ended", "button")
    story.forward(120)
    story.expect("room pair-blind withdrawn")


def test_silence_of_somebody_without_a_pair_is_location_doubt():
    with Story() as story:
        story.case(wearer="W", protected=(), devices={"ankle": "W"})
        story.event("silence", "ankle")
        story.expect(f"{CENTRE} location-doubt alert")


def test_order_breach_waits_for_confirmation_and_reaches_probation(story):
    story.verdict("possible", kind="location-order", probability=0.97)
    assert [o.reason for o in story.observations()] == ["location-order-waits-for-confirmation"]
    story.verdict("confirmed", kind="location-order")
    story.expect("room order-breach alert", "reclassering order-breach alert")
    story.acknowledge()
    story.receipt("reclassering order-breach alert", "delivered")
    story.verdict("clear", kind="location-order", reason="schedule-ended")
    story.forward(300)
    story.expect("room order-breach withdrawn", "reclassering order-breach withdrawn", at_s=300)


def test_device_dying_ends_on_the_charger(story):
    story.event("battery-low", "ankle")
    story.event("battery-critical", "ankle")
    story.forward(300)
    story.event("battery-critical", "ankle")
    story.forward(300)
    story.expect("room device-dying alert", at_s=600)
    story.event("charging", "ankle")
    story.forward(60)
    story.expect("room device-dying withdrawn", at_s=660)


def test_a_device_that_switched_itself_off_is_back_with_its_next_status(story):
    story.event("shutdown", "ankle")
    story.expect("room device-dying alert")
    story.event("status", "ankle")
    story.event("status", "ankle")
    story.forward(60)
    story.expect("room device-dying withdrawn")


def test_location_doubt_holds_until_every_cause_of_it_has_ended(story):
    story.event("jamming", "ankle")
    story.forward(120)
    story.expect("room location-doubt alert")
    story.event("shielding", "ankle")
    story.forward(30)
    story.acknowledge()
    story.forward(90)
    story.expect("room location-doubt alert")
    story.event("jamming-ended", "ankle")
    assert story.state("location-doubt") is AlarmState.ACTIVE_UNACKNOWLEDGED
    story.acknowledge()
    story.forward(780)
    assert story.state("location-doubt") is AlarmState.RETURNED_ACKNOWLEDGED, "not said again"
    story.forward(120)
    story.expect("room location-doubt withdrawn")


def test_contact_heard_by_radio_is_proximity(story):
    story.event("contact-radio", "ankle")
    story.expect("meldkamer proximity alert", "protected-device:button proximity alert",
                 "room proximity alert")  # fmt: skip


def test_contact_heard_by_radio_without_a_known_pair_is_observed():
    with Story() as story:
        story.case(wearer="W", protected=(), devices={"ankle": "W"})
        story.event("contact-radio", "ankle")
        assert [o.reason for o in story.observations()] == ["no-pair-known"]


@pytest.mark.parametrize("alarm_class", ["pattern", "legal", "panic"])
def test_a_person_may_raise_an_alarm_of_any_class(story, alarm_class):
    story.take(
        RaiseByHand(
            alarm_class=AlarmClass(alarm_class),
            by="operator-1",
            reason="three near misses in a week",
            wearer_id="W",
            protected_id="P",
        )
    )
    said = {
        "panic": ("meldkamer panic {}", "protected-device:button panic {}", "room panic {}"),
    }.get(alarm_class, (f"shift-lead {alarm_class} {{}}",))
    first = "alert" if alarm_class == "panic" else "escalation"  # a task, and nobody owns the case
    story.expect(*(s.format(first) for s in said))
    story.dispose()
    story.expect(*(s.format("withdrawn") for s in said))


def test_a_drill_is_marked_and_never_mixes_with_the_real_thing(story):
    def raised(drill):
        return RaiseByHand(
            alarm_class=AlarmClass.PROXIMITY,
            by="operator-1",
            reason="exercise",
            wearer_id="W",
            protected_id="P",
            drill=drill,
        )

    story.take(raised(drill=True))
    said = ("meldkamer proximity alert", "protected-device:button proximity alert",
            "room proximity alert")  # fmt: skip
    assert all(n.drill for n in story.expect(*said))
    assert story.commands() == [], "a drill asks nothing of a device"
    story.verdict("confirmed")
    assert not any(n.drill for n in story.expect(*said))
    assert len(story.open_incidents()) == 2


def test_trouble_of_the_service_is_said_once_to_the_shift_lead(story):
    story.signal("quarantine-burst", detail="300 bad tags from 4 devices")
    (notice,) = story.expect("shift-lead system alert")
    assert notice.detail == "300 bad tags from 4 devices"
    for _ in range(50):
        story.signal("quarantine-burst")
    assert len(story.alarms()) == 1
    story.acknowledge()
    story.forward(300)
    assert story.state("system") is AlarmState.RETURNED_ACKNOWLEDGED, "not said for five minutes"
    story.forward(60)
    story.expect("shift-lead system withdrawn")


def test_trouble_that_lasts_is_said_again_with_its_count(story):
    story.signal("delivery-dead")
    story.expect("shift-lead system alert")
    story.acknowledge()
    for _ in range(3):
        story.forward(200)
        story.signal("delivery-dead")
    (notice,) = story.expect("shift-lead system update")
    assert notice.count == 4
    story.signal("delivery-dead", ended=True)
    story.forward(60)
    story.expect("shift-lead system withdrawn")


def test_every_device_that_is_set_aside_is_news_to_whoever_has_the_first_in_hand(story):
    story.signal("device-set-aside", detail="d1: a fault")
    story.expect("shift-lead system alert")
    story.acknowledge()
    story.forward(30)
    story.signal("device-set-aside", detail="d2: a fault")
    (notice,) = story.expect("shift-lead system alert")
    assert notice.detail == "d2: a fault"
    story.signal("device-set-aside", detail="d3: a fault")
    (notice,) = story.expect("shift-lead system update")
    assert (notice.detail, notice.count) == ("d3: a fault", 3)
    assert len(story.alarms()) == 1


def test_two_kinds_of_trouble_are_two_incidents(story):
    story.signal("poison-entry")
    story.expect("shift-lead system alert")
    story.signal("journal-lag")
    story.expect("shift-lead system alert")
    assert sorted(r.subject for r in story.incidents().values()) == [
        "system/journal-lag",
        "system/poison-entry",
    ]


def test_an_order_that_cannot_be_enforced_is_observed_and_never_escalated(story):
    story.verdict("confirmed", escalate=False, reason="order-not-in-force")
    (seen,) = story.observations()
    assert (seen.reason, seen.state) == ("order-not-enforceable", "confirmed")
    assert story.open_incidents() == []


def test_an_order_that_ends_while_it_is_broken_returns_the_alarm(story):
    story.verdict("confirmed", kind="location-order")
    story.expect("room order-breach alert", "reclassering order-breach alert")
    story.verdict("confirmed", kind="location-order", escalate=False, reason="order-lapsed")
    story.forward(300)
    story.expect("room order-breach withdrawn", "reclassering order-breach withdrawn")


def test_an_order_that_comes_into_force_while_he_is_inside_raises_at_once(story):
    story.verdict("confirmed", kind="area-ban", escalate=False, reason="order-not-in-force")
    story.verdict("confirmed", kind="area-ban", reason="order-came-into-force-while-inside")
    police, *_ = story.expect(
        "meldkamer area-breach alert",
        "protected-device:button area-breach alert",
        "room area-breach alert",
        "reclassering area-breach alert",
    )
    assert police.reason == "order-came-into-force-while-inside"


def test_late_breaches_go_to_probation_gathered_and_raise_nothing(story):
    story.verdict("confirmed", kind="area-ban", historic=True, reason="late-fix-history")
    (notice,) = story.expect("reclassering area-breach history")
    for _ in range(3):
        story.verdict("confirmed", kind="area-ban", historic=True, reason="late-fix-history")
    assert (notice.priority, notice.count) == ("low", 1)
    assert story.open_incidents() == []
    story.forward(3600)
    (notice,) = story.expect("reclassering area-breach history", at_s=3600)
    assert notice.count == 3
    story.forward(86_400)
    assert [o.historic for o in story.observations()] == [True] * 4


def test_late_breaches_of_an_order_that_probation_does_not_follow_are_recorded(story):
    story.verdict("confirmed", historic=True, reason="late-fix-history")
    assert [o.reason for o in story.observations()] == ["late-fix-history"]


def test_times_of_records_are_those_of_the_journal(story):
    story.forward(12)
    story.event("strap-cut", "ankle")
    notices = story.expect("meldkamer tamper alert", "room tamper alert", at_s=12)
    assert {n.opened_at_ms for n in notices} == {START_MS + 12_000}
