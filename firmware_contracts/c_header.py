"""The C header for firmware, derived from the table."""

from typing import Final

from afstand.limits import FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from firmware_contracts.codes import MAGIC, MAJOR, MINOR, TAG_BYTES, Kind
from firmware_contracts.faults import FAULT_NUMBER
from firmware_contracts.meanings import MEANINGS, Enumerated
from firmware_contracts.table import (
    COMMAND_ID_MAX,
    HEADER,
    RECORDS,
    SERVER_KINDS,
    TIME_MS_MAX,
    TIME_MS_MIN,
    Field,
    Layout,
)
from firmware_contracts.topics import DEVICE_ID_CHARACTERS_MAX

_C_TYPES: Final = {
    "u1": "uint8_t",
    "u2": "uint16_t",
    "u4": "uint32_t",
    "u8": "uint64_t",
    "i2": "int16_t",
    "i4": "int32_t",
}
_PREFIXES: Final = {
    "Kind": "KIND",
    "FrameFlag": "FLAG",
    "Mechanism": "MECHANISM",
    "FixFlag": "FIX",
    "EventCode": "EVENT",
    "CommandCode": "COMMAND",
    "Network": "NETWORK",
    "StatusReason": "STATUS_REASON",
    "StatusFlag": "STATUS",
}


def c_header() -> str:
    """Give the whole text of afstand_v1.h."""
    layouts = [HEADER, *RECORDS.values()]
    parts = [
        _HEAD,
        _constants(),
        *[
            _enum(f"afs1_{_PREFIXES[enum.__name__].lower()}_code", _members(enum))
            for enum in MEANINGS
        ],
        _faults(),
        "#pragma pack(push, 1)\n",
        *[_struct(layout) for layout in layouts],
        "#pragma pack(pop)\n",
        *[_asserts(layout) for layout in layouts],
        _ACCESS,
        *[_put(layout) + _get(layout) for layout in layouts],
        _FRAMES,
        _TEXT,
        _check(),
        *[_encode(kind, layout) + _decode(kind, layout) for kind, layout in RECORDS.items()],
        _TAGS,
        "#endif /* AFSTAND_V1_H */\n",
    ]
    return "\n".join(parts)


def _comment(text: str) -> str:
    return f"/* {text} */"


def _constants() -> str:
    rows = [
        ("MAGIC", f"0x{MAGIC:04X}u"),
        ("MAJOR", f"{MAJOR}u"),
        ("MINOR", f"{MINOR}u"),
        ("HEADER_BYTES", f"{HEADER.bytes}u"),
        ("TAG_BYTES", f"{TAG_BYTES}u"),
        ("RECORDS_MAX", f"{FRAME_RECORDS_MAX}u"),
        ("FRAME_BYTES_MAX", f"{FRAME_BYTES_MAX}u"),
        ("DEVICE_ID_MAX", f"{DEVICE_ID_CHARACTERS_MAX}u"),
        ("COMMAND_ID_MAX", f"{COMMAND_ID_MAX}u"),
        ("TIME_MS_MIN", f"{TIME_MS_MIN}u"),
        ("TIME_MS_MAX", f"{TIME_MS_MAX}u"),
    ]
    rows += [(f"{layout.name.upper()}_BYTES", f"{layout.bytes}u") for layout in RECORDS.values()]
    for layout in (HEADER, *RECORDS.values()):
        for field in layout.fields:
            if field.unknown is not None:
                rows.append((f"{layout.name}_{field.name}_UNKNOWN".upper(), f"({field.unknown})"))
    return "".join(f"#define AFS1_{name} {_wide(value)}\n" for name, value in rows)


def _wide(value: str) -> str:
    """Write a constant beyond 32 bits in the form that every C99 compiler takes."""
    digits = value.rstrip("u")
    return f"UINT64_C({digits})" if digits.isdigit() and int(digits) > 0xFFFF_FFFF else value


