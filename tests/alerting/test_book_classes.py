"""The alarm book as data: complete, rationalised, within its bounds, and documented as it is."""

from pathlib import Path

import msgspec
import pytest

from alerting.book.classes import AlarmBookError, BookFault, Text, build
from alerting.book.classes_data import ALARM_BOOK, BOOK_VERSION, ROWS
from alerting.book.document import render
from alerting.book.rules import ENDS, POSSIBLE_IS_BREACH_1024, RAISES
from alerting.book.types import AlarmClass, EventKind, Priority
from geofence.parameters import POSSIBLE_1024

replace = msgspec.structs.replace
DOCUMENT = Path(__file__).parents[2] / "docs" / "alarm-book.md"


def test_the_book_has_the_twelve_classes_and_no_more():
    assert list(ALARM_BOOK) == list(AlarmClass)
    assert len(ALARM_BOOK) == 12


@pytest.mark.parametrize(
    ("alarm_class", "priority", "latched", "respond_s"),
    [
        ("panic", "critical", True, 30),
        ("proximity", "critical", True, 30),
        ("tamper", "critical", True, 30),
        ("area-breach", "critical", True, 60),
        ("approach", "high", False, 60),
        ("pair-blind", "high", False, 90),
        ("order-breach", "medium", False, 180),
        ("device-dying", "medium", False, 600),
        ("location-doubt", "medium", False, 600),
        ("pattern", "medium", False, 14_400),
        ("legal", "low", False, 28_800),
        ("system", "critical", False, 60),
    ],
)
def test_priority_latch_and_time_to_respond_are_those_of_the_design(
    alarm_class, priority, latched, respond_s
):
    """Domain 8.1, row by row."""
    rule = ALARM_BOOK[AlarmClass(alarm_class)]
    assert (rule.priority, rule.latched, rule.respond_s) == (priority, latched, respond_s)
    assert rule.may_be_silenced is not latched


def faults(rows):
    with pytest.raises(AlarmBookError) as caught:
        build(rows)
    return [(p.alarm_class, p.field, p.reason) for p in caught.value.problems]


def changed(alarm_class, **how):
    return [replace(r, **how) if r.alarm_class == alarm_class else r for r in ROWS]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (ROWS[1:], ("panic", "alarm_class", BookFault.MISSING)),
        ((*ROWS, ROWS[0]), ("panic", "alarm_class", BookFault.TWICE)),
        ((*ROWS, ROWS[0]), ("book", "classes", BookFault.TOO_MANY)),
        (
            changed("panic", shelve_max_s=60),
            ("panic", "shelve_max_s", BookFault.LATCHED_AND_SHELVED),
        ),
        (changed("panic", respond_s=61), ("panic", "respond_s", BookFault.CRITICAL_SLOW)),
        (changed("legal", respond_s=0), ("legal", "respond_s", BookFault.BAD_TIME)),
        (changed("legal", settle_s=0), ("legal", "settle_s", BookFault.BAD_TIME)),
        (changed("legal", action=Text("", "x")), ("legal", "action", BookFault.EMPTY_TEXT)),
    ],
)
def test_rows_that_are_no_alarm_book_are_refused(rows, fault):
    assert fault in faults(rows)


def test_every_problem_is_named_at_once():
    rows = [replace(r, title=Text(" ", "x")) for r in ROWS[2:]]
    assert len(faults(rows)) == 12
    with pytest.raises(AlarmBookError, match=r"panic.alarm_class: class-missing; proximity\."):
        build(ROWS[2:])


def test_whatever_an_event_raises_lastingly_something_ends():
    ended = {source for sources in ENDS.values() for source in sources}
    for kind, rule in RAISES.items():
        if rule.lasting:
            assert rule.source in ended or rule.expires_ms, kind
        else:
            assert rule.source not in ended, kind
    assert ended <= {rule.source for rule in RAISES.values()}


def test_a_lower_risk_asks_for_more_certainty_and_none_for_more_than_there_can_be():
    """The engine's probability of a ban ends at 0.975, and a possible breach starts at 0.95."""
    one, two, three = (POSSIBLE_IS_BREACH_1024[risk] for risk in (1, 2, 3))
    assert one < two < three < round(0.975 * 1024)
    assert two <= POSSIBLE_1024


def test_every_class_that_latches_is_critical():
    assert all(r.priority is Priority.CRITICAL for r in ROWS if r.latched)


def test_presses_are_raised_by_events_of_their_own():
    assert RAISES[EventKind.PANIC].source != RAISES[EventKind.DURESS].source


def test_the_document_is_current():
    assert DOCUMENT.read_text(encoding="utf-8") == render(), (
        "run: python -m alerting.book.document > docs/alarm-book.md"
    )
    assert f"Version {BOOK_VERSION}." in render()
