"""`modelyard requests` and `modelyard usage` on a project whose gateway has answered."""

import json
from pathlib import Path

import pytest

from modelyard.adapters.records.store import open_records
from modelyard.core.errors import InvalidInput
from modelyard.ports.records import JournalMark
from modelyard.workflows.usage import statuses_of
from tests.adapters.records.values import NOW_MS, an_interaction
from tests.cli.inside import inside


@pytest.fixture
def answered(folder: Path) -> Path:
    records = open_records(f"sqlite:///{folder}/.modelyard/records.db")
    said = [
        an_interaction(tenant="acme", prompt_tokens=10, completion_tokens=2, cost_nanousd=2**60 + 1, session="s1"),
        an_interaction(tenant="acme", at_ms=NOW_MS + 1, status=503, error="upstream_timeout", reason="rule vip"),
        an_interaction(tenant="bolt", at_ms=NOW_MS + 2, cache="exact", saved_nanousd=5, replica="http://one:8000"),
        an_interaction(tenant="bolt", at_ms=NOW_MS + 3, shadow_of="x", role="shadow", cost_nanousd=9),
    ]
    records.interactions.ingest(said, JournalMark(segment="s-000001.jsonl", offset=1))
    records.close()
    return folder


def test_requests_are_shown_newest_first_and_sifted(answered: Path) -> None:
    everything = json.loads(inside(answered, "requests", "--json").stdout)
    assert [one["at_ms"] - NOW_MS for one in everything] == [3, 2, 1, 0]
    assert everything[0]["saved_nanousd"] == 0, "defaults are written out"
    for arguments, wanted in [
        (("--tenant", "acme"), [1, 0]),
        (("--status", "5xx"), [1]),
        (("--status", "200-299", "--tenant", "bolt"), [3, 2]),
        (("--session", "s1"), [0]),
        (("--limit", "1"), [3]),
        (("--since", "1d"), []),
    ]:
        found = json.loads(inside(answered, "requests", *arguments, "--json").stdout)
        assert [one["at_ms"] - NOW_MS for one in found] == wanted, arguments
    shown = inside(answered, "requests").stdout
    for word in ("rule", "503", "exact", "s1", "acme", everything[0]["id"]):
        assert word in shown


def test_usage_is_summed_to_the_nano_without_shadows(answered: Path) -> None:
    found = json.loads(inside(answered, "usage", "--json").stdout)
    totals = {one["key"]: one for one in found["totals"]}
    assert totals["acme"] == {
        "key": "acme", "requests": 2, "failures": 1, "prompt_tokens": 10, "completion_tokens": 2,
        "cost_nanousd": 2**60 + 1, "saved_nanousd": 0,
    }  # fmt: skip
    assert (totals["bolt"]["requests"], totals["bolt"]["cost_nanousd"], totals["bolt"]["saved_nanousd"]) == (1, 0, 5)
    assert (found["total"]["requests"], found["total"]["cost_nanousd"]) == (3, 2**60 + 1)
    assert "total" in inside(answered, "usage", "--by", "service").stdout


def test_mistakes_are_told(answered: Path) -> None:
    wrong = inside(answered, "usage", "--by", "colour")
    assert (wrong.returncode, "tenant, key, service, release, user" in wrong.stderr) == (2, True)
    assert inside(answered, "requests", "--status", "soon").returncode == 2
    assert "No requests" in inside(answered, "requests", "--tenant", "nobody").stdout


@pytest.mark.parametrize(
    ("text", "statuses"), [("", None), ("503", (503, 503)), ("4xx", (400, 499)), ("400-404", (400, 404))]
)
def test_statuses(text: str, statuses: tuple[int, int] | None) -> None:
    assert statuses_of(text) == statuses


@pytest.mark.parametrize("text", ["x", "44", "4x", "400-", "9xx", "4xx-5xx", " 200"])
def test_what_is_no_status(text: str) -> None:
    with pytest.raises(InvalidInput, match="no status"):
        statuses_of(text)
