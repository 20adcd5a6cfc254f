"""Who and what there is, as the journal defines it: persons, devices, zones, orders, plans, cases.

A definition that the watch refused does not count: the refusal stands in the outbox at the place of
the definition, and the two streams are read apart, so either may be known first.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from afstand.limits import CONSOLE_PROPOSALS_MAX
from alerting.book.plans import BUILT_IN_PLANS, Plan, PlanError, parse_plan
from alerting.book.rosters import Roster, RosterError, parse_roster
from alerting.book.types import DefineCase
from console.model.inputs import (
    CaseGone,
    DeviceDefined,
    JournalFact,
    OrderDecided,
    OrderDefined,
    OrderProposed,
    PersonDefined,
    PlanDefined,
    RosterDefined,
    ShiftHandedOver,
    ZoneDefined,
)
from console.model.rows import START, Place
from geofence.orders import Order, Role, Zone

VERSIONS_KEPT: Final = 10
SHIFTS_KEPT: Final = 100
_Row = TypeVar("_Row", "OrderRow", "ZoneRow")


class PersonRow(msgspec.Struct, frozen=True):
    """A person and the partition that watches them."""

    person_id: str
    role: Role
    partition: str


class DeviceRow(msgspec.Struct, frozen=True):
    """A device, by the handle under which its frames are journalled."""

    handle: int
    device_id: str
    person_id: str | None
    role: Role
    enabled: bool
    partition: str


class ZoneRow(msgspec.Struct, frozen=True):
    """A version of a zone, and when it was put in."""

    zone: Zone
    partition: str
    at: Place


class OrderRow(msgspec.Struct, frozen=True):
    """A version of an order, and when it was put in."""

    order: Order
    partition: str
    at: Place
    proposal_id: str = ""


class ProposalState(StrEnum):
    """Where an order that needs a second person stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DECLINED = "declined"
    REFUSED = "refused"
    """The watch did not take it; the reason says why."""


class ProposalRow(msgspec.Struct, frozen=True, kw_only=True):
    """An order that somebody put before a second person."""

    proposal_id: str
    partition: str
    order: Order
    zones: tuple[Zone, ...]
    by: str
    reason: str
    at: Place
    state: ProposalState = ProposalState.PROPOSED
    decided_by: str = ""
    decided_at: Place | None = None
    decision_reason: str = ""


class ShiftRow(msgspec.Struct, frozen=True):
    """One shift gave the room to the next."""

    at: Place
    by: str
    to: str
    text: str
    incidents: tuple[str, ...]


