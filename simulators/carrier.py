"""A person who carries a device: brings the device its true place, through a receiver that errs."""

from collections.abc import Callable

from firmware_contracts import Mechanism
from simulators.device import Device
from simulators.geo import LocalPlane
from simulators.gnss import Receiver, Sample
from simulators.happenings import (
    Action,
    ActionKind,
    Happening,
    Outgoing,
    Output,
    Place,
    Sensed,
    Wakes,
)
from simulators.paths import Mover

MOVING_ABOVE_M_S = 0.3
MOTION_POLL_MS = 10_000
FIXES_PER_STEP_MAX = 4


def place_of(sample: Sample, plane: LocalPlane) -> Place:
    """Turn what the receiver says into wire units, within the bounds of the contract."""
    lat_e7, lon_e7 = plane.e7(sample.x_m, sample.y_m)
    return Place(
        lat_e7=min(900_000_000, max(-900_000_000, lat_e7)),
        lon_e7=min(1_800_000_000, max(-1_800_000_000, lon_e7)),
        accuracy_dm=min(65_534, max(1, round(sample.accuracy_m * 10.0))),
        speed_cm_s=min(65_534, round(sample.speed_m_s * 100.0)),
        heading_cdeg=round(sample.heading_deg * 100.0) % 36_000,
        mechanism=sample.mechanism,
        satellites=sample.satellites,
        altitude_m=0 if sample.mechanism is Mechanism.GNSS else -32768,
    )


class Carrier:
    """A device on somebody (`mover`), or lying somewhere once `mover` is replaced.

    It was left behind.
    """

    def __init__(
        self,
        device: Device,
        mover: Mover,
        plane: LocalPlane,
        receiver: Receiver,
        sense: Callable[[int], Place | None] | None = None,
    ) -> None:
        """`sense` replaces receiver and mover as the source of positions: a recorded track."""
        self.device = device
        self.mover = mover
        self._plane = plane
        self._receiver = receiver
        self._sense = sense

    def due_ms(self, now_ms: int) -> int | None:
        """Return when to call `wake` next; None for a device that is off."""
        due = self.device.next_due_ms()
        if due is None:
            return now_ms + MOTION_POLL_MS if self.device.battery.charging else None
        # The accelerometer: a device that sleeps for an hour still notices a departure.
        polls = not self.device.moving and self.device.interval_rest_s * 1000 > MOTION_POLL_MS
        return min(due, now_ms + MOTION_POLL_MS) if polls else due

    def wake(self, now_ms: int) -> Output:
        """Let the device do what is due."""
        return self.handle(Wakes(self.mover.at(now_ms).speed_m_s > MOVING_ABOVE_M_S), now_ms)

    def handle(self, happening: Happening, now_ms: int) -> Output:
        """Give the device a happening and the fixes it asks for.

        The actions that come back are those for the person: messages and vibration.
        """
        frames: list[Outgoing] = []
        shown: list[Action] = []
        out = self.device.handle(happening, now_ms)
        for _ in range(FIXES_PER_STEP_MAX):
            frames += out.frames
            shown += [action for action in out.actions if action.kind is not ActionKind.TAKE_FIX]
            if all(action.kind is not ActionKind.TAKE_FIX for action in out.actions):
                break
            out = self.device.handle(Sensed(self.sense(now_ms)), now_ms)
        return Output(frames, shown)

    def sense(self, now_ms: int) -> Place | None:
        """Attempt one position."""
        if self._sense is not None:
            return self._sense(now_ms)
        sample = self._receiver.sense(now_ms, self.mover.at(now_ms))
        return None if sample is None else place_of(sample, self._plane)
