"""Every process killed or stopped, under load, while people press buttons: what is lost or doubled.

A whole service of real processes (intake, two watches, notifier), Redis and mosquitto with the
shipped configuration, wearers who report every second, receivers that play police and probation. In
every round one process is killed (kill -9) and started again, or stopped (SIGSTOP) for a while and
let go on, and three buttons are pressed: before, meanwhile and after. The next round begins when
the police have heard of all three, or after a few seconds: so faults overlap. In the end everybody
gets time to say what they hold. Then

* a frame is lost that the device has let go (because it holds our acknowledgement) and that is not
  in the journal: every boot and sequence number that a device ever used is looked for;
* an alarm is lost that the police have not heard of;
* a key is a second one when one press opened two incidents, or one message about one step of one
  alarm came under two idempotency keys.
"""

import asyncio
import os
import random
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from afstand.tail import wall_ms
from alerting.book.types import AlarmClass, IncidentChange, IncidentRecord, Notice, Output, Purpose
from benchmarks import common
from firmware_contracts.codes import Kind
from firmware_contracts.frames import read_header
from ingest.entries import EntryKind, FrameBatch
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from ingest.store import BEGINNING, StoreUnavailableError
from simulators.client import Broker
from simulators.clock import RealClock
from simulators.demo import build_demo
from simulators.fleet import Fleet
from simulators.happenings import Pressed
from simulators.scenario import parse_scenario
from tests.acceptance.service import Service, running_service
from tests.servers import Server

SEED: Final = 20261122
ROLES: Final = ("intake", "watch-0", "watch-1", "notify")
VICTIMS: Final = (*ROLES, "redis", "mosquitto")
WAYS: Final = ("kill -9", "SIGSTOP")
PRESSES: Final = 3  # in a round
WEARERS: Final = 12
STOPPED_S: Final = (0.5, 2.5)
DOWN_S: Final = (0.1, 0.8)  # of a server, until it is started again
ROUND_S_MAX: Final = 8.0
END_S_MAX: Final = 120.0
PLAN: Final = {
    "format": "afstand.plan/1",
    "id": "aware",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 3_600},
        {"audience": "probation", "targets": ["reclassering"], "deadline_s": 3_600,
         "needs": "delivered"},
    ],
    "acknowledgement_expires_s": 36_000,
}  # fmt: skip

Frame = tuple[str, int, int]
"""Device, boot, sequence."""


class Round(NamedTuple):
    """What was done to whom, and which buttons were pressed when (Unix ms)."""

    victim: str
    way: str
    pressed_ms: dict[str, int]


class Result(NamedTuple):
    """What came of all rounds. `latency_ms` by button."""

    rounds: list[Round]
    latency_ms: dict[str, float]
    frames: int
    lost_frames: list[Frame]
    lost_alarms: list[str]
    second_keys: list[str]


def scenario(seed: int, buttons: int) -> bytes:
    """People with buttons, and wearers who report all the time."""
    fast = {"moving_s": 1, "rest_s": 1, "status_s": 3600}
    return msgspec.json.encode(
        {
            "format": "afstand.scenario/1",
            "id": "chaos",
            "seed": seed,
            "centre": {"lat": 51.92, "lon": 4.48},
            "groups": [
                {"prefix": "aware", "count": buttons, "role": "protected", "device": "button"},
                {"prefix": "drager", "count": WEARERS, "role": "wearer", "reporting": fast},
            ],
            "plans": [PLAN],
        }
    )


@asynccontextmanager
async def under_load(service: Service, buttons: int, seed: int) -> AsyncIterator[Fleet]:
    """The roles running, and everybody's device connected."""
    world = build_demo(parse_scenario(scenario(seed, buttons), "chaos"), RealClock().now_ms())
    await service.import_document(world.cases)
    await service.start(*ROLES)
    clock = RealClock()
    broker = Broker("127.0.0.1", service.broker.port)
    fleet = world.fleet(broker, clock, clock.now_ms() + 500)
    driving = asyncio.create_task(fleet.run())
    try:
        await fleet.connected()
        yield fleet
    finally:
        fleet.stop()
        await driving


async def harm(service: Service, victim: str, way: str, draw: random.Random) -> None:
    """Kill or stop one process, and let it come back."""
    server = {"redis": service.redis, "mosquitto": service.broker}.get(victim)
    if way == "SIGSTOP":
        pid = service.site.children[victim].pid if server is None else server.pid
        if pid is None:
            return  # it is down from an earlier round
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(draw.uniform(*STOPPED_S))
        finally:
            os.kill(pid, signal.SIGCONT)
    elif server is None:
        service.site.children[victim].kill()
    else:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(draw.uniform(*DOWN_S))
        await asyncio.to_thread(_start, server)


