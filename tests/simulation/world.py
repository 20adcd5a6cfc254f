"""What is around the service: people's devices and their radio, and the receivers."""

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from alerting.notify.delivery import Delivery, Outcome
from alerting.notify.signing import Signer
from firmware_contracts import EventCode, FrameError, Lane, decode_acks
from ingest.devices import Role
from simulators.clock import Steady, Step
from simulators.device import Device
from simulators.happenings import (
    ActionKind,
    Boots,
    ClockBreaks,
    DeviceSpec,
    Happening,
    LinkChanges,
    Place,
    Pressed,
    Profile,
    Received,
    Sensed,
    Strap,
    Wakes,
)
from simulators.ring import Pace
from tests.afstand.journal import LAT_E7, LON_E7, METRE_E7
from tests.simulation.broker import SimulatedBroker
from tests.simulation.checks import Checks
from tests.simulation.loop import SimulationLoop
from tests.simulation.net import Net
from tests.simulation.people import KEY
from tests.simulation.service import (
    ACKNOWLEDGED,
    DELIVERED,
    NOT_THERE,
    SECRET,
    Service,
    acknowledgement,
)

PACE: Final = Pace(window=16, resend_ms=4_000, event_resend_ms=1_500, doublings_max=2)
PRESSES: Final = (EventCode.PANIC, EventCode.DURESS)


class Radio:
    """The devices' link to the broker: it loses, copies and disorders messages."""

    def __init__(self, loop: SimulationLoop, draw: random.Random, broker: Any) -> None:
        self._loop = loop
        self._draw = draw
        self.broker: SimulatedBroker = broker
        self.loss = 0.0
        self.copies = 0.0
        self.late_s = 0.05
        self.devices: dict[str, Carrier] = {}

    def up(self, topic: str, payload: bytes) -> None:
        """From a device."""
        self._send(self.broker.publish, topic, payload)

    def down(self, topic: str, payload: bytes) -> None:
        """To a device."""
        carrier = self.devices.get(topic.split("/")[1])
        if carrier is not None:
            self._send(carrier.arrived, topic, payload)

    def _send(self, callback: Callable[[str, bytes], None], topic: str, payload: bytes) -> None:
        times = int(self._draw.random() >= self.loss) + int(self._draw.random() < self.copies)
        for _ in range(times):
            delay_s = 0.005 + self._draw.expovariate(1.0) * self.late_s
            self._loop.post(self._loop.world, delay_s, callback, topic, payload)


