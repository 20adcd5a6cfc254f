"""A store with a replica: what counts as written is in both, so either of them may be lost."""

import asyncio
import contextlib
from functools import partial
from typing import Any

import pytest

from afstand import roles
from afstand.config import load
from ingest import intake as intake_module
from ingest.cluster_writer import ClusterWriter
from ingest.entries import EntryKind
from ingest.journal import Append, Journal
from ingest.resp import RespWriter, parse_address
from ingest.store import BEGINNING, StoreUnavailableError, connect_store
from tests.cluster_servers import ask
from tests.ingest.fake_broker import until
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.servers
PARTITION = "p"


@pytest.fixture
def pair(tmp_path):
    """A primary, and a replica that has everything so far."""
    with RedisServer(tmp_path / "primary", extra=["--repl-diskless-sync-delay", "0"]) as primary:
        follows = ["--replicaof", primary.host, str(primary.port)]
        with RedisServer(tmp_path / "replica", extra=follows) as replica:
            wait_until(
                lambda: b"state=online" in ask(primary, "INFO", "replication"),
                "the replica follows",
            )
            yield primary, replica


@pytest.mark.parametrize(
    ("said", "copies"),
    [
        ({}, 0),
        ({"CLUSTER": "true"}, 1),
        ({"CLUSTER": "true", "COPIES": "0"}, 0),
        ({"COPIES": "2"}, 2),
    ],
)
async def test_the_intake_writes_with_what_the_configuration_asks_for(monkeypatch, said, copies):
    """In a cluster a replica takes over by itself, so it is asked there unless that is refused."""
    given = []

    async def take(settings, **_):
        given.append(settings)

    monkeypatch.setattr(roles, "run_intake", take)
    environ = {f"AFSTAND_STORE__{name}": value for name, value in said.items()}
    monkeypatch.setenv("K", "00" * 32)
    environ |= {"AFSTAND_REGISTRY__MASTER_KEY": "env:K", "AFSTAND_INTAKE__HEALTH_PORT": "0"}
    await roles.intake(load(None, environ), asyncio.Event())
    made: list[int] = []
    store: Any = None
    monkeypatch.setattr(intake_module, "RespWriter", lambda *_, copies, **__: made.append(copies))
    writing = intake_module._new_writer(given[0], store)
    if isinstance(writing, ClusterWriter):
        writing._writer_of(parse_address("redis://127.0.0.1:1"))
    assert made == [copies]


def writer(server, copies):
    return RespWriter(parse_address(server.url), copies=copies)


async def surely(writing, text):
    """Written in the end: a replica that catches up may need longer than one answer waits."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(StoreUnavailableError):
                return await writing.append_many(one(text))


def more_than(found, number):
    return len(found) > number


def one(text):
    return [Append(PARTITION, EntryKind.SIGNAL, text.encode())]


async def blobs(server):
    store = connect_store(server.url)
    found = [entry.blob for entry in await Journal(store).read(PARTITION, BEGINNING, 1_000)]
    await store.aclose()
    return found


async def test_nothing_counts_as_written_that_the_replica_does_not_have(pair):
    primary, replica = pair
    alone, both, three = (writer(primary, copies) for copies in (0, 1, 2))
    await surely(both, "in both")
    replica.pause()
    try:
        await alone.append_many(one("in one"))
        with pytest.raises(StoreUnavailableError, match="0 replicas have it, not 1"):
            await both.append_many(one("not answered"))
    finally:
        replica.resume()
    await surely(both, "in both again")
    with pytest.raises(StoreUnavailableError, match=r"[01] replicas have it, not 2"):
        await three.append_many(one("two are asked for"))
    for each in (alone, both, three):
        await each.aclose()


@pytest.mark.slow
async def test_what_was_answered_survives_the_loss_of_the_primary(pair):
    """The replica hangs now and then, and the primary dies in the middle of the writing."""
    primary, replica = pair
    asked, answered = 0, []
    writing = writer(primary, 1)

    async def write() -> None:
        nonlocal asked
        while True:
            text = f"frame {asked}"
            asked += 1
            try:
                await writing.append_many(one(text))
            except StoreUnavailableError:
                await asyncio.sleep(0.001)
            else:
                answered.append(text.encode())

    running = asyncio.create_task(write())
    for _ in range(3):
        before = len(answered)
        await until(partial(more_than, answered, before + 50))
        replica.pause()
        await asyncio.sleep(0.05)  # the primary goes on without it, and is asked to wait for it
        stood = len(answered)
        await asyncio.sleep(0.6)
        assert len(answered) == stood
        replica.resume()
    replica.pause()
    await asyncio.sleep(0.05)
    primary.kill()
    replica.resume()
    running.cancel()
    ask(replica, "REPLICAOF", "NO", "ONE")
    there = await blobs(replica)
    assert len(answered) >= 150
    assert [text for text in there if text in set(answered)] == answered
    assert asked > len(answered)
    await writing.aclose()
