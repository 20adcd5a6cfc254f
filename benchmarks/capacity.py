"""What two cores carry, broker included, and what a fix costs as devices and zones grow.

First the whole service under load (see benchmarks/serving.py): the rate rises until the service no
longer keeps up or presses are later than 250 ms (p99), and the last rate that held is the figure;
the processor time of intake and one watch per fix stands against the broker's own per message in
that same run. Then the same work without servers, in this process, for 1,000 to 200,000 registered
devices and one to nine zones each: processor time per fix of the intake (from the broker's bytes to
the blob of the entry and the bookkeeping of acknowledgements) and of the watch (from that entry to
its outputs). The broker and the publisher are not in the second part.
"""

import asyncio
import gc
import time
from typing import Any, Final, NamedTuple

from afstand.watch.fold import Watch
from afstand.watch.warming import warm_up
from benchmarks import common
from benchmarks.recovery import MINUTE_MS, PARTITION, build, fixes_of, large_entries
from benchmarks.serving import CENTRE, SEED, Load, Run, broker_version, percentile, serving
from ingest.acks import DeviceAcks
from ingest.bulk import Bulk
from ingest.bulk import warm_up as warm_up_intake
from ingest.checks import Checker
from ingest.devices import Contract, DeviceRecord, Role
from ingest.pending import Pending, Row
from ingest.scan import Run as ScannedRun
from ingest.scan import Scanner
from simulators.geo import LocalPlane
from simulators.load import publish_head
from simulators.load_plan import LoadDevice, plan_load
from simulators.seeds import device_key

P99_MS_MAX: Final = 250.0
KEEPS_UP: Final = 0.97  # of the planned rate must have been sent
DRAINED_S_MAX: Final = 2.5  # and be durable so soon after the end
FIRST_PER_S: Final = 4_000.0
FACTOR: Final = 1.5
RUNS_MAX: Final = 10
BATCH: Final = 256
FIXES: Final = 100_000  # of one measurement without servers
GROWTH: Final = ((1_000, 3), (10_000, 3), (50_000, 3), (200_000, 3), (10_000, 1), (10_000, 9))


class Costs(NamedTuple):
    """Microseconds of processor time per fix."""

    devices: int
    zones: int
    intake_us: float
    watch_us: float


# --- with servers ---------------------------------------------------------------------------------


def holds(run: Run) -> bool:
    """Whether the service carried the rate."""
    return (
        run.sent.reached_per_s >= KEEPS_UP * run.load.rate_per_s
        and run.journalled == run.wanted
        and run.drained_s <= DRAINED_S_MAX
        and not run.missed
        and percentile(run.pressed_ms, 99) <= P99_MS_MAX
    )


async def search(seconds: float, first_per_s: float) -> tuple[list[Run], str]:
    """Raise the rate until it does not hold, then halve the step twice."""
    loads = [Load(rate_per_s=0.0, seconds=seconds, run=number) for number in range(RUNS_MAX)]
    runs: list[Run] = []
    async with serving(loads) as service:
        rate, held, failed = first_per_s, 0.0, 0.0
        for number in range(RUNS_MAX):
            load = Load(rate_per_s=rate, seconds=seconds, run=number)
            run = await service.run(load)
            runs.append(run)
            good = holds(run)
            print(
                f"{rate:.0f} fixes/s: {'holds' if good else 'does not hold'}, "
                f"p99 {percentile(run.pressed_ms, 99):.0f} ms, "
                f"reached {run.sent.reached_per_s:.0f}/s, ratio {run.ratio:.2f}",
                flush=True,
            )
            held, failed = (rate, failed) if good else (held, rate)
            if failed and (failed / max(held, 1.0) < 1.15 or rate < FIRST_PER_S / 8):
                break
            rate = (held + failed) / 2 if failed else rate * FACTOR
        return runs, service.servers


def runs_table(runs: list[Run]) -> list[dict[str, object]]:
    """The rows of the first part."""
    return [
        {
            "fixes/s": run.load.rate_per_s,
            "holds": "yes" if holds(run) else "no",
            "reached": run.sent.reached_per_s,
            "journalled": f"{run.journalled}/{run.wanted}",
            "p50 ms": percentile(run.pressed_ms, 50),
            "p99 ms": percentile(run.pressed_ms, 99),
            "age p99 ms": percentile(run.age_ms, 99),
            "intake us": run.cpu_us.get("intake", 0.0),
            "watch us": run.service_us - run.cpu_us.get("intake", 0.0),
            "store us": run.cpu_us.get("store", 0.0),
            "broker us": run.broker_us,
            "ratio": run.ratio,
        }
        for run in sorted(runs, key=lambda run: run.load.rate_per_s)
    ]


# --- without servers ------------------------------------------------------------------------------


def scanned(devices: list[LoadDevice], start_ms: int, fixes: int) -> list[ScannedRun]:
    """What a broker would send: one fix after another, in the reads of an intake."""
    plan = plan_load(
        devices,
        LocalPlane(*CENTRE),
        rate_per_s=10_000.0,
        duration_s=fixes / 10_000,
        start_ms=start_ms,
        seed=SEED,
    )
    scanner = Scanner(properties=True)
    runs = []
    for first in range(0, len(plan), BATCH):
        parts: list[bytes] = []
        for message in range(first, min(first + BATCH, len(plan))):
            body = plan.body[message]
            head = publish_head(plan.topics[int(plan.topic[message])], len(body), "5")
            parts += (head, (1 + message % 60_000).to_bytes(2, "big"), b"\x00", body)
        raw = b"".join(parts)
        found = scanner.scan(memoryview(raw))
        runs.append(ScannedRun(1, start_ms + 60_000, raw, found.rows, found.frames))
    return runs


