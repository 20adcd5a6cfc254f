"""The key that bundles are signed with (Ed25519, RFC 8032)."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from afstand.proof.past import ProofError


def make_key(path: Path) -> str:
    """Write a new private key, readable by its owner alone; return the public one.

    Raises FileExistsError, OSError.
    """
    key = Ed25519PrivateKey.generate()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public_hex(key)


def read_key(pem: str) -> Ed25519PrivateKey:
    """Return the private key of a PEM text. Raises ProofError."""
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ProofError("the signing key is no private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ProofError("the signing key is not Ed25519; `afstand evidence-key FILE` makes one")
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """Return the public key, 64 hexadecimal digits: what whoever checks must have from us."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
