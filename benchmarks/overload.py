"""Twice what the machine carries: how late presses and cut straps are, and what is lost.

First the service is flooded, to find what it carries: fixes made durable per second while there is
always another one. Then it gets twice that, with presses and cut straps in between. Fixes that
cannot be taken stay unacknowledged with the broker and the publisher, which plays the devices;
every one of them must be in the journal in the end. Presses have connections of their own (see
benchmarks/serving.py).

Past its own bound (`max_queued_messages`) the broker drops what it cannot queue, and the device,
which holds no acknowledgement of the service, sends it again. The publisher here does not, so the
run ends before all that it sends could reach that bound.
"""

import asyncio
from typing import Any, Final

import numpy as np

from afstand.embedded import QUEUED_MESSAGES_MAX
from benchmarks import common
from benchmarks.serving import Load, Run, broker_version, percentile, serving

FLOOD_PER_S: Final = 100_000.0
SENT_MAX: Final = 0.9 * QUEUED_MESSAGES_MAX
CALM_SHARE: Final = 0.25
PRESSES_PER_S: Final = 10.0
CUTS_PER_S: Final = 5.0


async def measure(seconds: float, carries_per_s: float) -> tuple[dict[str, Run], float, str]:
    """Flood, then a quarter and twice of what that gave."""
    blank = [
        Load(
            rate_per_s=0.0,
            seconds=seconds,
            run=number,
            presses_per_s=PRESSES_PER_S,
            cuts_per_s=CUTS_PER_S,
        )
        for number in range(3)
    ]
    runs: dict[str, Run] = {}
    async with serving(blank) as service:

        async def run(name: str, rate_per_s: float, length_s: float) -> Run:
            load = Load(
                rate_per_s=rate_per_s,
                seconds=length_s,
                run=len(runs),
                presses_per_s=PRESSES_PER_S,
                cuts_per_s=CUTS_PER_S,
            )
            print(f"{name}: {rate_per_s:.0f} fixes/s for {length_s:.0f} s ...", flush=True)
            runs[name] = await service.run(load)
            return runs[name]

        if not carries_per_s:
            flood = await run("flood", FLOOD_PER_S, seconds / 2)
            carries_per_s = flood.journalled / (seconds / 2 + flood.drained_s)
        await run("calm", CALM_SHARE * carries_per_s, seconds)
        await run("twice", 2 * carries_per_s, min(seconds, SENT_MAX / (2 * carries_per_s)))
        return runs, carries_per_s, service.servers


def table(runs: dict[str, Run]) -> list[dict[str, object]]:
    """The rows of the report."""
    return [
        {
            "load": name,
            "fixes/s": run.load.rate_per_s,
            "journalled": f"{run.journalled}/{run.wanted}",
            "drained s": run.drained_s,
            "presses": f"{len(run.pressed_ms)}/{run.load.presses}",
            "panic p50 ms": percentile(run.pressed_ms, 50),
            "panic p99 ms": percentile(run.pressed_ms, 99),
            "straps": f"{len(run.cut_ms)}/{run.load.cuts}",
            "tamper p99 ms": percentile(run.cut_ms, 99),
            "fix age p50 ms": percentile(run.age_ms, 50),
            "fix age p99 ms": percentile(run.age_ms, 99),
        }
        for name, run in runs.items()
    ]


def plot(figure: Any, runs: dict[str, Run]) -> None:
    """The share of presses, and of fixes, that were through within a time."""
    axes = figure.subplots()
    for name, run in runs.items():
        for what, values in (("presses", run.pressed_ms), ("fixes durable", run.age_ms)):
            ordered = np.sort(values)
            share = np.arange(1, len(ordered) + 1) / max(1, len(ordered))
            style = "-" if what == "presses" else ":"
            axes.plot(np.maximum(ordered, 0.5), share, style, label=f"{name}: {what}")
    axes.set_xscale("log")
    axes.set_xlabel("ms after it was due")
    axes.set_ylabel("share")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def main(argv: list[str]) -> int:
    """Run and report; 1 when anything was lost."""
    parser = common.parser("overload", "Twice what the machine carries.")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of each run")
    parser.add_argument("--carries", type=float, default=0.0, help="fixes/s; 0: find out")
    args = parser.parse_args(argv)
    runs, carries_per_s, servers = asyncio.run(measure(args.seconds, args.carries))
    twice = runs["twice"]
    figures = {
        "panic_p99_ms": percentile(twice.pressed_ms, 99),
        "panic_p50_ms": percentile(twice.pressed_ms, 50),
        "tamper_p99_ms": percentile(twice.cut_ms, 99),
        "calm_panic_p99_ms": percentile(runs["calm"].pressed_ms, 99),
        "carries_fixes_per_s": carries_per_s,
        "offered_fixes_per_s": twice.load.rate_per_s,
        "behind_entries": twice.behind_entries,
        "coalesced": twice.coalesced,
        "coalesced_share": twice.coalesced / max(1, twice.journalled),
        "lost_frames": max(0, twice.wanted - twice.journalled),
        "lost_alarms": twice.missed,
        "drained_s": twice.drained_s,
    }
    common.report(
        "overload",
        figures,
        table(runs),
        lambda figure: plot(figure, runs),
        args,
        servers=servers,
        broker=broker_version(),
    )
    return 1 if figures["lost_frames"] or figures["lost_alarms"] else 0
