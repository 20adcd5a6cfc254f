"""The archiver's role and the commands about the past."""

import argparse

import msgspec
import pytest

from afstand.archiving import _alone, ages_of, expected_of
from afstand.cli import main
from afstand.config import load
from afstand.evidence import check_snapshots, moment
from afstand.watch.fold import Watch
from afstand.watch.snapshots import Snapshot, Snapshots
from alerting.book.types import AlarmClass, Notice
from ingest.entries import EntryKind
from ingest.store import EntryId
from tests.afstand.journal import Journal, outputs_of
from tests.servers import RedisServer


def test_a_moment_is_an_id_or_a_time():
    assert moment("1790000000000-3") == EntryId(1_790_000_000_000, 3)
    assert moment("2026-09-21T13:33:20") == EntryId(1_789_997_600_000, 0)
    assert moment("2026-09-21T15:33:20+02:00") == EntryId(1_789_997_600_000, 0)
    with pytest.raises(argparse.ArgumentTypeError, match="neither"):
        moment("yesterday")


def test_what_the_configuration_expects(tmp_path):
    config = load(None, {"AFSTAND_WATCH__REPLICAS": "3", "AFSTAND_ARCHIVE__KEEP_MINUTES": "0.5"})
    assert ages_of(config) == (30_000, 900_000)
    assert expected_of(config) == (["watch-0", "watch-1", "watch-2"], "notify", 600_000)


def test_one_archiver_at_a_time(tmp_path):
    with _alone(tmp_path / "a") as first, _alone(tmp_path / "a") as second:
        assert (first, second) == (True, False)
    with _alone(tmp_path / "a") as third:
        assert third


@pytest.mark.parametrize("signal", ["reader-silent", "archive-fault", "shadow-differs"])
def test_what_the_archiver_says_is_a_system_alarm(signal):
    journal = Journal()
    watch = Watch("p")
    blob = msgspec.msgpack.encode({"signal": signal, "detail": "watch-1 says nothing"})
    outputs = outputs_of(watch.step(journal.entry(EntryKind.SIGNAL, blob)))
    told = [output for output in outputs if isinstance(output, Notice)]
    assert told
    assert {notice.alarm_class for notice in told} == {AlarmClass.SYSTEM}


def test_a_damaged_snapshot_is_found(tmp_path):
    for replica in ("replica-0", "replica-1"):
        for ms in (1, 2):
            snapshots = Snapshots(tmp_path / replica, "p")
            path = snapshots.write(Snapshot(EntryId(ms, 0), "0", Watch("p").dump()))
    assert check_snapshots(tmp_path, ("p", "q")) == (4, [])
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    count, (found,) = check_snapshots(tmp_path, ("p", "q"))
    assert count == 4
    assert (found.where, path.name in found.what) == ("snapshot replica-1/p", True)


@pytest.mark.servers
@pytest.mark.slow
def test_readers_are_listed_and_forgotten(tmp_path, capsys, monkeypatch):
    with RedisServer(tmp_path) as server:
        monkeypatch.setenv("AFSTAND_STORE__URL", server.url)
        assert main(["readers", "list"]) == 0
        assert capsys.readouterr().out == ""
        assert main(["readers", "forget", "watch-1"]) == 1
        assert "no reader watch-1" in capsys.readouterr().err
