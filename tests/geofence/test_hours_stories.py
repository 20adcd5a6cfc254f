"""Location orders and hours.

Edges judge by themselves, with the last known position, also when clocks change.
"""

import datetime as dt

import pytest

from geofence.orders import Presence
from geofence.verdicts import (
    Freshness,
    Label,
    OrderKind,
    RequestReason,
    VerdictReason,
    VerdictState,
)
from tests.geofence.stories import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    Story,
    order,
    requests,
    told,
    verdicts,
    weekly,
)

CLEAR, WARNING = VerdictState.CLEAR, VerdictState.WARNING
POSSIBLE, CONFIRMED = VerdictState.POSSIBLE, VerdictState.CONFIRMED
NIGHTS = tuple((day, "20:00", "06:00") for day in range(7))


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def curfew(start: str, **fields: object) -> Story:
    """At home (the zone) at nights; the story begins at `start` UTC."""
    story = Story()
    story.now = ms(start)
    fields.setdefault("schedule", weekly(*NIGHTS))
    story.put(
        order(
            kind=OrderKind.LOCATION_ORDER,
            valid_from_ms=story.now - 9 * DAY,
            signed_at_ms=story.now - 9 * DAY,
            served_at_ms=story.now - 9 * DAY,
            **fields,
        )
    )
    return story


def live(story: Story, north: float, until: str) -> None:
    """A fix a minute at one place until an instant, which is itself only a tick."""
    end = ms(until)
    while story.now + MINUTE <= end:
        story.wait(MINUTE)
        if story.now < end:
            story.fix("wearer", north)
    story.until(end)


# --- the edge -----------------------------------------------------------------------------------


def test_at_home_in_the_evening_nothing_is_told() -> None:
    story = curfew("2025-07-01 17:30:00")
    story.fix("wearer", 0)
    story.told.clear()
    live(story, 0, "2025-07-02 05:00:00")
    assert story.told == []


def test_absent_when_the_night_begins() -> None:
    story = curfew("2025-07-01 17:30:00")
    story.fix("wearer", 3000)
    story.told.clear()
    live(story, 3000, "2025-07-01 18:30:00")
    assert told(story.told) == [(CONFIRMED, VerdictReason.SCHEDULE_OPENED_WHILE_ABSENT)]
    v = verdicts(story.told)[0]
    assert v.at_ms == ms("2025-07-01 18:00:00")
    assert v.fix_ms == v.at_ms - MINUTE
    assert Label.POSITION_HELD in v.labels
    assert v.distance_mm is not None
    assert v.distance_mm < -2_700_000
    story.told.clear()
    # Home late.
    for _ in range(5):
        story.wait(MINUTE)
        story.fix("wearer", 0)
    assert told(story.told) == [(CLEAR, VerdictReason.CLEARED_BY_EVIDENCE)]


def test_leaving_at_night_and_the_end_of_the_night() -> None:
    story = curfew("2025-07-02 01:00:00")
    story.fix("wearer", 0)
    live(story, 0, "2025-07-02 02:00:00")
    story.told.clear()
    live(story, 3000, "2025-07-02 03:59:00")
    assert told(story.told) == [
        (POSSIBLE, VerdictReason.ONE_FIX_BEYOND_DOUBT),
        (CONFIRMED, VerdictReason.EVIDENCE_CONFIRMED),
    ]
    story.told.clear()
    live(story, 3000, "2025-07-02 05:00:00")
    assert told(story.told) == [(CLEAR, VerdictReason.SCHEDULE_ENDED)]
    assert verdicts(story.told)[0].at_ms == ms("2025-07-02 04:00:00")


def test_an_old_position_does_not_confirm_absence() -> None:
    story = curfew("2025-07-01 16:00:00")
    story.fix("wearer", 3000)
    live(story, 3000, "2025-07-01 16:30:00")
    story.told.clear()
    story.until(ms("2025-07-01 18:00:00"))
    assert [(v.state, v.reason, v.freshness) for v in verdicts(story.told)] == [
        (CLEAR, VerdictReason.WEARER_SILENT, Freshness.WEARER_STALE),
        (POSSIBLE, VerdictReason.SCHEDULE_OPENED_WHILE_ABSENT, Freshness.WEARER_STALE),
    ]
    assert [r.reason for r in requests(story.told)] == [RequestReason.EDGE_DOUBTFUL]


