"""Devices and their frames, for the tests of the intake."""

from __future__ import annotations

import hashlib

from firmware_contracts.codes import EventCode, StatusReason
from firmware_contracts.frames import (
    Tagger,
    encode_event,
    encode_fixes,
    encode_status,
    fix_records,
)
from ingest.devices import Contract, DeviceRecord, Role
from ingest.mqtt_codec import Message

NOW_MS = 1_790_000_000_000  # 2026-09-21
ROTTERDAM = (519_225_000, 44_791_700)


def key_of(device_id: str) -> bytes:
    """The key of a test device."""
    return hashlib.sha256(device_id.encode()).digest()[:16]


def record(device_id: str, handle: int = 1, **changes: object) -> DeviceRecord:
    """A registered device."""
    contract = changes.get("contract", Contract.EM1)
    fields = {
        "device_id": device_id,
        "partition": "p0",
        "role": Role.WEARER,
        "key": key_of(device_id) if contract is Contract.EM1 else b"",
        "handle": handle,
        **changes,
    }
    return DeviceRecord(**fields)  # type: ignore[arg-type]


def fix_frame(
    device_id: str,
    sequence: int,
    *,
    boot: int = 1,
    time_ms: int = NOW_MS,
    count: int = 1,
    key: bytes | None = None,
    **fields: int,
) -> bytes:
    """A frame of `count` fixes; `fields` overrides fields of every one."""
    records = fix_records(count)
    records["lat_e7"], records["lon_e7"] = ROTTERDAM
    records["accuracy_dm"] = 50
    records["time_offset_ms"] = [-1000 * index for index in range(count)]
    for name, value in fields.items():
        records[name] = value
    return encode_fixes(
        device_id,
        key or key_of(device_id),
        boot=boot,
        sequence=sequence,
        device_time_ms=time_ms,
        records=records,
    )


def event_frame(
    device_id: str,
    sequence: int,
    code: EventCode = EventCode.PANIC,
    *,
    boot: int = 1,
    time_ms: int = NOW_MS,
    key: bytes | None = None,
) -> bytes:
    """A frame of one event."""
    return encode_event(
        device_id,
        key or key_of(device_id),
        boot=boot,
        sequence=sequence,
        device_time_ms=time_ms,
        code=code,
    )


def status_frame(device_id: str, sequence: int, *, boot: int = 1, time_ms: int = NOW_MS) -> bytes:
    """A frame of one status record; sequence 0 is the last will."""
    return encode_status(
        device_id,
        key_of(device_id),
        boot=boot,
        sequence=sequence,
        device_time_ms=time_ms,
        reason=StatusReason.PERIODIC if sequence else StatusReason.LAST_WILL,
    )


def sealed(device_id: str, body: bytes, key: bytes | None = None) -> bytes:
    """Any bytes with the tag that the device would put under them."""
    return body + Tagger(device_id, key or key_of(device_id)).tag(body)


def message(
    topic: str,
    payload: bytes,
    *,
    packet_id: int = 1,
    dup: bool = False,
    received_ms: int = NOW_MS,
    link: int = 1,
) -> Message:
    """A message as the client gives it."""
    return Message(topic, payload, packet_id, dup, False, received_ms, link)
