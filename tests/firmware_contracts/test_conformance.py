"""The conformance test in lockstep: sound devices pass, and each broken one fails as it must."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from firmware_contracts.conformance import (
    JUDGED,
    Did,
    Ended,
    Examiner,
    Heard,
    Item,
    Lane,
    LogError,
    Patience,
    Purpose,
    Result,
    Stimulus,
    Told,
    judge,
    read,
    written,
)
from firmware_contracts.conformance.owntracks import judge_owntracks, split_messages
from simulators.bench_device import BenchDevice
from simulators.firmware import HOST, SANITIZERS, build
from simulators.happenings import DeviceSpec
from simulators.host_device import HostDevice, HostDeviceError, Said, read_said
from simulators.lockstep import ABLE, Bench, Lockstep
from tests.firmware_contracts.samples import (
    DEVICE,
    EVENT,
    FIX,
    KEY,
    NOW_MS,
    SOUND_EVENT,
    SOUND_FIX,
    STATUS,
    frame,
    replaced,
)

pytestmark = pytest.mark.slow
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

T0 = 1_760_000_000_000
MEMORY = 64
# How the program `device.c` can be broken, and exactly what that fails.
BROKEN = {
    "no-flash": {"FC-060"},
    "forget": {"FC-060"},
    "clock": {"FC-033"},
    "same-boot": {"FC-030", "FC-031"},  # the numbers begin again, under the same boot
    "sequence": {"FC-031"},
    "renumber": {"FC-031"},
    "unknown-done": {"FC-083"},
    "expired-done": {"FC-081"},
    "twice-done": {"FC-082"},
    "no-answer": {"FC-080"},
    "null-island": {"FC-041"},
    "unset-fix": {"FC-035"},
    "any-tag": {"FC-020", "FC-021", "FC-024"},
    "no-tag": {"FC-020"},
    "lax-ack": {"FC-062"},
    "wrong-topic": {"FC-050"},
    "clock-press": {"FC-070"},
    "drill": {"FC-070", "FC-071"},  # a press that comes as a drill is no press
    "late-events": {"FC-065"},
    "reserved": {"FC-010"},
    "bad-will": {"FC-052"},
    "old-minor": {"FC-005"},
    "silent-loss": {"FC-064"},
}


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("conform")
    return build(folder / "device", HOST / "device.c", flags=("-O1", *SANITIZERS))


def outcome(
    device: Bench, *, memory: int = MEMORY, able=ABLE
) -> tuple[Examiner, dict[str, Result]]:
    examiner = Examiner(
        DEVICE, KEY, patience=Patience(), able=able, memory_frames=memory, first_command_id=1000
    )
    Lockstep(device, examiner, T0).run()
    return examiner, results(examiner.items)


def results(items: list[Item]) -> dict[str, Result]:
    return {one.sentence: one.result for one in judge(items, DEVICE, KEY, Patience())}


def of(found: dict[str, Result], result: Result) -> set[str]:
    return {sentence for sentence, one in found.items() if one is result}


# --- whole devices --------------------------------------------------------------------------------


@needs_gcc
def test_the_device_of_the_kit_keeps_every_sentence(program):
    with HostDevice(program, DEVICE, KEY, slots=MEMORY) as device:
        examiner, found = outcome(device)
    assert device.close() == 0  # no sanitizer complained
    assert of(found, Result.PASS) == set(JUDGED)
    shown = [item for item in examiner.items if isinstance(item, Heard)]
    assert len(shown) > 100


def test_the_simulated_device_keeps_every_sentence():
    spec = DeviceSpec(device_id=DEVICE, key=KEY, ring_frames_max=8)
    _, found = outcome(BenchDevice(spec, T0), memory=8 * 32)
    assert of(found, Result.PASS) == set(JUDGED)


@needs_gcc
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_device_fails_the_right_sentences_and_no_other(program, fault):
    with HostDevice(program, DEVICE, KEY, slots=MEMORY, fault=fault) as device:
        _, found = outcome(device)
    assert of(found, Result.FAIL) == BROKEN[fault]


def test_without_a_rig_only_what_goes_over_the_broker_is_judged():
    device = BenchDevice(DeviceSpec(device_id=DEVICE, key=KEY), T0)
    _, found = outcome(device, able=frozenset())
    assert of(found, Result.FAIL) == set()
    unseen = {"FC-030", "FC-032", "FC-052", "FC-064", "FC-065", "FC-070", "FC-071"}
    assert of(found, Result.NOT_SEEN) == unseen


class Wrapped:
    """The simulated device with something between it and the test."""

    def __init__(self) -> None:
        self.device = BenchDevice(DeviceSpec(device_id=DEVICE, key=KEY), T0)
        self.first = self.device.first
        self.answers = 0

    def say(self, line: str) -> Said:
        return self.device.say(line)


class Believer(Wrapped):
    """Answers whatever comes, by the place where a command's id would be."""

    def say(self, line: str) -> Said:
        if not line.startswith("in ") or line[11:13] == "04":
            return self.device.say(line)
        raw = bytes.fromhex(line[3:])
        self.answers += 1
        command_id = int.from_bytes(raw[32:36], "little", signed=True)
        record = (0, 20, command_id, 0, 0, 0xFFFF, 0, 0)
        answer = frame(EVENT, [record], boot=77, sequence=self.answers, time_ms=self.device.now_ms)
        return Said([(f"em/{DEVICE}/event", answer)], None, False, [])


