"""`/metrics`, `/-/healthy` and `/-/ready` of one process.

Healthy: the event loop answers. Ready: the role says that it does its work (kernels compiled,
journal replayed, broker connected); otherwise 503 with the reason, which is what a load balancer
and an engineer on call want to read.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

NotReady = Callable[[], str]
"""Gives "" when the role is ready, else the reason why not."""


def health_app(registry: CollectorRegistry, not_ready: NotReady) -> web.Application:
    """The routes of one process."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        reason = not_ready()
        return web.Response(text=(reason or "ready") + "\n", status=503 if reason else 200)

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", metrics), web.get("/-/healthy", healthy), web.get("/-/ready", ready)]
    )
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve `app` while the block runs; gives the port (0 chooses a free one)."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
