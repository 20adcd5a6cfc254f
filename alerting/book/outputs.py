"""What comes out of the alarm book.

Immutable records, tagged (field `type`), so that a list of them is one blob. Times are Unix ms of
the journal; distances integer millimetres, probabilities integers in 1/1024.
"""

from enum import StrEnum
from typing import Final

import msgspec

from alerting.book.case_words import CaseRecord, LogbookRecord
from alerting.book.inputs import Decision, Disposition
from alerting.book.words import AlarmClass, Audience, Need, Priority, Purpose
from geofence.verdicts import VERDICT_FORMAT, OrderKind, Position, Verdict, VerdictState

OUTPUT_FORMAT: Final = 1
"""Version of these records; whoever stores them stores it beside them."""


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """An earlier notice, by its idempotency key, and when it was decided."""

    key: str
    at_ms: int


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice", omit_defaults=True):
    """One message to one target, already cut down to what its audience may see.

    Its idempotency key is not in it: it is the place in the outbox, `{entry_key}-{index}`. `step`
    is the step of the plan, -1 outside a plan. `round` counts how often the alarm has paged from
    the start. A channel renders `text_key` (`{class}.{purpose}`) from the alarm book and the
    fields.
    """

    incident_id: str
    alarm_id: str
    alarm_class: AlarmClass
    priority: Priority
    plan_id: str
    step: int
    round: int = 1
    target: str
    audience: Audience
    purpose: Purpose
    needs: Need = Need.DELIVERED
    text_key: str
    reason: str
    at_ms: int
    opened_at_ms: int
    deadline_ms: int | None = None
    drill: bool = False
    authenticated: bool = True
    confirmed: bool = True
    count: int = 1
    detail: str = ""
    order_id: str | None = None
    order_kind: OrderKind | None = None
    order_version: int | None = None
    zone_id: str | None = None
    zone_version: int | None = None
    state: VerdictState | None = None
    labels: tuple[str, ...] = ()
    probability_1024: int | None = None
    distance_mm: int | None = None
    time_to_contact_ms: int | None = None
    closing_mm_s: int | None = None
    fix_ms: int | None = None
    wearer_id: str | None = None
    protected_id: str | None = None
    wearer_age_ms: int | None = None
    protected_age_ms: int | None = None
    wearer_position: Position | None = None
    protected_position: Position | None = None
    device_position: Position | None = None
    """Where a device of unknown owner says it is: guarded like the protected person's position."""
    device_id: str | None = None
    """The device the alarm came from."""
    recipient_id: str | None = None
    """The person this notice is for, where its audience is one person."""
    subject_device_id: str | None = None
    """The device this notice must be shown on (targets `protected-device` and `wearer-device`)."""
    references: tuple[Reference, ...] = ()
    """What this target was told of this alarm before: the first, and the last few. Staff only."""


class DeviceCommandCode(StrEnum):
    """What a device is asked to do."""

    FIX_NOW = "fix-now"
    BURST = "burst"
    MESSAGE = "message"
    VIBRATE = "vibrate"


class DeviceCommand(
    msgspec.Struct, frozen=True, kw_only=True, tag="device-command", omit_defaults=True
):
    """A command for a device. `command_id` fits 32 bits and is never given twice to one device."""

    device_id: str
    code: DeviceCommandCode
    command_id: int
    at_ms: int
    expires_ms: int
    interval_s: int = 0
    duration_s: int = 0
    text: str = ""
    incident_id: str | None = None
    reason: str


class CommandStatus(StrEnum):
    """What became of a device command."""

    SENT = "sent"
    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"
    """The device says that it came too late."""
    UNANSWERED = "unanswered"
    """No answer by its expiry: an event of its own."""
    NOT_SENT = "not-sent"
    """Held back: the device was asked shortly before, or a bound was reached."""


class CommandRecord(
    msgspec.Struct, frozen=True, kw_only=True, tag="command-record", omit_defaults=True
):
    """Every change of a device command."""

    device_id: str
    command_id: int
    status: CommandStatus
    at_ms: int
    incident_id: str | None = None
    reason: str = ""


