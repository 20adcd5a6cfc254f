"""Schedules in local time.

Against an oracle that walks minute by minute, and the days on which clocks change.
"""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence.schedule import (
    DayWindow,
    Schedule,
    ScheduleException,
    Window,
    is_open,
    next_edge_ms,
    schedule_problem,
    steady_since_ms,
)

MINUTE_MS = 60_000
DAY_MS = 86_400_000


def utc(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def nightly(start: str = "20:00", end: str = "06:00") -> Schedule:
    return Schedule("Europe/Amsterdam", tuple(Window(day, start, end) for day in range(7)))


def edges(schedule: Schedule, after: str, count: int) -> list[str]:
    found = []
    at = utc(after)
    for _ in range(count):
        edge = next_edge_ms(schedule, at)
        assert edge is not None
        assert is_open(schedule, edge) != is_open(schedule, edge - 1)
        found.append(dt.datetime.fromtimestamp(edge / 1000, dt.UTC).strftime("%m-%d %H:%M"))
        at = edge
    return found


def test_a_night_passes_midnight() -> None:
    assert edges(nightly(), "2025-07-01 12:00", 4) == [
        "07-01 18:00",
        "07-02 04:00",
        "07-02 18:00",
        "07-03 04:00",
    ]


def test_winter_and_summer_time_move_the_edges() -> None:
    # Clocks go forward on 2025-03-30 at 01:00 UTC and back on 2025-10-26 at 01:00 UTC.
    assert edges(nightly(), "2025-03-29 12:00", 2) == ["03-29 19:00", "03-30 04:00"]
    assert edges(nightly(), "2025-10-25 12:00", 2) == ["10-25 18:00", "10-26 05:00"]


def test_a_time_in_the_spring_gap_is_read_with_the_old_offset() -> None:
    schedule = nightly("02:30", "05:00")
    assert edges(schedule, "2025-03-29 12:00", 2) == ["03-30 01:30", "03-30 03:00"]


def test_a_window_wholly_in_the_spring_gap_keeps_its_length() -> None:
    schedule = nightly("02:10", "02:50")
    # 02:10 and 02:50 do not exist: 03:10 and 03:50 summer time, that is 01:10 and 01:50 UTC.
    assert edges(schedule, "2025-03-29 12:00", 2) == ["03-30 01:10", "03-30 01:50"]


def test_a_window_from_the_gap_to_its_end_is_empty() -> None:
    schedule = nightly("02:30", "03:00")
    # 02:30 is read as 03:30, after the end: there is no such window on that day.
    assert edges(schedule, "2025-03-29 12:00", 1) == ["03-31 00:30"]


def test_an_hour_that_comes_twice_belongs_to_the_window_both_times() -> None:
    schedule = nightly("02:00", "03:00")
    assert edges(schedule, "2025-10-25 12:00", 2) == ["10-26 00:00", "10-26 02:00"]
    half = nightly("02:15", "02:45")
    assert edges(half, "2025-10-25 12:00", 2) == ["10-26 00:15", "10-26 01:45"]


def test_leap_day() -> None:
    only = ScheduleException("2028-02-29", "2028-02-29", (DayWindow("10:00", "12:00"),))
    schedule = Schedule("Europe/Amsterdam", (), (only,))
    assert edges(schedule, "2025-01-01 00:00", 2) == ["02-29 09:00", "02-29 11:00"]
    assert next_edge_ms(schedule, utc("2028-03-01 00:00")) is None


def test_two_windows_a_day_and_windows_that_touch() -> None:
    schedule = Schedule(
        "Europe/Amsterdam",
        (Window(0, "08:00", "09:00"), Window(0, "17:00", "20:00"), Window(0, "20:00", "22:00")),
    )
    assert edges(schedule, "2025-07-06 00:00", 4) == [
        "07-07 06:00",
        "07-07 07:00",
        "07-07 15:00",
        "07-07 20:00",
    ]


def test_a_week_without_a_break_has_no_edge() -> None:
    schedule = nightly("00:00", "24:00")
    assert is_open(schedule, utc("2025-03-30 01:00"))
    assert next_edge_ms(schedule, utc("2025-01-01 00:00")) is None


def test_no_window_at_all_is_never_open() -> None:
    schedule = Schedule("Europe/Amsterdam", ())
    assert not is_open(schedule, utc("2025-01-01 00:00"))
    assert next_edge_ms(schedule, utc("2025-01-01 00:00")) is None


def test_an_exception_replaces_what_starts_on_its_dates() -> None:
    free = ScheduleException("2025-12-25", "2025-12-26")
    schedule = Schedule(nightly().timezone, nightly().weekly, (free,))
    # The night of the 24th runs on into the free day; the nights of the 25th and 26th do not begin.
    assert edges(schedule, "2025-12-24 12:00", 3) == ["12-24 19:00", "12-25 05:00", "12-27 19:00"]


def test_an_exception_far_away_is_found() -> None:
    free = ScheduleException("2026-08-01", "2026-08-02")
    schedule = Schedule("Europe/Amsterdam", nightly("00:00", "24:00").weekly, (free,))
    assert edges(schedule, "2025-01-01 00:00", 2) == ["07-31 22:00", "08-02 22:00"]


def test_other_zones_have_their_own_days() -> None:
    schedule = Schedule("Asia/Kathmandu", nightly().weekly)
    assert edges(schedule, "2025-07-01 12:00", 2) == ["07-01 14:15", "07-02 00:15"]


@pytest.mark.parametrize(
    ("schedule", "word"),
    [
        (Schedule("Europe/Nowhere", ()), "time zone"),
        (Schedule("../etc/passwd", ()), "time zone"),
        (Schedule("", ()), "time zone"),
        (Schedule("Europe", ()), "time zone"),
        (Schedule("UTC", (Window(0, "10:00", "10:00"),)), "length"),
        (Schedule("UTC", (Window(0, "24:00", "10:00"),)), "length"),
        (Schedule("UTC", (), (ScheduleException("2025-02-29", "2025-03-01"),)), "date"),
        (Schedule("UTC", (), (ScheduleException("2025-03-02", "2025-03-01"),)), "period"),
    ],
)
def test_what_is_wrong_is_said(schedule: Schedule, word: str) -> None:
    problem = schedule_problem(schedule)
    assert problem is not None
    assert word in problem


def test_nothing_wrong() -> None:
    assert schedule_problem(nightly()) is None


# --- the oracle: a minute is in a window when its local clock says so ---------------------------

CLOCK = st.builds(lambda h, m: f"{h:02}:{m:02}", st.integers(0, 23), st.sampled_from([0, 15, 30]))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    def window() -> tuple[str, str]:
        start = draw(CLOCK)
        return start, draw(CLOCK.filter(lambda end: end != start))

    weekly = tuple(
        Window(draw(st.integers(0, 6)), *window()) for _ in range(draw(st.integers(0, 4)))
    )
    exceptions = tuple(
        ScheduleException(
            day, day, tuple(DayWindow(*window()) for _ in range(draw(st.integers(0, 2))))
        )
        for day in draw(st.lists(st.sampled_from(["2025-03-28", "2025-10-25"]), max_size=2))
    )
    return Schedule("Europe/Amsterdam", weekly, exceptions)


def naive_open(schedule: Schedule, at_ms: int) -> bool:
    """True when the local clock is in a window; not asked on days on which clocks change."""
    zone = ZoneInfo("Europe/Amsterdam")
    local = dt.datetime.fromtimestamp(at_ms / 1000, zone)
    for back in (0, 1):
        date = local.date() - dt.timedelta(days=back)
        chosen = [(w.start, w.end) for w in schedule.weekly if w.day == date.weekday()]
        for exception in schedule.exceptions:
            if exception.date_from <= date.isoformat() <= exception.date_to:
                chosen = [(w.start, w.end) for w in exception.windows]
                break
        minute = local.hour * 60 + local.minute + back * 1440
        for start, end in chosen:
            a = int(start[:2]) * 60 + int(start[3:])
            b = int(end[:2]) * 60 + int(end[3:])
            if a <= minute < (b if b > a else b + 1440):
                return True
    return False


@settings(max_examples=60, deadline=None)
@given(schedules(), st.sampled_from(["2025-03-25", "2025-06-30", "2025-10-20", "2026-01-01"]))
def test_open_as_the_local_clock_says(schedule: Schedule, first: str) -> None:
    start = utc(first)
    for minute in range(0, 5 * 1440, 5):
        at = start + minute * MINUTE_MS
        assert is_open(schedule, at) == naive_open(schedule, at)


@settings(max_examples=60, deadline=None)
@given(schedules(), st.integers(utc("2025-03-20"), utc("2025-11-05")))
def test_edges_are_where_the_answer_changes(schedule: Schedule, at: int) -> None:
    edge = next_edge_ms(schedule, at)
    now = is_open(schedule, at)
    since = steady_since_ms(schedule, at)
    assert since <= at
    assert is_open(schedule, since) == now
    if edge is None:
        assert all(is_open(schedule, at + k * 3 * 3_600_000) == now for k in range(56))
        return
    assert is_open(schedule, edge) != now
    probe = at
    while probe < edge:
        assert is_open(schedule, probe) == now
        probe += max((edge - at) // 50, 1)
    assert is_open(schedule, edge - 1) == now
