"""A zone counts from its journal entry on, everywhere; nobody compiles it while people wait."""

import asyncio
import random
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from afstand import cases as cases_module
from afstand.cases import check_cases, import_cases
from afstand.commands import DefineZone, decode_command, define_zone, encode_command
from afstand.watch.fold import Watch
from alerting.book.types import AlarmClass, Defined, Notice, Rejected, Verdict, VerdictRecord
from geofence import docket as docket_module
from geofence.kernels.build import KERNEL_VERSION
from geofence.orders import CircleShape, Zone
from geofence.verdicts import VerdictReason, VerdictState
from ingest.store import EntryId
from tests.afstand.journal import (
    LAT_E7,
    LON_E7,
    Journal,
    definitions,
    fold,
    outputs_of,
    random_entries,
)
from tests.afstand.memory_store import Faults, MemoryJournal, MemoryOutbox
from tests.afstand.replicas import make, of_history, quick_retries, until_done
from tests.afstand.test_cases import GOOD
from tests.conftest import run_seed

__all__ = ["quick_retries"]


def square(half_e7: int, north_e7: int = 0) -> dict[str, Any]:
    lat, lon = (LAT_E7 + north_e7) / 1e7, LON_E7 / 1e7
    half = half_e7 / 1e7
    ring = [[lon - half, lat - half], [lon + half, lat - half], [lon + half, lat + half],
            [lon - half, lat + half], [lon - half, lat - half]]  # fmt: skip
    return {"type": "Polygon", "coordinates": [ring]}


def zone(version: int, half_e7: int = 27_000, **fields: Any) -> Zone:
    return Zone(id="zone", version=version, geometry=square(half_e7), **fields)


@pytest.fixture
def watch():
    return Watch("p")


@pytest.fixture
def journal(watch):
    made = Journal()
    for command in definitions():
        watch.step(made.command(command))
    return made


def verdicts(outputs) -> list[Verdict]:
    return [output.verdict for output in outputs if isinstance(output, VerdictRecord)]


def test_a_zone_that_was_compiled_before_is_only_copied(watch, journal, monkeypatch):
    def build(*_: Any) -> Any:
        raise AssertionError("the fold compiled a zone")

    command = define_zone(zone(2))
    assert command.zone.geometry is None
    monkeypatch.setattr(docket_module, "compile_zones", build)
    step = watch.step(journal.command(command))
    assert [o.ref for o in step.outputs if isinstance(o, Defined)] == ["zone@2"]
    assert step.notes["zones-compiled-here"] == 0
    assert not [o for o in step.outputs if isinstance(o, Rejected)]


def test_compiled_before_or_in_the_fold_gives_the_same_bytes():
    def outbox(*, before: bool) -> tuple[list[Any], bytes]:
        journal = Journal()
        for command in definitions():
            journal.command(command)
        draw = random.Random(3)
        for version in range(2, 6):
            random_entries(journal, draw, 15)
            changed = zone(version, 9_000 * version)
            journal.command(define_zone(changed) if before else DefineZone(zone=changed))
        random_entries(journal, draw, 15)
        watch = Watch("p")
        return fold(watch, journal.entries), watch.dump()

    written, state = outbox(before=True)
    assert (written, state) == outbox(before=False)
    assert len(written) > 20


def test_the_entry_says_from_when_the_new_version_counts(watch, journal):
    """Standing 280 m north: in the first zone, not in the second; judged at that very entry."""
    for _ in range(5):
        journal.pass_s(30)
        watch.step(journal.frames(journal.fix("tag-1", 1, 280)))
    journal.pass_s(1)
    changed_ms = journal.now_ms
    small = CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=100)
    step = watch.step(journal.command(define_zone(Zone(id="zone", version=2, circle=small))))
    (told,) = verdicts(step.outputs)
    assert (told.state, told.reason) == (VerdictState.CLEAR, VerdictReason.ZONE_CHANGED)
    assert (told.previous, told.zone_version) == (VerdictState.CONFIRMED, 2)
    assert (told.at_ms, told.zone_since_ms) == (changed_ms, changed_ms)
    journal.pass_s(1)
    large = CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=290)
    step = watch.step(journal.command(define_zone(Zone(id="zone", version=3, circle=large))))
    (told,) = verdicts(step.outputs)
    assert told.reason is VerdictReason.ZONE_CHANGED
    assert (told.zone_version, told.zone_since_ms) == (3, journal.now_ms)
    assert told.distance_mm is not None
    assert abs(told.distance_mm / 1000 - 10) < 3


def test_the_same_version_again_says_nothing_and_an_older_one_is_refused(watch, journal):
    command = define_zone(zone(2))
    watch.step(journal.command(command))
    assert outputs_of(watch.step(journal.command(command))) == []
    for other in (zone(1), zone(2, 99_000), zone(2, name="renamed")):
        outputs = outputs_of(watch.step(journal.command(define_zone(other))))
        assert [o.detail for o in outputs if isinstance(o, Rejected)] == [
            "older-version: zone 'zone' has version 2 already"
        ]


