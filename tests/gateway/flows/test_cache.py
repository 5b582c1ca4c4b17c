"""Answers from the cache, through a live gateway."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import openai
import pytest

from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.routes import Service
from modelyard.ports.serving import Cache, Filter, SemanticCache
from tests.gateway.flows.conftest import service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import AUTH, CHAT, KEY, Yard, eventually, key_of, variant

ASK: dict[str, Any] = {**CHAT, "temperature": 0}
OTHER = "sk-yard-other"


def cached(url: str, **changes: Any) -> Service:
    return service(url, **{"cache": Cache(), **changes})


def ask(yard: Yard, body: dict[str, Any] = ASK, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{yard.url}/v1/chat/completions",
        json=body,
        headers={**AUTH, **{name.replace("_", "-"): value for name, value in headers.items()}},
    )


def test_a_hit_whole_and_streamed(yard: Yard, engine: Rich, engine_url: str) -> None:
    yard.publish(cached(engine_url, body_policy="full"))
    first, second = ask(yard), ask(yard)
    assert "x-modelyard-cache" not in first.headers
    assert second.headers["x-modelyard-cache"] == "exact"
    assert second.headers["x-modelyard-release"] == "champ@123"
    ids = first.json().pop("id"), second.json().pop("id")
    assert {**first.json(), "id": ""} == {**second.json(), "id": ""}
    client = openai.OpenAI(base_url=f"{yard.url}/v1", api_key=KEY, max_retries=0)
    chunks = list(client.chat.completions.create(**ASK, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "I am champ"
    assert len(engine.requests) == 1
    asked, hit, streamed = yard.interactions(3)
    assert (asked.id, hit.id, streamed.id) == (*ids, chunks[0].id)
    assert len({asked.id, hit.id, streamed.id}) == 3
    for one in (hit, streamed):
        assert (one.cache, one.cost_nanousd, one.saved_nanousd) == ("exact", 0, asked.cost_nanousd)
        assert (one.answer, one.answer_hash, one.release) == ("I am champ", asked.answer_hash, asked.release)
    assert yard.metric("cache_hits_total") == 2
    assert yard.metric("cache_misses_total") == 1
    assert yard.metric("cache_saved_nanousd_total") == 2 * asked.cost_nanousd


def test_a_stream_is_kept_too(yard: Yard, engine: Rich, engine_url: str) -> None:
    yard.publish(cached(engine_url))
    ask(yard, {**ASK, "stream": True})
    hit = ask(yard)
    assert (hit.headers["x-modelyard-cache"], len(engine.requests)) == ("exact", 1)
    assert hit.json()["choices"][0]["message"]["content"] == "I am champ"
    assert hit.json()["usage"]["completion_tokens"] == 3


def test_never_across_tenants_or_releases(yard: Yard, engine: Rich, engine_url: str) -> None:
    other = msgspec.structs.replace(key_of(OTHER, id="key-2"), tenant="other")
    yard.publish(cached(engine_url), keys=(key_of(), other))
    ask(yard)
    stranger = ask(yard, authorization=f"Bearer {OTHER}")
    assert "x-modelyard-cache" not in stranger.headers
    yard.publish(cached(engine_url, champion=variant("next", engine_url)), keys=(key_of(), other))
    after = ask(yard)
    assert "x-modelyard-cache" not in after.headers
    assert after.json()["choices"][0]["message"]["content"] == "I am next"
    yard.publish(cached(engine_url), keys=(key_of(), other))
    assert ask(yard).headers["x-modelyard-cache"] == "exact"
    assert len(engine.requests) == 3


def test_the_callers_word_on_it(yard: Yard, engine: Rich, engine_url: str) -> None:
    yard.publish(cached(engine_url))
    ask(yard, cache_control="no-store")
    ask(yard)
    ask(yard, cache_control="no-cache")
    assert len(engine.requests) == 3
    assert ask(yard).headers["x-modelyard-cache"] == "exact"
    assert "x-modelyard-cache" not in ask(yard, {**ASK, "temperature": 1}).headers


def test_equal_requests_wait_for_the_first(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.delay_s = 0.3
    yard.publish(cached(engine_url))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(yard), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len(engine.requests) == 1
    assert sum(entry.cache == "exact" for entry in yard.interactions(8)) == 7


def test_the_next_goes_where_the_first_leaves(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.delay_s = 0.5
    yard.publish(cached(engine_url))
    with ThreadPoolExecutor(4) as pool:
        leaver = pool.submit(yard.post, json=ASK, timeout=0.3)
        eventually(lambda: engine.requests)
        others = [pool.submit(ask, yard) for _ in range(3)]
        with pytest.raises(httpx.ReadTimeout):
            leaver.result()
        assert [other.result().status_code for other in others] == [200] * 3
    assert len(engine.requests) == 2


def test_what_fails_is_not_kept(yard: Yard, engine: Rich, engine_url: str) -> None:
    spare = msgspec.structs.replace(variant("spare", engine_url), name="spare")
    words = Filter(kind="deny", on="answer", options={"words": "sesame"})
    yard.publish(cached(engine_url, variants=(spare,), fallbacks=("spare",), filters=(words,)))
    engine.fault = {"champ": "500"}
    assert ask(yard).json()["choices"][0]["message"]["content"] == "I am spare"
    engine.fault = {}
    assert ask(yard).json()["choices"][0]["message"]["content"] == "I am champ"
    engine.pieces, say = ("sesame ", "opens"), {**ASK, "seed": 1, "stream": True}
    assert "content_filter" in ask(yard, say).text
    engine.pieces = ()
    assert "error" not in ask(yard, say).text
    assert yard.metric("cache_hits_total") == 0


def test_hits_count_against_requests_alone(yard: Yard, engine_url: str) -> None:
    limits = Limits(requests_per_minute=10, burst=10, tokens_per_minute=150, concurrency=1)
    yard.publish(cached(engine_url), tenants=(Tenant(name="acme", limits=limits),))
    first = ask(yard)
    answers = [ask(yard) for _ in range(10)]
    assert [answer.status_code for answer in (first, *answers)] == [200] * 10 + [429]
    assert "requests" in answers[-1].json()["error"]["message"]
    # Had each hit taken its tokens, the sixth would have found none.
    assert answers[-1].headers["x-ratelimit-remaining-tokens"] == str(150 - 14)


def test_like_questions(yard: Yard, engine: Rich, engine_url: str) -> None:
    semantic = Cache(semantic=SemanticCache(service="vectors", threshold=0.97, timeout_s=5))
    vectors = service(engine_url, name="vectors", champion=variant("vec", engine_url))
    yard.publish(cached(engine_url, cache=semantic), vectors)
    question = {**ASK, "messages": [{"role": "user", "content": "How do I close my account today?"}]}
    ask(yard, question)
    like = {**ASK, "messages": [{"role": "user", "content": "How do I close my account today"}]}
    assert ask(yard, like).headers["x-modelyard-cache"] == "semantic"
    far = {**ASK, "messages": [{"role": "user", "content": "Zebras jump quickly!"}]}
    assert "x-modelyard-cache" not in ask(yard, far).headers
    assert [entry.cache for entry in yard.interactions(3)] == ["", "semantic", ""]
    assert 'cache_hits_total{service="support",kind="semantic"} 1' in yard.metrics()
    assert engine.paths.count("/v1/embeddings") == 3
