"""What a simulated device is, what can happen to it, and what it answers."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from afstand.limits import SIM_RING_FRAMES_MAX
from firmware_contracts import EventCode, Lane, Mechanism
from simulators.clock import ClockFault, Steady
from simulators.ring import FrameKey, Pace


class DeviceKind(StrEnum):
    """What sort of device somebody carries."""

    TAG = "tag"  # ankle monitor
    VICTIM = "victim"  # Slachtofferdevice
    BUTTON = "button"  # AWARE: reports only when pressed
    PHONE = "phone"  # OwnTracks


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reporting intervals in seconds: of fixes in motion and at rest, of status; 0 means none."""

    moving_s: int = 60
    rest_s: int = 3_600
    status_s: int = 3_600


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a device that does not change.

    `phase_ms` spreads the first fixes of a fleet over the reporting interval.
    """

    device_id: str
    key: bytes
    root: bytes = b""  # of which keys of later generations are made; empty: there are none
    kind: DeviceKind = DeviceKind.TAG
    profile: Profile = Profile()
    clock: ClockFault = Steady()
    pace: Pace = Pace()
    seed: int = 0
    first_boot: int = 1
    phase_ms: int = 0
    jitter_ms: int = 400
    charge_pct: float = 85.0
    ring_frames_max: int = SIM_RING_FRAMES_MAX


class Place(NamedTuple):
    """A position as the receiver gives it, in wire units."""

    lat_e7: int
    lon_e7: int
    accuracy_dm: int
    speed_cm_s: int = 0xFFFF
    heading_cdeg: int = 0xFFFF
    mechanism: int = Mechanism.GNSS
    satellites: int = 0
    altitude_m: int = -32768


class Wakes(NamedTuple):
    """A timer of the device ran out, or the accelerometer changed its mind."""

    moving: bool


class Sensed(NamedTuple):
    """The answer to TAKE_FIX; None when no position was found."""

    place: Place | None


class Pressed(NamedTuple):
    """A button: PANIC, DURESS, SELF_TEST, or FALL of the sensor."""

    code: EventCode = EventCode.PANIC


class Strap(NamedTuple):
    """The strap is cut, or closed again."""

    cut: bool


class CaseOpens(NamedTuple):
    """Somebody opens the case."""


class Jammed(NamedTuple):
    """The receiver hears a jammer, or no longer."""

    on: bool


class Shielded(NamedTuple):
    """Foil around the device."""


class Charger(NamedTuple):
    """The charger is put on or taken off."""

    on: bool


class SetCharge(NamedTuple):
    """The battery is at this charge from now on (a scripted event)."""

    percent: float


class LinkChanges(NamedTuple):
    """The connection to the broker comes up or breaks."""

    up: bool


class Received(NamedTuple):
    """A message on the ack or the cmd topic."""

    lane: Lane
    payload: bytes


class Boots(NamedTuple):
    """The device restarts."""


class ClockBreaks(NamedTuple):
    """The clock goes wrong (or right again: Steady) from now on."""

    fault: ClockFault


Happening = (
    Wakes
    | Sensed
    | Pressed
    | Strap
    | CaseOpens
    | Jammed
    | Shielded
    | Charger
    | SetCharge
    | LinkChanges
    | Received
    | Boots
    | ClockBreaks
)


class ActionKind(StrEnum):
    """What the driver of a device is to do."""

    TAKE_FIX = "take-fix"
    SHOW_MESSAGE = "show-message"
    VIBRATE = "vibrate"


class Action(NamedTuple):
    """One thing to do; the text and the command id belong to a message of the server."""

    kind: ActionKind
    text: str = ""
    command_id: int = 0


class Outgoing(NamedTuple):
    """One frame to publish, QoS 1, on the device's lane."""

    lane: Lane
    payload: bytes
    key: FrameKey


class Output(NamedTuple):
    """Frames in the order in which they go out, and actions."""

    frames: list[Outgoing]
    actions: list[Action]
