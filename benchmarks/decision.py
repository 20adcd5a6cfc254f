"""Decision quality on ground truth: what is missed, how late, how often falsely, how early warned.

Truth comes from the simulated world (simulators/suite), never from an engine. Every rule sees the
same runs; only ours may ask devices for bursts, which no other system does. Reported figures use
seeds that no parameter was tuned on; `--tuning` uses the others.
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

from benchmarks.common import parser, report, table
from benchmarks.intervals import Interval, quantile, rate, share
from benchmarks.rules import OURS, RULES, judge
from benchmarks.scoring import Score, score
from simulators.suite import (
    HELD_OUT_SEEDS,
    TUNING_SEEDS,
    Run,
    boundaries,
    car_approaches,
    coincidences,
    long_days,
    pair_day,
    queensland,
)
from simulators.suite.boundary import parked

FAMILIES: Final[dict[str, Callable[[int], list[Run]]]] = {
    "queensland": queensland,
    "boundaries": boundaries,
    "car-approaches": car_approaches,
    "coincidences": coincidences,
    "long-days": long_days,
    "pair-days": lambda seed: [pair_day(seed)],
    "parked-50": lambda seed: [parked(seed, 50)],
}
AT_ONCE: Final = 100
"""Seeds that are played side by side: one engine watches all of them."""
HOLDS_S: Final = (15.0, 60.0)
"""How long jumps last in the worlds that ask what a rule does when the noise model is wrong."""
WRONG_WORLD_RULES: Final = (OURS, "point in polygon", "2 in a row", "3 in a row")


class Task(NamedTuple):
    """Some seeds of a family under some rules, in one process."""

    family: str
    seeds: tuple[int, ...]
    rules: tuple[str, ...]
    jump_holds_s: float = 0.0


class Seen(NamedTuple):
    """One true breach that devices could show, as a rule saw it."""

    delay_s: float | None
    warning_s: float | None
    to_radius_s: float | None
    crossed: bool
    """It began within the run and the network was there: its delay is the rule's own."""
    coincidence: str
    labels: tuple[str, ...]


class Judged(NamedTuple):
    """One run under one rule."""

    name: str
    family: str
    days: float
    false_alarms: int
    seen: tuple[Seen, ...]


def play(task: Task) -> dict[str, list[Judged]]:
    """Play the runs of a task under its rules."""
    runs = [run for seed in task.seeds for run in FAMILIES[task.family](seed)]
    changes = judge(runs, task.rules, task.jump_holds_s)
    return {rule: [_judged(s) for s in score(runs, changes[rule])] for rule in task.rules}


def _judged(scored: Score) -> Judged:
    run = scored.run
    offline = any(device.outages for device in run.devices)
    seen = tuple(
        Seen(
            o.delay_s,
            o.warning_s,
            o.to_radius_s,
            o.breach.from_ms > run.start_ms and not offline,
            o.breach.coincidence,
            o.labels,
        )
        for o in scored.outcomes
    )
    return Judged(run.name, run.family, run.device_days, len(scored.false_alarms), seen)


