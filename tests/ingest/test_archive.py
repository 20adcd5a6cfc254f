"""The archive: what is moved is neither lost nor doubled, whoever dies when."""

import os
import random
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from ingest.archive import archiver as archiver_module
from ingest.archive import files as files_module
from ingest.archive import history as history_module
from ingest.archive import mover as mover_module
from ingest.archive.archiver import Expected
from ingest.archive.chain import StreamName, link
from ingest.archive.files import SCHEMA, read_file, read_meta, write_file
from ingest.archive.folder import ArchiveFolder
from ingest.archive.history import History
from ingest.archive.mover import Ages
from ingest.archive.names import ArchiveError, ArchiveFile, GapError
from ingest.archive.verify import verify_stream
from ingest.columns import Item
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.readers import Reader, Readers, read_floor
from ingest.store import EntryId
from tests.conftest import run_seed
from tests.ingest.archives import (
    AGES,
    EXPECTED,
    PARTITION,
    START_MS,
    Written,
    all_passed,
    archiver,
    findings,
    move_all,
    read_all,
    write_entries,
)

pytestmark = pytest.mark.servers


@pytest.fixture
def at_ms(monkeypatch):
    """The time that the store tells."""
    now = [START_MS]

    async def tell(_store):
        return now[0]

    monkeypatch.setattr(archiver_module, "_now_ms", tell)
    return now


