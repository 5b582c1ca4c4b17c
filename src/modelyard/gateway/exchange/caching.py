"""Caching: a request on its way through its service's cache: looked up, waited for, kept."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import cast

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.ids import new_id
from modelyard.core.money import tokens_cost
from modelyard.gateway.cache.answers import Hit, Kept
from modelyard.gateway.cache.caches import ServiceCache
from modelyard.gateway.cache.plan import Endpoint, Plan, Question
from modelyard.gateway.errors import UpstreamFailed, malformed
from modelyard.gateway.exchange.attempt import Attempt, Write
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.exchange.target import Address, Target
from modelyard.gateway.flow import in_task, launch
from modelyard.gateway.routing.choice import Choice
from modelyard.gateway.table import Routes
from modelyard.gateway.upstream import Pool
from modelyard.ports.interaction import Interaction

_ENDPOINTS = ("chat", "completions", "embeddings")


class Caching:
    """One request and its service's cache."""

    __slots__ = ("_cache", "_call", "_flies", "_kept", "_pieces", "_plan", "_question", "_release")

    def __init__(self, call: Call, cache: ServiceCache, plan: Plan, release: str) -> None:
        self._call = call
        self._cache = cache
        self._plan = plan
        self._release = release
        self._question: Question | None = cache.question(plan)
        self._pieces: list[bytes] = []
        self._flies = False
        self._kept = False

    @classmethod
    def of(cls, call: Call, choice: Choice) -> "Caching | None":
        """None where the service has no cache, or nothing may be kept of this request."""
        cache = call.route.cache
        if cache is None or call.said.kind not in _ENDPOINTS:
            return None
        plan = cache.plan(
            call.said.fields,
            tenant=call.tenant,
            variant=choice.variant,
            endpoint=cast(Endpoint, call.said.kind),
            stream=call.stream,
            cache_control=call.headers.get(b"cache-control"),
        )
        return cls(call, cache, plan, choice.variant.release) if plan is not None else None

    async def look(self) -> Hit | None:
        """The answer that is kept, after waiting for an equal request that is on its way."""
        while True:
            hit = self._cache.lookup(self._plan)
            if hit is None and self._question is not None:
                hit = await in_task(self._cache.lookup_like(self._question))
            if hit is not None:
                return hit
            if self._call.stream or not self._plan.look:
                break
            flight = self._cache.join(self._plan)
            if flight is None:
                self._flies = True
                break
            if not await in_task(flight.wait(self._call.deadline_s - monotonic())):
                break
        self._cache.missed()
        return None

    def tee(self, write: Write) -> Write:
        """Keep a stream's pieces while they are written."""

        def both(data: bytes) -> None:
            self._pieces.append(data)
            write(data)

        return both

    def keep(self, attempt: Attempt) -> None:
        """Keep a good answer, if it comes from the release that was asked: a fallback's is not kept as another's."""
        if attempt.status != 200 or attempt.reader.fault or attempt.target.variant.release != self._release:
            return
        prompt, completion = attempt.usage()
        price = attempt.target.variant.price
        kept = Kept(
            id=attempt.id,
            body=b"".join((*self._pieces, attempt.tail)) if attempt.streaming else attempt.body,
            streamed=attempt.streaming,
            finish_reason=attempt.reader.finish_reason,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_nanousd=tokens_cost(prompt, price.input_nanousd) + tokens_cost(completion, price.output_nanousd),
            seconds=monotonic() - attempt.started_s,
        )
        self._kept = self._cache.store(self._plan, kept, self._question)

    def land(self, *, left: bool = False) -> None:
        """Let those go on who wait for this request: one by one where its caller `left` before there was an answer."""
        if self._flies:
            self._flies = False
            self._cache.land(self._plan, again=self._kept or left)


def answer_from(hit: Hit, call: Call, choice: Choice) -> tuple[Interaction, bytes]:
    """The record of an answer from the cache, and the answer. Raises: Unusable."""
    id, kept, variant = call.request_id if call.owns_id else new_id(), hit.kept, choice.variant
    body = hit.stream(id, usage=call.said.wants_usage) if call.stream else hit.body(id)
    text = hit.text
    bodies = call.route.bodies.of(id, call.said.body, text, ok=True)
    entry = Interaction(
        id=id,
        at_ms=now_ms(),
        service=call.route.service.name,
        tenant=call.tenant,
        key_id=call.key,
        unit=call.unit_digest,
        release=variant.release,
        role=choice.role,
        propensity=choice.propensity,
        table_version=call.table_version,
        rollout_id=call.route.service.rollout_id if choice.in_rollout else "",
        stream=call.stream,
        finish_reason=kept.finish_reason,
        prompt_tokens=kept.prompt_tokens,
        completion_tokens=kept.completion_tokens,
        latency_ms=round((monotonic() - call.started_s) * 1000, 3),
        overhead_us=round((monotonic() - call.started_s) * 1e6),
        request_hash=bodies.request_hash,
        answer_hash=bodies.answer_hash,
        request=bodies.request,
        answer=bodies.answer,
        request_id=call.request_id,
        endpoint=call.endpoint,
        reason=choice.reason,
        user=call.user,
        session=call.session,
        trace_id=call.trace_id,
        cache=hit.kind,
        saved_nanousd=kept.cost_nanousd,
    )
    return entry, body


def embedder(
    pool: Pool, routes: Callable[[], Routes | None]
) -> Callable[[str], Callable[[str], Awaitable[list[float]]]]:
    """The way to a service's embeddings, by its name."""

    def by(service: str) -> Callable[[str], Awaitable[list[float]]]:
        async def embed(text: str) -> list[float]:
            return await launch(_embed(pool, routes(), service, text))

        return embed

    return by


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Embedded(msgspec.Struct):
    data: list[_Vector]


_embedded_of = msgspec.json.Decoder(_Embedded)


async def _embed(pool: Pool, routes: Routes | None, service: str, text: str) -> list[float]:
    route = routes.services.get(service) if routes else None
    if route is None:
        raise UpstreamFailed(503, "no_embedder", f"There is no service '{service}' to embed with.")
    candidate = route.chooser.candidates["champion"]
    target, address = candidate.target, candidate.replicas.all[0].target
    if not isinstance(target, Target) or not isinstance(address, Address):
        raise UpstreamFailed(503, "no_embedder", f"The service '{service}' is not set up.")
    body = msgspec.json.encode({"model": target.variant.model, "input": text})
    connection = await pool.send(address.line, address.heads["embeddings"], body, route.service.timeouts)
    try:
        pieces = []
        while piece := await connection.next_piece():
            pieces.append(piece)
    finally:
        connection.release()
    try:
        return _embedded_of.decode(b"".join(pieces)).data[0].embedding
    except (msgspec.DecodeError, IndexError):
        raise malformed() from None
