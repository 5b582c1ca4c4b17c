"""The official packages drive the translation over a real server."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.dialects.scripted import Script, call, chunk, stream, whole
from tests.gateway.harness import serving

ASK: dict[str, Any] = {"model": "support", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
FUNCTION: Any = {"type": "function", "name": "weather", "parameters": TOOL["input_schema"], "strict": False}
CALLS = (
    chunk({"content": "Let me look."}),
    chunk(call(0, "", "weather", "call_a")),
    chunk(call(0, '{"city":')),
    chunk(call(0, '"Oslo"}')),
    chunk(call(1, '{"city":"Rome"}', "weather", "call_b")),
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Script, str]]:
    script = Script()
    with serving(script) as url:
        yield script, url


@pytest.fixture
def claude(served: tuple[Script, str]) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk-test", base_url=served[1], max_retries=0)


@pytest.fixture
def oai(served: tuple[Script, str]) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-test", base_url=f"{served[1]}/v1", max_retries=0)


@pytest.fixture
def script(served: tuple[Script, str]) -> Script:
    return served[0]


def test_messages_text_whole_and_streamed(script: Script, claude: anthropic.Anthropic) -> None:
    script.answer = whole({"content": "Hello there"})
    answer = claude.messages.create(**ASK, system="Be kind.", stop_sequences=["END"], metadata={"user_id": "u1"})
    assert (answer.id, answer.model, answer.content[0].text, answer.stop_reason) == (
        *("our-id", "support", "Hello there", "end_turn"),
    )
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (8, 3, 4)
    assert script.asked["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (script.asked["stop"], script.asked["user"]) == (["END"], "u1")
    script.answer = stream(*(chunk({"content": f"word{n} "}) for n in range(500)), stop_reason="END")
    with claude.messages.stream(**ASK, stop_sequences=["END"]) as told:
        assert told.get_final_text() == "".join(f"word{n} " for n in range(500))
        final = told.get_final_message()
    assert (final.stop_reason, final.stop_sequence, final.usage.input_tokens) == ("stop_sequence", "END", 8)


def test_messages_parallel_tools_and_their_results(script: Script, claude: anthropic.Anthropic) -> None:
    script.answer = stream(*CALLS, finish="tool_calls")
    choice: Any = {"type": "any", "disable_parallel_tool_use": True}
    with claude.messages.stream(**ASK, tools=[TOOL], tool_choice=choice) as told:
        final = told.get_final_message()
    assert [block.type for block in final.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in final.content[1:]] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert final.stop_reason == "tool_use"
    assert (script.asked["tool_choice"], script.asked["parallel_tool_calls"]) == ("required", False)
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    results: Any = [
        {"type": "tool_result", "tool_use_id": "call_a", "content": "cold", "is_error": True},
        {"type": "tool_result", "tool_use_id": "call_b", "content": [{"type": "text", "text": "warm"}, image]},
    ]
    turns: Any = [
        *ASK["messages"],
        {"role": "assistant", "content": final.content},
        {"role": "user", "content": results},
    ]
    script.answer = whole({"content": "Done"})
    claude.messages.create(model="support", max_tokens=5, messages=turns)
    _, assistant, first, second, shown = script.asked["messages"]
    assert [c["id"] for c in assistant["tool_calls"]] == ["call_a", "call_b"]
    assert (first["content"], second["tool_call_id"], second["content"]) == ("Error: cold", "call_b", "warm")
    assert shown["content"][0]["image_url"]["url"] == "data:image/png;base64,AAAA"


def test_messages_thinking_is_told_to_who_asks(script: Script, claude: anthropic.Anthropic) -> None:
    script.answer = stream(chunk({"reasoning_content": "Hm."}), chunk({"content": "Yes"}))
    with claude.messages.stream(**ASK) as told:
        assert [block.type for block in told.get_final_message().content] == ["text"]
    with claude.messages.stream(**ASK, thinking={"type": "enabled", "budget_tokens": 1024}) as told:
        assert told.get_final_message().content[0].thinking == "Hm."


def test_messages_errors_and_refusals(script: Script, claude: anthropic.Anthropic) -> None:
    script.answer = chunk({"content": "A"}) + b'data: {"error":{"message":"10.0.0.1 died","code":"boom"}}\n\n'
    with pytest.raises(anthropic.APIStatusError) as caught, claude.messages.stream(**ASK) as told:
        told.until_done()
    assert "reported an error" in str(caught.value)
    assert "10.0.0.1" not in str(caught.value)
    with pytest.raises(anthropic.BadRequestError, match="bash_20250124"):
        claude.messages.create(**ASK, tools=[{"type": "bash_20250124", "name": "bash"}])
    script.answer = whole({"refusal": "I may not."})
    assert claude.messages.create(**ASK).stop_reason == "refusal"


def test_responses_text_whole_and_streamed(script: Script, oai: openai.OpenAI) -> None:
    script.answer = whole({"content": "Hello there"})
    answer = oai.responses.create(model="support", input="hi", instructions="Be kind.", max_output_tokens=9)
    assert (answer.id, answer.output_text, answer.status, answer.usage.total_tokens) == (
        *("our-id", "Hello there", "completed", 15),
    )
    assert script.asked["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
    ]
    assert script.asked["max_tokens"] == 9
    script.answer = stream(*(chunk({"content": f"word{n} "}) for n in range(500)))
    with oai.responses.stream(model="support", input="hi") as told:
        events = list(told)
        final = told.get_final_response()
    assert final.output_text == "".join(f"word{n} " for n in range(500))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
    ]


def test_responses_parallel_tools_and_their_results(script: Script, oai: openai.OpenAI) -> None:
    script.answer = stream(*CALLS, finish="tool_calls")
    with oai.responses.stream(model="support", input="hi", tools=[FUNCTION]) as told:
        final = told.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert [item.arguments for item in final.output[1:]] == ['{"city":"Oslo"}', '{"city":"Rome"}']
    items: Any = [item.model_dump(exclude_none=True) for item in final.output]
    items.append({"type": "function_call_output", "call_id": "call_a", "output": "cold"})
    image = {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}
    items.append({"role": "user", "content": [{"type": "input_text", "text": "See"}, image]})
    script.answer = whole({"content": "Done"})
    oai.responses.create(model="support", input=items)
    assistant, result, user = script.asked["messages"]
    assert (assistant["content"], len(assistant["tool_calls"])) == ("Let me look.", 2)
    assert (result["tool_call_id"], user["content"][1]["image_url"]["detail"]) == ("call_a", "low")


def test_responses_that_end_early_or_fail(script: Script, oai: openai.OpenAI) -> None:
    script.answer = stream(chunk({"content": "A"}), finish="length")
    events = list(oai.responses.create(model="support", input="hi", stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"
    script.answer = chunk({"content": "A"}) + b"data: {broken\n\n"
    events = list(oai.responses.create(model="support", input="hi", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.output[0].status == "incomplete"


@pytest.mark.parametrize(
    "fields",
    [{"previous_response_id": "r1"}, {"background": True}, {"tools": [{"type": "web_search"}]}, {"truncation": "auto"}],
)
def test_responses_refuses_what_it_cannot_say(script: Script, oai: openai.OpenAI, fields: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        oai.responses.create(model="support", input="hi", **fields)
    assert caught.value.param.startswith(next(iter(fields)))
