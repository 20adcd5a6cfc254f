"""What was taken from the broker and is not durable yet.

Frames are held in blocks: those of one partition that were taken together, which become one entry
of its journal. Nothing leaves here but by being written. Each partition has its own queue and its
own back-off, so that one that cannot be written (a cluster node is down) does not hold up the
others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.limits import (
    INTAKE_RETRY_MS_MAX,
    INTAKE_RETRY_MS_MIN,
    JOURNAL_BLOB_BYTES_MAX,
    JOURNAL_FRAMES_MAX,
)
from firmware_contracts.topics import fix_topic
from ingest.checks import Device, Mark, Receipt, Refuse
from ingest.entries import (
    EntryKind,
    FrameFlag,
    FrameRecord,
    LaneCode,
    assemble_frames,
    build_frames,
    fixes_table,
    frame_cost_bytes,
    records_table,
)
from ingest.journal import Append
from ingest.mqtt_codec import Message

_BLOB_ROOM_BYTES: Final = JOURNAL_BLOB_BYTES_MAX - 64  # the header


class Row(msgspec.Struct, frozen=True, gc=False):
    """One frame for a block, and who is to be told when it is durable.

    `device` None = nobody; `receipt` = a tracker's bridge.
    """

    record: FrameRecord
    message: Message
    device: Device | None
    boot: int
    sequence: int
    receipt: Receipt | None = None


class Fixes(NamedTuple):
    """Plain fix frames of one partition that arrived together.

    Proven, of registered devices; columns of equal length.
    """

    link: int
    received_ms: int
    packet_ids: npt.NDArray[Any]
    devices: list[Device]
    handles: npt.NDArray[np.int64]
    serials: npt.NDArray[np.int64]
    boots: npt.NDArray[np.int64]
    sequences: npt.NDArray[np.int64]
    frames: npt.NDArray[np.void]

    def message(self, index: int) -> Message:
        """Return one of them as the message it was."""
        topic = fix_topic(self.devices[index].device_id)
        payload = self.frames[index].tobytes()
        packet_id = int(self.packet_ids[index])
        return Message(topic, payload, packet_id, False, False, self.received_ms, self.link)


class Block:
    """Frames of one partition that go into one entry. `mark` is how copies of them are known."""

    __slots__ = ("blob", "fixes", "frames", "mark", "partition", "room_bytes", "rows")

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.mark = Mark()
        self.fixes: list[Fixes] = []
        self.rows: list[Row] = []
        self.frames = 0
        self.room_bytes = _BLOB_ROOM_BYTES
        self.blob = b""  # when it was built: from then on nothing is added

    def has_room(self, frames: int, cost_bytes: int) -> bool:
        """Tell whether so much may still be added."""
        return (
            not self.blob
            and cost_bytes <= self.room_bytes
            and self.frames + frames <= JOURNAL_FRAMES_MAX
        )

    def build(self, *, behind: bool) -> None:
        """Make the blob; raises ValueError (or anything else) for a frame that cannot be in one."""
        tables: list[npt.NDArray[np.void]] = []
        names: list[str] = []
        payloads: list[bytes] = []
        if self.rows:
            table, names, payloads = records_table([row.record for row in self.rows])
            tables.append(table)
        for fixes in self.fixes:
            tables.append(fixes_table(fixes.handles, fixes.received_ms, fixes.frames.itemsize))
            payloads.append(fixes.frames.tobytes())
        self.blob = assemble_frames(tables, names, payloads, behind=behind)

    def split(self) -> None:
        """Turn the plain fixes into rows, so that each can be looked at alone."""
        for fixes in self.fixes:
            for index, device in enumerate(fixes.devices):
                message = fixes.message(index)
                flags = int(FrameFlag.AUTHENTICATED)
                record = FrameRecord(
                    device.handle, LaneCode.FIX, flags, message.received_ms, message.payload
                )
                boot, sequence = int(fixes.boots[index]), int(fixes.sequences[index])
                self.rows.append(Row(record, message, device, boot, sequence))
        self.fixes.clear()

    def messages(self) -> list[Message]:
        """Return the messages that brought the rows, and the copies; `fixes` have their own."""
        return [*(row.message for row in self.rows), *self.mark.copies]

    def oldest_ms(self) -> int:
        """Return when the first of the frames was received."""
        times = [row.record.received_ms for row in self.rows]
        return min(times + [fixes.received_ms for fixes in self.fixes])


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
    """Everything one connection has taken that is not durable.

    `now_ms` is of a clock that never runs backwards.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._refusals: list[HeldRefusal] = []
        self._backoff = _Backoff()  # of the store as a whole
        self._refusals_backoff = _Backoff()  # of the quarantine, which holds up no frame
        self.messages = 0

    def __bool__(self) -> bool:
        return bool(self._refusals) or any(q.blocks or q.signals for q in self._queues.values())

    def hold(self, partition: str, row: Row) -> Mark:
        """Keep a frame until it is durable; return the mark under which copies of it are known."""
        record = row.record
        cost_bytes = frame_cost_bytes(len(record.payload), len(record.name))
        block = self._block(partition, 1, cost_bytes)
        block.rows.append(row)
        return block.mark

    def hold_fixes(self, partition: str, fixes: Fixes) -> Mark:
        """Keep plain fixes until they are durable; as `hold`. At most JOURNAL_FRAMES_MAX."""
        count = len(fixes.devices)
        cost_bytes = count * frame_cost_bytes(fixes.frames.itemsize)
        block = self._block(partition, count, cost_bytes)
        block.fixes.append(fixes)
        return block.mark

    def _block(self, partition: str, frames: int, cost_bytes: int) -> Block:
        queue = self._queue(partition)
        if not queue.blocks or not queue.blocks[-1].has_room(frames, cost_bytes):
            queue.blocks.append(Block(partition))
        block = queue.blocks[-1]
        block.frames += frames
        block.room_bytes -= cost_bytes
        self.messages += frames
        return block

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

    def plan(
        self,
        now_ms: int,
        on_poison: Callable[[Row, Exception], None],
        *,
        behind: bool = False,
    ) -> Plan:
        """Return what can be written now.

        `on_poison` gets a frame that cannot be put into an entry; it is no longer held here.
        `behind`: more waits than could be taken, which the entries made now say.
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
                if self._build(block, queue, on_poison, behind=behind):
                    append = Append(partition, EntryKind.FRAMES, block.blob)
                    plan.entries.append(Planned(append, block))
        if now_ms >= self._refusals_backoff.until_ms:
            plan.refusals.extend(self._refusals)
        return plan

    def _build(
        self,
        block: Block,
        queue: _Queue,
        on_poison: Callable[[Row, Exception], None],
        *,
        behind: bool,
    ) -> bool:
        """Build the blob of a block, without the rows that cannot be in one.

        False when none is left.
        """
        if block.blob:
            return True
        try:
            block.build(behind=behind)
        except Exception:  # noqa: BLE001 one frame must never keep the others out
            self._remove_poison(block, on_poison)
            if not block.rows:
                self.messages -= len(block.mark.copies)
                queue.blocks.remove(block)
                return False
            block.build(behind=behind)
        return True

    def _remove_poison(self, block: Block, on_poison: Callable[[Row, Exception], None]) -> None:
        block.split()
        sound: list[Row] = []
        for row in block.rows:
            try:
                build_frames([row.record])
            except Exception as error:  # noqa: BLE001 see above
                self.messages -= 1
                block.frames -= 1
                on_poison(row, error)
            else:
                sound.append(row)
        block.rows = sound

    def entry_written(self, planned: Planned) -> None:
        """Let go of what one entry held.

        Its copies are the caller's to acknowledge, with its mark.
        """
        queue = self._queue(planned.append.partition)
        block = planned.block
        if block is None:
            queue.signals.remove(planned.append.blob)
        else:
            queue.blocks.remove(block)
            self.messages -= block.frames + len(block.mark.copies)
        queue.backoff.succeeded()

    def refusals_written(self, done: list[HeldRefusal]) -> None:
        """Let go of quarantine entries."""
        self._refusals_backoff.succeeded()
        gone = set(map(id, done))
        self._refusals = [refusal for refusal in self._refusals if id(refusal) not in gone]
        self.messages -= sum(refusal.message is not None for refusal in done)

    def refusals_failed(self, now_ms: int) -> None:
        """Leave the quarantine alone for a while."""
        self._refusals_backoff.failed(now_ms)

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
            times.append(self._refusals_backoff.until_ms)
        if not times:
            return None
        until_ms = max(min(times), self._backoff.until_ms)
        return max(0, until_ms - now_ms) / 1000

    def _queue(self, partition: str) -> _Queue:
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = _Queue()
        return queue
