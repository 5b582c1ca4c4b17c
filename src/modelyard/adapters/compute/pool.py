"""Workers as processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Self

from modelyard.core.errors import JobFailed
from modelyard.ports.workers import Result, Task

_AHEAD = 2


class ProcessWorkers:
    """A fixed number of processes, started for one piece of work, or for all of a `with` block, and ended with it."""

    def __init__(self, num: int | None = None) -> None:
        self.num = num or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._pool = self._start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """See `Workers.map`."""
        if self._pool is not None:
            yield from self._run(self._pool, function, tasks)
            return
        pool = self._start()
        try:
            yield from self._run(pool, function, tasks)
        finally:
            pool.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        # Spawned, as a fork of a process with threads can hang.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.num, mp_context=context, initializer=_begin)

    def _run(
        self, pool: ProcessPoolExecutor, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        waiting = iter(tasks)
        running: deque[Future[Result]] = deque()
        try:
            for task in islice(waiting, self.num * _AHEAD):
                running.append(pool.submit(function, task))
            while running:
                yield running.popleft().result()
                for task in islice(waiting, 1):
                    running.append(pool.submit(function, task))
        except BrokenProcessPool as error:
            raise JobFailed(
                "a worker process was killed",
                expected="each worker to finish its part",
                fix="most often the system ran out of memory: free some, or use fewer workers, and run it again",
            ) from error
        finally:
            for future in running:
                future.cancel()


def _begin() -> None:
    """What a worker does first: leave Ctrl-C to the parent, and end when the parent ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)