def _start(server: Server) -> None:
    server.start()


async def play(
    folder: Path,
    rounds: int,
    seed: int,
    *,
    victims: Sequence[str] = VICTIMS,
    tell: bool = False,
) -> Result:
    """Run the rounds, and find out what was lost."""
    draw = random.Random(seed)
    order = [(victim, way) for way in WAYS for victim in victims]
    played: list[Round] = []
    async with running_service(folder) as service:
        async with under_load(service, rounds * PRESSES, seed) as fleet:
            buttons = sorted(name for name in fleet.carriers if name.startswith("aware"))
            for number in range(rounds):
                if number % len(order) == 0:
                    draw.shuffle(order)
                victim, way = order[number % len(order)]
                mine = buttons[number * PRESSES : (number + 1) * PRESSES]
                played.append(await _round(service, fleet, Round(victim, way, {}), mine, draw))
                if tell:
                    print(f"{number + 1}/{rounds}: {way} {victim}", flush=True)
            await service.site.ready(ROLES)
            await service.until(
                lambda: not _kept(fleet), "devices hold acknowledgements", END_S_MAX
            )
            pressed = {name: at for one in played for name, at in one.pressed_ms.items()}
            heard = await _hear(service, pressed, END_S_MAX)
            gone = _let_go(fleet)
        outputs = dict(await service.outputs())
        there = await _journalled(service)
        return Result(
            rounds=played,
            latency_ms=heard,
            frames=len(there),
            lost_frames=sorted(gone - there),
            lost_alarms=sorted(set(pressed) - set(heard)),
            second_keys=_doubled_messages(service, outputs) + _doubled_incidents(outputs),
        )


async def _round(
    service: Service, fleet: Fleet, one: Round, buttons: list[str], draw: random.Random
) -> Round:
    before, meanwhile, after = buttons

    def press(button: str) -> None:
        one.pressed_ms[button] = wall_ms()
        fleet.happen(button, Pressed())

    press(before)
    await asyncio.sleep(draw.uniform(0.0, 0.05))
    harming = asyncio.create_task(harm(service, one.victim, one.way, draw))
    await asyncio.sleep(draw.uniform(0.05, 0.4))
    press(meanwhile)
    await harming
    press(after)
    await _hear(service, one.pressed_ms, ROUND_S_MAX)  # else the next fault meets this one
    return one


