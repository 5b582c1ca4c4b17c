"""Troubles: what goes wrong in a loop that must go on, told once while it stays the same."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard.core.errors import ModelyardError

log = logging.getLogger(__name__)


class Troubles:
    """What each part of a loop last complained of."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    @contextmanager
    def around(self, part: str) -> Iterator[None]:
        """Log what goes wrong in the block, a mistake of ours with its traceback, and go on after it."""
        try:
            yield
        except Exception as error:
            self.note(part, error)
        else:
            self.note(part, None)

    def note(self, part: str, error: Exception | None) -> None:
        """Log what is wrong with a part now, None for nothing."""
        if error is None:
            if self._told.pop(part, None):
                log.info("%s works again", part)
            return
        message = f"{type(error).__name__}: {error}".replace("\n", " ")
        if self._told.get(part) == message:
            return
        self._told[part] = message
        if isinstance(error, ModelyardError):
            log.warning("%s: %s; it is tried again", part, str(error).replace("\n", " "))
        else:
            log.error("%s failed and is tried again", part, exc_info=error)
