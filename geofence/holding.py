"""Edges: what an order shows when it begins, ends or changes, judged with the last known positions.

An edge is an instant of time, not a fix. Evidence of existing orders runs on outside of their
hours, so an edge finds it ready; a new order or a changed zone gathers it from the last few
positions of its person.
"""

from typing import Any

from afstand.compile import jit_part
from geofence import codes
from geofence.areas import (
    PRESENT_1024,
    breach_1024,
    deepest,
    instant,
    is_quiet,
    remember_stay,
    shown_state,
)
from geofence.decision import (
    CLEAR,
    CONFIRMED,
    POSSIBLE,
    UNKNOWN,
    held_sigma_mm,
    next_state,
    sigma_mm,
    step_evidence,
    weight,
)
from geofence.integers import wide
from geofence.layout import (
    LABEL_HELD,
    MOVED,
    NONE_MS,
    UNIT_EVENT,
    Ledger,
    World,
)
from geofence.ledger import (
    UNCOUNTED,
    keep_person,
    keep_unit,
    new_event,
    remember_step,
    request_fix,
    show_evidence,
)
from geofence.pairs import contact_of, is_stale, judge_pair, pair_accuracy, shown_pair
from geofence.parameters import (
    DOUBT_1024,
    FIRST_FIX_MS,
    POSSIBLE_1024,
)
from geofence.silence import tell_held


@jit_part
def turn_unit(
    world: World,
    ledger: Ledger,
    zones: Any,
    person: int,
    unit: int,
    at_ms: int,
    force: bool,
    is_open: bool,
    seed: bool,
) -> int:
    """Set whether an order is in force and in its hours; return what its unit now shows.

    `seed`: the unit or its zones are new, so evidence starts over from the last positions. The rows
    of person and unit are kept. What was told stays in `shown` until `tell_unit`.
    """
    keep_person(world, ledger, person)
    keep_unit(world, ledger, unit)
    p = world.persons[person]
    row = world.units[unit]
    if seed:
        seed_unit(world, zones, person, unit)
    if row["inner"] != UNKNOWN and row["evidence"] >= row["threshold"]:
        row["inner"] = CONFIRMED  # a new version of the order may ask for less evidence
    opening = (force and not row["force"]) or (is_open and not row["open"])
    if opening and row["inner"] == CONFIRMED and is_stale(p, wide(row["silence_ms"]), at_ms):
        # Too old to confirm by itself: possible, and the device is asked.
        row["inner"] = POSSIBLE
        row["evidence"] = min(wide(row["evidence"]), wide(row["threshold"]) - 1)
        row["stay_to_ms"] = at_ms
    if row["once"]:
        turn_duty(world, zones, person, unit, at_ms, force, is_open)
    row["force"] = force
    row["open"] = is_open
    recount(world, person)
    return shown_state(row)


@jit_part
def turn_duty(
    world: World, zones: Any, person: int, unit: int, at_ms: int, force: bool, is_open: bool
) -> None:
    """Open or close a window of a report duty: missed when nobody was there until it closed."""
    row = world.units[unit]
    p = world.persons[person]
    if row["open"] and not is_open:
        row["duty_to_ms"] = at_ms
        if not row["met"] and force and row["force"]:
            row["missed"] = 1
    elif is_open and not row["open"]:
        row["missed"] = 0
        row["met"] = 0
        row["duty_from_ms"] = at_ms
        row["duty_to_ms"] = NONE_MS
        if p["last_ms"] != NONE_MS and not is_stale(p, wide(row["silence_ms"]), at_ms):
            first = wide(p["leg0"]) + wide(row["leg"])
            depth, _ = deepest(
                zones, world, first, wide(row["legs"]), wide(p["lat"]), wide(p["lon"])
            )
            sigma = held_sigma_mm(
                wide(p["accuracy"]),
                wide(p["speed"]),
                max(at_ms - wide(p["last_ms"]), 0),
            )
            p_1024, _ = breach_1024(wide(row["kind"]), wide(row["ring"]), depth, sigma)
            row["met"] = p_1024 <= PRESENT_1024


