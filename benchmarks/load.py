"""The load tool against mosquitto: QoS 1 fixes per second from one core, and what bounds them.

Starts mosquitto with the limits that we ship and lets `afstand load`'s publisher send at a rate
over 1,000 connections, then as fast as it can. Everything is counted by processor time as well as
by the clock: what one core would carry is 1,000,000 / us, whoever else uses the machine meanwhile.
The kernel also says how long publisher and broker stood ready and waited for a core, so that what
bounds a run is a figure: its share of a core, the share it waited for one, and the rest (round
trips).
"""

import asyncio
import os
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from afstand.embedded import free_port, mosquitto_path
from benchmarks import common
from simulators.load import LoadTarget, connected, publish
from simulators.load_report import PhaseResult, percentiles, phase_result, plot
from simulators.load_scenario import LoadPhase, LoadScenario, load_devices, plan_phase

DEVICES: Final = 5_000
CONNECTIONS: Final = 1_000
WINDOW: Final = 20  # what MQTT 5 publishers are told by default: no advantage of a long one
OVERLOAD: Final = 4.0  # times the rate, for the run without a pace
BUSY: Final = 0.9  # of the time: who runs, or wants to, for so much of it is what bounds
CONFIG: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 1000
max_queued_messages 1000000
set_tcp_nodelay true
"""


class Usage(NamedTuple):
    """Seconds that a process ran, and that it stood ready and waited for a core."""

    ran_s: float
    waited_s: float = 0.0

    def since(self, before: "Usage") -> "Usage":
        """The part after `before`."""
        return Usage(self.ran_s - before.ran_s, self.waited_s - before.waited_s)


def usage(pid: int) -> Usage:
    """What the kernel has counted for a process of one thread (Linux, /proc/PID/schedstat)."""
    ran_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return Usage(int(ran_ns) / 1e9, int(waited_ns) / 1e9)


class Run(NamedTuple):
    """One run and what publisher and broker used meanwhile."""

    name: str
    rate_per_s: float
    result: PhaseResult
    publisher: Usage
    broker: Usage

    @property
    def broker_us(self) -> float:
        """Processor time of the broker per message."""
        return 1e6 * self.broker.ran_s / max(1, self.result.acked)

    def shares(self) -> dict[str, tuple[float, float]]:
        """Of each process: shares of the run's time that it ran, and that it waited for a core."""
        elapsed_s = max(self.result.elapsed_s, 1e-9)
        return {
            name: (one.ran_s / elapsed_s, one.waited_s / elapsed_s)
            for name, one in (("publisher", self.publisher), ("broker", self.broker))
        }

    def bound_by(self) -> str:
        """Say what kept it from being faster."""
        if self.result.fixes_per_s >= 0.98 * self.rate_per_s:
            return "the pace"
        name, (ran, waited) = max(self.shares().items(), key=lambda item: sum(item[1]))
        if ran >= BUSY:
            return f"one core of the {name}"
        if ran + waited >= BUSY:
            return f"others: the {name} waited for a core {waited:.0%} of the time"
        return "round trips: nobody is busy"


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """The machine's mosquitto, without persistence: its port and process id."""
    binary = mosquitto_path()
    if binary is None:
        raise SystemExit("this benchmark needs mosquitto")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(CONFIG.format(port=port))
    process = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


async def measure(
    port: int, broker: int, rate_per_s: float, seconds: float, connections: int
) -> list[Run]:
    """Send at the rate, then as fast as it goes."""
    phases = (
        LoadPhase(seconds, DEVICES / rate_per_s),
        LoadPhase(seconds / OVERLOAD, DEVICES / (OVERLOAD * rate_per_s)),
    )
    scenario = LoadScenario(devices=DEVICES, connections=connections, phases=phases)
    devices = load_devices(scenario)
    runs, sequence = [], 1
    target = LoadTarget("127.0.0.1", port, connections=connections, window=WINDOW)
    async with connected(target) as links:
        for number, name in enumerate(("paced", "as fast as it goes")):
            rate = rate_per_s * (OVERLOAD if number else 1.0)
            start_ms = time.time_ns() // 1_000_000 + 500 + int(rate_per_s * seconds) // 50
            plan = plan_phase(
                scenario, devices, number, start_ms=start_ms, boot=1, first_sequence=sequence
            )
            sequence = int(plan.sequence.max()) + 1
            before, mine = usage(broker), usage(os.getpid())
            cpu_s = time.process_time()
            record = await publish(plan, links, drain_s=120.0)
            cpu_s = time.process_time() - cpu_s
            result = phase_result(record, plan.panic, 1, cpu_s)
            waited_s = usage(os.getpid()).since(mine).waited_s
            its = usage(broker).since(before)
            runs.append(Run(name, rate, result, Usage(cpu_s, waited_s), its))
    return runs


def table(runs: list[Run]) -> list[dict[str, object]]:
    """The rows of the report."""
    rows: list[dict[str, object]] = []
    for run in runs:
        p50, p99, _ = percentiles(run.result)
        rows.append(
            {
                "run": run.name,
                "asked/s": run.rate_per_s,
                "fixes/s": run.result.fixes_per_s,
                "lost": run.result.messages - run.result.acked,
                "p50 ms": p50,
                "p99 ms": p99,
                "publisher us": run.result.cpu_us_per_fix,
                "broker us": run.broker_us,
                **{
                    f"{name} {what} %": 100 * share
                    for name, both in run.shares().items()
                    for what, share in zip(("ran", "waited"), both, strict=True)
                },
                "bound by": run.bound_by(),
            }
        )
    return rows


def figures(runs: list[Run]) -> dict[str, float]:
    """The figures: of the paced run, and of the cores."""
    paced, fast = runs
    best_us = min(paced.result.cpu_us_per_fix, fast.result.cpu_us_per_fix)
    return {
        "fixes_per_s": max(run.result.fixes_per_s for run in runs),
        "us_per_fix": best_us,
        "us_per_fix_paced": paced.result.cpu_us_per_fix,
        "fixes_per_s_of_one_core": 1e6 / best_us,
        "broker_us_per_message": fast.broker_us,
        "broker_messages_per_s_of_one_core": 1e6 / fast.broker_us,
        "messages_lost": float(sum(run.result.messages - run.result.acked for run in runs)),
        "publisher_waited_share": fast.shares()["publisher"][1],
        "broker_waited_share": fast.shares()["broker"][1],
        "connections": float(CONNECTIONS),
    }


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when a message was lost."""
    parser = common.parser("load", "QoS 1 fixes per second from one core against mosquitto.")
    parser.add_argument("--rate", type=float, default=22_000.0, help="fixes per second (22000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (20)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    options = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    with (
        tempfile.TemporaryDirectory(prefix="afstand-load-") as folder,
        mosquitto(Path(folder)) as (port, broker),
    ):
        work = measure(port, broker, options.rate, options.seconds, options.connections)
        runs = asyncio.run(work)
    found = figures(runs) | {"connections": float(options.connections)}
    for run in runs:
        print(f"{run.name}: {run.result.fixes_per_s:,.0f} fixes/s, bound by {run.bound_by()}")
    common.report(
        "load",
        found,
        table(runs),
        lambda figure: plot(figure, [run.result for run in runs]),
        options,
    )
    return 1 if found["messages_lost"] else 0
