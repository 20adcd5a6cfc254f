"""The state of the engine as bytes: versioned, exact, the same for the same state.

Rows of a person are written one after another, without the free room between them, so a dump does
not show in which order persons got their orders. The zones keep their own format inside.
"""

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from geofence.docket import Docket, OrderEntry
from geofence.kernels.arrays import aligned_zeros
from geofence.layout import (
    BLOCK,
    COALESCED,
    FIXES,
    LEG,
    NEVER_MS,
    PAIR_ROW,
    PERSON,
    POINT,
    UNIT_ROW,
    Rows,
)
from geofence.orders import Order, Role
from geofence.parameters import RULES_VERSION, TRACK_POINTS
from geofence.rows import Tables, no_clearings
from geofence.zones import ZoneSet

FORMAT: Final = "afstand.engine/4"


class _Dump(msgspec.Struct, array_like=True):
    format: str
    rules: int
    columns: str
    names: list[str]
    roles: list[Role]
    zone_texts: list[tuple[int, str]]
    zone_set: bytes
    orders: list[tuple[Order, int, tuple[int, ...], int]]
    persons: bytes
    due: bytes
    units: bytes
    legs: bytes
    links: bytes
    pairs: bytes
    tracks: bytes
    counts: bytes


def columns_text() -> str:
    """Return the names and types of all columns: another layout is another format."""
    kinds = (PERSON, UNIT_ROW, LEG, PAIR_ROW, POINT)
    return ";".join(
        ",".join(
            f"{name}:{kind.fields[name][0].base.str}{kind.fields[name][0].shape or ''}"
            for name in kind.names or ()
        )
        for kind in kinds
        if kind.fields is not None
    )


def dump_docket(docket: Docket) -> bytes:
    """Return the bytes of a docket."""
    tables = docket.tables
    world = tables.world
    persons = world.persons[: tables.persons].copy()
    units = _gather(world.units, persons, "unit0", "units", "unit_room")
    legs = _gather(world.legs, persons, "leg0", "legs", "leg_room")
    links = _gather(world.links, persons, "pair0", "pairs", "pair_room")
    return msgspec.msgpack.encode(
        _Dump(
            FORMAT,
            RULES_VERSION,
            columns_text(),
            docket.names,
            docket.roles,
            sorted(docket.zone_texts.items()),
            docket.zone_set.dump(),
            [(e.order, e.person, e.pairs, e.edge_ms) for e in docket.entries],
            _packed(persons),
            world.due[: tables.persons].tobytes(),
            _packed(units),
            _packed(legs),
            links.tobytes(),
            _packed(world.pairs[: tables.pairs]),
            _packed(world.tracks[: tables.tracks].ravel()),
            docket.undo.ledger.counts[FIXES:COALESCED].tobytes(),
        )
    )


def _gather(array: Rows, persons: Rows, first: str, count: str, room: str) -> Rows:
    """Return the rows of all persons in one go, and write into `persons` where they are then."""
    counts = persons[count].astype(np.int64)
    starts = np.cumsum(counts) - counts
    places = np.repeat(persons[first] - starts, counts) + np.arange(counts.sum())
    persons[first] = np.where(counts > 0, starts, 0)
    persons[room] = counts
    gathered: Rows = array[places]
    return gathered


def _packed(rows: Rows) -> bytes:
    """Return the bytes of rows without the padding between columns."""
    tight = np.dtype([(name, rows.dtype[name]) for name in rows.dtype.names or ()])
    packed = np.empty(len(rows), tight)
    for name in tight.names or ():
        packed[name] = rows[name]
    return packed.tobytes()


def _unpacked(raw: bytes, kind: np.dtype[Any]) -> Rows:
    tight = np.dtype([(name, kind[name]) for name in kind.names or ()])
    packed = np.frombuffer(raw, tight)
    rows = aligned_zeros(max(len(packed), 1), kind)
    for name in tight.names or ():
        rows[name][: len(packed)] = packed[name]
    return rows


def _integers(raw: bytes, kind: type[np.integer[Any]]) -> npt.NDArray[Any]:
    found = np.frombuffer(raw, kind)
    rows = np.zeros(max(len(found), 1), kind)
    rows[: len(found)] = found
    return rows


def load_docket(raw: bytes) -> Docket:
    """Return the docket of a dump. Raises ValueError."""
    try:
        dump = msgspec.msgpack.decode(raw, type=_Dump)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a dump of an engine: {error}") from error
    if dump.format != FORMAT or dump.rules != RULES_VERSION or dump.columns != columns_text():
        raise ValueError(f"dump of format {dump.format!r}, rules {dump.rules}, or other columns")
    docket = Docket()
    docket.names = dump.names
    docket.roles = dump.roles
    docket.persons = {name: handle for handle, name in enumerate(dump.names)}
    docket.zone_set = ZoneSet.load(dump.zone_set)
    docket.zone_arrays = docket.zone_set.arrays()
    docket.zone_texts = dict(dump.zone_texts)
    for index, (order, person, pairs, edge_ms) in enumerate(dump.orders):
        entry = OrderEntry(order, index, person)
        entry.pairs, entry.edge_ms = pairs, edge_ms
        docket.entries.append(entry)
        docket.orders[order.id] = index
        docket.use_zones(index, (), order.zone_ids)
    docket.plan_all_edges()
    _load_tables(docket.tables, dump)
    counts = np.frombuffer(dump.counts, np.int64)
    if len(counts) != COALESCED - FIXES:
        raise ValueError("dump with other counts")
    docket.undo.ledger.counts[FIXES:COALESCED] = counts
    return docket


def _load_tables(tables: Tables, dump: _Dump) -> None:
    persons = _unpacked(dump.persons, PERSON)
    tables.persons = len(dump.names)
    due = np.full(len(persons), NEVER_MS, np.int64)
    stored = np.frombuffer(dump.due, np.int64)
    due[: len(stored)] = stored
    units, legs = _unpacked(dump.units, UNIT_ROW), _unpacked(dump.legs, LEG)
    links, pairs = _integers(dump.links, np.int32), _unpacked(dump.pairs, PAIR_ROW)
    points = np.frombuffer(dump.tracks, np.uint8)
    tracks = _unpacked(dump.tracks, POINT)
    tight = sum(POINT[name].itemsize for name in POINT.names or ())
    tables.tracks = len(points) // (tight * TRACK_POINTS)
    if tables.tracks == 0:
        tracks = np.zeros(TRACK_POINTS, POINT)
    rows = persons[: tables.persons]
    tables.units = int(rows["units"].sum(dtype=np.int64))
    tables.legs = int(rows["legs"].sum(dtype=np.int64))
    tables.links = int(rows["pairs"].sum(dtype=np.int64))
    tables.pairs = len(dump.pairs) // sum(PAIR_ROW[n].itemsize for n in PAIR_ROW.names or ())
    if stored.shape != (tables.persons,) or len(rows) != tables.persons:
        raise ValueError("dump with another number of persons")
    tables.world = tables.world._replace(
        persons=persons,
        units=units,
        legs=legs,
        links=links,
        pairs=pairs,
        tracks=tracks.reshape(-1, TRACK_POINTS),
        due=due,
        floors=np.zeros((len(persons) // BLOCK) + 1, np.int64),
        clearings=no_clearings(len(persons)),
    )
