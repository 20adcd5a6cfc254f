"""Times as people read them: Dutch local time, from the pinned time zone data."""

from datetime import UTC, datetime
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo


def _zone() -> ZoneInfo:
    with files("tzdata.zoneinfo.Europe").joinpath("Amsterdam").open("rb") as data:
        return ZoneInfo.from_file(data, key="Europe/Amsterdam")


AMSTERDAM: Final = _zone()


def local_text(at_ms: int) -> str:
    """Give date and time to the second with the offset, as in `2026-03-29 03:00:00 +02:00`."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(AMSTERDAM)
    return at.isoformat(sep=" ", timespec="seconds").replace("+", " +")


def cap_time(at_ms: int) -> str:
    """Give a CAP 1.2 dateTime: local time with its offset, never `Z` (section 3.3.2)."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(AMSTERDAM)
    return at.isoformat(timespec="seconds")
