"""Datasets by digest."""

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.references import find, newest_first
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import datasets
from modelyard.ports.dataset import Dataset


class SqlDatasets:
    """The `datasets` table. A dataset made again at another moment is the same one."""

    def __init__(self, connections: Connections) -> None:
        self._shelf = Shelf(connections, datasets, Dataset, noun="dataset", key="digest", bookkeeping=("created_ms",))

    def add(self, dataset: Dataset) -> None:
        """Add a dataset."""
        self._shelf.add(dataset, digest=dataset.digest, name=dataset.name, created_ms=dataset.created_ms)

    def get(self, digest: str) -> Dataset:
        """The dataset of a whole digest."""
        return self._shelf.get(digest)

    def find(self, ref: str) -> Dataset:
        """The dataset that a reference means."""
        return find(self._shelf, ref)

    def newest(self, name: str | None = None) -> list[Dataset]:
        """All datasets, or those of a name."""
        where = () if name is None else (datasets.c.name == name,)
        return self._shelf.pick(*where, order=newest_first(self._shelf))
