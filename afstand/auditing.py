"""The role `auditor`: checks from outside that the service does its work, and pings a heartbeat.

It asks four things of every partition: does time pass in the journal (a watch ticks), is a probe
folded into the outbox (a watch decides), does the notifier take the probe, and did every step of
every open alarm run (`alerting.book.auditor`). While all are answered it calls an outside
heartbeat; when one is not, or it is dead itself, that stays away and somebody outside is called.
What is missing goes into the journal as well, where it is a SYSTEM alarm if a watch is left.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from afstand.config import Config
from afstand.limits import (
    AUDIT_ANSWER_MS,
    AUDIT_PAUSE_S,
    AUDIT_PROBE_S,
    AUDIT_READ_ENTRIES_MAX,
    AUDIT_SIGNAL_S,
    AUDIT_STILL_MS,
    HEARTBEAT_TIMEOUT_S,
)
from afstand.outbox_source import GROUP
from afstand.roles import observed, open_store
from afstand.watch.envelope import ENVELOPE_FORMAT
from afstand.watch.signals import PROBE
from alerting.book.auditor import Auditor
from alerting.book.types import OUTPUT_FORMAT, Output
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import BEGINNING, EntryId, Store, StoreUnavailableError, command

log = structlog.get_logger()
_ENVELOPE: Final = msgspec.msgpack.Decoder(tuple[int, int, int, list[msgspec.Raw]])
_OUTPUT: Final = msgspec.msgpack.Decoder(Output)


class Problem(msgspec.Struct, frozen=True):
    """Something missing. `what` is enumerated: a word of `Missing`, or one of those below."""

    partition: str
    what: str
    detail: str


JOURNAL_STILL: Final = "journal-still"
"""No entry for long: no watch is there to let time pass."""
PROBE_NOT_FOLDED: Final = "probe-not-folded"
PROBE_NOT_TAKEN: Final = "probe-not-taken"
"""The notifier was not given what came out."""
STORE_AWAY: Final = "store-away"
UNREADABLE: Final = "outbox-unreadable"


class PartitionAudit:
    """One partition."""

    def __init__(self, store: Store, partition: str, settle_ms: int) -> None:
        self._store = store
        self._journal, self._outbox = Journal(store), Outbox(store)
        self._partition = partition
        self._auditor = Auditor(settle_ms)
        self._at = BEGINNING
        self._probe: EntryId | None = None
        self._probed_s = -AUDIT_PROBE_S
        self._unreadable = 0

    async def cycle(self, now_s: float) -> list[Problem]:
        """Look once; `now_s` is any clock that only grows. Raises StoreUnavailableError."""
        await self._read_on()
        now_ms = await _store_ms(self._store)
        found = [
            self._problem(one.what.value, f"{one.alarm_id} {one.detail}".strip())
            for one in self._auditor.missing(now_ms)
        ]
        last = await self._journal.last_id(self._partition)
        if now_ms - last.ms > AUDIT_STILL_MS:
            found.append(self._problem(JOURNAL_STILL, f"since {last}"))
        if self._unreadable:
            found.append(self._problem(UNREADABLE, f"{self._unreadable} entries"))
        found += await self._ask(now_ms, now_s)
        return found

    async def _ask(self, now_ms: int, now_s: float) -> list[Problem]:
        """Is the probe answered? A new one is sent only after that, so that none is forgotten."""
        probe = self._probe
        if probe is not None:
            folded = self._at >= probe
            taken = await self._outbox.taken_up_to(self._partition, GROUP) >= probe
            if folded and taken:
                self._probe = None
            elif now_ms - probe.ms > AUDIT_ANSWER_MS:
                return [self._problem(PROBE_NOT_TAKEN if folded else PROBE_NOT_FOLDED, str(probe))]
        if self._probe is None and now_s - self._probed_s >= AUDIT_PROBE_S:
            self._probed_s = now_s
            self._probe = await self._journal.append(self._partition, EntryKind.SIGNAL, PROBE)
        return []

    async def _read_on(self) -> None:
        while True:
            entries = await self._outbox.read(self._partition, self._at, AUDIT_READ_ENTRIES_MAX)
            for entry in entries:
                self._at = entry.id
                outputs = _decoded(entry.blob)
                if outputs is None:
                    self._unreadable += 1
                else:
                    self._auditor.take(outputs, entry.id.ms)
            if len(entries) < AUDIT_READ_ENTRIES_MAX:
                return

    async def say(self, problems: Sequence[Problem]) -> None:
        """Journal what is missing; a SYSTEM alarm, if a watch is there to raise it."""
        detail = "; ".join(f"{one.what} {one.detail}" for one in problems)[:200]
        blob = msgspec.msgpack.encode({"signal": "audit", "detail": detail})
        await self._journal.append(self._partition, EntryKind.SIGNAL, blob)

    def _problem(self, what: str, detail: str) -> Problem:
        return Problem(self._partition, what, detail)


def _decoded(blob: bytes) -> list[Output] | None:
    try:
        envelope_format, output_format, _, raws = _ENVELOPE.decode(blob)
        if (envelope_format, output_format) != (ENVELOPE_FORMAT, OUTPUT_FORMAT):
            return None
        return [_OUTPUT.decode(raw) for raw in raws]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


async def _store_ms(store: Store) -> int:
    seconds, micros = await command(store, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


class Heartbeat:
    """The outside address that is called while all is well."""

    def __init__(self, session: aiohttp.ClientSession, url: str, every_s: float) -> None:
        self._session = session
        self._url = url
        self._every_s = every_s
        self._last_s: float | None = None

    async def beat(self, now_s: float) -> bool:
        """Call it when it is time; False when that failed. Never raises."""
        if self._last_s is not None and now_s - self._last_s < self._every_s:
            return True
        try:
            async with self._session.get(self._url, allow_redirects=False) as response:
                ok = 200 <= response.status < 300
        except (aiohttp.ClientError, OSError, TimeoutError):
            ok = False
        if ok:
            self._last_s = now_s
        return ok


class AuditMetrics:
    """What an auditor counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.missing = Gauge(
            "afstand_audit_missing", "Things that should have happened", registry=registry
        )
        self.beats = Counter(
            "afstand_audit_heartbeats", "Calls of the heartbeat", ["result"], registry=registry
        )


