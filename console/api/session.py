"""Signing in and out, the lock on the screen."""

import asyncio
import hmac

import msgspec
from starlette.responses import RedirectResponse, Response

from alerting.book.roles import RIGHTS
from console.access.gate import SignedIn, SignInFault
from console.access.oidc import OidcError
from console.access.store import Session
from console.api.http import Answer, Call, NoBody, Route, address_of
from console.api.problems import Code, Problem

_STATE_COOKIE = "afstand-oidc"


class SignInBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name, password and the code of the authenticator app, all at once."""

    name: str
    password: str
    code: str


class UnlockBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password of whoever is signed in."""

    password: str


class CallbackQuery(msgspec.Struct, frozen=True):
    """What the provider sends the browser back with; what else it adds is not ours."""

    state: str = ""
    code: str = ""
    error: str = ""


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in, and what they may. `csrf_token` goes into the header X-CSRF-Token."""

    name: str
    role: str
    source: str
    rights: tuple[str, ...]
    locked: bool
    csrf_token: str
    expires_ms: int


class SignInView(msgspec.Struct, frozen=True, kw_only=True):
    """How one can sign in here."""

    local_accounts: bool
    oidc: bool
    language: str
    site_name: str


def _view(call: Call, session: Session) -> SessionView:
    hours = call.services.session_h_max
    return SessionView(
        name=session.name,
        role=session.role.value,
        source=session.source,
        rights=tuple(sorted(right.value for right in RIGHTS[session.role])),
        locked=session.locked,
        csrf_token=session.csrf,
        expires_ms=session.created_ms + hours * 3_600_000,
    )


def _with_cookie(call: Call, response: Response, token: str) -> None:
    response.set_cookie(
        call.services.cookie,
        token,
        path="/",
        httponly=True,
        secure=call.services.settings.secure,
        samesite="strict",
    )


async def show(call: Call) -> SessionView:
    """Who is signed in."""
    return _view(call, call.session)


async def ways(call: Call) -> SignInView:
    """How one can sign in here."""
    settings = call.services.settings
    return SignInView(
        local_accounts=settings.local_accounts,
        oidc=call.services.oidc is not None,
        language=settings.language,
        site_name=settings.site_name,
    )


async def sign_in(call: Call) -> Response:
    """Sign in with a local account."""
    services, said, now_ms = call.services, call.body, call.now_ms
    if not services.settings.local_accounts:
        raise Problem(Code.FORBIDDEN, "there are no local accounts here")
    name = said.name.strip()[:64]
    wait_s = services.gate.may_attempt(name, address_of(call.request), now_ms)
    if wait_s:
        services.metrics.sign_ins.labels("too-many").inc()
        raise Problem(Code.TOO_MANY, retry_after_s=wait_s)
    role = await asyncio.to_thread(services.gate.check, name, said.password, said.code, now_ms)
    if role is None:
        services.metrics.sign_ins.labels("wrong").inc()
        raise Problem(Code.WRONG)
    if call.signed_in is not None:
        services.gate.end(call.signed_in)
    opened = services.gate.open(name, role, "local", now_ms)
    return _opened(call, opened)


def _opened(call: Call, opened: SignedIn | SignInFault) -> Response:
    if isinstance(opened, SignInFault):
        raise Problem(Code.LIMIT, opened.value)
    call.services.metrics.sign_ins.labels("good").inc()
    call.services.duty_changed(call.now_ms)
    response = Response(
        msgspec.json.encode(_view(call, opened.session)),
        status_code=201,
        media_type="application/json",
        headers={"Cache-Control": "no-store", "Location": "/v1/session"},
    )
    _with_cookie(call, response, opened.token)
    return response


async def sign_out(call: Call) -> Answer:
    """Sign out."""
    call.services.gate.end(call.session)
    call.services.duty_changed(call.now_ms)
    gone = f"{call.services.cookie}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    return Answer(None, 204, {"Set-Cookie": gone + ("; Secure" * call.services.settings.secure)})


async def lock(call: Call) -> SessionView:
    """Lock the screen."""
    call.services.gate.lock(call.session)
    return _view(call, call.session)


async def unlock(call: Call) -> SessionView:
    """Open a locked screen with the password."""
    services, session = call.services, call.session
    wait_s = services.gate.may_attempt(session.name, address_of(call.request), call.now_ms)
    if wait_s:
        raise Problem(Code.TOO_MANY, retry_after_s=wait_s)
    if session.source != "local":
        raise Problem(Code.CONFLICT, "sign in again by the provider")
    good = await asyncio.to_thread(services.gate.knows_password, session.name, call.body.password)
    if not good:
        raise Problem(Code.WRONG)
    services.gate.unlock(session, call.now_ms)
    return _view(call, session)


def _redirect_uri(call: Call) -> str:
    return f"{call.services.origin(call.request)}/v1/session/oidc/callback"


async def oidc_begin(call: Call) -> Response:
    """Go to the provider."""
    if call.services.oidc is None:
        raise Problem(Code.NOT_FOUND, "no provider is configured")
    try:
        address, state = await call.services.oidc.begin(_redirect_uri(call))
    except OidcError as error:
        raise Problem(Code.UNAVAILABLE, str(error)) from None
    response = RedirectResponse(address, status_code=302)
    # Lax: the provider's redirect back to us is a navigation from another site.
    response.set_cookie(
        _STATE_COOKIE,
        state,
        max_age=600,
        path="/v1/session/oidc",
        httponly=True,
        secure=call.services.settings.secure,
        samesite="lax",
    )
    return response


async def oidc_finish(call: Call) -> Response:
    """Come back from the provider."""
    if call.services.oidc is None:
        raise Problem(Code.NOT_FOUND, "no provider is configured")
    kept = call.request.cookies.get(_STATE_COOKIE, "")
    said = call.query
    if not kept or not hmac.compare_digest(kept.encode(), said.state.encode()):
        raise Problem(Code.FOREIGN, "this sign-in has not begun in this browser")
    if said.error or not said.code:
        raise Problem(Code.WRONG, "the provider signed nobody in")
    try:
        name, role = await call.services.oidc.finish(_redirect_uri(call), said.state, said.code)
    except OidcError as error:
        call.services.metrics.sign_ins.labels("wrong").inc()
        raise Problem(Code.WRONG, str(error)) from None
    opened = call.services.gate.open(name, role, "oidc", call.now_ms)
    if isinstance(opened, SignInFault):
        raise Problem(Code.LIMIT, opened.value)
    call.services.metrics.sign_ins.labels("good").inc()
    call.services.duty_changed(call.now_ms)
    # A page of ours, not a redirect: a strict cookie is not sent on the way from another site.
    response = Response(
        '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>Afstand</title>',
        media_type="text/html",
        headers={"Cache-Control": "no-store"},
    )
    _with_cookie(call, response, opened.token)
    response.delete_cookie(_STATE_COOKIE, path="/v1/session/oidc")
    return response


ROUTES = (
    Route("GET", "/v1/session", "show-session", "Who is signed in", show,
          answer=SessionView, locked=True, tag="session"),
    Route("POST", "/v1/session", "sign-in", "Sign in with a local account", sign_in,
          rights=None, body=SignInBody, answer=SessionView, statuses=(201,), tag="session"),
    Route("DELETE", "/v1/session", "sign-out", "Sign out", sign_out,
          statuses=(204,), locked=True, tag="session"),
    Route("POST", "/v1/session/lock", "lock-session", "Lock the screen", lock,
          body=NoBody, answer=SessionView, locked=True, tag="session"),
    Route("POST", "/v1/session/unlock", "unlock-session", "Open a locked screen", unlock,
          body=UnlockBody, answer=SessionView, locked=True, tag="session"),
    Route("GET", "/v1/session/ways", "sign-in-ways", "How one can sign in here", ways,
          rights=None, answer=SignInView, tag="session"),
    Route("GET", "/v1/session/oidc", "oidc-begin", "Sign in by the provider", oidc_begin,
          rights=None, statuses=(302,), tag="session"),
    Route("GET", "/v1/session/oidc/callback", "oidc-finish", "Back from the provider", oidc_finish,
          rights=None, query=CallbackQuery, statuses=(200,), tag="session"),
)  # fmt: skip
