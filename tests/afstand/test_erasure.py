"""Erasure: what was planted is in no byte of any file afterwards, and the rest is as it was."""

import asyncio
import re
import struct
import time
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from afstand.cli import main
from afstand.commands import (
    CaseErased,
    DecideOrder,
    DefineOrder,
    DefinePerson,
    ProposeOrder,
    decode_command,
    define_zone,
)
from afstand.erasure.cases import Kept, read_room
from afstand.erasure.erase import Eraser
from afstand.erasure.proof import Proofs
from afstand.erasure.retention import CATEGORIES, RetentionError, read_retention
from afstand.erasure.subjects import Subjects
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import Watch
from afstand.watch.snapshots import Snapshot, Snapshots
from alerting.book.types import (
    CaseOwner,
    Countersign,
    Decide,
    Decision,
    DefineCase,
    Dispose,
    Disposition,
    IncidentRecord,
    IncidentState,
    LogbookEntry,
    Rejected,
    Review,
    ReviewOutcome,
)
from alerting.book.types import Role as BookRole
from firmware_contracts import EventCode
from geofence.orders import CircleShape, Role, Zone
from geofence.verdicts import OrderKind
from ingest.archive import archiver as archiver_module
from ingest.archive.archiver import PartitionArchiver
from ingest.archive.chain import StreamName
from ingest.archive.keys import Keys
from ingest.archive.mover import Ages
from ingest.archive.verify import verify_stream
from ingest.columns import KIND_CODES, Item
from ingest.entries import Entry, EntryKind, FrameBatch
from ingest.readers import Readers
from ingest.store import BEGINNING, EntryId, connect_store
from tests.afstand.journal import LAT_E7, LON_E7, METRE_E7, Journal, fold, order
from tests.afstand.proof_site import PARTITION, PROTECTED_NORTH_M, two_cases
from tests.afstand.test_proof import configured
from tests.ingest.archives import EXPECTED, all_passed, read_all
from tests.servers import RedisServer
from tests.test_house import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow]
HER = LAT_E7 + round(PROTECTED_NORTH_M * METRE_E7)
NUMBER, TITLE, AUTHORITY = "09/123456-26", "38v of the old days", "rechtbank Oldtown"
OWNER, CONTACT, WORDS = "M. de Ree", "the woman at the desk", "he stood at the school"
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
    journal.command(
        DefineCase(
            case_id="case", wearer_id="wim", protected_ids=("vera",), contact=CONTACT,
            owners=(CaseOwner(name=OWNER, target="desk", side=BookRole.WEARER),),
        )
    )  # fmt: skip
    journal.command(LogbookEntry(case_id="case", person_id="vera", text=WORDS, happened_ms=1))
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
        radius_m=1_741, warning_m=2_000, title=TITLE, authority=AUTHORITY,
        case_number=NUMBER, **ends)))  # fmt: skip
    journal.pass_s(3600)
    end = ReviewOutcome.END
    for order_id, protected_id in (("contact", "vera"), ("ban", None), ("ban-home", None)):
        journal.command(
            Decide(order_id=order_id, protected_id=protected_id, by="om", note="warned by letter",
                   decision=Decision.WARNED)
        )  # fmt: skip
    journal.command(Review(case_id="case", by="desk", outcome=end, note="the orders have ended"))
    journal.tick()
    return journal


def closed(journal: Journal) -> Journal:
    """Whatever is still open is closed, by two people."""
    watch, found = Watch(PARTITION), {}
    for _, blob in fold(watch, journal.entries):
        for one in decode_envelope(blob).outputs:
            if isinstance(one, IncidentRecord):
                found[one.incident_id] = one.state
    assert found
    for incident_id, state in found.items():
        if state is IncidentState.OPEN:
            journal.command(
                Dispose(incident_id=incident_id, by="op", note="it is over",
                        disposition=Disposition.HANDLED, despite_active=True)
            )  # fmt: skip
            journal.command(Countersign(incident_id=incident_id, by="op-2"))
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
    for what in (NUMBER, TITLE, AUTHORITY, OWNER, CONTACT, WORDS):
        found[what] = what.encode()
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
    journal = closed(past())
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
    book = watch._book._state
    assert book.cases.get("case") is None
    assert book.cases.get("strangers") is not None
    assert not {"wim", "vera"} & set(book.rows.person_cases)
    left = [one for one in decode_proofs(root) if one.category == "records"]
    assert [(one.id, one.case_number, one.valid_to_ms) for one in left[0].orders] == [
        ("ban", "", 1), ("ban-home", "", 1), ("contact", "", 1),
    ]  # fmt: skip

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
    proofs = decode_proofs(root)
    assert sorted(k for one in proofs for k in one.keys) == sorted(key.digest for key in gone)
    assert all("other" not in key.persons for key in gone)


