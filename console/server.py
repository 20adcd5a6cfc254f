"""The HTTP server of the console."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    cert_file: str = "",
    key_file: str = "",
    trusted_proxies: tuple[str, ...] = (),
) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port. Raises OSError when it is taken."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        ssl_certfile=cert_file or None,
        ssl_keyfile=key_file or None,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,
        limit_concurrency=4_000,
    )
    listener = socket.create_server((host, port), backlog=256)
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        # The socket listens already: who comes before the server runs waits a moment.
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await running
