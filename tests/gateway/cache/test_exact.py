"""What is kept, how long, how much of it, and for whom."""

import pytest

from modelyard.gateway.cache import Caches, Kept
from modelyard.gateway.cache import exact as exact_module
from modelyard.gateway.recording.exposition import State, render
from modelyard.ports.serving import Cache
from tests.gateway.cache.answers import CHAT, ID, a_cache, head, kept, planned, service, sse, streamed, variant, whole

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
CALL = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def test_a_hit_is_only_for_the_same_tenant_release_and_request() -> None:
    cache = a_cache()
    cache.store(planned(cache), whole())
    assert cache.lookup(planned(cache))
    assert cache.lookup(planned(cache, tenant="other")) is None
    assert cache.lookup(planned(cache, of=variant("sha256:b"))) is None
    assert cache.lookup(planned(cache, CHAT | {"max_tokens": 1})) is None
    assert cache.lookup(planned(cache, CHAT | {"stream": True})) is not None
    assert (cache.stats.exact_hits, cache.stats.saved_nanousd, cache.stats.saved_s) == (2, 2600, 1.0)


def test_no_cache_looks_nothing_up_and_renews_what_is_kept() -> None:
    cache = a_cache()
    cache.store(planned(cache), whole("old"))
    fresh = planned(cache, control=b"no-cache")
    assert cache.lookup(fresh) is None
    cache.store(fresh, whole("new"))
    hit = cache.lookup(planned(cache))
    assert hit is not None
    assert hit.text == "new"


@pytest.mark.parametrize(
    "answer",
    [
        whole(reason="content_filter"),
        whole(reason="tool_calls"),
        whole(reason=""),
        kept(b"", streamed=False),
        kept(b'{"error": {"message": "no"}}', streamed=False),
        Kept(id="", body=whole().body, streamed=False, finish_reason="stop"),
    ],
)
def test_what_may_not_be_given_again_is_not_kept(answer: Kept) -> None:
    cache = a_cache()
    assert not cache.store(planned(cache), answer)
    assert len(cache.exact) == 0


@pytest.mark.parametrize(
    "answer",
    [
        kept(b"not JSON " + ID.encode(), streamed=False),
        kept(streamed("a").body.replace(b"data: [DONE]\n\n", b""), streamed=True),
        kept(sse([{**head("chat.completion.chunk"), "error": {"message": "no"}}]), streamed=True),
        whole(tool_calls=[CALL]),
        kept(whole(reason="content_filter").body, streamed=False),
        kept(whole().body.replace(b'"choices":[', b'"choices":[{"index":1},'), streamed=False),
    ],
    ids=["no JSON", "cut", "error", "tool call", "filtered", "two choices"],
)
def test_what_turns_out_to_be_no_whole_answer_is_never_given(answer: Kept) -> None:
    cache = a_cache()
    plan = planned(cache)
    cache.store(plan, answer)
    assert cache.lookup(plan) is None
    assert (len(cache.exact), cache.exact.bytes) == (0, 0)


def test_a_call_of_a_tool_is_not_kept_and_a_text_beside_tools_is() -> None:
    cache = a_cache()
    plan = planned(cache, CHAT | {"tools": TOOLS})
    assert not cache.store(plan, whole(tool_calls=[CALL]))
    assert cache.store(plan, whole("a text"))


def test_an_answer_that_ran_into_its_limit_is_given_for_the_same_limit_alone() -> None:
    cache = a_cache()
    cache.store(planned(cache, CHAT | {"max_tokens": 3}), whole("one two three", reason="length"))
    assert cache.lookup(planned(cache, CHAT | {"max_tokens": 3}))
    assert cache.lookup(planned(cache, CHAT | {"max_tokens": 4})) is None


def test_an_answer_ends_with_its_time_and_a_rollback_does_not_renew_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = a_cache(Cache(ttl_s=10))
    now_s = exact_module.monotonic()
    cache.store(planned(cache), whole())
    for later_s, found in ((9.0, True), (10.5, False), (1.0, False)):
        monkeypatch.setattr(exact_module, "monotonic", lambda seconds=later_s: now_s + seconds)
        assert (cache.lookup(planned(cache)) is not None) is found
    assert cache.exact.bytes == 0


def test_the_least_recently_used_go_first_and_the_bytes_hold() -> None:
    cache = a_cache(Cache(max_bytes=20_000))
    plans = [planned(cache, CHAT | {"seed": n}) for n in range(40)]
    for plan in plans:
        cache.store(plan, whole("x" * 300))
        assert cache.lookup(plans[0])
        assert cache.exact.bytes <= 20_000
    assert cache.lookup(plans[-1])
    assert cache.lookup(plans[1]) is None
    assert cache.exact.evictions == 40 - len(cache.exact)
    assert not (cache.store(planned(cache), whole("x" * 9000)) and cache.lookup(planned(cache)))
    assert cache.lookup(plans[0])


def test_a_new_table_keeps_what_may_stay() -> None:
    caches = Caches()
    caches.configure([service(), service("other")])
    cache = caches.of("support")
    assert cache is not None
    cache.store(planned(cache), whole())
    caches.configure([service(weight_bp=5)])
    assert caches.of("support") is cache
    assert caches.of("other") is None
    assert cache.lookup(planned(cache))
    caches.configure([service(cache=Cache(max_bytes=10))])
    assert cache.lookup(planned(cache)) is None
    caches.configure([])
    assert list(caches.families()) == []


def test_the_metrics_say_what_happened() -> None:
    caches = Caches()
    caches.configure([service('a "b"'), service()])
    cache = caches.of("support")
    assert cache is not None
    cache.store(planned(cache), whole())
    cache.lookup(planned(cache))
    cache.missed()
    lines = render(State(list(caches.families()), [])).decode().splitlines()
    for line in (
        'modelyard_gateway_cache_hits_total{service="support",kind="exact"} 1',
        'modelyard_gateway_cache_hits_total{service="a \\"b\\"",kind="semantic"} 0',
        'modelyard_gateway_cache_misses_total{service="support"} 1',
        'modelyard_gateway_cache_saved_nanousd_total{service="support"} 1300',
        'modelyard_gateway_cache_saved_seconds_total{service="support"} 0.500',
        f'modelyard_gateway_cache_bytes{{service="support"}} {cache.exact.bytes}',
    ):
        assert line in lines
