"""What can be wrong with answers that are compared: pairs for dpo, verdicts for kto."""

import numpy as np

from modelyard.training.preflight.finding import Finding, by_row, found
from modelyard.training.preflight.inspection import Inspection

MAX_LENGTH_RATIO = 2.0
MAX_IMBALANCE = 2.0


def answers_differ(inspection: Inspection) -> Finding:
    """The better answer is not the worse one: such a pair teaches nothing, and hides a mistake in the data."""
    name, rows = "chosen differs from rejected", inspection.rows
    if inspection.recipe.objective != "dpo":
        return found(name, True, "nothing to compare", "")
    same = [place for place in range(len(rows) // 2) if rows[2 * place].input_ids == rows[2 * place + 1].input_ids]
    return by_row(name, rows[::2], same, "drop the pairs whose answers are the same")


def lengths_are_alike(inspection: Inspection) -> Finding:
    """Good and bad answers are about as long: else length is what is learnt."""
    name, good, bad = "good answers are as long as bad ones", *_lengths(inspection)
    if not len(good) or not len(bad):
        return found(name, True, "nothing to compare", "")
    means = float(good.mean()), float(bad.mean())
    return found(
        name,
        max(means) <= MAX_LENGTH_RATIO * min(means),
        f"{means[0]:.1f} tokens on average against {means[1]:.1f}",
        "add pairs in which the shorter answer is the better one, or drop the longest",
        "warning",
    )


def verdicts_are_balanced(inspection: Inspection) -> Finding:
    """Good and bad answers weigh about the same together (Ethayarajh 2024, section 4.2)."""
    recipe, name = inspection.recipe, "verdicts are balanced"
    if recipe.objective != "kto":
        return found(name, True, "nothing to compare", "")
    good = sum(bool(example.desirable) for example in inspection.examples)
    bad = len(inspection.examples) - good
    weights = good * (recipe.desirable_weight or 1.0), bad * (recipe.undesirable_weight or 1.0)
    rare = "desirable_weight" if weights[0] < weights[1] else "undesirable_weight"
    return found(
        name,
        max(weights) <= MAX_IMBALANCE * min(weights),
        f"{good:,} good answers weigh {weights[0]:,.0f}, {bad:,} bad ones {weights[1]:,.0f}",
        f"set {rare} to {max(good, bad) / max(1, min(good, bad)):.2g}",
        "warning",
    )


def _lengths(inspection: Inspection) -> tuple[np.ndarray, np.ndarray]:
    """Learnt tokens of good answers and of bad ones."""
    learnt = inspection.columns.num_learnt
    if inspection.recipe.objective == "dpo":
        return learnt[::2], learnt[1::2]
    if inspection.recipe.objective == "kto":
        good = np.array([bool(example.desirable) for example in inspection.examples], dtype=bool)
        own = learnt[::2]
        return own[good], own[~good]
    return learnt[:0], learnt[:0]
