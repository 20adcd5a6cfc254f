"""The state of the alarm book: immutable rows in tables, written and read back exactly."""

from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from alerting.book.case_words import ChecklistStep, Concern
from alerting.book.inputs import DefineCase, Dispose
from alerting.book.outputs import Reference
from alerting.book.plans import Plan
from alerting.book.rosters import Roster
from alerting.book.tables import ChangeLog, Table, Timers
from alerting.book.words import AlarmClass, Audience, Purpose, Role
from geofence.orders import Order
from geofence.verdicts import OrderKind, Position, VerdictState

DUMP_FORMAT: Final = 3


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about one condition; notices are filled from it, cut down per audience.

    `person_id` is whom it is about: the owner of the device, the breaker of the order, who is
    silent.
    """

    reason: str
    role: Role = Role.UNKNOWN
    person_id: str | None = None
    wearer_id: str | None = None
    protected_id: str | None = None
    device_id: str | None = None
    plan_id: str = ""
    risk_class: int = 0
    authenticated: bool = True
    confirmed: bool = True
    drill: bool = False
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
    wearer_age_ms: int | None = None
    protected_age_ms: int | None = None
    wearer_position: Position | None = None
    protected_position: Position | None = None
    device_position: Position | None = None
    matter: str = ""
    """What a task is about. Tasks about other matters are other alarms."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that holds now (a breach, a cut strap) or holds until disposed of (a press).

    `lasting`: the world can end it, so closing its alarm before that is a decision. `alarm_id` is
    empty when the alarm was closed while the condition lasted. `keys`: the last presses, so that a
    copy is recognised.
    """

    alarm_class: AlarmClass
    lasting: bool
    since_ms: int
    facts: Facts
    alarm_id: str = ""
    keys: tuple[str, ...] = ()


class StepStatus(StrEnum):
    """Where one step of a running plan is."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    """The operator must release it (policy `ask-operator`)."""
    MET = "met"
    MISSED = "missed"
    PASSED = "passed"
    SKIPPED = "skipped"


class StepState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a running plan. `due_ms`: its start when waiting, its deadline when running.

    `unsettled` counts notices without a final failure; at 0 nobody can answer any more.
    """

    status: StepStatus
    due_ms: int | None = None
    unsettled: int = 0
    fallback_used: bool = False


class Told(msgspec.Struct, frozen=True):
    """One who was told of an alarm, and would want to know how it goes on."""

    target: str
    audience: Audience
    device_id: str | None
    person_id: str | None


class Thread(msgspec.Struct, frozen=True):
    """What one target was told of an alarm: the first notice, and the last few."""

    target: str
    notices: tuple[Reference, ...]


class Alarm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alarm. `sources` are the keys of the conditions that hold it active."""

    alarm_id: str
    incident_id: str
    alarm_class: AlarmClass
    opened_ms: int
    facts: Facts
    sources: tuple[str, ...] = ()
    acknowledged: bool = False
    confirmed: bool = True
    closed: bool = False
    count: int = 1
    shelved_until_ms: int | None = None
    suppressed: str = ""
    out_of_service: str = ""
    plan_key: str = ""
    resort_key: str = ""
    """The default plan, once its steps were added to those of an own plan that nobody answered."""
    round: int = 0
    purpose: Purpose = Purpose.ALERT
    round_reason: str = ""
    steps: tuple[StepState, ...] = ()
    told: tuple[Told, ...] = ()
    deliveries: tuple[str, ...] = ()
    threads: tuple[Thread, ...] = ()
    updated_ms: int = 0
    annunciated: int = 0
    """The round that began to page operators last; 0: none yet."""
    annunciated_ms: int = 0
    answered: bool = False
    settle_ms: int = 0
    """How long it stays open after it returned."""
    came_ms: tuple[int, ...] = ()
    """When it came again, the last few times."""

    @property
    def active(self) -> bool:
        """Whether any condition holds it."""
        return bool(self.sources)

    @property
    def silenced(self) -> bool:
        """Nobody is paged for it: shelved, suppressed or out of service."""
        return self.shelved_until_ms is not None or bool(self.suppressed or self.out_of_service)


class Proposal(msgspec.Struct, frozen=True):
    """A closing that waits for a second person."""

    said: Dispose
    at_ms: int


class Incident(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The alarms of one subject that belong together. `plan_keys`: the plans frozen into it."""

    incident_id: str
    subject: str
    opened_ms: int
    wearer_id: str | None = None
    protected_id: str | None = None
    case_id: str | None = None
    drill: bool = False
    closed: bool = False
    protected_released: bool = False
    classes: tuple[AlarmClass, ...] = ()
    """Every class that was ever in it."""
    alarm_ids: tuple[str, ...] = ()
    """The alarms that are open."""
    alarm_count: int = 0
    plan_keys: tuple[str, ...] = ()
    hour_ms: int = 0
    hour_notices: int = 0
    proposal: Proposal | None = None
    counted: tuple[str, ...] = ()
    """Patterns and breach counters in which something of this incident was counted."""


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notice that went out, found by its idempotency key. `step` is -1 outside a plan."""

    alarm_id: str
    round: int
    step: int
    target: str
    audience: Audience
    final: bool = False


class PendingCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device command without an answer yet."""

    device_id: str
    expires_ms: int
    incident_id: str | None
    reason: str


