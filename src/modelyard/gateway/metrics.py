"""Metrics in the Prometheus text format, version 0.0.4. Plain integers, written by one event loop."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

from modelyard.core.clock import now_ms
from modelyard.gateway.journal import Journal
from modelyard.gateway.table import TableFile
from modelyard.ports.interaction import Interaction

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

_PREFIX = "modelyard_gateway_"


class Histogram:
    """Counts by upper bound, in seconds."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The histogram as Prometheus lines."""
        running = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            running += count
            yield f'{_PREFIX}{name}_bucket{{{labels},le="{bound}"}} {running}'
        yield f"{_PREFIX}{name}_sum{{{labels}}} {self.total_s:.6f}"
        yield f"{_PREFIX}{name}_count{{{labels}}} {running}"


class Series:
    """What is counted for one service, role and release."""

    __slots__ = ("completion_tokens", "cost_nanousd", "errors", "first_token", "latency", "prompt_tokens", "requests")

    def __init__(self) -> None:
        self.requests: dict[int, int] = defaultdict(int)
        self.errors = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cost_nanousd = 0
        self.latency = Histogram()
        self.first_token = Histogram()


class Metrics:
    """All that the gateway counts. Labels come from route tables alone, never from what a caller sends."""

    def __init__(self) -> None:
        self.in_flight: dict[str, int] = defaultdict(int)
        self.refused: dict[tuple[int, str], int] = defaultdict(int)
        self.shadows_in_flight = 0
        self.shadows_dropped = 0
        self.feedback = 0
        self._series: dict[tuple[str, str, str], Series] = defaultdict(Series)

    def count(self, entry: Interaction, ref: str) -> None:
        """Count one interaction."""
        series = self._series[entry.service, entry.role, ref]
        series.requests[entry.status] += 1
        series.prompt_tokens += entry.prompt_tokens
        series.completion_tokens += entry.completion_tokens
        series.cost_nanousd += entry.cost_nanousd
        series.latency.observe(entry.latency_ms / 1000)
        if entry.first_token_ms:
            series.first_token.observe(entry.first_token_ms / 1000)
        if entry.status >= 500:
            series.errors += 1

    def render(self, table: TableFile, journal: Journal, retries: int) -> bytes:
        """Everything, as text for a scraper."""
        lines = [*self._by_series(), *self._by_label(), *_process(self, table, journal, retries), ""]
        return "\n".join(lines).encode()

    def _by_series(self) -> Iterator[str]:
        rows = [
            (f'service="{_escape(s)}",role="{r}",release="{_escape(f)}"', x) for (s, r, f), x in self._series.items()
        ]
        yield from _head("requests_total", "counter", "Requests by outcome.")
        for labels, series in rows:
            for status, count in series.requests.items():
                yield f'{_PREFIX}requests_total{{{labels},status="{status}"}} {count}'
        for name, help_text in (
            ("errors", "Requests that failed on the engine's side."),
            ("prompt_tokens", "Prompt tokens."),
            ("completion_tokens", "Completion tokens."),
            ("cost_nanousd", "Cost in nano-dollars."),
        ):
            yield from _head(f"{name}_total", "counter", help_text)
            for labels, series in rows:
                yield f"{_PREFIX}{name}_total{{{labels}}} {getattr(series, name)}"
        yield from _head("latency_seconds", "histogram", "From the request's arrival to the end of the answer.")
        for labels, series in rows:
            yield from series.latency.lines("latency_seconds", labels)
        yield from _head("first_token_seconds", "histogram", "From the request's arrival to the first streamed token.")
        for labels, series in rows:
            yield from series.first_token.lines("first_token_seconds", labels)

    def _by_label(self) -> Iterator[str]:
        yield from _head("in_flight", "gauge", "Requests being answered now.")
        for service, count in self.in_flight.items():
            yield f'{_PREFIX}in_flight{{service="{_escape(service)}"}} {count}'
        yield from _head("refused_total", "counter", "Requests that the gateway refused itself.")
        for (status, code), count in self.refused.items():
            yield f'{_PREFIX}refused_total{{status="{status}",code="{_escape(code)}"}} {count}'


def _process(metrics: Metrics, table: TableFile, journal: Journal, retries: int) -> Iterator[str]:
    routes = table.routes
    age_s = (now_ms() - routes.table.created_ms) / 1000 if routes else 0.0
    values: Iterable[tuple[str, str, str, float]] = (
        ("feedback_total", "counter", "Feedback taken.", metrics.feedback),
        ("shadows_in_flight", "gauge", "Shadow requests being answered now.", metrics.shadows_in_flight),
        ("shadows_dropped_total", "counter", "Shadow requests not sent, or broken off.", metrics.shadows_dropped),
        ("upstream_retries_total", "counter", "Requests sent again after a stale connection.", retries),
        ("journal_errors_total", "counter", "Journal writes that failed.", journal.num_errors),
        ("journal_lost_total", "counter", "Journal entries given up.", journal.num_lost),
        ("journal_backlog", "gauge", "Journal entries waiting to be written.", journal.backlog),
        ("table_version", "gauge", "Version of the route table served, 0 for none.", _version(table)),
        ("table_age_seconds", "gauge", "Seconds since the route table served was made.", age_s),
        ("table_errors_total", "counter", "Route tables that were not taken.", table.num_errors),
        ("table_broken", "gauge", "1 while the newest route table could not be taken.", bool(routes and table.error)),
    )
    for name, kind, help_text, value in values:
        yield from _head(name, kind, help_text)
        yield f"{_PREFIX}{name} {value:.3f}" if isinstance(value, float) else f"{_PREFIX}{name} {int(value)}"


def _version(table: TableFile) -> int:
    return table.routes.table.version if table.routes else 0


def _head(name: str, kind: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {_PREFIX}{name} {help_text}", f"# TYPE {_PREFIX}{name} {kind}"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
