"""Sticky assignment: the same unit lands at the same point in every process, and ramping up only adds units.

Used by the gateway for every request and by rollouts to say what share they gave, so it lives below both.
"""

import hashlib

FULL = 10_000


def position(salt: str, unit: str) -> int:
    """Where a unit sits on [0, 10,000), in basis points: the first 64 bits of SHA-256 of `salt || unit`.

    A challenger with weight w owns [0, w).
    """
    digest = hashlib.sha256(f"{salt}\x00{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * FULL >> 64
