"""Who and what there is: cases, devices, orders, zones, plans, rosters; not where anybody is."""

from typing import Any

import msgspec

from afstand.limits import CONSOLE_LIST_MAX
from alerting.book.classes_data import ALARM_BOOK, BOOK_VERSION
from alerting.book.roles import Right
from alerting.book.rosters import gaps, on_duty
from alerting.book.types import AlarmClass, DefineCase
from console.api.http import Call, Route
from console.api.problems import Code, FieldError, Problem
from console.caseload import CaseLine, caseload
from console.views import (
    DeviceView,
    EntryView,
    FixView,
    IncidentView,
    NextView,
    OrderView,
    PersonPosition,
    device_view,
    entry_view,
    incident_view,
    next_view,
    order_view,
    position_views,
)

TRACK_MS = 1_800_000
GAPS_AHEAD_MS = 14 * 86_400_000
PERSONS_PER_LINE = 500
"""Persons in one line of the log of look-ups."""


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`search`: a part of an id. `after`: the id to go on from."""

    search: str = ""
    after: str = ""


class CaseView(msgspec.Struct, frozen=True, kw_only=True):
    """Who belongs together."""

    id: str
    wearer_id: str | None
    protected_ids: tuple[str, ...]
    plan_id: str | None
    victim_policy: str


class CasesView(msgspec.Struct, frozen=True, kw_only=True):
    """Cases in order of id."""

    cases: tuple[CaseView, ...]
    next: str | None


class CaseDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A case with everything about it but positions."""

    case: CaseView
    orders: tuple[OrderView, ...]
    devices: tuple[DeviceView, ...]
    incidents: tuple[IncidentView, ...]
    log: tuple[EntryView, ...]
    now_ms: int


class OrdersView(msgspec.Struct, frozen=True, kw_only=True):
    """Orders in order of id."""

    orders: tuple[OrderView, ...]
    next: str | None
    now_ms: int


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An order, its earlier versions, and its zones as they are now."""

    order: OrderView
    earlier: tuple[OrderView, ...]
    zones: tuple["ZoneView", ...]


class ZoneView(msgspec.Struct, frozen=True, kw_only=True):
    """A zone: GeoJSON, or a circle in degrees x 1e7 and metres."""

    id: str
    version: int
    name: str
    geometry: dict[str, Any] | None
    circle: dict[str, int] | None


class DevicesView(msgspec.Struct, frozen=True, kw_only=True):
    """Devices in order of id."""

    devices: tuple[DeviceView, ...]
    next: str | None
    now_ms: int


class DeviceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A device, its health, and what it said lately."""

    device: DeviceView
    log: tuple[EntryView, ...]
    now_ms: int


class PlansView(msgspec.Struct, frozen=True, kw_only=True):
    """Escalation plans as they stand."""

    plans: tuple[dict[str, Any], ...]


