"""Orders, zones and persons as data, strictly read, and the life of an order in time.

The legal words are those of the field: an order is drafted, signed, served, active, suspended,
expiring, lapsed. Only an order that is active (or expiring) is enforceable; at all other times the
engine observes and never escalates.
"""

from collections.abc import Container
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec

from afstand.limits import (
    DISTANCE_M_MAX,
    ORDER_BYTES_MAX,
    ORDER_TEXT_CHARACTERS_MAX,
    PROTECTED_PER_ORDER_MAX,
    ZONES_PER_ORDER_MAX,
)
from geofence.parameters import DAY_MS, EXPIRING_DAYS, PAIR_SILENCE_MS, SILENCE_MS
from geofence.schedule import Schedule, is_open, schedule_problem, steady_since_ms
from geofence.schedule import next_edge_ms as next_window_edge_ms
from geofence.verdicts import OrderKind

TIME_MS_MAX: Final = 253_402_300_800_000
"""The year 10000; everything that is a time in an order lies between 1970 and then."""

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Text = Annotated[str, msgspec.Meta(max_length=ORDER_TEXT_CHARACTERS_MAX)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]
Metres = Annotated[int, msgspec.Meta(ge=0, le=DISTANCE_M_MAX)]
Version = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


_Record = TypeVar("_Record")


class Role(StrEnum):
    """What a person is to the engine."""

    WEARER = "wearer"
    PROTECTED = "protected"


class Appeal(StrEnum):
    """Where an appeal stands. A pending one suspends what is not immediately enforceable."""

    NONE = "none"
    PENDING = "pending"
    DECIDED = "decided"


class Presence(StrEnum):
    """What a location order asks for in each window."""

    THROUGHOUT = "throughout"
    ONCE = "once"
    """A report duty: be there at least once in the window."""


class OrderState(StrEnum):
    """The life of an order."""

    DRAFTED = "drafted"
    SIGNED = "signed"
    SERVED = "served"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRING = "expiring"
    LAPSED = "lapsed"


class RejectReason(StrEnum):
    """Why an order, a zone or a person is not taken."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNKNOWN_WEARER = "unknown-wearer"
    UNKNOWN_PROTECTED = "unknown-protected"
    UNKNOWN_ZONE = "unknown-zone"
    WEARER_PROTECTED_FROM_SELF = "wearer-protected-from-self"
    NAMED_TWICE = "named-twice"
    NO_ZONE = "no-zone"
    NO_PROTECTED_PERSON = "no-protected-person"
    NO_RADIUS = "no-radius"
    WARNING_WITHIN_RADIUS = "warning-within-radius"
    NO_SCHEDULE = "no-schedule"
    BAD_SCHEDULE = "bad-schedule"
    VALIDITY_REVERSED = "validity-reversed"
    OLDER_VERSION = "older-version"
    OTHER_WEARER = "other-wearer"
    FOREIGN_FIELD = "foreign-field"
    TOO_MANY = "too-many"
    BAD_GEOMETRY = "bad-geometry"


class OrderRejected(Exception):  # noqa: N818 - what happened to the order, in the words of the field
    """An order, zone or person that cannot be taken. Nothing was changed."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with an order, by field."""

    field: str
    reason: RejectReason
    detail: str


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A person the engine knows."""

    id: Id
    role: Role


class CircleShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A circle as the shape of a zone. Degrees x 1e7."""

    lat_e7: Annotated[int, msgspec.Meta(ge=-900_000_000, le=900_000_000)]
    lon_e7: Annotated[int, msgspec.Meta(ge=-1_800_000_000, le=1_800_000_000)]
    radius_m: Annotated[int, msgspec.Meta(ge=1, le=DISTANCE_M_MAX)]


