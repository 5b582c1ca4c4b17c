"""Filters on requests, those of one's own, and options that say nothing."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.errors import Corrupt
from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.filters import Guards
from modelyard.ports.guarding import Outcome, StreamFilter
from modelyard.ports.serving import Filter


def guards_of(*filters: Filter) -> Guards:
    guards = Guards.build(filters)
    assert guards is not None
    return guards


def fields_of(body: Any) -> dict[str, msgspec.Raw]:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def chat(text: Any) -> dict[str, msgspec.Raw]:
    return fields_of({"model": "m", "messages": [{"role": "user", "content": text}]})


def test_a_service_without_filters_has_no_guards() -> None:
    assert Guards.build(()) is None


def test_a_request_is_masked_where_the_text_stands_and_nowhere_else() -> None:
    raw = (
        b'{"model":"ana@example.com", "messages": [ {"role" : "user", "content":"I am \\u0061na@example.com",'
        b' "n": 1.0e5}, {"role":"tool","tool_call_id":"bob@example.com","content":'
        b'[{"type":"text","text":"\\"x\\" 4111 1111 1111 1111"},'
        b'{"type":"image_url","image_url":{"url":"https://x/ana@example.com"}}]}], "user":"ana@example.com"}'
    )
    fields = fields_of(raw)
    guards = guards_of(Filter(kind="personal_data", action="mask"))
    guards.check_request(fields)
    assert bytes(fields["messages"]) == (
        b'[ {"role" : "user", "content":"I am [EMAIL]",'
        b' "n": 1.0e5}, {"role":"tool","tool_call_id":"bob@example.com","content":'
        b'[{"type":"text","text":"\\"x\\" [CARD]"},'
        b'{"type":"image_url","image_url":{"url":"https://x/ana@example.com"}}]}]'
    )
    assert bytes(fields["model"]) == b'"ana@example.com"'
    assert guards.findings == {("personal_data", "email"): 1, ("personal_data", "card"): 1}


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "zebra"},
        {"prompt": ["x", "a Zebra!"]},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "zebra"}]}]},
        {"system": "zebra", "messages": []},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "zebra"}]}]},
        {"messages": [{"role": "user", "content": "x", "name": "zebra"}]},
        b'{"messages":[{"role":"user","content":"z\\u0065bra"}]}',
        b'{"messages":[{"url":"x","\\u0075rl":"zebra"}]}',
        b'{"input":[{"url":"x"},"zebra"]}',
        {"tools": [{"function": {"description": "a zebra"}}], "messages": []},
    ],
)
def test_a_denied_word_is_found_wherever_a_body_says_it(body: Any) -> None:
    with pytest.raises(Refusal) as told:
        guards_of(Filter(kind="deny", options={"words": "zebra"})).check_request(fields_of(body))
    assert (told.value.status, told.value.code) == (400, "content_filter")
    assert "zebra" not in str(told.value)


def test_answers_alone_are_not_looked_for_in_requests_and_the_other_way_round() -> None:
    guards = guards_of(Filter(kind="deny", on="answer", options={"words": "zebra"}))
    guards.check_request(chat("zebra"))
    assert guards.looks_at_answers
    assert guards_of(Filter(kind="deny", on="request", options={"words": "zebra"})).answer() is None


def test_what_is_only_noted_passes() -> None:
    guards = guards_of(Filter(kind="deny", action="log", options={"words": "zebra,lion"}))
    fields = chat("zebra and lion")
    before = dict(fields)
    guards.check_request(fields)
    assert fields == before
    assert guards.findings == {("deny", "denied"): 2}


def test_a_long_request_is_refused() -> None:
    guards = guards_of(Filter(kind="max_chars", options={"limit": "10"}))
    guards.check_request(chat("x" * 10))
    with pytest.raises(Refusal, match="11 characters"):
        guards.check_request(chat("x" * 11))


def test_words_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "denied.txt"
    file.write_text("# ours\nblack lotus\n/[A-Z]{2}-\\d{4}/\n")
    guards = guards_of(Filter(kind="deny", options={"file": str(file), "case": "true"}))
    guards.check_request(chat("Black Lotus ab-1234"))
    for text in ("a black lotus", "AB-1234"):
        with pytest.raises(Refusal):
            guards.check_request(chat(text))


def test_a_pattern_that_takes_too_long_is_a_filter_that_failed() -> None:
    slow = {"patterns": "(x+x+)+y"}
    text = "x" * 200
    with pytest.raises(Refusal) as told:
        guards_of(Filter(kind="deny", options=slow)).check_request(chat(text))
    assert (told.value.status, told.value.code) == (503, "filter_failed")
    passing = guards_of(Filter(kind="deny", options={**slow, "on_error": "pass"}))
    passing.check_request(chat(text))
    assert passing.findings == {("deny", "error"): 1}


class Own:
    """A filter of one's own, as a user would write it."""

    def __init__(self, options: dict[str, str]) -> None:
        self.mode = options.get("mode", "shout")

    def check_request(self, texts: Sequence[str]) -> Outcome:
        if self.mode == "raise":
            raise ValueError("secret detail")
        if self.mode == "slow":
            time.sleep(0.06)
        if self.mode == "nonsense":
            return Outcome(texts=("one", "two", "three"))
        if self.mode == "refuse":
            return Outcome(refuse=True, found=("bad",))
        return Outcome(texts=tuple(text.upper() for text in texts), found=("shouted",))

    def stream(self) -> StreamFilter:
        if self.mode == "raise":
            raise ValueError("secret detail")
        return OwnStream()


