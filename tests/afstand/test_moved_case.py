"""A case that moved: its evidence is in two partitions, and so is what is erased or kept of it."""

import asyncio
import json
import runpy
import sys
from pathlib import Path

import pytest

from afstand.cli import main
from afstand.commands import CaseErased, HoldCase, MovePersons, decode_command
from afstand.erasure.cases import read_room
from afstand.erasure.retention import POSITIONS, RECORDS
from afstand.erasure.subjects import Subjects
from afstand.watch.fold import Watch
from firmware_contracts import EventCode
from ingest.archive.archiver import PartitionArchiver
from ingest.archive.chain import StreamName
from ingest.archive.mover import Ages
from ingest.columns import EntryColumns, Item
from ingest.entries import EntryKind
from ingest.readers import Readers
from ingest.store import EntryId, connect_store
from tests.afstand.journal import Journal, definitions, fold
from tests.ingest.archives import EXPECTED
from tests.servers import RedisServer
from tests.test_house import ROOT

NAMES = ("p", "q")


def moved() -> dict[str, Journal]:
    """Wim breaks his ban in p; the case moves to q when that is closed; Vera presses there."""
    journals = {name: Journal() for name in NAMES}
    p, q = journals["p"], journals["q"]
    for command in definitions():
        p.command(command)
    for minute in range(6):
        p.pass_s(20)
        p.frames(p.fix("tag-1", 1, 3_000 - 100 * minute))
    p.command(MovePersons(person_ids=("wim",), to="q", by="engineer"))
    q.now_ms = p.now_ms
    watch = Watch("p")
    for passed in [one for entry in p.entries for one in watch.step(entry).passed]:
        assert passed.partition == "q"
        q.pass_s(0.01)
        q.entry(passed.kind, passed.blob)
    q.pass_s(20)
    q.frames(q.fix("tag-1", 1, 2_000))
    q.pass_s(5)
    q.frames(q.event("victim-2", 2, EventCode.PANIC))
    for journal in journals.values():
        journal.pass_s(60)
        journal.tick()
    return journals


async def write(url: str, root: Path, journals: dict[str, Journal]) -> None:
    """Put both partitions into a store, and chain all of it; half of it goes into the archive."""
    store = connect_store(url)
    try:
        for name, journal in journals.items():
            for one in journal.entries:
                await store.execute_command(
                    "XADD", StreamName.JOURNAL.key(name), str(one.id),
                    "v", "1", "k", one.kind.value, "b", one.blob,
                )  # fmt: skip
            for entry_id, blob in fold(Watch(name), journal.entries):
                await store.execute_command(
                    "XADD", StreamName.OUTBOX.key(name), str(entry_id), "v", "1", "b", blob
                )
            end = EntryId(2**42, 0)
            for reader in EXPECTED.readers:
                await Readers(store).register(name, reader, end, end)
            archiver = PartitionArchiver(store, root, name, Ages(0, 0), EXPECTED, Subjects())
            await archiver.reopen()
            for _ in range(3):
                assert (await archiver.cycle()).faults == []
    finally:
        await store.aclose()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder, journals = tmp_path_factory.mktemp("moved"), moved()
    with RedisServer(folder / "redis") as server:
        asyncio.run(write(server.url, folder / "archive", journals))
        assert main(["evidence-key", str(folder / "key.pem")]) == 0
        (folder / "master").write_text("11" * 32)
        path = folder / "afstand.toml"
        path.write_text(f"""
            partitions = ["p", "q"]
            [store]
            url = "{server.url}"
            [archive]
            dir = "{folder / "archive"}"
            [watch]
            data_dir = "{folder / "data"}"
            [registry]
            master_key = "file:{folder / "master"}"
            [consultations]
            pseudonym_key = "file:{folder / "master"}"
            [evidence]
            signing_key = "file:{folder / "key.pem"}"
        """)
        yield path, journals


def checked(folder: Path) -> int:
    """What the checker of bundles, which knows nothing of us, says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["verify_bundle.py", str(folder)])
        try:
            runpy.run_path(str(ROOT / "deploy/verify_bundle.py"), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    raise AssertionError("it ended without a code")


@pytest.mark.servers
@pytest.mark.slow
def test_each_part_of_the_past_is_replayed_and_bundled_where_it_was(site, capsys, tmp_path):
    path, journals = site
    config = ("--config", str(path))
    alarms = {}
    for partition, given in (("q", ()), ("p", ("--partition", "p")), ("q", ("--partition", "q"))):
        assert main(["replay", "case", "--json", *config, *given]) == 0
        said = capsys.readouterr()
        result = json.loads(said.out)
        assert (result["partition"], result["differing"]) == (partition, 0)
        assert ("what was before is in p: --partition p" in said.err) == (not given)
        alarms[partition] = {one["alarm_class"] for one in result["alarms"]}
        out = tmp_path / f"{partition}{len(given)}"
        why = ("--out", str(out), "--by", "x", "--reason", "proces-verbaal 1")
        assert main(["bundle", "case", *config, *given, *why]) == 0
        capsys.readouterr()
        assert checked(out) == 0
        capsys.readouterr()
    assert "panic" in alarms["q"]
    assert "panic" not in alarms["p"]
    # As it was before it moved, it is where it was.
    before = str(journals["p"].entries[-3].id)
    assert main(["replay", "case", "--json", *config, "--to", before]) == 0
    assert json.loads(capsys.readouterr().out)["partition"] == "p"


class _Columns:
    def __init__(self, journal: Journal) -> None:
        self._entries = journal.entries

    async def columns(self, stream, after=None, until=None):
        yield EntryColumns.of(self._entries)


async def test_a_hold_and_an_order_that_goes_on_count_in_both_partitions_and_erasure_in_one():
    journals = moved()
    hold = HoldCase(case_id="case", by="x", authority="rechtbank", reason="beroep")
    journals["q"].command(hold)
    journals["q"].command(CaseErased(
        case_id="case", category=POSITIONS, persons=(), zones=(), by="x", authority="y",
        keys=(), proof="",
    ))  # fmt: skip
    p, q = (_Columns(journals[name]) for name in NAMES)
    alone = (await read_room(p)).cases["case"]
    there = (await read_room(p, [q])).cases["case"]
    here = (await read_room(q, [p])).cases["case"]
    assert alone.holds == []
    assert there.holds == here.holds == [hold]
    assert there.said_ms > alone.said_ms
    assert (list(there.erased), list(here.erased)) == ([], [POSITIONS])
    # Nor does the partition that they left pass on what was erased of its own archive.
    watch = Watch("p")
    for entry in journals["p"].entries:
        watch.step(entry)
    for said, passed in ((journals["q"].entries[-1], 0), (journals["q"].entries[-2], 1)):
        at = journals["p"].entry(EntryKind.COMMAND, said.blob)
        assert len(watch.step(at).passed) == passed


def test_what_moved_is_sealed_for_everybody_of_the_group():
    journals, subjects = moved(), Subjects()
    found = {}
    for journal in journals.values():
        for entry in journal.entries:
            item = Item(entry.id, entry.kind.value, entry.blob)
            subjects.learn(item)
            if entry.kind is EntryKind.COMMAND:
                (about,) = subjects.subjects(item, [entry.blob])
                found[type(decode_command(entry.blob)).__name__] = about
    assert found["TakeGroup"] == (POSITIONS, ("vera", "wim"))
    assert found["MovePersons"] == (RECORDS, ("wim",))