def intake_us(count: int, start_ms: int) -> float:
    """Processor time of the intake's part per fix, of devices that were all heard before."""
    names = [f"em-{n:06d}" for n in range(count)]
    records = {
        name: DeviceRecord(
            device_id=name,
            partition=PARTITION,
            role=Role.WEARER,
            contract=Contract.EM1,
            key=device_key(SEED, name),
            person_id=name,
            enabled=True,
            handle=n + 1,
        )
        for n, name in enumerate(names)
    }
    devices = [LoadDevice(name, records[name].key) for name in names]
    runs = scanned(devices, start_ms, count + FIXES)
    heard = -(-count // BATCH)  # so many runs have each device once
    checker = Checker(records.get, default_partition=PARTITION)
    bulk, acks, pending = Bulk(checker, lambda: 1), DeviceAcks(10_000), Pending()
    began_s = 0.0
    taken = 0
    for number, run in enumerate(runs):
        if number == heard:
            gc.collect()
            began_s, taken = time.process_time(), 0
        passed, rest = bulk.check(run)
        assert not rest
        for plain in passed:
            checker.seen.add(plain.tags, pending.hold_fixes(plain.partition, plain.fixes))
        for planned in pending.plan(number, _refuse).entries:
            assert planned.block is not None
            for fixes in planned.block.fixes:
                acks.durable_fixes(fixes, number)
                taken += len(fixes.devices)
            planned.block.mark.stored(number)
            pending.entry_written(planned)
    spent_s = time.process_time() - began_s
    assert taken == sum(map(len, runs[heard:]))
    return 1e6 * spent_s / taken


def _refuse(row: Row, error: Exception) -> None:
    raise AssertionError(f"{row} was refused: {error}")


def watch_us(count: int, zones: int, start_ms: int) -> float:
    """Processor time of the watch per fix, an entry at a time as it comes."""
    town = build(count, start_ms, zones)
    entries = large_entries(fixes_of(town, FIXES, start_ms + MINUTE_MS + 1, sequence=2))
    watch = Watch.load(PARTITION, town.state)
    gc.collect()
    began_s = time.process_time()
    for at in range(len(entries)):
        for _ in watch.fold(entries.part(at, at + 1)):
            pass
    return 1e6 * (time.process_time() - began_s) / FIXES


def growth(levels: tuple[tuple[int, int], ...]) -> list[Costs]:
    """Measure every number of devices and zones."""
    warm_up()
    warm_up_intake()
    start_ms = time.time_ns() // 1_000_000 - 3_600_000
    found = []
    for devices, zones in levels:
        costs = Costs(
            devices, zones, intake_us(devices, start_ms), watch_us(devices, zones, start_ms)
        )
        print(
            f"{devices:,} devices, {zones} zones each: intake {costs.intake_us:.2f} us, "
            f"watch {costs.watch_us:.2f} us",
            flush=True,
        )
        found.append(costs)
    return found


def plot(figure: Any, runs: list[Run], costs: list[Costs]) -> None:
    """Latency against rate; cost against devices."""
    left, right = figure.subplots(1, 2)
    ordered = sorted(runs, key=lambda run: run.load.rate_per_s)
    for which in (50, 99):
        left.plot(
            [run.load.rate_per_s for run in ordered],
            [percentile(run.pressed_ms, which) for run in ordered],
            marker="o",
            label=f"p{which}",
        )
    left.axhline(P99_MS_MAX, linestyle=":", color="grey")
    left.set_xlabel("fixes/s")
    left.set_ylabel("press to police, ms")
    left.set_yscale("log")
    left.legend()
    rows = [one for one in costs if one.zones == GROWTH[0][1]]
    right.plot([one.devices for one in rows], [one.intake_us for one in rows], "o-", label="intake")
    right.plot([one.devices for one in rows], [one.watch_us for one in rows], "o-", label="watch")
    right.set_xscale("log")
    right.set_xlabel("registered devices")
    right.set_ylabel("processor time per fix, us")
    right.set_ylim(bottom=0)
    right.legend()


def main(argv: list[str]) -> int:
    """Run and report; 1 when no rate held."""
    parser = common.parser("capacity", "Fixes a second on this machine, and what a fix costs.")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each run")
    parser.add_argument("--from", type=float, default=FIRST_PER_S, dest="first", help="fixes/s")
    parser.add_argument("--no-growth", action="store_true", help="leave out the second part")
    args = parser.parse_args(argv)
    runs, servers = asyncio.run(search(args.seconds, args.first))
    good = [run for run in runs if holds(run)]
    best = max(good or runs, key=lambda run: run.load.rate_per_s if good else -run.load.rate_per_s)
    costs = [] if args.no_growth else growth(GROWTH)
    figures = {
        "fixes_per_s": best.load.rate_per_s if good else 0.0,
        "cpu_ratio": best.ratio,
        "service_us_per_fix": best.service_us,
        "broker_us_per_message": best.broker_us,
        "p99_ms": percentile(best.pressed_ms, 99),
    }
    for one in costs:
        name = f"{one.devices}_devices_{one.zones}_zones"
        figures[f"intake_us_{name}"] = one.intake_us
        figures[f"watch_us_{name}"] = one.watch_us
    if costs:
        print(common.table([one._asdict() for one in costs]))
    common.report(
        "capacity",
        figures,
        runs_table(runs),
        lambda figure: plot(figure, runs, costs),
        args,
        servers=servers,
        broker=broker_version(),
    )
    return 0 if good else 1
