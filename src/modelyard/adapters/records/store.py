"""The store: all nouns over one database."""

from modelyard.core.errors import MissingExtra

try:
    from modelyard.adapters.records.connections import Connections
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "sqlalchemy", "records") from error

from modelyard.adapters.records.datasets import SqlDatasets
from modelyard.adapters.records.exports import SqlExports
from modelyard.adapters.records.interactions import SqlInteractions
from modelyard.adapters.records.releases import SqlReleases
from modelyard.adapters.records.reports import SqlReports
from modelyard.adapters.records.rollouts import SqlRollouts
from modelyard.adapters.records.routes import SqlRoutes
from modelyard.adapters.records.runs import SqlRuns
from modelyard.adapters.records.schema import upgrade
from modelyard.adapters.records.verdicts import SqlVerdicts
from modelyard.ports.records import Datasets, Exports, Interactions, Releases, Reports, Rollouts, Routes, Runs, Verdicts


class SqlRecords:
    """The records in a SQL database. One object serves every thread of a process; each process opens its own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.datasets: Datasets = SqlDatasets(connections)
        self.runs: Runs = SqlRuns(connections)
        self.exports: Exports = SqlExports(connections)
        self.releases: Releases = SqlReleases(connections)
        self.reports: Reports = SqlReports(connections)
        self.verdicts: Verdicts = SqlVerdicts(connections)
        self.rollouts: Rollouts = SqlRollouts(connections)
        self.routes: Routes = SqlRoutes(connections)
        self.interactions: Interactions = SqlInteractions(connections)

    def close(self) -> None:
        """Give back the connections."""
        self._connections.close()


def open_records(url: str) -> SqlRecords:
    """Open the records at `sqlite:///FILE` or `postgresql://...`, making or upgrading them first where needed.

    Any number of processes may do this at once. Raises: InvalidInput for a URL of another kind or tables of a newer
    version; Unavailable where the database does not answer; Corrupt for a damaged file; MissingExtra.
    """
    connections = Connections(url)
    try:
        upgrade(connections)
    except BaseException:
        connections.close()
        raise
    return SqlRecords(connections)
