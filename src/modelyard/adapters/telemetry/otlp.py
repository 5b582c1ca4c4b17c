"""OTLP over HTTP: spans, metrics and events, sent by OpenTelemetry's own exporters.

Where it goes is said by the standard variables (OTEL_EXPORTER_OTLP_ENDPOINT and its kin), which the exporters read
themselves. Metrics are deltas over one batch: a batch that was not taken leaves nothing behind that would count twice.
"""

import logging
from collections.abc import Sequence

from modelyard import __version__
from modelyard.adapters.telemetry.attributes import (
    common,
    error_type,
    identity,
    of_evaluation,
    of_span,
    operation,
)
from modelyard.core.errors import MissingExtra, Unavailable
from modelyard.ports.interaction import Interaction
from modelyard.ports.telemetry import Evaluation

try:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.metrics import Histogram as InstrumentHistogram
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics import Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "opentelemetry", "otel") from error

_SCOPE = InstrumentationScope("modelyard", __version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NS_OF_MS = 1_000_000

# The conventions' own bounds.
_TOKENS = [4**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]
_TO_FIRST = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
_PER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]


class OtlpTelemetry:
    """Sends every batch as spans, metrics and events. `content` sends texts too, where they were recorded."""

    def __init__(self, *, service_name: str, content: bool = False) -> None:
        # The exporters log every try with the collector's address; who calls hears of a failure as an error, once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL + 1)
        self._resource = Resource.create({"service.name": service_name, "service.version": __version__})
        self._content = content
        self._spans, self._metrics, self._logs = OTLPSpanExporter(), OTLPMetricExporter(), OTLPLogExporter()
        self._instruments = Instruments(self._resource)

    def tell(self, interactions: Sequence[Interaction], evaluations: Sequence[Evaluation]) -> None:
        """Send spans, then events, then metrics: the first two may come twice unharmed, for their ids stay the same."""
        if interactions:
            _check("spans", self._spans.export([self._span(one) for one in interactions]).name)
        if evaluations:
            _check("events", self._logs.export([self._event(one) for one in evaluations]).name)
        if interactions:
            _check("metrics", self._metrics.export(self._instruments.measure(interactions)).name)

    def close(self) -> None:
        """Break off what is being sent."""
        for exporter in (self._spans, self._logs, self._metrics):
            exporter.shutdown()

    def _span(self, one: Interaction) -> ReadableSpan:
        trace_id, span_id, parent_id = identity(one.id, one.trace_id)
        failed = error_type(one)
        start_ns = one.at_ms * _NS_OF_MS
        return ReadableSpan(
            name=f"{operation(one)} {one.service}",
            context=SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED),
            parent=SpanContext(trace_id, parent_id, is_remote=True, trace_flags=_SAMPLED) if parent_id else None,
            resource=self._resource,
            attributes=of_span(one, content=self._content),
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR, failed) if failed else Status(),
            start_time=start_ns,
            end_time=start_ns + round(one.latency_ms * _NS_OF_MS),
            instrumentation_scope=_SCOPE,
        )

    def _event(self, one: Evaluation) -> ReadableLogRecord:
        given = one.feedback
        trace_id, span_id, _ = identity(given.interaction_id, one.interaction.trace_id if one.interaction else "")
        record = LogRecord(
            timestamp=given.at_ms * _NS_OF_MS,
            observed_timestamp=given.at_ms * _NS_OF_MS,
            severity_number=SeverityNumber.INFO,
            attributes=of_evaluation(one, content=self._content),
            event_name="gen_ai.evaluation.result",
        )
        record.trace_id, record.span_id, record.trace_flags = trace_id, span_id, _SAMPLED
        return ReadableLogRecord(record, self._resource, _SCOPE)


def _check(what: str, outcome: str) -> None:
    if outcome != "SUCCESS":
        raise Unavailable(
            f"the OpenTelemetry collector did not take {what}",
            expected="an OTLP/HTTP receiver where OTEL_EXPORTER_OTLP_ENDPOINT says",
            fix="start it, or correct the variable; nothing is lost for a day meanwhile",
        )


class Instruments:
    """The histograms of the conventions, over one batch at a time."""

    def __init__(self, resource: Resource) -> None:
        self._reader = InMemoryMetricReader(preferred_temporality={Histogram: AggregationTemporality.DELTA})
        provider = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        self._meter = provider.get_meter(_SCOPE.name, _SCOPE.version)
        self._tokens = self._histogram("gen_ai.client.token.usage", "{token}", _TOKENS)
        self._client_s = self._histogram("gen_ai.client.operation.duration", "s", _SECONDS)
        self._server_s = self._histogram("gen_ai.server.request.duration", "s", _SECONDS)
        self._first_s = self._histogram("gen_ai.server.time_to_first_token", "s", _TO_FIRST)
        self._each_s = self._histogram("gen_ai.server.time_per_output_token", "s", _PER_TOKEN)

    def measure(self, interactions: Sequence[Interaction]) -> MetricsData:
        """The batch as OTLP metrics."""
        for one in interactions:
            self._record(one)
        return self._reader.get_metrics_data() or MetricsData(resource_metrics=[])

    def _histogram(self, name: str, unit: str, bounds: Sequence[float]) -> InstrumentHistogram:
        return self._meter.create_histogram(name, unit=unit, explicit_bucket_boundaries_advisory=bounds)

    def _record(self, one: Interaction) -> None:
        labels = {**common(one), "modelyard.role": one.role}
        self._client_s.record(one.latency_ms / 1000, labels)
        self._server_s.record(one.latency_ms / 1000, labels)
        for kind, num_tokens in (("input", one.prompt_tokens), ("output", one.completion_tokens)):
            if num_tokens:
                self._tokens.record(num_tokens, {**labels, "gen_ai.token.type": kind})
        if one.first_token_ms:
            self._first_s.record(one.first_token_ms / 1000, labels)
            if one.completion_tokens > 1:
                rest_ms = one.latency_ms - one.first_token_ms
                self._each_s.record(rest_ms / 1000 / (one.completion_tokens - 1), labels)