def _members(enum: type[Enumerated]) -> list[tuple[str, int, str]]:
    prefix = _PREFIXES[enum.__name__]
    return [
        (f"AFS1_{prefix}_{member.name}", member.value, MEANINGS[enum][member]) for member in enum
    ]


def _enum(name: str, members: list[tuple[str, int, str]]) -> str:
    rows = [
        f"  {member} = {value}{',' if place < len(members) else ''} {_comment(text)}"
        for place, (member, value, text) in enumerate(members, 1)
    ]
    return "\n".join([f"enum {name} {{", *rows, "};", ""])


def _faults() -> str:
    members = [("AFS1_OK", 0, "Sound.")]
    members += [
        (f"AFS1_FAULT_{f.name}", number, f"{f.value}.") for f, number in FAULT_NUMBER.items()
    ]
    return (
        _comment("Why a frame is refused; the same numbers as in the server.")
        + "\n"
        + _enum("afs1_fault", members)
    )


def _declaration(field: Field) -> str:
    if field.wire.startswith("S"):
        return f"uint8_t {field.name}[{field.bytes}]"
    return f"{_C_TYPES[field.wire]} {field.name}"


def _struct(layout: Layout) -> str:
    rows = [
        f"  {_declaration(field)}; {_comment(field.doc + (f' [{field.unit}]' * bool(field.unit)))}"
        for field in layout.fields
    ]
    return "\n".join(
        [_comment(layout.doc), "typedef struct {", *rows, f"}} afs1_{layout.name}_t;", ""]
    )


def _asserts(layout: Layout) -> str:
    name = f"afs1_{layout.name}"
    rows = [f"AFS1_ASSERT({name}_size, sizeof({name}_t) == {layout.bytes}u);"]
    rows += [
        f"AFS1_ASSERT({name}_{field.name}_at,"
        f" offsetof({name}_t, {field.name}) == {layout.offset_of(field.name)}u);"
        for field in layout.fields
    ]
    return "\n".join([*rows, ""])


def _put(layout: Layout) -> str:
    rows = []
    for field in layout.fields:
        at = layout.offset_of(field.name)
        if field.wire.startswith("S"):
            rows.append(f"  memcpy(out + {at}, in->{field.name}, {field.bytes}u);")
        else:
            rows.append(f"  afs1_put_le(out + {at}, (uint64_t)in->{field.name}, {field.bytes}u);")
    head = (
        f"static inline void afs1_put_{layout.name}(uint8_t *out, const afs1_{layout.name}_t *in)"
    )
    return "\n".join([head, "{", *rows, "}", "", ""])


def _get(layout: Layout) -> str:
    rows = []
    for field in layout.fields:
        at = layout.offset_of(field.name)
        if field.wire.startswith("S"):
            rows.append(f"  memcpy(out->{field.name}, in + {at}, {field.bytes}u);")
        elif field.wire.startswith("i"):
            value = f"afs1_signed(afs1_get_le(in + {at}, {field.bytes}u), {8 * field.bytes}u)"
            rows.append(f"  out->{field.name} = ({_C_TYPES[field.wire]}){value};")
        else:
            value = f"afs1_get_le(in + {at}, {field.bytes}u)"
            rows.append(f"  out->{field.name} = ({_C_TYPES[field.wire]}){value};")
    head = (
        f"static inline void afs1_get_{layout.name}(afs1_{layout.name}_t *out, const uint8_t *in)"
    )
    return "\n".join([head, "{", *rows, "}", ""])


def _check() -> str:
    known = "\n".join(
        f"    case AFS1_KIND_{kind.name}:\n      return AFS1_{layout.name.upper()}_BYTES;"
        for kind, layout in RECORDS.items()
    )
    server = " || ".join(f"kind == AFS1_KIND_{kind.name}" for kind in SERVER_KINDS)
    return _CHECK.replace("@KNOWN@", known).replace("@SERVER@", server)


