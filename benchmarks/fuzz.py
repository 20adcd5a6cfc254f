"""Hostile input over every contract: nothing raises past the quarantine, and what is taken is read.

Each input is a message: a sound one of contract 1, OwnTracks or Teltonika, spoilt in some way
(often with its tag or checksum made right again, to come past the first check), on a topic
that may be another's. The checks must give an outcome; a refusal must make a quarantine entry; what
is taken goes into a journal entry, of which the fold must be able to decode everything, and
a whole watch must step over without poison. A failure ends the run with the message that shows it.
"""

import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from afstand.commands import DefineDevice, DefinePerson, encode_command
from afstand.watch.fold import Watch
from afstand.watch.frames import Devices, read_inputs
from benchmarks import common
from firmware_contracts import EventCode
from firmware_contracts.faults import FAULTS
from firmware_contracts.frames import (
    Tagger,
    encode_ack,
    encode_event,
    encode_fixes,
    encode_status,
    fix_records,
)
from firmware_contracts.frames import (
    encode_command as encode_command_frame,
)
from firmware_contracts.table import HEADER
from firmware_contracts.teltonika import CRC_BYTES, HEAD_BYTES, Io, crc16_ibm
from geofence.orders import Role
from ingest.checks import Accept, Checker, Copy, Ignore, Refuse, Waiting
from ingest.devices import Contract, DeviceRecord
from ingest.devices import Role as DeviceRole
from ingest.entries import Entry, EntryKind, FrameBatch, FrameRecord
from ingest.mqtt_codec import Message
from ingest.quarantine import quarantine_command
from ingest.reasons import Reason
from ingest.store import EntryId
from simulators.tracker import Sample, avl_packet

NOW_MS: Final = 1_790_000_000_000
PARTITION: Final = "0"
BATCH: Final = 128  # frames that go into one entry
STEP_EVERY: Final = 4  # entries, of which one goes through a whole watch
PROGRESS: Final = 1_000_000
PACKETS: Final = 500  # of trackers, before they are spoilt
KEY: Final = bytes(range(16))
IMEI: Final = "356307042441013"
_PLACE: Final = (519_225_000, 44_791_700)


class FuzzError(AssertionError):
    """An input that does what none may do; the message holds it."""


def devices() -> dict[str, DeviceRecord]:
    """The registered devices: one of each contract, one disabled."""

    def record(name: str, handle: int, contract: Contract, *, enabled: bool = True) -> DeviceRecord:
        return DeviceRecord(
            device_id=name,
            partition=PARTITION,
            role=DeviceRole.WEARER,
            contract=contract,
            key=KEY if contract is Contract.EM1 else b"",
            handle=handle,
            enabled=enabled,
            person_id="p-1",
        )

    return {
        "d-1": record("d-1", 1, Contract.EM1),
        "off": record("off", 2, Contract.EM1, enabled=False),
        "jane.phone": record("jane.phone", 3, Contract.OWNTRACKS),
        IMEI: record(IMEI, 4, Contract.TELTONIKA),
    }


# --- inputs ---------------------------------------------------------------------------------------


def _em1_corpus(rng: random.Random) -> list[tuple[str, bytes]]:
    records = fix_records(3)
    records["lat_e7"], records["lon_e7"] = _PLACE
    records["accuracy_dm"] = 50
    common_fields: dict[str, Any] = {"boot": 3, "device_time_ms": NOW_MS}
    found = []
    for sequence in range(1, 9):
        numbered = common_fields | {"sequence": sequence}
        code = rng.choice(list(EventCode))
        count = rng.choice([1, 1, 2, 3])
        found += [
            ("em/d-1/fix", encode_fixes("d-1", KEY, records=records[:count], **numbered)),
            ("em/d-1/event", encode_event("d-1", KEY, code=code, **numbered)),
            ("em/d-1/status", encode_status("d-1", KEY, **numbered)),
            ("em/off/event", encode_event("off", KEY, code=EventCode.PANIC, **numbered)),
            ("em/nobody/event", encode_event("nobody", KEY, code=EventCode.PANIC, **numbered)),
        ]
    command = encode_command_frame("d-1", KEY, command_id=1, expires_ms=NOW_MS, code=1)
    return [
        *found,
        ("em/d-1/ack", encode_ack("d-1", KEY, records=[(3, 1, 9)])),
        ("em/d-1/cmd", command),
    ]


