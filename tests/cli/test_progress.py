"""Progress on a pipe: a line a stage, and one now and then while it lasts."""

import pytest

from modelyard.cli import progress
from modelyard.cli.progress import showing


def test_a_pipe_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with showing("Training") as tell:
        tell(1, 900, "loss 2.0")
        monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
        tell(450, 900, "loss 1.0")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["Training ...", "Training: 450 of 900, loss 1.0"]
    assert lines[2].startswith("Training: done in")


def test_nothing_is_said_beside_json(capsys: pytest.CaptureFixture[str]) -> None:
    with showing("Training", quiet=True) as tell:
        tell(1, 2, "loss 1.0")
    assert capsys.readouterr().err == ""
