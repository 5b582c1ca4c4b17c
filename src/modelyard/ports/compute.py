"""Compute: where batch work runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

Progress = Callable[[Mapping[str, Any]], None]


class Compute(Protocol):
    """Runs one command to its end, away from this process, and passes on what it reports."""

    def run(self, command: Sequence[str], *, env: Mapping[str, str], progress: Progress) -> None:
        """Run a command. Each JSON object it prints on standard output, one a line, goes to `progress`.

        Raises: JobFailed with the end of its standard error where it ends with another code than 0.
        """
        ...
