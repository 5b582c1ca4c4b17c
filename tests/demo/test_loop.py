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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DEMO = [sys.executable, "-m", "modelyard", "demo", "--json", "--port", "0"]
KILLS = 6


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "MODELYARD_USER": "ada"}


def modelyard(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "modelyard", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_and_kill(folder: Path, after_s: float) -> None:
    """Run the demonstration and kill it, and nothing but it, without a word."""
    with subprocess.Popen(
        DEMO, cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as demo:
        time.sleep(after_s)
        demo.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demonstration that was killed at random moments and then ran to its end."""
    folder = tmp_path_factory.mktemp("demo")
    for command in ("init", "add README", "-c user.name=ada -c user.email=ada@example.com commit -m first"):
        (folder / "README").touch()
        subprocess.run(["git", *command.split()], cwd=folder, capture_output=True, check=True)
    draw = random.Random(11)
    for _ in range(KILLS):
        run_and_kill(folder, draw.uniform(2, 25))
    done = subprocess.run(DEMO, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
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
    for _ in range(100):
        command = [sys.executable, "-m", "modelyard", "lineage", whole.id, "--json"]
        if subprocess.run(command, cwd=finished, capture_output=True, check=False).returncode == 0:
            return
    raise AssertionError("the answer never reached the records")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"headers": {}}, 401, "API key"),
        ({"headers": {"authorization": "Bearer wrong"}}, 401, "API key"),
        ({"content": b"{not json"}, 400, "JSON"),
        ({"content": b'{"model": "suport", "messages": []}'}, 404, "support"),
        ({"content": b'{"messages": []}'}, 400, "model"),
    ],
)
def test_a_bad_request_gets_an_openai_error(up: Up, change: dict[str, Any], status: int, said: str) -> None:
    request: dict[str, Any] = {"headers": up.headers, "content": b'{"model": "support", "messages": []}', **change}
    answer = httpx.post(f"{up.url}/v1/chat/completions", **request)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]


def test_a_busy_port_is_refused_in_words_and_leaves_nothing(up: Up, finished: Path) -> None:
    command = [sys.executable, "-m", "modelyard", "up", "--port", str(up.port)]
    done = subprocess.run(command, cwd=finished, env=environment(finished), capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "is being served by process" in done.stderr


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


def test_the_gateway_outlives_a_lost_database(up: Up, finished: Path) -> None:
    body = {"model": "support", "messages": [{"role": "user", "content": "I want my money back"}]}
    database = finished / ".modelyard" / "demo" / ".modelyard" / "records.db"
    hidden = database.with_suffix(".away")
    database.rename(hidden)
    try:
        for _ in range(5):
            answer = httpx.post(f"{up.url}/v1/chat/completions", headers=up.headers, json=body, timeout=30)
            assert answer.status_code == 200
    finally:
        hidden.rename(database)
