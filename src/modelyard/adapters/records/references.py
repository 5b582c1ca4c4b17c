"""References: how people name content-addressed things. `name`, `name@digest prefix`, or a digest prefix."""

import re
from difflib import get_close_matches
from typing import NamedTuple, NoReturn

from sqlalchemy import select

from modelyard.adapters.records.shelf import Order, Shelf, T
from modelyard.core.digests import short
from modelyard.core.errors import Conflict, NotFound

_MIN_BARE_PREFIX = 4
_NUM_SHOWN = 10


class _Named(NamedTuple):
    name: str
    digest: str

    @property
    def ref(self) -> str:
        return f"{self.name}@{short(self.digest)}"


def find(shelf: Shelf[T], ref: str) -> T:
    """The one value that a reference means; a bare name means its newest.

    Raises: NotFound with near matches; Conflict where several values match.
    """
    columns = shelf.table.c
    with shelf.connections.read() as connection:
        rows = connection.execute(select(columns.name, columns.digest).order_by(*newest_first(shelf)))
        everything = [_Named(row.name, row.digest) for row in rows]
        matches = _by_name(everything, ref) or _by_prefix(everything, ref)
        if not matches:
            _raise_missing(shelf.noun, ref, everything)
        if len(matches) > 1:
            seen = ", ".join(row.ref for row in matches[:_NUM_SHOWN])
            raise Conflict(f"'{ref}' means {len(matches)} {shelf.noun}s: {seen}", fix="write more of the digest")
        return shelf.get_within(connection, matches[0].digest)


def newest_first(shelf: Shelf[T]) -> tuple[Order, Order]:
    """The order of a content-addressed shelf."""
    return shelf.table.c.created_ms.desc(), shelf.table.c.seq.desc()


def nearest(noun: str, ref: str, known: list[str]) -> NotFound:
    """The error for a reference that means nothing: what is near it, else what there is."""
    near = get_close_matches(ref, known, n=3, cutoff=0.6)
    if near:
        return NotFound(f"there is no {noun} '{ref}'", fix=f"did you mean {' or '.join(near)}?")
    if not known:
        return NotFound(f"there is no {noun} '{ref}'; there are no {noun}s yet")
    more = f" and {len(known) - _NUM_SHOWN} more" if len(known) > _NUM_SHOWN else ""
    return NotFound(f"there is no {noun} '{ref}'", expected=f"one of {', '.join(known[:_NUM_SHOWN])}{more}")


def _by_name(known: list[_Named], ref: str) -> list[_Named]:
    return [row for row in known if row.name == ref][:1]


def _by_prefix(known: list[_Named], ref: str) -> list[_Named]:
    name, at, prefix = ref.rpartition("@")
    prefix = prefix.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{1,64}", prefix) or (not at and len(prefix) < _MIN_BARE_PREFIX):
        return []
    return [row for row in known if row.digest.startswith(f"sha256:{prefix}") and (not at or row.name == name)]


def _raise_missing(noun: str, ref: str, known: list[_Named]) -> NoReturn:
    names = list(dict.fromkeys(row.name for row in known))
    refs = [row.ref for row in known]
    raise nearest(noun, ref, refs if "@" in ref else names)
