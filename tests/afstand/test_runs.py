"""Many entries folded together give what they give one after another: outputs, state, counts."""

import random
import zlib
from collections import Counter

import msgspec
import numpy as np
import pytest

from afstand.commands import DefineDevice, DefineOrder
from afstand.watch.fold import Watch
from afstand.watch.page import page_of, read_general, read_page
from afstand.watch.plain import plain_fixes
from alerting.book.types import Receipt, ReceiptStatus
from firmware_contracts import EventCode
from geofence.engine import Engine
from geofence.orders import Role
from ingest.columns import EntryColumns
from ingest.entries import Entry, EntryKind, EntryVersionError, FrameFlag, FrameRecord, LaneCode
from ingest.store import EntryId
from tests.afstand.journal import Journal, definitions, order, random_entries
from tests.conftest import run_seed

PHONE = b'{"_type":"location","lat":51.92,"lon":4.48,"acc":10,"tst":1790000100,"tid":"ab"}'


def mixed(seed: int, count: int = 150) -> Journal:
    """Everything that can stand in a journal: plain runs, events, commands, faults, quiet times."""
    draw = random.Random(seed)
    journal = Journal()
    for command in definitions():
        journal.command(command)
    journal.command(
        DefineDevice(handle=7, device_id="phone", person_id="vera", role=Role.PROTECTED)
    )
    for number in range(count):
        what = draw.random()
        if what < 0.3:
            random_entries(journal, draw, draw.randrange(1, 6))
        elif what < 0.8:
            walk(journal, draw)
        elif what < 0.85:
            for _ in range(draw.randrange(1, 40)):
                journal.pass_s(draw.choice([0.25, 30]))
                journal.tick()
        else:
            odd(journal, draw, number)
    return journal


def walk(journal: Journal, draw: random.Random) -> None:
    """Fixes far from everything: entries that tell nothing."""
    north = draw.uniform(3000, 4000)
    for _ in range(draw.randrange(1, 30)):
        journal.pass_s(draw.choice([0.0, 0.1, 3, 20]))
        records = [journal.fix("tag-1", 1, north + draw.uniform(-9, 9))]
        if draw.random() < 0.4:
            records.append(journal.fix("victim-2", 2, -north, late_s=draw.choice([0, 0, 2])))
        if draw.random() < 0.2:
            records += [records[0], journal.fix("nobody-5", 5, 10)]
        if draw.random() < 0.3:  # a device's backlog, often taken while the intake was behind
            records += [
                journal.fix("tag-1", 1, draw.choice([north, 280, 0]), late_s=draw.uniform(1, 90))
                for _ in range(draw.randrange(1, 6))
            ]
        draw.shuffle(records)
        journal.frames(*records, behind=draw.random() < 0.4)


def odd(journal: Journal, draw: random.Random, number: int) -> None:
    fix = journal.fix("tag-1", 1, 3500)
    kind = draw.randrange(10)
    if kind == 0:
        journal.entry(EntryKind.FRAMES, b"\1nonsense")
    elif kind == 1:
        blob = bytearray(journal.frames(fix).blob)
        blob[draw.randrange(20, len(blob))] ^= 8
        journal.entry(EntryKind.FRAMES, bytes(blob))
    elif kind == 2:
        journal.frames(msgspec.structs.replace(fix, payload=fix.payload[:-3]))
    elif kind == 3:
        journal.frames(msgspec.structs.replace(fix, flags=FrameFlag(0)))
    elif kind == 4:
        journal.frames(FrameRecord(7, LaneCode.OWNTRACKS, 1, journal.now_ms, PHONE), fix)
    elif kind == 5:
        journal.frames(journal.event("unknown", 0, EventCode.PANIC, flags=FrameFlag(0)), fix)
    elif kind == 6:
        journal.command(DefineOrder(order=order(version=2 + number, buffer_m=number)))
    elif kind == 7:
        enabled = draw.random() < 0.7
        journal.command(
            DefineDevice(
                handle=1, device_id="tag-1", person_id="wim", role=Role.WEARER, enabled=enabled
            )
        )
    elif kind == 8:
        receipt = Receipt(
            key="p-1-0-0",
            status=ReceiptStatus.DELIVERED,
            target="meldkamer",
            at_ms=journal.now_ms,
        )
        journal.receipt(receipt)
    else:
        journal.entry(EntryKind.INVALID, b"entry without the fields v, k and b")


def single(watch: Watch, entries: list[Entry]) -> tuple[list, Counter[str]]:
    notes: Counter[str] = Counter()
    written = []
    for entry in entries:
        step = watch.step(entry)
        notes += step.notes
        if step.blob is not None:
            written.append((entry.id, step.blob))
    return written, +notes


def together(watch: Watch, entries: list[Entry]) -> tuple[list, Counter[str]]:
    notes: Counter[str] = Counter()
    written = []
    count = 0
    for folded in watch.fold(EntryColumns.of(entries)):
        notes += folded.notes
        count += folded.entries
        if folded.blob is not None:
            written.append((folded.id, folded.blob))
    assert count == len(entries)
    return written, +notes


