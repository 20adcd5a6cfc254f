"""One decision a person for a journal entry that was taken while the intake was behind.

Such an entry may hold several fixes of a person that waited somewhere. All of them are evidence, in
the order of device time, as ever. But only the newest believed one decides what is told and asked:
the older ones' warnings, ends and requests are of a moment that is over. What makes things worse is
told all the same, by whichever fix shows it (geofence.areas.is_worse), so that no breach is found
later than by fixes that come one by one.

A fix leaves the decision to the next one of its person in the entry when that will be believed;
where the next one is a doubted jump, it decides itself. So there is one that decides behind every
one that does not.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from afstand.compile import jit_inline
from geofence.integers import wide
from geofence.layout import COALESCED, LABEL_COALESCED, Integers, Ledger
from geofence.ledger import accuracy_of
from geofence.motion import displacement_mm, implausible
from geofence.parameters import FUTURE_MAX_MS

LAT_MAX = 900_000_000
LON_MAX = 1_800_000_000
# What `newer` holds of each place in the order of the fold: the place of the next fix of its person
# shifted by one, and a bit for one that an older one has left the decision to; that there is none;
# or that its entry was taken in time, when others of the same call were not.
_NONE = -2
_IN_TIME = -4
_STANDS = 1
NOTHING_NEWER = np.zeros(0, np.int64)
"""For entries that were taken in time: nobody leaves the decision to anybody."""


def newer_of(
    person: npt.NDArray[np.int64],
    time_ms: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
    behind: npt.NDArray[np.bool_],
    entry: npt.NDArray[np.int64],
) -> Integers:
    """Return for every fix the place of the next one of its person in its entry, as kernels want.

    The columns are in the order of the fold; `time_ms` as the fold counts it, `usable` False for
    what it does not count, `behind` for an entry that was taken in time; `entry` is the place of
    the first fix of the entry, from which places count.
    """
    newer = np.where(behind, np.int64(_NONE), np.int64(_IN_TIME))
    rows = np.flatnonzero(usable & behind)
    if len(rows) < 2:
        return newer
    rows = rows[np.lexsort((rows, time_ms[rows], person[rows], entry[rows]))]
    differs = (np.diff(person[rows]) != 0) | (np.diff(entry[rows]) != 0)
    steps = np.flatnonzero(differs | (np.diff(time_ms[rows]) != 0)) + 1
    # Fixes of one time look to the first one of the next time, unless that is somebody else's.
    after = np.append(steps, len(rows))[np.searchsorted(steps, np.arange(len(rows)), "right")]
    last = after == len(rows)
    after[last] = 0
    same = ~last & (person[rows[after]] == person[rows]) & (entry[rows[after]] == entry[rows])
    newer[rows[same]] = (rows[after[same]] - entry[rows[same]]) << 1
    return newer


def usable_of(fixes: Any, now_ms: npt.NDArray[np.int64] | int) -> npt.NDArray[np.bool_]:
    """Return which fixes the fold counts at all (geofence.fold.fold_fixes)."""
    near = (np.abs(fixes.lat_e7) <= LAT_MAX) & (np.abs(fixes.lon_e7) <= LON_MAX)
    timely = (fixes.time_ms > 0) & (fixes.time_ms <= now_ms + FUTURE_MAX_MS)
    found: npt.NDArray[np.bool_] = near & timely
    return found


@jit_inline
def coalesce(
    ledger: Ledger,
    fixes: Any,
    order: Integers,
    newer: Integers,
    k: int,
    doubted: bool,
    time_ms: int,
    lat: int,
    lon: int,
    accuracy: int,
    now_ms: int,
) -> tuple[bool, bool, int]:
    """Return whether the intake was behind, whether a fix waits for a newer one, and its label.

    Behind a doubted one the next one is believed: it fits what was before, or is the second in a
    row that does not.
    """
    if newer.size == 0 or newer[k] == _IN_TIME:
        return False, False, wide(0)
    label = wide(LABEL_COALESCED) if newer[k] & _STANDS and not doubted else wide(0)
    if newer[k] < 0:
        return True, False, label
    place = wide(newer[k]) >> 1
    i = order[place]
    if not doubted:
        moved = displacement_mm(lat, lon, wide(fixes.lat_e7[i]), wide(fixes.lon_e7[i]))
        since_ms = min(wide(fixes.time_ms[i]), now_ms) - time_ms
        accuracy_next = accuracy_of(wide(fixes.accuracy_dm[i]), wide(fixes.mechanism[i]))
        if implausible(moved, since_ms, accuracy, accuracy_next):
            return True, False, label
    newer[place] = newer[place] | _STANDS
    ledger.counts[COALESCED] += 1
    return True, True, wide(0)
