"""Orders about zones: one fix against the units and legs of a person.

Most fixes end at the bounding boxes: a box holds the path from the last fix to this one, widened by
what the fix can be wrong and by how far its person gets soon. Only units that it touches, or that
are not at rest, are measured.
"""

import math
from typing import Any, NamedTuple

from afstand.compile import jit_hot, jit_inline, jit_part
from geofence import codes
from geofence.clearing import (
    BANS,
    HOME_MARGIN_MM,
    HOMES,
    find_clearing,
    find_home,
    in_clearing,
)
from geofence.decision import (
    CLEAR,
    CONFIRMED,
    POSSIBLE,
    UNKNOWN,
    WARNING,
    drift_mm_s,
    next_state,
    probability_1024,
    sigma_mm,
    step_evidence,
    weight,
)
from geofence.integers import wide
from geofence.kernels.arrays import EXACT
from geofence.kernels.distance import is_rd, project, signed_distance
from geofence.kernels.projection import rd_from_wgs84
from geofence.kernels.segment import segment_depth
from geofence.layout import (
    AREA,
    EXIT,
    FRESH,
    LABEL_COALESCED,
    LABEL_LATE_DELIVERY,
    LABEL_POOR,
    LOCATION,
    NONE_MS,
    UNIT_EVENT,
    Ledger,
    World,
)
from geofence.ledger import (
    COUNTED,
    UNCOUNTED,
    keep_unit,
    new_event,
    remember_step,
    request_fix,
    show_evidence,
    wearer_at,
)
from geofence.motion import reach_e7
from geofence.parameters import (
    ABSENCE_DOUBT_1024,
    APPROACH_MS,
    APPROACH_SPEED_MAX_MM_S,
    DOUBT_1024,
    DOUBTED_SHIFT,
    LATE_DELIVERY_MS,
    POSSIBLE_1024,
    REACH_ACCURACIES,
    REACH_MM,
    SEGMENT_MAX_MS,
    SPEED_UNKNOWN,
    STILL_MM_S,
)

FAR_MM = -(10**10)
_POOR_MM = 100_000
_PLANE_SLACK = 1.001
"""A length in the plane is at most a thousandth off."""
_PIECES_MAX = 4
_BOUND_M = 200.0
"""Within this of a boundary an exact distance is cheap; bounds are asked for no further."""
PRESENT_1024 = 1024 - POSSIBLE_1024


class Fix(NamedTuple):
    """One fix as kernels hand it on, with what is known of the one before."""

    time_ms: int
    lat: int
    lon: int
    accuracy: int
    mechanism: int
    speed: int
    labels: int
    doubted: bool
    """An implausible jump: a quarter of the evidence, no possible breach, no path."""
    dt_ms: int
    """Since the newest fix seen, for the weight of evidence."""
    path_ms: int
    """Since the last believed fix, NONE_MS when there is no path from it."""
    last_lat: int
    last_lon: int
    last_accuracy: int
    moved_mm: int
    leapt: int
    """How the person came here: MOVED, LEAPT or LEAP."""
    behind: bool
    """It came in a journal entry that was taken while the intake was behind."""
    waits: bool
    """It leaves the decision to a newer one of that entry (geofence.coalescing)."""


class Measure(NamedTuple):
    """What a fix says about one unit."""

    depth_mm: int
    """Signed distance to the nearest or deepest zone, positive inside."""
    path_mm: int
    """The same of the path since the last fix; FAR_MM when it was not looked at."""
    zone: int
    """The zone of the path when that is deeper, else of the fix."""
    nearing: bool
    """Going on like this the person may be at the boundary soon."""


