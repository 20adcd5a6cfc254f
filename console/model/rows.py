"""The rows of the read model. Times in Unix ms of the journal."""

from typing import NamedTuple

import msgspec

from alerting.book.types import (
    AlarmClass,
    AlarmState,
    Audience,
    Disposition,
    Notice,
    Priority,
)


class Place(NamedTuple):
    """Where in the journal of a partition something stands; ordered as the store orders ids."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read `ms-seq`. Raises ValueError."""
        ms, dash, seq = text.partition("-")
        if not (dash and ms.isascii() and ms.isdigit() and seq.isascii() and seq.isdigit()):
            raise ValueError(f"not a place in a journal: {text[:40]!r}")
        if len(ms) > 20 or len(seq) > 20:
            raise ValueError("a place in a journal has at most 20 digits a side")
        return cls(int(ms), int(seq))


START = Place(0, 0)

LANES = ("device", "alarm", "plan", "delivery", "operator", "incident")
"""Where an entry of a timeline comes from."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of an incident's timeline. `key` names its place in the outbox, or the event's.

    `what` is the change or the kind of event, `text` free words of a person or a program: these
    may hold an address and are for the room alone.
    """

    key: str
    at_ms: int
    lane: str
    what: str
    reason: str = ""
    alarm_id: str = ""
    alarm_class: str = ""
    by: str = ""
    target: str = ""
    device_id: str = ""
    person_id: str = ""
    step: int | None = None
    count: int = 1
    text: str = ""


class AlarmRow(msgspec.Struct, kw_only=True):
    """One alarm as it is now.

    `paged_ms`: since when somebody owes an answer; the time to respond runs from there.
    """

    alarm_id: str
    alarm_class: AlarmClass
    priority: Priority
    state: AlarmState
    reason: str
    opened_ms: int
    paged_ms: int
    changed_ms: int
    latched: bool
    confirmed: bool = True
    count: int = 1
    shelved_until_ms: int | None = None
    suppressed: str = ""
    out_of_service: str = ""
    acknowledged_by: str = ""
    acknowledged_ms: int | None = None
    order_id: str | None = None
    device_id: str | None = None
    person_id: str | None = None
    facts: Notice | None = None
    """The notice that says most about it; what of it is shown is decided per role."""

    @property
    def is_open(self) -> bool:
        """Whether it is not closed."""
        return self.state is not AlarmState.CLOSED

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has it in hand."""
        return self.state in (AlarmState.ACTIVE_ACKNOWLEDGED, AlarmState.RETURNED_ACKNOWLEDGED)

    @property
    def silenced(self) -> bool:
        """Whether nobody is paged for it."""
        return self.shelved_until_ms is not None or bool(self.suppressed or self.out_of_service)


class ToldRow(msgspec.Struct, kw_only=True):
    """One target that was told of one alarm, and what came of it.

    `status`: sent, then what the last receipt said. `needs` acknowledged: a hand-over, complete
    only when the other side has acknowledged it.
    """

    alarm_id: str
    target: str
    audience: Audience
    purpose: str
    needs: str
    step: int
    first_ms: int
    last_ms: int
    deadline_ms: int | None
    status: str = "sent"
    status_ms: int | None = None
    by: str = ""


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """A closing that somebody proposed. `note` are free words."""

    by: str
    at_ms: int
    disposition: Disposition
    note: str


class IncidentRow(msgspec.Struct, kw_only=True):
    """One incident as it is now. `changed` is the last outbox entry that touched it."""

    incident_id: str
    partition: str
    subject: str
    opened_ms: int
    changed: tuple[int, int]
    open: bool = True
    closed_ms: int | None = None
    wearer_id: str | None = None
    protected_id: str | None = None
    case_id: str | None = None
    priority: Priority | None = None
    alarm_classes: tuple[AlarmClass, ...] = ()
    plan_ids: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    drill: bool = False
    owner: str = ""
    """Who took it in hand last: a person of the room, or a receiver that acknowledged."""
    owner_ms: int | None = None
    in_room: bool = False
    """Whether the owner is a person of the room: what only others have is not in our hands."""
    disposition: Disposition | None = None
    closed_by: str = ""
    countersigned_by: str = ""
    closing: Closing | None = None
    """A closing that was proposed and waits for a second person."""
    protected_told_by: str = ""
    offered_to: str = ""
    """Whom the owner wants to take it over; empty when nobody, or when somebody has."""
    offered_by: str = ""
    offered_ms: int | None = None
    alarms: dict[str, AlarmRow] = {}
    told: dict[str, ToldRow] = {}
    timeline: list[Entry] = []
    left_out: int = 0
    """Entries of the timeline beyond the bound."""
