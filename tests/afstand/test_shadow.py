"""A shadow folds beside the watches, says the first difference, and writes nothing."""

import asyncio
import random

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from afstand.limits import SHADOW_WAIT_S
from afstand.watch import follower as follower_module
from afstand.watch.envelope import decode_envelope, encode_envelope
from afstand.watch.fold import Watch
from afstand.watch.follower import Sources
from afstand.watch.metrics import WatchMetrics
from afstand.watch.shadow import Shadow, difference
from afstand.watch.snapshots import Snapshot, Snapshots
from alerting.book.types import Notice
from ingest.entries import EntryKind
from ingest.outbox import OutboxEntry
from tests.afstand.journal import fold
from tests.afstand.memory_store import Faults, MemoryJournal, MemoryOutbox
from tests.afstand.replicas import history
from tests.conftest import run_seed


class ReadOnlyJournal(MemoryJournal):
    """Takes signals alone."""

    async def append(self, partition, kind, blob):
        assert kind is EntryKind.SIGNAL
        return await super().append(partition, kind, blob)


class ReadOnlyOutbox(MemoryOutbox):
    async def append(self, partition, entry_id, blob):
        raise AssertionError("a shadow writes no outbox")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(follower_module, "WATCH_RETRY_S_MAX", 0.0)


class Beside:
    """A shadow, and the streams of watches that have folded all of a history."""

    def __init__(self, tmp_path, share: float = 0.0) -> None:
        self.made = history(run_seed(), 80)
        self.count = len(self.made.entries)
        faults = Faults(random.Random(1), share)
        self.journal = ReadOnlyJournal(self.made.entries, faults)
        self.outbox = ReadOnlyOutbox(faults)
        self.folded = fold(Watch("p"), list(self.made.entries))
        self.outbox.entries = [OutboxEntry(*one) for one in self.folded]
        self.registry = CollectorRegistry()
        self.folder = tmp_path
        self.shadow = self.new()

    def new(self, others=()) -> Shadow:
        return Shadow(
            "p",
            "shadow-new",
            Sources(self.journal, self.outbox),  # type: ignore[arg-type]
            Snapshots(self.folder / "shadow-new", "p"),
            WatchMetrics(CollectorRegistry()).of("p")
            if others
            else WatchMetrics(self.registry).of("p"),
            snapshot_entries=100,
            others=others,
        )

    async def run(self) -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(self.shadow.run(stop))
        last = self.made.entries[self.count - 1].id
        for _ in range(5000):
            await asyncio.sleep(0)
            if self.shadow._at >= last and self.shadow._compared >= self.outbox.entries[-1].id:
                break
            if running.done():
                break
        stop.set()
        await running

    def signals(self) -> list[dict]:
        found = [entry for entry in self.made.entries if entry.kind is EntryKind.SIGNAL]
        return [msgspec.msgpack.decode(entry.blob) for entry in found]

    def metric(self) -> float | None:
        name = "afstand_watch_shadow_differences_total"
        return self.registry.get_sample_value(name, {"partition": "p"})

    def place(self, *, with_notice: bool = True) -> int:
        """An outbox entry in the middle."""
        return next(
            at
            for at, one in enumerate(self.outbox.entries)
            if at > 3
            and (
                not with_notice
                or any(isinstance(o, Notice) for o in decode_envelope(one.blob).outputs)
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.2])
async def test_the_same_program_finds_no_difference(tmp_path, share):
    beside = Beside(tmp_path, share)
    await beside.run()
    assert (beside.shadow.differences, beside.shadow.first) == (0, "")
    assert beside.signals() == []
    assert beside.metric() == 0
    assert not beside.shadow._mine


@pytest.mark.slow
async def test_the_first_difference_is_said_with_entry_and_field(tmp_path):
    beside = Beside(tmp_path)
    for at in (beside.place(), beside.place() + 1):
        entry = beside.outbox.entries[at]
        envelope = decode_envelope(entry.blob)
        changed = [
            msgspec.structs.replace(o, detail="another") if isinstance(o, Notice) else o
            for o in envelope.outputs
        ]
        beside.outbox.entries[at] = OutboxEntry(entry.id, encode_envelope(1, changed))
    await beside.run()
    first = beside.outbox.entries[beside.place()]
    assert beside.shadow.first.startswith(f"entry {first.id}: ")
    assert "received_ms" in beside.shadow.first
    assert beside.metric() == beside.shadow.differences >= 1
    (signal,) = beside.signals()
    assert signal["signal"] == "shadow-differs"
    assert str(first.id) in signal["detail"]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["left out", "added"])
async def test_an_output_too_few_or_too_many_is_a_difference(tmp_path, change):
    beside = Beside(tmp_path)
    at = beside.place()
    there = beside.outbox.entries[at]
    if change == "left out":
        del beside.outbox.entries[at]
        expected = f"entry {there.id}: received_ms: "
    else:
        quiet = next(e for e in beside.made.entries if e.id not in dict(beside.folded))
        beside.outbox.entries.append(OutboxEntry(quiet.id, there.blob))
        beside.outbox.entries.sort()
        expected = f"entry {quiet.id}: received_ms: <nothing> instead of "
    await beside.run()
    assert beside.shadow.first.startswith(expected)
    assert beside.shadow.differences == 1


@pytest.mark.slow
async def test_what_no_watch_writes_is_a_difference_in_the_end(tmp_path, monkeypatch):
    beside = Beside(tmp_path)
    missing = beside.outbox.entries.pop()
    await beside.run()
    assert beside.shadow.differences == 0
    assert [one.id for one in beside.shadow._mine] == [missing.id]
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now_s + 2 * SHADOW_WAIT_S)
    await beside.shadow._compare()
    assert beside.shadow.first.startswith(f"entry {missing.id}: ")


@pytest.mark.slow
async def test_a_shadow_may_begin_with_the_snapshot_of_a_watch(tmp_path):
    beside = Beside(tmp_path)
    half = beside.count // 2
    watch = Watch("p")
    for entry in beside.made.entries[:half]:
        watch.step(entry)
    theirs = Snapshots(tmp_path / "replica-0", "p")
    theirs.write(Snapshot(beside.made.entries[half - 1].id, "0", watch.dump()))
    beside.outbox.entries[0] = OutboxEntry(beside.outbox.entries[0].id, b"of another time")
    beside.shadow = beside.new([theirs])
    await beside.run()
    assert beside.shadow.differences == 0


def test_a_difference_is_said_without_a_place_of_a_person():
    made = history(run_seed(), 120)
    blobs = [blob for _, blob in fold(Watch("p"), made.entries)]
    blob, notice, position = next(
        (blob, one, one.wearer_position)
        for blob in blobs
        for one in decode_envelope(blob).outputs
        if isinstance(one, Notice) and one.wearer_position is not None
    )
    envelope = decode_envelope(blob)
    elsewhere = msgspec.structs.replace(position, lat_e7=1)
    moved = msgspec.structs.replace(notice, wearer_position=elsewhere)
    changed = [moved if one == notice else one for one in envelope.outputs]
    said = difference(blob, encode_envelope(envelope.received_ms, changed))
    assert said.endswith("wearer_position: <Position> instead of <Position>")
    assert difference(blob, blob) == "other bytes for the same outputs"
    assert difference(blob, b"\xc1").startswith("the outbox of the watches cannot be read")
