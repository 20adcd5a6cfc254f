"""`afstand replay`: alarms of a case computed again, and what other orders would have given."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from afstand import __version__
from afstand.limits import REPLAY_DIFFERENCES_TOLD_MAX
from afstand.proof.past import Definitions, Folded, Start, folded
from afstand.proof.scope import Scope
from afstand.proof.tried import Happened, Substitute, Tried, WhatIf, happened
from afstand.watch.envelope import EnvelopeError, decode_envelope
from alerting.book.types import Output
from ingest.archive.history import History
from ingest.entries import EntryKind
from ingest.store import EntryId

REPLAY_FORMAT: Final = "afstand.replay/1"


class Difference(msgspec.Struct, frozen=True):
    """An entry whose outputs are not, to the byte, what was written then."""

    entry: str
    what: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What came of computing a period again."""

    format: str = REPLAY_FORMAT
    program: str = __version__
    partition: str
    case_id: str
    since: str
    until: str
    origin: str
    """The state it began with."""
    folded: int
    """Journal entries from there on."""
    compared: int
    """Entries of the period that have outputs, now or then."""
    of_case: int
    """Of these, entries with records of the case."""
    records: int
    alarms: tuple[Happened, ...]
    differences: tuple[Difference, ...]
    differing: int
    what_if: WhatIf | None = None

    @property
    def same(self) -> bool:
        """Whether every output is what it was, bit for bit."""
        return self.differing == 0


class _Counted:
    """What is counted while the period goes by."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.folded = self.compared = self.of_case = self.records = self.differing = 0
        self.alarms: list[Happened] = []
        self.differences: list[Difference] = []
        self.last = EntryId(0, 0)

    def take(self, one: Folded, *, inside: bool) -> None:
        self.folded += 1
        self.last = one.entry.id
        outputs = list(_outputs(one.then)) if one.then is not None else []
        own = [output for output in outputs if self.scope.owns(output)]
        if not inside:
            return
        self.compared += one.now is not None or one.then is not None
        self.of_case += bool(own)
        self.records += len(own)
        self.alarms += happened(own)
        if one.now != one.then:
            self.differing += 1
            if len(self.differences) < REPLAY_DIFFERENCES_TOLD_MAX:
                self.differences.append(Difference(str(one.entry.id), _how(one)))


async def replay(
    history: History,
    start: Start,
    definitions: Definitions,
    partition: str,
    since: EntryId,
    until: EntryId | None,
    other: Sequence[Substitute] | None = None,
) -> Replay:
    """Compute a period again and compare. `other`: definitions to try instead (`--what-if`)."""
    counted = _Counted(definitions.scope)
    before = max(since.before(), start.after)
    if before > start.after:
        async for one in folded(history, start, before):
            counted.take(one, inside=False)
    tried = None if other is None else Tried(start.watch, partition, before, definitions, other)
    async for one in folded(history, Start(start.watch, before, start.origin), until):
        counted.take(one, inside=True)
        if tried is not None and one.entry.kind is not EntryKind.INVALID:
            tried.take(one.entry)
    return Replay(
        partition=partition,
        case_id=definitions.scope.case.case_id,
        since=str(since),
        until=str(until if until is not None else counted.last),
        origin=start.origin,
        folded=counted.folded,
        compared=counted.compared,
        of_case=counted.of_case,
        records=counted.records,
        alarms=tuple(counted.alarms),
        differences=tuple(counted.differences),
        differing=counted.differing,
        what_if=None if tried is None else tried.result(),
    )


def _outputs(blob: bytes) -> Iterator[Output]:
    try:
        yield from decode_envelope(blob).outputs
    except EnvelopeError:
        return  # of an earlier format: it is compared as bytes all the same


def _how(one: Folded) -> str:
    if one.entry.kind is EntryKind.INVALID and one.now is None:
        return "the outbox has outputs for it, the journal has no such entry"
    if one.then is None:
        return "gives outputs now; the outbox has none"
    if one.now is None:
        return "gives no output now; the outbox has some"
    now, then = list(_outputs(one.now)), list(_outputs(one.then))
    for index, (mine, its) in enumerate(zip(now, then, strict=False)):
        if mine != its:
            names = (
                f"{type(its).__name__}.{name}"
                for name in type(its).__struct_fields__
                if type(mine) is type(its) and getattr(mine, name) != getattr(its, name)
            )
            return f"output {index} differs: {', '.join(names) or type(its).__name__}"
    return f"{len(now)} outputs now, {len(then)} then"
