"""The watchdog: a sign of life to somebody outside, which stops when alarms would not get through.

It is sent only while the whole way is seen to work: the store answers, the journal of every
partition goes on (a watch ticks several times a second), and the notifier reads the outboxes.
Whoever receives it raises the alarm when it stays away: that is the one alarm which a service that
is down can still give. It says nothing about persons.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from afstand.limits import HEARTBEAT_STANDSTILL_MS_MAX, HEARTBEAT_TIMEOUT_S
from ingest.journal import Journal
from ingest.store import EntryId, Store, StoreUnavailableError, command

log = structlog.get_logger()
_BODY: Final = {"service": "afstand", "status": "alive"}


class HeartbeatMetrics:
    """What the watchdog says about itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.alive = Gauge(
            "afstand_watchdog",
            "1 while alarms get through from the journal to the notifier",
            registry=registry,
        )
        self.sent = Counter(
            "afstand_heartbeats", "Signs of life, by what became of them", ("result",),
            registry=registry,
        )  # fmt: skip


class Heartbeat:
    """Looks and sends. `url` "": it only looks."""

    def __init__(
        self,
        store: Store,
        partitions: Sequence[str],
        metrics: HeartbeatMetrics,
        not_ready: Callable[[], str],
        *,
        url: str,
        every_s: float,
    ) -> None:
        self._store = store
        self._journal = Journal(store)
        self._partitions = tuple(partitions)
        self._metrics = metrics
        self._not_ready = not_ready
        self._url = url
        self._every_s = every_s
        self._said = ""

    async def run(self) -> None:
        """Look and send, for ever."""
        timeout = aiohttp.ClientTimeout(total=HEARTBEAT_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                problem = await self.problem()
                self._metrics.alive.set(not problem)
                if problem != self._said:
                    self._said = problem
                    log.warning("watchdog", problem=problem or "none any more")
                if not problem and self._url:
                    await self._send(session)
                await asyncio.sleep(self._every_s)

    async def problem(self) -> str:
        """Why an alarm would not get through; "" when it would."""
        problem = self._not_ready()
        if problem:
            return problem
        try:
            for partition in self._partitions:
                standstill_ms = await self._standstill_ms(partition)
                if standstill_ms > HEARTBEAT_STANDSTILL_MS_MAX:
                    return f"journal {partition} stands still for {standstill_ms} ms: no watch"
        except StoreUnavailableError as error:
            return f"store unavailable: {error}"
        return ""

    async def _standstill_ms(self, partition: str) -> int:
        """How old the newest entry is, by the store's own clock."""
        seconds, microseconds = await command(self._store, "TIME")
        newest: EntryId = await self._journal.last_id(partition)
        return int(seconds) * 1000 + int(microseconds) // 1000 - newest.ms

    async def _send(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.post(self._url, json=_BODY) as response:
                taken = response.status < 300
                result = "sent" if taken else "refused"
        except (aiohttp.ClientError, OSError, TimeoutError):
            result = "not-reached"  # its address is a secret, so the error is not logged
        self._metrics.sent.labels(result).inc()
