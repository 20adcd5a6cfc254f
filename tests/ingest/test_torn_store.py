"""A Redis whose append-only file was cut or changed: it starts, and what is gone is told."""

import random
from pathlib import Path

import pytest

from ingest.archive.chain import StreamName
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Appended, Outbox
from ingest.store import BEGINNING, connect_store
from tests.conftest import run_seed
from tests.ingest.archives import PARTITION, archiver, findings, read_all
from tests.servers import RedisServer

pytestmark = pytest.mark.servers


class Written:
    """Entries in journal and outbox of a store, all of them answered and chained."""

    def __init__(self, folder: Path) -> None:
        self.server = RedisServer(folder / "redis")
        self.root = folder / "archive"
        self.ids: list = []

    async def fill(self, count: int = 120) -> None:
        store = connect_store(self.server.start().url)
        journal, outbox = Journal(store), Outbox(store)
        for number in range(count):
            blob = b"blob %d " % number + bytes(40)
            entry_id = await journal.append(PARTITION, EntryKind.SIGNAL, blob)
            self.ids.append(entry_id)
            if number % 3 == 0:
                written = await outbox.append(PARTITION, entry_id, b"outputs " + blob)
                assert written is Appended.ACCEPTED
        one = archiver(store, self.root)
        await one.reopen()
        await one.cycle()
        await store.aclose()
        self.server.kill()

    @property
    def file(self) -> Path:
        (found,) = (self.server.directory / "appendonlydir").glob("*.incr.aof")
        return found


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(6))
async def test_a_cut_tail_loses_what_stood_behind_the_cut_and_nothing_else(tmp_path, turn):
    draw = random.Random(run_seed() + turn)
    written = Written(tmp_path)
    await written.fill()
    raw = written.file.read_bytes()
    cut = draw.choice([1, 7, 30, draw.randrange(1, len(raw) // 2)])
    written.file.write_bytes(raw[:-cut])
    with written.server.start():
        store = connect_store(written.server.url)
        journal, outbox = Journal(store), Outbox(store)
        held = [entry.id for entry in await journal.read(PARTITION, BEGINNING, 1000)]
        assert held == written.ids[: len(held)]
        decided = [entry.id for entry in await outbox.read(PARTITION, BEGINNING, 1000)]
        due = [entry_id for n, entry_id in enumerate(written.ids) if n % 3 == 0]
        assert decided == due[: len(decided)]
        assert not decided or decided[-1] <= held[-1]
        lost = len(held) < len(written.ids), len(decided) < len(due)
        assert any(lost) or cut < 40

        after = await journal.append(PARTITION, EntryKind.SIGNAL, b"after the restart")
        assert after > written.ids[-1]
        one = archiver(store, written.root)
        await one.reopen()
        told = [fault.what for fault in (await one.cycle()).faults]
        assert len(told) == sum(lost), told
        assert all("the store has lost the entries up to" in what for what in told)
        said = await findings(store, written.root)
        assert (
            len([one for one in said if "found by the archiver" in one]) == len(said) == len(told)
        )
        whole = await read_all(store, written.root, StreamName.JOURNAL, until=after)
        assert [item.id for item in whole] == [*held, after]
        await store.aclose()


@pytest.mark.slow
async def test_a_changed_byte_that_redis_does_not_notice_is_found(tmp_path):
    """The file has no checksum of its own: Redis loads the changed entry as if it were true."""
    written = Written(tmp_path)
    await written.fill()
    raw = written.file.read_bytes()
    at = raw.index(b"blob 57 ") + 5
    written.file.write_bytes(raw[:at] + b"8" + raw[at + 1 :])
    with written.server.start():
        store = connect_store(written.server.url)
        held = await Journal(store).read(PARTITION, BEGINNING, 1000)
        assert len(held) == len(written.ids)
        assert held[57].blob.startswith(b"blob 87 ")
        said = await findings(store, written.root)
        assert len(said) == 1
        assert f"journal entry {written.ids[57]}: is not what was chained" in said[0]
        await store.aclose()


@pytest.mark.slow
async def test_what_is_no_command_in_the_middle_stops_redis_rather_than_be_skipped(tmp_path):
    written = Written(tmp_path)
    await written.fill(30)
    raw = written.file.read_bytes()
    at = raw.index(b"XADD", len(raw) // 2) - 6
    written.file.write_bytes(raw[:at] + b"nonsense" + raw[at + 8 :])
    with pytest.raises(pytest.fail.Exception, match="did not start"):
        written.server.start()
    assert "Bad file format" in written.server.output()
