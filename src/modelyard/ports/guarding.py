"""Filters of one's own: what a class that the route table names as `package.module:Class` offers the gateway.

It is made once for each table, with the filter's options. It runs in the gateway's own loop and must answer in well
under a millisecond: a check that asks a model belongs in front of the gateway, or behind it.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a check says. `texts` stand in the place of those that were given, one for each; none means unchanged.

    `found` names what was found, for counters and logs: kinds, never the text itself.
    """

    texts: tuple[str, ...] = ()
    refuse: bool = False
    found: tuple[str, ...] = ()


class StreamFilter(Protocol):
    """The text of one choice of an answer as it arrives. `texts` of an outcome holds what may go out now: one text.

    Without it, the piece goes out as it came. Held back is no more than what could still become something to cover.
    """

    def feed(self, text: str) -> Outcome:
        """The next piece."""

    def finish(self) -> Outcome:
        """The end: `texts` holds what was still held back."""


class TextFilter(Protocol):
    """A check on requests and answers."""

    def check_request(self, texts: Sequence[str]) -> Outcome:
        """All texts of one request."""

    def stream(self) -> StreamFilter:
        """A check on one text of one answer."""
