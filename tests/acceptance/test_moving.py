"""People move to another partition, and an intake dies, while devices send and people press.

Real processes: two partitions, two intakes that share one subscription, two watches, a notifier.
Frames take the old way until the intakes know the new one. Nothing that a device was told is safe
is lost, and every press and cut is one incident.
"""

import asyncio
import random
import re

import msgspec
import pytest

from afstand.cases import check_cases, dump_json, import_cases
from afstand.moving import MoveError, move
from afstand.roles import open_store
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
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
from tests.conftest import run_seed
from tests.servers import MosquittoServer, RedisServer

PARTITIONS = ("p0", "p1")
BUTTONS, WEARERS = 8, 6


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
                {"prefix": "drager", "count": WEARERS, "role": "wearer", "reporting": fast},
            ],
            "plans": [PLAN],
        }
    )


@pytest.mark.slow
@pytest.mark.servers
async def test_people_move_and_an_intake_dies_and_nothing_is_lost_or_told_twice(tmp_path):
    seed = run_seed()
    draw = random.Random(seed)
    world = build_demo(parse_scenario(scenario(seed), "moving"), RealClock().now_ms())
    receiver, target = await meldkamer()
    with MosquittoServer(tmp_path / "broker") as broker, RedisServer(tmp_path / "redis") as redis:
        first, second = sites(tmp_path, f"{redis.url}/0", [broker], target, PARTITIONS)
        try:
            async with open_store(first.config) as store:
                registry = Registry(store, KeyBox(first.master_key))
                cases = check_cases(dump_json(world.cases), "test")
                await import_cases(cases, registry, Journal(store), PARTITIONS)
                persons = {device.device_id: device.person_id for device in registry}
                names_of = {device.handle: device.device_id for device in registry}
                first.start(ROLES)
                second.start(("intake",))
                await asyncio.gather(first.ready(ROLES), second.ready(("intake",)))
                clock = RealClock()
                fleet = world.fleet(Broker("127.0.0.1", broker.port), clock, clock.now_ms() + 500)
                driving = asyncio.create_task(fleet.run())
                await fleet.connected()

                names = sorted(persons)
                draw.shuffle(names)
                moved: dict[str, str] = {}
                for number, name in enumerate(names):
                    # Just before, while and just after its move a device has something to tell.
                    to = draw.choice(PARTITIONS)
                    moving = asyncio.create_task(
                        move(store, registry, PARTITIONS, persons[name], to, "engineer")
                    )
                    await asyncio.sleep(draw.choice((0.0, 0.02, 0.3)))
                    what = Strap(cut=True) if name.startswith("drager") else Pressed()
                    fleet.happen(name, what)
                    (done,) = await asyncio.gather(moving, return_exceptions=True)
                    if isinstance(done, list):
                        moved |= dict.fromkeys(done, to)
                    else:  # it was there already, or its press was first
                        assert isinstance(done, MoveError), done
                        assert re.search(r"already|is open", str(done)), done
                    if number == len(names) // 3:
                        second.children["intake"].kill()
                assert len(moved) > 2, f"seed {seed}: too few moved"

                async def nothing_kept() -> bool:
                    return not keep_events([fleet])

                async def all_heard() -> bool:
                    return len({arrival.incident for arrival in receiver.arrivals}) >= len(names)

                await until(nothing_kept, "every device holds an acknowledgement")
                await until(all_heard, "police have heard of every press and cut")

                async def served_there() -> bool:
                    """Whoever moved is served by the other partition alone in the end."""
                    there = await frames_of(store, names_of, PARTITIONS)
                    newest = {
                        name: max(frame for frame in there if frame[0] == name) for name in moved
                    }
                    return all(
                        there[newest[name]] == {to}
                        for name, to in moved.items()
                        if name.startswith("drager")
                    )

                await until(served_there, "the newest of who moved is in the other partition alone")
                gone = let_go([fleet])
                fleet.stop()
                await driving
                await first.ready(("watch-0", "watch-1"))

                assert second.children["intake"].starts >= 2
                there = await frames_of(store, names_of, PARTITIONS)
                assert not gone - there.keys(), f"seed {seed}: acknowledged, in no journal"
                opened = await incidents_opened(store, PARTITIONS)
                assert sorted(opened) == sorted(names), f"seed {seed}"
        finally:
            await asyncio.gather(first.stop(), second.stop())
            await receiver.stop()
