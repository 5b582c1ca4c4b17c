"""The health of what could answer: a circuit a replica, a budget of retries a service, first-token times a variant.

Every moment is handed in, in monotonic seconds; nothing here waits or knows of a network.
"""

from bisect import bisect_left

from modelyard.ports.serving import Breaker, Retries

CLOSED, PAUSED, OPEN, TRYING = "closed", "paused", "open", "trying"

_MAX_OPEN_S = 60.0
_MAX_TRIAL_S = 60.0
_PAUSE_S = 1.0
_RETRY_WINDOW_S = 10.0
_HALF_LIFE_S = 30.0
_BOUNDS_S = tuple([0.001 * 1.1**step for step in range(150)])  # 1 ms to 24 minutes


class Circuit:
    """One replica's breaker. `blocked_until_s` is 0.0 while it is closed: all that a request looks at.

    Once that moment is past, one request tries the replica; how it ends closes the circuit or opens it again.
    """

    __slots__ = (
        "_closed_s",
        "_errors",
        "_half_s",
        "_old_errors",
        "_old_requests",
        "_opened_s",
        "_requests",
        "_streak",
        "_window",
        "blocked_until_s",
        "ejected",
        "num_opened",
        "num_paused",
        "open_s",
        "state",
    )

    def __init__(self) -> None:
        self.blocked_until_s = 0.0
        self.state = CLOSED
        self.ejected = False
        self.open_s = 0.0
        self.num_opened = 0
        self.num_paused = 0
        self._streak = 0
        self._opened_s = 0.0
        self._closed_s = 0.0
        self._half_s = 0.0
        self._window = 0
        self._requests = self._errors = self._old_requests = self._old_errors = 0

    def try_again(self, now_s: float) -> None:
        """Note that a request goes to a replica that was left alone, so that no second one does."""
        if self.state == PAUSED:
            self._close()
            return
        self.state = TRYING
        self._opened_s = now_s
        # A trial of which nothing is ever heard is followed by another.
        self.blocked_until_s = now_s + _MAX_TRIAL_S

    def note(self, status: int, breaker: Breaker, *, started_s: float, now_s: float, retry_after_s: float) -> bool:
        """Take an outcome in. True where the share of errors asks for ejection, which its group decides on.

        `status` is the engine's, or that of the `UpstreamFailed`; 499 stands for a caller who left.
        """
        if self.blocked_until_s and started_s < self._opened_s:
            return False  # sent before the circuit opened: it says nothing new
        if status == 429 or (status == 408 and retry_after_s > 0):
            self._pause(now_s, retry_after_s or _PAUSE_S)
            return False
        failed = status >= 500 or status == 408
        if self.state == TRYING:
            self._end_trial(breaker, failed, status == 499, now_s)
            return False
        if status == 499 or self.state == OPEN:
            return False
        self._count(failed, breaker.window_s, now_s)
        if not failed:
            self._streak = 0
            return False
        self._streak += 1
        if self._streak >= breaker.failures > 0:
            self.open(breaker, now_s)
            return False
        requests = self._requests + self._old_requests
        return requests >= breaker.min_requests and self.error_share > breaker.error_share

    def note_first(self, *, started_s: float, now_s: float) -> None:
        """Take in that an answer has begun: enough for the request that tries the replica."""
        if self.state == TRYING and started_s >= self._opened_s:
            self._pass(now_s)

    @property
    def num_requests(self) -> int:
        """Outcomes in the window."""
        return self._requests + self._old_requests

    @property
    def error_share(self) -> float:
        """The share of failures in the window, 0 where it is empty."""
        requests = self._requests + self._old_requests
        return (self._errors + self._old_errors) / requests if requests else 0.0

    def roll(self, window_s: float, now_s: float) -> None:
        """Let what is older than the window be forgotten: two halves, the older of which goes."""
        age = now_s - self._half_s
        half = window_s / 2
        if age < half:
            return
        fresh = age < window_s
        self._old_requests, self._old_errors = (self._requests, self._errors) if fresh else (0, 0)
        self._requests = self._errors = 0
        self._half_s = now_s

    def open(self, breaker: Breaker, now_s: float, *, ejected: bool = False) -> None:
        """Leave the replica alone: twice as long as the last time, unless it stayed well for as long in between."""
        relapsed = self.open_s and now_s - self._closed_s < 2 * self.open_s
        self.open_s = min(_MAX_OPEN_S, self.open_s * 2 if relapsed else breaker.open_s)
        self.state = OPEN
        self.ejected = ejected
        self.num_opened += 1
        self._opened_s = now_s
        self.blocked_until_s = now_s + self.open_s

    def _pause(self, now_s: float, seconds: float) -> None:
        self.num_paused += 1
        if self.state in (CLOSED, PAUSED):
            self.state = PAUSED
            self._opened_s = now_s
            self.blocked_until_s = max(self.blocked_until_s, now_s + min(seconds, _MAX_OPEN_S))
        elif self.state == TRYING:
            self.blocked_until_s = now_s + min(seconds, _MAX_OPEN_S)

    def _end_trial(self, breaker: Breaker, failed: bool, gone: bool, now_s: float) -> None:
        if gone:
            self.blocked_until_s = now_s
        elif failed:
            self._closed_s = now_s
            self.open(breaker, now_s, ejected=self.ejected)
        else:
            self._pass(now_s)

    def _pass(self, now_s: float) -> None:
        self._closed_s = now_s
        self._requests = self._errors = self._old_requests = self._old_errors = 0
        self._close()

    def _close(self) -> None:
        self.state = CLOSED
        self.ejected = False
        self.blocked_until_s = 0.0
        self._streak = 0

    def _count(self, failed: bool, window_s: float, now_s: float) -> None:
        if now_s - self._half_s >= window_s / 2:
            self.roll(window_s, now_s)
        self._requests += 1
        self._errors += failed