def test_nobody_ever_heard_of() -> None:
    story = curfew("2025-07-01 17:58:00")
    story.told.clear()
    story.until(ms("2025-07-01 18:10:00"))
    assert told(story.told) == [(VerdictState.UNKNOWN, VerdictReason.WEARER_SILENT)]


def test_edges_while_no_tick_came_are_told_at_their_own_instants() -> None:
    story = curfew("2025-07-01 17:00:00", silence_s=86_400)
    story.fix("wearer", 3000)
    story.told.clear()
    story.until(ms("2025-07-02 12:00:00"))
    assert [(v.reason, v.at_ms) for v in verdicts(story.told)] == [
        (VerdictReason.SCHEDULE_OPENED_WHILE_ABSENT, ms("2025-07-01 18:00:00")),
        (VerdictReason.SCHEDULE_ENDED, ms("2025-07-02 04:00:00")),
    ]


def test_a_fix_after_an_edge_finds_it_fired() -> None:
    story = curfew("2025-07-01 17:00:00", silence_s=86_400)
    story.fix("wearer", 3000)
    story.told.clear()
    story.now = ms("2025-07-01 18:00:01")
    reasons = [v.reason for v in verdicts(story.fix("wearer", 3000))]
    assert reasons[0] is VerdictReason.SCHEDULE_OPENED_WHILE_ABSENT


def test_indoor_drift_within_the_tolerance_warns_and_no_more() -> None:
    story = curfew("2025-07-01 20:00:00", buffer_m=100)
    story.fix("wearer", 0)
    story.told.clear()
    for north in (230, 240, 250, 240, 230) * 4:
        story.wait(MINUTE)
        story.fix("wearer", north, accuracy_m=15)
    assert told(story.told) == [(WARNING, VerdictReason.INSIDE_BUFFER)]


def test_tolerant_on_exit_takes_more_evidence_than_a_ban() -> None:
    def minutes(kind: OrderKind) -> int:
        story = Story()
        story.order(kind=kind, risk_class=2)
        away, breach = (0, 600) if kind is OrderKind.LOCATION_ORDER else (600, 0)
        story.fix("wearer", away)
        for minute in range(1, 9):
            story.wait(MINUTE)
            if any(v.state is CONFIRMED for v in verdicts(story.fix("wearer", breach))):
                return minute
        raise AssertionError("never confirmed")

    assert minutes(OrderKind.AREA_BAN) == 2
    assert minutes(OrderKind.LOCATION_ORDER) == 3


# --- clocks and calendars -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "opens", "closes"),
    [
        ("2025-07-01 17:50:00", "2025-07-01 18:00:00", "2025-07-02 04:00:00"),
        ("2025-03-29 18:50:00", "2025-03-29 19:00:00", "2025-03-30 04:00:00"),  # clocks forward
        ("2025-10-25 17:50:00", "2025-10-25 18:00:00", "2025-10-26 05:00:00"),  # clocks back
        ("2028-02-28 18:50:00", "2028-02-28 19:00:00", "2028-02-29 05:00:00"),  # leap day
        ("2025-12-31 18:50:00", "2025-12-31 19:00:00", "2026-01-01 05:00:00"),
    ],
)
def test_the_night_begins_and_ends_by_the_local_clock(start: str, opens: str, closes: str) -> None:
    story = curfew(start, silence_s=86_400)
    story.fix("wearer", 3000)
    story.told.clear()
    story.until(ms(closes) + HOUR)
    assert [v.at_ms for v in verdicts(story.told)] == [ms(opens), ms(closes)]


def test_two_windows_on_one_day() -> None:
    story = curfew(
        "2025-07-07 05:00:00",
        silence_s=86_400,
        schedule=weekly((0, "08:00", "09:00"), (0, "17:00", "20:00")),
    )
    story.fix("wearer", 3000)
    story.told.clear()
    story.until(ms("2025-07-08 04:00:00"))
    assert [v.at_ms for v in verdicts(story.told)] == [
        ms(f"2025-07-07 {hour}:00:00") for hour in ("06", "07", "15", "18")
    ]


