"""The scratch folder: what is being worked in stays, what was abandoned goes."""

import os
import time
from pathlib import Path

import pytest

from modelyard.workflows.tools import Tools


def make_old(folder: Path) -> None:
    os.utime(folder, (time.time() - 100_000, time.time() - 100_000))


def test_a_folder_in_use_outlives_its_day(tools: Tools) -> None:
    with tools.scratch() as mine:
        (mine / "work").write_text("half done")
        make_old(mine)
        with tools.scratch() as other:
            assert other != mine
        assert (mine / "work").read_text() == "half done"
    assert not mine.exists()


def test_what_killed_work_left_goes_after_a_day(tools: Tools) -> None:
    old, new = tools.state / "scratch" / "old", tools.state / "scratch" / "new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "work").write_text("left")
    make_old(old)
    with tools.scratch():
        assert not old.exists()
        assert new.exists()


def test_the_lock_lies_in_no_folder_that_is_stored(tools: Tools) -> None:
    with tools.scratch() as folder:
        assert list(folder.iterdir()) == []


def test_work_that_fails_leaves_no_folder(tools: Tools) -> None:
    with pytest.raises(ZeroDivisionError), tools.scratch():
        raise ZeroDivisionError
    assert list((tools.state / "scratch").iterdir()) == []
