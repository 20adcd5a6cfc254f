"""The legal life of orders: what is wrong with one now, and the tasks that follow.

An order that has not been served, that lapses or that contradicts another protects nobody, and no
court believes a breach of it. Each such matter is a LEGAL alarm with an owner (the case's), one per
order, raised at the instant it becomes true and ended by the version of the order that puts it
right. Whether a breach is escalated is decided by the engine from the same order; nothing here
changes that.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from afstand.limits import BOOK_ORDERS_MAX
from alerting.book import conditions, decisions
from alerting.book.calendar import date_text
from alerting.book.context import Context
from alerting.book.inputs import OrderTaken
from alerting.book.outputs import RejectReason
from alerting.book.state import Facts, LegalRow, State
from alerting.book.titles import (
    CONFLICTS,
    DEFAULT_SERVE_WITHIN_H,
    longest_end_ms,
    renewals_max,
    title_of,
)
from alerting.book.words import AlarmClass, Role
from geofence.orders import Appeal, Order, OrderState, order_state
from geofence.verdicts import OrderKind

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
EXPIRY_STAGES_DAYS: Final = (14, 7, 2)
"""Days before the end at which the owner is told, each time anew."""
KEEP_LAPSED_MS: Final = 90 * DAY_MS
"""How long a lapsed order is remembered, so that its last breaches are still decided on."""
TIMER: Final = "legal"
GONE_TIMER: Final = "legal-gone"


class Matter(StrEnum):
    """What may be wrong with an order."""

    NOT_SIGNED = "not-signed"
    NOT_SERVED = "not-served"
    EXPIRING = "expiring"
    LAPSED = "lapsed"
    APPEAL_GAP = "appeal-gap"
    """Suspended by an appeal, and not declared immediately enforceable."""
    WRONGLY_SUSPENDED = "suspended-against-its-title"
    """An appeal suspends it here, and by law does not suspend this title."""
    TOO_LONG = "longer-than-its-title-allows"
    NO_END = "without-an-end"
    TOO_MANY_RENEWALS = "renewed-too-often"
    CONFLICT = "conflicts-with-another-order"


STANDING: Final = tuple(m for m in Matter if m not in (Matter.EXPIRING, Matter.LAPSED))
"""Matters that hold until the order is put right. The other two are said at their time."""


class Wrong(NamedTuple):
    """One matter that holds, in words for the owner."""

    matter: Matter
    detail: str


# --- what is wrong with one order now -------------------------------------------------------------


def wrongs(order: Order, others: Iterable[Order], now_ms: int) -> Iterator[Wrong]:
    """Every standing matter of an order; `others` are the other orders about its wearer."""
    state = order_state(order, now_ms)
    if state is OrderState.LAPSED:
        return
    if state is OrderState.DRAFTED:
        if now_ms >= order.valid_from_ms:
            yield Wrong(Matter.NOT_SIGNED, f"to be valid since {date_text(order.valid_from_ms)}")
        return
    if order.served_at_ms is None and now_ms >= serve_by_ms(order):
        yield Wrong(Matter.NOT_SERVED, f"to be served by {date_text(serve_by_ms(order))}")
    yield from _appeal(order)
    yield from _terms(order)
    for other in others:
        if _comes_after(order, other) and (why := _conflict(order, other, now_ms)):
            yield Wrong(Matter.CONFLICT, f"{other.id}: {why}")
            return


def serve_by_ms(order: Order) -> int:
    """By when somebody must have served a signed order."""
    title = title_of(order)
    hours = DEFAULT_SERVE_WITHIN_H if title is None else title.serve_within_h
    return max(order.valid_from_ms, order.signed_at_ms or 0) + hours * HOUR_MS


def _appeal(order: Order) -> Iterator[Wrong]:
    if order.appeal is not Appeal.PENDING or order.immediately_enforceable:
        return
    title = title_of(order)
    if title is not None and not title.appeal_suspends:
        detail = f"{title.name.en}: an appeal does not suspend it; say immediately_enforceable"
        yield Wrong(Matter.WRONGLY_SUSPENDED, detail)
    else:
        yield Wrong(Matter.APPEAL_GAP, "not enforceable until the appeal is decided")


def _terms(order: Order) -> Iterator[Wrong]:
    title = title_of(order)
    allowed = renewals_max(order, title)
    if allowed is not None and order.renewals_used > allowed:
        yield Wrong(Matter.TOO_MANY_RENEWALS, f"{order.renewals_used} renewals, at most {allowed}")
    if title is None:
        return
    longest_ms = longest_end_ms(title, order.valid_from_ms, order.renewals_used)
    if order.valid_to_ms is None:
        if title.needs_end:
            yield Wrong(Matter.NO_END, f"{title.name.en} has an end")
    elif longest_ms is not None and order.valid_to_ms > longest_ms:
        detail = f"to {date_text(order.valid_to_ms)}, at most to {date_text(longest_ms)}"
        yield Wrong(Matter.TOO_LONG, detail)


def _comes_after(order: Order, other: Order) -> bool:
    """Of two orders in conflict the later one carries the matter, so that it is told once."""
    return (order.valid_from_ms, order.id) > (other.valid_from_ms, other.id)


def _conflict(order: Order, other: Order, now_ms: int) -> str:
    """Why two orders about one wearer contradict each other, or nothing."""
    shared = [zone for zone in order.zone_ids if zone in other.zone_ids]
    over = (OrderState.LAPSED, OrderState.DRAFTED)
    if not shared or order_state(other, now_ms) in over or not _overlap(order, other):
        return ""
    kinds = (order.kind, other.kind)
    if OrderKind.LOCATION_ORDER in kinds and OrderKind.AREA_BAN in kinds:
        return f"one bans from {shared[0]}, the other orders to be there"
    mine, its = title_of(order), title_of(other)
    for first, second, kind in CONFLICTS:
        named = {mine.id if mine else "", its.id if its else ""} == {first, second}
        if named and kinds == (kind, kind):
            return f"{first} yields to {second} for {shared[0]}"
    return ""


def _overlap(one: Order, other: Order) -> bool:
    ends = [o.valid_to_ms for o in (one, other) if o.valid_to_ms is not None]
    return not ends or max(one.valid_from_ms, other.valid_from_ms) < min(ends)


def expiry_stage(order: Order, now_ms: int) -> int | None:
    """The nearest stage before the end that has been reached: 14, 7 or 2 days. None: not yet.

    A term that is no longer than a stage has no such stage: a home ban of 10 days begins at 7.
    """
    if order.valid_to_ms is None or now_ms >= order.valid_to_ms:
        return None
    reached = [
        days
        for days in EXPIRY_STAGES_DAYS
        if now_ms >= order.valid_to_ms - days * DAY_MS
        and order.valid_to_ms - order.valid_from_ms > days * DAY_MS
    ]
    return min(reached) if reached else None


def renewal_text(order: Order) -> str:
    """Whether and until when an order that expires may be renewed."""
    title = title_of(order)
    allowed = renewals_max(order, title)
    used = order.renewals_used
    parts = [f"ends {date_text(order.valid_to_ms)}"] if order.valid_to_ms is not None else []
    if allowed is not None:
        parts.append(f"{used} of {allowed} renewals used")
    if title is not None and (allowed is None or used < allowed):
        longest_ms = longest_end_ms(title, order.valid_from_ms, used + 1)
        if longest_ms is not None and longest_ms != order.valid_to_ms:
            parts.append(f"renewable until {date_text(longest_ms)}")
        if title.renewal_asks is not None:
            parts.append(f"if {title.renewal_asks.en}")
    return ", ".join(parts)


def next_edge_ms(order: Order, now_ms: int) -> int | None:
    """The next instant at which anything above may change by itself."""
    edges = [order.valid_from_ms]
    edges += [at for at in (order.signed_at_ms, order.served_at_ms) if at is not None]
    if order.signed_at_ms is not None and order.served_at_ms is None:
        edges.append(serve_by_ms(order))
    if order.valid_to_ms is not None:
        edges += [order.valid_to_ms - days * DAY_MS for days in EXPIRY_STAGES_DAYS]
        edges.append(order.valid_to_ms)
    later = [edge for edge in edges if edge > now_ms]
    return min(later) if later else None


# --- the fold -------------------------------------------------------------------------------------


def order_taken(cx: Context, said: OrderTaken) -> None:
    """The engine took an order, or a new version of one."""
    state = cx.state
    order = msgspec.structs.replace(said.order, schedule=None)
    old = state.orders.get(order.id)
    if old == order:
        return
    if old is None:
        if len(state.orders) >= BOOK_ORDERS_MAX:
            cx.reject(RejectReason.LIMIT, "order-taken", order.id, f"{BOOK_ORDERS_MAX} orders")
            return
        known = state.wearer_orders.get(order.wearer_id) or ()
        state.wearer_orders.put(order.wearer_id, (*known, order.id))
    state.orders.put(order.id, order)
    state.timers.clear(f"{GONE_TIMER}|{order.id}")
    row = state.legal.get(order.id) or LegalRow()
    if old is not None and old.valid_to_ms != order.valid_to_ms:
        conditions.end(cx, _key(order, Matter.EXPIRING), "renewed")
        conditions.end(cx, _key(order, Matter.LAPSED), "renewed")
        row = LegalRow()
    state.legal.put(order.id, row)
    look(cx, order.wearer_id)


def edge(cx: Context, order_id: str) -> None:
    """Time changes what is wrong with an order, or with another of the same wearer."""
    order = cx.state.orders.get(order_id)
    if order is not None:
        look(cx, order.wearer_id)


def look(cx: Context, wearer_id: str) -> None:
    """Set and end the matters of every order about a wearer, and the timer of the next change."""
    orders = orders_of(cx.state, wearer_id)
    for order in orders:
        others = [other for other in orders if other.id != order.id]
        held = {wrong.matter: wrong for wrong in wrongs(order, others, cx.now_ms)}
        for matter in STANDING:
            wrong = held.get(matter)
            key = _key(order, matter)
            if wrong is None:
                conditions.end(cx, key, "put-right")
            elif key not in cx.state.conditions:
                facts = facts_of(order, matter.value, wrong.detail)
                conditions.begin(cx, key, AlarmClass.LEGAL, facts, lasting=True)
        _ending(cx, order, others)
        name = f"{TIMER}|{order.id}"
        edge_ms = next_edge_ms(order, cx.now_ms)
        if edge_ms is None:
            cx.state.timers.clear(name)
        else:
            cx.state.timers.set(name, edge_ms)


def _ending(cx: Context, order: Order, others: list[Order]) -> None:
    """Say once, at its time, that an order is about to end and that it has ended."""
    row = cx.state.legal[order.id]
    now_ms = cx.now_ms
    if order_state(order, now_ms) is OrderState.LAPSED:
        if row.seen_valid and not row.lapsed and not _succeeded(order, others, now_ms):
            detail = f"ended {date_text(order.valid_to_ms or 0)}"
            facts = facts_of(order, Matter.LAPSED.value, detail)
            key = _key(order, Matter.LAPSED)
            conditions.begin(cx, key, AlarmClass.LEGAL, facts, lasting=False)
        conditions.end(cx, _key(order, Matter.EXPIRING), "lapsed")
        if not row.lapsed:
            cx.state.timers.set(f"{GONE_TIMER}|{order.id}", now_ms + KEEP_LAPSED_MS)
        cx.state.legal.put(order.id, msgspec.structs.replace(row, lapsed=True))
        return
    drafted = order_state(order, now_ms) is OrderState.DRAFTED
    stage = None if drafted else expiry_stage(order, now_ms)
    if stage is not None and (row.stage is None or stage < row.stage):
        facts = facts_of(order, Matter.EXPIRING.value, f"{stage} days: {renewal_text(order)}")
        key = _key(order, Matter.EXPIRING)
        press = f"{order.id}/{order.valid_to_ms}/{stage}"
        conditions.begin(cx, key, AlarmClass.LEGAL, facts, lasting=False, press=press)
    row = msgspec.structs.replace(row, seen_valid=row.seen_valid or not drafted, stage=stage)
    cx.state.legal.put(order.id, row)


def _succeeded(order: Order, others: list[Order], now_ms: int) -> bool:
    """Whether another order of the same kind goes on where this one ended."""
    return any(
        other.kind is order.kind
        and other.zone_ids == order.zone_ids
        and other.protected_ids == order.protected_ids
        and order_state(other, now_ms) in (OrderState.ACTIVE, OrderState.EXPIRING)
        for other in others
    )


def gone(cx: Context, order_id: str) -> None:
    """An order that lapsed long ago is forgotten."""
    state = cx.state
    order = state.orders.get(order_id)
    if order is None or order_state(order, cx.now_ms) is not OrderState.LAPSED:
        return
    state.orders.drop(order_id)
    state.legal.drop(order_id)
    decisions.forget_order(cx, order_id, order.protected_ids)
    left = tuple(o for o in state.wearer_orders.get(order.wearer_id) or () if o != order_id)
    if left:
        state.wearer_orders.put(order.wearer_id, left)
    else:
        state.wearer_orders.drop(order.wearer_id)


def orders_of(state: State, wearer_id: str | None) -> list[Order]:
    """Every order known about a wearer, in the order they came."""
    ids = state.wearer_orders.get(wearer_id) if wearer_id is not None else None
    return [state.orders[order_id] for order_id in ids or ()]


def _key(order: Order, matter: Matter) -> str:
    return f"legal/{order.id}/{matter}"


def facts_of(order: Order, reason: str, detail: str) -> Facts:
    """The facts of a matter of one order."""
    return Facts(
        reason=reason,
        role=Role.WEARER,
        person_id=order.wearer_id,
        wearer_id=order.wearer_id,
        protected_id=order.protected_ids[0] if len(order.protected_ids) == 1 else None,
        plan_id=order.plan_id,
        risk_class=order.risk_class,
        order_id=order.id,
        order_kind=order.kind,
        order_version=order.version,
        detail=detail,
        matter=f"order/{order.id}",
    )
