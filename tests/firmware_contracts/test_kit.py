"""The C kit as a firmware builds it: AES and CMAC, the ring, acks, commands; always sanitized."""

import random
import re
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.kit import DisagreementError, agree
from firmware_contracts import (
    CommandCode,
    EventCode,
    Kind,
    encode_ack,
    encode_command,
    encode_fixes,
    fix_records,
    read_header,
)
from firmware_contracts.frames import Tagger
from firmware_contracts.keys import derive_key
from firmware_contracts.table import HEADER_BYTES, struct_of
from simulators import firmware
from simulators.bench_device import BenchDevice
from simulators.firmware import HOST, INCLUDE, SANITIZERS, SOURCES, BuildError, build
from simulators.happenings import DeviceSpec
from simulators.host_device import HostDevice, Said
from tests.firmware_contracts.samples import COMMAND as COMMAND_KIND
from tests.firmware_contracts.samples import SOUND_COMMAND, cmac, frame, replaced, rfc_4493

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]

DEVICE, KEY = "kit-7", bytes(range(100, 116))
T0 = 1_760_000_000_000
SANITIZED = ("-O1", *SANITIZERS)


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kit")
    sources = {"agree": HOST / "agree.c", "device": HOST / "device.c"}
    return {name: build(folder / name, source, flags=SANITIZED) for name, source in sources.items()}


# --- what it is made of ---------------------------------------------------------------------------


@pytest.mark.parametrize("standard", ["-std=c99", "-std=gnu17"])
@pytest.mark.parametrize("optimisation", ["-O0", "-Os", "-O3"])
def test_the_kit_compiles_without_a_warning_or_a_floating_point_register(
    tmp_path, standard, optimisation
):
    for source in firmware.kit_sources():
        command = [firmware.compiler(), *firmware.STRICT, standard, optimisation, "-c"]
        command += ["-mgeneral-regs-only"] if firmware_has_general_regs() else []
        command += ["-I", str(INCLUDE), "-o", str(tmp_path / "o"), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def firmware_has_general_regs() -> bool:
    """Whether this processor's gcc can forbid floating point (x86 and arm64 can)."""
    probe = [firmware.compiler(), "-mgeneral-regs-only", "-E", "-x", "c", "/dev/null"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def test_the_kit_needs_nothing_but_string_h(tmp_path):
    """No allocation, no standard I/O: the only names from outside are those of <string.h>."""
    outside = set()
    for source in firmware.kit_sources():
        object_file = tmp_path / f"{source.stem}.o"
        command = [firmware.compiler(), "-std=c99", "-O2", "-fno-stack-protector", "-c"]
        subprocess.run(
            [*command, "-I", str(INCLUDE), "-o", str(object_file), str(source)], check=True
        )
        listed = subprocess.run(
            ["nm", "-u", str(object_file)], capture_output=True, text=True, check=True
        )
        outside |= set(re.findall(r"U (\w+)", listed.stdout))
    assert {name for name in outside if not name.startswith("afs")} <= {
        "memcpy", "memset", "memmove", "strlen", "_GLOBAL_OFFSET_TABLE_",
    }  # fmt: skip
    for path in [*firmware.kit_sources(), *INCLUDE.glob("*.h")]:
        code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"\b(float|double|malloc|calloc|free|alloca)\b", code), path


def test_a_build_that_fails_says_why(tmp_path):
    bad = tmp_path / "bad.c"
    bad.write_text("int main(void) { int unused; return 0; }\n")
    with pytest.raises(BuildError, match="unused"):
        build(tmp_path / "bad", bad)


# --- agreement with the server --------------------------------------------------------------------


def test_encoder_and_decoder_agree_on_random_frames(programs):
    """FC-001 to FC-010, FC-020, FC-021, FC-034 to FC-047, FC-062, FC-084, FC-085.

    `python -m benchmarks kit` does a million.
    """
    faults = agree(programs["agree"], 24_000, seed=20_260_731, chunk=400)
    assert sum(faults.values()) == 24_000
    assert set(faults) == {
        "", "truncated", "bad-magic", "unknown-version", "unknown-kind", "bad-count",
        "bad-length", "wrong-direction",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("include/afstand_v1.h", "(uint64_t)in->lat_e7, 4u", "(uint64_t)in->lon_e7, 4u"),
        ("include/afstand_v1.h", "header.sequence = sequence;", "header.sequence = sequence + 1u;"),
        ("include/afstand_v1.h", "header->count > AFS1_RECORDS_MAX", "header->count > 65u"),
        ("c/afstand_cmac.c", "carry * 0x87u", "carry * 0x86u"),
        ("include/afstand_v1.h", "letter <= 0xdfffu", "letter <= 0xdffeu"),
        ("include/afstand_v1.h", "(more == 2 && letter < 0x800u)", "(more == 2 && letter < 0u)"),
    ],
)
def test_one_wrong_line_is_found(tmp_path, monkeypatch, file, right, wrong):
    """The comparison can fail: each of these changes makes it."""
    shutil.copytree(
        SOURCES.parent, tmp_path / "kit", ignore=shutil.ignore_patterns("*.py", "golden")
    )
    spoilt = tmp_path / "kit" / file
    text = spoilt.read_text()
    assert right in text
    spoilt.write_text(text.replace(right, wrong))
    monkeypatch.setattr(firmware, "INCLUDE", tmp_path / "kit" / "include")
    monkeypatch.setattr(firmware, "SOURCES", tmp_path / "kit" / "c")
    monkeypatch.setattr(firmware, "STRICT", ("-std=c99",))
    program = build(tmp_path / "agree", HOST / "agree.c")
    if "letter" in right:
        texts_are_judged_alike(program, expect_difference=True)
        return
    with pytest.raises(DisagreementError):
        agree(program, 24_000, seed=3, chunk=400)


