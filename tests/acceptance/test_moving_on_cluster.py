"""Groups move to a partition on another node of a cluster, and that node dies meanwhile.

Real processes: three primaries with replicas, a partition on each, two intakes, two watches, a
notifier. Whoever asks for a move asks again until it is done, as the command says. Nothing that a
device was told is safe is lost, and every press and cut is one incident, told to the police once.
"""

import asyncio
import random

import msgspec
import pytest

from afstand.cases import check_cases, dump_json, import_cases
from afstand.moving import MoveError, move
from afstand.roles import open_store
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from ingest.store import Store, StoreUnavailableError, journal_key
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.demo import build_demo
from simulators.happenings import Pressed, Strap
from simulators.scenario import parse_scenario
from tests.acceptance.partitioned import (
    PLAN,
    ROLES,
    frames_of,
    incidents_opened,
    keep_events,
    let_go,
    meldkamer,
    sites,
    until,
)
from tests.cluster_servers import ClusterServers
from tests.conftest import run_seed
from tests.servers import MosquittoServer

PARTITIONS = ("p0", "p2", "p3")  # each on another node
BUTTONS, PAIRS = 4, 3


def scenario(seed: int) -> bytes:
    fast = {"moving_s": 1, "rest_s": 1, "status_s": 3600}
    return msgspec.json.encode(
        {
            "format": "afstand.scenario/1",
            "id": "moving",
            "seed": seed,
            "centre": {"lat": 51.92, "lon": 4.48},
            "groups": [
                {"prefix": "aware", "count": BUTTONS, "role": "protected", "device": "button"},
            ],
            "pairs": [
                {"wearers": "drager", "protected": "beschermde", "count": PAIRS, "plan": "aware",
                 "reporting": fast},
            ],
            "plans": [PLAN],
        }
    )  # fmt: skip


async def move_in_the_end(store: Store, registry: Registry, person: str, to: str) -> bool:
    """Ask until it is done; False when nobody may move."""
    for _ in range(20):
        try:
            await move(store, registry, PARTITIONS, person, to, "engineer")
        except StoreUnavailableError:
            await asyncio.sleep(0.2)
        except MoveError as error:
            said = str(error).lower()
            if "already" in said or "is open" in said:
                return "already" in said
            if "ask again" not in said:
                raise
        else:
            return True
    raise AssertionError(f"{person} is not in {to} after 20 times")


@pytest.mark.slow
@pytest.mark.servers
async def test_groups_move_between_nodes_while_one_dies_and_nothing_is_lost_or_told_twice(tmp_path):
    seed = run_seed()
    draw = random.Random(seed)
    world = build_demo(parse_scenario(scenario(seed), "moving"), RealClock().now_ms())
    receiver, target = await meldkamer()
    on_cluster = {"AFSTAND_STORE__CLUSTER": "true", "AFSTAND_STORE__COPIES": "1"}
    with (
        ClusterServers(tmp_path / "cluster") as cluster,
        MosquittoServer(tmp_path / "broker") as broker,
    ):
        nodes = {name: cluster.primary_of(journal_key(name)) for name in PARTITIONS}
        assert len({node.port for node in nodes.values()}) == len(PARTITIONS)
        first, second = sites(tmp_path, cluster.url, [broker], target, PARTITIONS, on_cluster)
        try:
            async with open_store(first.config) as store:
                registry = Registry(store, KeyBox(first.master_key))
                cases = check_cases(dump_json(world.cases), "test")
                await import_cases(cases, registry, Journal(store), PARTITIONS)
                persons = {device.device_id: device.person_id for device in registry}
                names_of = {device.handle: device.device_id for device in registry}
                before = {device.device_id: device.partition for device in registry}
                for number in range(1, PAIRS + 1):
                    pair = (before[f"drager-{number:03d}"], before[f"beschermde-{number:03d}"])
                    assert pair[0] == pair[1]
                first.start(ROLES)
                second.start(("intake",))
                await asyncio.gather(first.ready(ROLES), second.ready(("intake",)))
                clock = RealClock()
                fleet = world.fleet(Broker("127.0.0.1", broker.port), clock, clock.now_ms() + 500)
                driving = asyncio.create_task(fleet.run())
                await fleet.connected()

                names = sorted(name for name in persons if not name.startswith("beschermde"))
                draw.shuffle(names)
                pairs = [name for name in names if name.startswith("drager")]
                victim_of = pairs[0]
                for name in names:
                    to = draw.choice([one for one in PARTITIONS if one != before[name]])
                    # What the first pair has to tell waits until it has moved.
                    what = Strap(cut=True) if name.startswith("drager") else Pressed()
                    moving = asyncio.create_task(
                        move_in_the_end(store, registry, persons[name], to)
                    )
                    await asyncio.sleep(draw.choice((0.0, 0.02, 0.3)))
                    if name != victim_of:
                        fleet.happen(name, what)
                        await moving
                        continue
                    victim = nodes[to]
                    victim.kill()

                    async def another_serves(to: str = to, port: int = victim.port) -> bool:
                        try:
                            node = await asyncio.to_thread(cluster.primary_of, journal_key(to))
                        except AssertionError:
                            return False
                        return node.port != port

                    await until(another_serves, "the replica has taken over")
                    await asyncio.to_thread(victim.start)
                    assert await moving, f"seed {seed}: nothing of this pair is open"
                    fleet.happen(name, what)
                await registry.refresh()
                after = {device.device_id: device.partition for device in registry}
                moved = {name for name in after if after[name] != before[name]}
                assert {victim_of, victim_of.replace("drager", "beschermde")} <= moved
                assert len(moved) > 3, f"seed {seed}: too few moved"

                async def nothing_kept() -> bool:
                    return not keep_events([fleet])

                async def all_heard() -> bool:
                    return len({arrival.incident for arrival in receiver.arrivals}) >= len(names)

                async def served_there() -> bool:
                    """Whoever reports places is served by one partition alone in the end."""
                    there = await frames_of(store, names_of, PARTITIONS)
                    fixing = [name for name in after if not name.startswith("aware")]
                    newest = [max(frame for frame in there if frame[0] == name) for name in fixing]
                    return all(there[frame] == {after[frame[0]]} for frame in newest)

                await until(nothing_kept, "every device holds an acknowledgement")
                await until(all_heard, "police have heard of every press and cut")
                await until(served_there, "the newest of everybody is in their partition alone")
                gone = let_go([fleet])
                fleet.stop()
                await driving
                await first.ready(("watch-0", "watch-1"))

                there = await frames_of(store, names_of, PARTITIONS)
                assert not gone - there.keys(), f"seed {seed}: acknowledged, in no journal"
                subjects = await incidents_opened(store, PARTITIONS)
                # An incident of a pair is `pair/WEARER/PROTECTED`.
                opened = [one.removeprefix("pair/").split("/")[0] for one in subjects]
                assert sorted(opened) == sorted(persons[name] for name in names), f"seed {seed}"
                # A receiver may be given one message twice under one id, and never a second one.
                alerts = {one.id for one in receiver.arrivals if one.purpose == "alert"}
                assert len(alerts) == len(names), f"seed {seed}"
        finally:
            await asyncio.gather(first.stop(), second.stop())
            await receiver.stop()