async def same(store, root, written: Written, places: int = 5) -> None:
    """Readers get exactly what was written, from the beginning and from anywhere."""
    for stream, items in zip(StreamName, written, strict=True):
        end = items[-1].id  # behind it may stand what the archiver has said
        assert await read_all(store, root, stream, until=end) == items
        for item in items[:: max(1, len(items) // places)]:
            behind = [one for one in items if one.id > item.id]
            assert await read_all(store, root, stream, item.id, end) == behind
            until = [one for one in items if one.id <= item.id]
            assert await read_all(store, root, stream, until=item.id) == until


async def test_moved_entries_are_read_as_before_and_trimmed(store, tmp_path, at_ms, seed):
    written = await write_entries(store, random.Random(seed), 600)
    await all_passed(store)
    one = archiver(store, tmp_path)
    await one.reopen()
    end_ms = written.journal[-1].id.ms
    moved = trimmed = 0
    for now_ms in range(START_MS, end_ms + 3_000, 1_000):
        at_ms[0] = now_ms
        done = await one.cycle()
        assert not done.faults
        moved += sum(done.moved.values())
        trimmed += sum(done.trimmed.values())
        await same(store, tmp_path, written, 1)
    assert moved > 10
    assert trimmed > 500
    held = await Journal(store).first_id(PARTITION)
    assert held is not None
    assert held.ms > end_ms - AGES.keep_ms - AGES.file_ms
    assert await findings(store, tmp_path) == []
    days = sorted(path.name for path in (tmp_path / "partition=p/stream=journal").glob("day=*"))
    assert days == ["day=2026-09-20", "day=2026-09-21"]


async def test_any_parquet_reader_opens_a_file(store, tmp_path, at_ms, seed):
    written = await write_entries(store, random.Random(seed), 300)
    one = archiver(store, tmp_path)
    await one.reopen()
    at_ms[0] = written.journal[-1].id.ms + 10_000
    while sum((await one.cycle()).moved.values()):
        pass
    rows: list[tuple] = []
    for file in ArchiveFolder(tmp_path, PARTITION, StreamName.JOURNAL).files():
        table = pq.read_table(file.path, partitioning=None)
        assert table.schema.names == SCHEMA.names
        rows += zip(*(table.column(name).to_pylist() for name in SCHEMA.names[:4]), strict=True)
    assert rows == [(item.id.ms, item.id.seq, item.kind, item.blob) for item in written.journal]


async def test_a_read_that_meets_a_move_has_no_gap_and_no_copy(
    store, tmp_path, at_ms, seed, monkeypatch
):
    """The archiver moves and trims between any two pages of a reader."""
    written = await write_entries(store, random.Random(seed), 900)
    await all_passed(store)
    one = archiver(store, tmp_path)
    await one.reopen()
    await one.cycle()
    real: Any = history_module.read_stream
    calls = [0]

    async def then_moved(*args):
        """What was read is moved before the reader has looked at the archive."""
        page = await real(*args[:4], 64)
        calls[0] += 1
        at_ms[0] += 700
        await one.cycle()
        return page

    monkeypatch.setattr(history_module, "read_stream", then_moved)
    found = await read_all(store, tmp_path, StreamName.JOURNAL)
    assert found == written.journal
    assert calls[0] > 10


class Crash(BaseException):
    """The process dies here."""


class Steps:
    """Counts what changes disk and store; dies before or after the step with a given number."""

    def __init__(self, monkeypatch) -> None:
        self.dies_at = -1
        self.count = 0
        for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink")):
            monkeypatch.setattr(owner, name, self._sync(getattr(owner, name)))
        for name in ("raise_floor", "command"):
            monkeypatch.setattr(mover_module, name, self._awaited(getattr(mover_module, name)))

    def _step(self) -> None:
        if self.count == self.dies_at:
            self.dies_at = -1
            raise Crash
        self.count += 1

    def _sync(self, real):
        def step(*args, **kwargs):
            self._step()
            done = real(*args, **kwargs)
            self._step()
            return done

        return step

    def _awaited(self, real):
        async def step(*args):
            self._step()
            done = await real(*args)
            self._step()
            return done

        return step


@pytest.mark.slow
async def test_a_death_at_any_step_of_a_move_loses_and_doubles_nothing(
    store, tmp_path, at_ms, seed, monkeypatch
):
    steps = Steps(monkeypatch)
    draw = random.Random(seed)
    at = 0
    while True:
        await store.execute_command("FLUSHALL")
        root = tmp_path / f"death-{at}"
        written = await write_entries(store, draw, 40)
        await all_passed(store)
        at_ms[0] = written.journal[-1].id.ms + 10_000
        one = archiver(store, root)
        await one.reopen()
        steps.dies_at = steps.count + at
        died = False
        try:
            while sum((await one.cycle()).moved.values()):
                pass
        except Crash:
            died = True
        steps.dies_at = -1
        await same(store, root, written)
        if await Journal(store).first_id(PARTITION) != written.journal[0].id:
            with pytest.raises(GapError):  # never a sequence with a hole
                await read_all(store, root / "elsewhere", StreamName.JOURNAL)
        again = archiver(store, root)
        await again.reopen()
        while sum((done := await again.cycle()).moved.values()):
            pass
        assert done.faults == []
        await same(store, root, written)
        assert await findings(store, root) == [], f"death at step {at}"
        if not died:
            break
        at += 1
    assert at > 30


async def test_a_file_and_its_name_are_on_the_disk_before_anything_is_trimmed(
    store, tmp_path, at_ms, seed, monkeypatch
):
    """What a power cut leaves: of data and names only what was synced."""
    done: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.rename
    run: Any = vars(mover_module)["command"]

    def synced(handle):
        done.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        sync(handle)

    def renamed(path, target):
        done.append(("rename", f"{path} {target}"))
        return rename(path, target)

    async def asked(store, name, *args):
        done.append((name, ""))
        return await run(store, name, *args)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(mover_module, "command", asked)
    written = await write_entries(store, random.Random(seed), 100)
    await all_passed(store)
    one = archiver(store, tmp_path)
    await one.reopen()
    await move_all(one, at_ms, written.journal[-1].id.ms + 5_000)
    files = [two.split(" ") for what, two in done if what == "rename" and "parquet" in two]
    assert len(files) > 3
    for unfinished, name in files:
        at = done.index(("rename", f"{unfinished} {name}"))
        assert ("sync", unfinished) in done[:at]
        trim = next((n for n in range(at, len(done)) if done[n][0] == "XTRIM"), len(done))
        assert ("sync", str(Path(name).parent)) in done[at:trim]
    assert any(what == "XTRIM" for what, _ in done)


# --- who has read what ----------------------------------------------------------------------------


async def first_id(store) -> EntryId:
    found = await Journal(store).first_id(PARTITION)
    assert found is not None
    return found


async def test_nothing_is_trimmed_that_a_reader_has_not_passed(store, tmp_path, at_ms, seed):
    written = await write_entries(store, random.Random(seed), 300)
    await all_passed(store)
    readers = Readers(store)
    middle = written.journal[150].id
    await readers.register(PARTITION, "watch-1", middle, middle)
    await readers.register(PARTITION, "shadow-3", written.journal[100].id, middle)
    one = archiver(store, tmp_path)
    await one.reopen()
    await move_all(one, at_ms, written.journal[-1].id.ms + 5_000)
    first = await first_id(store)
    assert written.journal[0].id < first <= written.journal[101].id
    assert (await Outbox(store).read(PARTITION, EntryId(0, 0), 1))[0].id <= middle.next()
    await readers.forget(PARTITION, "shadow-3")
    await one.cycle()
    assert first <= await first_id(store) <= written.journal[151].id
    await same(store, tmp_path, written)


async def test_what_the_notifier_has_not_acknowledged_stays(store, tmp_path, at_ms, seed):
    written = await write_entries(store, random.Random(seed), 300)
    outbox = Outbox(store)
    end = EntryId(START_MS + 10**9, 0)
    for name in EXPECTED.readers:
        await Readers(store).register(PARTITION, name, end, end)
    await outbox.ensure_group(PARTITION, "notify")
    given = await outbox.read_group(PARTITION, "notify", "one", 60)
    await outbox.ack(PARTITION, "notify", [entry.id for entry in given[:40] + given[41:]])
    one = archiver(store, tmp_path)
    await one.reopen()
    await move_all(one, at_ms, written.journal[-1].id.ms + 5_000)
    held = await outbox.read(PARTITION, EntryId(0, 0), 1)
    assert given[0].id < held[0].id <= given[40].id
    assert (await outbox.read_pending(PARTITION, "notify", "one", 10))[0].blob == given[40].blob


async def test_without_all_expected_readers_nothing_is_trimmed(store, tmp_path, at_ms, seed):
    written = await write_entries(store, random.Random(seed), 200)
    end = EntryId(START_MS + 10**9, 0)
    await Readers(store).register(PARTITION, "watch-0", end, end)
    one = archiver(store, tmp_path)
    await one.reopen()
    at_ms[0] = written.journal[-1].id.ms + 10_000
    while sum((await one.cycle()).moved.values()):
        pass
    assert await Journal(store).first_id(PARTITION) == written.journal[0].id
    assert await read_floor(store, PARTITION, "journal") == EntryId(0, 0)


async def signals(store) -> list[dict]:
    return [
        msgspec.msgpack.decode(entry.blob)
        for entry in await Journal(store).read(PARTITION, EntryId(START_MS + 10**8, 0), 100)
        if entry.kind is EntryKind.SIGNAL
    ]


async def test_a_reader_silent_for_long_is_told_once_an_episode(store, tmp_path, monkeypatch):
    expected = Expected(("watch-0", "watch-1"), "notify", silent_ms=600_000)
    readers = Readers(store)
    one = archiver(store, tmp_path, Ages(10**9, 10**9), expected)
    await one.reopen()
    passed_ms = [0]
    real_now_ms = archiver_module._now_ms

    async def later(_store) -> int:
        return await real_now_ms(_store) + passed_ms[0]

    async def heard(name: str) -> None:
        await readers.register(PARTITION, name, EntryId(1, 0), EntryId(1, 0))

    monkeypatch.setattr(archiver_module, "_now_ms", later)
    assert (await one.cycle()).silent == []  # none was heard of yet, and there is time
    await heard("watch-0")
    passed_ms[0] = 500_000
    assert (await one.cycle()).silent == []
    passed_ms[0] = 700_000
    assert (await one.cycle()).silent == ["notify", "watch-0", "watch-1"]
    assert (await one.cycle()).silent == []
    passed_ms[0] = 0
    await heard("watch-1")
    await heard("notify:first")
    assert (await one.cycle()).silent == []
    passed_ms[0] = 700_000
    assert (await one.cycle()).silent == ["notify", "notify:first", "watch-0", "watch-1"]
    said = await signals(store)
    assert [one["signal"] for one in said] == ["reader-silent"] * 7
    assert [one["detail"].split(" ")[0] for one in said[:3]] == ["notify", "watch-0", "watch-1"]


async def test_a_reader_whose_record_cannot_be_read_holds_everything(store):
    readers = Readers(store)
    await readers.register(PARTITION, "a", EntryId(5, 1), EntryId(4, 0))
    await store.execute_command("HSET", "readers:{p}", "b", "7 nonsense")
    good, bad = await readers.all(PARTITION)
    assert (good.name, good.journal, good.outbox) == ("a", EntryId(5, 1), EntryId(4, 0))
    assert good.seen_ms > 1_700_000_000_000
    assert bad == Reader("b", EntryId(0, 0), EntryId(0, 0), 0, "cannot be read: b'7 nonsense'")


# --- damage ---------------------------------------------------------------------------------------


async def archived(store, root, at_ms, seed, *, trimmed: bool) -> Written:
    written = await write_entries(store, random.Random(seed), 400)
    if trimmed:
        await all_passed(store)
    one = archiver(store, root)
    await one.reopen()
    await move_all(one, at_ms, written.journal[-1].id.ms + 1_000)
    return written


def newest(root) -> ArchiveFile:
    file = ArchiveFolder(root, PARTITION, StreamName.JOURNAL).last()
    assert file is not None
    return file


@pytest.mark.parametrize("how", ["torn", "flipped", "empty"])
async def test_a_damaged_file_is_read_from_the_stream_while_that_has_it(
    store, tmp_path, at_ms, seed, how
):
    written = await archived(store, tmp_path, at_ms, seed, trimmed=False)
    damage(newest(tmp_path).path, how)
    await same(store, tmp_path, written)
    again = archiver(store, tmp_path)
    await again.reopen()
    while sum((done := await again.cycle()).moved.values()):
        assert done.faults == [] or "cut behind" in done.faults[0].what
    said = [one for one in await findings(store, tmp_path) if "found by the archiver" not in one]
    assert len(said) == 1
    assert "set aside as damaged" in said[0]
    await same(store, tmp_path, written)
    alarm = (await signals(store))[0]
    assert alarm["signal"] == "archive-fault"


def damage(path: Path, how: str) -> None:
    raw = path.read_bytes()
    middle = len(raw) // 2
    changed = {
        "torn": raw[:middle],
        "flipped": raw[:middle] + bytes([raw[middle] ^ 4]) + raw[middle + 1 :],
        "empty": b"",
    }
    path.write_bytes(changed[how])


async def test_a_damaged_file_is_cut_at_its_last_good_entry_when_the_stream_is_trimmed(
    store, tmp_path, at_ms, seed, monkeypatch
):
    monkeypatch.setattr("ingest.archive.files.ARCHIVE_ROW_GROUP_ENTRIES", 16)
    written = await archived(store, tmp_path, at_ms, seed, trimmed=True)
    file = newest(tmp_path)
    path, raw = file.path, file.path.read_bytes()
    at = len(raw) // 2
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    with pytest.raises(ArchiveError) as caught:
        list(read_file(file))
    good = caught.value.last_good
    assert good is not None
    assert file.first < good < file.last
    found: list[Item] = []
    with pytest.raises(ArchiveError, match="good entries"):
        await read_into(found, History(store, tmp_path, PARTITION))
    assert found == [item for item in written.journal if item.id <= good]

    again = archiver(store, tmp_path)
    await again.reopen()
    await again.cycle()
    with pytest.raises(GapError, match="neither in the store nor in the archive"):
        await read_all(store, tmp_path, StreamName.JOURNAL, good)
    said = " ".join(await findings(store, tmp_path))
    assert f"cut behind {good}" in said
    assert "lost with it" in said


async def read_into(found: list, history: History) -> None:
    async for part in history.columns(StreamName.JOURNAL):
        found += [part.item(k) for k in range(len(part))]


async def test_without_the_archive_a_reader_is_told_so(store, tmp_path, at_ms, seed):
    await archived(store, tmp_path, at_ms, seed, trimmed=True)
    with pytest.raises(GapError, match="no such folder"):
        await read_all(store, tmp_path / "elsewhere", StreamName.JOURNAL)


async def test_what_the_store_lost_is_told_and_the_archive_goes_on(store, tmp_path, at_ms, seed):
    written = await write_entries(store, random.Random(seed), 300)
    one = archiver(store, tmp_path)
    await one.reopen()
    await one.cycle()
    for item in written.journal[250:]:  # as after an append-only file whose end was cut
        await store.execute_command("XDEL", "journal:{p}", str(item.id))
    await store.execute_command("XDEL", "journal:{p}", str(written.journal[40].id))
    again = archiver(store, tmp_path)
    await again.reopen()
    at_ms[0] = written.journal[-1].id.ms + 10_000
    faults = []
    while (done := await again.cycle()).moved[StreamName.JOURNAL] or done.faults:
        faults += [fault.what for fault in done.faults]
    assert f"the store has lost the entries up to {written.journal[-1].id}" in faults
    assert f"entry {written.journal[40].id} is missing in the store" in faults
    kept = [item for n, item in enumerate(written.journal) if n < 250 and n != 40]
    found = await read_all(store, tmp_path, StreamName.JOURNAL, until=written.journal[-1].id)
    assert found == kept
    said = await findings(store, tmp_path)
    assert len(said) == len([one for one in said if "found by the archiver" in one]) == 2


# --- verify ---------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_every_flipped_byte_is_found_wherever_it_is(store, tmp_path, at_ms):
    seed = run_seed()
    draw = random.Random(seed)
    written = await archived(store, tmp_path, at_ms, seed, trimmed=True)
    assert await findings(store, tmp_path) == []
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".parquet", ".chain"}
    for turn in range(60):
        path = draw.choice(files)
        raw = path.read_bytes()
        at, bit = draw.randrange(len(raw)), 1 << draw.randrange(8)
        path.write_bytes(raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :])
        said = await findings(store, tmp_path)
        path.write_bytes(raw)
        assert said, f"seed {seed}, turn {turn}: byte {at} of {path.name}"
        if path.suffix == ".parquet":
            assert path.name in said[0]
    assert await findings(store, tmp_path) == []
    held = await Journal(store).read(PARTITION, EntryId(0, 0), 1000)
    assert 10 < len(held) < len(written.journal)


