"""The legal life of orders: who is told of what is wrong with one, when, and what ends it."""

from datetime import UTC, datetime, timedelta

import pytest

from alerting.book.calendar import date_text, plus_days, plus_months
from alerting.book.legal import expiry_stage, next_edge_ms, wrongs
from alerting.book.titles import BY_ID, TITLES, longest_end_ms, title_of
from alerting.book.types import Dispose, Disposition
from geofence.orders import Appeal

from .story import DAY_MS, START_MS, Story, order

HOUR_S = 3600
DAY_S = 24 * HOUR_S


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture
def story():
    with Story() as told:
        told.case(owners={"wearer": "reclassering-desk", "protected": "shelter-desk"})
        yield told


def owners_hear(story: Story, purpose: str = "alert") -> None:
    story.expect(f"reclassering-desk legal {purpose}", f"shelter-desk legal {purpose}")


def details(story: Story) -> list[str]:
    return [n.detail for n in story.notices_to("case-owner")]


def test_an_order_in_force_disturbs_nobody(story):
    story.order()
    story.forward(75 * DAY_S)


def until(story: Story, seconds: float) -> None:
    """Let time pass up to so many seconds after the start of the story."""
    story.forward(seconds - (story.now_ms - START_MS) / 1000)


def test_the_owners_hear_14_7_and_2_days_before_the_end_and_when_it_has_ended(story):
    story.order()
    for day, stage in ((76, 14), (83, 7), (88, 2)):
        until(story, day * DAY_S - 0.001)
        story.forward(0.001)
        owners_hear(story)
        assert details(story)[-1].startswith(f"{stage} days: ends 2025-09-13 17:06")
        story.acknowledge("owner")
        if stage > 2:
            until(story, (day + 4) * DAY_S)
            story.acknowledge("owner")
    until(story, 90 * DAY_S)
    owners_hear(story)
    assert story.alarm("legal").reason == "lapsed"
    assert story.state("legal") == "active-unacknowledged"
    story.dispose()
    owners_hear(story, "withdrawn")
    story.forward(120 * DAY_S)
    assert story.book.figures()["orders"] == 0, "it is forgotten in the end"


def test_a_task_that_the_owner_took_and_left_pages_again_after_five_days(story):
    story.order()
    until(story, 76 * DAY_S)
    owners_hear(story)
    story.acknowledge("owner")
    until(story, 81 * DAY_S)
    owners_hear(story, "escalation")


def test_a_renewal_ends_the_warning_and_starts_the_stages_anew(story):
    story.order()
    until(story, 76 * DAY_S)
    owners_hear(story)
    assert "0 of 3 renewals used, renewable until 2025-12-12 17:06" in details(story)[-1]
    assert "if prosecution has started" in details(story)[-1]
    story.order(version=2, renewals_used=1, days=180)
    story.forward(60)
    owners_hear(story, "withdrawn")
    assert story.open_incidents() == []
    until(story, 166 * DAY_S)
    owners_hear(story)
    assert "1 of 3 renewals used" in details(story)[-1]


def test_after_the_last_renewal_no_further_one_is_held_out(story):
    story.order(days=360, renewals_used=3)
    until(story, 346 * DAY_S)
    owners_hear(story)
    assert details(story)[-1] == "14 days: ends 2026-06-10 17:06, 3 of 3 renewals used"


def test_a_home_ban_of_ten_days_begins_at_seven(story):
    story.order(title="huisverbod (Wth)", days=10)
    until(story, 3 * DAY_S)
    owners_hear(story)
    assert "renewable until 2025-07-13 17:06" in details(story)[-1], "28 days from its start"


def test_an_order_that_another_one_carries_on_lapses_in_silence(story):
    story.order(days=1)
    story.order("order-2", days=60, title="38v")
    story.forward(DAY_S)


def test_an_order_that_was_over_when_it_came_is_history(story):
    story.order(valid_from_ms=START_MS - 90 * DAY_MS, valid_to_ms=START_MS - DAY_MS)
    story.forward(100 * DAY_S)


def test_an_order_not_served_within_its_time_is_a_task_until_it_is_served(story):
    story.order(served_at_ms=None)
    until(story, 24 * HOUR_S - 1)
    story.forward(1)
    owners_hear(story)
    assert details(story)[-1].startswith("to be served by 2025-06-16 17:06")
    story.order(version=2, served_at_ms=story.now_ms)
    story.forward(60)
    owners_hear(story, "withdrawn")


def test_a_home_ban_is_to_be_served_within_two_hours(story):
    story.order(title="huisverbod", days=10, served_at_ms=None)
    until(story, 2 * HOUR_S)
    owners_hear(story)


