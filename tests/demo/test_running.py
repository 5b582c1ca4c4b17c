"""The demonstration's project: laid out whole, cleared only where it is ours and idle, gone on with after Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, DataInvalid, InvalidInput
from modelyard.demo import running
from modelyard.demo.running import Wish, laid_out, run_demo
from modelyard.serving import held
from modelyard.settings import Places

SHIPPED = Wish()
FILES = {"modelyard.yaml", "support_messages.jsonl", "wish.json", ".gitignore", ".modelyard"}


def lay_out(folder: Path, wish: Wish = SHIPPED, *, fresh: bool = False) -> bool:
    """Lay the project out and let it go; whether it was an old one."""
    with laid_out(folder, wish, fresh=fresh) as goes_on:
        assert {path.name for path in folder.iterdir()} >= FILES
    return goes_on


def test_an_interrupted_one_is_kept_and_any_other_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "demo"
    assert not lay_out(folder)
    (folder / "trace").touch()
    assert lay_out(folder)
    assert (folder / "trace").exists()
    assert not lay_out(folder, Wish(prompt="{question}"))
    assert not (folder / "trace").exists()
    (folder / "trace").touch()
    assert not lay_out(folder, Wish(prompt="{question}"), fresh=True)
    assert not (folder / "trace").exists()
    (folder / "report.json").touch()
    assert not lay_out(folder, Wish(prompt="{question}"))
    assert not (folder / "report.json").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["demo"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    assert not lay_out(tmp_path / "demo")


@pytest.mark.parametrize("marker", ["", '{"title": "a bicycle"}', "[]", "{"])
def test_a_real_project_is_never_cleared(tmp_path: Path, marker: str) -> None:
    """A folder with a `.modelyard` is somebody's project, even where one of their files has our marker's name."""
    (tmp_path / ".modelyard" / "blobs").mkdir(parents=True)
    (tmp_path / "modelyard.yaml").write_text("project: shop\n")
    if marker:
        (tmp_path / "wish.json").write_text(marker)
    before = sorted(tmp_path.rglob("*"))
    for fresh in (False, True):
        with pytest.raises(InvalidInput, match="holds no earlier demonstration"):
            lay_out(tmp_path, fresh=fresh)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_the_folders_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(InvalidInput):
        lay_out(tmp_path / "demo")
    assert (tmp_path / "demo").read_text() == "mine"


@pytest.mark.parametrize("finished", [False, True])
def test_a_project_in_use_is_neither_cleared_nor_gone_on_with(tmp_path: Path, *, finished: bool) -> None:
    folder = tmp_path / "demo"
    lay_out(folder)
    if finished:
        (folder / "report.json").touch()
    before = sorted(folder.rglob("*"))
    with held(Places(root=folder, state=folder / ".modelyard")):
        for fresh in (False, True):
            with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
                lay_out(folder, fresh=fresh)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("new", [False, True])
def test_two_at_once_in_one_folder_are_refused(tmp_path: Path, *, new: bool) -> None:
    folder = tmp_path / "demo"
    if not new:
        lay_out(folder)
    with laid_out(folder, SHIPPED, fresh=False):
        with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
            lay_out(folder, fresh=True)
        with pytest.raises(Conflict), held(Places(root=folder, state=folder / ".modelyard")):
            pass
    assert lay_out(folder)


def test_the_second_of_two_that_begin_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, write = tmp_path / "demo", running._write_project

    def write_slowly(scratch: Path, wish: Wish) -> None:
        write(scratch, wish)
        monkeypatch.undo()
        lay_out(folder)

    monkeypatch.setattr(running, "_write_project", write_slowly)
    with pytest.raises(Conflict, match="another demonstration has begun"):
        lay_out(folder)
    assert lay_out(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_own_data_is_refused_where_it_is_missing_or_would_be_cleared(tmp_path: Path) -> None:
    def run(data: Path) -> None:
        run_demo(tmp_path / "demo", Wish(data=str(data)), port=0, fresh=False, quiet=True)

    with pytest.raises(DataInvalid, match="there is no file"):
        run(tmp_path / "none.csv")
    lay_out(tmp_path / "demo")
    with pytest.raises(InvalidInput, match="own folder"):
        run(tmp_path / "demo" / "support_messages.jsonl")
    assert lay_out(tmp_path / "demo")


# Lays the project out again and again, killed at its first touch of a file, at its second, ... until it ends well.
KILLED = """
import os, signal, sys
from pathlib import Path
from modelyard.demo.running import Wish, laid_out

