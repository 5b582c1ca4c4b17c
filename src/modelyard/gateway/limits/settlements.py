"""Settlements on their way to Redis: in order, kept until Redis has said that it applied them."""

from collections import deque
from collections.abc import Sequence

from modelyard.gateway.limits.subjects import Subject


class Keys:
    """The names of everything in Redis. One hash tag, so that one script may touch all of them in a cluster."""

    __slots__ = ("_tag",)

    def __init__(self, prefix: str) -> None:
        self._tag = b"{%b}:" % prefix.encode()

    def of(self, scope: bytes) -> tuple[bytes, bytes]:
        """A scope's account and leases."""
        return self._tag + b"a:" + scope, self._tag + b"l:" + scope

    def mark(self, start: str) -> bytes:
        """How far the settlements of a process are applied."""
        return self._tag + b"m:" + start.encode()

    def arguments(self, subject: Subject) -> tuple[bytes, ...]:
        """A subject's two keys and six limits, made once."""
        if not subject.arguments:
            limits = subject.limits
            interval_us = subject.interval_s * 1e6
            slack_us = (subject.burst - 1) * interval_us + 1 if interval_us else 0
            numbers = (limits.tokens_per_minute, limits.concurrency, limits.daily_nanousd, limits.monthly_nanousd)
            rate = (b"%.6f" % interval_us, b"%.6f" % slack_us)
            subject.arguments = (*self.of(subject.scope), *rate, *(b"%d" % number for number in numbers))
        return subject.arguments


class Settlement:
    """What one request used. `position` and `number` order those of a process and name this one."""

    __slots__ = ("arguments", "keys", "number", "position")

    def __init__(self, position: int, number: int, keys: Sequence[bytes], arguments: Sequence[bytes]) -> None:
        self.position = position
        self.number = number
        self.keys = keys
        self.arguments = arguments

    def command(self, mark: bytes) -> list[bytes]:
        """Number of keys, keys and arguments, as EVALSHA takes them."""
        keys = [mark, *self.keys]
        return [b"%d" % len(keys), *keys, b"%d" % self.position, b"%d" % self.number, *self.arguments]


Queue = deque[Settlement]
