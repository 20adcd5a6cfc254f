"""What the book knows of a group of persons, taken out of it and put into the book of another.

Only a group without an open incident moves: an incident, the notices under way and the answers that
come to them stay where they began. Everything else about the group goes along: cases, orders,
counters of patterns and breaches, what is out of service, commands that wait for an answer, and all
timers of these. Incidents that are closed stay behind until their last receipts can have come.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from alerting.book import activations, casefile, decisions, legal, patterns, silences
from alerting.book.classes_data import BOOK_VERSION
from alerting.book.conditions import DEFER_TIMER
from alerting.book.incidents import define_plan
from alerting.book.state import DUMP_FORMAT, Facts, Rows, State
from alerting.book.tables import Table

_NOW: Final = "now-ms"

# Timers by kind, and the table whose keys they name. No other timer is about a group that rests.
_TABLE_OF_TIMER: Final = {
    "condition": "conditions",
    "recheck": "conditions",
    DEFER_TIMER: "conditions",
    "settled": "settled",
    "service": "out_of_service",
    "command": "commands",
    "asked": "asked",
    "late": "late",
    legal.TIMER: "orders",
    legal.GONE_TIMER: "orders",
    patterns.TIMER: "patterns",
    decisions.REMIND_TIMER: "breaches",
    decisions.DUE_TIMER: "breaches",
    casefile.REVIEW_TIMER: "cases",
    casefile.QUIET_TIMER: "cases",
    casefile.CHECK_IN_TIMER: "cases",
    casefile.MISSED_TIMER: "cases",
    activations.ACTIVATION_TIMER: "activations",
    "test": "device_persons",
}
# What all partitions have alike: taken only where it is missing.
_SHARED: Final = ("plans", "current_plans", "rosters")


class BookGroup(msgspec.Struct, array_like=True):
    """What moves. `at_ms`: the time of the book that gave it."""

    format: int
    book_version: str
    at_ms: int
    rows: Rows


class Members(msgspec.Struct, frozen=True):
    """A group: persons, their devices, the orders about them."""

    persons: frozenset[str]
    devices: frozenset[str]
    orders: frozenset[str]


def cases_of(state: State, person_ids: Iterable[str]) -> list[str]:
    """Everybody who is tied to these persons by cases, themselves too, sorted."""
    waiting, found = list(person_ids), set[str]()
    while waiting:
        person_id = waiting.pop()
        if person_id in found:
            continue
        found.add(person_id)
        for case_id in state.person_cases.get(person_id) or ():
            case = state.cases[case_id]
            waiting += [*case.protected_ids, *([case.wearer_id] if case.wearer_id else [])]
    return sorted(found)


def in_the_way(state: State, members: Members) -> str:
    """Why a group cannot move now; empty when it can."""
    for person_id in sorted(members.persons):
        opened = state.open_by_person.get(person_id)
        if opened:
            return f"incident {opened[0]} of {person_id} is open"
    for device_id in sorted(members.devices):
        incident_id = state.open_subjects.get(f"device/{device_id}")
        if incident_id:
            return f"incident {incident_id} of {device_id} is open"
    if silences.active(state) or state.mass_silent.rows:
        return "a mass loss is not over"
    return ""


def give(state: State, members: Members) -> bytes:
    """Take a group out and return it. Nothing may be in its way. The caller keeps the log."""
    cases = {case for one in members.persons for case in state.person_cases.get(one) or ()}
    rows = take_out(state, members, cases)
    for name in _SHARED:
        getattr(rows, name).update(getattr(state, name).rows)
    group = BookGroup(DUMP_FORMAT, BOOK_VERSION, state.numbers.get(_NOW) or 0, _sorted(rows))
    return msgspec.msgpack.encode(group)


def take_out(state: State, members: Members, cases: set[str]) -> Rows:
    """Drop every row and timer about a group and these cases, and return them."""
    chosen = _chosen(state, members, cases)
    rows = Rows()
    for name, keys in chosen.items():
        table: Table[Any] = getattr(state, name)
        getattr(rows, name).update({key: table[key] for key in keys})
        for key in keys:
            table.drop(key)
    for timer in sorted(state.timers.rows):
        kind, _, rest = timer.partition("|")
        table_name = _TABLE_OF_TIMER.get(kind, "")
        if rest in getattr(rows, table_name, ()) or (kind == "test" and rest in members.devices):
            rows.timers[timer] = state.timers.rows[timer]
            state.timers.clear(timer)
    return rows


def take(state: State, raw: bytes) -> None:
    """Put a group in. Raises ValueError; the caller takes the log back then."""
    try:
        group = msgspec.msgpack.decode(raw, type=BookGroup)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a group of a book: {error}") from error
    if (group.format, group.book_version) != (DUMP_FORMAT, BOOK_VERSION):
        raise ValueError(f"a group of book {group.book_version}, format {group.format}")
    rows = group.rows
    _take_shared(state, rows)
    # Command ids are counted by each book: one that waits here under the same id stays.
    taken = {f"command|{key}" for key in rows.commands if key in state.commands}
    for name in Rows.__struct_fields__:
        if name in _SHARED or name == "timers":
            continue
        table: Table[Any] = getattr(state, name)
        for key, row in sorted(getattr(rows, name).items()):
            if name != "commands" or f"command|{key}" not in taken:
                table.put(key, row)
    for timer, due_ms in sorted(rows.timers.items()):
        if timer not in taken:
            state.timers.set(timer, due_ms)


def _take_shared(state: State, rows: Rows) -> None:
    """Plans and rosters that are not known here."""
    for plan_id in sorted(rows.current_plans):
        if plan_id not in state.current_plans:
            define_plan(state, rows.plans[rows.current_plans[plan_id]])
    for roster_id, roster in sorted(rows.rosters.items()):
        if roster_id not in state.rosters:
            state.rosters.put(roster_id, roster)


def _chosen(state: State, members: Members, cases: set[str]) -> dict[str, list[str]]:
    """The keys of the group's rows, by table."""
    persons, devices, orders = members.persons, members.devices, members.orders
    ids = persons | devices | orders | cases

    def about(facts: Facts) -> bool:
        matter = facts.matter.split("/")
        return (
            facts.person_id in persons
            or facts.wearer_id in persons
            or facts.protected_id in persons
            or facts.device_id in devices
            or facts.order_id in orders
            or (matter[0] == "case" and len(matter) > 1 and matter[1] in cases)
        )

    def of_pattern(key: str) -> bool:
        # `kind/person`, or `kind/order/protected` (decisions.key_of).
        _, first, *rest = key.split("/")
        return first in (orders if rest else persons)

    wanted: dict[str, Callable[[str, Any], bool]] = {
        "conditions": lambda _, row: about(row.facts),
        "late": lambda _, row: about(row.facts),
        "breaches": lambda _, row: about(row.facts),
        "patterns": lambda key, _: of_pattern(key),
        "settled": lambda key, _: any(part in ids for part in key.split("/")),
        "cases": lambda key, _: key in cases,
        "case_files": lambda key, _: key in cases,
        "person_cases": lambda key, _: key in persons,
        "device_persons": lambda key, row: key in devices or row in persons,
        "commands": lambda _, row: row.device_id in devices,
        "asked": lambda key, _: key in devices,
        "activations": lambda key, _: key in devices,
        "out_of_service": lambda key, _: key.rpartition("|")[0] in persons,
        "orders": lambda key, _: key in orders,
        "legal": lambda key, _: key in orders,
        "wearer_orders": lambda key, _: key in persons,
    }
    return {
        name: sorted(key for key, row in getattr(state, name).rows.items() if test(key, row))
        for name, test in wanted.items()
    }


def _sorted(rows: Rows) -> Rows:
    """Equal groups give equal bytes, whatever the order in which rows came to be."""
    tables = {name: getattr(rows, name) for name in Rows.__struct_fields__}
    return Rows(**{name: {key: rows[key] for key in sorted(rows)} for name, rows in tables.items()})
