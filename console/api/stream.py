"""The live stream: server-sent events from which a reconnect misses nothing.

The id of an event is a cursor: the place in every outbox up to which the reader knows everything.
A reader that comes back with it (Last-Event-ID) is given every incident that changed since, as it
is now; nothing has to be kept for it, and a restart of the console changes nothing. A slow reader
is given fewer, newer events, never a queue. Without a cursor all open incidents come first.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from afstand.limits import CONSOLE_STREAM_TICK_S, CONSOLE_STREAMS_MAX
from alerting.book.roles import RIGHTS, Right
from console.access.store import Session
from console.api.http import Call, Route
from console.api.problems import API_VERSION, Code, FieldError, Problem
from console.api.services import Services
from console.hub import parse_cursor
from console.model.rows import START, IncidentRow, Place
from console.ports import PartHealth

PAUSE_S = 0.03
"""At least so long between two sends: changes that come together go together."""


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`after`: the cursor of the list one has; the header Last-Event-ID goes before it."""

    after: str = ""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Every second: the time, and what must be known even while nothing changes."""

    now_ms: int
    waiting: int
    overdue: int
    critical: int
    """Incidents with a critical alarm that nobody has in hand."""
    flood: bool
    pages_10min: int
    definitions: int
    on_duty: int
    locked: bool


class Writer:
    """Writes the events of one reader."""

    def __init__(self, services: Services, session: Session, cursor: dict[str, Place]) -> None:
        self._services = services
        self._hub = services.hub
        self._session = session
        self._cursor = {
            partition: cursor.get(partition, START) for partition in services.hub.partitions
        }
        self._health: tuple[PartHealth, ...] | None = None
        self._all_open = not cursor

    async def events(self) -> AsyncGenerator[bytes]:
        """What is sent, until the session ends."""
        yield self._event("hello", {"now_ms": self._services.link.now_ms()})
        yield self._open_ids()
        ticked = 0.0
        loop = asyncio.get_running_loop()
        with self._hub.listening() as waker:
            while True:
                waker.clear()
                session = self._services.gate.session_by_hash(
                    self._session.token, self._services.link.now_ms()
                )
                if session is None:
                    yield self._event("end", {"reason": "signed-out"})
                    return
                parts = self._changes(session)
                if loop.time() - ticked >= CONSOLE_STREAM_TICK_S:
                    ticked = loop.time()
                    parts += self._tick(session)
                if parts:
                    yield b"".join(parts)
                    await asyncio.sleep(PAUSE_S)
                left = CONSOLE_STREAM_TICK_S - (loop.time() - ticked)
                if left > 0:
                    await _wait(waker, left)

    def _changes(self, session: Session) -> list[bytes]:
        if session.locked or Right.QUEUE not in RIGHTS[session.role]:
            return []  # the cursor stays: everything is told when the screen is opened
        if self._all_open:
            rows = sorted(self._hub.model.incidents.open_rows(), key=_place)
            self._all_open = False
        else:
            rows = self._hub.since(self._cursor)
        parts = [*self._incidents(rows, session)]
        for partition in self._hub.partitions:
            at = self._hub.model.outbox_at.get(partition, START)
            self._cursor[partition] = max(at, self._cursor[partition])
        return parts

    def _incidents(self, rows: Iterable[IncidentRow], session: Session) -> Iterable[bytes]:
        rights = RIGHTS[session.role]
        rows = list(rows)
        for index, row in enumerate(rows):
            body = self._services.encoded(row, rights)
            after = rows[index + 1] if index + 1 < len(rows) else None
            # Incidents that one entry changed share its place: only the last of them moves the
            # cursor, so that a connection lost in between brings all of them again.
            whole = (
                after is None or after.partition != row.partition or after.changed != row.changed
            )
            if whole:
                self._cursor[row.partition] = Place(*row.changed)
            yield self._event("incident", body, with_id=whole)

    def _open_ids(self) -> bytes:
        """Every open incident by id: whoever shows another one lets go of it."""
        rows = self._hub.model.incidents.open_rows()
        if Right.QUEUE not in RIGHTS[self._session.role]:
            rows = []
        return self._event("open-incidents", {"ids": [row.incident_id for row in rows]})

    def _tick(self, session: Session) -> list[bytes]:
        now_ms = self._services.link.now_ms()
        figures = self._services.figures(now_ms)
        tick = Tick(
            now_ms=now_ms,
            waiting=figures.waiting,
            overdue=figures.overdue,
            critical=self._services.critical,
            flood=figures.flood,
            pages_10min=figures.pages_10min,
            definitions=self._hub.definitions,
            on_duty=self._hub.operators,
            locked=session.locked,
        )
        parts = [self._event("tick", tick, with_id=not session.locked)]
        health = tuple(self._hub.health[name] for name in sorted(self._hub.health))
        if health != self._health:
            self._health = health
            caught_up = self._hub.caught_up
            parts.append(
                self._event("health", {"parts": health, "caught_up": caught_up, "now_ms": now_ms})
            )
        return parts

    def _event(self, name: str, body: Any, *, with_id: bool = False) -> bytes:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        cursor = ",".join(f"{partition}:{at}" for partition, at in self._cursor.items())
        head = f"event: {name}\n" + (f"id: {cursor}\n" if with_id else "")
        return head.encode() + b"data: " + raw + b"\n\n"


def _place(row: IncidentRow) -> tuple[str, tuple[int, int]]:
    return row.partition, row.changed


async def _wait(waker: asyncio.Event, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await waker.wait()
    except TimeoutError:
        return


async def events(call: Call) -> Response:
    """Follow what changes."""
    services = call.services
    given = call.request.headers.get("last-event-id") or call.query.after
    try:
        cursor = parse_cursor(given)
    except ValueError as error:
        raise Problem(Code.MALFORMED, errors=(FieldError("Last-Event-ID", str(error)),)) from None
    if services.streams >= CONSOLE_STREAMS_MAX:
        raise Problem(Code.TOO_MANY, "too many streams are open", retry_after_s=5)
    writer = Writer(services, call.session, cursor)

    async def counted() -> AsyncIterator[bytes]:
        services.streams += 1
        services.metrics.streams.set(services.streams)
        try:
            async for part in writer.events():
                yield part
        finally:
            services.streams -= 1
            services.metrics.streams.set(services.streams)

    return StreamingResponse(
        counted(),
        media_type="text/event-stream",
        headers={
            "API-Version": API_VERSION,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        },
    )


ROUTES = (
    Route("GET", "/v1/events", "follow-events", "Follow what changes, as server-sent events",
          events, (), None, StreamQuery, tag="events", locked=True, stream=True,
          masks="as the queue"),
)  # fmt: skip
