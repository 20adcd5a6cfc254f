"""A whole service on a real broker and a real Redis, with receivers, for acceptance tests."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from afstand.cases import check_cases, dump_json, import_cases
from afstand.commands import JournalCommand
from afstand.embedded import Endpoint
from afstand.roles import open_store
from afstand.site import Site, TargetSpec, new_secret, write_config
from afstand.tail import Tail
from afstand.tools import command_and_answer
from afstand.watch.envelope import decode_envelope, output_key
from afstand.watch.fold import Watch
from alerting.book.types import Output
from ingest.archive.history import History
from ingest.entries import Entry, EntryKind, FrameBatch
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.registry import KeyBox, Registry
from ingest.store import BEGINNING, Store
from simulators.receivers import Kind, Receiver
from tests.servers import MosquittoServer, RedisServer

OIN = "00000001823288444000"
WITHIN_S = 30.0


class Service:
    """Servers, processes and receivers of one test."""

    def __init__(
        self,
        site: Site,
        store: Store,
        broker: MosquittoServer,
        redis: RedisServer,
        receivers: dict[str, Receiver],
    ) -> None:
        self.site = site
        self.store = store
        self.broker = broker
        self.redis = redis
        self.receivers = receivers
        self.partition = site.config.partitions[0]

    async def import_document(self, document: dict[str, Any]) -> None:
        """Put a cases document in, as `afstand orders import` does."""
        registry = Registry(self.store, KeyBox(self.site.master_key))
        await registry.load_all()
        cases = check_cases(dump_json(document), "test")
        await import_cases(cases, registry, Journal(self.store), self.site.config.partitions)

    async def start(self, *roles: str) -> None:
        """Start roles and wait until they work."""
        self.site.start(roles)
        await self.site.ready(roles)

    async def outputs(self) -> list[tuple[str, Output]]:
        """All outputs so far, each with its idempotency key."""
        found: list[tuple[str, Output]] = []
        after = BEGINNING
        while entries := await Outbox(self.store).read(self.partition, after, 500):
            after = entries[-1].id
            for entry in entries:
                found += [
                    (output_key(self.partition, entry.id, index), output)
                    for index, output in enumerate(decode_envelope(entry.blob).outputs)
                ]
        return found

    async def archived_outputs(self) -> list[tuple[str, Output]]:
        """All outputs since the beginning, those that were trimmed too."""
        found: list[tuple[str, Output]] = []
        archive = Path(self.site.config.archive.dir)
        async for entries in History(self.store, archive, self.partition).outbox():
            for entry in entries:
                found += [
                    (output_key(self.partition, entry.id, index), output)
                    for index, output in enumerate(decode_envelope(entry.blob).outputs)
                ]
        return found

    async def frames(self) -> list[bytes]:
        """Every frame in the journal, as often as it is there."""
        found: list[bytes] = []
        after = BEGINNING
        while entries := await Journal(self.store).read(self.partition, after, 500):
            after = entries[-1].id
            for entry in entries:
                if entry.kind is EntryKind.FRAMES:
                    found += [record.payload for record in FrameBatch.read(entry.blob).records()]
        return found

    async def command(self, command: JournalCommand) -> list[Output]:
        """What an operator does; gives what the watch made of it."""
        answer = await command_and_answer(self.store, self.partition, command)
        assert answer is not None, "no watch answered"
        return answer

    async def status(self, role: str, what: str) -> int:
        """The HTTP status of `/-/ready` or `/-/healthy` of a role."""
        url = f"http://127.0.0.1:{self.site.health_ports[role]}/-/{what}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status

    async def until(self, done: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> None:
        """Poll until `done()` (which may be awaitable) holds."""
        deadline = time.monotonic() + within_s
        while True:
            result = done()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s} s: {what}")
            await asyncio.sleep(0.005)

    @contextlib.asynccontextmanager
    async def tailing(self) -> AsyncIterator[Tail]:
        """Follow journal and outbox while the block runs."""
        tail = Tail(self.store, self.partition)
        following = asyncio.create_task(tail.run())
        try:
            yield tail
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following


RECEIVERS = (
    ("meldkamer", Kind.CAP, ("police",)),
    ("reclassering", Kind.EVENTS, ("probation",)),
    ("monitoring-centre", Kind.EVENTS, ("monitoring-centre",)),
    ("shift-lead", Kind.EVENTS, ("shift-lead",)),
)


@contextlib.asynccontextmanager
async def running_service(
    folder: Path,
    *,
    roles: Sequence[str] = (),
    snapshot_entries: int = 500,
    archive: Mapping[str, float] | None = None,
) -> AsyncIterator[Service]:
    """Start servers and receivers, and then the given roles."""
    receivers: dict[str, Receiver] = {}
    targets: list[TargetSpec] = []
    with MosquittoServer(folder / "broker") as broker, RedisServer(folder / "redis") as redis:
        try:
            for name, kind, audiences in RECEIVERS:
                secret = new_secret()
                receiver = Receiver(name, kind, [secret], acknowledge_in_answer=True)
                receivers[name] = receiver
                extra = {"sender": "test@afstand.example"} if kind is Kind.CAP else {"oin": OIN}
                targets.append(
                    TargetSpec(
                        name=name,
                        kind=kind.value,
                        url=await receiver.start(),
                        secret=secret,
                        audiences=audiences,
                        extra=extra,
                    )
                )
            endpoint = Endpoint("mosquitto", broker.port, "5")
            url = f"{redis.url}/0"
            site = write_config(
                folder, url, endpoint, targets, snapshot_entries=snapshot_entries, archive=archive
            )
            try:
                async with open_store(site.config) as store:
                    service = Service(site, store, broker, redis, receivers)
                    await service.start(*roles)
                    yield service
            finally:
                await site.stop()
        finally:
            for receiver in receivers.values():
                await receiver.stop()


async def afstand(service: Service, *arguments: str) -> tuple[int, str]:
    """Run the command; gives exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "afstand", *arguments),
        *("--config", str(service.site.config_file)),
        env={**os.environ, **service.site.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def history(service: Service) -> History:
    return History(service.store, Path(service.site.config.archive.dir), service.partition)


async def whole_journal(service: Service) -> list[Entry]:
    found: list[Entry] = []
    async for page in history(service).journal():
        found += page
    return found


def folded(entries: list[Entry], partition: str) -> list[tuple]:
    """The outbox of one uninterrupted fold."""
    watch = Watch(partition)
    steps = [(entry.id, watch.step(entry).blob) for entry in entries]
    return [(entry_id, blob) for entry_id, blob in steps if blob is not None]
