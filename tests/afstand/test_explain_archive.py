"""An alarm whose records have left the store is explained from the archive."""

import pytest

from afstand.explain.account import account_of
from afstand.explain.reading import gather, read_name
from alerting.book.types import AlarmRecord, Change
from ingest.archive import archiver as archiver_module
from ingest.archive.history import History
from ingest.outbox import Outbox
from ingest.store import BEGINNING, connect_store
from tests.afstand.test_explain import Site
from tests.ingest.archives import PARTITION, all_passed, archiver
from tests.servers import RedisServer


@pytest.mark.slow
@pytest.mark.servers
async def test_what_left_the_store_is_explained_from_the_archive(tmp_path, monkeypatch):
    site = Site()
    site.walk(900, 600, 315, 290, 250, 200, 150, every_s=5)
    journal = list(site.journal.entries)
    raised = next(a for a in site.outputs(AlarmRecord) if a.change is Change.RAISED)
    expected = await site.account(raised.alarm_id)
    assert len(expected.verdicts) > 2
    later_ms = journal[-1].id.ms

    async def tell(_store):
        return later_ms

    monkeypatch.setattr(archiver_module, "_now_ms", tell)
    with RedisServer(tmp_path / "redis") as server:
        store = connect_store(server.url)
        try:
            for entry in journal:
                key = f"journal:{{{PARTITION}}}"
                await store.execute_command(
                    *("XADD", key, str(entry.id), "v", "1", "k", entry.kind, "b", entry.blob)
                )
            for kept in site.kept:
                await Outbox(store).append(PARTITION, kept.id, kept.blob)
            await all_passed(store)
            one = archiver(store, tmp_path / "archive")
            await one.reopen()
            for _ in range(20):
                later_ms += 60_000
                await one.cycle()
            assert len(await Outbox(store).read(PARTITION, BEGINNING, 1000)) < len(site.kept)
            past = History(store, tmp_path / "archive", PARTITION)
            found = await gather(past, read_name(raised.alarm_id, [PARTITION]))
            assert account_of(found, "nl", positions=False) == expected
        finally:
            await store.aclose()
