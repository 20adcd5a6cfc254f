"""Standard Webhooks: the three headers of a signed message, and the check of those that come in.

The signature is made by the `standardwebhooks` library. The check is ours around the library's
signature: the library reads the machine's clock, has a fixed tolerance, and lets a malformed header
escape as an error of another kind.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from hmac import compare_digest
from typing import Final

from standardwebhooks import Webhook

HEADER_ID: Final = "webhook-id"
HEADER_TIMESTAMP: Final = "webhook-timestamp"
HEADER_SIGNATURE: Final = "webhook-signature"
_SIGNATURES_MAX: Final = 8
_TIMESTAMP_DIGITS_MAX: Final = 11


class SignatureFault(StrEnum):
    """Why a signed message is not believed."""

    HEADER_MISSING = "header-missing"
    TIMESTAMP_MALFORMED = "timestamp-malformed"
    TIMESTAMP_TOO_OLD = "timestamp-too-old"
    TIMESTAMP_TOO_NEW = "timestamp-too-new"
    BODY_NOT_TEXT = "body-not-text"
    NO_MATCH = "no-matching-signature"


class Signer:
    """Signs with every secret of a target, so that the receiver may rotate without a gap."""

    __slots__ = ("_hooks",)

    def __init__(self, secrets: Sequence[str]) -> None:
        self._hooks = [Webhook(secret) for secret in secrets]

    def headers(self, key: str, body: bytes, now_ms: int) -> dict[str, str]:
        """Give the three headers; `now_ms` is the time of the attempt, not of the event."""
        at = datetime.fromtimestamp(now_ms // 1000, UTC)
        text = body.decode("utf-8")
        return {
            HEADER_ID: key,
            HEADER_TIMESTAMP: str(now_ms // 1000),
            HEADER_SIGNATURE: " ".join([hook.sign(key, at, text) for hook in self._hooks]),
        }

    def fault(
        self, headers: Mapping[str, str], body: bytes, now_ms: int, tolerance_ms: int
    ) -> SignatureFault | None:
        """Give the reason not to believe a message; None when it is signed, and recently.

        `headers` is looked up by lower-case names (aiohttp's are case-insensitive).
        """
        key, stamp, passed = (
            headers.get(name, "") for name in (HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE)
        )
        if not (key and stamp and passed):
            return SignatureFault.HEADER_MISSING
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= _TIMESTAMP_DIGITS_MAX):
            return SignatureFault.TIMESTAMP_MALFORMED
        age_ms = now_ms - int(stamp) * 1000
        if age_ms > tolerance_ms:
            return SignatureFault.TIMESTAMP_TOO_OLD
        if age_ms < -tolerance_ms:
            return SignatureFault.TIMESTAMP_TOO_NEW
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return SignatureFault.BODY_NOT_TEXT
        at = datetime.fromtimestamp(int(stamp), UTC)
        given = [signature.encode() for signature in passed.split(" ")[:_SIGNATURES_MAX]]
        for hook in self._hooks:
            expected = hook.sign(key, at, text).encode()
            if any(compare_digest(expected, signature) for signature in given):
                return None
        return SignatureFault.NO_MATCH