def test_older_fixes_of_an_entry_taken_late_are_counted_apart():
    journal = Journal()
    for command in definitions():
        journal.command(command)
    for behind in (False, True):
        journal.pass_s(60)
        late = [journal.fix("tag-1", 1, 3000, late_s=late_s) for late_s in (9, 5, 2)]
        journal.frames(*late, journal.fix("victim-2", 2, -3000), behind=behind)
    one, many = Watch("p"), Watch("p")
    written, notes = single(one, journal.entries)
    assert (written, notes) == together(many, journal.entries)
    assert (notes["coalesced"], notes["fixes"]) == (2, 8)
    assert one._engine.fixes().late == 0, "they are evidence as ever, and no history"


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(6))
def test_random_journals_fold_alike_in_pages_and_one_by_one(offset):
    seed = run_seed() + offset
    draw = random.Random(seed)
    entries = mixed(seed).entries
    one, many = Watch("p"), Watch("p")
    at = 0
    while at < len(entries):
        page = entries[at : at + draw.choice([1, 2, 7, 60, 500])]
        expected, expected_notes = single(one, page)
        found, notes = together(many, page)
        assert found == expected, f"seed {seed}, entry {at}"
        assert notes == expected_notes, f"seed {seed}, entry {at}"
        assert many.dump() == one.dump(), f"seed {seed}, entry {at}"
        at += len(page)


def test_most_of_a_journal_is_plain():
    entries = mixed(run_seed()).entries
    page = read_page(EntryColumns.of(entries))
    frames = np.array([entry.kind is EntryKind.FRAMES for entry in entries])
    assert np.count_nonzero(page.plain & frames) > 0.6 * np.count_nonzero(frames)
    ticks = np.array([entry.kind is EntryKind.TICK for entry in entries])
    assert page.plain[ticks].all()


def test_a_device_set_aside_in_a_run_counts_no_more_behind_it(monkeypatch):
    def watch_and_journal():
        watch, journal = Watch("p"), Journal()
        for command in definitions():
            watch.step(journal.command(command))
        return watch, journal

    whole = Engine.observe

    def observe(self, fixes, now_ms, *, behind=False):
        if np.any(fixes.person == self.person_handle("wim")):
            raise ValueError("a fault of the program")
        return whole(self, fixes, now_ms, behind=behind)

    monkeypatch.setattr(Engine, "observe", observe)
    monkeypatch.setattr(Engine, "fold_quiet", lambda self, entries, first, limit_ms: first)
    one, journal = watch_and_journal()
    first = len(journal.entries)
    for number in range(12):
        journal.pass_s(1)
        journal.frames(journal.fix("tag-1", 1, 9.0 * number), journal.fix("victim-2", 2, 3000))
    many, _ = watch_and_journal()
    entries = journal.entries[first:]
    expected, _ = single(one, entries)
    assert together(many, entries)[0] == expected
    assert len(expected) >= 1
    assert many.dump() == one.dump()
    assert many._devices.set_aside


def test_an_entry_of_a_later_format_stops_the_fold_behind_what_is_before_it():
    journal = Journal()
    for command in definitions():
        journal.command(command)
    journal.pass_s(1)
    blob = bytearray(journal.frames(journal.fix("tag-1", 1, 3000)).blob)
    blob[0] = 3
    later = Entry(EntryId(journal.now_ms + 1, 0), EntryKind.FRAMES, bytes(blob))
    watch, one = Watch("p"), Watch("p")
    given: list = []
    with pytest.raises(EntryVersionError):
        given.extend(watch.fold(EntryColumns.of([*journal.entries, later])))
    single(one, journal.entries)
    assert watch.dump() == one.dump()


@pytest.mark.parametrize("offset", range(4))
def test_plain_entries_in_one_loop_are_those_column_by_column(offset):
    """Sound ones and ones with any byte changed, its checksum made right again or not."""
    seed = run_seed() + offset
    draw = random.Random(seed)
    journal = mixed(seed, 60)
    one_loop = 0
    for _ in range(400):
        at = draw.randrange(len(journal.entries))
        page = [broken(entry, draw) for entry in journal.entries[at : at + draw.randrange(1, 4)]]
        columns = EntryColumns.of(page)
        found = plain_fixes(columns)
        if found is None:
            continue
        one_loop += 1
        mine, general = page_of(columns, found), read_general(columns)
        for name in ("plain", "behind", "frame_ends", "fix_ends", "handles", "proven"):
            assert np.array_equal(getattr(mine, name), getattr(general, name)), (seed, name)
        for name in ("received_ms", "sound", "boots", "sequences"):
            assert np.array_equal(getattr(mine, name), getattr(general, name)), (seed, name)
        for name, column in mine.fixes._asdict().items():
            assert np.array_equal(column, getattr(general.fixes, name)), (seed, name)
    assert one_loop > 100


def broken(entry: Entry, draw: random.Random) -> Entry:
    """An entry as it is, or with a byte changed; half of those with a checksum that fits again."""
    if draw.random() < 0.6 or len(entry.blob) < 20:
        return entry
    blob = bytearray(entry.blob)
    blob[draw.randrange(len(blob))] ^= 1 << draw.randrange(8)
    if draw.random() < 0.5:
        blob[16:20] = zlib.crc32(blob[20:], zlib.crc32(blob[:16])).to_bytes(4, "little")
    return entry._replace(blob=bytes(blob))


def test_frames_that_share_their_bytes_do_not_run_over():
    journal = Journal()
    entry = journal.frames(journal.fix("tag-1", 1, 5))
    table, payload = entry.blob[20:44], entry.blob[44:]
    count = 200
    head = entry.blob[:4] + count.to_bytes(4, "little") + entry.blob[8:16]
    body = table * count + payload
    crc = zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little")
    columns = EntryColumns.of([entry._replace(blob=head + crc + body)])
    assert plain_fixes(columns) is None
    assert len(read_general(columns).handles) == count
    assert not read_page(columns).plain.any(), "by itself it is left to the fold of one entry"
