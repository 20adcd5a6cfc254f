"""From the device's publish to the receiver: latency and processor time at given rates.

Starts the whole service as in real use (one intake, two watch replicas, one notifier, each a
process; embedded store and broker), loads it from another process with fixes at a steady rate and
AWARE presses in between, each of a button of its own, and lets a receiver play the police. Latency
is from the moment the press is written to the broker's socket until the receiver has the signed
message: the broker's own share is in it. Processor time is what the operating system counts per
process.
"""

import asyncio
import json
import multiprocessing
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from afstand.cases import check_cases, dump_json, import_cases
from afstand.embedded import mosquitto_path
from afstand.roles import open_store
from afstand.site import Site, TargetSpec, new_secret, open_site, warm_up_apart
from afstand.tail import Tail, wall_ms
from benchmarks import common
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from simulators.geo import LocalPlane
from simulators.load import LoadTarget, run_load
from simulators.load_plan import LoadDevice, plan_load
from simulators.receivers import Kind, Receiver
from simulators.seeds import device_key

SEED: Final = 20261121
CENTRE: Final = (51.92, 4.48)
WEARERS: Final = 5_000
ZONES: Final = 50
PRESSES_PER_S: Final = 10.0
START_AFTER_S: Final = 4.0
SPREAD_M: Final = 8_000.0
PERCENTILES: Final = (50.0, 99.0, 99.9)
PLAN: Final = {
    "format": "afstand.plan/1",
    "id": "bench",
    "steps": [
        {
            "audience": "police",
            "targets": ["meldkamer"],
            "classes": ["panic", "proximity", "tamper", "area-breach"],
            "deadline_s": 600,
        }
    ],
    "acknowledgement_expires_s": 3600,
}


@dataclass(frozen=True)
class Run:
    """What one rate gave."""

    rate_per_s: float
    reached_per_s: float
    fixes: int
    journalled: int
    latencies_ms: np.ndarray
    presses: int
    cpu_us: dict[str, float]


def devices(seed: int, buttons: int) -> tuple[list[LoadDevice], list[LoadDevice]]:
    """The wearers that report and the buttons that are pressed once each."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-SPREAD_M, SPREAD_M, (WEARERS, 2))
    wearers = [
        LoadDevice(f"em-{n:05d}", device_key(seed, f"em-{n:05d}"), *map(float, places[n]))
        for n in range(WEARERS)
    ]
    pressed = [
        LoadDevice(f"aware-{n:05d}", device_key(seed, f"aware-{n:05d}")) for n in range(buttons)
    ]
    return wearers, pressed


def cases_document(
    wearers: list[LoadDevice], buttons: list[LoadDevice], plane: LocalPlane
) -> dict[str, Any]:
    """Every wearer has an area ban; the zones lie among the wearers, so some are near or inside."""
    rng = np.random.default_rng(SEED + 1)
    now_ms = wall_ms()
    zones = []
    for n in range(ZONES):
        lat, lon = plane.degrees(*map(float, rng.uniform(-SPREAD_M, SPREAD_M, 2)))
        circle = {"lat_e7": round(lat * 1e7), "lon_e7": round(lon * 1e7), "radius_m": 200}
        zones.append({"id": f"zone-{n}", "circle": circle})
    both = [(one, "wearer") for one in wearers] + [(one, "protected") for one in buttons]
    return {
        "format": "afstand.cases/1",
        "persons": [{"id": one.device_id, "role": role} for one, role in both],
        "devices": [
            {
                "id": one.device_id,
                "person": one.device_id,
                "role": role,
                "contract": "em1",
                "key": one.key.hex(),
            }
            for one, role in both
        ],
        "zones": zones,
        "orders": [
            {
                "id": f"ban-{one.device_id}",
                "kind": "area-ban",
                "wearer_id": one.device_id,
                "zone_ids": [f"zone-{n % ZONES}"],
                "buffer_m": 100,
                "valid_from_ms": now_ms - 86_400_000,
                "signed_at_ms": now_ms - 86_400_000,
                "served_at_ms": now_ms - 86_400_000,
                "plan_id": "bench",
            }
            for n, one in enumerate(wearers)
        ],
        "plans": [PLAN],
        "cases": [
            {"id": f"case-{one.device_id}", "protected": [one.device_id], "plan": "bench"}
            for one in buttons
        ],
    }


def publish(
    rate_per_s: float, seconds: float, start_ms: int, boot: int, port: int, out: str
) -> None:
    """The load, in a process of its own: fixes evenly, presses in between."""
    buttons = int(PRESSES_PER_S * seconds)
    wearers, pressed = devices(SEED, buttons * (boot + 1))
    mine = pressed[buttons * boot : buttons * (boot + 1)]
    plane = LocalPlane(*CENTRE)
    common: dict[str, Any] = {"start_ms": start_ms, "duration_s": seconds, "boot": boot + 1}
    fixes = plan_load(wearers, plane, rate_per_s=rate_per_s, seed=SEED, **common)
    presses = plan_load(mine, plane, rate_per_s=0.0, panic_per_s=PRESSES_PER_S, seed=SEED, **common)

    async def both() -> dict[str, Any]:
        many = LoadTarget("127.0.0.1", port, connections=32, client_prefix="fixes")
        few = LoadTarget("127.0.0.1", port, connections=2, client_prefix="buttons")
        moved, pushed = await asyncio.gather(run_load(fixes, many), run_load(presses, few))
        to_unix = pushed.started_unix_ns - pushed.started_ns
        return {
            "reached_per_s": moved.rate_per_s,
            "acked": moved.acked,
            "sent": moved.sent,
            "pressed_ms": {
                mine[int(presses.device[n])].device_id: (int(pushed.sent_ns[n]) + to_unix) / 1e6
                for n in range(len(presses))
                if pushed.sent_ns[n]
            },
        }

    Path(out).write_text(json.dumps(asyncio.run(both())))


class Processor:
    """Processor time of processes between two moments, in microseconds."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        found = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            found[name] = 1e6 * (times.user + times.system)
        return found

    def used_us(self) -> dict[str, float]:
        """Since this object was made."""
        return {name: value - self._before[name] for name, value in self._now().items()}


