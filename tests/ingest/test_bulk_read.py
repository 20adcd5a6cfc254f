"""Pages of a journal as columns are what the general reader gives, entry for entry."""

import asyncio
import random

import numpy as np
import pytest

from ingest import bulk_read
from ingest.bulk_read import ODD, BulkReader, scan_entries
from ingest.columns import KIND_CODES
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.resp import parse_address
from ingest.store import BEGINNING, EntryId, StoreUnavailableError
from ingest.where import OneServer
from tests.servers import RedisServer

KINDS = [kind for kind in EntryKind if kind is not EntryKind.INVALID]


def answer(entries: list[tuple[bytes, list[bytes]]]) -> bytes:
    """What a store answers to XRANGE, without its first line."""

    def bulk(raw: bytes) -> bytes:
        return b"$%d\r\n%s\r\n" % (len(raw), raw)

    return b"".join(
        b"*2\r\n" + bulk(name) + b"*%d\r\n" % len(fields) + b"".join(map(bulk, fields))
        for name, fields in entries
    )


def random_answer(draw: random.Random, count: int) -> tuple[list, list]:
    """Entries, and what is to be found: id, kind, blob (None for one that is odd)."""
    entries, expected = [], []
    for number in range(count):
        entry_id = EntryId(draw.randrange(2**44), draw.randrange(3) * 10 ** draw.randrange(10))
        kind, blob = draw.choice(KINDS), draw.randbytes(draw.choice([0, 1, 9, 10, 99, 3000]))
        fields = [b"v", b"1", b"k", kind.value.encode(), b"b", blob]
        odd = draw.random() < 0.2
        if odd:
            draw.choice([
                lambda f: f.__setitem__(1, b"2"),
                lambda f: f.__setitem__(3, b"invalid"),
                lambda f: f.__setitem__(3, b"frame"),
                lambda f: f.extend([b"x", b"y"]),
                lambda f: f.reverse(),
                lambda f: f.clear(),
            ])(fields)  # fmt: skip
        entries.append((str(entry_id).encode(), fields))
        expected.append((entry_id, ODD if odd else KIND_CODES[kind], None if odd else blob))
        del number
    return entries, expected


@pytest.mark.parametrize("offset", range(10))
def test_random_answers_in_random_pieces_are_found_whole(seed, offset):
    draw = random.Random(seed + offset)
    entries, expected = random_answer(draw, 60)
    raw = np.frombuffer(answer(entries), np.uint8)
    rows = bulk_read._Rows.empty(len(entries))
    done = at = given = 0
    while given < len(raw):
        given = min(len(raw), given + draw.choice([1, 7, 60, 5000]))
        done, at = scan_entries(raw[:given], at, done, rows)
        assert 0 <= at <= given
    assert (done, at) == (len(entries), len(raw))
    for k, (entry_id, kind, blob) in enumerate(expected):
        assert (rows.ms[k], rows.seq[k], rows.kind[k]) == (*entry_id, kind), seed + offset
        if blob is not None:
            start = int(rows.start[k])
            assert raw[start : start + int(rows.length[k])].tobytes() == blob


@pytest.mark.parametrize("change", ["id", "array", "text"])
def test_what_is_no_entry_is_refused(change):
    raw = answer([(b"1-1", [b"v", b"1", b"k", b"tick", b"b", b""])])
    wrong = {
        "id": raw.replace(b"1-1", b"1+1"),
        "array": raw.replace(b"*2", b"*3", 1),
        "text": b"+OK\r\n" + raw,
    }[change]
    rows = bulk_read._Rows.empty(1)
    assert scan_entries(np.frombuffer(wrong, np.uint8), 0, 0, rows)[1] == -1


@pytest.mark.servers
async def test_pages_hold_what_the_general_reader_gives(store, redis_server, seed, monkeypatch):
    monkeypatch.setattr(bulk_read, "BULK_READ_ENTRIES_MAX", 700)
    draw = random.Random(seed)
    pipe = store.pipeline(transaction=False)
    for _ in range(3000):
        kind, blob = draw.choice(KINDS), draw.randbytes(draw.choice([0, 5, 100, 900]))
        pipe.execute_command("XADD", "journal:{p}", "*", "v", "1", "k", kind.value, "b", blob)
    await pipe.execute()
    await store.execute_command("XADD", "journal:{p}", "*", "k", "frames")
    expected = []
    after = BEGINNING
    while page := await Journal(store).read("p", after, 1000):
        expected += page
        after = page[-1].id
    reader = BulkReader(OneServer(parse_address(redis_server.url)))
    found, sizes = [], []
    after = BEGINNING
    while len(columns := await reader.read("p", after)):
        sizes.append(len(columns))
        assert (columns.kind != ODD).sum() >= len(columns) - 1
        found += [c if columns.kind[k] != ODD else None for k, c in enumerate(entries(columns))]
        after = columns.id(len(columns) - 1)
    assert found == [*expected[:-1], None]
    assert sizes[:2] == [256, 700]
    assert len(await reader.read("p", expected[99].id)) == 700  # elsewhere than it has asked ahead
    await reader.aclose()


def entries(columns):
    return [columns.entry(k) if columns.kind[k] != ODD else None for k in range(len(columns))]


@pytest.mark.servers
async def test_a_store_that_fails_is_said_so_and_read_again(tmp_path):
    with RedisServer(tmp_path, extra=["--requirepass", "hunter2"]) as server:
        where = f"{server.host}:{server.port}"
        for url in (f"redis://{where}", f"redis://:wrong@{where}"):
            with pytest.raises(StoreUnavailableError, match=r"NOAUTH|WRONGPASS"):
                await BulkReader(OneServer(parse_address(url))).read("p", BEGINNING)
        reader = BulkReader(OneServer(parse_address(f"redis://:hunter2@{where}/3")))
        assert len(await reader.read("p", BEGINNING)) == 0
        server.kill()
        with pytest.raises(StoreUnavailableError):
            await reader.read("p", BEGINNING)
        server.start()
        assert len(await reader.read("p", BEGINNING)) == 0
        await reader.aclose()


@pytest.mark.servers
async def test_who_waits_is_given_what_comes_as_the_general_reader_gives_it(store, redis_server):
    reader = BulkReader(OneServer(parse_address(redis_server.url)))
    journal = Journal(store)
    assert len(await reader.wait("p", BEGINNING, 10, 20)) == 0
    first = await journal.append("p", EntryKind.TICK, b"")
    blobs = [bytes([n]) * 40_000 for n in range(5)]
    for blob in blobs:
        await journal.append("p", EntryKind.FRAMES, blob)
    assert entries(await reader.wait("p", BEGINNING, 1, 20))[0].id == first
    found = await reader.wait("p", first, 10, 20)
    assert entries(found) == await journal.read("p", first, 10)
    assert [one.blob for one in entries(found)] == blobs
    last = found.id(len(found) - 1)
    waiting = asyncio.create_task(reader.wait("p", last, 10, 5_000))
    await store.execute_command("XADD", "journal:{p}", "*", "k", "frames")
    assert (await waiting).kind.tolist() == [ODD]
    assert len(await reader.read("p", first)) == 6  # the two ways share a connection
    assert len(await reader.wait("p", last, 10, 20)) == 1
    await store.execute_command("SET", "journal:{q}", "x")
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await reader.wait("q", BEGINNING, 10, 20)
    assert len(await reader.wait("p", last, 10, 20)) == 1
    await reader.aclose()
