"""What a project file says about how one service is served: who else may answer it, when, and what holds meanwhile."""

import re
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from modelyard.core.assignment import FULL
from modelyard.core.digests import digest_json, short
from modelyard.core.money import nanousd
from modelyard.datasets.section import Section
from modelyard.datasets.synthesis.price import Dollars
from modelyard.ports.release import Sampling
from modelyard.ports.routes import EXTERNAL, BodyPolicy, Price, Service, Variant
from modelyard.ports.serving import Breaker, Cache, Filter, Preference, Queue, Retries, Rule, SemanticCache, Timeouts
from modelyard.project.gateway import Count, LimitsConfig, Variable
from modelyard.rollout.plan import Weight

RESERVED = ("champion", "challenger")

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Limit = Annotated[float, Field(gt=0)]
# Names become parts of addresses, and of reasons in the records (`rule NAME`).
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
T = TypeVar("T", bound=msgspec.Struct)


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError("expected an address such as https://api.example.com, without a name or password in it")
    return url


def _text_of(value: Any) -> Any:
    """`true` and `42` as a request's texts have them."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Url = Annotated[str, AfterValidator(_check_url)]
Text = Annotated[str, BeforeValidator(_text_of)]


def _as(section: Section, kind: type[T]) -> T:
    """A section as the struct that has the same fields."""
    return msgspec.convert(section.model_dump(), kind)


class PriceConfig(Section):
    """What callers pay, in dollars per million tokens, written as text so that no cent is lost to a float."""

    input: Dollars = "0"
    output: Dollars = "0"

    def price(self) -> Price:
        """As the route table has it."""
        return Price(input_nanousd=nanousd(self.input), output_nanousd=nanousd(self.output))


class SamplingConfig(Section):
    """What is asked of the model where the caller says nothing."""

    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(256, ge=1)


class TimeoutsConfig(Section):
    """Seconds: to connect, to the first token, between two, and for the whole answer."""

    connect_s: Limit = 5.0
    first_token_s: Limit = 300.0
    between_tokens_s: Limit = 120.0
    total_s: Limit = 900.0


class RetriesConfig(Section):
    """Attempts beyond the first, before the first byte alone, within a share of the service's requests."""

    max: int = Field(1, ge=0, le=10)
    budget_share: Share = 0.2
    budget_floor: Count = Field(10, description="Retries in ten seconds that are always allowed.")


class BreakerConfig(Section):
    """When a replica that fails is left alone, and for how long at first."""

    failures: int = Field(5, ge=1, description="In a row.")
    error_share: float = Field(0.5, gt=0, le=1)
    min_requests: int = Field(20, ge=1)
    window_s: Limit = 10.0
    open_s: Limit = 5.0
    max_ejected_share: Share = 0.5


class QueueConfig(Section):
    """How many requests are at engines at once (0: any), how many wait in line, and how long."""

    max_in_flight: Count = 0
    max_waiting: Count = 100
    wait_s: Seconds = 10.0


class FilterConfig(Section):
    """A check on requests, answers or both: a built-in one, or `package.module:Class`."""

    kind: Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]+|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")]
    on: Literal["request", "answer", "both"] = "both"
    action: Literal["refuse", "mask", "log"] = "refuse"
    options: dict[str, Text] = {}


class SemanticConfig(Section):
    """Answers to like questions. Read docs/gateway/cache.md first: like is not equal."""

    service: str = Field(description="The service that answers /v1/embeddings.")
    threshold: float = Field(0.95, gt=0, le=1, description="Cosine from which two questions are one.")
    ttl_s: Limit = 3600.0
    max_entries: int = Field(1000, ge=1, le=20_000, description="Of each tenant and release.")
    timeout_s: float = Field(0.5, gt=0, le=30, description="An embedding that takes longer is a miss.")


