"""The C header as a firmware uses it: compiled, fed with frames, its own frames read here."""

import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from firmware_contracts import (
    FAULT_NUMBER,
    Fault,
    FrameError,
    Kind,
    Tagger,
    decode_acks,
    decode_commands,
    encode_ack,
    encode_command,
    encode_event,
    encode_fixes,
    encode_status,
    fault_of,
    fix_records,
    read_header,
)
from firmware_contracts.batch import decode_batch
from simulators.firmware import SANITIZERS, build
from tests.firmware_contracts.samples import (
    ACK,
    COMMAND,
    DEVICE,
    EVENT,
    FIX,
    KEY,
    NOW_MS,
    RECORD,
    SOUND,
    SOUND_FIX,
    STATUS,
    frame,
    joined,
    replaced,
)
from tests.firmware_contracts.test_frames import RFC_4493_KEY, RFC_4493_MESSAGE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]

HERE = Path(__file__).parent
INCLUDE = HERE.parent.parent / "firmware_contracts" / "include"
STRICT = (
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pedantic",
    "-Wconversion",
    "-Wshadow",
    "-I",
    str(INCLUDE),
)
KINDS = (FIX, EVENT, STATUS, ACK, COMMAND)
WIDTHS = {"B": (0, 2**8), "H": (0, 2**16), "I": (0, 2**32), "Q": (0, 2**63)}
WIDTHS |= {"h": (-(2**15), 2**15), "i": (-(2**31), 2**31)}

Exchange = Callable[..., list[str]]


