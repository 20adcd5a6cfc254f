"""The quarantine: a bounded stream of what was not taken, each message with its reason.

Its bound is a length, unlike the journal's: it is for people who look into a fault, nobody's
decision reads it. The fields of an entry are `v` (b"1"), `reason`, `detail`, `topic`, `payload`
(its first bytes), `size` (of the whole payload), `received_ms` and `by` (which intake).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from afstand.limits import (
    QUARANTINE_ENTRIES_MAX,
    QUARANTINE_PAYLOAD_BYTES_MAX,
    QUARANTINE_TEXT_CHARACTERS_MAX,
)
from ingest.mqtt_codec import Message
from ingest.store import QUARANTINE_KEY, EntryId, Store, command

QUARANTINE_VERSION = b"1"


class Quarantined(NamedTuple):
    """One entry as read."""

    id: EntryId
    reason: str
    detail: str
    topic: str
    payload: bytes
    size: int
    received_ms: int
    by: str


def quarantine_command(message: Message, reason: str, detail: str, by: str) -> tuple[Any, ...]:
    """Return the command that puts a message into the quarantine, for a pipeline."""
    size = message.size if message.flaw else len(message.payload)
    return (
        *("XADD", QUARANTINE_KEY, "MAXLEN", "~", QUARANTINE_ENTRIES_MAX, "*"),
        *(b"v", QUARANTINE_VERSION),
        *(b"reason", reason),
        *(b"detail", _bounded(detail)),
        *(b"topic", _bounded(message.topic)),
        *(b"payload", message.payload[:QUARANTINE_PAYLOAD_BYTES_MAX]),
        *(b"size", size),
        *(b"received_ms", message.received_ms),
        *(b"by", by),
    )


async def read_quarantine(store: Store, after: EntryId, count: int) -> list[Quarantined]:
    """Return up to `count` entries behind `after`, oldest first. Raises StoreUnavailableError."""
    answer = await command(store, "XREAD", "COUNT", count, "STREAMS", QUARANTINE_KEY, str(after))
    return [_read(raw, fields) for raw, fields in answer[0][1]] if answer else []


def _read(raw_id: bytes, fields: dict[bytes, bytes]) -> Quarantined:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "replace")

    return Quarantined(
        EntryId.parse(raw_id),
        text(b"reason"),
        text(b"detail"),
        text(b"topic"),
        fields.get(b"payload", b""),
        int(fields.get(b"size", b"0")),
        int(fields.get(b"received_ms", b"0")),
        text(b"by"),
    )


def _bounded(text: str) -> bytes:
    return text[:QUARANTINE_TEXT_CHARACTERS_MAX].encode("utf-8", "replace")
