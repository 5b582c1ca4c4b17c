"""Wiring: which project file is taken, and what the settings say."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest

from modelyard.app import DEMO_PROJECT, find_project, open_app
from modelyard.core.errors import InvalidInput, MissingExtra, NotFound
from modelyard.ports.engine import Connect
from modelyard.settings import Settings
from modelyard.training.lineage import describe_base
from tests.models import make_tiny_model

NOTHING = Settings(user="ada")
PROJECT = "project: shop\n"


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PROJECT)
    return path


def test_the_project_file_is_the_named_one_then_the_nearest_then_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    with pytest.raises(NotFound, match=r"no modelyard\.yaml"):
        find_project("", NOTHING)
    demo = make(inner / DEMO_PROJECT)
    assert find_project("", NOTHING) == demo
    outer = make(tmp_path / "modelyard.yaml")
    assert find_project("", NOTHING) == outer
    other = make(tmp_path / "other" / "modelyard.yaml")
    assert find_project("", Settings(project=str(other))) == other
    assert find_project(str(other.parent), NOTHING) == other
    assert find_project(str(outer), Settings(project=str(other))) == outer


def test_state_lies_beside_the_project_file_or_where_it_is_said(tmp_path: Path) -> None:
    file = make(tmp_path / "modelyard.yaml")
    with open_app(str(file), Settings(tracking="none")) as app:
        assert app.tools.state == tmp_path / ".modelyard"
        assert (tmp_path / ".modelyard" / "records.db").is_file()
    with open_app(str(file), Settings(tracking="none", state=str(tmp_path / "elsewhere"))) as app:
        assert app.tools.state == tmp_path / "elsewhere"


def test_opening_a_project_writes_nothing(tmp_path: Path) -> None:
    file = make(tmp_path / "modelyard.yaml")
    with open_app(str(file), NOTHING):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["modelyard.yaml"]


def test_the_environment_is_read_by_name() -> None:
    settings = Settings.from_environment({"MODELYARD_RECORDS": "postgresql://db", "MODELYARD_USER": "grace"})
    assert (settings.records, settings.user, settings.blobs) == ("postgresql://db", "grace", "")


def test_an_engine_for_no_service_is_refused_in_words(tmp_path: Path) -> None:
    file = make(tmp_path / "modelyard.yaml")
    with open_app(str(file), Settings(tracking="none")) as app, pytest.raises(InvalidInput, match="0 bases"):
        app.engine_process()


def test_the_owner_of_the_project_is_not_who_acts(tmp_path: Path) -> None:
    file = make(tmp_path / "modelyard.yaml")
    with open_app(str(file), Settings(tracking="none", user="ada")) as app:
        assert (app.tools.actor, app.tools.owner) == ("ada", "ada")
    file.write_text(PROJECT + "owner: olga\n")
    with open_app(str(file), Settings(tracking="none", user="ada")) as app:
        assert (app.tools.actor, app.tools.owner) == ("ada", "olga")


def test_an_engine_is_started_for_a_base_at_a_path(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "models" / "llama")
    file = make(tmp_path / "modelyard.yaml")
    file.write_text(PROJECT + "recipes: {standard: {base: models/llama}}\n")

    async def served(connect: Connect) -> list[str]:
        engine = connect()
        try:
            return await engine.models()
        finally:
            await engine.close()

    with open_app(str(file), Settings(tracking="none")) as app:
        ref = describe_base(app.tools.base_folder("models/llama"), "llama").ref
        assert app.tools.base_folder("llama") == base
        with app.engine_for(ref) as connect:
            assert asyncio.run(served(connect)) == ["llama"]


def test_a_name_of_two_bases_is_refused(tmp_path: Path) -> None:
    file = make(tmp_path / "modelyard.yaml")
    file.write_text(PROJECT + "recipes: {one: {base: a/llama}, same: {base: ./a/llama}}\n")
    with open_app(str(file), Settings(tracking="none")) as app:
        assert app.tools.base_folder("llama") == tmp_path / "a" / "llama"
    file.write_text(PROJECT + "recipes: {one: {base: a/llama}, two: {base: b/llama}}\n")
    with (
        open_app(str(file), Settings(tracking="none")) as app,
        pytest.raises(InvalidInput, match="two bases go by the name 'llama'"),
    ):
        _ = app.tools


@pytest.mark.parametrize(
    ("named", "kinds"),
    [
        ("none", "NoTracker"),
        ("", "MlflowTracker"),
        ("mlflow", "MlflowTracker"),
        ("http://tracker.example.org", "MlflowTracker"),
        ("mlflow,none", "SeveralTrackers"),
    ],
)
def test_trackers_are_chosen_by_name(tmp_path: Path, named: str, kinds: str) -> None:
    file = make(tmp_path / "modelyard.yaml")
    with open_app(str(file), Settings(tracking=named)) as app:
        assert type(app.tools.tracker).__name__ == kinds


@pytest.mark.parametrize("package", ["wandb", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_told_with_its_extra(
    tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, f"modelyard.adapters.tracking.{package}", raising=False)
    file = make(tmp_path / "modelyard.yaml")
    with open_app(str(file), Settings(tracking=f"{package}:shop")) as app, pytest.raises(MissingExtra, match=package):
        _ = app.tools


def test_a_tracker_named_twice_is_refused(tmp_path: Path) -> None:
    file = make(tmp_path / "modelyard.yaml")
    with (
        open_app(str(file), Settings(tracking="wandb:a,wandb:b")) as app,
        pytest.raises(InvalidInput, match="names a tracker twice"),
    ):
        _ = app.tools
