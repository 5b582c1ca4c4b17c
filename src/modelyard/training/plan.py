"""A plan: what a training run will take, in steps, tokens, memory, disk, time and money, before it takes any of it."""

import msgspec
import torch

from modelyard.core.money import seconds_cost
from modelyard.training import device
from modelyard.training.defaults import PREFERENCES
from modelyard.training.device import Device
from modelyard.training.material import Material
from modelyard.training.memory import estimate
from modelyard.training.packing import num_packed
from modelyard.training.preflight.finding import Finding, found
from modelyard.training.sizes import checkpoints_bytes, num_trainable, output_bytes
from modelyard.training.tokenization import IGNORED


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a second, and how that is known."""

    tokens_per_second: float
    source: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What training will take.

    `sequences` are what a step has `batch_size * accumulation` of; `packing_efficiency` is the share of them that is
    text. `tokens` are those of the whole run. `memory` is in bytes by part, `device_memory_bytes` 0 where nobody knows.
    """

    base_parameters: int
    trainable_parameters: int
    learning_rate: float
    rows: int
    sequences: int
    packing_efficiency: float
    steps: int
    tokens_per_epoch: int
    learnt_tokens_per_epoch: int
    tokens: int
    memory: dict[str, int]
    device: str
    device_memory_bytes: int
    disk_bytes: int
    seconds: float
    seconds_from: str
    cost_nanousd: int

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return sum(self.memory.values())


def make_plan(material: Material, where: Device, pace: Pace | None, nanousd_per_hour: int) -> Plan:
    """The plan for some material on a device. Without a pace it is guessed from the device's."""
    recipe, sizes = material.recipe, material.sizes
    lengths = [sum(len(row.input_ids) for row in unit.documents) for unit in material.units]
    learnt_tokens = sum(label != IGNORED for row in material.rows for label in row.labels)
    total = sum(lengths)
    sequences = num_packed(lengths, recipe.sequence_length) if recipe.packing else len(lengths)
    steps = recipe.num_steps(sequences)
    at_once = _tokens_at_once(material, lengths)
    tokens = round(total / sequences * recipe.batch_size * recipe.accumulation * steps)
    pace = pace or _guess(material, where)
    seconds = tokens / pace.tokens_per_second
    learnt = num_trainable(recipe, sizes)
    width = 2 if device.precision(recipe) is torch.bfloat16 else 4
    return Plan(
        base_parameters=sizes.num_parameters,
        trainable_parameters=learnt,
        learning_rate=recipe.learning_rate or 0.0,
        rows=len(lengths),
        sequences=sequences,
        packing_efficiency=total / (sequences * recipe.sequence_length) if recipe.packing else 1.0,
        steps=steps,
        tokens_per_epoch=total,
        learnt_tokens_per_epoch=learnt_tokens,
        tokens=tokens,
        memory=estimate(
            recipe, sizes, width=width, num_tokens=at_once, num_learnt=round(at_once * learnt_tokens / max(1, total))
        ),
        device=where.name,
        device_memory_bytes=where.memory_bytes,
        disk_bytes=checkpoints_bytes(learnt) + output_bytes(recipe, learnt),
        seconds=seconds,
        seconds_from=pace.source,
        cost_nanousd=seconds_cost(seconds, nanousd_per_hour),
    )


def memory_is_enough(plan: Plan) -> Finding:
    """The estimate fits the device. A warning: batches that do not fit are halved, but weights must."""
    known = plan.device_memory_bytes
    return found(
        "memory on the device",
        not known or plan.memory_bytes <= known,
        f"about {plan.memory_bytes / 1e9:,.2f} GB of {known / 1e9:,.1f} GB"
        if known
        else "nobody knows how much it has",
        "set gradient_checkpointing: true, a smaller batch_size with more accumulation, or method: qlora",
        "warning",
    )


def _tokens_at_once(material: Material, lengths: list[int]) -> int:
    """Tokens of the longest batch: a step before accumulation."""
    recipe = material.recipe
    if recipe.packing:
        return min(sum(lengths), recipe.batch_size * recipe.sequence_length)
    return sum(sorted(lengths)[-recipe.batch_size :])


def _guess(material: Material, where: Device) -> Pace:
    """From operations: 2 a parameter and token on the way there, 2 on the way back, and 2 more for each weight learnt.

    Activations that are computed twice cost another 2, and so does, once, the model before training where answers are
    compared (Kaplan 2020, section 2.1; attention left out).
    """
    recipe = material.recipe
    each = 6 if recipe.method == "full" else 4
    each += 2 * bool(recipe.gradient_checkpointing) + 2 * (recipe.objective in PREFERENCES)
    rate = where.flops / (each * max(1, material.sizes.num_parameters))
    return Pace(
        tokens_per_second=rate,
        source=f"a rough guess: {each} operations a parameter and token at {where.flops:.1e} a second; "
        "no such run has finished here yet",
    )
