"""Alarms: spending too fast is told, or stopped until a person lifts it or the rate falls."""

from typing import Literal

import pytest

from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits.alarms import Alarm, Alarms
from modelyard.ports.limits import SpendAlarm, Tenant
from modelyard.ports.routes import RouteTable
from tests.gateway.limits.harness import Clock


def table(action: Literal["alarm", "stop"]) -> RouteTable:
    alarm = SpendAlarm(nanousd_per_minute=100, action=action)
    return RouteTable(version=1, created_ms=0, tenants=(Tenant(name="acme", spend_alarm=alarm), Tenant(name="calm")))


def alarm_of(clock: Clock, action: Literal["alarm", "stop"] = "stop") -> tuple[Alarms, Alarm]:
    alarms = Alarms(lambda: clock.now_s)
    alarms.take_table(table(action))
    alarm = alarms.of("acme")
    assert alarm is not None
    return alarms, alarm


def test_it_costs_nothing_where_there_is_none() -> None:
    assert alarm_of(Clock())[0].of("calm") is None


def test_it_is_told_once_and_traffic_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    _, alarm = alarm_of(Clock(), "alarm")
    for _ in range(5):
        alarm.admit()
        alarm.spend(40)
    assert (alarm.rings, alarm.num_rung) == (True, 1)
    assert caplog.text.count("spends") == 1


def test_it_stops_until_the_rate_falls() -> None:
    clock = Clock()
    _, alarm = alarm_of(clock)
    alarm.spend(90)
    clock.pass_by(20)
    alarm.admit()
    alarm.spend(30)
    with pytest.raises(Refusal, match="its traffic is stopped") as refused:
        alarm.admit()
    wait = int(dict(refused.value.headers)[b"retry-after"])
    assert 30 <= wait <= 40
    clock.pass_by(wait - 6)
    with pytest.raises(Refusal):
        alarm.admit()
    clock.pass_by(6)
    alarm.admit()
    assert not alarm.rings
    assert alarm.nanousd_per_minute() == 30


def test_a_person_lifts_it() -> None:
    alarms, alarm = alarm_of(Clock())
    alarm.spend(101)
    with pytest.raises(Refusal):
        alarm.admit()
    assert alarms.lift("acme")
    assert not alarms.lift("calm")
    alarm.admit()


def test_a_slow_spender_never_rings() -> None:
    clock = Clock()
    _, alarm = alarm_of(clock)
    for _ in range(200):
        alarm.spend(8)
        clock.pass_by(5)
    assert alarm.num_rung == 0


def test_a_new_table_keeps_a_stop() -> None:
    alarms, alarm = alarm_of(Clock())
    alarm.spend(101)
    alarms.take_table(table("stop"))
    with pytest.raises(Refusal):
        alarms.of("acme").admit()  # type: ignore[union-attr]
