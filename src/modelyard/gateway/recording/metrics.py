"""Metrics: what one process of the gateway counts, as plain numbers written by one event loop.

Labels come from route tables and from our own words, never from what a caller sends. Other parts of the gateway count
by `counter`, whose dictionary they add to, and are looked at by `gauge` and `others`, when a scraper asks; so none
imports another.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable

from modelyard.core.clock import now_ms
from modelyard.gateway.errors import Refusal
from modelyard.gateway.recording.exposition import (
    CONTENT_TYPE,
    Family,
    HistogramFamily,
    Kind,
    Labels,
    State,
    merged,
    render,
)
from modelyard.gateway.recording.journal import Journal
from modelyard.gateway.table import TableFile
from modelyard.ports.interaction import Interaction

__all__ = ["CONTENT_TYPE", "Counter", "Histogram", "Metrics", "Series"]

_BOUNDS_MS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 1.2e5)
_BOUNDS_US = (10.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1e3, 2e3, 5e3, 1e4)

Counter = dict[Labels, int]
Provider = Callable[[], Iterable[tuple[Labels, int | float]]]


class Histogram:
    """Counts by upper bound, in the unit of the bounds: microseconds, where nothing else is said."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = _BOUNDS_US) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count one value, or several like it."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Series:
    """What is counted for one service, role and release."""

    __slots__ = (
        "completion_tokens",
        "cost_nanousd",
        "errors",
        "first_token",
        "latency",
        "prompt_tokens",
        "requests",
        "saved_nanousd",
    )

    def __init__(self) -> None:
        self.requests: dict[int, int] = defaultdict(int)
        self.errors = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cost_nanousd = 0
        self.saved_nanousd = 0
        self.latency = Histogram(_BOUNDS_MS)
        self.first_token = Histogram(_BOUNDS_MS)

    def count(self, entry: Interaction) -> None:
        """Count one interaction."""
        status = entry.status
        self.requests[status] += 1
        if status >= 500:
            self.errors += 1
        self.prompt_tokens += entry.prompt_tokens
        self.completion_tokens += entry.completion_tokens
        self.cost_nanousd += entry.cost_nanousd
        self.saved_nanousd += entry.saved_nanousd
        self.latency.observe(entry.latency_ms)
        if entry.first_token_ms:
            self.first_token.observe(entry.first_token_ms)

    @property
    def streamed(self) -> bool:
        """Whether a first token was ever timed."""
        return self.first_token.total > 0


