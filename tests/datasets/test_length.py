"""The bounds on length: inclusive, and in characters."""

from dataclasses import replace

import numpy as np

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.length import bound_length
from modelyard.datasets.rows import REJECTED
from tests.datasets.conversations import asked

CONFIG = DatasetConfig(path="rows.jsonl", min_chars=2, max_chars=4)


def causes(rows: list[tuple[str, str]]) -> dict[int, str]:
    return {row: reason.partition(":")[0] for row, reason in bound_length(asked(*rows), CONFIG).rejected.items()}


def test_bounds_are_inclusive_and_in_characters() -> None:
    texts = ["", "\U0001f600", "\U0001f600\U0001f600", "four", "fives"]
    rows = [*((text, "x") for text in texts), ("ok", ""), ("ok", "fives")]
    assert causes(rows) == {
        0: "empty prompt",
        1: "short prompt",
        4: "long prompt",
        5: "empty answer",
        6: "long answer",
    }


def test_the_reason_tells_the_length() -> None:
    (reason,) = bound_length(asked(("fives", "x")), CONFIG).rejected.values()
    assert reason == "long prompt: 5 characters, at most 4 wanted"


def test_an_answer_that_calls_a_tool_may_be_empty() -> None:
    rows = replace(asked(("ok", ""), ("ok", "")), extras={3: '{"tool_calls":"[]"}'})
    assert list(bound_length(rows, CONFIG).rejected) == [0]


def test_plain_text_needs_no_prompt() -> None:
    rows = asked(("ok", "yes"))
    text = replace(
        rows, turns=rows.turns.take(np.array([1])), roles=rows.roles[1:], parts=rows.parts[1:], bounds=np.array([0, 1])
    )
    assert bound_length(text, CONFIG).rejected == {}


def test_the_worse_answer_has_bounds_too() -> None:
    rows = replace(asked(("ok", "fives")), parts=np.array([0, REJECTED], np.uint8))
    assert bound_length(rows, CONFIG).rejected == {0: "long rejected answer: 5 characters, at most 4 wanted"}
