"""What handlers work with, made once per process."""

import time
from typing import Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import Request

from afstand.limits import CONSOLE_REASON_CHARACTERS_MIN, CONSOLE_SESSION_H_MAX
from alerting.book.roles import Right
from alerting.book.types import Priority
from console.access.gate import Gate
from console.access.oidc import Oidc
from console.access.store import AccessStore, Session
from console.hub import Hub
from console.model.incidents import leading
from console.model.indicators import Indicators
from console.model.rows import IncidentRow
from console.ports import Consultation, Link, UnavailableError
from console.settings import Settings
from console.views import incident_view

log = structlog.get_logger()
_REMEMBERED_MAX: Final = 50_000
_ENCODED_MAX: Final = 10_000
_FIGURES_MS: Final = 900


class Metrics:
    """Counters of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "afstand_console_request_seconds",
            "Time to answer a request, by operation.",
            ["operation", "status"],
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )
        self.streams = Gauge(
            "afstand_console_streams", "Event streams that are open.", registry=registry
        )
        self.sign_ins = Counter(
            "afstand_console_sign_ins_total", "Attempts to sign in.", ["result"], registry=registry
        )
        self.consultations = Counter(
            "afstand_console_consultations_total",
            "Look-ups logged, by where.",
            ["where"],
            registry=registry,
        )
        self.commands = Counter(
            "afstand_console_commands_total",
            "Commands journalled, by what became of them.",
            ["state"],
            registry=registry,
        )

    def seen(self, operation: str, status: int, started: float) -> None:
        """Note a request that was answered."""
        self._seconds.labels(operation, str(status)).observe(time.perf_counter() - started)


class Consultations:
    """The log of who looked at what: in the store, or on this console's disk until it is back.

    Nothing is shown before one of the two has confirmed the line.
    """

    def __init__(self, link: Link, spool: AccessStore, metrics: Metrics) -> None:
        self._link = link
        self._spool = spool
        self._metrics = metrics
        self._last: dict[tuple[bytes, str, tuple[str, ...], str], int] = {}

    async def log(
        self,
        session: Session,
        what: str,
        persons: tuple[str, ...],
        now_ms: int,
        *,
        incident_id: str,
        reason: str,
        again_ms: int,
    ) -> None:
        """Log one look-up; the same one by the same session is one line for a while."""
        key = (session.token, what, persons, incident_id or reason)
        if now_ms - self._last.get(key, -again_ms) < again_ms:
            return
        said = Consultation(
            at_ms=now_ms,
            by=session.name,
            role=session.role.value,
            what=what,
            persons=persons,
            incident_id=incident_id,
            reason=reason,
        )
        try:
            await self._link.log_consultation(said)
            self._metrics.consultations.labels("store").inc()
        except UnavailableError:
            self._spool.spool(msgspec.json.encode(said))
            self._metrics.consultations.labels("spool").inc()
        self._last.pop(key, None)
        self._last[key] = now_ms
        while len(self._last) > _REMEMBERED_MAX:
            del self._last[next(iter(self._last))]

    async def unspool(self) -> None:
        """Give the store what it could not take. Raises UnavailableError."""
        while lines := self._spool.spooled(100):
            for number, said in lines:
                await self._link.log_consultation(msgspec.json.decode(said, type=Consultation))
                self._spool.unspool(number)


class Services:
    """Everything behind the API."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        link: Link,
        gate: Gate,
        store: AccessStore,
        registry: CollectorRegistry,
        *,
        debug: bool = False,
    ) -> None:
        self.settings = settings
        self.hub = hub
        self.link = link
        self.gate = gate
        self.metrics = Metrics(registry)
        self.consultations = Consultations(link, store, self.metrics)
        self.oidc = Oidc(settings.oidc) if settings.oidc is not None else None
        self.debug = debug
        self.streams = 0
        self.cookie = "__Host-afstand" if settings.secure else "afstand"

        self.critical = 0
        self._figures: Indicators | None = None
        self._encoded: dict[tuple[str, frozenset[Right]], tuple[tuple[int, int], bytes]] = {}
        self.session_h_max = CONSOLE_SESSION_H_MAX
        self.reason_characters_min = CONSOLE_REASON_CHARACTERS_MIN

    def duty_changed(self, now_ms: int) -> None:
        """Somebody signed in or out: the load is judged per head."""
        self.hub.operators = len(self.gate.on_duty(now_ms))

    def figures(self, now_ms: int) -> Indicators:
        """The figures of the room, computed once a second for all who ask."""
        known = self._figures
        if known is None or now_ms - known.at_ms >= _FIGURES_MS:
            known = self._figures = self.hub.indicators(now_ms)
            self.critical = sum(
                lead.priority is Priority.CRITICAL and not lead.acknowledged and not lead.silenced
                for row in self.hub.model.incidents.open_rows()
                if (lead := leading(row)) is not None
            )
        return known

    def encoded(self, row: IncidentRow, rights: frozenset[Right]) -> bytes:
        """An incident as JSON for the queue, made once for all streams with the same rights."""
        key = (row.incident_id, rights)
        known = self._encoded.get(key)
        if known is None or known[0] != row.changed:
            known = (row.changed, msgspec.json.encode(incident_view(row, rights)))
            if len(self._encoded) >= _ENCODED_MAX:
                self._encoded.clear()
            self._encoded[key] = known
        return known[1]

    def origin(self, request: Request) -> str:
        """The origin that pages of ours have: as configured, else as the request came."""
        if self.settings.public_url:
            return self.settings.public_url
        return f"{request.url.scheme}://{request.headers.get('host', '')}"
