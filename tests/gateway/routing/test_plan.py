"""Plans: what survives a new table, what is read, and what is shown."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidInput
from modelyard.gateway.routing.plan import Plan
from modelyard.ports.routes import Service
from modelyard.ports.serving import Breaker, Preference, Queue, Rule
from tests.gateway.routing.tables import facts, service, table, variant


def plan_of(*services: Service, previous: Plan | None = None) -> Plan:
    return Plan(table(*services), previous)


def test_health_survives_a_new_table_where_the_same_is_still_served():
    breaker = Breaker(failures=1)
    first = plan_of(service(breaker=breaker, challenger=variant("c"), weight_bp=100, queue=Queue(max_in_flight=3)))
    route = first.services["support"]
    challenger = route.candidates["challenger"].replicas
    replica = challenger.pick(0, 0.0)
    assert replica is not None
    challenger.finish(replica, 500, started_s=0.0, now_s=0.0, first_token_s=0.5)
    assert route.admission is not None
    assert route.admission.enter(0, "acme", 1e9) is None
    in_flight = route.candidates["champion"].replicas.pick(0, 0.0)
    assert in_flight is not None

    # The challenger is promoted, and another takes its place.
    second = plan_of(
        service(champion=variant("c"), challenger=variant("d"), weight_bp=100, queue=Queue(max_in_flight=5)),
        previous=first,
    )
    promoted = second.services["support"]
    assert promoted.candidates["champion"].replicas.all[0].circuit is replica.circuit
    assert promoted.candidates["champion"].replicas.pick(0, 1.0) is None
    assert promoted.candidates["challenger"].replicas.all[0].circuit is not replica.circuit
    assert promoted.candidates["champion"].replicas.latencies.quantile(0.95) > 0.4
    assert promoted.budget is route.budget
    assert promoted.admission is route.admission
    assert (promoted.admission.in_flight, promoted.admission.queue.max_in_flight) == (1, 5)

    # What is gone is forgotten, and does not come back healthy by the old plan's late answers.
    third = plan_of(service(), previous=second)
    route.candidates["champion"].replicas.finish(in_flight, 200, started_s=0.0, now_s=2.0)
    assert third.services["support"].candidates["champion"].replicas.pick(0, 2.0) is not None
    assert third.services["support"].admission is None


def test_a_refused_table_leaves_the_plan_as_it_was():
    first = plan_of(service(queue=Queue(max_in_flight=3)))
    with pytest.raises(InvalidInput):
        plan_of(
            service(queue=Queue(max_in_flight=9)),
            service(name="other", rules=(Rule(name="r", variant="nowhere"),)),
            previous=first,
        )
    admission = first.services["support"].admission
    assert admission is not None
    assert admission.queue.max_in_flight == 3


def test_one_engine_behind_two_services_has_one_load_and_two_circuits():
    plan = plan_of(service(), service(name="other", champion=variant(engine_url="http://champion:8000/v1/")))
    one, two = (plan.services[name].candidates["champion"].replicas.all[0] for name in ("support", "other"))
    assert one.load is two.load
    assert one.circuit is not two.circuit


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ({"champion": variant(engine="vllm")}, 0),
        ({"champion": variant(engine="vllm", replicas=("http://b:8000",))}, 2),
        ({"champion": variant(engine="openai", replicas=("http://b:8000",))}, 0),
        ({"preference": Preference(order=("int8", "champion"), max_queue=3)}, 1),
        ({"preference": Preference(order=("int8", "champion"), max_cache_use=0.9)}, 1),
        ({"preference": Preference(order=("int8", "champion"), min_quality=0.9)}, 0),
    ],
)
def test_only_engines_that_a_choice_hangs_on_are_read(changes, read):
    plan = plan_of(service(**{"variants": (variant("int8", engine="vllm"),), **changes}))
    assert len(plan.watched) == read


def test_the_snapshot_names_everything_and_no_credentials():
    plan = plan_of(service(champion=variant(engine_url="http://me:secret@a:1", replicas=("http://b:2",))))
    route = plan.services["support"]
    for _ in range(5):
        replica = route.candidates["champion"].replicas.all[1]
        replica.load.in_flight += 1
        route.candidates["champion"].replicas.finish(replica, 500, started_s=1.0, now_s=1.0)
    (state,) = plan.snapshot(1.0)
    assert [(replica.replica, replica.state) for replica in state.replicas] == [("a:1", "closed"), ("b:2", "open")]
    assert state.replicas[1].error_share == 1.0
    assert state.replicas[0].waiting == -1.0
    assert "secret" not in repr(state)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_happens_across_tables_nothing_stays_in_flight(seed):
    """Requests of every outcome, some of them answered after the table they came in under was replaced."""
    rng = random.Random(seed)
    plan, now_s, open_requests = None, 100.0, []
    for _ in range(6):
        spare = variant("int8", replicas=tuple(f"http://int8-{index}:8000" for index in range(rng.randrange(4))))
        plan = plan_of(
            service(
                variants=(spare,),
                challenger=variant("c") if rng.random() < 0.5 else None,
                weight_bp=rng.choice([0, 3000]),
                preference=rng.choice([None, Preference(order=("int8", "champion"), max_error_share=0.3)]),
                fallbacks=("int8",),
                breaker=Breaker(failures=2, min_requests=4, open_s=1.0),
            ),
            previous=plan,
        )
        route = plan.services["support"]
        for number in range(60):
            now_s += rng.random() * 0.2
            choice = route.choose(facts(str(number), stream=True), now_s)
            failed, key = [], rng.choice([0, 7, number])
            while choice:
                assert choice.reason
                replicas = choice.candidate.replicas
                if replica := replicas.pick(key, now_s):
                    assert replica.circuit.blocked_until_s == 0.0 or replica.circuit.state == "trying"
                    open_requests.append((replicas, replica, now_s))
                    break
                failed.append(choice.name)
                choice = route.fallback_after(failed, "x", now_s)
            while len(open_requests) > rng.randrange(1, 20):
                replicas, replica, started_s = open_requests.pop(rng.randrange(len(open_requests)))
                status = rng.choice([200, 200, 400, 429, 499, 500, 504])
                replicas.finish(replica, status, started_s=started_s, now_s=now_s, first_token_s=0.1)
    for replicas, replica, started_s in open_requests:
        replicas.finish(replica, 200, started_s=started_s, now_s=now_s)
    assert plan is not None
    assert all(replica.in_flight == 0 for state in plan.snapshot(now_s) for replica in state.replicas)
