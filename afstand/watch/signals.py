"""Signals: what the service's own processes say about themselves, as entries of the journal."""

from typing import Final

import msgspec

from alerting.book.types import Input, SignalKind, SystemSignal


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
    "clock-fault": SignalKind.CLOCK_FAULT,
}


def read_signal(blob: bytes, now_ms: int) -> list[Input]:
    """What a signal means to the alarm book. One that cannot be read is itself a signal."""
    try:
        signal = _DECODER.decode(blob)
    except msgspec.MsgspecError as error:
        return [SystemSignal(kind=SignalKind.POISON_ENTRY, at_ms=now_ms, detail=f"signal: {error}")]
    kind = _KINDS.get(signal.signal, SignalKind.POISON_ENTRY)
    counts = ", ".join(f"{reason} {n}" for reason, n in sorted(signal.counts.items()))
    devices = ", ".join(sorted(signal.devices)[:5])
    detail = "; ".join(part for part in (signal.detail, counts, devices) if part)
    count = max(1, sum(signal.counts.values()))
    return [SystemSignal(kind=kind, at_ms=now_ms, detail=detail[:200], count=count)]
