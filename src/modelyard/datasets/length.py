"""The bounds on length, in characters after normalisation."""

import numpy as np

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.rows import ANSWER, PROMPT, REJECTED, SYSTEM, Rows
from modelyard.datasets.texts import Ints


def bound_length(rows: Rows, config: DatasetConfig) -> Outcome:
    """Rejects empty prompts and answers, prompts outside [min_chars, max_chars] and answers over max_chars.

    Plain text has no prompt, and an answer that calls a tool may be empty.
    """
    chars = rows.turns.num_chars()
    has_call = np.zeros(len(chars), bool)
    has_call[list(rows.extras)] = True
    prompt = _of_part(rows, chars, (rows.parts == PROMPT) & (rows.roles != SYSTEM))
    answer = _of_part(rows, chars, rows.parts == ANSWER)
    worse = _of_part(rows, chars, rows.parts == REJECTED)
    calls = _of_part(rows, has_call.astype(np.int64), rows.parts != PROMPT) > 0
    low, high = config.min_chars, config.max_chars
    rejected: dict[int, str] = {}
    for is_bad, lengths, reason in (
        (prompt == 0, prompt, "empty prompt: nothing is left of it after normalisation"),
        ((answer == 0) & ~calls, answer, "empty answer: nothing is left of it after normalisation"),
        ((worse == 0) & ~calls, worse, "empty rejected answer: nothing is left of it after normalisation"),
        ((prompt >= 0) & (prompt < low), prompt, f"short prompt: {{}} characters, at least {low} wanted"),
        (prompt > high, prompt, f"long prompt: {{}} characters, at most {high} wanted"),
        (answer > high, answer, f"long answer: {{}} characters, at most {high} wanted"),
        (worse > high, worse, f"long rejected answer: {{}} characters, at most {high} wanted"),
    ):
        for row in np.flatnonzero(is_bad).tolist():
            rejected.setdefault(row, reason.format(lengths[row]))
    return Outcome(rows=rows, rejected=rejected)


def _of_part(rows: Rows, values: Ints, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Ints:
    """The sum over the chosen turns of each row; -1 for a row that has none. Shapes: (turns,) to (rows,)."""
    of_row = rows.row_of_turn[chosen]
    sums = np.bincount(of_row, weights=values[chosen], minlength=len(rows)).astype(np.int64)
    sums[np.bincount(of_row, minlength=len(rows)) == 0] = -1
    return sums