def test_an_order_that_is_to_be_valid_and_was_never_signed(story):
    story.order(signed_at_ms=None, served_at_ms=None, valid_from_ms=START_MS + DAY_MS)
    until(story, DAY_S)
    owners_hear(story)
    assert story.alarm("legal").reason == "not-signed"


def test_the_appeal_gap_is_told_and_ends_with_the_decision(story):
    story.order(title="38v", appeal=Appeal.PENDING, immediately_enforceable=False)
    owners_hear(story)
    assert story.alarm("legal").reason == "appeal-gap"
    story.order(version=2, title="38v", appeal=Appeal.DECIDED)
    story.forward(60)
    owners_hear(story, "withdrawn")


def test_a_title_that_no_appeal_suspends_must_not_be_suspended_by_one(story):
    story.order(appeal=Appeal.PENDING, immediately_enforceable=False)
    owners_hear(story)
    assert story.alarm("legal").reason == "suspended-against-its-title"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"days": 91}, "longer-than-its-title-allows"),
        ({"days": 29, "title": "huisverbod", "renewals_used": 1}, "longer-than-its-title-allows"),
        ({"title": "172a", "days": 93}, "longer-than-its-title-allows"),
        ({"days": None}, "without-an-end"),
        ({"renewals_used": 4, "days": 400}, "renewed-too-often"),
        ({"title": "38v", "renewals_used": 1}, "renewed-too-often"),
        ({"title": "schorsing", "renewals_max": 1, "renewals_used": 2}, "renewed-too-often"),
    ],
)
def test_terms_beyond_the_title_are_told_at_once(story, how, reason):
    story.order(**how)
    owners_hear(story)
    assert story.alarm("legal").reason == reason


def test_the_mayor_yields_to_the_prosecutor_for_the_same_zone(story):
    area = {"kind": "area-ban", "title": "509hh"}
    story.order(**area)
    story.order("order-2", kind="area-ban", title="172a", days=60, zone_ids=("zone-2",))
    story.order("order-3", kind="area-ban", title="172a", days=60)
    owners_hear(story)
    assert story.alarm("legal").order_id == "order-3"
    assert details(story)[-1] == "order-1: 172a yields to 509hh for zone-1"
    story.order(version=2, suspended=True, **area)
    story.order("order-3", version=2, kind="area-ban", title="172a", days=60, zone_ids=("zone-3",))
    story.forward(60)
    owners_hear(story, "withdrawn")


def test_no_order_may_ban_from_where_another_orders_to_be(story):
    story.order(kind="area-ban", title="14c")
    story.order("order-2", kind="location-order", title="14c")
    owners_hear(story)
    assert "one bans from zone-1, the other orders to be there" in details(story)[-1]


def test_two_matters_of_one_order_are_one_task_and_of_two_orders_two(story):
    story.order(title="38v", appeal=Appeal.PENDING, immediately_enforceable=False, days=10)
    owners_hear(story)
    story.order("order-2", days=None)
    owners_hear(story)
    story.acknowledge("owner")
    until(story, 3 * DAY_S)
    owners_hear(story)
    assert story.notices_to("case-owner")[-1].order_id == "order-1"
    assert story.changes("legal").count("acknowledgement-void") == 1
    assert len(story.open_incidents()) == 1
    assert len(story.alarms()) == 2


def test_a_standing_matter_that_was_put_aside_comes_back_after_a_week(story):
    story.order(days=None)
    owners_hear(story)
    story.dispose()
    assert story.rejections()[-1].reason == "condition-still-active"
    story.dispose(despite_active=True)
    owners_hear(story, "withdrawn")
    story.forward(7 * DAY_S - 1)
    story.forward(1)
    owners_hear(story)


def test_a_task_never_keeps_an_emergency_open(story):
    story.order(days=None)
    owners_hear(story)
    story.event("panic", "button")
    story.expect("monitoring-centre panic alert")
    legal, panic = story.open_incidents()
    story.dispose(lane="pair")
    story.expect("monitoring-centre panic withdrawn")
    assert story.open_incidents() == [legal]
    assert story.incidents()[legal].subject == "task/pair/W/P"
    assert story.incidents()[panic].related == ()


def test_one_task_of_an_incident_is_closed_alone(story):
    story.order(days=None)
    story.expect("reclassering-desk legal alert", "shelter-desk legal alert")
    story.order("order-2", title="38v", days=10, renewals_used=1)
    owners_hear(story)
    first, second = story.alarms()
    for alarm_id in (second, first):
        story.take(
            Dispose(
                incident_id=story.incident(),
                by="owner",
                disposition=Disposition.HANDLED,
                despite_active=True,
                alarm_id=alarm_id,
            )
        )
        owners_hear(story, "withdrawn")
    assert story.open_incidents() == []
    assert story.rejections() == []