class Zone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A zone: RFC 7946 GeoJSON (geometry, feature or collection) or a circle, exactly one of them.

    `repairs` names the repairs of geometry that may be applied; the list of names is with the
    reader of geometry.
    """

    id: Id
    version: Version = 1
    name: Text = ""
    geometry: dict[str, Any] | None = None
    circle: CircleShape | None = None
    repairs: tuple[str, ...] = ()


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One order of a court, prosecutor or mayor. Times in Unix ms, lengths in metres.

    `buffer_m` is the ring around a forbidden zone that warns; around a required zone it is the
    tolerance within which a wearer is not absent; of an exit ban, the strip within the border that
    warns. `silence_s` None means 90 s for a pair and 5 min
    otherwise. `valid_to_ms` None: without end. `risk_class` 1 is the highest risk and asks for the
    least evidence.
    """

    id: Id
    version: Version = 1
    kind: OrderKind
    wearer_id: Id
    protected_ids: Annotated[tuple[Id, ...], msgspec.Meta(max_length=PROTECTED_PER_ORDER_MAX)] = ()
    zone_ids: Annotated[tuple[Id, ...], msgspec.Meta(max_length=ZONES_PER_ORDER_MAX)] = ()
    radius_m: Metres = 0
    warning_m: Metres = 0
    buffer_m: Metres = 0
    time_to_contact_s: Annotated[int, msgspec.Meta(ge=0, le=7200)] = 0
    schedule: Schedule | None = None
    presence: Presence = Presence.THROUGHOUT
    silence_s: Annotated[int, msgspec.Meta(ge=10, le=86_400)] | None = None
    risk_class: Annotated[int, msgspec.Meta(ge=1, le=3)] = 2
    title: Text = ""
    authority: Text = ""
    case_number: Text = ""
    valid_from_ms: TimeMs
    valid_to_ms: TimeMs | None = None
    signed_at_ms: TimeMs | None = None
    served_at_ms: TimeMs | None = None
    immediately_enforceable: bool = False
    appeal: Appeal = Appeal.NONE
    suspended: bool = False
    renewals_used: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    renewals_max: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    plan_id: Id


class Known(msgspec.Struct, frozen=True):
    """The ids that an order may refer to."""

    persons: Container[str]
    zones: Container[str]


def parse_order(raw: bytes | str) -> Order:
    """Return the order in a JSON text. Raises OrderRejected with the field that is wrong."""
    return _parse(raw, Order)


def parse_zone(raw: bytes | str) -> Zone:
    """Return the zone in a JSON text. Raises OrderRejected; put checks the geometry."""
    return _parse(raw, Zone, limit=0)


def parse_person(raw: bytes | str) -> Person:
    """Return the person in a JSON text. Raises OrderRejected."""
    return _parse(raw, Person)


def _parse(raw: bytes | str, kind: type[_Record], limit: int = ORDER_BYTES_MAX) -> _Record:
    if limit and len(raw) > limit:
        raise OrderRejected(RejectReason.TOO_LARGE, f"{len(raw)} bytes, at most {limit}")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise OrderRejected(RejectReason.MALFORMED, str(error)) from error


def problems(order: Order, known: Known) -> list[Problem]:
    """Return everything that is wrong with an order. Empty: it can be put."""
    found = _unknown(order, known)
    if order.kind is OrderKind.CONTACT_BAN:
        found += _contact_ban_problems(order)
    else:
        found += _zone_order_problems(order)
    if order.schedule is not None:
        detail = schedule_problem(order.schedule)
        if detail is not None:
            found.append(Problem("schedule", RejectReason.BAD_SCHEDULE, detail))
    if order.valid_to_ms is not None and order.valid_to_ms <= order.valid_from_ms:
        detail = f"valid to {order.valid_to_ms} is not after valid from {order.valid_from_ms}"
        found.append(Problem("valid_to_ms", RejectReason.VALIDITY_REVERSED, detail))
    return found


def _unknown(order: Order, known: Known) -> list[Problem]:
    found = []
    if order.wearer_id not in known.persons:
        detail = f"no person {order.wearer_id!r}"
        found.append(Problem("wearer_id", RejectReason.UNKNOWN_WEARER, detail))
    for person_id in order.protected_ids:
        if person_id not in known.persons:
            detail = f"no person {person_id!r}"
            found.append(Problem("protected_ids", RejectReason.UNKNOWN_PROTECTED, detail))
    found += [
        Problem("zone_ids", RejectReason.UNKNOWN_ZONE, f"no zone {zone_id!r}")
        for zone_id in order.zone_ids
        if zone_id not in known.zones
    ]
    for field, ids in (("protected_ids", order.protected_ids), ("zone_ids", order.zone_ids)):
        if len(dict.fromkeys(ids)) != len(ids):
            found.append(Problem(field, RejectReason.NAMED_TWICE, "an id is named twice"))
    return found


def _contact_ban_problems(order: Order) -> list[Problem]:
    found = []
    if not order.protected_ids:
        found.append(Problem("protected_ids", RejectReason.NO_PROTECTED_PERSON, "names nobody"))
    if order.wearer_id in order.protected_ids:
        detail = "the wearer is named as protected from himself"
        found.append(Problem("protected_ids", RejectReason.WEARER_PROTECTED_FROM_SELF, detail))
    if order.radius_m == 0:
        found.append(Problem("radius_m", RejectReason.NO_RADIUS, "a contact ban needs a radius"))
    if 0 < order.warning_m <= order.radius_m:
        detail = f"warning at {order.warning_m} m is not outside of the radius {order.radius_m} m"
        found.append(Problem("warning_m", RejectReason.WARNING_WITHIN_RADIUS, detail))
    for field, foreign in (
        ("zone_ids", bool(order.zone_ids)),
        ("buffer_m", order.buffer_m > 0),
        ("presence", order.presence is not Presence.THROUGHOUT),
    ):
        if foreign:
            found.append(Problem(field, RejectReason.FOREIGN_FIELD, "not for a contact ban"))
    return found


