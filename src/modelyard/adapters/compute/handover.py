"""Tasks on their way to other processes of this machine: what is large goes through memory that both see.

A pipe copies each byte four times and wakes both sides for every 64 KB. Large is what the task itself gives out of
band (`pickle.PickleBuffer`, NumPy arrays). The memory has no name in the file system, so nothing of it is left behind,
however a process ends; where a system has no such memory, everything goes through the pipe.
"""

import mmap
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Below this, a pipe is as good.
_WORTH_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A task in pickled form. Its large parts lie in the memory at `path`, from and to the bytes of `places`."""

    pickled: bytes
    path: str = ""
    places: tuple[tuple[int, int], ...] = ()

    def unpack(self) -> Any:
        """The task, over the memory itself: it must be done with when the next one comes there."""
        if not self.places:
            return pickle.loads(self.pickled)  # noqa: S301 - our own parent wrote it
        with open(self.path, "rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        return pickle.loads(self.pickled, buffers=[view[begin:end] for begin, end in self.places])  # noqa: S301


class Slot:
    """Memory for the large parts of one task at a time. It grows as needed, and goes with its process."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("task") if hasattr(os, "memfd_create") else -1
        self._path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self._map: mmap.mmap | None = None

    def pack(self, task: object) -> Packed:
        """A task in the form in which `Packed.unpack` reads it. What the slot held before is gone."""
        large: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(task, 5, buffer_callback=large.append)
        parts = [part.raw() for part in large]
        size = sum(map(len, parts))
        if size < _WORTH_BYTES or not os.path.exists(self._path):
            return Packed(pickled=pickle.dumps(task, 5))
        return Packed(pickled=pickled, path=self._path, places=self._write(parts, size))

    def close(self) -> None:
        """Give the memory back."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, parts: Sequence[memoryview], size: int) -> tuple[tuple[int, int], ...]:
        if self._map is None or len(self._map) < size:
            # Reserved now: memory that is not there must fail here, not when it is written to.
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size)
        places = []
        end = 0
        for part in parts:
            begin, end = end, end + len(part)
            self._map[begin:end] = part
            places.append((begin, end))
        return tuple(places)
