"""Workers as processes of this machine."""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from typing import Any, Self

from modelyard.adapters.compute.handover import Packed, Slot
from modelyard.core.errors import JobFailed
from modelyard.ports.workers import Result, Task

_AHEAD = 2
# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 << 20


class ProcessWorkers:
    """A fixed number of processes, started for one piece of work, or for all of a `with` block, and ended with it.

    They fork from one process that has imported the modules `preload` and has no thread of ours: what those load is
    loaded once, and its memory shared.
    """

    def __init__(self, num: int | None = None, *, preload: Sequence[str] = ()) -> None:
        self.num = num or len(os.sched_getaffinity(0))
        self._preload = list(preload)
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
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self._preload)
        pool = ProcessPoolExecutor(self.num, mp_context=context, initializer=_begin)
        # The processes come up while the first task is still being made.
        threading.Thread(target=_wake, args=(pool, self.num), daemon=True).start()
        return pool

    def _run(
        self, pool: ProcessPoolExecutor, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        waiting = iter(tasks)
        running: deque[tuple[Future[Result], Slot]] = deque()
        slots = [Slot() for _ in range(self.num * _AHEAD)]
        try:
            for slot, task in zip(slots, waiting):  # noqa: B905 - as many as there are slots
                running.append((pool.submit(_work, function, slot.pack(task)), slot))
            while running:
                future, slot = running.popleft()
                yield future.result()
                for task in islice(waiting, 1):
                    running.append((pool.submit(_work, function, slot.pack(task)), slot))
        except BrokenProcessPool as error:
            raise JobFailed(
                "a worker process was killed",
                expected="each worker to finish its part",
                fix="most often the system ran out of memory: free some, or use fewer workers, and run it again",
            ) from error
        finally:
            for future, _ in running:
                future.cancel()
            for slot in slots:
                slot.close()


def _work(function: Callable[[Any], Result], packed: Packed) -> Result:
    return function(packed.unpack())


def _wake(pool: ProcessPoolExecutor, num: int) -> None:
    """Have the processes started. A pool that is shut down by then, or broken, says so to who gives it work."""
    with suppress(RuntimeError, OSError, EOFError):
        for _ in range(num):
            pool.submit(_do_nothing)


def _do_nothing() -> None:
    pass


def _begin() -> None:
    """What a worker does first: leave Ctrl-C to the parent, and end when the parent ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


def _keep_memory() -> None:
    """Have glibc keep what large arrays give back: else every block's memory is mapped, and cleared, anew."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
