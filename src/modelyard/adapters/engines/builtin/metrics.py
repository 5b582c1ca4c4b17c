"""The engine's metrics in Prometheus' text format, under vLLM's names with a prefix of our own. Used by one thread."""

from bisect import bisect_left
from collections import Counter

PREFIX = "modelyard_engine:"
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """Counts of observations by upper bound, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum_s += seconds

    def lines(self, name: str, labels: str) -> list[str]:
        """The samples in text format."""
        lines, total = [], 0
        for bound, count in zip((*map(str, _SECONDS), "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
        return [*lines, f"{name}_sum{{{labels}}} {self._sum_s}", f"{name}_count{{{labels}}} {total}"]


class Metrics:
    """Everything that is counted as requests come and go."""

    def __init__(self, model_name: str) -> None:
        self._labels = f'model_name="{escape(model_name)}"'
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished: Counter[str] = Counter({"stop": 0, "length": 0, "abort": 0, "error": 0})
        self.queue_time = Histogram()
        self.time_to_first_token = Histogram()
        self.e2e_latency = Histogram()

    def render(self, *, running: int, waiting: int, running_adapters: set[str], max_adapters: int) -> bytes:
        """The whole page."""
        labels = self._labels
        lines = [
            *_sample("num_requests_running", "gauge", labels, running),
            *_sample("num_requests_waiting", "gauge", labels, waiting),
            *_sample("prompt_tokens_total", "counter", labels, self.prompt_tokens),
            *_sample("generation_tokens_total", "counter", labels, self.generation_tokens),
        ]
        adapters = escape(",".join(sorted(running_adapters)))
        lora = f'running_lora_adapters="{adapters}",max_lora="{max_adapters}"'
        lines += _sample("lora_requests_info", "gauge", lora, 1)
        lines.append(f"# TYPE {PREFIX}request_success_total counter")
        for reason, count in self.finished.items():
            lines.append(f'{PREFIX}request_success_total{{{labels},finished_reason="{reason}"}} {count}')
        histograms = {
            "request_queue_time_seconds": self.queue_time,
            "time_to_first_token_seconds": self.time_to_first_token,
            "e2e_request_latency_seconds": self.e2e_latency,
        }
        for name, histogram in histograms.items():
            lines += [f"# TYPE {PREFIX}{name} histogram", *histogram.lines(PREFIX + name, labels)]
        return "\n".join([*lines, ""]).encode()


def _sample(name: str, kind: str, labels: str, value: float) -> list[str]:
    return [f"# TYPE {PREFIX}{name} {kind}", f"{PREFIX}{name}{{{labels}}} {value}"]


def escape(value: str) -> str:
    """A label's value with the three characters escaped that the format asks for."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
