"""A journal in memory for tests of the fold: entries with the ids that a store would give."""

import random
from collections.abc import Iterable

import msgspec
import numpy as np

from afstand.commands import (
    DefineDevice,
    DefineOrder,
    DefinePerson,
    DefineZone,
    JournalCommand,
    encode_command,
)
from afstand.watch.envelope import decode_envelope
from afstand.watch.fold import RECEIPT_FORMAT, Step, Watch
from alerting.book.types import CaseDevice, DefineCase, DefinePlan, Output, Receipt
from firmware_contracts import EventCode
from firmware_contracts.frames import encode_event, encode_fixes, fix_records
from geofence.orders import CircleShape, Order, Role, Zone
from geofence.verdicts import OrderKind
from ingest.entries import Entry, EntryKind, FrameBatch, FrameFlag, FrameRecord, LaneCode
from ingest.store import EntryId

START_MS = 1_790_000_000_000
KEY = bytes(range(16))
LAT_E7, LON_E7 = 519_200_000, 44_800_000
METRE_E7 = 90  # of latitude, to within a per cent

PLAN = {
    "format": "afstand.plan/1",
    "id": "plan",
    "steps": [
        {"audience": "police", "targets": ["meldkamer"], "deadline_s": 60,
         "classes": ["panic", "proximity", "tamper", "area-breach"]},
        {"audience": "probation", "targets": ["reclassering"], "deadline_s": 600,
         "needs": "delivered"},
    ],
    "acknowledgement_expires_s": 900,
}  # fmt: skip


class Journal:
    """Makes entries in order of time."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.entries: list[Entry] = []
        self._sequence = 0
        self._sequences: dict[str, int] = {}

    def pass_s(self, seconds: float) -> None:
        """Let time go by."""
        self.now_ms += round(seconds * 1000)

    def entry(self, kind: EntryKind, blob: bytes = b"") -> Entry:
        """Append one entry at the present time."""
        previous = self.entries[-1].id if self.entries else EntryId(0, 0)
        seq = previous.seq + 1 if previous.ms == self.now_ms else 0
        made = Entry(EntryId(self.now_ms, seq), kind, blob)
        self.entries.append(made)
        return made

    def tick(self) -> Entry:
        return self.entry(EntryKind.TICK)

    def command(self, command: JournalCommand) -> Entry:
        return self.entry(EntryKind.COMMAND, encode_command(command))

    def receipt(self, receipt: Receipt) -> Entry:
        return self.entry(EntryKind.RECEIPT, msgspec.msgpack.encode((RECEIPT_FORMAT, receipt)))

    def frames(self, *records: FrameRecord, behind: bool = False) -> Entry:
        return self.entry(EntryKind.FRAMES, FrameBatch.build(records, behind=behind))

    def next_sequence(self, device: str) -> int:
        self._sequences[device] = self._sequences.get(device, 0) + 1
        return self._sequences[device]

    def fix(
        self,
        device: str,
        handle: int,
        north_m: float,
        *,
        east_m: float = 0.0,
        late_s: float = 0.0,
        sequence: int | None = None,
    ) -> FrameRecord:
        """A fix so many metres north and east of the middle."""
        row = fix_records(1)
        row["lat_e7"] = LAT_E7 + round(north_m * METRE_E7)
        row["lon_e7"] = LON_E7 + round(east_m * METRE_E7 / np.cos(np.radians(51.92)))
        row["accuracy_dm"] = 50
        row["speed_cm_s"] = 65_535
        row["heading_cdeg"] = 65_535
        row["mechanism"] = 1
        raw = encode_fixes(
            device,
            KEY,
            boot=1,
            sequence=sequence or self.next_sequence(device),
            device_time_ms=self.now_ms - round(late_s * 1000),
            records=row,
        )
        return FrameRecord(handle, LaneCode.FIX, FrameFlag.AUTHENTICATED, self.now_ms, raw)

    def event(self, device: str, handle: int, code: EventCode, *, sequence: int | None = None,
              flags: FrameFlag = FrameFlag.AUTHENTICATED) -> FrameRecord:  # fmt: skip
        """An event without a position."""
        raw = encode_event(
            device,
            KEY,
            boot=1,
            sequence=sequence or self.next_sequence(device),
            device_time_ms=self.now_ms,
            code=code,
        )
        name = device if handle == 0 else ""
        return FrameRecord(handle, LaneCode.EVENT, flags, self.now_ms, raw, name)


def definitions() -> Iterable[JournalCommand]:
    """A wearer with an area ban of 300 m around the middle, a protected person, a button."""
    yield DefinePerson(person_id="wim", role=Role.WEARER)
    yield DefinePerson(person_id="vera", role=Role.PROTECTED)
    yield DefineDevice(handle=1, device_id="tag-1", person_id="wim", role=Role.WEARER)
    yield DefineDevice(handle=2, device_id="victim-2", person_id="vera", role=Role.PROTECTED)
    yield DefinePlan(plan=msgspec.json.encode(PLAN))
    yield DefineCase(
        case_id="case",
        wearer_id="wim",
        protected_ids=("vera",),
        devices=(
            CaseDevice(device_id="tag-1", person_id="wim"),
            CaseDevice(device_id="victim-2", person_id="vera"),
        ),
        plan_id="plan",
    )
    circle = CircleShape(lat_e7=LAT_E7, lon_e7=LON_E7, radius_m=300)
    yield DefineZone(zone=Zone(id="zone", circle=circle))
    yield DefineOrder(order=order())


def order(**changes: object) -> Order:
    """The area ban."""
    terms = {
        "id": "ban",
        "kind": OrderKind.AREA_BAN,
        "wearer_id": "wim",
        "zone_ids": ("zone",),
        "risk_class": 1,
        "valid_from_ms": START_MS - 1000,
        "signed_at_ms": START_MS - 1000,
        "served_at_ms": START_MS - 1000,
        "plan_id": "plan",
    }
    return Order(**(terms | changes))  # type: ignore[arg-type]


def outputs_of(step: Step) -> list[Output]:
    """What a step wrote, read back from its bytes."""
    return decode_envelope(step.blob).outputs if step.blob is not None else []


def fold(watch: Watch, entries: Iterable[Entry]) -> list[tuple[EntryId, bytes]]:
    """Fold entries; gives the outbox."""
    written = []
    for entry in entries:
        blob = watch.step(entry).blob
        if blob is not None:
            written.append((entry.id, blob))
    return written


def random_entries(journal: Journal, draw: random.Random, count: int) -> None:
    """Fixes in and out of the zone, presses, copies, ticks, late fixes, for a while.

    Some entries were taken while the intake was behind.
    """
    sent: list[FrameRecord] = []
    for _ in range(count):
        journal.pass_s(draw.choice([0.2, 1, 5, 20, 95]))
        what = draw.random()
        if what < 0.1:
            journal.tick()
            continue
        records = []
        for _ in range(draw.randrange(1, 5)):
            if sent and draw.random() < 0.15:
                records.append(draw.choice(sent))
            elif draw.random() < 0.08:
                code = draw.choice([EventCode.PANIC, EventCode.STRAP_CUT, EventCode.BATTERY_LOW])
                records.append(journal.event("tag-1", 1, code))
            else:
                device, handle = draw.choice([("tag-1", 1), ("victim-2", 2)])
                late = draw.choice([0, 0, 0, 3, 200])
                records.append(journal.fix(device, handle, draw.uniform(-900, 900), late_s=late))
        sent += records
        journal.frames(*records, behind=len(journal.entries) % 4 == 0)
