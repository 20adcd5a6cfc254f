"""Planted coordinates in everything that leaves: bodies, device frames, topics, receipts, exports.

`test_story_privacy.py` holds the notices of the alarm book against their audiences; here every
notice and command of that life is rendered as it goes over the wire, and every record is cut down
as an export does it.
"""

import base64
import struct
from typing import Any

import msgspec
import pytest

from alerting.book.roles import COURT, RIGHTS, WEARER_SIDE, Right, Role
from alerting.book.types import Audience, DeviceCommand, LogbookEntry, LogbookRecord, Notice
from alerting.book.views import seen
from alerting.notify.cap import CapRenderer
from alerting.notify.delivery import RenderError, delivery_of_command, delivery_of_notice
from alerting.notify.events import EventsRenderer
from alerting.notify.mqtt import DeviceChannel
from firmware_contracts.topics import cmd_topic
from tests.alerting import test_channel_cap, test_channel_device, test_channel_events
from tests.alerting.story import START_MS, Story
from tests.alerting.test_story_privacy import PLANTED, everyone, whole_life

NO_LINK: Any = None  # nothing is published
KEYS = dict.fromkeys(("ankle", "button-p", "button-q"), b"0123456789abcdef")
HERS = ("P", "Q", "button-p", "button-q")
ALLOWED = (Audience.POLICE, Audience.MONITORING_CENTRE, Audience.SHIFT_LEAD)
"""Who goes there, and who sends them."""


def traces() -> list[bytes]:
    """Her place as text, in degrees and as integers, and as a device would have it."""
    found = []
    for value in (PLANTED.lat_e7, PLANTED.lon_e7):
        degrees = f"{value / 1e7:.7f}"
        raw = struct.pack("<i", value)
        found += [str(value).encode(), degrees[:7].encode(), raw, struct.pack("<d", value / 1e7)]
        found += [raw.hex().encode(), base64.b64encode(str(value).encode())[:10]]
    return found


@pytest.fixture(scope="module")
def life():
    story = Story()
    everyone(story)
    whole_life(story)
    story.take(LogbookEntry(case_id="case-1", person_id="P", happened_ms=START_MS,
                            text="ik woon op 51.9876543, 4.4556677"))  # fmt: skip
    return story


def rendered(output) -> list[bytes]:
    """What goes over the wire for a notice or a command, by every channel that can carry it."""
    if isinstance(output, DeviceCommand):
        channel = DeviceChannel(NO_LINK, test_channel_device.settings(), KEYS.get)
        device_id, frame, _ = channel.frame(delivery_of_command("k", output), output.at_ms)
        return [frame, cmd_topic(device_id).encode()]
    delivery = delivery_of_notice("p0-1-0-0", output)
    if output.subject_device_id is not None:
        channel = DeviceChannel(NO_LINK, test_channel_device.settings(), KEYS.get)
        device_id, frame, _ = channel.frame(delivery, output.at_ms)
        return [frame, cmd_topic(device_id).encode()]
    found = []
    cap, events = test_channel_cap.target(), test_channel_events.target()
    for render in (CapRenderer(cap), EventsRenderer(events)):
        message = render(delivery)
        found += [message.body, repr(sorted(message.headers.items())).encode()]
    return found


def test_no_message_to_anybody_else_carries_her_place_by_any_channel(life):
    wrong, counted, carried = [], 0, 0
    for output in life.outputs:
        if not isinstance(output, Notice | DeviceCommand):
            continue
        try:
            raw = b"\n".join(rendered(output))
        except RenderError:
            continue  # there is no text for it: nothing goes out
        counted += 1
        there = any(one in raw for one in traces())
        audience = getattr(output, "audience", None)
        carried += there
        if there and audience not in ALLOWED:
            wrong.append((audience, getattr(output, "text_key", "command")))
    assert wrong == []
    assert counted > 300
    assert carried > 10  # the test sees it where it may be


@pytest.mark.parametrize("role", list(Role))
def test_no_export_shows_a_role_more_than_its_rights(life, role):
    raw = b"\n".join(
        msgspec.json.encode(cut)
        for output in life.outputs
        if (cut := seen(output, RIGHTS[role])) is not None
    )
    may = Right.PROTECTED_POSITION in RIGHTS[role]
    places = str(PLANTED.lat_e7).encode() in raw
    words = b"51.9876543, 4.4556677" in raw
    assert places is may
    assert words is (Right.FREE_TEXT in RIGHTS[role] or Right.LOGBOOK in RIGHTS[role])
    figures = b'"distance_mm":123457' in raw
    assert figures is (Right.DISTANCE in RIGHTS[role])


def test_her_own_words_are_for_those_who_may_read_the_logbook(life):
    (entry,) = [one for one in life.outputs if isinstance(one, LogbookRecord)]
    readers = [role for role in Role if seen(entry, RIGHTS[role]) is not None]
    assert readers == [Role.OPERATOR, Role.SHIFT_LEAD, Role.VICTIM_SUPPORT]
    assert seen(entry, COURT) is entry


def test_the_wearers_side_learns_nothing_of_her_not_even_that_she_is(life):
    shown = [cut for one in life.outputs if (cut := seen(one, WEARER_SIDE, HERS)) is not None]
    raw = b"\n".join(map(msgspec.json.encode, shown))
    assert shown
    assert b"ankle" in raw or b'"W"' in raw
    for trace in (*traces(), *(f'"{name}"'.encode() for name in HERS), b"contact-ban", b"panic"):
        assert trace not in raw, trace
