"""The scenario suite as what devices send, turn by turn, and what one process makes of it."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, zip_longest
from typing import Any, NamedTuple

import msgspec

from afstand.cases import Cases, check_cases, import_cases
from afstand.commands import encode_command
from afstand.watch.fold import Watch
from alerting.book.types import AlarmClass, Defined, FloodRecord, Notice
from firmware_contracts import Kind, Lane, Tagger, decode_acks
from firmware_contracts.frames import encode_event, encode_fixes, fix_records
from ingest.columns import EntryColumns
from ingest.entries import (
    Entry,
    EntryKind,
    FrameBatch,
    FrameFlag,
    FrameRecord,
    LaneCode,
)
from ingest.store import EntryId
from simulators.happenings import DeviceSpec, LinkChanges, Outgoing, Output, Received, Wakes
from simulators.ring import Pace, Ring, Stored
from simulators.suite import Play, Run, boundaries, coincidences, long_days, queensland
from tests.acceptance.partitioned import PLAN, FrameKey
from tests.afstand.test_cases import _Journal, _Registry

SEED = 3
KEY = bytes(range(16))
BOOT = 1
TURN_MS = 5_000
QUIET_MS = 60_000
RING_FRAMES = 20_000
_NAME = re.compile(r"\b(?:p\d|one|all)-(\d{13})-\d+-\d+|\bcommand_id=\d+")
_LANES = {Kind.FIX: LaneCode.FIX, Kind.EVENT: LaneCode.EVENT}


def chosen() -> list[Run]:
    """All runs with AFSTAND_SUITE=all, else every other one of those of an hour at most."""
    everything = [
        *queensland(SEED), *coincidences(SEED), *boundaries(SEED), *long_days(SEED, hours=2.0)
    ]  # fmt: skip
    if os.environ.get("AFSTAND_SUITE") == "all":
        return everything
    return [run for run in everything if run.end_ms - run.start_ms <= 3_600_000][::2]


def cases_of(runs: Sequence[Run]) -> Cases:
    """Everybody of the runs, each with a device; every wearer's case."""
    carried = [one for run in runs for one in run.devices]
    plans = {order["plan_id"] for run in runs for order in run.orders}
    document = {
        "format": "afstand.cases/1",
        "persons": [{"id": one.person_id, "role": one.role} for one in carried],
        "devices": [
            {"id": f"d-{one.person_id}", "person": one.person_id, "role": one.role,
             "contract": "em1", "key": KEY.hex()}
            for one in carried
        ],
        "zones": [zone for run in runs for zone in run.zones],
        "orders": [order for run in runs for order in run.orders],
        "plans": [PLAN | {"id": plan} for plan in sorted(plans)],
        "cases": [
            {"id": f"case-{one.person_id}", "wearer": one.person_id,
             "protected": [other.person_id for other in run.devices if other.role != "wearer"],
             "plan": run.orders[0]["plan_id"]}
            for run in runs
            for one in run.devices
            if one.role == "wearer"
        ],
    }  # fmt: skip
    return check_cases(msgspec.json.encode(document), "suite")


class Sent(NamedTuple):
    """A frame that a device sends; `case` is the run in which it is."""

    case: int
    device_id: str
    kind: Kind
    sequence: int
    raw: bytes

    @property
    def key(self) -> FrameKey:
        """Which frame it is."""
        return self.device_id, BOOT, self.sequence


class Turn(NamedTuple):
    """What arrives at one instant, in the order in which one entry of all of it is folded."""

    at_ms: int
    frames: list[Sent]

    def waves(self) -> list[list[Sent]]:
        """The frames in parts that are sent one after another.

        Those of one device together; of several devices of a case each after the one before.
        """
        by_case = sorted(self.frames, key=lambda one: one.case)
        cases = [
            [list(part) for _, part in groupby(of_case, key=lambda one: (one.device_id, one.kind))]
            for _, of_case in groupby(by_case, key=lambda one: one.case)
        ]
        return [
            [one for part in parts for one in part] for parts in zip_longest(*cases, fillvalue=[])
        ]


def turns_of(runs: Sequence[Run]) -> list[Turn]:
    """Play the runs: an instant wherever something arrived, and one a minute where nothing does."""
    play, sequences = Play(runs), Counter[str]()
    cases = {id(run): number for number, run in enumerate(runs)}
    turns: list[Turn] = []
    now_ms = told_ms = runs[0].start_ms
    while now_ms < play.end_ms:
        now_ms += TURN_MS
        frames = _arrived(play, cases, sequences, now_ms)
        if frames or now_ms - told_ms >= QUIET_MS or now_ms >= play.end_ms:
            turns.append(Turn(now_ms, frames))
            told_ms = now_ms
    return turns


