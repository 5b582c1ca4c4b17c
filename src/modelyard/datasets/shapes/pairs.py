"""Shapes of one question and one answer: templates, Alpaca, prompt and completion, plain text."""

from collections.abc import Callable, Mapping
from typing import Any

from modelyard.datasets.rows import ANSWER, ASSISTANT, PROMPT, SYSTEM, USER
from modelyard.datasets.shapes.messages import conversation
from modelyard.datasets.shapes.shape import Shape, Turn
from modelyard.datasets.template import FieldUnusable, field_text, fill, parse_template

Row = Mapping[str, Any]
Reader = Callable[[Row], list[Turn]]
Plain = Callable[[Row], tuple[str, str] | None]
"""The question and the answer of a row that has nothing else; None for one that needs a `Reader`."""


def template(shape: Shape) -> Reader:
    """Two templates over the fields of a row."""
    prompt, answer = parse_template(shape.prompt), parse_template(shape.answer)
    return lambda row: asked_and_answered(fill(prompt, row), fill(answer, row))


def plain_template(shape: Shape) -> Plain:
    """Templates that are filled are plain in any case."""
    prompt, answer = parse_template(shape.prompt), parse_template(shape.answer)
    return lambda row: (fill(prompt, row), fill(answer, row))


def alpaca(shape: Shape) -> Reader:
    """`instruction`, an `input` that may be missing, `output`; also `system` and `history`, a list of pairs."""
    instruction, given, output = shape.of("instruction"), shape.of("input"), shape.of("output")
    system, history = shape.of("system"), shape.of("history")

    def read(row: Row) -> list[Turn]:
        asked, answer = field_text(row, instruction), field_text(row, output)
        if row.get(given):
            asked = f"{asked}\n\n{field_text(row, given)}"
        earlier = _history(row[history], history) if row.get(history) else []
        before = [(SYSTEM, PROMPT, field_text(row, system), "")] if row.get(system) else []
        return [*before, *earlier, *asked_and_answered(asked, answer)]

    return read


def plain_alpaca(shape: Shape) -> Plain:
    """See `alpaca`."""
    instruction, given, output = shape.of("instruction"), shape.of("input"), shape.of("output")
    system, history = shape.of("system"), shape.of("history")

    def read(row: Row) -> tuple[str, str] | None:
        asked, more, answer = row.get(instruction), row.get(given) or "", row.get(output)
        if not (type(asked) is str and type(more) is str and type(answer) is str):
            return None
        if row.get(system) or row.get(history):
            return None
        return (f"{asked}\n\n{more}" if more else asked), answer

    return read


def prompt_completion(shape: Shape) -> Reader:
    """`prompt` and `completion`, both texts or both lists of messages."""
    prompt, completion = shape.of("prompt"), shape.of("completion")

    def read(row: Row) -> list[Turn]:
        asked, answer = row.get(prompt), row.get(completion)
        if type(asked) is list and type(answer) is list:
            return conversation([*asked, *answer])
        return asked_and_answered(field_text(row, prompt), field_text(row, completion))

    return read


def plain_prompt_completion(shape: Shape) -> Plain:
    """See `prompt_completion`."""
    prompt, completion = shape.of("prompt"), shape.of("completion")

    def read(row: Row) -> tuple[str, str] | None:
        asked, answer = row.get(prompt), row.get(completion)
        return (asked, answer) if type(asked) is str and type(answer) is str else None

    return read


def text(shape: Shape) -> Reader:
    """`text` alone: all of it is to be learned, and nothing asks for it."""
    name = shape.of("text")
    return lambda row: [(ASSISTANT, ANSWER, field_text(row, name), "")]


def asked_and_answered(asked: str, answer: str) -> list[Turn]:
    """One question, one answer."""
    return [(USER, PROMPT, asked, ""), (ASSISTANT, ANSWER, answer, "")]


def _history(pairs: Any, name: str) -> list[Turn]:
    if not isinstance(pairs, list):
        raise FieldUnusable(f"wrong field '{name}': expected a list of question and answer pairs")
    turns: list[Turn] = []
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair)):
            raise FieldUnusable(f"wrong field '{name}': expected pairs of two texts, seen {str(pair)[:80]}")
        turns += [(USER, PROMPT, pair[0], ""), (ASSISTANT, PROMPT, pair[1], "")]
    return turns
