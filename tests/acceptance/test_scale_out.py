"""A cluster of three nodes with replicas, two brokers, two intakes, four partitions, two watches.

People press buttons and cut straps while the node with most partitions dies. The alarms are those
that one process computes from the same entries, and nothing that a device was told is safe is lost.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from afstand.cases import check_cases, dump_json, import_cases
from afstand.embedded import Endpoint, free_port
from afstand.roles import open_store
from afstand.site import Site, TargetSpec, write_config
from afstand.watch.fold import Watch
from alerting.book.types import IncidentChange, IncidentRecord
from firmware_contracts.frames import read_header
from ingest.entries import Entry, EntryKind, FrameBatch
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from ingest.store import BEGINNING, Store, journal_key
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.demo import build_demo
from simulators.fleet import Fleet
from simulators.happenings import Pressed, Strap
from simulators.scenario import parse_scenario
from tests.acceptance.partitioned import PLAN, keep_events, let_go, meldkamer, outputs_of, until
from tests.cluster_servers import ClusterServers
from tests.conftest import run_seed
from tests.servers import MosquittoServer

PARTITIONS = ("p0", "p1", "p2", "p3")
BUTTONS, WEARERS, CUTS = 16, 8, 4
WATCHES = ("watch-0", "watch-1")


def scenario(seed: int) -> bytes:
    fast = {"moving_s": 1, "rest_s": 1, "status_s": 3600}
    return msgspec.json.encode(
        {
            "format": "afstand.scenario/1",
            "id": "scale",
            "seed": seed,
            "centre": {"lat": 51.92, "lon": 4.48},
            "groups": [
                {"prefix": "aware", "count": BUTTONS, "role": "protected", "device": "button"},
                {"prefix": "drager", "count": WEARERS, "role": "wearer", "reporting": fast},
            ],
            "plans": [PLAN],
        }
    )


def sites(folder: Path, url: str, brokers: list[MosquittoServer], target: TargetSpec) -> list[Site]:
    """One configuration; the second intake is at the other broker and has a name of its own."""
    at = Endpoint("mosquitto", brokers[0].port, "5")
    first = write_config(folder, url, at, [target], snapshot_entries=200)
    file = first.config_file
    file.write_text(f"partitions = {msgspec.json.encode(PARTITIONS).decode()}\n" + file.read_text())
    environ = {**first.environ, "AFSTAND_STORE__CLUSTER": "true", "AFSTAND_STORE__COPIES": "1"}
    other = {
        "AFSTAND_BROKER__PORT": str(brokers[1].port),
        "AFSTAND_INTAKE__CLIENT_ID": "afstand-intake-2",
    }
    folder_b = folder / "b"
    folder_b.mkdir()
    return [
        Site(folder, file, environ, first.health_ports),
        Site(folder_b, file, environ | other, {"intake": free_port()}),
    ]


def fleets(world: Any, brokers: list[MosquittoServer]) -> list[Fleet]:
    """Every other device is at the other broker."""
    clock = RealClock()
    whole = world.fleet(Broker("127.0.0.1", brokers[0].port), clock, clock.now_ms() + 500)
    names = sorted(whole.carriers)
    return [
        Fleet(
            {name: whole.carriers[name] for name in names[number::2]},
            (),
            Broker("127.0.0.1", broker.port),
            clock,
        )
        for number, broker in enumerate(brokers)
    ]


async def journals(store: Store) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for name in PARTITIONS:
        found[name], after = [], BEGINNING
        while entries := await Journal(store).read(name, after, 500):
            found[name] += entries
            after = entries[-1].id
    return found


def opened(outputs: Any) -> Counter[tuple[str, str]]:
    """Incidents: of which class first, about whom."""
    return Counter(
        (" ".join(map(str, one.alarm_classes)), one.subject)
        for one in outputs
        if isinstance(one, IncidentRecord) and one.change is IncidentChange.OPENED
    )


async def incidents(store: Store) -> Counter[tuple[str, str]]:
    return opened(await outputs_of(store, PARTITIONS))


def of_one_process(entries: dict[str, list[Entry]]) -> Counter[tuple[str, str]]:
    """What a single watch makes of everything, in the order of the entries' ids."""
    watch, found = Watch("all"), []
    for entry in sorted((one for part in entries.values() for one in part), key=lambda one: one.id):
        if entry.kind is not EntryKind.RECEIPT:  # of notices with the keys of the partitions
            found += watch.step(entry).outputs
    return opened(found)


