"""The language of a text, as far as it can be told.

Source: Lui and Baldwin (2012), langid.py, with the model of py3langid.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from modelyard.core.errors import MissingExtra
from modelyard.datasets.duplicates.folding import fold
from modelyard.datasets.duplicates.shingles import next_word
from modelyard.datasets.index import Flags, Hashes
from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Bytes, Ints, Texts

# What the model calls code, tables and the like.
_NO_LANGUAGE = "zxx"
# Below this many letters, or this sure, nothing is said.
_MIN_LETTERS = 20
_MIN_CONFIDENCE = 0.4
# A row is not dropped for a guess.
_SURE = 0.7
# The model takes 0.3 microseconds a character. What a long text begins with may be the question, its end the answer.
_LOOK_CHARS = 300
# Words that no other language writes as often: English has some 35 in a hundred words, others fewer than 10.
_ENGLISH = (
    "the and of to is that you it with are this have from what how my your not they he she which would there their if "
    "each many did does when who than then after more but about were been his its into some other only could should "
    "please why where for can be at by i on a in was as do has had"
)
_ENGLISH_SHARE = 0.2
_ENGLISH_WORDS = 4


def language_of(text: str) -> str:
    """The ISO 639-1 code of a text's language; empty for a text that is too short or too mixed to tell."""
    code, confidence = _guess(text)
    return code if confidence >= _MIN_CONFIDENCE else ""


def foreign(texts: Texts, languages: Sequence[str]) -> dict[int, str]:
    """The texts that are surely in none of these languages, with the code of the one they are in."""
    places = list(range(len(texts)))
    if "en" in languages:
        # Most rows are English; their small words tell a hundred times faster than the model does.
        places = np.flatnonzero(~_is_english(texts)).tolist()
    found = {}
    for place in places:
        code, confidence = _guess(texts[place])
        if confidence >= _SURE and code not in languages:
            found[place] = code
    return found


def _guess(text: str) -> tuple[str, float]:
    if len(text) > 2 * _LOOK_CHARS:
        text = f"{text[:_LOOK_CHARS]}\n{text[-_LOOK_CHARS:]}"
    if sum(map(str.isalpha, text)) < _MIN_LETTERS:
        return "", 0.0
    code, confidence = _identifier().classify(text)
    return ("", 0.0) if code == _NO_LANGUAGE else (str(code), float(confidence))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError as error:
        raise MissingExtra("py3langid", "data") from error
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Some have no code of two letters, such as Nigerian Pidgin, for which the model takes much English.
    identifier.set_languages([code for code in identifier.labels if len(code) == 2 or code == _NO_LANGUAGE])
    return identifier


def _is_english(texts: Texts) -> Flags:
    folded = fold(texts)
    marks: Flags = _has_many(folded.data, folded.offsets, _english(), _ENGLISH_WORDS, _ENGLISH_SHARE)
    return marks


@lru_cache(maxsize=1)
def _english() -> Hashes:
    """The hash of each word at the place that its last ten bits name."""
    slots = np.zeros(1024, np.uint64)
    for word in _ENGLISH.split():
        hashed, _, _ = next_word(np.frombuffer(word.encode(), np.uint8), 0, len(word))
        slots[int(hashed) % len(slots)] = hashed
    return slots


@kernel
def _has_many(data: Bytes, offsets: Ints, slots: Hashes, least: int, share: float) -> Flags:
    """Texts in which at least so many words, and such a share of all, are in the slots. Shape: (texts,)."""
    out = np.zeros(len(offsets) - 1, np.bool_)
    last = np.uint64(len(slots) - 1)
    for text in range(len(offsets) - 1):
        place = offsets[text]
        found = count = 0
        while True:
            hashed, begin, place = next_word(data, place, offsets[text + 1])
            if begin == place:
                break
            # Numbers are of no language.
            count += data[begin] > 57
            found += slots[hashed & last] == hashed
        out[text] = found >= least and found >= share * count
    return out
