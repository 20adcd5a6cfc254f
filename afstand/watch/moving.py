"""Persons who move to another partition: who left this one, and what is passed on to them.

The journal of the partition that they leave says when (`MovePersons`). From that entry on it knows
nothing of them any more: what it knew goes as one command into the journal of the other partition
(`TakeGroup`), and whatever still comes in here of their devices, or about them, goes after it.
Everything passed on stands in this journal too, so that any replica passes it on again after a
death; copies are harmless there. A partition that cannot take a group sends it back the same way.

Pure: what is to be passed on is returned, and written by whoever folds (`replica.py`).
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.commands import (
    CaseErased,
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
    MovePersons,
    TakeGroup,
    encode_command,
)
from afstand.limits import JOURNAL_BLOB_BYTES_MAX, MOVES_KEPT
from afstand.watch.frames import Devices, DumpedDevices
from alerting.book.book import Book
from alerting.book.inputs import DefineCase
from alerting.book.moving import Members
from alerting.book.outputs import RejectReason
from geofence.engine import Engine
from geofence.moving import MovedZone
from geofence.orders import Order, Person
from geofence.verdicts import Finding, Verdict
from ingest.entries import EntryKind, FrameBatch

_ABOUT: Final = ("person_id", "wearer_id", "device_id", "order_id", "case_id")


class Passed(NamedTuple):
    """An entry for the journal of another partition."""

    partition: str
    kind: EntryKind
    blob: bytes


class Refusal(NamedTuple):
    """Why nobody moved."""

    reason: RejectReason
    detail: str


class Gone(msgspec.Struct, frozen=True, array_like=True):
    """A group that left. `ids`: persons, devices, orders, cases and zones, as `kind/id`."""

    move_id: str
    to: str
    persons: tuple[str, ...]
    handles: tuple[int, ...]
    ids: tuple[str, ...]


class DumpedMoving(msgspec.Struct, frozen=True, array_like=True):
    """The shape of `Moving.dump`."""

    gone: list[Gone] = []
    taken: list[str] = []


class Moving:
    """Who left a partition, and which groups came."""

    def __init__(self, dumped: DumpedMoving | None = None) -> None:
        self.persons: dict[str, str] = {}
        self.handles: dict[int, str] = {}
        self._gone: dict[str, Gone] = {}
        self._ids: dict[str, str] = {}
        self._taken: dict[str, None] = {}
        for gone in dumped.gone if dumped else ():
            self._add(gone)
        self._taken = dict.fromkeys(dumped.taken if dumped else ())

    def dump(self) -> DumpedMoving:
        """All of it."""
        return DumpedMoving(list(self._gone.values()), list(self._taken))

    # --- leaving ------------------------------------------------------------------------------

    def leave(
        self,
        said: MovePersons,
        here: str,
        key: str,
        engine: Engine,
        book: Book,
        devices: Devices,
    ) -> tuple[str, list[Passed]] | Refusal:
        """Let a group go: the id of the move, and what is to be passed on. Refused: as before.

        What defined them follows them: their new journal tells by itself whom it is about.

        `key` names the entry. A group that left for the same partition before is asked about there.
        """
        if said.to == here or not said.to:
            return Refusal(RejectReason.BAD_ID, f"to partition {said.to!r}")
        for gone in self._gone.values():
            if set(said.person_ids) & set(gone.persons):
                if gone.to != said.to:
                    return Refusal(RejectReason.DUPLICATE, f"moved to {gone.to}: {gone.move_id}")
                asked = TakeGroup(move_id=gone.move_id, source=here, persons=gone.persons)
                return gone.move_id, [_command(gone.to, asked)]
        persons = _closed(said.person_ids, engine, book)
        known = [one for one in persons if engine.person_handle(one) is not None]
        handles = [h for h, one in devices.known.items() if one.person_id in set(persons)]
        if not known:
            return Refusal(RejectReason.NO_PERSON, ", ".join(said.person_ids)[:64])
        names = [devices.known[handle].device_id for handle in handles]
        state, definitions = engine.give_group(known)
        orders = [one for one in definitions if isinstance(one, Order)]
        members = Members(
            frozenset(persons), frozenset(names), frozenset(order.id for order in orders)
        )
        reason = book.in_the_way(members)
        if reason:
            return Refusal(RejectReason.CONDITION_STILL_ACTIVE, reason)
        cases = [case for one in book.cases_of(members) if (case := book.case(one)) is not None]
        told = book.give_group(members)
        command = TakeGroup(
            move_id=key,
            source=here,
            persons=tuple(persons),
            devices=tuple(names),
            engine=state,
            book=told,
            frames=msgspec.msgpack.encode(devices.part(handles)),
        )
        follow: list[JournalCommand] = [command]
        follow += [_definition(one) for one in definitions if not isinstance(one, Order)]
        follow += [devices.known[handle] for handle in handles]
        follow += cases
        follow += [DefineOrder(order=order) for order in orders]
        passed = [_command(said.to, one) for one in follow]
        if len(passed[0].blob) > JOURNAL_BLOB_BYTES_MAX:
            book.take_group(told)
            detail = f"{len(passed[0].blob)} bytes are known of the group"
            return Refusal(RejectReason.LIMIT, detail)
        devices.forget(handles)
        zones = [one.zone.id for one in definitions if isinstance(one, MovedZone)]
        ids = [
            *(f"person/{one}" for one in persons),
            *(f"device/{one}" for one in names),
            *(f"order/{order.id}" for order in orders),
            *(f"case/{case.case_id}" for case in cases),
            *(f"zone/{one}" for one in zones),
        ]
        self._add(Gone(key, said.to, tuple(persons), tuple(handles), tuple(ids)))
        return key, passed

    def _add(self, gone: Gone) -> None:
        self._gone[gone.move_id] = gone
        self.persons |= dict.fromkeys(gone.persons, gone.to)
        self.handles |= dict.fromkeys(gone.handles, gone.to)
        self._ids |= dict.fromkeys(gone.ids, gone.to)

    # --- arriving -----------------------------------------------------------------------------

    def arrive(
        self, said: TakeGroup, now_ms: int, engine: Engine, book: Book, devices: Devices
    ) -> bool:
        """Take a group; True also for one that was taken before. Raises what stands in its way."""
        if said.move_id in self._taken:
            return True
        if not said.engine:
            return False  # asked about by who moved it: it has not come
        frames = msgspec.msgpack.decode(said.frames, type=DumpedDevices)
        engine.take_group(said.engine, now_ms, lambda: book.take_group(said.book))
        devices.take(frames, engine.person_handle)
        self.stay(said.persons)
        self._taken[said.move_id] = None
        if len(self._taken) > MOVES_KEPT:
            del self._taken[next(iter(self._taken))]
        return True

    def send_back(self, said: TakeGroup, here: str) -> Passed:
        """Refuse a group: it goes back, and what comes after it too."""
        try:
            frames = msgspec.msgpack.decode(said.frames, type=DumpedDevices)
            handles = tuple(device.handle for device, _ in frames.known)
        except msgspec.MsgspecError:
            handles = ()
        ids = [f"person/{one}" for one in said.persons]
        ids += [f"device/{one}" for one in said.devices]
        self._add(Gone(said.move_id, said.source, said.persons, handles, tuple(ids)))
        back = msgspec.structs.replace(said, move_id=f"{said.move_id}/back", source=here, back=True)
        return _command(said.source, back)

    def stay(self, persons: Iterable[str]) -> None:
        """Forget that somebody left: they are here again."""
        here = set(persons)
        left = [gone for gone in self._gone.values() if not here & set(gone.persons)]
        self.persons, self.handles, self._gone, self._ids = {}, {}, {}, {}
        for gone in left:
            self._add(gone)

    # --- what comes after them ----------------------------------------------------------------

    def to_pass(self, command: JournalCommand, blob: bytes) -> Passed | None:
        """A command about somebody who left, for where they are; None for one that is ours."""
        to = self._where(command)
        if to is None:
            return None
        if isinstance(command, DefineDevice):
            self.handles[command.handle] = to
            gone = next(one for one in self._gone.values() if command.person_id in one.persons)
            if command.handle not in gone.handles:
                handles = (*gone.handles, command.handle)
                self._gone[gone.move_id] = msgspec.structs.replace(gone, handles=handles)
        return Passed(to, EntryKind.COMMAND, blob)

    def _where(self, command: JournalCommand) -> str | None:
        match command:
            case CaseErased():
                return None  # of this partition's archive: each erases its own
            case DefineDevice() | DefinePerson():
                return self.persons.get(command.person_id or "")
            case DefineOrder(order=order):
                return self.persons.get(order.wearer_id)
            case DefineZone(zone=zone):
                return self._ids.get(f"zone/{zone.id}")
            case DefineCase():
                return self.persons.get(command.wearer_id or (*command.protected_ids, "")[0])
        for name in _ABOUT:
            value = getattr(command, name, None)
            kind = "person" if name == "wearer_id" else name.removesuffix("_id")
            if isinstance(value, str) and f"{kind}/{value}" in self._ids:
                return self._ids[f"{kind}/{value}"]
        return None

    def rows_of(self, handles: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which of these handles are of devices that left."""
        return np.flatnonzero(np.isin(handles, np.fromiter(self.handles, np.int64)))

    def split(self, batch: FrameBatch) -> tuple[FrameBatch | None, list[Passed]]:
        """The frames of an entry that are ours, None for none; and the others, to pass on."""
        rows = self.rows_of(batch.handles.astype(np.int64))
        if not len(rows):
            return batch, []
        records = batch.records()
        parts: dict[str, list[int]] = {}
        for row in rows.tolist():
            parts.setdefault(self.handles[records[row].handle], []).append(row)
        passed = [
            Passed(
                to,
                EntryKind.FRAMES,
                FrameBatch.build([records[row] for row in part], behind=batch.behind),
            )
            for to, part in parts.items()
        ]
        ours = [record for row, record in enumerate(records) if row not in set(rows.tolist())]
        left = FrameBatch.read(FrameBatch.build(ours, behind=batch.behind)) if ours else None
        return left, passed

    def is_ours(self, found: Finding) -> bool:
        """Whether a finding is about somebody who is here. The engine keeps rows of the others."""
        person = found.wearer_id if isinstance(found, Verdict) else found.person_id
        return person not in self.persons


def _closed(person_ids: Iterable[str], engine: Engine, book: Book) -> list[str]:
    """All who are tied to these persons, by orders or by cases."""
    found: set[str] = set()
    more = set(person_ids)
    while more != found:
        found = more
        more = found | set(engine.group_of(sorted(found))) | set(book.tied(sorted(found)))
    return sorted(found)


def _definition(one: Person | MovedZone) -> JournalCommand:
    if isinstance(one, Person):
        return DefinePerson(person_id=one.id, role=one.role)
    return DefineZone(zone=one.zone, compiled=one.compiled)


def _command(partition: str, command: JournalCommand) -> Passed:
    return Passed(partition, EntryKind.COMMAND, encode_command(command))
