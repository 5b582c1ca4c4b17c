"""What was trained, saved and loaded again: it must be something new, and nothing of it may be lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from modelyard.core.errors import JobFailed
from modelyard.training import ranks
from modelyard.training.methods.method import Method
from modelyard.training.preflight.finding import Finding, found
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import IGNORED, Row

NUM_PROBES = 4
NUM_ENDS = 16
_ENOUGH_ENDS = 0.5
Fingerprint = dict[str, float]


@torch.no_grad()
def fingerprint(model: Any) -> Fingerprint:
    """A number for each weight that is learnt, to see whether it was."""
    return {
        name: float(ranks.whole(weight.detach()).double().square().sum())
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def require_learnt(model: Any, begun: Fingerprint) -> None:
    """Raises: JobFailed where the weights are what they were before training."""
    if fingerprint(model) == begun:
        raise JobFailed(
            "nothing was learnt: every weight is what it was before training",
            fix="train for more steps, or raise the learning rate",
        )


def verify(
    model: Any, method: Method, recipe: Recipe, folder: Path, base_folder: Path, probes: Sequence[list[int]]
) -> dict[str, float]:
    """Load what was saved and compare; return how far it moves the logits of the base.

    Raises: JobFailed where it does nothing, or answers otherwise after loading.
    """
    before = answers(model, probes)
    after = answers(method.reload(folder, base_folder, recipe), probes)
    if not all(torch.equal(left, right) for left, right in zip(before, after, strict=True)):
        raise JobFailed("the weights answer otherwise after they were saved and loaded", fix="report this as a bug")
    plain = answers(method.load(base_folder, recipe), probes)
    change = max(float((left - right).abs().max()) for left, right in zip(after, plain, strict=True))
    if change == 0.0:
        raise JobFailed(
            "what was learnt is inert: it changes no answer of the base",
            fix="train for more steps, or raise the learning rate",
        )
    return {"logit_change": change}


def ends_turns(model: Any, rows: Sequence[Row], end: int) -> tuple[float, Finding]:
    """Whether the model ends its turn where the answers of some rows end: the share of them, and what to think of it.

    `end` is the end-of-turn token.
    """
    logits = answers(model, [row.input_ids for row in rows])
    places = [max(place for place, label in enumerate(row.labels) if label != IGNORED) for row in rows]
    likeliest = [int(one[0, place - 1].argmax()) for one, place in zip(logits, places, strict=True)]
    share = sum(token == end for token in likeliest) / len(rows)
    finding = found(
        "end of turn learnt",
        share >= _ENOUGH_ENDS,
        f"after {share:.0%} of {len(rows)} answers the likeliest token ends the turn",
        "train for more steps; until then answers run on to max_tokens",
        "warning",
    )
    return share, finding


@torch.no_grad()
def answers(model: Any, probes: Sequence[list[int]]) -> list[torch.Tensor]:
    """The logits for each probe alone, by the attention that every engine has. Shapes: (1, tokens, vocabulary)."""
    model.eval()
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    implementation = inner.config._attn_implementation
    inner.set_attn_implementation("sdpa")
    try:
        return [model(input_ids=torch.tensor([ids], device=model.device)).logits.float().cpu() for ids in probes]
    finally:
        inner.set_attn_implementation(implementation)
