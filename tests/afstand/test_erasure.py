"""Erasure: what was planted is in no byte of any file afterwards, and the rest is as it was."""

import asyncio
import re
import struct
import time
import zlib
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from afstand.cli import main
from afstand.commands import CaseErased, DefineOrder, decode_command, define_zone
from afstand.erasure.erase import Eraser
from afstand.erasure.proof import Proofs
from afstand.erasure.retention import CATEGORIES, RetentionError, read_retention
from afstand.erasure.subjects import Subjects
from afstand.watch.fold import Watch
from afstand.watch.snapshots import Snapshot, Snapshots
from geofence.orders import CircleShape, Zone
from geofence.verdicts import OrderKind
from ingest.archive import archiver as archiver_module
from ingest.archive.archiver import PartitionArchiver
from ingest.archive.chain import StreamName
from ingest.archive.keys import Keys
from ingest.archive.mover import Ages
from ingest.archive.verify import verify_stream
from ingest.entries import Entry, EntryKind, FrameBatch
from ingest.readers import Readers
from ingest.store import EntryId, connect_store
from tests.afstand.journal import LAT_E7, LON_E7, METRE_E7, Journal, fold, order
from tests.afstand.proof_site import PARTITION, PROTECTED_NORTH_M, two_cases
from tests.afstand.test_proof import configured
from tests.ingest.archives import EXPECTED, all_passed, read_all
from tests.servers import RedisServer
from tests.test_house import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow]
HER = LAT_E7 + round(PROTECTED_NORTH_M * METRE_E7)
HOME = (LAT_E7 + 123_457, LON_E7 + 654_321)
ORDER = ("--by", "privacy officer", "--authority", "rechtbank 26/77", "--reason", "term is over")


def past() -> Journal:
    """A case that ends, beside another that goes on."""
    journal = Journal()
    for command in two_cases():
        journal.command(command)
    home = CircleShape(lat_e7=HOME[0], lon_e7=HOME[1], radius_m=150)
    journal.command(define_zone(Zone(id="home", circle=home)))
    journal.command(DefineOrder(order=order(id="ban-home", zone_ids=("home",))))
    for minute in range(12):
        journal.pass_s(60)
        journal.frames(
            journal.fix("tag-1", 1, 1_111.1 - 100 * minute),
            journal.fix("victim-2", 2, PROTECTED_NORTH_M, east_m=77.7),
            journal.fix("tag-3", 3, 7_000 - 10 * minute),
        )
        journal.tick()
    ends = {"version": 2, "valid_to_ms": journal.now_ms + 1000}
    journal.command(DefineOrder(order=order(**ends)))
    journal.command(DefineOrder(order=order(id="ban-home", zone_ids=("home",), **ends)))
    journal.command(DefineOrder(order=order(
        id="contact", kind=OrderKind.CONTACT_BAN, zone_ids=(), protected_ids=("vera",),
        radius_m=1_000, warning_m=2_000, case_number="09/123456-26", **ends)))  # fmt: skip
    journal.pass_s(3600)
    journal.tick()
    return journal


def planted() -> dict[str, bytes]:
    """What must be nowhere, in every form in which a number is written."""
    places = {"her latitude": HER, "her home": HOME[0], "her home, east": HOME[1],
              "his latitude": LAT_E7 + round(1_011.1 * METRE_E7)}  # fmt: skip
    found = {}
    for name, e7 in places.items():
        found[f"{name}, little"] = struct.pack("<i", e7)
        found[f"{name}, big"] = struct.pack(">i", e7)
        found[f"{name}, text"] = str(e7).encode()
        found[f"{name}, degrees"] = f"{e7 / 1e7:.6f}"[:-1].encode()
    return found


def content(folder: Path) -> bytes:
    """Every byte of every file, and what is packed in them, unpacked."""
    whole = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        raw = path.read_bytes()
        whole.append(raw)
        if path.suffix == ".parquet":
            whole += pq.read_table(path, columns=["blob"]).column("blob").to_pylist()
        if path.suffix == ".snapshot":
            state = msgspec.msgpack.decode(raw[32:])[-1]
            whole.append(_unpacked(zlib.decompress(state)))
    return b"\0".join(whole)


def _unpacked(raw: bytes) -> bytes:
    """With what is compressed inside of it."""
    found = [raw]
    for at in (one.start() for one in re.finditer(b"\x78[\x01\x5e\x9c\xda]", raw)):
        try:
            found.append(zlib.decompressobj().decompress(raw[at:]))
        except zlib.error:
            continue
    return b"\0".join(found)


