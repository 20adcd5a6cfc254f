"""POST /v1/acknowledgements over a real connection on loopback."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook

from afstand.limits import ACKNOWLEDGEMENT_BYTES_MAX, ACKNOWLEDGEMENT_IDS_MAX
from alerting.book.types import Audience, ReceiptStatus
from alerting.notify import Acknowledgements, CapTarget, MemoryDeliveryLog, Metrics, SystemClock
from tests.alerting.notify_support import OLD_SECRET, SECRET, START_MS

PATH = "/v1/acknowledgements"
KEY = "p0-1764500000000-0-0"


class FixedClock(SystemClock):
    def now_ms(self):
        return START_MS


def target(*secrets):
    return CapTarget(
        url="https://meldkamer.example/",
        secrets=secrets,
        audiences=(Audience.POLICE,),
        sender="afstand@afstand.example",
    )


class Desk:
    """The endpoint with a journal that can be told to fail."""

    def __init__(self):
        self.receipts = []
        self.log = MemoryDeliveryLog()
        self.registry = CollectorRegistry()
        self.fails = False
        targets = {"meldkamer": target(SECRET, OLD_SECRET), "reclassering": target(OLD_SECRET)}
        self.endpoint = Acknowledgements(
            targets, self.journal, self.log, FixedClock(), Metrics(self.registry)
        )

    async def journal(self, receipt):
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError
        self.receipts.append(receipt)

    def count(self, target, result):
        labels = {"target": target, "result": result}
        return self.registry.get_sample_value("afstand_notify_acknowledgements_total", labels)


@asynccontextmanager
async def open_desk():
    desk = Desk()
    application = web.Application()
    application.add_routes(desk.endpoint.routes())
    async with TestClient(TestServer(application)) as client:
        yield desk, client


def said(**changes):
    fields = {"target": "meldkamer", "id": KEY, "status": "acknowledged", "by": "centralist 4"}
    return msgspec.json.encode({**fields, **changes})


def signed(body, secret=SECRET, at_s=START_MS // 1000, message_id="ack-1"):
    text = body.decode("utf-8", "replace")
    signature = Webhook(secret).sign(message_id, datetime.fromtimestamp(at_s, UTC), text)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": signature,
    }


async def refused(response, status, problem):
    assert response.status == status
    assert response.content_type == "application/problem+json"
    body = await response.json(content_type=None)
    assert body["type"] == f"urn:nld:afstand:problem:{problem}"
    assert body["status"] == status
    assert body["detail"]
    return body


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
async def test_it_becomes_a_receipt_and_stops_the_retries(secret):
    async with open_desk() as (desk, client):
        body = said(detail="eenheid 12 rijdt")
        response = await client.post(PATH, data=body, headers=signed(body, secret))
        assert response.status == 200
        assert await response.json() == {"status": "accepted", "duplicate": False}
        (receipt,) = desk.receipts
        assert receipt.key == KEY
        assert receipt.status is ReceiptStatus.ACKNOWLEDGED
        assert (receipt.target, receipt.by) == ("meldkamer", "centralist 4")
        assert (receipt.detail, receipt.at_ms) == ("eenheid 12 rijdt", START_MS)
        assert await desk.log.settled(KEY) is ReceiptStatus.ACKNOWLEDGED


async def test_a_hand_over_can_be_refused_later():
    async with open_desk() as (desk, client):
        body = said(status="refused", detail="andere regio")
        assert (await client.post(PATH, data=body, headers=signed(body))).status == 200
        assert desk.receipts[0].status is ReceiptStatus.REFUSED


async def test_a_replay_is_answered_and_not_journalled_again():
    async with open_desk() as (desk, client):
        body = said()
        for duplicate in (False, True, True):
            response = await client.post(PATH, data=body, headers=signed(body))
            assert (await response.json())["duplicate"] is duplicate
        assert len(desk.receipts) == 1
        assert desk.count("meldkamer", "duplicate") == 2


async def test_the_memory_of_replays_is_bounded():
    async with open_desk() as (desk, client):
        desk.endpoint._seen.update((("meldkamer", str(n)), None) for n in range(20_000))
        body = said()
        await client.post(PATH, data=body, headers=signed(body))
        assert len(desk.endpoint._seen) == ACKNOWLEDGEMENT_IDS_MAX


async def test_a_journal_that_is_away_means_try_again():
    async with open_desk() as (desk, client):
        desk.fails = True
        body = said()
        response = await client.post(PATH, data=body, headers=signed(body))
        await refused(response, 503, "not-stored")
        assert response.headers["Retry-After"] == "1"
        desk.fails = False
        response = await client.post(PATH, data=body, headers=signed(body))
        assert (await response.json())["duplicate"] is False
        assert len(desk.receipts) == 1


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "header-missing"),
        (signed(said(), at_s=START_MS // 1000 - 301), "timestamp-too-old"),
        (signed(said(), at_s=START_MS // 1000 + 301), "timestamp-too-new"),
        (signed(b"another body"), "no-matching-signature"),
        ({**signed(said()), "webhook-signature": "v1"}, "no-matching-signature"),
        ({**signed(said()), "webhook-signature": "é,é,é"}, "no-matching-signature"),
        ({**signed(said()), "webhook-timestamp": "soon"}, "timestamp-malformed"),
    ],
)
async def test_what_is_not_signed_is_not_believed(headers, detail):
    async with open_desk() as (desk, client):
        response = await client.post(PATH, data=said(), headers=headers)
        body = await refused(response, 401, "not-signed")
        assert body["detail"] == detail
        assert desk.receipts == []
        assert desk.count("meldkamer", "not-signed") == 1


async def test_a_target_cannot_speak_for_another():
    async with open_desk() as (desk, client):
        body = said(target="reclassering")
        response = await client.post(PATH, data=body, headers=signed(body, SECRET))
        await refused(response, 401, "not-signed")
        await desk.log.note(KEY, "meldkamer", ReceiptStatus.DELIVERED)
        response = await client.post(PATH, data=body, headers=signed(body, OLD_SECRET))
        await refused(response, 403, "not-yours")
        assert desk.receipts == []


async def test_which_targets_there_are_is_not_told():
    async with open_desk() as (desk, client):
        body = said(target="guess")
        response = await client.post(PATH, data=body, headers=signed(body))
        await refused(response, 401, "not-signed")
        assert desk.count("unknown", "not-signed") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        said(status="delivered"),
        said(by=""),
        said(by="x" * 65),
        said(detail="x" * 201),
        said(id="a b"),
        said(id="x" * 201),
        said(target="../etc"),
        said(extra=1),
        said(by=7),
        b'{"target":"meldkamer"}',
        b"[" * 5_000,
    ],
)
async def test_a_body_that_is_none_is_refused_with_a_reason(body):
    async with open_desk() as (desk, client):
        response = await client.post(PATH, data=body, headers=signed(body))
        await refused(response, 400, "malformed")
        assert desk.receipts == []
        good = said()
        assert (await client.post(PATH, data=good, headers=signed(good))).status == 200


async def test_a_body_is_bounded_with_and_without_a_length():
    async with open_desk() as (_, client):
        body = said() + b" " * ACKNOWLEDGEMENT_BYTES_MAX
        response = await client.post(PATH, data=body, headers=signed(body))
        await refused(response, 413, "too-large")

        async def endless():
            for _ in range(10_000):
                yield b" " * 4_096

        try:
            response = await client.post(PATH, data=endless(), headers=signed(b""))
        except OSError:
            return  # the server hung up while the rest still came: refused as well
        await refused(response, 413, "too-large")


async def test_unprintable_text_does_not_reach_the_journal():
    async with open_desk() as (desk, client):
        body = said(by="a\u0000b\u202ec\n", detail="\u001b[31mred")
        assert (await client.post(PATH, data=body, headers=signed(body))).status == 200
        assert desk.receipts[0].by == "a b c"
        assert desk.receipts[0].detail == "[31mred"


async def test_only_post():
    async with open_desk() as (_, client):
        assert (await client.get(PATH)).status == 405
