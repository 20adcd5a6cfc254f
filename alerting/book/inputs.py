"""What goes into the alarm book.

Besides these, the findings of the geofence (`Verdict`, `PositionRequest`). Records are immutable
and tagged (field `type`). `at_ms` is journal time in Unix ms.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from alerting.book.case_words import CaseCommand
from alerting.book.words import AlarmClass, EventKind, Role, SignalKind
from geofence.orders import Order
from geofence.verdicts import Position, PositionRequest, Verdict


class DeviceEvent(msgspec.Struct, frozen=True, kw_only=True, tag="device-event"):
    """One event of one device.

    `key` is unique per press (device, boot, sequence): a copy is recognised by it.
    """

    device_id: str
    person_id: str | None
    role: Role
    kind: EventKind
    at_ms: int
    device_ms: int
    authenticated: bool = True
    position: Position | None = None
    key: str
    value: int = 0


class SystemSignal(msgspec.Struct, frozen=True, kw_only=True, tag="system-signal"):
    """Something about the service itself.

    `ended` takes it back; without it the alarm returns after a quiet time, unless it is `lasting`.
    """

    kind: SignalKind
    at_ms: int
    detail: str = ""
    count: int = 1
    ended: bool = False
    lasting: bool = False


class ReceiptStatus(StrEnum):
    """What became of one notice. `refused` and `failed` are final."""

    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    FAILED = "failed"


class Receipt(msgspec.Struct, frozen=True, kw_only=True, tag="receipt"):
    """What became of the notice with idempotency key `key`."""

    key: str
    status: ReceiptStatus
    target: str
    by: str = ""
    at_ms: int
    detail: str = ""


class Acknowledge(msgspec.Struct, frozen=True, kw_only=True, tag="acknowledge"):
    """A person takes the incident, or one alarm of it, in hand. Doing it again renews the term."""

    incident_id: str
    by: str
    alarm_id: str | None = None


class Disposition(StrEnum):
    """Why an incident was closed by a person."""

    HANDLED = "handled"
    FALSE_ALARM = "false-alarm"
    TECHNICAL = "technical"
    PERMITTED = "permitted"
    """Lawful contact or presence, arranged beforehand."""
    DUPLICATE = "duplicate"
    TEST = "test"


class Dispose(msgspec.Struct, frozen=True, kw_only=True, tag="dispose"):
    """A person closes the incident; where a class asks for four eyes, they propose to close it.

    Refused while a condition lasts, unless `despite_active` says that this is known. A condition
    that still lasts a while after such a closing opens a new incident. `alarm_id`: only this alarm
    is closed; the incident with the last one.
    """

    incident_id: str
    by: str
    disposition: Disposition
    note: str = ""
    despite_active: bool = False
    alarm_id: str | None = None


class Countersign(msgspec.Struct, frozen=True, kw_only=True, tag="countersign"):
    """A second person agrees with the closing that somebody proposed by a `Dispose`."""

    incident_id: str
    by: str


class Shelve(msgspec.Struct, frozen=True, kw_only=True, tag="shelve"):
    """Silence one alarm until `until_ms`.

    Refused for latched classes and beyond the longest time of the class.
    """

    alarm_id: str
    by: str
    reason: str
    until_ms: int


class Unshelve(msgspec.Struct, frozen=True, kw_only=True, tag="unshelve"):
    """End the shelving now."""

    alarm_id: str
    by: str


class OutOfService(msgspec.Struct, frozen=True, kw_only=True, tag="out-of-service"):
    """Alarms of `alarm_class` about `person_id` page nobody until `until_ms`; still recorded.

    For a device in repair. Refused for latched classes.
    """

    person_id: str
    alarm_class: AlarmClass
    by: str
    reason: str
    until_ms: int


class ReturnToService(msgspec.Struct, frozen=True, kw_only=True, tag="return-to-service"):
    """End an `OutOfService` now."""

    person_id: str
    alarm_class: AlarmClass
    by: str


class Decision(StrEnum):
    """What an authority decided about breaches of an order."""

    PROSECUTED = "prosecuted"
    ARRESTED = "arrested"
    TIGHTENED = "tightened"
    WARNED = "warned"
    NO_ACTION = "no-action"
    NO_BREACH = "no-breach"
    """What was counted was none: it is taken out of the count."""


class Decide(msgspec.Struct, frozen=True, kw_only=True, tag="decide"):
    """The authority decided about every breach of an order (and pair) that it still owed.

    `note` says why; it must not be empty.
    """

    order_id: str
    by: str
    decision: Decision
    note: str
    protected_id: str | None = None


class Note(msgspec.Struct, frozen=True, kw_only=True, tag="note"):
    """A remark on the incident's timeline. It goes to no target."""

    incident_id: str
    by: str
    text: str


