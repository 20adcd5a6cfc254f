"""A fleet against a real broker, with a small server that acknowledges and commands."""

import asyncio
import time
from collections import defaultdict
from typing import Any

import aiomqtt
import pytest

from firmware_contracts import (
    CommandCode,
    EventCode,
    Kind,
    Lane,
    Tagger,
    ack_topic,
    cmd_topic,
    encode_ack,
    encode_command,
    parse_topic,
    read_header,
)
from firmware_contracts.table import HEADER_BYTES, struct_of
from simulators.__main__ import main
from simulators.client import Broker, Shown
from simulators.clock import HandClock, RealClock
from simulators.demo import build_demo
from simulators.fleet import Coverage, Cue, Fleet, FleetObserver, Happened, Truly
from simulators.happenings import ActionKind, Boots, LinkChanges
from simulators.phone import play
from simulators.playback import device_on_track, owntracks_messages
from simulators.ring import FrameKey
from simulators.scenario import parse_scenario
from simulators.seeds import device_key
from simulators.tasks import end_tasks
from simulators.tracks import parse_csv
from tests.servers import MosquittoServer, NatsServer
from tests.simulators.test_scenario import with_

DEADLINE_S = 20.0


class Service:
    """Subscribes to everything, keeps every frame, and acknowledges it when told to."""

    def __init__(self, keys) -> None:
        self.keys = keys
        self.frames: dict[str, dict[FrameKey, bytes]] = defaultdict(dict)
        self.copies = 0
        self.acknowledges = True
        self.client: Any = None

    async def run(self, broker: Broker) -> None:
        async with aiomqtt.Client(
            broker.host,
            broker.port,
            identifier="service",
            protocol=aiomqtt.ProtocolVersion.V311,
            timeout=1.0,
        ) as self.client:
            await self.client.subscribe([("em/+/fix", 1), ("em/+/event", 1), ("em/+/status", 1)])
            async for message in self.client.messages:
                await self.take(message)

    async def take(self, message) -> None:
        device, lane = parse_topic(message.topic.value)
        header = read_header(message.payload)
        assert Tagger(device, self.keys[device]).valid(message.payload)
        assert header.kind.name == {"fix": "FIX", "event": "EVENT", "status": "STATUS"}[lane.value]
        if header.sequence == 0:
            return
        key = (header.boot, header.sequence)
        self.copies += key in self.frames[device]
        self.frames[device][key] = message.payload
        if self.acknowledges:
            frame = encode_ack(device, self.keys[device], records=[(*key, key[1])])
            await self.client.publish(ack_topic(device), frame, qos=1)

    async def command(self, device, **fields) -> None:
        frame = encode_command(device, self.keys[device], **fields)
        await self.client.publish(cmd_topic(device), frame, qos=1)

    def events(self, device):
        codes = []
        for payload in self.frames[device].values():
            header = read_header(payload)
            if header.kind is Kind.EVENT:
                _, code, value, *_ = struct_of(Kind.EVENT).unpack_from(payload, HEADER_BYTES)
                codes.append((EventCode(code), value))
        return codes

    def fixes(self, device):
        return sum(
            read_header(p).count
            for p in self.frames[device].values()
            if read_header(p).kind is Kind.FIX
        )


async def limited(messages, count):
    """The first so many messages."""
    async for message in messages:
        yield message
        count -= 1
        if not count:
            return


