"""Calendar arithmetic of the law: days, months and years of Dutch local time.

A term of 90 days that begins at 14:00 ends at 14:00 local time 90 days later, whether or not the
clocks change in between; a term of months or years ends on the same day of the month, or on the
last day of a shorter one (29 February of a common year is 28 February).
"""

import calendar
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from geofence.schedule import time_zone

ZONE_NAME: Final = "Europe/Amsterdam"


@lru_cache(maxsize=1)
def _zone() -> ZoneInfo:
    return time_zone(ZONE_NAME)


def _local(at_ms: int) -> datetime:
    seconds, ms = divmod(at_ms, 1000)
    at = datetime.fromtimestamp(seconds, UTC).astimezone(_zone())
    return at.replace(microsecond=ms * 1000)


def _ms(local: datetime) -> int:
    """The instant of a local time; one that comes twice is the later, one in the gap moves on."""
    at = local.replace(fold=1 if local.fold or _comes_twice(local) else 0)
    whole = at.replace(microsecond=0).astimezone(UTC)
    return int(whole.timestamp()) * 1000 + at.microsecond // 1000


def _comes_twice(local: datetime) -> bool:
    first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return first is not None and second is not None and second < first


def plus_days(at_ms: int, days: int) -> int:
    """The same local time `days` later (earlier when negative)."""
    local = _local(at_ms)
    return _ms((local.replace(tzinfo=None) + timedelta(days=days)).replace(tzinfo=_zone()))


def plus_months(at_ms: int, months: int) -> int:
    """The same local time and day of the month `months` later, or the last day of that month."""
    local = _local(at_ms)
    index = local.year * 12 + local.month - 1 + months
    year, month = divmod(index, 12)
    day = min(local.day, calendar.monthrange(year, month + 1)[1])
    return _ms(local.replace(year=year, month=month + 1, day=day, fold=0))


def parse_local(text: str) -> int:
    """The instant of a local date and time. Raises ValueError for what is none."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is not None:
        return _ms(at.astimezone(_zone()))
    return _ms(at.replace(tzinfo=_zone()))


def date_text(at_ms: int) -> str:
    """The local date and minute, as people write it: `2026-03-29 14:00`."""
    return _local(at_ms).strftime("%Y-%m-%d %H:%M")
