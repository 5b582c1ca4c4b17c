"""Twenty clients of three gateways race for one budget on a real Redis, and one of the gateways is killed."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.ports.interaction import Interaction
from tests.gateway.harness import eventually, read_entries
from tests.gateway.limits.harness import RedisServer
from tests.gateway.limits.racer import BUDGET

CLIENTS = (7, 7, 6)
MAX_COST = 1000


def race(url: str, journal: Path, clients: int, reserve: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.gateway.limits.racer", url, str(journal), str(clients), str(reserve)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def journaled(folder: Path) -> int:
    return sum(entry.cost_nanousd for entry in read_entries(folder) if isinstance(entry, Interaction))


def finish(*racers: subprocess.Popen[bytes]) -> None:
    for racer in racers:
        _, told = racer.communicate(timeout=60)
        assert racer.returncode == 0, told.decode()


@pytest.mark.slow
@pytest.mark.parametrize("reserve", [MAX_COST, 0])
def test_three_gateways_never_overspend_a_budget(redis_server: RedisServer, tmp_path: Path, reserve: int) -> None:
    racers = [race(redis_server.url, tmp_path, clients, reserve) for clients in CLIENTS]
    finish(*racers)
    total = journaled(tmp_path)
    assert redis_server.used("t:acme")["dused"] == total
    in_flight = sum(CLIENTS)
    if reserve:
        assert BUDGET - MAX_COST * in_flight <= total <= BUDGET
    else:
        assert BUDGET <= total <= BUDGET + MAX_COST * in_flight
    assert not list(tmp_path.glob("*.limits"))


@pytest.mark.slow
def test_a_gateway_killed_in_the_middle_loses_and_doubles_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    racers = [race(redis_server.url, tmp_path, clients, MAX_COST) for clients in CLIENTS]
    doomed = racers.pop()
    eventually(lambda: journaled(tmp_path) > BUDGET / 10)
    doomed.kill()
    doomed.communicate()
    finish(*racers, race(redis_server.url, tmp_path, 3, MAX_COST))
    total = journaled(tmp_path)
    held = MAX_COST * redis_server.running("t:acme")
    assert held <= MAX_COST * CLIENTS[-1]
    assert redis_server.used("t:acme")["dused"] == total + held
    # What was journaled and not settled is counted by its entry, and by its lease too until that ends.
    assert total <= BUDGET


@pytest.mark.slow
def test_redis_restarted_in_the_middle_loses_and_doubles_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    racers = [race(redis_server.url, tmp_path, clients, 0) for clients in CLIENTS]
    eventually(lambda: journaled(tmp_path) > BUDGET / 10)
    redis_server.stop()
    time.sleep(0.1)
    redis_server.start()
    finish(*racers)
    assert redis_server.used("t:acme")["dused"] == journaled(tmp_path)


def test_what_a_killed_gateway_could_not_send_is_sent_by_the_next(redis_server: RedisServer, tmp_path: Path) -> None:
    """Killed while Redis is away, with settlements on its hands."""
    racer = race(redis_server.url, tmp_path, 20, 0)
    eventually(lambda: journaled(tmp_path))
    redis_server.stop()
    time.sleep(0.1)
    racer.kill()
    racer.communicate()
    left = journaled(tmp_path)
    redis_server.start()
    assert redis_server.used("t:acme").get("dused", 0) < left
    finish(race(redis_server.url, tmp_path, 0, 0))
    assert redis_server.used("t:acme")["dused"] == left
    assert not list(tmp_path.glob("*.limits"))
