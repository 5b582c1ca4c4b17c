"""`modelyard data synthesise` against the built-in engine: killed and gone on with, its rows a dataset's at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modelyard.adapters.engines.builtin.command import builtin_command
from modelyard.adapters.processes import ServerProcess, free_port
from modelyard.app import SHIPPED_BASES
from modelyard.cli.main import main
from tests.teachers import error, serving, turned_around

PROJECT = """\
project: shop
synthesis:
  support:
    url: {url}
    model: dinghy-6m
    {more}
    from: seeds.jsonl
    prompts: ["Where is {{item}}?", "When does {{item}} come?"]
    samples: 3
    temperature: 0.8
    max_tokens: 24
    seed: 7
    concurrency: {concurrency}
    filters: {{quality: {{refusals: true}}, copies: {{threshold: null}}}}
    price: {{input: "1", output: "4"}}
datasets:
  support: {{path: synthetic/support.jsonl, meta: meta, splits: {{train: 1}}, near_duplicates: null, conflicts: keep}}
"""


@pytest.fixture(scope="module")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = builtin_command(SHIPPED_BASES["dinghy-6m"], "dinghy-6m", port=port)
    with ServerProcess("engine", command, url=url, log=tmp_path_factory.mktemp("engine") / "log") as engine:
        engine.wait_ready(timeout_s=120)
        yield url


def write_project(folder: Path, url: str, *, concurrency: int = 4, more: str = "") -> None:
    (folder / "modelyard.yaml").write_text(PROJECT.format(url=url, concurrency=concurrency, more=more))
    rows = [{"item": f"the {colour} {thing}"} for colour in ("red", "blue") for thing in ("box", "letter", "kettle")]
    (folder / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Told(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Say = Callable[..., Told]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """A command of `data` in a folder, in this process."""

    def saying(folder: Path, *words: str) -> Told:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MODELYARD_TRACKING", "none")
        monkeypatch.setattr(sys, "argv", ["modelyard", "data", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Told(int(end.value.code or 0), *capsys.readouterr())

    return saying


def undated(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "synthetic" / "support.jsonl").read_text().splitlines()]
    for row in found:
        del row["meta"]["at"], row["meta"]["config"]
    return found


def test_killed_in_the_middle_it_goes_on_and_makes_the_same_rows(
    engine_url: str, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> None:
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    write_project(whole, engine_url, concurrency=1)
    report = json.loads(say(whole, "synthesise", "support", "--json").out)
    assert report["requests"] == {"wanted": 18, "from_log": 0, "asked": 18, "left": 0}
    tokens = report["tokens"]
    assert report["cost_nanousd"] == tokens["prompt"] * 1_000 + tokens["completion"] * 4_000 > 0
    assert len({row["meta"]["request_seed"] for row in undated(whole)}) == report["rows"] > 0

    write_project(killed, engine_url, concurrency=1)
    left = kill_after(killed, 5)
    num_kept = left.count(b'"answered"')
    assert 5 <= num_kept < 18
    assert not (killed / "synthetic" / "support.jsonl").exists()
    again = json.loads(say(killed, "synthesise", "support", "--json").out)
    assert (again["requests"]["from_log"], again["requests"]["asked"]) == (num_kept, 18 - num_kept)
    assert undated(killed) == undated(whole)
    # What was on its way when it was killed may have been paid for.
    on_its_way = left.count(b'"asked"') - num_kept
    assert (again["cost_nanousd"], again["unanswered_nanousd"] > 0) == (report["cost_nanousd"], on_its_way > 0)


def kill_after(folder: Path, num_answers: int) -> bytes:
    """Kill the command once so many answers are kept; the log that it leaves."""
    log = folder / "synthetic" / "support.answers.jsonl"
    command = [sys.executable, "-m", "modelyard", "data", "synthesise", "support"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, env=dict(os.environ))
    while not log.exists() or log.read_bytes().count(b'"answered"') < num_answers:
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return log.read_bytes()


def test_the_rows_are_a_dataset_with_their_provenance(engine_url: str, tmp_path: Path, say: Say) -> None:
    write_project(tmp_path, engine_url)
    assert say(tmp_path, "synthesise", "support").code == 0
    prepared = json.loads(say(tmp_path, "prepare", "support", "--json").out)
    (example, *_) = json.loads(say(tmp_path, "head", "support", "--json").out)
    assert prepared["rows"]["train"] > 0
    meta = json.loads(example["meta"])
    assert (meta["synthesis"], meta["answered_by"]) == ("support", "dinghy-6m")
    assert meta["seed"].startswith("seeds.jsonl:")


def test_in_words_for_people(engine_url: str, tmp_path: Path, say: Say) -> None:
    write_project(tmp_path, engine_url)
    dry = say(tmp_path, "synthesise", "support", "--dry-run")
    assert (dry.code, (tmp_path / "synthetic").exists()) == (0, False)
    assert "18 requests to dinghy-6m, 18 not answered yet" in dry.out
    assert "at most" in dry.out
    assert "user: Wh" in dry.out
    done = say(tmp_path, "synthesise", "support", "--verbose")
    assert (done.code, "rows from 18 answers of dinghy-6m" in done.out) == (0, True)
    assert "Rows: synthetic/support.jsonl" in done.out


def test_the_key_comes_from_the_environment_and_stays_there(
    tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        write_project(tmp_path, server.url, more="key_env: SHOP_KEY")
        missing = say(tmp_path, "synthesise", "support")
        assert (missing.code, "SHOP_KEY is not set" in missing.err) == (2, True)
        monkeypatch.setenv("SHOP_KEY", "sk-very-secret")
        assert say(tmp_path, "synthesise", "support").code == 0
        assert {asked.key for asked in server.asked} == {"Bearer sk-very-secret"}
    assert not any(b"very-secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_stops_it_has_its_exit_code(tmp_path: Path, say: Say) -> None:
    with serving() as server:
        write_project(tmp_path, server.url, more='max_cost: "0.0005"')
        stopped = say(tmp_path, "synthesise", "support", "--json")
        assert (stopped.code, json.loads(stopped.out)["is_complete"]) == (3, False)
        assert "might pass max_cost, 0.0005 dollars" in stopped.err
        num_asked = len(server.asked)
        write_project(tmp_path, server.url.replace("127.0.0.1", "localhost"))
        changed = say(tmp_path, "synthesise", "support")
        assert (changed.code, "--restart" in changed.err) == (5, True)
        assert len(server.asked) == num_asked
    with serving(lambda body, number: error(401, "who?") if number else turned_around(body, number)) as server:
        write_project(tmp_path, server.url)
        refused = say(tmp_path, "synthesise", "support", "--restart")
        assert (refused.code, "status 401: who?" in refused.err) == (6, True)
