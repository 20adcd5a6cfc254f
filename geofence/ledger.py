"""Helpers of kernels: rows kept before they change, events written down, position requests."""

from typing import Any, Final

from afstand.compile import jit_hot, jit_inline, jit_part
from geofence.decision import believed_accuracy_mm
from geofence.integers import wide
from geofence.layout import (
    BLOCK,
    EVENTS,
    NONE_MS,
    PAIRS,
    PERSONS,
    POINTS,
    REQUEST_EVENT,
    UNITS,
    Ledger,
    World,
)
from geofence.parameters import (
    DOUBT_REQUESTS_PER_HOUR,
    HEADROOM,
    REQUEST_GAP_MS,
    STEPS_KEPT,
    TRACK_POINTS,
    TRACK_SPACING_MS,
)

_HOUR_MS = 3_600_000
EVIDENCE_SHIFT: Final = 6
"""From 1/65536 to 1/1024."""
_STEPS_MAX = 2**16 - 2
_FAR_MM = 2 * 10**9
UNCOUNTED: Final = 0
COUNTED: Final = 1


@jit_hot
def keep_person(world: World, ledger: Ledger, person: int) -> None:
    """Copy the row of a person to the ledger, before it changes."""
    k = ledger.counts[PERSONS]
    ledger.person_rows[k] = world.persons[person]
    ledger.person_index[k] = person
    ledger.person_due[k] = world.due[person]
    ledger.counts[PERSONS] = k + 1


@jit_hot
def keep_unit(world: World, ledger: Ledger, unit: int) -> None:
    """Copy the row of a unit to the ledger."""
    k = ledger.counts[UNITS]
    ledger.unit_rows[k] = world.units[unit]
    ledger.unit_index[k] = unit
    ledger.counts[UNITS] = k + 1


@jit_hot
def keep_pair(world: World, ledger: Ledger, pair: int) -> None:
    """Copy the row of a pair to the ledger."""
    k = ledger.counts[PAIRS]
    ledger.pair_rows[k] = world.pairs[pair]
    ledger.pair_index[k] = pair
    ledger.counts[PAIRS] = k + 1


@jit_hot
def set_due(world: World, person: int, due_ms: int) -> None:
    """Set when the silence of a person is looked at; the floor of the block stays a lower bound."""
    world.due[person] = due_ms
    block = person // BLOCK
    world.floors[block] = min(world.floors[block], due_ms)


@jit_part
def new_event(ledger: Ledger, kind: int, row: int, order: int, at_ms: int) -> int:
    """Append an event with nothing measured and return its place."""
    k = ledger.counts[EVENTS]
    ledger.counts[EVENTS] = k + 1
    e = ledger.events[k]
    e["kind"] = kind
    e["row"] = row
    e["order"] = order
    e["at_ms"] = at_ms
    e["fix_ms"] = NONE_MS
    e["distance"] = 0
    e["contact_ms"] = NONE_MS
    e["run_ms"] = NONE_MS
    e["wearer_ms"] = NONE_MS
    e["protected_ms"] = NONE_MS
    e["zone"] = -1
    e["p"] = 0
    e["evidence"] = 0
    e["threshold"] = 0
    e["protected"] = -1
    e["ring"] = 0
    e["accuracy"] = 0
    e["speed"] = -1
    e["closing"] = 0
    e["labels"] = 0
    e["historic"] = 0
    e["measured"] = 0
    e["steps"] = 0
    return wide(k)


@jit_part
def show_evidence(e: Any, row: Any) -> None:
    """Write into an event the evidence of its row and how it grew."""
    e["evidence"] = row["evidence"]
    e["threshold"] = row["threshold"]
    e["steps"] = row["steps"]
    for k in range(STEPS_KEPT):
        e["step_ms"][k] = row["step_ms"][k]
        e["step_distance"][k] = row["step_distance"][k]
        e["step_accuracy"][k] = row["step_accuracy"][k]
        e["step_p"][k] = row["step_p"][k]
        e["step_evidence"][k] = row["step_evidence"][k]


