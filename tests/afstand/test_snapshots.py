"""Snapshots: complete or passed over, never repaired."""

import pytest

from afstand.limits import SNAPSHOTS_KEPT
from afstand.watch.snapshots import Snapshot, SnapshotError, Snapshots
from ingest.store import EntryId


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


def test_a_changed_byte_anywhere_is_found_or_changes_nothing(tmp_path):
    snapshots = Snapshots(tmp_path, "p")
    path = snapshots.write(snapshot(1, b"state" * 20))
    good = path.read_bytes()
    noticed = 0
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            assert snapshots.read(path) == snapshot(1, b"state" * 20)
        except SnapshotError:
            noticed += 1
    assert noticed > len(good) / 2


def test_another_partition_is_refused(tmp_path):
    path = Snapshots(tmp_path, "p").write(snapshot(1))
    other = tmp_path / "q"
    other.mkdir()
    path.rename(other / path.name)
    snapshots = Snapshots(tmp_path, "q")
    with pytest.raises(SnapshotError, match="of partition p"):
        snapshots.read(snapshots.candidates()[0])
