"""The specification for device makers, derived from the table, the meanings and the sentences."""

from collections.abc import Iterable
from typing import Final

from firmware_contracts.codes import MAJOR, MINOR, EventCode
from firmware_contracts.faults import FAULT_NUMBER
from firmware_contracts.meanings import EVENT_MEANINGS, MEANINGS
from firmware_contracts.owntracks import IgnoredReason
from firmware_contracts.sentences import SENTENCES
from firmware_contracts.table import HEADER, RECORDS, Field, Layout
from firmware_contracts.teltonika import (
    BATTERY_CRITICAL_PCT,
    BATTERY_LOW_PCT,
    EVENTS,
    RADIUS_DM_ASSUMED,
    RADIUS_DM_MIN,
    RADIUS_DM_PER_TENTH,
    Io,
)
from firmware_contracts.topics import Lane

_KEEPERS: Final = {"frame": "reader and writer", "device": "device", "server": "server"}
_LANES: Final = {
    Lane.FIX: ("em/{device}/fix", "device", "fix frames"),
    Lane.EVENT: ("em/{device}/event", "device", "event frames: the priority lane"),
    Lane.STATUS: ("em/{device}/status", "device", "status frames; the last will"),
    Lane.ACK: ("em/{device}/ack", "server", "ack frames: what is durable"),
    Lane.CMD: ("em/{device}/cmd", "server", "command frames"),
    Lane.OWNTRACKS: (
        "owntracks/{user}/{device}",
        "phone",
        "OwnTracks JSON; or with a branch behind",
    ),
    Lane.TRACKER: ("teltonika/{imei}/avl", "bridge", "Teltonika AVL packets"),
    Lane.TRACKER_EVENT: ("teltonika/{imei}/event", "bridge", "those that hold an event"),
    Lane.TRACKER_ACK: ("teltonika/{imei}/ack", "server", "which packet is durable"),
}


