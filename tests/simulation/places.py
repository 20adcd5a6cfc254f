"""Which partition each group is in, by what the references say, and what must move along.

A group is in one partition, or on its way to one that must say that it came. When it leaves, every
timer about it leaves, and runs on where it comes, to the same instant; and all that was known of it
is known there.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from afstand.commands import MovePersons, TakeGroup, decode_command
from afstand.watch.fold import Watch
from afstand.watch.frames import DumpedDevices
from alerting.book.moving import BookGroup
from alerting.book.types import Defined, Output, Rejected
from geofence import moving
from geofence.layout import PAIR_ROW, PERSON, UNIT_ROW
from ingest.entries import Entry, EntryKind
from tests.simulation.people import Group

Timers = dict[str, int]
_OF_ENGINE: Final = "engine"
_OF_FRAMES: Final = ("seen", "presses", "set_aside")
_OF_BOOK: Final = (
    "conditions",
    "late",
    "breaches",
    "patterns",
    "settled",
    "cases",
    "orders",
    "legal",
)
_PLACES: Final = frozenset(
    f"{kind}{what}" for kind in ("leg", "unit", "pair") for what in ("0", "s", "_room", "")
) | {"track", "order", "wearer", "protected"}
"""Columns that say where in the engine something lies, and not what is known."""


class Broken(AssertionError):  # noqa: N818 it is what a seed ends with
    """A promise was broken, and how."""


class Before(NamedTuple):
    """A command about a move, and the timers about the group before it was folded."""

    said: MovePersons | TakeGroup
    group: Group
    timers: Timers
    now_ms: int


class Place:
    """Where a group is. On its way: `partition` is empty, and it left as `move_id`."""

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.source = ""
        self.to = ""
        self.move_id = ""
        self.timers: Timers = {}  # what it left with


class Places:
    """See the module."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._of = {group: Place(group.begins_in) for group in groups}
        self._by_handle = {handle: self._of[group] for group in groups for handle in group.handles}
        self._by_person = {person: group for group in groups for person in group.persons}
        self.moves = 0
        self.sent_back = 0
        self.timers_moved = 0

    def is_in(self, handle: int, partition: str) -> bool:
        """Tell whether whoever carries this device is here. Nobody's device is everywhere."""
        place = self._by_handle.get(handle)
        return place is None or place.partition == partition

    def partition_of(self, group: Group) -> str:
        """Give where a group is; empty while it is on its way."""
        return self._of[group].partition

    def before(self, entry: Entry, reference: Watch) -> Before | None:
        """Look at an entry before it is folded; None for one that moves nobody."""
        if entry.kind is not EntryKind.COMMAND:
            return None
        said = decode_command(entry.blob)
        if isinstance(said, MovePersons):
            group = self._by_person[said.person_ids[0]]
        elif isinstance(said, TakeGroup):
            group = self._by_person[said.persons[0]]
            if sorted(said.persons) != sorted(group.persons):
                raise Broken(f"{said.persons} were passed on for {group.persons}")
        else:
            return None
        return Before(said, group, timers_about(group, reference), entry.id.ms)

    def after(
        self, here: str, before: Before | None, outputs: Sequence[Output], reference: Watch
    ) -> None:
        """Look at what it gave."""
        if before is None:
            return
        place = self._of[before.group]
        timers = timers_about(before.group, reference)
        for output in outputs:
            if isinstance(output, Defined) and output.what == "left":
                self._left(here, place, output.ref, before, timers)
            elif isinstance(output, Defined) and output.what == "arrived":
                self._arrived(here, place, output.ref, before, reference)
            elif isinstance(output, Rejected) and output.what == "move":
                self._refused(here, place, output.ref, before)

    def _left(self, here: str, place: Place, ref: str, before: Before, timers: Timers) -> None:
        to, _, move_id = ref.partition("/")
        if place.partition != here:
            return  # it left before, and is asked about there
        if timers:
            raise Broken(f"{before.group.persons} left {here}, and {timers} stay")
        place.partition, place.source, place.to, place.move_id = "", here, to, move_id
        place.timers = before.timers

    def _arrived(
        self, here: str, place: Place, move_id: str, before: Before, reference: Watch
    ) -> None:
        timers = timers_about(before.group, reference)
        if move_id != place.move_id:
            return  # a copy, of an earlier move or of this one
        if here != place.to:
            raise Broken(f"{move_id} to {place.to} arrived in {here}")
        asked = reference._book._state.asked
        lost = {
            name: due_ms
            for name, due_ms in place.timers.items()
            if due_ms > before.now_ms
            and timers.get(name) != due_ms
            # A question whose answer was due on the way is over, with its row, when it arrives.
            and not (name.startswith("asked|") and name.removeprefix("asked|") not in asked)
        }
        if lost:
            raise Broken(f"{before.group.persons} came to {here} without the timers {lost}")
        said = before.said
        odd = taken_otherwise(said, reference, before.now_ms) if isinstance(said, TakeGroup) else ""
        if odd:
            raise Broken(f"{before.group.persons} came to {here} with another {odd}")
        self.moves += 1
        self.timers_moved += len(place.timers)
        place.partition, place.move_id = here, ""

    def _refused(self, here: str, place: Place, move_id: str, before: Before) -> None:
        """The group goes back, as it is."""
        said = before.said
        if isinstance(said, TakeGroup) and said.engine and move_id == place.move_id:
            self.sent_back += 1
            place.to, place.move_id = place.source, f"{move_id}/back"

    def unfinished(self) -> Iterator[str]:
        """Who is nowhere."""
        for group, place in self._of.items():
            if not place.partition:
                yield f"{group.persons} left {place.source} for {place.to} and are nowhere"


