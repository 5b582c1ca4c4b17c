"""The steps that need all rows at once, in their order, over keys alone.

A row is alive until a step lets it go. Each step sees the rows that are alive, and tells which go and why.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from modelyard.datasets.balance import balance
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.duplicates.bands import BandStore
from modelyard.datasets.duplicates.conflicts import drop_conflicts
from modelyard.datasets.duplicates.embedding import embed
from modelyard.datasets.duplicates.exact import drop_exact_duplicates
from modelyard.datasets.duplicates.near import drop_near_duplicates
from modelyard.datasets.duplicates.semantic import check_num_rows, drop_semantic_duplicates
from modelyard.datasets.index import Drops, Flags, Hashes, Index
from modelyard.datasets.pipeline.keys import compared
from modelyard.datasets.pipeline.spool import Places, block_file, open_table
from modelyard.datasets.report.building import clusters
from modelyard.datasets.schema import rows_of
from modelyard.datasets.texts import Ints, Texts
from modelyard.ports.workers import Workers

_Section = TypeVar("_Section")
_ORDER = ("exact_duplicates", "conflicts", "near_duplicates", "semantic_duplicates", "balance")


def set_steps(config: DatasetConfig) -> tuple[str, ...]:
    """The names of the steps over all rows that a configuration asks for, in their order."""
    wanted = {
        "near_duplicates": config.near_duplicates is not None,
        "semantic_duplicates": config.semantic_duplicates is not None,
        "balance": config.balance is not None,
    }
    return tuple(name for name in _ORDER if wanted.get(name, True))


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """The texts of rows by their places, as the duplicates steps compare them. It goes to workers."""

    folder: Path
    places: Places
    config: DatasetConfig

    def __call__(self, places: Ints) -> Texts:
        """The folded texts of rows at rising places."""
        parts = [
            compared(rows_of(open_table(block_file(self.folder, number)).take(rows)), self.config)
            for number, rows in self.places.by_block(places)
        ]
        return Texts.concatenated(parts) if parts else Texts.of([])

    def look(self, places: Ints) -> list[tuple[str, int, str]]:
        """Source, line and text of a few rows, as a report shows them."""
        seen = []
        for place in places.tolist():
            number = self.places.block_of(place)
            row = open_table(block_file(self.folder, number)).slice(place - int(self.places.starts[number]), 1)
            seen.append((row["source"][0].as_py(), row["line"][0].as_py(), rows_of(row).subjects()[0]))
        return seen


@dataclass(kw_only=True)
class SetSteps:
    """The steps over all rows of one preparation. After `run`, `alive` marks the rows that are left.

    `copies` counts, by place, the rows that are exactly alike, `similar` the near-duplicates that gave way to a row;
    `hashes` gives 64 bits of each row's digest, which order rows where their order in the files must not matter.
    """

    index: Index
    bands: BandStore
    hashes: Callable[[], Hashes]
    fetch: Fetch
    workers: Workers
    is_labelled: bool
    alive: Flags
    copies: npt.NDArray[np.int32]
    similar: npt.NDArray[np.int32]

    @classmethod
    def over(
        cls,
        index: Index,
        *,
        bands: BandStore,
        hashes: Callable[[], Hashes],
        fetch: Fetch,
        workers: Workers,
        is_labelled: bool,
    ) -> "SetSteps":
        """Before any of them: every row is alive and stands for itself."""
        return cls(
            index=index,
            bands=bands,
            hashes=hashes,
            fetch=fetch,
            workers=workers,
            is_labelled=is_labelled,
            alive=np.ones(len(index), bool),
            copies=np.ones(len(index), np.int32),
            similar=np.zeros(len(index), np.int32),
        )

    def clusters(self) -> dict[str, dict[str, Any]]:
        """Rows that stand for several, exactly and nearly alike, with the largest of them."""
        return {
            "exact": clusters(self.copies, self.alive, self.fetch.look),
            "near": clusters(self.similar + 1, self.alive, self.fetch.look),
        }

    def run(self, config: DatasetConfig) -> Iterator[tuple[str, Drops]]:
        """Each step in its order, with the rows that it let go."""
        steps: dict[str, Callable[[DatasetConfig], Drops]] = {
            "exact_duplicates": self._exact_duplicates,
            "conflicts": self._conflicts,
            "near_duplicates": self._near_duplicates,
            "semantic_duplicates": self._semantic_duplicates,
            "balance": self._balance,
        }
        for name in set_steps(config):
            drops = steps[name](config)
            self.alive[drops.places] = False
            yield name, drops

    def _exact_duplicates(self, config: DatasetConfig) -> Drops:
        drops, self.copies = drop_exact_duplicates(self.index, self.alive)
        return drops

    def _conflicts(self, config: DatasetConfig) -> Drops:
        mode = config.conflicts
        if mode == "auto":
            # A prompt has one right label, but many good answers.
            mode = "majority" if self.is_labelled else "keep"
        return drop_conflicts(self.index, self.alive, self.copies, mode)

    def _near_duplicates(self, config: DatasetConfig) -> Drops:
        near = _asked(config.near_duplicates)
        drops, self.similar = drop_near_duplicates(
            self.index, self.alive, self.bands, self.fetch, near, workers=self.workers
        )
        return drops

    def _semantic_duplicates(self, config: DatasetConfig) -> Drops:
        semantic = _asked(config.semantic_duplicates)
        check_num_rows(int(self.alive.sum()))
        vectors = embed(self.fetch(np.flatnonzero(self.alive)).to_list(), semantic)
        return drop_semantic_duplicates(self.index, self.alive, vectors, semantic.threshold)

    def _balance(self, config: DatasetConfig) -> Drops:
        return balance(self.index, self.alive, self.hashes(), _asked(config.balance))


def _asked(section: _Section | None) -> _Section:
    if section is None:
        raise AssertionError("the step runs only where its section is given")
    return section
