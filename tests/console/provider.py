"""An OpenID provider as a process of its own: `python -m tests.console.provider PORT`.

One client, one person. It asks for a name in a form, as providers do, and keeps the rules that a
strict one keeps: a code counts once, for its client, its address and its verifier (PKCE S256).
"""

import base64
import hashlib
import secrets
import sys
import time
from urllib.parse import parse_qsl, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "console", "s3cret"
FORM = """<!doctype html><html lang="nl"><title>Inloggen</title><form method="post">
<label>Naam <input name="name"></label><label>Groep <input name="group"></label>
<button>Verder</button></form></html>"""


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form."""
    return dict(parse_qsl((await request.body()).decode()))


class Provider:
    """Its keys, and the codes it gave and nobody has used."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = RSAKey.generate_key(2048, {"kid": "k1"}, private=True)
        self.codes: dict[str, dict[str, str]] = {}

    async def discovery(self, _: Request) -> Response:
        """What a relying party asks first."""
        return JSONResponse({
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        })  # fmt: skip

    async def keys(self, _: Request) -> Response:
        """The public half."""
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def authorize(self, request: Request) -> Response:
        """Ask who it is; send them back with a code."""
        if request.method == "GET":
            return HTMLResponse(FORM)
        asked, form = request.query_params, await fields(request)
        if asked["client_id"] != CLIENT or asked["code_challenge_method"] != "S256":
            return Response("not our client", 400)
        code = secrets.token_urlsafe(16)
        self.codes[code] = dict(asked) | {"name": form["name"], "group": form["group"]}
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", status_code=303)

    async def token(self, request: Request) -> Response:
        """A code for an identity, once."""
        form = await fields(request)
        known = self.codes.pop(form["code"], None)
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            known is None
            or request.headers.get("authorization") != f"Basic {basic}"
            or form["redirect_uri"] != known["redirect_uri"]
            or challenge != known["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": known["name"], "iat": now, "exp": now + 60,
            "nonce": known["nonce"], "groups": [known["group"]],
            "preferred_username": known["name"],
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self.key)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": token})


def main(port: int) -> None:
    """Serve until killed."""
    provider = Provider(f"http://localhost:{port}")
    routes = [
        Route("/.well-known/openid-configuration", provider.discovery),
        Route("/keys", provider.keys),
        Route("/authorize", provider.authorize, methods=["GET", "POST"]),
        Route("/token", provider.token, methods=["POST"]),
    ]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
