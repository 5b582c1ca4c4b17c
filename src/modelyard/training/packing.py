"""Packing: rows to the sequences that a step trains on, in an order that the seed decides."""

import random
from bisect import bisect_left, insort
from collections.abc import Sequence

from datasets import Dataset

from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import Row


def to_sequences(rows: Sequence[Row], recipe: Recipe) -> Dataset:
    """Columns `input_ids` and `labels`, and `seq_lengths` (rows in a sequence) where the recipe packs.

    Best fit decreasing: no row is cut, as the preflight has seen that each fits a sequence.
    """
    from trl import pack_dataset  # it takes seconds to import, and a plan only counts

    order = list(range(len(rows)))
    # Rows alike in length share a sequence: without this, neighbours in the file would too.
    random.Random(recipe.seed).shuffle(order)  # noqa: S311
    columns = {"input_ids": [rows[i].input_ids for i in order], "labels": [rows[i].labels for i in order]}
    dataset = Dataset.from_dict(columns)
    return pack_dataset(dataset, recipe.sequence_length, "bfd_split") if recipe.packing else dataset


def num_packed(lengths: Sequence[int], sequence_length: int) -> int:
    """How many sequences rows of these lengths fill, by best fit decreasing as above; longer ones are cut."""
    count = sum(length // sequence_length for length in lengths)
    rests = [length % sequence_length for length in lengths]
    spaces: list[int] = []
    for length in sorted((rest for rest in rests if rest), reverse=True):
        best = bisect_left(spaces, length)
        space = spaces.pop(best) if best < len(spaces) else sequence_length
        count += space == sequence_length
        insort(spaces, space - length)
    return count
