"""The past of a partition computed again: the same journal through the same program.

What is computed is compared, byte for byte, with what the outbox holds. Where the journal and the
outbox are read from (archive, store) makes no difference.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from afstand import __version__
from afstand.commands import (
    CommandError,
    DefineDevice,
    DefineOrder,
    DefineZone,
    JournalCommand,
    TakeGroup,
    decode_command,
)
from afstand.proof.scope import Scope
from afstand.watch.fold import Watch, WatchError
from afstand.watch.snapshots import Snapshot, SnapshotError, Snapshots
from alerting.book.types import DefineCase
from ingest.archive.chain import StreamName
from ingest.archive.history import History
from ingest.columns import KIND_CODES, EntryColumns
from ingest.entries import Entry, EntryKind
from ingest.outbox import OutboxEntry
from ingest.store import BEGINNING, EntryId

_COMMAND = KIND_CODES[EntryKind.COMMAND.value]


class ProofError(ValueError):
    """What was asked for cannot be given; the message is safe to show."""


class Definition(NamedTuple):
    """A command that belongs to a case, and the entry it stands in."""

    at: EntryId
    command: JournalCommand


class Definitions(NamedTuple):
    """What the journal defined up to an instant, as far as it belongs to one case."""

    scope: Scope
    commands: list[Definition]
    handles: dict[int, DefineDevice]
    """Devices of the case by the number that their frames are journalled under."""
    came: EntryId = BEGINNING
    """When its persons came from another partition; the beginning: it was defined here."""


class Folded(NamedTuple):
    """One entry: what the program makes of it now, and what was written then (None: nothing)."""

    entry: Entry
    now: bytes | None
    then: bytes | None


class Columns(Protocol):
    """Whatever gives the entries of a stream as columns."""

    def columns(
        self, stream: StreamName, after: EntryId = BEGINNING, until: EntryId | None = None
    ) -> AsyncIterator[EntryColumns]:
        """Return them, oldest first."""
        ...


async def read_definitions(
    history: Columns, case_id: str, until: EntryId | None = None
) -> Definitions | None:
    """Return what defines a case; None when the partition does not know it.

    Raises what `History` raises.
    """
    read: list[Definition] = []
    case: DefineCase | None = None
    async for part in history.columns(StreamName.JOURNAL, BEGINNING, until):
        for index in (part.kind == _COMMAND).nonzero()[0].tolist():
            try:
                command = decode_command(part.blob(index))
            except CommandError:
                continue  # rejected then, so it defined nothing
            if isinstance(command, DefineCase) and command.case_id == case_id:
                case = command
            read.append(Definition(part.id(index), command))
    return None if case is None else _of_case(case, read)


def _of_case(case: DefineCase, read: Sequence[Definition]) -> Definitions:
    scope = Scope(case)
    handles: dict[int, DefineDevice] = {}
    zones: dict[str, list[Definition]] = {}
    found: list[Definition] = []
    for one in read:
        if isinstance(one.command, DefineZone):
            zones.setdefault(one.command.zone.id, []).append(one)  # an order may name it later
        elif isinstance(one.command, DefineDevice):
            if scope.owns_device(one.command):
                handles[one.command.handle] = one.command
                scope.devices[one.command.device_id] = one.command.person_id or ""
                found.append(one)
        elif scope.owns_command(one.command):
            found.append(one)
    found += [one for zone_id in scope.zones for one in zones.get(zone_id, ())]
    found.sort(key=lambda one: one.at)
    came = [
        one.at
        for one in read
        if isinstance(one.command, TakeGroup)
        and one.command.engine  # without a state it only asks
        and set(one.command.persons) & set(scope.persons)
    ]
    return Definitions(scope, found, handles, max(came, default=BEGINNING))


def orders_of(definitions: Definitions) -> list[DefineOrder]:
    """Every version of every order of the case, oldest first."""
    return [one.command for one in definitions.commands if isinstance(one.command, DefineOrder)]


class Start(NamedTuple):
    """A watch and the last entry it has folded."""

    watch: Watch
    after: EntryId
    origin: str


def start_before(folder: Path, partition: str, since: EntryId, *, from_beginning: bool) -> Start:
    """Return the state to begin with: the newest good snapshot before `since`, else the beginning.

    Snapshots of other programs are passed over: only the very same program computes the same bytes.
    """
    best: tuple[Snapshot, str] | None = None
    for replica in sorted(path for path in folder.glob("*") if path.is_dir()):
        snapshots = Snapshots(replica, partition)
        for path in () if from_beginning else snapshots.candidates():
            try:
                snapshot = snapshots.read(path)
            except SnapshotError:
                continue  # `afstand verify` tells of it
            fits = snapshot.program == __version__ and snapshot.entry_id < since
            if fits and (best is None or snapshot.entry_id > best[0].entry_id):
                best = snapshot, f"snapshot {replica.name}/{path.name}"
    if best is not None:
        try:
            return Start(Watch.load(partition, best[0].state), best[0].entry_id, best[1])
        except WatchError:
            pass  # made by another state format: the beginning will do
    return Start(Watch(partition), BEGINNING, "the beginning of the journal")


async def folded(history: History, start: Start, until: EntryId | None) -> AsyncIterator[Folded]:
    """Yield every journal entry behind the start, folded now, beside what was written then."""
    written = _outbox(history, start.after, until)
    then = await anext(written, None)
    async for page in history.journal(start.after, until):
        for entry in page:
            while then is not None and then.id < entry.id:
                # Nothing in the journal for it: told under its own id, as a difference.
                yield Folded(Entry(then.id, EntryKind.INVALID, b""), None, then.blob)
                then = await anext(written, None)
            here = then.blob if then is not None and then.id == entry.id else None
            yield Folded(entry, start.watch.step(entry).blob, here)
            if here is not None:
                then = await anext(written, None)


async def _outbox(
    history: History, after: EntryId, until: EntryId | None
) -> AsyncIterator[OutboxEntry]:
    async for page in history.outbox(after, until):
        for entry in page:
            yield entry
