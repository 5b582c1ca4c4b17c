"""All that is found in many texts at once; what is found in one is `core/personal`'s."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.core.personal.finding import FINDERS, KINDS, find_personal_data, settled
from modelyard.core.personal.spans import Span
from modelyard.datasets.texts import Texts

__all__ = ["LABELS", "find_in_all", "find_personal_data"]

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


def find_in_all(texts: Texts, kinds: Collection[str] = KINDS) -> dict[int, list[Span]]:
    """What is found in each text, by its place; texts in which nothing is found are left out."""
    chosen = [(finder, pattern) for kind, (finder, pattern) in FINDERS.items() if kind in kinds]
    array = texts.to_arrow()
    suspects = _matching(array, "|".join(f"(?:{pattern})" for _, pattern in chosen))
    places = np.flatnonzero(suspects)
    some = array.take(pa.array(places))
    marks = [_matching(some, pattern) for _, pattern in chosen]
    found = {}
    for number, (place, text) in enumerate(zip(places.tolist(), some.to_pylist(), strict=True)):
        finders = [finder for (finder, _), marked in zip(chosen, marks, strict=True) if marked[number]]
        if spans := settled(text, finders):
            found[place] = spans
    return found


def _matching(array: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    matches: npt.NDArray[np.bool_] = pc.match_substring_regex(array, pattern).to_numpy(zero_copy_only=False)
    return matches