class Carrier:
    """A person with a device."""

    def __init__(
        self, name: str, role: Role, loop: SimulationLoop, draw: random.Random, radio: Radio,
        checks: Checks, start_ms: int,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._draw = draw
        self._radio = radio
        self._checks = checks
        self._start_ms = start_ms
        self._route = self._draw_route(role)
        profile = Profile(moving_s=8, rest_s=8, status_s=0)
        spec = DeviceSpec(
            device_id=name, key=KEY, profile=profile, pace=PACE, seed=int(draw.random() * 2**32),
            phase_ms=int(draw.random() * 8_000),
        )  # fmt: skip
        self.device = Device(spec, start_ms)
        self._waking: Any = None
        radio.devices[name] = self

    @property
    def now_ms(self) -> int:
        """The true time."""
        return self._start_ms + int(self._loop.time() * 1000)

    def do(self, happening: Happening) -> None:
        """Let something happen to the device, and send what it then sends."""
        todo: list[Happening] = [happening]
        device = self.device
        while todo:
            made = device.sequence, device.boot
            happening = todo.pop(0)
            out = device.handle(happening, self.now_ms)
            if (device.sequence, device.boot) != made:
                self._note(pressed=isinstance(happening, Pressed) and happening.code in PRESSES)
            for frame in out.frames:
                self._radio.up(f"em/{device.spec.device_id}/{frame.lane.value}", frame.payload)
            todo += [Sensed(self._place()) for a in out.actions if a.kind is ActionKind.TAKE_FIX]
        self._plan()

    def arrived(self, topic: str, payload: bytes) -> None:
        """A message for the device."""
        if not self.device.linked:
            return
        lane = Lane.ACK if topic.endswith("/ack") else Lane.CMD
        if lane is Lane.ACK:
            try:
                acks = decode_acks(payload)
            except FrameError:
                acks = []
            for ack in acks:
                self._checks.device_told(self.device.spec.device_id, ack.boot, ack.first, ack.last)
        self.do(Received(lane, payload))

    def link(self, *, up: bool) -> None:
        """Coverage comes or goes."""
        self.do(LinkChanges(up))

    def press(self, code: EventCode) -> None:
        """The button."""
        self.do(Pressed(code))

    def cut_strap(self) -> None:
        """The wearer cuts the strap."""
        self.do(Strap(cut=True))

    def reboot(self) -> None:
        """The device restarts, and finds the network again."""
        self.do(Boots())
        self.do(LinkChanges(True))

    def break_clock(self, offset_ms: int) -> None:
        """Its clock steps; 0 makes it right."""
        fault = Step(at_ms=0, offset_ms=offset_ms) if offset_ms else Steady()
        self.do(ClockBreaks(fault))

    def _note(self, *, pressed: bool) -> None:
        """Tell the checks of every frame that is new."""
        name = self.device.spec.device_id
        events = []
        for stored in self.device.ring.frames():
            if (name, *stored.key) not in self._checks.made:
                self._checks.sealed(name, stored.payload)
                if stored.lane is Lane.EVENT:
                    events.append(stored.payload)
        if pressed:
            self._checks.pressed_on(name, events[0])

    def _plan(self) -> None:
        due_ms = self.device.next_due_ms()
        self._waking = token = object()
        if due_ms is not None:
            delay_s = max(0.001, (due_ms - self.now_ms) / 1000)
            self._loop.post(self._loop.world, delay_s, self._wake, token)

    def _wake(self, token: object) -> None:
        if token is self._waking:
            self.do(Wakes(moving=True))

    def _draw_route(self, role: Role) -> tuple[float, float, float]:
        """Where it begins, in metres north; metres per second; when it turns back."""
        if role is Role.PROTECTED:
            return 0.0, 0.0, 0.0
        return 700.0, -8.0 - 10.0 * self._draw.random(), 40.0 + 60.0 * self._draw.random()

    def _place(self) -> Place:
        start_m, speed, turn_s = self._route
        time_s = self._loop.time()
        north_m = start_m + speed * (time_s if time_s < turn_s else 2 * turn_s - time_s)
        north_m += self._draw.gauss(0.0, 3.0)
        lon_e7 = LON_E7 + round(10 * METRE_E7 / math.cos(math.radians(51.92)))
        return Place(LAT_E7 + round(north_m * METRE_E7), lon_e7, 50)


class Receiver:
    """A control room. What it gets under a key twice, it knows by the key."""

    def __init__(
        self, name: str, net: Net, draw: random.Random, checks: Checks, answers: float,
        start_ms: int,
    ) -> None:  # fmt: skip
        self.name = name
        self.mode = "up"
        self.service: Service | None = None
        self._net = net
        self._draw = draw
        self._checks = checks
        self._answers = answers  # share of what somebody there takes on
        self._start_ms = start_ms
        self._signer = Signer([SECRET])
        self._known: set[str] = set()

    def take(self, delivery: Delivery, answer: Callable[[Outcome], None]) -> None:
        """A message arrives."""
        if self.mode == "hang":
            return
        if self.mode == "down" or (self.mode == "flaky" and self._draw.random() < 0.5):
            answer(NOT_THERE)
            return
        self._checks.delivered(self.name, delivery.key, delivery.body)
        if self.mode == "flaky" and self._draw.random() < 0.5:
            return  # it has the message, and its answer is lost
        first = delivery.key not in self._known
        self._known.add(delivery.key)
        if first and self._draw.random() < self._answers:
            if self._draw.random() < 0.3:
                answer(ACKNOWLEDGED)
                return
            self._later(1.0 + 6.0 * self._draw.random(), delivery.key)
        answer(DELIVERED)

    def _later(self, delay_s: float, key: str) -> None:
        self._net.loop.post(self._net.loop.world, delay_s, self._acknowledge, key)

    def _acknowledge(self, key: str) -> None:
        """Say by HTTP that somebody takes it on, for as long as it takes."""
        self._later(4.0, key)
        endpoint = self.service.endpoint if self.service else None
        if endpoint is None or self._net.is_cut(endpoint[0], self.name) or key not in self._known:
            return
        process, handler = endpoint
        now_ms = self._start_ms + int(self._net.loop.time() * 1000)

        async def post() -> None:
            response = await handler.handle(
                acknowledgement(self._signer, self.name, key, now_ms)  # type: ignore[arg-type]
            )
            if response.status in (200, 401):  # 401: a clock is far off; it was said, and refused
                self._known.discard(key)

        if process.alive:
            self._net.loop.spawn(process, post())


def receivers(
    net: Net, draw: random.Random, checks: Checks, names: Mapping[str, Any], start_ms: int
) -> dict[str, Receiver]:
    """All of them, each with its own habit of answering."""
    return {
        name: Receiver(name, net, draw, checks, draw.choice((0.0, 0.5, 1.0)), start_ms)
        for name in names
    }
