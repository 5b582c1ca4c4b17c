"""The caches of all services that have one, kept over changes of the route table, and what they saved."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic

import msgspec

from modelyard.core.digests import canonical_json
from modelyard.core.errors import MissingExtra
from modelyard.gateway.cache.answers import KEPT_REASONS, Entry, Hit, Kept
from modelyard.gateway.cache.exact import Exact
from modelyard.gateway.cache.flights import Flight, Flights
from modelyard.gateway.cache.plan import Endpoint, Plan, Question, make_plan, question_of
from modelyard.gateway.cache.semantic import Embed, Semantic, check_numpy
from modelyard.gateway.recording.exposition import Family, Kind
from modelyard.ports.routes import Service, Variant
from modelyard.ports.serving import Cache

log = logging.getLogger(__name__)


class Stats:
    """What a service's cache did. All of it only grows."""

    __slots__ = ("exact_hits", "misses", "saved_nanousd", "saved_s", "semantic_hits", "stored")

    def __init__(self) -> None:
        self.exact_hits = self.semantic_hits = self.misses = self.stored = self.saved_nanousd = 0
        self.saved_s = 0.0


class ServiceCache:
    """The cache of one service. Every call but those that wait is plain and quick."""

    __slots__ = ("_flights", "_frame", "exact", "name", "semantic", "stats")

    def __init__(self, name: str) -> None:
        self.name = name
        self.stats = Stats()
        self.exact = Exact(0, 0.0)
        self.semantic: Semantic | None = None
        self._flights = Flights()
        self._frame = b""

    def configure(self, service: Service, config: Cache, embed: Embed | None) -> None:
        """Take on what a route table says. What was kept stays where it may."""
        self.exact.max_bytes, self.exact.ttl_s = config.max_bytes, config.ttl_s
        self.exact.shrink()
        # A filter or a cap that changed makes other answers of the same request.
        self._frame = canonical_json([service.name, service.max_output_tokens, service.filters])
        if config.semantic is None or embed is None:
            self.semantic = None
        elif self.semantic is None or self.semantic.config.service != config.semantic.service:
            self.semantic = Semantic(config.semantic, config.max_bytes, embed)
        else:
            # Another table may reach the same service by another way.
            self.semantic.config, self.semantic.embed = config.semantic, embed
            self.semantic.max_bytes = config.max_bytes

    def plan(
        self,
        fields: Mapping[str, msgspec.Raw],
        *,
        tenant: str,
        variant: Variant,
        endpoint: Endpoint,
        stream: bool,
        cache_control: bytes | None = None,
    ) -> Plan | None:
        """Whether and how a request goes through the cache; None where it does not. Ask once for each request."""
        return make_plan(
            fields,
            tenant=tenant,
            frame=self._frame,
            release=variant.release,
            endpoint=endpoint,
            sampling=variant.sampling,
            stream=stream,
            cache_control=cache_control,
        )

    def lookup(self, plan: Plan) -> Hit | None:
        """The answer to an equal request. A miss is counted by `missed`, as more may be tried."""
        if not plan.look:
            return None
        hit = self.exact.get(plan.key)
        if hit is not None:
            self.stats.exact_hits += 1
            self._count_saved(hit)
        return hit

    async def lookup_like(self, question: Question) -> Hit | None:
        """The answer to a like question. Needs a task around it; waits no longer than it may; raises nothing."""
        hit = await self.semantic.get(question) if self.semantic else None
        if hit is not None:
            self.stats.semantic_hits += 1
            self._count_saved(hit)
        return hit

    def question(self, plan: Plan) -> Question | None:
        """What `lookup_like` and `store` take; None where the service compares nothing by meaning, or cannot here."""
        return question_of(plan) if self.semantic is not None and plan.look else None

    def missed(self) -> None:
        """Count a request that goes to an engine after all."""
        self.stats.misses += 1

    def join(self, plan: Plan) -> Flight | None:
        """The equal request to wait for; None: go, and `land` whatever happens. Streams wait for nobody."""
        if not plan.look or not plan.whole:
            return None
        flight = self._flights.join(plan.key)
        plan.leads = flight is None
        return flight

    def land(self, plan: Plan, *, again: bool) -> None:
        """The end of what `join` let go: `again` where the answer was kept, or its caller left before it came.

        Nothing where nobody may wait for this request, or where it landed before.
        """
        if plan.leads:
            plan.leads = False
            self._flights.land(plan.key, again=again)

    def store(self, plan: Plan, kept: Kept, question: Question | None = None) -> bool:
        """Keep an answer that was given with status 200; return whether it is kept."""
        if not _may_be_kept(plan, kept):
            return False
        entry = Entry(plan.endpoint, kept, monotonic())
        self.exact.put(plan.key, entry)
        if question is not None and self.semantic is not None:
            self.semantic.put(question, entry)
        self.stats.stored += 1
        return True

    def _count_saved(self, hit: Hit) -> None:
        self.stats.saved_nanousd += hit.kept.cost_nanousd
        self.stats.saved_s += hit.kept.seconds


