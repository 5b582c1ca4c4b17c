"""The process: what it loads, what it holds, how it starts and how it ends."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from modelyard.core.errors import PortBusy
from modelyard.gateway.http import bind
from modelyard.gateway.server import main, read_settings
from modelyard.ports.routes import Service
from tests.gateway.harness import AUTH, CHAT, Yard, variant
from tests.gateway.upstream import Engine

HEAVY = {
    "uvicorn",
    "torch",
    "transformers",
    "sqlalchemy",
    "pydantic",
    "httpx",
    "starlette",
    "fastapi",
    "numpy",
    "dbos",
    "typer",
}


def resident_mb(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def test_the_process_loads_nothing_heavy() -> None:
    program = """
import json, sys
from modelyard.gateway.http import run
from modelyard.gateway.server import Listening, read_settings
async def main():
    Listening(read_settings(["--table", "t", "--journal", "j"]))
run(main)
print(json.dumps(sorted(sys.modules)))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(output)}
    assert loaded & HEAVY == set()
    assert {"uvloop", "httptools", "msgspec"} <= loaded


@pytest.mark.slow
def test_memory_stays_under_60_mb_over_2000_requests(tmp_path: Path, engine_url: str) -> None:
    yard = Yard(tmp_path)
    yard.publish(Service(name="support", champion=variant("champ", engine_url), body_policy="full"))
    with yard.spawn() as process:
        first = resident_mb(process.pid)

        def call(stream: bool) -> None:
            with httpx.Client(base_url=yard.url, headers=AUTH) as client:
                for _ in range(500):
                    assert client.post("/v1/chat/completions", json={**CHAT, "stream": stream}).status_code == 200

        threads = [threading.Thread(target=call, args=(number % 2 == 0,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = resident_mb(process.pid)
    assert len(yard.interactions()) == 2000
    print(f"resident: {first:.1f} MB at the start, {last:.1f} MB after 2,000 requests")
    assert last < 60


def test_sigterm_lets_requests_finish_and_ends_well(tmp_path: Path, engine: Engine, engine_url: str) -> None:
    engine.piece_delay_s = 0.2
    yard = Yard(tmp_path)
    yard.publish(Service(name="support", champion=variant("champ", engine_url)))
    with yard.spawn() as process:
        with httpx.stream(
            "POST", f"{yard.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=AUTH
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.terminate()
            assert "data: [DONE]" in list(lines)
        assert process.wait(timeout=20) == 0
    assert [entry.status for entry in yard.interactions()] == [200]


def test_sigterm_waits_for_shadows(tmp_path: Path, engine: Engine, engine_url: str) -> None:
    engine.piece_delay_s = 0.2
    yard = Yard(tmp_path)
    champion, challenger = variant("champ", engine_url), variant("chall", engine_url)
    yard.publish(Service(name="support", champion=champion, challenger=challenger, shadow=True))
    with yard.spawn() as process:
        assert yard.post(json={**CHAT, "stream": True}).status_code == 200
        process.terminate()
        assert process.wait(timeout=20) == 0
    assert [entry.role for entry in yard.interactions()] == ["champion", "shadow"]


def test_requests_that_outlast_the_drain_are_broken_off_and_recorded(
    tmp_path: Path, engine: Engine, engine_url: str
) -> None:
    engine.fault["champ"] = "stall"
    yard = Yard(tmp_path)
    yard.publish(Service(name="support", champion=variant("champ", engine_url)))
    body = {**CHAT, "stream": True}
    with (
        yard.spawn("--drain-timeout-s", "1") as process,
        httpx.stream("POST", f"{yard.url}/v1/chat/completions", json=body, headers=AUTH) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        process.terminate()
        assert process.wait(timeout=20) == 0
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    assert [(entry.status, entry.error) for entry in yard.interactions()] == [(499, "gateway_stopped")]


def test_busy_port_ends_with_code_5_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortBusy):
            bind("127.0.0.1", port)
        code = main(["--table", str(tmp_path / "t"), "--journal", str(tmp_path / "j"), "--port", str(port)])
    assert code == 5
    assert f"port {port} on 127.0.0.1 is in use" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [["--host", "no.such.host.invalid"], ["--port", "99999"], ["--host", "192.0.2.1"]])
def test_address_that_is_none_ends_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: list[str]
) -> None:
    assert main(["--table", str(tmp_path / "t"), "--journal", str(tmp_path / "j"), *where]) == 2
    assert "Fix: give another" in capsys.readouterr().err


def test_flags(tmp_path: Path) -> None:
    flags = ["--table", "t", "--journal", "j", "--host", "::1", "--port", "1", "--workers", "2"]
    flags += ["--cors", "https://a", "--cors", "https://b", "--drain-timeout-s", "5"]
    settings = read_settings(flags)
    assert (settings.table, settings.journal, settings.host, settings.port) == (Path("t"), Path("j"), "::1", 1)
    assert (settings.workers, settings.cors, settings.drain_s) == (2, ("https://a", "https://b"), 5)


@pytest.mark.parametrize(("url", "said"), [("", "REDIS is not set"), ("http://:secret@h", "REDIS holds no URL")])
def test_a_redis_that_cannot_be_is_told_before_workers_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("REDIS", url)
    flags = ["--table", str(tmp_path / "t"), "--journal", str(tmp_path / "j"), "--workers", "2", "--redis", "REDIS"]
    assert main(flags) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "secret" not in told
    assert list(tmp_path.iterdir()) == []


def test_a_missing_redis_package_is_told_before_workers_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS", "redis://127.0.0.1:1")
    monkeypatch.setattr("modelyard.gateway.server.find_spec", lambda name: None)
    assert main(["--table", "t", "--journal", "j", "--workers", "2", "--redis", "REDIS"]) == 2
    assert "modelyard[redis]" in capsys.readouterr().err
