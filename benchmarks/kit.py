"""The C kit against the server's decoder: random frames both ways, every value compared.

Numbers drawn here are given to the C encoder field by field; what it seals must come out of
`decode_batch` (acks and commands: of the device side's decoders) as the numbers that were drawn,
with a right tag. Then both read the same frames, a third of them damaged, and must agree on the
fault, on the tag and on every value. A disagreement ends the run with the frame that shows it.
"""

import resource
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.limits import FRAME_BYTES_MAX
from benchmarks import common
from firmware_contracts.batch import decode_batch
from firmware_contracts.codes import TAG_BYTES, Kind, Mechanism
from firmware_contracts.faults import FAULT_NUMBER, Fault, FrameError, fault_of
from firmware_contracts.frames import Tagger, decode_acks, decode_commands, read_header
from firmware_contracts.table import (
    HEADER_BYTES,
    LAT,
    LON,
    RECORDS,
    TIME_MS_MAX,
    TIME_MS_MIN,
    U16_UNKNOWN,
    Layout,
    struct_of,
)
from simulators.firmware import HOST, SANITIZERS, build

DEVICE: Final = "kit-0001"
KEY: Final = bytes(range(16))
CHUNK: Final = 2_500
COUNTS: Final = (1, 1, 1, 2, 3, 8, 64)
IMPOSSIBLE_SHARE: Final = 0.03
DAMAGED_SHARE: Final = 1 / 3
_REQUEST: Final = [("q", "S1"), ("kind", "u1"), ("count", "u1")]
_HEADER: Final = [("boot", "<u4"), ("sequence", "<u4"), ("time_ms", "<u8")]
_READ_HEADER: Final = np.dtype(
    [
        *[(name, "u1") for name in ("kind", "minor", "flags", "record_bytes", "count")],
        *_HEADER,
    ]
)
_TEXTS: Final = ["", "naar huis", "Bel de reclassering: 020", "é" * 32, "\U0001f6a8" * 16]

Ints = npt.NDArray[np.int64]


class DisagreementError(AssertionError):
    """The two sides differ; the message holds the frame."""


class Drawn(NamedTuple):
    """Frames of one kind and count before they are encoded; `rows` is [frame, record, field]."""

    kind: Kind
    boot: Ints
    sequence: Ints
    time_ms: Ints
    rows: Ints
    texts: npt.NDArray[np.bytes_]
    impossible: npt.NDArray[np.bool_]  # per frame: the server must refuse it for a value


def _edges(rng: np.random.Generator, low: int, high: int, size: tuple[int, ...]) -> Ints:
    """Values from `low` to `high`, a fifth of them at an end."""
    values: Ints = rng.integers(low, high, size, dtype=np.int64, endpoint=True)
    at_end = rng.random(size) < 0.2
    values[at_end] = rng.choice(np.array([low, high]), int(at_end.sum()))
    return values


def _fields(rng: np.random.Generator, layout: Layout, size: tuple[int, int]) -> Ints:
    """Sound values for every field but texts: within the table's bounds, or not known."""
    columns = []
    for field in layout.fields:
        if field.low is None or field.high is None:
            continue
        column = _edges(rng, field.low, field.high, size)
        if field.unknown is not None:
            column[rng.random(size) < 0.1] = field.unknown
        columns.append(column)
    return np.stack(columns, axis=2)


def _place(layout: Layout, name: str) -> int:
    return [field.name for field in layout.fields].index(name)


def draw(rng: np.random.Generator, kind: Kind, frames: int, count: int) -> Drawn:
    """Draw frames whose fate is known: all sound, but for fixes spoilt in one record each."""
    layout = RECORDS[kind]
    rows = _fields(rng, layout, (frames, count))
    time_ms = _edges(rng, TIME_MS_MIN + 2**31, TIME_MS_MAX, (frames,))
    impossible = np.zeros(frames, dtype=np.bool_)
    texts = np.zeros((frames, count), dtype="S64")
    if kind is Kind.ACK:
        rows[:, :, 1:] = np.sort(rows[:, :, 1:], axis=2)
    elif kind is Kind.COMMAND:
        texts[:] = rng.choice(np.array([text.encode() for text in _TEXTS], "S64"), texts.shape)
    elif kind is Kind.STATUS:
        impossible = _spoil(rng, rows, _place(layout, "battery_pct"), 101, 254)
    elif kind is Kind.FIX:
        impossible = _spoil_fixes(rng, rows, layout)
    return Drawn(
        kind,
        _edges(rng, 0, 2**32 - 1, (frames,)),
        _edges(rng, 1, 2**32 - 1, (frames,)),
        time_ms,
        rows,
        texts,
        impossible,
    )


