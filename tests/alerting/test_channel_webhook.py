"""The webhook over real connections: every answer a receiver may give, and every way of none."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address
from time import time

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from alerting.notify import Outcome, OutcomeStatus, RenderError, SystemClock, TlsSettings
from alerting.notify.delivery import delivery_of_notice
from alerting.notify.signing import Signer
from alerting.notify.webhook import (
    FINAL_STATUSES,
    Rendered,
    WebhookChannel,
    new_session,
    plain_text,
    retry_after_ms,
    tls_context,
)
from tests.alerting.notify_support import SECRET, START_MS, notice

DELIVERY = delivery_of_notice("p0-1-0-0", notice())


def render(delivery):
    return Rendered(b"<alert/>", {"Content-Type": "application/cap+xml"})


@asynccontextmanager
async def receiver(handler):
    """A server with one handler; gives a function that makes one attempt."""
    application = web.Application()
    application.router.add_post("/hook", handler)
    async with TestServer(application) as server, new_session() as session:
        url = str(server.make_url("/hook"))
        channel = WebhookChannel(
            session, url, Signer([SECRET]), render, SystemClock(), bearer_token="token-1"
        )

        async def send():
            return await channel.send(DELIVERY, int(time() * 1000))

        yield send


def answering(status=200, **fields):
    async def handler(request):
        return web.Response(status=status, **fields)

    return handler


async def outcome_of(handler):
    async with receiver(handler) as send:
        return await send()


async def test_what_is_sent():
    seen = []

    async def handler(request):
        seen.append((request.headers, await request.read()))
        return web.Response(status=204)

    outcome = await outcome_of(handler)
    assert outcome == Outcome(status=OutcomeStatus.DELIVERED, detail="http-204")
    headers, body = seen[0]
    assert body == b"<alert/>"
    assert headers["Content-Type"] == "application/cap+xml"
    assert headers["Authorization"] == "Bearer token-1"
    assert headers["webhook-id"] == "p0-1-0-0"
    assert "Accept-Encoding" not in headers
    assert Signer([SECRET]).fault(headers, body, int(time() * 1000), 5_000) is None


async def test_each_attempt_is_signed_with_its_own_time():
    stamps = []

    async def handler(request):
        stamps.append(request.headers["webhook-timestamp"])
        return web.Response()

    application = web.Application()
    application.router.add_post("/hook", handler)
    async with TestServer(application) as server, new_session() as session:
        url = str(server.make_url("/hook"))
        channel = WebhookChannel(session, url, Signer([SECRET]), render, SystemClock())
        await channel.send(DELIVERY, START_MS)
        await channel.send(DELIVERY, START_MS + 60_000)
    assert int(stamps[1]) - int(stamps[0]) == 60


@pytest.mark.parametrize("status", [200, 201, 202, 204, 208])
async def test_success(status):
    assert (await outcome_of(answering(status))).status is OutcomeStatus.DELIVERED


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
async def test_what_is_about_the_message_is_final(status):
    outcome = await outcome_of(answering(status))
    assert (outcome.status, outcome.detail) == (OutcomeStatus.REFUSED, f"http-{status}")
    assert outcome.reached_target is True


@pytest.mark.parametrize(
    "status", [301, 302, 304, 307, 401, 403, 404, 405, 408, 409, 425, 429, 500, 502, 503, 504, 599]
)
async def test_everything_else_is_tried_again(status):
    headers = {"Location": "https://elsewhere.example/"} if status < 400 else {}
    outcome = await outcome_of(answering(status, headers=headers))
    assert (outcome.status, outcome.detail) == (OutcomeStatus.RETRY, f"http-{status}")
    assert outcome.reached_target is False


async def test_a_redirect_is_not_followed():
    calls = []

    async def handler(request):
        calls.append(request.path)
        raise web.HTTPTemporaryRedirect("/hook")

    await outcome_of(handler)
    assert calls == ["/hook"]


async def test_acknowledged_in_the_answer():
    answer = '{"status":"acknowledged","by":" centralist\\u0000 4 ","extra":1}'
    outcome = await outcome_of(answering(text=answer, content_type="application/json"))
    assert (outcome.status, outcome.by) == (OutcomeStatus.ACKNOWLEDGED, "centralist  4")


async def test_refused_in_the_answer():
    answer = '{"status":"refused","detail":"andere regio"}'
    outcome = await outcome_of(answering(text=answer, content_type="application/json"))
    assert (outcome.status, outcome.detail) == (OutcomeStatus.REFUSED, "andere regio")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<<none>>", "application/json"),
        ('{"status": 5}', "application/json"),
        ("[" * 10_000, "application/json"),
        ('{"status":"acknowledged","by":"' + "x" * 20_000 + '"}', "application/json"),
        ('{"status":"acknowledged"}', "text/plain"),
        ("", "application/json"),
        ("null", "application/json"),
    ],
)
async def test_a_body_that_says_nothing_leaves_it_delivered(body, content_type):
    outcome = await outcome_of(answering(text=body, content_type=content_type))
    assert outcome == Outcome(status=OutcomeStatus.DELIVERED, detail="http-200")


async def test_a_packed_answer_is_not_unpacked():
    async def handler(request):
        response = web.json_response({"status": "acknowledged"})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    assert (await outcome_of(handler)).status is OutcomeStatus.DELIVERED


@pytest.mark.slow
async def test_an_answer_that_never_ends_is_delivered_after_a_second():
    async def handler(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"status":')
        await asyncio.sleep(30)
        return response

    async with asyncio.timeout(5):
        assert (await outcome_of(handler)).status is OutcomeStatus.DELIVERED


async def test_hanging_up_without_an_answer():
    async def handler(request):
        request.transport.abort()
        return web.Response()

    outcome = await outcome_of(handler)
    assert outcome.status is OutcomeStatus.RETRY
    assert "Disconnected" in outcome.detail or "Reset" in outcome.detail
    assert outcome.reached_target is False


async def test_nobody_listens(unused_tcp_port):
    async with new_session() as session:
        url = f"http://127.0.0.1:{unused_tcp_port}/"
        channel = WebhookChannel(session, url, Signer([SECRET]), render, SystemClock())
        outcome = await channel.send(DELIVERY, START_MS)
    assert outcome.status is OutcomeStatus.RETRY
    assert "Connect" in outcome.detail


async def test_what_speaks_no_http():
    async def nonsense(reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, new_session() as session:
        url = f"http://127.0.0.1:{port}/"
        channel = WebhookChannel(session, url, Signer([SECRET]), render, SystemClock())
        assert (await channel.send(DELIVERY, START_MS)).status is OutcomeStatus.RETRY


async def test_a_connection_is_kept_and_used_again():
    peers = []

    async def handler(request):
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response({"status": "accepted"}, status=202)

    async with receiver(handler) as send:
        for _ in range(5):
            await send()
    assert len(set(peers)) == 1


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), OverflowError("x")])
async def test_a_message_that_cannot_be_made_is_said_to_be_so(error):
    def broken(delivery):
        raise error

    async with new_session() as session:
        channel = WebhookChannel(
            session, "http://127.0.0.1:1/", Signer([SECRET]), broken, SystemClock()
        )
        with pytest.raises(RenderError):
            await channel.send(DELIVERY, START_MS)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, None),
            ("120", 120_000),
            (" 0 ", 0),
            ("soon", None),
            ("-5", None),
            ("9" * 40, None),
            ("1.5", None),
            ("Thu, 99 Foo 2026 00:00:00 GMT", None),
        ],
    )
    def test_seconds_and_nonsense(self, value, expected):
        assert retry_after_ms(value, START_MS) == expected

    def test_a_date(self):
        now = datetime.fromtimestamp(START_MS // 1000, UTC)
        later = format_datetime(now + timedelta(seconds=90), usegmt=True)
        assert retry_after_ms(later, START_MS) == 90_000
        earlier = format_datetime(now - timedelta(seconds=90), usegmt=True)
        assert retry_after_ms(earlier, START_MS) == 0

    async def test_it_reaches_the_outcome(self):
        outcome = await outcome_of(answering(429, headers={"Retry-After": "7"}))
        assert outcome.retry_after_ms == 7_000


def test_text_from_outside_is_made_plain():
    assert plain_text("a\x00b\u202ec\x1b[0m", 200) == "a b c [0m"
    assert plain_text("x" * 500, 10) == "x" * 10


def test_certificates_that_cannot_be_used_are_an_error_at_the_start(tmp_path):
    with pytest.raises(FileNotFoundError):
        tls_context(TlsSettings(ca_file=str(tmp_path / "none.pem")))
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        tls_context(TlsSettings(ca_file=str(tmp_path / "bad.pem")))


def certificate(folder, name, issuer=None):
    """Write the certificate of an authority, or one of `issuer`; gives it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
    )
    signed = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(pem))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, *plain))
    return signed, key


async def test_over_tls_both_sides_know_each_other(tmp_path):
    authority = certificate(tmp_path, "authority")
    certificate(tmp_path, "server", authority)
    certificate(tmp_path, "us", authority)
    theirs = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "authority.pem")
    )
    theirs.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    theirs.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_post("/hook", answering(204))
    files = {name: str(tmp_path / name) for name in ("authority.pem", "us.pem", "us.key")}
    cases = {
        OutcomeStatus.DELIVERED: TlsSettings(
            ca_file=files["authority.pem"], cert_file=files["us.pem"], key_file=files["us.key"]
        ),
        OutcomeStatus.RETRY: TlsSettings(),  # their authority is not one of the machine's
    }
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=theirs)
    async with server, new_session() as session:
        url = str(server.make_url("/hook"))
        for expected, found in cases.items():
            channel = WebhookChannel(
                session, url, Signer([SECRET]), render, SystemClock(), tls=tls_context(found)
            )
            outcome = await channel.send(DELIVERY, START_MS)
            assert outcome.status is expected, outcome.detail
            if expected is OutcomeStatus.RETRY:
                assert "certificate" in outcome.detail.lower()
