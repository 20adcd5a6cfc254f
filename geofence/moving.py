"""What an engine knows of a group of persons, as bytes: another engine goes on from it.

A group is closed: whoever is tied to one of them by an order is in it (`group_of`). Rows are copied
as they are, but for where they lie and whom they point to; so the other engine says next what this
one would have said. Here the rows stay, and nobody may ask for them any more.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import numpy as np

from geofence.clearing import NO_CLEARING
from geofence.compiled import CompiledZone, pack, unpack
from geofence.docket import Docket, OrderEntry
from geofence.layout import BLOCK, PAIR_ROW, PERSON, POINT, UNIT_ROW, Rows
from geofence.orders import Order, OrderRejected, Person, RejectReason, Role, Zone
from geofence.parameters import RULES_VERSION, TRACK_POINTS
from geofence.snapshot import FORMAT, columns_text
from geofence.verdicts import OrderKind

_PLACES_OF_PERSON: Final = frozenset(
    [
        "leg0",
        "unit0",
        "pair0",
        "legs",
        "units",
        "pairs",
        "track",
        "leg_room",
        "unit_room",
        "pair_room",
    ]
)
_PLACES_OF_UNIT: Final = frozenset(("order", "leg", "legs"))
_PLACES_OF_PAIR: Final = frozenset(("order", "wearer", "protected"))


class _Person(msgspec.Struct, array_like=True):
    name: str
    role: Role
    row: bytes
    due_ms: int
    track: bytes


class MovedZone(msgspec.Struct, array_like=True):
    """A zone as it was compiled, and since when it counts."""

    zone: Zone
    compiled: CompiledZone
    since_ms: int


Definitions = list[Person | MovedZone | Order]


class MovedOrder(msgspec.Struct, array_like=True):
    """An order and what is known of it."""

    order: Order
    edge_ms: int
    rows: tuple[bytes, ...]
    """Of its unit, or of its pairs in the order of `protected_ids`."""


class _Group(msgspec.Struct, array_like=True):
    format: str
    rules: int
    columns: str
    persons: list[_Person]
    zones: list[MovedZone]
    orders: list[MovedOrder]


def group_of(docket: Docket, person_ids: Iterable[str]) -> list[str]:
    """Return everybody who is tied to these by orders, themselves too, in the engine's order."""
    tied: dict[int, list[OrderEntry]] = {}
    for entry in docket.entries:
        for name in (entry.order.wearer_id, *entry.order.protected_ids):
            tied.setdefault(docket.persons[name], []).append(entry)
    waiting = [docket.persons[name] for name in person_ids if name in docket.persons]
    found: set[int] = set()
    while waiting:
        person = waiting.pop()
        if person in found:
            continue
        found.add(person)
        for entry in tied.get(person, ()):
            names = (entry.order.wearer_id, *entry.order.protected_ids)
            waiting += [docket.persons[name] for name in names]
    return [docket.names[person] for person in sorted(found)]


def give(docket: Docket, person_ids: Iterable[str]) -> tuple[bytes, Definitions]:
    """Return what is known of a group, and what defined it. Changes nothing.

    Raises KeyError for an unknown person.
    """
    persons = sorted(docket.persons[name] for name in person_ids)
    world = docket.tables.world
    members = set(persons)
    entries = [entry for entry in docket.entries if entry.person in members]
    zone_ids = dict.fromkeys(zone for entry in entries for zone in entry.order.zone_ids)
    group = _Group(
        FORMAT,
        RULES_VERSION,
        columns_text(),
        [
            _Person(
                docket.names[person],
                docket.roles[person],
                _bytes_of(world.persons[person], PERSON),
                int(world.due[person]),
                _track_of(docket, person),
            )
            for person in persons
        ],
        [_zone_of(docket, zone_id) for zone_id in zone_ids],
        [MovedOrder(entry.order, entry.edge_ms, _rows_of(docket, entry)) for entry in entries],
    )
    known = [Person(id=docket.names[person], role=docket.roles[person]) for person in persons]
    orders = [entry.order for entry in entries]
    return msgspec.msgpack.encode(group), [*known, *group.zones, *orders]


def take(docket: Docket, raw: bytes, put_order: Callable[[Order], object]) -> None:
    """Go on with a group that another engine gave, inside the caller's transaction.

    `put_order` takes an order that is new here. Raises ValueError for bytes of another layout,
    OrderRejected for what there is no room for.
    """
    group = _read(raw)
    for person in group.persons:
        docket.put_person(person.name, person.role)
    for moved in group.zones:
        _take_zone(docket, moved)
    for one in group.orders:
        if docket.prepare_order(one.order):
            put_order(one.order)
    for one in group.orders:
        _copy_order(docket, one)
    for person in group.persons:
        _copy_person(docket, person)


