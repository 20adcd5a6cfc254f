"""Duty rosters as data: who is on duty at an instant, in local time, across changes of the clocks.

A plan names a roster as a target (`@night-desk`); whoever is on duty when the step starts is told.
The roster is not frozen into an incident: who is on duty now is a question about now. A roster with
a gap names `otherwise`; without it, nobody on duty makes the step empty, which is passed at once.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from afstand.limits import (
    BOOK_ROSTER_BYTES_MAX,
    BOOK_ROSTER_SHIFTS_MAX,
    BOOK_STEP_TARGETS_MAX,
)
from alerting.book.plans import ID_PATTERN
from geofence.schedule import (
    Schedule,
    ScheduleException,
    Window,
    is_open,
    next_edge_ms,
    schedule_problem,
)


class Shift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is on duty in which windows of local time (`geofence/schedule.py` has their rules)."""

    targets: tuple[str, ...]
    weekly: tuple[Window, ...]
    exceptions: tuple[ScheduleException, ...] = ()


class Roster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A roster file. Shifts may overlap: then all of them are on duty."""

    format: Literal["afstand.roster/1"]
    id: str
    timezone: str
    shifts: tuple[Shift, ...]
    otherwise: tuple[str, ...] = ()
    title: str = ""


class RosterFault(StrEnum):
    """Why a roster is refused."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    BAD_ID = "bad-id"
    TOO_MANY = "too-many"
    BAD_SCHEDULE = "bad-schedule"
    NOBODY = "shift-without-anybody"


class Problem(NamedTuple):
    """One thing wrong with a roster: where and why."""

    roster: str
    field: str
    reason: RosterFault
    detail: str

    def __str__(self) -> str:
        return f"roster {self.roster or '?'}: {self.field}: {self.reason}: {self.detail}"


class RosterError(ValueError):
    """A roster was refused; `problems` says everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Final = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def parse_roster(data: bytes) -> Roster:
    """Read and check one roster file. Raises `RosterError` with every problem found."""
    if len(data) > BOOK_ROSTER_BYTES_MAX:
        detail = f"{len(data)} bytes, at most {BOOK_ROSTER_BYTES_MAX}"
        raise RosterError([Problem("", "file", RosterFault.TOO_LARGE, detail)])
    try:
        roster = msgspec.json.decode(data, type=Roster)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail, _, place = str(error).partition(" - at `$")
        field = place.strip("`.") or "file"
        raise RosterError([Problem("", field, RosterFault.MALFORMED, detail)]) from None
    problems = [Problem(roster.id[:64], *fault) for fault in _faults(roster)]
    if problems:
        raise RosterError(problems)
    return roster


def _faults(roster: Roster) -> Iterable[tuple[str, RosterFault, str]]:
    if not ID_PATTERN.match(roster.id):
        yield "id", RosterFault.BAD_ID, roster.id[:64]
    if not 1 <= len(roster.shifts) <= BOOK_ROSTER_SHIFTS_MAX:
        detail = f"{len(roster.shifts)}, 1 to {BOOK_ROSTER_SHIFTS_MAX}"
        yield "shifts", RosterFault.TOO_MANY, detail
        return
    yield from _target_faults("otherwise", roster.otherwise)
    for index, shift in enumerate(roster.shifts):
        field = f"shifts[{index}]"
        yield from _target_faults(f"{field}.targets", shift.targets)
        if not shift.targets:
            yield f"{field}.targets", RosterFault.NOBODY, "names nobody"
        problem = schedule_problem(schedule_of(roster, shift))
        if problem is not None:
            yield field, RosterFault.BAD_SCHEDULE, problem


def _target_faults(field: str, targets: tuple[str, ...]) -> Iterable[tuple[str, RosterFault, str]]:
    if len(targets) > BOOK_STEP_TARGETS_MAX:
        yield field, RosterFault.TOO_MANY, f"{len(targets)}, at most {BOOK_STEP_TARGETS_MAX}"
    for target in targets:
        if not ID_PATTERN.match(target):
            yield field, RosterFault.BAD_ID, target[:64]


def schedule_of(roster: Roster, shift: Shift) -> Schedule:
    """The windows of one shift as a schedule in the roster's time zone."""
    return Schedule(roster.timezone, shift.weekly, shift.exceptions)


def on_duty(roster: Roster, at_ms: int) -> tuple[str, ...]:
    """Everybody on duty at an instant, in the order of the shifts; else `otherwise`."""
    found: list[str] = []
    for shift in roster.shifts:
        if is_open(schedule_of(roster, shift), at_ms):
            found.extend(target for target in shift.targets if target not in found)
    return tuple(found) or roster.otherwise


def gaps(roster: Roster, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """Every period in [from, to) in which no shift is on duty."""
    schedules = [schedule_of(roster, shift) for shift in roster.shifts]
    found: list[tuple[int, int]] = []
    at_ms = from_ms
    while at_ms < to_ms:
        edges = [next_edge_ms(schedule, at_ms) for schedule in schedules]
        until_ms = min([edge for edge in edges if edge is not None], default=to_ms)
        until_ms = min(until_ms, to_ms)
        if not any(is_open(schedule, at_ms) for schedule in schedules):
            if found and found[-1][1] == at_ms:
                found[-1] = (found[-1][0], until_ms)
            else:
                found.append((at_ms, until_ms))
        at_ms = until_ms
    return found
