"""Orders as data: strict reading, references, and the states of an order's life."""

import json
from typing import Any

import msgspec
import pytest

from geofence.engine import Engine
from geofence.orders import (
    Appeal,
    Known,
    Order,
    OrderRejected,
    OrderState,
    Presence,
    RejectReason,
    Role,
    Zone,
    enforceable,
    next_edge_ms,
    order_state,
    parse_order,
    parse_person,
    parse_zone,
    problems,
    silence_ms,
    steady_span_ms,
)
from geofence.verdicts import OrderKind
from tests.geofence.stories import DAY, HOUR, NOON, Story, order, square, weekly

KNOWN = Known({"wearer", "victim"}, {"zone"})

PLAIN: dict[str, Any] = {
    "id": "o1",
    "kind": "contact-ban",
    "wearer_id": "wearer",
    "protected_ids": ["victim"],
    "radius_m": 500,
    "valid_from_ms": NOON,
    "plan_id": "plan",
}


def test_an_order_is_read_from_json() -> None:
    read = parse_order(json.dumps({**PLAIN, "schedule": {"timezone": "UTC", "weekly": []}}))
    assert read.kind is OrderKind.CONTACT_BAN
    assert read.protected_ids == ("victim",)
    assert problems(read, KNOWN) == []


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"id": ""},
        {"id": "with space"},
        {"id": "x" * 65},
        {"kind": "house-arrest"},
        {"radius_m": -1},
        {"radius_m": 1e9},
        {"risk_class": 4},
        {"version": 0},
        {"valid_from_ms": "yesterday"},
        {"schedule": {"timezone": "UTC", "weekly": [{"day": 7, "start": "10:00", "end": "11:00"}]}},
        {"schedule": {"timezone": "UTC", "weekly": [{"day": 0, "start": "25:00", "end": "11:00"}]}},
        {"protected_ids": ["victim"] * 1000},
        {"title": "x" * 1000},
    ],
)
def test_what_is_not_an_order_is_refused_with_the_field(change: dict[str, Any]) -> None:
    with pytest.raises(OrderRejected) as caught:
        parse_order(json.dumps({**PLAIN, **change}))
    assert caught.value.reason is RejectReason.MALFORMED
    assert caught.value.detail


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff\xfe", "[" * 20000])
def test_what_is_no_json_object_is_refused(raw: bytes | str) -> None:
    for parse in (parse_order, parse_zone, parse_person):
        with pytest.raises(OrderRejected):
            parse(raw)


def test_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(OrderRejected) as caught:
        parse_order(" " * 300_000)
    assert caught.value.reason is RejectReason.TOO_LARGE


def test_zones_and_persons_are_read_from_json() -> None:
    zone = parse_zone(json.dumps({"id": "z", "geometry": square(10)}))
    assert zone == Zone(id="z", geometry=square(10))
    assert parse_person('{"id": "p", "role": "wearer"}').role is Role.WEARER


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"wearer_id": "nobody"}, RejectReason.UNKNOWN_WEARER),
        ({"zone_ids": ("nowhere",)}, RejectReason.UNKNOWN_ZONE),
        ({"zone_ids": ()}, RejectReason.NO_ZONE),
        ({"zone_ids": ("zone", "zone")}, RejectReason.NAMED_TWICE),
        ({"radius_m": 5}, RejectReason.FOREIGN_FIELD),
        ({"presence": Presence.ONCE}, RejectReason.FOREIGN_FIELD),
        ({"kind": OrderKind.LOCATION_ORDER, "presence": Presence.ONCE}, RejectReason.NO_SCHEDULE),
        ({"schedule": weekly((0, "10:00", "10:00"))}, RejectReason.BAD_SCHEDULE),
        ({"valid_to_ms": NOON - 40 * DAY}, RejectReason.VALIDITY_REVERSED),
    ],
)
def test_problems_of_zone_orders(change: dict[str, Any], reason: RejectReason) -> None:
    found = problems(order(**change), KNOWN)
    assert [p.reason for p in found] == [reason]
    assert found[0].detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protected_ids": ("nobody",)}, RejectReason.UNKNOWN_PROTECTED),
        ({"protected_ids": ()}, RejectReason.NO_PROTECTED_PERSON),
        ({"protected_ids": ("wearer",)}, RejectReason.WEARER_PROTECTED_FROM_SELF),
        ({"radius_m": 0}, RejectReason.NO_RADIUS),
        ({"warning_m": 400}, RejectReason.WARNING_WITHIN_RADIUS),
        ({"buffer_m": 10}, RejectReason.FOREIGN_FIELD),
    ],
)
def test_problems_of_contact_bans(change: dict[str, Any], reason: RejectReason) -> None:
    found = problems(order(kind=OrderKind.CONTACT_BAN, **change), KNOWN)
    assert [p.reason for p in found] == [reason]


