"""The cases of a partition as the journal tells them: whose they are, when they ended, what holds.

A case has ended when the last of its orders has, and its review said so where there was one. A
case without an order ends by that review alone; one that nobody ended is never due.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from afstand.commands import (
    CaseErased,
    CommandError,
    DecideOrder,
    DefineOrder,
    HoldCase,
    JournalCommand,
    LiftHold,
    ProposeOrder,
    decode_command,
)
from afstand.erasure.retention import RECORDS
from afstand.erasure.subjects import ZONE, order_persons, persons_of
from afstand.proof.past import Columns
from afstand.watch.proposals import Proposals
from alerting.book.case_words import Review, ReviewOutcome
from alerting.book.types import DefineCase
from geofence.orders import Order
from geofence.verdicts import OrderKind
from ingest.archive.chain import StreamName
from ingest.archive.keys import Key
from ingest.columns import KIND_CODES
from ingest.entries import EntryKind
from ingest.store import EntryId

_COMMAND: Final = KIND_CODES[EntryKind.COMMAND.value]


class Kept(msgspec.Struct, kw_only=True):
    """A case, as far as retention asks for it."""

    case_id: str
    persons: tuple[str, ...]
    orders: dict[str, Order] = {}
    said_ms: int = 0
    """The last command about it."""
    ended_by_review: bool = False
    holds: list[HoldCase] = []
    erased: dict[str, EntryId] = {}
    """Categories that are gone, and where the watches were told last."""

    @property
    def ended_ms(self) -> int | None:
        """When it ended, or will by what its orders say; None for not yet."""
        if not self.orders and not self.ended_by_review:
            return None
        ends = [one.valid_to_ms for one in self.orders.values()]
        if None in ends:
            return None
        return max(self.said_ms, *(one for one in ends if one is not None), 0)

    def gone(self, category: str) -> bool:
        """Whether it was erased in a category."""
        return category in self.erased


class Room(NamedTuple):
    """All cases of a partition."""

    cases: dict[str, Kept]

    def lives(self, persons: Iterable[str], case: Kept, category: str) -> bool:
        """Whether another case that is kept holds all these persons."""
        wanted = set(persons)
        return any(
            wanted <= set(one.persons)
            for one in self.cases.values()
            if one is not case and not one.gone(category)
        )

    def keys_of(self, case: Kept, category: str, keys: Sequence[Key]) -> list[Key]:
        """Return the keys that go with a case: those of nobody's other case."""
        zones = self.zones_of(case) if category == RECORDS else ()
        return [
            key
            for key in keys
            if key.category == category and not key.destroyed and (
                self._goes(key.persons, case, category)
                or (category == RECORDS and key.persons[0].removeprefix(ZONE) in zones
                    and key.persons[0].startswith(ZONE))
            )
        ]  # fmt: skip

    def _goes(self, persons: tuple[str, ...], case: Kept, category: str) -> bool:
        gone = (one.persons for one in self.cases.values() if one.gone(category))
        # A group that moved is of several cases: its key goes with the last of them.
        return (
            bool(set(persons) & set(case.persons))
            and set(persons) <= {*case.persons, *(person for one in gone for person in one)}
            and not self.lives(persons, case, category)
        )

    def zones_of(self, case: Kept) -> tuple[str, ...]:
        """Return the zones that only orders of this case name."""
        own = {zone for order in case.orders.values() for zone in order.zone_ids}
        others = {
            zone
            for one in self.cases.values()
            if one is not case and not one.gone(RECORDS)
            for order_id, order in one.orders.items()
            if order_id not in case.orders
            for zone in order.zone_ids
        }
        shared = {
            zone
            for one in self.cases.values()
            if one is not case and not one.gone(RECORDS)
            for order_id, order in one.orders.items()
            if order_id in case.orders
            for zone in order.zone_ids
        }
        return tuple(sorted(own - others - shared))

    def persons_gone(self, case: Kept, category: str) -> tuple[str, ...]:
        """Return the persons of a case that are in no other case that is kept."""
        return tuple(one for one in case.persons if not self.lives((one,), case, category))

    def orders_gone(self, case: Kept) -> tuple[Order, ...]:
        """Return what is left of the orders of no other case that is kept."""
        kept = {
            order_id
            for one in self.cases.values()
            if one is not case and not one.gone(RECORDS)
            for order_id in one.orders
        }
        return tuple(_left_of(one) for key, one in sorted(case.orders.items()) if key not in kept)