folder, files = Path(sys.argv[1]), set(sys.argv[2].split())
touches = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile", "os.truncate"}

def lay_out_and_die_at(number):
    left = number

    def hook(event, _arguments):
        nonlocal left
        if event in touches:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    with laid_out(folder, Wish(), fresh=True):
        os._exit(0)

number, status = 0, 1
while status != 0:
    number += 1
    if number % 2:
        with laid_out(folder, Wish(), fresh=True):
            pass
    child = os.fork()
    if child == 0:
        lay_out_and_die_at(number)
    status = os.waitpid(child, 0)[1]
    assert not folder.exists() or {path.name for path in folder.iterdir()} >= files
    with laid_out(folder, Wish(), fresh=False):
        assert {path.name for path in folder.iterdir()} >= files
    assert not list(folder.parent.glob("*.old")), number
print(number)
"""


def test_a_kill_anywhere_in_laying_out_and_clearing_leaves_the_whole_project_or_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "demo"), " ".join(FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_what_a_killed_one_left_half_laid_out_is_removed_in_time(tmp_path: Path) -> None:
    lay_out(tmp_path / "demo")
    left = running._neighbour(tmp_path / "demo", "new")
    (tmp_path / "demo").rename(left)
    mine = tmp_path / ".demo.notes.old"
    mine.touch()
    lay_out(tmp_path / "demo")
    assert left.is_dir()
    os.utime(left, (0, 0))
    lay_out(tmp_path / "demo", fresh=True)
    assert {path.name for path in tmp_path.iterdir()} == {"demo", mine.name}


def descendants(root: int) -> list[int]:
    """Every process below one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listed.splitlines()}
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree[1:]


def wait_for_training(process: "subprocess.Popen[str]") -> list[int]:
    """The processes below one, as soon as one of them trains."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        below = descendants(process.pid)
        for pid in below:
            try:
                if b"modelyard.training.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return below
            except OSError:
                continue
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("it never trained")


def interrupt(process: "subprocess.Popen[str]", below: list[int]) -> str:
    """Ctrl-C; what it had said on standard output. Nothing that it started may be left after a while."""
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaints.endswith("interrupted; run the same command again to go on\n")
    assert "Traceback" not in complaints
    deadline = time.monotonic() + 60
    while left := [pid for pid in below if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    return said


@pytest.mark.slow
@pytest.mark.parametrize("command", ["demo", "tune"])
def test_ctrl_c_ends_it_at_once_with_all_it_started_and_the_same_command_goes_on(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "demo"
    if command == "tune":
        lay_out(folder)
        arguments = ["tune", "support", "--project", str(folder)]
    else:
        arguments = ["demo", "--port", "0", "--folder", str(folder)]
    env = {**os.environ, "HOME": str(tmp_path), "MODELYARD_TRACKING": "none"}

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "modelyard", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path,
        )  # fmt: skip

    first = start()
    said = interrupt(first, wait_for_training(first))
    if command == "demo":
        assert "Ctrl-C interrupts it" in said
        assert " 1  Prepare the raw messages" in said
        assert "done before" not in said
    second = start()
    said = interrupt(second, wait_for_training(second))
    if command == "demo":
        assert " 1  Prepare the raw messages  done before" in said
    listed = subprocess.run(
        [sys.executable, "-m", "modelyard", "run", "list", "--json", "--project", str(folder)],
        capture_output=True, text=True, env=env, check=True,
    ).stdout  # fmt: skip
    # The step was not waited for, and the second time the same run was taken up again.
    (run,) = json.loads(listed)
    assert run["state"] != "finished"
