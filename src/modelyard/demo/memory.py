"""The memory of this process and of all that it started, sampled while they run."""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_INTERVAL_S = 0.5
_PROC = Path("/proc")


class MemoryWatch:
    """Samples the memory of the process tree twice a second, from the start of the block to its end.

    A page that several processes share, such as those of a library, counts once, split among them. 0 where there is no
    /proc.
    """

    def __init__(self, *, interval_s: float = _INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._peak_mb = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def take(self) -> float:
        """The peak since this was asked last, in MiB."""
        self._sample()
        with self._lock:
            peak_mb, self._peak_mb = self._peak_mb, 0.0
        return peak_mb

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        now_mb = tree_memory_mb(os.getpid())
        with self._lock:
            self._peak_mb = max(self._peak_mb, now_mb)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def tree_memory_mb(root: int) -> float:
    """The proportional resident memory of a process and everything below it now, in MiB, by /proc."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The name, in brackets, may hold anything; what follows it is numbers.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return sum(_proportional_kib(pid) for pid in tree) / 1024


def _proportional_kib(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile, or there is no /proc
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
