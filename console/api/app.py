"""The whole application: the API under /v1, the page under /, and the headers of every answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.api import incidents, proposals, records, replays, room, session, stream
from console.api.http import Route, endpoint
from console.api.openapi import document
from console.api.problems import API_VERSION, Code, Problem
from console.api.services import Services
from console.settings import Settings
from console.tiles import Tiles

PAGE: Final = Path(__file__).resolve().parent.parent / "page"
VENDOR: Final = Path(__file__).resolve().parent.parent / "node_modules" / "maplibre-gl" / "dist"
ROUTES: Final[tuple[Route, ...]] = (
    *session.ROUTES,
    *incidents.ROUTES,
    *replays.ROUTES,
    *records.ROUTES,
    *proposals.ROUTES,
    *room.ROUTES,
    *stream.ROUTES,
)


def application(services: Services) -> ASGIApp:
    """The ASGI application."""
    routes: list[BaseRoute] = [
        StarletteRoute(path, _Endpoint(endpoint(services, by_method)))
        for path, by_method in _by_path(ROUTES).items()
    ]
    openapi = msgspec.json.encode(document(ROUTES))

    async def show_document(_: Request) -> Response:
        # Read by tools of other sites too (NL API Design Rules, /core/publish-openapi).
        headers = {"API-Version": API_VERSION, "Access-Control-Allow-Origin": "*"}
        return Response(openapi, media_type="application/json", headers=headers)

    async def index(_: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    routes += [
        StarletteRoute("/v1/openapi.json", show_document, methods=["GET"]),
        StarletteRoute("/", index, methods=["GET"]),
        Mount("/page", _Files(directory=PAGE)),
        Mount("/vendor", _Files(directory=services.settings.vendor_dir or VENDOR, check_dir=False)),
    ]
    if services.settings.tiles.file is not None:
        routes.append(_tiles(Tiles(services.settings.tiles.file)))
    app = Starlette(routes=routes, exception_handlers={404: _not_found, 405: _no_method})
    app.router.redirect_slashes = False
    return SecurityHeaders(app, services.settings)


def _tiles(tiles: Tiles) -> BaseRoute:
    async def show(request: Request) -> Response:
        z, x, y = (int(request.path_params[name]) for name in "zxy")
        found = await asyncio.to_thread(tiles.get, z, x, y)
        if found is None:
            return Problem(Code.NOT_FOUND).response(request.url.path)
        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(found, media_type=tiles.media_type, headers=headers)

    return StarletteRoute("/tiles/{z:int}/{x:int}/{y:int}", show, methods=["GET"])


def _by_path(routes: Sequence[Route]) -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in routes:
        found.setdefault(route.path, {})[route.method] = route
    return found


async def _not_found(request: Request, _: Exception) -> Response:
    return Problem(Code.NOT_FOUND).response(request.url.path)


async def _no_method(request: Request, _: Exception) -> Response:
    response = Problem(Code.METHOD).response(request.url.path)
    response.headers["Allow"] = "GET"
    return response


class _Files(StaticFiles):
    """Files of the page: asked for again each time, answered with 304 when they are the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def content_security_policy(settings: Settings) -> str:
    """What the page may load: itself, and the tiles of the configuration."""
    tiles = urlsplit(settings.tiles.url)
    host = f" {tiles.scheme}://{tiles.netloc}" if tiles.netloc else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' data: blob:{host}",
            f"connect-src 'self'{host}",
            "worker-src 'self' blob:",
            "manifest-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


class SecurityHeaders:
    """Headers of every answer, whoever makes it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        headers = {
            "Content-Security-Policy": content_security_policy(settings),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "geolocation=(), camera=(), microphone=(), interest-cohort=()",
        }
        if settings.secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in self._headers if pair[0] not in known),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)


class _Endpoint:
    """An endpoint that is given every method, to answer those it does not know itself."""

    def __init__(self, serve: Callable[[Request], Awaitable[Response]]) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._serve(Request(scope, receive))
        await response(scope, receive, send)
