"""A route table made ready for routing: one chooser a service, with the health of what is still served carried over."""

from collections.abc import Mapping

import msgspec

from modelyard.core.errors import InvalidInput
from modelyard.gateway.routing.admission import Admission
from modelyard.gateway.routing.choice import Candidate, Chooser
from modelyard.gateway.routing.engines import Load
from modelyard.gateway.routing.health import Circuit, Latencies, RetryBudget
from modelyard.gateway.routing.preference import Preferred, Standing
from modelyard.gateway.routing.readings import METRIC_NAMES, Wanted
from modelyard.gateway.routing.replicas import Replica, Replicas
from modelyard.gateway.routing.rules import compile_rules
from modelyard.ports.routes import RouteTable, Service, Variant
from modelyard.ports.sheets import MetricNames


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """One replica as `/metrics` and the console show it; -1 stands for unknown."""

    service: str
    variant: str
    release: str
    replica: str
    state: str
    in_flight: int
    waiting: float
    running: float
    cache_use: float
    error_share: float
    first_token_p95_s: float
    num_opened: int
    num_paused: int


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """One service as `/metrics` and the console show it. `objections` say why variants are passed over just now."""

    service: str
    num_retries: int
    num_retries_refused: int
    num_classifier_failures: int
    in_flight: int
    waiting: int
    num_shed: int
    objections: tuple[str, ...]
    replicas: tuple[ReplicaState, ...]


class _Known:
    """What lives longer than a table: health by what it is the health of."""

    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}
        self.circuits: dict[tuple[str, str, str], Circuit] = {}
        self.latencies: dict[tuple[str, str], Latencies] = {}
        self.budgets: dict[str, RetryBudget] = {}
        self.admissions: dict[str, Admission] = {}


class Plan:
    """Who answers what. Replaced whole when a table is taken; `watched` is for the `Poller`.

    Raises: InvalidInput for a rule, preference, fallback or address that cannot be used, with what and where; the
    `previous` plan is then as it was.
    """

    __slots__ = ("_known", "services", "watched")

    def __init__(
        self, table: RouteTable, previous: "Plan | None" = None, names: Mapping[str, MetricNames] = METRIC_NAMES
    ) -> None:
        self._known = _Known()
        self.watched: dict[Load, Wanted] = {}
        wanted = {kind: Wanted(metric_names) for kind, metric_names in names.items()}
        old = previous._known if previous else _Known()
        self.services = {service.name: self._make(service, old, wanted) for service in table.services}
        for service in table.services:
            if admission := self._known.admissions.get(service.name):
                admission.queue = service.queue

    def snapshot(self, now_s: float) -> list[ServiceState]:
        """The health of everything."""
        return [_state_of(chooser, now_s) for chooser in self.services.values()]

    def _make(self, service: Service, old: _Known, wanted: Mapping[str, Wanted]) -> Chooser:
        where = f"service '{service.name}'"
        variants = _variants_of(service, where)
        candidates = {
            name: Candidate(name, variant, self._replicas(service, variant, old)) for name, variant in variants.items()
        }
        _check_names(service.fallbacks, candidates, f"the fallbacks of {where}")
        rules = compile_rules(service.rules, candidates, where)
        preferred = _prefer(service, candidates, where)
        self._watch(service, candidates, wanted)
        name, known = service.name, self._known
        known.budgets[name] = old.budgets.get(name) or RetryBudget()
        if service.queue.max_in_flight:
            known.admissions[name] = old.admissions.get(name) or Admission(service.queue)
        return Chooser(service, candidates, rules, preferred, known.budgets[name], known.admissions.get(name))

    def _replicas(self, service: Service, variant: Variant, old: _Known) -> Replicas:
        known, replicas = self._known, []
        for url in dict.fromkeys((variant.engine_url, *variant.replicas)):
            address, key = url.rstrip("/").removesuffix("/v1"), (service.name, variant.release, url)
            load = known.loads.get(address) or old.loads.get(address) or _load_of(address, service.name)
            circuit = known.circuits.get(key) or old.circuits.get(key) or Circuit()
            known.loads[address], known.circuits[key] = load, circuit
            replicas.append(Replica(url, load, circuit))
        label = (service.name, variant.release)
        latencies = known.latencies.get(label) or old.latencies.get(label) or Latencies()
        known.latencies[label] = latencies
        return Replicas(replicas, service.breaker, latencies)

    def _watch(self, service: Service, candidates: Mapping[str, Candidate], wanted: Mapping[str, Wanted]) -> None:
        """Engines whose load a choice hangs on are read: of several replicas, or of a preference that asks for it."""
        preference = service.preference
        asks = preference is not None and (preference.max_queue > 0 or preference.max_cache_use > 0)
        for candidate in candidates.values():
            names = wanted.get(candidate.variant.engine)
            if names and (candidate.replicas.several or (asks and preference and candidate.name in preference.order)):
                self.watched.update({replica.load: names for replica in candidate.replicas.all})


