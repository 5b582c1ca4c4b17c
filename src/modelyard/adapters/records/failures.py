"""What the databases raise, in our words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from modelyard.core.errors import Conflict, Corrupt, InvalidInput, ModelyardError, Unavailable

# SQLSTATE classes: connection, authorisation, no such database, resources, operator, system; and single states.
_UNAVAILABLE_STATES = ("08", "28", "3D", "53", "57", "58", "25006", "42501", "55P03")
_CORRUPT_STATES = ("XX001", "XX002")
_CHANGED_STATES = ("23", "40")
_BAD_VALUE_STATES = ("22", "54")


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what a database raises within the block into our errors; `place` names the store, without its password."""
    try:
        yield
    except exc.DBAPIError as error:
        ours = translate(error.orig, place) or _bad_value(error, place)
        if ours is None:
            raise
        raise ours from error
    except exc.TimeoutError as error:
        raise Unavailable(f"all connections to {place} are in use", fix="look for calls that hang") from error
    except sqlite3.Error as error:
        ours = translate(error, place)
        if ours is None:
            raise
        raise ours from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidInput(f"a value does not fit into {place}: {error}") from error


def translate(error: BaseException | None, place: str) -> ModelyardError | None:
    """Our error for a driver's, or None for what can only be a mistake of ours."""
    if isinstance(error, sqlite3.Error):
        return _translate_sqlite(error, place)
    return _translate_postgresql(error, place)


def _translate_sqlite(error: sqlite3.Error, place: str) -> ModelyardError | None:
    name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").split("_")[0]
    match name:
        case "CORRUPT" | "NOTADB":
            return _corrupt(error, place)
        case "CONSTRAINT":
            return Conflict(f"{place} refuses the change: {error}")
        case "BUSY" | "LOCKED":
            return Unavailable(f"{place} is locked by another process", fix="end the process that holds it, try again")
        case "FULL":
            return Unavailable(f"no space is left for {place}", fix="free some space and try again")
        case "CANTOPEN" | "READONLY" | "IOERR" | "PERM" | "NOLFS":
            return Unavailable(
                f"{place} cannot be used: {error}", fix="check that the file and its folder are writable"
            )
        case "TOOBIG" | "MISMATCH" | "RANGE":
            return InvalidInput(f"a value does not fit into {place}: {error}")
    return None


def _translate_postgresql(error: BaseException | None, place: str) -> ModelyardError | None:
    state = getattr(error, "sqlstate", None)
    seen = _first_line(error)
    if state is None and type(error).__name__ in {"OperationalError", "InterfaceError", "ConnectionTimeout"}:
        return Unavailable(f"{place} does not answer: {seen}", fix="start the server, or mend the records' URL")
    match str(state):
        case text if text.startswith(_CORRUPT_STATES):
            return _corrupt(error, place)
        case text if text.startswith(_CHANGED_STATES):
            return Conflict(f"{place} refuses the change: {seen}")
        case text if text.startswith(_BAD_VALUE_STATES):
            return InvalidInput(f"a value does not fit into {place}: {seen}")
        case text if text.startswith(_UNAVAILABLE_STATES):
            return Unavailable(f"{place} cannot be used: {seen}", fix="check the server, the user and its rights")
    return None


def _bad_value(error: exc.DBAPIError, place: str) -> ModelyardError | None:
    if isinstance(error, exc.DataError):
        return InvalidInput(f"a value does not fit into {place}: {_first_line(error.orig)}")
    return None


def _corrupt(error: BaseException | None, place: str) -> Corrupt:
    return Corrupt(
        f"{place} is damaged: {_first_line(error)}",
        fix="put back a copy that was saved earlier; keep the damaged one for `sqlite3 FILE .recover` or `pg_amcheck`",
    )


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
