"""One table is the contract: what is generated from it is in the tree, complete and consistent."""

import json
import re
import struct
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firmware_contracts.__main__ as program
from firmware_contracts import EventCode, Kind, codes
from firmware_contracts.asyncapi import asyncapi
from firmware_contracts.c_header import c_header
from firmware_contracts.markdown import markdown
from firmware_contracts.meanings import EVENT_MEANINGS, MEANINGS
from firmware_contracts.sentences import all_sentences
from firmware_contracts.table import HEADER, RECORDS, dtype_of, empty_records, struct_of
from tests.firmware_contracts.samples import HEADER as HEADER_FORMAT
from tests.firmware_contracts.samples import RECORD

ROOT = Path(__file__).parent.parent.parent
CITED = re.compile(r"FC-\d{3}")


def test_the_generated_files_are_those_of_the_table():
    """`python -m firmware_contracts` writes them anew."""
    for path, text in program.generated(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not what the table says"


def test_check_tells_a_difference_and_writes_nothing(tmp_path, monkeypatch, capsys):
    files = {tmp_path / "a" / "one.md": "new\n", tmp_path / "two.md": "same\n"}
    (tmp_path / "two.md").write_text("same\n")
    monkeypatch.setattr(program, "generated", lambda _root: files)
    assert program.main(["--check"], tmp_path) == 1
    assert not (tmp_path / "a").exists()
    assert program.main([], tmp_path) == 0
    assert (tmp_path / "a" / "one.md").read_text() == "new\n"
    assert program.main(["--check"], tmp_path) == 0
    assert capsys.readouterr().out == "differs one.md\nwrote one.md\n"


# --- the table ----------------------------------------------------------------------------------


def test_the_widths_are_those_of_the_specification():
    """FC-002: against formats written by hand; no layout of version 1.0 may ever change."""
    assert HEADER.bytes == struct.calcsize(HEADER_FORMAT) == 32
    for kind, layout in RECORDS.items():
        assert layout.bytes == struct.calcsize(RECORD[kind]) == dtype_of(kind).itemsize
        assert struct_of(kind).format == RECORD[kind]


def test_dtypes_have_the_offsets_of_the_table():
    """FC-002: packed, little-endian."""
    for kind, layout in RECORDS.items():
        dtype = dtype_of(kind)
        fields: Any = dtype.fields
        assert dtype.names == tuple(field.name for field in layout.fields)
        for field in layout.fields:
            of_field, offset = fields[field.name][:2]
            assert offset == layout.offset_of(field.name)
            assert of_field.newbyteorder("<") == of_field
        with pytest.raises(KeyError):
            layout.offset_of("nothing")


def test_bounds_fit_their_fields():
    for layout in (HEADER, *RECORDS.values()):
        for field in layout.fields:
            if field.low is None or field.high is None:
                assert field.wire.startswith("S")
                continue
            limits = np.iinfo(field.wire)
            assert limits.min <= field.low <= field.high <= limits.max
            if field.unknown is not None:
                assert limits.min <= field.unknown <= limits.max
                assert not field.low <= field.unknown <= field.high


def test_enumerated_fields_are_bounded_by_their_enumeration():
    for layout in (HEADER, *RECORDS.values()):
        for field in layout.fields:
            members = getattr(codes, field.unit, None) if field.unit else None
            if members is None or members in (codes.EventCode, codes.CommandCode):
                continue  # codes of newer minors are handed on
            flags = issubclass(members, IntFlag)
            assert field.high == (sum(members) if flags else max(members)), field.name


def test_empty_records_say_unknown():
    for kind, layout in RECORDS.items():
        records = empty_records(kind, 2)
        for field in layout.fields:
            empty = b"" if field.wire.startswith("S") else (field.unknown or 0)
            assert records[field.name].tolist() == [empty] * 2


# --- meanings -----------------------------------------------------------------------------------


def test_every_number_has_its_meaning():
    enumerations = [
        member
        for member in vars(codes).values()
        if isinstance(member, type) and issubclass(member, IntEnum | IntFlag)
        and member not in (IntEnum, IntFlag)
    ]  # fmt: skip
    assert {e.__name__ for e in enumerations} == {e.__name__ for e in MEANINGS}
    for enumeration in enumerations:
        assert [int(one) for one in MEANINGS[enumeration]] == [int(one) for one in enumeration]
        assert all(MEANINGS[enumeration].values())
    assert list(EVENT_MEANINGS) == list(EventCode)


def test_the_numbers_of_version_one_never_change():
    """FC-012: written here a second time, so that no edit of the code alone can change them."""
    assert {kind.name: kind.value for kind in Kind} == {
        "FIX": 1, "EVENT": 2, "STATUS": 3, "ACK": 4, "COMMAND": 5,
    }  # fmt: skip
    assert {code.name: code.value for code in EventCode} == {
        "PANIC": 1, "STRAP_CUT": 2, "STRAP_RESTORED": 3, "CASE_OPENED": 4, "JAMMING": 5,
        "JAMMING_ENDED": 6, "BATTERY_LOW": 7, "BATTERY_CRITICAL": 8, "CHARGING": 9,
        "CHARGING_ENDED": 10, "SHIELDING": 11, "DURESS": 12, "FALL": 13, "COMMAND_DONE": 20,
        "COMMAND_REFUSED": 21, "COMMAND_EXPIRED": 22, "SELF_TEST": 23, "SHUTDOWN": 24,
        "MEMORY_FULL": 25, "CONTACT_RADIO": 26,
    }  # fmt: skip
    assert {code.name: code.value for code in codes.CommandCode} == {
        "FIX_NOW": 1, "BURST": 2, "MESSAGE": 3, "VIBRATE": 4, "PROFILE": 5, "KEY": 6,
    }  # fmt: skip
    assert {m.name: m.value for m in codes.Mechanism} == {
        "UNKNOWN": 0, "GNSS": 1, "WIFI": 2, "CELL": 3, "BEACON": 4,
    }  # fmt: skip


def test_panic_and_tampering_latch():
    """Panic, tamper and proximity always stay until a person has dealt with them."""
    for event in EVENT_MEANINGS.values():
        if event.alarm in ("panic", "tamper", "proximity"):
            assert event.latches.startswith("yes")


# --- the documents ------------------------------------------------------------------------------


def test_the_specification_holds_all_there_is():
    text = markdown()
    for sentence in all_sentences():
        assert f"| {sentence.id} |" in text
    for layout in (HEADER, *RECORDS.values()):
        for field in layout.fields:
            assert f"`{field.name}`" in text
    for code, event in EVENT_MEANINGS.items():
        assert f"| {code.value} | {code.name} | {event.meaning} |" in text
    assert not CITED.sub("", text).count("FC-")


def test_the_tables_of_the_specification_are_tables():
    columns = 0
    for line in markdown().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells == columns or not columns or not cells, line
        columns = cells


def test_the_pages_of_device_makers_link_to_what_exists_and_cite_what_is_said():
    folder = ROOT / "docs" / "device-makers"
    known = {sentence.id for sentence in all_sentences()}
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)]+)\)", text)
        assert links
        for link in links:
            file = link.partition("#")[0]
            assert (folder / file).resolve().exists(), f"{page.name}: {link}"
        assert set(CITED.findall(text)) <= known


def test_the_header_holds_every_number():
    text = c_header()
    for enumeration in MEANINGS:
        for member in enumeration:
            assert re.search(rf"AFS1_\w*{member.name} = {member.value}\b", text), member
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 160


def test_the_asyncapi_document_refers_to_what_it_holds():
    document = asyncapi()
    assert json.loads(json.dumps(document)) == document
    assert document["asyncapi"] == "3.0.0"

    def references(value):
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "$ref":
                    yield inner
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    for reference in references(document):
        at = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert addresses == [
        "em/{device}/fix", "em/{device}/event", "em/{device}/status", "em/{device}/ack",
        "em/{device}/cmd", "owntracks/{user}/{device}", "teltonika/{imei}/avl",
        "teltonika/{imei}/event", "teltonika/{imei}/ack",
    ]  # fmt: skip
    actions = {name: one["action"] for name, one in document["operations"].items()}
    assert actions == {
        "receiveFix": "receive", "receiveEvent": "receive", "receiveStatus": "receive",
        "sendAck": "send", "sendCommand": "send", "receiveOwntracks": "receive",
        "receiveTracker": "receive", "receiveTrackerEvent": "receive", "sendTrackerAck": "send",
    }  # fmt: skip
