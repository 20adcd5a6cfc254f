"""POST /v1/acknowledgements: a receiver says later that somebody there has taken a notice on.

Signed as the webhooks are (Standard Webhooks), with the secret of the target that says it. Answered
only after the receipt is in the journal. Errors are problem+json (RFC 9457) with a reason.
"""

from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web

from afstand.limits import (
    ACKNOWLEDGEMENT_AGE_MS_MAX,
    ACKNOWLEDGEMENT_BYTES_MAX,
    ACKNOWLEDGEMENT_IDS_MAX,
    NOTIFY_LOG_CHECK_MS_MAX,
    NOTIFY_SETTLE_MS_MAX,
    RECEIPT_BY_CHARACTERS_MAX,
    RECEIPT_DETAIL_CHARACTERS_MAX,
)
from alerting.book.types import Receipt, ReceiptStatus
from alerting.notify.clock import Clock, within
from alerting.notify.metrics import NO_TARGET, Metrics
from alerting.notify.notifier import JournalReceipt
from alerting.notify.settings import Target
from alerting.notify.signing import HEADER_ID, Signer
from alerting.notify.source import DeliveryLog
from alerting.notify.webhook import plain_text

PATH: Final = "/v1/acknowledgements"
_ID_CHARACTERS_MAX: Final = 256


class AcknowledgementBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a receiver sends. `id` is the `webhook-id` of the notice it speaks of."""

    target: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,200}$")]
    status: Literal["acknowledged", "refused"]
    by: Annotated[str, msgspec.Meta(min_length=1, max_length=RECEIPT_BY_CHARACTERS_MAX)]
    detail: Annotated[str, msgspec.Meta(max_length=RECEIPT_DETAIL_CHARACTERS_MAX)] = ""


class Problem(StrEnum):
    """Why an acknowledgement was not taken; the last part of the problem's type."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    NOT_SIGNED = "not-signed"
    """No valid signature of that target, or no such target: which of them is not said."""
    NOT_YOURS = "not-yours"
    """The notice went to somebody else."""
    NOT_STORED = "not-stored"
    """The journal is away; to be tried again."""


_STATUS: Final = {
    Problem.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Problem.MALFORMED: HTTPStatus.BAD_REQUEST,
    Problem.NOT_SIGNED: HTTPStatus.UNAUTHORIZED,
    Problem.NOT_YOURS: HTTPStatus.FORBIDDEN,
    Problem.NOT_STORED: HTTPStatus.SERVICE_UNAVAILABLE,
}
_DECODER: Final = msgspec.json.Decoder(AcknowledgementBody)


class _Refusal(Exception):  # noqa: N818 - the end of a request, not a fault of ours
    def __init__(self, problem: Problem, detail: str, target: str = NO_TARGET) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.target = target


class Acknowledgements:
    """The endpoint; `routes` goes into an aiohttp application."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        receipts: JournalReceipt,
        log: DeliveryLog,
        clock: Clock,
        metrics: Metrics,
        *,
        tolerance_ms: int = ACKNOWLEDGEMENT_AGE_MS_MAX,
    ) -> None:
        self._signers = {
            name: Signer(target.secrets) for name, target in targets.items() if target.secrets
        }
        self._receipts = receipts
        self._log = log
        self._clock = clock
        self._metrics = metrics
        self._tolerance_ms = tolerance_ms
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        """Give the one route."""
        return [web.post(PATH, self.handle)]

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            target, duplicate = await self._take(request)
        except _Refusal as refusal:
            self._metrics.acknowledgements.labels(refusal.target, refusal.problem.value).inc()
            return _problem(refusal)
        result = "duplicate" if duplicate else "accepted"
        self._metrics.acknowledgements.labels(target, result).inc()
        return web.json_response({"status": "accepted", "duplicate": duplicate})

    async def _take(self, request: web.Request) -> tuple[str, bool]:
        """Give target and whether it was said before; raises _Refusal."""
        raw = await _read_bounded(request)
        try:
            said = _DECODER.decode(raw)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise _Refusal(Problem.MALFORMED, plain_text(str(error), 200)) from error
        signer = self._signers.get(said.target)
        if signer is None:
            raise _Refusal(Problem.NOT_SIGNED, "no matching signature")
        now_ms = self._clock.now_ms()
        fault = signer.fault(request.headers, raw, now_ms, self._tolerance_ms)
        if fault is not None:
            raise _Refusal(Problem.NOT_SIGNED, fault.value, said.target)
        message_id = request.headers[HEADER_ID][:_ID_CHARACTERS_MAX]
        if (said.target, message_id) in self._seen:
            return said.target, True
        await self._store(said, now_ms)
        self._seen[said.target, message_id] = None
        while len(self._seen) > ACKNOWLEDGEMENT_IDS_MAX:
            self._seen.popitem(last=False)
        return said.target, False

    async def _store(self, said: AcknowledgementBody, now_ms: int) -> None:
        status = ReceiptStatus(said.status)
        receipt = Receipt(
            key=said.id,
            status=status,
            target=said.target,
            by=plain_text(said.by, RECEIPT_BY_CHARACTERS_MAX),
            at_ms=now_ms,
            detail=plain_text(said.detail, RECEIPT_DETAIL_CHARACTERS_MAX),
        )
        if await self._target_of(said.id) not in {None, said.target}:
            raise _Refusal(Problem.NOT_YOURS, "that notice went to another", said.target)
        try:
            await within(self._clock, NOTIFY_SETTLE_MS_MAX, self._receipts(receipt))
        except Exception as error:
            self._metrics.settle_failures.labels("acknowledgement").inc()
            raise _Refusal(Problem.NOT_STORED, "try again", said.target) from error
        try:
            # An attempt that is still being repeated looks here and stops.
            noting = self._log.note(said.id, said.target, status)
            await within(self._clock, NOTIFY_SETTLE_MS_MAX, noting)
        except Exception:  # noqa: BLE001 - the receipt is durable; the log only saves copies
            self._metrics.settle_failures.labels("log-write").inc()

    async def _target_of(self, key: str) -> str | None:
        """Give whom a notice went to, as far as is remembered here; the alarm book knows."""
        try:
            looking = self._log.target_of(key)
            return await within(self._clock, NOTIFY_LOG_CHECK_MS_MAX, looking)
        except Exception:  # noqa: BLE001 - the receipt names the target: the book checks it again
            self._metrics.settle_failures.labels("log-read").inc()
            return None


async def _read_bounded(request: web.Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_chunked(4096):
        size += len(part)
        if size > ACKNOWLEDGEMENT_BYTES_MAX:
            raise _Refusal(Problem.TOO_LARGE, f"at most {ACKNOWLEDGEMENT_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def _problem(refusal: _Refusal) -> web.Response:
    status = _STATUS[refusal.problem]
    body = {
        "type": f"urn:nld:afstand:problem:{refusal.problem.value}",
        "title": refusal.problem.value,
        "status": int(status),
        "detail": refusal.detail,
    }
    headers = {"Retry-After": "1"} if refusal.problem is Problem.NOT_STORED else {}
    return web.Response(
        status=int(status),
        body=msgspec.json.encode(body),
        content_type="application/problem+json",
        headers=headers,
    )
