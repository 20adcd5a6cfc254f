"""What a conformance test does, step by step: messages and time in, actions out.

`Examiner` reads no clock and does no input or output. Whoever drives it passes on what the device
says, calls `tick` when `due_ms` has come, tells the device what it is asked to tell, and lets
happen what it is asked to let happen (by a rig, by hand, or not at all: then those sentences stay
unseen).
"""

from collections.abc import Callable, Generator
from typing import Final, NamedTuple

from firmware_contracts.codes import CommandCode, EventCode, Kind
from firmware_contracts.conformance.frames import (
    ANSWERS,
    HOSTILE,
    IMPOSSIBLE_IDS,
    LENIENT,
    Frame,
    Key,
    command_frame,
    read_frame,
    varied,
    with_command_id,
)
from firmware_contracts.conformance.log import (
    Did,
    Ended,
    Heard,
    Item,
    Patience,
    Purpose,
    Stimulus,
    Told,
    Withheld,
)
from firmware_contracts.frames import Tagger, encode_ack
from firmware_contracts.topics import Lane

UNKNOWN_CODE: Final = 250
COMMAND_S: Final = 600  # how long a command of the test is good for
_RANGE: Final = 200  # frames whose numbers an ack of another boot names
FIXES_WANTED: Final = 3
_NEVER_MS: Final = 2**62
MEMORY_EXTRA: Final = 20  # fixes beyond what the memory holds


class Tell(NamedTuple):
    """Publish this to the device, QoS 1."""

    lane: Lane
    payload: bytes


class Do(NamedTuple):
    """Let this happen to the device, then call `done`."""

    what: Stimulus
    argument: int = 0


class Phase(NamedTuple):
    """A part of the test begins; for whoever watches."""

    name: str


Action = Tell | Do | Phase


class _Pause(NamedTuple):
    """What the script waits for: a condition, or the moment at which it gives up."""

    until_ms: int
    ready: Callable[[], bool]


_Script = Generator[_Pause, None, None]