async def _hear(service: Service, pressed_ms: dict[str, int], within_s: float) -> dict[str, float]:
    """Wait until the police have heard of all presses, or the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        heard = await _heard(service, pressed_ms)
        if len(heard) == len(pressed_ms) or time.monotonic() > deadline:
            return heard
        await asyncio.sleep(0.2)


def _kept(fleet: Fleet) -> int:
    """Event frames that devices keep: none of them is acknowledged yet."""
    return sum(
        frame.kind is Kind.EVENT
        for carrier in fleet.carriers.values()
        for frame in carrier.device.ring.frames()
    )


def _let_go(fleet: Fleet) -> set[Frame]:
    """Every frame that a device made and keeps no more."""
    gone: set[Frame] = set()
    for name, carrier in fleet.carriers.items():
        device = carrier.device
        made = {(name, device.boot, number) for number in range(1, device.sequence + 1)}
        gone |= made - {(name, *frame.key) for frame in device.ring.frames()}
    return gone


async def _journalled(service: Service) -> set[Frame]:
    """Every frame in the journal, by device, boot and sequence."""
    registry = Registry(service.store, KeyBox(service.site.master_key))
    await registry.load_all()
    name_of = {device.handle: device.device_id for device in registry}
    found: set[Frame] = set()
    after = BEGINNING
    while entries := await Journal(service.store).read(service.partition, after, 500):
        after = entries[-1].id
        for entry in entries:
            if entry.kind is EntryKind.FRAMES:
                for record in FrameBatch.read(entry.blob).records():
                    header = read_header(record.payload)
                    found.add((name_of[record.handle], header.boot, header.sequence))
    return found


async def _heard(service: Service, pressed_ms: dict[str, int]) -> dict[str, float]:
    """Which of the presses the police have heard of, and after how many ms."""
    try:
        outputs = dict(await service.outputs())
    except StoreUnavailableError:
        return {}
    found: dict[str, float] = {}
    for arrival in service.receivers["meldkamer"].arrivals:
        notice = outputs.get(arrival.id)
        if isinstance(notice, Notice) and notice.alarm_class is AlarmClass.PANIC:
            button = notice.device_id or ""
            if button in pressed_ms and button not in found:
                found[button] = arrival.arrived_ms - pressed_ms[button]
    return found


def _doubled_messages(service: Service, outputs: dict[str, Output]) -> list[str]:
    """What a receiver got under two keys although it is one message."""
    doubled: list[str] = []
    for receiver in service.receivers.values():
        keys: defaultdict[tuple[object, ...], set[str]] = defaultdict(set)
        for arrival in receiver.arrivals:
            notice = outputs.get(arrival.id)
            if not isinstance(notice, Notice):
                doubled.append(f"{receiver.name}: {arrival.id} is the key of no output")
            elif notice.purpose is Purpose.ALERT:
                about = (notice.alarm_id, notice.target, notice.step, notice.round)
                keys[about].add(arrival.id)
        doubled += [f"{receiver.name}: {found}" for found in keys.values() if len(found) > 1]
    return doubled


def _doubled_incidents(outputs: dict[str, Output]) -> list[str]:
    """Persons about whom more than one incident was opened; each pressed once."""
    opened = Counter(
        output.subject
        for output in outputs.values()
        if isinstance(output, IncidentRecord)
        and output.change is IncidentChange.OPENED
        and output.subject.startswith("person/aware")
    )
    return [f"{subject}: {count} incidents" for subject, count in opened.items() if count > 1]


# --- report -------------------------------------------------------------------------------------


def table(result: Result) -> list[dict[str, object]]:
    """A row for every victim and way."""
    rows: list[dict[str, object]] = []
    for victim in VICTIMS:
        for way in WAYS:
            mine = [one for one in result.rounds if (one.victim, one.way) == (victim, way)]
            if not mine:
                continue
            values = [
                result.latency_ms[button]
                for one in mine
                for button in one.pressed_ms
                if button in result.latency_ms
            ]
            found = np.array(values or [float("nan")])
            rows.append(
                {
                    "victim": victim,
                    "way": way,
                    "rounds": len(mine),
                    "presses": sum(len(one.pressed_ms) for one in mine),
                    "arrived": len(values),
                    "p50 ms": float(np.median(found)),
                    "most ms": float(found.max()),
                }
            )
    return rows


def _median_of(result: Result, place: int) -> float:
    """Median of the presses before (0) the process went, meanwhile (1) or after (2)."""
    buttons = [list(one.pressed_ms)[place] for one in result.rounds]
    found = [result.latency_ms[button] for button in buttons if button in result.latency_ms]
    return float(np.median(found or [float("nan")]))


def plot(figure: Any, result: Result) -> None:
    """How long presses took, by victim."""
    axes = figure.subplots()
    names = [f"{victim}\n{way}" for victim in VICTIMS for way in WAYS]
    for place, (victim, way) in enumerate((victim, way) for victim in VICTIMS for way in WAYS):
        values = [
            result.latency_ms[button]
            for one in result.rounds
            if (one.victim, one.way) == (victim, way)
            for button in one.pressed_ms
            if button in result.latency_ms
        ]
        axes.plot([place] * len(values), values, "o", alpha=0.5)
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), names, fontsize=7)
    axes.set_ylabel("press to police, ms")


def main(argv: list[str]) -> int:
    """Run and report; 1 when anything was lost or doubled."""
    parser = common.parser("chaos", "Every process killed and stopped under load.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--victims", nargs="+", choices=VICTIMS, default=VICTIMS,
        help="only these: with one of the two watches, meanwhile_p50_ms is that of the other alone",
    )  # fmt: skip
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="afstand-chaos-") as folder:
        playing = play(Path(folder), args.rounds, args.seed, victims=args.victims, tell=True)
        result = asyncio.run(playing)
    for what in (*result.lost_frames[:20], *result.lost_alarms[:20], *result.second_keys[:20]):
        print(f"! {what}")
    latency = np.array(list(result.latency_ms.values()) or [float("nan")])
    figures = {
        "rounds": len(result.rounds),
        "lost_frames": len(result.lost_frames),
        "lost_alarms": len(result.lost_alarms),
        "second_keys": len(result.second_keys),
        "frames": result.frames,
        "presses": sum(len(one.pressed_ms) for one in result.rounds),
        "press_p50_ms": float(np.median(latency)),
        "press_most_ms": float(latency.max()),
        "before_p50_ms": _median_of(result, 0),
        "meanwhile_p50_ms": _median_of(result, 1),
    }
    common.report(
        "chaos",
        figures,
        table(result),
        lambda figure: plot(figure, result),
        args,
        seed=str(args.seed),
    )
    return 1 if result.lost_frames or result.lost_alarms or result.second_keys else 0
