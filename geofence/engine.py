"""The engine: fixes and time in, findings out. Pure state, no clock, no network.

Every public method that changes something either returns or raises with the state exactly as it
was. All rows that a call changes are copied first; findings are made before the call counts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.limits import DEFINITIONS_MAX, FIX_BATCH_MAX
from geofence import kernel, moving
from geofence.coalescing import NOTHING_NEWER, newer_of, usable_of
from geofence.docket import Docket, PreparedZone, compile_zones, has_one_shape
from geofence.findings import read_findings
from geofence.forgetting import forget_person
from geofence.geojson import GeoJSONError
from geofence.kernel import FixBatch
from geofence.layout import (
    COALESCED,
    COUNTS,
    DOUBTED,
    DUPLICATES,
    EVENTS,
    FIXES,
    FUTURE,
    LATE,
    NEVER_MS,
    NONE_MS,
    UNUSABLE,
)
from geofence.orders import Order, OrderRejected, Person, RejectReason, Role, Zone, silence_ms
from geofence.quiet import QuietEntries, numbers_of, set_limits
from geofence.silence import due_persons, next_due
from geofence.snapshot import dump_docket, load_docket
from geofence.turning import turn_order, withdraw_pairs
from geofence.verdicts import Finding, OrderKind, Position, VerdictReason
from geofence.zones import ZoneGrid

__all__ = [
    "Definition",
    "Engine",
    "FixBatch",
    "Fixes",
    "OrderRejected",
    "PutMany",
    "RejectReason",
    "Rejected",
    "Role",
]

_PERSON_BITS: Final = 24
_SPAN_MS_MAX: Final = 1 << 38


class Fixes(NamedTuple):
    """What became of all fixes since the engine began."""

    observed: int
    duplicates: int
    late: int
    doubted: int
    from_future: int
    unusable: int
    coalesced: int
    """Since this process began: the only figure that is no part of the state."""


class Rejected(NamedTuple):
    """One definition of many that was not taken: its place among them, and why."""

    place: int
    reason: RejectReason
    detail: str


class PutMany(NamedTuple):
    """What many definitions led to, in their order."""

    findings: list[Finding]
    rejected: list[Rejected]


Definition = Person | Zone | Order


class Engine:
    """Persons, zones, orders and the state of each."""

    def __init__(self) -> None:
        self._docket = Docket()

    # --- definitions --------------------------------------------------------------------------

    def put_person(self, person_id: str, role: Role) -> int:
        """Return the handle of a person, new or known. Raises OrderRejected for too many."""
        return self._docket.put_person(person_id, role)

    def person_handle(self, person_id: str) -> int | None:
        """Return the handle of a person, None for an unknown one."""
        return self._docket.persons.get(person_id)

    def put_zone(self, zone: Zone, now_ms: int, grid: ZoneGrid | None = None) -> list[Finding]:
        """Take a zone or a newer version of it, and judge every order that uses it at this instant.

        `grid` is the zone compiled elsewhere (geofence.zones.build), so that the hot thread does
        not; `zone` then need not have the shape. The same version again is nothing. Raises
        OrderRejected for an older version or a bad geometry.
        """
        prepared = self._docket.prepare_zone(zone, grid)
        with self._atomic():
            self._fire(now_ms)
            found = read_findings(self._docket)
            if prepared is not None:
                self._take_zone(prepared, now_ms)
            return found + read_findings(self._docket)

    def zone_version(self, zone_id: str) -> int | None:
        """Return the version of a zone that counts, None for an unknown zone."""
        return self._docket.zone_set.version(zone_id)

    def put_order(self, order: Order, now_ms: int) -> list[Finding]:
        """Take an order or a newer version of it, and judge it at this instant.

        The same version again is nothing. Raises OrderRejected for an order that refers to nothing,
        is not complete, or is older than the one known.
        """
        is_new = self._docket.prepare_order(order)
        with self._atomic():
            self._fire(now_ms)
            found = read_findings(self._docket)
            if is_new:
                self._take_order(order, now_ms)
            return found + read_findings(self._docket)

    def put_many(self, definitions: Sequence[Definition], now_ms: int) -> PutMany:
        """Take persons, zones and orders in their order, as an import brings them.

        The state and the findings are those of `put_person`, `put_zone` and `put_order` one after
        another; what these would reject is left out and told. Raises ValueError for more than
        DEFINITIONS_MAX.
        """
        if len(definitions) > DEFINITIONS_MAX:
            raise ValueError(f"{len(definitions)} definitions, at most {DEFINITIONS_MAX}")
        docket = self._docket
        grids = self._compiled(definitions)
        told = PutMany([], [])
        persons = docket.tables.persons
        with self._atomic():
            docket.undo.later(lambda: docket.forget_persons(persons))
            due_ms = NONE_MS
            place = 0
            while place < len(definitions):
                definition = definitions[place]
                taken = 1
                try:
                    if isinstance(definition, Person):
                        docket.put_person(definition.id, definition.role)
                    else:
                        prepared = self._prepared(definition, grids.get(place))
                        if due_ms <= now_ms:
                            self._fire(now_ms)
                            told.findings.extend(read_findings(docket))
                            due_ms = NEVER_MS
                        if isinstance(prepared, Order):
                            due_ms = self._take_order(prepared, now_ms)
                        elif prepared is not None:
                            taken = self._take_zones(prepared, definitions, grids, place, now_ms)
                except OrderRejected as error:
                    told.rejected.append(Rejected(place, error.reason, error.detail))
                if docket.undo.ledger.counts[EVENTS]:
                    told.findings.extend(read_findings(docket))
                place += taken
        return told

    def _prepared(
        self, definition: Zone | Order, grid: ZoneGrid | GeoJSONError | None
    ) -> PreparedZone | Order | None:
        if isinstance(definition, Zone):
            return self._docket.prepare_zone(definition, grid)
        return definition if self._docket.prepare_order(definition) else None

    def _compiled(self, definitions: Sequence[Definition]) -> dict[int, ZoneGrid | GeoJSONError]:
        """Compile the zones among definitions that are not known yet."""
        new = {
            place: one
            for place, one in enumerate(definitions)
            if isinstance(one, Zone) and not self._docket.is_old(one)
        }
        return dict(zip(new, compile_zones(list(new.values())), strict=True))

    def _take_zones(
        self,
        first: PreparedZone,
        definitions: Sequence[Definition],
        grids: Mapping[int, ZoneGrid | GeoJSONError],
        place: int,
        now_ms: int,
    ) -> int:
        """Take a zone, and with a new one the new ones that follow it at once; how many."""
        if not first.is_new:
            self._take_zone(first, now_ms)
            return 1
        known = self._docket.zone_set.indexes()
        found = {first.zone.id: (first.zone, first.grid)}
        for zone in islice(definitions, place + 1, None):
            grid = grids.get(place + len(found))
            if not isinstance(zone, Zone) or not isinstance(grid, ZoneGrid):
                break
            if zone.id in known or zone.id in found or not has_one_shape(zone):
                break
            found[zone.id] = (zone, grid)
        zones, compiled = zip(*found.values(), strict=True)
        self._docket.put_new_zones(zones, compiled, now_ms)
        return len(found)

    def _take_zone(self, prepared: PreparedZone, now_ms: int) -> None:
        for entry in self._docket.put_zone(prepared, now_ms):
            turn_order(self._docket, entry, now_ms, VerdictReason.ZONE_CHANGED, seed=True)

    def _take_order(self, order: Order, now_ms: int) -> int:
        """Take an order; return when the silence of one of its persons is due next."""
        docket = self._docket
        known = order.id in docket.orders
        entry, seed = docket.put_order(order)
        persons = [entry.person]
        if order.kind is OrderKind.CONTACT_BAN:
            persons += [docket.persons[name] for name in order.protected_ids]
        due_ms = NEVER_MS
        for person in persons:
            docket.undo.keep_person(docket.tables, person)
            due_ms = min(due_ms, docket.watch_silence(person, silence_ms(order), now_ms))
        withdraw_pairs(docket, entry, now_ms)
        cause = VerdictReason.ORDER_CHANGED if known else None
        turn_order(docket, entry, now_ms, cause, seed=seed)
        return due_ms

    # --- input --------------------------------------------------------------------------------

    def observe(self, fixes: FixBatch, now_ms: int, *, behind: bool = False) -> list[Finding]:
        """Fold a batch of fixes, after everything that time alone made due until `now_ms`.

        Fixes are taken in the order of device time, whatever their order in the batch. `behind`:
        the newest of each person decides for all (geofence.coalescing). Raises ValueError for
        columns that do not fit or persons that are not known.
        """
        columns = _columns(fixes, self._docket.tables.persons)
        order = _by_time(columns)
        numbers = np.concatenate((order, _newer(columns, order, now_ms))) if behind else order
        docket = self._docket
        with self._atomic():
            self._fire(now_ms)
            done = 0
            while True:
                done = kernel.fold(docket.state(), columns, numbers, done, now_ms)
                if done == len(order):
                    break
                self._reserve_for(int(columns.person[order[done]]))
            return read_findings(docket)

    def quiet_entries(
        self,
        fixes: FixBatch,
        ends: npt.NDArray[np.int64],
        times_ms: npt.NDArray[np.int64],
        behind: npt.NDArray[np.bool_] | None = None,
    ) -> QuietEntries:
        """Prepare entries for `fold_quiet`.

        Entry `k` has the fixes from `ends[k - 1]` to before `ends[k]` and the time `times_ms[k]`;
        times do not run back; `behind[k]` as for `observe`. Raises ValueError as `observe` does.
        """
        columns = _columns(fixes, self._docket.tables.persons)
        order = _by_entry_and_time(columns, ends)
        newer = NOTHING_NEWER
        if behind is not None and behind.any():
            sizes = np.diff(ends, prepend=0)
            newer = _newer(
                columns,
                order,
                np.repeat(times_ms, sizes),
                np.repeat(ends - sizes, sizes),
                np.repeat(behind, sizes),
            )
        return QuietEntries(columns, numbers_of(ends, times_ms, order, newer))

    def fold_quiet(self, entries: QuietEntries, first: int, limit_ms: int) -> int:
        """Fold entries from `first` up to one that would tell something; return which that is.

        The state is then that of `advance` and `observe` with each entry before it, and none of
        those would have returned a finding. Stops before `limit_ms`, too.
        """
        docket = self._docket
        edge = docket.next_edge()
        limit_ms = limit_ms if edge is None else min(limit_ms, edge[0])
        set_limits(entries.numbers, limit_ms, docket.tables.persons)
        docket.undo.begin(docket.tables)
        return int(kernel.quiet(docket.state(), entries, first))

    def advance(self, now_ms: int) -> list[Finding]:
        """Fire everything that is due until `now_ms`, each at its own instant."""
        with self._atomic():
            self._fire(now_ms)
            return read_findings(self._docket)

    def next_due_ms(self) -> int | None:
        """Return when `advance` has something to do next, None for never."""
        tables = self._docket.tables
        due = next_due(tables.world, tables.persons)
        edge = self._docket.next_edge()
        if edge is not None:
            due = min(due, edge[0])
        return None if due == NEVER_MS else due

    def last_position(self, person_id: str) -> Position | None:
        """Return the newest believed position of a person. Raises KeyError for nobody known."""
        row = self._docket.tables.world.persons[self._docket.persons[person_id]]
        if row["last_ms"] == NONE_MS:
            return None
        return Position(
            lat_e7=int(row["lat"]),
            lon_e7=int(row["lon"]),
            accuracy_mm=int(row["accuracy"]),
            time_ms=int(row["last_ms"]),
            mechanism=int(row["mechanism"]),
        )

    def forget_persons(self, person_ids: Sequence[str]) -> None:
        """Forget every position of these persons; who is not known is passed over."""
        for person_id in person_ids:
            handle = self._docket.persons.get(person_id)
            if handle is not None:
                forget_person(self._docket.tables, handle)

    def fixes(self) -> Fixes:
        """Return what became of all fixes so far."""
        counts = self._docket.undo.ledger.counts
        assert len(counts) == COUNTS
        return Fixes(
            *(
                int(counts[k])
                for k in (FIXES, DUPLICATES, LATE, DOUBTED, FUTURE, UNUSABLE, COALESCED)
            )
        )

    # --- state --------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Return the whole state; `load` of it goes on bit for bit."""
        return dump_docket(self._docket)

    @classmethod
    def load(cls, raw: bytes) -> "Engine":
        """Return the engine of a dump. Raises ValueError for what is none, or of other rules."""
        engine = cls()
        engine._docket = load_docket(raw)
        return engine

    # --- groups that move -----------------------------------------------------------------------

    def group_of(self, person_ids: Iterable[str]) -> list[str]:
        """Return all who are tied to these persons by orders, and themselves; unknown ones not."""
        return moving.group_of(self._docket, person_ids)

    def give_group(self, person_ids: Iterable[str]) -> tuple[bytes, moving.Definitions]:
        """Return what is known of a closed group, for another engine, and what defined it.

        Changes nothing. Raises KeyError for an unknown person.
        """
        return moving.give(self._docket, person_ids)

    def take_group(self, raw: bytes, now_ms: int, also: Callable[[], None]) -> None:
        """Go on with a group that another engine gave; nothing is found by it.

        `also` is what has to succeed with it. When anything raises, all is as before: ValueError
        for bytes of another layout or other rules, OrderRejected for what there is no room for.
        """
        docket = self._docket
        persons = docket.tables.persons
        with self._atomic():
            docket.undo.later(lambda: docket.forget_persons(persons))
            moving.take(docket, raw, lambda order: self._take_order(order, now_ms))
            read_findings(docket)  # what taking the orders told, the other engine has told
            also()

    # --- inside -------------------------------------------------------------------------------

    @contextmanager
    def _atomic(self) -> Iterator[None]:
        docket = self._docket
        docket.undo.begin(docket.tables)
        try:
            yield
        except BaseException:
            docket.undo.rollback(docket.tables)
            raise

    def _fire(self, now_ms: int) -> None:
        """Fire silences and edges until `now_ms`, in the order of their instants."""
        docket = self._docket
        while True:
            edge = docket.next_edge()
            if edge is None or edge[0] > now_ms:
                self._fire_silences(now_ms)
                return
            self._fire_silences(edge[0])
            turn_order(docket, edge[1], edge[0], None, seed=False)

    def _fire_silences(self, until_ms: int) -> None:
        docket = self._docket
        while True:
            due = due_persons(docket.tables.world, docket.tables.persons, until_ms)
            if len(due) == 0:
                return
            done = 0
            while True:
                done = kernel.silence(docket.state(), due, done)
                if done == len(due):
                    break
                self._reserve_for(int(due[done]))

    def _reserve_for(self, person: int) -> None:
        """Make room in the ledger for at least one more step of a person."""
        row = self._docket.tables.world.persons[person]
        self._docket.undo.reserve(2 * int(row["units"]) + 6 * int(row["pairs"]) + 8)


