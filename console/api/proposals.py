"""Orders before they count: proposed by one person, approved by another, checked at each step."""

import secrets
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from afstand.limits import (
    BOOK_TEXT_CHARS_MAX,
    CONSOLE_FEASIBILITY_HOURS_MAX,
    DISTANCE_M_MAX,
    ZONES_PER_ORDER_MAX,
)
from alerting.book.roles import Right
from console.api.commands import CommandView, send
from console.api.http import Answer, Call, Route
from console.api.problems import Code, FieldError, Problem
from console.feasibility import Feasibility, areas_of, feasibility
from console.model.inputs import OrderDecided, OrderProposed
from console.model.world import PersonRow, ProposalRow, ProposalState, World
from console.ports import UnavailableError
from geofence.geojson import GeoJSONError, parse_geometry
from geofence.orders import Id, Known, Order, Zone, problems
from geofence.verdicts import OrderKind

Words = Annotated[str, msgspec.Meta(max_length=BOOK_TEXT_CHARS_MAX)]


class ProposeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order with the zones that come with it. Zones that are known need not be repeated."""

    order: Order
    zones: Annotated[tuple[Zone, ...], msgspec.Meta(max_length=ZONES_PER_ORDER_MAX)] = ()
    reason: Words = ""


class DecisionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The second person's answer."""

    approved: bool
    reason: Words = ""


class ProposalsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which proposals."""

    state: Literal["proposed", "approved", "declined", "refused", "all"] = "proposed"


class ProposalView(msgspec.Struct, frozen=True, kw_only=True):
    """An order that was put before a second person."""

    id: str
    state: str
    partition: str
    by: str
    reason: str
    at_ms: int
    decided_by: str
    decided_ms: int | None
    decision_reason: str
    order: dict[str, Any]
    zones: tuple[dict[str, Any], ...]


class ProposalsView(msgspec.Struct, frozen=True, kw_only=True):
    """Proposals, newest first."""

    proposals: tuple[ProposalView, ...]


class ProposedView(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal that was journalled."""

    proposal_id: str
    command: CommandView


class FeasibilityBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an order would have meant lately. `hours`: so far back."""

    kind: OrderKind
    wearer_id: Id
    protected_ids: Annotated[tuple[Id, ...], msgspec.Meta(max_length=16)] = ()
    radius_m: Annotated[int, msgspec.Meta(ge=0, le=DISTANCE_M_MAX)] = 0
    zones: Annotated[tuple[Zone, ...], msgspec.Meta(max_length=ZONES_PER_ORDER_MAX)] = ()
    hours: Annotated[int, msgspec.Meta(ge=1, le=CONSOLE_FEASIBILITY_HOURS_MAX)] = 24


def _view(row: ProposalRow) -> ProposalView:
    return ProposalView(
        id=row.proposal_id,
        state=row.state.value,
        partition=row.partition,
        by=row.by,
        reason=row.reason,
        at_ms=row.at.ms,
        decided_by=row.decided_by,
        decided_ms=row.decided_at.ms if row.decided_at else None,
        decision_reason=row.decision_reason,
        order=msgspec.to_builtins(row.order),
        zones=tuple(msgspec.to_builtins(zone) for zone in row.zones),
    )


async def list_proposals(call: Call) -> ProposalsView:
    """Give proposals, newest first."""
    wanted = call.query.state
    rows = call.services.hub.model.world.proposals.values()
    found = [_view(row) for row in rows if wanted in ("all", row.state.value)]
    found.reverse()
    return ProposalsView(proposals=tuple(found))


def _row_of(call: Call) -> ProposalRow:
    row = call.services.hub.model.world.proposals.get(call.path("proposal_id"))
    if row is None:
        raise Problem(Code.NOT_FOUND)
    return row


async def show_proposal(call: Call) -> ProposalView:
    """One proposal."""
    return _view(_row_of(call))


async def propose(call: Call) -> Answer:
    """Put an order before a second person."""
    said, world = call.body, call.services.hub.model.world
    wrong = check(said.order, said.zones, world)
    if wrong:
        raise Problem(Code.MALFORMED, "the order cannot be put", errors=tuple(wrong))
    partition = partition_of(said.order, world)
    proposal_id = f"v-{secrets.token_hex(6)}"
    fact = OrderProposed(proposal_id, said.order, said.zones, call.session.name, said.reason)
    answer = await send(call, partition, fact)
    headers = {"Location": f"/v1/order-proposals/{proposal_id}"}
    status = 201 if answer.status == 200 else answer.status
    return Answer(ProposedView(proposal_id=proposal_id, command=answer.body), status, headers)


async def decide(call: Call) -> Answer:
    """Approve or decline a proposal."""
    row = _row_of(call)
    if row.state is not ProposalState.PROPOSED:
        raise Problem(Code.CONFLICT, f"it is {row.state.value} already")
    if call.body.approved and row.by == call.session.name:
        raise Problem(Code.CONFLICT, "four eyes: whoever proposes an order cannot approve it")
    fact = OrderDecided(row.proposal_id, call.session.name, call.body.approved, call.body.reason)
    return await send(call, row.partition, fact)


def check(order: Order, zones: Iterable[Zone], world: World) -> list[FieldError]:
    """Everything that is wrong with an order that is to be proposed."""
    found: list[FieldError] = []
    brought: dict[str, Zone] = {}
    for index, zone in enumerate(zones):
        place = f"zones.{index}"
        before = world.zone(zone.id)
        if zone.id in brought:
            found.append(FieldError(f"{place}.id", "named-twice", zone.id))
        if before is not None and zone.version <= before.version and zone != before:
            detail = f"version {before.version} is there"
            found.append(FieldError(f"{place}.version", "older-version", detail))
        if zone.id not in order.zone_ids:
            found.append(FieldError(f"{place}.id", "foreign-field", "the order does not name it"))
        brought[zone.id] = zone
        found += _geometry_errors(zone, place)
    known_zones = {one for one in world.zones if world.zone(one)} | set(brought)
    known = Known(persons=set(world.persons), zones=known_zones)
    found += [
        FieldError(f"order.{one.field}", one.reason.value, one.detail)
        for one in problems(order, known)
    ]
    if order.plan_id not in world.plans:
        found.append(FieldError("order.plan_id", "unknown-plan", order.plan_id))
    row = world.order(order.id)
    if row is not None and order.version <= row.order.version:
        detail = f"version {row.order.version} is there"
        found.append(FieldError("order.version", "older-version", detail))
    if len({p.partition for p in _persons(order, world)}) > 1:
        found.append(
            FieldError("order.protected_ids", "other-partition", "they are not watched together")
        )
    return found


def _geometry_errors(zone: Zone, place: str) -> list[FieldError]:
    if (zone.geometry is None) == (zone.circle is None):
        return [FieldError(place, "bad-geometry", "must have a geometry or a circle")]
    if zone.geometry is None:
        return []
    try:
        parse_geometry(zone.geometry, repairs=zone.repairs)
    except (GeoJSONError, ValueError) as error:
        return [FieldError(f"{place}.geometry", "bad-geometry", str(error))]
    return []


def _persons(order: Order, world: World) -> list[PersonRow]:
    ids = (order.wearer_id, *order.protected_ids)
    return [world.persons[one] for one in ids if one in world.persons]


def partition_of(order: Order, world: World) -> str:
    """The partition that watches the wearer."""
    return world.persons[order.wearer_id].partition


async def check_feasibility(call: Call) -> Feasibility:
    """How much of the past would have been a breach. Logged as a consultation."""
    said, model = call.body, call.services.hub.model
    world = model.world
    wearer = world.persons.get(said.wearer_id)
    others = [world.persons.get(one) for one in said.protected_ids]
    if wearer is None or any(one is None for one in others):
        raise Problem(Code.NOT_FOUND, "a person is not known")
    for index, zone in enumerate(said.zones):
        wrong = _geometry_errors(zone, f"zones.{index}")
        if wrong:
            raise Problem(Code.MALFORMED, errors=tuple(wrong))
    await call.consult("feasibility", (said.wearer_id, *said.protected_ids))
    try:
        found = await feasibility(
            call.services.link,
            world,
            kind=said.kind,
            wearer_id=said.wearer_id,
            protected_ids=said.protected_ids,
            radius_m=said.radius_m,
            areas=areas_of(said.zones),
            now_ms=call.now_ms,
            hours=said.hours,
        )
    except UnavailableError as error:
        raise Problem(Code.UNAVAILABLE, str(error)) from None
    if Right.PROTECTED_POSITION in call.rights:
        return found
    # From exact shares for many radii a place could be computed.
    return msgspec.structs.replace(
        found, breach_pct=None if found.breach_pct is None else 5.0 * round(found.breach_pct / 5)
    )


_PROPOSALS = "/v1/order-proposals"
ROUTES = (
    Route("GET", _PROPOSALS, "list-proposals", "Orders that wait for a second person",
          list_proposals, (Right.PROPOSE, Right.APPROVE), ProposalsView, ProposalsQuery,
          tag="orders"),
    Route("POST", _PROPOSALS, "propose-order", "Put an order before a second person", propose,
          (Right.PROPOSE,), ProposedView, body=ProposeBody, statuses=(201, 202), tag="orders"),
    Route("GET", f"{_PROPOSALS}/{{proposal_id}}", "show-proposal", "One proposal", show_proposal,
          (Right.PROPOSE, Right.APPROVE), ProposalView, tag="orders"),
    Route("POST", f"{_PROPOSALS}/{{proposal_id}}/decisions", "decide-order",
          "Approve or decline it", decide, (Right.APPROVE,), CommandView, body=DecisionBody,
          statuses=(200, 202), tag="orders"),
    Route("POST", "/v1/feasibility-checks", "check-feasibility",
          "What an order would have meant lately", check_feasibility, (Right.PROPOSE,),
          Feasibility, body=FeasibilityBody, tag="orders",
          masks="exact shares, which are rounded to 5 % without the protected person's position"),
)  # fmt: skip
