"""A Messages request as a chat completions request. What chat completions cannot say is refused, by its field's name.

Fields that neither API knows (`min_p`, `seed`, ...) pass as they came; what only steers Anthropic's own servers (cache
control, service tiers) is left out.
"""

from typing import Any, Literal

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.messages.turns import Block, Turn, chat_turns, join_text
from modelyard.gateway.dialects.refusals import DECODE_ERRORS, not_sayable, refuse

_OURS = frozenset(
    (
        *("cache_control", "context_management", "diagnostics", "inference_geo", "max_tokens", "messages", "metadata"),
        *("output_config", "service_tier", "speed", "stop_sequences", "system", "thinking", "tool_choice", "tools"),
        *("user_profile_id", "workspace_id"),
    )
)
_HOSTED = ("container", "mcp_servers")

_encode = msgspec.json.Encoder().encode


class _Tool(msgspec.Struct):
    name: str
    input_schema: msgspec.Raw = msgspec.Raw(b'{"type":"object","properties":{}}')
    description: msgspec.Raw = NULL
    strict: msgspec.Raw = NULL
    type: str | None = None


class _ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool = False


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Format(msgspec.Struct):
    type: str
    schema: msgspec.Raw = NULL


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Request(msgspec.Struct):
    messages: list[Turn]
    system: str | list[Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    metadata: _Metadata | None = None
    output_config: _Output | None = None
    stop_sequences: list[str] | None = None


_request_of = msgspec.json.Decoder(_Request)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS = {"xhigh": "high", "max": "high"}


def to_chat(fields: dict[str, msgspec.Raw], body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of the chat completions request that says the same.

    Takes the request's fields and its bytes. Raises: Refusal (400) that names what is wrong or cannot be said.
    """
    try:
        request = _request_of.decode(body)
    except DECODE_ERRORS as error:
        raise refuse(error) from None
    for name in _HOSTED:
        if fields.get(name, NULL) not in (NULL, msgspec.Raw(b"[]")):
            raise not_sayable(f"'{name}'", name)
    turns = chat_turns(request.messages)
    if request.system:
        turns.insert(0, {"role": "system", "content": join_text(request.system, "system")})
    told: dict[str, Any] = {"messages": turns, **_tools(request), **_output(request)}
    if fields.get("max_tokens", NULL) != NULL:
        told["max_tokens"] = fields["max_tokens"]
    if request.stop_sequences:
        told["stop"] = request.stop_sequences
    if request.metadata and request.metadata.user_id:
        told["user"] = request.metadata.user_id
    chat = {name: raw for name, raw in fields.items() if name not in _OURS and name not in _HOSTED}
    for name, value in told.items():
        chat[name] = value if isinstance(value, msgspec.Raw) else msgspec.Raw(_encode(value))
    return chat


def shows_thinking(fields: dict[str, msgspec.Raw]) -> bool:
    """Whether the caller asked for thoughts; who did not gets none, as Anthropic does it."""
    thinking = fields.get("thinking", NULL)
    try:
        asked = msgspec.json.decode(thinking, type=dict[str, Any] | None)
    except DECODE_ERRORS:
        return False
    return bool(asked) and asked.get("type") != "disabled" and asked.get("display") != "omitted"


def _tools(request: _Request) -> dict[str, Any]:
    if not request.tools:
        return {}
    told: dict[str, Any] = {"tools": [_tool(tool, place) for place, tool in enumerate(request.tools)]}
    if (choice := request.tool_choice) is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        told["tool_choice"] = named if choice.type == "tool" else _CHOICES[choice.type]
        if choice.disable_parallel_tool_use:
            told["parallel_tool_calls"] = False
    return told


def _tool(tool: _Tool, place: int) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        raise not_sayable(f"The tool '{tool.type}'", f"tools.{place}.type", fix="Declare it as a tool of your own.")
    function = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description != NULL:
        function["description"] = tool.description
    if tool.strict != NULL:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _output(request: _Request) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if (output := request.output_config) is None:
        return told
    if output.effort:
        told["reasoning_effort"] = _EFFORTS.get(output.effort, output.effort)
    if output.format is not None:
        if output.format.type != "json_schema":
            raise not_sayable(f"The format '{output.format.type}'", "output_config.format.type")
        schema = {"name": "answer", "schema": output.format.schema, "strict": True}
        told["response_format"] = {"type": "json_schema", "json_schema": schema}
    return told
