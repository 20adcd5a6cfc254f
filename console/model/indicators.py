"""How the room is doing: ISA-18.2 figures of alarm load, EN 50518 figures of response.

A page is the moment from which somebody owes an answer. Drills are counted nowhere.
"""

from collections import deque
from typing import Final, NamedTuple

import msgspec

from afstand.limits import CONSOLE_SAMPLES_MAX
from alerting.book.classes_data import ALARM_BOOK
from alerting.book.types import AlarmClass, AlarmRecord, AlarmState, Change, Priority
from console.model.rows import AlarmRow, IncidentRow

WINDOW_MS: Final = 600_000
DAY_MS: Final = 86_400_000
FLOOD_STARTS: Final = 10
"""More pages than this in ten minutes, per operator, are a flood (ISA-18.2)."""
FLOOD_ENDS: Final = 5
URGENT: Final = (AlarmClass.PANIC, AlarmClass.PROXIMITY, AlarmClass.TAMPER)
"""What EN 50518 calls hold-up and personal attack: 30 s for 80 %, 60 s for 98.5 %."""
RESPOND_MS: Final = {rule.alarm_class: rule.respond_s * 1000 for rule in ALARM_BOOK.values()}
"""Time to respond of each class, by the alarm book."""
TARGETS_MS: Final = {"urgent": (30_000, 60_000), "other": (90_000, 180_000)}


class Page(NamedTuple):
    """Somebody owed an answer from `at_ms` on."""

    at_ms: int
    priority: Priority


class Answer(NamedTuple):
    """Somebody took an alarm in hand, so long after the page."""

    at_ms: int
    kind: str
    after_ms: int


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of the last 24 hours of one kind, against the two targets of EN 50518."""

    answers: int
    within_first_pct: float | None
    within_second_pct: float | None
    first_s: int
    second_s: int
    median_s: float | None


class Indicators(msgspec.Struct, frozen=True, kw_only=True):
    """The figures at one moment."""

    at_ms: int
    operators: int
    pages_10min: int
    pages_10min_per_operator: float
    pages_24h: int
    flood: bool
    flood_since_ms: int | None
    flood_pct_24h: float
    open_incidents: int
    waiting: int
    """Open alarms that nobody has in hand and that are not silenced."""
    overdue: int
    standing: int
    """Alarms whose condition holds."""
    stale: int
    """Open for more than 24 hours."""
    silenced: int
    oldest_waiting_ms: int | None
    priorities_24h: dict[str, int]
    urgent: Response
    other: Response


class Load:
    """Pages and answers of the last day, bounded."""

    def __init__(self) -> None:
        self.pages: deque[Page] = deque(maxlen=CONSOLE_SAMPLES_MAX)
        self.answers: deque[Answer] = deque(maxlen=CONSOLE_SAMPLES_MAX)
        self.floods: deque[tuple[int, int]] = deque(maxlen=1_000)
        self.flood_since_ms: int | None = None

    def fold(self, record: AlarmRecord, alarm: AlarmRow, before_ms: int | None) -> None:
        """Take one change of an alarm; `before_ms`: since when it waited before, None for never."""
        paged = alarm.paged_ms == record.at_ms and before_ms != record.at_ms
        if paged and not alarm.silenced:
            self.pages.append(Page(record.at_ms, record.priority))
        if record.change is Change.ACKNOWLEDGED:
            kind = "urgent" if record.alarm_class in URGENT else "other"
            since_ms = alarm.paged_ms if before_ms is None else before_ms
            self.answers.append(Answer(record.at_ms, kind, max(0, record.at_ms - since_ms)))

    def pages_since(self, since_ms: int) -> int:
        """How many pages came after `since_ms`."""
        count = 0
        for page in reversed(self.pages):
            if page.at_ms <= since_ms:
                break
            count += 1
        return count

    def flood(self, now_ms: int, operators: int) -> bool:
        """Whether the room is in a flood: above 10 a head in ten minutes, until below 5."""
        count = self.pages_since(now_ms - WINDOW_MS)
        heads = max(1, operators)
        if self.flood_since_ms is None:
            if count > FLOOD_STARTS * heads:
                self.flood_since_ms = now_ms
        elif count < FLOOD_ENDS * heads:
            self.floods.append((self.flood_since_ms, now_ms))
            self.flood_since_ms = None
        return self.flood_since_ms is not None

    def flood_pct(self, now_ms: int) -> float:
        """The share of the last 24 hours in flood."""
        start_ms = now_ms - DAY_MS
        spans = list(self.floods)
        if self.flood_since_ms is not None:
            spans.append((self.flood_since_ms, now_ms))
        total = sum(max(0, until - max(since, start_ms)) for since, until in spans)
        return round(100 * total / DAY_MS, 2)


def compute(load: Load, rows: list[IncidentRow], now_ms: int, operators: int) -> Indicators:
    """The figures now, of the open incidents."""
    real = [row for row in rows if not row.drill]
    alarms = [alarm for row in real for alarm in row.alarms.values() if alarm.is_open]
    waiting = [alarm for alarm in alarms if not alarm.acknowledged and not alarm.silenced]
    flood = load.flood(now_ms, operators)
    pages_10min = load.pages_since(now_ms - WINDOW_MS)
    day = [page for page in load.pages if page.at_ms > now_ms - DAY_MS]
    priorities = {priority.value: 0 for priority in Priority}
    for page in day:
        priorities[page.priority.value] += 1
    return Indicators(
        at_ms=now_ms,
        operators=operators,
        pages_10min=pages_10min,
        pages_10min_per_operator=round(pages_10min / max(1, operators), 1),
        pages_24h=len(day),
        flood=flood,
        flood_since_ms=load.flood_since_ms,
        flood_pct_24h=load.flood_pct(now_ms),
        open_incidents=len(real),
        waiting=len(waiting),
        overdue=sum(now_ms > alarm.paged_ms + RESPOND_MS[alarm.alarm_class] for alarm in waiting),
        standing=sum(
            alarm.state in (AlarmState.ACTIVE_ACKNOWLEDGED, AlarmState.ACTIVE_UNACKNOWLEDGED)
            for alarm in alarms
        ),
        stale=sum(now_ms - alarm.opened_ms > DAY_MS for alarm in alarms),
        silenced=sum(alarm.silenced for alarm in alarms),
        oldest_waiting_ms=min((alarm.paged_ms for alarm in waiting), default=None),
        priorities_24h=priorities,
        urgent=_response(load, "urgent", now_ms),
        other=_response(load, "other", now_ms),
    )


def _response(load: Load, kind: str, now_ms: int) -> Response:
    first_ms, second_ms = TARGETS_MS[kind]
    took = sorted(
        answer.after_ms
        for answer in load.answers
        if answer.kind == kind and answer.at_ms > now_ms - DAY_MS
    )
    count = len(took)
    return Response(
        answers=count,
        within_first_pct=_share(sum(one <= first_ms for one in took), count),
        within_second_pct=_share(sum(one <= second_ms for one in took), count),
        first_s=first_ms // 1000,
        second_s=second_ms // 1000,
        median_s=took[count // 2] / 1000 if count else None,
    )


def _share(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole else None
