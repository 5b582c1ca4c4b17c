"""What people decide on releases and rollouts, on the command line: what it says, and on what it acts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelyard.app import App, open_app
from modelyard.cli.main import app as commands
from modelyard.core.errors import Conflict, NotFound
from modelyard.ports.release import Release
from tests.workflows.conftest import PROJECT
from tests.workflows.yard import make_release

LONE = "  lone:\n    steps: [{canary: {weight: '1%'}}]\n"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("MODELYARD_TRACKING", "none")
    monkeypatch.setenv("MODELYARD_USER", "grace")
    monkeypatch.setenv("MODELYARD_PROJECT", str(tmp_path / "modelyard.yaml"))
    (tmp_path / "modelyard.yaml").write_text(PROJECT.replace("rollouts:\n", f"rollouts:\n{LONE}"))
    with open_app() as opened:
        yield opened


def run(*arguments: str) -> str:
    done = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return " ".join(done.stdout.split())


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def release(app: App) -> Release:
    return make_release(app.tools, app.project, "first", passed=False)


@pytest.mark.parametrize("decision", ["approve", "reject", "override"])
def test_a_decision_names_what_it_acts_on_and_is_shown(app: App, release: Release, decision: str) -> None:
    (verdict,) = app.tools.records.verdicts.newest(release.digest)
    said = run("release", decision, release.ref, "--reason", "we looked at it")
    assert f"{decision} by grace on the verdict {verdict.id} under the policy 'careful'" in said
    told = run_json("release", decision, release.ref, "--reason", "and again")
    assert (told["verdict_id"], told["policy"]) == (verdict.id, "careful")
    shown = run("release", "show", release.ref)
    assert f"{decision} grace we looked at it" in shown
    assert verdict.id in shown
    facts = run_json("release", "show", release.ref)
    assert [one["reason"] for one in facts["approvals"]] == ["we looked at it", "and again"]


class TestRollouts:
    @pytest.fixture
    def champion(self, app: App) -> Release:
        release = make_release(app.tools, app.project, "champion")
        run("rollout", "start", "support", release.ref)
        return release

    def test_another_plan_may_be_chosen(self, app: App, champion: Release) -> None:
        other = make_release(app.tools, app.project, "other")
        started = run_json("rollout", "start", "support", other.ref, "--plan", "lone")
        assert [step["weight_bp"] for step in started["plan"]["steps"]] == [100]
        assert started["events"][0]["by"] == "grace"
        with pytest.raises(NotFound, match="no entry 'lonely' under 'rollouts'"):
            run("rollout", "start", "support", other.ref, "--plan", "lonely")

    def test_what_has_traffic_is_not_put_away(self, app: App, champion: Release) -> None:
        with pytest.raises(Conflict, match="has traffic of support"):
            run("release", "archive", champion.ref, "--reason", "tidy up")

    def test_there_and_back(self, app: App, champion: Release) -> None:
        from modelyard.core.clock import now_ms
        from modelyard.rollout.machine import Decision, advance
        from modelyard.workflows.rollouts import settle_stages

        other = make_release(app.tools, app.project, "other")
        run("rollout", "start", "support", other.ref)
        (rollout,) = app.tools.records.rollouts.running()
        after = advance(rollout, Decision(kind="promote", reason="better"), now_ms())
        app.tools.records.rollouts.replace(after, expected_events=1)
        settle_stages(app.tools, "support")
        said = run("rollout", "back", "support", "--reason", "wrong on invoices")
        assert f"champion {other.ref}, challenger {champion.ref}" in said
        assert "grace brought back: wrong on invoices" in said
        assert "at once" in run("rollout", "list")
        assert app.tools.records.releases.stage(champion.digest) == "production"
