"""The auditor's process: a heartbeat while all is well, and its absence with a reason."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from afstand import auditing
from afstand.auditing import Heartbeat, PartitionAudit, Problem, look, say
from afstand.commands import encode_command
from afstand.config import Audit, Config
from afstand.config import Store as StoreSettings
from afstand.limits import AUDIT_ANSWER_MS, AUDIT_STILL_MS
from afstand.outbox_source import GROUP
from afstand.watch.fold import Watch
from alerting.book.types import AlarmClass, AlarmRecord, RaiseByHand
from ingest.entries import Entry, EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import BEGINNING, connect_store
from tests.servers import RedisServer

pytestmark = pytest.mark.servers
ALL_MS = 10**9


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
async def store(server):
    client = connect_store(server.url)
    await client.execute_command("FLUSHALL")
    yield client
    await client.aclose()


class Late:
    """How late it is since the newest entry: the store's clock, in the hands of the test."""

    ms = 0


@pytest.fixture(autouse=True)
def late(monkeypatch):
    late = Late()

    async def store_ms(store):
        last = await Journal(store).last_id("p")
        return last.ms + late.ms

    monkeypatch.setattr(auditing, "_store_ms", store_ms)
    return late


class Service:
    """A watch and a notifier that work when they are told to."""

    def __init__(self, store):
        self.journal, self.outbox = Journal(store), Outbox(store)
        self.watch = Watch("p")
        self._at = BEGINNING

    async def tick(self):
        await self.journal.append("p", EntryKind.TICK, b"")

    async def fold(self):
        for entry in await self.journal.read("p", self._at, 100):
            self._at = entry.id
            blob = self.watch.step(entry).blob
            if blob is not None:
                await self.outbox.append("p", entry.id, blob)

    async def deliver(self):
        await self.outbox.ensure_group("p", GROUP)
        await self.outbox.read_group("p", GROUP, "notifier-1", 100, 1)


@pytest.fixture
async def service(store):
    service = Service(store)
    await service.tick()
    return service


def whats(problems):
    return [one.what for one in problems]


async def test_while_all_work_nothing_is_missing(store, service):
    audit = PartitionAudit(store, "p", ALL_MS)
    for now_s in range(0, 200, 20):
        await service.tick()
        await service.fold()
        await service.deliver()
        assert await audit.cycle(float(now_s)) == []
    probes = [e for e in await service.journal.read("p", BEGINNING, 100) if e.kind == "signal"]
    assert len(probes) == 5  # one in 30 s, each answered


async def test_without_a_watch_time_stands_still(store, service, late):
    audit = PartitionAudit(store, "p", ALL_MS)
    late.ms = AUDIT_STILL_MS
    assert await audit.cycle(0.0) == []
    late.ms += 1
    assert whats(await audit.cycle(1.0)) == ["journal-still"]
    late.ms = 250
    await service.tick()
    assert await audit.cycle(2.0) == []


async def test_a_probe_that_is_not_folded_and_then_not_taken(store, service, late, monkeypatch):
    monkeypatch.setattr(auditing, "AUDIT_STILL_MS", 10 * AUDIT_ANSWER_MS)
    audit = PartitionAudit(store, "p", ALL_MS)
    assert await audit.cycle(0.0) == []
    late.ms = AUDIT_ANSWER_MS
    assert await audit.cycle(1.0) == []
    late.ms += 1
    assert whats(await audit.cycle(1.0)) == ["probe-not-folded"]
    await service.fold()
    assert whats(await audit.cycle(2.0)) == ["probe-not-taken"]
    await service.deliver()
    assert await audit.cycle(3.0) == []


async def test_a_plan_that_nobody_runs_any_more_is_missing(store, service):
    """The watch raised the alarm and then forgot its timers, as no book should."""
    audit = PartitionAudit(store, "p", ALL_MS)
    by_hand = RaiseByHand(alarm_class=AlarmClass.PANIC, by="op", reason="call", wearer_id="w1")
    await service.journal.append("p", EntryKind.COMMAND, encode_command(by_hand))
    await service.fold()
    await service.deliver()
    assert await audit.cycle(0.0) == []
    now_ms = await auditing._store_ms(store)
    assert [m.what for m in audit._auditor.missing(now_ms + 80_000)] == ["step-overdue"]


