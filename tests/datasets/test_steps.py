"""The steps that judge each row alone: mapping, normalisation, length, splitting."""

import unicodedata
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.length import bound_length
from modelyard.datasets.mapping import map_rows
from modelyard.datasets.normalisation import normalise
from modelyard.datasets.raw_rows import RawRow
from modelyard.datasets.reading import Batch
from modelyard.datasets.splits import split_key, split_of
from modelyard.datasets.splitting import assign_split

CONFIG = DatasetConfig(path="rows.jsonl")


def frame_of(*rows: tuple[str, str]) -> pl.DataFrame:
    """A frame as it comes from mapping."""
    batch = Batch(
        source="rows.jsonl",
        rows=[
            RawRow(line=line, raw=text, fields={"text": text, "label": label})
            for line, (text, label) in enumerate(rows, start=1)
        ],
        rejected=[],
    )
    return map_rows(batch, CONFIG).kept


def normalised(text: str) -> str:
    prompt: str = normalise(frame_of((text, "x")), CONFIG).kept["prompt"][0]
    return prompt


def map_fields(fields: dict[str, Any], **settings: Any) -> tuple[list[dict[str, Any]], list[str]]:
    config = DatasetConfig(path="rows.jsonl", **settings)
    outcome = map_rows(Batch(source="s", rows=[RawRow(line=7, raw="raw", fields=fields)], rejected=[]), config)
    return outcome.kept.to_dicts(), [rejection.reason for rejection in outcome.rejections()]


def test_mapping_fills_both_templates_and_the_id() -> None:
    rows, _ = map_fields({"q": "why", "topic": 3, "n": 12}, prompt="Q: {q}", answer="{topic}", id="n")
    assert rows == [{"source": "s", "line": 7, "raw": "raw", "id": "12", "prompt": "Q: why", "answer": "3"}]


@pytest.mark.parametrize(
    ("fields", "settings", "reason"),
    [
        ({"text": "a"}, {}, "missing field 'label': the row has 'text'"),
        ({"text": None, "label": "x"}, {}, "empty field 'text': it is null"),
        ({"text": "a", "label": "x"}, {"id": "key"}, "missing field 'key': the row has 'text', 'label'"),
    ],
)
def test_mapping_names_the_missing_field(fields: dict[str, Any], settings: dict[str, Any], reason: str) -> None:
    assert map_fields(fields, **settings) == ([], [reason])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a \t b\u00a0c \r\n ", "a b c"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("\ufeffhe\u200bllo\u200d", "hello"),
        ("be\x07ll\x00", "bell"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a \u202eb\u202c c", "a b c"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("one\n\n\n \n two", "one\n\ntwo"),
        ("a\x1fb", "a b"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\uff48\uff49", "\uff48\uff49"),
        ("\u00a0 \u200b", ""),
    ],
)
def test_normalisation(text: str, clean: str) -> None:
    assert normalised(text) == clean


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_normalisation_is_done_at_once_and_touches_no_clean_text(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not {c for c in once if unicodedata.category(c) == "Cc"} - {"\n"}


def test_normalisation_counts_changed_rows() -> None:
    frame = frame_of(("clean", "x"), ("dirty ", "x"), ("clean", " y"))
    outcome = normalise(frame, CONFIG)
    assert outcome.changed == 2
    assert outcome.kept.height == 3


def test_length_bounds_are_inclusive_and_in_characters() -> None:
    config = DatasetConfig(path="rows.jsonl", min_chars=2, max_chars=4)
    texts = ["", "\U0001f600", "\U0001f600\U0001f600", "four", "fives"]
    frame = frame_of(*((text, "x") for text in texts), ("ok", ""), ("ok", "fives"))
    outcome = bound_length(frame, config)
    assert outcome.kept["prompt"].to_list() == ["\U0001f600\U0001f600", "four"]
    assert [rejection.reason.partition(":")[0] for rejection in outcome.rejections()] == [
        "empty prompt",
        "short prompt",
        "long prompt",
        "empty answer",
        "long answer",
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_split_is_that_of_the_row_alone(texts: list[str]) -> None:
    together = assign_split(frame_of(*((text, "x") for text in texts)), CONFIG).kept["split"].to_list()
    assert together == [split_of(split_key(text)) for text in texts]
