"""The built-in engine's API on a real server: conformance, streaming, the openai package, refusals, disconnects."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from modelyard.adapters.engines.builtin.text import Tokenizer
from modelyard.adapters.engines.capabilities import BUILTIN
from modelyard.ports.engine import Capabilities
from tests.adapters.engines.conformance import EngineConformance
from tests.adapters.engines.conftest import BASE_NAME

ASK = [{"role": "user", "content": "Where is my order?"}]


class TestBuiltin(EngineConformance):
    @pytest.fixture
    def base_name(self) -> str:
        return BASE_NAME

    @pytest.fixture
    def capabilities(self) -> Capabilities:
        return BUILTIN

    @pytest.fixture
    def conforming_adapter(self, adapter_folders: list[Path]) -> Path:
        return adapter_folders[1]


@pytest.fixture
def http(engine_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=engine_url) as client:
        yield client


def chat(http: httpx.Client, **fields: object) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": BASE_NAME, "messages": ASK, "temperature": 0} | fields)


def test_a_stream_is_the_answer_in_pieces(engine_url: str) -> None:
    client = openai.OpenAI(base_url=f"{engine_url}/v1", api_key="none")
    whole = client.chat.completions.create(model=BASE_NAME, messages=ASK, temperature=0, max_tokens=20)
    stream = client.chat.completions.create(
        model=BASE_NAME,
        messages=ASK,
        temperature=0,
        max_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 5


def test_a_stream_ends_with_done(http: httpx.Client) -> None:
    response = chat(http, stream=True, max_tokens=3)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events[:-1])


def test_plain_completions_take_text_and_tokens(http: httpx.Client, tokenizer: Tokenizer) -> None:
    request = {"model": BASE_NAME, "temperature": 0, "max_tokens": 5, "logprobs": 2}
    by_text = http.post("/v1/completions", json=request | {"prompt": "Where is"}).json()
    by_tokens = http.post("/v1/completions", json=request | {"prompt": tokenizer.encode("Where is")}).json()
    by_list = http.post("/v1/completions", json=request | {"prompt": ["Where is"]}).json()
    assert by_text["choices"] == by_tokens["choices"] == by_list["choices"]
    assert len(by_text["choices"][0]["logprobs"]["tokens"]) == by_text["usage"]["completion_tokens"]


def test_content_in_parts_is_one_text(http: httpx.Client) -> None:
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "my order?"}]}
    ]
    assert chat(http, messages=parts).json()["choices"] == chat(http).json()["choices"]


def test_tokens_go_both_ways(http: httpx.Client, tokenizer: Tokenizer) -> None:
    answer = http.post("/tokenize", json={"model": BASE_NAME, "prompt": "Größe 🙂"}).json()
    assert answer["tokens"] == tokenizer.encode("Größe 🙂")
    assert answer["count"] == len(answer["tokens"])
    assert answer["max_model_len"] == 256
    assert http.post("/detokenize", json={"tokens": answer["tokens"]}).json() == {"prompt": "Größe 🙂"}
    without = http.post("/tokenize", json={"messages": ASK, "add_generation_prompt": False}).json()["tokens"]
    assert http.post("/tokenize", json={"messages": ASK}).json()["tokens"][:-1] == without


def test_the_models_list_names_folder_and_parent(http: httpx.Client, base: Path, adapter_folders: list[Path]) -> None:
    folder = adapter_folders[0]
    http.post("/v1/load_lora_adapter", json={"lora_name": "listed", "lora_path": str(folder)}).raise_for_status()
    cards = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
    http.post("/v1/unload_lora_adapter", json={"lora_name": "listed"}).raise_for_status()
    assert (cards[BASE_NAME]["root"], cards[BASE_NAME]["parent"]) == (str(base), None)
    assert (cards["listed"]["root"], cards["listed"]["parent"]) == (str(folder), BASE_NAME)


@pytest.mark.parametrize(
    ("fields", "status", "seen"),
    [
        ({"model": "nobody"}, 404, "the model 'nobody' does not exist; Expected: one of tiny"),
        ({"messages": []}, 400, "'messages' is empty"),
        ({"messages": "hi"}, 400, "Expected `array`, got `str`"),
        ({"temperature": 3}, 400, "'temperature' is 3"),
        ({"top_p": 0}, 400, "'top_p' is 0"),
        ({"max_tokens": 0}, 400, "'max_tokens' is 0"),
        ({"seed": -1}, 400, "'seed' is -1"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "'top_logprobs' is 21"),
        ({"n": 2}, 400, "'n' is not supported"),
        ({"tools": [{"type": "function"}]}, 400, "'tools' is not supported"),
        ({"response_format": {"type": "json_object"}}, 400, "'response_format' is not supported"),
        ({"messages": [{"role": "user", "content": "order " * 400}]}, 400, "tokens, the model's context holds 256"),
    ],
)
def test_a_bad_request_is_refused_by_name(http: httpx.Client, fields: dict, status: int, seen: str) -> None:
    response = chat(http, **fields)
    assert response.status_code == status
    assert seen in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_neutral_values_of_unsupported_fields_pass(http: httpx.Client) -> None:
    assert chat(http, n=1, tools=[], frequency_penalty=0.0, response_format={"type": "text"}).status_code == 200


def test_unknown_paths_and_methods_are_refused(http: httpx.Client) -> None:
    assert http.get("/nothing").status_code == 404
    assert http.get("/v1/chat/completions").status_code == 405
    assert "does not take GET but POST" in http.get("/v1/chat/completions").json()["error"]["message"]


def test_a_taken_adapter_name_is_refused(http: httpx.Client, adapter_folders: list[Path]) -> None:
    body = {"lora_name": BASE_NAME, "lora_path": str(adapter_folders[0])}
    response = http.post("/v1/load_lora_adapter", json=body)
    assert response.status_code == 400
    assert "the name of the base model" in response.json()["error"]["message"]


def test_a_caller_who_leaves_frees_the_place(engine_url: str, http: httpx.Client) -> None:
    def aborted() -> float:
        page = http.get("/metrics").text
        line = next(line for line in page.splitlines() if 'finished_reason="abort"' in line)
        return float(line.split()[-1])

    before = aborted()
    request = {"model": BASE_NAME, "messages": ASK, "temperature": 1.5, "seed": 1, "stream": True}
    with httpx.Client(base_url=engine_url) as leaver:
        for _ in range(20):  # an answer may end by itself before its caller has left
            with leaver.stream("POST", "/v1/chat/completions", json=request) as response:
                next(response.iter_lines())
            time.sleep(0.05)
            if aborted() > before:
                break
    assert aborted() > before
    assert ":num_requests_running" in http.get("/metrics").text
