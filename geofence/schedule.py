"""Weekly schedules in local time, as intervals of Unix milliseconds.

Windows are local ("20:00-06:00" may pass midnight), so their edges move with daylight saving. The
rules, because a court order has to mean one thing:

- A window belongs to the day on which it starts. An exception replaces the windows that start on
  its dates, and nothing else: a night that began the day before runs on until its own end.
- A local time that does not exist (the spring gap) is read with the offset from before the gap:
  02:30 is then 03:30.
- A local time that comes twice (autumn) belongs to the window both times: a start means the first,
  an end the second.
- Windows that touch or overlap are one.

Time zone data is the pinned `tzdata` package, never the machine's, so that every machine computes
the same edges.
"""

import bisect
import datetime as dt
from functools import lru_cache
from importlib import resources
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import msgspec

from afstand.limits import SCHEDULE_EXCEPTIONS_MAX, SCHEDULE_WINDOWS_MAX

_EPOCH: Final = dt.date(1970, 1, 1)
_DAY_MS: Final = 86_400_000
_CHUNK_DAYS: Final = 8
"""A week and a day: without exceptions every weekly pattern shows an edge within it."""
_SEARCH_CHUNKS: Final = 4
_FIRST_DAY: Final = dt.date(1970, 1, 10)
_LAST_DAY: Final = dt.date(9998, 1, 1)

Clock = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
Day = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A weekly window: day 0 (Monday) to 6, local times; an end not after the start is next day."""

    day: Annotated[int, msgspec.Meta(ge=0, le=6)]
    start: Clock
    end: Clock


class DayWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A window on each date of an exception."""

    start: Clock
    end: Clock


