"""Who answers a request of one service: a rule, the rollout's sticky assignment, or the preference; and who is next."""

from collections.abc import Collection, Mapping

from modelyard.core.assignment import FULL, position
from modelyard.gateway.routing.admission import Admission
from modelyard.gateway.routing.health import RetryBudget
from modelyard.gateway.routing.preference import Preferred
from modelyard.gateway.routing.replicas import Replicas
from modelyard.gateway.routing.rules import Facts, Matcher
from modelyard.ports.routes import Role, Service, Variant


class Candidate:
    """One variant that could answer, with its replicas. `target` is the request flow's own."""

    __slots__ = ("name", "replicas", "role", "target", "variant")

    def __init__(self, name: str, variant: Variant, replicas: Replicas) -> None:
        self.name = name
        self.variant = variant
        self.replicas = replicas
        self.role: Role = "champion" if name == "champion" else "challenger" if name == "challenger" else "alternative"
        self.target: object = None


class Choice:
    """Who answers and why. Where `in_rollout` is not set, the answer must not count for a rollout.

    `propensity` is the probability of this outcome at the step that decided: the rule's share, or the assignment's.
    """

    __slots__ = ("candidate", "in_rollout", "propensity", "reason", "role")

    def __init__(self, candidate: Candidate, propensity: float, reason: str, *, in_rollout: bool = False) -> None:
        self.candidate = candidate
        self.role = candidate.role
        self.propensity = propensity
        self.reason = reason
        self.in_rollout = in_rollout

    @property
    def name(self) -> str:
        """What rules and fallbacks call the variant."""
        return self.candidate.name

    @property
    def variant(self) -> Variant:
        """The release that answers."""
        return self.candidate.variant


class Chooser:
    """One service of a route table, ready for requests.

    `needs` holds the names of the costly facts that are looked at (`prompt_chars`, `text`). `admission` is None where
    the service has no bound on what is in flight. `shadow` is who gets copies, None where there is no challenger.
    """

    __slots__ = (
        "_challenger",
        "_challenger_apart",
        "_champion",
        "_fallbacks",
        "_rules",
        "_weight_bp",
        "admission",
        "budget",
        "candidates",
        "needs",
        "preferred",
        "service",
        "shadow",
    )

    def __init__(
        self,
        service: Service,
        candidates: Mapping[str, Candidate],
        rules: tuple[Matcher, ...],
        preferred: Preferred | None,
        budget: RetryBudget,
        admission: Admission | None,
    ) -> None:
        self.service = service
        self.candidates = candidates
        self.preferred = preferred
        self.budget = budget
        self.admission = admission
        self.needs = _needs(service)
        self._rules = [(rule, Choice(candidates[rule.variant], rule.share, rule.reason)) for rule in rules]
        self._weight_bp = service.weight_bp if service.challenger else 0
        share = self._weight_bp / FULL
        reason = "rollout" if self._weight_bp else "champion"
        self._champion = Choice(candidates["champion"], 1.0 - share, reason, in_rollout=True)
        self._challenger = self._challenger_apart = self._champion
        if "challenger" in candidates:
            self._challenger = Choice(candidates["challenger"], share, reason, in_rollout=True)
            self._challenger_apart = Choice(candidates["challenger"], share, reason)
        self.shadow = Choice(candidates["challenger"], 1.0 - share, "shadow") if "challenger" in candidates else None
        self._fallbacks = _fallbacks(service, candidates)

    def choose(self, facts: Facts, now_s: float) -> Choice:
        """Who answers this request. Called once a request: it feeds the budget of retries."""
        self.budget.note_request(now_s)
        for rule, choice in self._rules:
            if rule.fires(facts):
                return choice
        challenged = self._weight_bp and position(self.service.salt, facts.unit) < self._weight_bp
        if self.preferred is None:
            return self._challenger if challenged else self._champion
        # Only what the champion would answer itself is compared: its answers are the requests that were left to it,
        # so the challenger's share of the others must not count.
        if challenged:
            name, _ = self.preferred.pick(facts, now_s, trials=False)
            return self._challenger if name == "champion" else self._challenger_apart
        name, reason = self.preferred.pick(facts, now_s)
        propensity = self._champion.propensity
        return Choice(self.candidates[name], propensity, reason, in_rollout=name == "champion")

    def escalate(self, choice: Choice, reason: str = "escalated confidence") -> Choice | None:
        """The next variant of the preference, for a whole answer that was not `confident`.

        None after the last, and where a rule chose.
        """
        order = [standing.name for standing in self.preferred.standings] if self.preferred else []
        if choice.name not in order[:-1] or any(choice is ruled for _, ruled in self._rules):
            return None
        return Choice(self.candidates[order[order.index(choice.name) + 1]], choice.propensity, reason)

    def fallback_after(self, failed: Collection[str], code: str, now_s: float) -> Choice | None:
        """Who answers where those named could not, the last for the reason `code`; None where no one is left.

        The service's `fallbacks` in their order, then the champion; those whose replicas are all left alone are not
        asked.
        """
        for candidate in self._fallbacks:
            if candidate.name not in failed and candidate.replicas.available(now_s):
                return Choice(candidate, 1.0, f"fallback after {code}")
        return None

    def may_retry(self, num_made: int, now_s: float) -> bool:
        """Take one more attempt from the service's budget, for a request that was retried `num_made` times."""
        return self.budget.spend(self.service.retries, num_made, now_s)


def _fallbacks(service: Service, candidates: Mapping[str, Candidate]) -> tuple[Candidate, ...]:
    names = [name for name in service.fallbacks if name in candidates]
    return tuple(candidates[name] for name in dict.fromkeys([*names, "champion"]))


def _needs(service: Service) -> frozenset[str]:
    conditions = [condition for rule in service.rules for condition in rule.when]
    if service.preference:
        conditions += service.preference.escalate
    needs = {"prompt_chars"} & {condition.attribute for condition in conditions}
    if service.preference and service.preference.classifier:
        needs.add("text")
    return frozenset(needs)
