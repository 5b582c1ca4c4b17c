"""Datasets by digest."""

from sqlalchemy import update

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.references import find, newest_first
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import datasets
from modelyard.ports.dataset import Dataset


class SqlDatasets:
    """The `datasets` table. A dataset made again later is the same one, and the newest of its name from then on."""

    def __init__(self, connections: Connections) -> None:
        self._shelf = Shelf(connections, datasets, Dataset, noun="dataset", key="digest", bookkeeping=("created_ms",))

    def add(self, dataset: Dataset) -> None:
        """Add a dataset. Made again, it stays as it is; the column `created_ms` says when it was last made."""
        columns = {"digest": dataset.digest, "name": dataset.name, "created_ms": dataset.created_ms}
        with self._shelf.connections.write() as connection:
            if not self._shelf.add_within(connection, dataset, **columns):
                older = (datasets.c.digest == dataset.digest, datasets.c.created_ms < dataset.created_ms)
                connection.execute(update(datasets).where(*older).values(created_ms=dataset.created_ms))

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
