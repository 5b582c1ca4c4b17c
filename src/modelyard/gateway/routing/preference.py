"""Cost- and load-aware choice: the cheapest variant that meets the objectives, escalated where a request is hard."""

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from math import exp, isfinite
from typing import cast

from modelyard.core.errors import InvalidInput
from modelyard.gateway.routing.replicas import Replicas
from modelyard.gateway.routing.rules import Facts, Predicate, compile_condition
from modelyard.ports.serving import Preference

_CHECK_S = 0.1  # how long a verdict on a variant stands before it is looked at again
_HOLD_S = 2.0  # how long a variant is passed over at least
_EASE = 0.8  # it comes back at four fifths of what it was passed over for, so that the choice does not flap
_MIN_MEASURED = 5
_TRIAL_S = 1.0
_OVER = " > "

logger = logging.getLogger(__name__)

Classifier = Callable[[str], float]


class Standing:
    """Whether one variant meets the objectives, and if not, why.

    Errors and first-token times are known only of a variant that answers. One too little known is passed over too, but
    for one request a second that measures it.
    """

    __slots__ = ("_checked_s", "_measured", "_next_trial_s", "_objectives", "_since_s", "name", "objection", "replicas")

    def __init__(self, name: str, quality: float, replicas: Replicas, objectives: Preference) -> None:
        self.name = name
        self.replicas = replicas
        self.objection = ""
        self._objectives = objectives
        self._measured = True
        self._checked_s = -1e9
        self._since_s = -1e9
        self._next_trial_s = -1e9
        if objectives.min_quality > 0 and quality < objectives.min_quality:
            known = f"{quality:g} < {objectives.min_quality:g}" if quality >= 0 else "unknown"
            self.objection = f"{name} quality {known}"
            self._checked_s = float("inf")

    def look(self, now_s: float) -> str:
        """What speaks against the variant, empty where nothing does. Costs something ten times a second at most."""
        if now_s - self._checked_s >= _CHECK_S:
            self._check(now_s)
        return self.objection

    def may_try(self, facts: Facts, now_s: float) -> bool:
        """Whether this request may measure a variant that is too little known."""
        if self._measured or now_s < self._next_trial_s or (self._objectives.max_first_token_s and not facts.stream):
            return False
        self._next_trial_s = now_s + _TRIAL_S
        return True

    def _check(self, now_s: float) -> None:
        self._checked_s = now_s
        self._measured = True
        found = self._find(now_s, _EASE if _OVER in self.objection else 1.0)
        if found:
            if not self.objection:
                self._since_s = now_s
            self.objection = f"{self.name} {found}"
        elif now_s - self._since_s >= _HOLD_S:
            self.objection = ""

    def _find(self, now_s: float, ease: float) -> str:
        wanted, replicas = self._objectives, self.replicas
        open_to = [replica for replica in replicas.all if replica.circuit.blocked_until_s <= now_s]
        if not open_to:
            return "down"
        fresh = [replica.load for replica in open_to if replica.load.fresh_until_s > now_s]
        for what, limit, values in (
            ("queue", wanted.max_queue, [load.waiting for load in fresh]),
            ("cache use", wanted.max_cache_use, [load.cache_use for load in fresh]),
        ):
            if limit and (objection := _over(what, [value for value in values if value >= 0], limit * ease)):
                return objection
        return self._find_measured(now_s, ease)

    def _find_measured(self, now_s: float, ease: float) -> str:
        """What is known to be bad speaks first, what is not known second."""
        wanted, replicas = self._objectives, self.replicas
        unknown = False
        if wanted.max_error_share:
            requests, errors = _outcomes(replicas, now_s)
            if requests < _MIN_MEASURED:
                unknown = True
            elif objection := _over("errors", [errors / requests], wanted.max_error_share * ease):
                return objection
        if wanted.max_first_token_s:
            if replicas.latencies.count(now_s) < _MIN_MEASURED:
                unknown = True
            else:
                late_s = replicas.latencies.quantile(0.95)
                if objection := _over("first token", [late_s], wanted.max_first_token_s * ease):
                    return objection
        self._measured = not unknown
        return "too little known" if unknown else ""