def _load_of(address: str, service: str) -> Load:
    try:
        return Load(address)
    except ValueError as error:
        seen = f"service '{service}' has an engine at '{address}', which is no URL"
        raise InvalidInput(seen, expected="something like http://127.0.0.1:8000") from error


def _variants_of(service: Service, where: str) -> dict[str, Variant]:
    variants = {"champion": service.champion}
    if service.challenger:
        variants["challenger"] = service.challenger
    for variant in service.variants:
        if not variant.name or variant.name in ("champion", "challenger") or variant.name in variants:
            seen = f"{where} has a variant named '{variant.name}'"
            raise InvalidInput(seen, expected="a name of its own, neither 'champion' nor 'challenger'")
        variants[variant.name] = variant
    return variants


def _check_names(names: tuple[str, ...], candidates: Mapping[str, Candidate], place: str) -> None:
    for name in names:
        if name not in candidates and name != "challenger":
            raise InvalidInput(f"{place} name '{name}'", expected=f"one of {', '.join(sorted(candidates))}")


def _prefer(service: Service, candidates: Mapping[str, Candidate], where: str) -> Preferred | None:
    preference = service.preference
    if preference is None:
        return None
    _check_names(preference.order, candidates, f"the preference's order of {where} must")
    names = [name for name in preference.order if name in candidates]
    if not names or len(set(names)) != len(names):
        seen = f"the preference of {where} has the order {', '.join(names) or 'of nothing'}"
        raise InvalidInput(seen, expected="one variant or more, each once, cheapest first")
    standings = [
        Standing(name, candidates[name].variant.quality, candidates[name].replicas, preference) for name in names
    ]
    return Preferred(preference, tuple(standings), where)


def _state_of(chooser: Chooser, now_s: float) -> ServiceState:
    preferred, admission = chooser.preferred, chooser.admission
    objections = [standing.look(now_s) for standing in preferred.standings[:-1]] if preferred else []
    return ServiceState(
        service=chooser.service.name,
        num_retries=chooser.budget.num_retries,
        num_retries_refused=chooser.budget.num_refused,
        num_classifier_failures=preferred.num_classifier_failures if preferred else 0,
        in_flight=admission.in_flight if admission else 0,
        waiting=admission.num_waiting if admission else 0,
        num_shed=admission.num_shed if admission else 0,
        objections=tuple(filter(None, objections)),
        replicas=tuple(
            _replica_state(chooser, candidate, replica, now_s)
            for candidate in chooser.candidates.values()
            for replica in candidate.replicas.all
        ),
    )


def _replica_state(chooser: Chooser, candidate: Candidate, replica: Replica, now_s: float) -> ReplicaState:
    load, circuit = replica.load, replica.circuit
    fresh = load.fresh_until_s > now_s
    circuit.roll(candidate.replicas.breaker.window_s, now_s)
    return ReplicaState(
        service=chooser.service.name,
        variant=candidate.name,
        release=candidate.variant.ref,
        replica=replica.name,
        state=circuit.state,
        in_flight=load.in_flight,
        waiting=load.waiting if fresh else -1.0,
        running=load.running if fresh else -1.0,
        cache_use=load.cache_use if fresh else -1.0,
        error_share=round(circuit.error_share, 4),
        first_token_p95_s=round(candidate.replicas.latencies.quantile(0.95), 4),
        num_opened=circuit.num_opened,
        num_paused=circuit.num_paused,
    )
