"""Routing's metrics, read back by a parser that is not ours."""

import pytest

from modelyard.gateway.recording.exposition import State, render
from modelyard.gateway.routing.families import families
from modelyard.gateway.routing.plan import Plan
from modelyard.ports.serving import Breaker, Queue
from tests.gateway.routing.tables import service, table, variant


def test_every_line_is_one_that_prometheus_reads():
    parser = pytest.importorskip("prometheus_client.parser")
    plan = Plan(
        table(
            service(
                champion=variant(engine_url="http://hidden-a:1", replicas=("http://hidden-b:2",), engine="vllm"),
                breaker=Breaker(failures=1),
                queue=Queue(max_in_flight=2),
            ),
            service(name='odd "name"\\'),
        )
    )
    replicas = plan.services["support"].candidates["champion"].replicas
    replica = replicas.pick(0, 1.0)
    assert replica is not None
    replicas.finish(replica, 500, started_s=1.0, now_s=1.0)
    replicas.all[1].load.take((4.0, 2.0, -1.0), 10.0)
    text = render(State(list(families(plan.snapshot(1.0))), [])).decode()
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    by_name = {(sample.name, sample.labels.get("replica"), sample.labels.get("state")): sample for sample in samples}
    name = "modelyard_gateway_"
    place = str(replicas.all.index(replica))
    states = {state: by_name[f"{name}replica_state", place, state].value for state in ("open", "closed", "trying")}
    assert states == {"open": 1.0, "closed": 0.0, "trying": 0.0}
    assert by_name[f"{name}engine_waiting", "1", None].value == 4.0
    assert (f"{name}engine_cache_use", "1", None) not in by_name
    assert 'odd "name"\\' in {sample.labels["service"] for sample in samples}
    assert "hidden" not in text
