"""A rolling upgrade under load: watches are replaced one at a time, and nobody can tell.

A shadow runs beside them all the time and finds no difference; the outbox is that of one fold that
was never interrupted.
"""

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from afstand.embedded import free_port
from afstand.supervise import Child, afstand_command
from afstand.watch.snapshots import Snapshots
from firmware_contracts import EventCode
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import BEGINNING
from tests.acceptance.service import Service, folded, running_service, whole_journal
from tests.afstand.journal import Journal as Maker
from tests.afstand.journal import definitions, random_entries
from tests.conftest import run_seed

REPLACED = ("watch-0", "watch-1", "watch-0", "watch-1")
PAUSE_S = 0.02


async def load(service: Service, maker: Maker, stop: asyncio.Event) -> int:
    """Append what `maker` made, and then presses for as long as it takes."""
    journal = Journal(service.store)
    count = 0
    for entry in maker.entries:
        await journal.append(service.partition, entry.kind, entry.blob)
        count += 1
    while not stop.is_set():
        press = maker.frames(maker.event("victim-2", 2, EventCode.PANIC))
        await journal.append(service.partition, EntryKind.FRAMES, press.blob)
        count += 1
        await asyncio.sleep(PAUSE_S)
    return count


async def answer(port: int, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


@pytest.mark.slow
@pytest.mark.servers
async def test_watches_are_replaced_under_load_and_the_outbox_is_that_of_one_fold(tmp_path):
    seed = run_seed()
    maker = Maker()
    for command in definitions():
        maker.command(command)
    random_entries(maker, random.Random(seed), 300)
    made = len(maker.entries)
    async with running_service(tmp_path, snapshot_entries=100) as service:
        site = service.site
        await service.start("watch-0", "watch-1")
        port = free_port()
        shadow = Child(
            "shadow",
            afstand_command("watch", "--config", str(site.config_file), "--shadow", "next"),
            environ={**site.environ, "AFSTAND_WATCH__HEALTH_PORT": str(port - 2)},
            log_file=tmp_path / "shadow.log",
        )
        shadow.start()
        stop = asyncio.Event()
        loading = asyncio.create_task(load(service, maker, stop))
        for number, role in enumerate(REPLACED):
            if number % 2:
                site.children[role].kill()
            else:
                await site.children[role].stop()
                site.start([role])
            await asyncio.sleep(0.2)
            await site.ready([role])
        stop.set()
        assert await loading > made + 50

        end = await Journal(service.store).last_id(service.partition)
        entries = [entry for entry in await whole_journal(service) if entry.id <= end]
        expected = folded(entries, service.partition)

        async def settled() -> bool:
            return await Outbox(service.store).last_id(service.partition) >= expected[-1][0]

        await service.until(settled, "everything is decided")
        outbox = await Outbox(service.store).read(service.partition, BEGINNING, 100_000)
        found = [(entry.id, entry.blob) for entry in outbox if entry.id <= end]
        assert found == expected, f"seed {seed}"
        assert len(found) > 100
        for role in ("watch-0", "watch-1"):
            assert 'divergences_total{partition="0"} 0.0' in await site.metrics(role)

        async def compared() -> bool:
            status, _ = await answer(port, "/-/ready")
            return status == 200

        await service.until(compared, "the shadow is at the end of the journal")
        assert 'shadow_differences_total{partition="0"} 0.0' in (await answer(port, "/metrics"))[1]
        assert 'outbox_written_total{partition="0"} 0.0' in (await answer(port, "/metrics"))[1]
        await shadow.stop()
        signals = [entry for entry in entries if entry.kind is EntryKind.SIGNAL]
        assert signals == []
        snapshots = Snapshots(Path(site.config.watch.data_dir) / "replica-0", service.partition)
        assert snapshots.candidates()
