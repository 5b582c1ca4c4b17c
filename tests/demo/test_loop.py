"""The whole loop, killed again and again on its way, and what it leaves: figures, lineage, a project that serves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.adapters.processes import free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
DEMO = [sys.executable, "-m", "modelyard", "demo", "--port", "0"]
STAGES = 12
# The eleventh only asks for a refusal: it is over before anyone could kill it.
TOO_SHORT = 11


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "MODELYARD_USER": "ada"}


def modelyard(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "modelyard", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_and_kill(folder: Path, stage: int, delay_s: float) -> bool:
    """Run the demonstration, and kill it without a word a moment after a stage has begun; whether it was in it then."""
    begun = "Ctrl-C" if stage == 1 else f"{stage - 1:>2}  "
    with subprocess.Popen(
        DEMO, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        # A stage is told when it ends.
        assert any(line.startswith(begun) for line in demo.stdout), demo.communicate()[1]
        time.sleep(delay_s)
        demo.kill()
        return not any(line.startswith(f"{stage:>2}  ") for line in demo.stdout)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demonstration that was killed in every stage and then ran to its end."""
    folder = tmp_path_factory.mktemp("demo")
    for command in ("init", "add README", "-c user.name=ada -c user.email=ada@example.com commit -m first"):
        (folder / "README").touch()
        subprocess.run(["git", *command.split()], cwd=folder, capture_output=True, check=True)
    draw = random.Random(11)
    stages = [stage for stage in range(1, STAGES + 1) if stage != TOO_SHORT]
    # The first stage ends within a second or so of its start; every other one has training or an engine's start in it.
    latest_s = {stage: 0.5 if stage == 1 else 2.0 for stage in stages}
    assert [stage for stage in stages if run_and_kill(folder, stage, draw.uniform(0.1, latest_s[stage]))] == stages
    done = subprocess.run(
        [*DEMO, "--json"], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def report(finished: Path) -> dict[str, Any]:
    return json.loads((finished / ".modelyard" / "demo" / "report.json").read_text())


def test_lora_teaches_the_base(report: dict[str, Any]) -> None:
    assert report["base_exact_match"] < 0.30
    assert report["adapter_exact_match"] >= 0.85
    assert report["base_exact_match"] <= report["first_exact_match"] < report["adapter_exact_match"]


def test_the_better_release_is_promoted_and_the_bad_one_blocked_and_rolled_back(report: dict[str, Any]) -> None:
    assert report["promoted"]
    assert report["bad_release_blocked"]
    assert report["rolled_back"]
    assert 0 < report["rollback_requests"] < 200


def test_no_caller_noticed(report: dict[str, Any]) -> None:
    assert report["failed_requests"] == 0
    assert report["answers"] > 100
    assert 300 < report["peak_memory_mb"] < 4096


def test_after_the_rollback_the_champion_answers_everyone(finished: Path, report: dict[str, Any]) -> None:
    table = json.loads((finished / ".modelyard" / "demo" / ".modelyard" / "routes.json").read_text())["table"]
    (service,) = table["services"]
    assert service["champion"]["release"] == report["stages"]["train_better"]["release"]
    assert service.get("challenger") is None


def test_nothing_is_half_recorded(finished: Path) -> None:
    runs = modelyard(finished, "run", "list")
    assert sorted(run["name"] for run in runs) == ["first", "hasty", "standard"]
    assert {run["state"] for run in runs} == {"finished"}
    stages = {one["ref"]: one["stage"] for one in modelyard(finished, "release", "list")}
    assert sorted(stages.values()) == ["archived", "archived", "draft", "production"]
    rollouts = modelyard(finished, "rollout", "list")
    assert sorted(rollout["state"] for rollout in rollouts) == ["promoted", "promoted", "rolled_back"]


def kinds_of(link: dict[str, Any]) -> set[str]:
    """The kinds of all links below one."""
    return {link.get("kind", "trace")}.union(*(kinds_of(inner) for inner in link.get("links", [])))


def test_an_answer_leads_back_to_the_raw_file_and_the_commit(finished: Path, report: dict[str, Any]) -> None:
    trace = modelyard(finished, "lineage", report["answer_id"])
    assert trace["missing"] == []
    assert {"interaction", "release", "verdict", "run", "recipe", "dataset", "file", "base", "commit"} <= kinds_of(
        trace
    )
    assert "support_messages.jsonl" in json.dumps(trace)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=finished, capture_output=True, text=True, check=True)
    assert head.stdout.strip() in json.dumps(trace)
    assert "uncommitted" not in json.dumps(trace)


def test_every_release_has_a_card(finished: Path, report: dict[str, Any]) -> None:
    card = modelyard(finished, "release", "card", report["stages"]["train_better"]["ref"])["card"]
    assert "dinghy-6m" in card
    assert "exact_match" in card


