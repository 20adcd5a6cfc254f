"""Sign-in by an OpenID Connect provider: authorization code with PKCE, state and nonce.

The provider says who somebody is and which groups they are in; which role a group has is said by
the configuration. A group that is not named there has none.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx2
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from afstand.limits import CONSOLE_OIDC_FLOWS_MAX, CONSOLE_OIDC_TIMEOUT_S
from alerting.book.roles import Role
from console.settings import OidcSettings

FLOW_S: Final = 600
_KEYS_S: Final = 3_600
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")


class OidcError(Exception):
    """Nobody is signed in; the message says why, without anything secret."""


class Flow(NamedTuple):
    """A sign-in that has begun."""

    nonce: str
    verifier: str
    started_s: float


class Oidc:
    """One provider."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._flows: dict[str, Flow] = {}
        self._provider: Mapping[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_at_s = 0.0
        self._lock = asyncio.Lock()

    async def begin(self, redirect_uri: str) -> tuple[str, str]:
        """The address to send the browser to, and the state to keep in it. Raises OidcError."""
        provider = await self._discovered()
        now_s = time.monotonic()
        self._flows = {s: f for s, f in self._flows.items() if now_s - f.started_s < FLOW_S}
        if len(self._flows) >= CONSOLE_OIDC_FLOWS_MAX:
            raise OidcError("too many sign-ins have begun")
        verifier, nonce = generate_token(64), generate_token(32)
        async with self._client(redirect_uri) as client:
            address, state = client.create_authorization_url(
                provider["authorization_endpoint"], code_verifier=verifier, nonce=nonce
            )
        self._flows[state] = Flow(nonce, verifier, now_s)
        return str(address), str(state)

    async def finish(self, redirect_uri: str, state: str, code: str) -> tuple[str, Role]:
        """The name and role of whoever the provider signed in. Raises OidcError."""
        flow = self._flows.pop(state, None)
        if flow is None or time.monotonic() - flow.started_s > FLOW_S:
            raise OidcError("this sign-in has not begun here, or is too old")
        provider = await self._discovered()
        try:
            async with self._client(redirect_uri) as client:
                token = await client.fetch_token(
                    provider["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                )
        except (OAuthError, httpx2.HTTPError) as error:
            raise OidcError(f"the provider gave no token: {type(error).__name__}") from None
        claims = await self._claims(str(token.get("id_token", "")), flow.nonce)
        return self._name_and_role(claims)

    def _client(self, redirect_uri: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._settings.client_id,
            self._settings.client_secret,
            scope=self._settings.scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=CONSOLE_OIDC_TIMEOUT_S,
        )

    async def _discovered(self) -> Mapping[str, Any]:
        """The provider's endpoints and keys, asked once an hour."""
        async with self._lock:
            if self._keys is None or time.monotonic() - self._keys_at_s > _KEYS_S:
                where = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                self._provider = await self._get(where)
                if self._provider.get("issuer") != self._settings.issuer:
                    raise OidcError("the provider calls itself by another name than configured")
                keys = await self._get(str(self._provider.get("jwks_uri", "")))
                try:
                    self._keys = KeySet.import_key_set(keys)  # type: ignore[arg-type]
                except (JoseError, ValueError, KeyError, TypeError):
                    raise OidcError("the provider's keys cannot be read") from None
                self._keys_at_s = time.monotonic()
            return self._provider

    async def _get(self, address: str) -> dict[str, Any]:
        try:
            async with httpx2.AsyncClient(timeout=CONSOLE_OIDC_TIMEOUT_S) as client:
                response = await client.get(address)
                response.raise_for_status()
                found = response.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise OidcError(f"the provider does not answer: {type(error).__name__}") from None
        if not isinstance(found, dict):
            raise OidcError("the provider's answer cannot be read")
        return found

    async def _claims(self, id_token: str, nonce: str) -> Mapping[str, Any]:
        assert self._keys is not None
        rules = jwt.JWTClaimsRegistry(
            leeway=30,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            token = jwt.decode(id_token, self._keys, algorithms=_ALGORITHMS)
            rules.validate(token.claims)
        except (JoseError, ValueError) as error:
            # A provider may have changed its keys within the hour: ask again next time.
            self._keys = None
            raise OidcError(f"the identity cannot be believed: {type(error).__name__}") from None
        return token.claims

    def _name_and_role(self, claims: Mapping[str, Any]) -> tuple[str, Role]:
        name = str(claims.get(self._settings.name_claim) or claims["sub"])[:64]
        groups = claims.get(self._settings.role_claim, ())
        groups = [groups] if isinstance(groups, str) else groups
        if isinstance(groups, list | tuple):
            for group, role in self._settings.roles.items():
                if group in groups:
                    return name, role
        raise OidcError("this account has no role here")
