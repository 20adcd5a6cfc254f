"""Every case in one line: what a supervisor must look at, and why. Pure."""

import msgspec
import numpy as np

from console.model.model import Model
from geofence.orders import OrderState, order_state

DAY_MS = 86_400_000
QUIET_MS = 300_000
BATTERY_LOW_PCT = 20


class CaseLine(msgspec.Struct, frozen=True, kw_only=True):
    """One case. `reasons` says why it stands where it stands, the most urgent first."""

    case_id: str
    wearer_id: str | None
    protected_ids: tuple[str, ...]
    open_incidents: int
    incidents_14d: int
    alarm_classes_14d: dict[str, int]
    last_fix_age_ms: int | None
    battery_pct: int | None
    orders: int
    expires_ms: int | None
    reasons: tuple[str, ...]


def caseload(model: Model, now_ms: int) -> list[CaseLine]:
    """All cases, those with most reasons to look first."""
    incidents: dict[str, list[tuple[bool, tuple[str, ...]]]] = {}
    for row in model.incidents.rows.values():
        if row.drill or row.opened_ms < now_ms - 14 * DAY_MS:
            continue
        classes = tuple(one.value for one in row.alarm_classes)
        for person in (row.wearer_id, row.protected_id):
            if person is not None:
                incidents.setdefault(person, []).append((row.open, classes))
    lines = [_line(case_id, model, incidents, now_ms) for case_id in model.world.cases]
    lines.sort(key=lambda line: (-_weight(line), line.case_id))
    return lines


def _weight(line: CaseLine) -> int:
    return 100 * line.open_incidents + 10 * len(line.reasons) + line.incidents_14d


def _line(
    case_id: str,
    model: Model,
    incidents: dict[str, list[tuple[bool, tuple[str, ...]]]],
    now_ms: int,
) -> CaseLine:
    case = model.world.cases[case_id]
    who = case.wearer_id or (case.protected_ids[0] if case.protected_ids else None)
    found = incidents.get(who or "", [])
    classes: dict[str, int] = {}
    for _, names in found:
        for name in names:
            classes[name] = classes.get(name, 0) + 1
    handles = np.array([d.handle for d in model.world.devices_of(case.wearer_id)], np.int64)
    ages = [age for age in model.positions.ages_ms(handles, now_ms).tolist() if age >= 0]
    fixes = [model.positions.last(int(handle)) for handle in handles]
    battery = [fix.battery_pct for fix in fixes if fix is not None and fix.battery_pct is not None]
    rows = model.world.orders_about([case.wearer_id])
    states = {row.order.id: order_state(row.order, now_ms) for row in rows}
    ends = [
        row.order.valid_to_ms
        for row in rows
        if row.order.valid_to_ms is not None and states[row.order.id] is not OrderState.LAPSED
    ]
    open_now = sum(is_open for is_open, _ in found)
    age = min(ages, default=None)
    reasons = []
    if open_now:
        reasons.append("incident-open")
    if case.wearer_id is not None and len(handles) and (age is None or age > QUIET_MS):
        reasons.append("no-contact")
    if battery and min(battery) <= BATTERY_LOW_PCT:
        reasons.append("battery-low")
    if OrderState.EXPIRING in states.values():
        reasons.append("order-expiring")
    if OrderState.SIGNED in states.values():
        reasons.append("order-not-served")
    if case.wearer_id is not None and rows and not _in_force(list(states.values())):
        reasons.append("no-order-in-force")
    if len(found) >= 3:
        reasons.append("often")
    return CaseLine(
        case_id=case_id,
        wearer_id=case.wearer_id,
        protected_ids=case.protected_ids,
        open_incidents=open_now,
        incidents_14d=len(found),
        alarm_classes_14d=classes,
        last_fix_age_ms=age,
        battery_pct=min(battery, default=None),
        orders=len(rows),
        expires_ms=min(ends, default=None),
        reasons=tuple(reasons),
    )


def _in_force(states: list[OrderState]) -> bool:
    return any(state in (OrderState.ACTIVE, OrderState.EXPIRING) for state in states)
