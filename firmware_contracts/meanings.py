"""What every enumerated number of the contract means, for the C header and the specification.

The meanings of events say too what is expected of the alarm that follows, so that a device maker
knows which of them may end by themselves and which stay until a person has dealt with them.
"""

from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from firmware_contracts.codes import (
    CommandCode,
    EventCode,
    FixFlag,
    FrameFlag,
    Kind,
    Mechanism,
    Network,
    StatusFlag,
    StatusReason,
)

Enumerated = IntEnum | IntFlag


class EventMeaning(msgspec.Struct, frozen=True):
    """What one event says, what its value is, and what the server makes of it."""

    meaning: str
    value: str
    alarm: str
    latches: str


MEANINGS: Final[dict[type[Enumerated], dict[int, str]]] = {
    Kind: {
        Kind.FIX: "Positions.",
        Kind.EVENT: "Events: the priority lane.",
        Kind.STATUS: "Health of the device; the last will.",
        Kind.ACK: "From the server: what is durable.",
        Kind.COMMAND: "From the server: what to do.",
    },
    FrameFlag: {FrameFlag.FROM_SERVER: "The frame comes from the server."},
    Mechanism: {
        Mechanism.UNKNOWN: "Not known.",
        Mechanism.GNSS: "Satellites: GPS, Galileo, GLONASS, BeiDou.",
        Mechanism.WIFI: "WiFi access points heard.",
        Mechanism.CELL: "Cells of the mobile network.",
        Mechanism.BEACON: "A beacon at a known place, such as a home unit.",
    },
    FixFlag: {
        FixFlag.MOVING: "The device's motion sensor says that it moves.",
        FixFlag.STORED: "Kept in memory before it could be sent.",
        FixFlag.ON_COMMAND: "Taken because a command asked for it.",
        FixFlag.CHARGING: "The charger is connected.",
    },
    CommandCode: {
        CommandCode.FIX_NOW: "Take and send one fix at once.",
        CommandCode.BURST: "A fix every arg1 seconds for arg2 seconds, then the profile again.",
        CommandCode.MESSAGE: "Show or speak the text; vibrate.",
        CommandCode.VIBRATE: "Vibrate for arg1 seconds.",
        CommandCode.PROFILE: "From now on a fix every arg1 seconds in motion, arg2 at rest.",
        CommandCode.KEY: "From now on key generation arg1; the text is the nonce, 32 hex digits.",
    },
    Network: {
        Network.UNKNOWN: "Not known.",
        Network.GSM: "GSM, GPRS, EDGE.",
        Network.LTE_M: "LTE-M.",
        Network.NB_IOT: "NB-IoT.",
        Network.LTE: "LTE.",
        Network.NR: "5G NR.",
        Network.WIFI: "WiFi.",
    },
    StatusReason: {
        StatusReason.PERIODIC: "It was time.",
        StatusReason.BOOT: "First status after a restart.",
        StatusReason.CONNECTED: "The connection was made again.",
        StatusReason.LAST_WILL: "Sent by the broker: the connection is lost.",
        StatusReason.ON_COMMAND: "A command asked for it.",
    },
    StatusFlag: {
        StatusFlag.CHARGING: "The charger is connected.",
        StatusFlag.STRAP_CLOSED: "The strap is closed and whole.",
        StatusFlag.CASE_CLOSED: "The case is closed.",
        StatusFlag.GNSS_WORKS: "The receiver has had a position since the last status.",
        StatusFlag.CLOCK_SET: "The clock is set.",
    },
}

_NO_VALUE: Final = "0"
_UNTIL_DISPOSED: Final = "yes: stays until a person has dealt with it"
_ENDS: Final = "no: ends with its counterpart"
_RECORD: Final = "none: kept for evidence"

EVENT_MEANINGS: Final[dict[EventCode, EventMeaning]] = {
    EventCode.PANIC: EventMeaning(
        "The panic button was pressed.", _NO_VALUE, "panic", _UNTIL_DISPOSED
    ),
    EventCode.STRAP_CUT: EventMeaning(
        "The strap is cut, opened or stretched.", _NO_VALUE, "tamper", _UNTIL_DISPOSED
    ),
    EventCode.STRAP_RESTORED: EventMeaning(
        "The strap is closed again.", _NO_VALUE, _RECORD, "no: never ends the tamper alarm"
    ),
    EventCode.CASE_OPENED: EventMeaning(
        "The case was opened.", _NO_VALUE, "tamper", _UNTIL_DISPOSED
    ),
    EventCode.JAMMING: EventMeaning(
        "Radio or GNSS reception is being jammed.",
        "level in dB above the noise floor, 0 when not known",
        "tamper",
        _UNTIL_DISPOSED,
    ),
    EventCode.JAMMING_ENDED: EventMeaning(
        "The jamming has ended.",
        "its duration in seconds",
        _RECORD,
        "no: never ends the tamper alarm",
    ),
    EventCode.BATTERY_LOW: EventMeaning(
        "The battery is low.", "charge in %", "device dying", _ENDS + " CHARGING"
    ),
    EventCode.BATTERY_CRITICAL: EventMeaning(
        "The battery lasts for minutes only.", "charge in %", "device dying", _ENDS + " CHARGING"
    ),
    EventCode.CHARGING: EventMeaning("The charger was connected.", "charge in %", _RECORD, "no"),
    EventCode.CHARGING_ENDED: EventMeaning(
        "The charger was disconnected.", "charge in %", _RECORD, "no"
    ),
    EventCode.SHIELDING: EventMeaning(
        "The device is wrapped or held in something that shields it.",
        _NO_VALUE,
        "tamper",
        _UNTIL_DISPOSED,
    ),
    EventCode.DURESS: EventMeaning(
        "The covert alarm: the person is being forced; the device shows nothing.",
        _NO_VALUE,
        "panic",
        _UNTIL_DISPOSED,
    ),
    EventCode.FALL: EventMeaning(
        "A fall was felt and no motion after it.", _NO_VALUE, "panic", _UNTIL_DISPOSED
    ),
    EventCode.COMMAND_DONE: EventMeaning(
        "A command was carried out.", "id of the command", _RECORD, "no"
    ),
    EventCode.COMMAND_REFUSED: EventMeaning(
        "A command cannot be carried out by this device.", "id of the command", _RECORD, "no"
    ),
    EventCode.COMMAND_EXPIRED: EventMeaning(
        "A command came after its expiry and was not carried out.",
        "id of the command",
        _RECORD,
        "no",
    ),
    EventCode.SELF_TEST: EventMeaning(
        "A test press or the device's own test.", _NO_VALUE, "none: a drill", "no"
    ),
    EventCode.SHUTDOWN: EventMeaning(
        "The device switches itself off.",
        "0 by its user, 1 battery, 2 temperature, 3 fault",
        "device dying",
        "no: ends when the device is heard again",
    ),
    EventCode.MEMORY_FULL: EventMeaning(
        "The oldest fixes were dropped for want of memory.",
        "number of frames dropped",
        _RECORD,
        "no",
    ),
    EventCode.CONTACT_RADIO: EventMeaning(
        "The radio of the counterpart's device was heard near by.",
        "received signal strength in dBm",
        "proximity",
        _UNTIL_DISPOSED,
    ),
}
MEANINGS[EventCode] = {code: event.meaning for code, event in EVENT_MEANINGS.items()}
