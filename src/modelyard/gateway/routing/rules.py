"""Rules and conditions, compiled once a table into predicates over the facts of a request.

Evaluation is shaped as OpenFeature has it: facts in, a variant and a reason out. Knows nothing of health or load.
"""

from collections.abc import Callable, Collection, Mapping
from operator import attrgetter

from modelyard.core.assignment import FULL, position
from modelyard.core.errors import InvalidInput
from modelyard.gateway.routing.patterns import MAX_CHARS, compile_pattern
from modelyard.ports.serving import Condition, Rule

ATTRIBUTES = ("tenant", "key", "user", "session", "endpoint", "stream", "prompt_chars")
_NO_HEADERS: Mapping[bytes, bytes] = {}


def _no_text() -> str:
    return ""


class Facts:
    """What is known of a request before it is answered; a request's own class may extend it.

    `unit` is what assignment sticks to. `headers` have lower-case names. `prompt_chars` and `text` (the request's
    words, made on demand) are read only where `Chooser.needs` holds their names.
    """

    __slots__ = ("endpoint", "headers", "key", "prompt_chars", "session", "stream", "tenant", "text", "unit", "user")

    def __init__(
        self,
        *,
        unit: str,
        tenant: str = "",
        key: str = "",
        user: str = "",
        session: str = "",
        endpoint: str = "chat",
        stream: bool = False,
        prompt_chars: int = 0,
        headers: Mapping[bytes, bytes] = _NO_HEADERS,
        text: Callable[[], str] = _no_text,
    ) -> None:
        self.unit = unit
        self.tenant = tenant
        self.key = key
        self.user = user
        self.session = session
        self.endpoint = endpoint
        self.stream = stream
        self.prompt_chars = prompt_chars
        self.headers = headers
        self.text = text


Predicate = Callable[[Facts], bool]
Read = Callable[[Facts], str]


class Matcher:
    """A rule that can fire. `variant` is the name it sends to, `share` the probability that it does."""

    __slots__ = ("_name", "_share_bp", "_when", "reason", "share", "variant")

    def __init__(self, rule: Rule, when: tuple[Predicate, ...]) -> None:
        self._name = rule.name
        self._when = when
        self._share_bp = rule.share_bp
        self.variant = rule.variant
        self.share = rule.share_bp / FULL
        self.reason = f"rule {rule.name}"

    def fires(self, facts: Facts) -> bool:
        """Whether the rule sends this request to its variant."""
        for predicate in self._when:
            if not predicate(facts):
                return False
        return self._share_bp == FULL or position(self._name, facts.unit) < self._share_bp


def compile_rules(rules: Collection[Rule], variants: Collection[str], where: str) -> tuple[Matcher, ...]:
    """The rules that can fire, in their order. `variants` are the names there are.

    A rule to the challenger is asleep while there is none, so that the end of a rollout never spoils a table.
    Raises: InvalidInput for a rule that cannot be read; `where` names the service.
    """
    matchers, names = [], set()
    for rule in rules:
        place = f"rule '{rule.name}' of {where}"
        if not rule.name or rule.name in names:
            raise InvalidInput(f"{place} has no name of its own", expected="one name a rule: its share sticks to it")
        names.add(rule.name)
        if not 0 <= rule.share_bp <= FULL:
            raise InvalidInput(f"{place} has a share of {rule.share_bp}", expected=f"basis points, 0 to {FULL}")
        when = tuple(compile_condition(condition, place) for condition in rule.when)
        if rule.variant not in variants:
            if rule.variant == "challenger":
                continue
            raise InvalidInput(f"{place} sends to '{rule.variant}'", expected=f"one of {', '.join(sorted(variants))}")
        if rule.share_bp:
            matchers.append(Matcher(rule, when))
    return tuple(matchers)


def compile_condition(condition: Condition, where: str) -> Predicate:
    """One condition as a predicate. Raises: InvalidInput."""
    if condition.op in ("above", "below"):
        return _compare(condition, where)
    read = _reader(condition.attribute, where)
    values = condition.values
    if condition.op == "exists":
        return lambda facts: read(facts) != ""
    if not values:
        raise InvalidInput(f"{where} compares '{condition.attribute}' with nothing", expected="one value or more")
    if condition.op == "in":
        return _among(condition.attribute, read, frozenset(values))
    if condition.op == "not_in":
        allowed = _among(condition.attribute, read, frozenset(values))
        return lambda facts: not allowed(facts)
    if condition.op == "starts_with":
        return lambda facts: read(facts).startswith(values)
    if condition.op == "ends_with":
        return lambda facts: read(facts).endswith(values)
    return _match(read, values, where)


def _among(attribute: str, read: Read, values: frozenset[str]) -> Predicate:
    if attribute == "tenant":  # the commonest condition, without a second call
        return lambda facts: facts.tenant in values
    return lambda facts: read(facts) in values


def _match(read: Read, values: tuple[str, ...], where: str) -> Predicate:
    searches = [compile_pattern(value, where).search for value in values]

    def matches(facts: Facts) -> bool:
        value = read(facts)
        return len(value) <= MAX_CHARS and any(search(value) for search in searches)

    return matches


def _compare(condition: Condition, where: str) -> Predicate:
    if condition.attribute != "prompt_chars" or len(condition.values) != 1 or not condition.values[0].isdecimal():
        seen = f"{where} compares '{condition.attribute}' with {', '.join(condition.values) or 'nothing'}"
        raise InvalidInput(seen, expected=f"'{condition.op}' to compare prompt_chars with one whole number")
    bound = int(condition.values[0])
    if condition.op == "above":
        return lambda facts: facts.prompt_chars > bound
    return lambda facts: facts.prompt_chars < bound


def _reader(attribute: str, where: str) -> Read:
    """An attribute's value as text, empty where the request has none."""
    if attribute.startswith("header:"):
        name = attribute.removeprefix("header:").encode()
        if not name or name != name.lower():
            raise InvalidInput(f"{where} looks at '{attribute}'", expected="a header's name in lower case")
        return lambda facts: facts.headers.get(name, b"").decode("latin-1")
    if attribute == "stream":
        return lambda facts: "true" if facts.stream else "false"
    if attribute == "prompt_chars":
        return lambda facts: str(facts.prompt_chars)
    if attribute not in ATTRIBUTES:
        expected = f"one of {', '.join(ATTRIBUTES)} or header:NAME"
        raise InvalidInput(f"{where} looks at '{attribute}'", expected=expected)
    read: Read = attrgetter(attribute)
    return read
