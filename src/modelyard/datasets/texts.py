"""Texts as one run of bytes: the shape in which kernels read them and Arrow stores them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Texts in UTF-8, one behind the other. Shapes: data (bytes,), offsets (texts + 1,), rising from 0."""

    data: Bytes
    offsets: Ints

    def __post_init__(self) -> None:
        # Arrow's memory must not be written to; one kind of array also means that kernels are compiled once.
        self.data.setflags(write=False)
        self.offsets.setflags(write=False)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """From Python texts."""
        # Arrow would import pandas, where it is installed, to look at a list of Python values.
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def from_arrow(cls, array: Any) -> "Texts":
        """From an Arrow array of strings without nulls; no bytes are copied where its offsets start at 0."""
        array = array.cast(pa.large_string())
        _, offset_bytes, data = array.buffers()
        if offset_bytes is None or not len(array):
            return cls(np.zeros(0, np.uint8), np.zeros(1, np.int64))
        offsets = np.frombuffer(offset_bytes, np.int64)[array.offset : array.offset + len(array) + 1]
        bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        return cls(bytes_[offsets[0] : offsets[-1]], offsets - offsets[0] if offsets[0] else offsets)

    def to_arrow(self) -> Any:
        """As an Arrow array of large strings over the same bytes."""
        buffers = [
            None,
            pa.py_buffer(np.ascontiguousarray(self.offsets)),
            pa.py_buffer(np.ascontiguousarray(self.data)),
        ]
        return pa.LargeStringArray.from_buffers(len(self), buffers[1], buffers[2])

    def to_list(self) -> list[str]:
        """As Python texts."""
        texts: list[str] = self.to_arrow().to_pylist()
        return texts

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()

    @property
    def num_bytes(self) -> Ints:
        """The length of each text in bytes."""
        return np.diff(self.offsets)

    def num_chars(self) -> Ints:
        """The length of each text in characters."""
        lengths: Ints = pc.utf8_length(self.to_arrow()).to_numpy(zero_copy_only=False).astype(np.int64)
        return lengths

    def take(self, chosen: npt.NDArray[Any]) -> "Texts":
        """The texts at some places (integers), or those marked (truth values), in that order."""
        array = self.to_arrow()
        return Texts.from_arrow(
            array.filter(pa.array(chosen)) if chosen.dtype == bool else array.take(pa.array(chosen))
        )

    def replaced(self, texts: Mapping[int, str]) -> "Texts":
        """The same texts but for some, by their places."""
        if not texts:
            return self
        pieces: list[Any] = []
        done = 0
        array = self.to_arrow()
        for place in sorted(texts):
            pieces += [array.slice(done, place - done), pa.array([texts[place]], pa.large_string())]
            done = place + 1
        return Texts.from_arrow(pa.concat_arrays([*pieces, array.slice(done)]))

    @classmethod
    def concatenated(cls, parts: Sequence["Texts"]) -> "Texts":
        """Several runs as one."""
        return cls.from_arrow(pa.concat_arrays([part.to_arrow() for part in parts]))
