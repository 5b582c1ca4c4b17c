"""A service's filters made ready: what the flow calls for its requests and its answers."""

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from modelyard.core.errors import Corrupt
from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.checks import Action, Check, Injected, Length, Note, Plugin, Spans, Strand, read_limit
from modelyard.gateway.guards.deny import read_denied
from modelyard.gateway.guards.injection import read_injection
from modelyard.gateway.guards.personal import PersonalData, read_kinds
from modelyard.gateway.guards.texts import TEXT_FIELDS, Place, texts_in, with_texts
from modelyard.ports.guarding import TextFilter
from modelyard.ports.serving import Filter

BUILT_IN = ("deny", "injection", "personal_data", "max_chars")
_SLOW_S = 0.05
_OPTIONS: dict[str, frozenset[str]] = {
    "deny": frozenset(("words", "patterns", "file", "case", "on_error")),
    "injection": frozenset(("threshold",)),
    "personal_data": frozenset(("kinds",)),
    "max_chars": frozenset(("limit",)),
}

# (filter, what was found) -> how often; `error` is a filter that failed.
Findings = Counter[tuple[str, str]]


class Guards:
    """The filters of one service. None of them is asked where there are none: `build` gives None then."""

    __slots__ = ("_answers", "_requests", "findings")

    def __init__(self, requests: tuple[Check, ...], answers: tuple[Check, ...], findings: Findings) -> None:
        self._requests = requests
        self._answers = answers
        self.findings = findings

    @classmethod
    def build(cls, filters: Iterable[Filter], findings: Findings | None = None) -> "Guards | None":
        """A service's filters, in their order; None where it has none.

        Raises: Corrupt where one cannot be made, and MissingExtra where it needs a package.
        """
        counted: Findings = Counter() if findings is None else findings

        def note(kind: str, what: str) -> None:
            counted[kind, what] += 1

        made = [(one, make_check(one, note)) for one in filters]
        if not made:
            return None
        requests = tuple(check for one, check in made if one.on != "answer")
        answers = tuple(check for one, check in made if one.on != "request" and one.kind != "injection")
        return cls(requests, answers, counted)

    @property
    def looks_at_answers(self) -> bool:
        """Whether answers must pass through `answer()`."""
        return bool(self._answers)

    def check_request(self, fields: dict[str, msgspec.Raw]) -> bool:
        """Look at what the caller sent, and cover what must be covered in `fields` itself; True where it did.

        Call it with the fields as they came, before our own prompt is put among them. Raises: Refusal.
        """
        if not self._requests:
            return False
        parts = [(name, bytes(fields[name]), *texts_in(bytes(fields[name]))) for name in TEXT_FIELDS if name in fields]
        old = [text for _, _, texts, _ in parts for text in texts]
        new = old
        for check in self._requests:
            new = check.request(new)
        if new is old or new == old:
            return False
        _put_back(fields, parts, new)
        return True

    def answer(self) -> "AnswerGuard | None":
        """What the texts of one answer go through; None where no filter looks at answers."""
        return AnswerGuard(self._answers) if self._answers else None


def _put_back(
    fields: dict[str, msgspec.Raw], parts: list[tuple[str, bytes, list[str], list[Place]]], new: list[str]
) -> None:
    done = 0
    for name, raw, texts, places in parts:
        ours = new[done : done + len(texts)]
        done += len(texts)
        if ours != texts:
            fields[name] = msgspec.Raw(with_texts(raw, places, texts, ours))


