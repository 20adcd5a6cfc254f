"""A press to the police while another target hangs and a third fails half of its calls.

The whole service as in `benchmarks latency`, under the same load; the plan tells three targets of
each press at once: the police, a room that takes every request and never answers, and a desk that
answers 500 to half of all calls. What is measured is the way to the police. Each target has a lane
of its own, so the other two must cost it nothing; that the desk gets everything in the end, and
that nothing is lost at the police, is counted too.
"""

import asyncio
from typing import Any, Final

from benchmarks import common
from benchmarks.latency import PERCENTILES, plot
from benchmarks.serving import POLICE, Load, Run, broker_version, percentile, serving
from simulators.receivers import Mode, Receiver

_PANIC: Final = {"classes": ["panic"], "deadline_s": 600}
PLAN: Final = {
    "format": "afstand.plan/1",
    "id": "bench",
    "steps": [
        {"audience": "police", "targets": [POLICE], **_PANIC},
        {"audience": "monitoring-centre", "targets": ["hangs"], **_PANIC},
        {"audience": "shift-lead", "targets": ["flaky"], **_PANIC},
    ],
    "acknowledgement_expires_s": 3600,
}
ROOMS: Final = {
    POLICE: ("police", Mode.GOOD),
    "hangs": ("monitoring-centre", Mode.HANG),
    "flaky": ("shift-lead", Mode.FLAKY),
}
WARM_S: Final = 5.0  # until every wearer was heard: a first fix costs more than all others
SETTLE_S: Final = 120.0  # who fails seven times waits for half a minute, and so do a few of 300


async def measure(load: Load) -> tuple[Run, dict[str, Receiver]]:
    """Run the load; gives what the receivers got as well."""
    warm = Load(rate_per_s=load.rate_per_s, seconds=WARM_S, run=load.run + 1, presses_per_s=0.0)
    async with serving([load, warm], rooms=ROOMS, plan=PLAN) as service:
        await service.run(warm)
        run = await service.run(load)
        await _settle(service.receivers["flaky"], load.presses)
        return run, service.receivers


async def _settle(flaky: Receiver, presses: int) -> None:
    """Let the retries of the flaky target come to their end."""
    for _ in range(int(SETTLE_S * 10)):
        if len(_incidents(flaky)) >= presses:
            return
        await asyncio.sleep(0.1)


def _incidents(receiver: Receiver) -> set[str]:
    return {one.incident for one in receiver.arrivals if one.alarm_class == "panic"}


def figures(run: Run, receivers: dict[str, Receiver]) -> dict[str, float]:
    """The figures by name."""
    p50, p99, p999 = (percentile(run.pressed_ms, which) for which in PERCENTILES)
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "p999_ms": p999,
        "fixes_per_s": run.sent.reached_per_s,
        "presses": run.load.presses,
        "lost": run.missed,
        "flaky_lost": run.load.presses - len(_incidents(receivers["flaky"])),
        "flaky_calls": receivers["flaky"].calls,
        "hanging_calls": receivers["hangs"].calls,
    }


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when a press did not arrive."""
    parser = common.parser("panic", "A press to the police beside a hanging and a flaky target.")
    parser.add_argument("--rate", type=float, default=10_000.0, help="fixes/s")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the run")
    options = parser.parse_args(arguments)
    load = Load(rate_per_s=options.rate, seconds=options.seconds)
    run, receivers = asyncio.run(measure(load))
    found = figures(run, receivers)
    rows: list[dict[str, Any]] = [
        {
            "target": name,
            "behaves": receiver.mode.value,
            "calls": receiver.calls,
            "presses it has": len(_incidents(receiver)),
        }
        for name, receiver in receivers.items()
    ]
    common.report(
        "panic", found, rows, lambda figure: plot(figure, [run]), options, broker=broker_version()
    )
    return 1 if found["lost"] or found["flaky_lost"] else 0
