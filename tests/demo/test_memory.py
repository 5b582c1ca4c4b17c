"""The memory of the whole process tree, not that of its largest member."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.demo import memory
from modelyard.demo.memory import MemoryWatch

# A child and a grandchild of 150 MiB each.
GREEDY = """
import subprocess, sys
held = b"x" * (150 << 20)
if len(sys.argv) == 2:
    subprocess.run([sys.executable, "-c", sys.argv[1]])
else:
    print("grown", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="there is no /proc")
def test_the_memory_is_that_of_the_whole_tree() -> None:
    command = [sys.executable, "-c", GREEDY, GREEDY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"grown\n"
        assert 300 < memory.tree_memory_mb(child.pid) < 400
        child.communicate()
    assert memory.tree_memory_mb(child.pid) == 0


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="there is no /proc")
def test_a_peak_between_two_questions_is_not_missed() -> None:
    with MemoryWatch(interval_s=0.01) as watch:
        before_mb = watch.take()
        with subprocess.Popen([sys.executable, "-c", GREEDY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            watch._thread.join(0.2)
            child.communicate()
        assert watch.take() > before_mb + 140


def test_where_nothing_tells_it_is_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PROC", tmp_path / "none")
    assert memory.tree_memory_mb(1) == 0
