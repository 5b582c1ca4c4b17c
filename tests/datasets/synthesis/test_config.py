"""The configuration of a synthesis: short forms, what makes no sense, and what a log is good for."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.datasets.synthesis.made import config


def test_short_forms_say_the_same() -> None:
    short = config(
        prompts="Say {text}",
        personal_data="drop",
        filters={"must_match": "a+", "must_not_match": ["b", {"pattern": "c"}], "copies": 0.9},
    )
    long = config(
        **{"from": {"path": "seeds.jsonl"}},
        prompts=["Say {text}"],
        personal_data={"mode": "drop"},
        filters={
            "must_match": [{"pattern": "a+"}],
            "must_not_match": [{"pattern": "b"}, {"pattern": "c"}],
            "copies": {"threshold": 0.9},
        },
    )
    assert short == long
    assert short.digest == long.digest


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "localhost:8000"}, "expected http"),
        ({"url": "https://me:secret@host/v1"}, "no name, password or query"),
        ({"url": "https://host/v1?key=secret"}, "no name, password or query"),
        ({"key_env": "sk-abcdef"}, "key_env"),
        ({"from": None}, "needs `from`"),
        ({"from": None, "prompts": "Say {text}", "rows": 1}, "no seed has fields"),
        ({"from": None, "prompts": "Say it", "fields": ["text"]}, "need `rows`"),
        ({"from": None, "prompts": "Say it", "rows": 5}, "`samples` asks each several times"),
        ({"prompts": "Say {text!r}"}, "plain fields"),
        ({"fields": ["text", "meta"], "prompts": "Say {text}"}, "provenance"),
        ({"fields": ["text"], "keep": "majority"}, "no majority"),
        ({"rows_each": 3}, "needs `fields`"),
        ({"vote": "x"}, "needs `keep: majority`"),
        ({"vote": "(", "keep": "majority"}, "not an expression"),
        ({"filters": {"must_match": "("}}, "not an expression"),
        ({"filters": {"must_match": {"field": "label", "pattern": "x"}}}, "names the field 'label'"),
        ({"filters": {"min_chars": 5, "max_chars": 4}}, "above max_chars"),
        ({"extra": {"n": 4}}, "'n' may not be changed"),
        ({"max_cost": "1"}, "needs `price`"),
        ({"max_cost": 1.5, "price": {"input": "1"}}, "valid string"),
        ({"key": "sk-abcdef"}, "Extra inputs"),
    ],
)
def test_refuses_what_makes_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        config(**settings)


def test_what_changes_no_request_changes_nothing_in_what_is_asked() -> None:
    before = config()
    after = config(
        rows=5, samples=3, keep="first", filters={"min_chars": 5}, price={"input": "1"}, max_cost="1", concurrency=1,
        retries=0, timeout_s=1, key_env="KEY", refused_prompts="drop", question="{text}",
    )  # fmt: skip
    assert before.asking == after.asking
    assert before.digest != after.digest
    for settings in ({"seed": 1}, {"temperature": 0.1}, {"system": "Be kind."}, {"prompts": "Say {text}"}):
        assert config(**settings).asking != before.asking
