"""Timers of silence: a position that grows too old is an event, and a silent pair is judged again.

Every person has one time at which something about its silence is due. A block of 512 persons has a
lower bound of those times, so that a call looks only at blocks in which something can be due,
whatever the number of persons.
"""

from typing import Any

import numpy as np

from afstand.compile import jit_hot, jit_inline, jit_part
from geofence import codes
from geofence.areas import Fix, explain, instant, is_quiet, new_fix
from geofence.decision import held_sigma_mm
from geofence.integers import wide
from geofence.layout import (
    BLOCK,
    EVENTS,
    FRESH,
    LABEL_HELD,
    NEVER_MS,
    NONE_MS,
    PAIRS,
    PERSONS,
    UNIT_EVENT,
    UNITS,
    WEARER_STALE,
    Integers,
    Ledger,
    World,
)
from geofence.ledger import keep_person, keep_unit, new_event, set_due, show_evidence
from geofence.pairs import is_stale, judge_pair
from geofence.parameters import REVIEW_MS, REVIEWS_MAX


def next_due(world: World, persons: int) -> int:
    """Return the earliest time at which a person's silence is due, exactly; NEVER_MS if none.

    Raises the floors of the blocks it looks into to what they are.
    """
    blocks = (persons + BLOCK - 1) // BLOCK
    if blocks == 0:
        return NEVER_MS
    floors = world.floors[:blocks]
    while True:
        low = int(floors.argmin())
        exact = world.due[low * BLOCK : min((low + 1) * BLOCK, persons)].min()
        if exact == floors[low]:
            return int(exact)
        floors[low] = exact


def due_persons(world: World, persons: int, until_ms: int) -> Integers:
    """Return whose silence is due until `until_ms`, by time, then by number.

    Looks into a block only when its floor is not above `until_ms`, and raises the floor when
    nothing was due, so that calls in a row do not look again.
    """
    blocks = (persons + BLOCK - 1) // BLOCK
    found = []
    for block in np.flatnonzero(world.floors[:blocks] <= until_ms).tolist():
        times = world.due[block * BLOCK : min((block + 1) * BLOCK, persons)]
        earliest = times.min()
        if earliest > until_ms:
            world.floors[block] = earliest
        else:
            found.append(np.flatnonzero(times <= until_ms) + block * BLOCK)
    if not found:
        return np.empty(0, np.int64)
    due = np.concatenate(found)
    return due[np.argsort(world.due[due], kind="stable")]


@jit_part
def fire_silences(world: World, ledger: Ledger, zones: Any, persons: Integers, first: int) -> int:
    """Fire the due silences of persons, from `first`; return how far the ledger had room."""
    for k in range(first, persons.size):
        person = wide(persons[k])
        if not has_room(world, ledger, person):
            return k
        keep_person(world, ledger, person)
        fire_silence(world, ledger, zones, person, wide(world.due[person]))
    return wide(persons.size)


@jit_hot
def has_room(world: World, ledger: Ledger, person: int) -> bool:
    """Return whether the ledger takes whatever one step of a person can do."""
    p = world.persons[person]
    units = wide(p["units"])
    pairs = wide(p["pairs"])
    counts = ledger.counts
    return bool(
        counts[EVENTS] + 2 * units + 6 * pairs + 4 <= ledger.events.size
        and counts[PERSONS] + 6 * pairs + 4 <= ledger.person_rows.size
        and counts[UNITS] + 2 * units + 2 <= ledger.unit_rows.size
        and counts[PAIRS] + 2 * pairs + 2 <= ledger.pair_rows.size
        and 2 * (counts[4] + 2) <= ledger.point_index.size
    )


@jit_part
def fire_silence(world: World, ledger: Ledger, zones: Any, person: int, at_ms: int) -> None:
    """Judge the silence of one person at the instant it was due, and set when to look next."""
    p = world.persons[person]
    unit0 = wide(p["unit0"])
    for u in range(unit0, unit0 + wide(p["units"])):
        row = world.units[u]
        if row["fresh"] == FRESH and is_stale(p, wide(row["silence_ms"]), at_ms):
            was_quiet = is_quiet(row)
            keep_unit(world, ledger, u)
            row["fresh"] = WEARER_STALE
            p["active"] = p["active"] + was_quiet
            tell_silent(world, ledger, zones, person, u, at_ms)
    pair0 = wide(p["pair0"])
    for k in range(pair0, pair0 + wide(p["pairs"])):
        index = wide(world.links[k])
        row = world.pairs[index]
        if is_stale(p, wide(row["silence_ms"]), at_ms):
            judge_pair(world, ledger, index, instant(at_ms), wide(-1), at_ms, wide(-1))
    set_due(world, person, next_look(world, person, at_ms))


@jit_part
def next_look(world: World, person: int, at_ms: int) -> int:
    """Return when a person's silence is due next: a budget not yet spent, a review of pairs."""
    p = world.persons[person]
    since = wide(p["last_ms"]) if p["last_ms"] != NONE_MS else wide(p["since_ms"])
    due = NEVER_MS
    unit0 = wide(p["unit0"])
    for u in range(unit0, unit0 + wide(p["units"])):
        row = world.units[u]
        if row["fresh"] == FRESH:
            due = min(due, since + wide(row["silence_ms"]))
    silent = False
    pair0 = wide(p["pair0"])
    for k in range(pair0, pair0 + wide(p["pairs"])):
        row = world.pairs[world.links[k]]
        spent = since + wide(row["silence_ms"])
        if spent > at_ms:
            due = min(due, spent)
        else:
            silent = True
    if silent and p["reviews"] < REVIEWS_MAX:
        p["reviews"] = p["reviews"] + 1
        due = min(due, at_ms + REVIEW_MS)
    return due


@jit_part
def tell_silent(
    world: World, ledger: Ledger, zones: Any, person: int, unit: int, at_ms: int
) -> None:
    """Write the event of a unit whose wearer fell silent; what it shows stays."""
    row = world.units[unit]
    p = world.persons[person]
    event = new_event(ledger, wide(UNIT_EVENT), unit, wide(row["order"]), at_ms)
    e = ledger.events[event]
    e["reason"] = codes.WEARER_SILENT
    e["state"] = row["shown"]
    e["previous"] = row["shown"]
    e["fresh"] = row["fresh"]
    e["previous_fresh"] = FRESH
    e["force"] = row["force"]
    e["ring"] = row["ring"]
    show_evidence(e, row)
    e["labels"] = LABEL_HELD
    if p["last_ms"] != NONE_MS:
        tell_held(world, ledger, zones, person, unit, event, at_ms)


@jit_part
def tell_held(
    world: World, ledger: Ledger, zones: Any, person: int, unit: int, event: int, at_ms: int
) -> None:
    """Write into an event the last position of a wearer, with the error it has by now."""
    p = world.persons[person]
    age_ms = max(at_ms - wide(p["last_ms"]), 0)
    sigma = held_sigma_mm(wide(p["accuracy"]), wide(p["speed"]), age_ms)
    explain(world, ledger, zones, person, unit, event, last_fix(p), sigma)


@jit_inline
def last_fix(p: Any) -> Fix:
    """Return the last believed position of a person as a fix without a path."""
    return new_fix(
        wide(p["last_ms"]),
        wide(p["lat"]),
        wide(p["lon"]),
        wide(p["accuracy"]),
        wide(p["mechanism"]),
        wide(p["speed"]),
        0,
        False,
        0,
        NONE_MS,
        0,
        0,
        0,
        0,
        0,
        False,
        False,
    )
