"""The docket: persons, zones and orders by name, their rows, and the edges at which orders turn.

Everything here is Python and happens on a change: a person, zone or order put, a window that opens,
a validity that ends. Fixes never come here. Every method either ends or raises before the caller's
transaction commits; whatever is not a row has its way back in the undo.
"""

import heapq
import json
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from afstand.limits import (
    ORDERS_PER_PERSON_MAX,
    PAIRS_PER_PERSON_MAX,
    PERSONS_MAX,
    ZONES_PER_PERSON_MAX,
)
from geofence.bounds import widen
from geofence.decision import UNKNOWN
from geofence.geojson import GeoJSONError
from geofence.kernel import State
from geofence.kernels.arrays import ZoneArrays
from geofence.layout import (
    AREA,
    BLOCK,
    EXIT,
    FRESH,
    LEG,
    LOCATION,
    NEVER_MS,
    NONE_MS,
    PAIR_ROW,
    UNIT_ROW,
    Rows,
)
from geofence.orders import (
    Known,
    Order,
    OrderRejected,
    Presence,
    RejectReason,
    Role,
    Zone,
    next_edge_ms,
    problems,
    silence_ms,
)
from geofence.parameters import (
    THRESHOLDS,
    TOLERANCE_DENOMINATOR,
    TOLERANCE_NUMERATOR,
)
from geofence.rows import Tables, Undo
from geofence.verdicts import OrderKind, Terms
from geofence.zones import Circle, ZoneGrid, ZoneSet, build_many, source_of


class OrderEntry(msgspec.Struct, gc=False):
    """An order and where its rows are. `pairs` runs beside `order.protected_ids`.

    `gone` are the pairs that its last change took out of it.
    """

    order: Order
    index: int
    person: int
    pairs: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    edge_ms: int = NEVER_MS
    told: tuple[Order, Terms] | None = None
    """What verdicts said last of the order, and by which version of it."""


class PreparedZone(NamedTuple):
    """A zone that has been checked and compiled."""

    zone: Zone
    grid: ZoneGrid
    is_new: bool


