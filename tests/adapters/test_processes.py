"""Servers as child processes: they come up, are noticed when they die, and never outlive us."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.adapters.engines.builtin.command import builtin_command
from modelyard.adapters.processes import ServerProcess, free_port
from modelyard.core.errors import InvalidInput, PortBusy, Unavailable
from tests.models import make_tiny_model

HEALTHY = """
import http.server, os, pathlib, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "family" in sys.argv:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path(sys.argv[2] + ".grandchild").write_text(str(os.getpid()))
        signal.pause()
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def gone(pid: int, timeout_s: float = 20) -> bool:
    until = time.monotonic() + timeout_s
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(pid)


def start(tmp_path: Path, *words: str, grace_s: float = 10) -> tuple[ServerProcess, Path]:
    port, pid_file = free_port(), tmp_path / "pid"
    command = [sys.executable, "-c", HEALTHY, str(port), str(pid_file), *words]
    process = ServerProcess(
        "engine", command, url=f"http://127.0.0.1:{port}", log=tmp_path / "logs" / "engine.log", grace_s=grace_s
    )
    return process, pid_file


def test_it_comes_up_and_is_stopped(tmp_path: Path) -> None:
    process, pid_file = start(tmp_path)
    heard: list[float] = []
    with process:
        seconds = process.wait_ready(30, heard.append)
        assert process.running
        pid = int(pid_file.read_text())
    assert seconds >= 0
    assert heard == sorted(heard)
    assert gone(pid)
    assert not process.running
    process.stop()


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process, pid_file = start(tmp_path, "stubborn", grace_s=0.3)
    process.wait_ready(30)
    pid = int(pid_file.read_text())
    process.stop()
    assert gone(pid)


def test_its_own_children_end_with_it(tmp_path: Path) -> None:
    process, pid_file = start(tmp_path, "family")
    process.wait_ready(30)
    grandchild = int(pid_file.with_name("pid.grandchild").read_text())
    assert alive(grandchild)
    process.stop()
    assert gone(grandchild)


def test_a_death_is_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('loading'); raise SystemExit('no such weights')"]
    log = tmp_path / "engine.log"
    log.write_text("an older engine's words\n")
    process = ServerProcess("engine", command, url=f"http://127.0.0.1:{free_port()}", log=log)
    with pytest.raises(Unavailable, match=r"ended with code 1(.|\n)*no such weights") as caught:
        process.wait_ready(30)
    assert "older" not in str(caught.value)
    process.stop()


def test_a_late_one_is_given_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with ServerProcess("engine", command, url=f"http://127.0.0.1:{free_port()}", log=tmp_path / "log") as process:
        with pytest.raises(Unavailable, match=r"not ready after 0\.3 s"):
            process.wait_ready(0.3)
        pid = process.pid
    assert gone(pid)


def test_a_busy_port_is_not_taken_for_the_engine(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortBusy, match="something answers"):
            ServerProcess("engine", ["true"], url=f"http://127.0.0.1:{other.getsockname()[1]}", log=tmp_path / "log")


@pytest.mark.parametrize("victim", ["parent", "guard"])
def test_no_engine_outlives_a_killed_parent_or_guard(tmp_path: Path, victim: str) -> None:
    port, pid_file = free_port(), tmp_path / "pid"
    owner = f"""
import sys, time
from pathlib import Path
from modelyard.adapters.processes import ServerProcess
command = [sys.executable, "-c", {HEALTHY!r}, "{port}", {str(pid_file)!r}]
process = ServerProcess("engine", command, url="http://127.0.0.1:{port}", log=Path({str(tmp_path / "log")!r}))
process.wait_ready(30)
print(process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as parent:
        guard = int(parent.stdout.readline())
        engine = int(pid_file.read_text())
        assert alive(engine)
        os.kill(parent.pid if victim == "parent" else guard, signal.SIGKILL)
        assert gone(engine)
        parent.kill()
    assert gone(guard)


def test_one_that_lingers_outlives_a_killed_parent_for_a_moment_and_no_stop(tmp_path: Path) -> None:
    port, pid_file = free_port(), tmp_path / "pid"
    command = [sys.executable, "-c", HEALTHY, f"{port}", str(pid_file)]
    owner = f"""
import time
from pathlib import Path
from modelyard.adapters.processes import ServerProcess
url, log = "http://127.0.0.1:{port}", Path({str(tmp_path / "log")!r})
process = ServerProcess("engine", {command!r}, url=url, log=log, linger_s=1.0)
process.wait_ready(30)
print(flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        parent.kill()
        engine = int(pid_file.read_text())
        time.sleep(0.5)
        assert alive(engine)
        assert gone(engine)
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    with ServerProcess("engine", command, url=url, log=log, linger_s=60.0) as process:
        process.wait_ready(30)
        engine = int(pid_file.read_text())
    assert gone(engine)


def run_builtin(model: Path, port: int) -> subprocess.CompletedProcess[str]:
    command = builtin_command(model, "tiny", port=port)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_built_in_engine_refuses_a_busy_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = run_builtin(make_tiny_model(tmp_path), port)
    assert ended.returncode == PortBusy.exit_code
    assert f"port {port} on 127.0.0.1 is taken" in ended.stderr


def test_the_built_in_engine_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    ended = run_builtin(tmp_path, free_port())
    assert ended.returncode == InvalidInput.exit_code
    assert "has no config.json" in ended.stderr
