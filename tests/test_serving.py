"""What serves is kept running: children are started again, within bounds; a dead control loop is told."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from modelyard import serving
from modelyard.adapters.processes import ServerProcess, free_port
from modelyard.app import open_app
from modelyard.core.errors import Conflict, JobFailed, PortBusy, Unavailable
from modelyard.gateway.server import read_settings
from modelyard.serving import Keeper, Serving, held
from modelyard.settings import Places, Settings

# Answers on its port, unless the file beside it names the starts at which it shall end at once, or never get ready.
SERVER = """
import http.server, json, pathlib, sys, time
port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
with (folder / "starts").open("a") as file:
    file.write("x")
number = (folder / "starts").stat().st_size
plan = json.loads((folder / "plan").read_text())
if number in plan.get("end", []) or plan.get("end_after", 99) < number:
    sys.exit("no such weights")
if number in plan.get("hang", []):
    time.sleep(60)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
PROJECT = """\
project: shop
datasets:
  messages: {path: raw.jsonl, answer: "{intent}"}
recipes:
  standard: {base: dinghy-6m}
suites:
  held-out: {dataset: messages}
policies:
  careful: {min: {exact_match: 0.8}}
rollouts:
  quick:
    steps: [{canary: {weight: "50%", min_samples: 20}}]
services:
  support: {dataset: messages, recipe: standard, suite: held-out, policy: careful, rollout: quick}
"""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_PAUSES_S", (0.0, 0.05, 0.05, 0.05, 0.05))


@pytest.fixture
def children() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(children: ExitStack, folder: Path, what: str = "engine", **plan: Any) -> ServerProcess:
    folder.mkdir(exist_ok=True)
    (folder / "plan").write_text(json.dumps(plan))
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port), str(folder)]
    child = ServerProcess(what, command, url=f"http://127.0.0.1:{port}", log=folder / "log", grace_s=2)
    children.enter_context(child)
    child.wait_ready(30)
    return child


def kill(child: ServerProcess) -> None:
    """Kill a child's guard, with which the system ends the child."""
    os.kill(child.pid, signal.SIGKILL)
    while child.running or child.ready():
        time.sleep(0.01)


