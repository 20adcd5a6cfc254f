"""What people and receipts do to incidents, and what they cannot do."""

import msgspec
import pytest

from alerting.book.types import (
    Acknowledge,
    DefinePlan,
    Receipt,
    ReceiptStatus,
    Rejected,
    Shelve,
)

from .story import START_MS, Story, plan

PANIC_POLICE = {"audience": "police", "targets": ["police"], "classes": ["panic"]}


def told(*steps, **rest):
    """A story with one case under this plan."""
    story = Story()
    story.plan("plan-1", *steps, **rest)
    story.case(plan_id="plan-1")
    return story


# --- receipts that mean nothing -------------------------------------------------------------------


def test_a_receipt_for_a_notice_nobody_sent_changes_nothing():
    with told(PANIC_POLICE) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        before = story.book.dump()
        for key, target in (("p0-1-0-0", "police"), (story._keys[0][0], "somebody-else")):
            (out,) = story.take(
                Receipt(
                    key=key,
                    status=ReceiptStatus.ACKNOWLEDGED,
                    target=target,
                    at_ms=story.now_ms,
                )
            )
            assert isinstance(out, Rejected)
            assert out.reason == "unknown-delivery"
        assert story.book.dump() == before
        story.acknowledge()
        story.receipt("police panic alert", "acknowledged")


def test_receipts_after_the_end_are_recorded_and_then_forgotten():
    with told(PANIC_POLICE) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.dispose()
        story.expect("police panic withdrawn")
        story.receipt("police panic withdrawn", "delivered")
        assert story.changes("panic")[-1] == "delivery"
        story.forward(3600)
        story.receipt("police panic withdrawn", "delivered")
        assert story.rejections()[-1].reason == "unknown-delivery"
        assert story.book.figures()["alarms"] == 0
        assert story.book.figures()["deliveries"] == 0
        assert story.book.figures()["timers"] == 0


def test_a_failed_delivery_while_the_alarm_is_returned_does_not_page():
    with told(
        {
            "audience": "monitoring-centre",
            "targets": ["room"],
            "deadline_s": 30,
            "fallback": ["room-phone"],
        }
    ) as story:
        story.verdict("warning")
        story.expect("room approach alert")
        story.forward(10)
        story.verdict("clear")
        story.receipt("room approach alert", "failed")
        story.forward(10)
        story.verdict("warning")
        story.forward(10)
        story.expect("room-phone approach escalation", at_s=30)


# --- operators ------------------------------------------------------------------------------------


def test_a_breach_that_lasts_is_not_closed_by_accident():
    with told({"audience": "monitoring-centre", "targets": ["room"]}) as story:
        story.verdict("confirmed")
        story.expect("room proximity alert")
        story.dispose()
        assert story.rejections()[-1].reason == "condition-still-active"
        story.dispose("permitted", despite_active=True)
        story.expect("room proximity withdrawn")
        story.forward(1799)
        story.forward(1)
        (notice,) = story.expect("room proximity alert", at_s=1800)
        assert notice.labels == ("still-active-after-disposition",)
        story.acknowledge()


def test_a_new_entry_after_a_closing_is_a_new_incident():
    with told({"audience": "monitoring-centre", "targets": ["room"]}) as story:
        for n in range(1, 4):
            story.verdict("confirmed", kind="area-ban")
            story.expect("room area-breach alert")
            story.verdict("clear", kind="area-ban")
            story.dispose()
            story.expect("room area-breach withdrawn")
            assert len(story.incidents()) == n


def test_a_press_after_a_closing_is_a_new_incident_whatever_was_decided():
    with told(PANIC_POLICE) as story:
        story.event("panic", "button")
        story.expect("police panic alert")
        story.dispose("false-alarm")
        story.expect("police panic withdrawn")
        story.event("panic", "button")
        story.expect("police panic alert")
        story.acknowledge()
        story.receipt("police panic alert", "acknowledged")


def test_a_confirmation_after_closing_a_possible_breach_opens_anew():
    with told({"audience": "monitoring-centre", "targets": ["room"]}) as story:
        story.verdict("possible")
        story.expect("room proximity alert")
        story.dispose("false-alarm", despite_active=True)
        story.expect("room proximity withdrawn")
        story.verdict("possible")
        story.nothing_more()
        story.verdict("confirmed")
        story.expect("room proximity alert")
        story.acknowledge()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Acknowledge(incident_id="i-none", by="x"), "unknown-incident"),
        (Acknowledge(incident_id="i-none", by=""), "no-reason-given"),
    ],
)
def test_commands_that_name_nothing_or_nobody_are_refused(command, reason):
    with Story() as story:
        story.take(command)
        assert [r.reason for r in story.rejections()] == [reason]


def test_a_bad_plan_is_refused_and_changes_nothing():
    with told(PANIC_POLICE) as story:
        before = msgspec.msgpack.encode(story.book._state.rows.plans)
        story.take(DefinePlan(plan=plan("plan-1", {"audience": "police", "targets": ["bad id"]})))
        (out,) = story.rejections()
        assert out.reason == "bad-plan"
        assert "plan plan-1: step 0, targets[0]: bad-id" in out.detail
        assert msgspec.msgpack.encode(story.book._state.rows.plans) == before


def test_what_was_taken_in_hand_goes_on_when_its_shelving_ends():
    """Found by a million random events: a step that runs even when answered was never begun."""
    office = {"audience": "probation", "targets": ["office"], "needs": "delivered",
              "classes": ["pair-blind"], "after_s": 120, "even_if_acknowledged": True}  # fmt: skip
    with Story() as story:
        story.plan("late", {"audience": "monitoring-centre", "targets": ["room"]}, office)
        story.case(plan_id="late")
        story.verdict("clear", freshness="blind", risk=1)
        story.expect("room pair-blind alert")
        story.acknowledge()
        alarm_id = story.alarm("pair-blind").alarm_id
        for silent_s in (60, 90):
            until_ms = story.now_ms + silent_s * 1000
            story.take(Shelve(alarm_id=alarm_id, by="op", reason="technician", until_ms=until_ms))
            story.forward(silent_s)
        story.expect("office pair-blind alert")  # due at 120 s, silent until 150 s
        assert story.now_ms - START_MS == 150_000
