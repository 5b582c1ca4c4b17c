"""Refusals: which limit of whom said no, what is left of it, and when to try again; and the x-ratelimit headers."""

from collections.abc import Sequence
from math import ceil

from modelyard.core.money import format_usd
from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits.calendar import MINUTE_S, Calendar, until_day_ends_s, until_month_ends_s
from modelyard.gateway.limits.subjects import UNLIMITED, Subject

_NEVER = float("inf")
Headers = tuple[tuple[bytes, bytes], ...]
Breach = tuple[float, str, str, tuple[str, str]]


class Room:
    """What is left for some subjects at one moment: for each, the requests and tokens that would be let through."""

    __slots__ = ("_elapsed", "calendar", "now_s", "subjects")

    def __init__(self, subjects: Sequence[Subject], calendar: Calendar, now_s: float) -> None:
        self.subjects = subjects
        self.calendar = calendar
        self.now_s = now_s
        self._elapsed = 1.0 - max(0.0, calendar.ends_s - now_s) / MINUTE_S

    def headers(self) -> Headers:
        """The x-ratelimit headers: of requests and of tokens, those of the subject that has the least left."""
        requests = min((self._requests(s) for s in self.subjects if s.interval_s), default=None)
        tokens = min((self._tokens(s) for s in self.subjects if s.tokens != UNLIMITED), default=None)
        return (*_triple(b"requests", requests), *_triple(b"tokens", tokens))

    def refusal(self, tokens: int, cost_nanousd: int) -> Refusal:
        """Why these subjects have no room for a request: of all reasons the one that will last longest."""
        wait_s, code, message, labels = max(
            (breach for s in self.subjects for breach in self._breaches(s, tokens, cost_nanousd)), default=_UNKNOWN
        )
        if wait_s == _NEVER:
            return Refusal(429, code, message, param="max_tokens", headers=self.headers(), labels=labels)
        retry = (b"retry-after", b"%d" % max(1, ceil(wait_s)))
        return Refusal(429, code, message, headers=(retry, *self.headers()), labels=labels)

    def _requests(self, subject: Subject) -> tuple[int, int, float]:
        behind = max(0.0, subject.account.due_s - self.now_s)
        left = max(0, int(subject.burst - behind / subject.interval_s + 1e-6))
        return left, subject.limits.requests_per_minute, behind

    def _tokens(self, subject: Subject) -> tuple[int, int, float]:
        account = subject.account
        used = account.tokens_before * (1.0 - self._elapsed) + account.tokens
        minutes = 2 if account.tokens else 1 if account.tokens_before else 0
        left = max(0, int(subject.tokens - used))
        return left, subject.tokens, max(0.0, (minutes - self._elapsed) * MINUTE_S)

    def _breaches(self, subject: Subject, tokens: int, cost: int) -> list[Breach]:
        found = []
        account, limits, who = subject.account, subject.limits, subject.who
        if (wait := account.due_s - self.now_s - subject.slack_s) > 0:
            message = f"The {who} may make {limits.requests_per_minute} requests a minute, and has made them."
            found.append((wait, "rate_limit_exceeded", _again(message, wait), (subject.kind, "requests")))
        if tokens > subject.tokens:
            message = f"The request may take {tokens} tokens (prompt and max_tokens), but the {who} has"
            message += f" {subject.tokens} a minute: it can never pass. Send a smaller max_tokens or a shorter prompt."
            found.append((_NEVER, "rate_limit_exceeded", message, (subject.kind, "tokens")))
        elif wait := self._wait_for_tokens(subject, tokens or 1):
            message = f"The request may take {tokens} tokens, but of its {subject.tokens} a minute the {who} has"
            message = _again(f"{message} {self._tokens(subject)[0]} left.", wait)
            found.append((wait, "rate_limit_exceeded", message, (subject.kind, "tokens")))
        if account.in_flight >= subject.concurrency:
            message = f"The {who} may have {subject.concurrency} requests at once, and has. Try again as one ends."
            found.append((1.0, "rate_limit_exceeded", message, (subject.kind, "concurrency")))
        minute = self.calendar.minute
        for word, used, limit, ends in (
            ("day", account.day_used, subject.daily, until_day_ends_s(minute)),
            ("month", account.month_used, subject.monthly, until_month_ends_s(minute)),
        ):
            if cost > limit:
                message = f"The request may cost {format_usd(cost)}, but the {who} has {format_usd(limit)} a {word}:"
                message += " it can never pass. Send a smaller max_tokens or a shorter prompt."
                found.append((_NEVER, "insufficient_quota", message, (subject.kind, f"money_{word}")))
            elif used + (cost or 1) > limit:
                message = f"The request may cost {format_usd(cost)}, but of its {format_usd(limit)} a {word} the {who}"
                message += f" has {format_usd(max(0, limit - used))} left that is not reserved."
                message += f" The next {word} begins in {_spell(ends)}."
                found.append((float(ends), "insufficient_quota", message, (subject.kind, f"money_{word}")))
        return found

    def _wait_for_tokens(self, subject: Subject, tokens: int) -> float:
        """Seconds until the tokens fit, if nothing else comes; 0 where they do now."""
        account = subject.account
        room = subject.tokens - tokens - account.tokens
        if room < 0:
            # Not in this minute: in the next one, what is used now fades.
            fades = 1.0 - (subject.tokens - tokens) / account.tokens
            return (1.0 - self._elapsed + fades) * MINUTE_S
        if account.tokens_before * (1.0 - self._elapsed) <= room:
            return 0.0
        return (1.0 - room / account.tokens_before - self._elapsed) * MINUTE_S


