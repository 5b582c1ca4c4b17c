"""Durable work goes on where it was: after SIGKILL, after a failure, and not at all after its end."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from modelyard.core.errors import Refused
from modelyard.workflows.durable import Step, run_durably

CHILD = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from modelyard.workflows.durable import run_durably

    folder, die_in = Path(sys.argv[1]), sys.argv[2]

    def note(name):
        with (folder / "ran").open("a") as file:
            file.write(name + "\\n")
        if name == die_in:
            os.kill(os.getpid(), 9)
        if die_in == "never":
            time.sleep(60)
        return {"name": name}

    def body(step):
        return [step(name, lambda name=name: note(name))["name"] for name in ("one", "two", "three")]

    print(run_durably(folder, "work", body))
    """
)


def run_child(folder: Path, die_in: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, str(folder), die_in]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def steps_run(folder: Path) -> list[str]:
    return (folder / "ran").read_text().split()


@pytest.mark.parametrize("killed_in", ["one", "two", "three"])
def test_killed_work_goes_on_at_the_step_it_had_reached(tmp_path: Path, killed_in: str) -> None:
    assert run_child(tmp_path, killed_in).returncode == -9
    done = run_child(tmp_path, "nothing")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['one', 'two', 'three']"
    ran = steps_run(tmp_path)
    assert ran.count(killed_in) == 2
    assert len(ran) == 4


def test_failed_work_goes_on_at_the_failed_step_and_keeps_the_error(tmp_path: Path) -> None:
    ran: list[str] = []
    refuse = True

    def second() -> str:
        ran.append("two")
        if refuse:
            raise Refused("the gate said no")
        return "done"

    def body(step: Step) -> str:
        step("one", lambda: ran.append("one"))
        return step("two", second)

    for _ in range(2):
        with pytest.raises(Refused, match="the gate said no"):
            run_durably(tmp_path, "work", body)
    refuse = False
    assert run_durably(tmp_path, "work", body) == "done"
    assert ran == ["one", "two", "two", "two"]


def test_finished_work_hands_back_its_result(tmp_path: Path) -> None:
    ran: list[str] = []

    def body(step: Step) -> int:
        return step("one", lambda: ran.append("one") or 41) + 1

    assert run_durably(tmp_path, "work", body) == 42
    assert run_durably(tmp_path, "work", body) == 42
    assert ran == ["one"]


def test_two_processes_do_not_do_the_same_work_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), "never"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 60
        while not (tmp_path / "ran").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = run_child(tmp_path, "nothing")
        first.kill()
    assert second.returncode == 1
    assert f"the work 'work' is being done by process {first.pid}" in second.stderr
    assert steps_run(tmp_path) == ["one"]
    assert run_child(tmp_path, "nothing").stdout.strip() == "['one', 'two', 'three']"


def test_work_is_not_begun_within_itself(tmp_path: Path) -> None:
    def body(step: Step) -> None:
        run_durably(tmp_path, "work", body)

    with pytest.raises(Exception, match=f"being done by process {os.getpid()}"):
        run_durably(tmp_path, "work", body)
