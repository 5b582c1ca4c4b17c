"""Traps in answers that are compared."""

import pytest

from modelyard.ports.dataset import Message
from modelyard.training.objectives import objective_of
from modelyard.training.preflight import Inspection, inspect
from modelyard.training.recipe import Recipe
from tests.training.preflight.planted import ENGINE, conversation

LONG = "where is my order, where is my order, where is my order"


def failing(chat, objective, examples):
    recipe = Recipe(base="tiny", rank=8, sequence_length=128, objective=objective)
    units = objective_of(recipe).units(examples, chat)
    rows = [row for unit in units for row in unit.documents]
    findings = inspect(Inspection(rows=rows, chat=chat, recipe=recipe, engine=ENGINE, examples=examples))
    return [(one.name, one.severity) for one in findings if not one.passed]


def pair(chosen, rejected):
    return conversation("hello", chosen, rejected=(Message(role="assistant", content=rejected),))


def test_sound_pairs_pass(chat):
    assert failing(chat, "dpo", [pair("refund", "login"), pair("login", "refund")]) == []


def test_a_pair_of_the_same_answers(chat):
    named = failing(chat, "dpo", [pair("refund", "login"), pair("login", "login")])
    assert named == [("chosen differs from rejected", "error")]


@pytest.mark.parametrize("answers", [(LONG, "login"), ("login", LONG)])
def test_pairs_in_which_length_decides(chat, answers):
    assert failing(chat, "dpo", [pair(*answers)] * 3) == [("good answers are as long as bad ones", "warning")]


def verdicts(num_good, num_bad):
    return [conversation("hello", f"refund {n}", desirable=n < num_good) for n in range(num_good + num_bad)]


def test_sound_verdicts_pass(chat):
    assert failing(chat, "kto", verdicts(4, 4)) == []


@pytest.mark.parametrize(("num_good", "num_bad"), [(7, 2), (2, 7)])
def test_verdicts_of_one_kind_mostly(chat, num_good, num_bad):
    assert failing(chat, "kto", verdicts(num_good, num_bad)) == [("verdicts are balanced", "warning")]