UTF8 = [
    b"", b"a", "é".encode(), "€".encode(), "\U0001f6a8".encode(), "\U0010ffff".encode(), b"\x7f",
    b"\x80", b"\xc3", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80",
    b"\xed\xbf\xbf", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xe2\x82", b"\xe2\x28\xa1", b"a\x00\xff",
    b"x" * 64, b"x" * 63 + b"\xc3", b"x" * 62 + "é".encode(), b"\xc3\xa9\xa9", b"\xef\xbf\xbf",
]  # fmt: skip


def texts_are_judged_alike(program: Path, *, expect_difference: bool = False) -> None:
    from benchmarks.kit import DEVICE as NAME
    from benchmarks.kit import KEY as OF_NAME
    from benchmarks.kit import ask, check_read

    generator = random.Random(5)
    texts = [*UTF8, *[generator.randbytes(generator.randrange(5)) for _ in range(3000)]]
    frames = [
        frame(COMMAND_KIND, [replaced(SOUND_COMMAND, p5=text)], device=NAME, key=OF_NAME)
        for text in texts
    ]
    questions = b"".join(b"R" + len(one).to_bytes(4, "little") + one for one in frames)
    answer = ask(program, questions)
    if expect_difference:
        with pytest.raises(DisagreementError):
            check_read(frames, answer)
    else:
        check_read(frames, answer)


def test_both_readers_judge_a_text_alike(programs):
    """FC-084: UTF-8 and nothing else, up to the first zero byte."""
    texts_are_judged_alike(programs["agree"])


# --- the device -----------------------------------------------------------------------------------


class Bench:
    """The host program with a clock, and all that it ever published."""

    def __init__(self, program: Path, **options) -> None:
        self.device = HostDevice(program, DEVICE, KEY, **options)
        self.tick_ms, self.unix_ms = 1_000, T0
        self.sent: list[bytes] = []
        self.will = self.device.first.will
        self.say(f"at {self.tick_ms} {self.unix_ms}")

    def say(self, line: str) -> Said:
        said = self.device.say(line)
        for topic, payload in said.frames:
            header = read_header(payload)
            assert topic == f"em/{DEVICE}/{header.kind.name.lower()}"
            assert Tagger(DEVICE, KEY).valid(payload)
            self.sent.append(payload)
        self.will = said.will or self.will
        return said

    def wait(self, ms: int) -> Said:
        self.tick_ms += ms
        self.unix_ms += ms if self.unix_ms else 0
        return self.say(f"at {self.tick_ms} {self.unix_ms}")

    def ack(self, *records, key=KEY) -> Said:
        return self.say("in " + encode_ack(DEVICE, key, records=records).hex())

    def command(self, command_id, code=CommandCode.VIBRATE, *, in_ms=60_000, **more) -> Said:
        raw = encode_command(
            DEVICE, KEY, command_id=command_id, expires_ms=T0 + in_ms, code=code, **more
        )
        return self.say("in " + raw.hex())


