"""The input of a Responses request: its items as the messages of chat completions."""

from typing import Any

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.refusals import not_sayable
from modelyard.gateway.errors import Refusal


class Part(msgspec.Struct):
    """A piece of a content, with the fields of all the kinds that can be said."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    input_audio: msgspec.Raw = NULL


class Item(msgspec.Struct):
    """One item of the input; one without a type is a message."""

    type: str = "message"
    role: str = ""
    content: str | list[Part] | None = None
    summary: list[Part] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | list[Part] | None = None


Message = dict[str, Any]
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def chat_turns(given: str | list[Item]) -> list[Message]:
    """The messages of chat completions. Raises: Refusal (400) for what they cannot say."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not given:
        raise Refusal(400, "invalid_input", "'input' needs at least one item.", param="input")
    turns = _Turns()
    for place, item in enumerate(given):
        turns.add(item, f"input.{place}")
    return turns.messages


class _Turns:
    """Messages as they come together: what the assistant says, thinks and calls one after the other is one message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def add(self, item: Item, where: str) -> None:
        if item.type == "message":
            self._add_message(item, where)
        elif item.type == "function_call":
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "type": "function", "function": function}
            self._assistant().setdefault("tool_calls", []).append(call)
        elif item.type == "function_call_output":
            parts = _parts(item.output, f"{where}.output")
            text = "\n".join(part["text"] for part in parts if part["type"] == "text")
            self.messages.append({"role": "tool", "tool_call_id": item.call_id, "content": text})
            if shown := [part for part in parts if part["type"] != "text"]:
                self.messages.append({"role": "user", "content": shown})
        elif item.type == "reasoning":
            thoughts = item.content if isinstance(item.content, list) and item.content else item.summary or []
            if text := "\n".join(part.text for part in thoughts):
                self._assistant()["reasoning_content"] = text
        elif item.type == "item_reference":
            raise not_sayable("An 'item_reference'", where, fix="No conversation is kept here: send the item itself.")
        else:
            raise not_sayable(f"An item of type '{item.type}'", f"{where}.type")

    def _add_message(self, item: Item, where: str) -> None:
        role = _ROLES.get(item.role)
        if role is None:
            message = f"'{where}.role' is '{item.role}'. There are: {', '.join(_ROLES)}."
            raise Refusal(400, "invalid_input", message, param=f"{where}.role")
        parts = _parts(item.content, f"{where}.content")
        if role == "assistant":
            turn = self._assistant()
            turn["content"] = (turn["content"] or "") + "".join(part.get("text", "") for part in parts)
        elif all(part["type"] == "text" for part in parts):
            self.messages.append({"role": role, "content": "\n".join(part["text"] for part in parts)})
        else:
            self.messages.append({"role": role, "content": parts})

    def _assistant(self) -> Message:
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": None})
        return self.messages[-1]


def _parts(content: str | list[Part] | None, where: str) -> list[Message]:
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content or ""}]
    return [_part(part, f"{where}.{place}") for place, part in enumerate(content)]


def _part(part: Part, where: str) -> Message:
    if part.type in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.text}
    if part.type == "refusal":
        return {"type": "text", "text": part.refusal}
    if part.type == "input_image" and part.image_url:
        shown = {"url": part.image_url, "detail": part.detail} if part.detail else {"url": part.image_url}
        return {"type": "image_url", "image_url": shown}
    if part.type == "input_audio" and part.input_audio != NULL:
        return {"type": "input_audio", "input_audio": part.input_audio}
    what = f"A part '{part.type}'" + (" that names a file" if part.file_id else "")
    raise not_sayable(what, where)
