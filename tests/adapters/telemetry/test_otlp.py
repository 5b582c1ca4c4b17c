"""Spans, metrics and events as a real receiver decodes them."""

import json
import subprocess
import sys
import uuid
from typing import Any

import pytest

from modelyard.adapters.telemetry.attributes import identity, of_span
from modelyard.adapters.telemetry.otlp import OtlpTelemetry
from modelyard.core.digests import digest_text
from modelyard.core.errors import Unavailable
from modelyard.ports.telemetry import Evaluation
from tests.adapters.records.values import NOW_MS, a_feedback, an_interaction
from tests.adapters.telemetry.collector import Collector, plain

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def telemetry(**options: Any) -> OtlpTelemetry:
    return OtlpTelemetry(service_name="shop", **options)


def test_a_span_says_what_the_conventions_ask(collector: Collector) -> None:
    said = an_interaction(
        trace_id=f"{TRACE}-{PARENT}",
        session="s1",
        finish_reason="stop",
        prompt_tokens=12,
        completion_tokens=5,
        cost_nanousd=2**40,
        latency_ms=250.5,
        first_token_ms=50.5,
        reason="rollout",
        replica="http://user:secret@10.0.0.1:8000/v1",
    )
    telemetry().tell([said], [])
    (span,) = collector.spans
    assert span.name == "chat support"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (NOW_MS * 10**6, NOW_MS * 10**6 + 250_500_000)
    assert span.status.code == 0
    found = plain(span.attributes)
    assert "secret" not in str(found)
    assert found == found | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "modelyard",
        "gen_ai.request.model": "support",
        "gen_ai.response.model": "sha256:a",
        "gen_ai.response.id": said.id,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.conversation.id": "s1",
        "server.address": "10.0.0.1",
        "server.port": 8000,
        "modelyard.cost_nanousd": 2**40,
        "modelyard.tenant": "acme",
        "modelyard.reason": "rollout",
    }
    assert "error.type" not in found
    resource = collector.requests["/v1/traces"][0].resource_spans[0].resource
    assert plain(resource.attributes)["service.name"] == "shop"


def test_metrics_are_those_of_the_batch_with_the_bounds_of_the_conventions(collector: Collector) -> None:
    one = telemetry()
    said = an_interaction(
        prompt_tokens=100, completion_tokens=11, latency_ms=1100.0, first_token_ms=100.0, stream=True, status=200
    )
    for _ in range(2):
        one.tell([said, said], [])
    for name, total in (
        ("gen_ai.client.operation.duration", 2.2),
        ("gen_ai.server.request.duration", 2.2),
        ("gen_ai.server.time_to_first_token", 0.2),
        ("gen_ai.server.time_per_output_token", 0.2),
    ):
        points = collector.points(name)
        assert [point.count for point in points] == [2, 2], "each batch tells of itself alone"
        assert points[0].sum == pytest.approx(total)
    tokens = {plain(p.attributes)["gen_ai.token.type"]: p for p in collector.points("gen_ai.client.token.usage")}
    assert (tokens["input"].sum, tokens["output"].sum) == (200, 22)
    assert list(tokens["input"].explicit_bounds) == [4.0**power for power in range(14)]
    assert plain(tokens["input"].attributes)["gen_ai.request.model"] == "support"
    assert "modelyard.tenant" not in plain(tokens["input"].attributes)


def test_a_failure_is_an_error_with_its_type(collector: Collector) -> None:
    telemetry().tell([an_interaction(status=503, error="upstream_timeout", endpoint="embeddings")], [])
    (span,) = collector.spans
    assert (span.name, span.status.code) == ("embeddings support", 2)
    assert plain(span.attributes)["error.type"] == "upstream_timeout"


@pytest.mark.parametrize("content", [False, True])
def test_texts_go_out_only_where_asked_for(collector: Collector, content: bool) -> None:
    request = json.dumps({"messages": [{"role": "user", "content": "my secret question"}]})
    said = an_interaction(request=request, answer="my secret answer")
    judged = a_feedback(said.id, score=0.5, comment="my secret comment")
    telemetry(content=content).tell([said], [Evaluation(feedback=judged, interaction=said)])
    sent = str(collector.requests)
    assert [f"my secret {what}" in sent for what in ("question", "answer", "comment")] == [content] * 3
    if content:
        found = plain(collector.spans[0].attributes)
        part = {"type": "text", "content": "my secret question"}
        assert json.loads(found["gen_ai.input.messages"]) == [{"role": "user", "parts": [part]}]


@pytest.mark.parametrize(
    "request_text", ["", "{", "[]", '{"messages": 3}', '{"messages": [3, {"role": null}]}', "x" * 99]
)
def test_a_strange_request_stops_nothing(request_text: str) -> None:
    assert of_span(an_interaction(request=request_text), content=True)["gen_ai.provider.name"] == "modelyard"


def test_feedback_is_an_evaluation_event_on_the_span_of_its_answer(collector: Collector) -> None:
    said = an_interaction(trace_id=TRACE)
    judged = [
        a_feedback(said.id, score=0.75, metric="tone"),
        a_feedback(said.id, expected_hash=digest_text("something else")),
        a_feedback("lost", score=0.0),
    ]
    abouts = [said, said, None]
    told = [Evaluation(feedback=one, interaction=about) for one, about in zip(judged, abouts, strict=True)]
    telemetry().tell([said], told)
    (span,) = collector.spans
    first, second, third = collector.events
    assert {one.event_name for one in collector.events} == {"gen_ai.evaluation.result"}
    assert [one.span_id == span.span_id for one in collector.events] == [True, True, False]
    assert plain(first.attributes)["gen_ai.evaluation.score.value"] == 0.75
    assert plain(first.attributes)["gen_ai.evaluation.name"] == "tone"
    assert plain(second.attributes)["gen_ai.evaluation.score.label"] == "fail"
    assert plain(third.attributes)["gen_ai.evaluation.score.value"] == 0.0


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/v1/metrics"])
def test_what_is_refused_is_an_error_and_counts_once_when_it_comes_again(collector: Collector, path: str) -> None:
    one = telemetry()
    said = an_interaction()
    batch = ([said], [Evaluation(feedback=a_feedback(said.id, score=1.0), interaction=said)])
    collector.refuse = {path}
    with pytest.raises(Unavailable, match="did not take"):
        one.tell(*batch)
    collector.refuse = set()
    one.tell(*batch)
    assert len({span.span_id for span in collector.spans}) == 1
    assert sum(point.count for point in collector.points("gen_ai.client.operation.duration")) == 1


@pytest.mark.parametrize("trace", ["", "xyz", "0" * 32, "zz" * 16, f"{TRACE[:-1]}-{PARENT}", "-"])
def test_an_identity_is_whole_whatever_trace_was_sent(trace: str) -> None:
    trace_id, span_id, parent_id = identity(str(uuid.UUID(int=7)), trace)
    assert 0 < trace_id < 2**128
    assert 0 < span_id < 2**64
    assert parent_id == 0
    assert identity("x", TRACE) == (int(TRACE, 16), identity("x")[1], 0)


def test_without_the_packages_one_is_told_how_to_get_them() -> None:
    code = (
        "import sys\nsys.modules['opentelemetry.sdk'] = None\n"
        "from modelyard.core.errors import MissingExtra\n"
        "try:\n    import modelyard.adapters.telemetry.otlp\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "modelyard[otel]" in done.stdout
