"""The receivers that play police and reclassering: what they take, what they refuse, how they fail.

The messages here are written by hand, not by the notifier: a receiver must not be built on the same
misunderstanding as the sender.
"""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from simulators.receivers import Kind, MessageProblem, Mode, Receiver, read_cap, read_event

SECRET = "whsec_" + "cmVjZWl2ZXItc2VjcmV0LXJlY2VpdmVyLTAwMDE="
OTHER = "whsec_" + "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC0wMDAx"
CAP = """<?xml version='1.0' encoding='utf-8'?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
<identifier>afstand-p0-1-0-0</identifier><sender>a@b.example</sender>
<sent>2026-03-29T03:00:00+02:00</sent><status>Actual</status><msgType>Alert</msgType>
<scope>Restricted</scope><restriction>politie</restriction><incidents>inc-1</incidents>
<info><language>nl-NL</language><category>Security</category><event>Noodknop</event>
<urgency>Immediate</urgency><severity>Extreme</severity><certainty>Observed</certainty>
<headline>Noodknop</headline>
<parameter><valueName>alarm-class</valueName><value>panic</value></parameter>
<area><areaDesc>Plaats</areaDesc><circle>51.920000,4.480000 0.012</circle></area></info></alert>"""
CAP_BYTES = CAP.encode()
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "p0-1-0-0",
    "source": "urn:nld:oin:00000001823288444000:systeem:afstand",
    "type": "nl.afstand.alarm.panic.alert.v1",
    "time": "2026-03-29T01:00:00Z",
    "datacontenttype": "application/json",
    "data": {"incident": "inc-1", "alarm_class": "panic", "purpose": "alert", "drill": False},
}


def signed(body, secret=SECRET, message_id="p0-1-0-0", at_s=None):
    at = datetime.fromtimestamp(int(at_s if at_s is not None else time.time()), UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }


@asynccontextmanager
async def receiver(kind=Kind.CAP, **fields):
    one = Receiver("meldkamer", kind, [SECRET], **fields)
    await one.start()
    try:
        async with aiohttp.ClientSession() as session:

            async def post(body=CAP_BYTES, headers=None, content_type="application/cap+xml"):
                headers = signed(body) if headers is None else headers
                headers = {"Content-Type": content_type, **headers}
                async with session.post(one.url, data=body, headers=headers) as response:
                    return response.status, await response.text()

            yield one, post
    finally:
        await one.stop()


async def test_it_takes_a_signed_cap_message_and_notes_it():
    async with receiver() as (one, post):
        before_ms = time.time_ns() // 1_000_000
        status, _ = await post()
        assert status == 202
        (arrival,) = one.arrivals
        assert arrival.id == "p0-1-0-0"
        assert (arrival.status, arrival.purpose) == ("actual", "alert")
        assert (arrival.alarm_class, arrival.incident) == ("panic", "inc-1")
        assert not arrival.duplicate
        assert before_ms <= arrival.arrived_ms <= time.time_ns() // 1_000_000
        assert arrival.body == CAP.encode()


async def test_it_knows_a_copy_by_its_id():
    async with receiver() as (one, post):
        for _ in range(3):
            await post()
        assert [arrival.duplicate for arrival in one.arrivals] == [False, True, True]
        assert one.ids == ["p0-1-0-0"]
        assert one.times_of("p0-1-0-0") == 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(CAP.encode(), secret=OTHER),
        signed(b"something else"),
        signed(CAP.encode(), at_s=1_000),
        {**signed(CAP.encode()), "webhook-signature": "v1"},
        {**signed(CAP.encode()), "webhook-signature": "v1,***"},
    ],
)
async def test_it_refuses_what_is_not_signed(headers):
    async with receiver() as (one, post):
        status, _ = await post(headers=headers)
        assert status == 401
        assert not one.arrivals
        assert one.refusals[0].problem.startswith("signature: ")


async def test_during_a_rotation_one_of_two_secrets_will_do():
    one = Receiver("m", Kind.CAP, [OTHER, SECRET])
    one._verify(CAP.encode(), signed(CAP.encode()))


async def test_an_id_that_is_not_the_messages_own_is_refused():
    async with receiver() as (_, post):
        body = CAP.encode()
        status, text = await post(body, signed(body, message_id="p0-2-0-0"))
        assert status == 400
        assert "does not come from" in text


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("<alert xmlns=", "<alarm xmlns=", "no XML"),
        ("urn:oasis:names:tc:emergency:cap:1.2", "urn:oasis:names:tc:emergency:cap:1.1", "root"),
        ("<sender>a@b.example</sender>", "", "sender is missing"),
        ("<sender>a@b.example</sender>", "<sender>a b</sender>", "one word"),
        ("+02:00", "Z", "no CAP time"),
        ("Actual", "Real", "status is 'Real'"),
        ("<msgType>Alert", "<msgType>Alarm", "msgType is 'Alarm'"),
        ("<restriction>politie</restriction>", "", "restriction is missing"),
        ("Restricted</scope>", "Private</scope>", "addresses is missing"),
        ("<incidents>inc-1</incidents>", "", "incidents is missing"),
        ("<severity>Extreme</severity>", "", "severity is missing"),
        ("Extreme", "Awful", "severity is 'Awful'"),
        ("<areaDesc>Plaats</areaDesc>", "", "areaDesc is missing"),
        ("51.920000,4.480000 0.012", "51.920000 4.480000 0.012", "circle"),
        ("<alert ", "<!DOCTYPE alert [<!ENTITY a 'b'>]><alert ", "document type"),
    ],
)
def test_a_cap_message_that_is_none(old, new, problem):
    body = CAP.replace(old, new, 1)
    assert body != CAP
    with pytest.raises(MessageProblem, match=problem):
        read_cap(body.encode())