def test_a_case_without_an_owner_falls_to_the_shift_lead():
    with Story() as story:
        story.case()
        story.order(days=None)
        story.expect("shift-lead legal escalation")


def test_an_owner_who_does_not_answer_is_passed_to_the_shift_lead(story):
    story.order(days=None)
    owners_hear(story)
    story.forward(8 * HOUR_S)
    story.expect("shift-lead legal escalation")


def test_the_owner_of_the_victims_side_reads_no_place(story):
    story.order(days=None)
    (notice, _) = story.expect("reclassering-desk legal alert", "shelter-desk legal alert")
    assert notice.wearer_position is None
    assert notice.protected_position is None
    assert notice.distance_mm is None
    assert notice.order_id == "order-1"


# --- calculations, against the calendar -----------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "begin", "renewals", "end"),
    [
        ("509hh", "2026-01-15T14:00+01:00", 0, "2026-04-15T14:00+02:00"),  # over the change of DST
        ("509hh", "2026-01-15T14:00+01:00", 3, "2027-01-10T14:00+01:00"),
        ("509hh", "2024-02-29T00:00+01:00", 0, "2024-05-29T00:00+02:00"),
        ("huisverbod", "2026-03-20T21:30+01:00", 0, "2026-03-30T21:30+02:00"),
        ("huisverbod", "2026-03-20T21:30+01:00", 1, "2026-04-17T21:30+02:00"),
        ("38v", "2024-02-29T12:00+01:00", 0, "2029-02-28T12:00+01:00"),
        ("172a", "2025-11-30T09:00+01:00", 0, "2026-02-28T09:00+01:00"),
        ("172a", "2025-11-30T09:00+01:00", 3, "2026-11-30T09:00+01:00"),
    ],
)
def test_the_longest_end_of_a_title(title, begin, renewals, end):
    assert longest_end_ms(BY_ID[title], ms(begin), renewals) == ms(end)


def test_titles_without_a_bound_have_no_longest_end():
    assert longest_end_ms(BY_ID["schorsing"], START_MS) is None


def test_calendar_days_keep_the_local_time_whatever_the_clocks_do():
    for month in range(1, 13):
        for days in (1, 10, 90, 180, 365):
            begin = datetime(2026, month, 28, 10, 15, tzinfo=UTC)
            at = int(begin.timestamp() * 1000)
            moved = plus_days(at, days)
            assert date_text(moved)[-5:] == date_text(at)[-5:]
            plain = begin + timedelta(days=days)
            assert abs(moved - int(plain.timestamp() * 1000)) <= HOUR_S * 1000


@pytest.mark.parametrize(
    ("begin", "days", "end"),
    [
        ("2026-03-28T02:30+01:00", 1, "2026-03-29T03:30+02:00"),  # 02:30 does not exist that day
        ("2026-10-24T02:30+02:00", 1, "2026-10-25T02:30+01:00"),  # it comes twice: the later one
        ("2026-10-26T02:30+01:00", -1, "2026-10-25T02:30+01:00"),
    ],
)
def test_a_local_time_that_does_not_exist_or_comes_twice(begin, days, end):
    assert plus_days(ms(begin), days) == ms(end)


def test_months_end_with_their_last_day():
    assert plus_months(ms("2026-01-31T12:00+01:00"), 1) == ms("2026-02-28T12:00+01:00")
    assert plus_months(ms("2026-08-31T12:00+02:00"), 6) == ms("2027-02-28T12:00+01:00")
    assert plus_months(ms("2026-03-31T12:00+02:00"), -1) == ms("2026-02-28T12:00+01:00")


def test_the_first_word_of_a_title_names_its_row():
    assert title_of(order(title="38v, Sr: contactverbod")) is BY_ID["38v"]
    assert title_of(order(title="Huisverbod")) is BY_ID["huisverbod"]
    assert title_of(order(title="Contactverbod")) is None
    assert title_of(order(title="")) is None


@pytest.mark.parametrize("title", TITLES, ids=lambda t: t.id)
def test_nothing_changes_between_two_edges(title):
    """Every instant at which the book must look again is an edge that it sets a timer for."""
    for served in (START_MS, None):
        one = order(title=title.id, days=20, served_at_ms=served)
        at_ms = START_MS
        while (edge_ms := next_edge_ms(one, at_ms)) is not None:
            for probe in range(at_ms, edge_ms, max(1, (edge_ms - at_ms) // 7)):
                assert list(wrongs(one, (), probe)) == list(wrongs(one, (), at_ms))
                assert expiry_stage(one, probe) == expiry_stage(one, at_ms)
            at_ms = edge_ms
