"""Shelved, out of service, suppressed: never what latches, always with a reason and an end."""

import pytest

from afstand import limits
from alerting.book.types import (
    Acknowledge,
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
    story.verdict("unknown", freshness="protected-stale")
    story.forward(60)
    story.verdict("unknown", freshness="blind")
    (notice,) = story.expect("room pair-blind alert")
    assert notice.reason == "wearer-silent"
    story.acknowledge()


# --- mass loss ------------------------------------------------------------------------------------

MANY = limits.BOOK_MASS_LOSS_PERSONS


def silence(n, risk=2):
    return verdict("unknown", kind="area-ban", order=f"order-{n}", wearer=f"w{n}",
                   freshness="wearer-stale", risk=risk)  # fmt: skip


def heard(n):
    return verdict("clear", kind="area-ban", order=f"order-{n}", wearer=f"w{n}")


def test_a_mass_loss_is_one_alarm_with_a_list_by_risk():
    with Story(operators=50) as story:
        for n in range(MANY - 1):
            story.take(silence(n, risk=3))
            story.expect("monitoring-centre location-doubt alert")
        story.take(silence(MANY - 1, risk=1))
        (notice,) = story.expect("shift-lead system alert")
        assert notice.detail.startswith(f"{MANY} silent, by risk class: w{MANY - 1} (1), w0 (3)")
        story.take(*(silence(n) for n in range(MANY, 450)))
        story.forward(50)
        suppressed = [a for a in story.alarms().values() if a.suppressed == "mass-loss"]
        assert len(suppressed) == 450
        story.take(verdict("confirmed", wearer="w7", protected="p7"))
        story.expect("monitoring-centre proximity alert")
        story.event("panic", "button-x")
        story.expect("monitoring-centre panic alert")


def test_after_a_mass_loss_the_silent_ones_page_a_few_at_a_time():
    with Story(operators=50) as story:
        story.take(*(silence(n) for n in range(60)))
        said = [story.reads(n) for _, n in story.unexpected]
        assert said.count("monitoring-centre location-doubt alert") == MANY - 1
        story.expect(*said)
        story.take(*(heard(n) for n in range(29)))
        story.nothing_more()
        story.take(heard(29))
        ten = limits.BOOK_MASS_LOSS_RELEASE_PER_MIN
        story.expect(*["monitoring-centre location-doubt alert"] * ten)
        assert story.state("system") == "returned-unacknowledged"
        story.forward(60, stop_at_notice=True)
        page = "monitoring-centre location-doubt alert"
        seen = ten
        while seen < 30:
            said = [story.reads(n) for _, n in story.unexpected]
            story.expect(*said)
            seen += said.count(page)
            story.forward(60, stop_at_notice=True)
        assert seen == 30
        story.unexpected.clear()


def test_a_mass_loss_suppresses_for_a_bounded_time_only():
    with Story(operators=50) as story:
        story.take(*(silence(n) for n in range(40)))
        story.expect(*[story.reads(n) for _, n in story.unexpected])
        (system,) = [i for i, r in story.incidents().items() if r.subject.startswith("system")]
        story.take(Acknowledge(incident_id=system, by="lead"))
        story.forward(840)
        story.take(Acknowledge(incident_id=system, by="lead"))
        story.forward(limits.BOOK_MASS_LOSS_MAX_MS / 1000 - 840, stop_at_notice=True)
        said = [story.reads(n) for _, n in story.unexpected]
        story.expect(*said)
        while "monitoring-centre location-doubt alert" not in said:
            story.take(Acknowledge(incident_id=system, by="lead"))
            story.forward(120, stop_at_notice=True)
            said = [story.reads(n) for _, n in story.unexpected]
            story.expect(*said)
        assert story.now_ms - 1_750_000_000_000 == limits.BOOK_MASS_LOSS_MAX_MS


def test_people_who_fall_silent_one_by_one_are_no_mass_loss():
    with Story(operators=50) as story:
        for n in range(MANY + 5):
            story.take(silence(n))
            story.expect("monitoring-centre location-doubt alert")
            story.take(heard(n))
            story.forward(1)
        assert not any("system" in i.subject for i in story.incidents().values())
        story.forward(50)
        story.forward(100)
        story.expect(*[story.reads(n) for _, n in story.unexpected])


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
