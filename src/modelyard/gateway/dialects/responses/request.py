"""A Responses request as a chat completions request. What chat completions cannot say is refused, by its field's name.

The gateway keeps no conversations: what refers to one that is kept elsewhere is refused. Fields that neither API knows
pass as they came; what only steers OpenAI's own servers (`store`, `service_tier`, cache keys) is left out.
"""

from typing import Any

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.refusals import DECODE_ERRORS, not_sayable, refuse
from modelyard.gateway.dialects.responses.items import Item, chat_turns

_OURS = frozenset(
    (
        *("access_programs", "background", "context_management", "conversation", "include", "input", "instructions"),
        *("max_output_tokens", "max_tool_calls", "metadata", "moderation", "previous_response_id", "prompt"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier"),
        *("service_tier", "store", "stream_options", "text", "tool_choice", "tools", "top_logprobs", "truncation"),
    )
)
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt")
_LOGPROBS = "message.output_text.logprobs"
_TRUE = msgspec.Raw(b"true")

_encode = msgspec.json.Encoder().encode


class _Tool(msgspec.Struct):
    type: str
    name: str = ""
    description: msgspec.Raw = NULL
    parameters: msgspec.Raw = NULL
    strict: msgspec.Raw = NULL


class _ToolChoice(msgspec.Struct):
    type: str
    name: str = ""


class _Format(msgspec.Struct):
    type: str
    name: str = "answer"
    schema: msgspec.Raw = NULL
    strict: msgspec.Raw = NULL
    description: msgspec.Raw = NULL


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Request(msgspec.Struct):
    input: str | list[Item]
    instructions: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    safety_identifier: str | None = None
    background: bool | None = None
    truncation: str | None = None


_request_of = msgspec.json.Decoder(_Request)


def to_chat(fields: dict[str, msgspec.Raw], body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of the chat completions request that says the same.

    Takes the request's fields and its bytes. Raises: Refusal (400) that names what is wrong or cannot be said.
    """
    try:
        request = _request_of.decode(body)
    except DECODE_ERRORS as error:
        raise refuse(error) from None
    _refuse_unsayable(fields, request)
    turns = chat_turns(request.input)
    if request.instructions:
        turns.insert(0, {"role": "system", "content": request.instructions})
    told: dict[str, Any] = {"messages": turns, **_tools(request), **_output(request)}
    if request.safety_identifier and "user" not in fields:
        told["user"] = request.safety_identifier
    chat = {name: raw for name, raw in fields.items() if name not in _OURS}
    for name, value in told.items():
        chat[name] = msgspec.Raw(_encode(value))
    if not request.tools:
        chat.pop("parallel_tool_calls", None)
    return chat


def _refuse_unsayable(fields: dict[str, msgspec.Raw], request: _Request) -> None:
    for name in _KEPT_ELSEWHERE:
        if fields.get(name, NULL) != NULL:
            fix = "No conversation is kept here: send it whole in 'input'."
            raise not_sayable(f"'{name}'", name, fix=fix)
    if request.background:
        raise not_sayable("'background'", "background", fix="Wait for the answer, or stream it.")
    if request.truncation not in (None, "disabled"):
        raise not_sayable(f"The truncation '{request.truncation}'", "truncation", fix="Shorten 'input' yourself.")


def _tools(request: _Request) -> dict[str, Any]:
    if not request.tools:
        return {}
    told: dict[str, Any] = {"tools": [_tool(tool, place) for place, tool in enumerate(request.tools)]}
    choice = request.tool_choice
    if isinstance(choice, str):
        told["tool_choice"] = choice
    elif choice is not None:
        if choice.type != "function":
            raise not_sayable(f"The tool choice '{choice.type}'", "tool_choice.type")
        told["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    return told


def _tool(tool: _Tool, place: int) -> dict[str, Any]:
    if tool.type != "function":
        raise not_sayable(f"The tool '{tool.type}'", f"tools.{place}.type", fix="Declare it as a function of your own.")
    function: dict[str, Any] = {"name": tool.name}
    for name in ("description", "parameters", "strict"):
        if (raw := getattr(tool, name)) != NULL:
            function[name] = raw
    return {"type": "function", "function": function}


def _output(request: _Request) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if request.max_output_tokens is not None:
        told["max_tokens"] = request.max_output_tokens
    if request.reasoning and request.reasoning.effort:
        told["reasoning_effort"] = request.reasoning.effort
    if request.top_logprobs is not None or _LOGPROBS in (request.include or ()):
        told["logprobs"] = True
        told["top_logprobs"] = request.top_logprobs or 0
    if request.text and request.text.verbosity:
        told["verbosity"] = request.text.verbosity
    if request.text and request.text.format and request.text.format.type != "text":
        told["response_format"] = _format(request.text.format)
    return told


def _format(format: _Format) -> dict[str, Any]:
    if format.type == "json_object":
        return {"type": "json_object"}
    if format.type != "json_schema":
        raise not_sayable(f"The format '{format.type}'", "text.format.type")
    schema: dict[str, Any] = {"name": format.name}
    for name in ("description", "schema", "strict"):
        if (raw := getattr(format, name)) != NULL:
            schema[name] = raw
    return {"type": "json_schema", "json_schema": schema}
