"""An engineer and an operator at the command line, on a real broker and a real Redis."""

import asyncio
import time

import aiomqtt
import msgspec
import pytest

from firmware_contracts import EventCode
from firmware_contracts.frames import encode_event
from firmware_contracts.topics import event_topic
from tests.acceptance.service import afstand, running_service

KEY = bytes(range(16))
DOCUMENT = {
    "format": "afstand.cases/1",
    "persons": [{"id": "vera", "role": "protected"}],
    "devices": [{"id": "aware-1", "person": "vera", "role": "protected", "key": KEY.hex()}],
    "plans": [
        {
            "format": "afstand.plan/1",
            "id": "aware",
            "steps": [{"audience": "police", "targets": ["meldkamer"], "deadline_s": 300}],
        }
    ],
    "cases": [{"id": "case-vera", "protected": ["vera"], "plan": "aware"}],
}


@pytest.mark.slow
@pytest.mark.servers
async def test_import_press_acknowledge_and_close(tmp_path):
    file = tmp_path / "cases.json"
    file.write_bytes(msgspec.json.encode(DOCUMENT))
    async with running_service(tmp_path, roles=("intake", "watch-0", "notify")) as service:
        code, said = await afstand(service, "orders", "import", str(file))
        assert code == 0, said
        assert "1 persons, 1 devices" in said
        await asyncio.sleep(1.5)  # the intake reads the registry once a second
        now_ms = time.time_ns() // 1_000_000
        press = encode_event(
            "aware-1", KEY, boot=1, sequence=1, device_time_ms=now_ms, code=EventCode.PANIC
        )
        async with aiomqtt.Client("127.0.0.1", service.broker.port, identifier="aware-1") as client:
            await client.publish(event_topic("aware-1"), press, qos=1)
        await service.receivers["meldkamer"].wait_until(lambda receiver: bool(receiver.arrivals))
        code, said = await afstand(service, "incidents", "list")
        assert code == 0
        assert "critical" in said
        assert "panic" in said
        incident = said.split()[0]
        code, said = await afstand(service, "explain", incident)
        assert code == 0, said
        assert "De noodknop is ingedrukt." in said
        assert "Bericht aan meldkamer (politie)" in said
        options = ("--language", "en", "--json")
        code, said = await afstand(service, "explain", f"{incident}.1", *options)
        assert code == 0, said
        account = msgspec.json.decode(said[said.index("{") :])
        assert account["format"] == "afstand.explanation/1"
        assert account["alarms"][0]["reason"] == "panic"
        code, said = await afstand(service, "explain", f"{incident}.7")
        assert (code, "has no record of" in said) == (1, True)
        assert (await afstand(service, "incidents", "acknowledge", incident, "--by", "ans"))[0] == 0
        code, said = await afstand(
            service, "incidents", "dispose", incident, "--by", "ans", "--disposition", "fax"
        )
        assert (code, "--disposition must be one of" in said) == (2, True)
        closing = ("incidents", "dispose", incident, "--by", "ans", "--disposition", "handled")
        code, said = await afstand(service, *closing)
        assert (code, "no-reason-given: note" in said) == (1, True), said
        code, said = await afstand(service, *closing, "--note", "call 12")
        assert code == 0
        assert "a second person must countersign" in said
        code, said = await afstand(service, "incidents", "countersign", incident, "--by", "Ans")
        assert (code, "same-person" in said) == (1, True), said
        code, said = await afstand(service, "incidents", "countersign", incident, "--by", "bas")
        assert (code, said.strip()) == (0, "done"), said
        code, said = await afstand(service, "incidents", "list")
        assert (code, said) == (0, "")
        code, said = await afstand(service, "incidents", "acknowledge", "none", "--by", "ans")
        assert (code, "no open incident" in said) == (1, True)


@pytest.mark.slow
@pytest.mark.servers
async def test_every_role_serves_metrics_and_health(tmp_path):
    roles = ("intake", "watch-0", "watch-1", "notify")
    async with running_service(tmp_path, roles=roles) as service:
        for role, name in zip(
            roles,
            ("afstand_intake", "afstand_watch", "afstand_watch", "afstand_notify"),
            strict=True,
        ):
            assert name in await service.site.metrics(role), role
        service.redis.kill()

        async def not_ready() -> bool:
            return await service.status("watch-0", "ready") == 503

        await service.until(not_ready, "the watch says that its store is away")
        assert await service.status("watch-0", "healthy") == 200
        service.redis.start()
        await service.site.ready(roles)


@pytest.mark.slow
@pytest.mark.servers
async def test_simulate_registers_its_people_and_plays(tmp_path):
    fast = {"moving_s": 1, "rest_s": 1, "status_s": 3600}
    scenario = {
        "format": "afstand.scenario/1",
        "id": "small",
        "seed": 5,
        "centre": {"lat": 51.92, "lon": 4.48},
        "groups": [{"prefix": "drager", "count": 5, "role": "wearer", "reporting": fast}],
        "plans": DOCUMENT["plans"],
    }
    file = tmp_path / "small.json"
    file.write_bytes(msgspec.json.encode(scenario))
    async with running_service(tmp_path, roles=("intake",)) as service:
        code, said = await afstand(service, "simulate", str(file), "--register", "--for", "6")
        assert code == 0, said
        assert "imported 5 persons, 5 devices" in said
        assert "5 connected" in said
        assert len(await service.frames()) >= 15
