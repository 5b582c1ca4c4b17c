"""Workers of a Ray cluster. All of them must see the folder that the work is done in."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Self

from modelyard.core.errors import JobFailed, MissingExtra, ModelyardError, Unavailable
from modelyard.ports.workers import Result, Task

try:
    import ray
except ModuleNotFoundError as error:
    raise MissingExtra("ray", "ray") from error

_AHEAD = 2


class RayWorkers:
    """The processors of a Ray cluster: `address` as `ray.init` takes it, `local` for one on this machine."""

    def __init__(self, address: str = "auto") -> None:
        self._address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """See `Workers.map`."""
        self.connect()
        remote: Any = ray.remote(function)
        waiting = iter(tasks)
        running: deque[Any] = deque()
        ahead = max(1, int(ray.cluster_resources().get("CPU", 1))) * _AHEAD
        try:
            running.extend(remote.remote(task) for task in islice(waiting, ahead))
            while running:
                yield _result(running.popleft())
                running.extend(remote.remote(task) for task in islice(waiting, 1))
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def connect(self) -> None:
        """Join the cluster, unless that is done. Raises: Unavailable."""
        try:
            ray.init(
                address=None if self._address == "local" else self._address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                ignore_reinit_error=True,
            )
        except (ConnectionError, ValueError) as error:
            raise Unavailable(
                f"no Ray cluster answers at '{self._address}': {error}",
                expected="the address of a running cluster, or 'local'",
                fix="start one with `ray start --head`, or leave Ray out to use the processors of this machine",
            ) from error

    def close(self) -> None:
        """Leave the cluster; one on this machine ends."""
        ray.shutdown()


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ModelyardError | OSError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise JobFailed(
            f"a Ray worker was lost: {error}", fix="see `ray status` and the cluster's logs, and run it again"
        ) from error
