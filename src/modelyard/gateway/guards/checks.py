"""The kinds of filters, each made ready once for a table: what it does to a request's texts, and to a growing one."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from modelyard.core.errors import Corrupt
from modelyard.core.personal.spans import Span, mask
from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.injection import Injection
from modelyard.gateway.guards.tails import Finder, Tail
from modelyard.ports.guarding import Outcome, StreamFilter, TextFilter

Action = Literal["refuse", "mask", "log"]
# Told of everything that is found: the filter's kind, and what it was.
Note = Callable[[str, str], None]

logger = logging.getLogger(__name__)


def refusal(kind: str) -> Refusal:
    """What the caller is told; never what was found."""
    message = f"The content was refused by this service's filter '{kind}'. Change it and try again."
    return Refusal(400, "content_filter", message)


def broken(kind: str) -> Refusal:
    """A filter that could not do its work."""
    message = f"This service's filter '{kind}' cannot check the content, so nothing passes. Try again later."
    return Refusal(503, "filter_failed", message)


class Strand(Protocol):
    """One text of one answer on its way through one filter."""

    def feed(self, piece: str) -> str | Refusal:
        """What may go out now."""

    def finish(self) -> str | Refusal:
        """What was still held back."""


class Check(Protocol):
    """A filter made ready. Both raise nothing but Refusal."""

    def request(self, texts: list[str]) -> list[str]:
        """The texts as they may go on. Raises: Refusal."""

    def strand(self) -> Strand:
        """A new text of an answer."""


class Spans:
    """A filter that finds spans: they are covered, or the content is refused, or it is merely noted.

    A search that takes too long is a filter that failed: `on_error` says what then.
    """

    __slots__ = ("action", "finder", "kind", "note", "passes")

    def __init__(self, kind: str, finder: Finder, action: Action, note: Note, *, passes: bool) -> None:
        self.kind = kind
        self.finder = finder
        self.action = action
        self.note = note
        self.passes = passes

    def request(self, texts: list[str]) -> list[str]:
        """Every text on its own."""
        return [self._one(text) for text in texts]

    def strand(self) -> Strand:
        """A new text; one that is only noted is never held back."""
        return SpanStrand(self)

    def failed(self, error: Exception) -> None:
        """A search that ran out of time. Raises: Refusal unless such content passes."""
        logger.error("the filter %s failed: %s", self.kind, type(error).__name__)
        self.note(self.kind, "error")
        if not self.passes:
            raise broken(self.kind)

    def _one(self, text: str) -> str:
        try:
            spans = self.finder.find(text, 0)
        except TimeoutError as error:
            self.failed(error)
            return text
        if not spans:
            return text
        self.noted(spans)
        if self.action == "refuse":
            raise refusal(self.kind)
        return mask(text, spans) if self.action == "mask" else text

    def noted(self, spans: list[Span]) -> None:
        """Count what was found."""
        for _, _, what in spans:
            self.note(self.kind, what)


class SpanStrand:
    """A growing text in which spans are looked for."""

    __slots__ = ("_check", "_tail")

    def __init__(self, check: Spans) -> None:
        self._check = check
        self._tail = Tail(check.finder)

    def feed(self, piece: str) -> str | Refusal:
        """What is settled, with what was found covered."""
        try:
            settled, spans = self._tail.feed(piece)
        except TimeoutError as error:
            return self._give_up(error, piece)
        if self._check.action == "log":
            if spans:
                self._check.noted(spans)
            return piece
        return self._acted(settled, spans) if spans else settled

    def finish(self) -> str | Refusal:
        """The rest."""
        try:
            settled, spans = self._tail.finish()
        except TimeoutError as error:
            return self._give_up(error, "")
        if self._check.action == "log":
            self._check.noted(spans)
            return ""
        return self._acted(settled, spans) if spans else settled

    def _acted(self, settled: str, spans: list[Span]) -> str | Refusal:
        self._check.noted(spans)
        return refusal(self._check.kind) if self._check.action == "refuse" else mask(settled, spans)

    def _give_up(self, error: Exception, piece: str) -> str | Refusal:
        try:
            self._check.failed(error)
        except Refusal as told:
            return told
        held, self._tail = self._tail.held, Tail(self._check.finder)
        return piece if self._check.action == "log" else held + piece


class Length:
    """At most so many characters in a request's texts together, and in each text of an answer.

    What is longer is refused; an answer is cut where the action is `mask`, and a request passes where it is `log`.
    """

    __slots__ = ("action", "limit", "note")

    def __init__(self, limit: int, action: Action, note: Note) -> None:
        self.limit = limit
        self.action = action
        self.note = note

    def request(self, texts: list[str]) -> list[str]:
        """The texts as they are. Raises: Refusal."""
        length = sum(map(len, texts))
        if length > self.limit:
            self.note("max_chars", "too_long")
            if self.action != "log":
                message = f"The request's texts have {length} characters; this service takes {self.limit}. Shorten it."
                raise Refusal(400, "content_too_long", message)
        return texts

    def strand(self) -> Strand:
        """A new text."""
        return LengthStrand(self)


class LengthStrand:
    """A growing text that is counted."""

    __slots__ = ("_check", "_left")

    def __init__(self, check: Length) -> None:
        self._check = check
        self._left = check.limit

    def feed(self, piece: str) -> str | Refusal:
        """The piece, as far as there is room."""
        left, self._left = self._left, self._left - len(piece)
        if self._left >= 0:
            return piece
        if left >= 0:
            self._check.note("max_chars", "too_long")
        if self._check.action == "refuse":
            return refusal("max_chars")
        return piece if self._check.action == "log" else piece[: max(0, left)]

    def finish(self) -> str | Refusal:
        """Nothing is held back."""
        return ""


class Injected:
    """The filter `injection`: it looks at requests. An answer is the model's own, so its text passes."""

    __slots__ = ("action", "finder", "note")

    def __init__(self, finder: Injection, action: Action, note: Note) -> None:
        self.finder = finder
        self.action = action
        self.note = note

    def request(self, texts: list[str]) -> list[str]:
        """The texts as they are. Raises: Refusal. Orders may be spread over texts, so they are read as one."""
        if found := self.finder.found_in("\n".join(texts)):
            for sign in found:
                self.note("injection", sign)
            if self.action != "log":
                raise refusal("injection")
        return texts

    def strand(self) -> Strand:
        """It is never asked for: the table refuses this filter on answers."""
        raise AssertionError("injection looks at requests alone")


