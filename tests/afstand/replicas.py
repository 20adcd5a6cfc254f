"""Replicas in memory: what their tests share."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from afstand.watch import follower as follower_module
from afstand.watch.follower import Sources
from afstand.watch.metrics import WatchMetrics
from afstand.watch.replica import Replica
from afstand.watch.snapshots import Snapshots
from tests.afstand.journal import Journal, definitions, random_entries
from tests.afstand.memory_store import MemoryJournal, MemoryOutbox


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    """Wait for nothing: the store of these tests is back at once."""
    monkeypatch.setattr(follower_module, "WATCH_RETRY_S_MAX", 0.0)


def history(seed: int, count: int = 150) -> Journal:
    journal = Journal()
    for command in definitions():
        journal.command(command)
    random_entries(journal, random.Random(seed), count)
    return journal


def make(
    index: int, journal: Any, outbox: Any, folder, registry=None, *, refold: bool = False
) -> Replica:
    metrics = WatchMetrics(registry or CollectorRegistry()).of("p")
    snapshots = Snapshots(folder / f"replica-{index}", "p")
    return Replica(
        "p",
        index,
        Sources(journal, outbox),
        snapshots,
        metrics,
        snapshot_entries=100,
        refold=refold,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let the others run until it holds."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never held")


async def until_done(replica: Replica, journal: MemoryJournal, entries: int) -> None:
    """Run a replica until it has folded all of the given history."""
    stop = asyncio.Event()
    running = asyncio.create_task(replica.run(stop))
    last = journal.entries[entries - 1].id
    while replica._at < last or replica._unsettled:
        await asyncio.sleep(0)
        if running.done():
            await running
    stop.set()
    await running


def of_history(outbox: MemoryOutbox, journal: Journal, entries: int) -> list:
    last = journal.entries[entries - 1].id
    return [(entry.id, entry.blob) for entry in outbox.entries if entry.id <= last]
