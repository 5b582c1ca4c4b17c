"""Like questions: near enough and all else equal, or a miss; and whatever the embedder does, never an error."""

import asyncio
import csv
import logging
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.gateway.cache import Caches, Embed, Hit, ServiceCache
from modelyard.gateway.cache import semantic as semantic_module
from modelyard.ports.serving import Cache, SemanticCache
from tests.gateway.cache.answers import CHAT, planned, service, variant, whole
from tests.gateway.cache.embedder import Embedder, Server, embedding

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking77" / "train.csv"
QUESTIONS = ["How do I reset my PIN?", "How do I reset my PIN", "Where is my card?", "Close my account please"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with embedding(Embedder(QUESTIONS)) as running:
        yield running


def like_cache(embed: Embed, **config: Any) -> ServiceCache:
    caches = Caches(lambda name: embed)
    caches.configure([service(cache=Cache(semantic=SemanticCache(service="grams", **{"threshold": 0.75} | config)))])
    cache = caches.of("support")
    assert cache is not None
    return cache


def chat(text: Any, **more: Any) -> dict[str, Any]:
    return {**CHAT, "messages": [{"role": "user", "content": text}], **more}


async def ask(cache: ServiceCache, request: dict[str, Any], answer: str = "", **options: Any) -> Hit | None:
    """A request as the gateway's flow makes it; where it misses, its answer is kept."""
    plan = planned(cache, request, **options)
    if hit := cache.lookup(plan):
        return hit
    question = cache.question(plan)
    if question is not None and (hit := await cache.lookup_like(question)):
        return hit
    if answer:
        cache.store(plan, whole(answer), question)
    return None


def both(cache: ServiceCache, first: dict[str, Any], second: dict[str, Any], **options: Any) -> Hit | None:
    """The second's answer after the first was kept."""

    async def play() -> Hit | None:
        assert await ask(cache, first, "kept") is None
        return await ask(cache, second, **options)

    return asyncio.run(play())


def test_a_like_question_gets_the_answer_of_the_first(server: Server) -> None:
    cache = like_cache(server.embed)
    hit = both(cache, chat(QUESTIONS[0]), chat(QUESTIONS[1]))
    assert hit is not None
    assert (hit.kind, hit.text) == ("semantic", "kept")
    assert 0.75 <= hit.similarity < 1
    assert (cache.stats.semantic_hits, cache.stats.exact_hits, cache.stats.saved_nanousd) == (1, 0, 1300)


def test_an_equal_question_asks_no_embedder(server: Server) -> None:
    cache = like_cache(server.embed)
    before = server.requests
    hit = both(cache, chat(QUESTIONS[0]), chat(QUESTIONS[0]))
    assert hit is not None
    assert hit.kind == "exact"
    assert server.requests == before + 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (chat(QUESTIONS[0]), chat(QUESTIONS[2])),
        (chat(QUESTIONS[0]), chat(QUESTIONS[1], max_tokens=9)),
        (chat("Send 100 to my savings account"), chat("Send 200 to my savings account")),
        (chat(QUESTIONS[0]), chat(QUESTIONS[1], tools=[{"type": "function"}])),
        (chat(QUESTIONS[0]), chat([{"type": "text", "text": QUESTIONS[1]}])),
        (
            chat(QUESTIONS[0]),
            {**CHAT, "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": QUESTIONS[1]}]},
        ),
    ],
    ids=["another meaning", "another limit", "another number", "tools", "parts", "another turn before"],
)
def test_all_else_must_be_equal(server: Server, first: dict[str, Any], second: dict[str, Any]) -> None:
    assert both(like_cache(server.embed), first, second) is None


def test_never_across_tenants_or_releases(server: Server) -> None:
    for other in ({"tenant": "other"}, {"of": variant("sha256:b")}):
        assert both(like_cache(server.embed), chat(QUESTIONS[0]), chat(QUESTIONS[1]), **other) is None


