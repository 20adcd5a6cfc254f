"""From a request to a call of a handler, and back: one way for every route.

A route says in one place its path, who may use it, what it takes and what it gives. The dispatcher,
the OpenAPI document and the table of rights are all made from that.
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from afstand.limits import CONSOLE_BODY_BYTES_MAX, CONSOLE_CONSULT_AGAIN_MS
from alerting.book.roles import RIGHTS, Right
from console.access.store import Session
from console.api.problems import API_VERSION, Code, FieldError, Problem
from console.api.services import Services

log = structlog.get_logger()
BACKGROUND_HEADER: Final = "x-background"
"""Set by the page on requests that no person's doing caused: they keep no session alive."""
CSRF_HEADER: Final = "x-csrf-token"
SAFE: Final = ("GET", "HEAD")

_Body = TypeVar("_Body")


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing."""


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing."""


class Call:
    """One request on its way to a handler."""

    def __init__(
        self, services: Services, request: Request, session: Session | None, query: Any, body: Any
    ) -> None:
        self.services = services
        self.request = request
        self._session = session
        self.query = query
        self.body = body

    @property
    def session(self) -> Session:
        """Who asks. Routes that anybody may use have none."""
        if self._session is None:
            raise Problem(Code.NOT_SIGNED_IN)
        return self._session

    @property
    def signed_in(self) -> Session | None:
        """Who asks, if anybody."""
        return self._session

    @property
    def rights(self) -> frozenset[Right]:
        """What whoever asks may see and do."""
        return RIGHTS[self.session.role]

    @property
    def now_ms(self) -> int:
        """The journal's time."""
        return self.services.link.now_ms()

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def need(self, right: Right) -> None:
        """Raise the problem of a missing right."""
        if right not in self.rights:
            raise Problem(Code.FORBIDDEN, f"needs the right {right.value}")

    async def consult(
        self, what: str, persons: tuple[str, ...], *, incident_id: str = "", reason: str = ""
    ) -> None:
        """Log that somebody looks, before anything is shown. Once in ten minutes for the same."""
        await self.services.consultations.log(
            self.session,
            what,
            persons,
            self.now_ms,
            incident_id=incident_id,
            reason=reason,
            again_ms=CONSOLE_CONSULT_AGAIN_MS,
        )


class Answer(NamedTuple):
    """What a handler gives when 200 and a body are not enough."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = {}


Handler = Callable[[Call], Awaitable[Any]]


class Route(NamedTuple):
    """One operation of the API.

    `rights`: any of them suffices; empty: everybody who is signed in; None: everybody. `stream`:
    the answer is a stream of events. `locked`: allowed while the screen is locked. `statuses`:
    what may be answered besides 200 and the problems.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    rights: tuple[Right, ...] | None = ()
    answer: Any = None
    query: Any = NoQuery
    body: Any = None
    tag: str = ""
    locked: bool = False
    stream: bool = False
    statuses: tuple[int, ...] = (200,)
    masks: str = ""
    """What is left out for roles without further rights, in words, for the table of rights."""


def endpoint(
    services: Services, routes: Mapping[str, Route]
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of one path, for all of its methods."""

    async def serve(request: Request) -> Response:
        started = time.perf_counter()
        method = "GET" if request.method == "HEAD" else request.method
        route = routes.get(method)
        try:
            response = await _serve(services, route, routes, request)
        except Problem as problem:
            response = problem.response(request.url.path)
            if route is None:
                response.headers["Allow"] = ", ".join(sorted(routes))
        except Exception as error:
            # The route: a path can hold the id of a person.
            asked = route or next(iter(routes.values()))
            log.error("request failed", route=asked.path, error=type(error).__name__)
            if services.debug:
                raise
            response = Problem(Code.FAULT).response(request.url.path)
        services.metrics.seen(route.name if route else "-", response.status_code, started)
        return response

    return serve


async def _serve(
    services: Services, route: Route | None, routes: Mapping[str, Route], request: Request
) -> Response:
    if route is None:
        raise Problem(Code.METHOD, f"here: {', '.join(sorted(routes))}")
    session = _session_of(services, route, request)
    if request.method not in SAFE:
        _check_origin(services, request)
        if session is not None and route.rights is not None:
            _check_csrf(session, request)
    query = _query(route, request)
    body = await _body(route, request) if route.body is not None else None
    given = await route.handler(Call(services, request, session, query, body))
    if isinstance(given, Response):
        return given
    answer = given if isinstance(given, Answer) else Answer(given)
    headers = {"API-Version": API_VERSION, "Cache-Control": "no-store", **answer.headers}
    if answer.status == 204:
        return Response(status_code=204, headers=headers)
    return Response(
        msgspec.json.encode(answer.body),
        status_code=answer.status,
        headers=headers,
        media_type="application/json",
    )


def _session_of(services: Services, route: Route, request: Request) -> Session | None:
    now_ms = services.link.now_ms()
    token = request.cookies.get(services.cookie)
    active = BACKGROUND_HEADER not in request.headers and not route.stream
    session = services.gate.session(token, now_ms, active=active) if token else None
    key = session.token.hex() if session else f"from {address_of(request)}"
    wait_s = services.gate.may_request(key, now_ms)
    if wait_s:
        raise Problem(Code.TOO_MANY, retry_after_s=wait_s)
    if route.rights is None:
        return session
    if session is None:
        raise Problem(Code.NOT_SIGNED_IN)
    if session.locked and not route.locked:
        raise Problem(Code.LOCKED)
    if route.rights and not RIGHTS[session.role].intersection(route.rights):
        needed = " or ".join(right.value for right in route.rights)
        raise Problem(Code.FORBIDDEN, f"needs the right {needed}")
    return session


def address_of(request: Request) -> str:
    """Where a request comes from, as the server (or the proxy that it trusts) says it."""
    return request.client.host if request.client else "-"


def _check_origin(services: Services, request: Request) -> None:
    """A browser says from which site a request comes; only our own may change anything."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise Problem(Code.FOREIGN)
    origin = request.headers.get("origin")
    if origin is not None and origin != services.origin(request):
        raise Problem(Code.FOREIGN, "the Origin header names another site")


def _check_csrf(session: Session, request: Request) -> None:
    given = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise Problem(Code.CSRF)


def _query(route: Route, request: Request) -> Any:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise _malformed(f"{name} stands twice", f"query.{name}")
        given[name] = value
    try:
        return msgspec.convert(given, route.query, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid("query", error) from None


async def _body(route: Route, request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/geo+json"):
        raise Problem(Code.MEDIA_TYPE)
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > CONSOLE_BODY_BYTES_MAX:
            raise Problem(Code.TOO_LARGE, f"at most {CONSOLE_BODY_BYTES_MAX} bytes")
    return read_json(bytes(raw), route.body)


def read_json(raw: bytes, kind: type[_Body]) -> _Body:
    """A body as a record. Raises Problem with the field that is wrong."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid("body", error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from None


def _invalid(where: str, error: msgspec.ValidationError) -> Problem:
    reason, _, place = str(error).partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    field = ".".join(part for part in (where, path) if part)
    return Problem(Code.MALFORMED, errors=(FieldError(field, reason),))


def _malformed(reason: str, field: str = "body") -> Problem:
    return Problem(Code.MALFORMED, errors=(FieldError(field, reason),))
