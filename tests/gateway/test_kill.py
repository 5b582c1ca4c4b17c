"""The kill test of the benchmarks in small: what it finds when all is well, and that it finds what is not."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.adapters.records.store import open_records
from modelyard.ports.interaction import Interaction
from modelyard.ports.records import JournalMark

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gateway"
COUNT = ("tenant-00000", 200, 10, 36_000)


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Any:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("kill")
    for name in set(sys.modules) - before:  # its neighbours have short names that others may have too
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


def interaction(id: str, cost_nanousd: int = COUNT[3]) -> Interaction:
    return Interaction(
        id=id,
        at_ms=1,
        service="support",
        tenant=COUNT[0],
        key_id="key-00000",
        unit="u",
        release="sha256:champion",
        role="champion",
        propensity=0.75,
        table_version=1,
        prompt_tokens=COUNT[1],
        completion_tokens=COUNT[2],
        cost_nanousd=cost_nanousd,
    )


def checked(kill: Any, folder: Path, answers: dict[str, Any], *found: Interaction) -> Any:
    url = f"sqlite:///{folder / 'records.db'}"
    records = open_records(url)
    records.interactions.ingest(found, JournalMark(segment="s", offset=1))
    records.close()
    clients = kill.Clients(0, 0)
    clients.answers.update(answers)
    return kill.check(url, clients)


def test_a_missing_record_is_found(kill: Any, tmp_path: Path) -> None:
    verdict = checked(kill, tmp_path, {"a": COUNT, "b": COUNT}, interaction("a"))
    assert (verdict.missing, verdict.differing, verdict.sums_equal) == (1, 0, False)


def test_a_wrong_cost_is_found(kill: Any, tmp_path: Path) -> None:
    verdict = checked(kill, tmp_path, {"a": COUNT}, interaction("a", cost_nanousd=36_001))
    assert (verdict.missing, verdict.differing, verdict.sums_equal) == (0, 1, False)


def test_a_record_that_no_client_counted_is_told(kill: Any, tmp_path: Path) -> None:
    verdict = checked(kill, tmp_path, {"a": COUNT}, interaction("a"), interaction("cut"))
    assert (verdict.missing, verdict.uncounted, verdict.sums_equal) == (0, 1, True)


@pytest.mark.long
def test_nothing_is_lost_or_doubled_when_everything_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "verdict.json"
    command = [sys.executable, str(FOLDER / "kill.py"), "--requests", "20000", "--kills", "3", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = msgspec.json.decode(out.read_bytes())
    assert verdict["answers"] >= 20_000
    assert verdict["kills"] == {"gateway": 3, "ingester": 3}
