"""Shelved, out of service, suppressed: never what latches, always with a reason and an end."""

import pytest

from afstand import limits
from alerting.book.types import (
    AlarmClass,
    OutOfService,
    ReturnToService,
    Shelve,
    Unshelve,
)

from .story import Story, verdict

LATCHED = ("panic", "proximity", "tamper", "area-breach")


@pytest.fixture
def story():
    with Story() as told:
        told.plan("chain", {"audience": "monitoring-centre", "targets": ["room"]})
        told.case(plan_id="chain")
        yield told


def shelve(story, alarm_class, seconds, reason="technician is on his way"):
    return story.take(
        Shelve(
            alarm_id=story.alarm(alarm_class).alarm_id,
            by="operator-1",
            reason=reason,
            until_ms=story.now_ms + seconds * 1000,
        )
    )


def out_of_service(story, person, alarm_class, seconds, reason="device in repair"):
    return story.take(
        OutOfService(
            person_id=person,
            alarm_class=AlarmClass(alarm_class),
            by="operator-1",
            reason=reason,
            until_ms=story.now_ms + seconds * 1000,
        )
    )


def raise_latched(story, alarm_class):
    if alarm_class == "panic":
        story.event("panic", "button")
    elif alarm_class == "tamper":
        story.event("strap-cut", "ankle")
    else:
        kind = "contact-ban" if alarm_class == "proximity" else "area-ban"
        story.verdict("confirmed", kind=kind)
    story.expect(f"room {alarm_class} alert")


@pytest.mark.parametrize("alarm_class", LATCHED)
def test_a_latched_class_is_never_silenced(story, alarm_class):
    (refused,) = out_of_service(story, "W", alarm_class, 60)
    assert refused.reason == "never-suppressed"
    raise_latched(story, alarm_class)
    (refused,) = shelve(story, alarm_class, 60)
    assert refused.reason == "never-suppressed"
    story.forward(60)
    story.expect(f"monitoring-centre {alarm_class} escalation")


def test_a_shelved_alarm_is_silent_until_its_time_and_then_pages(story):
    story.event("jamming", "ankle")
    story.forward(120)
    story.expect("room location-doubt alert")
    shelve(story, "location-doubt", 1800)
    assert story.alarm("location-doubt").shelved_until_ms == story.now_ms + 1_800_000
    story.forward(1799)
    story.nothing_more()
    story.forward(1)
    story.expect("room location-doubt alert", at_s=1920)
    assert story.changes("location-doubt")[-3:] == ["shelved", "unshelved", "step-started"]
    story.acknowledge()


def test_a_shelved_alarm_that_ends_meanwhile_is_withdrawn(story):
    story.event("jamming", "ankle")
    story.forward(120)
    story.expect("room location-doubt alert")
    shelve(story, "location-doubt", 1800)
    story.event("jamming-ended", "ankle")
    story.forward(120)
    story.expect("room location-doubt withdrawn")
    story.forward(3600)


def test_a_shelved_alarm_that_was_acknowledged_stays_in_hand(story):
    story.event("jamming", "ankle")
    story.forward(120)
    story.expect("room location-doubt alert")
    story.acknowledge()
    shelve(story, "location-doubt", 60)
    story.forward(600)


def test_unshelving_by_hand_pages_at_once(story):
    story.event("jamming", "ankle")
    story.forward(120)
    story.expect("room location-doubt alert")
    shelve(story, "location-doubt", 1800)
    story.take(Unshelve(alarm_id=story.alarm("location-doubt").alarm_id, by="operator-2"))
    story.expect("room location-doubt alert")
    (refused,) = story.take(
        Unshelve(alarm_id=story.alarm("location-doubt").alarm_id, by="operator-2")
    )
    assert refused.reason == "not-shelved"
    story.acknowledge()


@pytest.mark.parametrize(
    ("seconds", "reason", "refusal"),
    [(0, "r", "in-the-past"), (14_401, "r", "too-long"), (60, " ", "no-reason-given"),
     (60, "x" * 2_001, "limit")],
)  # fmt: skip
def test_silencing_needs_a_reason_and_a_bounded_time(story, seconds, reason, refusal):
    story.event("jamming", "ankle")
    story.forward(120)
    story.expect("room location-doubt alert")
    (refused,) = shelve(story, "location-doubt", seconds, reason)
    assert refused.reason == refusal
    (refused,) = out_of_service(story, "W", "location-doubt", seconds, reason)
    assert refused.reason == refusal
    story.acknowledge()


def test_a_device_in_repair_pages_nobody_and_everything_is_recorded(story):
    out_of_service(story, "W", "device-dying", 3600)
    story.event("shutdown", "ankle")
    assert story.alarm("device-dying").out_of_service == "device in repair"
    story.event("shutdown", "button")
    (notice,) = story.expect("room device-dying alert")
    assert notice.protected_id == "P", "her button is not in repair"
    story.acknowledge()
    story.event("charging", "button")
    story.forward(60)
    story.expect("room device-dying withdrawn")
    story.forward(3540)
    story.expect("room device-dying alert", at_s=3600)
    story.acknowledge()


def test_out_of_service_reaches_an_open_alarm_and_ends_by_hand(story):
    story.event("shutdown", "ankle")
    story.expect("room device-dying alert")
    out_of_service(story, "W", "device-dying", 3600)
    story.forward(600)
    story.take(ReturnToService(person_id="W", alarm_class=AlarmClass.DEVICE_DYING, by="operator-1"))
    story.expect("room device-dying alert")
    (refused,) = story.take(
        ReturnToService(person_id="W", alarm_class=AlarmClass.DEVICE_DYING, by="operator-1")
    )
    assert refused.reason == "not-out-of-service"
    story.acknowledge()
    story.forward(600)