@jit_inline
def new_fix(
    time_ms: int,
    lat: int,
    lon: int,
    accuracy: int,
    mechanism: int,
    speed: int,
    labels: int,
    doubted: bool,
    dt_ms: int,
    path_ms: int,
    last_lat: int,
    last_lon: int,
    last_accuracy: int,
    moved_mm: int,
    leapt: int,
    behind: bool,
    waits: bool,
) -> Fix:
    """Return a Fix of one type, whatever the widths it is made of."""
    return Fix(
        wide(time_ms),
        wide(lat),
        wide(lon),
        wide(accuracy),
        wide(mechanism),
        wide(speed),
        wide(labels),
        wide(doubted) != 0,
        wide(dt_ms),
        wide(path_ms),
        wide(last_lat),
        wide(last_lon),
        wide(last_accuracy),
        wide(moved_mm),
        wide(leapt),
        wide(behind) != 0,
        wide(waits) != 0,
    )


@jit_inline
def instant(at_ms: int) -> Fix:
    """Return what stands for a fix when only time has passed."""
    return new_fix(
        at_ms, 0, 0, 0, 0, SPEED_UNKNOWN, 0, False, 0, NONE_MS, 0, 0, 0, 0, 0, False, False
    )


@jit_inline
def is_quiet(unit: Any) -> bool:
    """Return whether a unit is at rest.

    A fix far from a ban, or inside the place of a location order, then changes nothing of it. A
    report duty counts who comes, and a border is crossed at any speed: these are always looked at.
    """
    return bool(
        (unit["kind"] == AREA or (unit["kind"] == LOCATION and not unit["once"]))
        and unit["inner"] == CLEAR
        and unit["evidence"] == 0
        and unit["steps"] == 0
        and unit["fresh"] == FRESH
    )


@jit_inline
def shown_state(unit: Any) -> int:
    """Return what a unit shows: its evidence in the hours of the order, a missed report duty.

    A duty is missed by not having been there, also by somebody who was never seen anywhere.
    """
    if unit["once"]:
        return CONFIRMED if unit["missed"] else CLEAR
    if unit["inner"] == UNKNOWN:
        return UNKNOWN
    return wide(unit["inner"]) if unit["open"] else CLEAR


@jit_inline
def reach_mm(fix: Fix) -> int:
    """Return how far around its path a fix matters: its error, and where its person is soon."""
    soon = 0
    if fix.speed >= STILL_MM_S:
        soon = min(fix.speed, APPROACH_SPEED_MAX_MM_S) * APPROACH_MS // 1000
    return REACH_ACCURACIES * fix.accuracy + REACH_MM + soon


@jit_part
def may_touch(
    zones: Any, zone: int, x0_mm: int, y0_mm: int, x1_mm: int, y1_mm: int, margin_mm: int
) -> bool:
    """Return whether a straight way may come within a margin of a zone; False is sure.

    A piece of the way cannot when its middle is further off than half its length. That needs bounds
    only, one cheap read each; the exact way is asked for where they do not say.
    """
    dx = float(x1_mm - x0_mm)
    dy = float(y1_mm - y0_mm)
    length = math.sqrt(dx * dx + dy * dy) * _PLANE_SLACK
    pieces = 1
    while pieces <= _PIECES_MAX:
        half = length / (2 * pieces) + margin_mm
        near = False
        for i in range(pieces):
            t = (2 * i + 1) / (2.0 * pieces)
            x = math.floor(x0_mm + dx * t + 0.5)
            y = math.floor(y0_mm + dy * t + 0.5)
            bound = signed_distance(zones, zone, x, y, min(half / 1000.0, _BOUND_M))
            near = near or -bound <= half
        if not near:
            return False
        pieces *= 2
    return True


@jit_inline
def exact_mm(accuracy: int, ring: int) -> int:
    """Return up to which distance a measure is exact; beyond it is a bound."""
    return REACH_ACCURACIES * accuracy + REACH_MM + ring


