"""The configuration of a dataset: what it accepts, and in which order it cuts."""

from typing import Any

import pytest
from pydantic import ValidationError

from modelyard.datasets.config import DatasetConfig


def test_defaults_are_the_documented_ones() -> None:
    config = DatasetConfig(path="rows.jsonl")
    assert config.splits == {"train": 0.8, "validation": 0.1, "test": 0.1}
    assert (config.format, config.shape, config.prompt, config.answer) == ("auto", "auto", None, None)
    assert (config.personal_data.mode, config.conflicts, config.stratify) == ("mask", "auto", False)
    assert config.near_duplicates is not None
    assert (config.near_duplicates.threshold, config.near_duplicates.on) == (0.8, "prompt")


def test_short_forms_say_the_same() -> None:
    short = DatasetConfig(path="rows.jsonl", near_duplicates=0.9, personal_data="drop", answer="{intent}")
    long = DatasetConfig(
        path="rows.jsonl",
        near_duplicates={"threshold": 0.9},
        personal_data={"mode": "drop"},
        prompt="{text}",
        answer="{intent}",
    )
    assert short == long


def test_written_order_of_splits_moves_no_row() -> None:
    config = DatasetConfig(path="rows.jsonl", splits={"test": 0.1, "validation": 0.1, "train": 0.8})
    assert list(config.splits) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"splits": {"train": 0.8, "test": 0.1}}, "sum to 0.9"),
        ({"splits": {"train": 0.5, "dev": 0.5}}, "unknown split 'dev'"),
        ({"splits": {"test": 1.0}}, "'train' needs a share"),
        ({"splits": {"train": 1.5, "test": -0.5}}, r"\[0, 1\]"),
        ({"prompt": "{text"}, "expected '}'"),
        ({"prompt": "no field"}, "names no field"),
        ({"answer": "{label!r}"}, "plain fields"),
        ({"answer": "{}"}, "plain fields"),
        ({"min_chars": 10, "max_chars": 5}, "min_chars"),
        ({"near_duplicates": 0.1}, "0.5"),
        ({"personal_data": "hide"}, "mask"),
        ({"pth": "x"}, "Extra inputs"),
        ({"path": ()}, "needs a `path`"),
        ({"shape": "chat", "prompt": "{q}", "answer": "{a}"}, "has no templates"),
        ({"stratify": True}, "needs `label`"),
    ],
)
def test_refuses_what_makes_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DatasetConfig(**{"path": "rows.jsonl", **settings})