def test_out_of_service_of_one_does_not_cover_the_other_of_the_pair(story):
    out_of_service(story, "P", "pair-blind", 3600)
    story.verdict("unknown", freshness="protected-stale", risk=1)
    story.forward(60)
    story.verdict("unknown", freshness="blind", risk=1)
    (notice,) = story.expect("room pair-blind alert")
    assert notice.reason == "wearer-silent"
    story.acknowledge()


# --- mass loss ------------------------------------------------------------------------------------

MANY = limits.BOOK_MASS_LOSS_PERSONS


def silence(n, risk=2):
    return verdict("unknown", kind="area-ban", order=f"order-{n}", wearer=f"w{n}",
                   freshness="wearer-stale", risk=risk,
                   distance_mm=-500_000 if risk == 1 else -5_000_000)  # fmt: skip


def heard(n):
    return verdict("clear", kind="area-ban", order=f"order-{n}", wearer=f"w{n}")


def test_a_mass_loss_is_one_alarm_with_a_list_by_risk():
    """It is seen before the first of the many would have paged."""
    with Story(operators=50) as story:
        for n in range(MANY - 1):
            story.take(silence(n, risk=3))
        story.take(silence(MANY - 1, risk=1))
        (notice,) = story.expect("shift-lead system alert")
        assert notice.detail.startswith(f"{MANY} silent, by risk class: w{MANY - 1} (1), w0 (3)")
        story.take(*(silence(n) for n in range(MANY, 450)))
        story.acknowledge_all()
        story.forward(600)
        suppressed = [a for a in story.alarms().values() if a.suppressed == "mass-loss"]
        assert len(suppressed) == 450
        story.take(verdict("confirmed", wearer="w7", protected="p7"))
        story.expect("monitoring-centre proximity alert")
        story.event("panic", "button-x")
        story.expect("monitoring-centre panic alert")


def test_what_paged_before_the_mass_loss_was_seen_is_suppressed_with_it():
    with Story(operators=50) as story:
        for n in range(MANY - 1):
            story.take(silence(n, risk=1))
        story.forward(20)
        story.expect(*["monitoring-centre location-doubt alert"] * (MANY - 1))
        story.take(silence(MANY - 1, risk=1))
        story.expect("shift-lead system alert")
        story.forward(50)
        assert len([a for a in story.alarms().values() if a.suppressed]) == MANY


def test_after_a_mass_loss_the_silent_ones_page_a_few_at_a_time():
    with Story(operators=50) as story:
        story.take(*(silence(n) for n in range(100)))
        story.expect("shift-lead system alert")
        story.acknowledge_all()
        story.forward(600)
        story.take(*(heard(n) for n in range(49)))
        story.take(heard(49))
        page = "monitoring-centre location-doubt alert"
        story.expect(*[page] * 25)  # one for two operators a minute
        assert story.state("system") == "returned-acknowledged"
        story.let_pass(59)
        story.forward(1)
        said = [story.reads(notice) for _, notice in story.unexpected]
        assert said.count(page) == 25
        story.hush()
        story.let_pass(3600)
        assert not [a for a in story.alarms().values() if a.suppressed]


def test_a_mass_loss_that_lasts_is_said_again_and_lets_the_highest_risk_page():
    with Story(operators=50) as story:
        story.take(*(silence(n, risk=1 if n in (30, 35) else 2) for n in range(40)))
        story.hush()
        (system,) = story.open_incidents("system")
        story.acknowledge_one(system)
        for term in range(1, 4):
            for _ in range(2):
                story.let_pass(899)
                story.acknowledge_one(system)
            story.forward(2)
            said = [(n.target, n.wearer_id or n.detail[:30]) for _, n in story.unexpected]
            released = [("monitoring-centre", "w30"), ("monitoring-centre", "w35")]
            again = ("shift-lead", "40 silent, by risk class: w30 ")
            assert said == [again, *(released if term == 1 else [])], term
            story.hush()
            story.acknowledge_all() if term == 1 else story.acknowledge_one(system)
        suppressed = [a for a in story.alarms().values() if a.suppressed]
        assert len(suppressed) == 38
        story.hush()


def test_a_mass_loss_suppresses_for_a_bounded_time_only(monkeypatch):
    monkeypatch.setattr("alerting.book.floods.BOOK_MASS_LOSS_MAX_MS", 5_400_000)
    with Story(operators=50) as story:
        story.take(*(silence(n) for n in range(40)))
        story.let_pass(5_399)
        assert len([a for a in story.alarms().values() if a.suppressed]) == 40
        story.let_pass(1)
        assert len([a for a in story.alarms().values() if a.suppressed]) == 15
        story.let_pass(60)
        assert not [a for a in story.alarms().values() if a.suppressed]


def test_people_who_fall_silent_one_by_one_are_no_mass_loss():
    with Story(operators=50) as story:
        for n in range(MANY + 5):
            story.take(silence(n, risk=1))
            story.let_pass(20)
            story.take(heard(n))
        assert not any("system" in i.subject for i in story.incidents().values())
        story.let_pass(150)


def test_more_than_silence_is_not_suppressed_by_a_mass_loss():
    with Story(operators=50) as story:
        story.case(wearer="w1", protected=(), devices={"ankle-1": "w1"})
        story.take(*(silence(n) for n in range(30)))
        story.expect(*[story.reads(n) for _, n in story.unexpected])
        story.event("jamming", "ankle-1")
        story.forward(120)
        (_, notice) = story.expect(
            "monitoring-centre system escalation", "monitoring-centre location-doubt alert"
        )
        assert (notice.reason, notice.wearer_id) == ("jamming", "w1")