@jit_hot
def measure(zones: Any, world: World, leg0: int, legs: int, ring: int, fix: Fix) -> Measure:
    """Measure a fix and its path against the zones of a unit whose boxes they touch."""
    near_mm = exact_mm(fix.accuracy, 0)
    has_path = 0 <= fix.path_ms <= SEGMENT_MAX_MS and fix.moved_mm > 0
    goes_on = has_path and fix.speed >= STILL_MM_S
    south, north, west, east = box_of(fix, reach_mm(fix))
    x, y = rd_from_wgs84(fix.lat, fix.lon)
    depth = FAR_MM
    path = FAR_MM
    zone = -1
    path_zone = -1
    nearing = False
    for k in range(leg0, leg0 + legs):
        leg = world.legs[k]
        if leg["south"] > north or leg["north"] < south or leg["west"] > east or leg["east"] < west:
            continue
        z = wide(leg["zone"])
        in_rd = is_rd(zones, z)
        x1, y1 = (x, y) if in_rd else project(zones, z, fix.lat, fix.lon)
        sd = signed_distance(zones, z, x1, y1, (near_mm + ring) / 1000.0)
        if sd > depth:
            depth = sd
            zone = z
        # Beyond its tolerance a distance is a bound, which is all that is asked of it here.
        passed = has_path and -sd <= fix.moved_mm
        ahead = goes_on and not nearing and -sd * 1000 <= fix.speed * APPROACH_MS
        if sd >= 0 or not (passed or ahead):
            continue
        x0, y0 = project(zones, z, fix.last_lat, fix.last_lon)
        if ahead:
            further = APPROACH_MS / fix.path_ms
            x2 = math.floor(x1 + (x1 - x0) * further + 0.5)
            y2 = math.floor(y1 + (y1 - y0) * further + 0.5)
            nearing = may_touch(zones, z, x1, y1, x2, y2, near_mm)
        if passed and may_touch(zones, z, x0, y0, x1, y1, 0):
            along = segment_depth(zones, z, x0, y0, x1, y1, EXACT)
            if along > path and signed_distance(zones, z, x0, y0, 0.0) < 0:
                path = along
                path_zone = z
    return Measure(depth, path, path_zone if path > depth else zone, nearing)


@jit_inline
def box_of(fix: Fix, reach: int) -> tuple[int, int, int, int]:
    """Return (south, north, west, east) of the path of a fix, widened by its reach."""
    up, across = reach_e7(reach, fix.lat)
    south = fix.lat
    north = fix.lat
    west = fix.lon
    east = fix.lon
    if fix.path_ms >= 0 and abs(fix.lon - fix.last_lon) < 1_800_000_000:
        south = min(south, fix.last_lat)
        north = max(north, fix.last_lat)
        west = min(west, fix.last_lon)
        east = max(east, fix.last_lon)
    return south - up, north + up, west - across, east + across


@jit_hot
def touches(
    world: World, leg0: int, legs: int, south: int, north: int, west: int, east: int
) -> bool:
    """Return whether any leg's box meets a box."""
    hits = 0
    for k in range(leg0, leg0 + legs):
        leg = world.legs[k]
        hits += (
            (leg["south"] <= north)
            & (leg["north"] >= south)
            & (leg["west"] <= east)
            & (leg["east"] >= west)
        )
    return hits > 0


@jit_inline
def breach_1024(kind: int, ring: int, depth_mm: int, sigma: float) -> tuple[int, int]:
    """Return (P of a breach, P of the ring) for a signed distance.

    A location order is tolerant: its breach begins `ring` outside of the zone, and the strip up to
    there warns. Around a forbidden zone the ring warns; of an exit ban the strip inside.
    """
    if kind == EXIT:
        p = probability_1024(float(-depth_mm), sigma)
        return p, probability_1024(float(ring - depth_mm), sigma) if ring > 0 else 0
    if kind == LOCATION:
        p = probability_1024(float(-depth_mm - ring), sigma)
        return p, probability_1024(float(-depth_mm), sigma) if ring > 0 else 0
    p = probability_1024(float(depth_mm), sigma)
    return p, probability_1024(float(depth_mm + ring), sigma) if ring > 0 else 0


