"""Near-duplicates with datasketch: signatures in many processes, one index. Usage: FILE FOLDER WORKERS."""

import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing import Pool
from pathlib import Path

from datasketch import MinHash, MinHashLSH

THRESHOLD, PERMUTATIONS = 0.8, 128
WORD = re.compile(r"\w+")


def main() -> None:
    """Keep the first of near rows; write them as JSON lines."""
    path, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    kept = 0
    with Pool(workers) as pool, (out / "kept.jsonl").open("w") as file:
        for number, (row, signature) in enumerate(pool.imap(sign, lines(path), chunksize=256)):
            if row is None or index.query(signature):
                continue
            index.insert(number, signature)
            file.write(json.dumps(row) + "\n")
            kept += 1
    print(json.dumps({"rows": kept}))


def lines(path: Path) -> Iterator[str]:
    """The lines of the file."""
    with path.open() as file:
        yield from file


def sign(line: str) -> tuple[dict[str, str] | None, MinHash | None]:
    """The row and its signature: over words and pairs of words, as ours."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None, None
    words = WORD.findall(" ".join((row["instruction"], row["input"], row["output"])).casefold())
    signature = MinHash(num_perm=PERMUTATIONS)
    signature.update_batch([" ".join(run).encode() for run in [*zip(words), *pairwise(words)]])
    return row, signature


if __name__ == "__main__":
    main()
