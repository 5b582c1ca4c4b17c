"""The best trial, its uncertainty, and ties: from runs with known metrics."""

from typing import Any

import pytest

from modelyard.ports.run import Lineage, Run
from modelyard.training.sweeps.choice import choose, trial_name, trials_of
from modelyard.training.sweeps.config import SweepConfig

LINEAGE = Lineage(
    commit="", dirty_digest="", dataset_digest="", base_name="", base_digest="", template_digest="",
    tokenizer_digest="", environment_digest="", environment={}, hardware={}, seed=0,
)  # fmt: skip
CONFIG = SweepConfig.model_validate({"recipe": "r", "search": {"rank": [4, 8, 16, 32]}})


def run(number: int, rank: int, loss: float | None = None, error: float = 0.0, seed: int = 7, **fields: Any) -> Run:
    metrics = {
        "validation_loss": loss,
        "validation_loss_error": error,
        "trainable_parameters": rank * 100,
        "train_tokens": 1000,
    }
    state = fields.pop("state", "finished")
    return Run(
        id=f"sweep-{number}-{seed}",
        name=trial_name("sweep", number),
        state=state,
        owner="o",
        recipe={"rank": rank, "seed": seed},
        recipe_digest="",
        lineage=LINEAGE,
        started_ms=1,
        metrics={} if loss is None else metrics,  # type: ignore[arg-type]
        **fields,
    )


def test_the_simplest_within_one_standard_error_is_chosen() -> None:
    runs = [run(3, 32, 0.95, 0.1), run(0, 4, 1.5, 0.1), run(1, 8, 1.04, 0.1), run(2, 16, 1.0, 0.5)]
    trials = trials_of(CONFIG, runs)
    assert [(one.number, one.values["rank"], one.value) for one in trials] == [
        (0, 4, 1.5), (1, 8, 1.04), (2, 16, 1.0), (3, 32, 0.95),
    ]  # fmt: skip
    choice = choose(CONFIG, trials)
    assert choice is not None
    assert (choice.best, choice.chosen, choice.tied, choice.error_over) == (3, 1, (1, 2), "validation rows")


def test_where_nothing_ties_the_best_is_chosen() -> None:
    choice = choose(CONFIG, trials_of(CONFIG, [run(0, 4, 1.5, 0.1), run(1, 32, 1.0, 0.1)]))
    assert choice is not None
    assert (choice.best, choice.chosen, choice.tied) == (1, 1, ())


def test_of_trials_as_simple_the_better_one_is_chosen() -> None:
    choice = choose(CONFIG, trials_of(CONFIG, [run(0, 8, 1.01, 0.1), run(1, 8, 1.0, 0.1)]))
    assert choice is not None
    assert choice.chosen == 1


def test_a_loss_that_is_no_number_is_never_best() -> None:
    choice = choose(CONFIG, trials_of(CONFIG, [run(0, 4, float("nan")), run(1, 8, 1.0)]))
    assert choice is not None
    assert (choice.best, choice.tied) == (1, ())


def test_several_seeds_have_a_mean_and_its_error() -> None:
    config = CONFIG.model_copy(update={"repeats": 3})
    (trial,) = trials_of(config, [run(0, 4, loss, 9.0, seed) for seed, loss in enumerate((1.0, 2.0, 3.0))])
    assert (trial.value, trial.error) == (2.0, pytest.approx(1 / 3**0.5))
    assert trial.num_tokens == 3000
    (half,) = trials_of(config, [run(0, 4, 1.0, 9.0, 1), run(0, 4, 1.0, 9.0, 2)])
    assert (half.state, half.value) == ("interrupted", None)


def test_what_did_not_finish_is_not_chosen() -> None:
    trials = trials_of(CONFIG, [run(0, 4, state="pruned", error=0.0), run(1, 8, state="failed"), run(2, 16, 3.0)])
    assert [one.state for one in trials] == ["pruned", "failed", "finished"]
    choice = choose(CONFIG, trials)
    assert choice is not None
    assert choice.best == 2
    assert choose(CONFIG, trials[:2]) is None


def test_more_is_better_for_accuracy() -> None:
    config = CONFIG.model_copy(update={"metric": "validation_accuracy"})
    runs = [run(0, 4, 1.0), run(1, 8, 1.0)]
    for one, share in zip(runs, (0.5, 0.9), strict=True):
        one.metrics["validation_accuracy"] = share
    choice = choose(config, trials_of(config, runs))
    assert choice is not None
    assert choice.best == 1
