"""What training makes better: one file an objective."""

from modelyard.training.objectives.dpo import PreferencePairs
from modelyard.training.objectives.kto import SingleVerdicts
from modelyard.training.objectives.objective import Losses, Objective, Score, Unit
from modelyard.training.objectives.sft import Answers
from modelyard.training.recipe import Recipe

__all__ = ["Losses", "Objective", "Score", "Unit", "objective_of"]


def objective_of(recipe: Recipe) -> Objective:
    """The objective that a recipe names, with its settings."""
    if recipe.objective == "dpo":
        return PreferencePairs(recipe)
    if recipe.objective == "kto":
        return SingleVerdicts(recipe)
    return Answers()
