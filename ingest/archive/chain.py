"""The hash chain: what shows that no entry was changed, left out, added or moved.

    digest(entry) = SHA-256(salt, kind, blob)
    hash(entry)   = SHA-256(hash of the entry before, id, digest)

The first entry follows a hash that names partition and stream. The salt is drawn per entry, so that
a digest alone does not betray what an entry held: an entry can be erased and the rest still
verifies.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

from ingest.columns import Item
from ingest.store import EntryId, journal_key, outbox_key

CHAIN_VERSION: Final = 1
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
_HEAD: Final = struct.Struct("<QQ")


class StreamName(StrEnum):
    """The two streams of a partition that are chained and archived."""

    JOURNAL = "journal"
    OUTBOX = "outbox"

    def key(self, partition: str) -> str:
        """Return the key of the stream in the store."""
        return journal_key(partition) if self is StreamName.JOURNAL else outbox_key(partition)


class Link(NamedTuple):
    """The place of an entry in the chain."""

    id: EntryId
    salt: bytes
    hash: bytes


def genesis(partition: str, stream: StreamName) -> bytes:
    """Return the hash that the first entry of a stream follows."""
    return sha256(f"afstand.chain/{CHAIN_VERSION} {partition} {stream}".encode()).digest()


def digest_of(salt: bytes, kind: str, blob: bytes) -> bytes:
    """Return the salted digest of what an entry holds."""
    name = kind.encode("ascii")
    whole = sha256(salt)
    whole.update(bytes([len(name)]) + name)
    whole.update(blob)
    return whole.digest()


def hash_of(previous: bytes, entry_id: EntryId, digest: bytes) -> bytes:
    """Return the hash of an entry that follows `previous`."""
    return sha256(previous + _HEAD.pack(*entry_id) + digest).digest()


def link(previous: bytes, items: Iterable[Item]) -> list[Link]:
    """Chain items behind `previous`, each with a salt of its own."""
    found = []
    for item in items:
        salt = os.urandom(SALT_BYTES)
        previous = hash_of(previous, item.id, digest_of(salt, item.kind, item.blob))
        found.append(Link(item.id, salt, previous))
    return found


def follows(previous: bytes, item: Item, its: Link) -> bool:
    """Whether an entry is the one that was chained behind `previous`."""
    digest = digest_of(its.salt, item.kind, item.blob)
    return item.id == its.id and hash_of(previous, item.id, digest) == its.hash
