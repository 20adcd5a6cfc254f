"""Replicas on a store that fails.

Whoever dies, whenever, the outbox is the one of a single fold.
"""

import asyncio
import random

import pytest
from prometheus_client import CollectorRegistry

from afstand.watch.fold import Watch
from afstand.watch.follower import run_until_refused
from afstand.watch.snapshots import Snapshot, Snapshots
from ingest.entries import EntryKind
from ingest.outbox import OutboxEntry
from ingest.store import EntryId
from tests.afstand.journal import fold
from tests.afstand.memory_store import Faults, MemoryJournal, MemoryOutbox
from tests.afstand.replicas import (
    history,
    make,
    of_history,
    quick_retries,
    until,
    until_done,
)
from tests.conftest import run_seed

__all__ = ["quick_retries"]


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(8))
async def test_random_faults_and_deaths_leave_the_outbox_of_one_fold(tmp_path, offset):
    seed = run_seed() + offset
    draw = random.Random(seed)
    journal = history(seed)
    entries = len(journal.entries)
    expected = fold(Watch("p"), list(journal.entries))
    faults = Faults(draw, 0.15)
    shared, outbox = MemoryJournal(journal.entries, faults), MemoryOutbox(faults)

    async def mortal(index: int) -> None:
        """A replica that is killed at a random moment and started again."""
        for _ in range(3):
            running = asyncio.create_task(
                until_done(make(index, shared, outbox, tmp_path), shared, entries)
            )
            for _ in range(draw.randrange(40, 400)):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await until_done(make(index, shared, outbox, tmp_path), shared, entries)

    await asyncio.gather(mortal(0), mortal(1))
    assert of_history(outbox, journal, entries) == expected, f"seed {seed}"
    assert faults.happened > 5, f"seed {seed}"


@pytest.mark.slow
async def test_a_replica_that_differs_is_noticed_by_the_other(tmp_path, monkeypatch):
    journal = history(run_seed(), 60)
    entries = len(journal.entries)
    faults = Faults(random.Random(0), 0.0)
    shared, outbox = MemoryJournal(journal.entries, faults), MemoryOutbox(faults)
    await until_done(make(0, shared, outbox, tmp_path), shared, entries)
    changed = outbox.entries[3]
    outbox.entries[3] = type(changed)(changed.id, changed.blob[:-1] + b"x")
    registry = CollectorRegistry()
    await until_done(make(1, shared, outbox, tmp_path, registry), shared, entries)
    assert registry.get_sample_value("afstand_watch_divergences_total", {"partition": "p"}) == 1
    signals = [entry for entry in journal.entries if entry.kind is EntryKind.SIGNAL]
    assert len(signals) == 1
    assert str(changed.id).encode() in signals[0].blob


@pytest.mark.slow
async def test_an_output_that_the_other_replica_left_out_is_noticed(tmp_path):
    journal = history(run_seed(), 60)
    entries = len(journal.entries)
    faults = Faults(random.Random(0), 0.0)
    shared, outbox = MemoryJournal(journal.entries, faults), MemoryOutbox(faults)
    await until_done(make(0, shared, outbox, tmp_path), shared, entries)
    del outbox.entries[3]
    registry = CollectorRegistry()
    await until_done(make(1, shared, outbox, tmp_path, registry), shared, entries)
    assert registry.get_sample_value("afstand_watch_divergences_total", {"partition": "p"}) == 1
    assert b"missing" in next(e.blob for e in journal.entries if e.kind is EntryKind.SIGNAL)


@pytest.mark.slow
async def test_a_restart_goes_on_from_its_snapshot(tmp_path):
    journal = history(run_seed())
    entries = len(journal.entries)
    expected = fold(Watch("p"), list(journal.entries))
    faults = Faults(random.Random(0), 0.0)
    shared, outbox = MemoryJournal(list(journal.entries[:100]), faults), MemoryOutbox(faults)
    await until_done(make(0, shared, outbox, tmp_path), shared, 100)
    shared.entries[:] = journal.entries
    again = make(0, shared, outbox, tmp_path)
    again._restore()
    assert again._at == journal.entries[99].id or again._at > journal.entries[99].id
    await until_done(make(0, shared, outbox, tmp_path), shared, entries)
    found = of_history(outbox, journal, entries)
    assert [one for one in found if one[0] in {e[0] for e in expected}] == expected


