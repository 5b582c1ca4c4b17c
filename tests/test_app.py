"""Wiring: which project file is taken, and what the settings say."""

from pathlib import Path

import pytest

from modelyard.app import DEMO_PROJECT, find_project, open_app
from modelyard.core.errors import InvalidInput, NotFound
from modelyard.settings import Settings

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
