"""Receivers that play a police control room and a probation service.

They do what a good receiver does, with other means than the sender: check the signature with the
standardwebhooks library's own verifier, check the structure of CAP 1.2 or CloudEvents, recognise a
copy by its id, and acknowledge. They can also be bad receivers: hang, fail, answer nonsense. What
arrived, and when, stays in a list for the demo and for tests.
"""

import asyncio
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

import aiohttp
import msgspec
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.exceptions import BaseCloudEventException
from standardwebhooks import Webhook, WebhookVerificationError

from afstand.limits import RECEIVER_ARRIVALS_MAX, RECEIVER_BODY_BYTES_MAX

CAP: Final = "{urn:oasis:names:tc:emergency:cap:1.2}"
_CAP_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d", re.ASCII)
_CAP_NAME: Final = re.compile(r"[^\s,<&]+")
_CIRCLE: Final = re.compile(r"-?\d{1,2}(\.\d+)?,-?\d{1,3}(\.\d+)? \d+(\.\d+)?", re.ASCII)
_CAP_ONE_OF: Final[dict[str, frozenset[str]]] = {
    "status": frozenset({"Actual", "Exercise", "System", "Test", "Draft"}),
    "msgType": frozenset({"Alert", "Update", "Cancel", "Ack", "Error"}),
    "scope": frozenset({"Public", "Restricted", "Private"}),
    "urgency": frozenset({"Immediate", "Expected", "Future", "Past", "Unknown"}),
    "severity": frozenset({"Extreme", "Severe", "Moderate", "Minor", "Unknown"}),
    "certainty": frozenset({"Observed", "Likely", "Possible", "Unlikely", "Unknown"}),
}
_SOURCE: Final = re.compile(r"urn:nld:oin:\d{20}:systeem:[A-Za-z0-9-]+", re.ASCII)
_TYPE: Final = re.compile(r"nl(\.[a-z0-9-]+)+", re.ASCII)
_PLACE_WORDS: Final = ("lat", "lon", "position", "distance", "protected")


class Kind(StrEnum):
    """What a receiver understands."""

    CAP = "cap"
    EVENTS = "cloudevents"