def decode_proofs(root):
    return Proofs(root, PARTITION).all()


def test_records_stay_while_an_incident_of_the_case_is_open():
    """Whoever erases is told, and a watch that is asked all the same forgets nothing."""
    journal, watch = past(), Watch(PARTITION)
    fold(watch, journal.entries)
    said = CaseErased(case_id="case", category="records", persons=("wim", "vera"), by="b",
                      forget_case=True, authority="a", keys=(), proof="p")  # fmt: skip
    answer = watch.step(journal.command(said)).outputs
    (refused,) = [one for one in answer if isinstance(one, Rejected)]
    assert "is open" in refused.detail
    assert watch._book.case("case") is not None

    class Past:
        async def outbox(self):
            again = Watch(PARTITION)
            yield [
                Item(entry_id, "outputs", blob) for entry_id, blob in fold(again, journal.entries)
            ]

    eraser = Eraser.__new__(Eraser)
    eraser._history = Past()  # type: ignore[assignment]
    case = Kept(case_id="case", persons=("vera", "wim"))
    assert asyncio.run(eraser.still_open(case, {"wim", "vera"})).startswith("i-")
    assert asyncio.run(eraser.still_open(Kept(case_id="x", persons=()), set())) == ""


def test_an_erasure_that_the_watch_refuses_is_said_and_tried_again(site, capsys):
    """An incident opens after the eraser has looked, and before the watch is told."""
    folder, url, path, journal, watch, *_ = site
    root = folder / "archive"
    run = ["erasure", "run", "--case", "case", "--apply", *ORDER, "--config", str(path)]
    assert main(run) == 0
    asyncio.run(archive(url, root))
    assert main([*run, "--category", "records"]) == 0

    async def say(entries):
        """The watch takes entries, and its outputs stand in the outbox."""
        store, said = connect_store(url), []
        for entry in entries:
            step = watch.step(entry)
            if step.blob is None:
                continue
            said += decode_envelope(step.blob).outputs
            key = StreamName.OUTBOX.key(PARTITION)
            await store.execute_command("XADD", key, str(entry.id), "v", "1", "b", step.blob)
        await store.aclose()
        return said

    def told():
        """The erasures of records that the watch has not read yet."""
        found, _, _ = asyncio.run(everything(url, root))
        entries = []
        for one in found[StreamName.JOURNAL]:
            if one.kind != "command" or not one.blob or one.id <= seen[-1]:
                continue
            command = decode_command(one.blob)
            if isinstance(command, CaseErased) and command.category == "records":
                entries.append(Entry(one.id, EntryKind.COMMAND, one.blob))
        seen.extend(one.id for one in entries)
        return entries

    seen = [journal.entries[-1].id]
    (erased,) = told()
    before = EntryId(erased.id.ms - 1, 0)
    press = journal.frames(journal.event("victim-2", 2, EventCode.PANIC))
    said = asyncio.run(say([Entry(before, press.kind, press.blob), erased]))
    (refused,) = [one for one in said if isinstance(one, Rejected)]
    opened = [one for one in said if isinstance(one, IncidentRecord)]
    assert refused.detail in {f"incident {one.incident_id} of vera is open" for one in opened}
    assert watch._book.case("case") is not None
    assert TITLE.encode() in _unpacked(watch.dump())  # all of it or nothing

    capsys.readouterr()
    for asked in (run, ["erasure", "run", "--config", str(path)]):
        assert main(asked) == 1
        heard = capsys.readouterr().err
        assert f"the watches have not forgotten it: {refused.detail}" in heard
    assert told() == []

    ends = []
    for incident_id in dict.fromkeys(one.incident_id for one in opened):
        ends += [
            Dispose(incident_id=incident_id, by="op", note="it is over",
                    disposition=Disposition.HANDLED, despite_active=True),
            Countersign(incident_id=incident_id, by="op-2"),
        ]  # fmt: skip
    commands = [journal.command(one) for one in ends]
    later = [
        Entry(EntryId(erased.id.ms, erased.id.seq + 1 + number), one.kind, one.blob)
        for number, one in enumerate(commands)
    ]
    asyncio.run(say(later))
    hold = ["case", *ORDER, "--config", str(path)]
    assert main(["erasure", "hold", *hold]) == 0
    assert main(run) == 1
    assert told() == []
    assert main(["erasure", "lift", *hold]) == 0
    assert main(run) == 0
    assert "they were told again" in capsys.readouterr().out
    (again,) = told()
    said = asyncio.run(say([again]))
    assert [one for one in said if isinstance(one, Rejected)] == []
    assert watch._book.case("case") is None
    assert main(run) == 0
    assert "told again" not in capsys.readouterr().out
    assert told() == []


