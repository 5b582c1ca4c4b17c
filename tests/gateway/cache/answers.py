"""Requests and answers as engines give them."""

from typing import Any

import msgspec

from modelyard.gateway.cache import Caches, Kept, Plan, ServiceCache
from modelyard.gateway.cache.plan import Endpoint
from modelyard.ports.release import Sampling
from modelyard.ports.routes import Service, Variant
from modelyard.ports.serving import Cache

ID = "01999999-0000-7000-8000-000000000001"
NEW = "01999999-0000-7000-8000-000000000002"
CHAT: dict[str, Any] = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}
CREATED = 1_760_000_000


def variant(release: str = "sha256:a", *, temperature: float = 0.0) -> Variant:
    return Variant(
        release=release, ref="r@1", engine_url="http://x", model="m", sampling=Sampling(temperature=temperature)
    )


def service(name: str = "support", cache: Cache | None = None, **fields: Any) -> Service:
    return Service(name=name, champion=variant(), cache=Cache() if cache is None else cache, **fields)


def a_cache(cache: Cache | None = None, **fields: Any) -> ServiceCache:
    caches = Caches()
    caches.configure([service(cache=cache, **fields)])
    found = caches.of("support")
    assert found is not None
    return found


def fields_of(request: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(msgspec.json.encode(request), type=dict[str, msgspec.Raw])


def plan(
    cache: ServiceCache,
    request: dict[str, Any] | None = None,
    *,
    tenant: str = "acme",
    of: Variant | None = None,
    endpoint: Endpoint = "chat",
    control: bytes | None = None,
) -> Plan | None:
    request = CHAT if request is None else request
    return cache.plan(
        fields_of(request),
        tenant=tenant,
        variant=of or variant(),
        endpoint=endpoint,
        stream=bool(request.get("stream")),
        cache_control=control,
    )


def planned(cache: ServiceCache, request: dict[str, Any] | None = None, **options: Any) -> Plan:
    found = plan(cache, request, **options)
    assert found is not None
    return found


def head(kind: str, id: str = ID) -> dict[str, Any]:
    return {"id": id, "object": kind, "created": CREATED, "model": "support", "system_fingerprint": "fp"}


def usage(prompt: int = 7, completion: int = 3) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def whole(text: str = "hello you", *, reason: str = "stop", **message: Any) -> Kept:
    said = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
    body = msgspec.json.encode({**head("chat.completion"), "choices": [choice], "usage": usage()})
    return kept(body, streamed=False, reason=reason)


def streamed(*pieces: str, reason: str = "stop", with_usage: bool = False) -> Kept:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason})
    chunks = [{**head("chat.completion.chunk"), "choices": [choice]} for choice in choices]
    if with_usage:
        chunks.append({**head("chat.completion.chunk"), "choices": [], "usage": usage()})
    return kept(sse(chunks), streamed=True, reason=reason)


def sse(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def kept(body: bytes, *, streamed: bool, reason: str = "stop") -> Kept:
    return Kept(
        id=ID, body=body, streamed=streamed, finish_reason=reason, prompt_tokens=7, completion_tokens=3,
        cost_nanousd=1300, seconds=0.5,
    )  # fmt: skip