_PHONE: Final[list[dict[str, Any]]] = [
    {"_type": "location", "lat": 51.9, "lon": 4.4, "tst": NOW_MS // 1000, "acc": 5, "vel": 3,
     "cog": 90, "batt": 80, "alt": 1, "t": "u", "tid": "ja", "conn": "m", "inregions": ["x"]},
    {"_type": "lwt", "tst": NOW_MS // 1000},
    {"_type": "transition", "event": "enter", "lat": 1, "lon": 2, "acc": 3, "tst": 1, "wtst": 1},
    {"_type": "waypoint", "desc": "home", "lat": 1.0, "lon": 2.0, "tst": 1, "rad": 10},
    {"_type": "cmd", "action": "reportLocation"},
    {"_type": "steps", "tst": 1, "steps": 1, "from": 1, "to": 2},
    {"_type": "encrypted", "data": "AAAA"},
    {"_type": "card", "name": "j", "face": "AAAA"},
]  # fmt: skip
_ODD: Final[list[Any]] = [
    None, True, False, 0, -1, 1e308, -1e308, 1e-300, 2**63, -(2**63), 2**64, 0.1, "", "x", "\ud800",
    "é" * 50, [], {}, [[]], {"a": 1}, NOW_MS, NOW_MS / 1000, 91, -181, "12", [1, 2],
]  # fmt: skip


def _phone(rng: random.Random) -> bytes:
    message: Any = dict(rng.choice(_PHONE))
    for _ in range(rng.choice([0, 1, 1, 2])):
        name = rng.choice([*message, "lat", "lon", "tst", "acc", "t", "_type", "request", "uuid"])
        if rng.random() < 0.2:
            message.pop(name, None)
        else:
            message[name] = rng.choice(_ODD)
    if rng.random() < 0.1:
        message = [message, *(dict(rng.choice(_PHONE)) for _ in range(rng.randrange(3)))]
    raw = json.dumps(message).encode()
    if rng.random() < 0.05:
        depth = rng.randrange(40)
        raw = b"[" * depth + raw + b"]" * depth
    if rng.random() < 0.03:
        raw = raw[:-1] + b',"lat":1}'  # a name twice
    return raw


def _samples(rng: random.Random) -> list[Sample]:
    return [
        Sample(
            rng.choice([NOW_MS, NOW_MS - 1000, NOW_MS + 10**6, 0, 2**63]),
            rng.choice([*_PLACE, 0, 2**31 - 1, -(2**31)]),
            rng.choice([*_PLACE, 0]),
            satellites=rng.choice([0, 4, 9, 255]),
            priority=rng.choice([0, 1, 2, 9]),
            event_id=(event := rng.choice([0, 236, 242, 249, 252, 113, 116, 240, 7])),
            io=((event, rng.choice([0, 1, 100, 255])), (int(Io.GNSS_STATUS), rng.randrange(4))),
        )
        for _ in range(rng.choice([1, 1, 2, 5]))
    ]


def _tracker(rng: random.Random) -> tuple[str, bytes]:
    name = rng.choice([IMEI, IMEI, IMEI, "000000000000000"])
    return f"teltonika/{name}/{rng.choice(['avl', 'event'])}", avl_packet(_samples(rng))


def spoil(rng: random.Random, raw: bytes) -> bytes:
    """Change some bytes of an input."""
    if not raw:
        return rng.randbytes(rng.randrange(8))
    spoilt = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        kind = rng.randrange(7)
        at = rng.randrange(len(spoilt)) if spoilt else 0
        if kind == 0 and spoilt:
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and spoilt:
            spoilt[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF])
        elif kind == 2:
            del spoilt[at:]
        elif kind == 3:
            spoilt += rng.randbytes(rng.choice([1, 2, 16, 100]))
        elif kind == 4:
            spoilt[at:at] = rng.randbytes(rng.choice([1, 4]))
        elif kind == 5:
            del spoilt[at : at + rng.choice([1, 2, 8])]
        else:
            end = at + rng.choice([1, 2, 4, 8])
            spoilt[at:end] = rng.choice([b"\0", b"\xff"]) * (end - at)
    return bytes(spoilt)


