"""Why bytes from outside are refused: the reasons, and their numbers in a fault column."""

from enum import StrEnum
from typing import Final

# What a message may come in.
Buffer = bytes | bytearray | memoryview


class Fault(StrEnum):
    """The reason a message is refused."""

    TRUNCATED = "truncated"
    OVERSIZED = "oversized"
    BAD_MAGIC = "bad-magic"
    UNKNOWN_VERSION = "unknown-version"
    UNKNOWN_KIND = "unknown-kind"
    BAD_COUNT = "bad-count"
    BAD_LENGTH = "bad-length"
    BAD_TAG = "bad-tag"
    WRONG_DIRECTION = "wrong-direction"
    IMPOSSIBLE_VALUE = "impossible-value"
    WRONG_TOPIC = "wrong-topic"
    BAD_JSON = "malformed-json"
    BAD_SCHEMA = "bad-schema"
    UNKNOWN_TYPE = "unknown-type"
    BAD_CHECKSUM = "bad-checksum"


# Numbers of the fault column: 0 is no fault, n is FAULTS[n - 1]. New faults are added at the end
# only.
FAULTS: Final[tuple[Fault, ...]] = tuple(Fault)
FAULT_NUMBER: Final[dict[Fault, int]] = {fault: number for number, fault in enumerate(FAULTS, 1)}


class FrameError(Exception):
    """Bytes from outside that are no valid message; `detail` is for people."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault.value}: {detail}")
        self.fault = fault
        self.detail = detail


def fault_of(number: int) -> Fault | None:
    """Give the fault of one number of a fault column; None for 0."""
    return FAULTS[number - 1] if number else None
