"""One suite for every kind of workers: results in order, few tasks ahead, errors as they were."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.compute.pool import ProcessWorkers
from modelyard.core.errors import DataInvalid, JobFailed
from modelyard.ports.workers import Inline, Workers


@pytest.fixture(params=["inline", "processes", pytest.param("ray", marks=pytest.mark.slow)], scope="module")
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    if request.param == "ray":
        pytest.importorskip("ray")
        from modelyard.adapters.compute.ray import RayWorkers

        cluster = RayWorkers("local")
        yield cluster
        cluster.close()
    else:
        yield Inline() if request.param == "inline" else ProcessWorkers(2)


def slow_square(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    return number * number


def refuse(number: int) -> int:
    if number == 3:
        raise DataInvalid("row 3 is bad", expected="a good one", fix="mend it")
    return number


def full_disk(number: int) -> int:
    raise OSError(28, "No space left on device", "somewhere")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_the_order_of_the_tasks(workers: Workers) -> None:
    assert list(workers.map(slow_square, range(20))) == [number * number for number in range(20)]


def test_no_tasks_are_no_results(workers: Workers) -> None:
    assert list(workers.map(slow_square, [])) == []


def test_few_tasks_are_taken_ahead(workers: Workers) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = workers.map(slow_square, tasks())
    next(results)
    assert len(taken) < 100
    getattr(results, "close", lambda: None)()


def test_an_error_comes_back_as_it_was(workers: Workers) -> None:
    with pytest.raises(DataInvalid) as caught:
        list(workers.map(refuse, range(10)))
    assert (caught.value.seen, caught.value.fix) == ("row 3 is bad", "mend it")


def test_a_full_disk_comes_back_as_one(workers: Workers) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        list(workers.map(full_disk, range(2)))
    assert caught.value.errno == 28


def test_a_killed_process_is_told() -> None:
    with pytest.raises(JobFailed, match="killed"):
        list(ProcessWorkers(2).map(die, range(4)))


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from modelyard.adapters.compute.pool import ProcessWorkers\n"
        "def work(folder):\n"
        "    open(f'{folder}/{os.getpid()}', 'w').close()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    list(ProcessWorkers(2).map(work, [sys.argv[1]] * 2))\n"
    )
    found = tmp_path / "pids"
    found.mkdir()
    parent = subprocess.Popen([sys.executable, script, found])
    while len(list(found.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    pids = [int(path.name) for path in found.iterdir()]
    deadline = time.monotonic() + 20
    while any(_is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "the workers outlived their parent"
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False
