"""Routing's health as families of metrics. A replica is called by its place in the table, not by its address."""

from collections.abc import Callable, Iterator, Sequence

from modelyard.gateway.recording.exposition import Family, Kind
from modelyard.gateway.routing.health import CLOSED, OPEN, PAUSED, TRYING
from modelyard.gateway.routing.plan import ReplicaState, ServiceState

# What every worker sees alike, such as what an engine says of itself, is not added over workers.
_SERVICE: tuple[tuple[str, Kind, str, Callable[[ServiceState], int]], ...] = (
    ("retries_total", "counter", "Requests sent again before their first byte.", lambda s: s.num_retries),
    ("retries_refused_total", "counter", "Retries that the budget did not allow.", lambda s: s.num_retries_refused),
    ("queue_waiting", "gauge", "Requests in line for a place at the engines.", lambda s: s.waiting),
    ("queue_shed_total", "counter", "Requests turned away because the engines were full.", lambda s: s.num_shed),
    (
        "classifier_failures_total",
        "counter",
        "Requests that the classifier failed on.",
        lambda s: s.num_classifier_failures,
    ),
)
_REPLICA: tuple[tuple[str, Kind, str, Callable[[ReplicaState], float]], ...] = (
    ("replica_in_flight", "gauge", "Requests of this gateway at the replica's address.", lambda r: r.in_flight),
    ("replica_error_share", "worst", "Share of failures in the breaker's window.", lambda r: r.error_share),
    ("replica_opened_total", "counter", "How often the replica's circuit opened.", lambda r: r.num_opened),
    ("replica_paused_total", "counter", "How often the replica asked for a pause.", lambda r: r.num_paused),
    ("engine_waiting", "worst", "Requests waiting in the engine, as it says.", lambda r: r.waiting),
    ("engine_running", "worst", "Requests running in the engine, as it says.", lambda r: r.running),
    ("engine_cache_use", "worst", "Share of the engine's KV cache in use, as it says.", lambda r: r.cache_use),
)
_LABELS = ("service", "variant", "release", "replica")
_UNKNOWN = -1.0


def families(states: Sequence[ServiceState]) -> Iterator[Family]:
    """Everything in `Plan.snapshot`. What is not known is left out."""
    for name, kind, help_text, of in _SERVICE:
        yield Family(name, kind, help_text, ("service",), [((state.service,), of(state)) for state in states])
    replicas = [
        ((one.service, one.variant, one.release, str(index)), one)
        for state in states
        for index, one in enumerate(state.replicas)
    ]
    for name, kind, help_text, of_replica in _REPLICA:
        values = [(labels, of_replica(one)) for labels, one in replicas if of_replica(one) != _UNKNOWN]
        yield Family(name, kind, help_text, _LABELS, values)
    named = [
        ((*labels, name), int(one.state == name)) for labels, one in replicas for name in (CLOSED, PAUSED, OPEN, TRYING)
    ]
    yield Family("replica_state", "worst", "1 for the state of the replica's circuit.", (*_LABELS, "state"), named)