@jit_hot
def observe_units(
    world: World, ledger: Ledger, zones: Any, person: int, fix: Fix, now_ms: int
) -> None:
    """Judge all units of a person by a fix that is the newest of that person."""
    p = world.persons[person]
    if p["units"] == 0:
        return
    south, north, west, east = box_of(fix, reach_mm(fix))
    clear = in_clearing(world, person, wide(BANS), south, north, west, east)
    up, across = reach_e7(fix.accuracy + HOME_MARGIN_MM, fix.lat)
    at_home = in_clearing(
        world,
        person,
        wide(HOMES),
        fix.lat - up,
        fix.lat + up,
        fix.lon - across,
        fix.lon + across,
    )
    # A unit at rest may show what an older fix of the same entry left to this one to tell.
    for_older = fix.labels & LABEL_COALESCED != 0
    if clear and at_home and p["active"] == 0 and not for_older:
        return
    leg0 = wide(p["leg0"])
    unit0 = wide(p["unit0"])
    nearest = FAR_MM
    inside = -FAR_MM
    for u in range(unit0, unit0 + wide(p["units"])):
        row = world.units[u]
        kind = wide(row["kind"])
        first = leg0 + wide(row["leg"])
        if is_quiet(row) and not (for_older and row["shown"] != shown_state(row)):
            if kind == LOCATION:
                if at_home:
                    continue
            elif clear or not touches(world, first, wide(row["legs"]), south, north, west, east):
                continue
        depth = observe_unit(world, ledger, zones, person, u, fix, now_ms)
        if kind == AREA:
            nearest = max(nearest, depth + wide(row["ring"]))
        elif kind == LOCATION:
            inside = min(inside, depth)
    if not at_home:
        find_home(world, person, wide(fix.lat), wide(fix.lon), inside)
    if not clear:
        find_clearing(
            world, person, south, north, west, east, wide(fix.lat), wide(fix.lon), -nearest
        )


@jit_part
def observe_unit(
    world: World, ledger: Ledger, zones: Any, person: int, unit: int, fix: Fix, now_ms: int
) -> int:
    """Judge one unit: measure, evidence, state, freshness; tell when what it shows changes.

    Return the signed distance that was measured.
    """
    keep_unit(world, ledger, unit)
    p = world.persons[person]
    row = world.units[unit]
    was_quiet = is_quiet(row)
    was_shown = shown_state(row)
    kind = wide(row["kind"])
    ring = wide(row["ring"])
    threshold = wide(row["threshold"])
    m = measure(zones, world, wide(p["leg0"]) + wide(row["leg"]), wide(row["legs"]), ring, fix)
    sigma = sigma_mm(fix.accuracy)
    p_1024, ring_1024 = breach_1024(kind, ring, m.depth_mm, sigma)
    before = wide(row["inner"])
    state = before
    evidence = wide(row["evidence"])
    passed = 0
    if kind == AREA and m.path_mm > 0 and not fix.doubted and before != CONFIRMED:
        wider = max(sigma, sigma_mm(fix.last_accuracy))
        off = drift_mm_s(fix.speed) * (fix.path_ms / 2000.0)
        passed = probability_1024(float(m.path_mm), math.sqrt(wider * wider + off * off))
    if passed > p_1024:
        half = weight(fix.dt_ms, passed, fix.leapt) >> 1
        evidence = step_evidence(evidence, passed, half, threshold)
        if evidence >= threshold:
            state = CONFIRMED
        half = weight(fix.dt_ms, p_1024, fix.leapt) >> 1
        evidence = step_evidence(evidence, p_1024, half, threshold)
    else:
        passed = 0
        w = weight(fix.dt_ms, p_1024, fix.leapt)
        evidence = step_evidence(
            evidence, p_1024, w >> DOUBTED_SHIFT if fix.doubted else w, threshold
        )
    alone = 0 if fix.doubted else max(p_1024, passed)
    state = next_state(state, evidence, threshold, alone, ring_1024)
    told_mm = m.path_mm if passed > 0 else m.depth_mm
    limit_mm = exact_mm(fix.accuracy, ring) + 1
    remember_step(
        row,
        wide(row["evidence"]),
        evidence,
        False,
        fix.time_ms,
        min(max(told_mm, -limit_mm), limit_mm),
        fix.accuracy,
        max(p_1024, passed),
    )
    row["evidence"] = evidence
    row["inner"] = state
    remember_stay(row, before, state, fix.time_ms)
    met = wide(codes.NO_REASON)
    if row["once"] and p_1024 <= PRESENT_1024 and not fix.doubted:
        met = attend(row, fix.time_ms)
    settle(world, ledger, zones, person, unit, fix, now_ms, passed, m, met, was_shown)
    if row["force"] and row["open"] and not row["once"] and not fix.waits:
        nearing = m.nearing
        if kind == EXIT:
            nearing = fix.speed >= STILL_MM_S and m.depth_mm * 1000 <= fix.speed * APPROACH_MS
        ask_unit(world, ledger, person, row, p_1024, nearing, now_ms)
    is_now_quiet = is_quiet(row)
    if was_quiet and not is_now_quiet:
        p["active"] = p["active"] + 1
    elif is_now_quiet and not was_quiet:
        p["active"] = p["active"] - 1
    return m.depth_mm


