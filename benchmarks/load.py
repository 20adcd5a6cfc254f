"""The load tool against mosquitto: QoS 1 fixes per second from one core, and what bounds them.

Starts mosquitto with the limits that we ship and lets `afstand load`'s publisher send at a rate
over 1,000 connections, then as fast as it can. Everything is counted by processor time as well as
by the clock: what one core would carry is 1,000,000 / us, whoever else uses the machine meanwhile.
"""

import asyncio
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from afstand.embedded import free_port, mosquitto_path
from benchmarks import common
from simulators.load import LoadTarget, connected, publish
from simulators.load_report import PhaseResult, percentiles, phase_result, plot
from simulators.load_scenario import LoadPhase, LoadScenario, load_devices, plan_phase

DEVICES: Final = 5_000
CONNECTIONS: Final = 1_000
WINDOW: Final = 20  # what MQTT 5 publishers are told by default: no advantage of a long one
OVERLOAD: Final = 4.0  # times the rate, for the run without a pace
BUSY: Final = 0.9  # of a core: who uses so much of it is what bounds
CONFIG: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 1000
max_queued_messages 1000000
set_tcp_nodelay true
"""


class Run(NamedTuple):
    """One run and what the broker used meanwhile."""

    name: str
    rate_per_s: float
    result: PhaseResult
    broker_cpu_s: float

    @property
    def broker_us(self) -> float:
        """Processor time of the broker per message."""
        return 1e6 * self.broker_cpu_s / max(1, self.result.acked)

    def bound_by(self) -> str:
        """Say what kept it from being faster."""
        elapsed_s = max(self.result.elapsed_s, 1e-9)
        if self.result.fixes_per_s >= 0.98 * self.rate_per_s:
            return "the pace"
        shares = {"broker": self.broker_cpu_s, "publisher": self.result.cpu_s}
        name, used_s = max(shares.items(), key=lambda item: item[1])
        if used_s / elapsed_s >= BUSY:
            return f"one core of the {name}"
        return "others on the machine's cores"


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The machine's mosquitto, without persistence."""
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
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)


async def measure(
    port: int, broker: psutil.Process, rate_per_s: float, seconds: float, connections: int
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
            mine_s, its = time.process_time(), broker.cpu_times()
            record = await publish(plan, links, drain_s=120.0)
            mine_s, now = time.process_time() - mine_s, broker.cpu_times()
            its_s = now.user + now.system - its.user - its.system
            runs.append(Run(name, rate, phase_result(record, plan.panic, 1, mine_s), its_s))
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
        "connections": float(CONNECTIONS),
    }


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when a message was lost."""
    parser = common.parser("load", "QoS 1 fixes per second from one core against mosquitto.")
    parser.add_argument("--rate", type=float, default=20_000.0, help="fixes per second (20000)")
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
    common.report(
        "load",
        found,
        table(runs),
        lambda figure: plot(figure, [run.result for run in runs]),
        options,
    )
    return 1 if found["messages_lost"] else 0
