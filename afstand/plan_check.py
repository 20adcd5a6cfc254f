"""`afstand plans check`: what is wrong with plans and rosters, and who is told when."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from afstand.rehearsal import Rehearsal, rehearse_all, span
from alerting.book.calendar import date_text
from alerting.book.classes_data import BOOK_VERSION
from alerting.book.plans import (
    BUILT_IN_PLANS,
    ROSTER_MARK,
    Plan,
    PlanError,
    parse_plan,
    rosters_of,
)
from alerting.book.rosters import Roster, RosterError, gaps, parse_roster
from alerting.book.types import (
    TARGET_CASE_OWNER,
    TARGET_PROTECTED_DEVICE,
    TARGET_WEARER_DEVICE,
    AlarmClass,
    DefinePlan,
    DefineRoster,
    Input,
)

REPORT_FORMAT: Final = "afstand.plan-check/1"
GAP_DAYS: Final = 366
GAPS_SHOWN: Final = 5
_RESERVED: Final = (TARGET_CASE_OWNER, TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE)


class Files(NamedTuple):
    """What was read, and what is wrong with it."""

    plans: tuple[Plan, ...]
    raw_plans: tuple[bytes, ...]
    rosters: tuple[Roster, ...]
    raw_rosters: tuple[bytes, ...]
    problems: tuple[str, ...]


class _Document(msgspec.Struct):
    format: str = ""
    plans: tuple[msgspec.Raw, ...] = ()
    rosters: tuple[msgspec.Raw, ...] = ()


def read_files(paths: Sequence[Path]) -> Files:
    """Read plan files, roster files and cases documents; everything wrong is told."""
    raw_plans: list[bytes] = []
    raw_rosters: list[bytes] = []
    problems: list[str] = []
    for path in paths:
        try:
            raw = path.read_bytes()
            document = msgspec.json.decode(raw, type=_Document)
        except (OSError, msgspec.MsgspecError) as error:
            problems.append(f"{path}: cannot be read: {error}")
            continue
        kind = document.format.partition("/")[0]
        if kind == "afstand.plan":
            raw_plans.append(raw)
        elif kind == "afstand.roster":
            raw_rosters.append(raw)
        elif kind == "afstand.cases":
            raw_plans += [bytes(plan) for plan in document.plans]
            raw_rosters += [bytes(roster) for roster in document.rosters]
        else:
            problems.append(f"{path}: format {document.format!r} is no plan, roster or cases")
    plans, rosters = [], []
    for raw in raw_plans:
        try:
            plans.append(parse_plan(raw))
        except PlanError as error:
            problems += [str(problem) for problem in error.problems]
    for raw in raw_rosters:
        try:
            rosters.append(parse_roster(raw))
        except RosterError as error:
            problems += [str(problem) for problem in error.problems]
    return Files(
        tuple(plans), tuple(raw_plans), tuple(rosters), tuple(raw_rosters), tuple(problems)
    )


def static_problems(files: Files, targets: Sequence[str] | None) -> list[str]:
    """Names that lead nowhere. `targets`: those of the configuration, None to leave them out."""
    found = []
    known = {roster.id for roster in files.rosters}
    named: dict[str, str] = {}
    for plan in files.plans:
        found += [
            f"plan {plan.id}: no roster {roster}"
            for roster in rosters_of(plan)
            if roster not in known
        ]
        for step in plan.steps:
            named.update(dict.fromkeys((*step.targets, *step.fallback), f"plan {plan.id}"))
    for roster in files.rosters:
        for shift in roster.shifts:
            named.update(dict.fromkeys(shift.targets, f"roster {roster.id}"))
        named.update(dict.fromkeys(roster.otherwise, f"roster {roster.id}"))
    replaced = {plan.id for plan in files.plans}
    for plan in BUILT_IN_PLANS:
        if plan.id not in replaced:
            for step in plan.steps:
                for target in step.targets:
                    named.setdefault(target, f"built-in plan {plan.id}")
    if targets is not None:
        found += [
            f"{where}: no target {target} in the configuration"
            for target, where in named.items()
            if target not in targets
            and target not in _RESERVED
            and not target.startswith(ROSTER_MARK)
        ]
    return found


def roster_warnings(files: Files, start_ms: int) -> list[str]:
    """When nobody is on duty within the next year."""
    found = []
    for roster in files.rosters:
        empty = gaps(roster, start_ms, start_ms + GAP_DAYS * 86_400_000)
        who = f"then {', '.join(roster.otherwise)}" if roster.otherwise else "and nobody else"
        found += [
            f"roster {roster.id}: nobody on duty {date_text(a)} to {date_text(b)}, {who}"
            for a, b in empty[:GAPS_SHOWN]
        ]
        if len(empty) > GAPS_SHOWN:
            found.append(f"roster {roster.id}: and {len(empty) - GAPS_SHOWN} more gaps in a year")
    return found


def check(options: argparse.Namespace, targets: Sequence[str] | None) -> int:
    """Run the check and print it; 1 when something is wrong."""
    files = read_files(options.files)
    start_ms = options.at_ms if options.at_ms is not None else time.time_ns() // 1_000_000
    problems = [*files.problems, *static_problems(files, targets)]
    rehearsals: list[Rehearsal] = []
    if not files.problems:
        definitions: list[Input] = [DefineRoster(roster=raw) for raw in files.raw_rosters]
        definitions += [DefinePlan(plan=raw) for raw in files.raw_plans]
        times = _times(files, start_ms)
        rehearsals = [
            r
            for r in rehearse_all(files.plans, definitions, times)
            if options.alarm_class is None or r.alarm_class.value == options.alarm_class
        ]
    warnings = roster_warnings(files, start_ms)
    for rehearsal in rehearsals:
        at = "" if rehearsal.at_ms == start_ms else f", at {date_text(rehearsal.at_ms)}"
        name = f"plan {rehearsal.plan_id}, {rehearsal.alarm_class}, {rehearsal.path}{at}"
        problems += [f"{name}: {p}" for p in rehearsal.problems if f"{name}: {p}" not in problems]
        warnings += [f"{name}: {w}" for w in rehearsal.warnings if f"{name}: {w}" not in warnings]
    if options.json:
        report = _report(rehearsals, problems, warnings, start_ms)
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    else:
        _print(rehearsals, problems, warnings, start_ms)
    return 1 if problems else 0


def _times(files: Files, start_ms: int) -> Callable[[Plan], tuple[int, ...]]:
    """Now, and the first instant within a year at which a roster of the plan is empty."""
    first = {
        roster.id: empty[0][0]
        for roster in files.rosters
        if (empty := gaps(roster, start_ms, start_ms + GAP_DAYS * 86_400_000))
    }

    def times(plan: Plan) -> tuple[int, ...]:
        named = [first[roster] for roster in rosters_of(plan) if roster in first]
        return tuple(dict.fromkeys((start_ms, *named)))

    return times


def _report(
    rehearsals: Sequence[Rehearsal], problems: list[str], warnings: list[str], start_ms: int
) -> dict[str, Any]:
    return {
        "format": REPORT_FORMAT,
        "alarm_book": BOOK_VERSION,
        "at_ms": start_ms,
        "problems": problems,
        "warnings": warnings,
        "rehearsals": [
            {
                "plan": r.plan_id,
                "class": r.alarm_class,
                "path": r.path,
                "policy": r.policy,
                "at_ms": r.at_ms,
                "told": [line._asdict() for line in r.lines],
            }
            for r in rehearsals
        ],
    }


def _print(
    rehearsals: Sequence[Rehearsal], problems: list[str], warnings: list[str], start_ms: int
) -> None:
    for r in rehearsals:
        policy = f", protected person: {r.policy}" if r.policy != "tell" else ""
        at = f", at {date_text(r.at_ms)}" if r.at_ms != start_ms else ""
        print(f"plan {r.plan_id}: {r.alarm_class}, {r.path}{policy}{at}")
        again = [line.after_ms for line in r.lines if line.round > 1]
        for line in r.lines:
            if line.round == 1:
                print(f"  {line}")
        if again:
            print(f"  {span(again[0]):>9}  pages again from the start, for as long as need be")
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)
    for text in problems:
        print(f"problem: {text}", file=sys.stderr)
    print(
        f"{len(rehearsals)} rehearsals, {len(problems)} problems, {len(warnings)} warnings",
        file=sys.stderr,
    )


CLASSES: Final = tuple(alarm_class.value for alarm_class in AlarmClass)