@pytest.fixture
def bench(programs):
    benches = []

    def made(**options) -> Bench:
        benches.append(Bench(programs["device"], **options))
        return benches[-1]

    yield made
    codes = [one.device.close() for one in benches]
    assert codes == [0] * len(codes)  # a sanitizer ends the program with another code


def key_of(payload: bytes) -> tuple[int, int]:
    header = read_header(payload)
    return header.boot, header.sequence


def events(said: Said) -> list[tuple[int, int]]:
    """Code and value of the events among the frames of an answer."""
    read = struct_of(Kind.EVENT)
    return [
        read.unpack_from(payload, HEADER_BYTES)[1:3]
        for _, payload in said.frames
        if read_header(payload).kind is Kind.EVENT
    ]


def test_sequences_rise_by_one_and_every_boot_is_larger(bench):
    """FC-030, FC-031."""
    one = bench()
    one.say("link up")
    for _ in range(3):
        one.say("fix 519225000 44791700 45")
        one.say("boot")
        one.say("link up")
    first_sent = list(dict.fromkeys(map(key_of, one.sent)))
    by_boot = {boot: sorted(s for b, s in first_sent if b == boot) for boot, _ in first_sent}
    assert list(by_boot) == [1, 2, 3, 4]
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_boot.values())


def test_the_last_will_is_a_status_of_sequence_0(bench):
    """FC-032, FC-052."""
    one = bench()
    one.say("link up")
    one.say("link down")
    topic, payload = one.will
    header = read_header(payload)
    assert (topic, header.kind, header.sequence) == (f"em/{DEVICE}/status", Kind.STATUS, 0)
    assert struct_of(Kind.STATUS).unpack_from(payload, HEADER_BYTES)[10] == 3
    assert Tagger(DEVICE, KEY).valid(payload)


def test_nothing_is_forgotten_before_its_ack(bench, seed):
    """FC-060, FC-062: a random life against a plain set of what is owed."""
    generator = random.Random(seed)
    one = bench(slots=1000)
    acked: set[tuple[int, int]] = set()
    sealed: dict[tuple[int, int], bytes] = {}
    linked = False
    for _ in range(600):
        before = len(one.sent)
        chance = generator.random()
        if chance < 0.35:
            one.say(f"fix {generator.randrange(1, 10**8)} 44791700 45")
        elif chance < 0.5:
            one.say(f"press {generator.choice([1, 2, 7, 12])}")
        elif chance < 0.6:
            linked = not linked
            one.say(f"link {'up' if linked else 'down'}")
        elif chance < 0.63:
            one.say("boot")
            linked = False
        elif chance < 0.8:
            one.wait(generator.choice([10, 5_000, 31_000]))
        elif one.sent:
            boot, sequence = key_of(generator.choice(one.sent))
            newest = max(number for of, number in sealed if of == boot)
            last = min(sequence + generator.choice([0, 0, 5]), newest)
            one.ack((boot, sequence, last))
            acked |= {(boot, number) for number in range(sequence, last + 1)}
        for payload in one.sent[before:]:
            key = key_of(payload)
            assert sealed.setdefault(key, payload) == payload, "sent again, and not the same"
            assert key not in acked, "sent after its ack"
        assert linked or len(one.sent) == before or chance > 0.63
    one.say("link down")
    one.sent.clear()
    one.say("link up")
    answered = 0
    while answered < len(one.sent):  # each goes as soon as those before it are acked
        keys = [key_of(payload) for payload in one.sent[answered:]]
        answered = len(one.sent)
        one.ack(*[(boot, sequence, sequence) for boot, sequence in keys[:64]])
        one.wait(31_000)
    owed = {key for key in sealed if key not in acked}
    assert owed
    assert owed - set(map(key_of, one.sent)) == set()
    one.sent.clear()
    one.wait(61_000)
    assert [payload for payload in one.sent if key_of(payload) in sealed] == []


