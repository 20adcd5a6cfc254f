"""The one kernel that Python calls. It holds everything that is compiled.

Every entry would otherwise carry its own copy of the same helpers, and compiling is what a first
start waits for. Python calls the functions below, which name the tasks.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.compile import jit
from geofence.fold import fold_fixes
from geofence.holding import (
    ask_edge,
    ask_pair_edge,
    tell_turned_pair,
    tell_unit,
    turn_pair,
    turn_unit,
)
from geofence.integers import wide
from geofence.kernels.arrays import ZoneArrays
from geofence.layout import Integers, Ledger, World
from geofence.quiet import QuietEntries, fold_quiet
from geofence.silence import fire_silences

_FOLD: Final = 0
_SILENCE: Final = 1
_TURN_UNIT: Final = 2
_TELL_UNIT: Final = 3
_ASK_UNIT: Final = 4
_TURN_PAIR: Final = 5
_TELL_PAIR: Final = 6
_ASK_PAIR: Final = 7
_QUIET: Final = 8


class FixBatch(NamedTuple):
    """Fixes as columns of one length, in any order. Positions in degrees x 1e7, times in Unix ms.

    `person` are handles of `Engine.person_handle`; `accuracy_dm` the 68 % radius; `speed_cm_s` and
    `heading_cdeg` 65535 when unknown; `mechanism` as in contract version 1.
    """

    person: npt.NDArray[np.int64]
    time_ms: npt.NDArray[np.int64]
    lat_e7: npt.NDArray[np.integer[Any]]
    lon_e7: npt.NDArray[np.integer[Any]]
    accuracy_dm: npt.NDArray[np.integer[Any]]
    speed_cm_s: npt.NDArray[np.integer[Any]]
    heading_cdeg: npt.NDArray[np.integer[Any]]
    mechanism: npt.NDArray[np.integer[Any]]


_NO_FIXES: Final = FixBatch(*(np.empty(0, np.int64) for _ in FixBatch._fields))


class State(NamedTuple):
    """What every task works on."""

    world: World
    ledger: Ledger
    zones: ZoneArrays


@jit
def work(
    task: int,
    world: World,
    ledger: Ledger,
    zones: Any,
    fixes: Any,
    numbers: Integers,
    first: int,
    now_ms: int,
) -> int:
    """Do one task; `numbers` are its arguments, or the rows it goes through from `first`."""
    if task == _FOLD:
        count = fixes.person.size
        order, newer = numbers[:count], numbers[count:]
        return fold_fixes(world, ledger, zones, fixes, order, newer, first, now_ms)
    if task == _SILENCE:
        return fire_silences(world, ledger, zones, numbers, first)
    if task == _QUIET:
        return fold_quiet(world, ledger, zones, fixes, numbers, first)
    row = numbers[0]
    if task == _TURN_UNIT:
        return turn_unit(
            world,
            ledger,
            zones,
            numbers[1],
            row,
            now_ms,
            numbers[2] != 0,
            numbers[3] != 0,
            numbers[4] != 0,
        )
    if task == _TELL_UNIT:
        tell_unit(world, ledger, zones, numbers[1], row, now_ms, numbers[2], numbers[3] != 0)
    elif task == _ASK_UNIT:
        ask_edge(world, ledger, zones, numbers[1], row, now_ms)
    elif task == _TURN_PAIR:
        return turn_pair(world, row, now_ms, numbers[1] != 0, numbers[2] != 0, numbers[3] != 0)
    elif task == _TELL_PAIR:
        tell_turned_pair(world, ledger, row, now_ms, numbers[1])
    elif task == _ASK_PAIR:
        ask_pair_edge(world, ledger, row, now_ms)
    return wide(0)


def fold(state: State, fixes: FixBatch, numbers: Integers, first: int, now_ms: int) -> int:
    """Fold fixes from `first`; return how far the ledger had room.

    `numbers` are their order and, of an entry that was taken while the intake was behind, what is
    newer than each (geofence.coalescing).
    """
    return work(_FOLD, *state, fixes, numbers, first, now_ms)


def quiet(state: State, entries: QuietEntries, first: int) -> int:
    """Fold entries that tell nothing (geofence.quiet), from `first`; return which is the next."""
    return work(_QUIET, *state, entries.fixes, entries.numbers, first, 0)


def silence(state: State, persons: Integers, first: int) -> int:
    """Fire the due silences of persons, from `first`; return how far the ledger had room."""
    return work(_SILENCE, *state, _NO_FIXES, persons, first, 0)


def _call(state: State, task: int, at_ms: int, *numbers: int) -> int:
    return work(task, *state, _NO_FIXES, np.array(numbers, np.int64), 0, at_ms)


def turned_unit(
    state: State, unit: int, person: int, at_ms: int, *, force: bool, is_open: bool, seed: bool
) -> int:
    """Set force and hours of a unit; return what it then shows (geofence.holding.turn_unit)."""
    return _call(state, _TURN_UNIT, at_ms, unit, person, force, is_open, seed)


def told_unit(state: State, unit: int, person: int, at_ms: int, reason: int, *, ask: bool) -> None:
    """Tell what a unit shows."""
    _call(state, _TELL_UNIT, at_ms, unit, person, reason, ask)


def asked_unit(state: State, unit: int, person: int, at_ms: int) -> None:
    """Ask for a fix where an edge had to be judged with an old or doubtful position."""
    _call(state, _ASK_UNIT, at_ms, unit, person)


def turned_pair(
    state: State, pair: int, at_ms: int, *, force: bool, is_open: bool, seed: bool
) -> int:
    """Set force and hours of a pair; return what it then shows."""
    return _call(state, _TURN_PAIR, at_ms, pair, force, is_open, seed)


def told_pair(state: State, pair: int, at_ms: int, reason: int) -> None:
    """Judge a pair at an edge and tell it, with `reason` unless that is -1."""
    _call(state, _TELL_PAIR, at_ms, pair, reason)


def asked_pair(state: State, pair: int, at_ms: int) -> None:
    """Ask both of a pair for a fix after an edge."""
    _call(state, _ASK_PAIR, at_ms, pair)