class World(msgspec.Struct, kw_only=True):
    """The tables. Versions of orders and zones: newest last."""

    persons: dict[str, PersonRow] = {}
    devices: dict[int, DeviceRow] = {}
    zones: dict[str, list[ZoneRow]] = {}
    orders: dict[str, list[OrderRow]] = {}
    plans: dict[str, Plan] = msgspec.field(
        default_factory=lambda: {plan.id: plan for plan in BUILT_IN_PLANS}
    )
    rosters: dict[str, Roster] = {}
    cases: dict[str, DefineCase] = {}
    proposals: dict[str, ProposalRow] = {}
    shifts: list[ShiftRow] = []
    handles_of_person: dict[str, tuple[int, ...]] = {}
    handle_of_device: dict[str, int] = {}
    orders_of_person: dict[str, tuple[str, ...]] = {}
    cases_of_person: dict[str, tuple[str, ...]] = {}
    cases_at: dict[str, Place] = {}
    carried: dict[int, dict[str, int]] = {}
    """Who had a device before, and until when."""

    def define(
        self, partition: str, at: Place, fact: JournalFact, refused: str | None = None
    ) -> None:
        """Take what the journal says; `refused`: the watch did not, and this is why."""
        if refused is None:
            self._define(partition, at, fact)
        elif isinstance(fact, OrderDecided):
            self._decide(partition, at, fact)
            self.refuse(partition, at, refused)

    def _define(self, partition: str, at: Place, fact: JournalFact) -> None:
        match fact:
            case PersonDefined():
                self.persons[fact.person_id] = PersonRow(fact.person_id, fact.role, partition)
            case DeviceDefined():
                self._device(partition, at, fact)
            case ZoneDefined():
                self._zone(ZoneRow(fact.zone, partition, at))
            case OrderDefined():
                self._order(OrderRow(fact.order, partition, at))
            case PlanDefined():
                self._plan(fact.plan)
            case RosterDefined():
                self._roster(fact.roster)
            case DefineCase():
                self._case(fact)
                self.cases_at[fact.case_id] = at
            case OrderProposed():
                self._propose(partition, at, fact)
            case OrderDecided():
                self._decide(partition, at, fact)
            case ShiftHandedOver():
                self.shifts.append(ShiftRow(at, fact.by, fact.to, fact.text, fact.incidents))
                del self.shifts[:-SHIFTS_KEPT]

    def order(self, order_id: str) -> OrderRow | None:
        """The version of an order that counts now."""
        versions = self.orders.get(order_id)
        return versions[-1] if versions else None

    def zone(self, zone_id: str) -> Zone | None:
        """The version of a zone that counts now."""
        versions = self.zones.get(zone_id)
        return versions[-1].zone if versions else None

    def device_of(self, device_id: str) -> DeviceRow | None:
        """The device with this id."""
        handle = self.handle_of_device.get(device_id)
        return None if handle is None else self.devices.get(handle)

    def devices_of(self, person_id: str | None) -> list[DeviceRow]:
        """The devices of a person."""
        handles = self.handles_of_person.get(person_id or "", ())
        return [self.devices[handle] for handle in handles]

    def orders_about(self, persons: Iterable[str | None]) -> list[OrderRow]:
        """The orders that name one of these persons, each once, in order of definition."""
        ids: dict[str, None] = {}
        for person in persons:
            ids.update(dict.fromkeys(self.orders_of_person.get(person or "", ())))
        return [row for order_id in ids if (row := self.order(order_id)) is not None]

    def refuse(self, partition: str, at: Place, reason: str) -> None:
        """The watch refused what stands at this place: take it back."""
        _without(self.orders, partition, at)
        _without(self.zones, partition, at)
        for proposal in list(self.proposals.values()):
            when = proposal.decided_at or proposal.at
            if (proposal.partition, when) == (partition, at):
                self.proposals[proposal.proposal_id] = msgspec.structs.replace(
                    proposal, state=ProposalState.REFUSED, decision_reason=reason
                )

    def had_by(self, persons: Iterable[str]) -> list[tuple[int, int | None]]:
        """The devices of persons, now (None) or until when."""
        wanted = set(persons)
        found: list[tuple[int, int | None]] = [
            (device.handle, None) for one in sorted(wanted) for device in self.devices_of(one)
        ]
        for handle, had in self.carried.items():
            found += [(handle, until_ms) for one, until_ms in had.items() if one in wanted]
        return found

    def forget(self, partition: str, at: Place, gone: CaseGone) -> None:
        """Forget a case and what orders, zones and proposals said up to a place.

        Of an order its rest stays; a proposal that nobody has decided stays, as in the watch.
        """

        def old(row: OrderRow | ZoneRow | ProposalRow) -> bool:
            return row.partition == partition and row.at <= at

        left = {order.id: order for order in gone.orders}
        for order_id in left.keys() & self.orders.keys():
            self.orders[order_id] = [
                msgspec.structs.replace(row, order=left[order_id]) if old(row) else row
                for row in self.orders[order_id]
            ]
        for zone_id in gone.zones:
            _keep(self.zones, zone_id, [row for row in self.zones.get(zone_id, ()) if not old(row)])
        for proposal in list(self.proposals.values()):
            decided = proposal.state is not ProposalState.PROPOSED
            tied = {proposal.order.wearer_id, *proposal.order.protected_ids}
            of_it = proposal.order.id in left or bool(tied & set(gone.persons))
            if of_it and decided and old(proposal) and (proposal.decided_at or at) <= at:
                del self.proposals[proposal.proposal_id]
        if gone.case_id not in self.cases or self.cases_at.get(gone.case_id, START) > at:
            return  # defined anew since
        del self.cases[gone.case_id]
        self.cases_at.pop(gone.case_id, None)
        for person, cases in list(self.cases_of_person.items()):
            kept = tuple(one for one in cases if one != gone.case_id)
            if kept:
                self.cases_of_person[person] = kept
            else:
                del self.cases_of_person[person]

    def _device(self, partition: str, at: Place, fact: DeviceDefined) -> None:
        before = self.devices.get(fact.handle)
        if before is not None and before.person_id is not None:
            left = self.handles_of_person.get(before.person_id, ())
            self.handles_of_person[before.person_id] = tuple(h for h in left if h != fact.handle)
            if before.person_id != fact.person_id:
                had = self.carried.setdefault(fact.handle, {})
                had[before.person_id] = at.ms
        self.devices[fact.handle] = DeviceRow(
            fact.handle, fact.device_id, fact.person_id, fact.role, fact.enabled, partition
        )
        self.handle_of_device[fact.device_id] = fact.handle
        if fact.person_id is not None:
            known = self.handles_of_person.get(fact.person_id, ())
            self.handles_of_person[fact.person_id] = (*known, fact.handle)

    def _order(self, row: OrderRow) -> None:
        _newest(self.orders.setdefault(row.order.id, []), row)
        for person in (row.order.wearer_id, *row.order.protected_ids):
            _add(self.orders_of_person, person, row.order.id)

    def _zone(self, row: ZoneRow) -> None:
        _newest(self.zones.setdefault(row.zone.id, []), row)

    def _plan(self, raw: bytes) -> None:
        try:
            plan = parse_plan(raw)
        except PlanError:
            return  # the watch says so in the outbox
        self.plans[plan.id] = plan

    def _roster(self, raw: bytes) -> None:
        try:
            roster = parse_roster(raw)
        except RosterError:
            return  # the watch says so in the outbox
        self.rosters[roster.id] = roster

    def _case(self, case: DefineCase) -> None:
        self.cases[case.case_id] = case
        for person in (case.wearer_id, *case.protected_ids):
            if person is not None:
                _add(self.cases_of_person, person, case.case_id)

    def _propose(self, partition: str, at: Place, fact: OrderProposed) -> None:
        if fact.proposal_id in self.proposals:
            return
        while len(self.proposals) >= CONSOLE_PROPOSALS_MAX:
            del self.proposals[next(iter(self.proposals))]
        self.proposals[fact.proposal_id] = ProposalRow(
            proposal_id=fact.proposal_id,
            partition=partition,
            order=fact.order,
            zones=fact.zones,
            by=fact.by,
            reason=fact.reason,
            at=at,
        )

    def _decide(self, partition: str, at: Place, fact: OrderDecided) -> None:
        proposal = self.proposals.get(fact.proposal_id)
        if proposal is None or proposal.state is not ProposalState.PROPOSED:
            return
        if fact.by == proposal.by and fact.approved:
            return  # the watch refuses it: four eyes
        state = ProposalState.APPROVED if fact.approved else ProposalState.DECLINED
        self.proposals[fact.proposal_id] = msgspec.structs.replace(
            proposal,
            state=state,
            decided_by=fact.by,
            decided_at=at,
            decision_reason=fact.reason,
        )
        if fact.approved:
            for zone in proposal.zones:
                self._zone(ZoneRow(zone, partition, at))
            self._order(OrderRow(proposal.order, partition, at, proposal.proposal_id))


def _newest(versions: list[_Row], row: _Row) -> None:
    versions.append(row)
    if len(versions) > VERSIONS_KEPT:
        del versions[0]


def _add(table: dict[str, tuple[str, ...]], key: str, value: str) -> None:
    known = table.get(key, ())
    if value not in known:
        table[key] = (*known, value)


def _without(table: dict[str, list[_Row]], partition: str, at: Place) -> None:
    """Take versions of a place out of a table of versions."""
    for name, versions in list(table.items()):
        kept = [row for row in versions if (row.partition, row.at) != (partition, at)]
        if len(kept) != len(versions):
            _keep(table, name, kept)


def _keep(table: dict[str, list[_Row]], name: str, versions: list[_Row]) -> None:
    """Keep these versions and no other; what has none is not there."""
    if versions:
        table[name] = versions
    else:
        table.pop(name, None)
