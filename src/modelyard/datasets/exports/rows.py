"""Examples in the field names of others, one function a shape.

A row that a shape cannot hold is refused, never bent: a conversation of many turns is no Alpaca row.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.core.errors import InvalidInput
from modelyard.ports.dataset import Example, Message

Row = dict[str, Any]
_SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system", "tool": "tool"}


def chat(example: Example) -> Row:
    """`messages` as OpenAI writes them, with `tools` where there are some."""
    row: Row = {"messages": [_message(turn) for turn in example.messages]}
    return {**row, "tools": msgspec.json.decode(example.tools)} if example.tools else row


def sharegpt(example: Example) -> Row:
    """`conversations` of `from` and `value`."""
    _demand(not any(turn.tool_calls for turn in example.messages), example, "sharegpt", "it calls tools")
    return {"conversations": [{"from": _SHAREGPT[turn.role], "value": turn.content} for turn in example.messages]}


def prompt_completion(example: Example) -> Row:
    """`prompt` and `completion`, as messages unless one question has one answer."""
    if _is_pair(example):
        return {"prompt": example.messages[0].content, "completion": example.answer}
    return {
        "prompt": [_message(turn) for turn in example.prompt],
        "completion": [_message(example.messages[-1])],
    }


def alpaca(example: Example) -> Row:
    """`instruction`, an empty `input`, `output`, and `system` where there is one."""
    system, rest = _system(example)
    _demand(len(rest) == 2, example, "alpaca", f"it has {len(rest)} turns, expected a question and an answer")
    row = {"instruction": rest[0].content, "input": "", "output": rest[1].content}
    return {**row, "system": system} if system else row


def preference(example: Example) -> Row:
    """`prompt`, `chosen`, `rejected`, as lists of messages."""
    _demand(bool(example.rejected), example, "preference", "it has no rejected answer")
    return {
        "prompt": [_message(turn) for turn in example.prompt],
        "chosen": [_message(example.messages[-1])],
        "rejected": [_message(turn) for turn in example.rejected],
    }


def kto(example: Example) -> Row:
    """`prompt`, `completion`, `label`."""
    _demand(example.desirable is not None, example, "kto", "nobody said whether its answer is wanted")
    return {**prompt_completion(example), "label": example.desirable}


def text(example: Example) -> Row:
    """`text` alone."""
    _demand(len(example.messages) == 1, example, "text", "it is a conversation")
    return {"text": example.answer}


SHAPES: dict[str, Callable[[Example], Row]] = {
    "chat": chat,
    "sharegpt": sharegpt,
    "prompt_completion": prompt_completion,
    "alpaca": alpaca,
    "preference": preference,
    "kto": kto,
    "text": text,
}


def natural_shape(example: Example) -> str:
    """The shape that loses nothing of a row, under the names that trainers know."""
    if example.rejected:
        return "preference"
    if example.desirable is not None:
        return "kto"
    return "text" if len(example.messages) == 1 else "chat"


def _message(turn: Message) -> Row:
    row: Row = {"role": turn.role, "content": turn.content}
    if turn.name:
        row["name"] = turn.name
    if turn.tool_calls:
        row["tool_calls"] = msgspec.json.decode(turn.tool_calls)
    if turn.tool_call_id:
        row["tool_call_id"] = turn.tool_call_id
    return row


def _system(example: Example) -> tuple[str, tuple[Message, ...]]:
    first = example.messages[0]
    return (first.content, example.messages[1:]) if first.role == "system" else ("", example.messages)


def _is_pair(example: Example) -> bool:
    return len(example.messages) == 2 and example.messages[0].role == "user"


def _demand(holds: bool, example: Example, shape: str, why: str) -> None:
    if not holds:
        raise InvalidInput(
            f"the row {example.id} ({example.source}:{example.line}) cannot be written as '{shape}': {why}",
            fix="export as `chat`, which holds every row but preferences, or as the shape that the rows came in",
        )
