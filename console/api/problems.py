"""Errors of the API as RFC 9457 problem details, each with an enumerated code."""

from enum import StrEnum
from typing import Any, Final

import msgspec
from starlette.responses import Response

PROBLEM_TYPE: Final = "application/problem+json"
API_VERSION: Final = "1.0.0"


class Code(StrEnum):
    """Why a request was not done."""

    MALFORMED = "malformed"
    NOT_FOUND = "not-found"
    METHOD = "method-not-allowed"
    NOT_SIGNED_IN = "not-signed-in"
    LOCKED = "session-locked"
    WRONG = "wrong-name-password-or-code"
    FORBIDDEN = "right-missing"
    FOREIGN = "foreign-origin"
    CSRF = "csrf-token-missing-or-wrong"
    TOO_MANY = "too-many-requests"
    TOO_LARGE = "too-large"
    MEDIA_TYPE = "unsupported-media-type"
    REASON = "reason-needed"
    REFUSED = "refused-by-the-watch"
    CONFLICT = "conflict"
    UNAVAILABLE = "store-unavailable"
    STARTING = "not-caught-up"
    LIMIT = "limit-reached"
    FAULT = "fault-of-the-program"


_STATUS: Final = {
    Code.MALFORMED: 400,
    Code.NOT_FOUND: 404,
    Code.METHOD: 405,
    Code.NOT_SIGNED_IN: 401,
    Code.LOCKED: 401,
    Code.WRONG: 401,
    Code.FORBIDDEN: 403,
    Code.FOREIGN: 403,
    Code.CSRF: 403,
    Code.TOO_MANY: 429,
    Code.TOO_LARGE: 413,
    Code.MEDIA_TYPE: 415,
    Code.REASON: 403,
    Code.REFUSED: 409,
    Code.CONFLICT: 409,
    Code.UNAVAILABLE: 503,
    Code.STARTING: 503,
    Code.LIMIT: 422,
    Code.FAULT: 500,
}
_TITLES: Final = {
    Code.MALFORMED: "The request cannot be read",
    Code.NOT_FOUND: "There is no such thing",
    Code.METHOD: "This method is not known here",
    Code.NOT_SIGNED_IN: "Sign in first",
    Code.LOCKED: "The session is locked",
    Code.WRONG: "Name, password or code is wrong",
    Code.FORBIDDEN: "Your role may not do this",
    Code.FOREIGN: "The request comes from another site",
    Code.CSRF: "The request carries no token of this session",
    Code.TOO_MANY: "Too many requests",
    Code.TOO_LARGE: "The request is too large",
    Code.MEDIA_TYPE: "Send JSON",
    Code.REASON: "Say why you look this up",
    Code.REFUSED: "The watch did not take the command",
    Code.CONFLICT: "This does not fit what is there",
    Code.UNAVAILABLE: "The store does not answer",
    Code.STARTING: "The console is still reading what happened",
    Code.LIMIT: "A limit was reached",
    Code.FAULT: "The console failed",
}


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with a request, by field."""

    field: str
    reason: str
    detail: str = ""


class ProblemView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem as it is sent. `code` is for programs, `detail` for a person."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldError, ...] = ()


class Problem(Exception):  # noqa: N818 - named after what RFC 9457 calls it
    """A request that is answered with a problem."""

    def __init__(
        self,
        code: Code,
        detail: str = "",
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _STATUS[self.code]

    def response(self, instance: str) -> Response:
        """The answer."""
        view = ProblemView(
            type=f"urn:afstand:problem:{self.code}",
            title=_TITLES[self.code],
            status=self.status,
            code=self.code.value,
            detail=self.detail,
            instance=instance,
            errors=self.errors,
        )
        headers: dict[str, Any] = {"API-Version": API_VERSION, "Cache-Control": "no-store"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after_s)))
        return Response(
            msgspec.json.encode(view),
            status_code=self.status,
            headers=headers,
            media_type=PROBLEM_TYPE,
        )
