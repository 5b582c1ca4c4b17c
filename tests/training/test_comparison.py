"""What is told of two runs: every difference by its name, and no more than there is."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from modelyard.ports.run import Lineage
from modelyard.training.checkpoints import Validation
from modelyard.training.comparison import (
    compare_curves,
    compare_metrics,
    compare_origins,
    compare_weights,
    likely_cause,
    same_weights,
    worst,
)
from modelyard.training.spec import Curve

LINEAGE = Lineage(
    commit="c0ffee",
    dirty_digest="",
    dataset_digest="sha256:data",
    base_name="tiny",
    base_digest="sha256:base",
    template_digest="sha256:template",
    tokenizer_digest="sha256:tokenizer",
    environment_digest="sha256:environment",
    environment={"torch": "2.13.0", "rich": "14.0"},
    hardware={"cpu": "Some CPU", "cores": 2, "gpus": [], "memory_bytes": 8},
    seed=7,
    python="3.11.9",
    threads=2,
)
RECIPE = {"rank": 4, "seed": 7, "base": "tiny"}


@pytest.mark.parametrize(
    ("fields", "what", "first", "second", "decides"),
    [
        ({"dataset_digest": "sha256:other"}, "dataset", "sha256:data", "sha256:other", True),
        ({"base_digest": "sha256:other"}, "base", "sha256:base", "sha256:other", True),
        ({"template_digest": "sha256:other"}, "template", "sha256:template", "sha256:other", True),
        ({"seed": 8}, "seed", "7", "8", True),
        ({"threads": 16}, "threads", "2", "16", True),
        ({"environment": {"torch": "2.14.0", "rich": "14.0"}}, "package torch", "2.13.0", "2.14.0", True),
        ({"environment": {"torch": "2.13.0"}}, "package rich", "14.0", "none", False),
        ({"python": "3.12.1"}, "python", "3.11.9", "3.12.1", False),
        ({"commit": "decaf"}, "commit", "c0ffee", "decaf", False),
        ({"hardware": {**LINEAGE.hardware, "gpus": ["H200"]}}, "hardware gpus", "none", "H200", True),
        ({"hardware": {**LINEAGE.hardware, "memory_bytes": 9}}, "hardware memory_bytes", "8", "9", False),
    ],
)
def test_one_difference_is_told_exactly(
    fields: dict[str, Any], what: str, first: str, second: str, decides: bool
) -> None:
    (found,) = compare_origins(LINEAGE, msgspec.structs.replace(LINEAGE, **fields), (RECIPE, RECIPE))
    assert (found.what, found.first, found.second, found.decides) == (what, first, second, decides)
    cause = likely_cause([found])
    assert what in cause
    assert ("most likely" in cause) == decides


def test_a_recipe_is_told_field_by_field_and_what_decides_comes_first() -> None:
    other = msgspec.structs.replace(LINEAGE, commit="decaf")
    found = compare_origins(LINEAGE, other, (RECIPE, {**RECIPE, "rank": 8, "alpha": 2.0}))
    assert [one.what for one in found] == ["recipe alpha", "recipe rank", "commit"]


def test_nothing_is_made_up() -> None:
    assert compare_origins(LINEAGE, LINEAGE, (RECIPE, RECIPE)) == []
    assert "not deterministic" in likely_cause([])
    older = msgspec.structs.replace(LINEAGE, threads=0, python="")
    assert compare_origins(older, LINEAGE, (RECIPE, RECIPE)) == []


def test_metrics_are_held_to_the_tolerance_and_speed_is_not() -> None:
    first = {"train_loss": 2.0, "steps": 30.0, "train_seconds": 4.0, "tokens_per_second": 9.0}
    second = {"train_loss": 2.001, "steps": 30.0, "train_seconds": 9.0, "validation_loss": 1.0}
    found = {one.name: one for one in compare_metrics(first, second, 1e-3)}
    assert {name: one.verdict for name, one in found.items()} == {
        "train_loss": "within tolerance",
        "steps": "identical",
        "validation_loss": "differs",
    }
    assert found["train_loss"].max_abs == pytest.approx(1e-3)
    assert compare_metrics(first, second, 1e-5)[0].verdict == "differs"


def test_a_curve_tells_where_it_left() -> None:
    first = Curve(losses=[3.0, 2.0, 1.0], validations=[Validation(step=3, loss=1.0)])
    (losses, held_out) = compare_curves(first, msgspec.structs.replace(first, losses=[3.0, 2.0, 1.5]), 1e-3)
    assert (losses.verdict, losses.max_abs, losses.note) == ("differs", 0.5, "apart from number 3 on")
    assert held_out.verdict == "identical"
    shorter = compare_curves(first, Curve(losses=[3.0]), 1e-3)
    assert [one.note for one in shorter] == ["3 values, then 1", "1 values, then 0"]
    (nan,) = compare_curves(Curve(losses=[1.0]), Curve(losses=[math.nan]), 1e9)
    assert nan.verdict == "differs"


def folder_of(path: Path, **tensors: torch.Tensor) -> Path:
    path.mkdir()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path / "weights.safetensors")
    return path


def test_weights_bit_by_bit_then_by_their_values(tmp_path: Path) -> None:
    exact, near, far = torch.ones(3), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])
    first = folder_of(tmp_path / "a", exact=exact, near=near, far=far, gone=exact, shape=exact, zero=torch.zeros(2))
    second = folder_of(
        tmp_path / "b",
        exact=exact,
        near=near + torch.tensor([1e-3, 0.0]),
        far=far + 0.1,
        shape=torch.ones(4),
        zero=torch.full((2,), 1e-9),
    )
    found = {one.name: one for one in compare_weights(first, second, 1e-3)}
    assert {name: one.verdict for name, one in found.items()} == {
        "exact": "identical",
        "near": "within tolerance",
        "far": "differs",
        "gone": "differs",
        "shape": "differs",
        "zero": "differs",
    }
    assert found["far"].max_abs == pytest.approx(0.1)
    assert found["far"].max_relative == pytest.approx(0.05)
    assert found["shape"].note == "float32 (3,), then float32 (4,)"
    assert worst(list(found.values())) == "differs"
    assert worst([found["exact"], found["near"]]) == "within tolerance"
    assert [one.name for one in same_weights(first)] == sorted(("exact", "near", "far", "gone", "shape", "zero"))


def test_half_precision_is_compared_too(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a", w=torch.ones(2, dtype=torch.bfloat16))
    second = folder_of(tmp_path / "b", w=torch.full((2,), 1.0078125, dtype=torch.bfloat16))
    (found,) = compare_weights(first, second, 1e-3)
    assert (found.verdict, found.max_abs) == ("differs", 0.0078125)
