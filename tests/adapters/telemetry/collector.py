"""A real OTLP/HTTP receiver on loopback: decodes what it is sent, keeps it, can be killed and started again."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_KINDS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Collector:
    """Keeps every request by its path. `refuse` names paths that are answered with 503."""

    def __init__(self) -> None:
        self.requests: dict[str, list[Any]] = {path: [] for path in _KINDS}
        self.refuse: set[str] = set()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path in collector.refuse:
                    self.send_response(400)
                else:
                    collector.requests[self.path].append(_KINDS[self.path].FromString(body))
                    self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def spans(self) -> list[Any]:
        found = self.requests["/v1/traces"]
        return [span for one in found for r in one.resource_spans for s in r.scope_spans for span in s.spans]

    @property
    def events(self) -> list[Any]:
        found = self.requests["/v1/logs"]
        return [record for one in found for r in one.resource_logs for s in r.scope_logs for record in s.log_records]

    def points(self, name: str) -> list[Any]:
        """The histogram points of a metric."""
        metrics = [
            metric
            for one in self.requests["/v1/metrics"]
            for r in one.resource_metrics
            for s in r.scope_metrics
            for metric in s.metrics
        ]
        return [point for metric in metrics if metric.name == name for point in metric.histogram.data_points]


def plain(attributes: Any) -> dict[str, Any]:
    """OTLP attributes as a dict."""
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)
