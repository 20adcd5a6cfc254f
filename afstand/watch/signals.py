"""Signals: what the service's own processes say about themselves, as entries of the journal."""

from collections.abc import Callable
from typing import Final

import msgspec

from afstand.commands import DefineDevice
from alerting.book.types import (
    TARGET_PROTECTED_DEVICE,
    TARGET_WEARER_DEVICE,
    DeviceEvent,
    EventKind,
    Input,
    Receipt,
    ReceiptStatus,
    Role,
    SignalKind,
    SystemSignal,
)


class _Signal(msgspec.Struct, frozen=True):
    """The union of what ingest and the replicas write; a field that a signal has not is empty."""

    signal: str
    counts: dict[str, int] = {}
    devices: list[str] = []
    detail: str = ""


_DECODER: Final = msgspec.msgpack.Decoder(_Signal)
_KINDS: Final = {
    "quarantine": SignalKind.QUARANTINE_BURST,
    "replica-divergence": SignalKind.REPLICA_DIVERGENCE,
    "reader-silent": SignalKind.READER_SILENT,
    "archive-fault": SignalKind.ARCHIVE_FAULT,
    "shadow-differs": SignalKind.SHADOW_DIFFERS,
    "audit": SignalKind.AUDIT_FINDING,
}
CLOCK_FAULT: Final = "clock-fault"
PROBE: Final = msgspec.msgpack.encode({"signal": "probe"})
"""The auditor asks whether there is a watch that folds; the answer is an output and no more."""


def read_signal(
    blob: bytes, key: str, now_ms: int, find: Callable[[str], DefineDevice | None]
) -> list[Input]:
    """What a signal means to the alarm book. One that cannot be read is itself a signal.

    `find` gives the device of an id; a wrong clock is a matter of that device, not of the service.
    """
    try:
        signal = _DECODER.decode(blob)
    except msgspec.MsgspecError as error:
        return [_system(SignalKind.POISON_ENTRY, now_ms, f"signal: {error}")]
    if signal.signal == CLOCK_FAULT:
        return [
            DeviceEvent(
                device_id=device.device_id,
                person_id=device.person_id,
                role=Role(device.role),
                kind=EventKind.CLOCK_FAULT,
                at_ms=now_ms,
                device_ms=0,
                key=f"{device.device_id}/clock/{key}",
            )
            for device in map(find, signal.devices)
            if device is not None
        ]
    kind = _KINDS.get(signal.signal)
    if kind is None:
        return [_system(SignalKind.POISON_ENTRY, now_ms, f"signal of kind {signal.signal[:40]}")]
    counts = ", ".join(f"{reason} {n}" for reason, n in sorted(signal.counts.items()))
    places = ", ".join(sorted(signal.devices)[:5])
    detail = "; ".join(part for part in (signal.detail, counts, places) if part)
    return [_system(kind, now_ms, detail, max(1, sum(signal.counts.values())))]


def _system(kind: SignalKind, now_ms: int, detail: str, count: int = 1) -> SystemSignal:
    return SystemSignal(kind=kind, at_ms=now_ms, detail=detail[:200], count=count)


def is_dead_letter(receipt: Receipt) -> bool:
    """Whether a message will reach nobody, and no person said so.

    A device that cannot be reached has alarms of its own; its silence says the same.
    """
    ended = (ReceiptStatus.FAILED, ReceiptStatus.REFUSED)
    if receipt.target in (TARGET_PROTECTED_DEVICE, TARGET_WEARER_DEVICE):
        return False
    return receipt.status in ended and not receipt.by
