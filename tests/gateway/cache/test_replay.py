"""An answer given again: in the form that is asked for, as the official client reads it, under a new id."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from openai import OpenAI

from modelyard.gateway.cache import Hit, Kept
from tests.gateway.cache.answers import CHAT, ID, NEW, a_cache, head, kept, planned, sse, streamed, usage, whole
from tests.gateway.harness import serving


def again(answer: Kept, request: dict[str, Any] | None = None, **options: Any) -> Hit:
    cache = a_cache()
    plan = planned(cache, request, **options)
    assert cache.store(plan, answer)
    hit = cache.lookup(plan)
    assert hit is not None
    return hit


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    events = stream.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    return [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events[:-2]]


def test_a_whole_answer_is_given_again_to_the_byte_but_for_its_id() -> None:
    answer = whole("hello you")
    hit = again(answer)
    assert hit.body(NEW) == answer.body.replace(ID.encode(), NEW.encode())
    assert (hit.kind, hit.similarity, hit.text) == ("exact", 1.0, "hello you")
    assert hit.kept.cost_nanousd == 1300


def test_a_stream_is_given_again_in_its_own_pieces() -> None:
    answer = streamed("he", "llo", " you")
    assert again(answer).stream(NEW, usage=False) == answer.body.replace(ID.encode(), NEW.encode())


def test_usage_is_added_and_taken_out_as_it_is_asked_for() -> None:
    bare, full = streamed("a", "b"), streamed("a", "b", with_usage=True)
    for answer in (bare, full):
        assert again(answer).stream(ID, usage=False) == bare.body
        *_, last = chunks_of(again(answer).stream(ID, usage=True))
        assert (last["choices"], last["usage"]) == ([], usage())


@pytest.mark.parametrize("with_usage", [False, True])
def test_a_stream_as_a_whole_answer(with_usage: bool) -> None:
    hit = again(streamed("he", "llo", " you", with_usage=with_usage))
    assert msgspec.json.decode(hit.body(NEW)) == {
        **head("chat.completion", NEW),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello you"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": usage(),
    }
    assert hit.text == "hello you"


def test_reasoning_is_kept_apart() -> None:
    deltas = [{"role": "assistant", "content": None}, {"reasoning_content": "hm "}, {"reasoning_content": "yes"}]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in [*deltas, {"content": "42"}]]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    body = sse([{**head("chat.completion.chunk"), "choices": [choice]} for choice in choices])
    (choice,) = msgspec.json.decode(again(kept(body, streamed=True)).body(NEW))["choices"]
    assert choice["message"] == {"role": "assistant", "content": "42", "reasoning_content": "hm yes"}


def test_completions_go_both_ways() -> None:
    request = {"model": "support", "prompt": "once"}
    choice = {"index": 0, "text": " upon", "logprobs": None, "finish_reason": "length"}
    body = msgspec.json.encode({**head("text_completion"), "choices": [choice], "usage": usage()})
    hit = again(kept(body, streamed=False, reason="length"), request, endpoint="completions")
    first, last = chunks_of(hit.stream(NEW, usage=False))
    assert (first["choices"][0]["text"], last["choices"][0]["finish_reason"]) == (" upon", "length")
    assert first["object"] == "text_completion"
    replayed = kept(hit.stream(ID, usage=False), streamed=True, reason="length")
    assert msgspec.json.decode(again(replayed, request, endpoint="completions").body(ID)) == msgspec.json.decode(body)


def test_embeddings_are_given_again() -> None:
    body = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2]}],"model":"m","usage":{}}'
    answer = Kept(id="", body=body, streamed=False, prompt_tokens=3)
    assert again(answer, {"model": "m", "input": "x"}, endpoint="embeddings").body(NEW) == body


class Replayed:
    """An ASGI app that answers with one hit, in the form that is asked for."""

    def __init__(self, hit: Hit) -> None:
        self.hit = hit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = msgspec.json.decode((await receive())["body"])
        stream = request.get("stream", False)
        wants = bool((request.get("stream_options") or {}).get("include_usage"))
        body = self.hit.stream(NEW, usage=wants) if stream else self.hit.body(NEW)
        kind = b"text/event-stream" if stream else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(params=[whole("hello you"), streamed("hel", "lo you")], ids=["from a whole", "from a stream"])
def client(request: pytest.FixtureRequest) -> Iterator[OpenAI]:
    with serving(Replayed(again(request.param))) as url, httpx.Client(trust_env=False) as http:
        yield OpenAI(base_url=f"{url}/v1", api_key="k", http_client=http)


def test_the_official_client_reads_either_form_from_either(client: OpenAI) -> None:
    answer = client.chat.completions.create(**CHAT)
    assert (answer.id, answer.choices[0].message.content, answer.choices[0].finish_reason) == (NEW, "hello you", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hello you"
    assert {chunk.id for chunk in chunks} == {NEW}
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == answer.usage
