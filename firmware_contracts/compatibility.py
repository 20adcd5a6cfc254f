"""What of a contract version may never change again, and what has.

`described()` gives everything that a device in the field relies on, as JSON values; it is committed
as golden/v1/table.json. `breaking(old, new)` says what a change would do to such a device. What is
added so that old and new understand each other is no break: an enumerated number, a reason, a
sentence; a field at the end of a record only together with a newer minor.
"""

from typing import Any, Final

from afstand.limits import FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from firmware_contracts.codes import MAGIC, MAJOR, MINOR, TAG_BYTES, Kind
from firmware_contracts.faults import FAULT_NUMBER
from firmware_contracts.meanings import EVENT_MEANINGS, MEANINGS
from firmware_contracts.sentences import all_sentences
from firmware_contracts.table import HEADER, RECORDS, SERVER_KINDS, Field, Layout
from firmware_contracts.topics import DEVICE_ID_CHARACTERS_MAX, KIND_OF_LANE

FORMAT: Final = "afstand.contract-table/1"


def described() -> dict[str, Any]:
    """Give the contract as JSON values."""
    return {
        "format": FORMAT,
        "minor": MINOR,
        "constants": {
            "magic": MAGIC,
            "major": MAJOR,
            "tag_bytes": TAG_BYTES,
            "frame_bytes_max": FRAME_BYTES_MAX,
            "frame_records_max": FRAME_RECORDS_MAX,
            "device_id_characters_max": DEVICE_ID_CHARACTERS_MAX,
            "server_kinds": [int(kind) for kind in SERVER_KINDS],
        },
        "layouts": {
            "header": _layout(HEADER),
            **{layout.name: _layout(layout) for layout in RECORDS.values()},
        },
        "numbers": {
            **{
                enum.__name__: {
                    str(int(number)): [enum(number).name, text] for number, text in rows.items()
                }
                for enum, rows in MEANINGS.items()
            },
            "Fault": {str(number): [fault.value, ""] for fault, number in FAULT_NUMBER.items()},
        },
        "events": {
            str(int(code)): [event.value, event.alarm, event.latches]
            for code, event in EVENT_MEANINGS.items()
        },
        "topics": {lane.value: int(kind) for lane, kind in KIND_OF_LANE.items()},
        "kinds": {str(int(kind)): RECORDS[kind].name for kind in Kind},
        "sentences": {one.id: [one.keeper, one.text] for one in all_sentences()},
    }


def _layout(layout: Layout) -> list[dict[str, Any]]:
    return [_field(layout, field) for field in layout.fields]


def _field(layout: Layout, field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "offset": layout.offset_of(field.name),
        "wire": field.wire,
        "unit": field.unit,
        "low": field.low,
        "high": field.high,
        "unknown": field.unknown,
        "doc": field.doc,
    }


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say, one line each, what of `old` no longer holds in `new`; nothing when all of it does."""
    found = []
    if new["minor"] < old["minor"]:
        found.append(f"the minor version goes back from {old['minor']} to {new['minor']}")
    for name, value in old["constants"].items():
        found += _changed(f"constant {name}", value, new["constants"].get(name))
    for name, fields in old["layouts"].items():
        found += _layout_changes(name, fields, new["layouts"].get(name, []), old, new)
    for section in ("numbers", "events", "topics", "kinds", "sentences"):
        found += _entries(section, old[section], new[section])
    return found


def _changed(what: str, old: Any, new: Any) -> list[str]:
    if old == new:
        return []
    return [f"{what} is gone" if new is None else f"{what} was {old}, is {new}"]


def _entries(what: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Everything that was there must be there unchanged; what is new does no harm."""
    found = []
    for name, value in old.items():
        if isinstance(value, dict):
            found += _entries(f"{what} {name}", value, new.get(name, {}))
        else:
            found += _changed(f"{what} {name}", value, new.get(name))
    return found


def _layout_changes(
    name: str,
    old_fields: list[dict[str, Any]],
    new_fields: list[dict[str, Any]],
    old: dict[str, Any],
    new: dict[str, Any],
) -> list[str]:
    found = []
    for place, before in enumerate(old_fields):
        what = f"{name}.{before['name']}"
        if place >= len(new_fields) or new_fields[place]["name"] != before["name"]:
            found.append(f"{what} is no longer field {place} of its record")
            continue
        found += _field_changes(what, before, new_fields[place])
    added = [field["name"] for field in new_fields[len(old_fields) :]]
    if added and name == "header":
        found.append(f"the header has new fields: {', '.join(added)}")
    elif added and new["minor"] == old["minor"]:
        found.append(f"{name} has new fields without a newer minor: {', '.join(added)}")
    return found


def _field_changes(what: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = []
    for part in ("offset", "wire", "unit", "unknown", "doc"):
        found += _changed(f"{part} of {what}", old[part], new[part])
    # A device in the field writes every value that it might: a bound may widen and never narrow.
    if old["low"] is not None and (new["low"] is None or new["low"] > old["low"]):
        found.append(f"{what} may no longer be {old['low']}")
    if old["high"] is not None and (new["high"] is None or new["high"] < old["high"]):
        found.append(f"{what} may no longer be {old['high']}")
    return found
