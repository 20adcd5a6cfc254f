"""A receiver of Afstand's alarms in 60 lines: verify, store, answer, know copies, then act.

RECEIVER_SECRET=whsec_... python receiver.py    (pip install aiohttp standardwebhooks)
"""

import asyncio
import json
import os
import sqlite3
from xml.etree import ElementTree

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"


def headline(kind: str, body: bytes) -> str:
    """What an operator reads first."""
    if "cap+xml" in kind:
        alert = ElementTree.fromstring(body)  # noqa: S314 signed
        status, text = alert.findtext(f"{CAP}status"), alert.findtext(f"{CAP}info/{CAP}headline")
        return f"{status}: {text}"
    data = json.loads(body)["data"]
    return f"{'Exercise' if data['drill'] else 'Actual'}: {data['alarm_class']} {data['purpose']}"


class Receiver:
    """Keeps every message once, on disk, before it answers."""

    def __init__(self, secret: str, file: str) -> None:
        self._webhook = Webhook(secret)
        self._db = sqlite3.connect(file)
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, body BLOB)")

    async def take(self, request: web.Request) -> web.Response:
        """Answer 401 to what is not signed, else 200 when it is stored; a copy changes nothing."""
        body = await request.read()
        try:
            self._webhook.verify(body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            return web.Response(status=401)
        with self._db:
            row = (request.headers["webhook-id"], body)
            new = self._db.execute("INSERT OR IGNORE INTO messages VALUES (?, ?)", row).rowcount
        if new:
            asyncio.get_running_loop().call_soon(self.act, request.content_type, body)
        return web.json_response({"status": "delivered"})

    def act(self, kind: str, body: bytes) -> None:
        """Yours: put it on the operator's screen."""
        print(headline(kind, body), flush=True)  # noqa: T201


if __name__ == "__main__":
    app = web.Application()
    receiver = Receiver(os.environ["RECEIVER_SECRET"], "alarms.db")
    app.add_routes([web.post("/afstand", receiver.take)])
    web.run_app(app, port=int(os.environ.get("PORT", "8080")))
