"""The conformance suite on a real llama-server with the shipped base as GGUF (`make test-llamacpp`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.engines.conformance import check_engine
from modelyard.adapters.processes import ServerProcess, free_port

pytestmark = pytest.mark.llamacpp
FOLDER = Path(__file__).resolve().parents[2] / ".venv-llamacpp"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, model = FOLDER / "llama-server", FOLDER / "dinghy-6m.gguf"
    if not (server.is_file() and model.is_file()):
        pytest.skip("llama-server is not there; scripts/llamacpp_env.sh makes its environment")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = {"model": model, "alias": "dinghy-6m", "host": "127.0.0.1", "port": port, "ctx-size": 2048, "parallel": 2}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    log = tmp_path_factory.mktemp("llamacpp") / "llama.log"
    with ServerProcess("engine", [str(server), "--metrics", "--jinja", *flags], url=url, log=log) as engine:
        engine.wait_ready(timeout_s=60)
        yield url


def test_it_does_as_its_sheet_says(url: str) -> None:
    findings = {finding.name: finding for finding in check_engine(url, "llamacpp")}
    assert [finding for finding in findings.values() if finding.differs] == []
    assert findings["cancel"].works, findings["cancel"]
    assert findings["schema"].works, findings["schema"]
