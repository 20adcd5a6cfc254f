"""CloudEvents in the NL GOV profile: read back with the library, in both modes."""

import re
from itertools import product

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from alerting.book.types import AlarmClass, Audience, Position, Purpose
from alerting.notify.delivery import RenderError, delivery_of_command, delivery_of_notice
from alerting.notify.events import EventsRenderer
from alerting.notify.settings import EventsTarget
from tests.alerting.notify_support import (
    OIN,
    SECRET,
    START_MS,
    command,
    full_notice,
    notice,
)

KEY = "p0-1764500000000-0-1"


def target(**changes):
    fields = {
        "url": "https://reclassering.example/",
        "secrets": (SECRET,),
        "audiences": (Audience.PROBATION,),
        "oin": OIN,
    }
    return EventsTarget(**{**fields, **changes})


def render(body, **changes):
    message = EventsRenderer(target(**changes))(delivery_of_notice(KEY, body))
    return message, from_http_event(HTTPMessage(headers=message.headers, body=message.body))


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_both_modes_say_the_same(mode):
    message, event = render(full_notice(audience=Audience.PROBATION), mode=mode)
    assert event.get_id() == KEY
    assert event.get_source() == f"urn:nld:oin:{OIN}:systeem:afstand"
    assert event.get_type() == "nl.afstand.alarm.proximity.alert.v1"
    assert event.get_specversion() == "1.0"
    assert event.get_subject() == "inc-1"
    assert event.get_time().timestamp() * 1000 == START_MS
    assert event.get_datacontenttype() == "application/json"
    data = event.get_data()
    assert data["order"] == "order-7"
    assert data["wearer"] == "wearer-4"
    assert data["needs"] == "delivered"
    structured = message.headers["content-type"].startswith("application/cloudevents+json")
    assert structured is (mode == "structured")


@pytest.mark.parametrize(("alarm_class", "purpose"), list(product(AlarmClass, Purpose)))
def test_every_class_and_purpose_is_an_event_of_the_profile(alarm_class, purpose):
    _, event = render(notice(alarm_class, purpose))
    # NL GOV profile: reversed domain name, one version at most, prefixed by v.
    assert re.fullmatch(r"nl\.afstand\.alarm(\.[a-z-]+){2}\.v1", event.get_type())


def test_what_is_sensitive_is_a_reference_and_not_in_the_event():
    planted = Position(
        lat_e7=521_234_567, lon_e7=51_234_567, accuracy_mm=5_000, time_ms=START_MS, mechanism=1
    )
    body = full_notice(
        incident_id="inc/ident 1",
        wearer_position=planted,
        protected_position=planted,
        device_position=planted,
        protected_id="protected-secret",
    )
    message, event = render(body, data_url="https://afstand.example/api/v1/")
    assert event.get_extension("dataref") == (
        "https://afstand.example/api/v1/incidents/inc%2Fident%201"
    )
    for word in (b"521234567", b"51234567", b"52.1", b"protected-secret", b"412345", b"position"):
        assert word not in message.body


def test_a_drill_is_marked():
    _, event = render(notice(drill=True))
    assert event.get_data()["drill"] is True


def test_times_keep_their_milliseconds():
    _, event = render(notice(at_ms=START_MS + 123))
    assert event.get_attributes()["time"].microsecond == 123_000
    message, _ = render(notice(at_ms=START_MS + 123))
    assert msgspec.json.decode(message.body)["time"] == "2025-11-30T10:53:20.123000Z"


def test_what_the_library_finds_invalid_cannot_be_rendered():
    with pytest.raises(RenderError):
        render(notice(incident_id=""))


def test_a_command_is_no_event():
    with pytest.raises(RenderError):
        EventsRenderer(target())(delivery_of_command("k", command()))