def test_a_device_that_believes_everything_fails_what_it_must_refuse():
    """FC-001, FC-003, FC-004, FC-006 to FC-009, FC-020, FC-021, FC-024, FC-085: and more."""
    _, found = outcome(Believer(), able=frozenset())
    assert of(found, Result.FAIL) >= {
        "FC-001", "FC-003", "FC-004", "FC-006", "FC-007", "FC-008", "FC-009", "FC-020", "FC-021",
        "FC-024", "FC-081", "FC-083", "FC-085",
    }  # fmt: skip


class Choking(Wrapped):
    """Hears nothing any more after the first message that it must refuse."""

    choked = False

    def say(self, line: str) -> Said:
        if line.startswith("in "):
            self.choked = self.choked or line[3:7] == "58af"  # a wrong magic
            if self.choked:
                return Said([], None, False, [])
        return self.device.say(line)


def test_a_device_that_chokes_on_hostile_input_fails():
    """FC-011."""
    _, found = outcome(Choking(), able=frozenset())
    assert of(found, Result.FAIL) == {"FC-011", "FC-080"}


# --- single messages ------------------------------------------------------------------------------


def heard(payload: bytes, *, topic: str = "fix", at_ms: int = NOW_MS + 500, **more) -> Heard:
    return Heard(at_ms, f"em/{DEVICE}/{topic}", payload, **more)


def fix(**places) -> bytes:
    return frame(FIX, [replaced(SOUND_FIX, **places)])


MESSAGES = [
    (heard(fix()), ""),
    (heard(fix()[:-1]), "FC-001"),
    (heard(fix() + b"!"), "FC-001"),
    (heard(b""), "FC-001"),
    (heard(frame(FIX, magic=0x57AF)), "FC-003"),
    (heard(frame(FIX, major=2)), "FC-004"),
    (heard(frame(FIX, tail=b"12")), "FC-006"),
    (heard(frame(FIX, count=0)), "FC-007"),
    (heard(frame(FIX, [SOUND_FIX] * 65)), "FC-007"),
    (heard(bytes(4097)), "FC-007"),
    (heard(frame(FIX, wire_kind=77)), "FC-008"),
    (heard(frame(FIX, flags=1)), "FC-009"),
    (heard(frame(FIX, flags=2)), "FC-010"),
    (heard(frame(FIX, reserved=1)), "FC-010"),
    (heard(fix(p9=16)), "FC-010"),
    (heard(frame(EVENT, [replaced(SOUND_EVENT, p7=1)]), topic="event"), "FC-010"),
    (heard(frame(FIX, key=bytes(16))), "FC-020"),
    (heard(frame(FIX, device="other")), "FC-020"),
    (heard(frame(EVENT, sequence=0), topic="event"), "FC-032"),
    (heard(frame(EVENT, time_ms=NOW_MS + 120_000), topic="event"), "FC-033"),
    (heard(frame(EVENT, time_ms=NOW_MS - 120_000), topic="event"), "FC-033"),
    (heard(frame(FIX, time_ms=0)), "FC-035"),
    (heard(frame(FIX, [replaced(SOUND_FIX, p0=-1)], time_ms=1_577_836_800_000)), "FC-035"),
    (heard(fix(p1=900_000_001)), "FC-040"),
    (heard(fix(p2=-1_800_000_001)), "FC-040"),
    (heard(fix(p1=0, p2=0)), "FC-041"),
    (heard(fix(p3=0)), "FC-042"),
    (heard(fix(p5=36_000)), "FC-043"),
    (heard(fix(p8=101)), "FC-043"),
    (heard(fix(), topic="event"), "FC-050"),
    (heard(fix(), topic="debug"), "FC-050"),
    (heard(fix(), qos=0), "FC-050"),
    (heard(fix(), qos=2), "FC-050"),
    (heard(fix(), retained=True), "FC-050"),
    (heard(frame(STATUS, sequence=0), topic="status"), "FC-052"),
]


@pytest.mark.parametrize(("message", "sentence"), MESSAGES)
def test_one_message_fails_its_sentence_and_no_other(message, sentence):
    items: list[Item] = [message, Ended(NOW_MS + 1000)]
    verdicts = judge(items, DEVICE, KEY, Patience())
    failing = [one for one in verdicts if one.result is Result.FAIL]
    assert [one.sentence for one in failing] == [sentence] * bool(sentence)
    for one in failing:
        assert one.evidence is not None
        assert one.evidence.payload == message.payload.hex()
        assert one.evidence.why


