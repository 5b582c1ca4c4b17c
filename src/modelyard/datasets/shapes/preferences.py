"""Shapes that judge answers: pairs of a better and a worse one, and single ones with a verdict."""

from collections.abc import Callable, Mapping
from typing import Any

from modelyard.datasets.rows import REJECTED
from modelyard.datasets.shapes.messages import conversation
from modelyard.datasets.shapes.pairs import asked_and_answered, prompt_completion
from modelyard.datasets.shapes.shape import Shape, Turn
from modelyard.datasets.template import FieldUnusable, field_text


def preference(shape: Shape) -> Callable[[Mapping[str, Any]], list[Turn]]:
    """`chosen` and `rejected` answers to a `prompt`: texts, or lists of messages, which may begin with the prompt."""
    prompt, chosen, rejected = shape.of("prompt"), shape.of("chosen"), shape.of("rejected")

    def read(row: Mapping[str, Any]) -> list[Turn]:
        better, worse = row.get(chosen), row.get(rejected)
        if better == worse:
            raise FieldUnusable(f"no preference: '{chosen}' and '{rejected}' are the same")
        if isinstance(better, list) and isinstance(worse, list):
            return _of_messages(row.get(prompt), better, worse)
        turns = asked_and_answered(field_text(row, prompt), field_text(row, chosen))
        role, _, _, extra = turns[-1]
        return [*turns, (role, REJECTED, field_text(row, rejected), extra)]

    return read


def kto(shape: Shape) -> Callable[[Mapping[str, Any]], list[Turn]]:
    """`prompt` and `completion`; `label`, true or false, says whether the answer is wanted."""
    return prompt_completion(shape)


def verdict(row: Mapping[str, Any], shape: Shape) -> bool:
    """Whether the answer of a row is wanted. Raises: FieldUnusable."""
    value = row.get(shape.of("label"))
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise FieldUnusable(f"wrong field '{shape.of('label')}': it holds '{str(value)[:60]}', expected true or false")


def _of_messages(prompt: Any, better: list[Any], worse: list[Any]) -> list[Turn]:
    """The prompt is what stands beside, or what both begin with."""
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or ())
    if before and better[: len(before)] == before:
        before = []
    chosen, rejected = conversation([*before, *better]), conversation([*before, *worse])
    if chosen[:-1] != rejected[:-1]:
        raise FieldUnusable(
            "no common prompt: the chosen and the rejected conversation differ before their last answer"
        )
    role, _, text, extra = rejected[-1]
    return [*chosen, (role, REJECTED, text, extra)]