class Docket:
    """Names to rows and back."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.undo = Undo()
        self.zone_set = ZoneSet()
        self.zone_arrays: ZoneArrays = self.zone_set.arrays()
        self.names: list[str] = []
        self.roles: list[Role] = []
        self.persons: dict[str, int] = {}
        self.zone_texts: dict[int, str] = {}
        """What zones are called, by their index, where they are called anything."""
        self.users: dict[int, array[int]] = {}
        """Orders by index that refer to a zone, by its index: nothing the collector walks over."""
        self.entries: list[OrderEntry] = []
        self.orders: dict[str, int] = {}
        self._edges: list[tuple[int, int]] = []

    def state(self) -> State:
        """Return what kernels work on; take it anew after anything was put."""
        return State(self.tables.world, self.undo.ledger, self.zone_arrays)

    # --- persons ------------------------------------------------------------------------------

    def put_person(self, person_id: str, role: Role) -> int:
        """Return the handle of a person, who is new or known. A known one keeps the first role."""
        known = self.persons.get(person_id)
        if known is not None:
            return known
        if len(self.names) >= PERSONS_MAX:
            raise OrderRejected(RejectReason.TOO_MANY, f"{PERSONS_MAX} persons are known already")
        handle = self.tables.add_person()
        self.names.append(person_id)
        self.roles.append(role)
        self.persons[person_id] = handle
        return handle

    def forget_persons(self, count: int) -> None:
        """Forget all but the first `count` persons: they came with the call that is undone."""
        for name in self.names[count:]:
            del self.persons[name]
        del self.names[count:], self.roles[count:]
        self.tables.forget_persons(count)

    # --- zones --------------------------------------------------------------------------------

    def is_old(self, zone: Zone) -> bool:
        """Return whether this version of a zone, or a later one, is known already."""
        known = self.zone_set.version(zone.id)
        return known is not None and zone.version <= known

    def prepare_zone(self, zone: Zone, grid: ZoneGrid | GeoJSONError | None) -> PreparedZone | None:
        """Check and compile a zone or a newer version of it. None: it is known already.

        `grid` is what compiling gave elsewhere; `zone` then need not have the shape. Changes
        nothing. Raises OrderRejected for an older version or a bad shape.
        """
        compiled = isinstance(grid, ZoneGrid)
        if isinstance(grid, ZoneGrid) and not _is_made_of(grid, zone):
            detail = f"zone {zone.id!r} was compiled from another shape"
            raise OrderRejected(RejectReason.BAD_GEOMETRY, detail)
        if self.is_old(zone):
            source = grid.source if isinstance(grid, ZoneGrid) else _source(zone)
            if self._is_same(zone, source):
                return None
            detail = f"zone {zone.id!r} has version {self.zone_set.version(zone.id)} already"
            raise OrderRejected(RejectReason.OLDER_VERSION, detail)
        shapeless = zone.geometry is None and zone.circle is None
        if not has_one_shape(zone) and not (compiled and shapeless):
            detail = f"zone {zone.id!r} needs a geometry or a circle, and not both"
            raise OrderRejected(RejectReason.BAD_GEOMETRY, detail)
        if grid is None:
            (grid,) = compile_zones([zone])
        if isinstance(grid, GeoJSONError):
            raise OrderRejected(RejectReason.BAD_GEOMETRY, f"zone {zone.id!r}: {grid}") from grid
        return PreparedZone(zone, grid, zone.id not in self.zone_set)

    def _is_same(self, zone: Zone, source: bytes | None) -> bool:
        """Return whether a zone is the one that is known under its name and version."""
        known, index = self.zone_set, self.zone_set.index(zone.id)
        return (
            index is not None
            and zone.version == known.version(zone.id)
            and zone.name == self.zone_texts.get(index, "")
            and zone.repairs == known.asked(zone.id)
            and source is not None
            and _is_same_text(source, known.source(zone.id))
        )

    def put_new_zones(self, zones: Sequence[Zone], grids: Sequence[ZoneGrid], now_ms: int) -> None:
        """Put zones of names that are not known yet, each of another name."""
        known = self.zone_set

        def undo() -> None:
            for zone in reversed(zones):
                self._forget_zone(zone.id)

        self.undo.later(undo)
        names, versions = [zone.id for zone in zones], [zone.version for zone in zones]
        first = known.add(names, versions, grids, now_ms)
        for index, zone in zip(first, zones, strict=True):
            if zone.name:
                self.zone_texts[index] = zone.name
        self.zone_arrays = known.arrays()

    def put_zone(self, prepared: PreparedZone, now_ms: int) -> list[OrderEntry]:
        """Put a zone in its place, from now on; return the orders that use it."""
        zone, known = prepared.zone, self.zone_set
        if prepared.is_new:
            self.undo.later(lambda: self._forget_zone(zone.id))
        else:
            version, since_ms = known.version(zone.id), known.since_ms(zone.id)
            grid = known.grid(zone.id)
            assert version is not None
            assert since_ms is not None
            text = self.zone_texts.get(known.indexes()[zone.id], "")
            self.undo.later(lambda: self._place_zone(zone.id, version, grid, text, since_ms))
        self._place_zone(zone.id, zone.version, prepared.grid, zone.name, now_ms)
        index = known.indexes()[zone.id]
        users = [self.entries[user] for user in sorted(self.users.get(index, ()))]
        for entry in users:
            self._move_leg(entry, zone.id)
        return users

    def _place_zone(
        self, zone_id: str, version: int, grid: ZoneGrid, text: str, since_ms: int
    ) -> None:
        index = self.zone_set.put(zone_id, version, grid, since_ms=since_ms)
        self.zone_texts.pop(index, None)
        if text:
            self.zone_texts[index] = text
        self.zone_arrays = self.zone_set.arrays()

    def _forget_zone(self, zone_id: str) -> None:
        index = self.zone_set.index(zone_id)
        if index is None:
            return
        self.zone_texts.pop(index, None)
        self.zone_set.take_back(zone_id)
        self.zone_arrays = self.zone_set.arrays()

    # --- orders -------------------------------------------------------------------------------

    def prepare_order(self, order: Order) -> bool:
        """Check an order or a newer version of it; False: it is known already.

        Changes nothing. Raises OrderRejected.
        """
        known = self.orders.get(order.id)
        entry = None if known is None else self.entries[known]
        if entry is not None and order.version <= entry.order.version:
            if order == entry.order:
                return False
            detail = f"order {order.id!r} has version {entry.order.version} already"
            raise OrderRejected(RejectReason.OLDER_VERSION, detail)
        self._check(order, entry)
        return True

    def put_order(self, order: Order) -> tuple[OrderEntry, bool]:
        """Put an order that was checked: (entry, whether its evidence starts anew)."""
        known = self.orders.get(order.id)
        if known is None:
            return self._new_order(order), True
        entry = self.entries[known]
        return entry, self._change_order(entry, order)

    def _check(self, order: Order, entry: OrderEntry | None) -> None:
        found = problems(order, Known(self.persons, self.zone_set.indexes()))
        if found:
            first = found[0]
            detail = f"order {order.id!r}, {first.field}: {first.detail}"
            raise OrderRejected(first.reason, detail)
        if entry is not None and (entry.order.wearer_id, entry.order.kind) != (
            order.wearer_id,
            order.kind,
        ):
            detail = f"order {order.id!r} was about another wearer or of another kind"
            raise OrderRejected(RejectReason.OTHER_WEARER, detail)
        more = 0 if entry is not None else 1
        row = self.tables.world.persons[self.persons[order.wearer_id]]
        too_many = (
            row["units"] + more > ORDERS_PER_PERSON_MAX
            or row["legs"] + len(order.zone_ids) > ZONES_PER_PERSON_MAX
            or row["pairs"] + len(order.protected_ids) > PAIRS_PER_PERSON_MAX
        )
        for person_id in order.protected_ids:
            pairs = self.tables.world.persons[self.persons[person_id]]["pairs"]
            too_many = too_many or pairs + 1 > PAIRS_PER_PERSON_MAX
        if too_many:
            detail = f"order {order.id!r}: a person has too many orders"
            raise OrderRejected(RejectReason.TOO_MANY, detail)

    def _new_order(self, order: Order) -> OrderEntry:
        entry = OrderEntry(order, len(self.entries), self.persons[order.wearer_id])
        self.entries.append(entry)
        self.orders[order.id] = entry.index

        def undo() -> None:
            self.entries.pop()
            del self.orders[order.id]
            self.use_zones(entry.index, order.zone_ids, ())

        self.undo.later(undo)
        self.use_zones(entry.index, (), order.zone_ids)
        if order.kind is OrderKind.CONTACT_BAN:
            entry.pairs = tuple(self._add_pair(entry, name) for name in order.protected_ids)
        else:
            self.undo.keep_person(self.tables, entry.person)
            self.tables.append_unit(entry.person, self._unit_row(entry), self._leg_rows(order))
        return entry

    def _change_order(self, entry: OrderEntry, order: Order) -> bool:
        """Give an order its new version; return whether what it is about changed."""
        old, pairs = entry.order, entry.pairs
        entry.gone = ()

        def undo() -> None:
            entry.order, entry.pairs = old, pairs
            self.use_zones(entry.index, order.zone_ids, old.zone_ids)

        self.undo.later(undo)
        entry.order = order
        self.use_zones(entry.index, old.zone_ids, order.zone_ids)
        if order.kind is OrderKind.CONTACT_BAN:
            return self._change_pairs(entry, old)
        self._replace_legs(entry)
        row = self.tables.world.units[self.unit_of(entry)]
        for field, value in _unit_fields(order).items():
            row[field] = value
        return (old.zone_ids, old.buffer_m) != (order.zone_ids, order.buffer_m)

    def use_zones(self, index: int, old: Iterable[str], new: Iterable[str]) -> None:
        """Note which zones an order does not use any more, and which it does."""
        indexes = self.zone_set.indexes()
        for zone_id in old:
            zone = indexes[zone_id]
            users = self.users[zone]
            users.remove(index)
            if not users:
                del self.users[zone]
        for zone_id in new:
            zone = indexes[zone_id]
            if zone in self.users:
                self.users[zone].append(index)
            else:
                self.users[zone] = array("q", (index,))

    # --- units and legs -----------------------------------------------------------------------

    def unit_of(self, entry: OrderEntry) -> int:
        """Return the row of the unit of an order about zones."""
        units = self.tables.units_of(entry.person)
        slot: int = units["order"].tolist().index(entry.index)
        return int(self.tables.world.persons[entry.person]["unit0"]) + slot

    def _unit_row(self, entry: OrderEntry) -> Rows:
        row = np.zeros((), UNIT_ROW)
        row["order"] = entry.index
        row["inner"] = row["shown"] = UNKNOWN
        row["fresh"] = FRESH
        for field in (
            "stay_from_ms",
            "stay_to_ms",
            "past_ms",
            "run_ms",
            "told_ms",
            "duty_from_ms",
            "duty_to_ms",
        ):
            row[field] = NONE_MS
        for field, value in _unit_fields(entry.order).items():
            row[field] = value
        return row

    def _leg_rows(self, order: Order) -> Rows:
        indexes = self.zone_set.indexes()
        zones = np.array([indexes[zone_id] for zone_id in order.zone_ids], np.int64)
        rows = np.empty(len(zones), LEG)
        widen(self.zone_set.boxes(), zones, order.buffer_m * 1000, rows)
        return rows

    def _move_leg(self, entry: OrderEntry, zone_id: str) -> None:
        """Give the leg of an order about a zone the box of its new version, in place."""
        legs = self.tables.world.legs
        unit = self.tables.world.units[self.unit_of(entry)]
        first = int(self.tables.world.persons[entry.person]["leg0"]) + int(unit["leg"])
        place = first + entry.order.zone_ids.index(zone_id)
        old = legs[place].copy()
        self.undo.later(lambda: self.tables.world.legs.__setitem__(place, old))
        zone = np.array([self.zone_set.indexes()[zone_id]], np.int64)
        moved = np.empty(1, LEG)
        widen(self.zone_set.boxes(), zone, entry.order.buffer_m * 1000, moved)
        moved["unit"] = old["unit"]
        legs[place] = moved[0]

    def _replace_legs(self, entry: OrderEntry) -> None:
        """Write the legs of an order anew, into a new run, so that the old one can come back."""
        self.undo.keep_person(self.tables, entry.person)
        units = self.tables.units_of(entry.person).copy()
        legs = self.tables.legs_of(entry.person)
        parts = []
        count = 0
        for slot in range(len(units)):
            row = units[slot]
            first = int(row["leg"])
            part = legs[first : first + int(row["legs"])].copy()
            if row["order"] == entry.index:
                part = self._leg_rows(entry.order)
            part["unit"] = slot
            row["leg"], row["legs"] = count, len(part)
            count += len(part)
            parts.append(part)
        self.tables.rewrite_units(entry.person, units, np.concatenate(parts))

    # --- pairs --------------------------------------------------------------------------------

    def _add_pair(self, entry: OrderEntry, protected_id: str) -> int:
        tables = self.tables
        protected = self.persons[protected_id]
        index = tables.add_pair()
        row = np.zeros((), PAIR_ROW)
        row["order"] = entry.index
        row["wearer"], row["protected"] = entry.person, protected
        row["inner"] = row["shown"] = UNKNOWN
        for field in (
            "judged_ms",
            "together_ms",
            "before_ms",
            "stay_from_ms",
            "stay_to_ms",
            "past_ms",
            "run_ms",
            "told_ms",
        ):
            row[field] = NONE_MS
        for field, value in _pair_fields(entry.order).items():
            row[field] = value
        tables.world.pairs[index] = row
        for person in (entry.person, protected):
            self.undo.keep_person(tables, person)
            tables.set_links(person, [*tables.links_of(person).tolist(), index])
        return index

    def _change_pairs(self, entry: OrderEntry, old: Order) -> bool:
        """Keep the pairs that stay, drop those that go, add those that come."""
        tables = self.tables
        kept = dict(zip(old.protected_ids, entry.pairs, strict=True))
        pairs = []
        for name in entry.order.protected_ids:
            index = kept.pop(name, None)
            if index is None:
                index = self._add_pair(entry, name)
            else:
                self.undo.keep_pair(tables, index)
                for field, value in _pair_fields(entry.order).items():
                    tables.world.pairs[index][field] = value
            pairs.append(index)
        for gone in kept.values():
            for side in ("wearer", "protected"):
                person = int(tables.world.pairs[gone][side])
                self.undo.keep_person(tables, person)
                left = [k for k in tables.links_of(person).tolist() if k != gone]
                tables.set_links(person, left)
        entry.pairs = tuple(pairs)
        entry.gone = tuple(kept.values())
        return old.radius_m != entry.order.radius_m

    # --- silence ------------------------------------------------------------------------------

    def watch_silence(self, person: int, budget_ms: int, now_ms: int) -> int:
        """Count the silence of a person against one more budget; return when it is due next.

        Keep the row before.
        """
        row = self.tables.world.persons[person]
        if row["since_ms"] == NONE_MS:
            row["since_ms"] = now_ms
        smallest = int(row["silence_ms"])
        row["silence_ms"] = min(smallest, budget_ms) if smallest else budget_ms
        since = int(row["last_ms"] if row["last_ms"] != NONE_MS else row["since_ms"])
        return self.set_due(person, max(since + budget_ms, now_ms))

    def set_due(self, person: int, due_ms: int) -> int:
        """Look at the silence of a person at `due_ms`, or earlier when that was so."""
        world = self.tables.world
        due_ms = min(int(world.due[person]), due_ms)
        world.due[person] = due_ms
        block = person // BLOCK
        world.floors[block] = min(int(world.floors[block]), due_ms)
        return due_ms

    # --- edges --------------------------------------------------------------------------------

    def plan_edge(self, entry: OrderEntry, after_ms: int) -> None:
        """Find the next instant at which an order turns."""
        before = entry.edge_ms
        self.undo.later(lambda: self._set_edge(entry, before))
        edge = next_edge_ms(entry.order, after_ms)
        self._set_edge(entry, NEVER_MS if edge is None else edge)

    def plan_edge_at(self, entry: OrderEntry, edge_ms: int) -> None:
        """Let an order turn next at an instant that is known."""
        before = entry.edge_ms
        self.undo.later(lambda: self._set_edge(entry, before))
        self._set_edge(entry, edge_ms)

    def _set_edge(self, entry: OrderEntry, edge_ms: int) -> None:
        # Items of the heap whose time is not that of their order any more are skipped.
        entry.edge_ms = edge_ms
        if edge_ms != NEVER_MS:
            heapq.heappush(self._edges, (edge_ms, entry.index))

    def next_edge(self) -> tuple[int, OrderEntry] | None:
        """Return the earliest edge and its order."""
        while self._edges:
            edge_ms, index = self._edges[0]
            if index < len(self.entries) and self.entries[index].edge_ms == edge_ms:
                return edge_ms, self.entries[index]
            heapq.heappop(self._edges)
        return None

    def plan_all_edges(self) -> None:
        """Build the heap from the orders, after a load."""
        self._edges = [(e.edge_ms, e.index) for e in self.entries if e.edge_ms != NEVER_MS]
        heapq.heapify(self._edges)


def _source(zone: Zone) -> bytes | None:
    """Return the text of a zone's shape; None for a zone without exactly one."""
    return source_of(_shape(zone)) if has_one_shape(zone) else None