def _encode(kind: Kind, layout: Layout) -> str:
    return (
        _ENCODE.replace("@NAME@", layout.name)
        .replace("@KIND@", kind.name)
        .replace("@UPPER@", layout.name.upper())
        .replace("@NUMBERED@", _NUMBERED if kind in (Kind.FIX, Kind.EVENT) else "")
    )


def _decode(kind: Kind, layout: Layout) -> str:
    text = _DECODE.replace("@NAME@", layout.name).replace("@KIND@", kind.name)
    return text.replace("@REFUSE@", _REFUSE.get(kind, ""))


_HEAD: Final = """\
/* Afstand, contract version 1: what a device says on the wire, for firmware.
 *
 * Generated by `python -m firmware_contracts` from the one table that is the contract: do not edit.
 * SPDX-License-Identifier: EUPL-1.2
 *
 * C99, no allocation, no library but <string.h>. The afs1_put_ and afs1_get_ functions work on
 * every byte order; the packed structs are the wire itself on a little-endian processor only.
 *
 * To send:    size = afs1_encode_event(buffer, sizeof buffer, boot, sequence, time_ms, &event, 1);
 *             size = afs1_seal(buffer, sizeof buffer, size, device_id, cmac, context);
 * To receive: if (afs1_check(frame, size, &header) == AFS1_OK &&
 *                 afs1_verify(frame, size, device_id, cmac, context))
 *               for (i = 0; i < header.count; i++)
 *                 if (afs1_read_command(frame, &header, i, &command) == AFS1_OK) ...
 */
#ifndef AFSTAND_V1_H
#define AFSTAND_V1_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A negative array size is what C99 has for a static assertion. */
#define AFS1_ASSERT(name, condition) typedef char afs1_assert_##name[(condition) ? 1 : -1]
"""

_ACCESS: Final = """\
static inline void afs1_put_le(uint8_t *out, uint64_t value, unsigned bytes)
{
  unsigned i;
  for (i = 0; i < bytes; i++)
    out[i] = (uint8_t)(value >> (8u * i));
}

static inline uint64_t afs1_get_le(const uint8_t *in, unsigned bytes)
{
  uint64_t value = 0;
  unsigned i;
  for (i = 0; i < bytes; i++)
    value |= (uint64_t)in[i] << (8u * i);
  return value;
}

/* Two's complement of `bits` bits, without a conversion that C leaves to the implementation. */
static inline int64_t afs1_signed(uint64_t value, unsigned bits)
{
  const uint64_t sign = UINT64_C(1) << (bits - 1u);
  return (value & sign) ? -(int64_t)((UINT64_C(1) << bits) - value) : (int64_t)value;
}
"""

_FRAMES: Final = """\
/* The whole size of the frame that a header announces. */
static inline size_t afs1_frame_bytes(const afs1_header_t *header)
{
  return AFS1_HEADER_BYTES + (size_t)header->count * header->record_bytes + AFS1_TAG_BYTES;
}
"""

_TEXT: Final = """\
/* The bytes of a command's text: up to its first zero byte. */
static inline unsigned afs1_text_bytes(const uint8_t *text)
{
  unsigned size = 0;
  while (size < 64u && text[size] != 0)
    size++;
  return size;
}

/* Tells whether bytes are UTF-8 as RFC 3629 has it: nothing overlong, no half of a pair. */
static inline int afs1_is_utf8(const uint8_t *text, unsigned size)
{
  unsigned at = 0;
  while (at < size) {
    const unsigned lead = text[at];
    const unsigned more = lead < 0x80u ? 0u : lead < 0xe0u ? 1u : lead < 0xf0u ? 2u : 3u;
    uint32_t letter = more == 0 ? lead : lead & (0x3fu >> more);
    unsigned i;
    if ((lead >= 0x80u && lead < 0xc2u) || lead > 0xf4u || at + more >= size)
      return 0;
    for (i = 1; i <= more; i++) {
      if ((text[at + i] & 0xc0u) != 0x80u)
        return 0;
      letter = letter << 6 | (text[at + i] & 0x3fu);
    }
    if ((more == 2 && letter < 0x800u) || (more == 3 && letter < 0x10000u) ||
        letter > 0x10ffffu || (letter >= 0xd800u && letter <= 0xdfffu))
      return 0;
    at += more + 1u;
  }
  return 1;
}
"""

