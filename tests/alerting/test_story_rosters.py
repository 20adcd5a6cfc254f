"""Duty rosters: who is told when, across nights, gaps, changes of the clocks and of the roster."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.book.rosters import RosterError, RosterFault, gaps, on_duty, parse_roster
from alerting.book.types import DefineRoster

from .story import Story

DAYS = range(7)
DAY: dict[str, Any] = {"targets": ["day-desk"],
       "weekly": [{"day": d, "start": "07:00", "end": "23:00"} for d in DAYS]}  # fmt: skip
NIGHT: dict[str, Any] = {"targets": ["night-desk"],
         "weekly": [{"day": d, "start": "23:00", "end": "07:00"} for d in DAYS]}  # fmt: skip
STEP = {"audience": "monitoring-centre", "targets": ["@desk"], "deadline_s": 60}
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def roster(*shifts: object, **rest: object) -> bytes:
    content = {"format": "afstand.roster/1", "id": "desk", "timezone": "Europe/Amsterdam",
               "shifts": list(shifts)} | rest  # fmt: skip
    return json.dumps(content).encode()


def told(*shifts: Any, step: dict[str, Any] | None = None, **rest: Any) -> Story:
    story = Story()
    story.roster("desk", *shifts, **rest)
    story.plan("plan", step or STEP)
    story.case(plan_id="plan")
    return story


# --- who is told ----------------------------------------------------------------------------------


def test_whoever_is_on_duty_when_the_step_starts_is_told():
    with told(DAY, NIGHT) as story:
        for at, desk in (
            ("2025-06-16T22:59:59+02:00", "day-desk"),
            ("2025-06-16T23:00:00+02:00", "night-desk"),
            ("2025-06-17T06:59:59+02:00", "night-desk"),
            ("2025-06-17T07:00:00+02:00", "day-desk"),
        ):
            story.until(at)
            story.event("panic", "button")
            story.expect(f"{desk} panic alert")
            story.dispose()
            story.expect(f"{desk} panic withdrawn")


def test_an_escalation_after_the_change_of_shift_reaches_the_new_shift():
    later = {**STEP, "on": "missed", "targets": ["@desk", "shift-lead"], "audience": "shift-lead"}
    story = Story()
    with story:
        story.roster("desk", DAY, NIGHT)
        story.plan("plan", STEP, later)
        story.case(plan_id="plan")
        story.until("2025-06-16T22:59:30+02:00")
        story.event("panic", "button")
        story.expect("day-desk panic alert")
        story.forward(60)
        story.expect("night-desk panic escalation", "shift-lead panic escalation")
        story.dispose()
        story.expect(*(f"{t} panic withdrawn" for t in ("day-desk", "night-desk", "shift-lead")))


@pytest.mark.parametrize(
    ("at", "desk"),
    [
        # 29 March 2026: the night is an hour shorter, its end is still seven on the clock
        ("2026-03-29T01:59:59+01:00", "night-desk"),
        ("2026-03-29T03:00:00+02:00", "night-desk"),
        ("2026-03-29T06:59:59+02:00", "night-desk"),
        ("2026-03-29T07:00:00+02:00", "day-desk"),
        # 25 October 2026: an hour longer
        ("2026-10-25T02:30:00+02:00", "night-desk"),
        ("2026-10-25T02:30:00+01:00", "night-desk"),
        ("2026-10-25T06:59:59+01:00", "night-desk"),
        ("2026-10-25T07:00:00+01:00", "day-desk"),
    ],
)
def test_a_night_shift_ends_at_seven_on_the_clock_whatever_the_clocks_did(at, desk):
    assert on_duty(parse_roster(roster(DAY, NIGHT)), ms(at)) == (desk,)


def test_nobody_on_duty_passes_the_step_at_once_to_its_fallback():
    with told(DAY, step={**STEP, "fallback": ["pager"]}) as story:
        story.until("2025-06-17T03:00+02:00")
        story.event("panic", "button")
        story.expect("pager panic escalation", at_s=(story.now_ms - 1_750_000_000_000) / 1000)
        assert "step-passed" in story.changes("panic")
        story.dispose()
        story.expect("pager panic withdrawn")


def test_nobody_on_duty_and_no_fallback_reaches_the_default_plan_at_once():
    with told(DAY) as story:
        story.until("2025-06-17T03:00+02:00")
        story.event("panic", "button")
        story.expect("monitoring-centre panic escalation")
        story.dispose()
        story.expect("monitoring-centre panic withdrawn")


def test_otherwise_fills_the_gaps():
    with told(DAY, otherwise=["pager"]) as story:
        story.until("2025-06-17T03:00+02:00")
        story.event("panic", "button")
        story.expect("pager panic alert")
        story.dispose()
        story.expect("pager panic withdrawn")


def test_shifts_that_overlap_are_both_told_and_nobody_twice():
    second = {"targets": ["back-up", "day-desk"], "weekly": DAY["weekly"]}
    with told(DAY, second) as story:
        story.event("panic", "button")
        story.expect("day-desk panic alert", "back-up panic alert")
        story.dispose()
        story.expect("day-desk panic withdrawn", "back-up panic withdrawn")


def test_a_holiday_replaces_the_shifts_that_begin_on_it():
    holiday = {**DAY, "exceptions": [{"date_from": "2025-06-16", "date_to": "2025-06-16"}]}
    watch = {"targets": ["holiday-desk"], "weekly": [], "exceptions": [
        {"date_from": "2025-06-16", "date_to": "2025-06-16",
         "windows": [{"start": "00:00", "end": "24:00"}]}]}  # fmt: skip
    with told(holiday, watch) as story:
        story.until("2025-06-16T12:00+02:00")
        story.event("panic", "button")
        story.expect("holiday-desk panic alert")
        story.dispose()
        story.expect("holiday-desk panic withdrawn")


def test_a_roster_that_changed_while_the_incident_was_open_holds_at_once():
    with told(DAY, NIGHT) as story:
        story.event("panic", "button")
        story.expect("day-desk panic alert")
        story.roster("desk", {**DAY, "targets": ["new-desk"]}, NIGHT)
        story.acknowledge()
        story.forward(900)
        story.expect("new-desk panic escalation")
        story.dispose()
        story.expect("day-desk panic withdrawn", "new-desk panic withdrawn")


def test_a_roster_that_nobody_defined_is_an_empty_step():
    with Story() as story:
        story.plan("plan", {**STEP, "fallback": ["pager"]})
        story.case(plan_id="plan")
        story.event("panic", "button")
        story.expect("pager panic escalation")
        story.dispose()
        story.expect("pager panic withdrawn")


def test_the_owner_of_a_case_may_be_a_roster():
    with Story() as story:
        story.roster("owners", {"targets": ["desk-a"], "weekly": DAY["weekly"]})
        story.plan("plan", {"audience": "case-owner", "targets": ["@owners"], "classes": ["legal"]})
        story.case()
        story.order(days=None, plan_id="plan")
        story.expect("desk-a legal alert")


def test_a_test_press_reaches_who_is_on_duty():
    with Story() as story:
        story.roster("desk", DAY)
        story.plan("plan", STEP, self_test={"audience": "monitoring-centre", "targets": ["@desk"]})
        story.case(plan_id="plan")
        story.event("self-test", "button")
        story.expect("day-desk panic test")


# --- what a roster may be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (b"{", "file", RosterFault.MALFORMED),
        (b"x" * 300_000, "file", RosterFault.TOO_LARGE),
        (roster(DAY, id="a b"), "id", RosterFault.BAD_ID),
        (roster(), "shifts", RosterFault.TOO_MANY),
        (roster(*([DAY] * 65)), "shifts", RosterFault.TOO_MANY),
        (roster(DAY, timezone="Mars/Olympus"), "shifts[0]", RosterFault.BAD_SCHEDULE),
        (roster({**DAY, "targets": []}), "shifts[0].targets", RosterFault.NOBODY),
        (roster({**DAY, "targets": ["@desk"]}), "shifts[0].targets", RosterFault.BAD_ID),
        (roster(DAY, otherwise=["a b"]), "otherwise", RosterFault.BAD_ID),
        (roster({**DAY, "weekly": [{"day": 7, "start": "07:00", "end": "09:00"}]}),
         "shifts[0].weekly[0].day", RosterFault.MALFORMED),
        (roster({**DAY, "weekly": [{"day": 1, "start": "07:00", "end": "07:00"}]}), "shifts[0]",
         RosterFault.BAD_SCHEDULE),
        (roster({**DAY, "tragets": []}), "shifts[0]", RosterFault.MALFORMED),
    ],
)  # fmt: skip
def test_a_roster_that_is_wrong_is_refused_with_field_and_reason(data, field, reason):
    with pytest.raises(RosterError) as caught:
        parse_roster(data)
    assert [(p.field, p.reason) for p in caught.value.problems] == [(field, reason)]


def test_the_book_refuses_a_wrong_roster_and_keeps_the_one_it_has():
    with told(DAY, NIGHT) as story:
        story.take(DefineRoster(roster=roster()))
        assert [str(r.reason) for r in story.rejections()] == ["bad-roster"]
        story.event("panic", "button")
        story.expect("day-desk panic alert")
        story.dispose()
        story.expect("day-desk panic withdrawn")


def test_gaps_are_found_and_joined():
    taken = parse_roster(roster(DAY, {**NIGHT, "weekly": NIGHT["weekly"][:5]}))
    from_ms, to_ms = ms("2025-06-16T00:00+02:00"), ms("2025-06-23T07:00+02:00")
    assert gaps(taken, from_ms, to_ms) == [
        (ms("2025-06-16T00:00+02:00"), ms("2025-06-16T07:00+02:00")),  # the night of Sunday before
        (ms("2025-06-21T23:00+02:00"), ms("2025-06-22T07:00+02:00")),
        (ms("2025-06-22T23:00+02:00"), ms("2025-06-23T07:00+02:00")),
    ]
    assert gaps(parse_roster(roster(DAY, NIGHT)), from_ms, to_ms) == []


clock = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")


@given(
    windows=st.lists(st.tuples(st.integers(0, 6), clock, clock), min_size=1, max_size=6),
    start=st.sampled_from(["2026-03-27", "2026-10-23", "2026-06-01"]),
    minute=st.integers(0, 7 * 24 * 60),
)
def test_on_duty_is_what_the_clock_on_the_wall_says(windows, start, minute):
    """A plain reading of the wall clock is the oracle, away from the hour that comes twice."""
    weekly = [{"day": d, "start": a, "end": b} for d, a, b in windows if a != b]
    at = datetime.fromisoformat(start).replace(tzinfo=UTC) + timedelta(minutes=minute)
    local = at.astimezone(AMSTERDAM)
    if not weekly or local.date().isoformat() in ("2026-03-29", "2026-10-25"):
        return
    now = f"{local.hour:02}:{local.minute:02}"
    weekday = local.weekday()
    wanted = any(
        (w["day"] == weekday and w["start"] <= now and (now < w["end"] or w["end"] < w["start"]))
        or (w["day"] == (weekday - 1) % 7 and w["end"] < w["start"] and now < w["end"])
        for w in weekly
    )
    yesterday = (local - timedelta(days=1)).date().isoformat()
    if yesterday in ("2026-03-29", "2026-10-25"):
        return
    taken = parse_roster(roster({"targets": ["x"], "weekly": weekly}))
    assert (on_duty(taken, int(at.timestamp() * 1000)) == ("x",)) is wanted
