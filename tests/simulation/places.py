"""Which partition each group is in, by what the references say, and what must move along.

A group is in one partition, or on its way to one that must say that it came. When it leaves, every
timer about it leaves, and runs on where it comes, to the same instant.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from afstand.commands import MovePersons, TakeGroup, decode_command
from afstand.watch.fold import Watch
from alerting.book.types import Defined, Output, Rejected
from ingest.entries import Entry, EntryKind
from tests.simulation.people import Group

Timers = dict[str, int]
_OF_ENGINE: Final = "engine"


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
                self._arrived(here, place, output.ref, before, timers)
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
        self, here: str, place: Place, move_id: str, before: Before, timers: Timers
    ) -> None:
        if move_id != place.move_id:
            return  # a copy, of an earlier move or of this one
        if here != place.to:
            raise Broken(f"{move_id} to {place.to} arrived in {here}")
        lost = {
            name: due_ms
            for name, due_ms in place.timers.items()
            if due_ms > before.now_ms and timers.get(name) != due_ms
        }
        if lost:
            raise Broken(f"{before.group.persons} came to {here} without the timers {lost}")
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