def taken_otherwise(said: TakeGroup, watch: Watch, now_ms: int) -> str:
    """What of a group is not in the state of whoever took it as it was sent; empty when all is."""
    known = [one for one in said.persons if watch._engine.person_handle(one) is not None]
    if _rows(said.engine) != _rows(watch._engine.give_group(known)[0]):
        return "state of the engine"
    sent = msgspec.msgpack.decode(said.frames, type=DumpedDevices)
    handles = [device.handle for device, _ in sent.known]
    here = watch._devices.part(handles)
    if any(sorted(getattr(sent, part)) != sorted(getattr(here, part)) for part in _OF_FRAMES):
        return "memory of frames"
    rows = msgspec.msgpack.decode(said.book, type=BookGroup).rows
    if min(rows.timers.values(), default=now_ms + 1) <= now_ms:
        return ""  # what is due has changed some
    state = watch._book._state
    for name in _OF_BOOK:
        table = getattr(state, name).rows
        for key, row in getattr(rows, name).items():
            if table.get(key) != row:
                return f"{name} {key} of the book"
    return ""


def _rows(raw: bytes) -> tuple[object, ...]:
    """What an engine sends of a group, without where the rows lie."""
    group = moving._read(raw)
    persons = sorted(
        (one.name, str(one.role), one.due_ms, one.track, _values(one.row, PERSON))
        for one in group.persons
    )
    orders = sorted(
        (one.order.id, one.order.version, one.edge_ms, *(_values(row) for row in one.rows))
        for one in group.orders
    )
    zones = sorted((one.zone.id, one.zone.version, one.since_ms) for one in group.zones)
    return persons, orders, zones


def _values(raw: bytes, kind: np.dtype[Any] | None = None) -> tuple[bytes, ...]:
    if kind is None:
        kind = next(one for one in (PAIR_ROW, UNIT_ROW) if _tight(one).itemsize == len(raw))
    row = np.frombuffer(raw, _tight(kind))[0]
    return tuple(row[name].tobytes() for name in kind.names or () if name not in _PLACES)


def _tight(kind: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype([(name, kind[name]) for name in kind.names or ()])


def timers_about(group: Group, watch: Watch) -> Timers:
    """All deadlines about a group, of the book and of the engine."""
    found = {
        name: due_ms
        for name, due_ms in watch._book._state.timers.rows.items()
        if not group.ids.isdisjoint(name.replace("|", "/").split("/"))
    }
    docket = watch._engine._docket
    for person in group.persons:
        row = docket.persons.get(person)
        if row is not None and person not in watch._moving.persons:
            found[f"{_OF_ENGINE}/{person}"] = int(docket.tables.world.due[row])
    return found