_CHECK: Final = """\
/* Size of a record of a kind in this version; 0 for a kind it does not know. */
static inline unsigned afs1_record_bytes(unsigned kind)
{
  switch (kind) {
@KNOWN@
    default:
      return 0;
  }
}

static inline int afs1_server_kind(unsigned kind)
{
  return @SERVER@;
}

/* Checks all of a whole frame but its tag, and reads its header; returns an enum afs1_fault. */
static inline int afs1_check(const uint8_t *frame, size_t size, afs1_header_t *header)
{
  unsigned known;
  if (size > AFS1_FRAME_BYTES_MAX)
    return AFS1_FAULT_OVERSIZED;
  if (size <= AFS1_HEADER_BYTES + AFS1_TAG_BYTES)
    return AFS1_FAULT_TRUNCATED;
  afs1_get_header(header, frame);
  if (header->magic != AFS1_MAGIC)
    return AFS1_FAULT_BAD_MAGIC;
  if (header->major != AFS1_MAJOR)
    return AFS1_FAULT_UNKNOWN_VERSION;
  known = afs1_record_bytes(header->kind);
  if (known == 0)
    return AFS1_FAULT_UNKNOWN_KIND;
  if (((header->flags & AFS1_FLAG_FROM_SERVER) != 0) != afs1_server_kind(header->kind))
    return AFS1_FAULT_WRONG_DIRECTION;
  if (header->count < 1 || header->count > AFS1_RECORDS_MAX)
    return AFS1_FAULT_BAD_COUNT;
  if (header->record_bytes < known ||
      (header->minor <= AFS1_MINOR && header->record_bytes != known))
    return AFS1_FAULT_BAD_LENGTH;
  if (size < afs1_frame_bytes(header))
    return AFS1_FAULT_TRUNCATED;
  if (size > afs1_frame_bytes(header))
    return AFS1_FAULT_BAD_LENGTH;
  return AFS1_OK;
}
"""

# 0 is the last will's number.
_NUMBERED: Final = """\
  if (sequence == 0)
    return 0;
"""

_ENCODE: Final = """\
/* Writes header and records; returns the bytes written, to which afs1_seal adds the tag, or 0 for
 * what cannot be sent: no record, too many, too little room, or sequence 0 outside a last will. */
static inline size_t afs1_encode_@NAME@(uint8_t *out, size_t capacity, uint32_t boot,
                                        uint32_t sequence, uint64_t time_ms,
                                        const afs1_@NAME@_t *records, unsigned count)
{
  afs1_header_t header;
  size_t size;
  unsigned i;
@NUMBERED@  if (count < 1 || count > AFS1_RECORDS_MAX)
    return 0;
  size = AFS1_HEADER_BYTES + (size_t)count * AFS1_@UPPER@_BYTES;
  if (size + AFS1_TAG_BYTES > AFS1_FRAME_BYTES_MAX || size + AFS1_TAG_BYTES > capacity)
    return 0;
  memset(&header, 0, sizeof header);
  header.magic = AFS1_MAGIC;
  header.major = AFS1_MAJOR;
  header.minor = AFS1_MINOR;
  header.kind = AFS1_KIND_@KIND@;
  if (afs1_server_kind(AFS1_KIND_@KIND@))
    header.flags = AFS1_FLAG_FROM_SERVER;
  header.record_bytes = AFS1_@UPPER@_BYTES;
  header.count = (uint8_t)count;
  header.boot = boot;
  header.sequence = sequence;
  header.device_time_ms = time_ms;
  afs1_put_header(out, &header);
  for (i = 0; i < count; i++)
    afs1_put_@NAME@(out + AFS1_HEADER_BYTES + (size_t)i * AFS1_@UPPER@_BYTES, &records[i]);
  return size;
}
"""

