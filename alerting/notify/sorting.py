"""From an outbox entry to deliveries: what is to be sent, what is for others, what cannot be sent.

Pure. Nothing here raises for what an entry contains: an output that cannot be read or has no target
becomes a fault with a reason, and its neighbours go on.
"""

import re
from collections.abc import Container, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from alerting.book.types import Audience, DeviceCommand, Notice, Output
from alerting.notify.delivery import (
    LANE_COMMANDS,
    Delivery,
    delivery_of_command,
    delivery_of_notice,
)
from alerting.notify.source import OutboxEntry

_DECODER: Final = msgspec.msgpack.Decoder(Output)
_ANY_DECODER: Final = msgspec.msgpack.Decoder()
# Standard Webhooks: an id must not contain the full stop that separates the parts that are signed.
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_NAME_CHARACTERS_MAX: Final = 64


class FaultReason(StrEnum):
    """Why an output is not even tried."""

    POISON_ENTRY = "poison-entry"
    """The entry could not be taken apart."""
    POISON_OUTPUT = "poison-output"
    """The output could not be read."""
    BAD_KEY = "bad-key"
    UNKNOWN_TARGET = "unknown-target"
    AUDIENCE_NOT_ALLOWED = "audience-not-allowed"
    """The target must not see what is cut for this audience, whatever a plan says."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An output that cannot be sent: a final failure without an attempt."""

    key: str
    target: str
    reason: FaultReason
    detail: str = ""


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry comes to. `skipped` counts outputs that are for the console and evidence."""

    deliveries: tuple[Delivery, ...]
    faults: tuple[Fault, ...]
    skipped: int


def sort_entry(entry: OutboxEntry, audiences: Mapping[str, Container[Audience]]) -> Sorted:
    """Sort the outputs of an entry; `audiences` has every target that can be reached."""
    if entry.fault:
        fault = Fault(
            key=entry.key_of(0), target="", reason=FaultReason.POISON_ENTRY, detail=entry.fault
        )
        return Sorted(deliveries=(), faults=(fault,), skipped=0)
    deliveries: list[Delivery] = []
    faults: list[Fault] = []
    skipped = 0
    for index, raw in enumerate(entry.outputs):
        found = _sort_output(entry.key_of(index), raw, audiences, redelivered=entry.redelivered)
        if found is None:
            skipped += 1
        elif isinstance(found, Fault):
            faults.append(found)
        else:
            deliveries.append(found)
    return Sorted(deliveries=tuple(deliveries), faults=tuple(faults), skipped=skipped)


def _sort_output(
    key: str,
    raw: Output | bytes | msgspec.Raw,
    audiences: Mapping[str, Container[Audience]],
    *,
    redelivered: bool,
) -> Delivery | Fault | None:
    output: object = raw
    if isinstance(raw, bytes | msgspec.Raw):
        try:
            output = _DECODER.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _poison(key, raw, str(error))
    if isinstance(output, Notice):
        target = output.target
    elif isinstance(output, DeviceCommand):
        target = LANE_COMMANDS
    else:
        return None
    if not _KEY.fullmatch(key):
        return Fault(key=key, target=target, reason=FaultReason.BAD_KEY)
    allowed = audiences.get(target)
    if allowed is None:
        return Fault(key=key, target=target, reason=FaultReason.UNKNOWN_TARGET)
    if isinstance(output, DeviceCommand):
        return delivery_of_command(key, output, redelivered=redelivered)
    if output.audience not in allowed:
        detail = output.audience.value
        return Fault(key=key, target=target, reason=FaultReason.AUDIENCE_NOT_ALLOWED, detail=detail)
    return delivery_of_notice(key, output, redelivered=redelivered)


def _poison(key: str, raw: bytes | msgspec.Raw, detail: str) -> Fault | None:
    """Make the best of an output that is not one of ours: its target, if it names one.

    Records that are not for delivery are skipped even when they cannot be read: a newer version may
    have new ones, and evidence is not this package's to judge.
    """
    target = ""
    try:
        loose: Any = _ANY_DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        loose = None
    if isinstance(loose, dict):
        kind = loose.get("type")
        if isinstance(kind, str) and kind not in {"notice", "device-command"}:
            return None
        named = loose.get("target")
        target = named[:_NAME_CHARACTERS_MAX] if isinstance(named, str) else ""
    return Fault(key=key, target=target, reason=FaultReason.POISON_OUTPUT, detail=detail)