def look_until_back(keeper: Keeper, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not keeper.look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def starts(folder: Path) -> int:
    return (folder / "starts").stat().st_size


def test_a_child_that_ends_is_started_again(children: ExitStack, tmp_path: Path) -> None:
    child = start(children, tmp_path)
    keeper = Keeper(child)
    assert not keeper.look()
    kill(child)
    look_until_back(keeper)
    assert child.ready()
    assert not keeper.look()
    assert starts(tmp_path) == 2


def test_one_that_ends_while_starting_is_tried_again(children: ExitStack, tmp_path: Path) -> None:
    child = start(children, tmp_path, end=[2, 3, 4])
    keeper = Keeper(child)
    kill(child)
    look_until_back(keeper)
    assert starts(tmp_path) == 5


def test_one_that_never_gets_ready_is_ended_and_tried_again(
    children: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_START_TIMEOUT_S", 2.0)
    child = start(children, tmp_path, hang=[2])
    keeper = Keeper(child)
    kill(child)
    look_until_back(keeper)
    assert starts(tmp_path) == 3


def test_one_that_keeps_ending_is_given_up_with_the_end_of_its_log(children: ExitStack, tmp_path: Path) -> None:
    child = start(children, tmp_path, end_after=1)
    keeper = Keeper(child)
    kill(child)
    with pytest.raises(Unavailable, match="no such weights"):
        look_until_back(keeper)
    assert starts(tmp_path) == 6


def test_restarts_of_long_ago_do_not_count(
    children: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_WINDOW_S", 0.0)
    child = start(children, tmp_path)
    keeper = Keeper(child)
    for _ in range(7):
        kill(child)
        look_until_back(keeper)
    assert starts(tmp_path) == 8


def test_a_port_that_is_taken_for_a_while_is_waited_for(
    children: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_PAUSES_S", (0.0, 0.1, 0.5, 0.5, 0.5))
    child = start(children, tmp_path)
    keeper = Keeper(child)
    kill(child)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(child.url.rpartition(":")[2])))
        other.listen()
        keeper.look()
        assert not child.running
    look_until_back(keeper)


class Loop:
    """Stands for the control loop: turns until it is stopped, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.forgotten = error, 0

    def run(self, stop: threading.Event) -> None:
        if self.error:
            raise self.error
        stop.wait()

    def forget_engine(self) -> None:
        self.forgotten += 1


def serving_of(children: ExitStack, tmp_path: Path, control: Loop, **plan: Any) -> tuple[Serving, ServerProcess]:
    gateway = start(children, tmp_path / "gateway", "gateway")
    engine = start(children, tmp_path / "engine", **plan)
    return Serving(gateway, engine, engine.url, control, ExitStack()), engine  # type: ignore[arg-type]


def test_an_engine_that_is_back_gets_its_adapters_anew(children: ExitStack, tmp_path: Path) -> None:
    control = Loop()
    running, engine = serving_of(children, tmp_path, control)
    with running:
        kill(engine)
        deadline = time.monotonic() + 30
        while not control.forgotten:
            assert time.monotonic() < deadline
            running.watch()
            time.sleep(0.02)
        running.watch()
    assert control.forgotten == 1


def test_a_dead_control_loop_is_told(children: ExitStack, tmp_path: Path) -> None:
    running, _ = serving_of(children, tmp_path, Loop(KeyError("who")))
    with running, pytest.raises(JobFailed, match="the control loop ended: KeyError"):
        running.wait(threading.Event())


def test_waiting_heeds_the_stop_while_a_child_starts(children: ExitStack, tmp_path: Path) -> None:
    running, engine = serving_of(children, tmp_path, Loop(), hang=[2])
    stop = threading.Event()
    with running:
        kill(engine)
        threading.Timer(1.5, stop.set).start()
        began = time.monotonic()
        running.wait(stop)
        assert time.monotonic() - began < 10
        assert starts(tmp_path / "engine") == 2


def test_a_project_is_held_by_one(tmp_path: Path) -> None:
    places = Places(root=tmp_path, state=tmp_path / "a" / "state")
    with held(places), pytest.raises(Conflict, match=f"in use by process {os.getpid()}"), held(places):
        pass
    with held(places):
        pass
    gone = Places(root=tmp_path / "gone", state=tmp_path / "gone" / ".modelyard")
    with pytest.raises(Conflict, match="moved or removed"), held(gone):
        pass
    assert not (tmp_path / "gone").exists()


def project(folder: Path) -> Path:
    (folder / "modelyard.yaml").write_text(PROJECT)
    return folder


def test_the_gateway_gets_the_time_that_it_gives_its_requests(tmp_path: Path) -> None:
    file = project(tmp_path) / "modelyard.yaml"
    drain_s = read_settings(["--table", "t", "--journal", "j"]).drain_s
    with open_app(str(file), Settings(tracking="none")) as app, app.gateway_process(0) as gateway:
        assert gateway._grace_s > drain_s


def up(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    env = {**os.environ, "HOME": str(folder), "MODELYARD_TRACKING": "none"}
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard", "up", *arguments],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_up_says_what_is_launched_and_what_to_do_where_nothing_is(tmp_path: Path) -> None:
    with up(project(tmp_path), "--port", "0", "--engine-url", "http://127.0.0.1:9") as process:
        assert process.stdout is not None
        said = ""
        while "Stop with Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, process.communicate()
            said += line
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert "for: support" not in said
    assert "Not launched yet: support" in said
    assert "modelyard tune support" in said
    assert "modelyard rollout start support RELEASE" in said


def test_up_refuses_a_port_that_another_one_listens_on(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = up(project(tmp_path), "--port", str(port), "--json")
        said, _ = process.communicate(timeout=60)
    assert process.returncode == PortBusy.exit_code
    error = json.loads(said)["error"]
    assert error["code"] == "port_busy"
    assert f"something answers at http://127.0.0.1:{port} already" in error["seen"]


def test_a_second_up_on_a_project_is_refused_and_names_the_first(tmp_path: Path) -> None:
    folder = project(tmp_path)
    with held(Places(root=folder, state=folder / ".modelyard")):
        process = up(folder, "--port", "0")
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == Conflict.exit_code
    assert f"in use by process {os.getpid()}" in complaints


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_heeds_an_end_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    folder = project(tmp_path)
    process = up(folder, "--port", "0")
    log = folder / ".modelyard" / "logs" / "engine.log"
    deadline = time.monotonic() + 60
    while not log.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    began = time.monotonic()
    process.send_signal(number)
    said, complaints = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    # Python dies of SIGINT itself where it had come in the middle of an import; a shell shows 130 for both.
    assert process.returncode in (130, -signal.SIGINT), complaints
    assert complaints.endswith("interrupted\n")
    assert "The gateway answers" not in said
    assert "Traceback" not in complaints
    with held(Places(root=folder, state=folder / ".modelyard")):
        pass
