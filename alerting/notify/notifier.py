"""The notifier: takes outbox entries, delivers what is in them, and journals what became of it.

The promise: a notice is delivered at least once, always under the same key, or its failure is in
the journal with a reason. An entry is acknowledged to its group only when each output of it is
settled AND each receipt is in the journal; whatever kills this process before that, the entry comes
again. The order is: target, journal, log, outbox. Nothing else may be done in another order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from afstand.limits import (
    NOTIFY_SETTLE_MS_MAX,
    NOTIFY_SETTLE_RETRY_MS_MAX,
    NOTIFY_SETTLING_MAX,
    NOTIFY_STOP_MS_MAX,
    NOTIFY_TAKE_MAX,
    RECEIPT_DETAIL_CHARACTERS_MAX,
)
from alerting.book.types import Notice, Receipt, ReceiptStatus
from alerting.notify.backoff import backoff_ms
from alerting.notify.clock import Clock, within
from alerting.notify.delivery import LANE_COMMANDS, Delivery, Outcome, OutcomeStatus
from alerting.notify.driver import Destination, LaneDriver
from alerting.notify.lane import QUEUE_FULL
from alerting.notify.metrics import NO_TARGET, Metrics
from alerting.notify.sorting import Fault, sort_entry
from alerting.notify.source import DeliveryLog, MemoryDeliveryLog, OutboxEntry, OutboxSource
from alerting.notify.webhook import plain_text

JournalReceipt = Callable[[Receipt], Awaitable[None]]
"""Puts a receipt into the journal; returns when it is durable, raises when it may not be."""

_STATUS = {
    OutcomeStatus.DELIVERED: ReceiptStatus.DELIVERED,
    OutcomeStatus.ACKNOWLEDGED: ReceiptStatus.ACKNOWLEDGED,
    OutcomeStatus.REFUSED: ReceiptStatus.REFUSED,
    OutcomeStatus.FAILED: ReceiptStatus.FAILED,
}
_BACKOFF_MS = 50


class _OpenEntry:
    """An entry that is taken and not acknowledged, and how many of its outputs are not settled."""

    __slots__ = ("entry", "unsettled")

    def __init__(self, entry: OutboxEntry, unsettled: int) -> None:
        self.entry = entry
        self.unsettled = unsettled


class Notifier:
    """Delivers the outboxes to `destinations`, which has a lane for every target by its name."""

    def __init__(
        self,
        source: OutboxSource,
        receipts: JournalReceipt,
        destinations: Mapping[str, Destination],
        clock: Clock,
        metrics: Metrics,
        log: DeliveryLog | None = None,
    ) -> None:
        self._source = source
        self._receipts = receipts
        self._clock = clock
        self._metrics = metrics
        self._log = log if log is not None else MemoryDeliveryLog()
        self._audiences = {name: found.audiences for name, found in destinations.items()}
        self._drivers = {
            name: LaneDriver(name, destination, clock, self._log, metrics, self._settle)
            for name, destination in destinations.items()
        }
        # Every open entry waits in a lane or for the journal. With room for all that the lanes can
        # hold, a target that hangs never stops the taking for others; a journal that is away does.
        self._open_max = NOTIFY_SETTLING_MAX + sum(d.capacity for d in self._drivers.values())
        self._open: dict[str, _OpenEntry] = {}
        self._done: list[OutboxEntry] = []
        self._done_waits = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = asyncio.Event()
        self._settling: set[asyncio.Task[None]] = set()
        self._logger = logging.getLogger(__name__)

    async def run(self) -> None:
        """Deliver until `stop`, once. Raises for a fault of ours; nothing taken is lost then."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            taking = group.create_task(self._take())
            working = [group.create_task(driver.run()) for driver in self._drivers.values()]
            working.append(group.create_task(self._acknowledge()))
            await self._stopping.wait()
            taking.cancel()
            await self._drain()
            for task in (*working, *self._settling):
                task.cancel()

    def stop(self) -> None:
        """Take nothing more, let what is under way end for a bounded time, then return from `run`.

        What is not settled by then stays in the outbox.
        """
        self._stopping.set()

    async def _drain(self) -> None:
        for driver in self._drivers.values():
            driver.close()
        end_ms = self._clock.steady_ms() + NOTIFY_STOP_MS_MAX
        while self._clock.steady_ms() < end_ms:
            if not (self._done or self._settling or any(d.busy for d in self._drivers.values())):
                return
            await self._clock.sleep_ms(10)

    async def _take(self) -> None:
        failures = 0
        while True:
            self._metrics.entries_open.set(len(self._open))
            room = self._open_max - len(self._open)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            try:
                entries = await self._source.take(min(room, NOTIFY_TAKE_MAX))
            except Exception:
                failures += 1
                self._logger.exception("outbox cannot be read")
                self._metrics.settle_failures.labels("outbox-read").inc()
                await self._pause("take", failures)
                continue
            failures = 0
            for entry in entries:
                self._admit(entry)
            if not entries:
                await self._clock.sleep_ms(1)  # a source that does not wait must not starve others

    def _admit(self, entry: OutboxEntry) -> None:
        if entry.entry_key in self._open:
            return  # given again while it is still under way here
        found = sort_entry(entry, self._audiences)
        if found.skipped:
            self._metrics.skipped.labels("not-for-delivery").inc(found.skipped)
        unsettled = len(found.deliveries) + len(found.faults)
        self._open[entry.entry_key] = _OpenEntry(entry, unsettled)
        if not unsettled:
            self._finish(entry)
        for fault in found.faults:
            self._metrics.faults.labels(fault.reason.value).inc()
            self._settle_soon(self._settle_fault(fault))
        for delivery in found.deliveries:
            dropped = self._drivers[delivery.target].offer(delivery)
            if dropped is not None:
                outcome = Outcome(status=OutcomeStatus.FAILED, detail=QUEUE_FULL)
                self._settle_soon(self._settle(dropped, outcome))

    def _settle_soon(self, settling: Awaitable[None]) -> None:
        async def settle() -> None:
            await settling

        task = self._group.create_task(settle())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, delivery: Delivery, outcome: Outcome | None) -> None:
        if outcome is None:
            self._metrics.skipped.labels("settled-before").inc()
        else:
            status = _STATUS[outcome.status]
            now_ms = self._clock.now_ms()
            # A command is answered by its device, or its silence is an event: no receipt.
            if isinstance(delivery.body, Notice):
                await self._journal(
                    Receipt(
                        key=delivery.key,
                        status=status,
                        target=delivery.target,
                        by=outcome.by,
                        at_ms=now_ms,
                        detail=plain_text(outcome.detail, RECEIPT_DETAIL_CHARACTERS_MAX),
                    )
                )
            await self._note(delivery, status)
            self._metrics.deliveries.labels(delivery.target, status.value).inc()
            if status in {ReceiptStatus.DELIVERED, ReceiptStatus.ACKNOWLEDGED}:
                urgent = "yes" if delivery.urgent else "no"
                seconds = max(0, now_ms - delivery.at_ms) / 1000
                self._metrics.end_to_end_seconds.labels(delivery.target, urgent).observe(seconds)
        self._one_settled(delivery.key)

    async def _settle_fault(self, fault: Fault) -> None:
        known = fault.target if fault.target in self._drivers else NO_TARGET
        self._logger.error("output %s cannot be sent: %s", fault.key, fault.reason.value)
        if fault.target != LANE_COMMANDS:
            detail = f"{fault.reason.value}: {fault.detail}" if fault.detail else fault.reason.value
            await self._journal(
                Receipt(
                    key=fault.key,
                    status=ReceiptStatus.FAILED,
                    target=fault.target,
                    at_ms=self._clock.now_ms(),
                    detail=plain_text(detail, RECEIPT_DETAIL_CHARACTERS_MAX),
                )
            )
        self._metrics.deliveries.labels(known, ReceiptStatus.FAILED.value).inc()
        self._one_settled(fault.key)

    async def _journal(self, receipt: Receipt) -> None:
        """Put a receipt into the journal, for as long as it takes: without it the plan is blind."""
        failures = 0
        while True:
            try:
                await within(self._clock, NOTIFY_SETTLE_MS_MAX, self._receipts(receipt))
            except Exception:
                failures += 1
                self._logger.exception("receipt %s cannot be journalled", receipt.key)
                self._metrics.settle_failures.labels("receipt").inc()
                await self._pause(receipt.key, failures)
            else:
                return

    async def _note(self, delivery: Delivery, status: ReceiptStatus) -> None:
        try:
            noting = self._log.note(delivery.key, delivery.target, status)
            await within(self._clock, NOTIFY_SETTLE_MS_MAX, noting)
        except Exception:
            self._logger.exception("delivery log cannot be written")
            self._metrics.settle_failures.labels("log-write").inc()

    def _one_settled(self, key: str) -> None:
        open_entry = self._open[key.rpartition("-")[0]]
        open_entry.unsettled -= 1
        if not open_entry.unsettled:
            self._finish(open_entry.entry)

    def _finish(self, entry: OutboxEntry) -> None:
        self._done.append(entry)
        self._done_waits.set()

    async def _acknowledge(self) -> None:
        while True:
            await self._done_waits.wait()
            self._done_waits.clear()
            batch = tuple(self._done)
            await self._acknowledge_batch(batch)
            del self._done[: len(batch)]
            for entry in batch:
                del self._open[entry.entry_key]
            self._metrics.entries_open.set(len(self._open))
            self._room.set()

    async def _acknowledge_batch(self, batch: Sequence[OutboxEntry]) -> None:
        failures = 0
        while True:
            try:
                await within(self._clock, NOTIFY_SETTLE_MS_MAX, self._source.acknowledge(batch))
            except Exception:
                failures += 1
                self._logger.exception("outbox cannot be acknowledged")
                self._metrics.settle_failures.labels("acknowledge").inc()
                await self._pause("acknowledge", failures)
            else:
                return

    async def _pause(self, key: str, failures: int) -> None:
        wait_ms = backoff_ms(key, failures, _BACKOFF_MS, NOTIFY_SETTLE_RETRY_MS_MAX)
        await self._clock.sleep_ms(wait_ms)