def test_cap_without_info_is_refused():
    body = CAP[: CAP.index("<info>")] + "</alert>"
    with pytest.raises(MessageProblem, match="no info"):
        read_cap(body.encode())


def test_a_structured_event():
    read = read_event(msgspec.json.encode(EVENT), {"Content-Type": "application/cloudevents+json"})
    assert (read.id, read.purpose, read.incident) == ("p0-1-0-0", "alert", "inc-1")
    assert (read.alarm_class, read.status) == ("panic", "actual")


def test_a_binary_event():
    headers = {
        f"ce-{name}": EVENT[name] for name in ("specversion", "id", "source", "type", "time")
    }
    headers["Content-Type"] = "application/json"
    read = read_event(msgspec.json.encode({**EVENT["data"], "drill": True}), headers)
    assert (read.id, read.status) == ("p0-1-0-0", "exercise")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": ""}, "no CloudEvent"),
        ({"specversion": "2.0"}, "no CloudEvent"),
        ({"time": "yesterday"}, "no CloudEvent"),
        ({"source": "https://afstand.example"}, "source is"),
        ({"type": "Panic"}, "type is"),
        ({"data": "text"}, "data is no object"),
        ({"data": {"wearer_position": {}}}, "too much is told"),
        ({"data": {"distance_mm": 3}}, "too much is told"),
    ],
)
def test_an_event_that_is_none(changes, problem):
    body = msgspec.json.encode({**EVENT, **changes})
    with pytest.raises(MessageProblem, match=problem):
        read_event(body, {"content-type": "application/cloudevents+json"})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"7"])
def test_nonsense_is_no_event(body):
    with pytest.raises(MessageProblem):
        read_event(body, {"content-type": "application/cloudevents+json"})


async def test_an_event_over_http():
    async with receiver(Kind.EVENTS) as (one, post):
        body = msgspec.json.encode(EVENT)
        status, _ = await post(body, content_type="application/cloudevents+json")
        assert status == 202
        assert one.arrivals[0].fields["alarm_class"] == "panic"


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "status", "taken"),
        [
            (Mode.ERROR, 500, 0),
            (Mode.REFUSE, 422, 0),
            (Mode.BUSY, 429, 0),
            (Mode.NONSENSE, 200, 1),
        ],
    )
    async def test_answers(self, mode, status, taken):
        async with receiver(mode=mode) as (one, post):
            assert (await post())[0] == status
            assert len(one.arrivals) == taken
            assert one.calls == 1

    async def test_half_of_all_calls_fail_and_the_seed_says_which(self):
        runs = []
        for _ in range(2):
            async with receiver(mode=Mode.FLAKY, seed=7) as (_, post):
                runs.append([(await post())[0] for _ in range(40)])
        assert runs[0] == runs[1]
        assert 10 < runs[0].count(500) < 30

    @pytest.mark.parametrize("mode", [Mode.RESET, Mode.DEAF_ONCE])
    async def test_it_hangs_up(self, mode):
        async with receiver(mode=mode) as (one, post):
            with pytest.raises(aiohttp.ClientError):
                await post()
            assert len(one.arrivals) == (1 if mode is Mode.DEAF_ONCE else 0)
            if mode is Mode.DEAF_ONCE:
                assert (await post())[0] == 202
                assert one.arrivals[1].duplicate

    async def test_it_hangs_and_can_be_stopped(self):
        async with receiver(mode=Mode.HANG) as (one, post):
            hanging = asyncio.create_task(post())
            async with asyncio.timeout(5):
                while not one.calls:  # noqa: ASYNC110 - there is no event for a call that hangs
                    await asyncio.sleep(0.005)
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait((hanging,))

    async def test_slow_is_good_after_a_while(self):
        async with receiver(mode=Mode.SLOW, slow_ms=30) as (_, post):
            start_s = time.monotonic()
            assert (await post())[0] == 202
            assert time.monotonic() - start_s >= 0.03

    async def test_it_acknowledges_in_the_answer(self):
        async with receiver(acknowledge_in_answer=True, by="c-4") as (_, post):
            _, text = await post()
            assert msgspec.json.decode(text) == {"status": "acknowledged", "by": "c-4"}


async def test_it_acknowledges_later_over_http_once_and_signed():
    heard = []
    told = asyncio.Event()

    async def endpoint(request):
        body = await request.read()
        Webhook(SECRET).verify(body, dict(request.headers), json_parse=False)
        heard.append(msgspec.json.decode(body))
        told.set()
        return web.json_response({})

    application = web.Application()
    application.router.add_post("/v1/acknowledgements", endpoint)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/acknowledgements"
    try:
        async with receiver(acknowledge_after_ms=5, acknowledge_url=url) as (_, post):
            await post()
            await post()
            await asyncio.wait_for(told.wait(), 5)
            await asyncio.sleep(0.05)
        assert heard == [
            {
                "target": "meldkamer",
                "id": "p0-1-0-0",
                "status": "acknowledged",
                "by": "centralist-1",
            }
        ]
    finally:
        await runner.cleanup()


async def test_waiting_for_what_arrives():
    async with receiver() as (one, post):
        waiting = asyncio.create_task(one.wait_until(lambda r: len(r.arrivals) == 2))
        await post()
        await asyncio.sleep(0)
        assert not waiting.done()
        await post()
        await waiting
        with pytest.raises(TimeoutError):
            await one.wait_until(lambda r: False, timeout_s=0.01)
