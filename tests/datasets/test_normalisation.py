"""One spelling for one text, in one go, and code stays code."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.normalisation import normalise, normalised
from tests.datasets.conversations import asked

CONFIG = DatasetConfig(path="rows.jsonl")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a \t b\u00a0c \r\n ", "a b c"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("e\u200b\u0301", "\u00e9"),
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
        ("def f():\r\n    if x:\r\n\treturn  1  \n\n\n", "def f():\n    if x:\n\treturn  1"),
        ("see\n```\na  b\n```\n", "see\n```\na  b\n```"),
    ],
)
def test_normalised(text: str, clean: str) -> None:
    assert normalised(text) == clean


def test_the_form_can_be_chosen() -> None:
    assert normalised("\uff48\uff49", "NFKC") == "hi"
    assert normalised("e\u0301", None) == "e\u0301"


ODD = st.text(
    st.one_of(st.sampled_from(" \n\t\r\u200d\u200b\u00a0\u0301\x1b[m`eab"), st.characters(exclude_categories=["Cs"])),
    max_size=25,
)


@settings(max_examples=500, deadline=None)
@given(ODD)
def test_once_is_enough(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not {c for c in once if unicodedata.category(c) == "Cc"} - {"\n", "\t"}


@settings(max_examples=500, deadline=None)
@given(st.lists(ODD, min_size=2, max_size=6))
def test_the_step_leaves_no_text_out(texts: list[str]) -> None:
    rows = asked(*((text, "x") for text in texts))
    outcome = normalise(rows, CONFIG)
    assert outcome.rows.turns.to_list()[::2] == [normalised(text) for text in texts]
    assert outcome.changed == sum(normalised(text) != text for text in texts)


def test_changed_rows_are_counted_once() -> None:
    assert normalise(asked(("clean", "x"), ("dirty ", " x"), ("clean", " y")), CONFIG).changed == 2
