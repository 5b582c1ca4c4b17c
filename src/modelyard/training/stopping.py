"""A request to end early, from a signal or a test: heard between two steps, so that a checkpoint can be written."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from modelyard.core.errors import Interrupted


class Stop:
    """Whether the work is to end. Outside of `listening` nobody would look, so there a signal ends it at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self._listens = False

    def ask(self) -> None:
        """Ask for an early end. Raises: Interrupted where nobody listens, as nothing is lost then."""
        self.is_asked = True
        if not self._listens:
            raise Interrupted("interrupted before the first step", fix="start it again")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, who works looks at `is_asked`."""
        self._listens = True
        try:
            yield
        finally:
            self._listens = False

    def hear(self, number: signal.Signals) -> None:
        """Take a signal of the system as the request: SIGTERM is how a spot machine says that it goes."""

        def asked(_number: int, _frame: FrameType | None) -> None:
            self.ask()

        signal.signal(number, asked)
