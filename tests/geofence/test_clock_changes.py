"""Hours against clocks that change: minute by minute, with nothing but the standard library.

The oracle walks the minutes of a local clock as a person would read it. It knows the rules of
geofence.schedule only in words: a start is the first time that the clock shows it, an end the last
time; a time that the clock leaves out is when it would have been without the change.
"""

import datetime as dt
import random
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from geofence.orders import Presence
from geofence.schedule import (
    DayWindow,
    Schedule,
    ScheduleException,
    Window,
    is_open,
    next_edge_ms,
)
from geofence.verdicts import OrderKind, VerdictReason, VerdictState
from tests.geofence.stories import DAY, HOUR, MINUTE, Story, order, verdicts

Minutes = dict[dt.datetime, list[int]]


def utc(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


@lru_cache(maxsize=32)
def clock(zone: str, first_ms: int, days: int) -> Minutes:
    """What the local clock shows, minute by minute: each reading with the instants it stands at."""
    here = ZoneInfo(zone)
    shown: Minutes = {}
    for minute in range(days * 1440):
        at_ms = first_ms + minute * MINUTE
        reading = dt.datetime.fromtimestamp(at_ms / 1000, here).replace(tzinfo=None, fold=0)
        shown.setdefault(reading, []).append(at_ms)
    return shown


def instant(shown: Minutes, reading: dt.datetime, *, last: bool) -> int | None:
    """When the clock shows a time; None outside of what was walked."""
    at = shown.get(reading)
    if at is not None:
        return at[-1] if last else at[0]
    # Left out: go back to a time that it showed, and on from there as if nothing had happened.
    for back in range(1, 24 * 60):
        at = shown.get(reading - dt.timedelta(minutes=back))
        if at is not None:
            after = shown.get(reading + dt.timedelta(hours=24))
            return None if after is None else at[-1] + back * MINUTE
    return None


def windows_on(schedule: Schedule, date: dt.date) -> list[tuple[str, str]]:
    for exception in schedule.exceptions:
        if exception.date_from <= date.isoformat() <= exception.date_to:
            return [(window.start, window.end) for window in exception.windows]
    return [(w.start, w.end) for w in schedule.weekly if w.day == date.weekday()]


def spans(schedule: Schedule, first_ms: int, days: int) -> list[tuple[int, int]]:
    """Every window that begins on one of the days, as instants; joined where they touch."""
    shown = clock(schedule.timezone, first_ms - 3 * DAY, days + 6)
    begin = dt.datetime.fromtimestamp(first_ms / 1000, dt.UTC).date() - dt.timedelta(days=2)
    found = []
    for offset in range(days + 4):
        date = begin + dt.timedelta(days=offset)
        for start, end in windows_on(schedule, date):
            from_, to = (int(t[:2]) * 60 + int(t[3:]) for t in (start, end))
            midnight = dt.datetime.combine(date, dt.time())
            to += 1440 if to <= from_ else 0
            opens = instant(shown, midnight + dt.timedelta(minutes=from_), last=False)
            closes = instant(shown, midnight + dt.timedelta(minutes=to), last=True)
            if opens is not None and closes is not None and opens < closes:
                found.append((opens, closes))
    joined: list[tuple[int, int]] = []
    for opens, closes in sorted(found):
        if joined and opens <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], closes))
        else:
            joined.append((opens, closes))
    return joined


# --- the days on which clocks change --------------------------------------------------------------

CHANGES = (
    ("Europe/Amsterdam", "2026-03-29"),  # forward an hour
    ("Europe/Amsterdam", "2026-10-25"),  # back an hour
    ("Europe/Amsterdam", "2028-02-29"),  # a leap day
    ("America/New_York", "2026-11-01"),  # back, in the middle of the European night
    ("Australia/Lord_Howe", "2026-04-05"),  # back half an hour
    ("Australia/Lord_Howe", "2026-10-04"),  # forward half an hour
    ("Asia/Kathmandu", "2026-03-29"),  # 5:45, never changes
)
NIGHT = st.builds(
    lambda h, m: f"{h:02}:{m:02}",
    st.sampled_from([0, 1, 1, 2, 2, 3, 3, 4, 12, 22, 23]),
    st.sampled_from([0, 1, 15, 29, 30, 31, 45, 59]),
)


