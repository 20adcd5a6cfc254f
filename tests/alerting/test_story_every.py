"""A story for every class, step, fallback and legal state that the data files have.

What there is comes from the data: a class, a matter, a state or a step that is added without its
story here fails a test by its name. Who hears what is written down here, not computed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from afstand.cli import main
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.legal import Matter
from alerting.book.types import AlarmClass, AlarmState
from geofence.orders import Appeal, Order, OrderState, enforceable, order_state

from .story import DAY_MS, START_MS, Story, order

DAY_S = 86_400
PLANS = sorted((Path(__file__).parents[2] / "deploy" / "plans").glob("*.json"))
CENTRE = "monitoring-centre"
OWNERS = ("desk", "shelter")


@pytest.fixture
def story():
    with Story() as told:
        told.case(owners={"wearer": "desk", "protected": "shelter"})
        yield told


# --- classes --------------------------------------------------------------------------------------


def five_near_misses(story: Story) -> None:
    for _ in range(4):
        story.verdict("warning")
        story.expect(f"{CENTRE} approach alert")
        story.forward(30)
        story.verdict("clear")
        story.let_pass(7200)
    story.verdict("warning")
    page = [n for _, n in story.unexpected if n.alarm_class is not AlarmClass.APPROACH]
    story.unexpected = [(k, n) for k, n in story.unexpected if n in page]


def no_end(story: Story) -> None:
    story.order(days=None)


AREA = {"order": "area", "kind": "area-ban"}
HOME = {"order": "home", "kind": "location-order"}
BEGINS: dict[AlarmClass, Callable[[Story], object]] = {
    AlarmClass.PANIC: lambda s: s.event("panic", "button"),
    AlarmClass.PROXIMITY: lambda s: s.verdict("confirmed"),
    AlarmClass.TAMPER: lambda s: s.event("strap-cut", "ankle"),
    AlarmClass.AREA_BREACH: lambda s: s.verdict("confirmed", **AREA),
    AlarmClass.APPROACH: lambda s: s.verdict("warning"),
    AlarmClass.PAIR_BLIND: lambda s: s.verdict("clear", freshness="blind", risk=1),
    AlarmClass.ORDER_BREACH: lambda s: s.verdict("confirmed", **HOME),
    AlarmClass.DEVICE_DYING: lambda s: s.event("shutdown", "ankle"),
    AlarmClass.LOCATION_DOUBT: lambda s: s.event("clock-fault", "ankle"),
    AlarmClass.PATTERN: five_near_misses,
    AlarmClass.LEGAL: no_end,
    AlarmClass.SYSTEM: lambda s: s.signal("poison-entry"),
}
ENDS: dict[AlarmClass, Callable[[Story], object]] = {
    AlarmClass.PROXIMITY: lambda s: s.verdict("clear"),
    AlarmClass.TAMPER: lambda s: s.event("strap-restored", "ankle"),
    AlarmClass.AREA_BREACH: lambda s: s.verdict("clear", **AREA),
    AlarmClass.APPROACH: lambda s: s.verdict("clear"),
    AlarmClass.PAIR_BLIND: lambda s: s.verdict("clear", risk=1),
    AlarmClass.ORDER_BREACH: lambda s: s.verdict("clear", **HOME),
    AlarmClass.DEVICE_DYING: lambda s: s.event("status", "ankle"),
    AlarmClass.LEGAL: lambda s: s.order(version=2),
}
DECIDES = (AlarmClass.PROXIMITY, AlarmClass.AREA_BREACH, AlarmClass.ORDER_BREACH)
"""A confirmed breach asks both owners for a decision, at once."""
TASKS = tuple(f"{who} legal task" for who in OWNERS)
HEARS = {
    AlarmClass.PATTERN: OWNERS,
    AlarmClass.LEGAL: OWNERS,
    AlarmClass.SYSTEM: ("shift-lead",),
}


def test_every_class_of_the_alarm_book_has_its_story_here():
    assert set(BEGINS) == set(AlarmClass) == set(ALARM_BOOK)


@pytest.mark.parametrize("alarm_class", list(ALARM_BOOK), ids=str)
def test_a_class_from_its_cause_to_its_end(story, alarm_class):
    """It is told once, with the priority of the book; latched it waits for two people."""
    rule = ALARM_BOOK[alarm_class]
    hears = HEARS.get(alarm_class, (CENTRE,))
    BEGINS[alarm_class](story)
    tasks = TASKS if alarm_class in DECIDES else ()
    story.expect(*(f"{who} {alarm_class} alert" for who in hears), *tasks)
    alarm = story.alarm(alarm_class)
    assert alarm.priority is rule.priority
    assert alarm.latched is rule.latched
    assert alarm.state is AlarmState.ACTIVE_UNACKNOWLEDGED
    story.acknowledge_all()
    assert story.state(alarm_class) is AlarmState.ACTIVE_ACKNOWLEDGED
    if alarm_class in ENDS:
        ENDS[alarm_class](story)
        story.let_pass(rule.settle_s + 1)
        closed = story.state(alarm_class) is AlarmState.CLOSED
        assert closed is not rule.latched, "latched it waits, else it goes by itself"
    story.dispose_all()
    assert story.state(alarm_class) is AlarmState.CLOSED
    countersigned = [i.countersigned_by for i in story.incidents().values()]
    assert ("operator-2" in countersigned) is rule.latched


# --- legal matters and states ---------------------------------------------------------------------

GAP = {"appeal": Appeal.PENDING, "immediately_enforceable": False}
MATTERS: dict[Matter, tuple[list[dict[str, object]], float]] = {
    Matter.NOT_SIGNED: (
        [{"signed_at_ms": None, "served_at_ms": None, "valid_from_ms": START_MS + DAY_MS}],
        DAY_S,
    ),
    Matter.NOT_SERVED: ([{"served_at_ms": None}], DAY_S),
    Matter.EXPIRING: ([{}], 76 * DAY_S),
    Matter.LAPSED: ([{"days": 1}], DAY_S),
    Matter.APPEAL_GAP: ([{"title": "38v", **GAP}], 0),
    Matter.WRONGLY_SUSPENDED: ([GAP], 0),
    Matter.TOO_LONG: ([{"days": 91}], 0),
    Matter.NO_END: ([{"days": None}], 0),
    Matter.TOO_MANY_RENEWALS: ([{"renewals_used": 4, "days": 400}], 0),
    Matter.CONFLICT: (
        [{"kind": "area-ban", "title": "14c"}, {"kind": "location-order", "title": "14c"}],
        0,
    ),
}
"""What is wrong with an order: the orders, and when it is told (seconds of the story)."""


def test_every_legal_matter_has_its_story_here():
    assert set(MATTERS) == set(Matter)


@pytest.mark.parametrize("matter", list(Matter), ids=str)
def test_a_legal_matter_is_a_task_of_both_owners_and_of_nobody_else(story, matter):
    orders, at_s = MATTERS[matter]
    for number, how in enumerate(orders, 1):
        story.nothing_more()
        story.order(f"order-{number}", **how)
    if at_s:
        story.forward(at_s - 1)  # not a second early
        story.forward(1)
    story.expect(*(f"{who} legal alert" for who in OWNERS))
    assert story.alarm("legal").reason == matter
    assert story.alarm("legal").priority is ALARM_BOOK[AlarmClass.LEGAL].priority


STATES: dict[OrderState, dict[str, Any]] = {
    OrderState.DRAFTED: {"signed_at_ms": None, "served_at_ms": None},
    OrderState.SIGNED: {"served_at_ms": None},
    OrderState.SERVED: {"valid_from_ms": START_MS + 3600_000},
    OrderState.ACTIVE: {},
    OrderState.SUSPENDED: {"suspended": True},
    OrderState.EXPIRING: {"days": 10},
    OrderState.LAPSED: {
        "valid_from_ms": START_MS - 90 * DAY_MS, "valid_to_ms": START_MS - DAY_MS, "days": None,
    },
}  # fmt: skip
IN_FORCE = (OrderState.ACTIVE, OrderState.EXPIRING)


def test_every_state_of_an_order_has_its_story_here():
    assert set(STATES) == set(OrderState)


@pytest.mark.parametrize("state", list(OrderState), ids=str)
def test_a_breach_escalates_when_the_order_is_in_force_and_is_observed_otherwise(story, state):
    taken: Order = order(**STATES[state])
    assert order_state(taken, START_MS) is state
    assert enforceable(taken, START_MS) is (state in IN_FORCE)
    story.order(**STATES[state])
    story.hush()  # what is wrong with the order itself: above
    story.verdict("confirmed", escalate=enforceable(taken, START_MS))
    if state in IN_FORCE:
        story.expect(f"{CENTRE} proximity alert", *TASKS)
        return
    story.forward(3000)
    assert [a for a in story.alarms().values() if a.alarm_class == "proximity"] == []
    assert [o.order_id for o in story.observations()] == ["order-1"]


# --- steps and fallbacks --------------------------------------------------------------------------


@pytest.mark.slow
def test_every_step_and_every_fallback_of_every_playbook_is_walked(capsys):
    """Virtual time, the book itself: nobody answers, nothing arrives, taken in hand and left."""
    code = main(["plans", "check", *map(str, PLANS), "--json", "--at", "2026-06-15T12:00"])
    rehearsed = json.loads(capsys.readouterr().out)["rehearsals"]
    assert code == 0
    told: dict[str, set[tuple[int, str]]] = {}
    for one in rehearsed:
        for notice in one["told"]:
            found = told.setdefault(notice["plan_id"], set())
            found.add((notice["step"], notice["target"]))
    for path in PLANS:
        plan = json.loads(path.read_text())
        wanted = {
            (number, target)
            for number, step in enumerate(plan["steps"])
            for target in (*step["targets"], *step.get("fallback", ()))
        }
        heard = told[plan["id"]]
        # The owner of a case has a target of their own: the case says which.
        owned = {number for number, target in wanted if target == "case-owner"}
        assert owned <= {number for number, _ in heard}, plan["id"]
        assert {one for one in wanted if one[0] not in owned} - heard == set(), plan["id"]