@pytest.mark.parametrize("field", ["previous", "head", "format", "partition"])
async def test_a_file_whose_word_of_itself_is_damaged_is_found(store, tmp_path, at_ms, seed, field):
    """The hashes are text in the footer: what is there may be no number any more."""
    await archived(store, tmp_path, at_ms, seed, trimmed=True)
    path = min(tmp_path.rglob("*.parquet"))
    raw = path.read_bytes()
    at = raw.index(f'"{field}":"'.encode()) + len(field) + 4
    path.write_bytes(raw[:at] + b"~" + raw[at + 1 :])
    said = await findings(store, tmp_path)
    assert said
    assert path.name in said[0]


@pytest.mark.parametrize("anew", [False, True])
async def test_a_file_that_was_written_again_is_found(store, tmp_path, at_ms, seed, anew):
    """Its name and all checksums fit: only the chain shows it, `anew` with another chain in it."""
    await archived(store, tmp_path, at_ms, seed, trimmed=True)
    files = list(ArchiveFolder(tmp_path, PARTITION, StreamName.JOURNAL).files())
    file = files[2]
    items = [rows.item(k) for rows in read_file(file) for k in range(len(rows))]
    links = [rows.link(k) for rows in read_file(file) for k in range(len(rows))]
    at = next(n for n in range(len(items) // 2, len(items)) if items[n].blob)
    blob = bytes([items[at].blob[0] ^ 1]) + items[at].blob[1:]
    items[at] = items[at]._replace(blob=blob)
    begins = bytes.fromhex(read_meta(file).previous)
    if anew:
        links = link(begins, items)
    file.path.unlink()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files_module, "_compare", lambda *_: None)
        write_file(file.path.parent, PARTITION, StreamName.JOURNAL, begins, items, links)
    said = await findings(store, tmp_path)
    assert said
    if anew:
        assert any(files[3].path.name in one and "does not follow" in one for one in said)
    else:
        assert any(f"entry {items[at].id} does not follow" in one for one in said)


CHANGES = ("changed", "missing", "kind")


@pytest.mark.slow
@pytest.mark.parametrize("trimmed", [True, False])
async def test_every_change_in_the_store_is_found_and_named(store, tmp_path, at_ms, seed, trimmed):
    """Of what is in the store alone, and of what is in the archive too."""
    draw = random.Random(seed)
    await archived(store, tmp_path, at_ms, seed, trimmed=trimmed)
    for stream in StreamName:
        key = stream.key(PARTITION)
        held = await store.execute_command("XRANGE", key, "-", "+")
        assert len(held) >= 3
        for change in CHANGES:
            at = draw.randrange(len(held))
            copy = [(raw, dict(fields)) for raw, fields in held]
            name, fields = copy[at]
            if change == "missing":
                del copy[at]
            elif change == "kind" and stream is StreamName.JOURNAL:
                fields[b"k"] = b"tick" if fields[b"k"] != b"tick" else b"signal"
            else:
                blob = bytearray(fields[b"b"] or b"\0")
                blob[draw.randrange(len(blob))] ^= 1 << draw.randrange(8)
                fields[b"b"] = bytes(blob) if fields[b"b"] else b"x"
            await rewrite(store, key, copy)
            said = await findings(store, tmp_path)
            assert said, f"{stream}: {change} {name}"
            assert all(f"entry {name.decode()}" in one for one in said), said
            await rewrite(store, key, held)
            assert await findings(store, tmp_path) == []


async def rewrite(store, key: str, entries) -> None:
    """Put other entries into a stream, as somebody with the store's password can."""
    await store.execute_command("DEL", key)
    for raw, fields in entries:
        pairs = [part for pair in fields.items() for part in pair]
        await store.execute_command("XADD", key, raw, *pairs)


async def test_a_missing_added_or_swapped_file_is_found(store, tmp_path, at_ms, seed):
    await archived(store, tmp_path, at_ms, seed, trimmed=True)
    files = list(ArchiveFolder(tmp_path, PARTITION, StreamName.JOURNAL).files())
    assert len(files) > 4
    for gone in (files[0], files[2], files[-1]):
        kept = gone.path.with_suffix(".kept")
        gone.path.rename(kept)
        assert await findings(store, tmp_path), gone.path.name
        kept.rename(gone.path)
    one, other = files[2].path, files[3].path
    names = one.name, other.name
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)
    said = await findings(store, tmp_path)
    assert all(any(name in line for line in said) for name in names)
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)
    assert await findings(store, tmp_path) == []
    begins, ends = files[4].path.name.split("_")
    later = f"{int(begins[:20]) + 1:020d}-0000000000_{ends}"
    added = files[4].path.with_name(later)
    added.write_bytes(files[4].path.read_bytes())
    assert any(later in line for line in await findings(store, tmp_path))


async def test_a_range_is_verified_by_itself(store, tmp_path, at_ms, seed):
    await archived(store, tmp_path, at_ms, seed, trimmed=True)
    files = list(ArchiveFolder(tmp_path, PARTITION, StreamName.JOURNAL).files())
    bad = files[1]
    raw = bad.path.read_bytes()
    bad.path.write_bytes(raw[:-9] + b"x" + raw[-8:])
    behind = await verify_stream(store, tmp_path, PARTITION, StreamName.JOURNAL, files[2].first)
    assert behind.findings == []
    up_to = await verify_stream(store, tmp_path, PARTITION, StreamName.JOURNAL, until=files[0].last)
    assert up_to.findings == []
    assert (await verify_stream(store, tmp_path, PARTITION, StreamName.JOURNAL)).findings