def test_an_order_that_refers_to_nothing_changes_nothing() -> None:
    engine = Engine()
    before = engine.dump()
    with pytest.raises(OrderRejected) as caught:
        engine.put_order(order(), NOON)
    assert caught.value.reason is RejectReason.UNKNOWN_WEARER
    assert "order" in caught.value.detail
    assert engine.dump() == before


def test_versions_only_go_up() -> None:
    story = Story()
    story.put(order(version=3))
    assert story.put(order(version=3)) == []
    for changed in (order(version=2), order(version=3, risk_class=3)):
        with pytest.raises(OrderRejected) as caught:
            story.put(changed)
        assert caught.value.reason is RejectReason.OLDER_VERSION
    story.engine.put_person("other", Role.WEARER)
    with pytest.raises(OrderRejected) as caught:
        story.put(order(version=4, wearer_id="other"))
    assert caught.value.reason is RejectReason.OTHER_WEARER


def test_states_in_their_order() -> None:
    one = order(
        signed_at_ms=NOON + HOUR,
        served_at_ms=NOON + 2 * HOUR,
        valid_from_ms=NOON + 3 * HOUR,
        valid_to_ms=NOON + 30 * DAY,
    )
    expected = [
        (0, OrderState.DRAFTED),
        (HOUR, OrderState.SIGNED),
        (2 * HOUR, OrderState.SERVED),
        (3 * HOUR, OrderState.ACTIVE),
        (16 * DAY, OrderState.EXPIRING),
        (30 * DAY, OrderState.LAPSED),
    ]
    for (at, state), (until, _) in zip(expected, [*expected[1:], (40 * DAY, None)], strict=True):
        assert order_state(one, NOON + at) is state
        assert order_state(one, NOON + until - 1) is state
    edges, at = [], NOON
    while (edge := next_edge_ms(one, at)) is not None:
        edges.append(edge - NOON)
        at = edge
    assert edges == [HOUR, 2 * HOUR, 3 * HOUR, 16 * DAY, 23 * DAY, 28 * DAY, 30 * DAY]


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, OrderState.ACTIVE),
        ({"suspended": True}, OrderState.SUSPENDED),
        ({"appeal": Appeal.PENDING}, OrderState.SUSPENDED),
        ({"appeal": Appeal.PENDING, "immediately_enforceable": True}, OrderState.ACTIVE),
        ({"appeal": Appeal.DECIDED}, OrderState.ACTIVE),
        ({"served_at_ms": None}, OrderState.SIGNED),
        ({"signed_at_ms": None}, OrderState.DRAFTED),
    ],
)
def test_what_makes_an_order_enforceable(change: dict[str, Any], state: OrderState) -> None:
    assert order_state(order(**change), NOON) is state
    assert enforceable(order(**change), NOON) == (state is OrderState.ACTIVE)


def test_silence_budgets() -> None:
    assert silence_ms(order()) == 300_000
    assert silence_ms(order(kind=OrderKind.CONTACT_BAN)) == 90_000
    assert silence_ms(order(silence_s=77)) == 77_000


def test_a_steady_span_has_no_edge_within() -> None:
    one = order(
        valid_from_ms=NOON,
        valid_to_ms=NOON + 30 * DAY,
        schedule=weekly((0, "10:00", "12:00"), (3, "22:00", "02:00")),
    )
    for at in range(NOON - 2 * DAY, NOON + 32 * DAY, 5 * HOUR + 7):
        since, until = steady_span_ms(one, at)
        assert since <= at < until
        edge = next_edge_ms(one, at)
        assert edge is None or until == edge
        assert enforceable(one, since) == enforceable(one, at)


def test_every_field_survives_the_wire() -> None:
    one = order(
        schedule=weekly((0, "10:00", "12:00"), exceptions=[("2025-12-25", "2025-12-26", ())])
    )
    assert parse_order(msgspec.json.encode(one)) == one
    assert isinstance(one, Order)
