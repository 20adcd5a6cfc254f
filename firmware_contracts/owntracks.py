"""The second contract: OwnTracks JSON, so that a phone can be a device.

The rules are those of the OwnTracks JSON schemas (message.json, messages.json, encryption.json of
owntracks/json-schema, draft 2020-12 with the uuid format asserted), written out as checks.
Stricter than the schemas in this only: a payload is bounded in size and depth, a name stands once
in an object, a number fits in 64 bits, and the optional fields of a location that are used here
have the type that the schema's $defs give them. A location that the schema allows but that cannot
be a position (latitude 95, the year 1970) is ignored with a reason.
"""

import json
import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Never

import msgspec
import numpy as np
import numpy.typing as npt

from afstand.limits import OWNTRACKS_BYTES_MAX, OWNTRACKS_DEPTH_MAX
from firmware_contracts.batch import DecodedFixes
from firmware_contracts.codes import Mechanism
from firmware_contracts.faults import FAULT_NUMBER, Buffer, Fault, FrameError
from firmware_contracts.table import TIME_MS_MAX, TIME_MS_MIN, U8_UNKNOWN, U16_UNKNOWN

ALTITUDE_UNKNOWN: Final = -32768
_INTEGER_MAX: Final = 2**63
_BASE64: Final = re.compile(r"[-A-Za-z0-9+/]*={0,3}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_EMPTY: Final = re.compile(rb"[ \t\r\n]*")


class IgnoredReason(StrEnum):
    """Why a valid message gives no fix."""

    EMPTY_PAYLOAD = "empty-payload"  # how a retained message is cleared
    EMPTY_ARRAY = "empty-array"
    ENCRYPTED = "encrypted"
    IMPOSSIBLE_POSITION = "impossible-position"
    IMPLAUSIBLE_TIME = "implausible-time"
    BEACON = "type-beacon"
    CARD = "type-card"
    COMMAND = "type-cmd"
    CONFIGURATION = "type-configuration"
    LAST_WILL = "type-lwt"
    REQUEST = "type-request"
    STATUS = "type-status"
    STEPS = "type-steps"
    TRANSITION = "type-transition"
    WAYPOINT = "type-waypoint"
    WAYPOINTS = "type-waypoints"


class OwnTracksFix(msgspec.Struct, frozen=True, kw_only=True):
    """One position of a phone, in the units of a fix record of contract version 1."""

    time_ms: int
    lat_e7: int
    lon_e7: int
    accuracy_dm: int  # 65535: not known
    speed_cm_s: int  # 65535: not known
    heading_cdeg: int  # 65535: not known
    battery_pct: int  # 255: not known
    altitude_m: int  # -32768: not known
    trigger: str  # OwnTracks' "t", "" when absent: "u" is a publish that the person asked for


class Ignored(msgspec.Struct, frozen=True):
    """A valid message that gives no fix."""

    reason: IgnoredReason


OwnTracksResult = OwnTracksFix | Ignored

_IGNORED_TYPES: Final = {
    "beacon": IgnoredReason.BEACON,
    "card": IgnoredReason.CARD,
    "cmd": IgnoredReason.COMMAND,
    "configuration": IgnoredReason.CONFIGURATION,
    "lwt": IgnoredReason.LAST_WILL,
    "request": IgnoredReason.REQUEST,
    "status": IgnoredReason.STATUS,
    "steps": IgnoredReason.STEPS,
    "transition": IgnoredReason.TRANSITION,
    "waypoint": IgnoredReason.WAYPOINT,
    "waypoints": IgnoredReason.WAYPOINTS,
}
_ACTIONS: Final = (
    "action",
    "clearWaypoints",
    "dump",
    "reportLocation",
    "reportSteps",
    "response",
    "setConfiguration",
    "setWaypoints",
    "status",
    "waypoints",
)
_REQUESTS: Final = ("tour", "tours", "untour")


def read_owntracks(payload: Buffer) -> list[OwnTracksResult]:
    """Read one OwnTracks payload: a message, an array of messages, or nothing; at least one result.

    An array gives one result per message, in its order; one invalid message in it makes the whole
    payload invalid, as the schema says. Raises FrameError: OVERSIZED, BAD_JSON, BAD_SCHEMA,
    UNKNOWN_TYPE.
    """
    if len(payload) > OWNTRACKS_BYTES_MAX:
        raise FrameError(Fault.OVERSIZED, f"{len(payload)} bytes, at most {OWNTRACKS_BYTES_MAX}")
    raw = bytes(payload)
    if _EMPTY.fullmatch(raw):
        return [Ignored(IgnoredReason.EMPTY_PAYLOAD)]
    document = _parse(raw)
    if isinstance(document, list):
        results = [_read_message(message) for message in document]
        return results or [Ignored(IgnoredReason.EMPTY_ARRAY)]
    if isinstance(document, dict) and document.get("_type") == "encrypted":
        _check(document, "data", _base64, required=True)
        return [Ignored(IgnoredReason.ENCRYPTED)]
    return [_read_message(document)]


# --- JSON ---------------------------------------------------------------------------------------


def _bad_json(detail: str) -> Never:
    raise FrameError(Fault.BAD_JSON, detail)


def _bad_schema(detail: str) -> Never:
    raise FrameError(Fault.BAD_SCHEMA, detail)


def _parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        _bad_json("a name stands twice in one object")
    return members


def _parse_integer(digits: str) -> int:
    # 20 characters hold every 64-bit number; longer ones are not even converted.
    value = int(digits) if len(digits) <= 20 else _INTEGER_MAX
    if not -_INTEGER_MAX <= value < _INTEGER_MAX:
        _bad_json("a number beyond 64 bits")
    return value


def _parse_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _bad_json("a number beyond 64 bits")
    return value


def _parse_constant(name: str) -> Never:
    _bad_json(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_parse_object,
    parse_int=_parse_integer,
    parse_float=_parse_float,
    parse_constant=_parse_constant,
)


def _parse(raw: bytes) -> Any:
    if _depth(raw) > OWNTRACKS_DEPTH_MAX:
        _bad_json(f"nested deeper than {OWNTRACKS_DEPTH_MAX}")
    try:
        return _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        _bad_json(f"not UTF-8: {error.reason}")
    except json.JSONDecodeError as error:
        _bad_json(f"{error.msg} at character {error.pos}")


_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[^\[\]{}]+")


def _depth(raw: bytes) -> int:
    """Give the depth of nesting of brackets outside strings, before anything recurses over it."""
    if raw.count(b"[") + raw.count(b"{") <= OWNTRACKS_DEPTH_MAX:
        return 0  # too few of them to be too deep: nearly every message
    deepest = depth = 0
    for bracket in _BRACKETS.sub(b"", _STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


# --- schema -------------------------------------------------------------------------------------


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(value: Any) -> bool:
    # JSON Schema: a number with a zero fraction is an integer.
    return _number(value) and value == math.floor(value)


def _count(value: Any) -> bool:
    return _integer(value) and bool(value >= 0)


def _string(value: Any) -> bool:
    return isinstance(value, str)


def _character(value: Any) -> bool:
    # ASCII, as all triggers are: JSON can escape half a surrogate pair, which no writer after
    # this could encode.
    return isinstance(value, str) and len(value) == 1 and value.isascii()


def _array(value: Any) -> bool:
    return isinstance(value, list)


def _base64(value: Any) -> bool:
    return isinstance(value, str) and _BASE64.fullmatch(value) is not None


def _uuid(value: Any) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _action(value: Any) -> bool:
    return isinstance(value, str) and value in _ACTIONS


def _request(value: Any) -> bool:
    return isinstance(value, str) and value in _REQUESTS


_Check = Callable[[Any], bool]
_EVERY_TYPE: Final[tuple[tuple[str, _Check], ...]] = (
    ("action", _action),
    ("lat", _number),
    ("lon", _number),
    ("tst", _integer),
    ("ntours", _count),
    ("request", _request),
    ("tours", _array),
    ("uuid", _uuid),
)
_PER_TYPE: Final[dict[str, tuple[tuple[str, _Check], ...]]] = {
    "card": (("face", _base64), ("name", _string)),
    "location": (
        ("acc", _number),
        ("vel", _number),
        ("cog", _number),
        ("batt", _number),
        ("alt", _number),
        ("t", _character),
    ),
    "steps": (
        ("distance", _integer),
        ("floorsdown", _integer),
        ("floorsup", _integer),
        ("from", _integer),
        ("steps", _integer),
        ("to", _integer),
    ),
}
_REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "location": ("lat", "lon", "tst"),
    "lwt": ("tst",),
    "steps": ("from", "steps", "to", "tst"),
    "transition": ("acc", "event", "lat", "lon", "tst", "wtst"),
    "cmd": ("action",),
}


def _check(message: dict[str, Any], name: str, check: _Check, *, required: bool = False) -> None:
    if name not in message:
        if required:
            _bad_schema(f"{name} is missing")
    elif not check(message[name]):
        _bad_schema(f"{name} is not what it must be")


def _read_message(message: Any) -> OwnTracksResult:
    """Check one message against message.json and turn a location into a fix."""
    if not isinstance(message, dict):
        _bad_schema("a message is an object")
    kind = message.get("_type")
    if not isinstance(kind, str):
        _bad_schema("_type is missing or not a string")
    if kind != "location" and kind not in _IGNORED_TYPES:
        raise FrameError(Fault.UNKNOWN_TYPE, f"_type {kind[:32]!r}")
    for name, check in _EVERY_TYPE:
        _check(message, name, check)
    for name in _REQUIRED.get(kind, ()):
        if name not in message:
            _bad_schema(f"{name} is missing in a {kind}")
    for name, check in _PER_TYPE.get(kind, ()):
        _check(message, name, check)
    # The schema asks for a request where a "response" stands in a response.
    if (
        "response" in message
        and message.get("action", "response") == "response"
        and "request" not in message
    ):
        _bad_schema("request is missing in a response")
    if message.get("request") == "untour" and "uuid" not in message:
        _bad_schema("uuid is missing in an untour request")
    return _fix(message) if kind == "location" else Ignored(_IGNORED_TYPES[kind])


# --- fix ----------------------------------------------------------------------------------------


def _scaled(value: float | None, factor: float, low: int, high: int, unknown: int) -> int:
    """Give value x factor, rounded; `unknown` for no value and for one outside `low` to `high`."""
    if value is None:
        return unknown
    # Bounded first: a float times a factor may be infinite, which nothing rounds.
    scaled = round(min(max(value, -1e9), 1e9) * factor)
    return scaled if low <= scaled <= high else unknown


def _fix(message: dict[str, Any]) -> OwnTracksResult:
    lat, lon, time_s = message["lat"], message["lon"], message["tst"]
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return Ignored(IgnoredReason.IMPOSSIBLE_POSITION)
    lat_e7, lon_e7 = round(lat * 1e7), round(lon * 1e7)
    if lat_e7 == lon_e7 == 0:
        return Ignored(IgnoredReason.IMPOSSIBLE_POSITION)
    time_ms = int(time_s) * 1000
    if not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
        return Ignored(IgnoredReason.IMPLAUSIBLE_TIME)
    # Phones say -1 for "not known"; km/h x 250/9 are cm/s.
    heading = _scaled(message.get("cog"), 100, 0, 36_000, U16_UNKNOWN)
    return OwnTracksFix(
        time_ms=time_ms,
        lat_e7=lat_e7,
        lon_e7=lon_e7,
        accuracy_dm=_scaled(message.get("acc"), 10, 1, U16_UNKNOWN - 1, U16_UNKNOWN),
        speed_cm_s=_scaled(message.get("vel"), 250 / 9, 0, U16_UNKNOWN - 1, U16_UNKNOWN),
        heading_cdeg=0 if heading == 36_000 else heading,
        battery_pct=_scaled(message.get("batt"), 1, 0, 100, U8_UNKNOWN),
        altitude_m=_scaled(message.get("alt"), 1, -1000, 32_767, ALTITUDE_UNKNOWN),
        trigger=message.get("t", ""),
    )


def owntracks_to_columns(
    payload: Buffer, offsets: npt.NDArray[Any], lengths: npt.NDArray[Any]
) -> tuple[DecodedFixes, npt.NDArray[np.uint8]]:
    """Give the fixes of many payloads as batch.decode_batch does, and a fault number per payload.

    A phone has no boot and no sequence: both are 0. Payload i stands at payload[offsets[i] :
    offsets[i] + lengths[i]]. Messages without a fix give no row. Never raises for what stands in
    the payload.
    """
    view = memoryview(payload)
    fault = np.zeros(len(offsets), dtype=np.uint8)
    rows: list[OwnTracksFix] = []
    frames: list[int] = []
    for index, (start, length) in enumerate(zip(offsets.tolist(), lengths.tolist(), strict=True)):
        if start < 0 or length < 0 or start + length > len(view):
            fault[index] = FAULT_NUMBER[Fault.TRUNCATED]
            continue
        try:
            results = read_owntracks(view[start : start + length])
        except FrameError as error:
            fault[index] = FAULT_NUMBER[error.fault]
            continue
        fixes = [result for result in results if isinstance(result, OwnTracksFix)]
        rows += fixes
        frames += [index] * len(fixes)
    zeros = np.zeros(len(rows), dtype=np.int64)

    def column(name: str) -> npt.NDArray[np.int32]:
        return np.array([getattr(row, name) for row in rows], dtype=np.int32)

    return DecodedFixes(
        frame=np.array(frames, dtype=np.int64),
        boot=zeros,
        sequence=zeros.copy(),
        time_ms=np.array([row.time_ms for row in rows], dtype=np.int64),
        lat_e7=column("lat_e7"),
        lon_e7=column("lon_e7"),
        accuracy_dm=column("accuracy_dm"),
        speed_cm_s=column("speed_cm_s"),
        heading_cdeg=column("heading_cdeg"),
        mechanism=np.full(len(rows), Mechanism.UNKNOWN, dtype=np.uint8),
        satellites=np.zeros(len(rows), dtype=np.uint8),
        battery_pct=column("battery_pct").astype(np.uint8),
        fix_flags=np.zeros(len(rows), dtype=np.uint8),
        altitude_m=column("altitude_m"),
    ), fault