@jit_part
def seed_unit(world: World, zones: Any, person: int, unit: int) -> None:
    """Gather the evidence of a unit anew from the last positions of its person (at most three)."""
    row = world.units[unit]
    p = world.persons[person]
    row["inner"] = UNKNOWN
    row["evidence"] = 0
    row["steps"] = 0
    row["stay_from_ms"] = NONE_MS
    row["stay_to_ms"] = NONE_MS
    row["past_ms"] = NONE_MS
    row["past_evidence"] = 0
    if p["last_ms"] == NONE_MS:
        return
    state = CLEAR
    evidence = 0
    before_ms = NONE_MS
    for step in range(3):
        if step == 0:
            time_ms, lat, lon, accuracy = (
                wide(p["far_ms"]),
                wide(p["far_lat"]),
                wide(p["far_lon"]),
                wide(p["far_accuracy"]),
            )
        elif step == 1:
            time_ms, lat, lon, accuracy = (
                wide(p["near_ms"]),
                wide(p["near_lat"]),
                wide(p["near_lon"]),
                wide(p["near_accuracy"]),
            )
        else:
            time_ms, lat, lon, accuracy = (
                wide(p["last_ms"]),
                wide(p["lat"]),
                wide(p["lon"]),
                wide(p["accuracy"]),
            )
        if time_ms == NONE_MS or (before_ms != NONE_MS and time_ms <= before_ms):
            continue
        first = wide(p["leg0"]) + wide(row["leg"])
        depth, _ = deepest(zones, world, first, wide(row["legs"]), lat, lon)
        p_1024, ring_1024 = breach_1024(
            wide(row["kind"]), wide(row["ring"]), depth, sigma_mm(accuracy)
        )
        dt_ms = FIRST_FIX_MS if before_ms == NONE_MS else time_ms - before_ms
        threshold = wide(row["threshold"])
        gathered = evidence
        evidence = step_evidence(evidence, p_1024, weight(dt_ms, p_1024, MOVED), threshold)
        remember_step(row, gathered, evidence, False, time_ms, depth, accuracy, p_1024)
        before = state
        state = next_state(state, evidence, threshold, p_1024, ring_1024)
        remember_stay(row, before, state, time_ms)
        before_ms = time_ms
    row["inner"] = state
    row["evidence"] = evidence


@jit_part
def recount(world: World, person: int) -> None:
    """Count the units of a person that every fix has to look at."""
    p = world.persons[person]
    unit0 = wide(p["unit0"])
    active = 0
    for u in range(unit0, unit0 + wide(p["units"])):
        active += not is_quiet(world.units[u])
    p["active"] = active


@jit_part
def tell_unit(
    world: World,
    ledger: Ledger,
    zones: Any,
    person: int,
    unit: int,
    at_ms: int,
    reason: int,
    ask: bool,
) -> None:
    """Tell what a unit shows after an edge; ask for a fix where the last position leaves doubt."""
    row = world.units[unit]
    p = world.persons[person]
    event = new_event(ledger, wide(UNIT_EVENT), unit, wide(row["order"]), at_ms)
    e = ledger.events[event]
    e["reason"] = reason
    e["previous"] = row["shown"]
    row["shown"] = shown_state(row)
    e["state"] = row["shown"]
    e["fresh"] = row["fresh"]
    e["previous_fresh"] = row["fresh"]
    e["force"] = row["force"]
    e["ring"] = row["ring"]
    show_evidence(e, row)
    e["labels"] = LABEL_HELD
    if p["last_ms"] != NONE_MS:
        tell_held(world, ledger, zones, person, unit, event, at_ms)
    if ask:
        ask_edge(world, ledger, zones, person, unit, at_ms)


