"""`modelyard up` on a project whose models all run elsewhere: the five-minute start of docs/gateway.md."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.core.clock import now_ms
from tests.gateway.harness import CHAT, eventually, serving
from tests.gateway.upstream import Engine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gateway.md"


def modelyard(folder: Path, *words: str) -> Any:
    command = [sys.executable, "-m", "modelyard", *words, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder), "MODELYARD_TRACKING": "none"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (example,) = re.findall(r"```yaml\n(project: .*?)```", PAGE.read_text(), re.DOTALL)
    with serving(Engine()) as engine_url:
        (tmp_path / "modelyard.yaml").write_text(example.replace("http://127.0.0.1:8000", engine_url))
        yield tmp_path


def test_hosted_models_alone_are_served_without_an_engine(folder: Path) -> None:
    began_ms = now_ms()
    command = [sys.executable, "-m", "modelyard", "up", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            url = json.loads(b"".join(iter(process.stdout.readline, b"}\n")) + b"}")["gateway"]
            key = modelyard(folder, "keys", "create", "acme")["key"]
            headers = {"authorization": f"Bearer {key}"}

            def ask() -> httpx.Response:
                return httpx.post(f"{url}/v1/chat/completions", json={**CHAT, "model": "small"}, headers=headers)

            answer = eventually(lambda: (said := ask()).status_code == 200 and said)
            assert answer.headers["x-ratelimit-limit-requests"] == "600"
            (one,) = eventually(lambda: modelyard(folder, "requests"))
            assert (one["id"], one["status"], one["tenant"]) == (answer.json()["id"], 200, "acme")
            assert one["at_ms"] >= began_ms
            assert modelyard(folder, "gateway", "status", url)["services"]["small"]["requests"] == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=40) == 0
        finally:
            process.kill()