async def auditor(config: Config, stop: asyncio.Event) -> None:
    """Look until stopped."""
    registry = CollectorRegistry()
    metrics = AuditMetrics(registry)
    url = config.optional_secret("audit.heartbeat_url", config.audit.heartbeat_url)
    problems: list[Problem] = [Problem("", "starting", "")]
    timeout = aiohttp.ClientTimeout(total=HEARTBEAT_TIMEOUT_S)
    async with (
        open_store(config) as store,
        observed(config, config.audit.health_port, registry, lambda: _shown(problems)),
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        settle_ms = round(config.audit.settle_minutes * 60_000)
        audits = [PartitionAudit(store, name, settle_ms) for name in config.partitions]
        heartbeat = Heartbeat(session, url, config.audit.heartbeat_s) if url else None
        said_s = -AUDIT_SIGNAL_S
        while not await _stopped(stop, AUDIT_PAUSE_S):
            now_s = asyncio.get_running_loop().time()
            found = await look(audits, now_s)
            for one in set(found) - set(problems):
                log.error("missing", partition=one.partition, what=one.what, detail=one.detail)
            problems[:] = found
            metrics.missing.set(len(found))
            if found and now_s - said_s >= AUDIT_SIGNAL_S:
                said_s = now_s
                await say(audits, found)
            if not found and heartbeat is not None:
                result = "ok" if await heartbeat.beat(now_s) else "failed"
                metrics.beats.labels(result).inc()


async def look(audits: Sequence[PartitionAudit], now_s: float) -> list[Problem]:
    """What is missing in all partitions. A store that is away is missing too."""
    found: list[Problem] = []
    for one in audits:
        try:
            found += await one.cycle(now_s)
        except StoreUnavailableError as error:
            found.append(Problem("", STORE_AWAY, str(error)))
    return found


async def say(audits: Sequence[PartitionAudit], problems: Sequence[Problem]) -> None:
    """Journal it in the first partition that takes it; all of them are served by one room."""
    for one in audits:
        with contextlib.suppress(StoreUnavailableError):
            await one.say(problems)
            return


def _shown(problems: Sequence[Problem]) -> str:
    return "; ".join(f"{one.what} {one.detail}".strip() for one in problems)


async def _stopped(stop: asyncio.Event, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), within_s)
    return stop.is_set()
