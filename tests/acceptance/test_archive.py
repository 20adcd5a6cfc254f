"""The archiver as a process, killed again and again while the journal grows.

What readers get out of archive and stream is what was journalled, and the outbox is that of one
fold; a replica without a snapshot starts from the archive; what is changed is found.
"""

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from alerting.book.types import IncidentChange, IncidentRecord
from firmware_contracts import EventCode
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import BEGINNING
from tests.acceptance.service import (
    Service,
    afstand,
    folded,
    history,
    running_service,
    whole_journal,
)
from tests.afstand.journal import Journal as Maker
from tests.afstand.journal import definitions, random_entries
from tests.conftest import run_seed

ENTRIES = 500
AGES = {"keep_minutes": 0.01, "file_minutes": 0.005}


async def journal_all(service: Service, maker: Maker) -> None:
    """Append what `maker` made, a few entries at a time."""
    journal = Journal(service.store)
    for number, entry in enumerate(maker.entries):
        await journal.append(service.partition, entry.kind, entry.blob)
        if number % 10 == 0:
            await asyncio.sleep(0.1)


async def whole_outbox(service: Service) -> list[tuple]:
    found: list[tuple] = []
    async for page in history(service).outbox():
        found += [(entry.id, entry.blob) for entry in page]
    return found


@pytest.mark.slow
@pytest.mark.servers
async def test_kill_of_the_archiver_leaves_archive_and_stream_one_sequence(tmp_path):
    seed = run_seed()
    draw = random.Random(seed)
    maker = Maker()
    for command in definitions():
        maker.command(command)
    maker.frames(maker.event("tag-1", 1, EventCode.STRAP_CUT))
    random_entries(maker, draw, ENTRIES)
    async with running_service(tmp_path, snapshot_entries=100, archive=AGES) as service:
        await service.start("watch-0", "watch-1", "notify", "archiver")
        writing = asyncio.create_task(journal_all(service, maker))
        while not writing.done():
            await asyncio.sleep(draw.uniform(0.3, 1.6))
            service.site.children["archiver"].kill()
        await writing
        await service.site.ready(["archiver"])
        assert service.site.children["archiver"].starts >= 5
        await service.until(lambda: trimmed(service), "old entries are trimmed", 90)

        entries = await whole_journal(service)
        assert [entry.id for entry in entries] == sorted({entry.id for entry in entries})
        given = iter(entries)
        assert all(any((e.kind, e.blob) == (m.kind, m.blob) for e in given) for m in maker.entries)
        held = await Journal(service.store).length(service.partition)
        assert held < len(entries) / 2

        shutil.rmtree(Path(service.site.config.watch.data_dir) / "replica-1")
        service.site.children["watch-1"].kill()
        await asyncio.sleep(0.5)
        await service.site.ready(["watch-1"])
        await service.site.children["archiver"].stop()
        entries = await whole_journal(service)
        outbox = await whole_outbox(service)
        expected = folded(entries, service.partition)
        assert outbox == expected[: len(outbox)]
        assert len(expected) - len(outbox) <= 3  # the newest may be on their way
        assert 'divergences_total{partition="0"} 0.0' in await service.site.metrics("watch-1")

        code, said = await afstand(service, "incidents", "list")
        assert code == 0
        oldest = next(
            output.incident_id
            for _, output in await service.archived_outputs()
            if isinstance(output, IncidentRecord) and output.change is IncidentChange.OPENED
        )
        assert oldest in said
        assert oldest not in [o.incident_id for _, o in await service.outputs()
                              if isinstance(o, IncidentRecord)
                              and o.change is IncidentChange.OPENED]  # fmt: skip

        code, said = await afstand(service, "verify")
        assert code == 0, said
        assert "everything is as it was written" in said
        changed = flip_a_byte(Path(service.site.config.archive.dir), draw)
        code, said = await afstand(service, "verify")
        assert code == 1
        assert changed.name in said


def flip_a_byte(root: Path, draw: random.Random) -> Path:
    changed = draw.choice(sorted(root.rglob("*.parquet")))
    raw = bytearray(changed.read_bytes())
    raw[draw.randrange(len(raw))] ^= 1
    changed.write_bytes(bytes(raw))
    return changed


async def trimmed(service: Service) -> bool:
    held = await Journal(service.store).length(service.partition)
    outbox = await Outbox(service.store).read(service.partition, BEGINNING, 1)
    first = await Journal(service.store).first_id(service.partition)
    return held < 200 and bool(outbox) and first is not None
