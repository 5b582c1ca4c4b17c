"""Prompts that were given different answers."""

import numpy as np
import numpy.typing as npt

from modelyard.datasets.duplicates.exact import drops_of, repeated
from modelyard.datasets.index import Drops, Flags, Index

CAUSES = (
    "minority answer: {a:.0f} of the rows with this prompt say so, {b:.0f} say otherwise",
    "tied answers: this prompt has {a:.0f} different answers, none in the majority",
    "conflicting answers: this prompt has {a:.0f} different answers",
)
_MINORITY, _TIED, _CONFLICTING = range(3)


def drop_conflicts(index: Index, alive: Flags, copies: npt.NDArray[np.int32], mode: str) -> Drops:
    """Of the rows with one prompt, keeps the answer that most rows gave; where the first place is shared, none.

    The mode `drop` keeps none of them, `keep` all. Votes are counted with exact duplicates, by `copies`. Rows that
    are alive differ in prompt or answer. Shapes: alive, copies (rows,).
    """
    places = repeated(index.prompt_key[:, 0], np.flatnonzero(alive)) if mode != "keep" else np.zeros(0, np.int64)
    keys = index.prompt_key[places]
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    is_new = np.ones(len(order), bool)
    is_new[1:] = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    group = np.empty(len(places), np.int64)
    group[order] = np.cumsum(is_new) - 1
    votes = copies[places].astype(np.int64)
    num_answers = np.bincount(group)
    most = np.zeros(len(num_answers), np.int64)
    np.maximum.at(most, group, votes)
    num_first = np.bincount(group, weights=votes == most[group])
    cause = np.where(votes < most[group], _MINORITY, _TIED)
    goes = (num_answers[group] > 1) & ((votes < most[group]) | (num_first[group] > 1))
    if mode == "drop":
        cause, goes = np.full(len(places), _CONFLICTING), num_answers[group] > 1
    numbers = np.where(
        (cause == _MINORITY)[:, None],
        np.stack([votes, most[group]], axis=1),
        np.stack([num_answers[group], np.zeros(len(places))], axis=1),
    ).astype(np.float64)
    return drops_of(places[goes], np.full(int(goes.sum()), -1), cause[goes].astype(np.uint8), CAUSES, numbers[goes])