async def test_an_entry_that_cannot_be_read_is_missing_and_the_next_is_read(store, service):
    await service.outbox.append("p", (await service.journal.last_id("p")), b"\xc1")
    await service.tick()
    audit = PartitionAudit(store, "p", ALL_MS)
    assert whats(await audit.cycle(0.0)) == ["outbox-unreadable"]


async def test_what_is_missing_becomes_a_system_alarm(store, service):
    audit = PartitionAudit(store, "p", ALL_MS)
    await say([audit], [Problem("p", "step-overdue", "i-1.0 plan x step 0")])
    (signal,) = [e for e in await service.journal.read("p", BEGINNING, 10) if e.kind == "signal"]
    alarms = [o for o in service.watch.step(signal).outputs if isinstance(o, AlarmRecord)]
    assert {(a.alarm_class, a.reason) for a in alarms if a.change == "raised"} == {
        ("system", "audit-finding")
    }


async def test_a_store_that_is_away_is_missing(tmp_path):
    with RedisServer(tmp_path) as gone:
        client = connect_store(gone.url)
        audit = PartitionAudit(client, "p", ALL_MS)
    assert whats(await look([audit], 0.0)) == ["store-away"]
    await say([audit], [Problem("p", "store-away", "")])  # nobody to tell, and no error
    await client.aclose()


async def test_the_heartbeat_is_called_at_its_pace_and_again_soon_after_a_failure():
    statuses, calls = [503, 200, 200], []

    async def handler(request):
        calls.append(request.path)
        return web.Response(status=statuses[len(calls) - 1])

    application = web.Application()
    application.router.add_get("/ping/secret", handler)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        heartbeat = Heartbeat(session, str(server.make_url("/ping/secret")), 60.0)
        said = [await heartbeat.beat(now_s) for now_s in (0.0, 2.0, 4.0, 61.9, 62.0)]
        nobody = Heartbeat(session, "http://127.0.0.1:9/", 60.0)
        assert await nobody.beat(0.0) is False
    assert said == [False, True, True, True, True]
    assert len(calls) == 3


async def test_the_role_calls_the_heartbeat_while_all_is_well_and_not_after(
    server, store, service, monkeypatch, late
):
    monkeypatch.setattr(auditing, "AUDIT_PAUSE_S", 0.01)
    monkeypatch.setattr(auditing, "AUDIT_PROBE_S", 0.0)
    calls, stop = [], asyncio.Event()

    async def handler(request):
        calls.append(request.path)
        return web.Response()

    application = web.Application()
    application.router.add_get("/ping", handler)
    async with TestServer(application) as heartbeat:
        monkeypatch.setenv("HEARTBEAT", str(heartbeat.make_url("/ping")))
        config = Config(
            store=StoreSettings(url=server.url),
            audit=Audit(heartbeat_url="env:HEARTBEAT", heartbeat_s=0.02, health_port=0),
            partitions=("p",),
        )
        running = asyncio.create_task(auditing.auditor(config, stop))
        while len(calls) < 2:
            await service.fold()
            await service.deliver()
            await asyncio.sleep(0.01)
        late.ms = AUDIT_STILL_MS + 1  # the watches are gone
        signals: list[Entry] = []
        while not signals:
            entries = await service.journal.read("p", BEGINNING, 10_000)
            signals = [e for e in entries if b"journal-still" in e.blob]
            await asyncio.sleep(0.01)
        before = len(calls)
        await asyncio.sleep(0.3)  # it would have called many times
        meanwhile = len(calls) - before
        late.ms = 0
        while len(calls) == before:
            await service.fold()
            await service.deliver()
            await asyncio.sleep(0.01)
        stop.set()
        await running
        assert meanwhile == 0
