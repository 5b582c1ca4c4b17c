"""Workers: where the parts of one piece of work run side by side."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers(Protocol):
    """Runs a function over tasks, on one or many processes or machines.

    As a context manager it keeps what it started from one piece of work to the next, until the block ends.
    """

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The results in the order of the tasks. Few tasks are taken ahead, so that memory stays bounded.

        The function is importable by name; tasks and results can be pickled. Where tasks read and write files, all
        workers see the same folder. An error of the function is raised here as it is. A worker that dies without one
        raises JobFailed. Closing the iterator stops the work.
        """
        ...


class Inline:
    """Workers that are none: every task runs here, one after the other."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """See `Workers.map`."""
        return map(function, tasks)