class RetryBudget:
    """How many retries a service may still make: a share of its requests in ten seconds, and a few on top."""

    __slots__ = ("_half_s", "_old_requests", "_old_retries", "_requests", "_retries", "num_refused", "num_retries")

    def __init__(self) -> None:
        self._half_s = 0.0
        self._requests = self._retries = self._old_requests = self._old_retries = 0
        self.num_retries = 0
        self.num_refused = 0

    def note_request(self, now_s: float) -> None:
        """Count a caller's request."""
        if now_s - self._half_s >= _RETRY_WINDOW_S / 2:
            self._roll(now_s)
        self._requests += 1

    def spend(self, retries: Retries, num_made: int, now_s: float) -> bool:
        """Take one retry for a request that has made `num_made`. False where it may not."""
        if num_made >= retries.max:
            return False
        self._roll(now_s)
        made = self._retries + self._old_retries
        if made + 1 > retries.budget_floor + retries.budget_share * (self._requests + self._old_requests):
            self.num_refused += 1
            return False
        self._retries += 1
        self.num_retries += 1
        return True

    def _roll(self, now_s: float) -> None:
        age = now_s - self._half_s
        if age < _RETRY_WINDOW_S / 2:
            return
        fresh = age < _RETRY_WINDOW_S
        self._old_requests, self._old_retries = (self._requests, self._retries) if fresh else (0, 0)
        self._requests = self._retries = 0
        self._half_s = now_s


class Latencies:
    """Times to the first token, newer ones weighing more: half as much every 30 seconds. Quantiles to a tenth."""

    __slots__ = ("_start_s", "_unit", "_unit_s", "weights")

    def __init__(self) -> None:
        self.weights = [0.0] * (len(_BOUNDS_S) + 1)
        self._start_s = 0.0
        self._unit = 1.0  # the weight of an observation now, brought up to date once a second
        self._unit_s = 0.0

    def observe(self, seconds: float, now_s: float) -> None:
        """Count one duration."""
        if now_s - self._unit_s >= 1.0:
            self._age(now_s)
        self.weights[bisect_left(_BOUNDS_S, seconds)] += self._unit

    def count(self, now_s: float) -> float:
        """How many observations there are, each weighed by its age."""
        self._age(now_s)
        return sum(self.weights) / self._unit

    def quantile(self, share: float) -> float:
        """The time that this share of the answers began within, in seconds; 0 where there is none."""
        total = sum(self.weights)
        if total <= 0:
            return 0.0
        running = 0.0
        for bound, weight in zip(_BOUNDS_S, self.weights, strict=False):
            running += weight
            if running >= share * total:
                return bound
        return _BOUNDS_S[-1]

    def _age(self, now_s: float) -> None:
        """Weights grow forward instead of decaying, and are scaled down when they grow large."""
        half_lives = (now_s - self._start_s) / _HALF_LIFE_S
        if half_lives > 64:
            factor = 0.5**half_lives
            self.weights = [weight * factor if weight else 0.0 for weight in self.weights]
            self._start_s, half_lives = now_s, 0.0
        self._unit = 2.0**half_lives
        self._unit_s = now_s