class Asked(msgspec.Struct, frozen=True):
    """The last burst asked of a device."""

    until_ms: int
    interval_s: int
    at_ms: int


class Silenced(msgspec.Struct, frozen=True):
    """A class of alarms about one person that is out of service."""

    until_ms: int
    reason: str
    by: str


class Occurrence(NamedTuple):
    """One event that counts towards a pattern, and the incident it was part of."""

    at_ms: int
    incident_id: str


class Occurrences(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was counted of one kind, oldest first. `last_ms`: the last sign, counted or not."""

    seen: tuple[Occurrence, ...] = ()
    last_ms: int | None = None


class Breaches(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The counter of breaches of one order (and pair), and those without a decision.

    `owed`: episodes without a decision, bounded; `owed_more` counts the rest. `due_ms`: by when the
    authority decides about all of them.
    """

    facts: Facts
    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    owed: tuple[Occurrence, ...] = ()
    owed_more: int = 0
    due_ms: int | None = None


class LegalRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was said about the end of an order: the stage before it, and that it has lapsed."""

    seen_valid: bool = False
    stage: int | None = None
    lapsed: bool = False


class CaseFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about a case besides who belongs to it."""

    since_ms: int
    reviewed_ms: int
    concern: Concern | None = None
    screened_ms: int = 0
    last_incident_ms: int = 0
    incidents: int = 0
    """Since the last review."""
    incidents_ever: int = 0
    logbook: int = 0
    check_in_h: int = 0


class Activation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A button that is to be live. `keys`: the notices of its test presses."""

    case_id: str
    since_ms: int
    due_ms: int
    done: tuple[ChecklistStep, ...] = ()
    keys: tuple[str, ...] = ()


class LateBreaches(msgspec.Struct, frozen=True):
    """Late breaches of one order since the last notice about them, and the facts of the latest."""

    untold: int
    facts: Facts


class Settled(msgspec.Struct, frozen=True):
    """An alarm that closed by itself not long ago, and how long it had stayed open for that."""

    settle_ms: int


class Desk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The operators' desk: how many work there, and what paged them in the last 10 minutes."""

    operators: int
    recent: tuple[int, ...] = ()
    flood_since_ms: int | None = None


class MassLoss(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether many went silent at once.

    `recent`: (at_ms, person, risk class) that count towards it.
    """

    recent: tuple[tuple[int, str, int], ...] = ()
    since_ms: int | None = None
    peak: int = 0


class Rows(msgspec.Struct, kw_only=True):
    """Every table of the state, as written to a snapshot."""

    incidents: dict[str, Incident] = {}
    alarms: dict[str, Alarm] = {}
    conditions: dict[str, Condition] = {}
    deliveries: dict[str, Delivery] = {}
    open_subjects: dict[str, str] = {}
    open_by_person: dict[str, tuple[str, ...]] = {}
    plans: dict[str, Plan] = {}
    plan_uses: dict[str, int] = {}
    current_plans: dict[str, str] = {}
    cases: dict[str, DefineCase] = {}
    person_cases: dict[str, tuple[str, ...]] = {}
    device_persons: dict[str, str] = {}
    commands: dict[str, PendingCommand] = {}
    asked: dict[str, Asked] = {}
    out_of_service: dict[str, Silenced] = {}
    late: dict[str, LateBreaches] = {}
    mass: dict[str, MassLoss] = {}
    mass_silent: dict[str, int] = {}
    """Person silent in the mass loss -> risk class."""
    mass_suppressed: dict[str, int] = {}
    """Alarm suppressed by the mass loss -> risk class."""
    rosters: dict[str, Roster] = {}
    orders: dict[str, Order] = {}
    """The legal life of every order: without its schedule."""
    wearer_orders: dict[str, tuple[str, ...]] = {}
    legal: dict[str, LegalRow] = {}
    patterns: dict[str, Occurrences] = {}
    breaches: dict[str, Breaches] = {}
    settled: dict[str, Settled] = {}
    desk: dict[str, Desk] = {}
    case_files: dict[str, CaseFile] = {}
    activations: dict[str, Activation] = {}
    numbers: dict[str, int] = {}
    timers: dict[str, int] = {}


class Snapshot(msgspec.Struct, kw_only=True):
    """A snapshot: the format and the version of the alarm book it was made with, then the rows."""

    format: int
    book_version: str
    rows: Rows


class State:
    """The tables over one set of rows, with the log that takes a step back."""

    def __init__(self, rows: Rows) -> None:
        log = ChangeLog()
        self.rows = rows
        self.log = log
        self.incidents: Table[Incident] = Table(rows.incidents, log)
        self.alarms: Table[Alarm] = Table(rows.alarms, log)
        self.conditions: Table[Condition] = Table(rows.conditions, log)
        self.deliveries: Table[Delivery] = Table(rows.deliveries, log)
        self.open_subjects: Table[str] = Table(rows.open_subjects, log)
        self.open_by_person: Table[tuple[str, ...]] = Table(rows.open_by_person, log)
        self.plans: Table[Plan] = Table(rows.plans, log)
        self.plan_uses: Table[int] = Table(rows.plan_uses, log)
        self.current_plans: Table[str] = Table(rows.current_plans, log)
        self.cases: Table[DefineCase] = Table(rows.cases, log)
        self.person_cases: Table[tuple[str, ...]] = Table(rows.person_cases, log)
        self.device_persons: Table[str] = Table(rows.device_persons, log)
        self.commands: Table[PendingCommand] = Table(rows.commands, log)
        self.asked: Table[Asked] = Table(rows.asked, log)
        self.out_of_service: Table[Silenced] = Table(rows.out_of_service, log)
        self.late: Table[LateBreaches] = Table(rows.late, log)
        self.mass: Table[MassLoss] = Table(rows.mass, log)
        self.mass_silent: Table[int] = Table(rows.mass_silent, log)
        self.mass_suppressed: Table[int] = Table(rows.mass_suppressed, log)
        self.rosters: Table[Roster] = Table(rows.rosters, log)
        self.orders: Table[Order] = Table(rows.orders, log)
        self.wearer_orders: Table[tuple[str, ...]] = Table(rows.wearer_orders, log)
        self.legal: Table[LegalRow] = Table(rows.legal, log)
        self.patterns: Table[Occurrences] = Table(rows.patterns, log)
        self.breaches: Table[Breaches] = Table(rows.breaches, log)
        self.settled: Table[Settled] = Table(rows.settled, log)
        self.desk: Table[Desk] = Table(rows.desk, log)
        self.case_files: Table[CaseFile] = Table(rows.case_files, log)
        self.activations: Table[Activation] = Table(rows.activations, log)
        self.numbers: Table[int] = Table(rows.numbers, log)
        self.timers = Timers(rows.timers, log)

    def snapshot(self, book_version: str) -> bytes:
        """All rows, sorted by key: equal states give equal bytes."""
        tables: dict[str, Any] = {}
        for name in Rows.__struct_fields__:
            rows = getattr(self.rows, name)
            tables[name] = {key: rows[key] for key in sorted(rows)}
        return msgspec.msgpack.encode(
            Snapshot(format=DUMP_FORMAT, book_version=book_version, rows=Rows(**tables))
        )
