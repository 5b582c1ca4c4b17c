"""What the answer cache costs: microseconds for each step of a request of 1.2 KB, an answer of 0.6 KB, a stream of 66.

Run: `python benchmarks/gateway/cache.py [--json]`.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.core.ids import new_id
from modelyard.gateway.cache import Caches, Kept
from modelyard.gateway.cache.plan import question_of
from modelyard.ports.routes import Service, Variant
from modelyard.ports.serving import Cache, SemanticCache

ROUNDS = 5
NUM_CHUNKS = 66
NUM_VECTORS, NUMBERS = 1000, 384


def microseconds(step: Callable[[], Any], times: int = 2000) -> float:
    """The best of some rounds, a call."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            step()
        best = min(best, time.perf_counter() - began)
    return round(best / times * 1e6, 2)


def request(text: str = "x" * 1100) -> dict[str, msgspec.Raw]:
    body = {"model": "support", "messages": [{"role": "user", "content": text}], "max_tokens": 64, "temperature": 0}
    return msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])


def whole(id: str) -> Kept:
    choice = {"index": 0, "message": {"role": "assistant", "content": "y" * 400}, "finish_reason": "stop"}
    head = {"id": id, "object": "chat.completion", "created": 1, "model": "support"}
    return kept(id, msgspec.json.encode({**head, "choices": [choice], "usage": {"total_tokens": 9}}), streamed=False)


def streamed(id: str) -> Kept:
    head = {"id": id, "object": "chat.completion.chunk", "created": 1, "model": "support"}
    choices: list[Any] = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}] * (NUM_CHUNKS - 1)
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    events = [b"data: %b\n\n" % msgspec.json.encode({**head, "choices": [choice]}) for choice in choices]
    return kept(id, b"".join(events) + b"data: [DONE]\n\n", streamed=True)


def kept(id: str, body: bytes, *, streamed: bool) -> Kept:
    return Kept(id=id, body=body, streamed=streamed, finish_reason="stop", cost_nanousd=5, seconds=0.1)


def measure() -> dict[str, float]:
    """Each step, in microseconds."""
    import random

    seeded = random.Random(1)

    async def embed(text: str) -> list[float]:
        return [seeded.gauss(0, 1) for _ in range(NUMBERS)]

    variant = Variant(release="sha256:a", ref="a@1", engine_url="http://x", model="m")
    caches = Caches(lambda service: embed)
    semantic = SemanticCache(service="embeddings", max_entries=NUM_VECTORS)
    caches.configure([Service(name="support", champion=variant, cache=Cache(semantic=semantic))])
    cache = caches.of("support")
    if cache is None or cache.semantic is None:
        raise SystemExit("the extra 'semantic-cache' is not installed")

    def plan(fields: dict[str, msgspec.Raw]) -> Any:
        return cache.plan(fields, tenant="acme", variant=variant, endpoint="chat", stream=False)

    asked, random_fields = request(), request() | {"temperature": msgspec.Raw(b"0.7")}
    first, id = plan(asked), new_id()
    found = {"not deterministic: plan": microseconds(lambda: plan(random_fields))}
    found["plan (fields to key)"] = microseconds(lambda: plan(asked))
    found["lookup, a miss"] = microseconds(lambda: cache.lookup(first))
    answer, stream = whole(id), streamed(id)
    found["store a whole answer"] = microseconds(lambda: cache.store(first, answer))
    hit = cache.lookup(first)
    found["lookup, a hit"] = microseconds(lambda: cache.lookup(first))
    found["whole answer again"] = microseconds(lambda: hit.body(id))  # type: ignore[union-attr]
    found["store a stream of 66"] = microseconds(lambda: cache.store(first, stream))
    hit = cache.lookup(first)

    def taken_apart() -> None:
        cache.store(first, stream)
        cache.lookup(first).stream(id, usage=True)  # type: ignore[union-attr]

    found["stream of 66, first time again"] = microseconds(taken_apart, 200)
    found["stream of 66 again"] = microseconds(lambda: hit.stream(id, usage=True))  # type: ignore[union-attr]

    async def fill() -> Any:
        for _ in range(NUM_VECTORS):
            question = question_of(first)
            await cache.semantic.get(question)  # type: ignore[union-attr,arg-type]
            cache.store(first, answer, question)
        return question

    question = asyncio.run(fill())
    (space,) = cache.semantic._spaces.values()
    name = f"nearest of {NUM_VECTORS} x {NUMBERS}"
    found[name] = microseconds(lambda: space.nearest(question.guard, question.vector, 3600.0), 200)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(msgspec.json.encode(found).decode())
        return
    for name, value in found.items():
        print(f"{name:32} {value:9.2f} us")


if __name__ == "__main__":
    main()