class ScheduleException(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Other windows on the dates from `date_from` to `date_to` (both included); none: free."""

    date_from: Day
    date_to: Day
    windows: Annotated[tuple[DayWindow, ...], msgspec.Meta(max_length=SCHEDULE_WINDOWS_MAX)] = ()


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an order asks for something. The first exception that names a date holds for it."""

    timezone: str
    weekly: Annotated[tuple[Window, ...], msgspec.Meta(max_length=SCHEDULE_WINDOWS_MAX)]
    exceptions: Annotated[
        tuple[ScheduleException, ...], msgspec.Meta(max_length=SCHEDULE_EXCEPTIONS_MAX)
    ] = ()


class Intervals(msgspec.Struct, frozen=True):
    """Disjoint open intervals, ascending: [opens[i], closes[i]) in Unix ms."""

    opens: tuple[int, ...]
    closes: tuple[int, ...]


def schedule_problem(schedule: Schedule) -> str | None:
    """Return what is wrong with a schedule that its types cannot say, or None."""
    try:
        time_zone(schedule.timezone)
    except (ValueError, OSError):
        return f"timezone {schedule.timezone!r} is not in the time zone data"
    windows: list[Window | DayWindow] = list(schedule.weekly)
    for exception in schedule.exceptions:
        try:
            first = dt.date.fromisoformat(exception.date_from)
            last = dt.date.fromisoformat(exception.date_to)
        except ValueError:
            return f"exception {exception.date_from} to {exception.date_to} names no date"
        if last < first or first < _FIRST_DAY or last > _LAST_DAY:
            return f"exception {exception.date_from} to {exception.date_to} is not a period"
        windows += exception.windows
    for window in windows:
        if window.start in (window.end, "24:00"):
            return f"window {window.start} to {window.end} has no length"
    return None


def is_open(schedule: Schedule, at_ms: int) -> bool:
    """Return whether a window holds at `at_ms`."""
    around = _chunk(schedule, _aligned(at_ms // _DAY_MS))
    i = bisect.bisect_right(around.opens, at_ms) - 1
    return i >= 0 and at_ms < around.closes[i]


def next_edge_ms(schedule: Schedule, after_ms: int) -> int | None:
    """Return the first instant after `after_ms` when a window opens or closes; None if never."""
    first = _aligned(after_ms // _DAY_MS)
    days = [first + i * _CHUNK_DAYS for i in range(_SEARCH_CHUNKS)]
    for exception in schedule.exceptions:
        for text in (exception.date_from, exception.date_to):
            day = _aligned((dt.date.fromisoformat(text) - _EPOCH).days - 2)
            days += [day, day + _CHUNK_DAYS]
    for day in sorted(days):
        # Edges outside of the days of a chunk may be its own ends and not those of a window.
        low_ms = max(after_ms, day * _DAY_MS - 1)
        high_ms = (day + _CHUNK_DAYS) * _DAY_MS
        chunk = _chunk(schedule, day)
        edges = [e for pair in zip(chunk.opens, chunk.closes, strict=True) for e in pair]
        i = bisect.bisect_right(edges, low_ms)
        if i < len(edges) and edges[i] < high_ms:
            return edges[i]
    return None


def steady_since_ms(schedule: Schedule, at_ms: int) -> int:
    """Return an instant at or before `at_ms` from which on no window opened or closed."""
    day = _aligned(at_ms // _DAY_MS)
    chunk = _chunk(schedule, day)
    edges = [e for pair in zip(chunk.opens, chunk.closes, strict=True) for e in pair]
    i = bisect.bisect_right(edges, at_ms)
    return max(edges[i - 1] if i else 0, day * _DAY_MS)


def _aligned(day: int) -> int:
    return day - day % _CHUNK_DAYS


@lru_cache(maxsize=4096)
def _chunk(schedule: Schedule, day: int) -> Intervals:
    """Return the intervals of the windows that start from `day` - 2 to two days past its chunk."""
    zone = time_zone(schedule.timezone)
    found: list[tuple[int, int]] = []
    for offset in range(day - 2, day + _CHUNK_DAYS + 3):
        date = _EPOCH + dt.timedelta(days=offset)
        for start, end in _windows_of(schedule, date):
            opens = _to_ms(date, start, zone, fold=0)
            closes = _to_ms(date, end, zone, fold=1)
            if closes > opens:
                found.append((opens, closes))
    found.sort()
    merged: list[tuple[int, int]] = []
    for opens, closes in found:
        if merged and opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(closes, merged[-1][1]))
        else:
            merged.append((opens, closes))
    return Intervals(tuple(m[0] for m in merged), tuple(m[1] for m in merged))


def _windows_of(schedule: Schedule, date: dt.date) -> list[tuple[int, int]]:
    """Return the windows that start on a local date, in minutes since its midnight."""
    text = date.isoformat()
    for exception in schedule.exceptions:
        if exception.date_from <= text <= exception.date_to:
            return [_minutes(w.start, w.end) for w in exception.windows]
    weekday = date.weekday()
    return [_minutes(w.start, w.end) for w in schedule.weekly if w.day == weekday]


def _minutes(start: str, end: str) -> tuple[int, int]:
    first = int(start[:2]) * 60 + int(start[3:])
    last = int(end[:2]) * 60 + int(end[3:])
    return first, last if last > first else last + 24 * 60


def _to_ms(date: dt.date, minutes: int, zone: ZoneInfo, *, fold: int) -> int:
    """Return the instant of a local time. In the spring gap both folds use the offset before it."""
    local = dt.datetime.combine(date, dt.time(), zone) + dt.timedelta(minutes=minutes)
    first = local.utcoffset()
    second = local.replace(fold=1).utcoffset()
    if first is None or second is None:
        raise ValueError("the zone gives no offset")
    # Two offsets at one local time: with the larger one first the time comes twice, else never.
    offset = second if fold == 1 and second < first else first
    naive_ms = (local.date() - _EPOCH).days * _DAY_MS + (local.hour * 60 + local.minute) * 60_000
    return naive_ms - round(offset.total_seconds() * 1000)


@lru_cache(maxsize=64)
def time_zone(name: str) -> ZoneInfo:
    """Return a time zone of the pinned data. Raises ValueError or OSError for an unknown name."""
    parts = name.split("/")
    if not all(part and part.replace("_", "").replace("-", "").isalnum() for part in parts):
        raise ValueError("not a time zone name")
    entry = resources.files("tzdata").joinpath("zoneinfo", *parts)
    with entry.open("rb") as data:
        return ZoneInfo.from_file(data, key=name)