def test_a_free_day() -> None:
    story = curfew(
        "2025-12-24 12:00:00",
        silence_s=86_400,
        schedule=weekly(*NIGHTS, exceptions=[("2025-12-25", "2025-12-25", ())]),
    )
    story.fix("wearer", 3000)
    story.told.clear()
    for _ in range(3):
        story.wait(23 * HOUR)
        story.fix("wearer", 3000)
    opened = [v.at_ms for v in verdicts(story.told) if v.reason != VerdictReason.SCHEDULE_ENDED]
    assert opened == [ms("2025-12-24 19:00:00"), ms("2025-12-26 19:00:00")]


def test_a_new_schedule_counts_from_its_version_on() -> None:
    story = curfew("2025-07-01 17:00:00", silence_s=86_400)
    story.fix("wearer", 3000)
    story.told.clear()
    earlier = weekly(*((day, "18:30", "06:00") for day in range(7)))
    base = story.engine
    assert base.next_due_ms() == ms("2025-07-01 18:00:00")
    story.put(
        order(
            kind=OrderKind.LOCATION_ORDER,
            version=2,
            valid_from_ms=story.now - 9 * DAY,
            signed_at_ms=story.now - 9 * DAY,
            served_at_ms=story.now - 9 * DAY,
            silence_s=86_400,
            schedule=earlier,
        )
    )
    assert told(story.told) == [(POSSIBLE, VerdictReason.ORDER_CHANGED)] or told(story.told) == [
        (CONFIRMED, VerdictReason.ORDER_CHANGED)
    ], "17:00 UTC is 19:00 in Amsterdam: the new night has begun"


def test_hours_of_an_area_ban() -> None:
    # NOON is a Sunday, 17:06:40 in Amsterdam.
    story = Story()
    story.order(schedule=weekly((6, "18:00", "22:00")))
    story.fix("wearer", 0)
    story.told.clear()
    opens = NOON + 53 * MINUTE + 20_000
    while story.now + MINUTE < opens:
        story.stay("wearer", 0, minutes=1)
    assert story.told == []
    story.until(opens)
    assert told(story.told) == [(CONFIRMED, VerdictReason.SCHEDULE_OPENED_WHILE_INSIDE)]


# --- report duty --------------------------------------------------------------------------------


def duty() -> Story:
    return curfew(
        "2025-07-07 05:00:00",
        presence=Presence.ONCE,
        schedule=weekly((0, "08:00", "09:00"), (2, "08:00", "09:00")),
    )


def test_a_report_duty_that_is_met_tells_nothing() -> None:
    story = duty()
    story.fix("wearer", 3000)
    story.told.clear()
    live(story, 3000, "2025-07-07 06:20:00")
    live(story, 0, "2025-07-07 06:25:00")
    live(story, 3000, "2025-07-07 08:00:00")
    assert story.told == []


def test_a_report_duty_that_is_missed_and_made_good() -> None:
    story = duty()
    story.fix("wearer", 3000)
    story.told.clear()
    live(story, 3000, "2025-07-07 08:00:00")
    assert [(v.state, v.reason, v.at_ms) for v in verdicts(story.told)] == [
        (CONFIRMED, VerdictReason.REPORT_DUTY_MISSED, ms("2025-07-07 07:00:00"))
    ]
    story.told.clear()
    live(story, 0, "2025-07-07 08:05:00")
    assert told(story.told) == [(CLEAR, VerdictReason.REPORT_DUTY_MET)]


def test_a_report_duty_of_somebody_who_was_never_seen_is_missed() -> None:
    """No fix at all, not even a first one: the edge of the hours says it."""
    story = duty()
    story.told.clear()
    story.until(ms("2025-07-07 08:00:00"))
    missed = [v for v in verdicts(story.told) if v.reason is VerdictReason.REPORT_DUTY_MISSED]
    assert [(v.state, v.at_ms, v.fix_ms) for v in missed] == [
        (CONFIRMED, ms("2025-07-07 07:00:00"), None)
    ]
    assert missed[0].terms.report_duty
    assert missed[0].labels == ()
    story.told.clear()
    story.until(ms("2025-07-09 06:00:00"))
    assert (CLEAR, VerdictReason.SCHEDULE_OPENED) in told(story.told)


