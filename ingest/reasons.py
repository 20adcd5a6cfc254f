"""Why a message was not taken.

Every reason the intake has, as written to the quarantine and counted in the metrics.
"""

from __future__ import annotations

from enum import StrEnum

from firmware_contracts.faults import Fault


class Reason(StrEnum):
    """The contract's faults under their own names, and what only the intake can find out."""

    TRUNCATED = Fault.TRUNCATED.value
    OVERSIZED = Fault.OVERSIZED.value
    BAD_MAGIC = Fault.BAD_MAGIC.value
    UNKNOWN_VERSION = Fault.UNKNOWN_VERSION.value
    UNKNOWN_KIND = Fault.UNKNOWN_KIND.value
    BAD_COUNT = Fault.BAD_COUNT.value
    BAD_LENGTH = Fault.BAD_LENGTH.value
    BAD_TAG = Fault.BAD_TAG.value
    WRONG_DIRECTION = Fault.WRONG_DIRECTION.value
    IMPOSSIBLE_VALUE = Fault.IMPOSSIBLE_VALUE.value
    WRONG_TOPIC = Fault.WRONG_TOPIC.value
    BAD_JSON = Fault.BAD_JSON.value
    BAD_SCHEMA = Fault.BAD_SCHEMA.value
    UNKNOWN_TYPE = Fault.UNKNOWN_TYPE.value
    BAD_CHECKSUM = Fault.BAD_CHECKSUM.value

    MALFORMED_PACKET = "malformed-packet"  # the MQTT packet itself, its framing being sound
    UNKNOWN_DEVICE = "unknown-device"
    DISABLED_DEVICE = "disabled-device"
    FUTURE_TIME = "future-time"  # a fix from a clock that is ahead
    REPLAYED_SEQUENCE = "replayed-sequence"  # a frame again, long after it was stored
    UNAUTHENTICATED_FLOOD = "unauthenticated-flood"  # an alarm without proof, above the bound
    INTERNAL_ERROR = "internal-error"  # our own fault; the message is kept for a look


def reason_of(fault: Fault) -> Reason:
    """Return the reason that a fault of the contract is."""
    return Reason(fault.value)