def spoil_header(rng: random.Random, frame: bytes) -> bytes:
    """Change header fields of a frame."""
    spoilt = bytearray(frame)
    for _ in range(rng.choice([1, 1, 2])):
        field = rng.choice(HEADER.fields)
        at = HEADER.offset_of(field.name)
        edge = rng.choice([0, 1, 2, 5, 64, 65, 200, (1 << 8 * field.bytes) - 1])
        spoilt[at : at + field.bytes] = (edge % (1 << 8 * field.bytes)).to_bytes(
            field.bytes, "little"
        )
    return bytes(spoilt)


class Inputs:
    """Draws messages."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._corpus = _em1_corpus(self._rng)
        self._packets = [_tracker(self._rng) for _ in range(PACKETS)]
        self._tagger = Tagger("d-1", KEY)
        self._other_topics = [
            "em/d-1/fix", "em/d-1/event", "em/d-1/status", "owntracks/jane/phone", "em//fix",
            f"teltonika/{IMEI}/avl", "em/d-1/fix/x", "owntracks/jane/phone/event", "x" * 300, "",
            "teltonika/1/avl", "em/\x00/fix", "owntracks/a.b/c", f"em/{IMEI}/fix", "em/d-1",
        ]  # fmt: skip

    def draw(self) -> Message:
        """Draw the next message."""
        rng = self._rng
        chance = rng.random()
        make: Callable[[], tuple[str, bytes]]
        make = self._frame if chance < 0.5 else self._phone if chance < 0.75 else self._packet
        topic, payload = make()
        if rng.random() < 0.04:
            topic = rng.choice(self._other_topics)
        if rng.random() < 0.01:
            payload = rng.randbytes(rng.choice([0, 1, 47, 48, 49, 200, 5000, 20_000]))
        dup = rng.random() < 0.02
        received_ms = NOW_MS + rng.randrange(1000)
        return Message(topic, payload, 1, dup, False, received_ms, 1)

    def _frame(self) -> tuple[str, bytes]:
        rng = self._rng
        topic, frame = rng.choice(self._corpus)
        chance = rng.random()
        if chance < 0.1:
            return topic, frame
        body = frame[:-16]
        body = spoil_header(rng, body) if chance < 0.45 else spoil(rng, body)
        if rng.random() < 0.75:  # a right tag over wrong bytes
            return topic, body + self._tagger.tag(body)
        return topic, spoil(rng, frame)

    def _phone(self) -> tuple[str, bytes]:
        raw = _phone(self._rng)
        if self._rng.random() < 0.2:
            raw = spoil(self._rng, raw)
        return "owntracks/jane/phone", raw

    def _packet(self) -> tuple[str, bytes]:
        rng = self._rng
        topic, packet = rng.choice(self._packets)
        chance = rng.random()
        if chance < 0.2:
            return topic, packet
        data = spoil(rng, packet[HEAD_BYTES:-CRC_BYTES])
        if chance < 0.8:  # a right length and checksum around wrong bytes
            return topic, bytes(4) + len(data).to_bytes(4) + data + crc16_ibm(data).to_bytes(4)
        return topic, spoil(rng, packet)


# --- what must hold -------------------------------------------------------------------------------


class Target:
    """Everything that a message meets on its way, in memory."""

    def __init__(self) -> None:
        known = devices()
        self.outcomes: Counter[str] = Counter()
        self._checker = Checker(known.get, default_partition=PARTITION)
        self._devices = Devices()
        self._watch = Watch(PARTITION)
        self._held: list[FrameRecord] = []
        self._entries = 0
        self._ms = NOW_MS
        self._step(
            EntryKind.COMMAND, encode_command(DefinePerson(person_id="p-1", role=Role.WEARER))
        )
        for record in known.values():
            definition = DefineDevice(
                handle=record.handle,
                device_id=record.device_id,
                person_id="p-1",
                role=Role.WEARER,
                enabled=record.enabled,
            )
            self._devices.define(definition, 0)
            self._step(EntryKind.COMMAND, encode_command(definition))

    def take(self, message: Message) -> None:
        """Let one message go its way. Raises FuzzError."""
        try:
            self._take(message)
        except FuzzError:
            raise
        except Exception as error:
            raise FuzzError(
                f"{type(error).__name__}: {error}; topic {message.topic!r}, payload"
                f" {message.payload.hex()}"
            ) from error

    def _take(self, message: Message) -> None:
        outcome = self._checker.check(message)
        if isinstance(outcome, Accept):
            self.outcomes["taken" if outcome.reason is None else "taken without proof"] += 1
            self._held.append(outcome.record)
            if len(self._held) >= BATCH:
                self.flush()
        elif isinstance(outcome, Refuse):
            if outcome.reason is Reason.INTERNAL_ERROR:
                raise FuzzError(f"an error of our own: {outcome.detail}")
            self.outcomes[outcome.reason.value] += 1
            quarantine_command(message, outcome.reason.value, outcome.detail, "fuzz")
        elif isinstance(outcome, Ignore):
            self.outcomes[f"ignored: {outcome.why}"] += 1
        elif isinstance(outcome, Copy | Waiting):
            self.outcomes["copy"] += 1
        else:
            raise FuzzError(f"no outcome: {outcome!r}")

    def flush(self) -> None:
        """Journal what was taken, and fold it. Raises FuzzError."""
        if not self._held:
            return
        blob = FrameBatch.build(self._held)
        self._entries += 1
        inputs = read_inputs(FrameBatch.read(blob), self._devices, NOW_MS)
        if inputs.notes["undecodable"]:
            raise FuzzError("taken and not decoded: " + " ".join(self._undecodable()))
        if self._entries % STEP_EVERY == 0:
            self._step(EntryKind.FRAMES, blob)
        self._held = []

    def _undecodable(self) -> list[str]:
        alone = ((record, FrameBatch.build([record])) for record in self._held)
        return [
            record.payload.hex()
            for record, blob in alone
            if read_inputs(FrameBatch.read(blob), Devices(), NOW_MS).notes["undecodable"]
        ]

    def _step(self, kind: EntryKind, blob: bytes) -> None:
        self._ms += 1000
        step = self._watch.step(Entry(EntryId(self._ms, 0), kind, blob))
        if step.notes["poison"] or step.notes["rejected"]:
            raise FuzzError(f"the watch was poisoned: {step.notes}, {blob.hex()}")


def fuzz(inputs: int, seed: int) -> Counter[str]:
    """Let so many inputs in; return how many had which outcome. Raises FuzzError."""
    source, target = Inputs(seed), Target()
    for _ in range(inputs):
        target.take(source.draw())
    target.flush()
    return target.outcomes


def _part(arguments: tuple[int, int]) -> tuple[Counter[str], str]:
    try:
        return fuzz(*arguments), ""
    except FuzzError as error:
        return Counter(), str(error)


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when an input does what none may."""
    parser = common.parser("fuzz", "Hostile input over every contract.")
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=None, help="(a new one, printed)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--part", type=int, default=100_000, help="inputs under one seed")
    options = parser.parse_args(arguments)
    seed = int(time.time()) if options.seed is None else options.seed
    sizes = [
        min(options.part, options.inputs - at) for at in range(0, options.inputs, options.part)
    ]
    parts = [(size, seed + number) for number, size in enumerate(sizes)]
    print(f"seed {seed}: {options.inputs:,} inputs", flush=True)
    outcomes: Counter[str] = Counter()
    began, done, told = time.perf_counter(), 0, 0
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for number, (found, failure) in enumerate(pool.imap(_part, parts)):
            if failure:
                print(f"FAILED with seed {seed + number}: {failure}")
                return 1
            outcomes += found
            done += sizes[number]
            if done // PROGRESS > told:
                told = done // PROGRESS
                print(f"{done:,} inputs", flush=True)
    elapsed_s = time.perf_counter() - began
    faults = {fault.value for fault in FAULTS} - {Reason.UNKNOWN_TYPE.value}
    figures = {
        "inputs": float(sum(outcomes.values())),
        "exceptions": 0.0,
        "inputs_per_s": sum(outcomes.values()) / elapsed_s,
        "faults_reached": float(len(faults & set(outcomes))),
    }
    rows = [{"outcome": name, "inputs": count} for name, count in outcomes.most_common()]
    common.report("fuzz", figures, rows, None, options, seed=str(seed))
    return 0