def _spoil(
    rng: np.random.Generator, rows: Ints, field: int, low: int, high: int
) -> npt.NDArray[np.bool_]:
    chosen = rng.random(len(rows)) < IMPOSSIBLE_SHARE
    at = rng.integers(0, rows.shape[1], int(chosen.sum()))
    rows[np.flatnonzero(chosen), at, field] = _edges(rng, low, high, (int(chosen.sum()),))
    return chosen


def _spoil_fixes(rng: np.random.Generator, rows: Ints, layout: Layout) -> npt.NDArray[np.bool_]:
    lat, lon = _place(layout, "lat_e7"), _place(layout, "lon_e7")
    nowhere = (rows[:, :, lat] == 0) & (rows[:, :, lon] == 0)
    rows[:, :, lat][nowhere] = 1
    impossible = _spoil(rng, rows, lat, LAT[1] + 1, 2**31 - 1)
    impossible |= _spoil(rng, rows, lon, -(2**31), LON[0] - 1)
    impossible |= _spoil(rng, rows, _place(layout, "heading_cdeg"), 36_000, 65_534)
    impossible |= _spoil(rng, rows, _place(layout, "battery_pct"), 101, 254)
    return impossible | _spoil(rng, rows, _place(layout, "accuracy_dm"), 0, 0)


def request(drawn: Drawn) -> bytes:
    """What makes the C program encode the frames."""
    frames, count, fields = drawn.rows.shape
    row: list[Any] = [("numbers", "<i8", (fields,))]
    if drawn.kind is Kind.COMMAND:
        row.append(("text", "V64"))
    dtype = np.dtype([*_REQUEST, *_HEADER, ("rows", np.dtype(row), (count,))])
    asked = np.zeros(frames, dtype)
    asked["q"], asked["kind"], asked["count"] = b"W", drawn.kind, count
    asked["boot"], asked["sequence"], asked["time_ms"] = drawn.boot, drawn.sequence, drawn.time_ms
    asked["rows"]["numbers"] = drawn.rows
    if drawn.kind is Kind.COMMAND:
        asked["rows"]["text"] = drawn.texts.view("V64")
    return asked.tobytes()


def ask(program: Path, questions: bytes) -> bytes:
    """Run the C program over questions."""
    done = subprocess.run(
        [str(program), DEVICE, KEY.hex()], input=questions, capture_output=True, check=False
    )
    if done.returncode:
        raise DisagreementError(
            f"the C program ended with {done.returncode}: {done.stderr[:2000]!r}"
        )
    return done.stdout


