"""The official `anthropic` package, through a live gateway to engines that speak chat completions, or Messages."""

from typing import Any

import anthropic
import pytest

from tests.gateway.flows.conftest import service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import KEY, Yard, variant

ASK: Any = {"model": "support", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
COUNT: Any = {"model": "support", "messages": ASK["messages"]}
TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
def client(yard: Yard, engine_url: str) -> anthropic.Anthropic:
    yard.publish(service(engine_url))
    return anthropic.Anthropic(api_key=KEY, base_url=yard.url, max_retries=0)


def test_whole_and_stream(client: anthropic.Anthropic, yard: Yard, engine: Rich) -> None:
    raw = client.messages.with_raw_response.create(**ASK, system="Be kind.")
    answer = raw.parse()
    assert (answer.content[0].text, answer.model, answer.usage.output_tokens) == ("I am champ", "support", 3)
    assert raw.request_id == raw.headers["x-request-id"]
    assert engine.requests[-1]["messages"][0] == {"role": "system", "content": "Be kind."}
    with client.messages.stream(**ASK) as told:
        assert told.get_final_text() == "I am champ"
        assert told.request_id
    entries = yard.interactions(2)
    assert [entry.id for entry in entries[:1]] == [answer.id]
    assert [(entry.endpoint, entry.prompt_tokens, entry.completion_tokens) for entry in entries] == [
        *(("messages", 11, 3), ("messages", 11, 3)),
    ]


def test_tools_and_their_second_turn(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASK, tools=[TOOL]) as told:
        final = told.get_final_message()
    assert final.stop_reason == "tool_use"
    call = final.content[-1]
    assert (call.name, call.input) == ("weather", {"city": "Oslo"})
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "cold"}
    turns: Any = [
        *ASK["messages"],
        {"role": "assistant", "content": final.content},
        {"role": "user", "content": [result]},
    ]
    assert client.messages.create(**{**ASK, "messages": turns}, tools=[TOOL]).content[0].text == "I am champ"


def test_errors_are_its_own_classes(client: anthropic.Anthropic, yard: Yard, engine: Rich) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**{**ASK, "model": "nope"})
    assert missing.value.request_id
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        client.with_options(api_key="sk-other").messages.create(**ASK)
    assert unknown.value.request_id
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**{**ASK, "messages": []})
    engine.fault = {"champ": "500"}
    with pytest.raises(anthropic.InternalServerError, match="engine says no"):
        client.messages.create(**ASK)
    engine.fault = {"champ": "cut"}
    with pytest.raises(anthropic.APIStatusError, match="broke off"), client.messages.stream(**ASK) as told:
        told.until_done()
    assert [entry.status for entry in yard.interactions(2)] == [500, 502]


def test_tokens_are_counted_by_the_engines_tokenizer(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.native["/tokenize"] = {"count": 7, "max_model_len": 100, "tokens": [1] * 7}
    yard.publish(service(engine_url, champion=variant("champ", engine_url, engine="builtin", system_prompt="Be kind.")))
    client = anthropic.Anthropic(api_key=KEY, base_url=yard.url, max_retries=0)
    assert client.messages.count_tokens(**COUNT, tools=[TOOL]).input_tokens == 7
    asked = engine.requests[-1]
    assert (engine.paths[-1], asked["model"]) == ("/tokenize", "champ")
    assert [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    assert asked["tools"][0]["function"]["name"] == "weather"
    assert yard.interactions() == []


def test_tokens_are_counted_by_engines_that_speak_messages(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.native["/v1/messages/count_tokens"] = {"input_tokens": 9}
    yard.publish(service(engine_url, champion=variant("champ", engine_url, engine="vllm")))
    client = anthropic.Anthropic(api_key=KEY, base_url=yard.url, max_retries=0)
    assert client.messages.count_tokens(**COUNT).input_tokens == 9
    assert (engine.paths[-1], engine.requests[-1]["model"]) == ("/v1/messages/count_tokens", "champ")
    engine.fault = {"champ": "404"}
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.count_tokens(**COUNT)
    assert caught.value.status_code == 501


def test_tokens_that_nobody_can_count(client: anthropic.Anthropic, yard: Yard, engine: Rich, engine_url: str) -> None:
    yard.publish(service(engine_url, champion=variant("champ", engine_url, engine="triton")))
    with pytest.raises(anthropic.APIStatusError, match="cannot count tokens") as caught:
        client.messages.count_tokens(**COUNT)
    assert caught.value.status_code == 501
    assert caught.value.request_id
    assert engine.requests == []
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(**{**COUNT, "model": "nope"})
