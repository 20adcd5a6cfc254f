"""Folding many entries of a journal that tell nothing, in one call.

Nearly every entry of a journal changes rows and tells nothing. The kernel folds one after another,
each at its own time, the silences that become due before it first, and stops before one that would
tell something, needs more room, or lies behind an edge: its rows are put back, and it is folded in
the usual way. So the state after `n` entries is that of `n` calls of `advance` and `observe`.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from afstand.compile import jit_part
from geofence.fold import fetch_ahead, fold_fixes
from geofence.integers import wide
from geofence.layout import (
    BLOCK,
    EVENTS,
    FIXES,
    NEVER_MS,
    PAIRS,
    PERSONS,
    POINTS,
    UNITS,
    Integers,
    Ledger,
    World,
)
from geofence.ledger import keep_person
from geofence.silence import fire_silence, has_room

_DUE_MAX = 64
"""Silences due at one instant that are fired here."""

_FEW = 12
"""Fixes of an entry that the fold itself does not fetch ahead far enough."""

# What `numbers` holds: four numbers, room for the due persons and for counts, then per entry the
# end of its fixes and its time, then the order of the fixes, then what is newer than each, if any
# entry was taken while the intake was behind (geofence.coalescing).
_ENTRIES = 0
_LIMIT_MS = 1
_PERSONS = 2
_DUE = 4
_TALLIES = _DUE + _DUE_MAX
_TALLY_COUNT = 7
HEAD: Final = _TALLIES + _TALLY_COUNT


class QuietEntries(NamedTuple):
    """Entries with their fixes, prepared for the kernel (Engine.quiet_entries)."""

    fixes: Any
    numbers: Integers


def numbers_of(ends: Integers, times_ms: Integers, order: Integers, newer: Integers) -> Integers:
    """Return the arguments of the kernel as it takes them."""
    head = np.zeros(HEAD, np.int64)
    head[_ENTRIES] = len(ends)
    return np.concatenate((head, ends, times_ms, order, newer))


def set_limits(numbers: Integers, limit_ms: int, persons: int) -> None:
    """Set what differs from call to call."""
    numbers[_LIMIT_MS], numbers[_PERSONS] = limit_ms, persons


@jit_part
def fold_quiet(
    world: World, ledger: Ledger, zones: Any, fixes: Any, numbers: Integers, first: int
) -> int:
    """Fold entries from `first` until one tells something; return which is the next."""
    entries = numbers[_ENTRIES]
    ends = numbers[HEAD : HEAD + entries]
    times = numbers[HEAD + entries : HEAD + 2 * entries]
    count = fixes.person.size
    order = numbers[HEAD + 2 * entries : HEAD + 2 * entries + count]
    newer = numbers[HEAD + 2 * entries + count :]
    due = numbers[_DUE:_TALLIES]
    at = wide(ends[first - 1]) if first > 0 else 0
    for k in range(first, entries):
        now_ms = wide(times[k])
        if now_ms >= numbers[_LIMIT_MS]:
            return wide(k)
        for column in range(FIXES):
            ledger.counts[column] = 0
        for column in range(_TALLY_COUNT):
            numbers[_TALLIES + column] = ledger.counts[FIXES + column]
        done = fire_due(world, ledger, zones, due, numbers[_PERSONS], now_ms)
        end = wide(ends[k])
        if done and end > at:
            stays = wide(0)
            for i in range(at, min(end, at + _FEW)):
                stays = fetch_ahead(world, zones, fixes, order, i, stays)
            mine, after = order[at:end], newer[at:end]
            done = fold_fixes(world, ledger, zones, fixes, mine, after, 0, now_ms) == end - at
        at = end
        if not done or ledger.counts[EVENTS] != 0:
            take_back(world, ledger, numbers)
            return wide(k)
    return wide(entries)


@jit_part
def fire_due(
    world: World, ledger: Ledger, zones: Any, due: Integers, persons: int, now_ms: int
) -> bool:
    """Fire the silences that are due, by time and number, as Engine.advance does.

    False: too many, or no room; what was fired stands in the ledger.
    """
    while True:
        count = find_due(world, due, persons, now_ms)
        if count == 0:
            return True
        if count < 0:
            return False
        for k in range(count):
            person = wide(due[k])
            if not has_room(world, ledger, person):
                return False
            keep_person(world, ledger, person)
            fire_silence(world, ledger, zones, person, wide(world.due[person]))


@jit_part
def find_due(world: World, due: Integers, persons: int, now_ms: int) -> int:
    """Write the persons that are due into `due`, in their order; return how many, -1 too many."""
    count = 0
    blocks = (persons + BLOCK - 1) // BLOCK
    for block in range(blocks):
        if world.floors[block] > now_ms:
            continue
        earliest = NEVER_MS
        for person in range(block * BLOCK, min((block + 1) * BLOCK, persons)):
            due_ms = world.due[person]
            earliest = min(earliest, due_ms)
            if due_ms <= now_ms:
                if count == _DUE_MAX:
                    return wide(-1)
                place = count
                while place > 0 and world.due[due[place - 1]] > due_ms:
                    due[place] = due[place - 1]
                    place -= 1
                due[place] = person
                count += 1
        if earliest > now_ms:
            world.floors[block] = earliest
    return wide(count)


@jit_part
def take_back(world: World, ledger: Ledger, numbers: Integers) -> None:
    """Put back the rows of one entry, newest first, and its counts."""
    counts = ledger.counts
    for k in range(counts[POINTS] - 1, -1, -1):
        world.tracks[ledger.point_index[2 * k], ledger.point_index[2 * k + 1]] = ledger.points[k]
    for k in range(counts[PAIRS] - 1, -1, -1):
        world.pairs[ledger.pair_index[k]] = ledger.pair_rows[k]
    for k in range(counts[UNITS] - 1, -1, -1):
        world.units[ledger.unit_index[k]] = ledger.unit_rows[k]
    for k in range(counts[PERSONS] - 1, -1, -1):
        person = ledger.person_index[k]
        world.persons[person] = ledger.person_rows[k]
        world.due[person] = ledger.person_due[k]
        block = person // BLOCK
        world.floors[block] = min(world.floors[block], world.due[person])
    for column in range(FIXES):
        counts[column] = 0
    for column in range(_TALLY_COUNT):
        counts[FIXES + column] = numbers[_TALLIES + column]
