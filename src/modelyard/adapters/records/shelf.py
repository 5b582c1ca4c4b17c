"""A shelf: one table of whole values, each as JSON in `payload`, written once and read back equal."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from modelyard.adapters.records.connections import Connections
from modelyard.core.digests import canonical_json
from modelyard.core.errors import Conflict, Corrupt, InvalidInput, NotFound

T = TypeVar("T", bound=msgspec.Struct)
Where = ColumnElement[bool]
Order = ColumnElement[Any]


class Shelf(Generic[T]):
    """Values of one type by one key. `noun` is the word for them in messages.

    `bookkeeping` names fields that may differ in a value that is added again (the first stays): a dataset made twice
    from the same rows is the same dataset, though made at another moment.
    """

    def __init__(
        self,
        connections: Connections,
        table: Table,
        kind: type[T],
        *,
        noun: str,
        key: str = "id",
        bookkeeping: tuple[str, ...] = (),
    ) -> None:
        self.connections = connections
        self.table = table
        self.noun = noun
        self.key = table.c[key]
        self._kind = kind
        self._bookkeeping = bookkeeping

    def get(self, key: str | int) -> T:
        """The value of a key. Raises: NotFound, Corrupt."""
        with self.connections.read() as connection:
            return self.get_within(connection, key)

    def get_within(self, connection: Connection, key: str | int) -> T:
        """The value of a key, in a transaction that is open already."""
        value = self.look(connection, key)
        if value is None:
            raise NotFound(f"there is no {self.noun} '{key}'")
        return value

    def look(self, connection: Connection, key: str | int) -> T | None:
        """The value of a key, or None."""
        payload = connection.scalar(select(self.table.c.payload).where(self.key == key))
        return None if payload is None else self.decode(payload)

    def pick(self, *where: Where, order: Iterable[Order], limit: int | None = None) -> list[T]:
        """The values that match, in order."""
        query = select(self.table.c.payload).where(*where).order_by(*order).limit(limit)
        with self.connections.read() as connection:
            return [self.decode(payload) for payload in connection.scalars(query)]

    def add(self, value: T, **columns: Any) -> None:
        """Add a value in a transaction of its own."""
        with self.connections.write() as connection:
            self.add_within(connection, value, **columns)

    def add_within(self, connection: Connection, value: T, **columns: Any) -> bool:
        """Add a value and say whether it is new. `columns` holds the key and whatever else has a column.

        Raises: Conflict where the key, or another unique column, belongs to another value.
        """
        key = columns[self.key.name]
        payload = self.encode(value)
        old = self.look(connection, key)
        if old is None:
            insert = upsert(connection, self.table).values(payload=payload, **columns)
            if connection.execute(insert.on_conflict_do_nothing()).rowcount == 1:
                return True
            old = self.look(connection, key)
        if old is None:
            raise Conflict(f"the {self.noun} '{key}' shares what must be its own with another {self.noun}")
        if different := self.differences(old, value):
            raise Conflict(
                f"there is another {self.noun} '{key}' already; they differ in {', '.join(different)}",
                fix=f"use the {self.noun} that is there",
            )
        return False

    def encode(self, value: T) -> str:
        """The value as JSON that certainly reads back. Raises: InvalidInput where it holds NaN and the like."""
        try:
            payload = msgspec.json.encode(value)
            msgspec.json.decode(payload, type=self._kind)
        except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeEncodeError) as error:
            raise InvalidInput(f"the {self.noun} does not survive being written as JSON: {error}") from error
        return payload.decode()

    def differences(self, old: T, new: T) -> list[str]:
        """The fields, but for the bookkeeping, that differ as JSON has them (a tuple in a recipe is a list)."""
        names = [name for name in old.__struct_fields__ if name not in self._bookkeeping]
        return [name for name in names if canonical_json(getattr(old, name)) != canonical_json(getattr(new, name))]

    def decode(self, payload: str) -> T:
        """A stored value. Raises: Corrupt."""
        try:
            return msgspec.json.decode(payload, type=self._kind)
        except msgspec.MsgspecError as error:
            raise Corrupt(f"a {self.noun} in {self.connections.place} cannot be read: {error}") from error


def upsert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say, with `on_conflict_...`, what becomes of rows whose key is taken."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
