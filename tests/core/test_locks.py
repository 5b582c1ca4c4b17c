"""A lock is held by one process, named to the others, and free again however its holder ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.core.errors import Conflict
from modelyard.core.locks import hold, locked

HOLDER = """
import sys, time
from pathlib import Path
from modelyard.core.locks import hold
with hold(Path(sys.argv[1]), "it is in use"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match=f"in use by process {other.pid}"), hold(path, "it is in use"):
            pass
        other.kill()
    with hold(path, "it is in use"):
        assert path.read_text() == str(os.getpid())
    with hold(path, "it is in use"):
        pass


def test_a_second_holder_in_this_process_is_refused_as_well(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, "it is in use"), pytest.raises(Conflict, match=str(os.getpid())), hold(path, "it is in use"):
        pass


def test_a_lock_goes_with_its_folder(tmp_path: Path) -> None:
    folder, moved = tmp_path / "folder", tmp_path / "moved"
    folder.mkdir()
    with hold(folder / "lock", "it is in use"):
        folder.rename(moved)
        with pytest.raises(Conflict, match="in use"), hold(moved / "lock", "it is in use"):
            pass
        folder.mkdir()
        with hold(folder / "lock", "it is in use"):
            pass


def test_a_file_that_was_taken_away_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    path, real = tmp_path / "lock", fcntl.flock

    def removed_meanwhile(file: object, how: int) -> None:
        path.unlink()
        real(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with pytest.raises(Conflict, match="moved or removed"), hold(path, "it is in use"):
        pass


def test_a_folder_is_locked_without_leaving_a_file(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(Conflict, match="another process works in"), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError), locked(tmp_path / "gone"):
        pass
