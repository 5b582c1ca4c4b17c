"""Identifiers: UUIDv7, so that sorting by id is sorting by time of making."""

import os
import time

_DIGITS = 19
_REFILL_BYTES = 4096
_VARIANT = str.maketrans("0123456789abcdef", "89ab" * 4)


class _Entropy:
    """Random hexadecimal digits from the system, fetched in bulk: a call for each id would cost as much as the id."""

    __slots__ = ("_stock",)

    def __init__(self) -> None:
        self._stock: list[str] = []

    def forget(self) -> None:
        """Throw away what is held: a forked child must not use the digits that its parent will use."""
        self._stock = []

    def take(self) -> str:
        """`_DIGITS` fresh digits. Two threads never get the same ones: `pop` is one step."""
        while True:
            try:
                return self._stock.pop()
            except IndexError:
                digits = os.urandom(_REFILL_BYTES).hex()
                self._stock = [digits[at : at + _DIGITS] for at in range(0, len(digits) - _DIGITS, _DIGITS)]


_entropy = _Entropy()
os.register_at_fork(after_in_child=_entropy.forget)


def new_id() -> str:
    """A fresh UUIDv7 in its canonical text form. Source: RFC 9562, section 5.7."""
    at = f"{time.time_ns() // 1_000_000:012x}"
    random = _entropy.take()
    variant = random[3].translate(_VARIANT)
    return f"{at[:8]}-{at[8:12]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:]}"


def milliseconds_of(id: str) -> int:
    """When a UUIDv7 was made, in Unix milliseconds."""
    return int(id.replace("-", "")[:12], 16)
