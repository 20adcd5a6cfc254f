"""What the read model folds: entries of the outboxes, and facts that the journals hold.

The adapter makes these from the streams; here nobody knows of a store.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from alerting.book.types import DefineCase, Output
from geofence.orders import Order, Role, Zone


class OutboxEntry(NamedTuple):
    """All outputs of one journal entry.

    `unreadable` counts outputs that this program is too old for.
    """

    partition: str
    ms: int
    seq: int
    outputs: Sequence[Output]
    unreadable: int = 0


class PersonDefined(NamedTuple):
    """A wearer or a protected person."""

    person_id: str
    role: Role


class DeviceDefined(NamedTuple):
    """A registered device."""

    handle: int
    device_id: str
    person_id: str | None
    role: Role
    enabled: bool


class ZoneDefined(NamedTuple):
    """A zone or a new version of one."""

    zone: Zone


class OrderDefined(NamedTuple):
    """An order or a new version of one."""

    order: Order


class PlanDefined(NamedTuple):
    """The bytes of a plan file."""

    plan: bytes


class RosterDefined(NamedTuple):
    """The bytes of a roster file."""

    roster: bytes


class OrderProposed(NamedTuple):
    """Somebody puts an order before a second person."""

    proposal_id: str
    order: Order
    zones: tuple[Zone, ...]
    by: str
    reason: str


class OrderDecided(NamedTuple):
    """A second person decides about a proposed order."""

    proposal_id: str
    by: str
    approved: bool
    reason: str


class CaseGone(NamedTuple):
    """A case was erased in one category, with persons, zones and orders of no case that is kept.

    `records`: with what orders said and what happened; else only where these persons were. `orders`
    are what is left of each.
    """

    case_id: str
    records: bool
    persons: tuple[str, ...]
    zones: tuple[str, ...]
    orders: tuple[Order, ...]


class ShiftHandedOver(NamedTuple):
    """One shift gives the room to the next."""

    by: str
    to: str
    text: str
    incidents: tuple[str, ...]


JournalFact = (
    PersonDefined
    | DeviceDefined
    | ZoneDefined
    | OrderDefined
    | PlanDefined
    | RosterDefined
    | DefineCase
    | OrderProposed
    | OrderDecided
    | ShiftHandedOver
    | CaseGone
)

Column = npt.NDArray[Any]


class Fixes(NamedTuple):
    """Fixes of one journal entry, a column per field, one row per fix; proven frames only."""

    handle: npt.NDArray[np.int64]
    time_ms: Column
    lat_e7: Column
    lon_e7: Column
    accuracy_dm: Column
    speed_cm_s: Column
    heading_cdeg: Column
    mechanism: Column
    battery_pct: Column


class DeviceSaid(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a device. `handle` 0: a device that is not registered."""

    handle: int
    device_id: str
    kind: str
    at_ms: int
    device_ms: int
    authenticated: bool
    value: int = 0
    key: str


class DeviceStatus(NamedTuple):
    """Health of a device as its status frame says it."""

    handle: int
    at_ms: int
    battery_pct: int
    network: int
    firmware: int
    stored_frames: int
    interval_s: int


class FramesSeen(NamedTuple):
    """What the frames of one journal entry say."""

    partition: str
    ms: int
    seq: int
    fixes: Fixes | None
    events: Sequence[DeviceSaid] = ()
    statuses: Sequence[DeviceStatus] = ()


class FactSeen(NamedTuple):
    """A fact at its place in the journal."""

    partition: str
    ms: int
    seq: int
    fact: JournalFact


JournalInput = FramesSeen | FactSeen
ModelInput = OutboxEntry | JournalInput