class OwnStream:
    """Holds one piece back."""

    def __init__(self) -> None:
        self.held = ""

    def feed(self, text: str) -> Outcome:
        held, self.held = self.held, text.upper()
        return Outcome(texts=(held,))

    def finish(self) -> Outcome:
        return Outcome(texts=(self.held,))


OWN = f"{__name__}:Own"


def test_a_filter_of_ones_own_masks_requests_and_streams() -> None:
    guards = guards_of(Filter(kind=OWN, action="mask"))
    fields = chat("hello")
    guards.check_request(fields)
    assert b"HELLO" in bytes(fields["messages"])
    answer = guards.answer()
    assert answer is not None
    assert [answer.feed(0, "a"), answer.feed(0, "b"), answer.finish(0)] == ["", "A", "B"]
    assert guards.findings == {(OWN, "shouted"): 1}


@pytest.mark.parametrize("mode", ["raise", "slow", "nonsense"])
def test_a_filter_that_fails_refuses_or_passes_as_it_was_told(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Refusal) as told:
        guards_of(Filter(kind=OWN, action="mask", options={"mode": mode})).check_request(chat("hello"))
    assert (told.value.status, told.value.code) == (503, "filter_failed")
    passing = guards_of(Filter(kind=OWN, action="mask", options={"mode": mode, "on_error": "pass"}))
    passing.check_request(chat("hello"))
    assert passing.findings[OWN, "error"] == 1
    assert "secret detail" not in caplog.text


@pytest.mark.parametrize(("on_error", "refused"), [("refuse", True), ("pass", False)])
def test_a_stream_that_cannot_begin_has_a_defined_end(on_error: str, refused: bool) -> None:
    answer = guards_of(Filter(kind=OWN, options={"mode": "raise", "on_error": on_error})).answer()
    assert answer is not None
    assert isinstance(answer.feed(0, "hi"), Refusal) is refused


def test_a_filter_of_ones_own_refuses() -> None:
    with pytest.raises(Refusal, match="refused"):
        guards_of(Filter(kind=OWN, options={"mode": "refuse"})).check_request(chat("hello"))
    guards_of(Filter(kind=OWN, action="log", options={"mode": "refuse"})).check_request(chat("hello"))


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("nothing", {}, "there is no filter"),
        ("json:Nothing", {}, "cannot be made"),
        ("no.such.module:X", {}, "cannot be made"),
        ("json:loads", {}, "cannot be made"),
        ("deny", {}, "denies nothing"),
        ("deny", {"patterns": "("}, "cannot be read"),
        ("deny", {"patterns": "a(?=b)"}, "what follows"),
        ("deny", {"patterns": "a*"}, "empty text"),
        ("deny", {"file": "/nowhere"}, "cannot read its file"),
        ("deny", {"wrods": "x"}, "knows no option 'wrods'"),
        ("deny", {"words": "x", "on_error": "maybe"}, "on_error"),
        ("personal_data", {"kinds": "email,shoe"}, "no kind 'shoe'"),
        ("max_chars", {}, "limit"),
        ("max_chars", {"limit": "-1"}, "limit"),
        ("injection", {"threshold": "nan"}, "threshold"),
    ],
)
def test_a_filter_that_cannot_be_made_is_told_when_the_table_is_taken(
    kind: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(Corrupt, match=said):
        Guards.build([Filter(kind=kind, on="request", options=options)])


def test_injection_is_refused_on_answers_and_cannot_mask() -> None:
    for one in (Filter(kind="injection", on="answer"), Filter(kind="injection", action="mask")):
        with pytest.raises(Corrupt, match="looks at requests"):
            Guards.build([one])
