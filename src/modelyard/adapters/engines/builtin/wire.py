"""The bodies of OpenAI's API as this engine reads and writes them, with vLLM's additions. Knows no HTTP, no model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from modelyard.adapters.engines.builtin.sampling import Decoding, Token
from modelyard.core.errors import InvalidInput

MAX_TOP_LOGPROBS = 20


class TextPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a message's content; only text is understood."""

    type: Literal["text"]
    text: str


class WireMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One turn."""

    role: str
    content: str | list[TextPart] | None = None

    def plain(self) -> dict[str, str]:
        """The turn as chat templates take it."""
        if isinstance(self.content, list):
            return {"role": self.role, "content": "".join(part.text for part in self.content)}
        return {"role": self.role, "content": self.content or ""}


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream carries besides the answer."""

    include_usage: bool = False


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and plain completions have in common. `neutral` values change nothing and are let pass."""

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "n": (None, 1),
        "best_of": (None, 1),
        "echo": (None, False),
        "suffix": (None, ""),
        "frequency_penalty": (None, 0),
        "presence_penalty": (None, 0),
        "logit_bias": (None, {}),
        "tools": (None, []),
        "functions": (None, []),
        "response_format": (None, {"type": "text"}),
    }

    model: str
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Any = None
    best_of: Any = None
    echo: Any = None
    suffix: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    logit_bias: Any = None
    tools: Any = None
    functions: Any = None
    response_format: Any = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def decoding(self, default_max_tokens: int) -> Decoding:
        """The checked decoding. Raises: InvalidInput naming the field."""
        for field, values in self.neutral.items():
            if getattr(self, field) not in values:
                raise InvalidInput(f"'{field}' is not supported by this engine", fix=f"leave out '{field}'")
        limit = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        decoding = Decoding(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stops=tuple(stop for stop in stops if stop),
            max_tokens=default_max_tokens if limit is None else limit,
            top_logprobs=self.wanted_logprobs(),
        )
        _check("temperature", decoding.temperature, "from 0 to 2", 0 <= decoding.temperature <= 2)
        _check("top_p", decoding.top_p, "above 0 and at most 1", 0 < decoding.top_p <= 1)
        _check("max_tokens", decoding.max_tokens, "at least 1", decoding.max_tokens >= 1)
        _check("seed", decoding.seed, "from 0 to 2^63 - 1", decoding.seed is None or 0 <= decoding.seed < 1 << 63)
        top = decoding.top_logprobs
        _check("top_logprobs", top, f"from 0 to {MAX_TOP_LOGPROBS}", top is None or 0 <= top <= MAX_TOP_LOGPROBS)
        return decoding

    def wanted_logprobs(self) -> int | None:
        """How many likeliest tokens to tell for each token; None for no log-probabilities."""
        raise NotImplementedError


class ChatRequest(GenerationRequest, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[WireMessage]
    logprobs: bool | None = None
    top_logprobs: int | None = None

    def wanted_logprobs(self) -> int | None:
        """As asked for by two fields."""
        return self.top_logprobs or 0 if self.logprobs else None


class CompletionRequest(GenerationRequest, frozen=True, kw_only=True):
    """POST /v1/completions: one prompt, as text or as token ids."""

    prompt: str | list[int | str]
    logprobs: int | None = None

    def one_prompt(self) -> str | list[int]:
        """The text or the token ids. Raises: InvalidInput for several texts."""
        if isinstance(self.prompt, str):
            return self.prompt
        tokens = [part for part in self.prompt if isinstance(part, int)]
        texts = [part for part in self.prompt if isinstance(part, str)]
        if len(texts) > 1 or (texts and tokens):
            raise InvalidInput(
                f"'prompt' holds {len(self.prompt)} parts", expected="one text, or one list of token ids"
            )
        return texts[0] if texts else tokens

    def wanted_logprobs(self) -> int | None:
        """As asked for by one field."""
        return self.logprobs


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /tokenize: messages or a prompt."""

    model: str | None = None
    messages: list[WireMessage] | None = None
    prompt: str | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /detokenize."""

    tokens: list[int]
    model: str | None = None


class LoadAdapterRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/load_lora_adapter."""

    lora_name: str
    lora_path: str


class UnloadAdapterRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/unload_lora_adapter."""

    lora_name: str


def _check(field: str, seen: object, expected: str, good: bool) -> None:
    if not good:
        raise InvalidInput(f"'{field}' is {seen}", expected=expected)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Token counts."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def chat_logprobs(tokens: Sequence[Token], text_of: Callable[[int], str]) -> dict[str, Any]:
    """Log-probabilities as chat completions carry them."""

    def entry(id: int, logprob: float) -> dict[str, Any]:
        text = text_of(id)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    content = [
        entry(token.id, token.logprob) | {"top_logprobs": [entry(id, logprob) for id, logprob in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Token], text_of: Callable[[int], str]) -> dict[str, Any]:
    """Log-probabilities as plain completions carry them. Of tokens with equal text the likeliest is told."""
    texts = [text_of(token.id) for token in tokens]
    tops = [{text_of(id): logprob for id, logprob in reversed(token.top)} for token in tokens]
    offsets = [sum(map(len, texts[:index])) for index in range(len(texts))]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": tops,
        "text_offset": offsets,
    }


class AnswerForm(msgspec.Struct, frozen=True, kw_only=True):
    """How the answers of one endpoint are written: the head shared by all its bodies, and the shape of a choice."""

    chat: bool
    id: str
    created_s: int
    model: str

    def whole(self, text: str, logprobs: Any, finish_reason: str, counts: dict[str, int]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        part = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        kind = "chat.completion" if self.chat else "text_completion"
        return self._body(kind, [_choice(part, logprobs, finish_reason)]) | {"usage": counts}

    def opening(self) -> dict[str, Any]:
        """The first chunk of a chat stream."""
        return self._chunk([_choice({"delta": {"role": "assistant", "content": ""}}, None, None)])

    def piece(self, text: str, logprobs: Any, finish_reason: str | None) -> dict[str, Any]:
        """A chunk with text."""
        part = {"delta": {"content": text} if text else {}} if self.chat else {"text": text}
        return self._chunk([_choice(part, logprobs, finish_reason)])

    def closing(self, counts: dict[str, int]) -> dict[str, Any]:
        """The chunk with token counts that ends a stream where it was asked for."""
        return self._chunk([]) | {"usage": counts}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._body("chat.completion.chunk" if self.chat else "text_completion", choices)

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created_s, "model": self.model, "choices": choices}


def _choice(part: dict[str, Any], logprobs: Any, finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, **part, "logprobs": logprobs, "finish_reason": finish_reason}


def error_body(message: str, *, type: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """OpenAI's error body, with real nulls."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}