class TellProtected(msgspec.Struct, frozen=True, kw_only=True, tag="tell-protected"):
    """Under the policy `ask-operator`: the operator has the protected person told now."""

    incident_id: str
    by: str


class RaiseByHand(msgspec.Struct, frozen=True, kw_only=True, tag="raise-by-hand"):
    """A person raises an alarm: a call, a drill, a legal matter.

    A drill never mixes with real incidents.
    """

    alarm_class: AlarmClass
    by: str
    reason: str
    wearer_id: str | None = None
    protected_id: str | None = None
    drill: bool = False


class Staffing(msgspec.Struct, frozen=True, kw_only=True, tag="staffing"):
    """How many operators are at work from now on: what a flood is depends on it."""

    operators: int
    by: str


class DefinePlan(msgspec.Struct, frozen=True, kw_only=True, tag="define-plan"):
    """A new or changed escalation plan: the bytes of its JSON file (`plans.py` has the schema)."""

    plan: bytes


class DefineRoster(msgspec.Struct, frozen=True, kw_only=True, tag="define-roster"):
    """A new or changed duty roster: the bytes of its JSON file (`rosters.py` has the schema)."""

    roster: bytes


class OrderTaken(msgspec.Struct, frozen=True, kw_only=True, tag="order-taken"):
    """The engine took this order, or this version of it: its legal life is watched from now on."""

    order: Order


class VictimPolicy(StrEnum):
    """What the protected person is told during an alarm (domain F24)."""

    TELL = "tell"
    ASK_OPERATOR = "ask-operator"
    SILENT = "silent"


class CaseDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One device of one person of a case."""

    device_id: str
    person_id: str


class CaseOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who answers for the case, and the target at which tasks reach them."""

    name: str
    target: str
    side: Role = Role.WEARER
    """Whose side: the wearer's (supervision, prosecution) or the protected person's."""


class DefineCase(msgspec.Struct, frozen=True, kw_only=True, tag="define-case"):
    """Who belongs together: a wearer, the protected persons, their devices.

    A case defined again replaces the earlier version. Without `wearer_id` it is a button alone.
    `owners`: at most one for each side. `contact`: the fixed contact of the protected person.
    """

    case_id: str
    wearer_id: str | None = None
    protected_ids: tuple[str, ...] = ()
    devices: tuple[CaseDevice, ...] = ()
    plan_id: str | None = None
    victim_policy: VictimPolicy = VictimPolicy.TELL
    owners: tuple[CaseOwner, ...] = ()
    contact: str = ""
    risk_class: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0
    """1 is the highest risk; 0: as the orders and the screening say."""
    review_weeks: Annotated[int, msgspec.Meta(ge=0, le=52)] = 10
    """How long after a review the next is due; 0: nobody is reminded."""


Command = (
    Acknowledge
    | Dispose
    | Countersign
    | Shelve
    | Unshelve
    | OutOfService
    | ReturnToService
    | Decide
    | Note
    | TellProtected
    | RaiseByHand
    | Staffing
    | DefinePlan
    | DefineRoster
    | DefineCase
    | CaseCommand
)
Input = Verdict | PositionRequest | DeviceEvent | SystemSignal | Receipt | OrderTaken | Command