class Metrics:
    """All that one process of the gateway counts. What is never counted shows no lines."""

    def __init__(self) -> None:
        self._counters: list[tuple[str, str, Labels, Counter]] = []
        self._gauges: list[tuple[str, str, Labels, Provider, Kind]] = []
        self._series: dict[tuple[str, str, str], Series] = {}
        self.in_flight: dict[str, int] = defaultdict(int)
        self.refused: dict[tuple[int, str], int] = defaultdict(int)
        self.shadows_in_flight = 0
        self.shadows_dropped = 0
        self.feedback = 0
        self.overhead_first_us = Histogram()
        self.overhead_read_us = Histogram()
        self.hedges = self.counter("hedges_total", "Second requests sent for a slow first.", "service", "outcome")
        self.fallbacks = self.counter("fallbacks_total", "Answers by another variant.", "service", "variant", "code")
        self.escalations = self.counter("escalations_total", "Requests sent to a dearer variant.", "service", "why")
        self.limited = self.counter("limited_total", "Requests refused by a limit.", "scope", "limit")
        self.killed = self.counter("killed_total", "Requests refused by a kill switch.", "scope")
        self.others: list[Callable[[], Iterable[Family]]] = []
        self.gone = self.counter("clients_gone_total", "Callers that left before the end.", "service")

    def counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """A counter to add to: `metrics.retries["support",] += 1`. Its name ends in `_total`."""
        counts: Counter = defaultdict(int)
        self._counters.append((name, help_text, labels, counts))
        return counts

    def gauge(self, name: str, help_text: str, *labels: str, provider: Provider, worst: bool = False) -> None:
        """A gauge whose provider is asked when a scraper looks. Over workers it is added; of `worst`, the highest."""
        self._gauges.append((name, help_text, labels, provider, "worst" if worst else "gauge"))

    def series(self, service: str, role: str, ref: str) -> Series:
        """What is counted for one release in one role. Look it up when the table is swapped, not once a request."""
        key = (service, role, ref)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = Series()
        return found

    def refuse(self, refusal: Refusal) -> None:
        """Count one refusal."""
        self.refused[refusal.status, refusal.code] += 1
        if refusal.labels:
            (self.killed if refusal.code == "killed" else self.limited)[refusal.labels] += 1

    def count(self, entry: Interaction, ref: str) -> None:
        """Count one interaction."""
        self.series(entry.service, entry.role, ref).count(entry)

    def render(self, table: TableFile, journal: Journal, retries: int, others: Iterable[State] = ()) -> bytes:
        """Everything, as text for a scraper, with what other workers have counted."""
        return render(merged([self.state(table, journal, retries), *others]))

    def state(self, table: TableFile, journal: Journal, retries: int) -> State:
        """Everything, as a value that can be written down and added to others."""
        counted = [Family(n, "counter", text, labels, list(c.items())) for n, text, labels, c in self._counters]
        asked = [Family(n, kind, text, labels, list(ask())) for n, text, labels, ask, kind in self._gauges]
        others = [family for ask in self.others for family in ask()]
        own = [*self._by_series(), *self._by_label(), *counted, *asked]
        families = [*own, *others, *_process(self, table, journal, retries)]
        return State([one for one in families if one.values], self._histograms())

    def _by_series(self) -> list[Family]:
        labels, rows = ("service", "role", "release"), self._series.items()
        statuses = [((*key, str(status)), count) for key, one in rows for status, count in one.requests.items()]
        return [
            Family("requests_total", "counter", "Requests by outcome.", (*labels, "status"), statuses),
            *(
                Family(f"{name}_total", "counter", text, labels, [(key, getattr(one, name)) for key, one in rows])
                for name, text in _SERIES
            ),
        ]

    def _by_label(self) -> list[Family]:
        in_flight = [((service,), count) for service, count in self.in_flight.items()]
        refused = [((str(status), code), count) for (status, code), count in self.refused.items()]
        return [
            Family("in_flight", "gauge", "Requests being answered now.", ("service",), in_flight),
            Family("refused_total", "counter", "Requests that the gateway refused.", ("status", "code"), refused),
        ]

    def _histograms(self) -> list[HistogramFamily]:
        labels, rows = ("service", "role", "release"), self._series.items()
        seconds = tuple(bound / 1000 for bound in _BOUNDS_MS)
        latency = [(key, one.latency.counts, one.latency.total / 1000) for key, one in rows]
        first = [(key, one.first_token.counts, one.first_token.total / 1000) for key, one in rows if one.streamed]
        return [
            HistogramFamily("latency_seconds", "From arrival to the end of the answer.", labels, seconds, latency),
            HistogramFamily("first_token_seconds", "From arrival to the first token.", labels, seconds, first),
            _overhead("overhead_microseconds", "Our own time up to the first byte.", self.overhead_first_us),
            _overhead("read_overhead_microseconds", "Our own mean time for a read of a stream.", self.overhead_read_us),
        ]


_SERIES = (
    ("errors", "Requests that failed on the engine's side."),
    ("prompt_tokens", "Prompt tokens."),
    ("completion_tokens", "Completion tokens."),
    ("cost_nanousd", "Cost in nano-dollars."),
    ("saved_nanousd", "What answers from the cache would have cost, in nano-dollars."),
)


def _overhead(name: str, help_text: str, one: Histogram) -> HistogramFamily:
    return HistogramFamily(name, help_text, (), one.bounds, [((), one.counts, one.total)])


def _process(metrics: Metrics, table: TableFile, journal: Journal, retries: int) -> list[Family]:
    routes = table.routes
    version = routes.table.version if routes else 0
    age_s = (now_ms() - routes.table.created_ms) / 1000 if routes else 0.0
    broken = int(bool(routes and table.error))
    return [
        _one("feedback_total", "counter", "Feedback taken.", metrics.feedback),
        _one("shadows_in_flight", "gauge", "Shadow requests being answered now.", metrics.shadows_in_flight),
        _one("shadows_dropped_total", "counter", "Shadow requests not sent, or broken off.", metrics.shadows_dropped),
        _one("upstream_retries_total", "counter", "Requests sent again after a stale connection.", retries),
        _one("journal_entries_total", "counter", "Journal entries written.", journal.num_entries),
        _one("journal_bytes_total", "counter", "Journal bytes written.", journal.num_bytes),
        _one("journal_errors_total", "counter", "Journal writes that failed.", journal.num_errors),
        _one("journal_lost_total", "counter", "Journal entries given up.", journal.num_lost),
        _one("journal_backlog", "gauge", "Journal entries waiting to be written.", journal.backlog),
        _one("journal_lag_seconds", "worst", "For how long the oldest of them has waited.", journal.lag_s),
        _one("table_version", "worst", "Version of the route table served, 0 for none.", version),
        _one("table_age_seconds", "worst", "Seconds since the route table served was made.", age_s),
        _one("table_errors_total", "counter", "Route tables that were not taken.", table.num_errors),
        _one("table_broken", "worst", "1 while the newest route table could not be taken.", broken),
    ]


def _one(name: str, kind: Kind, help_text: str, value: float) -> Family:
    return Family(name, kind, help_text, (), [((), value)])
