"""Lists of messages as conversations: chat as OpenAI writes it, and ShareGPT."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from modelyard.datasets.rows import ANSWER, ASSISTANT, PROMPT, ROLES, SYSTEM, TOOL, USER
from modelyard.datasets.shapes.shape import Shape, Turn
from modelyard.datasets.template import FieldUnusable

_ROLES = {name: code for code, name in enumerate(ROLES)}
_SHAREGPT_ROLES = {
    "human": USER, "user": USER, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bing": ASSISTANT, "bard": ASSISTANT,
    "model": ASSISTANT, "assistant": ASSISTANT, "system": SYSTEM, "tool": TOOL, "function": TOOL, "observation": TOOL,
}  # fmt: skip
_EXTRAS = ("name", "tool_calls", "tool_call_id")


def chat(shape: Shape) -> Callable[[Mapping[str, Any]], list[Turn]]:
    """`messages` of `role` and `content`, with the calls of tools and their answers."""
    name = shape.of("messages")
    return lambda row: conversation(_listed(row, name))


def sharegpt(shape: Shape) -> Callable[[Mapping[str, Any]], list[Turn]]:
    """`conversations` of `from` and `value`; `system` may stand beside them."""
    name, system = shape.of("conversations"), shape.of("system")

    def read(row: Mapping[str, Any]) -> list[Turn]:
        told = _listed(row, name)
        before = [{"role": "system", "content": row[system]}] if row.get(system) else []
        return conversation([*before, *(_renamed(number, one) for number, one in enumerate(told, start=1))])

    return read


def conversation(messages: list[Any]) -> list[Turn]:
    """Messages as turns: those of the prompt, then the answer. Raises: FieldUnusable, naming the message."""
    turns = [_turn(number, message) for number, message in enumerate(messages, start=1)]
    _check_order(turns)
    role, _, text, extra = turns[-1]
    return [*turns[:-1], (role, ANSWER, text, extra)]


def _listed(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list) or not value:
        raise FieldUnusable(f"no messages: the field '{name}' holds {_seen(value)}, expected a list of messages")
    return value


def _turn(number: int, message: Any) -> Turn:
    if not isinstance(message, dict):
        raise FieldUnusable(f"wrong message: number {number} is {_seen(message)}, expected an object")
    speaker = message.get("role")
    role = _ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        seen = _seen(speaker)
        raise FieldUnusable(f"unknown role: message {number} has {seen}, expected {', '.join(ROLES)}")
    content = message.get("content")
    extra = _extra(number, message) if len(message) > 2 else ""
    if type(content) is not str:
        content = _content(number, content, has_calls="tool_calls" in extra)
    return role, PROMPT, content, extra


def _content(number: int, content: Any, *, has_calls: bool) -> str:
    if content is None and has_calls:
        return ""
    if isinstance(content, list) and content:
        return "\n".join(_part(number, part) for part in content)
    raise FieldUnusable(f"wrong content: message {number} holds {_seen(content)}, expected a text")


def _part(number: int, part: Any) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    kind = part.get("type") if isinstance(part, dict) else part
    raise FieldUnusable(f"wrong content: message {number} has a part {_seen(kind)}, expected texts alone")


def _extra(number: int, message: dict[str, Any]) -> str:
    told: dict[str, str] = {}
    for name in _EXTRAS:
        value = message.get(name)
        if not value:
            continue
        if name == "tool_calls":
            _check_calls(number, value)
            value = msgspec.json.encode(value).decode()
        if not isinstance(value, str):
            raise FieldUnusable(f"wrong message: '{name}' of number {number} is {_seen(value)}, expected a text")
        told[name] = value
    return msgspec.json.encode(told).decode() if told else ""


def _check_calls(number: int, calls: Any) -> None:
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise FieldUnusable(f"wrong tool call: message {number} has one without a function's name")
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, dict):
            continue
        try:
            msgspec.json.decode(arguments)
        except (msgspec.DecodeError, TypeError) as error:
            raise FieldUnusable(f"wrong tool call: the arguments in message {number} are no JSON") from error


def _check_order(turns: list[Turn]) -> None:
    """System first, questions and answers in turn, tools behind the call, an answer at the end."""
    before = -1
    for number, (role, *_) in enumerate(turns, start=1):
        if role == SYSTEM and number > 1:
            raise FieldUnusable(f"turn order: message {number} is the system's, expected it first")
        if role == before and role in (USER, ASSISTANT):
            raise FieldUnusable(f"turn order: messages {number - 1} and {number} are both the {ROLES[role]}'s")
        if role == TOOL and not (before == TOOL or (before == ASSISTANT and "tool_calls" in turns[number - 2][3])):
            raise FieldUnusable(f"turn order: message {number} is a tool's, but no call comes before it")
        before = role
    if before != ASSISTANT:
        raise FieldUnusable(f"no answer: the last message is the {ROLES[before]}'s, expected the assistant's")
    if not any(role == USER for role, *_ in turns):
        raise FieldUnusable("no question: no message is the user's")


def _renamed(number: int, one: Any) -> dict[str, Any]:
    if not isinstance(one, dict):
        raise FieldUnusable(f"wrong message: number {number} is {_seen(one)}, expected an object")
    speaker = one.get("from", one.get("role"))
    role = _SHAREGPT_ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise FieldUnusable(
            f"unknown role: message {number} is from {_seen(speaker)}, expected human, gpt, system or tool"
        )
    return {"role": ROLES[role], "content": one.get("value", one.get("content"))}


def _seen(value: Any) -> str:
    return "nothing" if value is None else f"'{str(value)[:60]}'"
