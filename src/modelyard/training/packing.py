"""Packing: rows to the sequences that a step trains on, in an order that the seed decides."""

import random
from collections.abc import Sequence

from datasets import Dataset
from trl import pack_dataset

from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import Row


def to_sequences(rows: Sequence[Row], recipe: Recipe) -> Dataset:
    """Columns `input_ids` and `labels`, and `seq_lengths` (rows in a sequence) where the recipe packs.

    Best fit decreasing: no row is cut, as the preflight has seen that each fits a sequence.
    """
    order = list(range(len(rows)))
    # Rows alike in length share a sequence: without this, neighbours in the file would too.
    random.Random(recipe.seed).shuffle(order)  # noqa: S311
    columns = {"input_ids": [rows[i].input_ids for i in order], "labels": [rows[i].labels for i in order]}
    dataset = Dataset.from_dict(columns)
    return pack_dataset(dataset, recipe.sequence_length, "bfd_split") if recipe.packing else dataset