def test_the_page_needs_nothing_else(finished: Path) -> None:
    page = (finished / ".modelyard" / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page
    assert "https://" not in page


def test_curves_are_in_mlflow(finished: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / '.modelyard' / 'demo' / '.modelyard' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'demo'")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3
    assert all(len(client.get_metric_history(run.info.run_id, "loss")) > 1 for run in runs)


def test_a_run_that_was_killed_on_its_way_is_reproduced_to_the_byte(finished: Path) -> None:
    run = min(modelyard(finished, "run", "list"), key=lambda one: one["train_seconds"])
    found = modelyard(finished, "reproduce", run["id"])
    assert found["verdict"] == found["weights_verdict"] == "identical"
    assert found["num_tensors"] == 84
    assert not found["differences"]


class Up:
    """`modelyard up` on the finished demonstration."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "modelyard", "up", "--json", "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = self.process.stdout.readline()
            assert line, "it ended before it answered"
            text += line
        self.addresses = json.loads(text)
        self.url = self.addresses["gateway"]
        self.key = modelyard(folder, "keys", "create", "ada")["key"]
        self._wait_for_key()

    def _wait_for_key(self) -> None:
        for _ in range(100):
            if httpx.get(f"{self.url}/v1/models", headers=self.headers).status_code == 200:
                return
            time.sleep(0.1)
        raise AssertionError("the gateway never learnt of the key")

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="module")
def up(finished: Path) -> Iterator[Up]:
    running = Up(finished)
    yield running
    running.process.terminate()
    assert running.process.wait(30) == 0


def test_the_finished_project_serves_the_official_client(up: Up, finished: Path) -> None:
    from openai import OpenAI

    client = OpenAI(base_url=f"{up.url}/v1", api_key=up.key, max_retries=0)
    question = [{"role": "user", "content": "Where is my parcel? It should have come on Monday."}]
    whole = client.chat.completions.create(model="support", messages=question)  # type: ignore[call-overload]
    assert whole.choices[0].message.content
    pieces = client.chat.completions.create(model="support", messages=question, stream=True)  # type: ignore[call-overload]
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
    wait_until_recorded(finished, whole.id)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"headers": {}}, 401, "API key"),
        ({"headers": {"authorization": "Bearer wrong"}}, 401, "API key"),
        ({"content": b"{not json"}, 400, "JSON"),
        ({"content": b'{"model": "suport", "messages": [{"role": "user", "content": "x"}]}'}, 404, "support"),
        ({"content": b'{"messages": [{"role": "user", "content": "x"}]}'}, 400, "model"),
        ({"content": b'{"model": "support", "messages": []}'}, 400, "messages"),
    ],
)
def test_a_bad_request_gets_an_openai_error(up: Up, change: dict[str, Any], status: int, said: str) -> None:
    request: dict[str, Any] = {"headers": up.headers, "content": b'{"model": "support", "messages": []}', **change}
    answer = httpx.post(f"{up.url}/v1/chat/completions", **request)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]


@pytest.mark.parametrize("arguments", [["up", "--port", "0"], ["demo", "--port", "0"], ["demo", "--fresh"]])
def test_a_served_project_is_neither_served_twice_nor_cleared(up: Up, finished: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "modelyard", *arguments]
    done = subprocess.run(command, cwd=finished, env=environment(finished), capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert f"is in use by process {up.process.pid}" in done.stderr
    assert (finished / ".modelyard" / "demo" / "report.json").is_file()


def test_a_killed_engine_is_started_again(up: Up) -> None:
    body = {"model": "support", "messages": [{"role": "user", "content": "I want my money back"}]}
    pids = subprocess.run(
        ["pgrep", "-P", str(up.process.pid), "-f", "adapters.guard.*engines.builtin"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    os.kill(int(pids[0]), signal.SIGKILL)
    statuses: list[int] = []
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        answer = httpx.post(f"{up.url}/v1/chat/completions", headers=up.headers, json=body, timeout=30)
        statuses.append(answer.status_code)
        if 502 in statuses and answer.status_code == 200:
            return
        time.sleep(0.2)
    raise AssertionError(f"it did not come back: {statuses[-10:]}")


def test_answers_given_while_the_database_was_away_are_recorded_once_it_is_back(up: Up, finished: Path) -> None:
    body = {"model": "support", "messages": [{"role": "user", "content": "I want my money back"}]}
    state = finished / ".modelyard" / "demo" / ".modelyard"
    away = state / "away"
    away.mkdir()
    ids: list[str] = []
    names = [path.name for path in state.glob("records.db*")]
    for name in names:
        (state / name).rename(away / name)
    try:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            answer = httpx.post(f"{up.url}/v1/chat/completions", headers=up.headers, json=body, timeout=30)
            assert answer.status_code == 200
            ids.append(answer.json()["id"])
        made = [path.name for path in state.glob("records.db*")]
        assert made == [], "a database in the lost one's place"
    finally:
        for name in names:
            (away / name).rename(state / name)
    for id in (ids[0], ids[-1]):
        wait_until_recorded(finished, id)
    assert up.process.poll() is None


def wait_until_recorded(folder: Path, id: str) -> None:
    command = [sys.executable, "-m", "modelyard", "lineage", id, "--json"]
    for _ in range(20):
        if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.2)
    raise AssertionError("the answer never reached the records")
