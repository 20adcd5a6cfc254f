"""Sign-in by an OpenID provider: a provider that is played, right and wrong in every way."""

import json
import time
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from alerting.book.roles import Role
from console.access.oidc import Oidc
from console.settings import OidcSettings, Settings
from tests.console.site import ConsoleSite

ISSUER = "https://login.test"
OIDC = OidcSettings(
    issuer=ISSUER,
    client_id="console",
    client_secret="s3cret",
    roles={"em-leads": Role.SHIFT_LEAD, "em-room": Role.OPERATOR},
)


class Provider:
    """Answers what a provider answers. `claims` are changed by tests."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "k1"}, private=True)
        self.signing = self.key
        self.claims: dict = {}
        self.nonce = ""
        self.challenge = ""
        self.issuer = ISSUER
        self.tokens = 0
        self.algorithm = "RS256"

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        match request.url.path:
            case "/.well-known/openid-configuration":
                return httpx2.Response(200, json={
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{ISSUER}/authorize",
                    "token_endpoint": f"{ISSUER}/token",
                    "jwks_uri": f"{ISSUER}/keys",
                })  # fmt: skip
            case "/keys":
                keys = KeySet([self.key]).as_dict(private=False)
                return httpx2.Response(200, json=keys)
            case "/token":
                said = parse_qs(request.content.decode())
                self.tokens += 1
                if said["code"] != ["good"] or not said["code_verifier"][0]:
                    return httpx2.Response(400, json={"error": "invalid_grant"})
                now = int(time.time())
                claims = {"iss": ISSUER, "aud": "console", "sub": "u1", "iat": now,
                          "exp": now + 60, "nonce": self.nonce, "groups": ["em-room"],
                          "preferred_username": "jan"} | self.claims  # fmt: skip
                claims = {name: value for name, value in claims.items() if value is not None}
                header = {"alg": self.algorithm, "kid": "k1"}
                token = jwt.encode(header, claims, self.signing, algorithms=[self.algorithm])
                return httpx2.Response(200, json={
                    "access_token": "a", "token_type": "Bearer", "id_token": token,
                })  # fmt: skip
        return httpx2.Response(404)


@pytest.fixture
def provider(monkeypatch):
    made = Provider()
    transport = httpx2.MockTransport(made.answer)
    begin = httpx2.AsyncClient.__init__

    def with_transport(self, *args, **kwargs):
        begin(self, *args, **(kwargs | {"transport": transport}))

    monkeypatch.setattr(httpx2.AsyncClient, "__init__", with_transport)
    return made


@pytest.fixture
def site(tmp_path):
    made = ConsoleSite(tmp_path, settings=Settings(oidc=OIDC, local_accounts=False))
    yield made
    made.close()


def go(site, provider, code="good", browser=None):
    """The whole way of a browser; gives the last answer and the browser."""
    browser = browser or site.browser()
    sent = browser.get("/v1/session/oidc", follow_redirects=False)
    assert sent.status_code == 302
    query = parse_qs(urlsplit(sent.headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == ["http://console.test/v1/session/oidc/callback"]
    provider.nonce = query["nonce"][0]
    back = {"state": query["state"][0], "code": code, "session_state": "theirs"}
    return browser.get("/v1/session/oidc/callback", params=back), browser


def test_whoever_the_provider_signs_in_has_the_role_of_their_group(site, provider):
    answer, browser = go(site, provider)
    assert answer.status_code == 200
    shown = browser.get("/v1/session").json()
    assert (shown["name"], shown["role"], shown["source"]) == ("jan", "operator", "oidc")
    assert (
        browser.post("/v1/session", json={"name": "a", "password": "b", "code": "c"}).json()["code"]
        == "right-missing"
    )
    both, browser = go(site, provider_with(provider, groups=["em-room", "em-leads"]))
    assert both.status_code == 200
    assert browser.get("/v1/session").json()["role"] == "shift-lead"


def provider_with(provider, **claims):
    provider.claims = claims
    return provider


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "other"},
        {"nonce": None},
        {"aud": "other"},
        {"iss": "https://evil.test"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"groups": ["others"]},
        {"groups": None},
        {"groups": 7},
    ],
)
def test_an_identity_that_is_not_for_us_signs_nobody_in(site, provider, claims):
    answer, browser = go(site, provider_with(provider, **claims))
    assert answer.status_code == 401
    assert browser.get("/v1/session").status_code == 401


def test_a_token_of_another_key_or_without_one_signs_nobody_in(site, provider):
    provider.signing = RSAKey.generate_key(2048, {"kid": "k1"}, private=True)
    answer, _ = go(site, provider)
    assert answer.status_code == 401


def test_a_sign_in_that_began_elsewhere_is_refused(site, provider):
    sent = site.browser().get("/v1/session/oidc", follow_redirects=False)
    state = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
    victim = site.browser()
    answer = victim.get("/v1/session/oidc/callback", params={"state": state, "code": "good"})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign-origin")
    assert provider.tokens == 0
    # An answer counts once.
    _, browser = go(site, provider)
    again = browser.get("/v1/session/oidc/callback", params={"state": state, "code": "good"})
    assert again.status_code == 403


def test_a_refused_code_and_an_error_of_the_provider_sign_nobody_in(site, provider):
    answer, _ = go(site, provider, code="bad")
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong-name-password-or-code")
    assert "invalid_grant" not in json.dumps(answer.json())
    browser = site.browser()
    sent = browser.get("/v1/session/oidc", follow_redirects=False)
    state = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
    said = {"state": state, "error": "access_denied"}
    assert browser.get("/v1/session/oidc/callback", params=said).status_code == 401


def test_a_provider_of_another_name_or_none_at_all_is_said(site, provider):
    provider.issuer = "https://evil.test"
    answer = site.browser().get("/v1/session/oidc", follow_redirects=False)
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")


async def test_sign_ins_that_have_begun_are_bounded_in_time(provider, monkeypatch):
    oidc = Oidc(OIDC)
    _, state = await oidc.begin("http://console.test/cb")
    later = time.monotonic() + 601
    monkeypatch.setattr("console.access.oidc.time.monotonic", lambda: later)
    with pytest.raises(Exception, match="too old"):
        await oidc.finish("http://console.test/cb", state, "good")