class Plugin:
    """A filter of one's own. One that raises, answers nonsense or takes longer than its time does what `on_error` says.

    `slow_s` is told, not enforced: it runs in the gateway's loop, where nothing can interrupt it.
    """

    __slots__ = ("action", "kind", "made", "note", "passes", "slow_s")

    def __init__(self, kind: str, made: TextFilter, action: Action, note: Note, *, passes: bool, slow_s: float) -> None:
        self.kind = kind
        self.made = made
        self.action = action
        self.note = note
        self.passes = passes
        self.slow_s = slow_s

    def request(self, texts: list[str]) -> list[str]:
        """The texts as the plugin wants them. Raises: Refusal."""
        outcome = self.asked(lambda: self.made.check_request(tuple(texts)), len(texts))
        if isinstance(outcome, Refusal):
            raise outcome
        return list(outcome.texts) if outcome.texts and self.action != "log" else texts

    def strand(self) -> Strand:
        """A new text. Where the plugin cannot begin one, each piece is refused or passes as `on_error` says."""
        try:
            return PluginStrand(self, self.made.stream())
        except Exception as error:
            return PluginStrand(self, None, self.failed(f"raised {type(error).__name__}"))

    def asked(self, ask: Callable[[], Outcome], num_texts: int) -> Outcome | Refusal:
        """What the plugin says, checked; what it did wrong is an empty outcome or a refusal."""
        began = time.perf_counter()
        try:
            outcome = ask()
        except Exception as error:
            return self.failed(f"raised {type(error).__name__}") or Outcome()
        if not isinstance(outcome, Outcome) or len(outcome.texts) not in (0, num_texts):
            return self.failed("gave no outcome, or not one text for each") or Outcome()
        if (took_s := time.perf_counter() - began) > self.slow_s:
            told = self.failed(f"took {took_s * 1000:.0f} ms, more than {self.slow_s * 1000:.0f}")
            if told is not None:
                return told
        for what in outcome.found:
            self.note(self.kind, str(what)[:60])
        return refusal(self.kind) if outcome.refuse and self.action != "log" else outcome

    def failed(self, what: str) -> Refusal | None:
        """Log it and say what becomes of the content: a refusal, or None where it passes."""
        logger.error("the filter %s %s", self.kind, what)
        self.note(self.kind, "error")
        return None if self.passes else broken(self.kind)


class PluginStrand:
    """A growing text in a plugin's hands."""

    __slots__ = ("_check", "_refused", "_stream")

    def __init__(self, check: Plugin, stream: StreamFilter | None, refused: Refusal | None = None) -> None:
        self._check = check
        self._stream = stream
        self._refused = refused

    def feed(self, piece: str) -> str | Refusal:
        """What the plugin lets out."""
        stream = self._stream
        if stream is None:
            return self._refused or piece
        outcome = self._check.asked(lambda: stream.feed(piece), 1)
        return self._out(outcome, piece)

    def finish(self) -> str | Refusal:
        """What the plugin still held."""
        return self._out(self._check.asked(self._stream.finish, 1), "") if self._stream else ""

    def _out(self, outcome: Outcome | Refusal, piece: str) -> str | Refusal:
        if isinstance(outcome, Refusal):
            return outcome
        return outcome.texts[0] if outcome.texts and self._check.action != "log" else piece


def read_limit(options: Mapping[str, str]) -> int:
    """The option `limit`. Raises: Corrupt."""
    given = options.get("limit", "")
    if not given.isdecimal() or int(given) == 0:
        raise Corrupt(
            f"the filter max_chars has the limit '{given[:40]}'",
            expected="a whole number of characters above 0",
            fix="set the filter's option `limit`",
        )
    return int(given)
