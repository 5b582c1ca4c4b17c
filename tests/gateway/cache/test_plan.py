"""Which requests may be answered from the cache, and which of them are equal."""

from typing import Any

import pytest

from modelyard.ports.serving import Filter
from tests.gateway.cache.answers import CHAT, a_cache, plan, planned, variant


@pytest.mark.parametrize(
    ("fields", "default", "may"),
    [
        ({}, 0.0, True),
        ({}, 0.7, False),
        ({"temperature": None}, 0.0, True),
        ({"temperature": 0}, 0.7, True),
        ({"temperature": 0.0}, 0.7, True),
        ({"temperature": 0.1}, 0.0, False),
        ({"temperature": "0"}, 0.0, False),
        ({"temperature": 1, "seed": 7}, 0.7, True),
        ({"temperature": 1, "seed": None}, 0.0, False),
        ({"n": 1}, 0.0, True),
        ({"n": 2}, 0.0, False),
        ({"n": 2, "seed": 7}, 0.0, False),
        ({"best_of": 3}, 0.0, False),
    ],
)
def test_only_deterministic_requests_are_planned(fields: dict[str, Any], default: float, may: bool) -> None:
    assert (plan(a_cache(), CHAT | fields, of=variant(temperature=default)) is not None) is may


def test_the_caller_may_ask_for_a_new_answer_or_for_none_to_be_kept() -> None:
    cache = a_cache()
    assert plan(cache, control=b"No-Store") is None
    assert not planned(cache, control=b"max-age=0, no-cache").look
    assert planned(cache, control=b"max-age=60").look


def test_what_does_not_change_the_answer_does_not_change_the_key() -> None:
    cache = a_cache()
    key = planned(cache).key
    for more in ({"stream": True, "stream_options": {"include_usage": True}}, {"user": "u"}, {"metadata": {"a": "b"}}):
        assert planned(cache, CHAT | more).key == key
    assert planned(cache, CHAT | {"top_p": None}).key == key
    assert planned(cache, dict(reversed(CHAT.items()))).key == key
    assert planned(cache, CHAT | {"model": "support"}).key == key


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0},
        {"seed": 1},
        {"max_tokens": 5},
        {"messages": [{"role": "user", "content": "hello "}]},
        {"response_format": {"type": "json_object"}},
        {"tools": []},
        {"unknown_field": 1},
    ],
)
def test_whatever_else_is_said_changes_the_key(more: dict[str, Any]) -> None:
    cache = a_cache()
    assert planned(cache, CHAT | more).key != planned(cache).key


def test_tenant_release_endpoint_cap_and_filters_change_the_key() -> None:
    cache = a_cache()
    keys = {
        planned(cache).key,
        planned(cache, tenant="other").key,
        planned(cache, of=variant("sha256:b")).key,
        planned(cache, CHAT | {"prompt": "x"}).key,
        planned(cache, CHAT | {"prompt": "x"}, endpoint="completions").key,
        planned(a_cache(max_output_tokens=9)).key,
        planned(a_cache(filters=(Filter(kind="secrets"),))).key,
    }
    assert len(keys) == 7
    # No two names run together.
    assert planned(cache, tenant="ab", of=variant("c")).key != planned(cache, tenant="a", of=variant("bc")).key


def test_what_can_be_told_in_one_form_alone_is_kept_for_that_form() -> None:
    cache = a_cache()
    asked = CHAT | {"logprobs": True}
    assert planned(cache, asked).key != planned(cache, asked | {"stream": True}).key


def test_a_request_without_its_prompt_is_not_planned() -> None:
    assert plan(a_cache(), CHAT, endpoint="embeddings") is None
    assert plan(a_cache(), {"model": "m", "input": "x", "temperature": 1}, endpoint="embeddings") is not None