_DECODE: Final = """\
/* Reads record `index` of a checked frame; returns an enum afs1_fault. */
static inline int afs1_read_@NAME@(const uint8_t *frame, const afs1_header_t *header,
                                   unsigned index, afs1_@NAME@_t *out)
{
  if (header->kind != AFS1_KIND_@KIND@)
    return AFS1_FAULT_UNKNOWN_KIND;
  if (index >= header->count)
    return AFS1_FAULT_BAD_COUNT;
  afs1_get_@NAME@(out, frame + AFS1_HEADER_BYTES + (size_t)index * header->record_bytes);
@REFUSE@  return AFS1_OK;
}
"""

# What a device refuses in what the server sends; the server's own checks of values are not a
# device's.
_REFUSE: Final = {
    Kind.ACK: """\
  if (out->first > out->last)
    return AFS1_FAULT_IMPOSSIBLE_VALUE;
""",
    Kind.COMMAND: """\
  if (out->command_id < 1 || out->command_id > AFS1_COMMAND_ID_MAX ||
      !afs1_is_utf8(out->text, afs1_text_bytes(out->text)))
    return AFS1_FAULT_IMPOSSIBLE_VALUE;
""",
}

_TAGS: Final = """\
/* Tells whether an ack record covers a frame: those of its boot from first to last, no other. */
static inline int afs1_ack_covers(const afs1_ack_t *ack, uint32_t boot, uint32_t sequence)
{
  return ack->boot == boot && ack->first <= sequence && sequence <= ack->last;
}

/* AES-128-CMAC (RFC 4493) under the device's key of `prefix` followed by `body`, from the
 * processor or the modem; returns 0 when it has written the 16 bytes of `tag`. */
typedef int (*afs1_cmac_t)(void *context, const uint8_t *prefix, size_t prefix_bytes,
                           const uint8_t *body, size_t body_bytes, uint8_t *tag);

static inline int afs1_tag(const uint8_t *body, size_t body_bytes, const char *device_id,
                           afs1_cmac_t cmac, void *context, uint8_t *tag)
{
  uint8_t prefix[1 + AFS1_DEVICE_ID_MAX];
  const size_t id_bytes = strlen(device_id);
  if (id_bytes < 1 || id_bytes > AFS1_DEVICE_ID_MAX)
    return -1;
  prefix[0] = (uint8_t)id_bytes;
  memcpy(prefix + 1, device_id, id_bytes);
  return cmac(context, prefix, 1 + id_bytes, body, body_bytes, tag);
}

/* Adds the tag behind an encoded frame; returns the size of it all, or 0 when there is no tag. */
static inline size_t afs1_seal(uint8_t *frame, size_t capacity, size_t body_bytes,
                               const char *device_id, afs1_cmac_t cmac, void *context)
{
  if (body_bytes == 0 || capacity < body_bytes + AFS1_TAG_BYTES)
    return 0;
  if (afs1_tag(frame, body_bytes, device_id, cmac, context, frame + body_bytes) != 0)
    return 0;
  return body_bytes + AFS1_TAG_BYTES;
}

/* Tells whether a checked frame ends in its own tag, in constant time. */
static inline int afs1_verify(const uint8_t *frame, size_t size, const char *device_id,
                              afs1_cmac_t cmac, void *context)
{
  uint8_t tag[AFS1_TAG_BYTES];
  uint8_t difference = 0;
  unsigned i;
  if (size <= AFS1_TAG_BYTES ||
      afs1_tag(frame, size - AFS1_TAG_BYTES, device_id, cmac, context, tag) != 0)
    return 0;
  for (i = 0; i < AFS1_TAG_BYTES; i++)
    difference |= (uint8_t)(tag[i] ^ frame[size - AFS1_TAG_BYTES + i]);
  return difference == 0;
}
"""
