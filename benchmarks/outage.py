"""The storm after a national outage: millions of late fixes drain while people press buttons.

Wearers report all the time and buttons are pressed: first alone, then while every wearer's device
sends what it kept, 32 fixes to a frame, a fix a minute, 4.5 million in all. The devices come back
within the given time and send as fast as the broker takes it. The figure is the p99 latency of
presses and cut straps during the storm against that before it; beside it how old live fixes were
when they were durable, and when the last late fix was.
"""

import asyncio
from typing import Any, Final

import numpy as np

from benchmarks import common
from benchmarks.serving import WEARERS, Load, Run, broker_version, percentile, serving

FIXES: Final = 4_500_000
FRAME_FIXES: Final = 32
LIVE_PER_S: Final = 500.0
PRESSES_PER_S: Final = 15.0
CUTS_PER_S: Final = 5.0
WARM_S: Final = 5.0
"""What happens once (connections, first calls) belongs to neither of the two compared."""


async def measure(seconds: float, spread_s: float, fixes: int, rate: float) -> tuple[Run, Run, str]:
    """The same live load alone and with the backlog."""
    each = max(1, round(fixes / WEARERS / FRAME_FIXES))
    first, calm = (
        Load(
            rate_per_s=rate, seconds=length_s, run=run,
            presses_per_s=PRESSES_PER_S, cuts_per_s=CUTS_PER_S,
        )
        for run, length_s in enumerate((WARM_S, seconds))
    )  # fmt: skip
    storm = Load(
        rate_per_s=rate,
        seconds=seconds,
        run=2,
        backlog_frames_each=each,
        backlog_fixes=FRAME_FIXES,
        backlog_spread_s=spread_s,
        drain_s=180.0,
        presses_per_s=PRESSES_PER_S,
        cuts_per_s=CUTS_PER_S,
    )
    async with serving([first, calm, storm]) as service:
        print(f"warming, {WARM_S:.0f} s ...", flush=True)
        await service.run(first)
        print(f"live alone, {rate:.0f} fixes/s for {seconds:.0f} s ...", flush=True)
        alone = await service.run(calm)
        late = each * FRAME_FIXES * WEARERS
        print(f"the same with {late:,} late fixes within {spread_s:.0f} s ...", flush=True)
        return alone, await service.run(storm), service.servers


def live_ms(run: Run) -> np.ndarray:
    """Latencies of presses and straps."""
    return np.concatenate([run.pressed_ms, run.cut_ms])


def table(alone: Run, storm: Run) -> list[dict[str, object]]:
    """The rows of the report."""
    return [
        {
            "load": name,
            "late fixes": run.sent.backlog * FRAME_FIXES,
            "journalled": f"{run.journalled}/{run.wanted}",
            "alarms": f"{len(live_ms(run))}/{len(run.sent.told_ms)}",
            "p50 ms": percentile(live_ms(run), 50),
            "p99 ms": percentile(live_ms(run), 99),
            "most ms": percentile(live_ms(run), 100),
            "fix age p50 ms": percentile(run.age_ms, 50),
            "fix age p99 ms": percentile(run.age_ms, 99),
            "drained s": run.drained_s,
        }
        for name, run in (("alone", alone), ("storm", storm))
    ]


def plot(figure: Any, alone: Run, storm: Run) -> None:
    """The share of alarms that arrived within a time."""
    axes = figure.subplots()
    for name, run in (("alone", alone), ("storm", storm)):
        ordered = np.sort(live_ms(run))
        share = np.arange(1, len(ordered) + 1) / max(1, len(ordered))
        axes.plot(ordered, share, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("press to police, ms")
    axes.set_ylabel("share")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def main(argv: list[str]) -> int:
    """Run and report; 1 when anything was lost."""
    parser = common.parser("outage", "Late fixes drain while live latency stays.")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of each run")
    parser.add_argument("--spread", type=float, default=30.0, help="devices come back within, s")
    parser.add_argument("--fixes", type=int, default=FIXES, help="late ones, in all")
    parser.add_argument("--rate", type=float, default=LIVE_PER_S, help="live fixes/s")
    args = parser.parse_args(argv)
    measured = measure(args.seconds, args.spread, args.fixes, args.rate)
    alone, storm, servers = asyncio.run(measured)
    before, during = percentile(live_ms(alone), 99), percentile(live_ms(storm), 99)
    figures = {
        "live_p99_ratio": during / before,
        "live_p50_ratio": percentile(live_ms(storm), 50) / percentile(live_ms(alone), 50),
        "live_p99_ms": during,
        "live_alone_p99_ms": before,
        "fix_age_p99_ms": percentile(storm.age_ms, 99),
        "fix_age_alone_p99_ms": percentile(alone.age_ms, 99),
        "late_fixes": storm.sent.backlog * FRAME_FIXES,
        "behind_entries": storm.behind_entries,
        "coalesced": storm.coalesced,
        "coalesced_share": storm.coalesced / max(1, storm.journalled),
        "lost_frames": max(0, storm.wanted - storm.journalled),
        "lost_alarms": storm.missed + alone.missed,
        "drained_s": storm.drained_s,
    }
    common.report(
        "outage",
        figures,
        table(alone, storm),
        lambda figure: plot(figure, alone, storm),
        args,
        servers=servers,
        broker=broker_version(),
    )
    return 1 if figures["lost_frames"] or figures["lost_alarms"] else 0
