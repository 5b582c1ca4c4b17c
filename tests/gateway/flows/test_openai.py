"""The official `openai` package, through a live gateway."""

from typing import Any

import anthropic
import httpx
import msgspec
import openai
import pytest

from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.routes import Service
from tests.gateway.flows.conftest import service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import AUTH, CHAT, KEY, Yard, eventually, key_of, variant

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
FUNCTION: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}


@pytest.fixture
def client(yard: Yard, engine_url: str) -> openai.OpenAI:
    yard.publish(service(engine_url))
    return openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0)


def test_tools_and_their_second_turn(client: openai.OpenAI, yard: Yard, engine: Rich) -> None:
    first = client.chat.completions.create(**CHAT, tools=TOOLS).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.tool_calls is not None
    call = first.message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo"}')
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "cold"}
    turns: Any = [*CHAT["messages"], first.message, result]
    second = client.chat.completions.create(model="support", messages=turns, tools=TOOLS)
    assert second.choices[0].message.content == "I am champ"
    assert engine.requests[-1]["messages"][-1] == result
    assert [entry.finish_reason for entry in yard.interactions(2)] == ["tool_calls", "stop"]


def test_tools_in_a_stream(client: openai.OpenAI, yard: Yard) -> None:
    with client.chat.completions.stream(**CHAT, tools=TOOLS) as told:
        final = told.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Oslo"}'
    (entry,) = yard.interactions(1)
    assert (entry.stream, entry.finish_reason, entry.completion_tokens) == (True, "tool_calls", 3)


def test_formats_logprobs_and_several_answers(client: openai.OpenAI, engine: Rich) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": {"type": "object"}}}
    answer = client.chat.completions.create(**CHAT, response_format=schema)
    assert answer.choices[0].message.content == '{"name": "Ada", "age": 36}'
    answer = client.chat.completions.create(**CHAT, n=2, logprobs=True, top_logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[1].logprobs.content[0].logprob == -0.01
    assert engine.requests[-1]["top_logprobs"] == 1


def test_completions_and_embeddings(client: openai.OpenAI, yard: Yard, engine: Rich) -> None:
    pieces = client.completions.create(model="support", prompt="hello", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == "I am champ"
    vectors = client.embeddings.create(model="support", input=["ab", "b"])
    assert [vector.embedding[:2] for vector in vectors.data] == [[1.0, 1.0], [0.0, 1.0]]
    assert vectors.model == "support"
    assert engine.paths == ["/v1/completions", "/v1/embeddings"]
    entries = yard.interactions(2)
    assert [entry.endpoint for entry in entries] == ["completions", "embeddings"]
    assert [(entry.prompt_tokens, entry.completion_tokens) for entry in entries] == [(11, 3), (5, 0)]


def test_responses_whole_stream_and_tools(client: openai.OpenAI, yard: Yard) -> None:
    answer = client.responses.create(model="support", input="hello")
    assert (answer.output_text, answer.model, answer.usage.total_tokens) == ("I am champ", "support", 14)
    with client.responses.stream(model="support", input="hello") as told:
        assert told.get_final_response().output_text == "I am champ"
    with client.responses.stream(model="support", input="hello", tools=[FUNCTION]) as told:
        final = told.get_final_response()
    (call,) = final.output
    assert (call.type, call.arguments) == ("function_call", '{"city": "Oslo"}')
    items: Any = [call.model_dump(exclude_none=True)]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "cold"})
    assert client.responses.create(model="support", input=items, tools=[FUNCTION]).output_text == "I am champ"
    entries = yard.interactions(4)
    assert [entry.id for entry in entries[:1]] == [answer.id]
    assert {entry.endpoint for entry in entries} == {"responses"}


def test_errors_are_its_own_classes(client: openai.OpenAI, yard: Yard, engine: Rich, engine_url: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nope", messages=CHAT["messages"])
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="support", messages=[])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-other").chat.completions.create(**CHAT)
    engine.fault = {"champ": "500"}
    with pytest.raises(openai.InternalServerError, match="engine says no"):
        client.chat.completions.create(**CHAT)
    engine.fault = {"champ": "cut"}
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.chat.completions.create(**CHAT, stream=True))
    assert [entry.status for entry in yard.interactions(2)] == [500, 502]


def test_it_tries_again_when_the_engine_says_so(client: openai.OpenAI, yard: Yard, engine: Rich) -> None:
    engine.busy = 1
    answer = client.with_options(max_retries=3).chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == "I am champ"
    assert [entry.status for entry in yard.interactions(2)] == [429, 200]


def test_keys_are_for_their_endpoints(client: openai.OpenAI, yard: Yard, engine_url: str) -> None:
    yard.publish(service(engine_url), keys=(msgspec.structs.replace(key_of(), scopes=("embeddings",)),))
    assert client.embeddings.create(model="support", input="a").data
    for ask in (
        lambda: client.chat.completions.create(**CHAT),
        lambda: client.completions.create(model="support", prompt="a"),
        lambda: client.responses.create(model="support", input="a"),
        lambda: client.models.list(),
    ):
        with pytest.raises(openai.PermissionDeniedError, match="It is for: embeddings"):
            ask()