@jit_part
def ask_edge(world: World, ledger: Ledger, zones: Any, person: int, unit: int, at_ms: int) -> None:
    """Ask for a fix when an edge had to be judged with an old or doubtful position.

    A device that never reported is not asked: it is silent, and that is told in its own time.
    """
    row = world.units[unit]
    p = world.persons[person]
    if p["last_ms"] == NONE_MS:
        return
    old = 2 * (at_ms - p["last_ms"]) > row["silence_ms"]
    doubtful = False
    if not old:
        first = wide(p["leg0"]) + wide(row["leg"])
        depth, _ = deepest(zones, world, first, wide(row["legs"]), wide(p["lat"]), wide(p["lon"]))
        sigma = held_sigma_mm(wide(p["accuracy"]), wide(p["speed"]), at_ms - wide(p["last_ms"]))
        p_1024, _ = breach_1024(wide(row["kind"]), wide(row["ring"]), depth, sigma)
        doubtful = DOUBT_1024 <= p_1024 < POSSIBLE_1024
    if old or doubtful or row["inner"] == POSSIBLE:
        request_fix(
            world, ledger, person, wide(row["order"]), at_ms, codes.ASK_EDGE, wide(UNCOUNTED)
        )


@jit_part
def turn_pair(world: World, index: int, at_ms: int, force: bool, is_open: bool, seed: bool) -> int:
    """Set whether a contact ban is in force and in its hours; return what the pair now shows.

    A new pair, or one with a new radius, gets the evidence of one fix from the positions of both;
    what it had is kept where it still holds. The row of the pair is kept by the caller.
    """
    row = world.pairs[index]
    a = world.persons[row["wearer"]]
    b = world.persons[row["protected"]]
    both = a["last_ms"] != NONE_MS and b["last_ms"] != NONE_MS
    if both and (seed or row["inner"] == UNKNOWN):
        c = contact_of(row, a, b, at_ms)
        threshold = wide(row["threshold"])
        evidence = step_evidence(0, c.p_1024, weight(FIRST_FIX_MS, c.p_1024, MOVED), threshold)
        remember_step(
            row, wide(0), evidence, False, at_ms, c.distance_mm, pair_accuracy(a, b), c.p_1024
        )
        if c.p_1024 >= POSSIBLE_1024:
            evidence = max(evidence, wide(row["evidence"]))
        row["evidence"] = row["before"] = evidence
        row["judged_ms"] = row["before_ms"] = row["together_ms"] = at_ms
        row["inner"] = next_state(CLEAR, evidence, threshold, c.p_1024, c.ring_1024)
        remember_stay(row, wide(CLEAR), wide(row["inner"]), at_ms)
    if row["inner"] != UNKNOWN and row["evidence"] >= row["threshold"]:
        row["inner"] = CONFIRMED
    opening = (force and not row["force"]) or (is_open and not row["open"])
    silence_ms = wide(row["silence_ms"])
    stale = is_stale(a, silence_ms, at_ms) or is_stale(b, silence_ms, at_ms)
    if opening and row["inner"] == CONFIRMED and stale:
        row["inner"] = POSSIBLE
        row["evidence"] = min(wide(row["evidence"]), wide(row["threshold"]) - 1)
        row["stay_to_ms"] = at_ms
    row["force"] = force
    row["open"] = is_open
    return shown_pair(row)


@jit_part
def tell_turned_pair(world: World, ledger: Ledger, index: int, at_ms: int, reason: int) -> None:
    """Judge a pair at an edge and tell it, with `reason` unless that is -1."""
    judge_pair(world, ledger, index, instant(at_ms), wide(-1), at_ms, reason)


@jit_part
def ask_pair_edge(world: World, ledger: Ledger, index: int, at_ms: int) -> None:
    """Ask both of a pair for a fix when an edge found an old position or a possible breach.

    A device that never reported is not asked: it is silent, and that is told in its own time.
    """
    row = world.pairs[index]
    for person in (wide(row["wearer"]), wide(row["protected"])):
        last_ms = world.persons[person]["last_ms"]
        if last_ms == NONE_MS:
            continue
        old = 2 * (at_ms - last_ms) > row["silence_ms"]
        if old or row["inner"] == POSSIBLE:
            keep_person(world, ledger, person)
            request_fix(
                world, ledger, person, wide(row["order"]), at_ms, codes.ASK_EDGE, wide(UNCOUNTED)
            )
