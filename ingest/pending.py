"""What was taken from the broker and is not durable yet.

Frames are held in blocks: those of one partition that were taken together, which become one entry
of its journal. Nothing leaves here but by being written. Each partition has its own queue and its
own back-off, so that one that cannot be written (a cluster node is down) does not hold up the
others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from afstand.limits import (
    INTAKE_RETRY_MS_MAX,
    INTAKE_RETRY_MS_MIN,
    JOURNAL_BLOB_BYTES_MAX,
    JOURNAL_FRAMES_MAX,
)
from ingest.checks import Device, Mark, Refuse
from ingest.entries import EntryKind, FrameRecord, build_frames, frame_cost_bytes
from ingest.journal import Append
from ingest.mqtt_codec import Message

_BLOB_ROOM_BYTES: Final = JOURNAL_BLOB_BYTES_MAX - 64  # the header


class Row(NamedTuple):
    """One frame of a block, and who is to be told when it is durable (`device` None = nobody)."""

    record: FrameRecord
    message: Message
    device: Device | None
    boot: int
    sequence: int


class Block:
    """Frames of one partition that go into one entry. `mark` is how copies of them are known."""

    __slots__ = ("blob", "mark", "partition", "room_bytes", "rows")

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.mark = Mark()
        self.rows: list[Row] = []
        self.room_bytes = _BLOB_ROOM_BYTES
        self.blob = b""  # when it was built: from then on no row is added

    def has_room(self, record: FrameRecord) -> bool:
        """Tell whether a frame may still be added."""
        fits = frame_cost_bytes(len(record.payload), len(record.name)) <= self.room_bytes
        return fits and len(self.rows) < JOURNAL_FRAMES_MAX and not self.blob

    def add(self, row: Row) -> None:
        """Add a frame for which there is room."""
        record = row.record
        self.room_bytes -= frame_cost_bytes(len(record.payload), len(record.name))
        self.rows.append(row)

    def messages(self) -> list[Message]:
        """Return every message that brought one of the frames, copies included."""
        return [*(row.message for row in self.rows), *self.mark.copies]


class HeldRefusal(NamedTuple):
    """A quarantine entry that waits.

    `message` is None for the copy of a frame that is journalled too.
    """

    command: tuple[Any, ...]
    refuse: Refuse | None
    message: Message | None


class _Backoff:
    __slots__ = ("delay_ms", "until_ms")

    def __init__(self) -> None:
        self.delay_ms = INTAKE_RETRY_MS_MIN
        self.until_ms = 0

    def failed(self, now_ms: int) -> None:
        self.until_ms = now_ms + self.delay_ms
        self.delay_ms = min(2 * self.delay_ms, INTAKE_RETRY_MS_MAX)

    def succeeded(self) -> None:
        self.delay_ms = INTAKE_RETRY_MS_MIN
        self.until_ms = 0


class _Queue:
    __slots__ = ("backoff", "blocks", "signals")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.signals: list[bytes] = []
        self.backoff = _Backoff()


class Planned(NamedTuple):
    """One entry of a write: a block of frames, or (None) a signal."""

    append: Append
    block: Block | None


class Plan(NamedTuple):
    """One write to the store."""

    entries: list[Planned]
    refusals: list[HeldRefusal]


class Pending:
    """Everything one connection has taken that is not durable."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._refusals: list[HeldRefusal] = []
        self._backoff = _Backoff()  # of the store as a whole
        self.messages = 0

    def __bool__(self) -> bool:
        return bool(self._refusals) or any(q.blocks or q.signals for q in self._queues.values())

    def hold(self, partition: str, row: Row) -> Mark:
        """Keep a frame until it is durable; return the mark under which copies of it are known."""
        self.messages += 1
        queue = self._queue(partition)
        if not queue.blocks or not queue.blocks[-1].has_room(row.record):
            queue.blocks.append(Block(partition))
        block = queue.blocks[-1]
        block.add(row)
        return block.mark

    def hold_copy(self, mark: Mark, message: Message) -> None:
        """Tie a message to the block that holds the frame it brings again.

        It is acknowledged with it.
        """
        self.messages += 1
        mark.copies.append(message)

    def hold_refusal(self, refusal: HeldRefusal) -> None:
        """Keep a quarantine entry until it is written."""
        if refusal.message is not None:
            self.messages += 1
        self._refusals.append(refusal)

    def hold_signal(self, partition: str, blob: bytes) -> None:
        """Keep a signal until it is written."""
        self._queue(partition).signals.append(blob)

    def plan(self, now_ms: int, on_poison: Callable[[Row, Exception], None]) -> Plan:
        """Return what can be written now.

        `on_poison` gets a frame that cannot be put into an entry; it is no longer held here.
        """
        plan = Plan([], [])
        if now_ms < self._backoff.until_ms:
            return plan
        for partition, queue in tuple(self._queues.items()):
            if now_ms < queue.backoff.until_ms:
                continue
            for blob in queue.signals:
                plan.entries.append(Planned(Append(partition, EntryKind.SIGNAL, blob), None))
            for block in tuple(queue.blocks):
                if self._build(block, queue, on_poison):
                    append = Append(partition, EntryKind.FRAMES, block.blob)
                    plan.entries.append(Planned(append, block))
        plan.refusals.extend(self._refusals)
        return plan

    def _build(
        self, block: Block, queue: _Queue, on_poison: Callable[[Row, Exception], None]
    ) -> bool:
        """Build the blob of a block, without the rows that cannot be in one.

        False when none is left.
        """
        if block.blob:
            return True
        try:
            block.blob = build_frames([row.record for row in block.rows])
        except Exception:  # noqa: BLE001 one frame must never keep the others out
            self._remove_poison(block, on_poison)
            if not block.rows:
                self.messages -= len(block.mark.copies)
                queue.blocks.remove(block)
                return False
            block.blob = build_frames([row.record for row in block.rows])
        return True

    def _remove_poison(self, block: Block, on_poison: Callable[[Row, Exception], None]) -> None:
        sound: list[Row] = []
        for row in block.rows:
            try:
                build_frames([row.record])
            except Exception as error:  # noqa: BLE001 see above
                self.messages -= 1
                on_poison(row, error)
            else:
                sound.append(row)
        block.rows = sound

    def entry_written(self, planned: Planned, now_ms: int) -> None:
        """Let go of what one entry held."""
        queue = self._queue(planned.append.partition)
        block = planned.block
        if block is None:
            queue.signals.remove(planned.append.blob)
        else:
            queue.blocks.remove(block)
            self.messages -= len(block.rows) + len(block.mark.copies)
            block.mark.stored(now_ms)
        queue.backoff.succeeded()

    def refusals_written(self, done: list[HeldRefusal]) -> None:
        """Let go of quarantine entries."""
        gone = set(map(id, done))
        self._refusals = [refusal for refusal in self._refusals if id(refusal) not in gone]
        self.messages -= sum(refusal.message is not None for refusal in done)

    def partition_failed(self, partition: str, now_ms: int) -> None:
        """Leave a partition alone for a while."""
        self._queue(partition).backoff.failed(now_ms)

    def store_failed(self, now_ms: int) -> None:
        """Leave the store alone for a while."""
        self._backoff.failed(now_ms)

    def store_answered(self) -> None:
        """End the back-off of the store."""
        self._backoff.succeeded()

    def wait_s(self, now_ms: int) -> float | None:
        """Return how long until something here can be written; None when nothing waits."""
        times = [q.backoff.until_ms for q in self._queues.values() if q.blocks or q.signals]
        if self._refusals:
            times.append(0)
        if not times:
            return None
        until_ms = max(min(times), self._backoff.until_ms)
        return max(0, until_ms - now_ms) / 1000

    def _queue(self, partition: str) -> _Queue:
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = _Queue()
        return queue
