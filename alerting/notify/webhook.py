"""The signed HTTPS webhook: one POST per attempt, and what its answer means.

Every channel over HTTPS is this one with another renderer. One `aiohttp` session serves all
targets, kept alive; how many calls run at once is bounded by the lanes, not by the session, so that
a target that hangs takes no connection from another.
"""

import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec

from afstand.limits import (
    RECEIPT_BY_CHARACTERS_MAX,
    RECEIPT_DETAIL_CHARACTERS_MAX,
    WEBHOOK_ANSWER_MS_MAX,
    WEBHOOK_RESPONSE_BYTES_MAX,
)
from alerting.notify.clock import Clock, within
from alerting.notify.delivery import Delivery, Outcome, OutcomeStatus, RenderError
from alerting.notify.settings import TlsSettings
from alerting.notify.signing import Signer

# What these say is about this message, so the same bytes would get the same answer. Every other
# status that is no success (a receiver half way through a deployment gives 401, 404, 405) is tried
# again until the lane gives up: the plan's deadline brings the fallback meanwhile.
FINAL_STATUSES: Final = frozenset({400, 410, 413, 414, 415, 422, 431, 451})
KEEPALIVE_S: Final = 75.0


class Rendered(msgspec.Struct, frozen=True):
    """A message as it goes out: UTF-8 bytes and the headers that describe them."""

    body: bytes
    headers: dict[str, str]


Renderer = Callable[[Delivery], Rendered]


class _Answer(msgspec.Struct, frozen=True):
    """What a receiver may say in the body of its 2xx answer; everything else there is ignored."""

    status: str = ""
    by: str = ""
    detail: str = ""


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def new_session() -> aiohttp.ClientSession:
    """Open the session that all webhook channels share; to be closed by whoever opened it."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),  # the lane times every attempt
        auto_decompress=False,  # an answer is bounded as it comes in, not after unpacking
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "afstand", "Accept": "application/json"},
        skip_auto_headers={"Accept-Encoding"},
    )


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """Make the TLS context of a target; OSError or ssl.SSLError for files that cannot be used."""
    context = ssl.create_default_context(cafile=settings.ca_file)
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


class WebhookChannel:
    """One target reached by signed POST."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        signer: Signer | None,
        render: Renderer,
        clock: Clock,
        *,
        bearer_token: str | None = None,
        token_scheme: str = "Bearer",  # noqa: S107 - the word before the secret
        tls: ssl.SSLContext | None = None,
        takes_on: bool = True,
    ) -> None:
        """`takes_on`: what the answer says may be that somebody has taken the message on."""
        self._session = session
        self._url = url
        self._signer = signer
        self._render = render
        self._clock = clock
        self._fixed = {"Authorization": f"{token_scheme} {bearer_token}"} if bearer_token else {}
        self._takes_on = takes_on
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        """Make one attempt; RenderError when there is nothing to send."""
        try:
            message = self._render(delivery)
        except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
            # Rendering is pure: what raised once raises each time. OSError is a time out of range.
            raise RenderError(error_text(error)) from error
        signer = self._signer
        signature = signer.headers(delivery.key, message.body, now_ms) if signer else {}
        try:
            async with self._session.post(
                self._url,
                data=message.body,
                headers={**message.headers, **self._fixed, **signature},
                allow_redirects=False,
                ssl=self._tls,
            ) as response:
                return await self._outcome(response, now_ms)
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(
                status=OutcomeStatus.RETRY, detail=error_text(error), reached_target=False
            )

    async def _outcome(self, response: aiohttp.ClientResponse, now_ms: int) -> Outcome:
        detail = f"http-{response.status}"
        if 200 <= response.status < 300:
            answer = await self._answer(response) if self._takes_on else _Answer()
            if answer.status == "acknowledged":
                return Outcome(status=OutcomeStatus.ACKNOWLEDGED, detail=detail, by=answer.by)
            if answer.status == "refused":
                return Outcome(status=OutcomeStatus.REFUSED, detail=answer.detail or detail)
            return Outcome(status=OutcomeStatus.DELIVERED, detail=detail)
        if response.status in FINAL_STATUSES:
            return Outcome(status=OutcomeStatus.REFUSED, detail=detail)
        return Outcome(
            status=OutcomeStatus.RETRY,
            detail=detail,
            retry_after_ms=retry_after_ms(response.headers.get("Retry-After"), now_ms),
            reached_target=False,
        )

    async def _answer(self, response: aiohttp.ClientResponse) -> _Answer:
        """Read the answer's body as far as it may matter; a message that was taken stays taken.

        A body that is slow, broken, too long or no JSON says nothing: the status said it all.
        """
        if "json" not in response.headers.get("Content-Type", ""):
            return _Answer()
        try:
            body = await within(self._clock, WEBHOOK_ANSWER_MS_MAX, _read_bounded(response))
            answer = _ANSWER.decode(body)
        except (TimeoutError, aiohttp.ClientError, OSError, msgspec.MsgspecError, UnicodeError):
            return _Answer()
        return _Answer(
            status=answer.status,
            by=plain_text(answer.by, RECEIPT_BY_CHARACTERS_MAX),
            detail=plain_text(answer.detail, RECEIPT_DETAIL_CHARACTERS_MAX),
        )


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(4096):
        parts.append(part)
        size += len(part)
        if size > WEBHOOK_RESPONSE_BYTES_MAX:
            return b""
    return b"".join(parts)


def retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110); None when it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value) * 1000
    try:
        at = parsedate_to_datetime(value)
        return max(0, int(at.timestamp() * 1000) - now_ms)
    except (ValueError, OverflowError, OSError):
        return None


def plain_text(text: str, characters_max: int) -> str:
    """Make text from outside fit for a journal and a screen: printable, and not too long."""
    cleaned = "".join([c if c.isprintable() else " " for c in text[:characters_max]])
    return cleaned.strip()


def error_text(error: Exception) -> str:
    """Name an error for a receipt or a log line."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return plain_text(text, RECEIPT_DETAIL_CHARACTERS_MAX)
