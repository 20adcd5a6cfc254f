"""What the pages for integrators say is what the program does."""

import re
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from afstand import limits
from afstand.config import load
from alerting.book.types import AlarmClass
from alerting.notify import LaneSettings, Metrics
from alerting.notify.acknowledgements import PATH, Problem
from alerting.notify.cap import PROFILE, parameters
from alerting.notify.events import DATA_SCHEMA, data
from alerting.notify.signing import Signer
from alerting.notify.webhook import FINAL_STATUSES
from tests.alerting.notify_support import OLD_SECRET, SECRET, full_notice

PAGES = Path(__file__).parents[2] / "docs" / "integrators"


def page(name):
    return (PAGES / f"{name}.md").read_text()


def block(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)[0]


def test_every_parameter_of_cap_is_described():
    text = page("cap")
    names = [name for name, _ in parameters(full_notice(detail="x", zone_id="z", zone_version=1))]
    assert len(names) > 25
    for name in (*names, PROFILE, *[one.value for one in AlarmClass]):
        assert f"`{name}`" in text, name


def test_every_field_of_an_event_is_described():
    text = page("cloudevents")
    for name in (*data(full_notice()), DATA_SCHEMA):
        assert f"`{name}`" in text, name


def test_the_final_statuses_and_the_reasons_are_described():
    text = page("webhooks")
    assert ", ".join(str(status) for status in sorted(FINAL_STATUSES)) in text
    assert PATH in text
    for problem in Problem:
        assert f"`{problem.value}`" in text


def test_the_bounds_that_are_named_hold():
    text = page("webhooks")
    lane = LaneSettings()
    assert lane.timeout_ms == 5_000
    assert (lane.attempts_max, lane.age_ms_max) == (200, 900_000)
    assert limits.NOTIFY_ORDER_WAIT_MS_MAX == 30_000
    assert limits.ACKNOWLEDGEMENT_BYTES_MAX == 8_192
    assert limits.WEBHOOK_RESPONSE_BYTES_MAX == 16_384
    for words in ("5 seconds", "15 minutes or 200", "30 seconds", "8 KiB", "16 KiB"):
        assert words in text


def test_every_bound_of_a_lane_has_its_default_on_the_page():
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ([\d, ]+) \|", page("targets"), re.MULTILINE)
    found = {}
    for names, values in rows:
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=True):
            found[name] = int(value)
    assert found == msgspec.to_builtins(LaneSettings())


def test_every_metric_is_on_the_page():
    registry = CollectorRegistry()
    Metrics(registry)
    text = page("targets")
    for metric in registry.collect():
        if metric.name != "afstand_notify_skipped":
            assert f"`{metric.name}" in text, metric.name


def test_the_example_configuration_can_be_read(tmp_path, monkeypatch):
    old = tmp_path / "old"
    old.write_text(OLD_SECRET)
    text = block(page("targets"), "toml").replace("/etc/afstand/meldkamer-old", str(old))
    (tmp_path / "afstand.toml").write_text(text)
    monkeypatch.setenv("MELDKAMER_SECRET", SECRET)
    monkeypatch.setenv("RECLASSERING_SECRET", SECRET)
    for name in ("RECLASSERING_TOKEN", "SMS_TOKEN", "MAIL_PASSWORD"):
        monkeypatch.setenv(name, "token")
    settings: Any = load(tmp_path / "afstand.toml").notify_settings()
    assert set(settings.targets) == {
        "meldkamer", "reclassering", "wachtleider-sms", "toezicht-mail"
    }  # fmt: skip
    assert settings.targets["toezicht-mail"].password == "token"
    assert settings.targets["meldkamer"].secrets == (SECRET, OLD_SECRET)
    assert settings.targets["reclassering"].lane.concurrency == 4
    assert settings.broker.protocol == "5"


@pytest.mark.parametrize(("secret", "expected"), [(SECRET, True), (OLD_SECRET, False)])
def test_the_example_receiver_believes_what_is_signed(secret, expected):
    names: dict[str, Any] = {}
    exec(block(page("webhooks"), "python"), names)
    headers = Signer([SECRET]).headers("p0-1-0-0", b"<alert/>", int(time() * 1000))
    assert names["believed"](b"<alert/>", headers, secret) is expected
    assert names["believed"](b"<other/>", headers, secret) is False
    assert names["believed"](b"<alert/>", {**headers, "webhook-signature": "x"}, secret) is False
