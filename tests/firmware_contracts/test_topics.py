"""Topics: every lane there and back, everything else refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_contracts import (
    KIND_OF_LANE,
    Fault,
    FrameError,
    Kind,
    Lane,
    ack_topic,
    cmd_topic,
    event_topic,
    fix_topic,
    parse_topic,
    status_topic,
)

WRITERS = {
    Lane.FIX: fix_topic,
    Lane.EVENT: event_topic,
    Lane.STATUS: status_topic,
    Lane.ACK: ack_topic,
    Lane.CMD: cmd_topic,
}
IDS = st.text("abzAZ019._-", min_size=1, max_size=64)


@given(st.sampled_from(list(WRITERS)), IDS)
def test_topics_come_back(lane, device):
    """FC-050, FC-022."""
    topic = WRITERS[lane](device)
    assert topic == f"em/{device}/{lane.value}"
    assert parse_topic(topic) == (device, lane)


def test_each_lane_carries_one_kind():
    """FC-050."""
    assert [(lane.value, kind) for lane, kind in KIND_OF_LANE.items()] == [
        ("fix", Kind.FIX),
        ("event", Kind.EVENT),
        ("status", Kind.STATUS),
        ("ack", Kind.ACK),
        ("cmd", Kind.COMMAND),
    ]


@pytest.mark.parametrize("branch", ["", "/event", "/waypoint", "/waypoints", "/step", "/info"])
def test_a_phones_topics(branch):
    assert parse_topic(f"owntracks/jan/pixel.8{branch}") == ("jan.pixel.8", Lane.OWNTRACKS)


@pytest.mark.parametrize(
    "topic",
    [
        "", "em", "em/d1", "em/d1/", "em//fix", "em/d1/fix/", "em/d1/fix/x", "/em/d1/fix",
        "em/d1/FIX",
        "EM/d1/fix", "em/d 1/fix", "em/dé/fix", "em/d1\n/fix", "em/d1/owntracks", "em/+/fix",
        "em/#", "em/" + "a" * 65 + "/fix", "x" * 70_000, "owntracks", "owntracks/jan",
        "owntracks//pixel", "owntracks/jan/", "owntracks/jan/pixel/cmd", "owntracks/jan/pixel/",
        "owntracks/jan/pixel/event/x", "owntracks/jan.a/pixel", "owntracks/jan/" + "a" * 61,
        "owntracks/ján/pixel", "\ud800/\ud800/fix", "em/\0/fix",
    ],
)  # fmt: skip
def test_another_topic_is_refused(topic):
    """FC-022, FC-050; a user with a dot is refused, or a.b/c and a/b.c would be one phone."""
    with pytest.raises(FrameError) as caught:
        parse_topic(topic)
    assert caught.value.fault is Fault.WRONG_TOPIC


@given(st.text(max_size=80))
def test_any_text_gives_a_lane_or_a_reason(topic):
    try:
        device, lane = parse_topic(topic)
    except FrameError as error:
        fault = error.fault
    else:
        fault = Fault.WRONG_TOPIC
        assert device
        assert lane in Lane
    assert fault is Fault.WRONG_TOPIC


@pytest.mark.parametrize("device", ["", "a/b", "+", "a" * 65])
def test_no_topic_for_what_is_no_device(device):
    for topic_of in WRITERS.values():
        with pytest.raises(ValueError, match="device id"):
            topic_of(device)
