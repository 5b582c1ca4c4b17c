"""The official `openai` package for Node, through a live gateway."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gateway.flows.conftest import service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import KEY, Yard, variant

HERE = Path(__file__).parent / "node"
PACKAGES = Path(__file__).parents[3] / ".cache" / "node-clients"


@pytest.fixture(scope="module")
def script() -> Path:
    """The flows beside the packages that they need, which are fetched once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    PACKAGES.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text()
    held = PACKAGES / "package.json"
    if not (PACKAGES / "node_modules" / "openai").is_dir() or not held.is_file() or held.read_text() != wanted:
        held.write_text(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=PACKAGES, timeout=120, check=False, capture_output=True)
        if done.returncode:
            shutil.rmtree(PACKAGES)
            pytest.skip("npm could not fetch the package openai")
    shutil.copy(HERE / "flows.mjs", PACKAGES)
    return PACKAGES / "flows.mjs"


@pytest.mark.slow
def test_whole_stream_tools_and_errors(script: Path, yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.fault = {"broken": "cut"}
    broken = service(engine_url, name="broken", champion=variant("broken", engine_url))
    yard.publish(service(engine_url), broken)
    done = subprocess.run(["node", str(script), yard.url, KEY], timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["whole"] == ["I am champ", "support", True]
    assert (told["stream"], told["usage"]["completion_tokens"]) == ("I am champ", 3)
    assert told["tool"] == ["tool_calls", "weather", {"city": "Oslo"}]
    assert told["second"] == told["response"] == "I am champ"
    assert told["events"] == ["response.created", "response.completed"]
    assert told["errors"] == [
        ["NotFoundError", 404, "model_not_found", True],
        ["AuthenticationError", 401, "invalid_api_key", True],
        ["APIError", "upstream_cut"],
    ]
    assert [entry.status for entry in yard.interactions(7)] == [200] * 6 + [502]
