"""`afstand conform`: on a real broker, with a firmware on a pty, a simulated device, and files."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from afstand.cli import main
from afstand.conform import Broker as Where
from afstand.conform import ConformError, NoHands, conform
from firmware_contracts.conformance import (
    JUDGED,
    Examiner,
    Item,
    Patience,
    Result,
    Stimulus,
    judge,
    written,
)
from simulators.bench_device import BenchDevice
from simulators.bridge import Bridge, SimulatedLine, Spoken, open_program
from simulators.carrier import Carrier
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.device import Device
from simulators.firmware import HOST, build
from simulators.fleet import Fleet
from simulators.geo import LocalPlane
from simulators.gnss import Receiver
from simulators.happenings import DeviceSpec, Place
from simulators.paths import Environment, Fixed, standing
from simulators.rig import RigClient, RigError, greeting, read_greeting, read_line, serve_rig
from simulators.ring import Pace
from tests.servers import MosquittoServer, free_port

KEY = bytes(range(16))
SPEED = 20  # of the devices' own counters
# Short where the whole time is always waited, long where the answer ends the wait.
PATIENCE = Patience(
    boot_s=20.0, link_s=20.0, fix_s=20.0, at_once_s=3.0, answer_s=20.0, resend_s=10.0, quiet_s=0.3,
    expiry_s=1.0,
)  # fmt: skip


@pytest.fixture
def key_file(tmp_path) -> Path:
    path = tmp_path / "device.key"
    path.write_text(KEY.hex() + "\n")
    return path


def of(found: dict[str, Result], result: Result) -> set[str]:
    return {sentence for sentence, one in found.items() if one is result}


async def log_of(name: str, broker: MosquittoServer, rig_port: int) -> list[Item]:
    """Test a device with its rig, as the command does."""
    rig = await RigClient.connect("127.0.0.1", rig_port)
    examiner = Examiner(name, KEY, patience=PATIENCE, able=rig.able)
    try:
        await conform(examiner, name, Where(broker.host, broker.port), rig, lambda _: None)
    finally:
        await rig.close()
    return examiner.items


@asynccontextmanager
async def bridged(name: str, device: Spoken, broker: MosquittoServer) -> AsyncIterator[int]:
    """A device on the broker; gives the port of its rig."""
    bridge = Bridge(name, device, Broker(broker.host, broker.port), speed=SPEED)
    running = asyncio.create_task(bridge.run())
    server = await serve_rig(bridge, "127.0.0.1", 0)
    await bridge.connected.wait()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        bridge.stop()
        await running
        server.close()


def spec(name: str) -> DeviceSpec:
    return DeviceSpec(device_id=name, key=KEY, pace=Pace().faster(SPEED))


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
async def test_a_firmware_on_a_pty_a_simulated_device_and_a_broken_one(tmp_path, key_file, capsys):
    """Each passes or fails as it should, over a real broker, with its rig; and is judged again."""
    program = str(build(tmp_path / "device", HOST / "device.c"))
    with MosquittoServer(tmp_path / "broker") as broker:
        simulated = SimulatedLine(BenchDevice(spec("s-1"), RealClock().now_ms()))
        devices: dict[str, Spoken] = {
            "c-1": await open_program([program, "c-1", KEY.hex()]),
            "b-1": await open_program([program, "b-1", KEY.hex(), "64", "drill"]),
            "s-1": simulated,
        }
        async with AsyncExitStack() as stack:
            tests = []
            for name, device in devices.items():
                port = await stack.enter_async_context(bridged(name, device, broker))
                tests.append(log_of(name, broker, port))
            logs = dict(zip(devices, await asyncio.gather(*tests), strict=True))
    for name in ("c-1", "s-1"):
        verdicts = judge(logs[name], name, KEY, PATIENCE)
        failing = [one for one in verdicts if one.result is Result.FAIL]
        assert failing == []
        unseen = [one.sentence for one in verdicts if one.result is Result.NOT_SEEN]
        assert unseen == ["FC-064"]  # nobody said how much memory it has
    record = tmp_path / "b-1.log"
    record.write_bytes(written("b-1", PATIENCE, logs["b-1"]))
    arguments = ["conform", "--judge", str(record), "--key-file", str(key_file)]
    assert main([*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    told = [one for one in document["verdicts"] if one["result"] == "fail"]
    assert [one["sentence"] for one in told] == ["FC-070", "FC-071"]
    assert document["counts"]["fail"] == 2
    shown = told[1]["evidence"]["payload"]
    assert bytes.fromhex(shown)[4] == 2  # the event that shows it
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert shown in out
    assert "b-1: " in out


@pytest.mark.slow
@pytest.mark.servers
async def test_a_device_without_a_rig_is_judged_by_what_goes_over_the_broker(tmp_path):
    clock = RealClock()
    place = Place(519_200_000, 44_800_000, 60)
    lying = standing(0, 0.0, 0.0, Environment(0))
    carrier = Carrier(
        Device(spec("d-1"), clock.now_ms()),
        Fixed(lying),
        LocalPlane(51.92, 4.48),
        Receiver(np.random.default_rng(1)),
        sense=lambda _: place,
    )
    with MosquittoServer(tmp_path) as broker:
        fleet = Fleet({"d-1": carrier}, [], Broker(broker.host, broker.port), clock)
        running = asyncio.create_task(fleet.run())
        await fleet.connected()
        examiner = Examiner("d-1", KEY, patience=msgspec.structs.replace(PATIENCE, fix_s=0.5))
        phases: list[str] = []
        where = Where(broker.host, broker.port, "3.1.1")
        await conform(examiner, "d-1", where, NoHands(), phases.append)
        fleet.stop()
        await running
    found = {one.sentence: one.result for one in judge(examiner.items, "d-1", KEY, PATIENCE)}
    assert of(found, Result.FAIL) == set()
    assert {"FC-050", "FC-060", "FC-024", "FC-062", "FC-080", "FC-082"} <= of(found, Result.PASS)
    assert "commands" in phases


@pytest.mark.slow
@pytest.mark.servers
async def test_the_bench_is_a_program_that_says_where_its_rig_is(tmp_path, key_file):
    with MosquittoServer(tmp_path / "broker") as broker:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "simulators", "device", "--device", "p-1"],
            *["--key-file", str(key_file), "--port", str(broker.port)],
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        said = (await process.stdout.readline()).decode()
        rig = await RigClient.connect("127.0.0.1", int(said.rsplit(":", 1)[1]))
        assert rig.able == frozenset(Stimulus)
        assert await rig.do(Stimulus.PRESS, 1) == ""
        process.terminate()
        assert await process.wait() == 0
        await rig.close()


async def test_nobody_at_the_broker_is_an_error():
    examiner = Examiner("d-1", KEY, patience=Patience())
    with pytest.raises(ConformError, match="broker 127"):
        await conform(examiner, "d-1", Where("127.0.0.1", free_port()), NoHands(), print)


# --- files and wrong use --------------------------------------------------------------------------


def test_messages_of_a_phone(tmp_path, capsys):
    path = tmp_path / "phone.jsonl"
    good = '{"_type":"location","lat":51.9,"lon":4.4,"tst":1760000000}\n'
    path.write_text(good * 3 + '{"_type":"lwt","tst":1760000000}\n')
    assert main(["conform", "--owntracks", str(path)]) == 0
    assert "4 messages: 3 fixes, no fix: 1 type-lwt; 4 pass, 0 fail" in capsys.readouterr().out
    path.write_text(good + '{"_type":"location"}\n')
    assert main(["conform", "--owntracks", str(path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (failing,) = [one for one in document["verdicts"] if one["result"] == "fail"]
    assert (failing["sentence"], failing["evidence"]["what"]) == ("FC-091", "message 2")


def test_every_published_owntracks_message_is_judged_as_its_schema_says(data, tmp_path, capsys):
    folder = data / "conformance" / "owntracks"
    judged = 0
    for path in sorted(folder.rglob("*.json")):
        if "schema" in str(path):
            continue
        code = main(["conform", "--owntracks", str(path), "--json"])
        document = json.loads(capsys.readouterr().out)
        assert code == (1 if any(v["result"] == "fail" for v in document["verdicts"]) else 0)
        judged += document["messages"]
    assert judged


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.slow
def test_a_firmware_in_lockstep_needs_no_broker(tmp_path, key_file, capsys):
    program = build(tmp_path / "device", HOST / "device.c")
    arguments = ["conform", "--device", "x", "--key-file", str(key_file), "--memory", "64"]
    assert main([*arguments, "--program", str(program)]) == 0
    out = capsys.readouterr().out
    assert f"x: {len(JUDGED)} pass, 0 fail, 0 not seen" in out
    assert "FC-064  pass" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "a/b", "--key-file", "K"], "not a device id"),
        (["--device", "d-1"], "key is needed"),
        (["--device", "d-1", "--key-file", "nowhere"], "No such file"),
        (["--device", "d-1", "--key-file", "SHORT"], "32 hexadecimal digits"),
        (["--device", "d-1", "--key-file", "K", "--broker", "here"], "not HOST:PORT"),
        (["--device", "d-1", "--key-file", "K", "--rig", "127.0.0.1:1"], "no rig at"),
        (["--judge", "SHORT", "--key-file", "K"], "line 1"),
        (["--judge", "nowhere", "--key-file", "K"], "No such file"),
        (["--owntracks", "nowhere"], "No such file"),
    ],
)
def test_wrong_use_is_told(tmp_path, key_file, capsys, arguments, message):
    (tmp_path / "short").write_text("00")
    names = {"K": str(key_file), "SHORT": str(tmp_path / "short")}
    assert main(["conform", *[names.get(one, one) for one in arguments]]) == 1
    assert message in capsys.readouterr().err


# --- rigs -----------------------------------------------------------------------------------------


def test_lines_of_a_rig_are_read_and_nothing_else():
    for stimulus in Stimulus:
        assert read_line(stimulus.value) == (stimulus, 0)
        assert read_line(f"{stimulus.value} 12\n") == (stimulus, 12)
    for line in ("", "dance", "press x", "press -1", "press 1 2", "fixes", "boot1"):
        assert read_line(line) is None
    some = frozenset({Stimulus.BOOT, Stimulus.LINK_CUT})
    assert read_greeting(greeting(some)) == some
    assert read_greeting("afstand-rig/1 boot;dance") == {Stimulus.BOOT}
    with pytest.raises(RigError, match="no rig"):
        read_greeting("HTTP/1.1 200 OK")


class Stub:
    able = frozenset({Stimulus.BOOT, Stimulus.PRESS})

    async def do(self, what: Stimulus, argument: int) -> str:
        return "" if (what, argument) == (Stimulus.PRESS, 12) else "no finger"


async def test_a_rig_does_what_it_can_and_says_what_it_cannot():
    server = await serve_rig(Stub(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rig = await RigClient.connect("127.0.0.1", port)
    assert rig.able == Stub.able
    assert await rig.do(Stimulus.PRESS, 12) == ""
    assert await rig.do(Stimulus.BOOT, 0) == "no finger"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"dance\nx" + b"y" * 5000)
    assert (await reader.readline()).startswith(b"afstand-rig/1 boot;press")
    assert b"not known" in await reader.readline()
    assert await reader.read() == b""  # a line without an end: the rig hangs up
    writer.close()
    server.close()
    await rig.close()
