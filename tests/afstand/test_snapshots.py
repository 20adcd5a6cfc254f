"""Snapshots: complete or passed over, never repaired."""

from hashlib import sha256

import msgspec
import pytest

from afstand.limits import SNAPSHOTS_KEPT
from afstand.watch import snapshots as module
from afstand.watch.fold import RULES, RULES_1, Watch
from afstand.watch.snapshots import (
    SNAPSHOT_FORMAT,
    Snapshot,
    SnapshotError,
    SnapshotRefusedError,
    Snapshots,
)
from ingest.entries import EntryKind
from ingest.store import EntryId
from tests.afstand.journal import Journal, definitions


def snapshot(ms, state=b"state"):
    return Snapshot(EntryId(ms, 1), "0.1.0", state)


def test_the_newest_comes_first_and_a_few_are_kept(tmp_path):
    snapshots = Snapshots(tmp_path, "p")
    for ms in (5, 30, 10, 20, 9):
        snapshots.write(snapshot(ms, b"%d" % ms))
    found = [snapshots.read(path) for path in snapshots.candidates()]
    assert [entry.entry_id.ms for entry in found] == [30, 20, 10]
    assert len(found) == SNAPSHOTS_KEPT
    assert found[0].state == b"30"


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_torn_file_says_so(tmp_path, cut):
    snapshots = Snapshots(tmp_path, "p")
    path = snapshots.write(snapshot(1))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SnapshotError, match=path.name):
        snapshots.read(path)


def test_a_changed_byte_anywhere_is_found(tmp_path):
    snapshots = Snapshots(tmp_path, "p")
    path = snapshots.write(snapshot(1, b"state" * 20))
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(SnapshotError, match="not what was written"):
            snapshots.read(path)


def test_one_of_other_rules_is_refused_and_says_which(tmp_path):
    snapshots = Snapshots(tmp_path, "p")
    path = snapshots.write(snapshot(1)._replace(rules="engine 0, book 0, watch 0"))
    assert snapshots.read(path).rules == "engine 0, book 0, watch 0"
    with pytest.raises(SnapshotRefusedError) as caught:
        snapshots.read_usable(path)
    for part in (path.name, "engine 0, book 0, watch 0", RULES, "program 0.1.0"):
        assert part in str(caught.value)


def test_one_of_other_rules_goes_through_its_migration(tmp_path, monkeypatch):
    snapshots = Snapshots(tmp_path, "p")
    path = snapshots.write(snapshot(1, b"old")._replace(rules="older"))
    monkeypatch.setattr(module, "MIGRATIONS", {"older": lambda state: state + b" made new"})
    assert snapshots.read_usable(path) == snapshot(1, b"old made new")

    def cannot(state):
        raise ValueError("a column is missing")

    monkeypatch.setattr(module, "MIGRATIONS", {"older": cannot})
    with pytest.raises(SnapshotRefusedError, match="a column is missing"):
        snapshots.read_usable(path)


@pytest.mark.parametrize("fields", [5, 6, 7])
def test_one_of_watch_1_goes_on_as_if_nothing_had_been_between(tmp_path, fields):
    """Written before persons moved (6 fields), before there were proposals (5), or since (7)."""
    journal, watch = Journal(), Watch("p")
    for command in definitions():
        journal.command(command)
    journal.frames(journal.fix("tag-1", 1, 5_000))
    for entry in journal.entries:
        watch.step(entry)
    state = msgspec.msgpack.decode(watch.dump())
    state[0] = 1
    old = snapshot(1, msgspec.msgpack.encode(state[:fields]))._replace(rules=RULES_1)
    snapshots = Snapshots(tmp_path, "p")
    found = snapshots.read_usable(snapshots.write(old))
    again = Watch.load("p", found.state)
    assert again.dump() == watch.dump()
    for north_m in (900, 0, 0, 0):
        journal.pass_s(10)
        entry = journal.frames(journal.fix("tag-1", 1, north_m))
        assert again.step(entry) == watch.step(entry)
    assert journal.entries[-1].kind is EntryKind.FRAMES
    state[0] = 0
    path = snapshots.write(old._replace(state=msgspec.msgpack.encode(state)))
    with pytest.raises(SnapshotRefusedError, match="state of format 0"):
        snapshots.read_usable(path)


def test_one_of_another_format_is_refused(tmp_path):
    snapshots = Snapshots(tmp_path, "p")
    path = snapshots.write(snapshot(1))
    raw = msgspec.msgpack.encode([SNAPSHOT_FORMAT + 1, "anything"])
    path.write_bytes(sha256(raw).digest() + raw)
    with pytest.raises(SnapshotRefusedError, match=f"format {SNAPSHOT_FORMAT + 1}"):
        snapshots.read_usable(path)


def test_another_partition_is_refused(tmp_path):
    path = Snapshots(tmp_path, "p").write(snapshot(1))
    other = tmp_path / "q"
    other.mkdir()
    path.rename(other / path.name)
    snapshots = Snapshots(tmp_path, "q")
    with pytest.raises(SnapshotError, match="of partition p"):
        snapshots.read(snapshots.candidates()[0])