def test_what_is_too_old_is_not_given(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = like_cache(server.embed, ttl_s=10)

    async def play() -> None:
        await ask(cache, chat(QUESTIONS[0]), "kept")
        now_s = semantic_module.monotonic()
        monkeypatch.setattr(semantic_module, "monotonic", lambda: now_s + 11)
        assert await ask(cache, chat(QUESTIONS[1])) is None

    asyncio.run(play())


def test_the_oldest_go_first_and_the_bytes_hold(server: Server) -> None:
    cache = like_cache(server.embed, max_entries=2)
    assert cache.semantic is not None

    async def play() -> None:
        for text in (QUESTIONS[0], QUESTIONS[2], QUESTIONS[3]):
            await ask(cache, chat(text), text)
        assert await ask(cache, chat(QUESTIONS[1])) is None
        assert await ask(cache, chat("Close my account, please"))
        for number in range(40):
            await ask(cache, chat(QUESTIONS[3]), "x" * 300, tenant=f"tenant {number}")

    cache.semantic.max_bytes = 30_000
    asyncio.run(play())
    assert 0 < cache.semantic.bytes <= 30_000
    assert cache.semantic.evictions > 10


async def _fails(text: str) -> list[float]:
    raise ConnectionError("http://secret.example refused")


async def _hangs(text: str) -> list[float]:
    await asyncio.sleep(60)
    return [1.0]


async def _says(value: Any) -> Any:
    return value


def _saying(value: Any) -> Callable[[str], Awaitable[Any]]:
    return lambda text: _says(value)


@pytest.mark.parametrize(
    "embed",
    [_fails, _hangs, _saying([]), _saying([0.0, 0.0]), _saying([float("nan")]), _saying("x"), _saying([[1.0]])],
    ids=["fails", "hangs", "nothing", "no length", "nan", "text", "two dimensions"],
)
def test_an_embedder_that_fails_is_a_miss_and_then_left_alone(embed: Embed, caplog: pytest.LogCaptureFixture) -> None:
    cache = like_cache(embed, timeout_s=0.02)
    caplog.set_level(logging.WARNING)

    async def play() -> None:
        for number in range(6):
            assert await ask(cache, chat(f"question {number}"), "kept") is None
        assert await ask(cache, chat("question 0"))

    asyncio.run(play())
    assert cache.semantic is not None
    assert cache.semantic.failures == 3
    assert "'grams' gives no embeddings" in caplog.text
    assert "secret.example" not in caplog.text


def test_another_model_behind_the_embedder_makes_the_old_vectors_void() -> None:
    vectors = iter([[1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])

    async def embed(text: str) -> list[float]:
        return next(vectors)

    cache = like_cache(embed)

    async def play() -> None:
        assert await ask(cache, chat("a"), "old") is None
        assert await ask(cache, chat("b"), "new") is None
        hit = await ask(cache, chat("c"))
        assert hit is not None
        assert hit.text == "new"

    asyncio.run(play())


def test_a_caller_that_leaves_while_the_embedder_works_is_cancelled() -> None:
    async def play() -> None:
        task = asyncio.create_task(ask(like_cache(_hangs, timeout_s=30), chat("a")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())


def false_hits(threshold: float, rows: list[dict[str, str]]) -> tuple[int, int, int]:
    """Of the second half of the questions, after the first was kept: asked, answered, answered with another intent."""
    embedder = Embedder(row["text"] for row in rows)

    async def embed(text: str) -> list[float]:
        return embedder.vector(text)

    cache = like_cache(embed, threshold=threshold, max_entries=2000)
    half = len(rows) // 2

    async def play() -> tuple[int, int, int]:
        hits = false = 0
        for row in rows[:half]:
            plan = planned(cache, chat(row["text"]))
            question = cache.question(plan)
            assert question is not None
            assert cache.semantic is not None
            await cache.semantic.get(question)
            cache.store(plan, whole(row["category"]), question)
        for row in rows[half:]:
            if hit := await ask(cache, chat(row["text"])):
                hits += 1
                false += hit.text != row["category"]
        return half, hits, false

    return asyncio.run(play())


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_file(), reason=f"{DATA} is not there")
def test_questions_of_customers_with_another_intent_do_not_hit() -> None:
    with DATA.open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: zlib.crc32(row["text"].encode()))[:4000]
    _, hits, false = false_hits(0.9, rows)
    assert hits > 0
    assert false == 0
    _, _, false = false_hits(0.6, rows)
    assert false > 50, "a threshold that is too low goes unnoticed"


def test_one_tenant_alone_never_takes_more_than_there_is(server: Server) -> None:
    cache = like_cache(server.embed)
    assert cache.semantic is not None
    cache.semantic.max_bytes = 30_000

    async def play() -> None:
        for number in range(30):
            await ask(cache, chat(f"{number} {QUESTIONS[number % 4]}"), "x" * 300)
            assert cache.semantic is not None
            assert 0 <= cache.semantic.bytes <= 30_000

    asyncio.run(play())
    assert cache.semantic.evictions > 0


def test_without_numpy_nothing_is_like_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    caches = Caches(lambda name: _fails)
    for _ in range(2):
        caches.configure([service(cache=Cache(semantic=SemanticCache(service="grams")))])
    cache = caches.of("support")
    assert cache is not None
    assert cache.question(planned(cache)) is None
    assert caplog.text.count("pip install 'modelyard[semantic-cache]'") == 1


def test_numpy_is_not_imported_before_a_service_asks_for_it() -> None:
    code = "import sys, modelyard.gateway.cache; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