def _columns(fixes: FixBatch, persons: int) -> FixBatch:
    """Return the columns as contiguous int64 of one length. Raises ValueError."""
    columns = FixBatch(*(np.ascontiguousarray(column, np.int64) for column in fixes))
    count = len(columns.person)
    if any(column.shape != (count,) for column in columns):
        raise ValueError("columns of fixes of different lengths")
    if count > FIX_BATCH_MAX:
        raise ValueError(f"{count} fixes in one batch, at most {FIX_BATCH_MAX}")
    if count and (columns.person.min() < 0 or columns.person.max() >= persons):
        raise ValueError("a fix of a person that is not known")
    return columns


def _newer(
    fixes: FixBatch,
    order: npt.NDArray[np.int64],
    now_ms: npt.NDArray[np.int64] | int,
    first: npt.NDArray[np.int64] | None = None,
    behind: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Return what is newer than each fix (geofence.coalescing), for fixes in an order.

    `now_ms`, where its entry begins, and whether that was taken late, are of each place.
    """
    rows = FixBatch._make(column[order] for column in fixes)
    entry = np.zeros(len(order), np.int64) if first is None else first
    late = np.ones(len(order), np.bool_) if behind is None else behind
    usable = usable_of(rows, now_ms)
    return newer_of(rows.person, np.minimum(rows.time_ms, now_ms), usable, late, entry)


def _by_entry_and_time(fixes: FixBatch, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the permutation by entry, and within each as `_by_time`."""
    count = len(fixes.person)
    sizes = np.diff(ends, prepend=0)
    if count == 0 or sizes.max() <= 1:
        return np.arange(count, dtype=np.int64)
    entry = np.repeat(np.arange(len(ends), dtype=np.int64), sizes)
    order = np.lexsort((fixes.person, fixes.time_ms, entry))
    person, time_ms = fixes.person[order], fixes.time_ms[order]
    same = (person[1:] == person[:-1]) & (time_ms[1:] == time_ms[:-1])
    if not (same & (entry[1:] == entry[:-1])).any():
        return order
    return np.lexsort((*_by_content(fixes), entry))


def _by_content(fixes: FixBatch) -> tuple[npt.NDArray[np.integer[Any]], ...]:
    """Return the columns that order fixes, the last first."""
    return (
        fixes.mechanism,
        fixes.heading_cdeg,
        fixes.speed_cm_s,
        fixes.accuracy_dm,
        fixes.lon_e7,
        fixes.lat_e7,
        fixes.person,
        fixes.time_ms,
    )


def _by_time(fixes: FixBatch) -> npt.NDArray[np.int64]:
    """Return the permutation by device time, person and content: one order for one set of fixes."""
    count = len(fixes.person)
    if count == 0:
        return np.empty(0, np.int64)
    first = int(fixes.time_ms.min())
    if int(fixes.time_ms.max()) - first >= _SPAN_MS_MAX:
        return np.lexsort(_by_content(fixes))
    key = (fixes.time_ms - first) << _PERSON_BITS | fixes.person
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():
        # Only fixes of one person and time have to be told apart by what they say.
        among = np.flatnonzero(np.append(same, False) | np.append(False, same))
        rows = order[among]
        content = (column[rows] for column in _by_content(fixes)[:-2])
        order[among] = rows[np.lexsort((*content, key[rows]))]
    return order