class Mode(StrEnum):
    """How a receiver behaves; may be changed while it runs."""

    GOOD = "good"
    HANG = "hang"
    """Takes the request and never answers."""
    ERROR = "error"
    """500 to everything."""
    FLAKY = "flaky"
    """500 to half of all calls, by the receiver's own seed."""
    SLOW = "slow"
    """Good, after `slow_ms`."""
    RESET = "reset"
    """Closes the connection without an answer."""
    REFUSE = "refuse"
    """422 to everything."""
    BUSY = "busy"
    """429 with Retry-After."""
    NONSENSE = "nonsense"
    """Takes the message, and answers 200 with a body that is no JSON although it says so."""
    DEAF_ONCE = "deaf-once"
    """Takes each message in, but closes the connection the first time instead of answering."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One message that was signed and in order. `arrived_ms` is wall time."""

    receiver: str
    id: str
    arrived_ms: int
    duplicate: bool
    """An earlier message had this id."""
    purpose: str
    """CAP: msgType in lower case; CloudEvents: the purpose in the data."""
    status: str
    """CAP status in lower case; CloudEvents: `exercise` or `actual`."""
    alarm_class: str
    incident: str
    fields: dict[str, str]
    """CAP parameters; CloudEvents: the data, as text."""
    body: bytes


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One message that a good receiver does not take, and why."""

    receiver: str
    arrived_ms: int
    problem: str
    body: bytes


class MessageProblem(Exception):  # noqa: N818 - a finding about a message, not a fault of ours
    """The message is not what the contract says."""


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    purpose: str
    status: str
    alarm_class: str
    incident: str
    fields: dict[str, str]


class Receiver:
    """One receiver: an HTTP server of its own, or a handler in somebody else's application."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        secrets: Sequence[str],
        *,
        mode: Mode = Mode.GOOD,
        slow_ms: int = 500,
        acknowledge_in_answer: bool = False,
        acknowledge_after_ms: int | None = None,
        acknowledge_url: str | None = None,
        by: str = "centralist-1",
        seed: int = 0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Behave as told; `acknowledge_after_ms` calls `acknowledge_url` for each new message."""
        self.name = name
        self.kind = kind
        self.mode = mode
        self.slow_ms = slow_ms
        self.acknowledge_in_answer = acknowledge_in_answer
        self.acknowledge_after_ms = acknowledge_after_ms
        self.acknowledge_url = acknowledge_url
        self.by = by
        self.arrivals: deque[Arrival] = deque(maxlen=RECEIVER_ARRIVALS_MAX)
        self.refusals: deque[Refusal] = deque(maxlen=RECEIVER_ARRIVALS_MAX)
        self.calls = 0
        """Requests of any kind, also those that a bad mode answered."""
        self._hooks = [Webhook(secret) for secret in secrets]
        self._random = random.Random(seed)
        self._now_ms = now_ms
        self._seen: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve at the root of an address of its own; gives that address."""
        application = web.Application(client_max_size=RECEIVER_BODY_BYTES_MAX)
        application.router.add_post("/", self.handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        _, real_port, *_ = self._runner.addresses[0]
        self.url = f"http://{host}:{real_port}/"
        return self.url

    async def stop(self) -> None:
        """Close the server; acknowledgements that are still to come are dropped."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def ids(self) -> list[str]:
        """The ids that arrived, each once, in order."""
        return list(self._seen)

    def times_of(self, message_id: str) -> int:
        """Say how often a message arrived."""
        return self._seen[message_id]

    async def wait_until(self, done: Callable[["Receiver"], bool], timeout_s: float = 10.0) -> None:
        """Wait until `done(self)`, looked at after each arrival; TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            while not done(self):
                self._news.clear()
                await self._news.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request as the mode says."""
        self.calls += 1
        body = await request.read()
        bad = await self._behave(request)
        if bad is not None:
            return bad
        arrived_ms = self._now_ms()
        try:
            self._verify(body, request.headers)
            read = read_cap(body) if self.kind is Kind.CAP else read_event(body, request.headers)
            self._check_id(read, request.headers["webhook-id"])
        except MessageProblem as problem:
            self.refusals.append(
                Refusal(receiver=self.name, arrived_ms=arrived_ms, problem=str(problem), body=body)
            )
            self._news.set()
            signed = not str(problem).startswith("signature")
            return web.json_response({"problem": str(problem)}, status=400 if signed else 401)
        return self._take(request, request.headers["webhook-id"], read, body, arrived_ms)

    def _take(
        self, request: web.Request, message_id: str, read: _Read, body: bytes, arrived_ms: int
    ) -> web.StreamResponse:
        duplicate = self._seen[message_id] > 0
        self._seen[message_id] += 1
        self.arrivals.append(
            Arrival(
                receiver=self.name,
                id=message_id,
                arrived_ms=arrived_ms,
                duplicate=duplicate,
                purpose=read.purpose,
                status=read.status,
                alarm_class=read.alarm_class,
                incident=read.incident,
                fields=read.fields,
                body=body,
            )
        )
        self._news.set()
        if self.mode is Mode.DEAF_ONCE and not duplicate:
            return _hang_up(request)
        if self.acknowledge_after_ms is not None and not duplicate:
            self._acknowledge_later(message_id)
        if self.mode is Mode.NONSENSE:
            return web.Response(text="<<none>>", content_type="application/json")
        if self.acknowledge_in_answer:
            return web.json_response({"status": "acknowledged", "by": self.by})
        return web.json_response({"status": "accepted"}, status=202)

    async def _behave(self, request: web.Request) -> web.StreamResponse | None:
        if self.mode is Mode.HANG:
            await asyncio.sleep(3600)
        if self.mode is Mode.SLOW:
            await asyncio.sleep(self.slow_ms / 1000)
        if self.mode is Mode.RESET:
            return _hang_up(request)
        if self.mode is Mode.ERROR or (self.mode is Mode.FLAKY and self._random.random() < 0.5):
            return web.Response(status=500)
        if self.mode is Mode.REFUSE:
            return web.Response(status=422)
        if self.mode is Mode.BUSY:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return None

    def _verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        problem = "no secret"
        for hook in self._hooks:
            try:
                hook.verify(body, dict(headers), json_parse=False)
            except (WebhookVerificationError, ValueError) as error:
                problem = str(error)
            else:
                return
        msg = f"signature: {problem}"
        raise MessageProblem(msg)

    def _check_id(self, read: _Read, message_id: str) -> None:
        if not read.id.endswith(message_id):
            msg = f"id {read.id!r} of the message does not come from webhook-id {message_id!r}"
            raise MessageProblem(msg)

    def _acknowledge_later(self, message_id: str) -> None:
        task = asyncio.create_task(self._acknowledge(message_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _acknowledge(self, message_id: str) -> None:
        assert self.acknowledge_after_ms is not None
        await asyncio.sleep(self.acknowledge_after_ms / 1000)
        if self.acknowledge_url is not None:
            await self.acknowledge(message_id)

    async def acknowledge(self, message_id: str, status: str = "acknowledged") -> int:
        """Say over HTTP that a message was taken on; gives the status of the answer."""
        assert self.acknowledge_url is not None
        said = {"target": self.name, "id": message_id, "status": status, "by": self.by}
        body = msgspec.json.encode(said)
        at = datetime.fromtimestamp(self._now_ms() // 1000, UTC)
        own_id = f"ack-{self.name}-{message_id}"
        headers = {
            "Content-Type": "application/json",
            "webhook-id": own_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._hooks[0].sign(own_id, at, body.decode()),
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.acknowledge_url, data=body, headers=headers) as response,
        ):
            return response.status


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


class _NoDoctype(TreeBuilder):
    """A tree without document types: they are how hostile XML makes a parser work for ever."""

    def doctype(self, *_: str | None) -> None:
        msg = "document type in a CAP message"
        raise MessageProblem(msg)


def read_cap(body: bytes) -> _Read:
    """Check a CAP 1.2 message as far as one can without its schema; raises MessageProblem."""
    parser = XMLParser(target=_NoDoctype())  # noqa: S314 - signed, bounded, and no document type
    try:
        parser.feed(body)
        alert: Element = parser.close()
    except (ParseError, ValueError) as error:
        msg = f"no XML: {error}"
        raise MessageProblem(msg) from error
    if alert.tag != f"{CAP}alert":
        msg = f"root element is {alert.tag}"
        raise MessageProblem(msg)
    identifier, sender = _one(alert, "identifier"), _one(alert, "sender")
    if not (_CAP_NAME.fullmatch(identifier) and _CAP_NAME.fullmatch(sender)):
        msg = "identifier and sender are one word each"
        raise MessageProblem(msg)
    if not _CAP_TIME.fullmatch(_one(alert, "sent")):
        msg = "sent is no CAP time"
        raise MessageProblem(msg)
    status, message_type = _one(alert, "status"), _one(alert, "msgType")
    needed = {"Restricted": "restriction", "Private": "addresses"}.get(_one(alert, "scope"))
    if needed is not None:
        _one(alert, needed)
    infos = alert.findall(f"{CAP}info")
    if not infos:
        msg = "no info"
        raise MessageProblem(msg)
    for info in infos:
        _check_info(info)
    fields = {
        _one(parameter, "valueName"): _one(parameter, "value")
        for parameter in infos[0].findall(f"{CAP}parameter")
    }
    return _Read(
        id=identifier,
        purpose=message_type.lower(),
        status=status.lower(),
        alarm_class=fields.get("alarm-class", ""),
        incident=_one(alert, "incidents"),
        fields=fields,
    )


def _check_info(info: Element) -> None:
    for name in ("category", "event", "urgency", "severity", "certainty", "headline"):
        _one(info, name)
    for area in info.findall(f"{CAP}area"):
        _one(area, "areaDesc")
        for circle in area.findall(f"{CAP}circle"):
            if not _CIRCLE.fullmatch(circle.text or ""):
                msg = f"circle {circle.text!r}"
                raise MessageProblem(msg)


def _one(parent: Element, name: str) -> str:
    """Give the text of the first child of a name; it must be there, filled, and one of its list."""
    text = (parent.findtext(f"{CAP}{name}") or "").strip()
    if not text:
        msg = f"{name} is missing or empty"
        raise MessageProblem(msg)
    if name in _CAP_ONE_OF and text not in _CAP_ONE_OF[name]:
        msg = f"{name} is {text!r}"
        raise MessageProblem(msg)
    return text


def read_event(body: bytes, headers: Mapping[str, str]) -> _Read:
    """Check a CloudEvent in either mode against the NL GOV profile; raises MessageProblem."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        event = from_http_event(HTTPMessage(headers=lower, body=body))
    except (BaseCloudEventException, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"no CloudEvent: {error}"
        raise MessageProblem(msg) from error
    attributes: dict[str, Any] = event.get_attributes()
    if not _SOURCE.fullmatch(str(attributes.get("source"))):
        msg = f"source is {attributes.get('source')!r}"
        raise MessageProblem(msg)
    if not _TYPE.fullmatch(str(attributes.get("type"))):
        msg = f"type is {attributes.get('type')!r}"
        raise MessageProblem(msg)
    if event.get_time() is None:
        msg = "no time"
        raise MessageProblem(msg)
    data = event.get_data()
    if not isinstance(data, dict):
        msg = "data is no object"
        raise MessageProblem(msg)
    told = [name for name in data if any(word in name for word in _PLACE_WORDS)]
    if told:
        msg = f"too much is told: {', '.join(told)}"
        raise MessageProblem(msg)
    return _Read(
        id=str(attributes["id"]),
        purpose=str(data.get("purpose", "")),
        status="exercise" if data.get("drill") else "actual",
        alarm_class=str(data.get("alarm_class", "")),
        incident=str(data.get("incident", "")),
        fields={name: str(value) for name, value in data.items()},
    )