async def until(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


class Stage:
    """A broker, a service and a fleet, running."""

    def __init__(self, fleet: Fleet, service: Service) -> None:
        self.fleet = fleet
        self.service = service

    async def __aenter__(self):
        self.listening = asyncio.create_task(self.service.run(self.fleet.broker))
        await until(lambda: self.service.client is not None, "the service is connected")
        self.running = asyncio.create_task(self.fleet.run())
        return self

    async def __aexit__(self, *_):
        self.fleet.stop()
        await self.running
        await end_tasks([self.listening])


PERSONS = [
    {
        "id": "a",
        "role": "protected",
        "device": "victim",
        "life": "still",
        "at": {"x_m": 100, "y_m": 0},
    },
    {
        "id": "b",
        "role": "wearer",
        "life": "still",
        "at": {"near": "a", "distance_m": 700, "bearing_deg": 90},
    },
    {"id": "c", "role": "protected", "device": "button", "life": "still"},
]
REPORTING = {"moving_s": 1, "rest_s": 1, "status_s": 3600}


def stage(broker: Broker, events=(), groups=(), speed=4.0) -> Stage:
    scenario = parse_scenario(
        with_(persons=PERSONS, events=list(events), groups=list(groups), reporting=REPORTING),
        "test",
    )
    clock = RealClock(speed=speed)
    start_ms = clock.now_ms() + 1_000
    world = build_demo(scenario, start_ms)
    return Stage(world.fleet(broker, clock, start_ms), Service(world.keys))


@pytest.fixture
def mosquitto(tmp_path):
    with MosquittoServer(tmp_path) as server:
        yield server


@pytest.mark.servers
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_fleet_reports_and_plays_its_script(mosquitto, version):
    events = [
        {"do": "press-panic", "at_s": 2, "person": "c"},
        {"do": "cut-strap", "at_s": 3, "person": "b"},
    ]
    groups = [{"prefix": "w", "count": 10, "role": "wearer", "life": "still"}]
    happened: list[Happened] = []
    on_stage = stage(Broker(mosquitto.host, mosquitto.port, version), events, groups)
    on_stage.fleet.observer = FleetObserver(happened=happened.append)
    async with on_stage as running:
        service, fleet = running.service, running.fleet
        await asyncio.wait_for(fleet.connected(), DEADLINE_S)
        await until(
            lambda: all(service.fixes(f"w-{n:03d}") >= 3 for n in range(1, 11)), "fixes of all"
        )
        await until(lambda: (EventCode.PANIC, 0) in service.events("c"), "the press")
        await until(lambda: (EventCode.STRAP_CUT, 0) in service.events("b"), "the strap")
        await until(lambda: service.fixes("c") > 0, "the position after the press")
    assert [entry.label for entry in happened] == ["press panic", "cut strap"]
    assert all(0 <= entry.late_ms < 2_000 for entry in happened)
    assert fleet.counts.connected == 0
    assert fleet.counts.published >= 40


@pytest.mark.servers
async def test_the_embedded_broker_carries_a_fleet_too(tmp_path):
    with NatsServer(tmp_path) as server:
        async with stage(Broker(server.host, server.port, "3.1.1")) as running:
            await until(lambda: running.service.fixes("b") >= 3, "fixes")
            await running.service.command(
                "b", command_id=5, expires_ms=2**41, code=CommandCode.VIBRATE
            )
            await until(
                lambda: (EventCode.COMMAND_DONE, 5) in running.service.events("b"), "the answer"
            )


@pytest.mark.servers
async def test_commands_are_obeyed_and_shown(mosquitto):
    shown: list[Shown] = []
    on_stage = stage(Broker(mosquitto.host, mosquitto.port))
    on_stage.fleet.observer = FleetObserver(shown=shown.append)
    async with on_stage as running:
        await asyncio.wait_for(running.fleet.connected(), DEADLINE_S)
        later = running.fleet.clock.now_ms() + 600_000
        await running.service.command(
            "a", command_id=1, expires_ms=later, code=CommandCode.MESSAGE, text="Hij is dichtbij"
        )
        await running.service.command(
            "a", command_id=2, expires_ms=1_700_000_000_000, code=CommandCode.VIBRATE
        )
        await until(lambda: len(running.service.events("a")) == 2, "two answers")
        assert sorted(running.service.events("a"), key=lambda e: e[1]) == [
            (EventCode.COMMAND_DONE, 1),
            (EventCode.COMMAND_EXPIRED, 2),
        ]
    assert [(s.device_id, s.action.kind, s.action.text) for s in shown] == [
        ("a", ActionKind.SHOW_MESSAGE, "Hij is dichtbij")
    ]


@pytest.mark.servers
async def test_frames_go_again_until_they_are_acknowledged(mosquitto):
    on_stage = stage(Broker(mosquitto.host, mosquitto.port), speed=15.0)
    on_stage.service.acknowledges = False
    async with on_stage as running:
        await until(lambda: running.service.copies > 2, "copies")
        running.service.acknowledges = True
        carrier = running.fleet.carriers["b"]
        await until(lambda: len(carrier.device.ring) < 6, "the ring is empty again")


@pytest.mark.servers
async def test_coverage_loss_stores_and_forwards(mosquitto):
    async with stage(Broker(mosquitto.host, mosquitto.port), speed=20.0) as running:
        service, fleet = running.service, running.fleet
        await until(lambda: service.fixes("b") >= 3, "fixes")
        fleet.happen("b", Coverage(covered=False))
        await until(lambda: fleet.counts.connected == len(fleet.carriers) - 1, "b is gone")
        await asyncio.sleep(0.3)  # What was on the way arrives.
        before = service.fixes("b")
        await asyncio.sleep(1.0)  # Twenty seconds of the simulation without a network.
        assert service.fixes("b") == before
        fleet.happen("b", Coverage(covered=True))
        await until(lambda: service.fixes("b") >= before + 15, "the stored fixes")
        stored = [read_header(p).count for p in service.frames["b"].values()]
        assert max(stored) >= 10


@pytest.mark.servers
async def test_a_reboot_reconnects_with_the_next_boot(mosquitto):
    async with stage(Broker(mosquitto.host, mosquitto.port)) as running:
        await until(lambda: running.service.fixes("b") >= 1, "fixes")
        running.fleet.happen("b", Boots())
        await until(lambda: any(boot == 2 for boot, _ in running.service.frames["b"]), "boot 2")
        assert running.fleet.clients["b"].connected.is_set()


@pytest.mark.servers
async def test_a_broker_that_is_killed_loses_no_frame(tmp_path):
    server = MosquittoServer(tmp_path).start()
    try:
        on_stage = stage(Broker(server.host, server.port), speed=10.0)
        created = set()
        running = asyncio.create_task(on_stage.fleet.run())
        service = on_stage.service
        listening = asyncio.create_task(service.run(on_stage.fleet.broker))
        await until(lambda: service.fixes("b") >= 3, "fixes")
        service.acknowledges = False
        server.kill()
        await asyncio.wait([listening])
        assert isinstance(listening.exception(), aiomqtt.MqttError)
        device = on_stage.fleet.carriers["b"].device
        await until(lambda: not device.linked, "the link is known to be gone")
        await asyncio.sleep(0.5)
        server.start()
        service.acknowledges = True
        listening = asyncio.create_task(service.run(on_stage.fleet.broker))
        created |= {frame.key for frame in device.ring.frames()}
        await until(lambda: created <= service.frames["b"].keys() and len(device.ring) < 5, "all")
        on_stage.fleet.stop()
        await running
        await end_tasks([listening])
        numbers = sorted(sequence for boot, sequence in service.frames["b"] if boot == 1)
        assert numbers == list(range(1, len(numbers) + 1))
    finally:
        server.stop()


@pytest.mark.servers
async def test_a_device_follows_a_recorded_track(mosquitto):
    rows = [f"2026-01-01T00:00:{n:02d}Z,{51.5 + n * 1e-4},4.5" for n in range(20)]
    track = parse_csv(("time,lat,lon\n" + "\n".join(rows)).encode(), "t")[""]
    clock = RealClock()
    key = device_key(1, "d-1")
    carrier, cues = device_on_track(
        track, "d-1", "p-1", key, start_ms=clock.now_ms() + 500, speed=20.0
    )
    broker = Broker(mosquitto.host, mosquitto.port)
    fleet = Fleet({"d-1": carrier}, cues, broker, clock)
    async with Stage(fleet, Service({"d-1": key})) as running:
        await until(lambda: running.service.fixes("d-1") == 20, "every fix")


@pytest.mark.servers
async def test_a_phone_publishes_a_track(mosquitto):
    rows = [f"2026-01-01T00:00:{n:02d}Z,{51.5 + n * 1e-4},4.5" for n in range(10)]
    track = parse_csv(("time,lat,lon\n" + "\n".join(rows)).encode(), "t")[""]
    clock = RealClock(speed=30.0)
    messages = owntracks_messages(track.rebased(clock.now_ms()), "jan", "phone")
    heard: list[Any] = []

    async def listen():
        async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
            await client.subscribe("owntracks/#", 1)
            ready.set()
            heard.extend([message.payload async for message in limited(client.messages, 10)])

    ready = asyncio.Event()
    listening = asyncio.create_task(listen())
    await ready.wait()
    taken = []
    broker = Broker(mosquitto.host, mosquitto.port)
    count = await play(
        messages, broker, clock, client_id="phone", taken=lambda m, at: taken.append(at)
    )
    await until(lambda: len(heard) == 10, "every message")
    await end_tasks([listening])
    assert count == len(taken) == 10
    assert heard == [message.payload for message in messages]


@pytest.mark.servers
async def test_the_command_follows_a_track_until_the_last_ack(mosquitto, tmp_path, capsys):
    path, key_file = tmp_path / "t.csv", tmp_path / "key"
    rows = [
        f"{trip},2026-01-01T00:00:{n:02d}Z,{51.5 + n * 1e-4},4.5" for n in range(9) for trip in "ab"
    ]
    path.write_text("trip,time,lat,lon\n" + "\n".join(rows))
    key = device_key(1, "d-1")
    key_file.write_text(key.hex())
    service = Service({"d-1": key})
    broker = Broker(mosquitto.host, mosquitto.port)
    listening = asyncio.create_task(service.run(broker))
    await until(lambda: service.client is not None, "the service is connected")
    command = [
        "follow",
        str(path),
        "--trip",
        "trip=b",
        "--port",
        str(mosquitto.port),
        "--speed",
        "10",
    ]
    device = ["--device", "d-1", "--key-file", str(key_file)]
    assert await asyncio.to_thread(main, [*command, *device]) == 0
    assert service.fixes("d-1") == 9
    assert "9 fixes" in capsys.readouterr().out
    assert await asyncio.to_thread(main, [*command, "--device", "jan/phone"]) == 0
    assert "messages published" in capsys.readouterr().out
    await end_tasks([listening])
    assert await asyncio.to_thread(main, [*command, *device, "--drain", "0.5"]) == 1


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--device", "d-1"], "needs --key-file"),
        (["--device", "not an id", "--key-file", "x"], "not a device id"),
        (["--device", "d-1", "--key-file", "none"], "No such file"),
        (["--device", "d-1", "--trip", "trip=z"], "no trip 'z'"),
    ],
)
def test_the_command_says_what_it_cannot_do(tmp_path, capsys, extra, told):
    path = tmp_path / "t.csv"
    path.write_text("trip,time,lat,lon\na,2026-01-01,1,1\n")
    defaults = [] if "--trip" in extra else ["--trip", "trip=a"]
    assert main(["follow", str(path), *defaults, *extra]) == 2
    assert told in capsys.readouterr().err


