"""A device and a conformance test in lockstep: no broker, no clock, a test of minutes in a moment.

Time is a number here. The device is one that speaks the line protocol (`host_device`): a firmware
compiled for this machine, or the simulated one.
"""

from collections import deque
from typing import Final, Protocol

from firmware_contracts.conformance import Action, Do, Examiner, Phase, Stimulus, Tell
from simulators.host_device import Said

STEP_MS: Final = 250
REBOOT_MS: Final = 1_000  # from a restart to the next connection
FIX_EVERY_MS: Final = 100
TICK_START_MS: Final = 2**32 - 60_000  # so that the device's counter wraps around during a test
HERE: Final = (519_225_000, 44_791_700, 45)
ABLE: Final = frozenset(Stimulus)


class Bench(Protocol):
    """What a device on a bench is spoken to by."""

    first: Said

    def say(self, line: str) -> Said:
        """Say one line and return what the device says to it."""
        ...


class Lockstep:
    """One device and one test of it."""

    def __init__(self, device: Bench, examiner: Examiner, start_ms: int) -> None:
        self.now_ms = start_ms
        self.phases: list[str] = []
        self._device = device
        self._examiner = examiner
        self._start_ms = start_ms
        self._clock_set = True
        self._linked = False
        self._up_at_ms: int | None = start_ms
        self._will = device.first.will
        self._queue: deque[bytes] = deque()  # what the broker keeps for the device
        self._actions: deque[Action] = deque()
        self._lat = 0

    def run(self, for_ms: int = 7_200_000) -> None:
        """Run the test to its end. RuntimeError when it has none within `for_ms`."""
        self._say_time()
        self._actions.extend(self._examiner.begin(self.now_ms))
        while not self._examiner.finished:
            if self.now_ms - self._start_ms > for_ms:
                raise RuntimeError(f"the test goes on after {for_ms} ms, in {self.phases[-1:]}")
            while self._actions:
                self.now_ms += 1  # everything takes a moment
                self._act(self._actions.popleft())
            self._advance(STEP_MS)

    def _advance(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self._say_time()
        if self._up_at_ms is not None and self.now_ms >= self._up_at_ms:
            self._up_at_ms = None
            self._link_up()
        self._actions.extend(self._examiner.tick(self.now_ms))

    def _say_time(self) -> None:
        tick_ms = (TICK_START_MS + self.now_ms - self._start_ms) % 2**32
        self._say(f"at {tick_ms} {self.now_ms if self._clock_set else 0}")

    def _say(self, line: str) -> None:
        said = self._device.say(line)
        self._will = said.will or self._will
        for topic, payload in said.frames:
            self._actions.extend(self._examiner.hear(self.now_ms, topic, payload))
        if said.wants_fix:
            self._say(self._fix())

    def _fix(self) -> str:
        self._lat += 7  # a place of its own for every fix
        return f"fix {HERE[0] + self._lat} {HERE[1]} {HERE[2]}"

    def _act(self, action: Action) -> None:
        self._say_time()
        match action:
            case Phase():
                self.phases.append(action.name)
            case Tell():
                self._queue.append(action.payload)
                self._deliver()
            case Do():
                self._do(action.what, action.argument)
                self._actions.extend(self._examiner.done(self.now_ms, done=True))

    def _deliver(self) -> None:
        while self._linked and self._queue:
            self._say("in " + self._queue.popleft().hex())

    def _do(self, what: Stimulus, argument: int) -> None:
        match what:
            case Stimulus.BOOT:
                self._linked = False
                self._say("boot")
                self._up_at_ms = self.now_ms + REBOOT_MS
            case Stimulus.LINK_CUT:
                self._cut()
            case Stimulus.LINK_UP:
                self._link_up()
            case Stimulus.PRESS:
                self._say(f"press {argument}")
            case Stimulus.FIX:
                for _ in range(argument):
                    self._advance(FIX_EVERY_MS)
                    self._say(self._fix())
            case Stimulus.NO_FIX:
                self._say("fix none")
            case Stimulus.CLOCK_UNSET | Stimulus.CLOCK_SET:
                self._clock_set = what is Stimulus.CLOCK_SET
                self._say_time()

    def _cut(self) -> None:
        will = self._will
        self._linked = False
        self._say("link down")
        if will is not None:
            self._actions.extend(self._examiner.hear(self.now_ms, *will))

    def _link_up(self) -> None:
        self._linked = True
        self._say("link up")
        self._deliver()
