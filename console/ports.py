"""What the console needs of the world outside: given by whoever starts it, played in tests."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from alerting.book.types import Command as BookCommand
from console.model.inputs import (
    Fixes,
    OrderDecided,
    OrderProposed,
    ShiftHandedOver,
)
from console.model.rows import Place

RoomCommand = OrderProposed | OrderDecided | ShiftHandedOver
SentCommand = BookCommand | RoomCommand


class UnavailableError(Exception):
    """The store did not confirm: what was asked may or may not have happened."""


class PartHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the service, as the console sees it. `code` is "" while all is well."""

    part: str
    code: str = ""
    since_ms: int = 0
    detail: str = ""


class Consultation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody looked at data of persons: who, in which role, what, about whom, why (LED 25).

    `incident_id` is the reason inside an incident, `reason` the words that were asked for outside.
    `trace_id` is given when it is written: the lines of the Logboek Dataverwerkingen have it too.
    """

    at_ms: int
    by: str
    role: str
    what: str
    persons: tuple[str, ...]
    incident_id: str = ""
    reason: str = ""
    trace_id: str = ""


class KeptConsultation(msgspec.Struct, frozen=True, kw_only=True):
    """A consultation with its number in the log."""

    key: str
    said: Consultation


class FixesAt(msgspec.Struct, frozen=True):
    """Fixes of one journal entry of the past."""

    at_ms: int
    fixes: Fixes


class Link(Protocol):
    """The stores behind the console."""

    def now_ms(self) -> int:
        """The journal's time."""

    async def send(self, partition: str, command: SentCommand) -> Place:
        """Journal a command. Raises UnavailableError."""

    async def log_consultation(self, said: Consultation) -> None:
        """Log durably, in both logs or in none, before anything is shown.

        Raises UnavailableError.
        """

    async def consultations(
        self, *, person: str, by: str, before: str, count: int
    ) -> Sequence[KeptConsultation]:
        """The newest consultations, of one person or by one person where named.

        `before`: the key to go on from. Raises UnavailableError.
        """

    def past_fixes(
        self, partition: str, handles: Sequence[int], from_ms: int, to_ms: int
    ) -> AsyncIterator[FixesAt]:
        """The fixes of devices as they were journalled in [from, to). Raises UnavailableError."""
