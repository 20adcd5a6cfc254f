"""The normative sentences of the contract: each has an id for ever, and a test that cites it."""

from typing import Final

import msgspec

from afstand.limits import (
    FRAME_BYTES_MAX,
    FRAME_RECORDS_MAX,
    OWNTRACKS_BYTES_MAX,
    OWNTRACKS_DEPTH_MAX,
    TELTONIKA_BYTES_MAX,
)
from firmware_contracts.codes import TAG_BYTES
from firmware_contracts.table import COMMAND_ID_MAX, HEADER_BYTES


class Sentence(msgspec.Struct, frozen=True):
    """One numbered sentence; words in capitals as in RFC 2119.

    `keeper` says whose promise it is: "frame" that of every encoder and reader, kept and tested in
    this package; "device" the firmware's; "server" the intake's.
    """

    id: str
    keeper: str
    text: str


KEEPERS: Final = ("frame", "device", "server")

# A section begins with "# ", a sentence with its id and its keeper; what is indented goes on.
_TEXT: Final = f"""\
# Frames
FC-001 frame: A frame MUST be a header of {HEADER_BYTES} bytes, `count` records of `record_bytes`
    bytes each and a tag of {TAG_BYTES} bytes, with nothing before, between or after them.
FC-002 frame: Every number MUST be little-endian, signed numbers in two's complement, with no
    padding between fields.
FC-003 frame: A reader MUST refuse a frame whose `magic` is not 0xAF57 (`bad-magic`).
FC-004 frame: A reader MUST refuse a frame whose `major` it does not know (`unknown-version`).
FC-005 frame: A reader MUST accept a frame of a newer `minor` whose records are longer than its
    own, and MUST ignore the rest of every record.
FC-006 frame: A reader MUST refuse a frame of its own or an older `minor` whose `record_bytes` is
    not that of the table for that minor, and a frame of any `minor` whose `record_bytes` is
    smaller (`bad-length`).
FC-007 frame: A frame MUST hold 1 to {FRAME_RECORDS_MAX} records (`bad-count`) and MUST NOT exceed
    {FRAME_BYTES_MAX} bytes (`oversized`).
FC-008 frame: A reader MUST refuse a `kind` it does not know (`unknown-kind`).
FC-009 frame: Bit 0 of `flags` MUST be set in ack and command frames and clear in all others; a
    reader MUST refuse a frame that says otherwise (`wrong-direction`).
FC-010 frame: A sender MUST write reserved fields and unassigned flag bits as zero, and a reader
    MUST ignore them.
FC-011 frame: A frame that is refused MUST NOT change what is read from any other frame.
FC-012 frame: A number, field or meaning, once assigned, MUST NOT change; frames of every older
    minor stay readable.
# Tag
FC-020 frame: The tag MUST be the AES-128-CMAC of RFC 4493, under the key of the device, of: one
    byte with the length of the device id, the device id in ASCII, and the frame without its tag.
FC-021 frame: A reader MUST compare all bytes of the tag, in constant time, and MUST refuse a
    frame whose tag differs (`bad-tag`).
FC-022 frame: A device id MUST be 1 to 64 characters out of letters, digits, dot, underscore and
    hyphen.
FC-023 frame: Frames of both directions MUST be tagged with the same key; the direction bit is
    part of what is tagged.
FC-024 device: A device MUST NOT act on an ack or a command whose tag is wrong.
# Numbers and time
FC-030 device: `boot` MUST be larger after every restart, and MUST survive loss of power.
FC-031 device: `sequence` MUST start at 1 after a restart and rise by one with every frame sealed,
    of whatever kind; a frame that is sent again MUST be the same bytes.
FC-032 frame: `sequence` 0 MUST be used for the last will only, and a sender's encoder MUST refuse
    it for fixes and events.
FC-033 device: `device_time_ms` MUST be the Unix time in UTC at which the frame was sealed, or 0
    while the clock is not set.
FC-034 frame: The time of a record is `device_time_ms` + `time_offset_ms`.
FC-035 frame: A reader MUST refuse a fix whose frame or record has a time before 2020 or after
    2099 (`impossible-value`).
FC-036 frame: A reader MUST accept an event or a status with such a time, and read its time as not
    known.
# Values
FC-040 frame: A reader MUST refuse a fix off the globe: latitude beyond 90 or longitude beyond 180
    degrees (`impossible-value`).
FC-041 frame: A reader MUST refuse a fix at exactly latitude 0, longitude 0 (`impossible-value`):
    a device without a position sends none.
FC-042 frame: `accuracy_dm` MUST be the radius that holds the true place in 68 % of cases; a
    reader MUST refuse a fix with 0 (`impossible-value`); 65535 says not known, or larger.
FC-043 frame: A reader MUST refuse a heading from 36000 to 65534 and a charge from 101 to 254
    (`impossible-value`).
FC-044 frame: One impossible record MUST refuse its whole frame.
FC-045 frame: A reader MUST NOT refuse an event for its position: an impossible one is read as
    none.
FC-046 frame: A reader MUST hand on an event code it does not know.
FC-047 frame: A reader MUST read a mechanism it does not know as UNKNOWN.
# Topics
FC-050 frame: A device MUST publish each frame as one MQTT message with QoS 1, not retained, on
    the topic of its kind: em/{{device}}/fix, em/{{device}}/event, em/{{device}}/status; it hears
    em/{{device}}/ack and em/{{device}}/cmd.
FC-051 server: A frame on the topic of another kind MUST be refused (`wrong-topic`).
FC-052 device: The last will MUST be a status frame with reason LAST_WILL and sequence 0, sealed
    when the device connects.
# Delivery
FC-060 device: A device MUST keep every fix and event frame, across restarts, until an ack covers
    it, and MUST send again what no ack has covered within 60 s or before the connection was lost;
    a broker's PUBACK is no ack.
FC-061 server: The server MUST NOT ack a frame before it is durable.
FC-062 frame: An ack record covers the frames of its `boot` from `first` to `last`, both included,
    and no other; a reader MUST refuse `first` beyond `last` (`impossible-value`).
FC-063 server: Events MUST be acked at once; acks of fixes MAY be gathered for up to 10 s.
FC-064 device: A device short of memory MUST drop its oldest fixes first and events never, and
    MUST send MEMORY_FULL.
FC-065 device: A device MUST send events before the fixes that wait.
# Events
FC-070 device: A device MUST send PANIC and DURESS at once, whatever the state of its clock, its
    position or its memory.
FC-071 device: A device MUST send SELF_TEST for a test press, and MUST NOT send it for any other.
# Commands
FC-080 device: A device MUST answer every command with COMMAND_DONE, COMMAND_REFUSED or
    COMMAND_EXPIRED, whose value is the command's id.
FC-081 device: A device MUST NOT carry out a command after `expires_ms`.
FC-082 device: A device MUST carry out one command id once, and MUST answer a repeat as it
    answered the first.
FC-083 device: A device MUST answer a code it does not know with COMMAND_REFUSED.
FC-084 frame: `text` MUST be UTF-8 of at most 64 bytes and ends at the first zero byte.
FC-085 frame: `command_id` MUST be 1 to {COMMAND_ID_MAX}; a reader MUST refuse another
    (`impossible-value`).
# OwnTracks
FC-090 frame: A payload of more than {OWNTRACKS_BYTES_MAX} bytes (`oversized`), or one that is not
    JSON, is nested deeper than {OWNTRACKS_DEPTH_MAX}, repeats a name in an object or holds a number
    beyond 64 bits (`malformed-json`), MUST be refused.
FC-091 frame: A message MUST be judged as the OwnTracks JSON schemas judge it (`bad-schema`,
    `unknown-type`); in a location `acc`, `vel`, `cog`, `batt` and `alt` MUST be numbers and `t`
    one ASCII character.
FC-092 frame: Every valid message MUST give either one fix or an enumerated reason why it gives
    none.
FC-093 frame: An array MUST give one result per message, in its order; one invalid message refuses
    it all.
FC-094 frame: An `acc` that is missing or not above 0, and a negative `vel`, `cog` or `batt`, MUST
    be read as not known.
# Teltonika trackers
FC-100 frame: A packet MUST be four zero bytes (`bad-magic`), the length of its data in four bytes,
    the data, and the CRC-16/IBM of the data in four bytes (`bad-checksum`), with nothing behind
    (`bad-length`, `truncated`), of at most {TELTONIKA_BYTES_MAX} bytes (`oversized`).
FC-101 frame: Its codec MUST be 0x08 or 0x8E (`unknown-version`); the number of records MUST stand
    at both ends of the data and not be 0, and the elements of a record MUST be as many as it says
    (`bad-count`).
FC-102 frame: A record without satellites in use, at latitude 0 and longitude 0 or off the globe, or
    with a time before 2020 or after 2099, MUST NOT give a fix, and MUST NOT keep any other record
    of its packet from giving one.
FC-103 frame: A record MUST give the event of the AVL id that caused it, and PANIC when its
    priority is panic and that id has no event here; its position and its clock MUST NOT hold an
    event back.
FC-104 server: The server MUST answer a packet with the number of its records when they are durable,
    and MUST NOT before; a packet that is refused MUST NOT be answered with more than 0.
FC-105 server: A packet that holds an event MUST go by the priority lane.
# Key generations
FC-110 frame: The key of a generation MUST be the AES-128-CMAC under the root key of the device of:
    0x01, "afstand key" in ASCII, 0x00, one byte with the length of the device id, the device id in
    ASCII, the generation as u32, the 16 bytes of the nonce, and 128 as u16.
FC-111 device: A device that obeys KEY MUST keep the key through loss of power before it answers,
    and MUST seal the answer and everything after it with the new key; frames sealed before it stay
    as they are.
FC-112 device: A device MUST believe a frame of the server under its former key only until it has
    believed one under the new key.
FC-113 device: A device MUST answer KEY with COMMAND_REFUSED when it has no root key, when the
    generation is not above its own, and when the text is not 32 hexadecimal digits.
FC-114 server: The server MUST accept a frame under a former key only with a number before that of
    the first frame under the new key, and only for a limited time.
"""


def _parse(text: str) -> dict[str, tuple[Sentence, ...]]:
    sections: dict[str, tuple[Sentence, ...]] = {}
    section = ""
    for line in text.replace("\n    ", " ").splitlines():
        if line.startswith("# "):
            section = line[2:]
            sections[section] = ()
        else:
            head, _, words = line.partition(": ")
            number, _, keeper = head.partition(" ")
            sections[section] += (Sentence(number, keeper, words),)
    return sections


SENTENCES: Final[dict[str, tuple[Sentence, ...]]] = _parse(_TEXT)


def all_sentences() -> list[Sentence]:
    """Give every sentence in the order of the specification."""
    return [sentence for section in SENTENCES.values() for sentence in section]