def test_a_position_of_the_hours_that_comes_later_proves_a_report_duty() -> None:
    """There at 08:30 without coverage; seen elsewhere first, then the memory of the device."""
    story = duty()
    story.fix("wearer", 3000)
    live(story, 3000, "2025-07-07 06:10:00")
    story.until(ms("2025-07-07 07:30:00"))
    story.fix("wearer", 3000)
    assert VerdictReason.REPORT_DUTY_MISSED in [v.reason for v in verdicts(story.told)]
    story.told.clear()
    story.fixes(story.row("wearer", 0, time_ms=ms("2025-07-07 06:30:00")))
    assert told(story.told) == [(CLEAR, VerdictReason.REPORT_DUTY_PROVEN)]
    v = verdicts(story.told)[0]
    assert (v.previous, v.historic, v.fix_ms) == (CONFIRMED, False, ms("2025-07-07 06:30:00"))
    assert Label.LATE_DELIVERY in v.labels


def test_the_newest_position_may_be_of_the_hours_too() -> None:
    story = duty()
    story.fix("wearer", 3000)
    live(story, 3000, "2025-07-07 06:10:00")
    story.until(ms("2025-07-07 07:05:00"))
    story.told.clear()
    story.fixes(story.row("wearer", 0, time_ms=ms("2025-07-07 06:50:00")))
    assert (CLEAR, VerdictReason.REPORT_DUTY_PROVEN) in told(story.told)


@pytest.mark.parametrize(
    ("place", "time"),
    [
        (0, "2025-07-07 05:59:59"),  # there, before the hours
        (0, "2025-07-07 07:00:00"),  # there, at the instant at which they had ended
        (3000, "2025-07-07 06:30:00"),  # in the hours, elsewhere
    ],
)
def test_what_proves_no_report_duty(place: float, time: str) -> None:
    story = duty()
    story.fix("wearer", 3000)
    live(story, 3000, "2025-07-07 05:50:00")
    story.until(ms("2025-07-07 07:30:00"))
    story.fix("wearer", 3000)
    story.told.clear()
    story.fixes(story.row("wearer", place, time_ms=ms(time)))
    assert told(story.told) == []


def test_being_elsewhere_in_the_hours_of_a_duty_is_no_breach_of_the_past() -> None:
    story = duty()
    story.fix("wearer", 0)
    live(story, 0, "2025-07-07 06:05:00")  # there when the hours began: the duty is met
    story.until(ms("2025-07-07 07:30:00"))
    story.fix("wearer", 3000)
    story.told.clear()
    story.fixes(
        *(story.row("wearer", 3000, time_ms=ms("2025-07-07 06:10:00") + k * MINUTE)
          for k in range(40))
    )  # fmt: skip
    assert told(story.told) == []


def test_a_position_from_before_the_hours_that_comes_in_them_does_not_meet_the_duty() -> None:
    story = duty()
    story.fix("wearer", 3000)
    live(story, 3000, "2025-07-07 05:20:00")
    story.until(ms("2025-07-07 06:10:00"))
    story.fixes(story.row("wearer", 0, time_ms=ms("2025-07-07 05:40:00")))
    story.told.clear()
    live(story, 3000, "2025-07-07 07:10:00")
    assert (CONFIRMED, VerdictReason.REPORT_DUTY_MISSED) in told(story.told)


def test_a_late_position_while_the_hours_last_meets_the_duty() -> None:
    story = duty()
    story.fix("wearer", 3000)
    live(story, 3000, "2025-07-07 06:40:00")
    story.fixes(story.row("wearer", 0, time_ms=ms("2025-07-07 06:20:30")))
    story.told.clear()
    live(story, 3000, "2025-07-07 08:00:00")
    assert told(story.told) == []


def test_a_missed_report_duty_ends_with_the_next_window() -> None:
    story = duty()
    story.fix("wearer", 3000)
    live(story, 3000, "2025-07-07 08:00:00")
    story.told.clear()
    live(story, 3000, "2025-07-09 06:30:00")
    assert told(story.told) == [(CLEAR, VerdictReason.SCHEDULE_OPENED)]


def test_being_there_when_the_window_opens_is_enough() -> None:
    story = duty()
    story.fix("wearer", 0)
    live(story, 0, "2025-07-07 06:00:00")
    story.told.clear()
    live(story, 3000, "2025-07-07 08:00:00")
    assert story.told == []