class CacheConfig(Section):
    """Answers kept for one tenant and one release: to equal requests that are deterministic."""

    ttl_s: Limit = 3600.0
    max_mib: int = Field(64, ge=1)
    semantic: SemanticConfig | None = None

    def cache(self) -> Cache:
        """As the route table has it."""
        semantic = _as(self.semantic, SemanticCache) if self.semantic else None
        return Cache(ttl_s=self.ttl_s, max_bytes=self.max_mib << 20, semantic=semantic)


class ConditionConfig(Section):
    """One thing that must hold of a request."""

    attribute: Annotated[
        str, Field(pattern=r"^(tenant|key|user|session|endpoint|stream|prompt_chars|header:[a-z0-9-]+)$")
    ]
    op: Literal["in", "not_in", "starts_with", "ends_with", "matches", "exists", "above", "below"] = "in"
    values: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if self.op == "exists":
            if self.values:
                raise ValueError("'exists' compares with nothing: leave `values` out")
        elif not self.values:
            raise ValueError(f"'{self.op}' compares with something: add `values: [...]`")
        elif self.op in ("above", "below"):
            self._check_number()
        elif self.op == "matches":
            for value in self.values:
                _check_pattern(value)
        return self

    def _check_number(self) -> None:
        if self.attribute != "prompt_chars" or len(self.values) != 1 or not self.values[0].isdigit():
            raise ValueError(f"'{self.op}' compares `prompt_chars` with one whole number")


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None


class RuleConfig(Section):
    """Sends what meets all conditions, or a share of it, to a variant. The first rule that holds decides."""

    name: Name
    variant: str = Field(description="champion, challenger, or one of `variants`.")
    when: tuple[ConditionConfig, ...] = ()
    share: Weight | None = Field(None, description="Of what meets them, sticky by unit; all of it by default.")

    def rule(self) -> Rule:
        """As the route table has it."""
        share_bp = FULL if self.share is None else round(self.share * FULL)
        return msgspec.convert(self.model_dump(exclude={"share"}) | {"share_bp": share_bp}, Rule)


