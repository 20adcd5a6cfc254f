"""Text messages: what a gateway gets, what a phone shows, and what its answer means."""

import json
from itertools import product
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from alerting.book.types import AlarmClass, Audience, Priority, Purpose
from alerting.notify import NotifySettings, OutcomeStatus, RenderError, SmsTarget, SystemClock
from alerting.notify.channels import open_destinations
from alerting.notify.delivery import delivery_of_command, delivery_of_notice
from alerting.notify.sms import SmsRenderer
from alerting.notify.texts import SMS_CHARACTERS_MAX, sms_text
from tests.alerting.notify_support import START_MS, command, full_notice, notice

KEY = "p0-1764500000000-0-0"


def target(**changes):
    fields: dict[str, Any] = {
        "url": "https://gateway.example/messages",
        "number": "+31612345678",
        "audiences": (Audience.SHIFT_LEAD,),
    }
    return SmsTarget(**{**fields, **changes})


@pytest.mark.parametrize("language", ["nl", "en"])
def test_every_text_is_one_message_and_says_nothing_private(language):
    for alarm_class, purpose, priority, drill in product(
        AlarmClass, Purpose, Priority, (False, True)
    ):
        body = full_notice(
            alarm_class=alarm_class, purpose=purpose, priority=priority, drill=drill,
            authenticated=False, incident_id="i-p0-1764500000000-12-34",
        )  # fmt: skip
        text = sms_text(body, language)
        assert len(text) <= SMS_CHARACTERS_MAX
        assert text.isascii()
        assert "i-p0-1764500000000-12-34" in text
        assert text.startswith("OEFENING" if language == "nl" else "EXERCISE") is drill
        for private in (body.protected_id, body.wearer_id, body.device_id, "51.9", "519"):
            assert private is None or private not in text


def test_what_a_phone_shows():
    text = sms_text(notice(incident_id="i-7", at_ms=START_MS), "nl")
    assert text == (
        "MELDING - Te dichtbij - kritiek, 2025-11-30 11:53, incident i-7. Bel de meldcentrale."
    )


def test_what_the_alphabet_of_phones_does_not_have_is_a_question_mark():
    assert "i-?9?." in sms_text(notice(incident_id="i-{9\u20ac"), "nl")


def test_the_gateway_gets_its_own_names():
    delivery = delivery_of_notice(KEY, notice())
    plain = json.loads(SmsRenderer(target())(delivery).body)
    assert plain["to"] == "+31612345678"
    assert plain["from"] == "Afstand"
    assert plain["reference"] == KEY
    named = target(
        body="form",
        sender="+31201234567",
        fields={"To": "{to}", "From": "{from}", "Body": "{text}", "Class": "flash"},
    )
    rendered = SmsRenderer(named)(delivery)
    assert rendered.headers["Content-Type"] == "application/x-www-form-urlencoded"
    fields = parse_qs(rendered.body.decode())
    assert fields == {
        "To": ["+31612345678"], "From": ["+31201234567"], "Class": ["flash"],
        "Body": [plain["text"]],
    }  # fmt: skip


def test_a_command_is_no_text_message():
    with pytest.raises(RenderError, match="notices"):
        SmsRenderer(target())(delivery_of_command(KEY, command()))


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (201, {"id": "abc", "status": "queued"}, OutcomeStatus.DELIVERED),
        (200, {"status": "acknowledged", "by": "nobody"}, OutcomeStatus.DELIVERED),
        (422, {"error": "no such number"}, OutcomeStatus.REFUSED),
        (429, {}, OutcomeStatus.RETRY),
        (503, {}, OutcomeStatus.RETRY),
    ],
)
async def test_a_gateway_answers_and_never_acknowledges(status, answer, expected):
    seen = []

    async def handler(request):
        seen.append((request.headers, await request.json()))
        return web.json_response(answer, status=status)

    application = web.Application()
    application.router.add_post("/messages", handler)
    async with TestServer(application) as server:
        settings = NotifySettings(
            targets={
                "piket": target(
                    url=str(server.make_url("/messages")),
                    bearer_token="live-1",
                    token_scheme="AccessKey",
                )
            }
        )
        async with open_destinations(settings, SystemClock(), lambda _: None) as found:
            outcome = await found["piket"].channel.send(delivery_of_notice(KEY, notice()), START_MS)
    assert outcome.status is expected
    headers, body = seen[0]
    assert headers["Authorization"] == "AccessKey live-1"
    assert "webhook-signature" not in headers
    assert body["reference"] == KEY


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"number": "0612345678"}, "E.164"),
        ({"sender": "Afstand meldkamer"}, "1 to 11"),
        ({"url": "http://gateway.example/"}, "https"),
        ({"fields": {"to": "{to}"}}, "{text}"),
        ({"audiences": (Audience.WEARER,)}, "on their devices"),
        ({"audiences": ()}, "must not be empty"),
        ({"bearer_token": "sl\u00e9utel"}, "ASCII"),
        ({"bearer_token": "a\r\nX-Evil: 1"}, "ASCII"),
        ({"secrets": ("whsec_kort",)}, "base64|24 to 64"),
    ],
)
def test_what_is_wrong_is_said(changes, says):
    with pytest.raises(ValueError, match=says):
        target(**changes)


def test_neither_number_nor_token_is_shown():
    shown = repr(target(bearer_token="live-1"))
    assert "612345678" not in shown
    assert "live-1" not in shown
