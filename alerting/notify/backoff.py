"""When to try again: exponential, bounded, with a jitter that the key decides.

The jitter spreads the retries of many notices after an outage of a receiver. It is taken from the
idempotency key and not from a random source, so that a retry schedule can be explained afterwards
and a test needs no seed.
"""

from hashlib import blake2b

JITTER_STEPS = 1024


def backoff_ms(key: str, attempt: int, base_ms: int, limit_ms: int) -> int:
    """Give the wait after failed attempt number `attempt`, counted from 1.

    Half to the whole of base * 2^(attempt - 1), where the whole is bounded by `limit_ms`. Never
    below 1 ms, so that a configuration with a base of 0 cannot spin.
    """
    # The exponent is bounded by the width of the limit: 2^attempt of a long outage would be a very
    # large integer.
    whole = min(limit_ms, base_ms << min(attempt - 1, limit_ms.bit_length()))
    digest = blake2b(f"{key}/{attempt}".encode(), digest_size=4).digest()
    share = int.from_bytes(digest, "little") % (JITTER_STEPS + 1)
    return max(1, whole // 2 + (whole - whole // 2) * share // JITTER_STEPS)