class PreferenceConfig(Section):
    """The cheapest variant that meets the objectives answers; harder requests escalate to the next. 0: no objective."""

    order: tuple[str, ...] = Field(min_length=1, description="Cheapest first; the last always may answer.")
    min_quality: Share = 0.0
    max_first_token_s: Seconds = 0.0
    max_error_share: Share = 0.0
    max_queue: Seconds = Field(0.0, description="Requests that wait at its engines.")
    max_cache_use: Share = Field(0.0, description="Of its engines' KV caches.")
    escalate: tuple[ConditionConfig, ...] = ()
    classifier: Annotated[str, Field(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")] = ""
    max_difficulty: Share = 1.0
    min_confidence: Share = 0.0


class _Upstream(Section):
    """What is said of a server that is not the project's engine."""

    engine: Name = Field("openai", description="The kind of server, whose capability sheet says what it can do.")
    replicas: tuple[Url, ...] = Field((), description="Further addresses that serve the same.")
    credential: Variable = Field("", description="The gateway's environment variable that holds the server's key.")
    system_prompt: str = ""
    sampling: SamplingConfig = SamplingConfig()
    quantization: str = ""
    quality: float | None = Field(None, ge=0, le=1, description="As measured; unknown by default.")


class HostedConfig(_Upstream):
    """A model that somebody else runs, or that we run outside of the registry: its address, name, key and price."""

    url: Url
    model: str = Field(min_length=1, description="The name that the server knows it by.")
    price: PriceConfig

    def variant(self, name: str) -> Variant:
        """As the route table has it. It is no release of ours: its address says so, and digests what was declared."""
        said = self.model_dump(include={"url", "model", "system_prompt", "sampling", "quantization"})
        ref = f"{name}@{short(digest_json(said))}"
        return Variant(
            release=EXTERNAL + ref,
            ref=ref,
            name=name,
            engine_url=self.url,
            **self.model_dump(include={"model", "engine", "replicas", "credential", "system_prompt", "quantization"}),
            sampling=_as(self.sampling, Sampling),
            price=self.price.price(),
            quality=-1.0 if self.quality is None else self.quality,
        )


class VariantConfig(_Upstream):
    """Who else may answer: another release of ours (`release`), or a hosted model (`url`, `model`, `price`)."""

    release: str = Field("", description="`name@digest`, in the stage staging or production.")
    url: Url | None = Field(None, description="Of a release: an engine of its own, which holds it already.")
    model: str = ""
    price: PriceConfig | None = Field(None, description="Of a release: that of the service by default.")

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        missing = [name for name in ("url", "model", "price") if not getattr(self, name)]
        if not self.release and missing:
            raise ValueError(
                f"a hosted model needs `url`, `model` and `price` ({', '.join(missing)} missing); a release of ours "
                "needs `release`"
            )
        said = self.model_fields_set
        if self.release and (own := sorted({"system_prompt", "sampling", "quantization"} & said)):
            raise ValueError(f"{' and '.join(own)} belong to the release itself: leave them out")
        elsewhere = sorted({"model", "engine", "replicas", "credential"} & said)
        if self.release and elsewhere and not self.url:
            raise ValueError(f"{' and '.join(elsewhere)} belong to an engine of its own: add its `url`")
        return self

    def hosted(self) -> HostedConfig:
        """The same where it is no release of ours."""
        return HostedConfig(**self.model_dump(exclude={"release"}))


class ServingConfig(Section):
    """How a service is served, whoever its champion is."""

    price: PriceConfig = PriceConfig()
    record: BodyPolicy = Field(
        "hash", description="Kept of each answer: none, hash (default), the text with personal data masked, or full."
    )
    record_share: float = Field(1.0, ge=0, le=1, description="Of the texts that masked and full keep.")
    limits: LimitsConfig = LimitsConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: RetriesConfig = RetriesConfig()
    breaker: BreakerConfig = BreakerConfig()
    queue: QueueConfig = QueueConfig()
    hedge_after_s: Seconds = Field(0.0, description="Ask a second replica when the first is silent so long; 0: never.")
    max_output_tokens: Count = Field(0, description="The most that a caller may ask for; 0: any.")
    filters: tuple[FilterConfig, ...] = ()
    cache: CacheConfig | None = None
    variants: dict[Name, VariantConfig] = {}
    rules: tuple[RuleConfig, ...] = ()
    preference: PreferenceConfig | None = None
    fallbacks: tuple[str, ...] = Field((), description="Who answers, in turn, where the one that should cannot.")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if taken := [name for name in RESERVED if name in self.variants]:
            raise ValueError(f"no variant may be called '{taken[0]}': rules call the rollout's two by these names")
        names = [rule.name for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called '{twice[0]}': a share is sticky by its rule's name")
        return self

    def service(self, name: str, champion: Variant) -> Service:
        """As the route table has it, without `variants`, which the records must resolve first."""
        return Service(
            name=name,
            champion=champion,
            body_policy=self.record,
            body_share=self.record_share,
            rules=tuple(rule.rule() for rule in self.rules),
            preference=_as(self.preference, Preference) if self.preference else None,
            fallbacks=self.fallbacks,
            limits=self.limits.limits(),
            timeouts=_as(self.timeouts, Timeouts),
            retries=_as(self.retries, Retries),
            breaker=_as(self.breaker, Breaker),
            queue=_as(self.queue, Queue),
            hedge_after_s=self.hedge_after_s,
            max_output_tokens=self.max_output_tokens,
            filters=tuple(_as(one, Filter) for one in self.filters),
            cache=self.cache.cache() if self.cache else None,
        )


class ServiceConfig(ServingConfig):
    """A public model name and what stands behind it: the names of a dataset, a recipe, a suite, a policy, a rollout."""

    dataset: str
    recipe: str
    suite: str
    policy: str
    rollout: str


class HostedServiceConfig(HostedConfig, ServingConfig):
    """A public model name whose champion is no release of ours: for a vendor's model, or an embedding model."""

    price: PriceConfig