class AnswerGuard:
    """The texts of one answer. A text is named by its choice and, where one has several, by what it is.

    After a Refusal nothing more of the answer may go out.
    """

    __slots__ = ("_checks", "_strands")

    def __init__(self, checks: tuple[Check, ...]) -> None:
        self._checks = checks
        self._strands: dict[tuple[int, str], list[Strand]] = {}

    def feed(self, choice_index: int, text: str, part: str = "content") -> str | Refusal:
        """What of a text may go out now that this piece has come; perhaps nothing."""
        strands = self._strands.get((choice_index, part))
        if strands is None:
            strands = self._strands[choice_index, part] = [check.strand() for check in self._checks]
        for strand in strands:
            fed = strand.feed(text)
            if isinstance(fed, Refusal):
                return fed
            if not fed:
                return ""
            text = fed
        return text

    def finish(self, choice_index: int, part: str = "content") -> str | Refusal:
        """What was held back, now that the text has ended."""
        out = ""
        for strand in self._strands.pop((choice_index, part), ()):
            fed = strand.feed(out) if out else ""
            if isinstance(fed, Refusal):
                return fed
            rest = strand.finish()
            if isinstance(rest, Refusal):
                return rest
            out = fed + rest
        return out

    def open_parts(self, choice_index: int) -> list[str]:
        """Which texts of a choice have begun and not ended."""
        return [part for index, part in self._strands if index == choice_index]

    def open_choices(self) -> list[int]:
        """Which choices have texts that have not ended."""
        return sorted({index for index, _ in self._strands})


def make_check(one: Filter, note: Note) -> Check:
    """A filter made ready. Raises: Corrupt, MissingExtra."""
    options = one.options
    if one.kind in BUILT_IN:
        _know_options(one.kind, options)
    if one.kind == "deny":
        return Spans("deny", read_denied(options), one.action, note, passes=_passes(options))
    if one.kind == "personal_data":
        return Spans(
            "personal_data", PersonalData(read_kinds(options.get("kinds", ""))), one.action, note, passes=False
        )
    if one.kind == "max_chars":
        return Length(read_limit(options), one.action, note)
    if one.kind == "injection":
        return _injected(one, note)
    return _plugin(one.kind, options, one.action, note)


def _injected(one: Filter, note: Note) -> Check:
    if one.on == "answer" or one.action == "mask":
        raise Corrupt(
            "the filter injection looks at requests and cannot mask them",
            expected="`on: request` (or both), and the action refuse or log",
            fix="correct the filter; what an answer may not say is `deny`'s",
        )
    return Injected(read_injection(one.options), one.action, note)


def _plugin(kind: str, options: Mapping[str, str], action: Action, note: Note) -> Check:
    module, found, name = kind.partition(":")
    if not found:
        raise Corrupt(
            f"there is no filter '{kind[:80]}'",
            expected=", ".join(BUILT_IN) + " or package.module:Class",
            fix="correct the filter's kind",
        )
    try:
        made: TextFilter = getattr(importlib.import_module(module), name)(dict(options))
        made.check_request, made.stream  # noqa: B018
    except Exception as error:
        raise Corrupt(
            f"the filter '{kind[:80]}' cannot be made: {type(error).__name__}",
            expected="a class with check_request and stream, made with the options",
            fix="install its package where the gateway runs, and see that the class takes its options",
        ) from error
    slow_s = _positive(kind, options.get("slow_ms", "")) / 1000 or _SLOW_S
    return Plugin(kind, made, action, note, passes=_passes(options), slow_s=slow_s)


def _passes(options: Mapping[str, str]) -> bool:
    given = options.get("on_error", "refuse")
    if given not in ("refuse", "pass"):
        raise Corrupt(f"a filter has on_error '{given[:40]}'", expected="refuse or pass", fix="correct the option")
    return given == "pass"


def _positive(kind: str, given: str) -> float:
    if given and not given.isdecimal():
        raise Corrupt(f"the filter '{kind[:80]}' has slow_ms '{given[:40]}'", expected="milliseconds", fix="correct it")
    return float(given or 0)


def _know_options(kind: str, options: Mapping[str, str]) -> None:
    if unknown := sorted(set(options) - _OPTIONS[kind]):
        raise Corrupt(
            f"the filter {kind} knows no option '{unknown[0][:40]}'",
            expected=", ".join(sorted(_OPTIONS[kind])),
            fix="correct the filter's options",
        )