def _zone_order_problems(order: Order) -> list[Problem]:
    found = []
    if not order.zone_ids:
        found.append(Problem("zone_ids", RejectReason.NO_ZONE, f"{order.kind} without a zone"))
    for field, foreign in (
        ("protected_ids", bool(order.protected_ids)),
        ("radius_m", order.radius_m > 0),
        ("warning_m", order.warning_m > 0),
        ("time_to_contact_s", order.time_to_contact_s > 0),
    ):
        if foreign:
            found.append(Problem(field, RejectReason.FOREIGN_FIELD, f"not for an {order.kind}"))
    if order.presence is Presence.ONCE:
        if order.kind is not OrderKind.LOCATION_ORDER:
            detail = "a report duty is a location order"
            found.append(Problem("presence", RejectReason.FOREIGN_FIELD, detail))
        elif order.schedule is None:
            detail = "a report duty needs windows"
            found.append(Problem("schedule", RejectReason.NO_SCHEDULE, detail))
    return found


def order_state(order: Order, now_ms: int) -> OrderState:
    """Return where an order stands in its life at `now_ms`.

    A pending appeal suspends an order that is not immediately enforceable (art. 14e Sr; without it
    there is the "juridisch gat"). An order is never in force before it was signed, served and
    valid.
    """
    if order.valid_to_ms is not None and now_ms >= order.valid_to_ms:
        return OrderState.LAPSED
    if order.signed_at_ms is None or now_ms < order.signed_at_ms:
        return OrderState.DRAFTED
    appealed = order.appeal is Appeal.PENDING and not order.immediately_enforceable
    if order.suspended or appealed:
        return OrderState.SUSPENDED
    if order.served_at_ms is None or now_ms < order.served_at_ms:
        return OrderState.SIGNED
    if now_ms < order.valid_from_ms:
        return OrderState.SERVED
    if order.valid_to_ms is not None:
        left_ms = order.valid_to_ms - now_ms
        if left_ms <= EXPIRING_DAYS[0] * DAY_MS:
            return OrderState.EXPIRING
    return OrderState.ACTIVE


def enforceable(order: Order, now_ms: int) -> bool:
    """Return whether a breach at `now_ms` may be escalated."""
    return order_state(order, now_ms) in (OrderState.ACTIVE, OrderState.EXPIRING)


def next_validity_edge_ms(order: Order, after_ms: int) -> int | None:
    """Return the first instant after `after_ms` at which state or expiry notice changes."""
    later = [edge for edge in _validity_edges(order) if edge > after_ms]
    return min(later) if later else None


def _validity_edges(order: Order) -> list[int]:
    edges = [order.signed_at_ms, order.served_at_ms, order.valid_from_ms, order.valid_to_ms]
    if order.valid_to_ms is not None:
        edges += [order.valid_to_ms - days * DAY_MS for days in EXPIRING_DAYS]
    return [edge for edge in edges if edge is not None]


def in_hours(order: Order, at_ms: int) -> bool:
    """Return whether a window of the order's schedule holds; without a schedule always."""
    return order.schedule is None or is_open(order.schedule, at_ms)


def next_edge_ms(order: Order, after_ms: int) -> int | None:
    """Return the next instant at which validity or schedule changes what the order asks for."""
    validity_ms = next_validity_edge_ms(order, after_ms)
    if order.schedule is None or order_state(order, after_ms) is OrderState.LAPSED:
        return validity_ms
    schedule_ms = next_window_edge_ms(order.schedule, after_ms)
    if validity_ms is None or schedule_ms is None:
        return schedule_ms if validity_ms is None else validity_ms
    return min(validity_ms, schedule_ms)


def steady_span_ms(order: Order, at_ms: int) -> tuple[int, int]:
    """Return [from, to) around `at_ms` in which force and hours of the order do not change."""
    since_ms = max([edge for edge in _validity_edges(order) if edge <= at_ms], default=0)
    if order.schedule is not None:
        since_ms = max(since_ms, steady_since_ms(order.schedule, at_ms))
    until_ms = next_edge_ms(order, at_ms)
    return since_ms, TIME_MS_MAX if until_ms is None else until_ms


def silence_ms(order: Order) -> int:
    """Return how long a position may be old before its person counts as silent for this order."""
    if order.silence_s is not None:
        return order.silence_s * 1000
    return PAIR_SILENCE_MS if order.kind is OrderKind.CONTACT_BAN else SILENCE_MS