def there(raw: bytes) -> set[str]:
    return {name for name, what in planted().items() if what in raw}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A store, an archive that has everything, snapshots; and the configuration."""
    journal = past()
    end_ms = max(journal.now_ms, time.time_ns() // 1_000_000) + 10**7

    async def late(_store):
        return end_ms

    monkeypatch.setattr(archiver_module, "_now_ms", late)
    watch = Watch(PARTITION)
    outbox = fold(watch, journal.entries)
    with RedisServer(tmp_path / "redis") as server:
        path = configured(server.url, tmp_path)
        assert main(["evidence-key", str(tmp_path / "key.pem")]) == 0
        (tmp_path / "master").write_text("11" * 32)
        asyncio.run(_write(server.url, journal, outbox))
        asyncio.run(archive(server.url, tmp_path / "archive"))
        snapshots = Snapshots(tmp_path / "data" / "watch-0", PARTITION)
        snapshots.write(Snapshot(journal.entries[-1].id, "test", watch.dump()))
        yield tmp_path, server.url, path, journal, watch, snapshots, outbox


async def _write(url, journal, outbox):
    store = connect_store(url)
    for one in journal.entries:
        key = StreamName.JOURNAL.key(PARTITION)
        await store.execute_command(
            "XADD", key, str(one.id), "v", "1", "k", one.kind.value, "b", one.blob
        )
    for entry_id, blob in outbox:
        key = StreamName.OUTBOX.key(PARTITION)
        await store.execute_command("XADD", key, str(entry_id), "v", "1", "b", blob)
    await all_passed(store)
    await store.aclose()


async def archive(url, root):
    """Everything moves into the archive and is trimmed."""
    store = connect_store(url)
    try:
        for name in EXPECTED.readers:
            end = EntryId(2**42, 0)
            await Readers(store).register(PARTITION, name, end, end)
        one = PartitionArchiver(store, root, PARTITION, Ages(0, 0), EXPECTED, Subjects())
        await one.reopen()
        for _ in range(6):
            assert (await one.cycle()).faults == []
    finally:
        await store.aclose()


async def everything(url, root):
    store = connect_store(url)
    try:
        found = {stream: await read_all(store, root, stream) for stream in StreamName}
        checked = [await verify_stream(store, root, PARTITION, stream) for stream in StreamName]
    finally:
        await store.aclose()
    return found, [str(said) for one in checked for said in one.findings], checked


def test_what_is_archived_is_sealed_and_reads_as_it_was(site):
    folder, url, _, journal, _, _, outbox = site
    found, said, _ = asyncio.run(everything(url, folder / "archive"))
    assert said == []
    own = [one for one in found[StreamName.JOURNAL] if one.id <= journal.entries[-1].id]
    assert [(one.id, one.blob) for one in own] == [(one.id, one.blob) for one in journal.entries]
    assert [(one.id, one.blob) for one in found[StreamName.OUTBOX]] == outbox
    assert there(content(folder / "archive")) == set()  # nothing in clear while the keys are there
    assert there(content(folder / "data"))  # the search finds what there is


def test_a_case_that_is_erased_is_in_no_byte_and_the_chain_still_holds(site, capsys):
    folder, url, path, journal, watch, snapshots, _ = site
    root, config = folder / "archive", ("--config", str(path))
    before, _, _ = asyncio.run(everything(url, root))
    case = ("--case", "case")

    # Nothing without an order, nothing under a hold, nothing before its turn.
    assert main(["erasure", "run", *case, *config]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert main(["erasure", "run", *case, "--apply", *config]) == 1
    assert main(["erasure", "hold", "case", *ORDER, *config]) == 0
    assert main(["erasure", "run", *case, "--apply", *ORDER, *config]) == 1
    assert "legal hold of rechtbank 26/77" in capsys.readouterr().err
    assert main(["erasure", "lift", "case", *ORDER, *config]) == 0
    assert main(["erasure", "run", *case, "--category", "records", "--apply", *ORDER, *config]) == 1
    assert "its positions go first" in capsys.readouterr().err

    # What was said about it just now is in the stream yet: the archiver comes first.
    assert main(["erasure", "run", *case, "--apply", *ORDER, *config]) == 0
    after_positions, said, _ = asyncio.run(everything(url, root))
    assert said == []
    assert main(["erasure", "run", *case, "--category", "records", "--apply", *ORDER, *config]) == 1
    assert "the archiver moves them first" in capsys.readouterr().err
    asyncio.run(archive(url, root))
    assert main(["erasure", "run", *case, "--category", "records", "--apply", *ORDER, *config]) == 0
    assert "the store's file was written anew" in capsys.readouterr().out

    # The watches hear of it and forget; older snapshots go as new ones are written.
    found, said, checked = asyncio.run(everything(url, root))
    news = [one for one in found[StreamName.JOURNAL] if one.id > journal.entries[-1].id]
    erased = [decode_command(one.blob) for one in news if one.kind == "command" and one.blob]
    assert [one.category for one in erased if isinstance(one, CaseErased)] == [
        "positions", "records",
    ]  # fmt: skip
    for entry in news:
        watch.step(Entry(entry.id, EntryKind(entry.kind), entry.blob))
    for number in range(3):
        last = news[-1].id
        at = type(last)(last.ms + number, 0)
        snapshots.write(Snapshot(at, "test", watch.dump()))
    assert there(content(folder)) == set()

    # The chain is whole; everybody else's frames are as they were, to the byte.
    assert said == []
    assert sum(one.erased for one in checked) > 30
    for was, now in zip(before[StreamName.JOURNAL], found[StreamName.JOURNAL], strict=False):
        assert was.id == now.id
        if was.kind == "frames":
            batch, old = FrameBatch.read(now.blob), FrameBatch.read(was.blob)
            assert bytes(batch.frame(2)) == bytes(old.frame(2))
            assert [int(h) for h in batch.handles[:2]] == [0xFFFF_FFFF, 0xFFFF_FFFF]
            assert [len(batch.frame(k)) for k in (0, 1)] == [0, 0]
    assert Watch(PARTITION).step(  # a watch that folds the past again passes them over
        Entry(before[StreamName.JOURNAL][-2].id, EntryKind.FRAMES, next(
            one.blob for one in found[StreamName.JOURNAL] if one.kind == "frames"))
    ).outputs == []  # fmt: skip
    assert len(after_positions[StreamName.JOURNAL]) >= len(journal.entries)

    # The proof stands, is signed, and names every key by its hash.
    assert main(["erasure", "proof", "case", *config]) == 0
    out = capsys.readouterr().out
    assert "rechtbank 26/77" in out
    gone = [key for key in Keys(root, PARTITION).all() if key.destroyed]
    proofs = Proofs(root, PARTITION).all()
    assert sorted(k for one in proofs for k in one.keys) == sorted(key.digest for key in gone)
    assert all("other" not in key.persons for key in gone)


def test_a_proof_that_was_changed_is_found_and_one_unfinished_is_finished(site, capsys):
    folder, _, path, *_ = site
    root, config = folder / "archive", ("--config", str(path))

    async def die(self, proof):
        raise OSError("the power went")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Eraser, "finish", die)
        run = ["erasure", "run", "--case", "case", "--apply", *ORDER, *config]
        assert main(run) == 1
    assert main(["erasure", "proof", *config]) == 1
    assert "keys are still there" in capsys.readouterr().err
    assert main(run) == 0
    assert "finished: case case, positions" in capsys.readouterr().out
    assert main(["erasure", "proof", *config]) == 0
    file = next((root / "erasures").glob("*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b"rechtbank", b"rechtband"))
    assert main(["erasure", "proof", *config]) == 1
    assert "is not what was signed" in capsys.readouterr().err


def test_the_terms_are_data_and_checked_whole(tmp_path):
    shipped = read_retention()
    assert tuple(one.id for one in shipped.categories) == CATEGORIES
    page = (ROOT / "docs/operating/retention.md").read_text("utf-8")
    for one in shipped.categories:
        assert f"| `{one.id}` | {one.term_days} days |" in page
    raw = msgspec.json.decode(msgspec.json.encode(shipped))
    raw["categories"][0]["term_days"] = 0
    (tmp_path / "a").write_bytes(msgspec.json.encode(raw))
    with pytest.raises(RetentionError, match="term_days"):
        read_retention(tmp_path / "a")
    raw["categories"][0]["term_days"] = 9
    del raw["categories"][1]
    (tmp_path / "b").write_bytes(msgspec.json.encode(raw))
    with pytest.raises(RetentionError, match="wanted once each"):
        read_retention(tmp_path / "b")