class SpanView(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time, Unix ms."""

    from_ms: int
    to_ms: int


class RosterView(msgspec.Struct, frozen=True, kw_only=True):
    """A roster, who is on duty by it now, and when nobody is within the next fortnight."""

    roster: dict[str, Any]
    on_duty: tuple[str, ...]
    gaps: tuple[SpanView, ...]


class RostersView(msgspec.Struct, frozen=True, kw_only=True):
    """Duty rosters in order of id."""

    rosters: tuple[RosterView, ...]
    now_ms: int


class ZoneLine(msgspec.Struct, frozen=True, kw_only=True):
    """A zone without its shape, and the orders that name it."""

    id: str
    version: int
    name: str
    order_ids: tuple[str, ...]


class ZonesView(msgspec.Struct, frozen=True, kw_only=True):
    """Zones in order of id."""

    zones: tuple[ZoneLine, ...]
    next: str | None


class AlarmBookView(msgspec.Struct, frozen=True, kw_only=True):
    """The alarm book: what each class means and asks for."""

    version: str
    classes: tuple[NextView, ...]


class LookUpQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`reason`: why, in words; it is logged."""

    reason: str = ""


class LookUpView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a person was last."""

    now_ms: int
    positions: tuple[PersonPosition, ...]


class LastKnownLine(msgspec.Struct, frozen=True, kw_only=True):
    """One device in the list for when the service is down."""

    person_id: str
    role: str
    device_id: str
    case_ids: tuple[str, ...]
    fix: FixView | None
    battery_pct: int | None


class LastKnownView(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody's last known position, those of the highest risk first."""

    now_ms: int
    lines: tuple[LastKnownLine, ...]


class CaseloadView(msgspec.Struct, frozen=True, kw_only=True):
    """Every case in one line, those that need somebody first."""

    now_ms: int
    lines: tuple[CaseLine, ...]


def page(ids: list[str], query: ListQuery) -> tuple[list[str], str | None]:
    """The ids of one answer, and the one to go on from."""
    found = sorted(one for one in ids if query.search.lower() in one.lower() and one > query.after)
    part = found[:CONSOLE_LIST_MAX]
    return part, part[-1] if len(found) > len(part) else None


def _case_view(case: DefineCase) -> CaseView:
    return CaseView(
        id=case.case_id,
        wearer_id=case.wearer_id,
        protected_ids=case.protected_ids,
        plan_id=case.plan_id,
        victim_policy=case.victim_policy.value,
    )


async def list_cases(call: Call) -> CasesView:
    """Cases by id."""
    cases = call.services.hub.model.world.cases
    ids, after = page(list(cases), call.query)
    return CasesView(cases=tuple(_case_view(cases[one]) for one in ids), next=after)


async def show_case(call: Call) -> CaseDetail:
    """A case. Logged as a consultation."""
    model = call.services.hub.model
    case = model.world.cases.get(call.path("case_id"))
    if case is None:
        raise Problem(Code.NOT_FOUND)
    persons = tuple(one for one in (case.wearer_id, *case.protected_ids) if one is not None)
    await call.consult("case", persons)
    rows = [
        row
        for row in model.incidents.rows.values()
        if row.case_id == case.case_id or row.wearer_id in persons or row.protected_id in persons
    ]
    rows.sort(key=lambda row: row.opened_ms, reverse=True)
    log = [entry for person in persons for entry in model.log_of(person)]
    log.sort(key=lambda entry: entry.at_ms, reverse=True)
    orders = model.world.orders_about(persons) if Right.ORDERS in call.rights else []
    return CaseDetail(
        case=_case_view(case),
        orders=tuple(order_view(row, model, call.now_ms) for row in orders),
        devices=tuple(
            device_view(device, model)
            for person in persons
            for device in model.world.devices_of(person)
        ),
        incidents=tuple(incident_view(row, call.rights) for row in rows[:CONSOLE_LIST_MAX]),
        log=tuple(entry_view(entry, call.rights) for entry in log[:200]),
        now_ms=call.now_ms,
    )


async def list_orders(call: Call) -> OrdersView:
    """Orders by id."""
    model = call.services.hub.model
    ids, after = page([one for one in model.world.orders if model.world.order(one)], call.query)
    rows = [row for one in ids if (row := model.world.order(one)) is not None]
    views = tuple(order_view(row, model, call.now_ms) for row in rows)
    return OrdersView(orders=views, next=after, now_ms=call.now_ms)


async def show_order(call: Call) -> OrderDetail:
    """An order with its zones. Logged as a consultation."""
    model = call.services.hub.model
    order_id = call.path("order_id")
    row = model.world.order(order_id)
    if row is None:
        raise Problem(Code.NOT_FOUND)
    await call.consult("order", (row.order.wearer_id, *row.order.protected_ids))
    earlier = model.world.orders[order_id][:-1]
    zones = [model.world.zone(zone_id) for zone_id in row.order.zone_ids]
    return OrderDetail(
        order=order_view(row, model, call.now_ms),
        earlier=tuple(order_view(one, model, call.now_ms) for one in earlier),
        zones=tuple(
            ZoneView(
                id=zone.id,
                version=zone.version,
                name=zone.name,
                geometry=zone.geometry,
                circle=msgspec.to_builtins(zone.circle) if zone.circle else None,
            )
            for zone in zones
            if zone is not None
        ),
    )


async def show_zone(call: Call) -> ZoneView:
    """A zone as it is now."""
    zone = call.services.hub.model.world.zone(call.path("zone_id"))
    if zone is None:
        raise Problem(Code.NOT_FOUND)
    return ZoneView(
        id=zone.id,
        version=zone.version,
        name=zone.name,
        geometry=zone.geometry,
        circle=msgspec.to_builtins(zone.circle) if zone.circle else None,
    )


async def list_zones(call: Call) -> ZonesView:
    """Zones by id."""
    world = call.services.hub.model.world
    ids, after = page(list(world.zones), call.query)
    named: dict[str, list[str]] = {}
    for versions in world.orders.values():
        for zone_id in versions[-1].order.zone_ids:
            named.setdefault(zone_id, []).append(versions[-1].order.id)
    lines = tuple(
        ZoneLine(
            id=zone.id,
            version=zone.version,
            name=zone.name,
            order_ids=tuple(sorted(named.get(zone.id, ()))),
        )
        for one in ids
        if (zone := world.zone(one)) is not None
    )
    return ZonesView(zones=lines, next=after)


async def list_devices(call: Call) -> DevicesView:
    """Devices by id."""
    model = call.services.hub.model
    ids, after = page(list(model.world.handle_of_device), call.query)
    rows = [device for one in ids if (device := model.world.device_of(one)) is not None]
    views = tuple(device_view(device, model) for device in rows)
    return DevicesView(devices=views, next=after, now_ms=call.now_ms)


async def show_device(call: Call) -> DeviceDetail:
    """A device. Logged as a consultation."""
    model = call.services.hub.model
    device = model.world.device_of(call.path("device_id"))
    if device is None:
        raise Problem(Code.NOT_FOUND)
    await call.consult("device", (device.person_id,) if device.person_id else ())
    log = model.log_of_device(device.handle, device.device_id)
    return DeviceDetail(
        device=device_view(device, model),
        log=tuple(entry_view(entry, call.rights) for entry in reversed(log)),
        now_ms=call.now_ms,
    )


async def list_plans(call: Call) -> PlansView:
    """Escalation plans."""
    plans = call.services.hub.model.world.plans.values()
    return PlansView(plans=tuple(msgspec.to_builtins(plan) for plan in plans))


async def list_rosters(call: Call) -> RostersView:
    """Duty rosters, and who is on duty by them."""
    rosters = call.services.hub.model.world.rosters
    until_ms = call.now_ms + GAPS_AHEAD_MS
    views = tuple(
        RosterView(
            roster=msgspec.to_builtins(roster),
            on_duty=on_duty(roster, call.now_ms),
            gaps=tuple(
                SpanView(from_ms=start_ms, to_ms=end_ms)
                for start_ms, end_ms in gaps(roster, call.now_ms, until_ms)
            ),
        )
        for _, roster in sorted(rosters.items())
    )
    return RostersView(rosters=views, now_ms=call.now_ms)


async def alarm_book(call: Call) -> AlarmBookView:
    """The alarm book."""
    del call
    classes = tuple(next_view(AlarmClass(one)) for one in ALARM_BOOK)
    return AlarmBookView(version=BOOK_VERSION, classes=classes)


async def look_up(call: Call) -> LookUpView:
    """Where a person was last, outside an incident: with a reason, logged."""
    model = call.services.hub.model
    person = model.world.persons.get(call.path("person_id"))
    if person is None:
        raise Problem(Code.NOT_FOUND)
    wearer = person.role.value == "wearer"
    call.need(Right.WEARER_POSITION if wearer else Right.PROTECTED_POSITION)
    reason = checked_reason(call)
    await call.consult("positions", (person.person_id,), reason=reason)
    views = position_views(person.person_id, model, call.now_ms - TRACK_MS)
    return LookUpView(now_ms=call.now_ms, positions=tuple(views))


async def last_known(call: Call) -> LastKnownView:
    """Everybody's last known position, for when the service is down. Logged for every person."""
    model = call.services.hub.model
    reason = checked_reason(call)
    persons = tuple(sorted(model.world.persons))
    for start in range(0, len(persons), PERSONS_PER_LINE):
        await call.consult("last-known", persons[start : start + PERSONS_PER_LINE], reason=reason)
    risk = {
        person: min((row.order.risk_class for row in model.world.orders_about([person])), default=9)
        for person in persons
    }
    lines = [
        LastKnownLine(
            person_id=view.person_id,
            role=view.role,
            device_id=view.device_id,
            case_ids=model.world.cases_of_person.get(person, ()),
            fix=view.fix,
            battery_pct=device_view(device, model).battery_pct,
        )
        for person in sorted(persons, key=lambda one: (risk[one], one))
        for device, view in zip(
            model.world.devices_of(person), position_views(person, model, None), strict=True
        )
    ]
    return LastKnownView(now_ms=call.now_ms, lines=tuple(lines))


def checked_reason(call: Call) -> str:
    """The reason of a look-up. Raises the problem of one that is missing."""
    reason: str = call.query.reason.strip()
    least = call.services.reason_characters_min
    if len(reason) < least:
        error = FieldError("query.reason", f"at least {least} characters")
        raise Problem(Code.REASON, errors=(error,))
    return reason[:500]


async def show_caseload(call: Call) -> CaseloadView:
    """Every case in one line."""
    lines = caseload(call.services.hub.model, call.now_ms)
    return CaseloadView(now_ms=call.now_ms, lines=tuple(lines[:CONSOLE_LIST_MAX]))


_ABOUT = (Right.CASES,)
ROUTES = (
    Route("GET", "/v1/cases", "list-cases", "Cases", list_cases, _ABOUT, CasesView, ListQuery,
          tag="cases"),
    Route("GET", "/v1/cases/{case_id}", "show-case", "A case", show_case, _ABOUT, CaseDetail,
          tag="cases", masks="orders, distances and free words without their rights"),
    Route("GET", "/v1/last-known-positions", "list-last-known",
          "Everybody's last known position, for when the service is down", last_known,
          (Right.LAST_KNOWN,), LastKnownView, LookUpQuery, tag="persons"),
    Route("GET", "/v1/caseload", "show-caseload", "Every case in one line", show_caseload,
          (Right.CASELOAD,), CaseloadView, tag="cases"),
    Route("GET", "/v1/orders", "list-orders", "Orders", list_orders, (Right.ORDERS,), OrdersView,
          ListQuery, tag="orders"),
    Route("GET", "/v1/orders/{order_id}", "show-order", "An order and its zones", show_order,
          (Right.ORDERS,), OrderDetail, tag="orders"),
    Route("GET", "/v1/zones", "list-zones", "Zones", list_zones, (Right.ORDERS,), ZonesView,
          ListQuery, tag="orders"),
    Route("GET", "/v1/zones/{zone_id}", "show-zone", "A zone", show_zone, (Right.ORDERS,),
          ZoneView, tag="orders"),
    Route("GET", "/v1/devices", "list-devices", "Devices", list_devices, _ABOUT, DevicesView,
          ListQuery, tag="devices"),
    Route("GET", "/v1/devices/{device_id}", "show-device", "A device and its health", show_device,
          _ABOUT, DeviceDetail, tag="devices", masks="free words"),
    Route("GET", "/v1/plans", "list-plans", "Escalation plans", list_plans, _ABOUT, PlansView,
          tag="plans"),
    Route("GET", "/v1/rosters", "list-rosters", "Duty rosters, and who is on duty by them",
          list_rosters, (*_ABOUT, Right.SHIFT), RostersView, tag="plans"),
    Route("GET", "/v1/alarm-book", "show-alarm-book", "What each class of alarm asks for",
          alarm_book, (), AlarmBookView, tag="alarms"),
    Route("GET", "/v1/persons/{person_id}/positions", "look-up-positions",
          "Where a person was last, outside an incident", look_up, (Right.LOOK_UP,), LookUpView,
          LookUpQuery, tag="persons", masks="persons of the side whose position is not allowed"),
)  # fmt: skip
