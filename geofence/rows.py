"""The arrays of the engine: growth, runs of rows per person, and the way back after a failure."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from geofence.clearing import CLEARING_COLUMNS, NO_CLEARING
from geofence.kernels.arrays import aligned_zeros
from geofence.layout import (
    BLOCK,
    COUNTS,
    EVENT,
    FIXES,
    LEG,
    NEVER_MS,
    NONE_MS,
    PAIR_ROW,
    PAIRS,
    PERSON,
    PERSONS,
    POINT,
    POINTS,
    UNIT_ROW,
    UNITS,
    Ledger,
    Rows,
    World,
)
from geofence.parameters import SPEED_UNKNOWN, TRACK_POINTS

_FIRST_ROWS: Final = 64
_LEDGER_ROWS: Final = 4096


def _grown(array: Rows, needed: int) -> Rows:
    """Return an array of at least `needed` rows that begins with the rows of `array`."""
    size = max(needed, 2 * len(array))
    bigger = aligned_zeros((size, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def no_clearings(count: int) -> npt.NDArray[np.int32]:
    """Return the clearings of persons of whom nothing is known."""
    clearings: npt.NDArray[np.int32] = aligned_zeros((count, CLEARING_COLUMNS), np.int32)
    clearings[:] = NO_CLEARING
    return clearings


class Tables:
    """All rows, and how many of each are used. `world` is what kernels take."""

    def __init__(self) -> None:
        self.persons = 0
        self.legs = 0
        self.units = 0
        self.pairs = 0
        self.links = 0
        self.tracks = 0
        self.world = World(
            persons=aligned_zeros(_FIRST_ROWS, PERSON),
            legs=np.zeros(_FIRST_ROWS, LEG),
            units=np.zeros(_FIRST_ROWS, UNIT_ROW),
            pairs=np.zeros(_FIRST_ROWS, PAIR_ROW),
            links=np.zeros(_FIRST_ROWS, np.int32),
            tracks=np.zeros((1, TRACK_POINTS), POINT),
            due=np.full(_FIRST_ROWS, NEVER_MS, np.int64),
            floors=np.full(1, NEVER_MS, np.int64),
            clearings=no_clearings(_FIRST_ROWS),
        )

    def add_person(self) -> int:
        """Append a person nobody has heard of and return the index."""
        index = self.persons
        if index >= len(self.world.persons):
            persons = _grown(self.world.persons, index + 1)
            due = np.full(len(persons), NEVER_MS, np.int64)
            due[:index] = self.world.due[:index]
            floors = np.full((len(persons) // BLOCK) + 1, NEVER_MS, np.int64)
            floors[: len(self.world.floors)] = self.world.floors
            clearings = no_clearings(len(persons))
            clearings[:index] = self.world.clearings[:index]
            self.world = self.world._replace(
                persons=persons, due=due, floors=floors, clearings=clearings
            )
        row = self.world.persons[index]
        row["last_ms"] = row["seen_ms"] = row["doubt_ms"] = NONE_MS
        row["near_ms"] = row["far_ms"] = row["requested_ms"] = row["hour_ms"] = NONE_MS
        row["since_ms"] = NONE_MS
        row["speed"] = SPEED_UNKNOWN
        row["track"] = row["heading"] = -1
        self.persons = index + 1
        return index

    def forget_persons(self, count: int) -> None:
        """Forget all but the first `count` persons, as if they had never been."""
        self.world.persons[count : self.persons] = np.zeros((), PERSON)
        self.world.due[count : self.persons] = NEVER_MS
        self.world.clearings[count : self.persons] = NO_CLEARING
        self.persons = count

    @property
    def used(self) -> tuple[int, int, int, int, int]:
        """How many legs, units, pairs, links and tracks are in use."""
        return self.legs, self.units, self.pairs, self.links, self.tracks

    @used.setter
    def used(self, used: tuple[int, int, int, int, int]) -> None:
        self.legs, self.units, self.pairs, self.links, self.tracks = used

    def units_of(self, person: int) -> Rows:
        """Return the units of a person, a view."""
        row = self.world.persons[person]
        first = int(row["unit0"])
        return self.world.units[first : first + int(row["units"])]

    def legs_of(self, person: int) -> Rows:
        """Return the legs of a person, a view."""
        row = self.world.persons[person]
        first = int(row["leg0"])
        return self.world.legs[first : first + int(row["legs"])]

    def links_of(self, person: int) -> Rows:
        """Return the pairs of a person, a view."""
        row = self.world.persons[person]
        first = int(row["pair0"])
        return self.world.links[first : first + int(row["pairs"])]

    def append_unit(self, person: int, unit: Rows, legs: Rows) -> None:
        """Give a person one more unit with its legs. Keep the row of the person before."""
        row = self.world.persons[person]
        units, old_legs = int(row["units"]), int(row["legs"])
        if units + 1 > row["unit_room"] or old_legs + len(legs) > row["leg_room"]:
            if units == 0:
                self._new_run(person, 1, len(legs))
            else:
                self.rewrite_units(
                    person, self.units_of(person), self.legs_of(person), 1, len(legs)
                )
        # Rows past those in use are nobody's: writing them needs no way back.
        first, leg = int(row["unit0"]), int(row["leg0"])
        self.world.clearings[person] = NO_CLEARING
        unit["leg"] = old_legs
        unit["legs"] = len(legs)
        legs["unit"] = units
        self.world.units[first + units] = unit
        self.world.legs[leg + old_legs : leg + old_legs + len(legs)] = legs
        row["units"] = units + 1
        row["legs"] = old_legs + len(legs)

    def rewrite_units(
        self, person: int, units: Rows, legs: Rows, more_units: int = 0, more_legs: int = 0
    ) -> None:
        """Give a person a new run of units and legs; the old run stays and can come back."""
        units, legs = units.copy(), legs.copy()
        self._new_run(person, len(units) + more_units, len(legs) + more_legs)
        row = self.world.persons[person]
        first, leg = int(row["unit0"]), int(row["leg0"])
        self.world.units[first : first + len(units)] = units
        self.world.legs[leg : leg + len(legs)] = legs
        row["units"] = len(units)
        row["legs"] = len(legs)

    def _new_run(self, person: int, units: int, legs: int) -> None:
        # Rooms double: a person's rows move a few times and waste at most as much as they use.
        unit_room = 0 if units == 0 else max(1, 1 << (units - 1).bit_length())
        leg_room = 0 if legs == 0 else max(2, 1 << (legs - 1).bit_length())
        if self.units + unit_room > len(self.world.units):
            grown = _grown(self.world.units, self.units + unit_room)
            self.world = self.world._replace(units=grown)
        if self.legs + leg_room > len(self.world.legs):
            self.world = self.world._replace(legs=_grown(self.world.legs, self.legs + leg_room))
        row = self.world.persons[person]
        self.world.clearings[person] = NO_CLEARING
        row["unit0"], row["unit_room"] = self.units, unit_room
        row["leg0"], row["leg_room"] = self.legs, leg_room
        self.units += unit_room
        self.legs += leg_room

    def set_links(self, person: int, pairs: list[int]) -> None:
        """Give a person a new list of pairs. Rows in use are never written over."""
        row = self.world.persons[person]
        old = self.links_of(person).tolist()
        if pairs[: len(old)] != old or len(pairs) > row["pair_room"]:
            room = 0 if not pairs else max(2, 1 << (len(pairs) - 1).bit_length())
            if self.links + room > len(self.world.links):
                self.world = self.world._replace(links=_grown(self.world.links, self.links + room))
            row["pair0"], row["pair_room"] = self.links, room
            self.links += room
        first = int(row["pair0"])
        self.world.links[first : first + len(pairs)] = pairs
        row["pairs"] = len(pairs)
        if pairs and row["track"] < 0:
            row["track"] = self._add_track()

    def add_pair(self) -> int:
        """Append an empty pair and return its index."""
        index = self.pairs
        if index >= len(self.world.pairs):
            self.world = self.world._replace(pairs=_grown(self.world.pairs, index + 1))
        self.world.pairs[index] = np.zeros((), PAIR_ROW)
        self.pairs = index + 1
        return index

    def _add_track(self) -> int:
        index = self.tracks
        if index >= len(self.world.tracks):
            self.world = self.world._replace(tracks=_grown(self.world.tracks, index + 1))
        self.world.tracks[index] = np.zeros((), POINT)
        self.world.tracks[index]["time_ms"] = NONE_MS
        self.tracks = index + 1
        return index

    def lower_floors(self) -> None:
        """Forget the lower bounds of silence; the next look finds them again."""
        self.world.floors[:] = 0


class Undo:
    """What one call changed. `rollback` puts everything back as it was at `begin`."""

    def __init__(self) -> None:
        self.ledger = Ledger(
            events=np.zeros(_LEDGER_ROWS, EVENT),
            counts=np.zeros(COUNTS, np.int64),
            person_rows=np.zeros(_LEDGER_ROWS, PERSON),
            person_index=np.zeros(_LEDGER_ROWS, np.int64),
            person_due=np.zeros(_LEDGER_ROWS, np.int64),
            unit_rows=np.zeros(_LEDGER_ROWS, UNIT_ROW),
            unit_index=np.zeros(_LEDGER_ROWS, np.int64),
            pair_rows=np.zeros(_LEDGER_ROWS, PAIR_ROW),
            pair_index=np.zeros(_LEDGER_ROWS, np.int64),
            points=np.zeros(_LEDGER_ROWS, POINT),
            point_index=np.zeros(2 * _LEDGER_ROWS, np.int64),
        )
        self._steps: list[Callable[[], None]] = []
        self._tallies = np.zeros(COUNTS, np.int64)
        self._used = (0, 0, 0, 0, 0)

    def begin(self, tables: Tables) -> None:
        """Start anew; counts of fixes go on, they are part of the state."""
        self.ledger.counts[:FIXES] = 0
        self._steps.clear()
        self._tallies[:] = self.ledger.counts
        self._used = tables.used

    def later(self, step: Callable[[], None]) -> None:
        """Add a step of the way back, for what is not a row."""
        self._steps.append(step)

    def reserve(self, needed: int) -> None:
        """Make room for `needed` more rows of every kind."""
        ledger = self.ledger
        used = max(ledger.counts[:FIXES].tolist())
        if used + needed <= len(ledger.events):
            return
        grown = {
            name: _grown(array, 2 * (used + needed) if name == "point_index" else used + needed)
            for name, array in ledger._asdict().items()
            if name != "counts"
        }
        # All tables keep the same length, whatever each was grown to.
        length = min(len(array) for name, array in grown.items() if name != "point_index")
        assert length >= used + needed
        self.ledger = Ledger(counts=ledger.counts, **grown)

    def keep_person(self, tables: Tables, person: int) -> None:
        """Copy the row of a person, before Python changes it."""
        self.reserve(1)
        k = int(self.ledger.counts[PERSONS])
        self.ledger.person_rows[k] = tables.world.persons[person]
        self.ledger.person_index[k] = person
        self.ledger.person_due[k] = tables.world.due[person]
        self.ledger.counts[PERSONS] = k + 1

    def keep_unit(self, tables: Tables, unit: int) -> None:
        """Copy the row of a unit."""
        self.reserve(1)
        k = int(self.ledger.counts[UNITS])
        self.ledger.unit_rows[k] = tables.world.units[unit]
        self.ledger.unit_index[k] = unit
        self.ledger.counts[UNITS] = k + 1

    def keep_pair(self, tables: Tables, pair: int) -> None:
        """Copy the row of a pair."""
        self.reserve(1)
        k = int(self.ledger.counts[PAIRS])
        self.ledger.pair_rows[k] = tables.world.pairs[pair]
        self.ledger.pair_index[k] = pair
        self.ledger.counts[PAIRS] = k + 1

    def rollback(self, tables: Tables) -> None:
        """Put back every row, newest first, then everything else."""
        world, ledger = tables.world, self.ledger
        for k in range(int(ledger.counts[POINTS]) - 1, -1, -1):
            track, slot = ledger.point_index[2 * k : 2 * k + 2]
            world.tracks[track, slot] = ledger.points[k]
        for k in range(int(ledger.counts[PAIRS]) - 1, -1, -1):
            world.pairs[ledger.pair_index[k]] = ledger.pair_rows[k]
        for k in range(int(ledger.counts[UNITS]) - 1, -1, -1):
            world.units[ledger.unit_index[k]] = ledger.unit_rows[k]
        for k in range(int(ledger.counts[PERSONS]) - 1, -1, -1):
            person = ledger.person_index[k]
            world.persons[person] = ledger.person_rows[k]
            world.due[person] = ledger.person_due[k]
        tables.lower_floors()
        tables.used = self._used
        for step in reversed(self._steps):
            step()
        ledger.counts[:] = self._tallies
