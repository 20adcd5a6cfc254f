"""Settings of targets: what is wrong is said with its path and without its secrets."""

from typing import Any

import msgspec
import pytest

from alerting.book.types import Audience
from alerting.notify.settings import (
    BrokerSettings,
    CapTarget,
    EventsTarget,
    LaneSettings,
    NotifySettings,
    TlsSettings,
)
from tests.alerting.notify_support import OIN, OLD_SECRET, SECRET

TOML = f"""
[targets.meldkamer]
kind = "cap"
url = "https://meldkamer.example/cap"
secrets = ["{SECRET}", "{OLD_SECRET}"]
audiences = ["police"]
sender = "meldcentrale@afstand.example"

[targets.meldkamer.lane]
concurrency = 16
timeout_ms = 3000

[targets.reclassering]
kind = "cloudevents"
url = "https://reclassering.example/events"
secrets = ["{SECRET}"]
audiences = ["probation"]
oin = "{OIN}"
data_url = "https://afstand.example/api"

[broker]
host = "127.0.0.1"
protocol = "3.1.1"
password = "hunter2"
"""


def load(text):
    return msgspec.toml.decode(text, type=NotifySettings)


def test_a_whole_configuration():
    settings = load(TOML)
    meldkamer, reclassering = settings.targets["meldkamer"], settings.targets["reclassering"]
    assert isinstance(meldkamer, CapTarget)
    assert isinstance(reclassering, EventsTarget)
    assert meldkamer.lane.concurrency == 16
    assert reclassering.lane == LaneSettings()
    assert settings.broker.protocol == "3.1.1"


def test_no_secret_is_shown():
    shown = repr(load(TOML)) + str(load(TOML))
    for secret in (SECRET, OLD_SECRET, "hunter2"):
        assert secret not in shown
        assert secret.removeprefix("whsec_") not in shown


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"https://meldkamer.example/cap"', '"http://meldkamer.example/cap"', "must be https"),
        ('"https://meldkamer.example/cap"', '"https://u:p@meldkamer.example/"', "no user"),
        ('"https://meldkamer.example/cap"', '"ftp://meldkamer.example/"', "https://"),
        ('"https://meldkamer.example/cap"', '"https://[::1"', "cannot be read"),
        ('"https://meldkamer.example/cap"', '"https://a.example:99999/"', "cannot be read"),
        (f'"{OLD_SECRET}"', '"whsec_dG9vIHNob3J0"', "24 to 64 bytes"),
        (f'"{OLD_SECRET}"', '"whsec_!!!!"', "base64"),
        (f'["{SECRET}", "{OLD_SECRET}"]', "[]", "1 to 4"),
        ('audiences = ["police"]', "audiences = []", "audiences"),
        ('audiences = ["police"]', 'audiences = ["wearer"]', "on their devices"),
        ('audiences = ["police"]', 'audiences = ["press"]', "Invalid enum value 'press'"),
        ("meldcentrale@afstand.example", "meld centrale", "one word"),
        (OIN, "123", "20 digits"),
        ("concurrency = 16", "concurrency = 0", "concurrency is 0, must be 1 to 256"),
        ("concurrency = 16", "backoff_ms = 50000", "greater than backoff_ms_max"),
        ("concurrency = 16", "colour = 3", "unknown field `colour`"),
        ('kind = "cap"', 'kind = "fax"', "fax"),
        ("targets.meldkamer", 'targets."meld kamer"', "target 'meld kamer'"),
        ('host = "127.0.0.1"', 'host = "h"\nport = 0', "port is 0"),
        ('host = "127.0.0.1"', 'host = "h"\nkeepalive_s = 1', "keepalive_s"),
        ('host = "127.0.0.1"', 'host = "h"\nmessage_ttl_ms = 1', "message_ttl_ms"),
    ],
)
def test_what_is_wrong_is_said(old, new, says):
    text = TOML.replace(old, new)
    assert text != TOML
    with pytest.raises(msgspec.ValidationError) as caught:
        load(text)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["protected-device", "wearer-device", "device-commands"])
def test_the_lanes_to_devices_are_no_name_for_a_target(name):
    text = TOML.replace("targets.reclassering", f"targets.{name}")
    with pytest.raises(msgspec.ValidationError, match="lane to devices"):
        load(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_may_be_http(host):
    EventsTarget(
        url=f"http://{host}:8080/", secrets=(SECRET,), audiences=(Audience.PROBATION,), oin=OIN
    )


def test_http_elsewhere_needs_permission():
    fields: dict[str, Any] = {
        "secrets": (SECRET,),
        "audiences": (Audience.PROBATION,),
        "oin": OIN,
    }
    with pytest.raises(ValueError, match="https"):
        EventsTarget(url="http://10.0.0.3/", **fields)
    EventsTarget(url="http://10.0.0.3/", allow_http=True, **fields)


def test_a_certificate_needs_its_key():
    with pytest.raises(ValueError, match="together"):
        TlsSettings(cert_file="client.pem")


def test_a_broker_with_defaults():
    assert BrokerSettings(host="broker").port == 1883
