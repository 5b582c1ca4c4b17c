"""Releases by digest, and the moves that give them their stages."""

from typing import cast

from sqlalchemy import Connection, insert, select

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.references import find, newest_first
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import releases, stage_moves
from modelyard.core.errors import Conflict, NotFound
from modelyard.ports.release import Release, Stage, StageMove

_FIRST: Stage = "draft"


class SqlReleases:
    """The `releases` and `stage_moves` tables. Neither is ever rewritten: the stage is what the last move says.

    The same weights trained again by another run are the same release; the run that made them first stays with it.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._shelf = Shelf(
            connections, releases, Release, noun="release", key="digest", bookkeeping=("created_ms", "run_id")
        )
        self._moves = Shelf(connections, stage_moves, StageMove, noun="stage move")

    def add(self, release: Release) -> None:
        """Add a release."""
        self._shelf.add(release, digest=release.digest, name=release.name, created_ms=release.created_ms)

    def get(self, digest: str) -> Release:
        """The release of a whole digest."""
        return self._shelf.get(digest)

    def find(self, ref: str) -> Release:
        """The release that a reference means."""
        return find(self._shelf, ref)

    def newest(self, name: str | None = None) -> list[Release]:
        """All releases, or those of a name."""
        where = () if name is None else (releases.c.name == name,)
        return self._shelf.pick(*where, order=newest_first(self._shelf))

    def stage(self, digest: str) -> Stage:
        """The stage of a release."""
        with self._connections.read() as connection:
            self._shelf.get_within(connection, digest)
            return _last(connection, digest)[1]

    def move(self, move: StageMove) -> None:
        """Append a move; the same move again changes nothing."""
        with self._connections.write() as connection:
            _hold(connection, move.release)
            old = self._moves.look(connection, move.id)
            if old == move:
                return
            number, stage = _last(connection, move.release)
            if old is not None:
                raise Conflict(f"there is another stage move '{move.id}' already")
            if stage != move.from_stage:
                raise Conflict(
                    f"the release '{move.release}' is in stage '{stage}'",
                    expected=f"stage '{move.from_stage}'",
                    fix="look at its moves, then decide again",
                )
            row = {"id": move.id, "release": move.release, "number": number + 1, "to_stage": move.to_stage}
            connection.execute(insert(stage_moves).values(payload=self._moves.encode(move), **row))

    def moves(self, digest: str) -> list[StageMove]:
        """The moves of a release, oldest first."""
        return self._moves.pick(stage_moves.c.release == digest, order=(stage_moves.c.number,))


def _hold(connection: Connection, digest: str) -> None:
    """Keep others from moving the release until this transaction ends (SQLite lets one writer in at a time anyway)."""
    if connection.scalar(select(releases.c.seq).where(releases.c.digest == digest).with_for_update()) is None:
        raise NotFound(f"there is no release '{digest}'")


def _last(connection: Connection, digest: str) -> tuple[int, Stage]:
    """How many moves a release has made, and the stage that the last one left it in."""
    moves = select(stage_moves.c.number, stage_moves.c.to_stage).where(stage_moves.c.release == digest)
    row = connection.execute(moves.order_by(stage_moves.c.number.desc()).limit(1)).one_or_none()
    return (0, _FIRST) if row is None else (row.number, cast(Stage, row.to_stage))
