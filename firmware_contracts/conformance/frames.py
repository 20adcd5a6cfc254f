"""Messages of a conformance log, read once; and the frames with which the tester tries a device."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from firmware_contracts.codes import TAG_BYTES, CommandCode, EventCode, Kind
from firmware_contracts.conformance.log import Heard, Item
from firmware_contracts.faults import FrameError
from firmware_contracts.frames import Header, Tagger, encode_command, read_header
from firmware_contracts.table import (
    COMMAND_ID_MAX,
    HEADER,
    HEADER_BYTES,
    HEADER_STRUCT,
    RECORDS,
    struct_of,
)

ANSWERS: Final = frozenset(
    {EventCode.COMMAND_DONE, EventCode.COMMAND_REFUSED, EventCode.COMMAND_EXPIRED}
)
Key = tuple[int, int]  # boot, sequence


class Frame(NamedTuple):
    """One message heard. `header` is None when it is refused, `error` says why."""

    item: Heard
    branch: str  # of the topic: fix, event, status or something else
    header: Header | None
    error: FrameError | None
    tag_valid: bool
    records: list[dict[str, int]]
    reserved: int  # of the header

    @property
    def at_ms(self) -> int:
        """When it was heard."""
        return self.item.at_ms

    @property
    def key(self) -> Key:
        """What an ack names it by; (-1, -1) when it cannot be read."""
        return (-1, -1) if self.header is None else (self.header.boot, self.header.sequence)

    @property
    def kind(self) -> Kind | None:
        """What it carries."""
        return None if self.header is None else self.header.kind

    @property
    def kept(self) -> bool:
        """Whether a device must keep it until an ack: a proven fix or event."""
        return self.tag_valid and self.kind in (Kind.FIX, Kind.EVENT)

    def events(self) -> Iterator[tuple[int, int]]:
        """Give code and value of its events."""
        if self.kind is Kind.EVENT:
            for record in self.records:
                yield record["code"], record["value"]


def read_frame(item: Heard, device_id: str, tagger: Tagger) -> Frame:
    """Read one message that was heard; never raises for what stands in it."""
    branch = item.topic.removeprefix(f"em/{device_id}/")
    try:
        header = read_header(item.payload)
    except FrameError as error:
        return Frame(item, branch, None, error, tag_valid=False, records=[], reserved=0)
    names = [field.name for field in RECORDS[header.kind].fields]
    layout, size = struct_of(header.kind), header.record_bytes
    starts = range(HEADER_BYTES, HEADER_BYTES + header.count * size, size)
    records = [
        dict(zip(names, layout.unpack_from(item.payload, start), strict=True)) for start in starts
    ]
    reserved = HEADER_STRUCT.unpack_from(item.payload)[-1]
    valid = tagger.valid(item.payload)
    return Frame(item, branch, header, None, valid, records, reserved)


def read_frames(items: list[Item], device_id: str, key: bytes) -> list[Frame]:
    """Read all that was heard of a device, in order."""
    tagger = Tagger(device_id, key)
    return [read_frame(item, device_id, tagger) for item in items if isinstance(item, Heard)]


# --- what the tester says -------------------------------------------------------------------------


def _patched(body: bytes, tagger: Tagger, **fields: int) -> bytes:
    """Change header fields of a frame without its tag, and tag it."""
    raw = bytearray(body)
    for field in HEADER.fields:
        if field.name in fields:
            at = HEADER.offset_of(field.name)
            raw[at : at + field.bytes] = fields[field.name].to_bytes(field.bytes, "little")
    return bytes(raw) + tagger.tag(bytes(raw))


Variant = tuple[str, Callable[[bytes, Tagger], bytes]]
_RECORD_BYTES: Final = RECORDS[Kind.COMMAND].bytes

# Sentence, and what it makes of a sound command frame without its tag. A device must not act on any
# of them.
HOSTILE: Final[tuple[Variant, ...]] = (
    ("FC-001", lambda body, tagger: body + b"!" + tagger.tag(body + b"!")),
    ("FC-001", lambda body, tagger: (body + tagger.tag(body))[:-1]),
    ("FC-003", lambda body, tagger: _patched(body, tagger, magic=0xAF58)),
    ("FC-004", lambda body, tagger: _patched(body, tagger, major=2)),
    (
        "FC-006",
        lambda body, tagger: _patched(body[:-1], tagger, record_bytes=_RECORD_BYTES - 1),
    ),
    (
        "FC-006",
        lambda body, tagger: _patched(body + b"\0", tagger, record_bytes=_RECORD_BYTES + 1),
    ),
    ("FC-007", lambda body, tagger: _patched(body, tagger, count=0)),
    ("FC-008", lambda body, tagger: _patched(body, tagger, kind=99)),
    ("FC-009", lambda body, tagger: _patched(body, tagger, flags=0)),
    ("FC-020", lambda body, _: body + Tagger("x", bytes(16)).tag(body)),
    ("FC-021", lambda body, tagger: body + _flipped(tagger.tag(body), TAG_BYTES - 1)),
    ("FC-021", lambda body, tagger: body + _flipped(tagger.tag(body), 0)),
    ("FC-024", lambda body, _: body + bytes(TAG_BYTES)),
)
# A device must accept these as if they were plain.
LENIENT: Final[tuple[Variant, ...]] = (
    (
        "FC-005",
        lambda body, tagger: _patched(body + b"\xa5" * 5, tagger, minor=200, record_bytes=90),
    ),
    ("FC-010", lambda body, tagger: _patched(body, tagger, flags=0xFF, reserved=2**64 - 1)),
)


def _flipped(tag: bytes, place: int) -> bytes:
    return tag[:place] + bytes([tag[place] ^ 1]) + tag[place + 1 :]


def command_frame(
    device_id: str, key: bytes, command_id: int, expires_ms: int, now_ms: int, **more: Any
) -> bytes:
    """Seal a sound command; VIBRATE for one second unless `more` says otherwise."""
    named: dict[str, Any] = {"code": CommandCode.VIBRATE, "arg1": 1} | more
    return encode_command(
        device_id,
        key,
        command_id=command_id,
        expires_ms=expires_ms,
        server_time_ms=now_ms,
        **named,
    )


def varied(variant: Variant, frame: bytes, tagger: Tagger) -> bytes:
    """Make a variant of a sound frame."""
    return variant[1](frame[:-TAG_BYTES], tagger)


def with_command_id(frame: bytes, command_id: int, tagger: Tagger) -> bytes:
    """Put another id into a command frame, also one that no encoder writes."""
    raw = bytearray(frame[:-TAG_BYTES])
    raw[HEADER_BYTES : HEADER_BYTES + 4] = command_id.to_bytes(4, "little")
    return bytes(raw) + tagger.tag(bytes(raw))


IMPOSSIBLE_IDS: Final = (0, COMMAND_ID_MAX + 1)


def answer_value(command_id: int) -> int:
    """Give the value of the event that would answer a command: its id, as a signed number."""
    return command_id - 2**32 if command_id > COMMAND_ID_MAX else command_id
