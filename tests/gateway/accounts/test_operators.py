"""What an operator may do to running gateways: lift a tenant's stop, stop things over Redis."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelyard.cli.main import app
from modelyard.ports.kills import decode_kills
from modelyard.ports.routes import Service
from tests.gateway.accounts.harness import WHOLE, Accounts, acme, alarm
from tests.gateway.harness import eventually, variant
from tests.gateway.limits.harness import RedisServer


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def offer(live: Accounts, url: str) -> None:
    live.offer(Service(name="support", champion=variant("champ", url)), tenants=(acme(spend_alarm=alarm(2 * WHOLE)),))


def stop(live: Accounts) -> None:
    while live.ask().status_code == 200:
        pass
    assert live.ask().json()["error"]["code"] == "spend_alarm"


def test_a_lift_lets_a_stopped_tenant_through_once(live: Accounts, engine_url: str) -> None:
    offer(live, engine_url)
    file = live.table.with_name("kills.json")
    run("kill", "key", "another", "--file", str(file))
    for _ in range(2):
        stop(live)
        run("alarm", "lift", "acme", "--file", str(file))
        eventually(lambda: live.ask().status_code == 200)
    assert [one.name for one in decode_kills(file.read_bytes()).kills] == ["another"]
    run("kill", "lift", "key", "another", "--file", str(file))
    assert [one.tenant for one in decode_kills(file.read_bytes()).lifts] == ["acme"]


def test_over_redis_every_gateway_is_told(
    tmp_path: Path, engine_url: str, redis_server: RedisServer, monkeypatch: Any
) -> None:
    """Two gateways with folders of their own; the command writes a file that neither of them reads."""
    monkeypatch.setenv("YARD_REDIS", redis_server.url)
    elsewhere = ("--file", str(tmp_path / "elsewhere.json"), "--redis", "YARD_REDIS")
    yards = [Accounts(tmp_path / name) for name in ("a", "b")]
    with yards[0].open(redis_url=redis_server.url) as one, yards[1].open(redis_url=redis_server.url) as other:
        for live in (one, other):
            # Without an alarm yet: how much is asked before the kill arrives is nobody's to say.
            live.offer(Service(name="support", champion=variant("champ", engine_url)), tenants=(acme(),))
        run("kill", "tenant", "acme", *elsewhere)
        for live in (one, other):
            eventually(lambda: live.ask().status_code == 403, seconds=15)  # noqa: B023
        redis_server.stop()
        assert {live.ask().status_code for live in (one, other)} == {403}
        redis_server.start()
        run("kill", "lift", "tenant", "acme", *elsewhere)
        for live in (one, other):
            eventually(lambda: live.ask().status_code == 200, seconds=15)  # noqa: B023
            offer(live, engine_url)
            stop(live)
        run("alarm", "lift", "acme", *elsewhere)
        for live in (one, other):
            eventually(lambda: live.ask().status_code == 200, seconds=15)  # noqa: B023


def test_a_redis_that_is_not_there_is_told_without_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YARD_REDIS", "redis://:secret@127.0.0.1:1")
    file = tmp_path / "kills.json"
    result = CliRunner().invoke(app, ["kill", "all", "--file", str(file), "--redis", "YARD_REDIS"])
    assert result.exit_code != 0
    told = str(result.exception) + result.output
    assert "YARD_REDIS" in told
    assert "secret" not in told
    assert [one.kind for one in decode_kills(file.read_bytes()).kills] == ["all"]
