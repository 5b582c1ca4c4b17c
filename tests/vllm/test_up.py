"""A released model behind `modelyard up` on a real vLLM: the demonstration's project, its adapter loaded at runtime."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from openai import OpenAI

from modelyard.adapters.blobs.store import FsspecBlobs
from modelyard.ports.report import RowResult
from tests.vllm.conftest import ROOT, Say

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
QUESTIONS = 50


def modelyard(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "modelyard", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demonstration: a copy of the one in the checkout, or one run here."""
    folder = tmp_path_factory.mktemp("demo") / "project"
    there = ROOT / ".modelyard" / "demo"
    if (there / "report.json").is_file():
        shutil.copytree(there, folder)
    else:
        modelyard(ROOT, "demo", "--folder", str(folder), "--port", "0")
    return folder


@pytest.fixture(scope="module")
def gateway(demo: Path, engine_url: str) -> Iterator[str]:
    """The demonstration's project, served through vLLM."""
    command = [sys.executable, "-m", "modelyard", "up", "--json", "--port", "0", "--engine-url", engine_url]
    with subprocess.Popen(command, cwd=demo, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = up.stdout.readline()
            assert line, "it ended before it answered"
            text += line
        addresses = json.loads(text)
        assert addresses["engine"] == engine_url
        yield addresses["gateway"]
        up.terminate()
        assert up.wait(60) == 0


def builtin_rows(demo: Path, release: str) -> list[RowResult]:
    """What the built-in engine answered when the release was gated."""
    state = demo / ".modelyard"
    (report, *_) = modelyard(demo, "release", "show", release)["reports"]
    data = FsspecBlobs(str(state / "blobs"), state / "cache").get_bytes(report["rows"])
    return [msgspec.json.decode(line, type=RowResult) for line in data.splitlines()]


def fresh_key(demo: Path, gateway: str) -> str:
    """A key that the gateway knows of already."""
    key: str = modelyard(demo, "keys", "create", "ada")["key"]
    for _ in range(100):
        answer = httpx.get(f"{gateway}/v1/models", headers={"authorization": f"Bearer {key}"})
        if answer.status_code == httpx.codes.OK:
            return key
        time.sleep(0.1)
    raise AssertionError("the gateway never learnt of the key")


def test_the_champion_answers_through_vllm_as_it_was_gated(demo: Path, gateway: str, say: Say) -> None:
    report = json.loads((demo / "report.json").read_text())
    client = OpenAI(base_url=f"{gateway}/v1", api_key=fresh_key(demo, gateway), max_retries=0)
    rows = builtin_rows(demo, report["stages"]["train_better"]["ref"])[:QUESTIONS]
    same = right = 0
    for row in rows:
        answer = client.chat.completions.create(model="support", messages=[{"role": "user", "content": row.prompt}])
        text = (answer.choices[0].message.content or "").strip()
        same += text == row.answer
        right += text == row.expected
    say(f"behind the gateway: {same} of {len(rows)} answers as the built-in engine's, {right} right")
    assert same >= 0.9 * len(rows)


def test_the_gate_passes_through_vllm(demo: Path, engine_url: str, say: Say) -> None:
    file = demo / "modelyard.yaml"
    file.write_text(file.read_text() + f'\nengine: {{kind: vllm, url: "{engine_url}"}}\n')
    report = json.loads((demo / "report.json").read_text())
    verdict = modelyard(demo, "release", "gate", report["stages"]["train_better"]["ref"], "support")
    checks = {check["name"]: check for check in verdict["checks"]}
    assert checks["parity"]["passed"]
    say(f"gated through vLLM: {checks['exact_match (held-out/test)']['seen']}, "
        f"built-in {report['adapter_exact_match']:.6f}")  # fmt: skip
    assert verdict["passed"]
