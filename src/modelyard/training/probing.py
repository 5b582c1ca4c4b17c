"""What only the model can tell before the first step: that its losses do not depend on how rows are put together.

A few short rows go through the model in several ways, in seconds, and every way must give the same numbers. The
yardstick is each row alone, through the attention that every engine has.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional

from modelyard.training import device, ranks
from modelyard.training.defaults import PREFERENCES
from modelyard.training.linear import fused_adapters
from modelyard.training.objectives import objective_of
from modelyard.training.preflight.finding import Finding, found, require
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import IGNORED
from modelyard.training.verification import answers

NUM_ROWS = 4
_LOOKED_AT = 8
_NUM_WEIGHTS = 8
# The loss may differ by this share of itself, and at least by this in nats: rounding alone. Bfloat16 has 8 bits.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 2e-2}

Piece = Mapping[str, Any]


def probe(trainer: Any, recipe: Recipe, sequences: Dataset, micro_batch: int) -> tuple[Finding, ...]:
    """Try the losses that `trainer` computes on a few rows, and the gradients of some weights.

    Raises: RecipeInvalid where they are not what they must be.
    """
    pieces = _pieces(sequences, micro_batch)
    tolerance = _TOLERANCE[device.precision(recipe)]
    alone = [_log_probabilities(trainer.model, piece) for piece in pieces]
    if recipe.objective in PREFERENCES:
        pieces = [{**piece, "reference": sums} for piece, sums in zip(pieces, alone, strict=True)]
    with _quietly(trainer):
        first = _first_loss(trainer, recipe, pieces, alone, tolerance)
        findings = (first, _accumulates(trainer, recipe, pieces, tolerance))
    require(findings)
    return findings


def _first_loss(
    trainer: Any, recipe: Recipe, pieces: Sequence[Piece], alone: Sequence[list[float]], tolerance: float
) -> Finding:
    """Rows together have the loss of rows alone; compared answers that of a model which has learnt nothing yet."""
    name = "rows together = rows alone" if recipe.objective == "sft" else "first loss is that of no learning"
    with torch.no_grad():
        seen = float(_loss(trainer, pieces))
    if recipe.objective == "sft":
        num_learnt = sum(label != IGNORED for piece in pieces for label in piece["labels"][1:])
        expected = -sum(map(sum, alone)) / max(1, num_learnt)
    elif recipe.objective == "dpo":
        expected = math.log(2)
    else:
        weights = recipe.desirable_weight or 0.0, recipe.undesirable_weight or 0.0
        expected = sum(weights[0 if piece["desirable"] else 1] for piece in pieces) / len(pieces) / 2
    if not math.isfinite(seen):
        fix = "the weights of the base are broken: put a whole copy of it in place"
        return found(name, False, f"a loss of {seen} over {len(pieces)} rows", fix)
    return found(
        name,
        abs(seen - expected) <= tolerance * max(1.0, expected),
        f"a loss of {seen:.5f} over {len(pieces)} rows at once; {expected:.5f} expected",
        "set packing: false, or precision: float32; where that does not help, report it as a bug",
    )


def _accumulates(trainer: Any, recipe: Recipe, pieces: Sequence[Piece], tolerance: float) -> Finding:
    """A batch of four has the gradient of four batches of one."""
    name = "one batch = several accumulated"
    if len(pieces) < 2:
        return found(name, True, "a single row fits at a time: nothing to compare", "")
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad][-_NUM_WEIGHTS:]
    num_items = sum(objective_of(recipe).num_items(_batch(trainer, [piece])) for piece in pieces)
    whole = torch.autograd.grad(_loss(trainer, pieces, num_items), weights)
    parts = [torch.autograd.grad(_loss(trainer, [piece], num_items), weights) for piece in pieces]
    summed = [torch.stack(part).sum(0) for part in zip(*parts, strict=True)]
    length = _length(whole)
    apart = _length([left - right for left, right in zip(whole, summed, strict=True)]) / max(length, 1e-30)
    # A gradient is a sum of many products: it rounds ten times as coarsely as the loss.
    return found(
        name,
        length > 0 and apart <= 10 * tolerance,
        f"gradients differ by {apart:.1e} of their length {length:.2e} over {len(pieces)} rows",
        "set precision: float32; where that does not help, report it as a bug",
    )


def _pieces(sequences: Dataset, micro_batch: int) -> list[Piece]:
    """The shortest rows of the first sequences, unpacked, no more than the device takes at once anyway."""
    several = [sequences[place] for place in range(min(_LOOKED_AT, len(sequences)))]
    room = micro_batch * max(len(one["input_ids"]) for one in several)
    pieces = sorted((piece for one in several for piece in _unpacked(one)), key=lambda one: len(one["input_ids"]))
    chosen: list[Piece] = []
    for piece in pieces[:NUM_ROWS]:
        room -= len(piece["input_ids"])
        if room >= 0 or not chosen:
            chosen.append(piece)
    return chosen


def _unpacked(sequence: Piece) -> Iterator[Piece]:
    """The rows of a packed sequence, each as one of its own; what is compared stays together."""
    if "desirable" in sequence or "seq_lengths" not in sequence:
        yield sequence
        return
    begin = 0
    for length in sequence["seq_lengths"]:
        end = begin + length
        ids, labels = sequence["input_ids"][begin:end], sequence["labels"][begin:end]
        yield {"input_ids": ids, "labels": labels, "seq_lengths": [length]}
        begin = end


def _log_probabilities(model: Any, piece: Piece) -> list[float]:
    """The log-probability of each document's answer, every document alone. Unit: nats."""
    found, begin = [], 0
    for length in piece.get("seq_lengths") or [len(piece["input_ids"])]:
        ids, labels = piece["input_ids"][begin : begin + length], piece["labels"][begin : begin + length]
        logits = answers(model, [ids])[0][0, -length:-1] if length > 1 else torch.zeros(0, 1)
        targets = torch.tensor(labels[1:], dtype=torch.long)
        found.append(-float(functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")))
        begin += length
    return found


@contextmanager
def _quietly(trainer: Any) -> Iterator[None]:
    """The model without dropout, with the speed that it is trained at."""
    trainer.model.eval()
    if device.is_cuda():
        yield
        return
    with fused_adapters(trainer.model):
        yield


def _batch(trainer: Any, pieces: Sequence[Piece]) -> dict[str, Any]:
    prepared: dict[str, Any] = trainer._prepare_inputs(trainer.data_collator(list(pieces)))
    return prepared


def _loss(trainer: Any, pieces: Sequence[Piece], num_items: int | None = None) -> torch.Tensor:
    """The loss of some rows as one batch, by the way it is trained."""
    items = None if num_items is None else torch.tensor(num_items)
    loss: torch.Tensor = trainer.compute_loss(trainer.model, _batch(trainer, pieces), num_items_in_batch=items)
    return loss / ranks.count()  # of a step that several processes take, each counts for all


def _length(tensors: Sequence[torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))
