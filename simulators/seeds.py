"""Randomness by name: every stream is a pure function of the scenario's seed and what it is for."""

import hashlib

import numpy as np


def key_of(name: str) -> int:
    """Return a stable 64-bit number for a name (the built-in hash differs per process)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def stream(seed: int, *purpose: int | str) -> np.random.Generator:
    """Return the generator for one purpose, independent of every other purpose of the same seed."""
    words = [seed & 0xFFFF_FFFF_FFFF_FFFF]
    words += [
        key_of(part) if isinstance(part, str) else part & 0xFFFF_FFFF_FFFF_FFFF for part in purpose
    ]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def device_key(seed: int, device_id: str) -> bytes:
    """Return the 16-byte key of a simulated device.

    Reproducible, so never used outside a simulation.
    """
    return hashlib.blake2b(
        device_id.encode(), key=b"simulated", digest_size=16, salt=seed.to_bytes(16, "little")
    ).digest()
