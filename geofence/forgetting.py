"""Forgetting where a person was, when the law says so.

The person and the orders stay, as names: what goes is every position, and every distance that was
measured. Silence goes on being watched, so that forgetting somebody who is still under an order
by mistake is an alarm and not a hole.
"""

import numpy as np

from geofence.clearing import NO_CLEARING
from geofence.layout import NONE_MS, POINT, Rows
from geofence.parameters import SPEED_UNKNOWN
from geofence.rows import Tables

_TIMES = ("last_ms", "seen_ms", "doubt_ms", "near_ms", "far_ms", "requested_ms", "hour_ms")
_PLACES = (
    *("lat", "lon", "accuracy", "near_lat", "near_lon", "near_accuracy"),
    *("far_lat", "far_lon", "far_accuracy", "north", "east", "mechanism"),
    *("doubt_lat", "doubt_lon", "doubt_accuracy", "doubt_mechanism", "leap_lat", "leap_lon"),
    *("leapt", "track_next", "doubt_requests"),
)
_STEPS = ("step_ms", "step_distance", "step_accuracy", "step_p", "step_evidence", "steps")


def forget_person(tables: Tables, person: int) -> None:
    """Take every position of a person out of the rows."""
    world = tables.world
    row = world.persons[person]
    for name in _TIMES:
        row[name] = NONE_MS
    for name in _PLACES:
        row[name] = 0
    row["heading"] = -1
    row["speed"] = SPEED_UNKNOWN
    world.clearings[person] = NO_CLEARING
    if row["track"] >= 0:
        points = world.tracks[row["track"]]
        points[:] = np.zeros((), POINT)
        points["time_ms"] = NONE_MS
    _forget_steps(tables.units_of(person))
    for pair in tables.links_of(person).tolist():
        _forget_steps(world.pairs[pair : pair + 1])


def _forget_steps(rows: Rows) -> None:
    for name in _STEPS:
        rows[name] = 0
