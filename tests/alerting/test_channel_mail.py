"""E-mail over a real SMTP server: what a mailbox gets, and what each answer means."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes, policy
from itertools import product
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from alerting.book.types import AlarmClass, Audience, Purpose
from alerting.notify import (
    LaneSettings,
    MailTarget,
    NotifySettings,
    OutcomeStatus,
    RenderError,
    SystemClock,
    TlsSettings,
)
from alerting.notify.channels import open_destinations
from alerting.notify.delivery import delivery_of_command, delivery_of_notice
from alerting.notify.mail import MailChannel
from tests.alerting.notify_support import START_MS, command, full_notice, notice
from tests.alerting.test_channel_webhook import certificate

KEY = "p0-1764500000000-0-0"


def target(**changes):
    fields: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 2525,
        "security": "none",
        "sender": "meldcentrale@afstand.example",
        "recipients": ("piket@reclassering.example",),
        "audiences": (Audience.PROBATION,),
    }
    return MailTarget(**{**fields, **changes})


def rendered(body=None, **changes):
    return MailChannel(target(**changes), None).render(delivery_of_notice(KEY, body or notice()))


class Mailboxes:
    """A server that keeps what it takes and answers as it is told."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.taken: list[tuple[list[str], Any]] = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 aiosmtpd's own name
        answer = self.answers.get(address.partition("@")[0], "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 aiosmtpd's own name
        answer = self.answers.get("data", "250 taken")
        if answer.startswith("250"):
            message = message_from_bytes(envelope.content, policy=policy.default)
            self.taken.append((envelope.rcpt_tos, message))
        return answer


@asynccontextmanager
async def serving(mailboxes, tls=None, **options):
    """The port of a server of these mailboxes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(
            mailboxes, hostname="mail.example", tls_context=tls, require_starttls=tls is not None,
            enable_SMTPUTF8=True, loop=loop, **options,
        ),
        "127.0.0.1",
    )  # fmt: skip
    async with server:
        yield server.sockets[0].getsockname()[1]


async def send(port, body=None, **changes):
    settings = NotifySettings(targets={"post": target(port=port, **changes)})
    async with open_destinations(settings, SystemClock(), lambda _: None) as found:
        return await found["post"].channel.send(delivery_of_notice(KEY, body or notice()), START_MS)


async def test_a_mailbox_gets_it():
    mailboxes = Mailboxes()
    async with serving(mailboxes) as port:
        outcome = await send(port, data_url="https://afstand.example/api")
    assert outcome.status is OutcomeStatus.DELIVERED
    ((recipients, message),) = mailboxes.taken
    assert recipients == ["piket@reclassering.example"]
    assert message["Subject"] == "MELDING - Te dichtbij - kritiek - inc-1"
    assert message["Message-ID"] == f"<afstand-{KEY}@afstand.example>"
    assert message["References"] == "<afstand-inc-1@afstand.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Importance"] == "high"
    assert message["Date"].datetime == datetime.fromtimestamp(START_MS // 1000, UTC)
    text = message.get_content()
    assert "Sinds: 2025-11-30 11:53:20 +01:00" in text
    assert "https://afstand.example/api/incidents/inc-1" in text
    assert "Waarschuw de beschermde persoon" in text


@pytest.mark.parametrize("language", ["nl", "en"])
def test_every_notice_is_a_message_that_says_nothing_private(language):
    for alarm_class, purpose, drill in product(AlarmClass, Purpose, (False, True)):
        body = full_notice(alarm_class=alarm_class, purpose=purpose, drill=drill)
        message = rendered(body, language=language)
        raw = "\n".join([*map(str, message.values()), message.get_content()])
        for private in (body.protected_id, body.wearer_id, body.device_id):
            assert private is None or private not in raw
        for position in (body.wearer_position, body.protected_position, body.device_position):
            assert position is None or str(position.lat_e7)[:4] not in raw
        mark = "OEFENING" if language == "nl" else "EXERCISE"
        assert str(message["Subject"]).startswith(mark) is drill
        assert message.get_content().startswith(mark) is drill


def test_a_copy_has_the_same_id_and_bytes():
    assert rendered().as_bytes() == rendered().as_bytes()


def test_no_id_breaks_a_header():
    message = rendered(notice(incident_id="i-1\r\nBcc: evil@example\r\n\r\n\u20ac"))
    parsed = message_from_bytes(message.as_bytes(), policy=policy.default)
    assert parsed["Bcc"] is None
    assert "\n" not in str(parsed["Subject"])


def test_a_command_is_no_message():
    with pytest.raises(RenderError, match="notices"):
        MailChannel(target(), None).render(delivery_of_command(KEY, command()))


def test_a_time_that_is_none_cannot_be_rendered():
    with pytest.raises(RenderError):
        rendered(notice(at_ms=10**18))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"piket": "550 no such mailbox"}, OutcomeStatus.REFUSED),
        ({"piket": "451 greylisted"}, OutcomeStatus.RETRY),
        ({"data": "554 not here"}, OutcomeStatus.REFUSED),
        ({"data": "452 full"}, OutcomeStatus.RETRY),
    ],
)
async def test_what_a_server_says_decides(answers, expected):
    mailboxes = Mailboxes(**answers)
    async with serving(mailboxes) as port:
        outcome = await send(port)
    assert outcome.status is expected
    assert mailboxes.taken == []


async def test_one_bad_mailbox_does_not_keep_it_from_the_other():
    mailboxes = Mailboxes(weg="550 no such mailbox")
    both = ("weg@reclassering.example", "piket@reclassering.example")
    async with serving(mailboxes) as port:
        outcome = await send(port, recipients=both)
    assert outcome.status is OutcomeStatus.DELIVERED
    assert outcome.detail == "1 of 2 mailboxes refused"
    assert [recipients for recipients, _ in mailboxes.taken] == [["piket@reclassering.example"]]


async def test_one_that_may_come_later_is_tried_again_when_the_other_is_gone():
    mailboxes = Mailboxes(weg="550 no such mailbox", later="451 greylisted")
    async with serving(mailboxes) as port:
        outcome = await send(port, recipients=("weg@a.example", "later@a.example"))
    assert outcome.status is OutcomeStatus.RETRY


async def test_nobody_listens(unused_tcp_port):
    outcome = await send(unused_tcp_port)
    assert outcome.status is OutcomeStatus.RETRY
    assert outcome.reached_target is False


async def test_what_speaks_no_smtp_is_tried_again():
    async def babble(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1") as server:
        outcome = await send(server.sockets[0].getsockname()[1])
    assert outcome.status is OutcomeStatus.RETRY


async def test_over_starttls_with_a_password(tmp_path):
    certificate(tmp_path, "server", certificate(tmp_path, "authority"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    trust = TlsSettings(ca_file=str(tmp_path / "authority.pem"))
    mailboxes = Mailboxes()

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=data.password == b"right", handled=False)

    async with serving(mailboxes, tls, authenticator=authenticate, auth_required=True) as port:
        how = {"security": "starttls", "username": "us", "tls": trust}
        wrong = await send(port, password="wrong", **how)
        right = await send(port, password="right", **how)
        quick = LaneSettings(timeout_ms=1_000)
        stranger = await send(
            port, password="right", security="starttls", username="us", lane=quick
        )
    assert right.status is OutcomeStatus.DELIVERED
    assert wrong.status is OutcomeStatus.RETRY
    assert "535" in wrong.detail  # a password is put right without a new message
    assert stranger.status is OutcomeStatus.RETRY  # no authority of this machine knows the server
    assert len(mailboxes.taken) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": "mail.example"}, "starttls or tls"),
        ({"port": 0}, "port is 0"),
        ({"recipients": ()}, "1 to 16"),
        ({"recipients": ("Piket <piket@a.example>",)}, "plain addresses"),
        ({"sender": "a@b.example\r\nBcc: c@d.example"}, "plain addresses"),
        ({"username": "us"}, "together"),
        ({"audiences": (Audience.PROTECTED_PERSON,)}, "on their devices"),
        ({"data_url": "http://afstand.example/"}, "https"),
    ],
)
def test_what_is_wrong_is_said(changes, says):
    with pytest.raises(ValueError, match=says):
        target(**changes)


def test_neither_password_nor_address_is_shown():
    shown = repr(target(username="us", password="hunter2"))
    assert "hunter2" not in shown
    assert "piket" not in shown