# --- without a broker -----------------------------------------------------------------------------


def test_a_script_for_a_device_that_is_not_there_is_refused():
    cue = Cue(0, "ghost", "p", "?", Truly("nothing"))
    with pytest.raises(ValueError, match="ghost"):
        Fleet({}, [cue], Broker("127.0.0.1", 1), RealClock())


async def test_a_fleet_without_a_broker_goes_on_trying_and_stops_when_told():
    on_stage = stage(Broker("127.0.0.1", 9), speed=50.0)
    running = asyncio.create_task(on_stage.fleet.run())
    device = on_stage.fleet.carriers["b"].device
    await until(lambda: device.last_place is not None, "it senses without a network")
    on_stage.fleet.stop()
    await running
    assert on_stage.fleet.counts.connected == 0
    out = device.handle(LinkChanges(True), on_stage.fleet.clock.now_ms())
    assert any(frame.lane is Lane.FIX for frame in out.frames)


async def test_a_hand_clock_moves_only_by_hand():
    clock = HandClock(1_000)
    waiting = asyncio.create_task(clock.sleep_until(5_000))
    await asyncio.sleep(0)
    await clock.advance(3_999)
    assert not waiting.done()
    await clock.advance(1)
    await waiting
    assert clock.now_ms() == 5_000


def test_a_clock_that_stands_still_is_refused():
    with pytest.raises(ValueError, match="speed"):
        RealClock(speed=0.0)