def _outcomes(replicas: Replicas, now_s: float) -> tuple[int, float]:
    """Requests and failures in the breaker's window, over all replicas."""
    requests, errors = 0, 0.0
    for replica in replicas.all:
        circuit = replica.circuit
        circuit.roll(replicas.breaker.window_s, now_s)
        requests += circuit.num_requests
        errors += circuit.error_share * circuit.num_requests
    return requests, errors


def _over(what: str, values: Sequence[float], limit: float) -> str:
    if not values:
        return f"{what} unknown"
    mean = sum(values) / len(values)
    return f"{what} {mean:.3g}{_OVER}{limit:.3g}" if mean > limit else ""


class Preferred:
    """A service's preference, ready for requests."""

    __slots__ = ("_classify", "_escalate", "_preference", "needs", "num_classifier_failures", "standings")

    def __init__(self, preference: Preference, standings: tuple[Standing, ...], where: str) -> None:
        place = f"the preference of {where}"
        self._preference = preference
        self.standings = standings
        self._escalate: list[tuple[str, Predicate]] = [
            (f"escalated {condition.attribute}", compile_condition(condition, place))
            for condition in preference.escalate
        ]
        self._classify = load_classifier(preference.classifier, place) if preference.classifier else None
        self.num_classifier_failures = 0

    def pick(self, facts: Facts, now_s: float, *, trials: bool = True) -> tuple[str, str]:
        """The name of the variant that should answer, and the reason."""
        escalated = self._escalation(facts)
        standings = self.standings[1:] if escalated and len(self.standings) > 1 else self.standings
        passed: list[str] = []
        for standing in standings[:-1]:
            objection = standing.look(now_s)
            if not objection:
                return standing.name, _reason(standing.name, escalated, passed)
            if trials and standing.may_try(facts, now_s):
                return standing.name, f"trying {standing.name}"
            passed.append(objection)
        last = standings[-1].name
        return last, _reason(last, escalated, passed)

    def _escalation(self, facts: Facts) -> str:
        for reason, predicate in self._escalate:
            if predicate(facts):
                return reason
        if self._classify is not None and self._is_difficult(self._classify, facts):
            return "escalated difficulty"
        return ""

    def _is_difficult(self, classify: Classifier, facts: Facts) -> bool:
        """What the classifier says; a failure counts as no."""
        try:
            return float(classify(facts.text())) > self._preference.max_difficulty
        except Exception as error:
            self.num_classifier_failures += 1
            if self.num_classifier_failures == 1:
                logger.exception("the classifier %s failed (%s)", self._preference.classifier, type(error).__name__)
            return False


def _reason(name: str, escalated: str, passed: Sequence[str]) -> str:
    if not passed:
        return escalated or f"preferred {name}"
    return f"{name}: {'; '.join([escalated, *passed] if escalated else passed)}"


def load_classifier(name: str, where: str) -> Classifier:
    """The function `package.module:name`. Raises: InvalidInput where there is none."""
    module, _, attribute = name.partition(":")
    expected = "package.module:name, a function of a text to a number in [0, 1]"
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:
        seen = f"{where} has the classifier '{name}', which cannot be loaded: {error}"
        raise InvalidInput(seen, expected=expected) from error
    if not callable(found):
        raise InvalidInput(f"{where} has the classifier '{name}', which cannot be called", expected=expected)
    return cast(Classifier, found)


def confident(answer_logprobs: Sequence[float] | None, preference: Preference) -> bool:
    """Whether the mean probability of a whole answer's tokens is high enough for it to be given.

    Logarithms of probabilities, one a token. Without any, or with one that is no number, it is not.
    """
    if preference.min_confidence <= 0:
        return True
    if not answer_logprobs:
        return False
    mean = sum(exp(min(logprob, 0.0)) for logprob in answer_logprobs) / len(answer_logprobs)
    return isfinite(mean) and mean >= preference.min_confidence