def test_feedback_on_a_response_that_its_engine_keeps(yard: Yard, engine: Rich, engine_url: str) -> None:
    text = {"type": "output_text", "text": "hi", "annotations": []}
    item = {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [text]}
    engine.native["/v1/responses"] = {"id": "resp_9", "object": "response", "created_at": 1, "model": "champ",
        "status": "completed", "output": [item], "usage": {"input_tokens": 2, "output_tokens": 1}}  # fmt: skip
    yard.publish(service(engine_url, champion=variant("champ", engine_url, engine="vllm")))
    client = openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0)
    answer = client.responses.create(model="support", input="hello")
    (entry,) = yard.interactions(1)
    assert answer.id == f"{entry.id}.resp_9"
    told = httpx.post(f"{yard.url}/v1/feedback", json={"id": answer.id, "score": 1}, headers=AUTH)
    assert told.status_code == 202
    assert [one.interaction_id for one in yard.feedback()] == [entry.id]
    client.responses.create(model="support", input="more", previous_response_id=answer.id)
    assert engine.requests[-1]["previous_response_id"] == "resp_9"


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/chat/completions", {**CHAT, "max_tokens": 500}, "max_tokens"),
        ("/v1/chat/completions", {**CHAT, "max_completion_tokens": 500}, "max_completion_tokens"),
        ("/v1/completions", {"model": "support", "prompt": "x", "max_tokens": 500}, "max_tokens"),
        ("/v1/messages", {**CHAT, "max_tokens": 500}, "max_tokens"),
        ("/v1/responses", {"model": "support", "input": "x", "max_output_tokens": 500}, "max_tokens"),
        ("/v1/responses", {"model": "support", "input": "x"}, "max_tokens"),
    ],
)
def test_answers_are_capped(
    yard: Yard, engine: Rich, engine_url: str, path: str, body: dict[str, Any], name: str
) -> None:
    yard.publish(service(engine_url, max_output_tokens=20))
    assert yard.post(path, json=body).status_code == 200
    asked = engine.requests[-1]
    assert asked[name] == 20
    assert max(asked.get(each) or 0 for each in ("max_tokens", "max_completion_tokens", "max_output_tokens")) == 20


def test_answers_are_capped_in_the_engines_own_dialect(yard: Yard, engine: Rich, engine_url: str) -> None:
    spoken: Service = service(engine_url, max_output_tokens=20, champion=variant("champ", engine_url, engine="vllm"))
    yard.publish(spoken)
    for path, body, name in (
        ("/v1/messages", {**CHAT, "max_tokens": 500}, "max_tokens"),
        ("/v1/responses", {"model": "support", "input": "x", "max_output_tokens": 500}, "max_output_tokens"),
    ):
        engine.native[path] = {"content": [], "output": [], "id": "x", "model": "champ"}
        assert yard.post(path, json=body).status_code == 200
        assert (engine.paths[-1], engine.requests[-1][name]) == (path, 20)


def test_limits_are_its_own_error_and_waited_out(yard: Yard, engine_url: str) -> None:
    limits = Limits(requests_per_minute=60, burst=1)
    yard.publish(service(engine_url), tenants=(Tenant(name="acme", limits=limits),))
    client = openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0)
    client.chat.completions.create(**CHAT)
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(**CHAT)
    assert 0 < float(limited.value.response.headers["retry-after"]) <= 1
    claude = anthropic.Anthropic(api_key=KEY, base_url=yard.url, max_retries=0)
    with pytest.raises(anthropic.RateLimitError) as told:
        claude.messages.create(model="support", max_tokens=5, messages=[{"role": "user", "content": "hi"}])
    assert told.value.body["error"]["type"] == "rate_limit_error"
    assert client.with_options(max_retries=2).chat.completions.create(**CHAT).choices
    assert [entry.status for entry in yard.interactions(2)] == [200, 200]


def test_a_caller_that_leaves_a_stream_stops_the_engine(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.pieces, engine.piece_delay_s = ("word ",) * 1000, 0.02
    limits = Limits(tokens_per_minute=10_000, concurrency=1)
    yard.publish(service(engine_url), tenants=(Tenant(name="acme", limits=limits),))
    client = openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0)
    with client.chat.completions.create(**CHAT, stream=True) as stream:
        for _ in zip(range(5), stream, strict=False):
            pass
    eventually(lambda: engine.ended == 1, seconds=2)
    (entry,) = yard.interactions(1)
    assert (entry.status, entry.error) == (499, "client_gone")
    assert entry.completion_tokens >= 3
    assert entry.cost_nanousd > 0
    engine.piece_delay_s = 0
    answer = yard.post()
    assert answer.status_code == 200
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) > 9_000
