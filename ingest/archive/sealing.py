"""What is personal in an archived entry, sealed part by part under the keys of whom it is about.

The blob of a sealed entry is a list of its parts (`parts.py`): one that is nobody's as its salt and
itself, one that is somebody's as its leaf of the hash chain, the number of the key, and AES-GCM of
salt and part, bound to entry and place. The salt of the entry is not kept, because the salts of all
parts follow from it. So the chain can be followed without any key; and when a key is destroyed, its
parts can be neither read nor guessed at: a leaf without its salt tells nothing.

Whoever reads an entry with erased parts gets stand-ins in their places (`parts.stand_in`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ingest.archive.chain import (
    HASH_BYTES,
    SALT_BYTES,
    leaves_of,
    part_salt,
)
from ingest.archive.keys import NUMBER_BYTES, Keys, Subject
from ingest.archive.parts import join, join_anew, split, stand_in
from ingest.columns import Item
from ingest.store import EntryId

SEALED_FORMAT: Final = 1
NO_SALT: Final = bytes(SALT_BYTES)
_NONCE_BYTES: Final = 12


class Sealer(Protocol):
    """Says whom the parts of entries are about. It has seen everything that came before."""

    def learn(self, item: Item) -> None:
        """Take note of what an entry defines."""
        ...

    def subjects(self, item: Item, parts: Sequence[bytes]) -> Sequence[Subject | None]:
        """Return for each part whom it is about; None for nobody."""
        ...


class Opened(NamedTuple):
    """A sealed entry as far as it can be read.

    `salts` of parts that were erased are None; the blob has stand-ins for them. `raw` is the
    entry as it was sealed.
    """

    raw: bytes
    blob: bytes
    leaves: list[bytes]
    salts: list[bytes | None]

    @property
    def erased(self) -> int:
        """How many parts can be read by nobody."""
        return self.salts.count(None)


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    format: int
    parts: list[list[bytes]]


class SealedError(ValueError):
    """A sealed entry that is not what was written."""


def seal(items: Sequence[Item], salts: Sequence[bytes], sealer: Sealer, keys: Keys) -> list[bytes]:
    """Return the sealed blob of each entry; empty where nothing is anybody's.

    Makes keys where there are none: under `keys.locked` only. Raises OSError, KeysError.
    """
    for item in items:
        sealer.learn(item)
    taken = []
    for item in items:
        parts = split(item.kind, item.blob)
        taken.append((parts, sealer.subjects(item, parts)))
    wanted = [one for _, subjects in taken for one in subjects if one is not None]
    made = keys.make(wanted)
    ciphers = {subject: AESGCM(bytes.fromhex(key.key)) for subject, key in made.items()}
    found = []
    for item, salt, (parts, subjects) in zip(items, salts, taken, strict=True):
        if not any(subjects):
            found.append(b"")
            continue
        leaves = leaves_of(salt, parts)
        told: list[tuple[bytes, ...]] = []
        for place, (part, subject) in enumerate(zip(parts, subjects, strict=True)):
            own = part_salt(salt, place)
            if subject is None:
                told.append((own, part))
                continue
            nonce = os.urandom(_NONCE_BYTES)
            shut = ciphers[subject].encrypt(nonce, own + part, _bound(item.id, place))
            told.append((leaves[place], bytes.fromhex(made[subject].number), nonce + shut))
        found.append(msgspec.msgpack.encode((SEALED_FORMAT, told)))
    return found


def unseal(entry_id: EntryId, kind: str, raw: bytes, keys: Keys) -> Opened:
    """Return a sealed entry with what its keys open.

    Raises SealedError when a part does not open with its key, or is no part, and KeysError.
    """
    try:
        said = msgspec.msgpack.decode(raw, type=_Sealed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SealedError(f"entry {entry_id}: not a sealed entry: {error}") from None
    if said.format != SEALED_FORMAT:
        raise SealedError(f"entry {entry_id}: sealed in format {said.format}")
    parts: list[bytes] = []
    leaves: list[bytes] = []
    salts: list[bytes | None] = []
    for place, told in enumerate(said.parts):
        if len(told) == len(("salt", "part")):
            salt, part = told
            leaves.append(leaf_of(salt, part))
            salts.append(salt)
            parts.append(part)
            continue
        if len(told) != len(("leaf", "number", "shut")):
            raise SealedError(f"entry {entry_id}: part {place} is not as it was sealed")
        leaf, number, shut = told
        if len(leaf) != HASH_BYTES or len(number) != NUMBER_BYTES:
            raise SealedError(f"entry {entry_id}: part {place} is not as it was sealed")
        leaves.append(leaf)
        key = keys.find(number)
        if key is None:
            salts.append(None)
            parts.append(stand_in(kind, place, entry_id))
            continue
        plain = _opened(key, shut, entry_id, place)
        salts.append(plain[:SALT_BYTES])
        parts.append(plain[SALT_BYTES:])
        if leaf_of(plain[:SALT_BYTES], plain[SALT_BYTES:]) != leaf:
            raise SealedError(f"entry {entry_id}: part {place} is not what was chained")
    blob = join_anew(kind, parts) if None in salts else join(kind, parts)
    return Opened(raw, blob, leaves, salts)


def leaf_of(salt: bytes, part: bytes) -> bytes:
    """Return the leaf of a part from the part's own salt."""
    return sha256(salt + part).digest()


def _opened(key: bytes, shut: bytes, entry_id: EntryId, place: int) -> bytes:
    try:
        bound = _bound(entry_id, place)
        return AESGCM(key).decrypt(shut[:_NONCE_BYTES], shut[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise SealedError(f"entry {entry_id}: part {place} does not open with its key") from None


def _bound(entry_id: EntryId, place: int) -> bytes:
    return f"{entry_id}/{place}".encode()
