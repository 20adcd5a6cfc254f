"""What must hold, looked at whenever something becomes durable, is acknowledged or is delivered.

The reference is one fold of each durable journal from which every copy of a frame was taken out:
also of one that was in effect in another partition, before its person moved. So "once in effect"
means: the outboxes that the replicas wrote are those that follow from each frame once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
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
from ingest.entries import Entry, EntryKind, FrameBatch, FrameRecord, read_entry
from ingest.store import BEGINNING, EntryId, journal_key, outbox_key
from tests.simulation.people import GROUPS, PARTITIONS, Group
from tests.simulation.places import Broken, Places
from tests.simulation.redis_model import raw, text

ENDS: Final = frozenset({Change.ACKNOWLEDGED, Change.PLAN_ENDED, Change.LAST_RESORT, Change.CLOSED})
_RAW: Final = msgspec.msgpack.Decoder(tuple[int, int, int, msgspec.Raw])
_OUTPUTS: Final = msgspec.msgpack.Decoder(list[Output])
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_RECEIPT: Final = msgspec.msgpack.Decoder(tuple[int, Receipt])


class Part:
    """A partition: the entries of its journal, its reference, and the outbox that it must have."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reference = Watch(name)
        self.last = BEGINNING  # of the journal
        self.outbox: list[EntryId] = []
        self.expected: dict[EntryId, bytes] = {}  # outputs of the reference, by entry
        self.order: list[EntryId] = []  # of the entries that the outbox must have


class Checks:
    """What is known to be durable, and what follows from it.

    All journals are folded in the one order in which their entries became durable.
    """

    def __init__(
        self, partitions: Sequence[str] = PARTITIONS[:1], groups: Sequence[Group] = GROUPS[:1]
    ) -> None:
        self.parts = {name: Part(name) for name in partitions}
        self._journals = {journal_key(name): part for name, part in self.parts.items()}
        self._outboxes = {outbox_key(name): part for name, part in self.parts.items()}
        self.places = Places(groups)
        self.journalled: set[bytes] = set()  # payloads
        self.quarantined: set[bytes] = set()
        self.in_effect: set[bytes] = set()  # payloads, folded where their person is
        self.made: dict[tuple[str, int, int], bytes] = {}  # what devices sealed
        self.presses: dict[bytes, str] = {}  # sealed presses, by payload: the device
        self.entries: list[tuple[Part, Entry]] = []
        self.notices: dict[str, Notice | DeviceCommand] = {}
        self.received: Counter[tuple[str, str]] = Counter()
        self.settled: dict[str, str] = {}
        self.alarms: dict[str, list[AlarmRecord]] = {}
        self.pressed: Counter[str] = Counter()  # presses that opened or renewed an alarm, by device
        self.copies = 0
        self.overload: Counter[str] = Counter()
        self._folded = 0

    # --- what becomes durable ---------------------------------------------------------------------

    def written(self, args: tuple[Any, ...]) -> None:
        """A command is on the store's disk."""
        if text(args[0]) != "XADD":
            return
        key = text(args[1])
        if (part := self._journals.get(key)) is not None:
            fields = args[3:]
            pairs = {raw(k): raw(v) for k, v in zip(fields[::2], fields[1::2], strict=True)}
            self._journalled(part, read_entry(raw(args[2]), pairs))
        elif (part := self._outboxes.get(key)) is not None:
            self._decided(part, EntryId.parse(raw(args[2])), raw(args[6]))
        elif key == "quarantine":
            fields = args[6:]
            pairs = {raw(k): raw(v) for k, v in zip(fields[::2], fields[1::2], strict=True)}
            self.quarantined.add(pairs[b"payload"])

    def _journalled(self, part: Part, entry: Entry) -> None:
        if entry.id <= part.last:
            raise Broken(f"journal of {part.name}: {entry.id} after {part.last}")
        part.last = entry.id
        if entry.kind is EntryKind.INVALID:
            raise Broken(f"journal of {part.name}: {entry.id} cannot be read: {entry.blob!r}")
        if entry.kind is EntryKind.SIGNAL and b"divergence" in entry.blob:
            raise Broken(f"replicas differ: {entry.blob!r}")
        if entry.kind is EntryKind.RECEIPT:
            receipt = _RECEIPT.decode(entry.blob)[1]
            self.settled.setdefault(receipt.key, receipt.status.value)
        if entry.kind is EntryKind.FRAMES:
            batch = FrameBatch.read(entry.blob)
            self.journalled.update(bytes(batch.frame(index)) for index in range(len(batch)))
        self.entries.append((part, entry))

    def _once(self, part: Part, entry: Entry) -> Entry:
        """The entry without the frames that were in effect before, here or elsewhere.

        What is about somebody who is in another partition stays: it is to be passed on.
        """
        batch = FrameBatch.read(entry.blob)
        records = batch.records()
        self.overload["entries taken late"] += batch.behind
        fresh: list[FrameRecord] = []
        for record in records:
            if not record.handle or not self.places.is_in(record.handle, part.name):
                fresh.append(record)
            elif record.payload in self.in_effect:
                self.copies += 1
            else:
                self.in_effect.add(record.payload)
                fresh.append(record)
        if len(fresh) == len(records):
            return entry
        if not fresh:
            return Entry(entry.id, EntryKind.TICK, b"")
        return Entry(entry.id, EntryKind.FRAMES, FrameBatch.build(fresh, behind=batch.behind))

    def _decided(self, part: Part, entry_id: EntryId, blob: bytes) -> None:
        self.fold_until(part, entry_id)
        at = len(part.outbox)
        due = part.order[at] if at < len(part.order) else None
        if due != entry_id:
            raise Broken(f"outbox of {part.name}: {entry_id} where {due} was due")
        outputs = bytes(_RAW.decode(blob)[3])
        if outputs != part.expected[entry_id]:
            mine = _OUTPUTS.decode(part.expected[entry_id])
            theirs = _OUTPUTS.decode(outputs)
            odd = [(a, b) for a, b in zip(mine, theirs, strict=False) if a != b][:1]
            raise Broken(
                f"outbox of {part.name}: {entry_id} is not what follows from each frame once: "
                f"{len(theirs)} outputs, {len(mine)} expected; {odd}"
            )
        part.outbox.append(entry_id)

    def fold_until(self, until: Part | None = None, entry_id: EntryId = BEGINNING) -> None:
        """Let the references go on up to an entry of a partition (None: to the end)."""
        while self._folded < len(self.entries):
            part, entry = self.entries[self._folded]
            if part is until and entry.id > entry_id:
                return
            self._folded += 1
            if entry.kind is EntryKind.FRAMES:
                entry = self._once(part, entry)
            before = self.places.before(entry, part.reference)
            step = part.reference.step(entry)
            self.overload["fixes coalesced"] += step.notes["coalesced"]
            self.places.after(part.name, before, step.outputs, part.reference)
            if step.outputs:
                part.expected[entry.id] = _ENCODER.encode(step.outputs)
                part.order.append(entry.id)
                for index, output in enumerate(step.outputs):
                    self._follow(f"{part.name}-{entry.id}-{index}", output)
            if part is until and entry.id == entry_id:
                return

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
        for part in self.parts.values():
            if len(part.outbox) < len(part.order):
                yield f"outbox of {part.name}: {part.order[len(part.outbox)]} is missing"
        yield from self.places.unfinished()
        for (device_id, boot, sequence), payload in self.made.items():
            if payload in self.journalled and payload not in self.in_effect:
                yield f"{boot}/{sequence} of {device_id} is journalled, and in effect nowhere"
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
