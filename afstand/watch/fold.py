"""The watch: `(state, journal entry) -> (state, outbox entry)`, nothing else.

It reads no clock, no random number and no network: time is the millisecond part of the entry's id.
So any number of replicas compute the same bytes, and any alarm can be computed again from the
journal.

What raises is answered the same way everywhere. The engine and the book each leave their state as
it was when they raise, so the entry is done again in parts, the part that cannot be done is set
aside with a reason, and a SYSTEM alarm says so. Nothing stops.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

import msgspec
import numpy as np

from afstand.commands import (
    CaseErased,
    CommandError,
    DecideOrder,
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    Definition,
    HandOverShift,
    HoldCase,
    LiftHold,
    MoveCommand,
    MovePersons,
    ProposeOrder,
    RoomCommand,
    TakeGroup,
    decode_command,
)
from afstand.watch.envelope import encode_envelope, entry_key
from afstand.watch.frames import (
    Devices,
    DumpedDevices,
    Inputs,
    join_inputs,
    no_inputs,
    read_inputs,
)
from afstand.watch.moving import DumpedMoving, Moving, Passed, Refusal
from afstand.watch.page import Page, Run, read_page
from afstand.watch.proposals import Proposals, Proposed, Refused
from afstand.watch.signals import PROBE, is_dead_letter, read_signal
from afstand.watch.work import Work, named, tried
from alerting.book.book import Book
from alerting.book.classes_data import BOOK_VERSION
from alerting.book.types import (
    Defined,
    DeviceEvent,
    Input,
    Observation,
    OrderTaken,
    Output,
    Receipt,
    Rejected,
    RejectReason,
    SignalKind,
    Verdict,
    VerdictRecord,
)
from geofence.compiled import is_current, unpack
from geofence.engine import Engine, FixBatch, OrderRejected
from geofence.engine import RejectReason as OrderRejectReason
from geofence.layout import NEVER_MS
from geofence.orders import CircleShape, Zone
from geofence.parameters import RULES_VERSION
from geofence.quiet import QuietEntries
from geofence.verdicts import Finding, PositionRequest
from ingest.columns import EntryColumns
from ingest.entries import Entry, EntryError, EntryKind, EntryVersionError, FrameBatch
from ingest.store import EntryId

STATE_FORMAT: Final = 2
RULES: Final = f"engine {RULES_VERSION}, book {BOOK_VERSION}, watch {STATE_FORMAT}"
"""What a state depends on besides the journal. Another text: another outbox, or another state.

