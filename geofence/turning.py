"""Turning an order: what it shows when its force, hours, version or zones change."""

from typing import NamedTuple

from geofence import codes, kernel
from geofence.decision import CONFIRMED, POSSIBLE
from geofence.docket import Docket, OrderEntry
from geofence.orders import Order, OrderState, enforceable, in_hours, order_state
from geofence.parameters import DAY_MS, EXPIRING_DAYS
from geofence.verdicts import OrderKind, VerdictReason


class Turn(NamedTuple):
    """One row of an order before and after an edge."""

    was_shown: int
    shown: int
    was_force: bool
    force: bool
    was_open: bool
    is_open: bool


def turn_order(
    docket: Docket, entry: OrderEntry, at_ms: int, cause: VerdictReason | None, *, seed: bool
) -> None:
    """Judge an order at an instant of time and tell what changed, then plan its next edge.

    `cause` is told even when the state stays as it was; None tells changes only.
    """
    order = entry.order
    force = enforceable(order, at_ms)
    is_open = in_hours(order, at_ms)
    if cause is None and _expires_soon(order, at_ms):
        cause = VerdictReason.ORDER_EXPIRING
    if order.kind is OrderKind.CONTACT_BAN:
        for index in entry.pairs:
            _turn_pair(docket, entry, index, at_ms, force, is_open, cause, seed)
    else:
        _turn_unit(docket, entry, at_ms, force, is_open, cause, seed)
    docket.plan_edge(entry, at_ms)


def withdraw_pairs(docket: Docket, entry: OrderEntry, at_ms: int) -> None:
    """Tell of the pairs that an order is no longer about: whatever held of them is over."""
    for index in entry.gone:
        docket.undo.reserve(16)
        docket.undo.keep_pair(docket.tables, index)
        state = docket.state()
        kernel.turned_pair(state, index, at_ms, force=False, is_open=False, seed=False)
        kernel.told_pair(state, index, at_ms, codes.REASONS.index(VerdictReason.ORDER_WITHDRAWN))


def _expires_soon(order: Order, at_ms: int) -> bool:
    """Return whether `at_ms` is one of the days of notice before the end of an order in force."""
    if order.valid_to_ms is None or not enforceable(order, at_ms):
        return False
    left_ms = order.valid_to_ms - at_ms
    return any(left_ms == days * DAY_MS for days in EXPIRING_DAYS)


def _turn_unit(
    docket: Docket,
    entry: OrderEntry,
    at_ms: int,
    force: bool,
    is_open: bool,
    cause: VerdictReason | None,
    seed: bool,
) -> None:
    tables, undo = docket.tables, docket.undo
    undo.reserve(16)
    unit = docket.unit_of(entry)
    row = tables.world.units[unit]
    was_shown, was_force, was_open = int(row["shown"]), bool(row["force"]), bool(row["open"])
    was_missed = bool(row["missed"])
    state = docket.state()
    shown = kernel.turned_unit(
        state, unit, entry.person, at_ms, force=force, is_open=is_open, seed=seed
    )
    turn = Turn(was_shown, shown, was_force, force, was_open, is_open)
    duty = bool(row["once"])
    ask = not duty and force and is_open and not (was_force and was_open and not seed)
    if shown != was_shown or force != was_force or cause is not None:
        reason = _reason(entry.order, turn, at_ms, cause)
        if bool(row["missed"]) and not was_missed:
            reason = VerdictReason.REPORT_DUTY_MISSED
        kernel.told_unit(state, unit, entry.person, at_ms, codes.REASONS.index(reason), ask=ask)
    elif ask:
        kernel.asked_unit(state, unit, entry.person, at_ms)


def _turn_pair(
    docket: Docket,
    entry: OrderEntry,
    index: int,
    at_ms: int,
    force: bool,
    is_open: bool,
    cause: VerdictReason | None,
    seed: bool,
) -> None:
    tables, undo = docket.tables, docket.undo
    undo.reserve(16)
    undo.keep_pair(tables, index)
    row = tables.world.pairs[index]
    was_shown, was_force, was_open = int(row["shown"]), bool(row["force"]), bool(row["open"])
    state = docket.state()
    shown = kernel.turned_pair(state, index, at_ms, force=force, is_open=is_open, seed=seed)
    turn = Turn(was_shown, shown, was_force, force, was_open, is_open)
    reason = -1
    if shown != was_shown or force != was_force or cause is not None:
        reason = codes.REASONS.index(_reason(entry.order, turn, at_ms, cause))
    kernel.told_pair(state, index, at_ms, reason)
    if force and is_open and not (was_force and was_open):
        kernel.asked_pair(state, index, at_ms)


def _reason(order: Order, turn: Turn, at_ms: int, cause: VerdictReason | None) -> VerdictReason:
    """Return why a row is told: force first, then the cause, then hours."""
    breach = turn.shown in (POSSIBLE, CONFIRMED)
    absent = order.kind in (OrderKind.LOCATION_ORDER, OrderKind.EXIT_BAN)
    if turn.force and not turn.was_force:
        if not breach:
            return VerdictReason.ORDER_CAME_INTO_FORCE
        if absent:
            return VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_ABSENT
        return VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_INSIDE
    if turn.was_force and not turn.force:
        state = order_state(order, at_ms)
        if state is OrderState.LAPSED:
            return VerdictReason.ORDER_LAPSED
        if state is OrderState.SUSPENDED:
            return VerdictReason.ORDER_SUSPENDED
        return VerdictReason.ORDER_NOT_IN_FORCE
    if cause is not None:
        return cause
    return _hours_reason(turn, breach=breach, absent=absent)


def _hours_reason(turn: Turn, *, breach: bool, absent: bool) -> VerdictReason:
    if turn.was_open and not turn.is_open:
        return VerdictReason.SCHEDULE_ENDED
    if turn.is_open and not turn.was_open:
        if not breach:
            return VerdictReason.SCHEDULE_OPENED
        if absent:
            return VerdictReason.SCHEDULE_OPENED_WHILE_ABSENT
        return VerdictReason.SCHEDULE_OPENED_WHILE_INSIDE
    return VerdictReason.ORDER_NOT_IN_FORCE if not turn.force else VerdictReason.ORDER_CHANGED