@st.composite
def schedules(draw: st.DrawFn, zone: str, day: str) -> Schedule:
    def window() -> tuple[str, str]:
        start = draw(NIGHT)
        end = draw(st.one_of(NIGHT, st.just("24:00")).filter(lambda end: end != start))
        return start, end

    weekly = tuple(
        Window(draw(st.integers(0, 6)), *window()) for _ in range(draw(st.integers(0, 6)))
    )
    exceptions = tuple(
        ScheduleException(day, day, tuple(DayWindow(*window()) for _ in range(count)))
        for count in draw(st.lists(st.integers(0, 2), max_size=1))
    )
    return Schedule(zone, weekly, exceptions)


@pytest.mark.slow
@pytest.mark.parametrize(("zone", "day"), CHANGES)
@seed(20261121)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_minute_around_a_change_is_as_the_clock_says(zone: str, day: str, data) -> None:
    schedule = data.draw(schedules(zone, day))
    start = utc(day) - 2 * DAY
    expected = spans(schedule, start, 5)
    inside = [False] * (5 * 1440)
    for opens, closes in expected:
        low, high = max((opens - start) // MINUTE, 0), max((closes - start) // MINUTE, 0)
        inside[low:high] = [True] * (min(high, len(inside)) - low)
    assert [is_open(schedule, start + k * MINUTE) for k in range(len(inside))] == inside
    edges = [edge for span in expected for edge in span if start < edge < start + 5 * DAY]
    found, at = [], start
    while (edge := next_edge_ms(schedule, at)) is not None and edge < start + 5 * DAY:
        found.append(edge)
        at = edge
    assert found == sorted(edges)


# --- the engine through a year and a leap day, mostly without a fix -------------------------------

HOURS = {VerdictReason.SCHEDULE_OPENED_WHILE_ABSENT, VerdictReason.SCHEDULE_ENDED}
FIRST, DAYS = "2027-10-20", 400  # clocks back, a leap day, clocks forward, clocks back


def curfew(name: str, schedule: Schedule, **fields: object) -> dict[str, object]:
    begin = utc(FIRST)
    terms = {
        "id": name,
        "kind": OrderKind.LOCATION_ORDER,
        "schedule": schedule,
        "silence_s": 86_400,
        "valid_from_ms": begin - 9 * DAY,
        "signed_at_ms": begin - 9 * DAY,
        "served_at_ms": begin - 9 * DAY,
    }
    return terms | fields


def draw_schedule(draw: random.Random) -> Schedule:
    def time() -> str:
        return f"{draw.randrange(24):02}:{draw.choice([0, 10, 30, 45]):02}"

    weekly: list[Window] = []
    while len(weekly) < 9:
        start, end = time(), time()
        if start != end:
            weekly.append(Window(draw.randrange(7), start, end))
    free = ("2027-12-25", "2028-02-29", "2028-03-26")
    exceptions = [ScheduleException(day, day, (DayWindow("01:30", "04:00"),)) for day in free[:2]]
    exceptions.append(ScheduleException(free[2], free[2]))
    return Schedule("Europe/Amsterdam", tuple(weekly), tuple(exceptions))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_the_edges_of_a_year_fire_at_their_instants_without_a_fix(number: int) -> None:
    """Two orders of one wearer, each with hours of its own; only ticks, now and then."""
    draw = random.Random(number)
    story = Story()
    begin = story.now = utc(FIRST)
    valid_to = begin + 300 * DAY + 12_345
    orders = {"first": draw_schedule(draw), "second": draw_schedule(draw)}
    story.fix("wearer", 5000)
    for name, schedule in orders.items():
        fields = {"valid_to_ms": valid_to} if name == "second" else {}
        story.put(order(**curfew(name, schedule, **fields)))
    story.stay("wearer", 5000, minutes=10)
    quiet = story.now
    story.told.clear()
    end = begin + DAYS * DAY
    while story.now < end:
        due = story.engine.next_due_ms()
        if due is not None and draw.random() < 0.2:
            story.until(min(max(due - 1, story.now), end))  # a millisecond before: nothing yet
            assert not [v for v in verdicts(story.wait(0)) if v.at_ms >= due]
            story.until(min(due, end))
        else:
            story.wait(min(draw.choice([MINUTE, HOUR, 9 * HOUR, 40 * HOUR]), end - story.now))
    for name, schedule in orders.items():
        last = valid_to if name == "second" else end
        expected = [edge for span in spans(schedule, begin, DAYS) for edge in span
                    if quiet < edge < min(last, story.now + 1)]  # fmt: skip
        told = [v for v in verdicts(story.told) if v.order_id == name]
        assert [v.at_ms for v in told if v.reason in HOURS] == sorted(expected)
        states = [v.state for v in told if v.reason in HOURS]
        assert set(states[::2]) != set(states[1::2]), "open and closed in turn"
        lapsed = [v.at_ms for v in told if v.reason is VerdictReason.ORDER_LAPSED]
        assert lapsed == ([valid_to] if name == "second" else [])


@pytest.mark.slow
def test_every_missed_report_duty_of_a_year_is_told_at_the_end_of_its_hours() -> None:
    """Mondays from nine to ten, clocks changing or not, with nothing heard of anybody."""
    story = Story()
    begin = story.now = utc(FIRST)
    schedule = Schedule("Europe/Amsterdam", (Window(0, "09:00", "10:00"),))
    story.put(order(**curfew("duty", schedule, presence=Presence.ONCE)))
    story.told.clear()
    while story.now < begin + DAYS * DAY:
        story.wait(7 * HOUR)
    missed = [v for v in verdicts(story.told) if v.reason is VerdictReason.REPORT_DUTY_MISSED]
    zone = ZoneInfo("Europe/Amsterdam")
    expected = []
    day = dt.datetime(2027, 10, 25, 10, tzinfo=zone)  # a Monday
    while round(day.timestamp() * 1000) <= story.now:
        expected.append(round(day.timestamp() * 1000))
        day += dt.timedelta(days=7)  # on the clock, not in hours
    assert [v.at_ms for v in missed] == expected
    assert len(expected) == 57
    assert {v.state for v in missed} == {VerdictState.CONFIRMED}


# --- clocks of devices ----------------------------------------------------------------------------


def test_a_clock_that_runs_ahead_hides_nobody_and_is_followed_when_it_is_right() -> None:
    story = Story()
    story.order()
    story.fix("wearer", 3000)
    story.told.clear()
    for _ in range(5):
        story.wait(MINUTE)
        story.fix("wearer", 0, time_ms=story.now + 10 * MINUTE)
    assert verdicts(story.told)[0].reason is VerdictReason.WEARER_SILENT
    assert story.engine.fixes().from_future == 5
    story.told.clear()
    for _ in range(3):
        story.wait(MINUTE)
        story.fix("wearer", 0)
    assert [v.state for v in verdicts(story.told)][-1] is VerdictState.CONFIRMED


def test_a_clock_within_the_tolerance_ahead_counts_as_now() -> None:
    story = Story()
    story.order()
    story.fix("wearer", 0, time_ms=story.now + 90_000)
    (verdict,) = verdicts(story.told)[-1:]
    assert verdict.fix_ms == story.now
    assert verdict.wearer_age_ms == 0


@pytest.mark.parametrize("back_s", [30, 200, 3600])
def test_a_clock_that_steps_back_is_silent_until_it_says_something_new(back_s: int) -> None:
    """Its fixes seem late. That is told as silence, and ends when its time is new again."""
    story = Story()
    story.order()
    story.stay("wearer", 3000, minutes=3)
    story.told.clear()
    newest = story.now
    followed_ms = None
    for _ in range(80):
        story.wait(MINUTE)
        story.fix("wearer", 0, time_ms=story.now - back_s * 1000)
        position = story.engine.last_position("wearer")
        assert position is not None
        if followed_ms is None and position.time_ms > newest:
            followed_ms = story.now
    assert followed_ms is not None
    assert followed_ms - newest <= back_s * 1000 + 2 * MINUTE
    present = [v for v in verdicts(story.told) if not v.historic]
    assert any(v.state is VerdictState.CONFIRMED for v in present)
    silent = [v.reason for v in present].count(VerdictReason.WEARER_SILENT)
    assert silent == (1 if back_s > 300 else 0)


@pytest.mark.parametrize("seconds", [0, 1])
def test_many_fixes_of_one_instant_are_one_minute_of_evidence(seconds: int) -> None:
    """Time that did not pass is no evidence, however often it is reported."""
    story = Story()
    story.order(risk_class=3)
    story.fix("wearer", 3000)
    for _ in range(4):
        story.wait(MINUTE)
        rows = [story.row("wearer", k * 0.5, ago_ms=seconds * 1000 // 20 * k) for k in range(20)]
        found = story.fixes(*rows)
    confirmed = [v for v in verdicts(story.told) if v.state is VerdictState.CONFIRMED]
    # H = 4.5 at 0.5 ln(39) = 1.83 a minute: the third minute, never the first.
    assert [round((v.at_ms - story.now) / MINUTE) for v in confirmed] == [-1]
    assert found == []
