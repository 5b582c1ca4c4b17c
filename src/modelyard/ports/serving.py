"""How a service is served beyond who its champion is: rules, preferences, time limits, retries, filters, caches."""

from typing import Literal

import msgspec

from modelyard.core.assignment import FULL


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must hold of a request.

    `attribute` is `tenant`, `key`, `user`, `session`, `endpoint`, `stream`, `prompt_chars` or `header:NAME` (lower
    case). `above` and `below` compare `prompt_chars` with the one value. `matches` is a regular expression.
    """

    attribute: str
    op: Literal["in", "not_in", "starts_with", "ends_with", "matches", "exists", "above", "below"] = "in"
    values: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Sends what meets all conditions to a variant, by its name: `champion`, `challenger` or one of `variants`.

    Of those that meet them, the share `share_bp` (basis points, sticky by unit under the rule's own name) goes there;
    for the others the next rule is looked at.
    """

    name: str
    variant: str
    when: tuple[Condition, ...] = ()
    share_bp: int = FULL


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """The cheapest variant that meets the objectives answers. `order` names them, cheapest first; the last always may.

    A variant is passed over while its known quality is below `min_quality` (an unknown one is below), its first tokens
    come later than `max_first_token_s` at the 95th percentile, its errors exceed `max_error_share`, or its engines'
    queues (requests) or caches (share in use) are fuller than allowed. 0 means no such objective.

    A request escalates to the next variant where it meets any of `escalate`; where `classifier` (`package.module:name`,
    a function of the request's text to a difficulty in [0, 1]) says more than `max_difficulty`; or, for answers that
    are not streamed, where the mean probability of the answer's tokens is below `min_confidence`.
    """

    order: tuple[str, ...]
    min_quality: float = 0.0
    max_first_token_s: float = 0.0
    max_error_share: float = 0.0
    max_queue: float = 0.0
    max_cache_use: float = 0.0
    escalate: tuple[Condition, ...] = ()
    classifier: str = ""
    max_difficulty: float = 1.0
    min_confidence: float = 0.0


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: to connect, to the first token, between two, and for the whole answer."""

    connect_s: float = 5.0
    first_token_s: float = 300.0
    between_tokens_s: float = 120.0
    total_s: float = 900.0


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts beyond the first, before the first byte alone, each on another replica where there is one.

    They may not exceed `budget_share` of a service's requests (plus `budget_floor` in ten seconds).
    """

    max: int = 1
    budget_share: float = 0.2
    budget_floor: int = 10


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """When a replica is left alone: after `failures` in a row, or when more than `error_share` of at least
    `min_requests` in `window_s` failed, for `open_s` (doubled each time, up to a minute); then one request tries it.

    What the caller did wrong (4xx but 408, 429) is no failure. Never are more than `max_ejected_share` of a variant's
    replicas left alone for their share of errors.
    """

    failures: int = 5
    error_share: float = 0.5
    min_requests: int = 20
    window_s: float = 10.0
    open_s: float = 5.0
    max_ejected_share: float = 0.5


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """At most `max_in_flight` requests of a service at engines at once (0: any), `max_waiting` in line."""

    max_in_flight: int = 0
    max_waiting: int = 100
    wait_s: float = 10.0


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """A check on requests, answers or both. `kind` is a built-in name or `package.module:Class`."""

    kind: str
    on: Literal["request", "answer", "both"] = "both"
    action: Literal["refuse", "mask", "log"] = "refuse"
    options: dict[str, str] = {}


class SemanticCache(msgspec.Struct, frozen=True, kw_only=True):
    """Answers to requests whose embedding by `service` (it answers `/v1/embeddings`) is as near as `threshold`.

    An embedding that takes longer than `timeout_s` is a miss.
    """

    service: str
    threshold: float = 0.95
    ttl_s: float = 3600.0
    max_entries: int = 1000
    timeout_s: float = 0.5


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """Answers kept for one tenant and release: of equal deterministic requests, and of like ones where asked for."""

    ttl_s: float = 3600.0
    max_bytes: int = 64 << 20
    semantic: SemanticCache | None = None
