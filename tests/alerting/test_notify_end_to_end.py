"""Notifier, channels and receivers together, over real connections and in real time.

The receivers verify signatures with the library's own verifier and judge CAP and CloudEvents by
code that shares nothing with the sender.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from alerting.book.types import AlarmClass, Audience, ReceiptStatus
from alerting.notify import (
    Acknowledgements,
    CapTarget,
    EventsTarget,
    LaneSettings,
    Metrics,
    Notifier,
    NotifySettings,
    SystemClock,
    open_destinations,
)
from simulators.receivers import Kind, Mode, Receiver
from tests.alerting.notify_support import (
    OIN,
    OLD_SECRET,
    SECRET,
    FakeSource,
    Life,
    World,
    entry,
    full_notice,
    key,
    notice,
    until,
)

FAST = LaneSettings(timeout_ms=400, backoff_ms=10, backoff_ms_max=50, circuit_open_ms=50)


class Service:
    """A notifier with its acknowledgement endpoint, and whoever plays its receivers."""

    def __init__(self, world, police, probation):
        self.world = world
        self.police = police
        self.probation = probation
        self.source = FakeSource(world, Life())
        self.registry = CollectorRegistry()
        self.clock = SystemClock()

    async def journal(self, receipt):
        await asyncio.sleep(0)
        self.world.receipts.append(receipt)

    async def settled(self, *keys):
        await until(lambda: all(self.world.receipts_of(one) for one in keys))
        await until(lambda: self.world.all_acknowledged)


def settings(police, probation, lane=FAST):
    return NotifySettings(
        targets={
            "meldkamer": CapTarget(
                url=police.url,
                secrets=(SECRET, OLD_SECRET),
                audiences=(Audience.POLICE,),
                sender="meldcentrale@afstand.example",
                lane=lane,
            ),
            "reclassering": EventsTarget(
                url=probation.url,
                secrets=(SECRET,),
                audiences=(Audience.PROBATION,),
                oin=OIN,
                data_url="https://afstand.example/api",
                lane=lane,
            ),
        }
    )


@asynccontextmanager
async def running(police_fields=None, world=None, lane=FAST):
    """Everything, started; the police have the old secret only: a rotation is under way."""
    police = Receiver("meldkamer", Kind.CAP, [OLD_SECRET], **(police_fields or {}))
    probation = Receiver("reclassering", Kind.EVENTS, [SECRET])
    await police.start()
    await probation.start()
    service = Service(world or World(), police, probation)
    found = settings(police, probation, lane)
    metrics = Metrics(service.registry)
    endpoint = Acknowledgements(
        found.targets, service.journal, service.world.log, service.clock, metrics
    )
    application = web.Application()
    application.add_routes(endpoint.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    police.acknowledge_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/acknowledgements"
    async with open_destinations(found, service.clock, lambda _: None) as destinations:
        notifier = Notifier(
            service.source,
            service.journal,
            destinations,
            service.clock,
            metrics,
            service.world.log,
        )
        task = asyncio.create_task(notifier.run())
        try:
            yield service
        finally:
            notifier.stop()
            await task
            await police.stop()
            await probation.stop()
            await runner.cleanup()


def to_probation(**changes):
    return full_notice(target="reclassering", audience=Audience.PROBATION, **changes)


async def test_police_and_reclassering_have_what_is_theirs():
    async with running() as service:
        service.source.add(entry(1, full_notice(), to_probation()))
        await service.settled(key(1, 0), key(1, 1))
        (at_police,) = service.police.arrivals
        assert at_police.id == key(1, 0)
        assert at_police.fields["distance-m"] == "412.3"
        (at_probation,) = service.probation.arrivals
        assert at_probation.id == key(1, 1)
        assert not service.police.refusals
        assert not service.probation.refusals
        assert {r.status for r in service.world.receipts} == {ReceiptStatus.DELIVERED}


async def test_an_acknowledgement_comes_back_after_the_delivery():
    async with running({"acknowledge_after_ms": 5}) as service:
        service.source.add(entry(1, full_notice()))
        await until(lambda: len(service.world.receipts_of(key(1))) == 2)
        assert service.world.receipts_of(key(1)) == [
            ReceiptStatus.DELIVERED,
            ReceiptStatus.ACKNOWLEDGED,
        ]
        assert service.world.receipts[-1].by == "centralist-1"


@pytest.mark.slow
async def test_one_target_hangs_and_the_other_has_everything():
    async with running({"mode": Mode.HANG}) as service:
        for number in range(40):
            service.source.add(entry(number, full_notice(incident_id=f"i{number}")))
        for number in range(100, 140):
            service.source.add(entry(number, to_probation(incident_id=f"i{number}")))
        await service.probation.wait_until(lambda r: len(r.arrivals) == 40)
        assert len(service.police.arrivals) == 0
        service.police.mode = Mode.GOOD
        await service.police.wait_until(lambda r: len(r.ids) == 40)
        await service.settled(*[key(n) for n in range(40)])


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.FLAKY, Mode.DEAF_ONCE, Mode.NONSENSE, Mode.SLOW])
async def test_a_bad_receiver_gets_everything_under_one_id_each(mode):
    async with running({"mode": mode, "slow_ms": 60, "seed": 3}) as service:
        expected = [key(n) for n in range(25)]
        for number in range(25):
            service.source.add(entry(number, notice(AlarmClass.PANIC, incident_id=f"i{number}")))
        await service.settled(*expected)
        assert sorted(service.police.ids) == sorted(expected)
        for one in expected:
            assert service.world.receipts_of(one) == [ReceiptStatus.DELIVERED]
        if mode is Mode.DEAF_ONCE:  # taken in, and the answer lost: the copy has the same id
            assert all(service.police.times_of(one) == 2 for one in expected)


@pytest.mark.slow
async def test_a_target_that_stays_away_fails_with_a_reason_and_the_circuit_is_seen():
    lane = LaneSettings(timeout_ms=200, attempts_max=3, backoff_ms=5, backoff_ms_max=10)
    async with running({"mode": Mode.ERROR}, lane=lane) as service:
        for number in range(4):
            service.source.add(entry(number, full_notice(incident_id=f"i{number}")))
        await service.settled(*[key(n) for n in range(4)])
        for receipt in service.world.receipts:
            assert receipt.status is ReceiptStatus.FAILED
            assert receipt.detail == "after 3 attempts: http-500"
        labels = {"target": "meldkamer"}
        assert service.registry.get_sample_value("afstand_notify_circuit_state", labels) == 2
