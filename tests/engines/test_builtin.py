"""The conformance suite on our own engine, running, with the shipped base; and the command that runs it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard.adapters.engines.builtin.command import builtin_command
from modelyard.adapters.engines.conformance import check_engine
from modelyard.adapters.engines.conformance.checks import CHECKS
from modelyard.adapters.processes import ServerProcess, free_port
from modelyard.core.errors import InvalidInput, Unavailable

BASE = Path(modelyard.__file__).parent / "demo" / "base"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with ServerProcess("engine", builtin_command(BASE, "dinghy-6m", port=port), url=url, log=log) as engine:
        engine.wait_ready(timeout_s=120)
        yield url


def test_it_does_as_its_sheet_says(url: str) -> None:
    told: list[str] = []
    findings = check_engine(url, "builtin", progress=lambda done, total, name: told.append(name))
    assert [finding for finding in findings if finding.differs] == []
    assert [finding.name for finding in findings] == told == list(CHECKS)
    assert sum(finding.works is True for finding in findings) > 12


def test_it_is_no_vllm(url: str) -> None:
    differing = {finding.name for finding in check_engine(url, "vllm") if finding.differs}
    assert differing == {"n", "responses", "messages", "metrics"}


def test_the_command_says_what_differs_by_its_exit_code(url: str) -> None:
    command = [sys.executable, "-m", "modelyard", "engine", "check", url, "--json", "--kind"]
    same, other = (subprocess.run([*command, kind], capture_output=True, text=True) for kind in ("builtin", "vllm"))
    assert (same.returncode, other.returncode) == (0, 3), same.stderr + other.stderr
    assert {row["name"] for row in json.loads(other.stdout) if row["differs"]} >= {"responses", "messages"}


def test_what_cannot_be_checked_is_told(url: str) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        check_engine(f"http://127.0.0.1:{free_port()}", "vllm")
    with pytest.raises(InvalidInput, match="no kind of engine"):
        check_engine(url, "vlm")
