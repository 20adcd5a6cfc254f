"""The streams on a real cluster: who writes and reads finds the node, also after a failover."""

import asyncio
import time

import pytest

from afstand.limits import STORE_NODE_PATIENCE_S
from ingest.bulk_read import BulkReader
from ingest.cluster_writer import ClusterWriter
from ingest.entries import EntryKind
from ingest.journal import Append, Journal
from ingest.outbox import Appended, Outbox
from ingest.resp import RespWriter
from ingest.store import BEGINNING, StoreUnavailableError, connect_store, journal_key
from ingest.where import where_is
from tests.cluster_servers import ClusterServers

PARTITIONS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with ClusterServers(tmp_path_factory.mktemp("cluster")) as started:
        yield started


async def wait_for(attempt, within_s=20.0):
    """Try until it does not say that the store is away."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                return await attempt()
            except StoreUnavailableError:
                await asyncio.sleep(0.05)


@pytest.mark.servers
async def test_a_primary_that_dies_takes_nothing_along_that_was_answered(servers):
    """Writes go on all the time; what was answered with a copy is there after the failover."""
    store = connect_store(servers.url, cluster=True)
    where = where_is(servers.url, cluster=True)
    writer = ClusterWriter(where, lambda node: RespWriter(node, copies=1))
    nodes = {name: servers.primary_of(journal_key(name)) for name in PARTITIONS}
    victim = nodes["a"]
    elsewhere = [name for name, node in nodes.items() if node is not victim]
    assert elsewhere, "the partitions are on several nodes"
    answered: dict[str, list] = {name: [] for name in PARTITIONS}
    failures = 0

    async def write(number: int) -> None:
        nonlocal failures
        blobs = [f"{name} {number}".encode() for name in PARTITIONS]
        try:
            written, also = await writer.append_many(
                [Append(n, EntryKind.SIGNAL, b) for n, b in zip(PARTITIONS, blobs, strict=True)],
                [("XADD", "quarantine", "*", "n", number)],
            )
        except StoreUnavailableError:
            failures += 1
            return
        assert len(also) == 1
        for name, result in zip(PARTITIONS, written, strict=True):
            if isinstance(result, StoreUnavailableError):
                failures += 1
            else:
                answered[name].append((result, f"{name} {number}".encode()))

    for number in range(60):
        await write(number)
    assert failures == 0
    victim.kill()
    while failures < 3:
        number += 1
        await write(number)
    # What took over has no replica, and answers for nothing until it has one again.
    await asyncio.to_thread(victim.start)
    before = {name: len(found) for name, found in answered.items()}
    async with asyncio.timeout(40):
        while any(len(answered[name]) < before[name] + 20 for name in PARTITIONS):
            number += 1
            await write(number)
            await asyncio.sleep(0.01)
    await writer.aclose()

    for name in PARTITIONS:
        found = {(one.id, one.blob) for one in await wait_for(lambda n=name: all_of(store, n))}
        assert set(answered[name]) <= found, name
    await store.aclose()


@pytest.mark.servers
async def test_a_node_that_hangs_holds_up_nobody_else(servers):
    writer = ClusterWriter(where_is(servers.url, cluster=True), RespWriter)
    nodes = {name: await wait_for(lambda n=name: primary(servers, n)) for name in PARTITIONS}
    hung = nodes["a"]
    well = next(name for name, node in nodes.items() if node is not hung)
    both = [Append("a", EntryKind.TICK, b""), Append(well, EntryKind.TICK, b"")]
    await wait_for(lambda: strictly(writer.append_many(both)))
    hung.pause()
    try:
        for _ in range(3):
            written, _ = await writer.append_many(both)
            assert isinstance(written[0], StoreUnavailableError)
            assert not isinstance(written[1], StoreUnavailableError)
        began_s = time.monotonic()
        for _ in range(20):
            await writer.append_many(both)
        assert time.monotonic() - began_s < 3 * STORE_NODE_PATIENCE_S, "one wait, or two"
    finally:
        hung.resume()
    await wait_for(lambda: strictly(writer.append_many(both)))
    await writer.aclose()


async def primary(servers, partition):
    return servers.primary_of(journal_key(partition))


async def strictly(writing):
    written, _ = await writing
    for result in written:
        if isinstance(result, StoreUnavailableError):
            raise result


async def all_of(store, partition):
    journal, after, found = Journal(store), BEGINNING, []
    while entries := await journal.read(partition, after, 500):
        found += entries
        after = entries[-1].id
    return found


@pytest.mark.servers
async def test_every_part_of_the_store_works_on_a_cluster(servers):
    store = connect_store(servers.url, cluster=True)
    journal, outbox = Journal(store), Outbox(store)
    for name in ("e", "f", "g"):
        first = await wait_for(lambda n=name: journal.append(n, EntryKind.TICK, b""))
        second = await journal.append(name, EntryKind.SIGNAL, b"x")
        where = where_is(servers.url, cluster=True)
        reader = BulkReader(where)
        assert (await reader.read(name, BEGINNING)).id(1) == second
        assert (await reader.wait(name, first, 10, 50)).id(0) == second
        await reader.aclose()
        await where.aclose()
        assert await outbox.append(name, second, b"blob") is Appended.ACCEPTED
        assert await outbox.append(name, second, b"blob") is Appended.REFUSED
        await outbox.ensure_group(name, "notify")
        taken = await outbox.read_group(name, "notify", "n1", 10, 50)
        assert [(entry.id, entry.blob) for entry in taken] == [(second, b"blob")]
        await outbox.ack(name, "notify", [second])
        assert await outbox.done_before(name) > second
    appends = [Append(name, EntryKind.TICK, b"") for name in ("e", "f", "g")]
    written, _ = await journal.append_many(appends)
    assert not any(isinstance(one, StoreUnavailableError) for one in written)
    await store.aclose()