def played(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, dict[str, list[Judged]]]]:
    """Play tasks on some processes; the order of the answers is that of the tasks."""
    if jobs == 1:
        yield from ((task, play(task)) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from zip(tasks, pool.map(play, tasks), strict=True)


def tasks_of(
    families: Iterable[str], seeds: Sequence[int], rules: Sequence[str], holds_s: float = 0.0
) -> list[Task]:
    """Split families and seeds into tasks."""
    return [
        Task(family, tuple(seeds[i : i + AT_ONCE]), tuple(rules), holds_s)
        for family in families
        for i in range(0, len(seeds), AT_ONCE)
    ]


# --- figures ----------------------------------------------------------------------------------


class Result(NamedTuple):
    """What a rule reached over all runs."""

    missed: Interval
    delay_median: Interval
    delay_p95: Interval
    parked: dict[int, Interval]
    pair_day: Interval
    warning: Interval
    to_radius: Interval
    queensland: tuple[int, int]
    """Runs in which a breach was missed, of those in which the devices reported it."""


def result(runs: Sequence[Judged]) -> Result:
    """Sum up the runs of one rule."""
    seen = [s for run in runs for s in run.seen]
    delays = [s.delay_s for s in seen if s.crossed and s.delay_s is not None]
    approaches = [s for run in runs if run.name == "car-approach" for s in run.seen]
    staged = [run for run in runs if run.family == "queensland" and run.seen]
    pairs = [run for run in runs if run.name == "pair-day"]
    return Result(
        share(sum(s.delay_s is None for s in seen), len(seen)),
        quantile(delays, 0.5),
        quantile(delays, 0.95),
        {m: false_rate(run for run in runs if run.name == f"parked-{m}") for m in (20, 50, 100)},
        false_rate(pairs),
        quantile([s.warning_s or 0.0 for s in approaches], 0.5),
        quantile([s.to_radius_s or 0.0 for s in approaches], 0.5),
        (sum(any(s.delay_s is None for s in run.seen) for run in staged), len(staged)),
    )


def false_rate(runs: Iterable[Judged]) -> Interval:
    """Return false alarms a day."""
    found = list(runs)
    return rate(sum(run.false_alarms for run in found), sum(run.days for run in found))


def figures_of(ours: Result) -> dict[str, float]:
    """Return the figures that acceptance compares."""
    return {
        "queensland_missed": ours.queensland[0],
        "confirm_median_s": ours.delay_median.value,
        "confirm_p95_s": ours.delay_p95.value,
        "fa_device_day_50m": ours.parked[50].value,
        "fa_pair_day": ours.pair_day.value,
        "detection_pct": 100.0 - ours.missed.value,
        "warning_median_s": ours.warning.value,
    }


def rule_rows(results: Mapping[str, Result]) -> list[dict[str, object]]:
    """Return the comparison of rules, each figure with its 95 % interval."""
    return [
        {
            "rule": name,
            "missed %": r.missed.text(),
            "delay median s": r.delay_median.text(0),
            "p95 s": r.delay_p95.text(0),
            **{f"false/day {m} m": r.parked[m].text() for m in (20, 50, 100)},
            "false/pair-day": r.pair_day.text(),
            "warned s before contact": r.warning.text(0),
            "before radius": r.to_radius.text(0),
            "queensland missed": f"{r.queensland[0]}/{r.queensland[1]}",
        }
        for name, r in results.items()
    ]


def run_rows(runs: Sequence[Judged]) -> list[dict[str, object]]:
    """Return one row for each kind of run under our rule."""
    by_name: dict[str, list[Judged]] = defaultdict(list)
    for run in runs:
        by_name[f"{run.family} {run.name}"].append(run)
    rows = []
    for name, group in by_name.items():
        seen = [s for run in group for s in run.seen]
        delays = [s.delay_s for s in seen if s.crossed and s.delay_s is not None]
        told = [s for s in seen if s.delay_s is not None]
        together = [s for s in told if s.coincidence in ("motorway", "train")]
        labelled = sum("parallel-travel" in s.labels for s in together)
        rows.append(
            {
                "runs": name,
                "played": len(group),
                "breaches": len(seen),
                "missed": sum(s.delay_s is None for s in seen),
                "delay median s": quantile(delays, 0.5).text(0) if delays else "-",
                "p95 s": quantile(delays, 0.95).text(0) if delays else "-",
                "false": sum(run.false_alarms for run in group),
                "false/day": false_rate(group).text(),
                "labelled parallel": f"{labelled}/{len(together)}" if together else "-",
            }
        )
    return rows


# --- the program ------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all rules and print what each costs."""
    args = _arguments(argv)
    seeds = (TUNING_SEEDS if args.tuning else HELD_OUT_SEEDS)[: args.seeds]
    few = seeds[: max(len(seeds) // 5, 1)]
    families = [family for family in FAMILIES if family != "parked-50"]
    found: dict[str, list[Judged]] = {rule: [] for rule in RULES}
    tasks = tasks_of(families, seeds, RULES)
    for done, (task, answer) in enumerate(played(tasks, args.jobs), 1):
        for rule, runs in answer.items():
            found[rule] += runs
        if done % 4 == 0 or done == len(tasks):
            print(f"{done}/{len(tasks)} {task.family}", flush=True)
    results = {rule: result(runs) for rule, runs in found.items()}
    which = "tuning" if args.tuning else "held-out"
    print(f"\n{len(seeds)} {which} seeds from {seeds[0]}, base interval 60 s, risk class 1\n")
    print(table(run_rows(found[OURS])))
    wrong = _wrong_worlds(few, args.jobs)
    print(f"\nwhen jumps last ({len(few)} seeds; the suite's last one fix)\n")
    print(table(wrong))
    print(
        "\nA device left behind and a cut strap show in no position: the first needs the"
        "\nprotected person's device to be carried, the second is told by the strap's own event."
    )
    delays = {
        rule: [s.delay_s for run in runs for s in run.seen if s.crossed and s.delay_s is not None]
        for rule, runs in found.items()
    }
    report(
        "decision",
        figures_of(results[OURS]),
        rule_rows(results),
        lambda figure: _draw(figure, results, delays),
        args,
    )
    return 0


def _arguments(argv: Sequence[str] | None) -> Any:
    made = parser("decision", "Missed, late, false and early: rules compared on ground truth.")
    made.add_argument("--seeds", type=int, default=200, help="seeds of every family (200)")
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    made.add_argument("--tuning", action="store_true", help="use the seeds for tuning")
    args = made.parse_args(argv)
    if not 1 <= args.seeds <= len(HELD_OUT_SEEDS):
        made.error(f"--seeds is 1 to {len(HELD_OUT_SEEDS)}")
    return args


def _wrong_worlds(seeds: Sequence[int], jobs: int) -> list[dict[str, object]]:
    """Return what rules do where jumps last, which the noise model of the suite does not have."""
    rows: list[dict[str, object]] = []
    for holds_s in HOLDS_S:
        found: dict[str, list[Judged]] = {rule: [] for rule in WRONG_WORLD_RULES}
        tasks = tasks_of(("queensland", "parked-50"), seeds, WRONG_WORLD_RULES, holds_s)
        for _, answer in played(tasks, jobs):
            for rule, runs in answer.items():
                found[rule] += runs
        for rule, runs in found.items():
            r = result(runs)
            rows.append(
                {
                    "jumps last s": f"{holds_s:.0f}",
                    "rule": rule,
                    "missed %": r.missed.text(),
                    "delay median s": r.delay_median.text(0),
                    "p95 s": r.delay_p95.text(0),
                    "false/day 50 m": r.parked[50].text(),
                }
            )
    return rows


def _draw(
    figure: Any, results: Mapping[str, Result], delays: Mapping[str, Sequence[float]]
) -> None:
    left, right = figure.subplots(1, 2)
    for rule, r in results.items():
        x = r.parked[50]
        left.errorbar(
            max(x.value, 1e-3), r.delay_median.value, fmt="o", label=rule,
            xerr=[[max(x.value, 1e-3) - max(x.low, 1e-3)], [x.high - max(x.value, 1e-3)]],
        )  # fmt: skip
        ordered = sorted(delays[rule])
        right.plot(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))], label=rule)
    left.set(xscale="log", xlabel="false alarms a device-day, parked 50 m outside (95 %)")
    left.set(ylabel="delay of the confirmed alarm, median s")
    right.set(xlim=(0, 240), xlabel="delay s", ylabel="share of true breaches confirmed")
    right.grid(alpha=0.3)
    left.legend(fontsize=8)
    assert not math.isnan(results[OURS].delay_median.value)
