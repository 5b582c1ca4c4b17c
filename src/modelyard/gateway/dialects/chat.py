"""Chat completions as an engine speaks them: the fields of a chunk and of a whole answer that other dialects need."""

from typing import Any

import msgspec

from modelyard.gateway.errors import UpstreamFailed, broken, malformed

NULL = msgspec.Raw(b"null")


class Function(msgspec.Struct):
    """What is called. A few engines send the arguments as an object, where OpenAI sends its text."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The arguments as JSON text, or a piece of it."""
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class ToolCall(msgspec.Struct):
    """A call, or a piece of one: `id` and the name come with the first piece."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Part(msgspec.Struct):
    """A piece of a content that is a list."""

    text: str | None = None


class Said(msgspec.Struct):
    """A message, or a piece of one."""

    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """The content as text."""
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or ""


class Logprobs(msgspec.Struct):
    """The probabilities of a piece's tokens, one entry a token, as they came."""

    content: list[msgspec.Raw] | None = None


class Choice(msgspec.Struct):
    """One of the answers. Only vLLM (`stop_reason`) and SGLang (`matched_stop`) tell which stop sequence was met."""

    index: int = 0
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    matched_stop: str | int | list[int] | None = None
    logprobs: Logprobs | None = None

    @property
    def stop_sequence(self) -> str:
        """The stop sequence that ended the answer, empty where the engine does not tell."""
        for told in (self.stop_reason, self.matched_stop):
            if isinstance(told, str):
                return told
        return ""


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Thought(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Thought | None = None


class Usage(msgspec.Struct):
    """Tokens: of the whole prompt, of it those read from a cache, of the whole answer, of it those thought."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    thought: int = 0


class Chunk(msgspec.Struct):
    """A chunk of a stream, or a whole answer."""

    choices: list[Choice] | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class _Fault(msgspec.Struct):
    code: str | int | None = None


decode_chunk = msgspec.json.Decoder(Chunk).decode
_usage_of = msgspec.json.Decoder(_Usage | None).decode
_fault_of = msgspec.json.Decoder(_Fault).decode


def decode_answer(body: bytes) -> tuple[Choice, Chunk]:
    """A whole answer with its first choice. Raises: UpstreamFailed where it is an error, or no answer."""
    try:
        answer = decode_chunk(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None
    if answer.error != NULL:
        raise fault_of(answer.error)
    for choice in answer.choices or ():
        if choice.index == 0 and choice.message is not None:
            return choice, answer
    raise malformed()


def fault_of(raw: msgspec.Raw) -> UpstreamFailed:
    """An error that an engine sent in the place of an answer. Its text stays here: it may name the engine."""
    try:
        code = _fault_of(raw).code
    except msgspec.DecodeError:
        code = None
    return broken(str(code or "upstream_error"))


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """The tokens told, None where the engine tells none (or none that can be read)."""
    if raw == NULL:
        return None
    try:
        told = _usage_of(raw)
    except msgspec.DecodeError:
        return None
    if told is None:
        return None
    cached = told.prompt_tokens_details and told.prompt_tokens_details.cached_tokens
    thought = told.completion_tokens_details and told.completion_tokens_details.reasoning_tokens
    prompt, completion = max(0, told.prompt_tokens or 0), max(0, told.completion_tokens or 0)
    return Usage(prompt, min(prompt, max(0, cached or 0)), completion, min(completion, max(0, thought or 0)))
