"""From the device's publish to the receiver: latency and processor time at given rates.

Starts the whole service as in real use (one intake, two watch replicas, one notifier, each a
process; embedded store and broker), loads it from another process with fixes at a steady rate and
AWARE presses in between, each of a button of its own, and lets a receiver play the police. Latency
is from the moment the press is written to the broker's socket until the receiver has the signed
message: the broker's own share is in it. Processor time is what the operating system counts per
process.
"""

import asyncio
from typing import Any, Final

import numpy as np

from benchmarks import common
from benchmarks.serving import Load, Run, broker_version, percentile, serving

PERCENTILES: Final = (50.0, 99.0, 99.9)


async def measure(rates: list[float], seconds: float) -> tuple[list[Run], str]:
    """Start the service, register everybody, run each rate."""
    loads = [
        Load(rate_per_s=rate, seconds=seconds, run=number) for number, rate in enumerate(rates)
    ]
    runs = []
    async with serving(loads) as service:
        for load in loads:
            print(f"{load.rate_per_s:.0f} fixes/s for {seconds:.0f} s ...", flush=True)
            runs.append(await service.run(load))
        return runs, service.servers


def table(runs: list[Run]) -> list[dict[str, object]]:
    """The rows of the report."""
    rows: list[dict[str, object]] = []
    for run in runs:
        p50, p99, p999 = (percentile(run.pressed_ms, which) for which in PERCENTILES)
        row: dict[str, object] = {
            "fixes/s": run.load.rate_per_s,
            "reached": run.sent.reached_per_s,
            "journalled": f"{run.journalled}/{run.wanted}",
            "presses": f"{len(run.pressed_ms)}/{run.load.presses}",
            "p50 ms": p50,
            "p99 ms": p99,
            "p99.9 ms": p999,
            "service us/fix": run.service_us,
            "broker us/msg": run.broker_us,
            "ratio": run.ratio,
        }
        row |= {f"{name} us": value for name, value in sorted(run.cpu_us.items())}
        rows.append(row)
    return rows


def figures(runs: list[Run]) -> dict[str, float]:
    """The figures by name."""
    found: dict[str, float] = {}
    for run in runs:
        p50, p99, p999 = (percentile(run.pressed_ms, which) for which in PERCENTILES)
        name = f"r{run.load.rate_per_s:.0f}"
        found |= {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_p999_ms": p999}
        found[f"{name}_lost_presses"] = run.missed
    found["service_us_per_fix"] = runs[-1].service_us
    found["broker_us_per_message"] = runs[-1].broker_us
    found["cpu_ratio"] = runs[-1].ratio
    return found


def plot(figure: Any, runs: list[Run]) -> None:
    """The share of presses that arrived within a time, per rate."""
    axes = figure.subplots()
    for run in runs:
        values = np.sort(run.pressed_ms)
        share = np.arange(1, len(values) + 1) / max(1, len(values))
        axes.plot(values, share, label=f"{run.load.rate_per_s:.0f} fixes/s")
    axes.set_xscale("log")
    axes.set_xlabel("device's publish to police receiver, ms")
    axes.set_ylabel("share of AWARE presses")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when a press did not arrive."""
    parser = common.parser("latency", "Publish to receiver: latency and processor time.")
    parser.add_argument("--rates", default="1000,10000", help="fixes/s, comma-separated")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each run")
    options = parser.parse_args(arguments)
    rates = [float(rate) for rate in options.rates.split(",")]
    runs, servers = asyncio.run(measure(rates, options.seconds))
    common.report(
        "latency",
        figures(runs),
        table(runs),
        lambda figure: plot(figure, runs),
        options,
        servers=servers,
        broker=broker_version(),
    )
    return 1 if any(run.missed for run in runs) else 0