def processes_of(site: Site) -> dict[str, psutil.Process]:
    """All processes of the service, the store and the broker."""
    found = {role: psutil.Process(child.pid) for role, child in site.children.items() if child.pid}
    for child in psutil.Process().children():
        name = child.name()
        if "mosquitto" in name or "nats" in name:
            found["broker"] = child
        elif "valkey" in name or "redis" in name:
            found["store"] = child
    return found


async def one_rate(
    site: Site, port: int, receiver: Receiver, tail: Tail, rate: float, seconds: float, boot: int
) -> Run:
    """Load at one rate and gather what came of it."""
    before_frames = tail.frames
    # The plan is encoded before it starts, which takes longer for more messages.
    start_ms = wall_ms() + int(1000 * (START_AFTER_S + rate * seconds / 40_000))
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        load = multiprocessing.get_context("spawn").Process(
            target=publish, args=(rate, seconds, start_ms, boot, port, file.name)
        )
        load.start()
        await asyncio.sleep(max(0.0, start_ms / 1000 - time.time()) + 0.5)
        processor = Processor(processes_of(site))
        counted_from = tail.frames
        await asyncio.sleep(seconds - 1.0)
        cpu_us = processor.used_us()
        counted = max(1, tail.frames - counted_from)
        await asyncio.to_thread(load.join)
        record = json.loads(await asyncio.to_thread(Path(file.name).read_text))
    pressed = record["pressed_ms"]
    latencies = await _latencies(receiver, tail, pressed)
    return Run(
        rate,
        record["reached_per_s"],
        record["sent"],
        tail.frames - before_frames,
        np.array(latencies),
        len(pressed),
        {name: value / counted for name, value in cpu_us.items()},
    )


async def _latencies(receiver: Receiver, tail: Tail, pressed: dict[str, float]) -> list[float]:
    """Wait for the messages about the presses; gives publish -> receiver in ms."""
    deadline = time.monotonic() + 20
    while True:
        found: dict[str, float] = {}
        for arrival in list(receiver.arrivals):
            seen = tail.notices.get(arrival.id)
            device = seen.notice.device_id if seen is not None else None
            if device in pressed and device not in found:
                found[device] = arrival.arrived_ms - pressed[device]
        if len(found) == len(pressed) or time.monotonic() > deadline:
            return list(found.values())
        await asyncio.sleep(0.2)