def _read(raw: bytes) -> _Group:
    try:
        group = msgspec.msgpack.decode(raw, type=_Group)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a group of persons: {error}") from error
    if (group.format, group.rules, group.columns) != (FORMAT, RULES_VERSION, columns_text()):
        raise ValueError(f"a group of format {group.format!r}, rules {group.rules}")
    return group


def _copy_order(docket: Docket, moved: MovedOrder) -> None:
    entry = docket.entries[docket.orders[moved.order.id]]
    docket.plan_edge_at(entry, moved.edge_ms)
    tables = docket.tables
    if moved.order.kind is OrderKind.CONTACT_BAN:
        for place, raw in zip(entry.pairs, moved.rows, strict=True):
            docket.undo.keep_pair(tables, place)
            _copy(tables.world.pairs, place, raw, _PLACES_OF_PAIR)
        return
    (raw,) = moved.rows
    place = docket.unit_of(entry)
    docket.undo.keep_unit(tables, place)
    _copy(tables.world.units, place, raw, _PLACES_OF_UNIT)


def _copy_person(docket: Docket, moved: _Person) -> None:
    world = docket.tables.world
    person = docket.persons[moved.name]
    docket.undo.keep_person(docket.tables, person)
    _copy(world.persons, person, moved.row, _PLACES_OF_PERSON)
    track = int(world.persons[person]["track"])
    size = len(moved.track) // TRACK_POINTS
    if track >= 0 and size:
        for k in range(TRACK_POINTS):
            _copy(world.tracks[track], k, moved.track[k * size : (k + 1) * size], frozenset())
    world.due[person] = moved.due_ms
    world.floors[person // BLOCK] = min(int(world.floors[person // BLOCK]), moved.due_ms)
    world.clearings[person] = NO_CLEARING


def _copy(table: Rows, place: int, raw: bytes, fixed: frozenset[str]) -> None:
    """Write the bytes of a row in its place, but for the columns of where things lie."""
    kind = table.dtype
    tight = np.dtype([(name, kind[name]) for name in kind.names or ()])
    if len(raw) != tight.itemsize:
        raise ValueError(f"a row of {len(raw)} bytes, not {tight.itemsize}")
    packed = np.frombuffer(raw, tight)[0]
    for name in kind.names or ():
        if name not in fixed:
            table[name][place] = packed[name]


def _take_zone(docket: Docket, moved: MovedZone) -> None:
    """Take a zone that is not known here; a version of it that is known here stays."""
    known = docket.zone_set.version(moved.zone.id)
    if known is not None and known >= moved.zone.version:
        same = docket.zone_set.source(moved.zone.id) == moved.compiled.source
        if known == moved.zone.version and not same:
            detail = f"zone {moved.zone.id!r} has another shape here under the same version"
            raise OrderRejected(RejectReason.BAD_GEOMETRY, detail)
        return
    prepared = docket.prepare_zone(moved.zone, unpack(moved.compiled))
    if prepared is not None:
        docket.put_zone(prepared, moved.since_ms)


def _zone_of(docket: Docket, zone_id: str) -> MovedZone:
    zones = docket.zone_set
    version, since_ms, index = zones.version(zone_id), zones.since_ms(zone_id), zones.index(zone_id)
    assert version is not None
    assert since_ms is not None
    assert index is not None
    zone = Zone(
        id=zone_id,
        version=version,
        name=docket.zone_texts.get(index, ""),
        repairs=zones.asked(zone_id),
    )
    return MovedZone(zone, pack(zones.grid(zone_id)), since_ms)


def _rows_of(docket: Docket, entry: OrderEntry) -> tuple[bytes, ...]:
    world = docket.tables.world
    if entry.order.kind is OrderKind.CONTACT_BAN:
        return tuple(_bytes_of(world.pairs[pair], PAIR_ROW) for pair in entry.pairs)
    return (_bytes_of(world.units[docket.unit_of(entry)], UNIT_ROW),)


def _track_of(docket: Docket, person: int) -> bytes:
    track = int(docket.tables.world.persons[person]["track"])
    if track < 0:
        return b""
    return b"".join(_bytes_of(point, POINT) for point in docket.tables.world.tracks[track])


def _bytes_of(row: Any, kind: np.dtype[Any]) -> bytes:
    """Return the columns of a row without the padding between them."""
    return b"".join(np.asarray(row[name]).tobytes() for name in kind.names or ())
