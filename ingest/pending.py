"""What was taken from the broker and is not durable yet.

Nothing leaves here but by being written. Each partition has its own queue and its own back-off, so
that one that cannot be written (a cluster node is down) does not hold up the others. A message that
comes again while its first copy waits is tied to that copy: both are acknowledged when it is
durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from afstand.limits import (
    INTAKE_RETRY_MS_MAX,
    INTAKE_RETRY_MS_MIN,
    JOURNAL_BLOB_BYTES_MAX,
    JOURNAL_FRAMES_MAX,
)
from ingest.checks import Accept, Refuse
from ingest.entries import EntryKind, FrameRecord, build_frames, frame_cost_bytes
from ingest.journal import Append
from ingest.mqtt_codec import Message

_BLOB_ROOM_BYTES = JOURNAL_BLOB_BYTES_MAX - 64  # the header


class Held:
    """A frame that waits, and every message that brought it."""

    __slots__ = ("accept", "messages")

    def __init__(self, accept: Accept, message: Message) -> None:
        self.accept = accept
        self.messages = [message]


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
    __slots__ = ("backoff", "held", "signals")

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.signals: list[bytes] = []
        self.backoff = _Backoff()


class Planned(NamedTuple):
    """One entry of a write: `held` frames, or a signal, of one partition."""

    append: Append
    held: list[Held]


class Plan(NamedTuple):
    """One write to the store."""

    entries: list[Planned]
    refusals: list[HeldRefusal]


class Pending:
    """Everything one connection has taken that is not durable."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._by_tag: dict[bytes, Held] = {}
        self._refusals: list[HeldRefusal] = []
        self._backoff = _Backoff()  # of the store as a whole
        self.messages = 0

    def __bool__(self) -> bool:
        return bool(self._refusals) or any(q.held or q.signals for q in self._queues.values())

    def hold(self, accept: Accept, message: Message) -> bool:
        """Keep a frame until it is durable; False when it is a copy of one that waits already."""
        self.messages += 1
        tag = accept.tag
        if tag:
            first = self._by_tag.get(tag)
            if first is not None:
                first.messages.append(message)
                return False
        held = Held(accept, message)
        if tag:
            self._by_tag[tag] = held
        self._queue(accept.partition).held.append(held)
        return True

    def hold_refusal(self, refusal: HeldRefusal) -> None:
        """Keep a quarantine entry until it is written."""
        if refusal.message is not None:
            self.messages += 1
        self._refusals.append(refusal)

    def hold_signal(self, partition: str, blob: bytes) -> None:
        """Keep a signal until it is written."""
        self._queue(partition).signals.append(blob)

    def plan(self, now_ms: int, on_poison: Callable[[Held, Exception], None]) -> Plan:
        """Return what can be written now.

        One entry of frames per partition, more only where one would be too large.

        `on_poison` gets a frame that cannot be put into an entry; it is no longer held here.
        """
        plan = Plan([], [])
        if now_ms < self._backoff.until_ms:
            return plan
        plan.refusals.extend(self._refusals)
        for partition, queue in self._queues.items():
            if now_ms < queue.backoff.until_ms:
                continue
            for blob in queue.signals:
                plan.entries.append(Planned(Append(partition, EntryKind.SIGNAL, blob), []))
            for part in _parts(queue.held):
                self._plan_part(plan, partition, part, on_poison)
        return plan

    def _plan_part(
        self,
        plan: Plan,
        partition: str,
        part: list[Held],
        on_poison: Callable[[Held, Exception], None],
    ) -> None:
        records: list[FrameRecord] = [held.accept.record for held in part]
        try:
            blob = build_frames(records)
        except Exception as error:  # noqa: BLE001 one frame must never keep the others out
            if len(part) > 1:
                for held in part:
                    self._plan_part(plan, partition, [held], on_poison)
                return
            self.written(part)
            on_poison(part[0], error)
            return
        plan.entries.append(Planned(Append(partition, EntryKind.FRAMES, blob), part))

    def written(self, done: list[Held]) -> None:
        """Let go of frames that are durable.

        They stand at the front of their partition's queue, in this order.
        """
        for held in done:
            self.messages -= len(held.messages)
            if held.accept.tag:
                self._by_tag.pop(held.accept.tag, None)
        if done:
            gone = set(map(id, done))
            queue = self._queue(done[0].accept.partition)
            queue.held = [held for held in queue.held if id(held) not in gone]

    def entry_written(self, planned: Planned) -> None:
        """Let go of what one entry held."""
        queue = self._queue(planned.append.partition)
        if planned.append.kind is EntryKind.SIGNAL:
            queue.signals.remove(planned.append.blob)
        else:
            self.written(planned.held)
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
        if not self:
            return None
        times = [q.backoff.until_ms for q in self._queues.values() if q.held or q.signals]
        if self._refusals:
            times.append(0)
        until_ms = max(min(times), self._backoff.until_ms)
        return max(0, until_ms - now_ms) / 1000

    def _queue(self, partition: str) -> _Queue:
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = _Queue()
        return queue


def _parts(held: list[Held]) -> list[list[Held]]:
    """Cut a queue into what fits into one entry each."""
    parts: list[list[Held]] = []
    part: list[Held] = []
    room = 0
    for one in held:
        record = one.accept.record
        cost = frame_cost_bytes(len(record.payload), len(record.name))
        if not part or cost > room or len(part) == JOURNAL_FRAMES_MAX:
            part = []
            parts.append(part)
            room = _BLOB_ROOM_BYTES
        part.append(one)
        room -= cost
    return parts
