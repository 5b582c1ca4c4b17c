"""Runs by id: written when they start, replaced until they have finished, fixed from then on."""

from sqlalchemy import insert, select, update

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.references import nearest
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import runs
from modelyard.core.errors import Conflict
from modelyard.ports.run import Run

_NEWEST_FIRST = (runs.c.started_ms.desc(), runs.c.id.desc())


class SqlRuns:
    """The `runs` table. A run that failed may be tried again under its id."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._shelf = Shelf(connections, runs, Run, noun="run")

    def put(self, run: Run) -> None:
        """Write a run, or replace one that has not finished. Raises: Conflict where it finished as something else."""
        row = {"name": run.name, "state": run.state, "started_ms": run.started_ms, "payload": self._shelf.encode(run)}
        with self._connections.write() as connection:
            old = self._shelf.look(connection, run.id)
            if old is None:
                connection.execute(insert(runs).values(id=run.id, **row))
            elif old.state != "finished":
                connection.execute(update(runs).where(runs.c.id == run.id).values(**row))
            elif self._shelf.differences(old, run):
                raise Conflict(f"the run '{run.id}' has finished and never changes", fix="start another run")

    def get(self, id: str) -> Run:
        """The run of an id."""
        return self._shelf.get(id)

    def find(self, ref: str) -> Run:
        """The run of an id, or the newest of a name."""
        with self._connections.read() as connection:
            if run := self._shelf.look(connection, ref):
                return run
            named = select(runs.c.id).where(runs.c.name == ref).order_by(*_NEWEST_FIRST).limit(1)
            if id := connection.scalar(named):
                return self._shelf.get_within(connection, id)
            names = connection.scalars(select(runs.c.name).order_by(*_NEWEST_FIRST)).all()
        raise nearest("run", ref, list(dict.fromkeys(names)))

    def newest(self) -> list[Run]:
        """All runs."""
        return self._shelf.pick(order=_NEWEST_FIRST)
