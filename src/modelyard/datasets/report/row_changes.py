"""Which rows two datasets share, by the digest of each row: added, removed, changed, moved between splits.

Memory holds some fifty bytes a row. Rows are told apart by 64 bits of their digests, and ids by as many: of 10
million rows on each side, one is taken for another once in some 200,000 comparisons.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelyard.datasets.duplicates.folding import hash128
from modelyard.datasets.files import parts
from modelyard.datasets.index import Flags, Hashes
from modelyard.datasets.ledger import MAX_EXAMPLES
from modelyard.datasets.report.statistics import digest_hashes
from modelyard.datasets.splits import SPLITS
from modelyard.datasets.texts import Texts

_BATCH_ROWS = 65_536
_EXCERPT_CHARS = 160
_SHOWN = ["id", "messages", "source", "line"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Keys:
    """The rows of a dataset in the order of its files. Shapes: all (rows,)."""

    hashes: Hashes
    splits: npt.NDArray[np.int8]


def row_changes(a: Path, b: Path) -> dict[str, Any]:
    """What became of the rows of folder `a` in folder `b`.

    Returns {"same", "added", "removed", "changed", "moved", "moves", "by_split", "examples"}. A changed row has the id
    of a row of `a` and another digest; a moved row is the same in another split, and `moves` tells between which.
    """
    keys_a, keys_b = _keys(a), _keys(b)
    old_split = _splits_in(keys_a, keys_b.hashes)
    is_gone = _splits_in(keys_b, keys_a.hashes) < 0
    is_new = old_split < 0
    is_moved = ~is_new & (old_split != keys_b.splits)
    lost_ids = _chosen_ids(a, is_gone)
    is_changed = _with_ids(b, is_new, lost_ids)
    new_ids = _chosen_ids(b, is_changed)
    was_changed = _with_ids(a, is_gone, new_ids)
    gone, new = is_gone & ~was_changed, is_new & ~is_changed
    return {
        "same": int((~is_new & ~is_moved).sum()),
        "added": int(new.sum()),
        "removed": int(gone.sum()),
        "changed": int(is_changed.sum()),
        "moved": int(is_moved.sum()),
        "moves": _moves(old_split[is_moved], keys_b.splits[is_moved]),
        "by_split": {
            split: {
                "a": int((keys_a.splits == number).sum()),
                "b": int((keys_b.splits == number).sum()),
                "added": int((new & (keys_b.splits == number)).sum()),
                "removed": int((gone & (keys_a.splits == number)).sum()),
                "changed": int((is_changed & (keys_b.splits == number)).sum()),
            }
            for number, split in enumerate(SPLITS)
        },
        "examples": {
            "added": _examples(b, new),
            "removed": _examples(a, gone),
            "changed": _pairs(_examples(a, was_changed, all_of=_first_ids(b, is_changed)), _examples(b, is_changed)),
            "moved": _examples(b, is_moved),
        },
    }


def _keys(folder: Path) -> _Keys:
    hashes, splits = [], []
    for number, batch in _batches(folder, ["digest"]):
        hashes.append(digest_hashes(batch["digest"]))
        splits.append(np.full(len(batch), number, np.int8))
    return _Keys(
        hashes=np.concatenate(hashes) if hashes else np.zeros(0, np.uint64),
        splits=np.concatenate(splits) if splits else np.zeros(0, np.int8),
    )


def _splits_in(keys: _Keys, wanted: Hashes) -> npt.NDArray[np.int8]:
    """The split in which each wanted row lies, -1 where it is not there. Shape: that of `wanted`."""
    if not len(keys.hashes):
        return np.full(len(wanted), -1, np.int8)
    order = np.argsort(keys.hashes, kind="stable")
    ranked = keys.hashes[order]
    place = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
    return np.where(ranked[place] == wanted, keys.splits[order[place]], -1).astype(np.int8)


def _moves(before: npt.NDArray[np.int8], after: npt.NDArray[np.int8]) -> dict[str, int]:
    moves = {}
    for number, split in enumerate(SPLITS):
        for other, name in enumerate(SPLITS):
            rows = int(((before == number) & (after == other)).sum())
            if rows:
                moves[f"{split} to {name}"] = rows
    return moves


def _chosen_ids(folder: Path, chosen: Flags) -> Hashes:
    """The hashes of the ids of the chosen rows, rising."""
    found = [ids[part] for ids, part in _hashed_ids(folder, chosen)]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def _with_ids(folder: Path, chosen: Flags, ids: Hashes) -> Flags:
    """Which of the chosen rows have one of the ids, given as rising hashes. Shape: (rows,)."""
    if not len(ids):
        return np.zeros(len(chosen), bool)
    places = (
        (found, np.minimum(np.searchsorted(ids, found), len(ids) - 1)) for found, _ in _hashed_ids(folder, chosen)
    )
    has_id = [ids[place] == found for found, place in places]
    return chosen & np.concatenate(has_id) if has_id else chosen


def _hashed_ids(folder: Path, chosen: Flags) -> Iterator[tuple[Hashes, Flags]]:
    """The ids of all rows as hashes, with what is chosen of them; nothing where nothing is."""
    if chosen.any():
        for _, batch, part in _marked(folder, ["id"], chosen):
            yield hash128(Texts.from_arrow(batch["id"]))[:, 0], part


def _first_ids(folder: Path, chosen: Flags) -> list[str]:
    return [one["id"] for one in _examples(folder, chosen)]


def _examples(folder: Path, chosen: Flags, all_of: list[str] | None = None) -> list[dict[str, Any]]:
    """The first of the chosen rows, or those with certain ids."""
    examples: list[dict[str, Any]] = []
    wanted = MAX_EXAMPLES if all_of is None else len(all_of)
    if not chosen.any() or not wanted:
        return examples
    for number, batch, part in _marked(folder, _SHOWN, chosen):
        mask = (
            part
            if all_of is None
            else part & pc.is_in(batch["id"], value_set=pa.array(all_of, pa.string())).to_numpy(zero_copy_only=False)
        )
        rows = np.flatnonzero(mask)[: wanted - len(examples)]
        examples += [_example(SPLITS[number], row) for row in batch.take(pa.array(rows)).to_pylist()]
        if len(examples) == wanted:
            break
    return examples


def _example(split: str, row: dict[str, Any]) -> dict[str, Any]:
    turns = [turn["content"] for turn in row["messages"] if turn["role"] != "system"]
    prompt, answer = "\n".join(turns[:-1]), turns[-1] if turns else ""
    return {
        "id": row["id"],
        "split": split,
        "source": row["source"],
        "line": row["line"],
        "prompt": prompt[:_EXCERPT_CHARS],
        "answer": answer[:_EXCERPT_CHARS],
    }


def _pairs(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {one["id"]: one for one in old}
    return [{"id": one["id"], "a": by_id[one["id"]], "b": one} for one in new if one["id"] in by_id]


def _marked(folder: Path, columns: list[str], chosen: Flags) -> Iterator[tuple[int, pa.RecordBatch, Flags]]:
    """The batches with the part of `chosen` that falls on each."""
    done = 0
    for number, batch in _batches(folder, columns):
        yield number, batch, chosen[done : done + len(batch)]
        done += len(batch)


def _batches(folder: Path, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    for number, split in enumerate(SPLITS):
        for path in parts(folder, split):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    yield number, batch
