"""How many planted near-duplicates are found, and how many of those dropped really are some.

    python benchmarks/near_duplicates.py [--rows 20000] [--json]

A seeded generator writes rows and copies of them with a few words changed. The truth is the Jaccard similarity of the
sets of words and pairs of words, counted here in plain Python. Recall: of the copies at or above the threshold, those
that went or whose original went. Precision: of the rows that went, those that are that similar to the row they gave
way to.
"""

import argparse
import json
import random
import re
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import prepare

THRESHOLD = 0.8
_WORD = re.compile(r"\w+")
_PLACE = re.compile(r"to .*?:(\d+)$")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = [
        measure(kind, lengths, options.rows) for kind, lengths in (("messages", (6, 30)), ("instructions", (60, 300)))
    ]
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'':<14}{'copies':>8}{'recall':>9}{'dropped':>9}{'precision':>11}")
    for one in found:
        print(f"{one['kind']:<14}{one['copies']:>8}{one['recall']:>9.4f}{one['dropped']:>9}{one['precision']:>11.4f}")


def measure(kind: str, lengths: tuple[int, int], num_rows: int) -> dict[str, Any]:
    """Recall and precision on rows of one kind."""
    texts, copies = plant(random.Random(7), num_rows, lengths)
    gone = _prepared(texts)
    true = [(a, b) for a, b in copies if similarity(texts[a], texts[b]) >= THRESHOLD]
    right = sum(similarity(texts[row], texts[witness]) >= THRESHOLD for row, witness in gone.items())
    return {
        "kind": kind,
        "copies": len(true),
        "recall": sum(a in gone or b in gone for a, b in true) / len(true),
        "dropped": len(gone),
        "precision": right / len(gone),
    }


def plant(rng: random.Random, num_rows: int, lengths: tuple[int, int]) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts, and which of them are copies of which."""
    vocabulary = [f"w{number}" for number in range(20_000)]
    texts: list[str] = []
    copies = []
    for _ in range(num_rows):
        words = rng.choices(vocabulary, k=rng.randint(*lengths))
        texts.append(" ".join(words))
        if rng.random() < 0.2:
            for _ in range(rng.randint(1, max(1, len(words) // 12))):
                words[rng.randrange(len(words))] = rng.choice(vocabulary)
            copies.append((len(texts) - 1, len(texts)))
            texts.append(" ".join(words))
    return texts, copies


def similarity(left: str, right: str) -> float:
    """The Jaccard similarity of two texts as sets of words and pairs of words."""
    a, b = (set(words) | set(pairwise(words)) for words in (_WORD.findall(left), _WORD.findall(right)))
    return len(a & b) / len(a | b)


def _prepared(texts: list[str]) -> dict[int, int]:
    """The rows that went as near-duplicates, and to which they gave way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = (json.dumps({"text": text, "label": "x"}) + "\n" for text in texts)
        (folder / "rows.jsonl").write_text("".join(rows))
        (folder / "out").mkdir()
        config = DatasetConfig(
            path="rows.jsonl", near_duplicates=THRESHOLD, personal_data="keep", splits={"train": 1.0}
        )
        prepare("near", config, root=folder, out=folder / "out")
        lines = [json.loads(line) for line in (folder / "out" / "quarantine.jsonl").open()]
    places = {one["line"] - 1: _PLACE.search(one["reason"]) for one in lines if one["step"] == "near_duplicates"}
    return {row: int(place[1]) - 1 for row, place in places.items() if place}


if __name__ == "__main__":
    main()
