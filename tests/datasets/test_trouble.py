"""A full disk, and workers that die: told in words, and nothing is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.core.errors import JobFailed
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import prepare
from tests.datasets.messages import write_rows

FULL = """
import resource, sys
from pathlib import Path
from modelyard.core.errors import Unavailable
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import prepare
import modelyard.datasets.pipeline.blocks as blocks
root, out = map(Path, sys.argv[1:])
out.mkdir()
# A file that may not grow stands for a disk that is full: the system reports both by an errno of their own.
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    prepare("x", DatasetConfig(path="rows.jsonl"), root=root, out=out)
except Unavailable as error:
    print(error)
print(sorted(path.name for path in out.iterdir()))
"""


def rows(folder: Path) -> Path:
    return write_rows(
        folder / "rows.jsonl",
        ({"text": f"question {n} about {n * 7919} things", "label": f"answer {n}"} for n in range(2000)),
    )


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    rows(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "the disk is full" in run.stdout
    assert "Fix: free some space" in run.stdout
    assert run.stdout.splitlines()[-1] == "[]"


class Dying:
    """Workers of which one is killed."""

    def __enter__(self) -> "Dying":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: object, tasks: object) -> object:
        raise JobFailed("a worker process was killed")


def test_a_dead_worker_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.datasets.preparation._WORTH_WORKERS_BYTES", 0)
    rows(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(JobFailed):
        prepare("x", DatasetConfig(path="rows.jsonl"), root=tmp_path, out=tmp_path / "out", workers=Dying())  # type: ignore[arg-type]
    assert os.listdir(tmp_path / "out") == []
