"""One spelling for one text: one Unicode form, no control or invisible characters, plain white space.

Code keeps its indentation: a text with a fenced block, or with an indented line, keeps the blanks inside its lines.
"""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.index import Flags
from modelyard.datasets.kernels import kernel
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.rows import Rows
from modelyard.datasets.texts import Bytes, Ints, Texts

_INVISIBLE = "\u200b\u2060\ufeff\u00ad\u180e\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb"
# In this order.
_LITTER = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\x1b\[[0-9;?]*[A-Za-z]", ""),  # terminal colours, before their escape character goes
        (f"[{_INVISIBLE}]", ""),
        # Joiners are letters' and emoji's own in many scripts; beside ASCII or at an end they are litter.
        ("(?:(?<=[\x00-\x7f])|(?<![\\s\\S]))[\u200c\u200d]+", ""),
        ("[\u200c\u200d]+(?=[\x00-\x7f]|\\Z)", ""),
        ("\r\n?|[\u2028\u2029\u0085]", "\n"),
        (r"[\x1c-\x1f]", " "),  # separators: they part words
        (r"[\x00-\x08\x0e-\x1b\x7f-\x9f]", ""),
        (r"[\x0b\x0c\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]", " "),
    )
)
_BLANKS = ((re.compile(r"[^\S\n]+"), " "), (re.compile(r" ?\n ?"), "\n"), (re.compile(r"\n{3,}"), "\n\n"))
_CODE = re.compile(r"```|\n(?: {2,}|\t)[^\s]")
_TRAILING = re.compile(r"[ \t]+(?=\n|\Z)")
# What of the above a text beyond ASCII may hold, for an engine without look-around.
_SUSPECT = (
    r"[\x{200b}\x{2060}\x{feff}\x{ad}\x{180e}\x{61c}\x{200c}-\x{200f}\x{2028}-\x{202f}\x{2066}-\x{2069}\x{fff9}-\x{fffb}"
    r"\x{a0}\x{1680}\x{2000}-\x{200a}\x{205f}\x{3000}\x00-\x09\x0b-\x1f\x7f-\x9f]|  |\n |^\s| \n|\s\z|\n\n\n"
)


def normalise(rows: Rows, config: DatasetConfig) -> Outcome:
    """All turns in one spelling. Rejects nothing; counts the rows it changed."""
    form = None if config.unicode == "keep" else config.unicode
    clean: dict[int, str] = {}
    suspects = np.flatnonzero(_suspects(rows.turns, form))
    for turn, text in zip(suspects.tolist(), rows.turns.take(suspects).to_list(), strict=True):
        plain = normalised(text, form)
        if plain != text:
            clean[turn] = plain
    changed = len(set(rows.row_of_turn[list(clean)].tolist()))
    return Outcome(rows=rows.with_turns(rows.turns.replaced(clean)), changed=changed)


def normalised(text: str, form: str | None = "NFC") -> str:
    """One text in one spelling. Doing it again changes nothing."""
    if form:
        text = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    for pattern, replacement in _LITTER:
        text = pattern.sub(replacement, text)
    if form:
        # What was taken out may have parted a letter from its accent.
        text = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    text = text.strip("\n")
    if _CODE.search(text):
        return _TRAILING.sub("", text).strip("\n")
    for pattern, replacement in _BLANKS:
        text = pattern.sub(replacement, text)
    return text.strip()


def _suspects(turns: Texts, form: str | None) -> Flags:
    """The turns that may not be in this spelling yet. Shape: (turns,)."""
    suspect, is_ascii = _scan(turns.data, turns.offsets)
    others = np.flatnonzero(~is_ascii)
    texts = turns.take(others).to_arrow()
    found = pc.match_substring_regex(texts, _SUSPECT).to_numpy(zero_copy_only=False)
    if form:
        found = found | _unnormalised(texts, form)
    suspect[others] = found
    return suspect


def _unnormalised(texts: pa.LargeStringArray, form: str) -> Flags:
    is_normalized = unicodedata.is_normalized
    return np.array([not is_normalized(form, text) for text in texts.to_pylist()], bool)  # type: ignore[arg-type]


@kernel
def _scan(data: Bytes, offsets: Ints) -> tuple[Flags, Flags]:
    """Which texts need a closer look as far as ASCII goes, and which are ASCII."""
    suspect = np.zeros(len(offsets) - 1, np.bool_)
    is_ascii = np.ones(len(offsets) - 1, np.bool_)
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        seen = np.uint8(0)
        odd = False
        last = np.uint8(10)
        before = np.uint8(0)
        for place in range(begin, end):
            byte = data[place]
            seen |= byte
            # A control character, or white space beside white space other than one blank line.
            odd |= (byte < 32) & (byte != 10) | (byte == 127)
            odd |= (byte == 32) & ((last == 32) | (last == 10)) | (byte == 10) & (last == 32)
            odd |= (byte == 10) & (last == 10) & ((before == 10) | (place == begin))
            before = last
            last = byte
        suspect[text] = odd or (end > begin and (last == 32 or last == 10))
        is_ascii[text] = seen < 128
    return suspect, is_ascii