_REQUESTS = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %.3fs\r\n"
)
_TOKENS = b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %.3fs\r\n"


def header_block(subjects: Sequence[Subject], calendar: Calendar, now_s: float) -> bytes:
    """`Room.headers` as a response's head holds them. Every good answer has them, so they are made in one loop."""
    fading = (calendar.ends_s - now_s) / MINUTE_S
    few = less = UNLIMITED
    told = b""
    tightest: Subject | None = None
    for subject in subjects:
        account = subject.account
        if subject.interval_s:
            behind = account.due_s - now_s
            left = int(subject.burst - behind / subject.interval_s + 1e-6) if behind > 0 else subject.burst
            if left < few:
                few = left
                shown = (subject.limits.requests_per_minute, left if left > 0 else 0, behind if behind > 0 else 0.0)
                told = _REQUESTS % shown
        if subject.tokens != UNLIMITED:
            left = int(subject.tokens - account.tokens_before * fading - account.tokens)
            if left < less:
                less, tightest = left, subject
    if tightest is None:
        return told
    account = tightest.account
    minutes = 2 if account.tokens else 1 if account.tokens_before else 0
    reset_s = (minutes - 1.0 + fading) * MINUTE_S
    return told + _TOKENS % (tightest.tokens, less if less > 0 else 0, reset_s if reset_s > 0 else 0.0)


_UNKNOWN: Breach = (1.0, "rate_limit_exceeded", "A limit is reached. Try again in 1 s.", ("", ""))


def _triple(what: bytes, numbers: tuple[int, int, float] | None) -> Headers:
    if numbers is None:
        return ()
    left, limit, reset_s = numbers
    return (
        (b"x-ratelimit-limit-" + what, b"%d" % limit),
        (b"x-ratelimit-remaining-" + what, b"%d" % left),
        (b"x-ratelimit-reset-" + what, b"%.3fs" % reset_s),
    )


def _again(message: str, wait_s: float) -> str:
    return (
        f"{message} Try again in {max(0.001, wait_s):.3f} s."
        if wait_s < 10
        else f"{message} Try again in {ceil(wait_s)} s."
    )


def _spell(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, minutes = divmod(rest // 60, 60)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"
