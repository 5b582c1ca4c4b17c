"""Agents: caps of sessions and traces, loops, and how many are remembered."""

import msgspec
import pytest

from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits import agents as module
from modelyard.gateway.limits.agents import Agents, AllAgents, call_digest
from modelyard.ports.limits import Caps, Tenant
from modelyard.ports.routes import RouteTable
from tests.gateway.limits.harness import Clock

NONE = Caps()


def table(session: Caps = NONE, trace: Caps = NONE) -> RouteTable:
    return RouteTable(version=1, created_ms=0, tenants=(Tenant(name="acme", session_caps=session, trace_caps=trace),))


def agents_of(session: Caps = NONE, trace: Caps = NONE, clock: Clock | None = None) -> Agents:
    given = clock or Clock()
    every = AllAgents(lambda: given.now_s)
    every.take_table(table(session, trace))
    found = every.of("acme")
    assert found is not None
    return found


def test_a_tenant_without_caps_has_none() -> None:
    every = AllAgents()
    every.take_table(table())
    assert every.of("acme") is None


@pytest.mark.parametrize("caps", [Caps(calls=3), Caps(tokens=30), Caps(cost_nanousd=300)])
def test_a_session_ends_at_its_cap_and_another_goes_on(caps: Caps) -> None:
    agents = agents_of(session=caps)
    for _ in range(3):
        call = agents.take("one", "", 10, 100)
        assert call is not None
        call.settle(10, 100)
        call.settle(10, 100)
    with pytest.raises(Refusal, match="This session may use") as refused:
        agents.take("one", "", 10, 100)
    assert (refused.value.status, refused.value.code) == (429, "session_cap_reached")
    assert agents.take("two", "", 10, 100) is not None
    assert agents.take("", "", 10, 100) is None


def test_calls_at_once_do_not_pass_a_cap_together() -> None:
    agents = agents_of(trace=Caps(tokens=100))
    first = agents.take("", "t", 60, 0)
    assert first is not None
    with pytest.raises(Refusal):
        agents.take("", "t", 60, 0)
    first.settle(20, 0)
    agents.take("", "t", 60, 0)


def test_a_refusal_by_the_trace_leaves_no_trace_in_the_session() -> None:
    agents = agents_of(session=Caps(calls=2), trace=Caps(calls=1))
    agents.take("s", "t", 0, 0)
    for _ in range(5):
        with pytest.raises(Refusal, match="trace"):
            agents.take("s", "t", 0, 0)
    assert agents.take("s", "u", 0, 0) is not None


def test_the_same_call_again_and_again_is_a_loop() -> None:
    agents = agents_of(session=Caps(repeats=3))
    assert agents.needs_digest
    same, other = call_digest(b'{"role":"user"}', b"[]"), call_digest(b'{"role":"user"}', b"[1]")
    for digest in (same, same, other, same, same, same):
        agents.take("s", "", 0, 0, digest)
    with pytest.raises(Refusal, match="3 times in a row") as refused:
        agents.take("s", "", 0, 0, same)
    assert refused.value.code == "repeated_call"
    agents.take("s", "", 0, 0, other)


def test_a_session_begins_anew_after_an_hour_but_not_while_a_call_runs() -> None:
    clock = Clock()
    agents = agents_of(session=Caps(calls=1), clock=clock)
    call = agents.take("s", "", 0, 0)
    assert call is not None
    clock.pass_by(3601)
    with pytest.raises(Refusal):
        agents.take("s", "", 0, 0)
    call.settle(0, 0)
    clock.pass_by(3601)
    agents.take("s", "", 0, 0)


def test_new_names_do_not_push_out_a_live_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TALLIES", 2)
    clock = Clock()
    agents = agents_of(session=Caps(calls=1), clock=clock)
    for name in ("a", "b"):
        call = agents.take(name, "", 0, 0)
        assert call is not None
        call.settle(0, 0)
    with pytest.raises(Refusal) as refused:
        agents.take("c", "", 0, 0)
    assert refused.value.code == "too_many_sessions"
    clock.pass_by(3601)
    assert agents.take("c", "", 0, 0) is not None


def test_a_new_table_keeps_what_was_used() -> None:
    every = AllAgents()
    every.take_table(table(session=Caps(calls=2)))
    every.of("acme").take("s", "", 0, 0)  # type: ignore[union-attr]
    every.take_table(msgspec.structs.replace(table(session=Caps(calls=1)), version=2))
    with pytest.raises(Refusal):
        every.of("acme").take("s", "", 0, 0)  # type: ignore[union-attr]
