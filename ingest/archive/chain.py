"""The hash chain: what shows that no entry was changed, left out, added or moved.

    leaf(part)    = SHA-256(salt of the part, part)
    digest(entry) = SHA-256(kind, number of parts, leaves)
    hash(entry)   = SHA-256(hash of the entry before, id, digest)

The first entry follows a hash that names partition and stream. A part is one frame or one output
(`parts.py`). Its salt is made of the entry's, which is drawn, and of its place, so that a leaf
alone does not betray what it held: a part can be shown with its salt while the others stay leaves,
or be erased, and the chain still verifies.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

from ingest.archive.parts import split
from ingest.columns import Item
from ingest.store import EntryId, journal_key, outbox_key

CHAIN_VERSION: Final = 2
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


def part_salt(salt: bytes, place: int) -> bytes:
    """Return the salt of one part: with it alone nothing follows about the others."""
    return sha256(salt + place.to_bytes(4, "little")).digest()[:SALT_BYTES]


def leaves_of(salt: bytes, parts: Sequence[bytes]) -> list[bytes]:
    """Return the salted hash of each part of an entry."""
    return [sha256(part_salt(salt, place) + part).digest() for place, part in enumerate(parts)]


def digest_of_leaves(kind: str, leaves: Sequence[bytes]) -> bytes:
    """Return the digest of an entry from the hashes of its parts."""
    name = kind.encode("ascii")
    head = bytes([len(name)]) + name + len(leaves).to_bytes(4, "little")
    return sha256(b"".join((head, *leaves))).digest()


def digest_of(salt: bytes, kind: str, blob: bytes) -> bytes:
    """Return the salted digest of what an entry holds."""
    return digest_of_leaves(kind, leaves_of(salt, split(kind, blob)))


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
