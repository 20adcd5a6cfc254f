"""A cluster of three nodes with replicas, two brokers, two intakes, four partitions, two watches.

People press buttons and cut straps while the node with most partitions dies. The alarms are those
that one process computes from the same entries, and nothing that a device was told is safe is lost.
"""

import asyncio
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from afstand.cases import check_cases, dump_json, import_cases
from afstand.roles import open_store
from afstand.watch.fold import Watch
from alerting.book.types import IncidentChange, IncidentRecord
from ingest.entries import Entry, EntryKind
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from ingest.store import Store, journal_key
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.demo import build_demo
from simulators.fleet import Fleet
from simulators.happenings import Pressed, Strap
from simulators.scenario import parse_scenario
from tests.acceptance.partitioned import (
    PLAN,
    entries_of,
    frames_in,
    keep_events,
    let_go,
    meldkamer,
    merged,
    outputs_of,
    sites,
    until,
)
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
    for entry in merged(entries):
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
        on_cluster = {"AFSTAND_STORE__CLUSTER": "true", "AFSTAND_STORE__COPIES": "1"}
        brokers = [one, two]
        first, second = sites(tmp_path, cluster.url, brokers, target, PARTITIONS, on_cluster)
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
                both = fleets(world, brokers)
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

                entries = await entries_of(store, PARTITIONS)
                name_of = {device.handle: device.device_id for device in registry}
                there = set()
                for name, _, frame in frames_in(entries, name_of):
                    assert where[frame[0]] == name
                    there.add(frame)
                assert not gone - there, f"seed {seed}: acknowledged and not in a journal"
                found = await incidents(store)
                assert found == of_one_process(entries), f"seed {seed}"
                assert sorted(who.removeprefix("person/") for _, who in found.elements()) == sorted(
                    names
                )
        finally:
            await asyncio.gather(first.stop(), second.stop())
            await receiver.stop()
