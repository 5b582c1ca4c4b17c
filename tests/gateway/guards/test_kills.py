"""The kill switch: what the command writes, the gateway heeds; a broken file changes nothing."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.core.clock import now_ms
from modelyard.core.files import write_atomically
from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.kills import Kills
from modelyard.ports.kills import Kill, decode_kills, encode_kills


def modelyard(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "MODELYARD_USER": "ana", "MODELYARD_STATE": str(folder), **environment}
    command = [sys.executable, "-m", "modelyard", "kill", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def told(kills: Kills, key_id: str = "k", tenant: str = "t", service: str = "s") -> str:
    refusal = kills.refusal(key_id, tenant, service)
    if refusal is None:
        kills.check(key_id, tenant, service)
        return ""
    with pytest.raises(Refusal) as raised:
        kills.check(key_id, tenant, service)
    assert (raised.value.status, raised.value.code, raised.value.seen) == (403, "killed", refusal.seen)
    return refusal.seen


def write(path: Path, *kills: Kill) -> None:
    write_atomically(path, encode_kills(kills))


@pytest.mark.parametrize(
    ("kill", "said"),
    [
        (Kill(kind="key", name="k"), "This API key"),
        (Kill(kind="tenant", name="t"), "This tenant"),
        (Kill(kind="service", name="s"), "This service"),
        (Kill(kind="all"), "Everything"),
        (Kill(kind="key", name="t"), ""),
        (Kill(kind="tenant", name="t", until_ms=1), ""),
    ],
)
def test_what_is_stopped_is_refused_and_nothing_else(tmp_path: Path, kill: Kill, said: str) -> None:
    kills = Kills(tmp_path / "kills.json")
    assert kills.refresh() is False
    assert told(kills) == ""
    write(kills.path, kill)
    kills.refresh()
    assert told(kills).startswith(said)
    assert bool(told(kills)) is bool(said)
    kills.path.unlink()
    kills.refresh()
    assert told(kills) == ""


def test_whoever_holds_requests_in_flight_is_told_at_once(tmp_path: Path) -> None:
    kills = Kills(tmp_path / "kills.json")
    calls: list[bool] = []
    kills.on_change.append(lambda: calls.append(kills.refusal("k", "t", "s") is not None))
    write(kills.path, Kill(kind="tenant", name="t"))
    kills.refresh()
    kills.refresh()
    write(kills.path)
    kills.refresh()
    assert calls == [True, False]


def test_a_kill_ends_when_its_time_is_over(tmp_path: Path) -> None:
    kills = Kills(tmp_path / "kills.json")
    write(kills.path, Kill(kind="all", until_ms=now_ms() + 100))
    kills.refresh()
    assert told(kills)
    while now_ms() <= kills.live[0].until_ms:
        pass
    assert kills.refresh()
    assert told(kills) == ""


@pytest.mark.parametrize("data", [b"", b"{", b'{"kills":[{"kind":"planet"}]}', b"\xff", b"[]"])
def test_a_broken_file_keeps_what_was_and_is_reported_once(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kills = Kills(tmp_path / "kills.json")
    write(kills.path, Kill(kind="key", name="k"))
    kills.refresh()
    write_atomically(kills.path, data)
    for _ in range(3):
        assert kills.refresh() is False
    assert told(kills)
    assert kills.num_errors == 1
    assert caplog.text.count("was not taken") == 1
    write(kills.path)
    kills.refresh()
    assert (told(kills), kills.error) == ("", "")


def test_what_other_gateways_know_counts_as_well(tmp_path: Path) -> None:
    kills = Kills(tmp_path / "kills.json")
    assert kills.merge([Kill(kind="service", name="s")])
    assert told(kills).startswith("This service")
    assert kills.refresh() is False
    assert kills.merge([Kill(kind="service", name="s")]) is False
    assert kills.merge([])
    assert told(kills) == ""


def test_the_command_stops_and_lifts_without_project_or_database(tmp_path: Path) -> None:
    kills = Kills(tmp_path / "kills.json")
    done = modelyard(tmp_path, "tenant", "acme", "--reason", "runaway agent", "--for", "5", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["by"], made["reason"], made["until_ms"] - made["at_ms"]) == ("ana", "runaway agent", 300_000)
    assert kills.refresh()
    assert told(kills, tenant="acme")
    assert "runaway agent" in modelyard(tmp_path, "list").stdout
    assert modelyard(tmp_path, "lift", "tenant", "acme").returncode == 0
    assert kills.refresh()
    assert told(kills, tenant="acme") == ""
    again = modelyard(tmp_path, "lift", "tenant", "acme")
    assert (again.returncode, "is not stopped" in again.stderr) == (4, True)
    assert modelyard(tmp_path, "lift", "planet").returncode == 2


def test_everything_can_be_stopped_even_where_the_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "kills.json").write_text("{")
    broken = modelyard(tmp_path, "key", "k1")
    assert (broken.returncode, "cannot be read" in broken.stderr) == (7, True)
    assert modelyard(tmp_path, "all").returncode == 0
    assert [kill.kind for kill in decode_kills((tmp_path / "kills.json").read_bytes()).kills] == ["all"]


def test_commands_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: modelyard(tmp_path, "key", f"k{n}"), range(4)))
    assert [one.returncode for one in done] == [0] * 4
    assert {kill.name for kill in decode_kills((tmp_path / "kills.json").read_bytes()).kills} == {
        "k0",
        "k1",
        "k2",
        "k3",
    }