def _is_made_of(grid: ZoneGrid, zone: Zone) -> bool:
    """Return whether a compiled zone is that of a zone, as far as the zone says."""
    source = _source(zone)
    return grid.asked == zone.repairs and (source is None or _is_same_text(source, grid.source))


def has_one_shape(zone: Zone) -> bool:
    """Return whether a zone has a geometry or a circle, and not both."""
    return (zone.geometry is None) != (zone.circle is None)


def compile_zones(zones: Sequence[Zone]) -> list[ZoneGrid | GeoJSONError]:
    """Compile the shapes of zones: their arrays, or what is wrong. Pure, for any thread."""
    return build_many([(_shape(zone), zone.repairs) for zone in zones])


def _shape(zone: Zone) -> dict[str, Any] | Circle:
    if zone.circle is not None:
        return Circle(zone.circle.lat_e7, zone.circle.lon_e7, zone.circle.radius_m * 1000)
    return zone.geometry or {}


def _is_same_text(one: bytes, other: bytes) -> bool:
    """Return whether two texts are the same JSON; members may stand in another order."""
    return one == other or bool(json.loads(one) == json.loads(other))


def _unit_fields(order: Order) -> dict[str, int]:
    threshold = THRESHOLDS[order.risk_class - 1]
    kind = AREA
    if order.kind is OrderKind.LOCATION_ORDER:
        kind = LOCATION
        threshold = threshold * TOLERANCE_NUMERATOR // TOLERANCE_DENOMINATOR
    elif order.kind is OrderKind.EXIT_BAN:
        kind = EXIT
    return {
        "kind": kind,
        "threshold": threshold,
        "ring": order.buffer_m * 1000,
        "silence_ms": silence_ms(order),
        "once": int(order.presence is Presence.ONCE),
    }


def _pair_fields(order: Order) -> dict[str, int]:
    return {
        "radius": order.radius_m * 1000,
        "warning": order.warning_m * 1000,
        "threshold": THRESHOLDS[order.risk_class - 1],
        "silence_ms": silence_ms(order),
        "contact_ms": order.time_to_contact_s * 1000,
    }
