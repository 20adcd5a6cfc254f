"""`./run simulate`: many seeds, or one of them told step by step."""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulation.awaits import Point, told
from tests.simulation.simulation import Outcome, simulate


def main() -> int:
    """Run; 0 when nothing was broken."""
    parser = argparse.ArgumentParser(prog="run simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="tell what happens, with the logs")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="at once")
    parser.add_argument("--stop-after", type=int, default=10, help="failures")
    parser.add_argument("--awaits", action="store_true", help="name those that no death struck")
    parser.add_argument(
        "--every-step", metavar="ROLE", help="kill it at each of its steps, in turn"
    )
    options = parser.parse_args()
    if options.every_step is not None:
        return _every_step(options.every_step, options.seed or 1, names=options.awaits)
    if options.seed is not None:
        return _one(options.seed, trace=options.trace)
    return _many(options)


def _one(seed: int, *, trace: bool) -> int:
    outcome = simulate(seed, print if trace else None)
    print(_line(outcome))
    return 1 if outcome.problem else 0


def _every_step(role: str, seed: int, *, names: bool) -> int:
    steps = simulate(seed, kill=(role, 0)).role_steps[role]
    failed = 0
    struck: set[Point] = set()
    for step in range(1, steps + 1):
        outcome = simulate(seed, kill=(role, step))
        struck |= outcome.struck
        if outcome.problem:
            failed += 1
            print(f"{role} killed at step {step}: {_line(outcome)}", flush=True)
    print(f"{role} killed at each of {steps} steps of seed {seed}: {failed} failed")
    print(told(struck, (), names=names))
    return 1 if failed else 0


def _line(outcome: Outcome) -> str:
    told = (
        f"seed {outcome.seed}: {outcome.steps} steps, {outcome.seconds:.0f} s, "
        f"{outcome.entries} entries, {outcome.copies} copies, {outcome.delivered} deliveries"
    )
    return f"{told}: {outcome.problem or 'all holds'}"


def _many(options: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    failed: list[Outcome] = []
    done = steps = 0
    simulated_s = 0.0
    wishes: Counter[str] = Counter()
    struck: set[Point] = set()
    seen: set[Point] = set()
    troubles: Counter[str] = Counter()
    shown_s = began_s
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.jobs, maxtasksperchild=500) as pool:
        for outcome in pool.imap(simulate, seeds, chunksize=4):
            done += 1
            steps += outcome.steps
            troubles.update(outcome.troubles)
            wishes.update(outcome.wishes)
            struck |= outcome.struck
            seen |= outcome.seen
            simulated_s += outcome.seconds
            if outcome.problem:
                failed.append(outcome)
                print(_line(outcome), flush=True)
                if len(failed) >= options.stop_after:
                    pool.terminate()
                    break
            now_s = time.perf_counter()
            if now_s - shown_s > 30:
                shown_s = now_s
                rate = done / (now_s - began_s)
                print(
                    f"{done} of {options.seeds} seeds (up to {outcome.seed}), {rate:.1f} a second, "
                    f"{len(failed)} failed",
                    flush=True,
                )
    took_s = time.perf_counter() - began_s
    print(
        f"seeds {options.first} to {options.first + done - 1}: {done} in {took_s:.0f} s, "
        f"{done / took_s:.1f} seeds/s, {steps} steps, "
        f"{simulated_s / 3600:.1f} h simulated, {len(failed)} failed"
    )
    print("troubles: " + ", ".join(f"{kind} {n}" for kind, n in sorted(troubles.items())))
    print("moves: " + ", ".join(f"{what} {n}" for what, n in sorted(wishes.items())))
    print(told(struck, seen, names=options.awaits))
    for outcome in failed:
        print(f"replay: ./run simulate --seed {outcome.seed} --trace")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(main())
