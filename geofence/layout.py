"""The rows of the engine, as numpy record types that kernels read and write in place.

The engine holds one row a person, one a leg (an order and one of its zones: a bounding box with the
zone's index), one a unit (an order about zones and its state), one a pair (a contact ban and one
protected person) and one a track (the last positions of a person in a contact ban). Units and legs
of a person lie in one run, so that a fix reads rows that follow each other. Times are Unix ms,
positions degrees x 1e7, lengths mm, evidence 1/65536, probabilities 1/1024.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from geofence.parameters import STEPS_KEPT

NONE_MS: Final = -1
"""No time: never seen, nothing in doubt."""

# Kinds of a unit.
AREA: Final = 0
LOCATION: Final = 1
EXIT: Final = 2

# How a person came to the present place.
MOVED: Final = 0
LEAPT: Final = 1
"""From standstill to standstill, and no movement since explains it."""
LEAP: Final = 2
"""The same with the newest fix: it says nothing yet of how long the place lasts."""

ALIKE_TOLD: Final = 2
"""So many judgements of travelling alike in a row are told, once a stay."""

# Freshness, in the order of geofence.verdicts.Freshness; bit 0 the wearer, bit 1 the protected.
FRESH: Final = 0
WEARER_STALE: Final = 1
PROTECTED_STALE: Final = 2
BLIND: Final = 3

# Kinds of an event.
UNIT_EVENT: Final = 0
PAIR_EVENT: Final = 1
REQUEST_EVENT: Final = 2

# Bits of the labels of an event, in the order of LABELS in geofence.findings.
LABEL_LATE_DELIVERY: Final = 1
LABEL_PARALLEL: Final = 2
LABEL_STANDSTILL: Final = 4
LABEL_SPEED: Final = 8
LABEL_POOR: Final = 16
LABEL_HELD: Final = 32
LABEL_EXPIRING: Final = 64
LABEL_PREDICTED: Final = 128
LABEL_CHANGED: Final = 256
LABEL_COALESCED: Final = 512

# How the evidence of a unit or a pair grew since it was nothing (geofence.ledger.remember_step).
_STEPS: Final[list[Any]] = [
    ("steps", "u2"),  # fixes added, of which at most STEPS_KEPT are kept
    ("step_ms", "i8", (STEPS_KEPT,)),
    ("step_distance", "i4", (STEPS_KEPT,)),
    ("step_accuracy", "i4", (STEPS_KEPT,)),
    ("step_p", "i2", (STEPS_KEPT,)),
    ("step_evidence", "i2", (STEPS_KEPT,)),  # 1/1024
]

CACHE_LINE_BYTES: Final = 64


def _whole_lines(kind: np.dtype[Any]) -> np.dtype[Any]:
    """Return the record type with room up to a cache line: a row then never lies in one more."""
    assert kind.names is not None
    assert kind.fields is not None
    columns = [kind.fields[name] for name in kind.names]
    return np.dtype(
        {
            "names": list(kind.names),
            "formats": [column[0] for column in columns],
            "offsets": [column[1] for column in columns],
            "itemsize": -(-kind.itemsize // CACHE_LINE_BYTES) * CACHE_LINE_BYTES,
            "aligned": True,
        }
    )


_PERSON_COLUMNS: Final = np.dtype(
    [
        # Read for every fix: one cache line.
        ("last_ms", "i8"),  # device time of the newest believed fix
        ("seen_ms", "i8"),  # the same with doubted fixes
        ("doubt_ms", "i8"),  # of a doubted fix that waits for the next one
        ("lat", "i4"),
        ("lon", "i4"),
        ("accuracy", "i4"),
        ("leg0", "i4"),
        ("unit0", "i4"),
        ("pair0", "i4"),
        ("legs", "u2"),
        ("units", "u2"),
        ("pairs", "u2"),
        ("active", "u2"),  # units that are not at rest: every fix has to look at them
        ("speed", "i4"),  # mm/s, SPEED_UNKNOWN
        ("silence_ms", "i4"),  # the smallest budget of silence of all orders; 0: no order
        # Two earlier positions at least BASELINE_MS apart: the base of the velocity.
        ("near_ms", "i8"),
        ("far_ms", "i8"),
        ("near_lat", "i4"),
        ("near_lon", "i4"),
        ("near_accuracy", "i4"),
        ("far_lat", "i4"),
        ("far_lon", "i4"),
        ("far_accuracy", "i4"),
        ("north", "i4"),  # velocity, mm/s
        ("east", "i4"),
        ("track", "i4"),  # row of the track, -1
        ("heading", "i4"),  # 1/100 degree, -1
        # Requests, doubt, silence.
        ("since_ms", "i8"),  # when the first order came: silence before any fix counts from here
        ("requested_ms", "i8"),
        ("hour_ms", "i8"),
        ("doubt_lat", "i4"),
        ("doubt_lon", "i4"),
        ("doubt_accuracy", "i4"),
        ("leap_lat", "i4"),  # from where the present place was leapt to
        ("leap_lon", "i4"),
        ("track_next", "u2"),
        ("doubt_requests", "u2"),
        ("leg_room", "u2"),
        ("unit_room", "u2"),
        ("pair_room", "u2"),
        ("reviews", "u2"),
        ("mechanism", "u1"),
        ("doubt_mechanism", "u1"),
        ("leapt", "u1"),
    ],
    align=True,
)
PERSON: Final = _whole_lines(_PERSON_COLUMNS)

LEG: Final = np.dtype(
    [
        ("south", "i4"),
        ("north", "i4"),
        ("west", "i4"),
        ("east", "i4"),
        ("zone", "i4"),
        ("unit", "i4"),  # of the person's units, from 0
    ],
    align=True,
)

UNIT_ROW: Final = np.dtype(
    [
        ("order", "i4"),
        ("evidence", "i4"),
        ("threshold", "i4"),
        ("ring", "i4"),  # buffer or tolerance
        ("silence_ms", "i4"),
        ("leg", "u2"),  # first leg, of the person's legs
        ("legs", "u2"),
        ("kind", "u1"),
        ("inner", "u1"),  # the state by evidence, whatever the hours of the order
        ("shown", "u1"),  # the state as last told
        ("fresh", "u1"),
        ("force", "u1"),  # the order is enforceable now
        ("open", "u1"),  # a window of the schedule holds now
        ("once", "u1"),  # a report duty
        ("met", "u1"),  # was there in this window
        ("missed", "u1"),  # was not there in the last window
        ("duty_from_ms", "i8"),  # the last window of a report duty; NONE_MS: not begun, not ended
        ("duty_to_ms", "i8"),
        # The last confirmed stay, so that a late fix from within it tells nothing new.
        ("stay_from_ms", "i8"),
        ("stay_to_ms", "i8"),
        # Evidence of fixes that came late, in runs without a gap.
        ("past_ms", "i8"),
        ("run_ms", "i8"),  # start of the present run
        ("told_ms", "i8"),  # start of the run that was told
        ("past_evidence", "i4"),
        # The last late breach that the order did not cover: the same answer holds in between.
        ("free_from_ms", "i8"),
        ("free_to_ms", "i8"),
        *_STEPS,
    ],
    align=True,
)

PAIR_ROW: Final = np.dtype(
    [
        ("order", "i4"),
        ("wearer", "i4"),
        ("protected", "i4"),
        ("radius", "i4"),
        ("warning", "i4"),
        ("evidence", "i4"),
        ("threshold", "i4"),
        ("silence_ms", "i4"),
        ("contact_ms", "i4"),  # time to contact that warns; 0: none
        ("inner", "u1"),
        ("shown", "u1"),
        ("fresh", "u1"),
        ("force", "u1"),
        ("open", "u1"),
        ("closing", "u1"),  # judgements in a row that contact is near, 0 to 2
        ("near", "u1"),  # warned for the time to contact
        ("alike", "u1"),  # judgements in a row of travelling alike; ALIKE_TOLD: told of this stay
        # The last judgement, and the evidence from before it: one of the same instant replaces it.
        ("judged_ms", "i8"),
        ("together_ms", "i8"),  # the first judgement of that instant
        ("before_ms", "i8"),
        ("before", "i4"),
        ("stay_from_ms", "i8"),
        ("stay_to_ms", "i8"),
        ("past_ms", "i8"),
        ("run_ms", "i8"),
        ("told_ms", "i8"),
        ("past_evidence", "i4"),
        ("free_from_ms", "i8"),
        ("free_to_ms", "i8"),
        *_STEPS,
    ],
    align=True,
)

POINT: Final = np.dtype(
    [("time_ms", "i8"), ("lat", "i4"), ("lon", "i4"), ("accuracy", "i4"), ("speed", "i4")],
    align=True,
)
"""A point of a track; tracks are rows of TRACK_POINTS of them, a ring without order."""

EVENT: Final = np.dtype(
    [
        ("at_ms", "i8"),
        ("fix_ms", "i8"),
        ("distance", "i8"),
        ("contact_ms", "i8"),  # time to contact, -1
        ("wearer_ms", "i8"),  # device times of the positions, NONE_MS: no position
        ("protected_ms", "i8"),
        ("run_ms", "i8"),  # of a historic breach: the start of its run
        ("row", "i4"),  # unit, pair, or person of a request
        ("order", "i4"),
        ("zone", "i4"),  # index in the zone arrays, -1
        ("p", "i4"),
        ("evidence", "i4"),  # 1/65536
        ("threshold", "i4"),  # what it has to reach
        ("protected", "i4"),  # of a pair: the protected person, else -1
        ("ring", "i4"),  # of a unit: buffer or tolerance
        ("accuracy", "i4"),
        ("speed", "i4"),
        ("closing", "i4"),
        ("wearer_lat", "i4"),
        ("wearer_lon", "i4"),
        ("wearer_accuracy", "i4"),
        ("protected_lat", "i4"),
        ("protected_lon", "i4"),
        ("protected_accuracy", "i4"),
        ("labels", "u2"),
        ("kind", "u1"),
        ("reason", "u1"),
        ("state", "u1"),
        ("previous", "u1"),
        ("fresh", "u1"),
        ("previous_fresh", "u1"),
        ("force", "u1"),
        ("historic", "u1"),
        ("measured", "u1"),  # distance, accuracy and probability are of this moment
        ("wearer_mechanism", "u1"),
        ("protected_mechanism", "u1"),
        *_STEPS,
    ],
    align=True,
)


class Event(NamedTuple):
    """A row of EVENT as Python integers, in the order of its columns, without the steps kept."""

    at_ms: int
    fix_ms: int
    distance: int
    contact_ms: int
    wearer_ms: int
    protected_ms: int
    run_ms: int
    row: int
    order: int
    zone: int
    p: int
    evidence: int
    threshold: int
    protected: int
    ring: int
    accuracy: int
    speed: int
    closing: int
    wearer_lat: int
    wearer_lon: int
    wearer_accuracy: int
    protected_lat: int
    protected_lon: int
    protected_accuracy: int
    labels: int
    kind: int
    reason: int
    state: int
    previous: int
    fresh: int
    previous_fresh: int
    force: int
    historic: int
    measured: int
    wearer_mechanism: int
    protected_mechanism: int
    steps: int


assert EVENT.names is not None
assert EVENT.names[: len(Event._fields)] == Event._fields

Rows = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]


class World(NamedTuple):
    """All rows, as kernels take them. `links` are the pairs of each person, in runs."""

    persons: Rows
    legs: Rows
    units: Rows
    pairs: Rows
    links: npt.NDArray[np.int32]
    tracks: Rows
    due: Integers
    """When the silence of a person has to be looked at; NEVER_MS if not."""
    floors: Integers
    """A lower bound of `due` per block of persons."""
    clearings: npt.NDArray[np.int32]
    """Where a fix changes nothing for its person, [persons, 8] (geofence.clearing)."""


class Ledger(NamedTuple):
    """What one call did: events out, and the rows as they were, so that it can be undone."""

    events: Rows
    counts: Integers
    person_rows: Rows
    person_index: Integers
    person_due: Integers
    unit_rows: Rows
    unit_index: Integers
    pair_rows: Rows
    pair_index: Integers
    points: Rows
    point_index: Integers


NEVER_MS: Final = 2**62
BLOCK: Final = 512
"""Persons per block of `floors`."""

# Columns of Ledger.counts: rows used, then what happened to fixes.
EVENTS: Final = 0
PERSONS: Final = 1
UNITS: Final = 2
PAIRS: Final = 3
POINTS: Final = 4
FIXES: Final = 5
DUPLICATES: Final = 6
LATE: Final = 7
DOUBTED: Final = 8
FUTURE: Final = 9
UNUSABLE: Final = 10
COALESCED: Final = 11
"""Not part of the state: it decides nothing."""
COUNTS: Final = 12