def compiled(program: Path, source: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("gcc") or "gcc", *flags, "-o", str(program), source]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory) -> Exchange:
    """The compiled program as a function from lines to lines."""
    program = build(
        tmp_path_factory.mktemp("c") / "exchange", HERE / "exchange.c", flags=("-O1", *SANITIZERS)
    )

    def run(lines: list[str], *, device: str = DEVICE, key: bytes = KEY) -> list[str]:
        done = subprocess.run(
            [str(program), device, key.hex()], input="\n".join(lines) + "\n",
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answers = done.stdout.splitlines()
        assert len(answers) == len(lines)
        return answers

    return run


@pytest.mark.parametrize("standard", ["c99", "c11", "gnu17"])
@pytest.mark.parametrize("optimisation", ["-O0", "-O3"])
def test_the_header_compiles_without_a_warning(tmp_path, standard, optimisation):
    source = tmp_path / "alone.c"
    source.write_text('#include "afstand_v1.h"\nint main(void) { return 0; }\n')
    done = compiled(tmp_path / "alone", str(source), f"-std={standard}", optimisation, *STRICT)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_examples_of_the_device_makers_page_compile(tmp_path):
    page = (INCLUDE.parent.parent / "docs" / "device-makers" / "README.md").read_text()
    examples = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for number, example in enumerate(examples):
        source = tmp_path / f"example{number}.c"
        source.write_text(example)
        done = compiled(tmp_path / "example.o", str(source), "-std=c99", "-c", *STRICT)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_packed_structs_are_the_wire(tmp_path):
    """FC-002: on this processor, when it is little-endian, a struct in memory is a record."""
    rows = "\n".join(
        f"afs1_{name}_t {name}; memset(&{name}, 0x5a, sizeof {name});"
        f" afs1_put_{name}(wire, &{name});"
        f" if (sizeof {name} != AFS1_{name.upper()}_BYTES || memcmp(wire, &{name}, sizeof {name}))"
        f" return 1;"
        for name in ("fix", "event", "status", "ack", "command", "header")
    )
    source = tmp_path / "packed.c"
    source.write_text(
        '#include "afstand_v1.h"\nint main(void) { uint8_t wire[128];'
        f" const uint16_t one = 1; if (!*(const uint8_t *)&one) return 0;\n{rows}\nreturn 0; }}\n"
    )
    done = compiled(tmp_path / "packed", str(source), "-std=c99", *STRICT)
    assert (done.returncode, done.stderr) == (0, "")
    assert subprocess.run([str(tmp_path / "packed")], check=False).returncode == 0


def test_the_kits_cmac_is_that_of_rfc_4493(exchange):
    """FC-020: so that what follows compares two implementations."""
    sizes = (0, 16, 40, 64)
    lines = [f"cmac {RFC_4493_MESSAGE[:size].hex()}" for size in sizes]
    assert exchange(lines, key=RFC_4493_KEY) == [
        "bb1d6929e95937287fa37d129b756746",
        "070a16b46b4d4144f79bdd9dd04a287c",
        "dfa66747de9ae63030ca32611497c827",
        "51f0bebf7e3b9d92fc49741779363cfe",
    ]


def test_the_kits_aes_is_that_of_fips_197_and_of_another_implementation(exchange, seed):
    """FC-020: the standard's example, and random blocks against the library of the server."""
    example = bytes.fromhex("00112233445566778899aabbccddeeff")
    (answer,) = exchange([f"aes {example.hex()}"], key=bytes(range(16)))
    assert answer == "69c4e0d86a7b0430d8cdb78070b4c55a"
    generator = random.Random(seed)
    for _ in range(10):
        key, blocks = generator.randbytes(16), [generator.randbytes(16) for _ in range(50)]
        encryptor = Cipher(AES(key), ECB()).encryptor()
        wanted = [encryptor.update(block).hex() for block in blocks]
        assert exchange([f"aes {block.hex()}" for block in blocks], key=key) == wanted


def drawn(generator: random.Random, code: str) -> int:
    low, end = WIDTHS[code]
    return generator.choice([low, end - 1, generator.randrange(low, end)])


def drawn_row(generator: random.Random, kind: int) -> tuple[Any, ...]:
    if kind == COMMAND:
        numbers = [drawn(generator, code) for code in "IQBII"]
        return (generator.randrange(1, 2**31), *numbers[1:], generator.randbytes(64))
    row = [drawn(generator, code) for code in RECORD[kind][1:]]
    return (row[0], *sorted(row[1:])) if kind == ACK else tuple(row)


def shown(kind: int, rows: list[tuple[Any, ...]]) -> list[str]:
    """How the program shows records."""
    return [
        " ".join(value.hex() if isinstance(value, bytes) else str(value) for value in row)
        for row in rows
    ]


def test_what_the_server_writes_a_firmware_reads(exchange, seed):
    """FC-001, FC-002, FC-020: our own encoders, every kind, many counts and values."""
    generator = random.Random(seed)
    frames, wanted = [], []
    for number in range(1, 400):
        kind = KINDS[number % 5]
        rows = [drawn_row(generator, kind) for _ in range(generator.choice([1, 1, 2, 64]))]
        if kind in (EVENT, STATUS):
            rows = rows[:1]
        if kind == COMMAND:
            rows = [replaced(rows[0], p5=b"naar huis".ljust(64, b"\0"))]
        common = {"boot": drawn(generator, "I"), "sequence": number, "device_time_ms": NOW_MS}
        frames.append(written_here(kind, rows, common))
        head = [kind, 0, int(kind in (ACK, COMMAND)), len(rows)]
        head += [0 if kind in (ACK, COMMAND) else common["boot"], number, NOW_MS]
        wanted.append(" | ".join(["0 1 " + " ".join(map(str, head)), *shown(kind, rows)]))
    assert exchange([f"read {raw.hex()}" for raw in frames]) == wanted


def written_here(kind: int, rows: list[tuple[Any, ...]], common: dict[str, int]) -> bytes:
    if kind == FIX:
        records = fix_records(len(rows))
        for place, name in enumerate(records.dtype.names or ()):
            records[name] = [row[place] for row in rows]
        return encode_fixes(DEVICE, KEY, records=records, **common)
    row = rows[0]
    names: tuple[str, ...]
    server = {"sequence": common["sequence"], "server_time_ms": common["device_time_ms"]}
    if kind == ACK:
        return encode_ack(DEVICE, KEY, records=rows, **server)
    if kind == COMMAND:
        names = ("command_id", "expires_ms", "code", "arg1", "arg2")
        values = dict(zip(names, row, strict=False))
        return encode_command(DEVICE, KEY, **values, text="naar huis", **server)
    if kind == EVENT:
        names = ("time_offset_ms", "code", "value", "lat_e7", "lon_e7", "accuracy_dm", "mechanism")
        raw = encode_event(DEVICE, KEY, **dict(zip(names, row, strict=False)), **common)
        # Our encoder writes the reserved byte as zero; the row has any.
        body = raw[:-17] + bytes([row[7]])
        return body + Tagger(DEVICE, KEY).tag(body)
    names = (
        "time_offset_ms", "uptime_s", "firmware", "stored_frames", "interval_moving_s",
        "interval_rest_s", "battery_mv", "signal_dbm", "battery_pct", "network", "reason",
        "status_flags",
    )  # fmt: skip
    return encode_status(DEVICE, KEY, **dict(zip(names, row, strict=True)), **common)


def test_what_a_firmware_writes_the_server_reads(exchange, seed):
    """FC-001, FC-002, FC-010, FC-020: equal to the bytes of the specification, and read back."""
    generator = random.Random(seed + 1)
    lines, wanted = [], []
    for number in range(1, 400):
        kind = KINDS[number % 5]
        rows = [drawn_row(generator, kind) for _ in range(generator.choice([1, 2, 20]))]
        boot, time_ms = drawn(generator, "I"), drawn(generator, "Q")
        values = " ".join(shown(kind, rows))
        lines.append(f"write {kind} {boot} {number} {time_ms} {len(rows)} {values}")
        wanted.append(frame(kind, rows, boot=boot, sequence=number, time_ms=time_ms))
    answers = [bytes.fromhex(answer) for answer in exchange(lines)]
    assert answers == wanted
    tagger = Tagger(DEVICE, KEY)
    for raw in answers:
        assert tagger.valid(raw)
        read_header(raw)


def test_sound_fixes_of_a_firmware_come_out_as_they_went_in(exchange, seed):
    generator = random.Random(seed + 2)
    rows = [
        replaced(
            SOUND_FIX,
            p1=generator.randrange(-900_000_000, 900_000_001),
            p2=generator.randrange(1, 1_800_000_001),
            p4=generator.randrange(65_536),
        )
        for _ in range(300)
    ]
    lines = [
        f"write 1 9 {number} {NOW_MS} 1 {values}"
        for number, values in enumerate(shown(FIX, rows), 1)
    ]
    batch = decode_batch(*joined([bytes.fromhex(answer) for answer in exchange(lines)]))
    assert not batch.fault.any()
    columns = (batch.fixes.lat_e7, batch.fixes.lon_e7, batch.fixes.speed_cm_s)
    assert np.array(columns).T.tolist() == [[row[1], row[2], row[4]] for row in rows]
    assert batch.fixes.sequence.tolist() == list(range(1, 301))


def test_both_readers_refuse_the_same_frames_for_the_same_reason(exchange, seed):
    """FC-001 to FC-010: on frames damaged anywhere in the header, cut or lengthened."""
    generator = random.Random(seed + 3)
    frames = [b"", bytes(48), bytes(4097), frame(minor=1, tail=b"\1\2")]
    for number in range(3000):
        kind = KINDS[number % 5]
        tail = generator.randbytes(generator.choice([0, 0, 3]))
        raw = bytearray(
            frame(kind, [SOUND[kind]] * 3, minor=generator.choice([0, 1, 9]), tail=tail)
        )
        for _ in range(generator.choice([0, 1, 1, 2])):
            raw[generator.randrange(32)] = generator.choice(
                [0, 1, 2, 64, 65, generator.randrange(256)]
            )
        if generator.random() < 0.3:
            cut = generator.random() < 0.5
            raw = raw[: generator.randrange(len(raw))] if cut else raw + bytearray(b"!")
        frames.append(bytes(raw))
    answers = exchange([f"read {raw.hex()}" for raw in frames])
    reasons = set()
    tagger = Tagger(DEVICE, KEY)
    for sent, answer in zip(frames, answers, strict=True):
        fault, valid = (int(word) for word in answer.split()[:2])
        reasons.add(fault_of(fault))
        if fault:
            with pytest.raises(FrameError, match=f"^{fault_of(fault)}:"):
                read_header(sent)
        else:
            assert answer.count("|") == read_header(sent).count
            assert valid == tagger.valid(sent)
    assert reasons == {
        None, Fault.TRUNCATED, Fault.OVERSIZED, Fault.BAD_MAGIC, Fault.UNKNOWN_VERSION,
        Fault.UNKNOWN_KIND, Fault.WRONG_DIRECTION, Fault.BAD_COUNT, Fault.BAD_LENGTH,
    }  # fmt: skip


def test_a_firmware_refuses_what_the_server_must_not_send(exchange):
    """FC-062, FC-085: as our own device side does."""
    frames = [
        frame(ACK, [(1, 9, 8)]),
        frame(COMMAND, [replaced(SOUND[COMMAND], p0=0)]),
        frame(COMMAND, [replaced(SOUND[COMMAND], p0=2**31)]),
    ]
    for raw, answer in zip(frames, exchange([f"read {raw.hex()}" for raw in frames]), strict=True):
        assert answer.endswith(f"fault {FAULT_NUMBER[Fault.IMPOSSIBLE_VALUE]}")
        read = decode_acks if raw[4] == ACK else decode_commands
        with pytest.raises(FrameError, match=Fault.IMPOSSIBLE_VALUE.value):
            read(raw)


def test_a_firmware_believes_no_other_tag(exchange):
    """FC-021, FC-023, FC-024: another device's, another key's, a reflected frame, a flipped bit."""
    good = frame(ACK)
    flipped = good[:40] + bytes([good[40] ^ 1]) + good[41:]
    mine = frame(EVENT)
    reflected = mine[:5] + b"\1" + mine[6:]
    frames = [good, frame(ACK, device="other"), frame(ACK, key=bytes(16)), flipped, reflected]
    answers = exchange([f"read {raw.hex()}" for raw in frames])
    verdicts = [answer.split()[:2] for answer in answers]
    direction = str(FAULT_NUMBER[Fault.WRONG_DIRECTION])
    assert verdicts == [["0", "1"], ["0", "0"], ["0", "0"], ["0", "0"], [direction, "0"]]


def test_a_firmware_cannot_write_what_cannot_be_sent(exchange):
    """FC-007, FC-032: no record, too many, or sequence 0 outside a last will."""
    row = {kind: shown(kind, [SOUND_OF_C[kind]])[0] for kind in KINDS}
    refused = [
        f"write 1 1 0 {NOW_MS} 1 {row[FIX]}",
        f"write 2 1 0 {NOW_MS} 1 {row[EVENT]}",
        f"write 1 1 1 {NOW_MS} 0",
        f"write 1 1 1 {NOW_MS} 65 " + " ".join([row[FIX]] * 65),
    ]
    assert exchange(refused) == ["-"] * 4
    (will,) = exchange([f"write 3 1 0 {NOW_MS} 1 {row[STATUS]}"])
    assert read_header(bytes.fromhex(will)).kind is Kind.STATUS


SOUND_OF_C = {
    kind: struct.unpack(RECORD[kind], struct.pack(RECORD[kind], *SOUND[kind])) for kind in KINDS
}


def test_what_an_ack_covers(exchange):
    """FC-062: the frames of its boot from first to last, both included, and no other."""
    questions = [(3, 1, 9, boot, sequence) for boot in (2, 3, 4) for sequence in (0, 1, 5, 9, 10)]
    answers = exchange([f"covers {' '.join(map(str, question))}" for question in questions])
    wanted = [boot == 3 and 1 <= sequence <= 9 for *_, boot, sequence in questions]
    assert [answer == "1" for answer in answers] == wanted