def _may_be_kept(plan: Plan, kept: Kept) -> bool:
    if not kept.body:
        return False
    if plan.endpoint == "embeddings":
        return not kept.streamed
    if kept.finish_reason not in KEPT_REASONS or not kept.id or kept.id.encode() not in kept.body:
        return False
    return not (plan.has_tools and (b'"tool_calls"' in kept.body or b'"function_call"' in kept.body))


class Caches:
    """The caches by service. `embed_by(service)` gives the way to a service's embeddings; without, nothing is like."""

    def __init__(self, embed_by: Callable[[str], Embed] | None = None) -> None:
        self._embed_by = embed_by
        self._caches: dict[str, ServiceCache] = {}
        self._told = False

    def configure(self, services: Iterable[Service]) -> None:
        """Take on a route table: caches that it does not name are gone, all others keep what they hold."""
        before, self._caches = self._caches, {}
        for service in services:
            if service.cache is not None:
                cache = before.get(service.name) or ServiceCache(service.name)
                cache.configure(service, service.cache, self._embed(service.cache))
                self._caches[service.name] = cache

    def of(self, service: str) -> ServiceCache | None:
        """The cache of a service, None where it has none. Ask once for each route table."""
        return self._caches.get(service)

    def families(self) -> Iterator[Family]:
        """What they did, as families of metrics; none where nothing is cached."""
        if self._caches:
            for name, kind, help_text, read in _METRICS:
                labels = ("service", "kind") if read is _hits else ("service",)
                found = [(cache.name, read(cache)) for cache in self._caches.values()]
                values = [((service, *more), value) for service, each in found for more, value in each]
                yield Family(f"cache_{name}", kind, help_text, labels, values)

    def _embed(self, config: Cache) -> Embed | None:
        if config.semantic is None or self._embed_by is None:
            return None
        try:
            check_numpy()
        except MissingExtra as error:
            if not self._told:
                log.error("no semantic cache: %s", str(error).replace("\n", " "))
            self._told = True
            return None
        return self._embed_by(config.semantic.service)


_Values = list[tuple[tuple[str, ...], float]]


def _hits(cache: ServiceCache) -> _Values:
    return [(("exact",), cache.stats.exact_hits), (("semantic",), cache.stats.semantic_hits)]


def _bytes(cache: ServiceCache) -> _Values:
    return [((), cache.exact.bytes + (cache.semantic.bytes if cache.semantic else 0))]


def _evictions(cache: ServiceCache) -> _Values:
    return [((), cache.exact.evictions + (cache.semantic.evictions if cache.semantic else 0))]


_METRICS: tuple[tuple[str, Kind, str, Callable[[ServiceCache], _Values]], ...] = (
    ("hits_total", "counter", "Requests answered from the cache.", _hits),
    (
        "misses_total",
        "counter",
        "Requests that might have been, and went to an engine.",
        lambda c: [((), c.stats.misses)],
    ),
    ("stored_total", "counter", "Answers kept.", lambda c: [((), c.stats.stored)]),
    ("entries", "gauge", "Answers to equal requests that are kept now.", lambda c: [((), len(c.exact))]),
    ("bytes", "gauge", "What the answers take, in bytes.", _bytes),
    ("evictions_total", "counter", "Answers, or spaces of like questions, that had to go.", _evictions),
    (
        "saved_nanousd_total",
        "counter",
        "What hits would have cost, in nano-dollars.",
        lambda c: [((), c.stats.saved_nanousd)],
    ),
    (
        "saved_seconds_total",
        "counter",
        "How long hits took when they were first asked.",
        lambda c: [((), round(c.stats.saved_s, 3))],
    ),
    (
        "embedding_failures_total",
        "counter",
        "Embeddings that failed or came too late.",
        lambda c: [((), c.semantic.failures if c.semantic else 0)],
    ),
)
