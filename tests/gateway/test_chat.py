"""Answers through the gateway: what the engine gets, what the client gets, what the journal keeps."""

import contextlib
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from modelyard.core.digests import digest_text, short
from modelyard.ports.routes import Service
from tests.gateway.harness import AUTH, CHAT, KEY, Yard, eventually, variant
from tests.gateway.upstream import Engine


def client(yard: Yard) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0)


def service(url: str, **changes: Any) -> Service:
    fields: dict[str, Any] = {"name": "support", "champion": variant("champ", url), "body_policy": "hash", **changes}
    return Service(**fields)


def events(response: httpx.Response) -> list[str]:
    return [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]


@pytest.fixture(autouse=True)
def published(yard: Yard, engine_url: str) -> None:
    yard.publish(service(engine_url))


def test_openai_package_gets_a_whole_answer(yard: Yard) -> None:
    raw = client(yard).chat.completions.with_raw_response.create(**CHAT)
    answer = raw.parse()
    (entry,) = yard.interactions()
    assert answer.choices[0].message.content == "I am champ"
    assert answer.model == "support"
    assert answer.id == entry.id
    assert (entry.status, entry.role, entry.propensity, entry.finish_reason) == (200, "champion", 1.0, "stop")
    assert (entry.prompt_tokens, entry.completion_tokens, entry.cost_nanousd) == (11, 3, 11_000 + 6_000)
    assert entry.answer_hash == digest_text("I am champ")
    assert (entry.request, entry.answer) == ("", "")
    assert (entry.tenant, entry.key_id, entry.release) == ("acme", "key-1", "sha256:champ")
    assert raw.headers["x-modelyard-release"] == "champ@123"
    assert raw.headers["x-modelyard-role"] == "champion"
    assert int(raw.headers["x-modelyard-overhead-us"]) == entry.overhead_us > 0
    assert raw.headers["x-request-id"]


def test_openai_package_gets_a_stream(yard: Yard) -> None:
    chunks = list(client(yard).chat.completions.create(**CHAT, stream=True))
    (entry,) = yard.interactions()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "I am champ"
    assert {chunk.id for chunk in chunks} == {entry.id}
    assert {chunk.model for chunk in chunks} == {"support"}
    assert entry.stream
    assert entry.answer_hash == digest_text("I am champ")
    assert (entry.prompt_tokens, entry.completion_tokens) == (11, 3)
    assert 0 < entry.first_token_ms <= entry.latency_ms


def test_usage_chunk_is_hidden_unless_asked_for(yard: Yard, engine: Engine) -> None:
    silent = events(yard.post(json={**CHAT, "stream": True}))
    assert engine.requests[-1]["stream_options"] == {"include_usage": True}
    assert silent[-1] == "[DONE]"
    assert all("usage" not in json.loads(event) for event in silent[:-1])
    options = {"include_usage": True, "other": 1}
    asked = events(yard.post(json={**CHAT, "stream": True, "stream_options": options}))
    assert engine.requests[-1]["stream_options"] == options
    assert json.loads(asked[-2])["usage"]["prompt_tokens"] == 11


def test_legacy_completions(yard: Yard, engine: Engine) -> None:
    answer = client(yard).completions.create(model="support", prompt="hello")
    assert answer.choices[0].text == "I am champ"
    assert engine.paths == ["/v1/completions"]
    assert yard.interactions()[0].answer_hash == digest_text("I am champ")


def test_unknown_fields_pass_untouched_both_ways(yard: Yard, engine: Engine) -> None:
    answer = yard.post(json={**CHAT, "custom": {"deep": [1, None, "é"]}, "seed": 12345678901234567890})
    assert engine.requests[-1]["custom"] == {"deep": [1, None, "é"]}
    assert engine.requests[-1]["seed"] == 12345678901234567890
    assert answer.json()["kept"] == {"exact": 1.10}


def test_defaults_fill_in_only_what_is_absent(yard: Yard, engine: Engine) -> None:
    yard.post(json={**CHAT, "temperature": None})
    assert [engine.requests[-1][name] for name in ("temperature", "top_p", "max_tokens")] == [0.25, 0.5, 77]
    yard.post(json={**CHAT, "temperature": 1, "top_p": 0.9, "max_tokens": 5})
    assert [engine.requests[-1][name] for name in ("temperature", "top_p", "max_tokens")] == [1, 0.9, 5]
    yard.post(json={**CHAT, "max_completion_tokens": 6})
    assert engine.requests[-1]["max_completion_tokens"] == 6
    assert "max_tokens" not in engine.requests[-1]


