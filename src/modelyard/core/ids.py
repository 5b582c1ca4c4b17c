"""Identifiers: UUIDv7, so that sorting by id is sorting by time of making."""

import os
import time

_MASK_74 = (1 << 74) - 1


def new_id() -> str:
    """A fresh UUIDv7 in its canonical text form. Source: RFC 9562, section 5.7."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10), "big") & _MASK_74
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 62) << 64
    value |= 0b10 << 62
    value |= random_bits & ((1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def milliseconds_of(id: str) -> int:
    """When a UUIDv7 was made, in Unix milliseconds."""
    return int(id.replace("-", "")[:12], 16)