def sealed_frames(answer: bytes, frames: int) -> list[bytes]:
    """The frames of an answer to `request`."""
    sealed, at = [], 0
    for _ in range(frames):
        size = int.from_bytes(answer[at : at + 4], "little")
        sealed.append(answer[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(answer):
        raise DisagreementError(f"{len(answer) - at} bytes after the last frame")
    return sealed


# --- the server reads what the device wrote -------------------------------------------------------


def _same(what: str, mine: Any, theirs: Any, frames: list[bytes], owner: Ints) -> None:
    different = np.flatnonzero(np.asarray(mine) != np.asarray(theirs))
    if len(different):
        at = int(different[0])
        raise DisagreementError(
            f"{what}: {np.asarray(mine)[at]} here, {np.asarray(theirs)[at]} drawn;"
            f" frame {frames[int(owner[at])].hex()}"
        )


def check_written(drawn: Drawn, frames: list[bytes]) -> None:
    """Compare what comes out of the server's decoders with what was drawn."""
    tagger = Tagger(DEVICE, KEY)
    for frame in frames:
        if not frame or not tagger.valid(frame):
            raise DisagreementError(f"refused, or a wrong tag: {frame.hex()}")
    if drawn.kind in (Kind.ACK, Kind.COMMAND):
        _check_server_kind(drawn, frames)
        return
    lengths = np.array([len(frame) for frame in frames], dtype=np.int64)
    batch = decode_batch(b"".join(frames), np.cumsum(lengths) - lengths, lengths)
    every = np.arange(len(frames))
    wanted = np.where(drawn.impossible, FAULT_NUMBER[Fault.IMPOSSIBLE_VALUE], 0)
    _same("fault", batch.fault, wanted, frames, every)
    columns = {Kind.FIX: batch.fixes, Kind.EVENT: batch.events, Kind.STATUS: batch.status}
    _check_columns(drawn, columns[drawn.kind], frames)


def _check_columns(drawn: Drawn, columns: Any, frames: list[bytes]) -> None:
    sound = np.flatnonzero(~drawn.impossible)
    count = drawn.rows.shape[1]
    owner = np.repeat(sound, count)
    rows = drawn.rows[sound].reshape(len(owner), -1).copy()
    names = [field.name for field in RECORDS[drawn.kind].fields]
    if drawn.kind is Kind.EVENT:
        # An event without a position is read as being nowhere, not refused (FC-045).
        accuracy, lat, lon = (
            names.index("accuracy_dm"),
            names.index("lat_e7"),
            names.index("lon_e7"),
        )
        none = (rows[:, accuracy] == U16_UNKNOWN) | ((rows[:, lat] == 0) & (rows[:, lon] == 0))
        rows[none, accuracy] = U16_UNKNOWN
        rows[np.ix_(none, [lat, lon])] = 0
        rows[none, names.index("mechanism")] = Mechanism.UNKNOWN
    _same("frame", columns.frame, owner, frames, owner)
    _same("boot", columns.boot, drawn.boot[owner], frames, owner)
    _same("sequence", columns.sequence, drawn.sequence[owner], frames, owner)
    time_ms = drawn.time_ms[owner] + rows[:, 0]
    _same("time_ms", columns.time_ms, time_ms, frames, owner)
    for place, name in enumerate(names):
        if name not in ("time_offset_ms", "reserved"):
            _same(name, getattr(columns, name), rows[:, place], frames, owner)


def _check_server_kind(drawn: Drawn, frames: list[bytes]) -> None:
    for number, frame in enumerate(frames):
        header = read_header(frame)
        head = (header.boot, header.sequence, header.device_time_ms)
        mine: list[tuple[Any, ...]]
        theirs = [tuple(row) for row in drawn.rows[number].tolist()]
        if drawn.kind is Kind.ACK:
            mine = [tuple(ack) for ack in decode_acks(frame)]
        else:
            mine = [tuple(one) for one in decode_commands(frame)]
            texts = [text.decode() for text in drawn.texts[number].tolist()]
            theirs = [(*row, text) for row, text in zip(theirs, texts, strict=True)]
        if head != (drawn.boot[number], drawn.sequence[number], drawn.time_ms[number]):
            raise DisagreementError(f"header {head}: {frame.hex()}")
        if mine != theirs:
            raise DisagreementError(f"{mine} here, {theirs} drawn: {frame.hex()}")


# --- both read the same, damaged or not -----------------------------------------------------------


def damage(rng: np.random.Generator, frame: bytes) -> bytes:
    """Spoil a frame: bytes of its header or anywhere, cut or lengthened."""
    raw = bytearray(frame)
    kind = int(rng.integers(0, 5))
    if kind == 0:
        raw[int(rng.integers(0, 8))] = int(rng.choice([0, 1, 2, 3, 64, 65, 255]))
    elif kind == 1:
        raw[int(rng.integers(0, len(raw)))] ^= 1 << int(rng.integers(0, 8))
    elif kind == 2:
        del raw[int(rng.integers(0, len(raw))) :]
    elif kind == 3:
        raw += rng.bytes(int(rng.integers(1, 40)))
    else:
        raw[3] = int(rng.integers(1, 256))  # a newer minor
    return bytes(raw)


def _record_dtype(kind: Kind) -> np.dtype[np.void]:
    fields = [field.name for field in RECORDS[kind].fields if field.low is not None]
    row: list[Any] = [("fault", "u1"), ("numbers", "<i8", (len(fields),))]
    if kind is Kind.COMMAND:
        row.append(("text", "V64"))
    return np.dtype(row)


def _expected(frame: bytes, tagger: Tagger) -> tuple[str, bool]:
    try:
        read_header(frame)
    except FrameError as error:
        return error.fault.value, False
    return "", tagger.valid(frame)


def _records_refused(kind: Kind, frame: bytes) -> bool:
    """Tell whether the device side here refuses a frame of the server for its values."""
    try:
        (decode_acks if kind is Kind.ACK else decode_commands)(frame)
    except FrameError:
        return True
    return False


def check_read(frames: list[bytes], answer: bytes) -> Counter[str]:
    """Compare what the C reader made of frames with our own readers; count the faults."""
    tagger = Tagger(DEVICE, KEY)
    faults: Counter[str] = Counter()
    at = 0
    for frame in frames:
        fault = fault_of(answer[at])
        named = fault.value if fault else ""
        faults[named] += 1
        if (named, bool(answer[at + 1])) != _expected(frame, tagger):
            raise DisagreementError(f"{named!r}, tag {answer[at + 1]}: {frame.hex()}")
        at += 2
        if not named:
            at = _check_rows(frame, answer, at)
    if at != len(answer):
        raise DisagreementError(f"{len(answer) - at} bytes after the last answer")
    return faults


def _check_rows(frame: bytes, answer: bytes, at: int) -> int:
    head = np.frombuffer(answer, _READ_HEADER, 1, at)[0]
    header = read_header(frame)
    mine = [header.kind, header.minor, header.flags, header.record_bytes, header.count]
    mine += [header.boot, header.sequence, header.device_time_ms]
    if mine != list(head.tolist()):
        raise DisagreementError(f"header {head}: {frame.hex()}")
    at += _READ_HEADER.itemsize
    dtype = _record_dtype(header.kind)
    theirs = np.frombuffer(answer, dtype, header.count, at)
    ours = _own_rows(frame, header.kind, header.count, header.record_bytes)
    if not np.array_equal(theirs["numbers"], ours):
        raise DisagreementError(f"values {theirs['numbers'].tolist()}: {frame.hex()}")
    if header.kind in (Kind.ACK, Kind.COMMAND):
        if bool(theirs["fault"].any()) != _records_refused(header.kind, frame):
            raise DisagreementError(f"faults {theirs['fault'].tolist()}: {frame.hex()}")
    elif theirs["fault"].any():
        raise DisagreementError(f"faults {theirs['fault'].tolist()}: {frame.hex()}")
    return at + theirs.nbytes


def _own_rows(frame: bytes, kind: Kind, count: int, record_bytes: int) -> Ints:
    """The numbers of a frame read by the table's struct, one record after the other."""
    layout = struct_of(kind)
    rows = [
        [
            value & 0xFFFF_FFFF_FFFF_FFFF  # the C side shows a u64 as the i64 of the same bits
            for value in layout.unpack_from(frame, HEADER_BYTES + place * record_bytes)
            if isinstance(value, int)
        ]
        for place in range(count)
    ]
    return np.array(rows, dtype=np.uint64).view(np.int64)


# --- the run --------------------------------------------------------------------------------------


def chunks(rng: np.random.Generator, frames: int, chunk: int) -> Iterator[Drawn]:
    """Draw so many frames, of every kind in turn and of counts from 1 to 64."""
    kinds = list(Kind)
    turn = 0
    while frames > 0:
        kind = kinds[turn % len(kinds)]
        fits = (FRAME_BYTES_MAX - HEADER_BYTES - TAG_BYTES) // RECORDS[kind].bytes
        count = min(int(COUNTS[turn // len(kinds) % len(COUNTS)]), fits)
        size = min(frames, max(1, chunk // count))
        yield draw(rng, kind, size, count)
        frames -= size
        turn += 1


def agree(program: Path, frames: int, seed: int, chunk: int = CHUNK) -> Counter[str]:
    """Compare so many frames both ways; return how many had which fault. Raises DisagreementError.

    `chunk` = records that go through one run of the program.
    """
    rng = np.random.default_rng(seed)
    faults: Counter[str] = Counter()
    for drawn in chunks(rng, frames, chunk):
        written = sealed_frames(ask(program, request(drawn)), len(drawn.rows))
        check_written(drawn, written)
        read = [
            damage(rng, frame) if chance < DAMAGED_SHARE else frame
            for frame, chance in zip(written, rng.random(len(written)).tolist(), strict=True)
        ]
        questions = b"".join(b"R" + len(one).to_bytes(4, "little") + one for one in read)
        faults += check_read(read, ask(program, questions))
    return faults


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 when the two sides differ."""
    parser = common.parser("kit", "The C kit and the server's decoder agree on random frames.")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sanitize", action="store_true", help="address and undefined behaviour")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="afstand-kit-") as folder:
        flags = ("-O2", *SANITIZERS) if options.sanitize else ("-O2",)
        program = build(Path(folder) / "agree", HOST / "agree.c", flags=flags)
        began = time.perf_counter()
        try:
            faults = agree(program, options.frames, options.seed)
        except DisagreementError as error:
            print(f"DISAGREEMENT: {error}")
            return 1
        elapsed_s = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "frames": float(options.frames),
        "disagreements": 0.0,
        "frames_refused": float(sum(faults.values()) - faults[""]),
        "c_us_per_frame": 1e6 * (used.ru_utime + used.ru_stime) / (2 * options.frames),
        "elapsed_s": elapsed_s,
    }
    rows = [{"reason": name or "sound", "frames": number} for name, number in faults.most_common()]
    common.report("kit", figures, rows, None, options, seed=str(options.seed))
    return 0
