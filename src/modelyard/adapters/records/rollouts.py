"""Rollouts by id. The database itself keeps a service from having two that run.

Which one is the newest, and with that what serves, is the order of arrival: clocks of two machines may disagree.
"""

from typing import Any

from sqlalchemy import Connection, func, select, text, update

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import rollouts
from modelyard.core.errors import Conflict
from modelyard.ports.rollout import Rollout

_NEWEST_FIRST = (rollouts.c.seq.desc(),)
_RUNNING = rollouts.c.state == "running"


class SqlRollouts:
    """The `rollouts` table. A rollout's past never changes: `replace` takes only what adds to its events."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._shelf = Shelf(connections, rollouts, Rollout, noun="rollout")

    def add(self, rollout: Rollout) -> None:
        """Begin a rollout after what serves now."""
        with self._connections.write() as connection:
            _hold(connection)
            if self._shelf.look(connection, rollout.id) is None:
                self._check_turn(connection, rollout)
            self._shelf.add_within(connection, rollout, id=rollout.id, **_columns(rollout))

    def _check_turn(self, connection: Connection, rollout: Rollout) -> None:
        of_service = rollouts.c.service == rollout.service
        newest = select(rollouts.c.id).where(of_service).order_by(*_NEWEST_FIRST).limit(1)
        id = connection.scalar(newest)
        last = self._shelf.get_within(connection, id) if id else None
        if last and last.state == "running":
            raise Conflict(
                f"the rollout '{last.id}' of the service '{rollout.service}' is running",
                fix="wait for its end, or cancel it: modelyard rollout cancel",
            )
        serving = last.serving if last else ""
        if serving != rollout.champion:
            raise Conflict(
                f"the champion of '{rollout.service}' is {serving or 'nothing yet'} by now",
                expected=rollout.champion or "a service without a champion",
                fix="look at its rollouts, then decide again",
            )

    def get(self, id: str) -> Rollout:
        """The rollout of an id."""
        return self._shelf.get(id)

    def replace(self, rollout: Rollout, *, expected_events: int) -> None:
        """Write a rollout back if nobody else did since it was read."""
        with self._connections.write() as connection:
            old = self._shelf.get_within(connection, rollout.id)
            if old.events != rollout.events[: len(old.events)] and len(old.events) == expected_events:
                raise Conflict(f"the events of the rollout '{rollout.id}' would be rewritten")
            as_read = (rollouts.c.id == rollout.id) & (rollouts.c.num_events == expected_events)
            row = {"payload": self._shelf.encode(rollout), **_columns(rollout)}
            if connection.execute(update(rollouts).where(as_read).values(**row)).rowcount == 0:
                raise Conflict(
                    f"the rollout '{rollout.id}' has {len(old.events)} events by now",
                    expected=f"{expected_events} events",
                    fix="read it again, then decide again",
                )

    def running(self, service: str | None = None) -> list[Rollout]:
        """The rollouts that run, or the one of a service."""
        return self._list(service, _RUNNING)

    def newest(self, service: str | None = None) -> list[Rollout]:
        """All rollouts, or those of a service."""
        return self._list(service)

    def latest(self, service: str | None = None) -> list[Rollout]:
        """The last rollout of each service, or of one, by the services' names."""
        last = select(func.max(rollouts.c.seq)).group_by(rollouts.c.service)
        if service is not None:
            last = last.where(rollouts.c.service == service)
        return self._shelf.pick(rollouts.c.seq.in_(last), order=(rollouts.c.service,))

    def _list(self, service: str | None, *where: Any) -> list[Rollout]:
        of_service = () if service is None else (rollouts.c.service == service,)
        return self._shelf.pick(*where, *of_service, order=_NEWEST_FIRST)


def _hold(connection: Connection) -> None:
    """Let nobody else write rollouts until this transaction ends (SQLite lets one writer in at a time anyway)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE rollouts IN SHARE ROW EXCLUSIVE MODE"))


def _columns(rollout: Rollout) -> dict[str, Any]:
    return {
        "service": rollout.service,
        "state": rollout.state,
        "num_events": len(rollout.events),
    }
