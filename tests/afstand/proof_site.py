"""A small site with a past: two cases in one partition, archived in part, chained to the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from afstand.commands import DefineDevice, DefineOrder, DefinePerson
from afstand.watch.fold import Watch
from alerting.book.types import (
    Acknowledge,
    CaseDevice,
    DefineCase,
    IncidentRecord,
    Note,
    Output,
)
from firmware_contracts import EventCode
from geofence.orders import Role
from geofence.verdicts import OrderKind
from ingest.archive.chain import StreamName
from ingest.archive.mover import Ages
from ingest.entries import Entry
from ingest.store import EntryId, connect_store
from tests.afstand.journal import Journal, definitions, fold, order
from tests.ingest.archives import archiver as _archiver

PARTITION = "p"
PROTECTED_NORTH_M = 5_432.1
"""Where the protected person is: far off, so that her digits stand nowhere else."""


class Past(NamedTuple):
    """The entries of both streams."""

    journal: list[Entry]
    outbox: list[tuple[EntryId, bytes]]
    since: EntryId
    until: EntryId


def two_cases() -> Iterator:
    """Wim and Vera (an area ban, a contact ban), and strangers of another case."""
    yield from definitions()
    yield DefineOrder(order=order(
        id="contact", kind=OrderKind.CONTACT_BAN, zone_ids=(), protected_ids=("vera",),
        radius_m=1_000, warning_m=2_000, case_number="09/123456-26"))  # fmt: skip
    yield DefinePerson(person_id="other", role=Role.WEARER)
    yield DefineDevice(handle=3, device_id="tag-3", person_id="other", role=Role.WEARER)
    yield DefineCase(case_id="strangers", wearer_id="other",
                     devices=(CaseDevice(device_id="tag-3", person_id="other"),))  # fmt: skip
    yield DefineOrder(order=order(id="ban-3", wearer_id="other"))


def play() -> Past:
    """Wim walks into the zone while Vera is far off; he comes near her later; a strap; a press."""
    journal = Journal()
    for command in two_cases():
        journal.command(command)
    since = EntryId(journal.now_ms + 1, 0)
    for minute in range(24):
        journal.pass_s(20)
        north_m = 3_000 - 250 * minute if minute < 14 else 200 * (minute - 14)
        journal.frames(
            journal.fix("tag-1", 1, north_m),
            journal.fix("victim-2", 2, PROTECTED_NORTH_M if minute < 18 else 900.0, east_m=77.7),
            journal.fix("tag-3", 3, 7_000 - 10 * minute),
        )
        journal.pass_s(0.25)
        journal.tick()
    journal.pass_s(5)
    journal.frames(journal.event("tag-1", 1, EventCode.STRAP_CUT))
    journal.pass_s(30)
    journal.frames(journal.event("victim-2", 2, EventCode.PANIC))
    incident_id = opened(fold_outputs(journal.entries))
    journal.command(Acknowledge(incident_id=incident_id, by="operator-1"))
    journal.command(Note(incident_id=incident_id, by="operator-1", text="belt met de wijkagent"))
    for _ in range(8):
        journal.pass_s(60)
        journal.tick()
    entries = journal.entries
    return Past(entries, fold(Watch(PARTITION), entries), since, entries[-1].id)


def fold_outputs(entries: list[Entry]) -> list[Output]:
    watch = Watch(PARTITION)
    return [output for entry in entries for output in watch.step(entry).outputs]


def opened(outputs: list[Output]) -> str:
    """The incident of the pair."""
    return next(one.incident_id for one in outputs
                if isinstance(one, IncidentRecord) and one.protected_id == "vera")  # fmt: skip


async def write(url: str, root: Path, past: Past) -> None:
    """Put the past into a store; the first half goes into the archive, all of it is chained."""
    store = connect_store(url)
    try:
        pipe = store.pipeline(transaction=False)
        key = StreamName.JOURNAL.key(PARTITION)
        for one in past.journal:
            pipe.execute_command(
                "XADD", key, str(one.id), "v", "1", "k", one.kind.value, "b", one.blob
            )
        key = StreamName.OUTBOX.key(PARTITION)
        for entry_id, blob in past.outbox:
            pipe.execute_command("XADD", key, str(entry_id), "v", "1", "b", blob)
        await pipe.execute()
        half_ms = past.journal[len(past.journal) // 2].id.ms
        mover_of = _archiver(store, root, Ages(keep_ms=0, file_ms=0))
        await mover_of.reopen()
        for mover in mover_of.movers.values():
            await mover.follow()
            await mover.move(half_ms)
            assert mover.faults == []
    finally:
        await store.aclose()
