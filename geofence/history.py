"""Fixes that came late: evidence of the past, apart from the present state.

Late fixes make runs: each within ten minutes of the one before, in either direction, because a
device may send its memory newest first. A run gathers evidence by the same rule as live fixes; from
H on every fix of it is a candidate for a historic breach. Whether the order was in force then is
asked outside of the kernel, once a run.
"""

import math
from typing import Any

from afstand.compile import jit_part
from geofence import codes
from geofence.areas import (
    PRESENT_1024,
    Fix,
    attend,
    box_of,
    breach_1024,
    deepest,
    measure,
    reach_mm,
    settle,
    touches,
)
from geofence.decision import (
    CONFIRMED,
    held_sigma_mm,
    probability_1024,
    sigma_mm,
    step_evidence,
    weight,
)
from geofence.integers import wide
from geofence.kernels.projection import chord_mm
from geofence.layout import AREA, MOVED, NONE_MS, PAIR_EVENT, UNIT_EVENT, Ledger, World
from geofence.ledger import keep_pair, keep_unit, new_event, protected_at, wearer_at
from geofence.parameters import FIRST_FIX_MS, HISTORY_GAP_MS, TRACK_POINTS


@jit_part
def step_run(row: Any, time_ms: int, p_1024: int) -> bool:
    """Add a late fix to the run of a row and return whether it is a candidate.

    A fix within ten minutes of a stay that was confirmed live tells nothing new.
    """
    evidence = wide(row["past_evidence"])
    dt_ms = abs(time_ms - wide(row["past_ms"]))
    if row["past_ms"] == NONE_MS or dt_ms > HISTORY_GAP_MS:
        evidence = 0
        dt_ms = FIRST_FIX_MS
        row["run_ms"] = NONE_MS
        row["told_ms"] = NONE_MS
    threshold = wide(row["threshold"])
    evidence = step_evidence(evidence, p_1024, weight(dt_ms, p_1024, MOVED), threshold)
    if evidence == 0:
        row["run_ms"] = NONE_MS
    elif row["run_ms"] == NONE_MS:
        row["run_ms"] = time_ms
        row["told_ms"] = NONE_MS
    row["past_ms"] = time_ms
    row["past_evidence"] = evidence
    if evidence < threshold or row["told_ms"] != NONE_MS:
        return False
    if row["free_from_ms"] <= time_ms < row["free_to_ms"]:
        return False
    stay_from = wide(row["stay_from_ms"])
    stay_to = wide(row["stay_to_ms"])
    known = stay_from != NONE_MS and time_ms >= stay_from - HISTORY_GAP_MS
    return not (known and (stay_to == NONE_MS or time_ms <= stay_to + HISTORY_GAP_MS))


@jit_part
def observe_past_units(
    world: World, ledger: Ledger, zones: Any, person: int, fix: Fix, now_ms: int
) -> None:
    """Add a late fix to the runs of all units of its person."""
    p = world.persons[person]
    if p["units"] == 0:
        return
    south, north, west, east = box_of(fix, reach_mm(fix))
    leg0 = wide(p["leg0"])
    unit0 = wide(p["unit0"])
    for u in range(unit0, unit0 + wide(p["units"])):
        row = world.units[u]
        first = leg0 + wide(row["leg"])
        legs = wide(row["legs"])
        idle = row["kind"] == AREA and row["past_evidence"] == 0
        if idle and not touches(world, first, legs, south, north, west, east):
            continue
        m = measure(zones, world, first, legs, wide(row["ring"]), fix)
        sigma = sigma_mm(fix.accuracy)
        p_1024, _ = breach_1024(wide(row["kind"]), wide(row["ring"]), m.depth_mm, sigma)
        keep_unit(world, ledger, u)
        if row["once"]:
            # Being away is no breach of a duty; having been there in its hours settles it.
            in_hours = fix.time_ms >= row["duty_from_ms"] and row["duty_from_ms"] != NONE_MS
            ended = row["duty_to_ms"] != NONE_MS and fix.time_ms >= row["duty_to_ms"]
            if p_1024 <= PRESENT_1024 and in_hours and not ended:
                met = attend(row, fix.time_ms)
                shown = wide(row["shown"])
                settle(world, ledger, zones, person, u, fix, now_ms, wide(0), m, met, shown)
            continue
        if not step_run(row, fix.time_ms, p_1024):
            continue
        event = past_event(ledger, wide(UNIT_EVENT), row, u, now_ms, fix, p_1024)
        e = ledger.events[event]
        depth, zone = deepest(zones, world, first, legs, fix.lat, fix.lon)
        e["distance"] = depth
        e["zone"] = zone
        wearer_at(ledger, event, fix.time_ms, fix.lat, fix.lon, fix.accuracy, fix.mechanism)