class Examiner:
    """One test of one device."""

    def __init__(
        self,
        device_id: str,
        key: bytes,
        *,
        patience: Patience,
        able: frozenset[Stimulus] = frozenset(),
        memory_frames: int = 0,
        first_command_id: int = 1,
    ) -> None:
        """Test with what the rig is `able` to do; `memory_frames` = how many the device keeps."""
        self.items: list[Item] = []
        self.finished = False
        self.due_ms = 0
        self._device_id = device_id
        self._key = key
        self._tagger = Tagger(device_id, key)
        self._patience = patience
        self._able = able
        self._memory_frames = memory_frames
        self._command_id = first_command_id
        self._now_ms = 0
        self._stamped_ms = -1
        self._frames: list[Frame] = []
        self._pending: dict[Key, None] = {}  # heard, and not acked by us
        self._withholding = False
        self._actions: list[Action] = []
        self._done: list[bool] = []
        self._script: _Script | None = None
        self._pause = _Pause(0, lambda: True)

    # --- the outside ------------------------------------------------------------------------------

    def begin(self, now_ms: int) -> list[Action]:
        """Start; returns what is to be done first."""
        self._script = self._run()
        return self._go_on(now_ms)

    def hear(
        self, now_ms: int, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False
    ) -> list[Action]:
        """Take a message on a topic of the device."""
        if topic in (f"em/{self._device_id}/{Lane.ACK}", f"em/{self._device_id}/{Lane.CMD}"):
            return []  # what we, or another server, said
        self._advance(now_ms)
        heard = Heard(self._stamp(), topic, payload, qos, retained)
        self.items.append(heard)
        frame = read_frame(heard, self._device_id, self._tagger)
        self._frames.append(frame)
        if frame.header is not None and frame.tag_valid and frame.header.sequence:
            self._pending[frame.key] = None
            if not self._withholding:
                self._ack_pending()
        return self._go_on(now_ms)

    def tick(self, now_ms: int) -> list[Action]:
        """Let time pass."""
        return self._go_on(now_ms)

    def done(self, now_ms: int, *, done: bool) -> list[Action]:
        """Say that the last `Do` was done, or cannot be."""
        self._done.append(done)
        return self._go_on(now_ms)

    def _advance(self, now_ms: int) -> None:
        self._now_ms = max(self._now_ms, now_ms)

    def _stamp(self) -> int:
        """Give the present time, a millisecond later than that of every item before."""
        self._stamped_ms = self._now_ms = max(self._now_ms, self._stamped_ms + 1)
        return self._stamped_ms

    def _go_on(self, now_ms: int) -> list[Action]:
        self._advance(now_ms)
        while self._script is not None:
            if not self._pause.ready() and now_ms < self._pause.until_ms:
                break
            try:
                self._pause = next(self._script)
            except StopIteration:
                self.items.append(Ended(self._stamp()))
                self.finished, self._script = True, None
        self.due_ms = self._pause.until_ms
        actions, self._actions = self._actions, []
        return actions

    # --- steps ------------------------------------------------------------------------------------

    def _wait(self, seconds: float, ready: Callable[[], bool] = lambda: False) -> _Script:
        yield _Pause(self._now_ms + round(seconds * 1000), ready)

    def _do(self, what: Stimulus, argument: int = 0) -> Generator[_Pause, None, bool]:
        if what not in self._able:
            return False
        self._done.clear()
        asked_ms = self._stamp()
        self._actions.append(Do(what, argument))
        # A person may take long; a rig that never answers is the driver's to notice.
        yield _Pause(_NEVER_MS, lambda: bool(self._done))
        if any(self._done):
            # What the device says may come before the rig says that it is done.
            self.items.append(Did(asked_ms, what, argument))
        return any(self._done)

    def _tell(
        self, lane: Lane, payload: bytes, purpose: Purpose, *, sentence: str = "", **more: int
    ) -> None:
        self.items.append(
            Told(self._stamp(), lane, payload, purpose, sentence=sentence, **more)  # type: ignore[arg-type]
        )
        self._actions.append(Tell(lane, payload))

    def _ack(
        self,
        ranges: list[tuple[int, int, int]],
        purpose: Purpose = Purpose.ACK,
        about: Key = (0, 0),
    ) -> None:
        key = bytes(16) if purpose is Purpose.ACK_FORGED else self._key
        payload = encode_ack(self._device_id, key, records=ranges, server_time_ms=self._now_ms)
        self.items.append(
            Told(self._stamp(), Lane.ACK, payload, purpose, tuple(ranges), about=about)
        )
        self._actions.append(Tell(Lane.ACK, payload))

    def _ack_pending(self) -> None:
        keys = list(self._pending)
        self._pending.clear()
        for start in range(0, len(keys), 64):
            part = keys[start : start + 64]
            self._ack([(boot, sequence, sequence) for boot, sequence in part])

    def _withhold(self, on: bool) -> None:
        self._withholding = on
        self.items.append(Withheld(self._stamp(), on))
        if not on:
            self._ack_pending()

    def _next_id(self) -> int:
        self._command_id += 1
        return self._command_id

    def _answered(self, command_id: int, since: int) -> bool:
        return any(
            code in ANSWERS and value == command_id
            for frame in self._frames[since:]
            for code, value in frame.events()
        )

    def _command(
        self,
        purpose: Purpose = Purpose.COMMAND,
        *,
        code: int = CommandCode.VIBRATE,
        good_s: float = COMMAND_S,
        wait: bool = True,
        **more: int | str,
    ) -> Generator[_Pause, None, Told]:
        """Send a sound command and wait for its answer."""
        command_id, since = self._next_id(), len(self._frames)
        expires_ms = self._now_ms + round(good_s * 1000)
        named = {"arg1": 1, "arg2": 1} | more
        payload = command_frame(
            self._device_id, self._key, command_id, expires_ms, self._now_ms, code=code, **named
        )
        told = Told(self._stamp(), Lane.CMD, payload, purpose, command_id=command_id, code=code)
        self.items.append(told)
        self._actions.append(Tell(Lane.CMD, payload))
        if wait:
            yield from self._wait(
                self._patience.answer_s, lambda: self._answered(command_id, since)
            )
        return told

    # --- the test ---------------------------------------------------------------------------------

    def _run(self) -> _Script:
        phases: tuple[tuple[str, Callable[[], _Script]], ...] = (
            ("boot", self._boot),
            ("commands", self._commands),
            ("hostile input", self._hostile),
            ("fixes", self._fixes),
            ("events", self._events),
            ("loss of acks", self._loss),
            ("loss of the link", self._link),
            ("restart with frames unacknowledged", self._restart),
            ("clock not set", self._clock),
            ("memory full", self._memory),
        )
        for name, phase in phases:
            self._actions.append(Phase(name))
            yield from phase()

    def _boot(self) -> _Script:
        heard = len(self._frames)
        if (yield from self._do(Stimulus.BOOT)):
            yield from self._wait(self._patience.boot_s, lambda: len(self._frames) > heard)
            yield from self._wait(self._patience.quiet_s)

    def _commands(self) -> _Script:
        yield from self._command()
        yield from self._command(code=CommandCode.MESSAGE, text="Test: niets te doen")
        yield from self._command(code=CommandCode.BURST, arg1=1, arg2=2)
        yield from self._command(code=CommandCode.FIX_NOW)
        profile = self._profile()
        if profile is not None:  # the one it has, so that nothing changes
            yield from self._command(code=CommandCode.PROFILE, arg1=profile[0], arg2=profile[1])
        yield from self._command(Purpose.UNKNOWN_CODE, code=UNKNOWN_CODE)
        yield from self._command(Purpose.EXPIRED, good_s=-self._patience.clock_s - 60)
        first = yield from self._command(good_s=self._patience.expiry_s)
        yield from self._wait(self._patience.expiry_s + self._patience.quiet_s)
        since = len(self._frames)
        self._tell(
            Lane.CMD, first.payload, Purpose.REPEAT, command_id=first.command_id, code=first.code
        )
        yield from self._wait(
            self._patience.answer_s, lambda: self._answered(first.command_id, since)
        )

    def _profile(self) -> tuple[int, int] | None:
        for frame in reversed(self._frames):
            if frame.kind is Kind.STATUS and frame.tag_valid:
                record = frame.records[-1]
                both = (record["interval_moving_s"], record["interval_rest_s"])
                return both if all(1 <= value <= 65_534 for value in both) else None
        return None

    def _hostile(self) -> _Script:
        for variant in LENIENT:
            yield from self._variant(variant, Purpose.LENIENT)
        for variant in HOSTILE:
            yield from self._variant(variant, Purpose.HOSTILE)
        for command_id in IMPOSSIBLE_IDS:
            sound = self._sound()
            payload = with_command_id(sound, command_id, self._tagger)
            self._tell(Lane.CMD, payload, Purpose.HOSTILE, sentence="FC-085", command_id=command_id)
        yield from self._command(Purpose.AFTER_HOSTILE)
        yield from self._wait(self._patience.quiet_s)

    def _sound(self) -> bytes:
        expires_ms = self._now_ms + COMMAND_S * 1000
        return command_frame(self._device_id, self._key, self._next_id(), expires_ms, self._now_ms)

    def _variant(
        self, variant: tuple[str, Callable[[bytes, Tagger], bytes]], purpose: Purpose
    ) -> _Script:
        payload = varied(variant, self._sound(), self._tagger)
        command_id, since = self._command_id, len(self._frames)
        self._tell(
            Lane.CMD, payload, purpose, sentence=variant[0], command_id=command_id,
            code=CommandCode.VIBRATE,
        )  # fmt: skip
        if purpose is Purpose.LENIENT:
            yield from self._wait(
                self._patience.answer_s, lambda: self._answered(command_id, since)
            )

    def _count(self, kind: Kind) -> int:
        return sum(frame.kind is kind for frame in self._frames)

    def _fixes(self) -> _Script:
        wanted = self._count(Kind.FIX) + FIXES_WANTED
        for _ in range(FIXES_WANTED):
            yield from self._do(Stimulus.FIX, 1)
        yield from self._wait(self._patience.fix_s, lambda: self._count(Kind.FIX) >= wanted)
        if (yield from self._do(Stimulus.NO_FIX)):
            yield from self._wait(self._patience.quiet_s)

    def _press(self, code: EventCode) -> _Script:
        since = len(self._frames)
        if (yield from self._do(Stimulus.PRESS, code)):
            yield from self._wait(
                self._patience.at_once_s,
                lambda: any(
                    one == code for frame in self._frames[since:] for one, _ in frame.events()
                ),
            )

    def _events(self) -> _Script:
        for code in (EventCode.SELF_TEST, EventCode.PANIC, EventCode.DURESS):
            yield from self._press(code)

    def _heard_again(self, keys: list[Key], since: int) -> bool:
        again = {frame.key for frame in self._frames[since:]}
        return all(key in again for key in keys)

    def _answer_frame(self) -> Generator[_Pause, None, Key | None]:
        """Make the device seal an event, and give its number: the answer to a command."""
        since = len(self._frames)
        told = yield from self._command()
        for frame in self._frames[since:]:
            if any(c in ANSWERS and v == told.command_id for c, v in frame.events()):
                return frame.key
        return None

    def _loss(self) -> _Script:
        self._withhold(on=True)
        keys = []
        for purpose in (None, Purpose.ACK_FORGED, Purpose.ACK_REVERSED, Purpose.ACK_OTHER_BOOT):
            key = yield from self._answer_frame()
            if key is None:
                break
            keys.append(key)
            boot, sequence = key
            if purpose is Purpose.ACK_FORGED:
                self._ack([(boot, sequence, sequence)], purpose, key)
            elif purpose is Purpose.ACK_REVERSED:
                ranges = [(boot, sequence, sequence), (boot, sequence, sequence - 1)]
                self._ack(ranges, purpose, key)
            elif purpose is Purpose.ACK_OTHER_BOOT:
                others = [(boot + 1, 0, _RANGE + sequence), (boot, sequence + _RANGE, 2**32 - 1)]
                self._ack(others, purpose, key)
        fixes = self._count(Kind.FIX)
        if (yield from self._do(Stimulus.FIX, 1)):
            yield from self._wait(self._patience.quiet_s, lambda: self._count(Kind.FIX) > fixes)
        keys += [frame.key for frame in self._frames[-1:] if frame.kind is Kind.FIX]
        since = len(self._frames)
        yield from self._wait(self._patience.resend_s, lambda: self._heard_again(keys, since))
        self._withhold(on=False)
        yield from self._wait(self._patience.quiet_s)

    def _link(self) -> _Script:
        if Stimulus.LINK_CUT not in self._able or Stimulus.LINK_UP not in self._able:
            return
        self._withhold(on=True)
        key = yield from self._answer_frame()
        yield from self._do(Stimulus.LINK_CUT)
        yield from self._wait(self._patience.quiet_s)
        yield from self._do(Stimulus.FIX, FIXES_WANTED)
        yield from self._do(Stimulus.PRESS, EventCode.SELF_TEST)
        since = len(self._frames)
        if (yield from self._do(Stimulus.LINK_UP)):
            keys = [key] if key is not None else []
            yield from self._wait(self._patience.link_s, lambda: len(self._frames) > since)
            yield from self._wait(self._patience.resend_s, lambda: self._heard_again(keys, since))
            yield from self._wait(self._patience.quiet_s)
        self._withhold(on=False)
        yield from self._wait(self._patience.quiet_s)

    def _restart(self) -> _Script:
        if Stimulus.BOOT not in self._able:
            return
        self._withhold(on=True)
        key = yield from self._answer_frame()
        since = len(self._frames)
        if (yield from self._do(Stimulus.BOOT)) and key is not None:
            yield from self._wait(
                self._patience.boot_s + self._patience.resend_s,
                lambda: self._heard_again([key], since),
            )
        self._withhold(on=False)
        yield from self._wait(self._patience.quiet_s)

    def _clock(self) -> _Script:
        if not (yield from self._do(Stimulus.CLOCK_UNSET)):
            return
        yield from self._press(EventCode.PANIC)
        yield from self._do(Stimulus.FIX, 1)
        yield from self._wait(self._patience.quiet_s)
        yield from self._do(Stimulus.CLOCK_SET)
        yield from self._wait(self._patience.quiet_s)

    def _memory(self) -> _Script:
        able = {Stimulus.LINK_CUT, Stimulus.LINK_UP, Stimulus.FIX, Stimulus.PRESS} <= self._able
        if not (self._memory_frames and able):
            return
        yield from self._do(Stimulus.LINK_CUT)
        yield from self._do(Stimulus.PRESS, EventCode.SELF_TEST)
        yield from self._do(Stimulus.FIX, self._memory_frames + MEMORY_EXTRA)
        yield from self._do(Stimulus.PRESS, EventCode.SELF_TEST)
        up_ms = self._now_ms
        yield from self._do(Stimulus.LINK_UP)
        heard = -1
        while heard != self._sealed_before(up_ms):  # until nothing comes of what waited
            heard = self._sealed_before(up_ms)
            yield from self._wait(self._patience.quiet_s + 1.0)

    def _sealed_before(self, at_ms: int) -> int:
        headers = [frame.header for frame in self._frames if frame.header is not None]
        return sum(header.device_time_ms < at_ms for header in headers)