class AlarmState(StrEnum):
    """The four states of ISA-18.2 and the end. Latched alarms reach the end by disposition only."""

    ACTIVE_UNACKNOWLEDGED = "active-unacknowledged"
    ACTIVE_ACKNOWLEDGED = "active-acknowledged"
    RETURNED_UNACKNOWLEDGED = "returned-unacknowledged"
    RETURNED_ACKNOWLEDGED = "returned-acknowledged"
    CLOSED = "closed"


class Change(StrEnum):
    """What happened to an alarm, an incident or an observation."""

    RAISED = "raised"
    RAISED_AGAIN = "raised-again"
    """Back while it was returned, or one source more."""
    CONFIRMED = "confirmed"
    RETURNED = "returned"
    ACKNOWLEDGED = "acknowledged"
    ACKNOWLEDGEMENT_RENEWED = "acknowledgement-renewed"
    ACKNOWLEDGEMENT_EXPIRED = "acknowledgement-expired"
    ACKNOWLEDGEMENT_VOID = "acknowledgement-void"
    """New facts after the acknowledgement: it pages again."""
    RE_ALARMED = "re-alarmed"
    """Nobody acknowledged and the plan had ended: it pages from the start."""
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    SUPPRESSED = "suppressed"
    UNSUPPRESSED = "unsuppressed"
    OUT_OF_SERVICE = "out-of-service"
    IN_SERVICE = "in-service"
    STEP_STARTED = "step-started"
    STEP_MET = "step-met"
    STEP_MISSED = "step-missed"
    STEP_PASSED = "step-passed"
    """Nothing to do in it: no target, or nobody may be told."""
    FALLBACK_USED = "fallback-used"
    DELIVERY = "delivery"
    """A receipt arrived."""
    PLAN_ENDED = "plan-ended"
    LAST_RESORT = "last-resort"
    """The plan had nothing for this class or had ended without an answer: the default plan takes
    over.
    """
    CHATTERING = "chattering"
    """It comes and goes so often that something about it is wrong."""
    CLOSED = "closed"


class AlarmRecord(
    msgspec.Struct, frozen=True, kw_only=True, tag="alarm-record", omit_defaults=True
):
    """One change of one alarm, with the reason. Together they are the alarm's history."""

    alarm_id: str
    incident_id: str
    alarm_class: AlarmClass
    priority: Priority
    change: Change
    state: AlarmState
    at_ms: int
    reason: str
    latched: bool
    confirmed: bool = True
    count: int = 1
    shelved_until_ms: int | None = None
    suppressed: str = ""
    out_of_service: str = ""
    by: str = ""
    step: int | None = None
    target: str = ""
    detail: str = ""
    order_id: str | None = None
    device_id: str | None = None
    person_id: str | None = None


class IncidentState(StrEnum):
    """Open until every alarm of it is closed."""

    OPEN = "open"
    CLOSED = "closed"


class IncidentChange(StrEnum):
    """What happened to an incident."""

    OPENED = "opened"
    JOINED = "joined"
    """An alarm of another class joined."""
    NOTE = "note"
    PROTECTED_TOLD = "protected-told"
    CLOSING_PROPOSED = "closing-proposed"
    """One person would close it; a second must countersign."""
    CLOSING_VOID = "closing-void"
    """Something happened since, or nobody countersigned in time."""
    CLOSED = "closed"


class IncidentRecord(
    msgspec.Struct, frozen=True, kw_only=True, tag="incident-record", omit_defaults=True
):
    """One change of one incident."""

    incident_id: str
    subject: str
    change: IncidentChange
    state: IncidentState
    at_ms: int
    opened_at_ms: int
    wearer_id: str | None = None
    protected_id: str | None = None
    case_id: str | None = None
    priority: Priority | None = None
    """The most urgent of `alarm_classes`, which are all that were ever in it."""
    alarm_classes: tuple[AlarmClass, ...] = ()
    plan_ids: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    """Other incidents, open at this moment, about one of the same persons."""
    reason: str
    by: str = ""
    countersigned_by: str = ""
    disposition: Disposition | None = None
    note: str = ""
    drill: bool = False


class BreachChange(StrEnum):
    """What happened to the counter of breaches of one order."""

    COUNTED = "counted"
    WITHDRAWN = "withdrawn"
    """A person closed the incident as no breach."""
    REMINDED = "reminded"
    OVERDUE = "overdue"
    DECIDED = "decided"


