"""Exports by the digest of what they were made of."""

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.references import find, newest_first
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import exports
from modelyard.ports.export import Export

# Made again, an export holds the same bytes, though perhaps under another run of the same weights.
_BOOKKEEPING = ("name", "run_id", "checks", "seconds", "created_ms")


class SqlExports:
    """The `exports` table. It only grows."""

    def __init__(self, connections: Connections) -> None:
        self._shelf = Shelf(connections, exports, Export, noun="export", key="digest", bookkeeping=_BOOKKEEPING)

    def add(self, export: Export) -> None:
        """Add an export; made again with the same bytes, the first stays."""
        self._shelf.add(
            export, digest=export.digest, name=export.name, run_id=export.run_id, created_ms=export.created_ms
        )

    def get(self, digest: str) -> Export:
        """The export of a whole digest."""
        return self._shelf.get(digest)

    def find(self, ref: str) -> Export:
        """The export that a reference means."""
        return find(self._shelf, ref)

    def newest(self, run_id: str | None = None) -> list[Export]:
        """All exports, or those of a run."""
        where = () if run_id is None else (exports.c.run_id == run_id,)
        return self._shelf.pick(*where, order=newest_first(self._shelf))
