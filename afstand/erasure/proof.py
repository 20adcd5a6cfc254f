"""Proof of erasure: what was erased, when, by whose order; signed, and chained to the one before.

One file per partition, `erasures/{partition}.jsonl` beside the archive, a proof a line. It is
written before the keys are destroyed, so that a process that dies in between leaves the order to be
finished and never an erasure without a proof; `check` says whether the keys are gone.
"""

import os
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from afstand import __version__
from afstand.proof.signing import public_hex
from geofence.orders import Order
from ingest.archive.keys import Key
from ingest.archive.names import sync_folder

FOLDER: Final = "erasures"
_BEGINNING: Final = "0" * 64


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure: of a case in one category.

    `keys`: SHA-256 of the number of each key, which stands with what it sealed. `previous`: the
    SHA-256 of the proof before. The signature (Ed25519) is over the proof with an empty one.
    """

    format: Literal["afstand.erasure/1"] = "afstand.erasure/1"
    program: str = __version__
    at_ms: int
    partition: str
    case_id: str
    category: str
    retention: str
    """The version of the retention file that it was due by."""
    ended_ms: int | None
    persons: tuple[str, ...]
    zones: tuple[str, ...]
    orders: tuple[Order, ...] = ()
    """What is left of them: ids and kind."""
    by: str
    authority: str
    reason: str
    keys: tuple[str, ...]
    previous: str = _BEGINNING
    public_key: str = ""
    signature: str = ""

    @property
    def digest(self) -> str:
        """What the next proof, and the journal, name this one by."""
        return sha256(_encoded(self)).hexdigest()


def _encoded(proof: Proof) -> bytes:
    return msgspec.json.encode(proof, order="deterministic")


class Proofs:
    """The proofs of one partition."""

    def __init__(self, root: Path, partition: str) -> None:
        self._path = root / FOLDER / f"{partition}.jsonl"

    def all(self) -> list[Proof]:
        """Return all, oldest first. Raises msgspec.MsgspecError for a line that is none."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line, type=Proof) for line in lines[:-1]]

    def append(self, proof: Proof, key: Ed25519PrivateKey) -> Proof:
        """Sign a proof, chain it and store it durably."""
        there = self.all()
        previous = there[-1].digest if there else _BEGINNING
        plain = msgspec.structs.replace(proof, previous=previous, public_key=public_hex(key))
        signed = msgspec.structs.replace(plain, signature=key.sign(_encoded(plain)).hex())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(_encoded(signed) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._path.parent)
        return signed

    def check(self, keys: list[Key], public_key: str = "") -> list[str]:
        """Return what is wrong: a signature, the chain, or a key that is still there."""
        found: list[str] = []
        previous = _BEGINNING
        there = {key.digest for key in keys if not key.destroyed}
        for number, proof in enumerate(self.all(), 1):
            where = f"proof {number} ({proof.case_id}, {proof.category})"
            if proof.previous != previous:
                found.append(f"{where}: does not follow the one before it")
            plain = msgspec.structs.replace(proof, signature="")
            try:
                signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(proof.public_key))
                signer.verify(bytes.fromhex(proof.signature), _encoded(plain))
            except (InvalidSignature, ValueError):
                found.append(f"{where}: is not what was signed")
            if public_key and proof.public_key != public_key:
                found.append(f"{where}: is signed with another key")
            left = [key for key in proof.keys if key in there]
            if left:
                found.append(f"{where}: {len(left)} of {len(proof.keys)} keys are still there")
            previous = proof.digest
        return found
