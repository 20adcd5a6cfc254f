"""Every enumerated number of contract version 1.

A value, once given, never changes its meaning and is never given again. What each means is in
`meanings.py`, from where the C header and the specification take it.
"""

from enum import IntEnum, IntFlag
from typing import Final

MAGIC: Final = 0xAF57
MAJOR: Final = 1
MINOR: Final = 0
TAG_BYTES: Final = 16


class Kind(IntEnum):
    """What a frame carries; one frame carries one kind."""

    FIX = 1
    EVENT = 2
    STATUS = 3
    ACK = 4
    COMMAND = 5


class FrameFlag(IntFlag):
    """Bits of the header's `flags`; a reader ignores the bits it does not know."""

    FROM_SERVER = 1


class Mechanism(IntEnum):
    """How a position was found."""

    UNKNOWN = 0
    GNSS = 1
    WIFI = 2
    CELL = 3
    BEACON = 4


class FixFlag(IntFlag):
    """Bits of a fix's `fix_flags`."""

    MOVING = 1
    STORED = 2
    ON_COMMAND = 4
    CHARGING = 8


class EventCode(IntEnum):
    """What happened to the device or its wearer."""

    PANIC = 1
    STRAP_CUT = 2
    STRAP_RESTORED = 3
    CASE_OPENED = 4
    JAMMING = 5
    JAMMING_ENDED = 6
    BATTERY_LOW = 7
    BATTERY_CRITICAL = 8
    CHARGING = 9
    CHARGING_ENDED = 10
    SHIELDING = 11
    DURESS = 12
    FALL = 13
    COMMAND_DONE = 20
    COMMAND_REFUSED = 21
    COMMAND_EXPIRED = 22
    SELF_TEST = 23
    SHUTDOWN = 24
    MEMORY_FULL = 25
    CONTACT_RADIO = 26


class CommandCode(IntEnum):
    """What the server asks of a device."""

    FIX_NOW = 1
    BURST = 2
    MESSAGE = 3
    VIBRATE = 4
    PROFILE = 5
    KEY = 6


class Network(IntEnum):
    """The bearer a device is connected over."""

    UNKNOWN = 0
    GSM = 1
    LTE_M = 2
    NB_IOT = 3
    LTE = 4
    NR = 5
    WIFI = 6


class StatusReason(IntEnum):
    """Why a status frame was sent."""

    PERIODIC = 0
    BOOT = 1
    CONNECTED = 2
    LAST_WILL = 3
    ON_COMMAND = 4


class StatusFlag(IntFlag):
    """Bits of a status record's `status_flags`."""

    CHARGING = 1
    STRAP_CLOSED = 2
    CASE_CLOSED = 4
    GNSS_WORKS = 8
    CLOCK_SET = 16