def _left_of(order: Order) -> Order:
    """An order without its terms: whom it tied by which ids, and that it is over."""
    contact = order.kind is OrderKind.CONTACT_BAN
    return Order(
        id=order.id,
        version=order.version + 1,
        kind=order.kind,
        wearer_id=order.wearer_id,
        protected_ids=order.protected_ids,
        zone_ids=order.zone_ids,
        radius_m=1 if contact else 0,
        valid_from_ms=0,
        valid_to_ms=1,
        plan_id="erased",
    )


async def read_room(past: Columns, others: Sequence[Columns] = ()) -> Room:
    """Read all definitions of a partition. Raises what `past` raises.

    What is said of its cases in the `others` counts too: who moved is kept in both partitions, and
    an order that goes on, or a hold, holds in both. What is erased is erased in each.
    """
    told = await _commands(past)
    mine = {one.case_id for _, one in told if isinstance(one, DefineCase | CaseErased)}
    for other in others:
        told += [one for one in await _commands(other) if not isinstance(one[1], CaseErased)]
    told.sort(key=lambda one: one[0])
    cases: dict[str, Kept] = {}
    orders: dict[str, tuple[int, Order]] = {}
    proposals = Proposals()
    for at, command in told:
        order = _order_of(command, proposals, at.ms)
        if order is None:
            _note(cases, command, at)
            continue
        known = orders.get(order.id)
        if known is None or order.version >= known[1].version:
            orders[order.id] = at.ms, order
    cases = {case_id: case for case_id, case in cases.items() if case_id in mine}
    for at_ms, order in orders.values():
        for case in cases.values():
            tied = order_persons(order)
            if order.wearer_id in case.persons and (
                not order.protected_ids or set(tied) & set(case.persons) - {order.wearer_id}
            ):
                case.orders[order.id] = order
                case.said_ms = max(case.said_ms, at_ms)
    return Room(cases)


async def _commands(past: Columns) -> list[tuple[EntryId, JournalCommand]]:
    found = []
    async for part in past.columns(StreamName.JOURNAL):
        for index in (part.kind == _COMMAND).nonzero()[0].tolist():
            try:
                found.append((part.id(index), decode_command(part.blob(index))))
            except CommandError:
                continue  # rejected then, or erased
    return found


def _order_of(command: JournalCommand, proposals: Proposals, at_ms: int) -> Order | None:
    """The order that a command makes count: imported, or drawn and approved by a second person."""
    match command:
        case DefineOrder():
            return command.order
        case ProposeOrder():
            proposals.propose(command, at_ms)
        case DecideOrder():
            approved = proposals.decide(command)
            return approved.order if isinstance(approved, ProposeOrder) else None
        case _:
            pass
    return None


def _note(cases: dict[str, Kept], command: JournalCommand, at: EntryId) -> None:
    if isinstance(command, DefineCase):
        known = cases.get(command.case_id)
        persons = persons_of(command)
        if known is None:
            cases[command.case_id] = Kept(case_id=command.case_id, persons=persons)
        else:  # whoever was in it once is of it
            known.persons = tuple(sorted({*known.persons, *persons}))
    case = cases.get(getattr(command, "case_id", None) or "")
    if isinstance(command, CaseErased):
        if case is None:  # its definition went with it
            case = Kept(case_id=command.case_id, persons=command.persons)
            cases[command.case_id] = case
        case.erased = {**case.erased, command.category: at}
        return
    if case is None:
        return
    case.said_ms = max(case.said_ms, at.ms)
    match command:
        case HoldCase():
            case.holds = [*case.holds, command]
        case LiftHold():
            case.holds = []
        case Review():
            case.ended_by_review = command.outcome is ReviewOutcome.END
        case _:
            pass
