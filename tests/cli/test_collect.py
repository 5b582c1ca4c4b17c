"""Datasets from production on the command line: looked at first, then prepared, with every reason told."""

import json
from pathlib import Path

import pytest

from modelyard.app import open_app
from modelyard.core.ids import new_id
from modelyard.ports.records import JournalMark
from tests.cli.test_data import Shop
from tests.workflows.traffic import BEGIN_MS, asked

PROJECT = """\
project: shop
datasets:
  traffic:
    collect: {service: support, since: 2026-09-21, until: 2026-09-22, tenants: [acme]}
    splits: {train: 1.0}
    expectations: {max_dropped_share: 0.2}
  raw: {path: rows.jsonl}
recipes: {standard: {base: dinghy-6m}}
suites: {held-out: {dataset: traffic}}
policies: {careful: {min: {exact_match: 0.8}}}
rollouts: {slowly: {strategy: canary}}
services:
  support: {dataset: traffic, recipe: standard, suite: held-out, policy: careful, rollout: slowly}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELYARD_TRACKING", "none")
    (tmp_path / "modelyard.yaml").write_text(PROJECT)
    told = [asked(number, tenant="globex" if number < 6 else "acme") for number in range(16)]
    with open_app() as app:
        app.tools.records.interactions.ingest(told, JournalMark(segment=new_id(), offset=1))
    return Shop(capsys, monkeypatch)


def test_the_traffic_is_looked_at_without_writing_anything(shop: Shop) -> None:
    found = shop.tell("data", "survey", "traffic")
    assert found["window"]["num_interactions"] == 10
    assert found["window"]["since_ms"] <= BEGIN_MS < found["window"]["until_ms"]
    assert found["passed_over"] == {"no consent of the tenant": 6}
    code, out, _ = shop.say("data", "survey", "traffic")
    assert code == 0
    assert "collected: 10 interactions" in out
    assert "name the tenants that agreed" in out
    assert shop.tell("data", "list") == []


def test_what_was_passed_over_is_told_and_not_taken_for_rejected_rows(shop: Shop) -> None:
    code, out, err = shop.say("data", "prepare", "traffic")
    assert code == 0, err
    assert "production:support, 10 from 2026-09-21T00:00:00.000Z to 2026-09-22T00:00:00.000Z" in out
    assert "Passed over in production: 6 of 16 interactions" in out
    assert "modelyard data rejected" not in out
    assert shop.tell("data", "rejected", "traffic") == []
    assert "more:" not in shop.say("data", "rejected", "traffic")[1]
    (finding,) = shop.tell("data", "check", "traffic")
    assert (finding["passed"], finding["detail"]) == (True, "0 of 10 raw rows")
    page = Path("report.html")
    assert shop.say("data", "report", "traffic", "--html", str(page))[0] == 0
    assert "production:support, 10 from" in page.read_text()
    assert "6 no consent of the tenant" in page.read_text()


def test_a_dataset_of_files_has_no_traffic_to_look_at(shop: Shop) -> None:
    code, out, _ = shop.say("data", "survey", "raw", "--json")
    assert (code, json.loads(out)["error"]["seen"]) == (2, "the dataset 'raw' is made of files")


def test_an_empty_window_says_what_to_do(shop: Shop) -> None:
    project = Path("modelyard.yaml")
    project.write_text(project.read_text().replace("tenants: [acme]", "tenants: [initech]"))
    code, out, _ = shop.say("data", "prepare", "traffic", "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (2, "data_invalid")
    assert "16 no consent of the tenant" in error["seen"]
    assert shop.tell("data", "survey", "traffic")["window"]["num_interactions"] == 0