def test_what_no_ack_covers_goes_again_within_a_minute(bench):
    """FC-060: events sooner; without any help of the link."""
    one = bench()
    one.say("link up")
    one.say("fix 519225000 44791700 45")
    one.say("press 1")
    one.sent.clear()
    again: dict[Kind, list[int]] = {Kind.FIX: [], Kind.EVENT: []}
    first = one.tick_ms
    for _ in range(65):
        said = one.wait(1000)
        for _, payload in said.frames:
            header = read_header(payload)
            if header.kind in again and header.sequence <= 3:
                again[header.kind].append((one.tick_ms - first) // 1000)
    assert again[Kind.EVENT] == [10, 20, 30, 40, 50, 60]
    assert again[Kind.FIX] == [30, 60]


def test_events_go_before_the_fixes_that_wait_and_the_newest_fix_before_the_backlog(bench):
    """FC-065."""
    one = bench()
    for number in range(1, 40):
        one.say(f"fix {number} 44791700 45")
    one.say("press 7")
    one.say("press 1")
    said = one.say("link up")
    kinds = [read_header(payload).kind for _, payload in said.frames]
    numbers = [key_of(payload)[1] for _, payload in said.frames]
    assert kinds[:3] == [Kind.EVENT, Kind.EVENT, Kind.FIX]
    assert numbers[:5] == [40, 41, 39, 1, 2]
    assert len(said.frames) == 2 + 8  # the window bounds what is no event
    assert key_of(one.say("press 1").frames[0][1])[1] == 43  # and an event waits for no window


def test_a_full_memory_drops_the_oldest_fixes_and_never_an_event(bench, seed):
    """FC-064: what is dropped, in which order, and what is said of it."""
    generator = random.Random(seed)
    one = bench(slots=24)
    made: list[int] = []  # the latitudes of the fixes
    presses = 0
    for number in range(1, 200):
        if generator.random() < 0.06:
            one.say("press 7")
            presses += 1
        else:
            one.say(f"fix {number} 44791700 45")
            made.append(number)
    one.say("link up")
    for _ in range(30):
        one.wait(31_000)
    kept = {key_of(payload): payload for payload in one.sent if key_of(payload)[0] == 1}
    of_kind: dict[Kind, list[bytes]] = {kind: [] for kind in Kind}
    for _, payload in sorted(kept.items()):
        of_kind[read_header(payload).kind].append(payload)
    fixes = [struct_of(Kind.FIX).unpack_from(p, HEADER_BYTES)[1] for p in of_kind[Kind.FIX]]
    assert 0 < len(fixes) < len(made)
    assert fixes == made[-len(fixes) :]
    told = [struct_of(Kind.EVENT).unpack_from(p, HEADER_BYTES)[1:3] for p in of_kind[Kind.EVENT]]
    assert [code for code, _ in told].count(EventCode.BATTERY_LOW) == presses
    full = [value for code, value in told if code == EventCode.MEMORY_FULL]
    assert full
    assert full == sorted(full)
    assert all(value & (value - 1) == 0 for value in full)


def test_a_press_finds_room_when_everything_is_full_of_events(bench):
    """FC-070: slots that only PANIC and DURESS may fill."""
    one = bench(slots=8)
    for _ in range(20):
        one.say("press 7")
    one.say("press 1")
    one.say("press 12")
    said = one.say("link up")
    codes = Counter(code for code, _ in events(said))
    assert codes[EventCode.PANIC] == codes[EventCode.DURESS] == 1
    assert codes[EventCode.BATTERY_LOW] == 6


def test_a_press_needs_neither_clock_nor_position(bench):
    """FC-033, FC-070."""
    one = bench()
    one.unix_ms = 0
    one.wait(10)
    one.say("link up")
    said = one.say("press 1")
    (payload,) = [payload for _, payload in said.frames]
    assert read_header(payload).device_time_ms == 0
    assert events(said) == [(EventCode.PANIC, 0)]
    assert one.say("fix 519225000 44791700 45").frames == []  # a fix without a time helps nobody
    assert one.say("fix none").frames == []


def test_a_test_press_is_a_self_test_and_nothing_else_is(bench):
    """FC-071."""
    one = bench()
    one.say("link up")
    for code in EventCode:
        assert events(one.say(f"press {code.value}")) == [(code, 0)]


def test_commands_are_answered_once_each_and_again_when_they_come_again(bench):
    """FC-080, FC-081, FC-082, FC-083."""
    one = bench()
    one.say("link up")
    assert events(one.command(1)) == [(EventCode.COMMAND_DONE, 1)]
    shown = one.command(2, CommandCode.MESSAGE, text="Bel Ré")
    assert (events(shown), shown.shown) == ([(EventCode.COMMAND_DONE, 2)], ["Bel Ré"])
    again = one.command(2, CommandCode.MESSAGE, text="Bel Ré")
    assert (events(again), again.shown) == ([(EventCode.COMMAND_DONE, 2)], [])
    assert events(one.command(3, 200)) == [(EventCode.COMMAND_REFUSED, 3)]
    assert events(one.command(4, in_ms=-1)) == [(EventCode.COMMAND_EXPIRED, 4)]
    assert events(one.command(4, in_ms=-1)) == [(EventCode.COMMAND_EXPIRED, 4)]
    assert events(one.command(5, CommandCode.BURST, arg1=0, arg2=9)) == [
        (EventCode.COMMAND_REFUSED, 5)
    ]
    asked = one.command(6, CommandCode.FIX_NOW)
    assert (asked.wants_fix, events(asked)) == (True, [])
    assert events(one.command(6, CommandCode.FIX_NOW)) == []  # its answer is still to come
    assert events(one.say("fix 519225000 44791700 45")) == [(EventCode.COMMAND_DONE, 6)]
    assert events(one.command(7, CommandCode.FIX_NOW)) == []
    answers = [one.say("fix none") for _ in range(3)]
    assert [events(said) for said in answers] == [[], [], [(EventCode.COMMAND_REFUSED, 7)]]


def test_without_a_clock_no_command_is_carried_out(bench):
    """FC-081: nobody can tell whether its time is over."""
    one = bench()
    one.unix_ms = 0
    one.wait(10)
    one.say("link up")
    assert events(one.command(1)) == [(EventCode.COMMAND_REFUSED, 1)]


def test_what_is_not_the_servers_changes_nothing(bench):
    """FC-021, FC-023, FC-024: another key, a reflected frame, a broken one, one of two records."""
    one = bench()
    one.say("link up")
    one.say("press 1")
    mine = one.sent[-1]
    reflected = mine[:5] + b"\1" + mine[6:-16]
    records = fix_records(1)
    records["lat_e7"], records["accuracy_dm"] = 1, 1
    fix = encode_fixes(DEVICE, KEY, boot=1, sequence=9, device_time_ms=T0, records=records)
    bad_ack = frame(4, [(1, 0, 2**32 - 1), (1, 9, 8)], device=DEVICE, key=KEY)
    for raw in [
        encode_ack(DEVICE, bytes(16), records=[(1, 0, 99)]),
        encode_ack("kit-8", KEY, records=[(1, 0, 99)]),
        encode_ack(DEVICE, KEY, records=[(1, 0, 99)])[:-1],
        reflected + cmac(reflected, device=DEVICE, key=KEY),
        fix,
        bad_ack,
        b"",
        bytes(5000),
    ]:
        assert one.say("in " + raw.hex()).frames == []
    one.sent.clear()
    one.wait(10_000)
    assert mine in one.sent
    one.ack((1, 0, 99))
    one.sent.clear()
    one.wait(10_000)
    assert mine not in one.sent


# --- key generations ------------------------------------------------------------------------------

ROOT, NONCE = bytes(range(200, 216)), bytes(range(50, 66))


def generation_key(generation: int, nonce: bytes = NONCE) -> bytes:
    """FC-110, from its words alone, on the tests' own CMAC."""
    said = b"\x01afstand key\x00" + bytes([len(DEVICE)]) + DEVICE.encode()
    return rfc_4493(ROOT, said + struct.pack("<I", generation) + nonce + struct.pack("<H", 128))


def test_the_key_of_a_generation_is_the_one_that_is_specified(seed):
    """FC-110."""
    generator = random.Random(seed)
    for _ in range(50):
        generation, nonce = generator.randrange(1, 2**32), generator.randbytes(16)
        assert derive_key(ROOT, DEVICE, generation, nonce) == generation_key(generation, nonce)
    for wrong in [(ROOT[1:], DEVICE, 1, NONCE), (ROOT, "a/b", 1, NONCE), (ROOT, DEVICE, 0, NONCE),
                  (ROOT, DEVICE, 2**32, NONCE), (ROOT, DEVICE, 1, b"")]:  # fmt: skip
        with pytest.raises(ValueError, match=r"root key|generation"):
            derive_key(*wrong)


class Rekeyed:
    """A device on a bench, of C or the simulated one, and which key its frames are sealed with."""

    def __init__(self, device) -> None:
        self.device = device
        keys = {"first": KEY, "1": generation_key(1), "2": generation_key(2)}
        self.keys = {name: Tagger(DEVICE, key) for name, key in keys.items()}
        self.ids = 0
        self.device.say(f"at 1000 {T0}")
        self.device.say("link up")

    def sealed(self, said: Said) -> list[tuple[str, tuple[int, int] | None]]:
        """The key and, of an event, code and value, of every frame but status."""
        found: list[tuple[str, tuple[int, int] | None]] = []
        for _, payload in said.frames:
            if read_header(payload).kind is not Kind.STATUS:
                (name,) = [name for name, tagger in self.keys.items() if tagger.valid(payload)]
                event = next(iter(events(Said([("", payload)], None, False, []))), None)
                found.append((name, event))
        return found

    def key_command(self, generation: int, key: bytes = KEY, text: str = NONCE.hex()):
        self.ids += 1
        raw = encode_command(
            DEVICE, key, command_id=self.ids, expires_ms=T0 + 10**6, code=CommandCode.KEY,
            arg1=generation, text=text,
        )  # fmt: skip
        return self.sealed(self.device.say("in " + raw.hex()))

    def vibrates(self, key: bytes) -> bool:
        self.ids += 1
        raw = encode_command(
            DEVICE, key, command_id=self.ids, expires_ms=T0 + 10**6, code=CommandCode.VIBRATE
        )
        return bool(self.device.say("in " + raw.hex()).frames)


@pytest.fixture(params=["kit", "simulated"])
def rekeyed(request, programs):
    """Makes a device with a root key (or without), of both kinds."""
    made = []

    def make(root: bytes = ROOT) -> Rekeyed:
        if request.param == "kit":
            made.append(HostDevice(programs["device"], DEVICE, KEY, root=root))
            return Rekeyed(made[-1])
        spec = DeviceSpec(device_id=DEVICE, key=KEY, root=root)
        return Rekeyed(BenchDevice(spec, T0))

    yield make
    assert [device.close() for device in made] == [0] * len(made)


def test_the_answer_to_a_new_key_is_the_first_frame_under_it(rekeyed):
    """FC-111, FC-112: what was sealed before stays as it is, also through a restart."""
    one = rekeyed()
    before = one.sealed(one.device.say("press 7"))
    assert before == [("first", (7, 0))]
    assert one.key_command(1) == [("1", (EventCode.COMMAND_DONE, 1))]
    one.device.say("boot")
    again = one.sealed(one.device.say("link up"))
    assert again == [("first", (7, 0)), ("1", (EventCode.COMMAND_DONE, 1))]
    assert one.sealed(one.device.say("press 1")) == [("1", (EventCode.PANIC, 0))]


def test_the_former_key_is_believed_until_the_new_one_is_heard(rekeyed):
    """FC-112."""
    one = rekeyed()
    one.key_command(1)
    assert one.vibrates(KEY)
    assert not one.vibrates(generation_key(2))
    assert one.vibrates(generation_key(1))
    assert not one.vibrates(KEY)
    assert one.key_command(2, generation_key(1)) == [("2", (EventCode.COMMAND_DONE, one.ids))]
    assert one.vibrates(generation_key(1))
    assert not one.vibrates(KEY)
    assert one.vibrates(generation_key(2))


@pytest.mark.parametrize(
    ("generation", "text"),
    [(0, NONCE.hex()), (1, ""), (1, NONCE.hex()[1:]), (1, NONCE.hex().upper()), (1, "g" * 32),
     (1, NONCE.hex() + "0")],
)  # fmt: skip
def test_a_key_that_cannot_be_made_is_refused(rekeyed, generation, text):
    """FC-113."""
    one = rekeyed()
    assert one.key_command(generation, text=text) == [("first", (EventCode.COMMAND_REFUSED, 1))]
    assert one.vibrates(KEY)


def test_a_generation_never_goes_back_and_none_comes_without_a_root_key(rekeyed):
    """FC-113."""
    one = rekeyed()
    one.key_command(2)
    for generation in (1, 2):
        answer = one.key_command(generation, generation_key(2))
        assert answer == [("2", (EventCode.COMMAND_REFUSED, one.ids))]
    bare = rekeyed(root=b"")
    assert bare.key_command(1) == [("first", (EventCode.COMMAND_REFUSED, 1))]
