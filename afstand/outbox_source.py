"""The notifier's side of the outboxes: consumer groups of Redis streams as an `OutboxSource`.

After a start it gives first what this consumer had and never acknowledged, and from time to time it
takes over what a consumer that is gone has left. Nothing is dropped here: a full queue makes the
reader wait, and what is not read stays in the stream.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import structlog

from afstand.limits import (
    NOTIFY_TAKE_MAX,
    OUTBOX_CLAIM_IDLE_MS,
    OUTBOX_CLAIM_PAUSE_S,
    OUTBOX_WAIT_S,
    WATCH_RETRY_S_MAX,
)
from afstand.watch.envelope import ENVELOPE_FORMAT
from afstand.watch.fold import RECEIPT_FORMAT
from alerting.book.types import OUTPUT_FORMAT, Receipt
from alerting.notify.source import OutboxEntry
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.outbox import OutboxEntry as StreamEntry
from ingest.readers import NOTHING_NEEDED, Readers
from ingest.store import BEGINNING, EntryId, StoreUnavailableError

log = structlog.get_logger()
GROUP: Final = "notify"
_ENVELOPE: Final = msgspec.msgpack.Decoder(tuple[int, int, int, list[msgspec.Raw]])


class StreamSource:
    """Entries of all partitions' outboxes, each until it is acknowledged."""

    def __init__(
        self,
        outbox: Outbox,
        partitions: Sequence[str],
        consumer: str,
        readers: Readers | None = None,
    ) -> None:
        self._outbox = outbox
        self._readers = readers
        self._partitions = tuple(partitions)
        self._consumer = consumer
        self._queue: asyncio.Queue[OutboxEntry] = asyncio.Queue(NOTIFY_TAKE_MAX)
        self._held: set[tuple[str, str]] = set()
        self.not_ready = "not connected to the store"

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator["StreamSource"]:
        """Read while the block runs."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._keep_reading(partition)) for partition in self._partitions
            ]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()

    async def take(self, count_max: int) -> Sequence[OutboxEntry]:
        """Give what has arrived; waits a short while for the first entry."""
        try:
            entries = [await asyncio.wait_for(self._queue.get(), OUTBOX_WAIT_S)]
        except TimeoutError:
            return []
        while len(entries) < count_max and not self._queue.empty():
            entries.append(self._queue.get_nowait())
        return entries

    async def acknowledge(self, entries: Sequence[OutboxEntry]) -> None:
        """Mark as settled; never given again. Raises StoreUnavailableError."""
        for partition in self._partitions:
            ids = [entry.entry_id for entry in entries if entry.partition == partition]
            await self._outbox.ack(partition, GROUP, [EntryId.parse(one) for one in ids])
            self._held.difference_update((partition, one) for one in ids)

    async def _keep_reading(self, partition: str) -> None:
        pause_s = 0.05
        while True:
            try:
                await self._outbox.ensure_group(partition, GROUP)
                await self._read_pending(partition)
                self.not_ready = ""
                pause_s = 0.05
                await self._read_new(partition)
            except StoreUnavailableError as error:
                self.not_ready = f"store unavailable: {error}"
                log.warning("store unavailable", partition=partition, error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, WATCH_RETRY_S_MAX)

    async def _read_pending(self, partition: str) -> None:
        after = BEGINNING
        while True:
            entries = await self._outbox.read_pending(
                partition, GROUP, self._consumer, NOTIFY_TAKE_MAX, after
            )
            if not entries:
                return
            after = entries[-1].id
            await self._offer(partition, entries, redelivered=True)

    async def _read_new(self, partition: str) -> None:
        loop = asyncio.get_running_loop()
        claim_at = loop.time()
        while True:
            if loop.time() >= claim_at:
                claim_at = loop.time() + OUTBOX_CLAIM_PAUSE_S
                await self._say_alive(partition)
                left = await self._outbox.claim(
                    partition, GROUP, self._consumer, OUTBOX_CLAIM_IDLE_MS, NOTIFY_TAKE_MAX
                )
                await self._offer(partition, left, redelivered=True)
            entries = await self._outbox.read_group(
                partition, GROUP, self._consumer, NOTIFY_TAKE_MAX, int(OUTBOX_WAIT_S * 1000)
            )
            await self._offer(partition, entries, redelivered=False)

    async def _say_alive(self, partition: str) -> None:
        """What the group still needs, the store knows; that there is somebody, it does not."""
        if self._readers is not None:
            name = f"{GROUP}:{self._consumer}"
            await self._readers.register(partition, name, NOTHING_NEEDED, NOTHING_NEEDED)

    async def _offer(
        self, partition: str, entries: Sequence[StreamEntry], *, redelivered: bool
    ) -> None:
        for entry in entries:
            name = (partition, str(entry.id))
            # Pending entries are given again after an error; those on their way already are not.
            if name not in self._held:
                self._held.add(name)
                await self._queue.put(_decoded(partition, entry, redelivered=redelivered))


def _decoded(partition: str, entry: StreamEntry, *, redelivered: bool) -> OutboxEntry:
    """Take an entry apart, each output still as its own bytes, so that one harms no other."""
    entry_id = str(entry.id)
    try:
        envelope_format, output_format, _, outputs = _ENVELOPE.decode(entry.blob)
    except msgspec.MsgspecError as error:
        return OutboxEntry(partition=partition, entry_id=entry_id, fault=f"unreadable: {error}")
    if (envelope_format, output_format) != (ENVELOPE_FORMAT, OUTPUT_FORMAT):
        fault = f"format {envelope_format}/{output_format}"
        return OutboxEntry(partition=partition, entry_id=entry_id, fault=fault)
    return OutboxEntry(
        partition=partition, entry_id=entry_id, outputs=tuple(outputs), redelivered=redelivered
    )


def partition_of_key(key: str) -> str:
    """Give the partition that an idempotency key names."""
    return key.rsplit("-", 3)[0]


class JournalReceipts:
    """Where receipts go: into the journal of the partition that the notice came from."""

    def __init__(self, journal: Journal, partitions: Sequence[str]) -> None:
        self._journal = journal
        self._partitions = tuple(partitions)

    async def __call__(self, receipt: Receipt) -> None:
        """Journal it. Raises StoreUnavailableError; writing it twice is harmless."""
        partition = partition_of_key(receipt.key)
        if partition not in self._partitions:
            log.warning("receipt for no partition of ours", key=receipt.key)
            return
        blob = msgspec.msgpack.encode((RECEIPT_FORMAT, receipt))
        await self._journal.append(partition, EntryKind.RECEIPT, blob)