@jit_part
def remember_step(
    row: Any,
    before: int,
    after: int,
    again: bool,
    time_ms: int,
    distance: int,
    accuracy: int,
    p_1024: int,
) -> None:
    """Keep a fix that was added to the evidence of a row: `before` and `after` it, in 1/65536.

    The memory starts over when the evidence was nothing or all it can be, so it tells of one rise
    or one fall. Step n stands in slot n // stride, each slot with the last of its steps; when all
    slots are full the stride doubles. `again`: another judgement of the same instant, which
    replaces the last one.
    """
    if before == 0 or before >= row["threshold"] + HEADROOM:
        row["steps"] = 0
    if before == after:
        return
    count = wide(row["steps"])
    step = count - 1 if again and count > 0 else min(count, _STEPS_MAX)
    stride = 1
    while step // stride >= STEPS_KEPT:
        stride *= 2
    if step == count and stride > 1 and 2 * step == STEPS_KEPT * stride:
        for k in range(STEPS_KEPT // 2):
            row["step_ms"][k] = row["step_ms"][2 * k + 1]
            row["step_distance"][k] = row["step_distance"][2 * k + 1]
            row["step_accuracy"][k] = row["step_accuracy"][2 * k + 1]
            row["step_p"][k] = row["step_p"][2 * k + 1]
            row["step_evidence"][k] = row["step_evidence"][2 * k + 1]
    slot = step // stride
    row["step_ms"][slot] = time_ms
    row["step_distance"][slot] = min(max(distance, -_FAR_MM), _FAR_MM)
    row["step_accuracy"][slot] = accuracy
    row["step_p"][slot] = p_1024
    row["step_evidence"][slot] = after >> EVIDENCE_SHIFT
    row["steps"] = step + 1


@jit_part
def wearer_at(
    ledger: Ledger, event: int, time_ms: int, lat: int, lon: int, accuracy: int, mechanism: int
) -> None:
    """Write the position of the wearer into an event."""
    e = ledger.events[event]
    e["wearer_ms"] = time_ms
    e["wearer_lat"] = lat
    e["wearer_lon"] = lon
    e["wearer_accuracy"] = accuracy
    e["wearer_mechanism"] = mechanism


@jit_part
def protected_at(
    ledger: Ledger, event: int, time_ms: int, lat: int, lon: int, accuracy: int, mechanism: int
) -> None:
    """Write the position of the protected person into an event."""
    e = ledger.events[event]
    e["protected_ms"] = time_ms
    e["protected_lat"] = lat
    e["protected_lon"] = lon
    e["protected_accuracy"] = accuracy
    e["protected_mechanism"] = mechanism


@jit_part
def request_fix(
    world: World, ledger: Ledger, person: int, order: int, at_ms: int, reason: int, counted: int
) -> None:
    """Ask a person's device for a burst, unless one was asked for just before.

    COUNTED requests (mere doubt, approach) have a budget per hour; UNCOUNTED do not. The row of
    the person must have been kept before.
    """
    p = world.persons[person]
    if p["requested_ms"] != NONE_MS and at_ms - p["requested_ms"] < REQUEST_GAP_MS:
        return
    if counted == COUNTED:
        if p["hour_ms"] == NONE_MS or at_ms - p["hour_ms"] >= _HOUR_MS:
            p["hour_ms"] = at_ms
            p["doubt_requests"] = 0
        if p["doubt_requests"] >= DOUBT_REQUESTS_PER_HOUR:
            return
        p["doubt_requests"] = p["doubt_requests"] + 1
    p["requested_ms"] = at_ms
    event = new_event(ledger, wide(REQUEST_EVENT), person, order, at_ms)
    ledger.events[event]["reason"] = reason


@jit_part
def push_point(
    world: World,
    ledger: Ledger,
    person: int,
    time_ms: int,
    lat: int,
    lon: int,
    accuracy: int,
    speed: int,
) -> None:
    """Remember a position in the track of a person, unless one of about that time is there."""
    p = world.persons[person]
    track = p["track"]
    if track < 0:
        return
    points = world.tracks[track]
    for k in range(TRACK_POINTS):
        if (
            points[k]["time_ms"] != NONE_MS
            and abs(points[k]["time_ms"] - time_ms) < TRACK_SPACING_MS
        ):
            return
    slot = wide(p["track_next"])
    k = ledger.counts[POINTS]
    ledger.points[k] = points[slot]
    ledger.point_index[2 * k] = track
    ledger.point_index[2 * k + 1] = slot
    ledger.counts[POINTS] = k + 1
    q = points[slot]
    q["time_ms"] = time_ms
    q["lat"] = lat
    q["lon"] = lon
    q["accuracy"] = accuracy
    q["speed"] = speed
    p["track_next"] = (slot + 1) % TRACK_POINTS


@jit_inline
def accuracy_of(accuracy_dm: int, mechanism: int) -> int:
    """Return the believed 68 % radius in mm of an accuracy on the wire."""
    return believed_accuracy_mm(max(accuracy_dm, 0) * 100, mechanism)
