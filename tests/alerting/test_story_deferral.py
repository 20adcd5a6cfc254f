"""What is kept from the operators for a while, because it may end before it matters."""

import pytest

from .story import Story
from .test_story_classes import CHAIN


@pytest.fixture
def story():
    with Story() as told:
        told.plan("chain", *CHAIN)
        told.case(plan_id="chain")
        yield told


def test_a_flat_battery_first_prompts_whoever_carries_the_device(story):
    story.event("battery-critical", "ankle")
    (prompt,) = story.commands()
    assert (prompt.device_id, prompt.code, prompt.reason) == (
        "ankle", "message", "battery-critical",
    )  # fmt: skip
    story.event("command-done", "ankle", value=prompt.command_id)
    story.forward(599)
    story.event("charging", "ankle")
    story.forward(3600)
    assert story.open_incidents() == []
    assert [(o.kind, o.reason) for o in story.observations()] == [
        ("device-dying", "deferred"), ("device-dying", "over-before-it-mattered"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("distance_m", "ages_s", "risk", "after_s"),
    [
        (10_000, (90, 5), 2, 310),  # (10 - 0) km at 25 m/s, less the age of the older position
        (10_000, (90, 5), 1, 300),
        (80_000, (90, 5), 2, 1800),
        (2_000, (90, 5), 1, 0),
        (2_000, (90, 5), 2, 60),  # the devices have just been asked
        (None, (90, 5), 1, 0),
        (None, (90, 5), 2, 60),
        (10_000, (None, 300), 2, 100),
    ],
)
def test_silence_pages_when_it_could_hide_a_meeting(story, distance_m, ages_s, risk, after_s):
    story.verdict(
        "clear",
        freshness="wearer-stale",
        risk=risk,
        distance_mm=None if distance_m is None else distance_m * 1000,
        wearer_age_ms=None if ages_s[0] is None else ages_s[0] * 1000,
        protected_age_ms=ages_s[1] * 1000,
    )
    if after_s:
        assert {c.device_id for c in story.commands()} == {"ankle", "button"}, "asked at once"
        story.forward(after_s - 0.001)
        story.forward(0.001)
    story.expect("room pair-blind alert", at_s=after_s)
    story.acknowledge()


def test_the_warning_ring_of_the_order_shortens_what_silence_may_hide(story):
    story.order(radius_m=1000, warning_m=3000)
    story.verdict("clear", freshness="blind", distance_mm=8_000_000, wearer_age_ms=90_000,
                  protected_age_ms=90_000)  # fmt: skip
    story.forward(110)
    story.expect("room pair-blind alert", at_s=110)
    story.acknowledge()


def test_silence_that_ends_before_it_could_matter_pages_nobody(story):
    story.verdict("clear", freshness="wearer-stale", distance_mm=20_000_000)
    story.forward(600)
    story.verdict("clear")
    story.forward(86_400)
    assert [o.reason for o in story.observations()] == ["deferred", "over-before-it-mattered"]


@pytest.mark.parametrize(
    ("kind", "risk", "distance_m", "after_s"),
    [("area-ban", 2, -25_000, 1000), ("area-ban", 2, -1001, 600), ("area-ban", 2, -1000, 40),
     ("area-ban", 1, -5_000, 200), ("area-ban", 1, 30, 0), ("location-order", 2, 20, 600),
     ("location-order", 1, 20, 0)],
)  # fmt: skip
def test_silence_about_a_place_waits_for_what_the_distance_allows(
    story, kind, risk, distance_m, after_s
):
    story.verdict("clear", kind=kind, freshness="wearer-stale", risk=risk,
                  distance_mm=distance_m * 1000)  # fmt: skip
    if after_s:
        story.forward(after_s)
    story.expect("room location-doubt alert", at_s=after_s)
    story.acknowledge()


def test_an_approach_while_silence_is_deferred_pages_at_once(story):
    story.verdict("clear", freshness="protected-stale", distance_mm=20_000_000)
    story.forward(60)
    story.verdict("warning", freshness="protected-stale", distance_mm=1_500_000)
    story.expect("room approach alert", "protected-device:button approach alert")
    story.acknowledge()
    story.forward(740)
    story.expect("room pair-blind alert", at_s=800)
    story.acknowledge()
