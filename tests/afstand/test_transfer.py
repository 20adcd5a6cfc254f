"""A case goes to another agency and comes back: byte for byte, or not at all."""

import json
from hashlib import sha256

import msgspec
import pytest

from afstand.commands import DefineDevice, DefineOrder, DefinePerson
from afstand.proof.past import ProofError
from afstand.proof.transfer import ArchivedPast, Document, encode, export_case, import_case
from afstand.watch.envelope import encode_envelope
from alerting.book.book import Book
from alerting.book.types import CaseDevice, DefineCase, DeviceEvent, EventKind, LogbookEntry, Note
from alerting.book.types import Role as Side
from firmware_contracts import EventCode
from geofence.orders import Role
from ingest.archive.chain import StreamName
from ingest.columns import OUTPUTS, EntryColumns, Item
from ingest.store import BEGINNING
from tests.afstand.journal import Journal, definitions, order
from tests.alerting.story import verdict


class Remembered:
    """Both streams in memory."""

    def __init__(self, journal: list[Item], outbox: list[Item]) -> None:
        self._streams = {StreamName.JOURNAL: journal, StreamName.OUTBOX: outbox}

    async def columns(self, stream, after=BEGINNING, until=None):
        for item in self._streams[stream]:
            yield EntryColumns.of([item])


@pytest.fixture(scope="module")
def past():
    """Two days of a case among strangers: a breach, a press, a note, her own words."""
    journal, book, outbox = Journal(), Book(), []

    def told(*inputs):
        entry_id = journal.entries[-1].id
        outputs = book.step(inputs, entry_id.ms, f"p-{entry_id}")
        if outputs:
            outbox.append(Item(entry_id, OUTPUTS, encode_envelope(entry_id.ms, outputs)))
        return outputs

    strangers = DefineCase(case_id="strangers", wearer_id="other",
                           devices=(CaseDevice(device_id="tag-3", person_id="other"),))  # fmt: skip
    more = (
        DefinePerson(person_id="other", role=Role.WEARER),
        DefineDevice(handle=3, device_id="tag-3", person_id="other", role=Role.WEARER),
        strangers,
        DefineOrder(order=order(id="ban-3", wearer_id="other")),
    )
    for command in (*definitions(), *more):
        journal.command(command)
        if isinstance(command, DefineCase):
            told(command)
    for _ in range(30):
        journal.pass_s(4_000)
        journal.frames(journal.fix("tag-1", 1, 500), journal.fix("tag-3", 3, 900),
                       journal.fix("victim-2", 2, 9_000))  # fmt: skip
        told()
    journal.tick()
    told(verdict("confirmed", kind="area-ban", order="ban", wearer="wim"))
    journal.tick()
    told(verdict("confirmed", kind="area-ban", order="ban-3", wearer="other"))
    journal.frames(journal.event("victim-2", 2, EventCode.PANIC))
    press = DeviceEvent(
        device_id="victim-2", person_id="vera", role=Side.PROTECTED, kind=EventKind.PANIC,
        at_ms=journal.now_ms, device_ms=journal.now_ms, key="k",
    )  # fmt: skip
    opened = [one for one in told(press) if getattr(one, "incident_id", "")]
    for command in (
        Note(incident_id=opened[0].incident_id, by="operator-1", text="wijkagent gebeld"),
        LogbookEntry(case_id="case", person_id="vera", text="bij school", happened_ms=1),
    ):
        journal.pass_s(1)
        journal.command(command)
        told(command)
    return Remembered([Item(e.id, e.kind.value, e.blob) for e in journal.entries], outbox)


@pytest.fixture
async def raw(past):
    return await export_case(past, "case")


async def test_a_case_comes_back_byte_for_byte_and_in_a_third_agency_too(past, raw, tmp_path):
    assert await import_case(raw, tmp_path, "taken") == "case"
    again = await export_case(ArchivedPast(tmp_path, "taken"), "case")
    assert again == raw
    assert await import_case(again, tmp_path, "third") == "case"
    assert await export_case(ArchivedPast(tmp_path, "third"), "case") == raw


async def test_a_document_holds_the_case_with_its_readings_and_nobody_else(raw):
    document = json.loads(raw)
    assert {one["person_id"] for one in document["subjects"]} == {"wim", "vera"}
    assert {one["device"] for one in document["locations"]} == {"tag-1", "victim-2"}
    assert len(document["locations"]) == 61
    assert all(one["tag"] for one in document["locations"])
    assert {one["alarm_class"] for one in document["alerts"]} >= {"area-breach", "panic"}
    assert [one["id"] for one in document["conditions"]] == ["ban"]
    assert document["violations"]
    assert b"wijkagent gebeld".hex() in raw.decode()
    text = raw.decode()
    for stranger in ("other", "tag-3", "ban-3"):
        assert stranger not in text
        assert stranger.encode().hex() not in text


async def test_one_changed_byte_is_refused_and_nothing_is_left(raw, tmp_path):
    for place in range(0, len(raw), len(raw) // 60):
        changed = bytearray(raw)
        changed[place] ^= 1
        with pytest.raises(ProofError):
            await import_case(bytes(changed), tmp_path, "taken")
    assert list(tmp_path.iterdir()) == []


async def test_what_was_changed_and_hashed_again_does_not_come_back(raw, tmp_path):
    """A reading that is not what its bytes say, an entry out of order, one of another kind."""
    document = msgspec.json.decode(raw, type=Document)
    wrong = document.alerts[:1] and {**document.alerts[0], "reason": "made-up"}
    for changed, why in (
        ({"alerts": [wrong, *document.alerts[1:]]}, "does not come back"),
        ({"journal": document.journal[::-1]}, "not in order"),
        ({"outbox": [msgspec.structs.replace(document.outbox[0], kind="tick")]}, "another kind"),
        ({"journal": []}, "no case"),
        ({"case": {"case_id": "strangers"}}, "no case"),
        ({"locations": []}, "does not come back"),
    ):
        again = encode(msgspec.structs.replace(document, **changed))
        with pytest.raises(ProofError, match=why):
            await import_case(again, tmp_path, "taken")
        assert not (tmp_path / "partition=taken").exists()


async def test_a_partition_that_is_there_is_not_touched(raw, tmp_path):
    await import_case(raw, tmp_path, "taken")
    before = {path: sha256(path.read_bytes()).digest() for path in tmp_path.rglob("*.parquet")}
    with pytest.raises(ProofError, match="already"):
        await import_case(raw, tmp_path, "taken")
    assert before == {
        path: sha256(path.read_bytes()).digest() for path in tmp_path.rglob("*.parquet")
    }
    assert len(before) == 4  # two days of each stream


async def test_a_case_that_is_not_there_is_said(past):
    with pytest.raises(ProofError, match="no case 'nobody'"):
        await export_case(past, "nobody")