@jit_inline
def attend(row: Any, time_ms: int) -> int:
    """Note that a wearer was at the place of a report duty; return why it is no longer missed.

    NO_REASON when it was not missed. A fix of the hours that comes after them proves that the duty
    was met; a later one only that it was met late.
    """
    if row["open"] and time_ms >= row["duty_from_ms"]:
        row["met"] = 1
    if not row["missed"]:
        return wide(codes.NO_REASON)
    row["missed"] = 0
    if row["duty_from_ms"] <= time_ms < row["duty_to_ms"]:
        return wide(codes.REPORT_DUTY_PROVEN)
    return wide(codes.REPORT_DUTY_MET)


@jit_part
def ask_unit(
    world: World, ledger: Ledger, person: int, row: Any, p_1024: int, nearing: bool, now_ms: int
) -> None:
    """Ask for a burst where a fix leaves the answer open, or the wearer is there soon."""
    order = wide(row["order"])
    is_location = row["kind"] == LOCATION
    doubt = ABSENCE_DOUBT_1024 if is_location else DOUBT_1024
    if row["inner"] == POSSIBLE:
        request_fix(world, ledger, person, order, now_ms, codes.ASK_POSSIBLE, wide(UNCOUNTED))
    elif doubt <= p_1024 < POSSIBLE_1024:
        reason = codes.ASK_ABSENCE if is_location else codes.ASK_DOUBTFUL
        request_fix(world, ledger, person, order, now_ms, reason, wide(COUNTED))
    elif nearing and not is_location and row["inner"] != CONFIRMED:
        request_fix(world, ledger, person, order, now_ms, codes.ASK_APPROACH, wide(COUNTED))


@jit_inline
def remember_stay(row: Any, before: int, state: int, time_ms: int) -> None:
    """Keep from when to when the last breach was confirmed."""
    if state == CONFIRMED and before != CONFIRMED:
        row["stay_from_ms"] = time_ms
        row["stay_to_ms"] = NONE_MS
    elif before == CONFIRMED and state != CONFIRMED:
        row["stay_to_ms"] = time_ms


@jit_part
def settle(
    world: World,
    ledger: Ledger,
    zones: Any,
    person: int,
    unit: int,
    fix: Fix,
    now_ms: int,
    passed: int,
    m: Measure,
    met: int,
    was_shown: int,
) -> None:
    """Compare what a unit shows with what was told last, and tell the difference.

    `met`: the reason when a report duty is no longer missed, else NO_REASON. `was_shown`: what the
    unit would have shown before this fix, had every fix spoken for itself.
    """
    row = world.units[unit]
    shown = wide(row["shown"])
    now_shown = shown_state(row)
    fresh = wide(row["fresh"])
    now_fresh = FRESH
    if fix.doubted or now_ms - fix.time_ms >= row["silence_ms"]:
        now_fresh = fresh
    changed = now_shown != shown or now_fresh != fresh
    rises = is_worse(fix, shown, was_shown, now_shown)
    if not speaks(fix, changed, rises or (changed and met >= 0)):
        return
    row["shown"] = now_shown
    row["fresh"] = now_fresh
    if now_shown == shown and not rises:
        reason = codes.SILENCE_ENDED
    elif met >= 0:
        reason = met
    else:
        reason = unit_reason(shown, now_shown, passed, fix.doubted)
    event = new_event(ledger, wide(UNIT_EVENT), unit, wide(row["order"]), now_ms)
    e = ledger.events[event]
    e["reason"] = reason
    e["state"] = now_shown
    e["previous"] = shown
    e["fresh"] = now_fresh
    e["previous_fresh"] = fresh
    e["force"] = row["force"]
    e["ring"] = row["ring"]
    show_evidence(e, row)
    labels = fix.labels
    if now_ms - fix.time_ms > LATE_DELIVERY_MS:
        labels |= LABEL_LATE_DELIVERY
    e["labels"] = labels
    explain(world, ledger, zones, person, unit, event, fix, sigma_mm(fix.accuracy))
    if reason == codes.PASSED_THROUGH:
        e["distance"] = m.path_mm
        e["zone"] = m.zone
        e["p"] = passed