def test_a_compiled_zone_that_is_damaged_or_of_another_shape_is_refused(watch, journal):
    good = define_zone(zone(2))
    assert good.compiled is not None
    before = watch.dump()
    broken = msgspec.structs.replace(good.compiled, data=good.compiled.data[:-4])
    other = msgspec.structs.replace(good, zone=zone(2, 99_000))
    unnamed = msgspec.structs.replace(good, zone=Zone(id="zone", version=2, repairs=("x",)))
    nothing = DefineZone(zone=Zone(id="zone", version=2))
    for bad, why in (
        (msgspec.structs.replace(good, compiled=broken), "checksum"),
        (other, "another shape"),
        (unnamed, "another shape"),
        (nothing, "needs a geometry or a circle"),
    ):
        twin = Watch.load("p", before)
        outputs = outputs_of(twin.step(journal.command(bad)))
        (rejected,) = [o for o in outputs if isinstance(o, Rejected)]
        assert rejected.reason == "bad-order"
        assert why in rejected.detail
        assert any(n.alarm_class is AlarmClass.SYSTEM for n in outputs if isinstance(n, Notice))
        assert twin._engine.zone_version("zone") == 1


def test_a_zone_compiled_by_a_program_of_other_kernels_is_compiled_here(watch, journal):
    good = define_zone(zone(2))
    assert good.compiled is not None
    compiled = msgspec.structs.replace(good.compiled, kernel=KERNEL_VERSION + 1)
    step = watch.step(journal.command(msgspec.structs.replace(good, compiled=compiled)))
    assert step.notes["zones-compiled-here"] == 1
    assert watch._engine.zone_version("zone") == 2


def with_zones(seed: int, count: int) -> Journal:
    """Random entries, and now and then a new version of the zone."""
    journal = Journal()
    for command in definitions():
        journal.command(command)
    draw = random.Random(seed)
    for version in range(2, 2 + count // 10):
        random_entries(journal, draw, 10)
        journal.command(define_zone(zone(version, draw.randrange(5_000, 60_000))))
    return journal


def test_a_replay_and_snapshots_count_a_zone_from_the_same_entry():
    seed = run_seed()
    draw = random.Random(seed)
    journal = with_zones(seed, 120)
    whole = fold(Watch("p"), journal.entries)
    changed = [entry_id for entry_id, blob in whole if b"zone@" in blob]
    assert len(changed) == 1 + 12, f"seed {seed}"
    broken = Watch("p")
    written = []
    for entry in journal.entries:
        written += fold(broken, [entry])
        if draw.random() < 0.2:
            broken = Watch.load("p", broken.dump())
    assert written == whole, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(3))
async def test_replicas_that_die_while_zones_change_leave_the_outbox_of_one_fold(tmp_path, offset):
    seed = run_seed() + offset
    draw = random.Random(seed)
    journal = with_zones(seed, 80)
    entries = len(journal.entries)
    expected = fold(Watch("p"), list(journal.entries))
    faults = Faults(draw, 0.1)
    shared, outbox = MemoryJournal(journal.entries, faults), MemoryOutbox(faults)

    async def mortal(index: int) -> None:
        for _ in range(2):
            replica = make(index, shared, outbox, tmp_path, CollectorRegistry())
            running = asyncio.create_task(until_done(replica, shared, entries))
            for _ in range(draw.randrange(40, 300)):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await until_done(make(index, shared, outbox, tmp_path), shared, entries)

    await asyncio.gather(mortal(0), mortal(1))
    assert of_history(outbox, journal, entries) == expected, f"seed {seed}"


# --- the import -----------------------------------------------------------------------------------


class _Registry:
    def __iter__(self):
        return iter(())  # every device is new

    def find(self, device_id):
        return None

    async def put_many(self, records):
        return [msgspec.structs.replace(r, handle=n) for n, r in enumerate(records, 1)]


class _Journal:
    def __init__(self):
        self.writes: list[list[int]] = []
        self.commands: list[Any] = []

    async def append_many(self, appends, also=()):
        self.writes.append([len(append.blob) for append in appends])
        self.commands += [decode_command(append.blob) for append in appends]
        return [EntryId(1, n) for n in range(len(appends))], []


async def imported(document: dict[str, Any]) -> _Journal:
    journal = _Journal()
    registry: Any = _Registry()
    store: Any = journal
    await import_cases(
        check_cases(msgspec.json.encode(document), "file.json"), registry, store, ("0",)
    )
    return journal


async def test_an_import_brings_every_zone_compiled(watch):
    journal = await imported(GOOD)
    zones = [command for command in journal.commands if isinstance(command, DefineZone)]
    assert [command.zone.id for command in zones] == ["home", "ring"]
    assert all(command.compiled is not None for command in zones)
    assert all(command.zone.geometry is None for command in zones)
    made = Journal()
    for command in zones:
        assert watch.step(made.command(command)).notes["zones-compiled-here"] == 0


async def test_the_same_document_written_otherwise_is_the_same_zone(watch):
    made = Journal()
    spaced = msgspec.json.decode(msgspec.json.format(msgspec.json.encode(GOOD), indent=4))
    for document in (GOOD, spaced):
        for command in (await imported(document)).commands:
            outputs = outputs_of(watch.step(made.command(command)))
            assert not [o for o in outputs if isinstance(o, Rejected)]


async def test_an_import_writes_so_much_at_once_and_no_more(monkeypatch):
    sizes = [len(encode_command(command)) for command in (await imported(GOOD)).commands]
    bound = max(sizes) + 1
    monkeypatch.setattr(cases_module, "CASES_BYTES_AT_ONCE", bound)
    journal = await imported(GOOD)
    assert len(journal.writes) > 2
    assert all(sum(write) <= bound for write in journal.writes)
    assert [size for write in journal.writes for size in write] == sizes


def test_a_zone_that_no_entry_can_hold_is_a_problem_of_the_document(monkeypatch):
    monkeypatch.setattr(cases_module, "JOURNAL_BLOB_BYTES_MAX", 300)
    with pytest.raises(cases_module.CasesError, match=r"zones\[0\].geometry: \d+ bytes"):
        check_cases(msgspec.json.encode(GOOD), "file.json")