def _arrived(play: Play, cases: dict[int, int], sequences: Counter[str], to_ms: int) -> list[Sent]:
    arrived = play.advance(to_ms)
    found: list[Sent] = []

    def add(device: int, kind: Kind, encode: Any, **values: Any) -> None:
        player = play.devices[device]
        name = f"d-{player.carried.person_id}"
        sequences[name] += 1
        raw = encode(name, KEY, boot=BOOT, sequence=sequences[name], **values)
        found.append(Sent(cases[id(player.run)], name, kind, sequences[name], raw))

    for event in arrived.events:
        add(event.device, Kind.EVENT, encode_event, device_time_ms=event.time_ms, code=event.code)
    for fix in sorted(arrived.fixes, key=lambda one: (one["time_ms"], one["device"])):
        row = fix_records(1)
        for field in ("lat_e7", "lon_e7", "accuracy_dm", "speed_cm_s", "heading_cdeg", "mechanism"):
            row[field] = fix[field]
        time_ms = int(fix["time_ms"])
        add(int(fix["device"]), Kind.FIX, encode_fixes, device_time_ms=time_ms, records=row)
    return found


class Sender:
    """The part of a device that sends: each frame it is given it keeps until an ack covers it.

    Stands where `simulators.client` expects a carrier with a device.
    """

    running = True
    boot = BOOT

    def __init__(self, device_id: str) -> None:
        self.spec = DeviceSpec(device_id=device_id, key=KEY)
        self.ring = Ring(RING_FRAMES, Pace())
        self.linked = False
        self.sequence = 0
        self._tagger = Tagger(device_id, KEY)

    @property
    def device(self) -> "Sender":
        """The device."""
        return self

    def last_will(self) -> None:
        """None: who is gone is told by silence."""

    def due_ms(self, _now_ms: int) -> int | None:
        """When a frame is to be sent again."""
        return self.ring.next_resend_ms() if self.linked else None

    def wake(self, now_ms: int) -> Output:
        """Send again."""
        return self.handle(Wakes(moving=False), now_ms)

    def handle(self, what: Any, now_ms: int) -> Output:
        """Take a frame, an acknowledgement or a change of the link; what to send now."""
        match what:
            case Sent():
                self.sequence = what.sequence
                assert self.ring.keep(Stored(what.kind, BOOT, what.sequence, what.raw)) is None
            case Received(Lane.ACK, payload) if self._tagger.valid(payload):
                for ack in decode_acks(payload):
                    self.ring.covered(ack.boot, ack.first, ack.last)
            case LinkChanges():
                self.linked = what.up
                self.ring.forget_sending()
        sending = self.ring.to_send(now_ms) if self.linked else []
        return Output([Outgoing(one.lane, one.payload, one.key) for one in sending], [])


class OneProcess:
    """One journal that a single watch folds: no brokers, no intakes, no store."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._devices: dict[str, Any] = {}

    async def define(self, cases: Cases, at_ms: int) -> None:
        """Import the cases."""
        journal: Any = _Journal()
        registry: Any = _Registry()
        await import_cases(cases, registry, journal, ("one",))
        self._devices = registry.devices
        for _, command in journal.commands:
            self._add(at_ms, EntryKind.COMMAND, encode_command(command))

    def take(self, at_ms: int, frames: Iterable[Sent]) -> None:
        """A tick, and all frames in one entry."""
        self._add(at_ms, EntryKind.TICK)
        records = [
            FrameRecord(
                self._devices[one.device_id].handle, _LANES[one.kind], FrameFlag.AUTHENTICATED,
                at_ms, one.raw,
            )
            for one in frames
        ]  # fmt: skip
        if records:
            self._add(at_ms, EntryKind.FRAMES, FrameBatch.build(records))

    def _add(self, at_ms: int, kind: EntryKind, blob: bytes = b"") -> None:
        last = self.entries[-1].id if self.entries else EntryId(0, 0)
        entry_id = last.next() if last.ms == at_ms else EntryId(at_ms, 0)
        self.entries.append(Entry(entry_id, kind, blob))


class Made(NamedTuple):
    """What a watch made of a journal."""

    outputs: list[Any]
    blobs: list[tuple[EntryId, bytes]]
    notes: Counter[str]


def folded(name: str, entries: Sequence[Entry]) -> Made:
    """Fold a journal."""
    made = Made([], [], Counter())
    for step in Watch(name).fold(EntryColumns.of(list(entries))):
        made.outputs.extend(step.outputs)
        made.notes.update(step.notes)
        if step.blob is not None:
            made.blobs.append((step.id, step.blob))
    return made


def decided(outputs: Iterable[Any]) -> Counter[str]:
    """All that was decided, each output whole; how often each.

    Left out is what a process says of itself: which plans it has, and what it makes of the number
    of alarms that it sees (a flood). Incidents, alarms and notices are named after a journal, an
    entry of it and a place among what the entry gave: of these the entry's millisecond is kept.
    Commands to devices are numbered by the process that gives them.
    """
    return Counter(
        _NAME.sub(r"\1", repr(one))
        for one in outputs
        if not isinstance(one, Defined | FloodRecord)
        and getattr(one, "alarm_class", None) is not AlarmClass.SYSTEM
        and not getattr(one, "subject", "").startswith("system/")
    )


def classes_told(outputs: Iterable[Any]) -> set[AlarmClass]:
    """Of what anybody is told."""
    return {one.alarm_class for one in outputs if isinstance(one, Notice)}