async def test_an_order_that_was_drawn_in_the_console_keeps_its_case():
    """A case has not ended while an order that two people made counts."""
    drawn = order(id="drawn", wearer_id="wim", zone_ids=("home",))
    propose = ProposeOrder(proposal_id="v-1", order=drawn, zones=(), by="a", reason="hearing")
    commands = [
        DefineCase(case_id="case", wearer_id="wim", protected_ids=("vera",)),
        DefineOrder(order=order(valid_to_ms=5)),
        propose,
    ]
    for decided, orders in (
        ([], {"ban"}),
        ([DecideOrder(proposal_id="v-1", by="a", approved=True)], {"ban"}),
        ([DecideOrder(proposal_id="v-1", by="b", approved=False)], {"ban"}),
        ([DecideOrder(proposal_id="v-1", by="b", approved=True)], {"ban", "drawn"}),
    ):
        room = await read_room(Told([*commands, *decided]))
        assert set(room.cases["case"].orders) == orders
        assert (room.cases["case"].ended_ms is None) == ("drawn" in orders)


class Told:
    """Columns of a journal that holds these commands."""

    def __init__(self, commands):
        journal = Journal()
        self._entries = [journal.command(command) for command in commands]

    async def columns(self, stream, after=BEGINNING, until=None):
        yield self

    @property
    def kind(self):
        return np.full(len(self._entries), KIND_CODES["command"])

    def blob(self, index):
        return self._entries[index].blob

    def id(self, index):
        return self._entries[index].id


def test_what_a_wearer_has_in_another_case_stays():
    """Of a wearer of two cases the watch forgets what one of them said, and nothing else."""
    journal = past()
    for command in (
        DefinePerson(person_id="eva", role=Role.PROTECTED),
        DefineCase(case_id="second", wearer_id="wim", protected_ids=("eva",)),
        DefineOrder(order=order(id="second-ban", zone_ids=("home",))),
    ):
        journal.command(command)
    watch = Watch(PARTITION)
    fold(watch, closed(journal).entries)
    commands = [decode_command(one.blob) for one in journal.entries if one.kind == "command"]
    room = asyncio.run(read_room(Told(commands)))
    case = room.cases["case"]
    assert room.persons_gone(case, "records") == ("vera",)
    assert [one.id for one in room.orders_gone(case)] == ["contact"]
    where = watch._engine.last_position("wim")
    assert where is not None
    said = CaseErased(case_id="case", category="records", persons=("vera",), by="b",
                      orders=room.orders_gone(case), forget_case=True, authority="a", keys=(),
                      proof="p")  # fmt: skip
    answer = watch.step(journal.command(said)).outputs
    assert [type(one) for one in answer if isinstance(one, Rejected)] == []
    book = watch._book._state
    assert (watch._book.case("case"), book.person_cases.get("wim")) == (None, ("second",))
    assert watch._book.case("second") is not None
    assert watch._engine.last_position("wim") == where
    assert watch._engine.last_position("vera") is None
    whole = _unpacked(watch.dump())
    assert [one for one in (NUMBER, AUTHORITY, OWNER, CONTACT) if one.encode() in whole] == []
    assert Watch.load(PARTITION, watch.dump()).dump() == watch.dump()


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
