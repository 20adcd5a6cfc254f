"""The simulated device behind the line protocol of a device on a bench (`host_device`)."""

from typing import Final

from firmware_contracts import EventCode, Lane, Mechanism
from simulators.clock import NotSet, Steady
from simulators.device import Device
from simulators.happenings import (
    ActionKind,
    Boots,
    ClockBreaks,
    DeviceSpec,
    Happening,
    LinkChanges,
    Output,
    Place,
    Pressed,
    Received,
    Sensed,
    Wakes,
)
from simulators.host_device import Said

_NEVER_MS: Final = 2**62


class BenchDevice:
    """`simulators.device.Device`, spoken to line by line; see `HostDevice.say`."""

    def __init__(self, spec: DeviceSpec, now_ms: int) -> None:
        self.device = Device(spec, now_ms)
        self.now_ms = now_ms
        self._unset = False
        self.first = Said([], self._will(), False, [])

    def say(self, line: str) -> Said:
        """Let one line happen; ValueError for one that the protocol does not know."""
        word, _, rest = line.partition(" ")
        match word:
            case "at":
                return self._at(*map(int, rest.split()))
            case "link":
                return self._happen(LinkChanges(up=rest == "up"))
            case "in":
                return self._heard(bytes.fromhex(rest))
            case "fix":
                return self._happen(Sensed(_place(rest)))
            case "press":
                return self._happen(Pressed(EventCode(int(rest))))
            case "boot":
                said = self._happen(Boots())
                return said._replace(will=self._will())
        raise ValueError(f"not a line of the protocol: {line[:80]!r}")

    def _at(self, tick_ms: int, unix_ms: int) -> Said:
        # The simulated device has one time, and a clock fault for what it says.
        del tick_ms
        unset = unix_ms == 0
        self.now_ms = self.now_ms if unset else unix_ms
        if unset != self._unset:
            self._unset = unset
            self._happen(ClockBreaks(NotSet(_NEVER_MS) if unset else Steady()))
        return self._happen(Wakes(moving=False))

    def _heard(self, payload: bytes) -> Said:
        # A line has no topic: an ack and a command are told by their kind, as a firmware does.
        lane = Lane.ACK if payload[4:5] == b"\x04" else Lane.CMD
        return self._happen(Received(lane, payload))

    def _happen(self, happening: Happening) -> Said:
        out: Output = self.device.handle(happening, self.now_ms)
        topics = {Lane.FIX: "fix", Lane.EVENT: "event", Lane.STATUS: "status"}
        return Said(
            [(f"em/{self.device.spec.device_id}/{topics[f.lane]}", f.payload) for f in out.frames],
            None,
            any(action.kind is ActionKind.TAKE_FIX for action in out.actions),
            [action.text for action in out.actions if action.kind is not ActionKind.TAKE_FIX],
        )

    def _will(self) -> tuple[str, bytes]:
        return f"em/{self.device.spec.device_id}/status", self.device.last_will()


def _place(text: str) -> Place | None:
    if text.startswith("none"):
        return None
    lat_e7, lon_e7, accuracy_dm = map(int, text.split())
    return Place(lat_e7, lon_e7, accuracy_dm, mechanism=Mechanism.GNSS, satellites=9)
