"""Instruction rows for the benchmarks: made, not real, but with the faults of real ones.

A seeded generator: Zipf words in sentences; 5% exact copies, 10% near copies of an earlier row with one to four words
changed, 3% rows with personal data, 2% beyond ASCII, 0.1% broken lines. A row has about 1.1 kB.
"""

import argparse
import json
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_ACCENTS = "äöüßéèñçøåıšžłαβγдежз中文日本語"
_PERSONAL = (
    "Write to {name}.{name2}@example.com for more.",
    "Call me on +44 7700 900{three} after five.",
    "My card is 4111 1111 1111 1111, please check.",
    "The server at 203.0.113.{two} did not answer.",
    "Pay into DE89 3704 0044 0532 0130 00 today.",
)
_KEPT = 2000


def write_rows(path: Path, num_bytes: int, seed: int = 1) -> int:
    """Write JSON lines until the file has a size; return how many."""
    num_rows = size = 0
    with path.open("w", encoding="utf-8") as file:
        for line in _lines(random.Random(seed)):
            file.write(line)
            num_rows += 1
            size += len(line)
            if size >= num_bytes:
                return num_rows
    raise AssertionError("the generator never ends")


def _lines(rng: random.Random) -> Iterator[str]:
    words = _Words(rng)
    kept: list[dict[str, str]] = []
    while True:
        chance = rng.random()
        if chance < 0.001:
            yield '{"instruction": "broken\n'
            continue
        if chance < 0.05 and kept:
            row = rng.choice(kept)
        elif chance < 0.15 and kept:
            row = words.changed(rng.choice(kept))
        else:
            row = words.row()
            if len(kept) < _KEPT:
                kept.append(row)
            else:
                kept[rng.randrange(_KEPT)] = row
        yield json.dumps(row, ensure_ascii=False) + "\n"


class _Words:
    """Texts of words that are as rare as real ones. Words are drawn many at a time, as that is quicker."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._vocabulary = [
            "".join(rng.choices(_LETTERS, range(26, 0, -1), k=rng.randint(2, 11))) for _ in range(60_000)
        ]
        self._weights = list(accumulate(1 / (rank + 20) for rank in range(len(self._vocabulary))))
        self._drawn: list[str] = []

    def row(self) -> dict[str, str]:
        rng = self._rng
        row = {
            "instruction": self._text(rng.randint(6, 40)),
            "input": self._text(rng.randint(10, 80)) if rng.random() < 0.35 else "",
            "output": self._text(rng.randint(15, 200)),
        }
        if rng.random() < 0.03:
            personal = rng.choice(_PERSONAL)
            numbers = {"two": rng.randint(10, 99), "three": rng.randint(100, 999)}
            row["output"] += " " + personal.format(name=self._word(), name2=self._word(), **numbers)
        if rng.random() < 0.02:
            row["output"] += " " + "".join(rng.choices(_ACCENTS + " ", k=40)).strip()
        return row

    def changed(self, row: dict[str, str]) -> dict[str, str]:
        """A row with a few of its words exchanged."""
        words = row["output"].split(" ")
        for _ in range(self._rng.randint(1, 4)):
            words[self._rng.randrange(len(words))] = self._word()
        return {**row, "output": " ".join(words)}

    def _text(self, num_words: int) -> str:
        words = [self._word() for _ in range(num_words)]
        for place in range(8, num_words, self._rng.randint(9, 16)):
            words[place] += self._rng.choice((".", ",", ".", ";"))
        return " ".join(words).capitalize() + "."

    def _word(self) -> str:
        if not self._drawn:
            self._drawn = self._rng.choices(self._vocabulary, cum_weights=self._weights, k=100_000)
        return self._drawn.pop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--megabytes", type=int, default=100)
    arguments = parser.parse_args()
    print(write_rows(arguments.path, arguments.megabytes * 1_000_000))
