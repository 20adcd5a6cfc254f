"""One connection of an intake and its rounds.

Each round: everything that has arrived -> checks -> ONE write to the store (an entry per partition,
and the quarantine) -> PUBACK -> acknowledgements to devices. Nothing is acknowledged before its
write is answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import structlog

from afstand.limits import INTAKE_HELD_MAX, INTAKE_TAKE_MAX, INTAKE_TAKE_SINGLES_MAX
from ingest.acks import DeviceAcks
from ingest.bulk import Bulk
from ingest.checks import (
    Accept,
    Checker,
    Copy,
    Device,
    Ignore,
    Outcome,
    Receipt,
    Refuse,
    Waiting,
)
from ingest.entries import FrameFlag, LaneCode
from ingest.metrics import IntakeMetrics
from ingest.mqtt import Acked, Message, MqttClient
from ingest.pending import Block, HeldRefusal, Pending, Plan, Row
from ingest.quarantine import quarantine_command
from ingest.reasons import Reason
from ingest.scan import Run
from ingest.settings import Writer
from ingest.signals import Signal, Signals
from ingest.store import EntryId, StoreUnavailableError

_CLOCK_FAULT: Final = int(FrameFlag.CLOCK_FAULT)

_log = structlog.get_logger("afstand.intake")


def steady_ms() -> int:
    """Return a clock for waiting.

    A step of the wall clock must neither hold up nor hurry anything.
    """
    return int(asyncio.get_running_loop().time() * 1000)


class Core(NamedTuple):
    """What the connections of one intake share."""

    name: str  # the intake's, as the quarantine has it
    checker: Checker
    bulk: Bulk
    signals: Signals
    acks: DeviceAcks
    metrics: IntakeMetrics
    now_ms: Callable[[], int]  # the wall clock
    tell_devices: Callable[[], object]
    store_changed: Callable[[], None]  # `Feed.problems` has changed


class _Figures:
    """The figures that every round touches, looked up once."""

    def __init__(self, metrics: IntakeMetrics, name: str) -> None:
        self.received = metrics.received.labels(name)
        self.batch = metrics.batch.labels(name)
        self.check_s = metrics.check_s.labels(name)
        self.write_s = metrics.write_s.labels(name)
        self.durable_s = metrics.durable_s.labels(name)
        self.held = metrics.held.labels(name)
        self.copies = metrics.copies.labels(name)
        self.journalled = {lane: metrics.journalled.labels(lane.name.lower()) for lane in LaneCode}


class Feed:
    """One of the two sessions, with what was taken from it. `urgent`: it is that of the events."""

    def __init__(
        self, name: str, client: MqttClient, writer: Writer, core: Core, *, urgent: bool
    ) -> None:
        self.name = name
        self.client = client
        self.writer = writer
        self.problems: dict[str, str] = {}  # what cannot be written, and why
        self._core = core
        self._urgent = urgent
        self._figures = _Figures(core.metrics, name)
        self._pending = Pending()
        self._stopping = False

    def stop(self) -> None:
        """Let `work` end after writing what was taken."""
        self._stopping = True
        self.client.wake()

    async def work(self) -> None:
        """Take, check, write and acknowledge until `stop`."""
        pending = self._pending
        while not self._stopping:
            wait_s = pending.wait_s(steady_ms())
            room = INTAKE_HELD_MAX - pending.messages
            if room > 0 and wait_s != 0:
                await self.client.wait(wait_s)
            elif wait_s:
                await asyncio.sleep(wait_s)
            self._take(min(room, INTAKE_TAKE_MAX))
            await self._write()
        await self._write()

    # --- take and check

    def _take(self, limit: int) -> None:
        if limit <= 0:
            return
        taken = self.client.take(limit, INTAKE_TAKE_SINGLES_MAX)
        count = len(taken)
        if count == 0:
            return
        began_s = time.perf_counter()
        core, figures = self._core, self._figures
        now_ms = steady_ms()
        messages = taken.messages
        for run in taken.runs:
            messages += self._take_run(run)
        done = [message for message in messages if not self._sort(message, now_ms)]
        if done:
            self._acknowledge(done, [])
        signal = core.signals.due(now_ms)
        if signal is not None:
            self._give(signal)
        figures.received.inc(count)
        figures.batch.observe(count)
        figures.check_s.observe(time.perf_counter() - began_s)

    def _take_run(self, run: Run) -> list[Message]:
        """Hold the plain fixes that pass; return the others as messages."""
        try:
            passed, rest = self._core.bulk.check(run)
        except Exception:  # noqa: BLE001 what fails together is checked one by one
            _log.exception("bulk check failed")
            return [run.message(index) for index in range(len(run))]
        for plain in passed:
            mark = self._pending.hold_fixes(plain.partition, plain.fixes)
            self._core.checker.seen.add(plain.tags, mark)
        return rest

    def _sort(self, message: Message, now_ms: int) -> bool:
        """Do with one message what its check says; tell whether it is held, and not done with."""
        outcome = self._check(message)
        if isinstance(outcome, Accept):
            self._hold(outcome, message)
        elif isinstance(outcome, Refuse):
            self._refuse(outcome, message, now_ms)
        elif isinstance(outcome, Waiting):
            self._pending.hold_copy(outcome.mark, message)
            self._figures.copies.inc()
        else:
            self._settle(outcome, now_ms)
            return False
        return True

    def _check(self, message: Message) -> Outcome:
        try:
            return self._core.checker.check(message)
        except Exception as error:  # noqa: BLE001 one poison message must never keep the next out
            _log.exception("check failed", topic=message.topic)
            return Refuse(Reason.INTERNAL_ERROR, type(error).__name__)

    def _hold(self, accept: Accept, message: Message) -> None:
        row = Row(
            accept.record, message, accept.device, accept.boot, accept.sequence, accept.receipt
        )
        mark = self._pending.hold(accept.partition, row)
        if accept.tag:
            self._core.checker.seen.add((accept.tag,), mark)
        if accept.reason is not None:
            self._quarantine(message, accept.reason, accept.detail, None)
            self._core.metrics.unproven.labels(accept.reason.value).inc()
        if accept.record.flags & _CLOCK_FAULT:
            self._core.metrics.clock_faults.inc()

    def _refuse(self, refuse: Refuse, message: Message, now_ms: int) -> None:
        signals = self._core.signals
        self._quarantine(message, refuse.reason, refuse.detail, refuse)
        unreadable_event = self._urgent and refuse.device is None
        signals.refused(refuse.reason.value, message.topic, now_ms, event_topic=unreadable_event)
        if refuse.clock_fault and refuse.device is not None:
            self._core.metrics.clock_faults.inc()
            device = refuse.device
            signal = signals.clock_fault(device.device_id, device.partition, now_ms)
            if signal is not None:
                self._give(signal)

    def _quarantine(
        self, message: Message, reason: Reason, detail: str, refuse: Refuse | None
    ) -> None:
        command = quarantine_command(message, reason.value, detail, self._core.name)
        held = HeldRefusal(command, refuse, message if refuse is not None else None)
        self._pending.hold_refusal(held)
        self._core.metrics.quarantined.labels(reason.value).inc()

    def _settle(self, outcome: Copy | Ignore, now_ms: int) -> None:
        if isinstance(outcome, Ignore):
            self._core.metrics.ignored.labels(outcome.why).inc()
            return
        self._figures.copies.inc()
        self._durable(outcome.device, outcome.boot, outcome.sequence, now_ms)
        self._receipt(outcome.receipt, now_ms)

    def _give(self, signal: Signal) -> None:
        self._pending.hold_signal(signal.partition, signal.blob)
        self._core.metrics.signals.inc()

    # --- write and acknowledge

    async def _write(self) -> None:
        pending, figures = self._pending, self._figures
        # Presses are never behind: the rule is about fixes, which are on the other session.
        behind = not self._urgent and self.client.waiting
        plan = pending.plan(steady_ms(), self._poison, behind=behind)
        if plan.entries or plan.refusals:
            began_s = time.perf_counter()
            try:
                results, answers = await self.writer.append_many(
                    [planned.append for planned in plan.entries],
                    [refusal.command for refusal in plan.refusals],
                )
            except StoreUnavailableError as error:
                pending.store_failed(steady_ms())
                self._failed("store", str(error))
            else:
                figures.write_s.observe(time.perf_counter() - began_s)
                pending.store_answered()
                self._works("store")
                self._written(plan, results, answers)
        figures.held.set(pending.messages)

    def _poison(self, row: Row, error: Exception) -> None:
        _log.error("frame cannot be journalled", error=str(error))
        refuse = Refuse(Reason.INTERNAL_ERROR, type(error).__name__)
        self._refuse(refuse, row.message, steady_ms())

    def _written(
        self, plan: Plan, results: list[EntryId | StoreUnavailableError], answers: list[Any]
    ) -> None:
        """Acknowledge what is durable, and only that."""
        now_ms, wall_ms = steady_ms(), self._core.now_ms()
        blocks = self._entries_written(plan, results, now_ms)
        done = [message for block in blocks for message in block.messages()]
        # From here on a copy is told from the first by the mark.
        for block in blocks:
            block.mark.stored(wall_ms)
        done += self._refusals_written(plan, answers, now_ms)
        if done or blocks:
            times = [message.received_ms for message in done] + [b.oldest_ms() for b in blocks]
            self._figures.durable_s.observe((wall_ms - min(times)) / 1000)
            fixes = [fixes for block in blocks for fixes in block.fixes]
            self._acknowledge(done, [Acked(part.link, part.packet_ids) for part in fixes])
        self._core.tell_devices()

    def _entries_written(
        self,
        plan: Plan,
        results: list[EntryId | StoreUnavailableError],
        now_ms: int,
    ) -> list[Block]:
        """Let go of the entries that were written; return their blocks."""
        blocks: list[Block] = []
        failed: dict[str, str] = {}
        lanes: Counter[LaneCode] = Counter()
        for planned, result in zip(plan.entries, results, strict=True):
            partition = planned.append.partition
            if isinstance(result, StoreUnavailableError):
                failed[partition] = str(result)
                continue
            if planned.block is not None:
                blocks.append(planned.block)
                self._block_durable(planned.block, lanes, now_ms)
            self._pending.entry_written(planned)
            self._works(partition)
        for partition, problem in failed.items():
            self._pending.partition_failed(partition, now_ms)
            self._failed(partition, problem)
        for lane, count in lanes.items():
            self._figures.journalled[lane].inc(count)
        return blocks

    def _block_durable(self, block: Block, lanes: Counter[LaneCode], now_ms: int) -> None:
        for fixes in block.fixes:
            lanes[LaneCode.FIX] += len(fixes.devices)
            self._core.acks.durable_fixes(fixes, now_ms)
        for row in block.rows:
            lanes[row.record.lane] += 1
            self._durable(row.device, row.boot, row.sequence, now_ms)
            self._receipt(row.receipt, now_ms)

    def _refusals_written(self, plan: Plan, answers: list[Any], now_ms: int) -> list[Message]:
        written: list[HeldRefusal] = []
        for refusal, answer in zip(plan.refusals, answers, strict=True):
            if isinstance(answer, Exception):
                self._pending.refusals_failed(now_ms)
                self._failed("quarantine", str(answer))
                continue
            written.append(refusal)
            refuse = refusal.refuse
            if refuse is not None:
                self._durable(refuse.device, refuse.boot, refuse.sequence, now_ms)
                self._receipt(refuse.receipt, now_ms)
        if written:
            self._pending.refusals_written(written)
        if len(written) == len(plan.refusals):
            self._works("quarantine")
        return [refusal.message for refusal in written if refusal.message is not None]

    def _durable(self, device: Device | None, boot: int, sequence: int, now_ms: int) -> None:
        if device is not None:
            self._core.acks.durable(device, boot, sequence, now_ms, at_once=self._urgent)

    def _receipt(self, receipt: Receipt | None, now_ms: int) -> None:
        if receipt is not None:
            self._core.acks.receipt(receipt.topic, receipt.payload, now_ms)

    def _acknowledge(self, messages: list[Message], fixes: list[Acked]) -> None:
        stale = self.client.ack(messages, fixes)
        if stale:
            self._core.metrics.stale.inc(stale)

    def _failed(self, what: str, problem: str) -> None:
        """Report a write that failed.

        Of a partition, of the "quarantine" or of everything ("store").
        """
        self._core.metrics.store_failures.labels(what).inc()
        if self.problems.get(what) != problem:
            _log.error("write failed", connection=self.name, what=what, problem=problem)
        self.problems[what] = problem
        self._core.store_changed()

    def _works(self, what: str) -> None:
        if self.problems.pop(what, None) is not None:
            _log.info("writes work again", connection=self.name, what=what)
            self._core.store_changed()