Watch 2 moves persons and erases cases; watch 1 rejects these commands.
"""
RULES_1: Final = f"engine {RULES_VERSION}, book {BOOK_VERSION}, watch 1"
RECEIPT_FORMAT: Final = 1


class WatchError(ValueError):
    """A dumped state that cannot be loaded."""


class Step(NamedTuple):
    """What one entry gave.

    The outbox blob (None: nothing) and counts of what was in it, for the metrics.
    """

    blob: bytes | None
    outputs: list[Output]
    notes: Counter[str]
    passed: Sequence[Passed] = ()


class Folded(NamedTuple):
    """What folding some entries gave: nothing, or what the last of them (`id`) gave.

    `passed` is for the journals of other partitions, where some of its persons are now.
    """

    id: EntryId
    entries: int
    blob: bytes | None
    outputs: list[Output]
    notes: Counter[str]
    passed: Sequence[Passed] = ()


class _State(msgspec.Struct, array_like=True):
    format: int
    partition: str
    engine: bytes
    book: bytes
    devices: DumpedDevices
    proposals: list[Proposed] = []  # a state written before there were any has none
    moving: DumpedMoving = DumpedMoving()


_RECEIPT: Final = msgspec.msgpack.Decoder(tuple[int, Receipt])


class Watch:
    """The state of one partition."""

    def __init__(self, partition: str) -> None:
        self._partition = partition
        self._engine = Engine()
        self._book = Book()
        self._devices = Devices()
        self._proposals = Proposals()
        self._moving = Moving()

    def step(self, entry: Entry) -> Step:
        """Fold one entry. Never raises for what stands in it.

        MemoryError passes, because it is this machine's alone.
        """
        work = Work(entry, self._partition)
        self._advance(work)
        try:
            self._take(work)
        except (MemoryError, EntryVersionError):
            raise
        except Exception as error:  # noqa: BLE001 - reported, the same on every replica
            work.poison(f"{entry.kind}: {named(error)}")
        return self._finish(work)

    def _take(self, work: Work) -> None:
        """What an entry says, by its kind."""
        entry = work.entry
        match entry.kind:
            case EntryKind.FRAMES:
                self._frames(work)
            case EntryKind.COMMAND:
                self._command(work)
            case EntryKind.RECEIPT:
                self._receipt(work)
            case EntryKind.SIGNAL if entry.blob == PROBE:
                work.outputs.append(
                    Observation(kind="probe", reason="asked-by-the-auditor", at_ms=work.now_ms)
                )
            case EntryKind.SIGNAL:
                work.inputs += read_signal(entry.blob, work.key, work.now_ms, self._devices.find)
            case EntryKind.INVALID:
                work.poison(entry.blob.decode(errors="replace"))
            case EntryKind.TICK:
                pass

    def _finish(self, work: Work) -> Step:
        work.say_set_aside(len(self._devices.set_aside))
        if self._moving.persons:
            work.inputs = [
                one
                for one in work.inputs
                if not isinstance(one, Verdict | PositionRequest) or self._moving.is_ours(one)
            ]
        self._book_all(work)
        outputs = work.outputs
        outputs += [
            VerdictRecord(at_ms=work.now_ms, verdict=one)
            for one in work.inputs
            if isinstance(one, Verdict)
        ]
        blob = encode_envelope(work.received_ms, outputs) if outputs else None
        return Step(blob, outputs, work.notes, work.passed)

    def figures(self) -> dict[str, int]:
        """The load on the operators and what the book holds; nothing that decides reads them."""
        return self._book.indicators() | self._book.figures()

    def fold(self, entries: EntryColumns) -> Iterator[Folded]:
        """Fold many entries: the same outputs and the same state as `step` with one after another.

        Goes on while it is asked for more: whoever begins has to ask to the end. Raises
        EntryVersionError where `step` would, with everything before it folded and given.
        """
        try:
            page = read_page(entries)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - an entry by itself says what it is, and which one
            for entry in entries:
                step = self.step(entry)
                yield Folded(entry.id, 1, *step)
            return
        at = 0
        for other in (*np.flatnonzero(~page.plain).tolist(), len(entries)):
            if other > at:
                yield from self._fold_ours(page, at, other)
            if other < len(entries):
                step = self.step(entries.entry(other))
                yield Folded(entries.id(other), 1, *step)
            at = other + 1

    def _fold_ours(self, page: Page, first: int, end: int) -> Iterator[Folded]:
        """Plain entries; one with frames of somebody who left is done by itself."""
        others: list[int] = []
        if self._moving.handles:
            ends = page.frame_ends
            begin = int(ends[first - 1]) if first else 0
            rows = self._moving.rows_of(page.handles[begin : int(ends[end - 1])]) + begin
            others = np.unique(np.searchsorted(ends, rows, side="right")).tolist()
        for other in (*others, end):
            if other > first:
                yield from self._fold_plain(Run(page, first, other, self._devices))
            if other < end:
                step = self.step(page.entries.entry(other))
                yield Folded(page.entries.id(other), 1, *step)
            first = other + 1

    def _fold_plain(self, run: Run) -> Iterator[Folded]:
        """Nearly all entries tell nothing; one that does is done as by itself."""
        at = told = run.first
        coalesced = self._engine.fixes().coalesced
        entries = self._quiet(run)
        while True:
            if entries is not None:
                due_ms = self._book.next_due_ms()
                limit_ms = NEVER_MS if due_ms is None else due_ms
                at = run.first + self._engine.fold_quiet(entries, at - run.first, limit_ms)
            if at == run.end:
                break
            work = Work(run.page.entries.entry(at), self._partition)
            self._advance(work)
            inputs = run.inputs(at)
            work.received_ms = inputs.received_ms
            if len(inputs.handles):
                behind = bool(run.page.behind[at])
                work.inputs += self._observe(inputs, work, behind=behind)
            step = self._finish(work)
            at += 1
            yield Folded(work.entry.id, at - told, *step)
            told = at
            if at == run.end:
                break
            if run.renamed(self._devices):
                entries = self._quiet(run)
        last = run.page.entries.id(run.end - 1)
        if at > told:
            # Nothing is due and nothing comes in: the book sees how late it is, and no more.
            self._book.step([], last.ms, entry_key(self._partition, last))
        run.notes["coalesced"] = self._engine.fixes().coalesced - coalesced
        yield Folded(last, at - told, None, [], run.notes)

    def _quiet(self, run: Run) -> QuietEntries | None:
        """A run as the engine takes it; None when that raises: then each entry is done by itself.

        Nothing is changed by it, and the entry whose fault it is will raise again.
        """
        try:
            return self._engine.quiet_entries(*run.fixes())
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - see above
            return None

    def dump(self) -> bytes:
        """The whole state; `load` of it goes on bit for bit."""
        return msgspec.msgpack.encode(
            [
                STATE_FORMAT,
                self._partition,
                self._engine.dump(),
                self._book.dump(),
                self._devices.dump(),
                self._proposals.dump(),
                self._moving.dump(),
            ]
        )

    @classmethod
    def load(cls, partition: str, raw: bytes) -> "Watch":
        """The reverse of `dump`.

        Raises WatchError for another format or partition, or what is no dump at all.
        """
        try:
            state = msgspec.msgpack.decode(raw, type=_State)
        except msgspec.MsgspecError as error:
            raise WatchError(f"not the state of a watch: {error}") from None
        if state.format != STATE_FORMAT or state.partition != partition:
            raise WatchError(f"state of format {state.format}, partition {state.partition}")
        watch = cls(partition)
        try:
            watch._engine = Engine.load(state.engine)
            watch._book = Book.load(state.book)
        except ValueError as error:
            raise WatchError(f"state of another format: {error}") from None
        watch._devices = Devices.load(state.devices)
        watch._proposals = Proposals.load(state.proposals)
        watch._moving = Moving(state.moving)
        return watch

    @staticmethod
    def of_format_1(raw: bytes) -> bytes:
        """A dump of watch 1 as one of watch 2: nobody had left. Raises ValueError."""
        state = msgspec.msgpack.decode(raw, type=_State)
        if state.format != 1:
            raise WatchError(f"state of format {state.format}")
        state.format = STATE_FORMAT
        return msgspec.msgpack.encode(state)

    # --- time ---------------------------------------------------------------------------------

    def _advance(self, work: Work) -> None:
        findings = tried(lambda: self._engine.advance(work.now_ms), work, "timers of the engine")
        work.inputs += findings or []

    # --- frames -------------------------------------------------------------------------------

    def _frames(self, work: Work) -> None:
        try:
            batch = FrameBatch.read(work.entry.blob)
        except EntryVersionError:
            raise  # a later program wrote it: this one must stop, not guess
        except EntryError as error:
            work.poison(str(error))
            return
        if self._moving.handles:
            ours, passed = self._moving.split(batch)
            work.passed += passed
            work.notes["passed-on"] += len(passed)
            if ours is None:
                return
            batch = ours
        inputs = self._read(batch, work)
        work.received_ms = inputs.received_ms
        work.notes += inputs.notes
        # A press comes before everything else of its entry.
        work.inputs[:0] = [self._placed(event) for event in inputs.events]
        if len(inputs.handles):
            coalesced = self._engine.fixes().coalesced
            work.inputs += self._observe(inputs, work, behind=batch.behind)
            work.notes["coalesced"] += self._engine.fixes().coalesced - coalesced

    def _read(self, batch: FrameBatch, work: Work) -> Inputs:
        """All frames at once; when that raises by halves, down to the frames that do."""
        restore = self._devices.keep(dict.fromkeys(batch.handles.tolist()))
        try:
            return read_inputs(batch, self._devices, work.now_ms)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - isolated here, reported, the same on every replica
            restore()
            if len(batch) == 1:
                self._set_aside(int(batch.handles[0]), named(error), work)
                return no_inputs()
        half = len(batch) // 2
        parts = (batch.part(0, half), batch.part(half, len(batch)))
        return join_inputs([self._read(part, work) for part in parts])

    def _set_aside(self, handle: int, reason: str, work: Work) -> None:
        """Believe no further fix of a device, and say so once."""
        work.notes["set-aside"] += 1
        device = self._devices.known.get(handle)
        if device is None:
            work.poison(reason)
            return
        if handle in self._devices.set_aside:
            return
        self._devices.set_fixes_aside(handle, reason)
        work.set_aside.append(device.device_id)
        work.why_set_aside = work.why_set_aside or reason

    def _placed(self, event: DeviceEvent) -> DeviceEvent:
        """A press without a position is told with the last one known.

        Its time says how old it is.
        """
        if event.position is not None or event.person_id is None:
            return event
        position = self._engine.last_position(event.person_id)
        return event if position is None else msgspec.structs.replace(event, position=position)

    def _observe(self, inputs: Inputs, work: Work, *, behind: bool) -> list[Finding]:
        try:
            return self._engine.observe(inputs.fixes, work.now_ms, behind=behind)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - isolated below, reported, the same on every replica
            return self._observe_apart(inputs, work, error, behind=behind)

    def _observe_apart(
        self, inputs: Inputs, work: Work, why: Exception, *, behind: bool
    ) -> list[Finding]:
        """Device by device.

        In the order of first appearance; a device whose fixes raise is set aside.
        """
        findings: list[Finding] = []
        work.poison(f"fixes: {named(why)}")
        for handle in dict.fromkeys(inputs.handles.tolist()):
            rows = np.flatnonzero(inputs.handles == handle)
            part = FixBatch._make(column[rows] for column in inputs.fixes)
            try:
                findings += self._engine.observe(part, work.now_ms, behind=behind)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - the device is set aside with this as the reason
                self._set_aside(handle, named(error), work)
        return findings

    # --- commands, receipts -------------------------------------------------------------------

    def _command(self, work: Work) -> None:
        try:
            command = decode_command(work.entry.blob)
        except CommandError as error:
            work.rejected(RejectReason.BAD_COMMAND, "command", "", str(error))
            return
        if isinstance(command, MovePersons | TakeGroup):
            self._move(command, work)
            return
        passed = self._moving.to_pass(command, work.entry.blob)
        if isinstance(command, DefineZone):
            # It may be that of others here as well. What is no news here was passed on before.
            known = self._engine.zone_version(command.zone.id)
            passed = None if known is not None and command.zone.version <= known else passed
        if passed is not None:
            work.passed.append(passed)
            work.notes["passed-on"] += 1
            if not isinstance(command, DefineZone):
                return
        if isinstance(command, DefinePerson | DefineDevice | DefineZone | DefineOrder):
            self._take_definition(command, work)
        elif isinstance(command, ProposeOrder | DecideOrder | HandOverShift):
            self._room(command, work)
        elif isinstance(command, HoldCase | LiftHold | CaseErased):
            if isinstance(command, CaseErased):
                self._forget(command, work)
            what = "erasure" if isinstance(command, CaseErased) else "legal-hold"
            work.outputs.append(Defined(what=what, ref=command.case_id, at_ms=work.now_ms))
        else:
            work.inputs.append(command)

    def _forget(self, command: CaseErased, work: Work) -> None:
        """Where persons were, where zones lay and what orders said goes out of the state.

        All of it or, while an incident is open, nothing: the book is asked first.
        """
        if command.forget_case:
            orders = [order.id for order in command.orders]
            against = self._book.forget_case(command.case_id, command.persons, orders)
            if against:
                work.rejected(RejectReason.BAD_COMMAND, "erasure", command.case_id, against)
                return
        self._engine.forget_persons(command.persons)
        for order in command.orders:
            with contextlib.suppress(OrderRejected):  # it was never taken here
                work.inputs += self._engine.put_order(order, work.now_ms)
        for zone_id in command.zones:
            version = self._engine.zone_version(zone_id)
            if version is not None:
                nowhere = CircleShape(lat_e7=0, lon_e7=0, radius_m=1)
                zone = Zone(id=zone_id, version=version + 1, circle=nowhere)
                self._take_definition(DefineZone(zone=zone), work)

    def _move(self, command: MoveCommand, work: Work) -> None:
        """Persons leave for another partition, or come from one."""
        parts = (self._engine, self._book, self._devices)
        if isinstance(command, MovePersons):
            left = self._moving.leave(command, self._partition, work.key, *parts)
            if isinstance(left, Refusal):
                work.rejected(left.reason, "move", ",".join(command.person_ids)[:64], left.detail)
                return
            move_id, passed = left
            work.passed += passed
            ref = f"{command.to}/{move_id}"
            work.outputs.append(Defined(what="left", ref=ref, at_ms=work.now_ms))
            return
        try:
            came = self._moving.arrive(command, work.now_ms, *parts)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - nobody is left between two partitions
            work.rejected(RejectReason.POISON, "move", command.move_id, named(error))
            work.poison(f"move {command.move_id}: {named(error)}")
            if command.back:
                self._moving.stay(command.persons)
            else:
                work.passed.append(self._moving.send_back(command, self._partition))
            return
        if came:
            said = Defined(what="arrived", ref=command.move_id, at_ms=work.now_ms)
            work.outputs.append(said)
        else:
            work.rejected(RejectReason.NO_PERSON, "move", command.move_id, "it has not come")

    def _take_definition(self, command: Definition, work: Work) -> bool:
        """Take a definition; False when it was refused."""
        said = len(work.outputs)
        found = tried(lambda: self._define(command, work), work, type(command).__name__)
        work.inputs += found or []
        return found is not None and not any(
            isinstance(one, Rejected) for one in work.outputs[said:]
        )

    def _room(self, command: RoomCommand, work: Work) -> None:
        """What the monitoring centre does beside its alarms."""
        answer: ProposeOrder | Refused | None = None
        match command:
            case ProposeOrder():
                what, ref = "proposal", command.proposal_id
                answer = self._proposals.propose(command, work.now_ms)
            case DecideOrder():
                what, ref = "decision", command.proposal_id
                answer = self._proposals.decide(command)
            case HandOverShift():
                what, ref = "shift", command.by
        if isinstance(answer, Refused):
            work.rejected(answer.reason, what, ref, answer.detail)
            return
        work.outputs.append(Defined(what=what, ref=ref, at_ms=work.now_ms))
        if isinstance(answer, ProposeOrder):
            zones = [
                DefineZone(zone=zone, compiled=compiled)
                for zone, compiled in zip_longest(answer.zones, answer.compiled)
            ]
            # An order is never put with another zone than the one that was approved.
            if all(self._take_definition(zone, work) for zone in zones):
                self._take_definition(DefineOrder(order=answer.order), work)

    def _define(self, command: Definition, work: Work) -> list[Finding]:
        try:
            match command:
                case DefinePerson():
                    self._engine.put_person(command.person_id, command.role)
                case DefineDevice():
                    person = command.person_id
                    row = self._engine.person_handle(person) if person else None
                    self._devices.define(command, -1 if row is None else row)
                case DefineZone():
                    return self._put_zone(command, work)
                case DefineOrder():
                    findings = self._engine.put_order(command.order, work.now_ms)
                    work.inputs.append(OrderTaken(order=command.order))
                    return findings
        except OrderRejected as error:
            what, ref = _subject_of(command)
            work.rejected(RejectReason.BAD_ORDER, what, ref, f"{error.reason}: {error.detail}")
            work.signal(SignalKind.ORDER_REJECTED, f"{what} {ref}: {error.reason}")
        return []

    def _put_zone(self, command: DefineZone, work: Work) -> list[Finding]:
        """Take a zone as it was compiled elsewhere; the entry says from when it counts."""
        zone, grid = command.zone, None
        try:
            if command.compiled is not None:
                grid = unpack(command.compiled)
        except ValueError as error:
            detail = f"zone {zone.id!r}: {error}"
            raise OrderRejected(OrderRejectReason.BAD_GEOMETRY, detail) from error
        if command.compiled is None or not is_current(command.compiled):
            work.notes["zones-compiled-here"] += 1
        before = self._engine.zone_version(zone.id)
        findings = self._engine.put_zone(zone, work.now_ms, grid)
        if before != zone.version:
            ref = f"{zone.id}@{zone.version}"
            work.outputs.append(Defined(what="zone", ref=ref, at_ms=work.now_ms))
        return findings

    def _receipt(self, work: Work) -> None:
        try:
            version, receipt = _RECEIPT.decode(work.entry.blob)
        except msgspec.MsgspecError as error:
            work.poison(f"receipt: {error}")
            return
        if version != RECEIPT_FORMAT:
            work.poison(f"receipt of format {version}")
            return
        # When a receipt counts is the journal's time, not the clock of whoever wrote it.
        work.inputs.append(msgspec.structs.replace(receipt, at_ms=work.now_ms))
        if is_dead_letter(receipt):
            detail = f"{receipt.target}: {receipt.status}: {receipt.detail}"
            work.signal(SignalKind.DELIVERY_DEAD, detail)

    # --- the book -----------------------------------------------------------------------------

    def _book_all(self, work: Work) -> None:
        """All inputs at once.

        When that raises one by one, so that one that cannot be done hides no other.
        """
        first = len(work.outputs)
        try:
            work.outputs += self._book.step(work.inputs, work.now_ms, work.key, first)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - isolated below, reported, the same on every replica
            work.poison(f"book: {named(error)}")
            for one in tuple(work.inputs):
                self._book_one(one, work)

    def _book_one(self, one: Input, work: Work) -> None:
        try:
            work.outputs += self._book.step([one], work.now_ms, work.key, len(work.outputs))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the input is set aside with this as the reason
            what = type(one).__name__
            work.rejected(RejectReason.POISON, what, "", named(error))


def _subject_of(command: Definition) -> tuple[str, str]:
    match command:
        case DefinePerson():
            return "person", command.person_id
        case DefineDevice():
            return "device", command.device_id
        case DefineZone():
            return "zone", command.zone.id
        case DefineOrder():
            return "order", command.order.id
