"""What must hold, looked at whenever something becomes durable, is acknowledged or is delivered.

The reference is one fold of the durable journal from which every copy of a frame was taken out. So
"once in effect" means: the outbox that the replicas wrote is the one that follows from each frame
once.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from afstand.watch.fold import Watch
from alerting.book.types import (
    AlarmClass,
    AlarmRecord,
    Change,
    DeviceCommand,
    Notice,
    Output,
    Receipt,
)
from firmware_contracts import FrameError, Kind, read_header
from ingest.entries import Entry, EntryKind, FrameBatch, FrameRecord, LaneCode, read_entry
from ingest.store import EntryId, journal_key, outbox_key
from tests.simulation.redis_model import raw, text
from tests.simulation.service import PARTITION

JOURNAL: Final = journal_key(PARTITION)
OUTBOX: Final = outbox_key(PARTITION)
ENDS: Final = frozenset({Change.ACKNOWLEDGED, Change.PLAN_ENDED, Change.LAST_RESORT, Change.CLOSED})
_RAW: Final = msgspec.msgpack.Decoder(tuple[int, int, int, msgspec.Raw])
_OUTPUTS: Final = msgspec.msgpack.Decoder(list[Output])
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_RECEIPT: Final = msgspec.msgpack.Decoder(tuple[int, Receipt])


class Broken(AssertionError):  # noqa: N818 it is what a seed ends with
    """A promise was broken, and how."""


class Checks:
    """What is known to be durable, and what follows from it."""

    def __init__(self) -> None:
        self.journalled: set[bytes] = set()  # payloads
        self.quarantined: set[bytes] = set()
        self.made: dict[tuple[str, int, int], bytes] = {}  # what devices sealed
        self.presses: dict[bytes, str] = {}  # sealed presses, by payload: the device
        self.entries: list[Entry] = []
        self.outbox: list[tuple[EntryId, bytes]] = []
        self.expected: dict[EntryId, bytes] = {}  # outputs of the reference, by entry
        self.notices: dict[str, Notice | DeviceCommand] = {}
        self.received: Counter[tuple[str, str]] = Counter()
        self.settled: dict[str, str] = {}
        self.alarms: dict[str, list[AlarmRecord]] = {}
        self.pressed: Counter[str] = Counter()  # presses that opened or renewed an alarm, by device
        self.copies = 0
        self._reference = Watch(PARTITION)
        self._folded = 0
        self._order: list[EntryId] = []  # of the entries that the outbox must have

    # --- what becomes durable ---------------------------------------------------------------------

    def written(self, args: tuple[Any, ...]) -> None:
        """A command is on the store's disk."""
        if text(args[0]) != "XADD":
            return
        key = text(args[1])
        if key == JOURNAL:
            fields = args[3:]
            pairs = {raw(k): raw(v) for k, v in zip(fields[::2], fields[1::2], strict=True)}
            self._journalled(read_entry(raw(args[2]), pairs))
        elif key == OUTBOX:
            self._decided(EntryId.parse(raw(args[2])), raw(args[6]))
        elif key == "quarantine":
            fields = args[6:]
            pairs = {raw(k): raw(v) for k, v in zip(fields[::2], fields[1::2], strict=True)}
            self.quarantined.add(pairs[b"payload"])

    def _journalled(self, entry: Entry) -> None:
        if self.entries and entry.id <= self.entries[-1].id:
            raise Broken(f"journal: {entry.id} after {self.entries[-1].id}")
        if entry.kind is EntryKind.INVALID:
            raise Broken(f"journal: {entry.id} cannot be read: {entry.blob!r}")
        if entry.kind is EntryKind.SIGNAL and b"divergence" in entry.blob:
            raise Broken(f"replicas differ: {entry.blob!r}")
        if entry.kind is EntryKind.RECEIPT:
            receipt = _RECEIPT.decode(entry.blob)[1]
            self.settled.setdefault(receipt.key, receipt.status.value)
        self.entries.append(self._once(entry) if entry.kind is EntryKind.FRAMES else entry)

    def _once(self, entry: Entry) -> Entry:
        """The entry without the frames that the journal has already."""
        records = _records(FrameBatch.read(entry.blob))
        fresh: list[FrameRecord] = []
        for record in records:
            if record.payload in self.journalled and record.handle:
                self.copies += 1
            else:
                fresh.append(record)
            self.journalled.add(record.payload)
        if len(fresh) == len(records):
            return entry
        if not fresh:
            return Entry(entry.id, EntryKind.TICK, b"")
        return Entry(entry.id, EntryKind.FRAMES, FrameBatch.build(fresh))

    def _decided(self, entry_id: EntryId, blob: bytes) -> None:
        self.fold_until(entry_id)
        at = len(self.outbox)
        due = self._order[at] if at < len(self._order) else None
        if due != entry_id:
            raise Broken(f"outbox: {entry_id} where {due} was due")
        outputs = bytes(_RAW.decode(blob)[3])
        if outputs != self.expected[entry_id]:
            mine = _OUTPUTS.decode(self.expected[entry_id])
            theirs = _OUTPUTS.decode(outputs)
            odd = [(a, b) for a, b in zip(mine, theirs, strict=False) if a != b][:1]
            raise Broken(
                f"outbox: {entry_id} is not what follows from each frame once: "
                f"{len(theirs)} outputs, {len(mine)} expected; {odd}"
            )
        self.outbox.append((entry_id, outputs))

    def fold_until(self, entry_id: EntryId | None = None) -> None:
        """Let the reference go on up to an entry (None: to the end)."""
        while self._folded < len(self.entries):
            entry = self.entries[self._folded]
            if entry_id is not None and entry.id > entry_id:
                return
            self._folded += 1
            step = self._reference.step(entry)
            if step.outputs:
                self.expected[entry.id] = _ENCODER.encode(step.outputs)
                self._order.append(entry.id)
                for index, output in enumerate(step.outputs):
                    self._follow(f"{PARTITION}-{entry.id}-{index}", output)

    def _follow(self, key: str, output: Output) -> None:
        if isinstance(output, Notice | DeviceCommand):
            self.notices[key] = output
        elif isinstance(output, AlarmRecord):
            self.alarms.setdefault(output.alarm_id, []).append(output)
            raised = output.change in (Change.RAISED, Change.RAISED_AGAIN)
            if raised and output.alarm_class is AlarmClass.PANIC:
                self.pressed[output.device_id or ""] += 1

    # --- what is promised to others ---------------------------------------------------------------

    def sealed(self, device_id: str, payload: bytes) -> None:
        """A device made a frame."""
        header = read_header(payload)
        self.made[device_id, header.boot, header.sequence] = payload

    def pressed_on(self, device_id: str, payload: bytes) -> None:
        """The frame is that of a press."""
        self.presses[payload] = device_id

    def device_told(self, device_id: str, boot: int, first: int, last: int) -> None:
        """A device got "stored" for these of its frames."""
        for sequence in range(first, last + 1):
            payload = self.made.get((device_id, boot, sequence))
            if payload is not None and not self._durable(payload):
                raise Broken(f"{device_id} was told that {boot}/{sequence} is stored: it is not")

    def broker_told(self, client_id: str, topic: str, payload: bytes) -> None:
        """An intake acknowledged a message to the broker."""
        if not topic.startswith("em/") or self._durable(payload):
            return
        try:
            header = read_header(payload)
        except FrameError:
            raise Broken(f"{client_id} acknowledged {topic} and quarantined nothing") from None
        if header.sequence or header.kind != Kind.STATUS:
            raise Broken(f"{client_id} acknowledged {topic} {header.sequence}: it is not stored")

    def _durable(self, payload: bytes) -> bool:
        return payload in self.journalled or payload in self.quarantined

    def delivered(self, target: str, key: str, body: Any) -> None:
        """A receiver got a message."""
        self.fold_until()
        expected = self.notices.get(key)
        if expected is None:
            raise Broken(f"{target} got the key {key}, which nothing has")
        if expected != body:
            raise Broken(f"{target} got {key} with another text")
        self.received[target, key] += 1

    # --- the end ----------------------------------------------------------------------------------

    def unfinished(self) -> Iterator[str]:
        """What has not come to its end."""
        self.fold_until()
        for payload, who in self.presses.items():
            if payload not in self.journalled:
                yield f"press of {who} is not journalled"
        if len(self.outbox) < len(self._order):
            yield f"outbox: {self._order[len(self.outbox)]} is missing"
        for key, body in self.notices.items():
            if key not in self.settled and isinstance(body, Notice):
                yield f"notice {key} to {body.target} is not settled"
        for alarm_id, records in self.alarms.items():
            if not any(record.change in ENDS for record in records):
                yield f"alarm {alarm_id} ({records[0].alarm_class}) has no end"

    def at_the_end(self) -> None:
        """Everything has come to its end: was it the right one?"""
        for key, body in self.notices.items():
            if not isinstance(body, Notice) or body.subject_device_id is not None:
                continue
            status = self.settled[key]
            if status in ("delivered", "acknowledged") and not self.received[body.target, key]:
                raise Broken(f"notice {key} is {status} and {body.target} never got it")
            if status in ("failed", "refused"):
                raise Broken(f"notice {key} to {body.target} is {status}: nobody refuses here")
        wanted = Counter(self.presses.values())
        if wanted != Counter({k: v for k, v in self.pressed.items() if k in set(wanted)}):
            raise Broken(f"presses made: {wanted}; presses that count: {self.pressed}")


def _records(batch: FrameBatch) -> list[FrameRecord]:
    return [
        FrameRecord(
            int(batch.handles[index]),
            LaneCode(int(batch.lanes[index])),
            int(batch.flags[index]),
            int(batch.received_ms[index]),
            bytes(batch.frame(index)),
            batch.name(index) if not batch.handles[index] else "",
        )
        for index in range(len(batch))
    ]
