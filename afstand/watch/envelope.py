"""The blob of an outbox entry: all outputs of one journal entry.

The idempotency key of an output is `{partition}-{entry id}-{index}`: the place where it stands, the
same for every replica and after every restart.
"""

from typing import Final

import msgspec

from alerting.book.types import OUTPUT_FORMAT, Output
from ingest.store import EntryId

ENVELOPE_FORMAT: Final = 1


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """`received_ms`: when the intake read the oldest frame of the entry (0.

    No frame), to measure latency with.
    """

    format: int
    output_format: int
    received_ms: int
    outputs: list[Output]


class EnvelopeError(ValueError):
    """An outbox blob that cannot be read."""


_DECODER: Final = msgspec.msgpack.Decoder(Envelope)
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


def entry_key(partition: str, entry_id: EntryId) -> str:
    """The first part of the idempotency keys of an entry's outputs."""
    return f"{partition}-{entry_id}"


def output_key(partition: str, entry_id: EntryId, index: int) -> str:
    """The idempotency key of one output."""
    return f"{entry_key(partition, entry_id)}-{index}"


def encode_envelope(received_ms: int, outputs: list[Output]) -> bytes:
    """The same outputs give the same bytes on every machine."""
    return _ENCODER.encode(Envelope(ENVELOPE_FORMAT, OUTPUT_FORMAT, received_ms, outputs))


def decode_envelope(blob: bytes) -> Envelope:
    """The reverse of `encode_envelope`. Raises EnvelopeError."""
    try:
        envelope = _DECODER.decode(blob)
    except msgspec.MsgspecError as error:
        raise EnvelopeError(f"not an outbox entry: {error}") from None
    if (envelope.format, envelope.output_format) != (ENVELOPE_FORMAT, OUTPUT_FORMAT):
        raise EnvelopeError(f"outbox entry of format {envelope.format}/{envelope.output_format}")
    return envelope
