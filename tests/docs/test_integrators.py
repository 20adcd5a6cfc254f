"""The samples for integrators do what their pages say, with what Afstand really sends."""

import importlib.util
import json
import re
import time
from typing import Any

import pytest
from aiohttp import ClientSession, web

from afstand.proof.transfer import Document
from afstand.watch.envelope import encode_envelope
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    AlarmState,
    Audience,
    Change,
    Priority,
)
from alerting.notify.cap import CapRenderer
from alerting.notify.delivery import delivery_of_notice
from alerting.notify.events import EventsRenderer
from alerting.notify.settings import CapTarget, EventsTarget
from alerting.notify.signing import Signer
from firmware_contracts.codes import Mechanism
from ingest.entries import FrameBatch, FrameRecord, LaneCode
from tests.alerting.notify_support import OLD_SECRET, SECRET, full_notice
from tests.ingest.devices import NOW_MS, fix_frame
from tests.test_house import ROOT

PAGES = ROOT / "docs" / "integrators"
KEY = "0-1790000000000-0-1"


def sample():
    spec = importlib.util.spec_from_file_location("receiver_sample", PAGES / "receiver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def messages():
    fields: dict[str, Any] = {"url": "https://x.example/", "secrets": (SECRET,)}
    notice = full_notice()
    cap = CapTarget(audiences=(Audience.POLICE,), sender="a@b.example", **fields)
    events = EventsTarget(audiences=(Audience.PROBATION,), oin="00000001823288444000", **fields)
    yield CapRenderer(cap)(delivery_of_notice(KEY, notice))
    yield EventsRenderer(events)(delivery_of_notice(KEY, full_notice(audience=Audience.PROBATION)))


def test_the_receiver_is_as_short_as_it_says():
    text = (PAGES / "receiver.py").read_text()
    assert "in 60 lines" in text.splitlines()[0]
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("index", [0, 1], ids=["cap", "cloudevents"])
async def test_the_receiver_takes_what_is_signed_once_and_answers_a_copy(tmp_path, capsys, index):
    module = sample()
    message = list(messages())[index]
    receiver = module.Receiver(SECRET, tmp_path / "alarms.db")
    app = web.Application()
    app.add_routes([web.post("/afstand", receiver.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/afstand"

    async def post(secret, body=message.body):
        signed = Signer([secret]).headers(KEY, message.body, int(time.time() * 1000))
        headers = {**message.headers, **signed}
        async with session.post(url, data=body, headers=headers) as answer:
            return answer.status

    try:
        async with ClientSession() as session:
            statuses = [await post(SECRET), await post(SECRET)]
            statuses += [await post(OLD_SECRET), await post(SECRET, message.body + b" ")]
    finally:
        await runner.cleanup()
    assert statuses == [200, 200, 401, 401]
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 1
    assert shown[0].startswith("Actual: ")
    # A new process knows the copy too.
    stored = module.Receiver(SECRET, tmp_path / "alarms.db")._db.execute("SELECT * FROM messages")
    assert stored.fetchall() == [(KEY, message.body)]


def functions(page="otrts"):
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.DOTALL):
        exec(block, names)
    return names


def test_the_examples_are_what_is_sent():
    cap, event = messages()
    assert (PAGES / "example-cap.xml").read_bytes() == cap.body
    page = (PAGES / "cloudevents.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert json.loads(example) == json.loads(event.body)
    for field in (*json.loads(example), *json.loads(example)["data"]):
        assert f"`{field}`" in page or field in ("specversion", "datacontenttype", "data")


def test_the_program_of_the_cap_page_reads_the_example():
    read = functions("cap")["alarm"]
    found = read((PAGES / "example-cap.xml").read_bytes())
    assert found == {
        "id": f"afstand-{KEY}", "status": "Actual", "kind": "Alert", "incident": "inc-1",
        "headline": "Te dichtbij - wearer-4", "class": "proximity", "must_acknowledge": False,
        "places": [{"lat_lon": "51.920000,4.480000", "radius_m": 12.0},
                   {"lat_lon": "51.923457,4.481235", "radius_m": 10.0}],
    }  # fmt: skip
    assert read((PAGES / "example-cap.xml").read_bytes(), "en")["headline"].startswith("Too close")


def test_the_otrts_page_names_every_record_of_a_transfer():
    page = (PAGES / "otrts.md").read_text()
    records = {"subjects", "devices", "conditions", "zones", "locations", "alerts", "violations"}
    assert records < set(Document.__struct_fields__)
    assert [one for one in records if f"`{one}`" not in page] == []
    assert "NIEM XML" in page


def test_the_mapping_gives_the_locations_of_an_entry():
    frame = fix_frame("d1", 7, count=2, lat_e7=519_225_000, lon_e7=44_791_700, accuracy_dm=65535)
    record = FrameRecord(4, LaneCode.FIX, 1, NOW_MS + 1_500, frame)
    found = functions()["locations"](FrameBatch.build([record]))
    assert len(found) == 2
    first = found[0]
    assert (first["latitude"], first["longitude"], first["accuracy_m"]) == (51.9225, 4.47917, None)
    assert first["device"] == 4
    assert first["recorded"] == "2026-09-21T14:13:20.000+00:00"
    assert first["received"] == "2026-09-21T14:13:21.500+00:00"
    assert bytes.fromhex(first["frame"]) == frame
    json.dumps(found)
    page = (PAGES / "otrts.md").read_text()
    assert all(f"`{one.name.lower()}`" in page for one in Mechanism if one)


def test_the_mapping_gives_the_alerts_of_an_outbox_entry():
    record = AlarmRecord(
        alarm_id="i-1.1", incident_id="i-1", alarm_class=AlarmClass.PANIC,
        priority=Priority.CRITICAL, change=Change.ACKNOWLEDGED,
        state=AlarmState.ACTIVE_ACKNOWLEDGED, at_ms=NOW_MS, reason="x",
        latched=True, by="centralist 4",
    )  # fmt: skip
    assert functions()["alerts"](encode_envelope(0, [full_notice(), record])) == [
        {"incident": "i-1", "alarm": "i-1.1", "class": "panic", "change": "acknowledged",
         "at_ms": NOW_MS, "by": "centralist 4"}
    ]  # fmt: skip