@jit_part
def past_event(
    ledger: Ledger, kind: int, row: Any, index: int, now_ms: int, fix: Fix, p_1024: int
) -> int:
    """Write a candidate for a historic breach; the present state stands as its `previous`."""
    event = new_event(ledger, kind, index, wide(row["order"]), now_ms)
    e = ledger.events[event]
    e["historic"] = 1
    e["measured"] = 1
    e["reason"] = codes.LATE_FIX
    e["state"] = CONFIRMED
    e["previous"] = row["shown"]
    e["fresh"] = row["fresh"]
    e["previous_fresh"] = row["fresh"]
    e["force"] = row["force"]
    e["fix_ms"] = fix.time_ms
    e["run_ms"] = row["run_ms"]
    e["evidence"] = row["past_evidence"]
    e["threshold"] = row["threshold"]
    e["accuracy"] = fix.accuracy
    e["speed"] = fix.speed
    e["p"] = p_1024
    e["labels"] = fix.labels
    return event


@jit_part
def observe_past_pairs(world: World, ledger: Ledger, person: int, fix: Fix, now_ms: int) -> None:
    """Add a late fix to the runs of all pairs of its person, with where the partner was then."""
    p = world.persons[person]
    pair0 = wide(p["pair0"])
    for k in range(pair0, pair0 + wide(p["pairs"])):
        index = wide(world.links[k])
        row = world.pairs[index]
        partner = wide(row["protected"]) if row["wearer"] == person else wide(row["wearer"])
        slot = nearest_point(world, partner, fix.time_ms)
        if slot < 0:
            continue
        q = world.tracks[world.persons[partner]["track"], slot]
        age_ms = abs(wide(q["time_ms"]) - fix.time_ms)
        own = sigma_mm(fix.accuracy)
        other = held_sigma_mm(wide(q["accuracy"]), wide(q["speed"]), age_ms)
        s = math.sqrt(own * own + other * other)
        distance = chord_mm(fix.lat, fix.lon, wide(q["lat"]), wide(q["lon"]))
        apart = math.sqrt(float(distance) * float(distance) + s * s)
        p_1024 = probability_1024(float(row["radius"]) - apart, s)
        keep_pair(world, ledger, index)
        if not step_run(row, fix.time_ms, p_1024):
            continue
        event = past_event(ledger, wide(PAIR_EVENT), row, index, now_ms, fix, p_1024)
        ledger.events[event]["distance"] = distance
        ledger.events[event]["protected"] = row["protected"]
        t, lat, lon = wide(q["time_ms"]), wide(q["lat"]), wide(q["lon"])
        accuracy, mechanism = wide(q["accuracy"]), wide(0)
        if row["wearer"] == person:
            wearer_at(ledger, event, fix.time_ms, fix.lat, fix.lon, fix.accuracy, fix.mechanism)
            protected_at(ledger, event, t, lat, lon, accuracy, mechanism)
        else:
            protected_at(ledger, event, fix.time_ms, fix.lat, fix.lon, fix.accuracy, fix.mechanism)
            wearer_at(ledger, event, t, lat, lon, accuracy, mechanism)


@jit_part
def nearest_point(world: World, person: int, time_ms: int) -> int:
    """Return the slot of the remembered position nearest in time, within ten minutes, or -1."""
    track = wide(world.persons[person]["track"])
    if track < 0:
        return -1
    best = HISTORY_GAP_MS + 1
    slot = -1
    for k in range(TRACK_POINTS):
        t = wide(world.tracks[track, k]["time_ms"])
        if t != NONE_MS and abs(t - time_ms) < best:
            best = abs(t - time_ms)
            slot = k
    return slot
