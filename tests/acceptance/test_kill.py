"""kill -9 of every process while people press buttons.

Nothing accepted is lost, nothing is doubled.

Real processes, a real broker, a real Redis. Each role is killed several times at moments drawn from
the seed; the supervisor starts it again, as systemd would.
"""

import asyncio
import random
from collections import defaultdict

import msgspec
import pytest

from alerting.book.types import AlarmClass, IncidentChange, IncidentRecord, Notice, Purpose
from firmware_contracts import Kind
from simulators.client import Broker, Published
from simulators.clock import RealClock
from simulators.demo import build_demo
from simulators.fleet import FleetObserver
from simulators.scenario import parse_scenario
from tests.acceptance.service import Service, running_service
from tests.conftest import run_seed

BUTTONS = 24
WEARERS = 12
PRESS_EVERY_S = 0.7
ROLES = ("intake", "watch-0", "watch-1", "notify")
VICTIMS = ("watch-0", "intake", "watch-1", "notify", "intake", "notify", "watch-0", "watch-1")

PLAN = {
    "format": "afstand.plan/1",
    "id": "aware",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 300},
        {"audience": "probation", "targets": ["reclassering"], "deadline_s": 300,
         "needs": "delivered"},
    ],
    "acknowledgement_expires_s": 3600,
}  # fmt: skip


def scenario(seed: int) -> bytes:
    fast = {"moving_s": 1, "rest_s": 1, "status_s": 3600}
    presses = [
        {"do": "press-panic", "at_s": 1 + PRESS_EVERY_S * n, "person": f"aware-{n + 1:03d}"}
        for n in range(BUTTONS)
    ]
    cuts = [
        {"do": "cut-strap", "at_s": 2 + 3 * n, "person": f"drager-{n + 1:03d}"} for n in range(4)
    ]
    return msgspec.json.encode(
        {
            "format": "afstand.scenario/1",
            "id": "kill",
            "seed": seed,
            "centre": {"lat": 51.92, "lon": 4.48},
            "groups": [
                {"prefix": "aware", "count": BUTTONS, "role": "protected", "device": "button"},
                {"prefix": "drager", "count": WEARERS, "role": "wearer", "reporting": fast},
            ],
            "plans": [PLAN],
            "events": presses + cuts,
        }
    )


@pytest.mark.slow
@pytest.mark.servers
async def test_kill_of_every_role_loses_and_doubles_nothing(tmp_path):
    seed = run_seed()
    draw = random.Random(seed)
    published: list[Published] = []
    async with running_service(tmp_path) as service:
        world = build_demo(parse_scenario(scenario(seed), "kill"), RealClock().now_ms())
        await service.import_document(world.cases)
        await service.start(*ROLES)
        clock = RealClock()
        fleet = world.fleet(
            Broker("127.0.0.1", service.broker.port),
            clock,
            clock.now_ms() + 500,
            FleetObserver(published=published.append),
        )
        driving = asyncio.create_task(fleet.run())
        await fleet.connected()
        for role in VICTIMS:
            await asyncio.sleep(draw.uniform(0.8, 1.8))
            service.site.children[role].kill()
        await service.until(lambda: len(fleet.log) >= BUTTONS + 4, "the script was played", 40)
        await service.site.ready(ROLES)
        await _all_acknowledged(service, fleet)
        await service.until(lambda: _all_arrived(service), "police has every press", 40)
        fleet.stop()
        await driving
        assert all(service.site.children[role].starts >= 2 for role in ROLES)

        journal = set(await service.frames())
        lost = [one for one in published if one.payload not in journal]
        assert not lost, f"seed {seed}: acknowledged frames are not in the journal"

        outputs = await service.outputs()
        opened = [
            output.subject
            for _, output in outputs
            if isinstance(output, IncidentRecord) and output.change is IncidentChange.OPENED
        ]
        assert len(opened) == len(set(opened)) == BUTTONS + 4, f"seed {seed}: {sorted(opened)}"
        _assert_each_message_has_one_key(service, dict(outputs), seed)


async def _all_acknowledged(service: Service, fleet) -> None:
    """Every press is durable: its device has the ack and holds it no more."""

    def events_held() -> list:
        return [
            (name, stored.sequence)
            for name, carrier in fleet.carriers.items()
            for stored in carrier.device.ring.frames()
            if stored.kind is Kind.EVENT
        ]

    await service.until(lambda: not events_held(), f"acks for all events: {events_held()}", 60)


async def _all_arrived(service: Service) -> bool:
    outputs = dict(await service.outputs())
    pressed, cut = set(), set()
    for arrival in service.receivers["meldkamer"].arrivals:
        notice = outputs.get(arrival.id)
        if isinstance(notice, Notice) and notice.alarm_class is AlarmClass.PANIC:
            pressed.add(notice.device_id)
        elif isinstance(notice, Notice) and notice.alarm_class is AlarmClass.TAMPER:
            cut.add(notice.device_id)
    return len(pressed) == BUTTONS and len(cut) == 4


def _assert_each_message_has_one_key(service: Service, outputs, seed: int) -> None:
    """What a receiver got about one step of one alarm came under one idempotency key."""
    for receiver in service.receivers.values():
        keys = defaultdict(set)
        for arrival in receiver.arrivals:
            notice = outputs.get(arrival.id)
            assert notice is not None, f"seed {seed}: {receiver.name} got a key of no output"
            if notice.purpose is Purpose.ALERT:
                name = (notice.alarm_id, notice.target, notice.step, notice.round)
                keys[name].add(arrival.id)
        doubled = {name: found for name, found in keys.items() if len(found) > 1}
        assert not doubled, f"seed {seed}: {receiver.name} got one alarm under several keys"