async def measure(rates: list[float], seconds: float, folder: Path) -> tuple[list[Run], str]:
    """Start the service, register everybody, run each rate."""
    secret = new_secret()
    receiver = Receiver("meldkamer", Kind.CAP, [secret], acknowledge_in_answer=True)
    target = TargetSpec(
        name="meldkamer",
        kind="cap",
        url=await receiver.start(),
        secret=secret,
        audiences=("police",),
        extra={"sender": "bench@afstand.example"},
    )
    wearers, buttons = devices(SEED, int(PRESSES_PER_S * seconds) * len(rates))
    document = cases_document(wearers, buttons, LocalPlane(*CENTRE))
    runs = []
    try:
        async with open_site(folder, [target]) as (site, at_store, at_broker):
            async with open_store(site.config) as store:
                registry = Registry(store, KeyBox(site.master_key))
                cases = check_cases(dump_json(document), "bench")
                await import_cases(cases, registry, Journal(store), site.config.partitions)
                await warm_up_apart()
                site.start()
                await site.ready()
                tail = Tail(store, site.config.partitions[0])
                following = asyncio.create_task(tail.run())
                for boot, rate in enumerate(rates):
                    print(f"{rate:.0f} fixes/s for {seconds:.0f} s ...", flush=True)
                    args = (site, at_broker.port, receiver, tail, rate, seconds, boot)
                    runs.append(await one_rate(*args))
                following.cancel()
            return runs, f"{at_store.name}, {at_broker.name}"
    finally:
        await receiver.stop()


def table(runs: list[Run]) -> list[dict[str, object]]:
    """The rows of the report."""
    rows: list[dict[str, object]] = []
    for run in runs:
        p50, p99, p999 = percentiles(run)
        broker_us = run.cpu_us.get("broker", 0.0)
        row: dict[str, object] = {
            "fixes/s": run.rate_per_s,
            "reached": run.reached_per_s,
            "journalled": f"{run.journalled}/{run.fixes + run.presses}",
            "presses": f"{len(run.latencies_ms)}/{run.presses}",
            "p50 ms": p50,
            "p99 ms": p99,
            "p99.9 ms": p999,
            "service us/fix": service_us(run),
            "broker us/msg": broker_us,
            "ratio": service_us(run) / broker_us if broker_us else float("nan"),
        }
        row |= {f"{name} us": value for name, value in sorted(run.cpu_us.items())}
        rows.append(row)
    return rows


def percentiles(run: Run) -> list[float]:
    """p50, p99 and p99.9 in ms; NaN without a sample."""
    if not len(run.latencies_ms):
        return [float("nan")] * len(PERCENTILES)
    return [float(value) for value in np.percentile(run.latencies_ms, PERCENTILES)]


def service_us(run: Run) -> float:
    """Intake and one watch replica (the mean of the two), per fix."""
    watches = [value for name, value in run.cpu_us.items() if name.startswith("watch")]
    return run.cpu_us.get("intake", 0.0) + sum(watches) / max(1, len(watches))


def figures(runs: list[Run]) -> dict[str, float]:
    """The figures by name."""
    found: dict[str, float] = {}
    for run in runs:
        p50, p99, p999 = percentiles(run)
        name = f"r{run.rate_per_s:.0f}"
        found |= {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_p999_ms": p999}
        found[f"{name}_lost_presses"] = run.presses - len(run.latencies_ms)
    last = runs[-1]
    broker_us = last.cpu_us.get("broker", 0.0)
    found["service_us_per_fix"] = service_us(last)
    found["broker_us_per_message"] = broker_us
    found["cpu_ratio"] = service_us(last) / broker_us if broker_us else float("nan")
    return found


def plot(figure: Any, runs: list[Run]) -> None:
    """The share of presses that arrived within a time, per rate."""
    axes = figure.subplots()
    for run in runs:
        values = np.sort(run.latencies_ms)
        share = np.arange(1, len(values) + 1) / max(1, len(values))
        axes.plot(values, share, label=f"{run.rate_per_s:.0f} fixes/s")
    axes.set_xscale("log")
    axes.set_xlabel("device's publish to police receiver, ms")
    axes.set_ylabel("share of AWARE presses")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def broker_version() -> str:
    """What the machine's mosquitto says of itself."""
    path = mosquitto_path()
    if path is None:
        return "nats (wheel)"
    said = subprocess.run([path, "-h"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else "mosquitto"


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when a press did not arrive."""
    parser = common.parser("latency", "Publish to receiver: latency and processor time.")
    parser.add_argument("--rates", default="1000,10000", help="fixes/s, comma-separated")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each run")
    options = parser.parse_args(arguments)
    rates = [float(rate) for rate in options.rates.split(",")]
    with tempfile.TemporaryDirectory(prefix="afstand-bench-") as folder:
        runs, servers = asyncio.run(measure(rates, options.seconds, Path(folder)))
    common.report(
        "latency",
        figures(runs),
        table(runs),
        lambda figure: plot(figure, runs),
        options,
        servers=servers,
        broker=broker_version(),
    )
    return 1 if any(run.presses > len(run.latencies_ms) for run in runs) else 0
