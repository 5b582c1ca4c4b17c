"""All that is found in a text: a pattern proposes, a checksum or the words beside it decide.

So order numbers, versions and dates survive.
"""

from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.datasets.personal.addresses import addresses
from modelyard.datasets.personal.cards import cards
from modelyard.datasets.personal.config import KINDS
from modelyard.datasets.personal.emails import emails
from modelyard.datasets.personal.ibans import ibans
from modelyard.datasets.personal.national_ids import national_ids
from modelyard.datasets.personal.phones import phones
from modelyard.datasets.personal.secrets import secrets
from modelyard.datasets.personal.spans import Span, beside
from modelyard.datasets.texts import Texts

LABELS = {
    "key": "an API key or password",
    "email": "an e-mail address",
    "iban": "an IBAN",
    "card": "a card number",
    "national_id": "a national id",
    "ip": "an IP address",
    "phone": "a phone number",
    "person": "a person's name",
    "location": "a place",
}

Finder = Callable[[str], Iterator[Span]]
# The earlier kind wins a place. With each finder goes a pattern that no text lacks in which it finds something.
_FINDERS: dict[str, tuple[Finder, str]] = {
    "key": (
        secrets,
        r"sk-|[sr]k_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|A[KS]IA|AIza|eyJ|pypi-|SG\.|PRIVATE KEY"
        r"|(?i:password|passwd|pwd|secret|api[_-]?key|token|accountkey)",
    ),
    "email": (emails, "@"),
    "iban": (ibans, r"[A-Za-z]{2}\d\d"),
    "card": (cards, r"\d(?:[ -]?\d){11,}"),
    "national_id": (national_ids, r"\d(?:[^\n]{0,2}\d){5,}"),
    "ip": (addresses, r"\d\.\d{1,3}\.\d{1,3}\.|:[0-9A-Fa-f:]"),
    "phone": (phones, r"\d(?:[^\n]{0,3}\d){6,}"),
}


def find_personal_data(text: str, kinds: Collection[str] = KINDS) -> list[Span]:
    """What is found, as (start, end, kind) in order and without overlaps; see `_FINDERS` for who wins a place."""
    return _settled(text, [finder for kind, (finder, _) in _FINDERS.items() if kind in kinds])


def find_in_all(texts: Texts, kinds: Collection[str] = KINDS) -> dict[int, list[Span]]:
    """What is found in each text, by its place; texts in which nothing is found are left out."""
    chosen = [(finder, pattern) for kind, (finder, pattern) in _FINDERS.items() if kind in kinds]
    array = texts.to_arrow()
    suspects = _matching(array, "|".join(f"(?:{pattern})" for _, pattern in chosen))
    places = np.flatnonzero(suspects)
    some = array.take(pa.array(places))
    marks = [_matching(some, pattern) for _, pattern in chosen]
    found = {}
    for number, (place, text) in enumerate(zip(places.tolist(), some.to_pylist(), strict=True)):
        finders = [finder for (finder, _), marked in zip(chosen, marks, strict=True) if marked[number]]
        if spans := _settled(text, finders):
            found[place] = spans
    return found


def _matching(array: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    matches: npt.NDArray[np.bool_] = pc.match_substring_regex(array, pattern).to_numpy(zero_copy_only=False)
    return matches


def _settled(text: str, finders: list[Finder]) -> list[Span]:
    taken: list[Span] = []
    for finder in finders:
        taken = beside(taken, finder(text))
    return taken