async def test_a_torn_snapshot_is_passed_over_for_the_one_before(tmp_path):
    journal = history(run_seed(), 20)
    faults = Faults(random.Random(0), 0.0)
    shared, outbox = MemoryJournal(journal.entries, faults), MemoryOutbox(faults)
    first = make(0, shared, outbox, tmp_path)
    await until_done(first, shared, 10)
    await until_done(make(0, shared, outbox, tmp_path), shared, len(journal.entries))
    newest, before, *_ = Snapshots(tmp_path / "replica-0", "p").candidates()
    newest.write_bytes(newest.read_bytes()[:40])
    again = make(0, shared, outbox, tmp_path)
    again._restore()
    assert again._at == Snapshots(tmp_path / "replica-0", "p").read(before).entry_id


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(6))
async def test_a_store_that_lost_its_end_is_noticed_and_what_is_left_is_folded(tmp_path, offset):
    """Journal and outbox lose their newest entries together; new ones come; two replicas agree."""
    seed = run_seed() + offset
    draw = random.Random(seed)
    journal = history(seed)
    count = len(journal.entries)
    faults = Faults(draw, 0.0)
    shared, outbox = MemoryJournal(list(journal.entries), faults), MemoryOutbox(faults)
    registry = CollectorRegistry()
    replicas = [make(0, shared, outbox, tmp_path, registry), make(1, shared, outbox, tmp_path)]
    stop = asyncio.Event()
    running = [asyncio.create_task(replica.run(stop)) for replica in replicas]
    done = journal.entries[count - 1].id
    await until(lambda: all(one._at >= done and not one._unsettled for one in replicas))
    kept = draw.randrange(count // 2, count - 5)
    last = journal.entries[kept - 1].id
    del shared.entries[kept:]
    outbox.entries = [entry for entry in outbox.entries if entry.id <= last]
    if draw.random() < 0.5 and outbox.entries:
        del outbox.entries[-1]
    faults.share = 1.0  # the store was away meanwhile
    for _ in range(20):
        await asyncio.sleep(0)
    faults.share = 0.0
    shared.entries += [
        entry._replace(id=EntryId(entry.id.ms + 10**7, entry.id.seq))
        for entry in journal.entries[kept:]
    ]
    end = shared.entries[-1].id
    await until(lambda: all(one._at >= end and not one._unsettled for one in replicas))
    stop.set()
    await asyncio.gather(*running)
    expected = fold(Watch("p"), [entry for entry in shared.entries if entry.id <= end])
    found = [(entry.id, entry.blob) for entry in outbox.entries if entry.id <= end]
    assert found == expected, f"seed {seed}"
    lost = registry.get_sample_value("afstand_watch_store_lost_total", {"partition": "p"})
    assert lost is not None
    assert lost >= 1
    assert registry.get_sample_value("afstand_watch_divergences_total", {"partition": "p"}) == 0


async def test_snapshots_of_other_rules_are_refused_unless_all_is_folded_anew(tmp_path):
    journal = history(run_seed(), 20)
    faults = Faults(random.Random(0), 0.0)
    shared, outbox = MemoryJournal(journal.entries, faults), MemoryOutbox(faults)
    expected = fold(Watch("p"), list(journal.entries))
    outbox.entries = [OutboxEntry(entry_id, b"of other rules") for entry_id, _ in expected[:3]]
    Snapshots(tmp_path / "replica-0", "p").write(
        Snapshot(journal.entries[5].id, "0", Watch("p").dump(), "engine 0")
    )
    count = len(journal.entries)
    stopped = make(0, shared, outbox, tmp_path)
    stop = asyncio.Event()
    running = asyncio.create_task(run_until_refused(stopped, stop))
    await until(lambda: stopped.not_ready.startswith("snapshots of other rules"))
    stop.set()
    await running
    assert "engine 0" in stopped.not_ready
    assert stopped._at == EntryId(0, 0)
    anew = make(0, shared, outbox, tmp_path, refold=True)
    await until_done(anew, shared, count)
    assert of_history(outbox, journal, count)[3:] == expected[3:]
    assert [entry for entry in journal.entries if entry.kind is EntryKind.SIGNAL] == []


async def test_an_empty_store_does_not_make_a_watch_forget(tmp_path):
    journal = history(run_seed(), 20)
    faults = Faults(random.Random(0), 0.0)
    shared, outbox = MemoryJournal(journal.entries, faults), MemoryOutbox(faults)
    await until_done(make(0, shared, outbox, tmp_path), shared, len(journal.entries))
    shared.entries = []
    again = make(0, shared, outbox, tmp_path)
    stop = asyncio.Event()
    running = asyncio.create_task(again.run(stop))
    await until(lambda: "the store is empty" in again.not_ready)
    stop.set()
    await running
    assert again._at > EntryId(0, 0)
