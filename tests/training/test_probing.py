"""Losses that depend on how rows are put together are seen before the first step."""

import math
from pathlib import Path

import msgspec
import pytest
import torch

from modelyard.core.errors import RecipeInvalid
from modelyard.ports.dataset import Message
from modelyard.training import attention
from modelyard.training.examples import write_examples
from modelyard.training.job import train
from modelyard.training.methods.lora import Lora
from modelyard.training.objectives.dpo import PreferencePairs
from modelyard.training.trainer import ObjectiveTrainer
from tests.training.conftest import make_examples

TOGETHER, ALONE = "rows together = rows alone", "one batch = several accumulated"
FIRST = "first loss is that of no learning"


def silent(event):
    pass


def probed(spec):
    return {one.name: one for one in train(spec, silent).findings if one.name in (TOGETHER, ALONE, FIRST)}


@pytest.mark.parametrize(
    "fields",
    [
        {"precision": "float32"},
        {"precision": "bfloat16"},
        {"precision": "float32", "packing": False, "dropout": 0.3},
        {"precision": "float32", "method": "prefix", "rank": None, "serve": False},
        {"precision": "float32", "method": "full", "rank": None, "serve": False, "batch_size": 1},
    ],
)
def test_every_way_of_training_is_sound(make_spec, fields):
    findings = probed(make_spec(max_steps=1, **fields))
    assert {name: one.passed for name, one in findings.items()} == {TOGETHER: True, ALONE: True}


def make_preferences(spec, objective):
    examples = [
        msgspec.structs.replace(
            example,
            rejected=(Message(role="assistant", content="something else"),) if objective == "dpo" else (),
            desirable=None if objective == "dpo" else number % 3 > 0,
        )
        for number, example in enumerate(make_examples(12))
    ]
    write_examples(Path(spec.train), examples)
    return msgspec.structs.replace(spec, validation="")


@pytest.mark.parametrize(("objective", "loss"), [("dpo", math.log(2)), ("kto", 0.5)])
def test_compared_answers_begin_at_no_difference(make_spec, objective, loss):
    spec = make_preferences(make_spec(max_steps=1, precision="float32", objective=objective), objective)
    findings = probed(spec)
    assert findings[FIRST].seen.endswith(f"{loss:.5f} expected")
    assert all(one.passed for one in findings.values())


def refused(spec):
    with pytest.raises(RecipeInvalid) as raised:
        train(spec, silent)
    return raised.value.seen


def test_rows_that_see_each_other_are_refused(make_spec, monkeypatch):
    real = attention.lay_out
    # As if the whole batch were one document.
    monkeypatch.setattr(attention, "lay_out", lambda starts: real(starts[[0, -1]]))
    assert TOGETHER in refused(make_spec(precision="float32"))


def test_a_loss_that_is_divided_by_the_batch_alone_is_refused(make_spec, monkeypatch):
    real = ObjectiveTrainer.compute_loss

    def forgetful(trainer, model, inputs, return_outputs=False, num_items_in_batch=None):
        return real(trainer, model, inputs, return_outputs)

    monkeypatch.setattr(ObjectiveTrainer, "compute_loss", forgetful)
    seen = refused(make_spec(precision="float32"))
    assert ALONE in seen
    assert TOGETHER not in seen


def test_a_dpo_that_forgets_its_reference_is_refused(make_spec, monkeypatch):
    real = PreferencePairs.score

    def forgetful(objective, losses, inputs):
        return real(objective, losses, {**inputs, "reference": torch.zeros_like(inputs["reference"])})

    monkeypatch.setattr(PreferencePairs, "score", forgetful)
    spec = make_preferences(make_spec(precision="float32", objective="dpo"), "dpo")
    assert FIRST in refused(spec)


def test_a_broken_base_is_refused(make_spec, monkeypatch):
    whole = Lora.load

    def with_nan(method, folder, recipe):
        model = whole(method, folder, recipe)
        model.get_input_embeddings().weight.data.fill_(float("nan"))
        return model

    monkeypatch.setattr(Lora, "load", with_nan)
    assert "a loss of nan" in refused(make_spec())