class BreachRecord(
    msgspec.Struct, frozen=True, kw_only=True, tag="breach-record", omit_defaults=True
):
    """One change of the counter of breaches of one order (of one pair for a contact ban).

    `owed`: how many are without a decision, all of them due by `due_ms`.
    """

    order_id: str
    change: BreachChange
    at_ms: int
    count: int
    owed: int
    wearer_id: str | None = None
    protected_id: str | None = None
    due_ms: int | None = None
    incident_id: str | None = None
    historic: bool = False
    by: str = ""
    decision: Decision | None = None
    note: str = ""


class FloodRecord(msgspec.Struct, frozen=True, kw_only=True, tag="flood-record"):
    """More alarms began than the operators at work can handle, or that is over."""

    began: bool
    at_ms: int
    since_ms: int
    alarms_10min: int
    operators: int


class Observation(msgspec.Struct, frozen=True, kw_only=True, tag="observation", omit_defaults=True):
    """Something that was seen and is no alarm, with the reason why not.

    Kept for patterns and evidence.
    """

    kind: str
    reason: str
    at_ms: int
    order_id: str | None = None
    order_kind: OrderKind | None = None
    state: VerdictState | None = None
    historic: bool = False
    fix_ms: int | None = None
    wearer_id: str | None = None
    protected_id: str | None = None
    person_id: str | None = None
    device_id: str | None = None
    incident_id: str | None = None
    probability_1024: int | None = None
    distance_mm: int | None = None
    count: int = 1


class VerdictRecord(msgspec.Struct, frozen=True, kw_only=True, tag="verdict-record"):
    """A verdict of the geofence as it was, with everything that explains it.

    It stands in the same entry as what followed from it, and is kept as evidence: it goes to no
    target. It has both positions; whoever shows it must know what the reader may see.
    """

    at_ms: int
    format: int = VERDICT_FORMAT
    verdict: Verdict


class RejectReason(StrEnum):
    """Why an input changed nothing."""

    UNKNOWN_INCIDENT = "unknown-incident"
    UNKNOWN_ALARM = "unknown-alarm"
    UNKNOWN_DELIVERY = "unknown-delivery"
    CONDITION_STILL_ACTIVE = "condition-still-active"
    NEVER_SUPPRESSED = "never-suppressed"
    TOO_LONG = "too-long"
    IN_THE_PAST = "in-the-past"
    IN_THE_FUTURE = "in-the-future"
    SILENT_POLICY = "silent-policy"
    """The protected person of this case is told nothing."""
    NOT_SHELVED = "not-shelved"
    NOT_OUT_OF_SERVICE = "not-out-of-service"
    NOTHING_OWED = "nothing-owed"
    NOT_PROPOSED = "not-proposed"
    SAME_PERSON = "same-person"
    NO_PERSON = "no-person"
    NO_REASON_GIVEN = "no-reason-given"
    BAD_PLAN = "bad-plan"
    BAD_ROSTER = "bad-roster"
    BAD_CASE = "bad-case"
    BAD_ID = "bad-id"
    LIMIT = "limit"
    # Said by whoever feeds the book, so that one record tells of every input that changed nothing.
    BAD_COMMAND = "bad-command"
    BAD_ORDER = "bad-order"
    POISON = "poison"
    DUPLICATE = "duplicate"


class Rejected(msgspec.Struct, frozen=True, kw_only=True, tag="rejected", omit_defaults=True):
    """An input that changed nothing, and why. `what` is its tag, `ref` the id it named."""

    reason: RejectReason
    what: str
    ref: str
    at_ms: int
    detail: str = ""


class Defined(msgspec.Struct, frozen=True, kw_only=True, tag="defined"):
    """A plan, a case or a zone was taken, and counts from this entry on.

    Incidents that are open keep the plan they froze. `ref` of a zone is `id@version`.
    """

    what: str
    ref: str
    at_ms: int


Output = (
    Notice
    | DeviceCommand
    | CommandRecord
    | AlarmRecord
    | IncidentRecord
    | BreachRecord
    | FloodRecord
    | Observation
    | VerdictRecord
    | CaseRecord
    | LogbookRecord
    | Rejected
    | Defined
)
