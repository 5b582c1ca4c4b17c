"""Route tables by version, and the hashed keys that go into them."""

import msgspec
from sqlalchemy import delete, func, select, update

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.references import nearest
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import keys, route_tables
from modelyard.core.errors import Conflict, NotFound
from modelyard.ports.routes import Key, RouteTable


class SqlRoutes:
    """The `route_tables` and `keys` tables."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._tables = Shelf(connections, route_tables, RouteTable, noun="route table", key="version")
        self._keys = Shelf(connections, keys, Key, noun="key")

    def add_table(self, table: RouteTable) -> None:
        """Add the next version; the same table again changes nothing. Raises: Conflict where it is not the next."""
        with self._connections.write() as connection:
            newest = connection.scalar(select(func.max(route_tables.c.version)))
            new = self._tables.add_within(connection, table, version=table.version, created_ms=table.created_ms)
            if new and newest is not None and newest > table.version:
                raise Conflict(f"the route table is at version {newest}, past {table.version}", fix="read it again")

    def table(self, version: int | None = None) -> RouteTable:
        """A version, or the newest."""
        if version is not None:
            return self._tables.get(version)
        newest = self._tables.pick(order=(route_tables.c.version.desc(),), limit=1)
        if not newest:
            raise NotFound("there is no route table yet", fix="release something to a service first")
        return newest[0]

    def add_key(self, key: Key) -> None:
        """Add a key."""
        self._keys.add(key, id=key.id, hash=key.hash)

    def rotate_key(self, key: Key, *, old_expires_ms: int) -> None:
        """Add a key, and let the one that it replaces end at a moment, in one transaction."""
        with self._connections.write() as connection:
            known = {one.id: one for one in map(self._keys.decode, connection.scalars(select(keys.c.payload)))}
            if key.replaces not in known:
                raise nearest("key", key.replaces, sorted(known))
            if later := [one.id for one in known.values() if one.replaces == key.replaces]:
                raise Conflict(f"key '{key.replaces}' was rotated already", fix=f"rotate key {later[0]}, or revoke it")
            old = msgspec.structs.replace(known[key.replaces], expires_ms=old_expires_ms)
            self._keys.add_within(connection, key, id=key.id, hash=key.hash)
            connection.execute(update(keys).where(keys.c.id == old.id).values(payload=self._keys.encode(old)))

    def remove_key(self, id: str) -> None:
        """Take a key away. Raises: NotFound where there is none."""
        with self._connections.write() as connection:
            if connection.execute(delete(keys).where(keys.c.id == id)).rowcount == 0:
                raise nearest("key", id, list(connection.scalars(select(keys.c.id).order_by(keys.c.id))))

    def keys(self) -> list[Key]:
        """Every key, by id."""
        return self._keys.pick(order=(keys.c.id,))
