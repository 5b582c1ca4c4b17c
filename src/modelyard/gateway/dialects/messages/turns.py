"""The conversation of a Messages request: its turns and blocks as the messages of chat completions."""

from typing import Any, Literal

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.refusals import not_sayable
from modelyard.gateway.errors import Refusal


class Source(msgspec.Struct):
    """Where an image or a document is."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class Block(msgspec.Struct):
    """One block of a turn, with the fields of all the kinds that can be said."""

    type: str
    text: str = ""
    thinking: str = ""
    source: Source | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = NULL
    tool_use_id: str = ""
    content: "str | list[Block] | None" = None
    is_error: bool | None = None


class Turn(msgspec.Struct):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


Message = dict[str, Any]


def chat_turns(turns: list[Turn]) -> list[Message]:
    """The messages of chat completions. Raises: Refusal (400) for what they cannot say."""
    if not turns:
        raise Refusal(400, "invalid_messages", "'messages' needs at least one message.", param="messages")
    if turns[-1].role == "assistant":
        fix = "End the conversation with a message of the user."
        raise not_sayable("An answer that is begun in the request", f"messages.{len(turns) - 1}", fix=fix)
    messages: list[Message] = []
    for place, turn in enumerate(turns):
        where = f"messages.{place}.content"
        if isinstance(turn.content, str):
            messages.append({"role": turn.role, "content": turn.content})
        elif turn.role == "assistant":
            messages.append(_assistant(turn.content, where))
        elif turn.role == "system":
            messages.append({"role": "system", "content": join_text(turn.content, where)})
        else:
            messages += _user(turn.content, where)
    return messages


def join_text(content: str | list[Block], where: str) -> str:
    """A text, or blocks of text joined by line ends."""
    if isinstance(content, str):
        return content
    for place, block in enumerate(content):
        if block.type != "text":
            raise not_sayable(f"A block '{block.type}' here", f"{where}.{place}.type")
    return "\n".join(block.text for block in content)


def _assistant(blocks: list[Block], where: str) -> Message:
    texts, thoughts, calls = [], [], []
    for place, block in enumerate(blocks):
        if block.type == "text":
            texts.append(block.text)
        elif block.type == "thinking":
            thoughts.append(block.thinking)
        elif block.type == "tool_use":
            arguments = "{}" if block.input == NULL else bytes(block.input).decode()
            function = {"name": block.name, "arguments": arguments}
            calls.append({"id": block.id, "type": "function", "function": function})
        elif block.type != "redacted_thinking":
            raise not_sayable(f"A block '{block.type}' of the assistant", f"{where}.{place}.type")
    message: Message = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _user(blocks: list[Block], where: str) -> list[Message]:
    """The results of tools, each a message of its own, and then what the user says and shows."""
    messages: list[Message] = []
    parts: list[Message] = []
    for place, block in enumerate(blocks):
        here = f"{where}.{place}"
        if block.type == "tool_result":
            told = block.content if isinstance(block.content, list) else [Block("text", block.content or "")]
            result = [_part(inner, f"{here}.content.{number}") for number, inner in enumerate(told)]
            text = "\n".join(part["text"] for part in result if part["type"] == "text")
            text = f"Error: {text}" if block.is_error else text
            messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            parts += [part for part in result if part["type"] != "text"]
        else:
            parts.append(_part(block, here))
    if parts:
        messages.append({"role": "user", "content": _plain(parts)})
    return messages or [{"role": "user", "content": ""}]


def _plain(parts: list[Message]) -> str | list[Message]:
    """One text where there is nothing else: many engines take no list."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(block: Block, where: str) -> Message:
    if block.type == "text":
        return {"type": "text", "text": block.text}
    source = block.source or Source("")
    if block.type == "image" and source.type in ("base64", "url"):
        url = source.url if source.type == "url" else f"data:{source.media_type};base64,{source.data}"
        return {"type": "image_url", "image_url": {"url": url}}
    if block.type == "document" and source.type == "text":
        return {"type": "text", "text": source.data}
    what = f"A block '{block.type}'" + (f" with a source of type '{source.type}'" if source.type else "")
    raise not_sayable(what, where)
