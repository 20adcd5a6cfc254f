"""Planted coordinates in everything that leaves: bodies, device frames, topics, receipts, exports.

`test_story_privacy.py` holds the notices of the alarm book against their audiences; here every
notice and command of that life is rendered as it goes over the wire, and every record is cut down
as an export does it.
"""

import base64
import contextlib
import struct
import typing
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import pytest

from alerting.book.roles import COURT, RIGHTS, WEARER_SIDE, Right, Role
from alerting.book.types import Audience, DeviceCommand, LogbookEntry, LogbookRecord, Notice
from alerting.book.views import seen
from alerting.notify.cap import CapRenderer
from alerting.notify.delivery import RenderError, delivery_of_command, delivery_of_notice
from alerting.notify.events import EventsRenderer
from alerting.notify.mail import MailChannel
from alerting.notify.mqtt import DeviceChannel
from alerting.notify.settings import Target
from alerting.notify.sms import SmsRenderer
from firmware_contracts.topics import cmd_topic
from tests.alerting import (
    test_channel_cap,
    test_channel_device,
    test_channel_events,
    test_channel_mail,
    test_channel_sms,
)
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


def on_the_wire(output) -> dict[str, bytes]:
    """What goes out for a notice or a command, by every channel that can carry it.

    A channel that has no text for it is not in it: nothing goes out.
    """
    if isinstance(output, DeviceCommand) or output.subject_device_id is not None:
        made = delivery_of_command if isinstance(output, DeviceCommand) else delivery_of_notice
        return _some({"device": lambda: _framed(made("p0-1-0-0", output), output.at_ms)})
    delivery = delivery_of_notice("p0-1-0-0", output)
    webhooks: dict[str, Any] = {
        "cap": CapRenderer(test_channel_cap.target()),
        "cloudevents": EventsRenderer(test_channel_events.target()),
    }
    for body in ("json", "form"):
        webhooks[f"sms {body}"] = SmsRenderer(test_channel_sms.target(body=body))
    mail = MailChannel(test_channel_mail.target(), None)
    found = {name: (lambda r=render: _posted(r(delivery))) for name, render in webhooks.items()}
    return _some({**found, "mail": lambda: _mailed(mail.render(delivery))})


def _some(renderers: dict[str, Callable[[], bytes]]) -> dict[str, bytes]:
    found = {}
    for name, render in renderers.items():
        with contextlib.suppress(RenderError):
            found[name] = render()
    return found


def _framed(delivery, at_ms) -> bytes:
    channel = DeviceChannel(NO_LINK, test_channel_device.settings(), KEYS.get)
    device_id, frame, _ = channel.frame(delivery, at_ms)
    return frame + b"\n" + cmd_topic(device_id).encode()


def _posted(message) -> bytes:
    said = message.body + b"\n" + repr(sorted(message.headers.items())).encode()
    return said + b"\n" + unquote_to_bytes(message.body.replace(b"+", b" "))


def _mailed(message) -> bytes:
    """As it is sent, and as it is read."""
    return message.as_bytes() + b"\n" + message.get_content().encode()


TOLD_NO_PLACE = ("sms json", "sms form", "mail")
"""These go through hands that nobody of us knows: to no audience with a place, or a distance."""


def test_no_message_to_anybody_else_carries_her_place_by_any_channel(life):
    wrong: list[Any] = []
    counted: Counter[str] = Counter()
    carried: Counter[str] = Counter()
    for output in life.outputs:
        if not isinstance(output, Notice | DeviceCommand):
            continue
        audience = getattr(output, "audience", None)
        for channel, raw in on_the_wire(output).items():
            counted[channel] += 1
            there = any(one in raw for one in traces())
            carried[channel] += there
            if there and (audience not in ALLOWED or channel in TOLD_NO_PLACE):
                wrong.append((channel, audience, getattr(output, "text_key", "command")))
            if channel in TOLD_NO_PLACE and b"123457" in raw:
                wrong.append((channel, audience, "distance"))
    assert wrong == []
    assert min(counted.values()) > 40, counted
    assert carried["cap"] > 10  # the test sees it where it may be


def test_no_channel_is_forgotten_here(life):
    """Whatever a target can be has its message in the test above."""
    kinds = {one.__struct_config__.tag for one in typing.get_args(Target)}
    seen_here = {name.split()[0] for output in life.outputs if isinstance(output, Notice)
                 for name in on_the_wire(output)}  # fmt: skip
    assert seen_here == kinds | {"device"}


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
