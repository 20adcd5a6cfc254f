"""A press to the police while another target hangs and a third fails half of its calls.

The whole service as in `benchmarks latency`, under the same load; the plan tells three targets of
each press at once: the police, a room that takes every request and never answers, and a desk that
answers 500 to half of all calls. What is measured is the way to the police. Each target has a lane
of its own, so the other two must cost it nothing; that the desk gets everything in the end, and
that nothing is lost at the police, is counted too.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from afstand.cases import check_cases, dump_json, import_cases
from afstand.roles import open_store
from afstand.site import TargetSpec, new_secret, open_site, warm_up_apart
from afstand.tail import Tail
from benchmarks import common
from benchmarks.latency import (
    CENTRE,
    PRESSES_PER_S,
    SEED,
    Run,
    broker_version,
    cases_document,
    devices,
    one_rate,
    percentiles,
    plot,
)
from ingest.journal import Journal
from ingest.registry import KeyBox, Registry
from simulators.geo import LocalPlane
from simulators.receivers import Kind, Mode, Receiver

_PANIC: Final = {"classes": ["panic"], "deadline_s": 600}
PLAN: Final = {
    "format": "afstand.plan/1",
    "id": "bench",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], **_PANIC},
        {"audience": "monitoring-centre", "targets": ["hangs"], **_PANIC},
        {"audience": "shift-lead", "targets": ["flaky"], **_PANIC},
    ],
    "acknowledgement_expires_s": 3600,
}
ROOMS: Final = {
    "meldkamer": ("police", Mode.GOOD),
    "hangs": ("monitoring-centre", Mode.HANG),
    "flaky": ("shift-lead", Mode.FLAKY),
}
SETTLE_S: Final = 20.0


async def measure(rate: float, seconds: float, folder: Path) -> tuple[Run, dict[str, Receiver]]:
    """Start the service, register everybody, run the load; gives what the receivers got as well."""
    receivers: dict[str, Receiver] = {}
    targets: list[TargetSpec] = []
    for name, (audience, mode) in ROOMS.items():
        secret = new_secret()
        receiver = Receiver(name, Kind.CAP, [secret], mode=mode, acknowledge_in_answer=True)
        receivers[name] = receiver
        targets.append(
            TargetSpec(
                name=name,
                kind="cap",
                url=await receiver.start(),
                secret=secret,
                audiences=(audience,),
                extra={"sender": "bench@afstand.example"},
            )
        )
    wearers, buttons = devices(SEED, int(PRESSES_PER_S * seconds))
    document = cases_document(wearers, buttons, LocalPlane(*CENTRE)) | {"plans": [PLAN]}
    try:
        async with (
            open_site(folder, targets) as (site, _, at_broker),
            open_store(site.config) as store,
        ):
            registry = Registry(store, KeyBox(site.master_key))
            cases = check_cases(dump_json(document), "bench")
            await import_cases(cases, registry, Journal(store), site.config.partitions)
            await warm_up_apart()
            site.start()
            await site.ready()
            tail = Tail(store, site.config.partitions[0])
            following = asyncio.create_task(tail.run())
            police = receivers["meldkamer"]
            run = await one_rate(site, at_broker.port, police, tail, rate, seconds, 0)
            await _settle(receivers["flaky"], run.presses)
            following.cancel()
        return run, receivers
    finally:
        for receiver in receivers.values():
            await receiver.stop()


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
    p50, p99, p999 = percentiles(run)
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "p999_ms": p999,
        "fixes_per_s": run.reached_per_s,
        "presses": run.presses,
        "lost": run.presses - len(run.latencies_ms),
        "flaky_lost": run.presses - len(_incidents(receivers["flaky"])),
        "flaky_calls": receivers["flaky"].calls,
        "hanging_calls": receivers["hangs"].calls,
    }


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when a press did not arrive."""
    parser = common.parser("panic", "A press to the police beside a hanging and a flaky target.")
    parser.add_argument("--rate", type=float, default=10_000.0, help="fixes/s")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the run")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="afstand-bench-") as folder:
        run, receivers = asyncio.run(measure(options.rate, options.seconds, Path(folder)))
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
