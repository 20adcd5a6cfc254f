"""Passwords (argon2id) and the second factor (TOTP, RFC 6238), with the secrets kept sealed."""

import os
import secrets
from typing import Final

import argon2
import pyotp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from afstand.limits import CONSOLE_PASSWORD_CHARACTERS_MAX, CONSOLE_PASSWORD_CHARACTERS_MIN

STEP_S: Final = 30
_NONCE_BYTES: Final = 12


class PasswordError(ValueError):
    """A password that is not taken; the message says why."""


class Passwords:
    """Hashes and checks. The cost is that of argon2-cffi's recommendation (RFC 9106)."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        # Checked against when there is no such account, so that the time taken tells nothing.
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        """The hash to keep. Raises PasswordError."""
        if len(password) < CONSOLE_PASSWORD_CHARACTERS_MIN:
            raise PasswordError(f"at least {CONSOLE_PASSWORD_CHARACTERS_MIN} characters")
        if len(password) > CONSOLE_PASSWORD_CHARACTERS_MAX:
            raise PasswordError(f"at most {CONSOLE_PASSWORD_CHARACTERS_MAX} characters")
        return self._hasher.hash(password)

    def matches(self, kept: str | None, password: str) -> bool:
        """Whether the password is the kept one. None: no such account; takes as long."""
        if len(password) > CONSOLE_PASSWORD_CHARACTERS_MAX:
            return False
        try:
            self._hasher.verify(kept or self._nobody, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return kept is not None


class Sealer:
    """Seals secrets under a key of 32 bytes (AES-GCM), each bound to the name it belongs to."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, name: str, secret: str) -> bytes:
        """The sealed form of a secret."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> str:
        """The reverse of `seal`. Raises ValueError for another name, key or bytes."""
        try:
            raw = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except InvalidTag:
            raise ValueError("sealed under another key, or altered") from None
        return raw.decode()


def new_totp_secret() -> str:
    """A secret for an authenticator app."""
    return pyotp.random_base32()


def totp_uri(secret: str, name: str) -> str:
    """What an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Afstand")


def totp_step(secret: str, code: str, now_s: int, last_step: int) -> int | None:
    """The time step of a good code, to be kept as `last_step`; None: wrong, or used before.

    One step early or late is taken; each code counts once.
    """
    if not (code.isascii() and code.isdigit() and len(code) == 6):
        return None
    totp = pyotp.TOTP(secret)
    for step in (now_s // STEP_S - 1, now_s // STEP_S, now_s // STEP_S + 1):
        if step > last_step and secrets.compare_digest(totp.at(step * STEP_S), code):
            return step
    return None
