"""Gathers from the outbox everything that belongs to one alarm or incident.

An id of an incident says in which entry it was opened, so reading starts there and goes on until it
is closed; and a while before, because a breach announces itself. Nothing is computed anew: what is
told is what was decided then.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, Protocol

from afstand.limits import EXPLAIN_RECORDS_MAX
from afstand.watch.envelope import Envelope, decode_envelope, entry_key, output_key
from alerting.book.types import (
    AlarmRecord,
    Change,
    CommandRecord,
    DeviceCommand,
    IncidentChange,
    IncidentRecord,
    Notice,
    Verdict,
    VerdictRecord,
)
from ingest.outbox import OutboxEntry
from ingest.store import BEGINNING, EntryId

BEFORE_MS: Final = 3_600_000
"""Verdicts about the same persons are told from so long before the alarm on."""

_ID: Final = re.compile(
    r"(?P<incident>[a-z]-(?P<partition>[A-Za-z0-9_-]+)-(?P<ms>\d{1,15})-(?P<seq>\d{1,15})-\d{1,9})"
    r"(?:\.(?P<alarm>\d{1,9}))?",
    re.ASCII,
)


class ExplainError(ValueError):
    """Nothing can be told; the message says why and is safe to show."""


class Source(Protocol):
    """The outbox of one partition, with what of it is in the archive (ingest.archive.history)."""

    def outbox(
        self, after: EntryId = BEGINNING, until: EntryId | None = None
    ) -> AsyncIterator[list[OutboxEntry]]:
        """Return the entries behind `after`, oldest first, page by page."""
        ...


class Name(NamedTuple):
    """An id taken apart. `alarm_id` is empty for a whole incident."""

    incident_id: str
    alarm_id: str
    partition: str
    opened: EntryId


class Taken(NamedTuple):
    """A verdict, the entry it follows from, and when the intake had its oldest frame (0: none)."""

    entry: str
    received_ms: int
    verdict: Verdict
    decisive: bool
    """An alarm that is told of changed in the same entry."""


class Sent(NamedTuple):
    """A notice and its idempotency key."""

    key: str
    notice: Notice


class Gathered(NamedTuple):
    """All records of one alarm or incident, oldest first. `left_off`: verdicts beyond the bound."""

    name: Name
    incidents: list[IncidentRecord]
    alarms: list[AlarmRecord]
    verdicts: list[Taken]
    notices: list[Sent]
    commands: list[DeviceCommand | CommandRecord]
    left_off: int


def read_name(text: str, partitions: Sequence[str]) -> Name:
    """Take an id apart. Raises ExplainError for what is none, or of no partition of this site."""
    match = _ID.fullmatch(text)
    if match is None:
        raise ExplainError(f"{text[:80]!r} is no id of an incident or an alarm")
    if match["partition"] not in partitions:
        raise ExplainError(f"partition {match['partition']} is not one of this site")
    return Name(
        incident_id=match["incident"],
        alarm_id=text if match["alarm"] is not None else "",
        partition=match["partition"],
        opened=EntryId(int(match["ms"]), int(match["seq"])),
    )


async def gather(source: Source, name: Name) -> Gathered:
    """Read what there is about an incident. Raises ExplainError when there is nothing."""
    found = _Finder(name)
    await _read_on(source, found, _before(name.opened))
    if not found.known:
        raise ExplainError(
            f"partition {name.partition} has no record of {name.alarm_id or name.incident_id}"
        )
    start = EntryId(max(name.opened.ms - BEFORE_MS, 0), 0)
    async for entries in source.outbox(start, _before(name.opened)):
        for entry in entries:
            found.take_earlier(entry)
    return found.result()


async def _read_on(source: Source, found: "_Finder", after: EntryId) -> None:
    """Read from the opening on until it is closed, or to the present end."""
    async for entries in source.outbox(after):
        for entry in entries:
            found.take(entry)
            if found.done:
                return


def _before(entry_id: EntryId) -> EntryId:
    """The greatest id that is smaller."""
    if entry_id.seq:
        return EntryId(entry_id.ms, entry_id.seq - 1)
    return EntryId(max(entry_id.ms - 1, 0), 2**63)


class _Finder:
    """Picks the records of one incident out of entries."""

    def __init__(self, name: Name) -> None:
        self._name = name
        self._incidents: list[IncidentRecord] = []
        self._alarms: list[AlarmRecord] = []
        self._notices: list[Sent] = []
        self._commands: list[DeviceCommand | CommandRecord] = []
        self._earlier: list[Taken] = []
        self._verdicts: list[Taken] = []
        self._orders: dict[str, None] = {}
        self._left_off = 0
        self.done = False

    @property
    def known(self) -> bool:
        """Whether there is anything about the id that was asked for."""
        if self._name.alarm_id:
            return bool(self._alarms)
        return bool(self._incidents or self._notices)

    def take(self, entry: OutboxEntry) -> None:
        """Look at an entry from the opening on."""
        envelope = decode_envelope(entry.blob)
        moved: dict[str, None] = {}
        for index, output in enumerate(envelope.outputs):
            match output:
                case IncidentRecord() if output.incident_id == self._name.incident_id:
                    self._incidents.append(output)
                    self.done = output.change is IncidentChange.CLOSED
                case AlarmRecord() if self._asked_for(output.incident_id, output.alarm_id):
                    self._alarms.append(output)
                    if output.order_id is not None:
                        self._orders[output.order_id] = None
                        if output.change in _MOVES:
                            moved[output.order_id] = None
                case Notice() if self._asked_for(output.incident_id, output.alarm_id):
                    key = output_key(self._name.partition, entry.id, index)
                    self._notices.append(Sent(key, output))
                    if output.order_id is not None:
                        self._orders[output.order_id] = None
                case DeviceCommand() | CommandRecord() if (
                    output.incident_id == self._name.incident_id
                ):
                    self._commands.append(output)
                case _:
                    pass
        self._keep(entry, envelope, self._verdicts, moved)
        # What is no incident (a breach in the past, a test) is one entry.
        self.done = self.done or not self._incidents

    def take_earlier(self, entry: OutboxEntry) -> None:
        """Look at an entry from before the opening."""
        self._keep(entry, decode_envelope(entry.blob), self._earlier, {})

    def _keep(
        self, entry: OutboxEntry, envelope: Envelope, kept: list[Taken], moved: dict[str, None]
    ) -> None:
        for output in envelope.outputs:
            if not isinstance(output, VerdictRecord) or not self._is_about(output.verdict):
                continue
            if len(kept) >= EXPLAIN_RECORDS_MAX:
                self._left_off += 1
                continue
            key = entry_key(self._name.partition, entry.id)
            decisive = output.verdict.order_id in moved
            kept.append(Taken(key, envelope.received_ms, output.verdict, decisive))

    def _asked_for(self, incident_id: str, alarm_id: str) -> bool:
        return incident_id == self._name.incident_id and self._name.alarm_id in ("", alarm_id)

    def _is_about(self, verdict: Verdict) -> bool:
        """Whether a verdict is about the persons of the incident."""
        if not self._incidents:
            return verdict.historic
        first = self._incidents[0]
        if verdict.protected_id is not None and first.protected_id is not None:
            return (verdict.wearer_id, verdict.protected_id) == (
                first.wearer_id,
                first.protected_id,
            )
        return first.wearer_id in (None, verdict.wearer_id)

    def result(self) -> Gathered:
        """All records, the verdicts only of the orders that the alarms are about."""
        verdicts = [
            taken
            for taken in (*self._earlier, *self._verdicts)
            if taken.verdict.order_id in self._orders
        ]
        return Gathered(
            self._name,
            self._incidents,
            self._alarms,
            verdicts,
            self._notices,
            self._commands,
            self._left_off,
        )


_MOVES: Final = (Change.RAISED, Change.RAISED_AGAIN, Change.CONFIRMED, Change.RETURNED)
"""Changes of an alarm that a verdict brings about."""