@pytest.mark.slow
@pytest.mark.servers
async def test_partitions_on_a_cluster_give_the_alarms_of_one_process(tmp_path):
    seed = run_seed()
    draw = random.Random(seed)
    world = build_demo(parse_scenario(scenario(seed), "scale"), RealClock().now_ms())
    receiver, target = await meldkamer()
    with (
        ClusterServers(tmp_path / "cluster") as cluster,
        MosquittoServer(tmp_path / "broker-1") as one,
        MosquittoServer(tmp_path / "broker-2") as two,
    ):
        first, second = sites(tmp_path, cluster.url, [one, two], target)
        try:
            async with open_store(first.config) as store:
                registry = Registry(store, KeyBox(first.master_key))
                cases = check_cases(dump_json(world.cases), "test")
                await import_cases(cases, registry, Journal(store), PARTITIONS)
                where = {device.device_id: device.partition for device in registry}
                assert len(set(where.values())) == len(PARTITIONS)
                first.start(("intake", *WATCHES, "notify"))
                second.start(("intake",))
                await asyncio.gather(
                    first.ready(("intake", *WATCHES, "notify")), second.ready(("intake",))
                )
                both = fleets(world, [one, two])
                driving = [asyncio.create_task(fleet.run()) for fleet in both]
                await asyncio.gather(*(fleet.connected() for fleet in both))

                nodes = Counter(cluster.primary_of(journal_key(name)).port for name in PARTITIONS)
                victim = next(n for n in cluster.nodes if n.port == nodes.most_common(1)[0][0])
                names = [f"aware-{n + 1:03d}" for n in range(BUTTONS)]
                names += [f"drager-{n + 1:03d}" for n in range(CUTS)]
                draw.shuffle(names)
                for number, name in enumerate(names):
                    fleet = next(fleet for fleet in both if name in fleet.carriers)
                    what = Strap(cut=True) if name.startswith("drager") else Pressed()
                    fleet.happen(name, what)
                    await asyncio.sleep(draw.uniform(0.05, 0.4))
                    if number == len(names) // 3:
                        victim.kill()
                    if number == 2 * len(names) // 3:
                        await asyncio.to_thread(victim.start)

                async def nothing_kept() -> bool:
                    return not keep_events(both)

                async def all_opened() -> bool:
                    return len(await incidents(store)) >= len(names)

                async def all_heard() -> bool:
                    return len({arrival.incident for arrival in receiver.arrivals}) >= len(names)

                await until(nothing_kept, "every device holds an acknowledgement")
                await until(all_opened, "every press and cut opens an incident")
                await until(all_heard, "police have heard of every one")
                gone = let_go(both)
                for fleet in both:
                    fleet.stop()
                await asyncio.gather(*driving)
                await first.ready(WATCHES)

                entries = await journals(store)
                name_of = {device.handle: device.device_id for device in registry}
                there: set[tuple[str, int, int]] = set()
                for name, part in entries.items():
                    for entry in part:
                        if entry.kind is EntryKind.FRAMES:
                            for record in FrameBatch.read(entry.blob).records():
                                header = read_header(record.payload)
                                device = name_of[record.handle]
                                assert where[device] == name
                                there.add((device, header.boot, header.sequence))
                assert not gone - there, f"seed {seed}: acknowledged and not in a journal"
                found = await incidents(store)
                assert found == of_one_process(entries), f"seed {seed}"
                assert sorted(who.removeprefix("person/") for _, who in found.elements()) == sorted(
                    names
                )
        finally:
            await asyncio.gather(first.stop(), second.stop())
            await receiver.stop()
