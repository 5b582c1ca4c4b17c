"""Optuna's study in its file: what was begun comes again, what ended does not, and hopeless trials are seen."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.training.sweeps.config import SweepConfig
from modelyard.training.sweeps.study import Study


def config(**fields: Any) -> SweepConfig:
    return SweepConfig.model_validate(
        {"recipe": "r", "search": {"rank": [4, 8], "schedule": ["cosine", "linear"]}} | fields
    )


WIDE = {
    "method": "optuna",
    "trials": 12,
    "search": {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}, "rank": {"low": 2, "high": 8}},
}


def values_of(file: Path, found: SweepConfig, *, cut_at: int = -1) -> list[dict[str, Any]]:
    """Every trial's values; the study is opened anew in the middle of trial `cut_at`."""
    study, tried = Study(file, "s", found), []
    while attempt := study.next():
        if attempt.number == cut_at:
            cut_at, study = -1, Study(file, "s", found)
            continue
        tried.append(attempt.values)
        study.finish(attempt, attempt.values.get("learning_rate", 1.0))
    return tried


def test_a_grid_is_tried_once_in_its_order(tmp_path: Path) -> None:
    assert values_of(tmp_path / "a.db", config()) == list(config().grid())
    assert values_of(tmp_path / "a.db", config()) == []


@pytest.mark.parametrize("cut_at", [1, 11])
def test_an_interrupted_study_proposes_what_it_would_have(tmp_path: Path, cut_at: int) -> None:
    wide = config(**WIDE)
    straight = values_of(tmp_path / "a.db", wide)
    assert values_of(tmp_path / "b.db", wide, cut_at=cut_at) == straight
    assert len({str(values) for values in straight}) == len(straight) == 12
    assert all(1e-5 <= values["learning_rate"] <= 1e-2 and 2 <= values["rank"] <= 8 for values in straight)


def test_a_trial_that_does_worse_than_the_others_is_hopeless(tmp_path: Path) -> None:
    study = Study(tmp_path / "a.db", "s", config())
    for loss in (1.0, 1.2):
        attempt = study.next()
        assert attempt is not None
        assert not attempt.is_hopeless(5, 9.0)
        assert not attempt.is_hopeless(10, loss)
        study.finish(attempt, loss)
    attempt = study.next()
    assert attempt is not None
    assert not attempt.is_hopeless(5, 8.0)
    assert attempt.is_hopeless(10, 5.0)
    study.prune(attempt)
    last = study.next()
    assert last is not None
    study.fail(last)
    assert study.next() is None
    assert study.num_done == 4


def test_without_pruning_nothing_is(tmp_path: Path) -> None:
    study = Study(tmp_path / "a.db", "s", config(pruning=False))
    for loss in (1.0, 1.0, 1.0):
        attempt = study.next()
        assert attempt is not None
        assert not attempt.is_hopeless(5, loss)
        study.finish(attempt, loss)
    attempt = study.next()
    assert attempt is not None
    assert not attempt.is_hopeless(5, 99.0)