def test_system_prompt_goes_first_unless_the_caller_has_one(yard: Yard, engine: Engine, engine_url: str) -> None:
    yard.publish(service(engine_url, champion=variant("champ", engine_url, system_prompt='Be "kind"\n')))
    yard.post()
    assert engine.requests[-1]["messages"] == [{"role": "system", "content": 'Be "kind"\n'}, *CHAT["messages"]]
    for role in ("system", "developer"):
        turns = [{"role": role, "content": "mine"}, *CHAT["messages"]]
        yard.post(json={**CHAT, "messages": turns})
        assert engine.requests[-1]["messages"] == turns
    yard.post("/v1/completions", json={"model": "support", "prompt": "x"})
    assert "messages" not in engine.requests[-1]


@pytest.mark.parametrize(
    ("policy", "hashed", "texts"), [("none", False, False), ("hash", True, False), ("full", True, True)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_body_policy(yard: Yard, engine_url: str, policy: str, hashed: bool, texts: bool, stream: bool) -> None:
    yard.publish(service(engine_url, body_policy=policy))
    yard.post(json={**CHAT, "stream": stream})
    (entry,) = yard.interactions()
    assert (entry.answer_hash, bool(entry.request_hash)) == (digest_text("I am champ") if hashed else "", hashed)
    assert entry.answer == ("I am champ" if texts else "")
    assert (json.loads(entry.request) == {**CHAT, "stream": stream}) if texts else entry.request == ""


def test_the_callers_key_never_reaches_the_engine(yard: Yard, engine: Engine) -> None:
    yard.post()
    assert b"authorization" not in engine.headers[-1]


def test_request_id_is_taken_over_and_passed_on(yard: Yard, engine: Engine) -> None:
    headers = {**AUTH, "x-request-id": "trace-7"}
    answer = httpx.post(f"{yard.url}/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.headers["x-request-id"] == "trace-7"
    assert engine.headers[-1][b"x-request-id"] == b"trace-7"
    strange = httpx.post(f"{yard.url}/v1/chat/completions", json=CHAT, headers={**AUTH, "x-request-id": "a b\tc"})
    assert strange.headers["x-request-id"] != "a b\tc"


def test_units_come_from_user_then_header_then_request(yard: Yard) -> None:
    yard.post(json={**CHAT, "user": "ann"})
    httpx.post(f"{yard.url}/v1/chat/completions", json=CHAT, headers={**AUTH, "x-modelyard-unit": "bob"})
    yard.post()
    yard.post()
    units = [entry.unit for entry in yard.interactions()]
    assert units[:2] == [short(digest_text("ann")), short(digest_text("bob"))]
    assert len(set(units)) == 4


def test_engine_errors_pass_through_with_their_body(yard: Yard, engine: Engine) -> None:
    for status in ("400", "503"):
        engine.fault["champ"] = status
        answer = yard.post()
        assert answer.status_code == int(status)
        assert answer.json()["error"]["code"] == "engine_code"
        assert answer.headers["retry-after"] == "7"
    assert [entry.status for entry in yard.interactions()] == [400, 503]


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_what_is_wrong_between_us_and_the_engine_is_not_the_callers_mistake(
    yard: Yard, engine: Engine, status: str
) -> None:
    engine.fault["champ"] = status
    answer = yard.post()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == f"upstream_{status}"
    assert "engine says" not in answer.text
    assert answer.headers["retry-after"] == "1"
    assert [(entry.status, entry.error) for entry in yard.interactions()] == [(503, f"upstream_{status}")]


@pytest.mark.parametrize(
    ("fault", "status", "code"), [("html", 500, "upstream_500"), ("garbage", 502, "upstream_malformed")]
)
def test_engine_faults_get_an_openai_body_without_the_engines_words(
    yard: Yard, engine: Engine, fault: str, status: int, code: str
) -> None:
    engine.fault["champ"] = fault
    answer = yard.post()
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["param"] is None
    assert "10.1.2.3" not in answer.text
    assert yard.interactions()[0].error == code


def test_dead_engine_is_502_and_names_no_address(yard: Yard) -> None:
    yard.publish(service("http://127.0.0.1:9"))
    with pytest.raises(openai.InternalServerError) as raised:
        client(yard).chat.completions.create(**CHAT)
    assert raised.value.status_code == 502
    assert raised.value.code == "upstream_unavailable"
    assert "127.0.0.1" not in raised.value.response.text
    assert yard.interactions()[0].status == 502


@pytest.mark.parametrize("stream", [False, True])
def test_slow_engine_is_504(hasty: Yard, engine: Engine, engine_url: str, stream: bool) -> None:
    hasty.publish(service(engine_url))
    engine.fault["champ"] = "hang"
    answer = hasty.post(json={**CHAT, "stream": stream})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
    eventually(lambda: engine.left == 1)


@pytest.mark.parametrize(
    ("fault", "status", "code"), [("cut", 502, "upstream_cut"), ("stall", 504, "upstream_timeout")]
)
def test_stream_that_breaks_off_ends_with_an_error_event(
    hasty: Yard, engine: Engine, engine_url: str, fault: str, status: int, code: str
) -> None:
    hasty.publish(service(engine_url))
    engine.fault["champ"] = fault
    seen = events(hasty.post(json={**CHAT, "stream": True}))
    assert json.loads(seen[-1])["error"]["code"] == code
    assert "[DONE]" not in seen
    with pytest.raises(openai.APIError):
        list(client(hasty).chat.completions.create(**CHAT, stream=True))
    entry = hasty.interactions()[0]
    assert (entry.status, entry.error, entry.completion_tokens, entry.answer_hash) == (status, code, 1, "")


def test_stream_lost_before_its_first_event_is_a_plain_502(yard: Yard, engine: Engine) -> None:
    engine.fault["champ"] = "first_error"
    answer = yard.post(json={**CHAT, "stream": True})
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/json")


def test_stream_that_ends_without_done_is_whole_where_the_model_finished(yard: Yard, engine: Engine) -> None:
    engine.fault["champ"] = "no_done"
    seen = events(yard.post(json={**CHAT, "stream": True}))
    assert json.loads(seen[-1])["choices"][0]["finish_reason"] == "stop"
    assert yard.interactions()[0].status == 200


@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_client_that_leaves_stops_the_engine_and_is_recorded(yard: Yard, engine: Engine, fault: str) -> None:
    engine.fault["champ"] = fault
    body = {**CHAT, "stream": fault == "stall"}
    with pytest.raises(httpx.ReadTimeout):
        yard.post(json=body, timeout=0.3)
    (entry,) = yard.interactions(1)
    assert (entry.status, entry.error) == (499, "client_gone")
    eventually(lambda: engine.left == 1)
    eventually(lambda: yard.metric("in_flight") == 0)
    engine.fault.clear()
    assert yard.post().status_code == 200


def test_interaction_is_journalled_before_the_stream_is_done(yard: Yard) -> None:
    with httpx.stream("POST", f"{yard.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=AUTH) as answer:
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                assert len(yard.interactions()) == 1
                return
    raise AssertionError("no [DONE]")


def test_metrics_count_by_service_role_and_release(yard: Yard) -> None:
    yard.post()
    yard.post(json={**CHAT, "stream": True})
    text = yard.metrics()
    labels = 'service="support",role="champion",release="champ@123"'
    assert f'modelyard_gateway_requests_total{{{labels},status="200"}} 2' in text
    assert f"modelyard_gateway_prompt_tokens_total{{{labels}}} 22" in text
    assert f"modelyard_gateway_latency_seconds_count{{{labels}}} 2" in text
    assert f"modelyard_gateway_first_token_seconds_count{{{labels}}} 1" in text
    assert 'modelyard_gateway_in_flight{service="support"} 0' in text


def test_answers_are_never_mixed_up_while_clients_come_and_go(yard: Yard, engine: Engine, engine_url: str) -> None:
    yard.publish(service(engine_url, champion=variant("echo", engine_url), body_policy="full"))
    engine.delay_s, engine.piece_delay_s = 0.002, 0.002
    heard: list[tuple[str, str]] = []

    def call(seed: int) -> None:
        chance = random.Random(seed)
        with httpx.Client(base_url=yard.url, headers=AUTH) as http:
            for number in range(30):
                question = f"q{seed} q{number} end"
                stream = chance.random() < 0.5
                body = {**CHAT, "stream": stream, "messages": [{"role": "user", "content": question}]}
                limit_s = chance.choice([0.003, 0.008, 0.02, 60])
                with contextlib.suppress(httpx.TimeoutException):
                    answer = http.post("/v1/chat/completions", json=body, timeout=limit_s)
                    assert answer.status_code == 200
                    pieces = [json.loads(e) for e in events(answer)[:-1]] if stream else [answer.json()]
                    said = [piece["choices"][0].get("delta" if stream else "message") for piece in pieces]
                    heard.append((question, "".join(part.get("content") or "" for part in said)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert len(heard) > 40
    assert all(question == text for question, text in heard)
    eventually(lambda: yard.metric("in_flight") == 0)
    entries = yard.interactions()
    assert {entry.status for entry in entries} <= {200, 499}
    for entry in entries:
        if entry.status == 200:
            assert entry.answer == json.loads(entry.request)["messages"][0]["content"]