def markdown() -> str:
    """Give the whole text of contract-v1.md."""
    return "\n".join(
        [
            _INTRODUCTION,
            "## Layout of a frame\n",
            _layout(HEADER),
            *[_layout(layout) for layout in RECORDS.values()],
            "## Numbers with a meaning\n",
            *[_meanings(e.__name__, rows) for e, rows in MEANINGS.items() if e is not EventCode],
            _events(),
            "## Topics\n",
            _table(("topic", "sender", "carries"), _LANES.values()),
            "## Rules\n",
            _RULES_INTRODUCTION,
            *[_section(name) for name in SENTENCES],
            "## Why a message is refused\n",
            _table(("number", "reason"), _faults()),
            "## Why a valid OwnTracks message gives no fix\n",
            "\n".join(f"- `{reason.value}`" for reason in IgnoredReason) + "\n",
            _OWNTRACKS,
            _tracker(),
        ]
    )


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [heads, tuple("---" for _ in heads), *rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join([*lines, ""])


def _bounds(field: Field) -> str:
    if field.low is None:
        return ""
    return str(field.low) if field.low == field.high else f"{field.low} to {field.high}"


def _faults() -> list[tuple[str, str]]:
    return [(str(number), f"`{fault.value}`") for fault, number in FAULT_NUMBER.items()]


def _tracker() -> str:
    events = [
        (str(int(io)), io.name, _named(codes[0]), _named(codes[1]))
        for io, codes in ((Io(number), codes) for number, codes in EVENTS.items())
    ]
    level = f"BATTERY_LOW up to {BATTERY_LOW_PCT}, BATTERY_CRITICAL up to {BATTERY_CRITICAL_PCT}"
    events.append((str(int(Io.BATTERY_LEVEL)), Io.BATTERY_LEVEL.name, level, level))
    rows = _table(("AVL id", "name", "event when not 0", "event when 0"), events)
    return _TELTONIKA.replace("@EVENTS@", rows)


def _named(code: EventCode | None) -> str:
    return "" if code is None else code.name


def _layout(layout: Layout) -> str:
    rows = [
        (
            str(layout.offset_of(field.name)),
            f"`{field.name}`",
            _WIRE.get(field.wire, f"{field.bytes} bytes"),
            field.unit,
            _bounds(field),
            "" if field.unknown is None else str(field.unknown),
            field.doc,
        )
        for field in layout.fields
    ]
    heads = ("offset", "field", "type", "unit", "a sender writes", "not known", "meaning")
    return f"### {layout.name} ({layout.bytes} bytes)\n\n{layout.doc}\n\n{_table(heads, rows)}"


_WIRE: Final = {"u1": "u8", "u2": "u16", "u4": "u32", "u8": "u64", "i2": "i16", "i4": "i32"}


def _meanings(name: str, rows: dict[int, str]) -> str:
    cells = [(str(int(code)), getattr(code, "name", "") or "", text) for code, text in rows.items()]
    return f"### {name}\n\n{_table(('number', 'name', 'meaning'), cells)}"


def _events() -> str:
    rows = [
        (str(int(code)), code.name, event.meaning, event.value, event.alarm, event.latches)
        for code, event in EVENT_MEANINGS.items()
    ]
    heads = ("number", "name", "meaning", "value", "alarm", "latches")
    return f"### EventCode\n\n{_EVENTS}\n{_table(heads, rows)}"


def _section(name: str) -> str:
    rows = [(s.id, _KEEPERS[s.keeper], s.text) for s in SENTENCES[name]]
    return f"### {name}\n\n{_table(('id', 'kept by', 'sentence'), rows)}"


_INTRODUCTION: Final = f"""\
# Contract version {MAJOR}.{MINOR}: what a device says

<!-- Generated by `python -m firmware_contracts` from the one table: do not edit. -->

A device (an ankle monitor, a victim device, a panic button) speaks MQTT 5 or 3.1.1 over TLS and
publishes *frames*: a header, one or more records of one kind, and a tag that only this device and
the server can compute. The table that this page comes from gives as well:

- the C header [`afstand_v1.h`](../../firmware_contracts/include/afstand_v1.h), with which a
  firmware encodes and reads frames;
- the [AsyncAPI document](asyncapi.json).

Frames to try a reader on, sound ones with what they hold and faulty ones with the reason, are in
[`frames.json`](../../firmware_contracts/golden/v1/frames.json). A phone can be a device too, by
OwnTracks, and so can an off-the-shelf tracker of Teltonika: see the end.
"""

_RULES_INTRODUCTION: Final = """\
MUST, MUST NOT and MAY are used as in RFC 2119. Each sentence has its number for ever, and a test
that cites it. "Reader and writer" is every program that encodes or decodes frames, on either side.
"""

_EVENTS: Final = """\
The last two columns say what the server makes of an event. An alarm that latches stays until a
person has dealt with it, whatever the device sends after it.
"""

_OWNTRACKS: Final = """\
## OwnTracks

A phone with the OwnTracks app publishes on `owntracks/{user}/{device}`; it is registered as the
device `{user}.{device}`, so a user's name holds no dot. A location becomes one fix:

| OwnTracks | fix |
| --- | --- |
| `tst` (s) | time in ms |
| `lat`, `lon` (degrees) | 1e-7 degree, rounded |
| `acc` (m) | dm; not known when missing, not above 0 or above 6553 |
| `vel` (km/h) | cm/s, rounded; not known when missing, negative or above 2359 |
| `cog` (degrees) | 0.01 degree; not known when missing, negative or above 360 |
| `batt` (%) | %; not known when missing or outside 0 to 100 |
| `alt` (m) | m; not known when missing or outside -1000 to 32767 |
| `t` | kept as the trigger |

A phone has no boot counter, no sequence, no tag and no ack: its identity is what it logs in to the
broker with.
"""

_TELTONIKA: Final = f"""\
## Teltonika trackers

`afstand trackers` takes the TCP connections of trackers that speak Codec 8 or Codec 8 Extended and
publishes their packets as they are. A tracker is registered under its IMEI with the contract
`teltonika` and has no key: it proves nothing, so the bridge listens on a private network (APN, VPN)
only. The tracker is answered with the number of its records when an intake has them durable.

A record becomes a fix: `lat`, `lon` in 1e-7 degree as they are, km/h to cm/s, degrees to 0.01
degree. A tracker gives no radius: {RADIUS_DM_PER_TENTH} dm per tenth of HDOP (182), else of PDOP
(181), at least {RADIUS_DM_MIN} dm; {RADIUS_DM_ASSUMED} dm without either. AVL 113 is the charge,
240 says that it moves, 116 that it charges.

What caused a record becomes an event:

@EVENTS@
A record of panic priority whose cause is none of these is PANIC, with the AVL id as its value: set
up the tracker's alarm input so.
"""