def test_every_sentence_that_is_judged_can_fail():
    """Of each there is a device or a message above that fails it."""
    by_device = {"FC-011", "FC-085"}.union(*BROKEN.values())
    assert by_device | {sentence for _, sentence in MESSAGES if sentence} == set(JUDGED)


def test_a_last_will_that_never_comes_fails():
    """FC-052."""
    items: list[Item] = [
        heard(frame(STATUS), topic="status"),
        Did(NOW_MS + 1000, Stimulus.LINK_CUT),
        Did(NOW_MS + 9000, Stimulus.LINK_UP),
        Ended(NOW_MS + 10_000),
    ]
    assert of(results(items), Result.FAIL) == {"FC-052"}


def test_what_was_not_waited_for_is_not_judged():
    """A command just sent, a frame just heard: neither passes nor fails."""
    told = Told(NOW_MS + 1, Lane.CMD, b"", Purpose.COMMAND, command_id=5, code=1)
    assert results([told, Ended(NOW_MS + 2)])["FC-080"] is Result.NOT_SEEN
    assert results([told, Ended(NOW_MS + 200_000)])["FC-080"] is Result.FAIL
    assert set(results([]).values()) == {Result.NOT_SEEN}


# --- the log --------------------------------------------------------------------------------------


def test_a_recorded_test_gives_the_same_verdicts():
    examiner, found = outcome(BenchDevice(DeviceSpec(device_id=DEVICE, key=KEY), T0))
    device_id, patience, items = read(written(DEVICE, Patience(), examiner.items))
    assert (device_id, patience) == (DEVICE, Patience())
    assert results(items) == found
    times = [item.at_ms for item in items]
    assert times == sorted(set(times))


GOOD_LOG = written(DEVICE, Patience(), [Ended(1)])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "line 1"),
        (b"\xff\n", "line 1"),
        (GOOD_LOG.replace(b"conformance/1", b"conformance/2"), "line 1: format"),
        (GOOD_LOG + b"{}\n", "line 3"),
        (GOOD_LOG + b'{"type":"did","at_ms":1,"what":"dance"}\n', "line 3"),
        (GOOD_LOG + b"\xff\xfe\n", "line 3"),
    ],
)
def test_what_is_no_log_is_refused_with_its_line(raw, message):
    with pytest.raises(LogError, match=message):
        read(raw)


def test_patience_is_scaled_but_for_the_clock():
    assert Patience().scaled(0.1).resend_s == pytest.approx(6.5)
    assert Patience().scaled(0.1).clock_s == Patience().clock_s


# --- phones ---------------------------------------------------------------------------------------

LOCATION = b'{"_type":"location","lat":51.9,"lon":4.4,"tst":1760000000,"acc":12}'


def phone(lines: Iterable[bytes]) -> tuple[set[str], int, dict[str, int]]:
    report = judge_owntracks(split_messages(b"\n".join(lines)))
    failing = {one.sentence for one in report.verdicts if one.result is Result.FAIL}
    return failing, report.fixes, report.ignored


def test_messages_of_a_phone_pass():
    """FC-092, FC-093, FC-094."""
    lines = [LOCATION, b"", b"2025-10-09T08:53:20Z\t*\t" + LOCATION, b'{"_type":"lwt","tst":1}']
    assert phone(lines) == (set(), 2, {"type-lwt": 1})
    assert phone([b"[" + LOCATION + b",\n" + LOCATION + b"]"]) == (set(), 2, {})
    verdicts = judge_owntracks([LOCATION.replace(b"12", b"-1"), b"[" + LOCATION + b"]"]).verdicts
    assert {one.result for one in verdicts} == {Result.PASS}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"not json", "FC-090"),
        (b'{"_type":"location","lat":1,"lat":2}', "FC-090"),
        (b"[" * 20 + b"]" * 20, "FC-090"),
        (LOCATION[:-1] + b',"x":"' + b"x" * 17_000 + b'"}', "FC-090"),
        (b'{"_type":"location","lat":1,"lon":2}', "FC-091"),
        (LOCATION.replace(b"12", b'"12"'), "FC-091"),
        (b'{"_type":"nonsense"}', "FC-091"),
        (b"7", "FC-091"),
    ],
)
def test_a_message_that_would_be_refused_fails_its_sentence(line, sentence):
    """FC-090, FC-091."""
    failing, fixes, _ = phone([LOCATION, line, LOCATION])
    assert (failing, fixes) == ({sentence}, 2)


def test_what_a_device_says_that_the_protocol_does_not_know_is_an_error():
    for line in ("hello", "out em/x/fix zz", "want coffee", "show 0"):
        with pytest.raises(HostDeviceError, match="the device said"):
            read_said([line])
