"""What a conformance test heard, told and did: the log that the judges read, and its file form.

Every item has a time of its own, so that its order is in the times. A file is JSON lines: first a
head with the format, then one item a line. It holds everything that a verdict rests on, so anybody
can judge it again (`afstand conform --judge FILE`).
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from firmware_contracts.topics import Lane

FORMAT: Final = "afstand.conformance/1"


class Stimulus(StrEnum):
    """What a rig, or a person, does to the device."""

    BOOT = "boot"  # a restart
    LINK_CUT = "link cut"  # the connection breaks without a word
    LINK_UP = "link up"
    PRESS = "press"  # argument: the event code
    FIX = "fix"  # the receiver has a position; argument: how many times
    NO_FIX = "fix none"  # the receiver looks for a position and finds none
    CLOCK_UNSET = "clock unset"
    CLOCK_SET = "clock set"


class Purpose(StrEnum):
    """Why the tester told the device something."""

    ACK = "ack"
    ACK_FORGED = "ack forged"
    ACK_REVERSED = "ack reversed"  # first beyond last
    ACK_OTHER_BOOT = "ack of another boot"
    COMMAND = "command"
    EXPIRED = "expired"
    UNKNOWN_CODE = "unknown code"
    REPEAT = "repeat"  # the bytes of an earlier command, after its expiry
    LENIENT = "lenient"  # must be accepted all the same; `sentence` says by which rule
    HOSTILE = "hostile"  # must be refused; `sentence` says by which rule
    AFTER_HOSTILE = "after hostile"


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """A message on one of the device's topics."""

    at_ms: int
    topic: str
    payload: bytes
    qos: int = 1
    retained: bool = False


class Told(msgspec.Struct, frozen=True, tag="told"):
    """A message to the device. `ranges` of an ack; `command_id` and `code` of a command.

    `about` = boot and sequence of the frame that a false ack must not let go.
    """

    at_ms: int
    lane: Lane
    payload: bytes
    purpose: Purpose
    ranges: tuple[tuple[int, int, int], ...] = ()
    command_id: int = 0
    code: int = 0
    sentence: str = ""
    about: tuple[int, int] = (0, 0)


class Did(msgspec.Struct, frozen=True, tag="did"):
    """Something that was done to the device."""

    at_ms: int
    what: Stimulus
    argument: int = 0


class Withheld(msgspec.Struct, frozen=True, tag="withheld"):
    """From here on acks are withheld (`on`), or given again."""

    at_ms: int
    on: bool


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The test is over: what has not come by now does not count as coming."""

    at_ms: int


Item = Heard | Told | Did | Withheld | Ended


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a file. `resend_s` ... are the times that the tester allowed."""

    format: str
    device_id: str
    patience: "Patience"


class Patience(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the tester waits for what, in seconds.

    The contract's own figure is 60 s for sending again; the others are this test's.
    """

    boot_s: float = 180.0  # from a restart to its first frame
    link_s: float = 120.0  # from the return of the link to the first frame
    fix_s: float = 180.0
    at_once_s: float = 10.0  # a press
    answer_s: float = 120.0  # a command; FIX_NOW needs a position
    resend_s: float = 65.0  # FC-060: 60 s, and what the way takes
    quiet_s: float = 5.0  # what has not come by then was not triggered
    clock_s: float = 60.0  # how wrong a clock may be that is set
    expiry_s: float = 20.0  # of the command that is repeated after it

    def scaled(self, factor: float) -> "Patience":
        """So many times as patient, but for the clock's error."""
        values = msgspec.structs.asdict(self)
        return Patience(
            **{
                name: value if name == "clock_s" else value * factor
                for name, value in values.items()
            }
        )


class LogError(ValueError):
    """A file that is not a conformance log; the message says where."""


_ITEM: Final = msgspec.json.Decoder(Item)
_HEAD: Final = msgspec.json.Decoder(Head)


def written(device_id: str, patience: Patience, items: Iterable[Item]) -> bytes:
    """Give the file form of a log."""
    lines = [msgspec.json.encode(Head(FORMAT, device_id, patience))]
    lines += [msgspec.json.encode(item) for item in sorted(items, key=lambda one: one.at_ms)]
    return b"\n".join(lines) + b"\n"


def read(raw: bytes) -> tuple[str, Patience, list[Item]]:
    """Read a file: the device, the times allowed and the items. Raises LogError."""
    lines = raw.splitlines()
    try:
        head = _HEAD.decode(lines[0] if lines else b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogError(f"line 1: {error}") from None
    if head.format != FORMAT:
        raise LogError(f"line 1: format {head.format!r}, not {FORMAT!r}")
    items: list[Item] = []
    for number, line in enumerate(lines[1:], 2):
        try:
            items.append(_ITEM.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LogError(f"line {number}: {error}") from None
    return head.device_id, head.patience, items
