"""The AsyncAPI 3 document of the contract, derived from the table."""

from typing import Any, Final

from firmware_contracts.codes import MAJOR, MINOR, Kind
from firmware_contracts.meanings import MEANINGS
from firmware_contracts.table import HEADER, RECORDS, SERVER_KINDS, Field, Layout
from firmware_contracts.topics import KIND_OF_LANE, Lane

_FRAME_TYPE: Final = "application/vnd.afstand.frame"
_DEVICE_PATTERN: Final = "1 to 64 letters, digits, dots, underscores or hyphens."


def asyncapi() -> dict[str, Any]:
    """Give the document as JSON values; `x-layout` describes what is binary field by field."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Afstand: what a device says",
            "version": f"{MAJOR}.{MINOR}",
            "description": "MQTT topics and frames of monitoring devices, as in contract-v1.md.",
            "license": {"name": "EUPL-1.2"},
        },
        "defaultContentType": _FRAME_TYPE,
        "channels": {
            **{lane.value: _channel(lane, kind) for lane, kind in KIND_OF_LANE.items()},
            "owntracks": _owntracks_channel(),
            **{name: _tracker_channel(name, text) for name, text in _TRACKERS.items()},
        },
        "operations": {
            **{
                _operation_name(kind): _operation(lane, kind) for lane, kind in KIND_OF_LANE.items()
            },
            "receiveOwntracks": {
                "action": "receive",
                "channel": {"$ref": "#/channels/owntracks"},
                "bindings": {"mqtt": {"qos": 1, "retain": False}},
            },
            **{
                _tracker_operation(name): {
                    "action": "send" if name == "trackerAck" else "receive",
                    "channel": {"$ref": f"#/channels/{name}"},
                    "bindings": {"mqtt": {"qos": 1, "retain": False}},
                }
                for name in _TRACKERS
            },
        },
        "components": {
            "messages": {kind.name.lower(): _message(kind) for kind in KIND_OF_LANE.values()},
            "schemas": {
                "header": _schema(HEADER),
                **{layout.name: _schema(layout) for layout in RECORDS.values()},
            },
        },
    }


def _channel(lane: Lane, kind: Kind) -> dict[str, Any]:
    name = kind.name.lower()
    return {
        "address": f"em/{{device}}/{lane.value}",
        "description": MEANINGS[Kind][kind],
        "parameters": {"device": {"description": f"Id of the device: {_DEVICE_PATTERN}"}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _owntracks_channel() -> dict[str, Any]:
    return {
        "address": "owntracks/{user}/{device}",
        "description": "A phone with the OwnTracks app; its device id is {user}.{device}.",
        "parameters": {
            "user": {"description": "The user's name, without a dot."},
            "device": {"description": "The name of the phone."},
        },
        "messages": {
            "owntracks": {
                "name": "owntracks",
                "contentType": "application/json",
                "description": "A message, or an array of messages, of the OwnTracks JSON schemas.",
                "payload": {"type": ["object", "array"]},
            }
        },
    }


_TRACKERS: Final = {
    "tracker": ("avl", "AVL packets of a Teltonika tracker, as it sends them over TCP."),
    "trackerEvent": ("event", "AVL packets that hold an event: the priority lane."),
    "trackerAck": (
        "ack",
        "16 bytes: which packet is durable (BLAKE2b: IMEI, zero byte, packet).",
    ),
}


def _tracker_channel(name: str, text: tuple[str, str]) -> dict[str, Any]:
    return {
        "address": f"teltonika/{{imei}}/{text[0]}",
        "description": text[1],
        "parameters": {"imei": {"description": "The tracker's IMEI, 15 digits."}},
        "messages": {
            name: {
                "name": name,
                "contentType": "application/octet-stream",
                "payload": {"type": "string", "format": "binary"},
            }
        },
    }


def _tracker_operation(name: str) -> str:
    return ("send" if name == "trackerAck" else "receive") + name[0].upper() + name[1:]


def _operation_name(kind: Kind) -> str:
    return ("send" if kind in SERVER_KINDS else "receive") + kind.name.capitalize()


def _operation(lane: Lane, kind: Kind) -> dict[str, Any]:
    """Give the server's side of one topic."""
    return {
        "action": "send" if kind in SERVER_KINDS else "receive",
        "channel": {"$ref": f"#/channels/{lane.value}"},
        "bindings": {"mqtt": {"qos": 1, "retain": False}},
    }


def _message(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.name.lower(),
        "summary": RECORDS[kind].doc,
        "contentType": _FRAME_TYPE,
        "payload": {
            "type": "string",
            "format": "binary",
            "description": "header, records, 16-byte AES-128-CMAC",
            "x-header": {"$ref": "#/components/schemas/header"},
            "x-record": {"$ref": f"#/components/schemas/{RECORDS[kind].name}"},
        },
    }


def _schema(layout: Layout) -> dict[str, Any]:
    return {
        "type": "object",
        "description": layout.doc,
        "properties": {field.name: _property(field) for field in layout.fields},
        "x-layout": [
            {
                "name": field.name,
                "offset": layout.offset_of(field.name),
                "bytes": field.bytes,
                "wire": field.wire,
            }
            for field in layout.fields
        ],
        "x-bytes": layout.bytes,
    }


def _property(field: Field) -> dict[str, Any]:
    given: dict[str, Any] = {
        "type": "string" if field.wire.startswith("S") else "integer",
        "description": field.doc,
    }
    if field.unit:
        given["x-unit"] = field.unit
    if field.low is not None and field.high is not None:
        given |= {"minimum": field.low, "maximum": field.high}
    if field.unknown is not None:
        given["x-unknown"] = field.unknown
    return given