@jit_inline
def is_worse(fix: Fix, shown: int, was_shown: int, now_shown: int) -> bool:
    """Return whether a fix makes a breach of what was none, or a confirmed one of a possible one.

    That is told whatever newer fixes say, also where the end of an earlier one was left to them.
    While a confirmed breach is shown nothing is worse.
    """
    if not fix.behind or shown == CONFIRMED or now_shown == was_shown:
        return False
    return bool(now_shown == CONFIRMED or (now_shown == POSSIBLE and was_shown != CONFIRMED))


@jit_inline
def speaks(fix: Fix, changed: bool, anyway: bool) -> bool:
    """Return whether a fix tells what it changed, or leaves that to a newer one."""
    return anyway or (changed and not fix.waits)


@jit_inline
def unit_reason(shown: int, now_shown: int, passed: int, doubted: bool) -> int:
    """Return the reason of a change of state."""
    if now_shown == CONFIRMED:
        return codes.PASSED_THROUGH if passed > 0 else codes.EVIDENCE_CONFIRMED
    if now_shown == POSSIBLE:
        return codes.PASSED_THROUGH if passed > 0 else codes.ONE_FIX
    if shown == CONFIRMED:
        return codes.CLEARED
    if shown == POSSIBLE:
        return codes.DOUBT_ENDED
    if now_shown == WARNING:
        return codes.IMPLAUSIBLE_JUMP if doubted else codes.INSIDE_BUFFER
    if shown == WARNING:
        return codes.LEFT_BUFFER
    return codes.FIRST_POSITION


@jit_part
def deepest(zones: Any, world: World, leg0: int, legs: int, lat: int, lon: int) -> tuple[int, int]:
    """Return (exact signed distance, zone) of the zone a position is deepest in or nearest to."""
    depth = FAR_MM
    zone = -1
    for k in range(leg0, leg0 + legs):
        z = wide(world.legs[k]["zone"])
        x, y = project(zones, z, lat, lon)
        sd = signed_distance(zones, z, x, y, EXACT)
        if sd > depth:
            depth = sd
            zone = z
    return depth, zone


@jit_part
def explain(
    world: World,
    ledger: Ledger,
    zones: Any,
    person: int,
    unit: int,
    event: int,
    fix: Fix,
    sigma: float,
) -> None:
    """Write into an event what it was judged by: position, exact distance, probability, speed."""
    row = world.units[unit]
    p = world.persons[person]
    e = ledger.events[event]
    leg0 = wide(p["leg0"]) + wide(row["leg"])
    depth, zone = deepest(zones, world, leg0, wide(row["legs"]), fix.lat, fix.lon)
    p_1024, _ = breach_1024(wide(row["kind"]), wide(row["ring"]), depth, sigma)
    e["measured"] = 1
    e["fix_ms"] = fix.time_ms
    e["distance"] = depth
    e["zone"] = zone
    e["accuracy"] = fix.accuracy
    e["p"] = p_1024
    e["speed"] = fix.speed
    if fix.accuracy >= _POOR_MM:
        e["labels"] = e["labels"] | LABEL_POOR
    wearer_at(ledger, event, fix.time_ms, fix.lat, fix.lon, fix.accuracy, fix.mechanism)
