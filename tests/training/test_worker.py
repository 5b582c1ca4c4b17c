import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from modelyard.training.job import train
from modelyard.training.spec import read_result
from modelyard.training.worker import main

COMMAND = (sys.executable, "-m", "modelyard.training.worker")


def events_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_it_speaks_json_alone_and_publishes_its_result(make_spec, tmp_path):
    spec = make_spec()
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(spec))
    done = subprocess.run([*COMMAND, str(tmp_path / "spec.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = events_of(done.stdout)
    assert [event["event"] for event in events if event["event"] != "warned"] == [
        "preflight",
        "started",
        *["progress"] * 6,
        "finished",
    ]
    assert events[-1]["metrics"] == read_result(Path(spec.output)).metrics


@pytest.fixture
def as_before():
    """A process of its own would end with what the worker sets in it; here it is set back."""
    heard = signal.getsignal(signal.SIGTERM)
    with mock.patch.dict(os.environ):
        yield
    signal.signal(signal.SIGTERM, heard)


@pytest.mark.usefixtures("as_before")
def test_a_refusal_is_an_event_and_an_exit_code(make_spec, tmp_path, capsys):
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(make_spec(sequence_length=8)))
    assert main([str(tmp_path / "spec.json")]) == 2
    failed = events_of(capsys.readouterr().out)[-1]
    assert failed["event"] == "failed"
    assert failed["error"]["code"] == "recipe_invalid"
    assert "no row is truncated" in failed["error"]["seen"]


def test_a_spec_that_cannot_be_read_is_refused(tmp_path):
    done = subprocess.run([*COMMAND, str(tmp_path / "none.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not a training spec" in events_of(done.stdout)[0]["error"]["seen"]


@pytest.mark.slow
def test_killed_in_the_middle_it_has_published_nothing_and_can_run_again(make_spec, tmp_path):
    spec = make_spec(max_steps=2000)
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(spec))
    worker = subprocess.Popen(
        [*COMMAND, str(tmp_path / "spec.json")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert worker.stdout
    for line in worker.stdout:
        if json.loads(line).get("step") == 3:
            os.kill(worker.pid, signal.SIGKILL)
            break
    worker.wait()
    worker.stdout.close()
    assert not Path(spec.output).exists()
    again = make_spec(max_steps=3)
    train(again, lambda event: None)
    assert read_result(Path(spec.output)).metrics["steps"] == 3
