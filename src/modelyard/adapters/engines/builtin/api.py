"""The engine's HTTP API as a bare ASGI callable: OpenAI's endpoints, vLLM's adapter endpoints, health and metrics."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from modelyard.adapters.engines.builtin.batcher import Chunk, Ticket
from modelyard.adapters.engines.builtin.engine import BuiltinEngine
from modelyard.adapters.engines.builtin.sampling import Token
from modelyard.adapters.engines.builtin.wire import (
    AnswerForm,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    GenerationRequest,
    LoadAdapterRequest,
    TokenizeRequest,
    UnloadAdapterRequest,
    chat_logprobs,
    completion_logprobs,
    error_body,
    usage,
)
from modelyard.core.errors import Conflict, InvalidInput, ModelyardError, NotFound, Unavailable
from modelyard.core.ids import new_id

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Body = TypeVar("Body")

_MAX_BODY_BYTES = 8 << 20
_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_METRICS = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


class Exchange:
    """One HTTP request and the way to answer it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.started = False

    async def read(self) -> bytes:
        """The whole body. Raises: InvalidInput where it is too long."""
        body, more = bytearray(), True
        while more:
            event = await self._receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
            if len(body) > _MAX_BODY_BYTES:
                raise InvalidInput(f"the body is longer than {_MAX_BODY_BYTES} bytes")
        return bytes(body)

    async def read_as(self, type: type[Body]) -> Body:
        """The body as JSON of a type. Raises: InvalidInput."""
        body = await self.read()
        try:
            return msgspec.json.decode(body, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the body cannot be used: {error}", expected="a JSON object") from error

    async def until_gone(self) -> None:
        """Waits until the caller has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        """Send a whole answer."""
        await self.start(status, *headers, (b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.body", "body": body})

    async def answer_json(self, status: int, value: Any, *headers: tuple[bytes, bytes]) -> None:
        """Send a whole answer in JSON."""
        await self.answer(status, _encode(value), _JSON, *headers)

    async def start(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        """Begin an answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send_event(self, data: bytes) -> None:
        """One server-sent event of a begun answer."""
        await self._send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

    async def end(self) -> None:
        """End an answer that was sent in pieces."""
        await self._send({"type": "http.response.body", "body": b""})


class Api:
    """The ASGI callable."""

    def __init__(self, engine: BuiltinEngine) -> None:
        self._engine = engine
        self._started_s = int(time.time())
        self._routes: dict[str, tuple[str, Callable[[Exchange], Awaitable[None]]]] = {
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/completions": ("POST", self._complete),
            "/v1/models": ("GET", self._models),
            "/v1/load_lora_adapter": ("POST", self._load_adapter),
            "/v1/unload_lora_adapter": ("POST", self._unload_adapter),
            "/tokenize": ("POST", self._tokenize),
            "/detokenize": ("POST", self._detokenize),
            "/health": ("GET", self._health),
            "/metrics": ("GET", self._metrics),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(receive, send)
        method, handler = self._routes.get(scope["path"], ("", None))
        if handler is None:
            await _refuse(exchange, 404, f"there is nothing at {scope['path']}", code="unknown_url")
        elif scope["method"] != method:
            message = f"{scope['path']} does not take {scope['method']} but {method}"
            await _refuse(exchange, 405, message, code="method_not_allowed")
        else:
            await _guard(exchange, handler)

    async def _chat(self, exchange: Exchange) -> None:
        request = await exchange.read_as(ChatRequest)
        if not request.messages:
            raise InvalidInput("'messages' is empty", expected="at least one message")
        prompt = self._engine.tokenizer.encode_chat([message.plain() for message in request.messages])
        await self._generate(exchange, request, prompt)

    async def _complete(self, exchange: Exchange) -> None:
        request = await exchange.read_as(CompletionRequest)
        prompt = request.one_prompt()
        tokens = self._engine.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        await self._generate(exchange, request, tokens)

    async def _generate(self, exchange: Exchange, request: GenerationRequest, prompt: Sequence[int]) -> None:
        engine = self._engine
        adapter = engine.adapter(request.model)
        chat = isinstance(request, ChatRequest)
        decoding = request.decoding(engine.model.context_length if chat else 16)
        ticket = engine.submit(prompt, adapter, decoding)
        form = AnswerForm(
            chat=chat,
            id=("chatcmpl-" if chat else "cmpl-") + new_id(),
            created_s=int(time.time()),
            model=request.model,
        )
        watch = asyncio.create_task(self._cancel_when_gone(exchange, ticket))
        try:
            if request.stream:
                await self._stream(exchange, ticket, form, include_usage=request.include_usage)
            else:
                await self._answer(exchange, ticket, form)
        finally:
            watch.cancel()

    async def _cancel_when_gone(self, exchange: Exchange, ticket: Ticket) -> None:
        await exchange.until_gone()
        self._engine.batcher.cancel(ticket)

    async def _answer(self, exchange: Exchange, ticket: Ticket, form: AnswerForm) -> None:
        texts: list[str] = []
        tokens: list[Token] = []
        reason = None
        while reason is None:
            chunk = await self._engine.next_chunk(ticket)
            texts.append(chunk.text)
            tokens += chunk.tokens
            reason = chunk.finish_reason
        if reason == "error":
            raise Unavailable("the engine failed while it answered", fix="see the engine's log")
        counts = usage(len(ticket.prompt), len(tokens))
        logprobs = self._logprobs(ticket, form, tokens)
        await exchange.answer_json(200, form.whole("".join(texts), logprobs, reason, counts))

    async def _stream(self, exchange: Exchange, ticket: Ticket, form: AnswerForm, *, include_usage: bool) -> None:
        await exchange.start(200, _EVENTS, (b"cache-control", b"no-cache"))
        if form.chat:
            await exchange.send_event(_encode(form.opening()))
        chunk: Chunk | None = None
        while chunk is None or chunk.finish_reason is None:
            chunk = await self._engine.next_chunk(ticket)
            if chunk.finish_reason == "error":
                message = "the engine failed while it answered"
                await exchange.send_event(_encode(error_body(message, type="server_error", code="engine_failed")))
            elif chunk.text or chunk.finish_reason or ticket.decoding.top_logprobs is not None:
                logprobs = self._logprobs(ticket, form, chunk.tokens)
                await exchange.send_event(_encode(form.piece(chunk.text, logprobs, chunk.finish_reason)))
        if include_usage and chunk.finish_reason != "error":
            counts = usage(len(ticket.prompt), ticket.num_tokens)
            await exchange.send_event(_encode(form.closing(counts)))
        await exchange.send_event(b"[DONE]")
        await exchange.end()

    def _logprobs(self, ticket: Ticket, form: AnswerForm, tokens: Sequence[Token]) -> Any:
        if ticket.decoding.top_logprobs is None:
            return None

        def text_of(token: int) -> str:
            return self._engine.tokenizer.decode([token], skip_special_tokens=False)

        return chat_logprobs(tokens, text_of) if form.chat else completion_logprobs(tokens, text_of)

    async def _models(self, exchange: Exchange) -> None:
        engine = self._engine
        base = self._card(engine.name, engine.folder) | {"max_model_len": engine.model.context_length}
        adapters = [
            self._card(name, adapter.folder) | {"parent": engine.name} for name, adapter in engine.adapters.items()
        ]
        await exchange.answer_json(200, {"object": "list", "data": [base, *adapters]})

    def _card(self, name: str, folder: Path) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._started_s,
            "owned_by": "modelyard",
            "root": str(folder),
            "parent": None,
            "max_model_len": None,
        }

    async def _load_adapter(self, exchange: Exchange) -> None:
        request = await exchange.read_as(LoadAdapterRequest)
        await self._engine.load_adapter(request.lora_name, Path(request.lora_path))
        await exchange.answer(200, f"Success: LoRA adapter '{request.lora_name}' added successfully.".encode(), _TEXT)

    async def _unload_adapter(self, exchange: Exchange) -> None:
        request = await exchange.read_as(UnloadAdapterRequest)
        self._engine.unload_adapter(request.lora_name)
        await exchange.answer(200, f"Success: LoRA adapter '{request.lora_name}' removed successfully.".encode(), _TEXT)

    async def _tokenize(self, exchange: Exchange) -> None:
        request = await exchange.read_as(TokenizeRequest)
        engine = self._engine
        if request.model is not None:
            engine.adapter(request.model)
        if request.messages is not None:
            messages = [message.plain() for message in request.messages]
            tokens = engine.tokenizer.encode_chat(messages, add_generation_prompt=request.add_generation_prompt)
        elif request.prompt is not None:
            special = request.add_special_tokens is not False
            tokens = engine.tokenizer.encode(request.prompt, add_special_tokens=special)
        else:
            raise InvalidInput("the body has neither 'messages' nor 'prompt'", expected="one of them")
        context_length = engine.model.context_length
        await exchange.answer_json(200, {"count": len(tokens), "max_model_len": context_length, "tokens": tokens})

    async def _detokenize(self, exchange: Exchange) -> None:
        request = await exchange.read_as(DetokenizeRequest)
        if request.model is not None:
            self._engine.adapter(request.model)
        text = self._engine.tokenizer.decode(request.tokens, skip_special_tokens=False)
        await exchange.answer_json(200, {"prompt": text})

    async def _health(self, exchange: Exchange) -> None:
        await exchange.answer(200 if self._engine.batcher.alive else 503, b"", _TEXT)

    async def _metrics(self, exchange: Exchange) -> None:
        await exchange.answer(200, self._engine.render_metrics(), _METRICS)


async def _guard(exchange: Exchange, handler: Callable[[Exchange], Awaitable[None]]) -> None:
    """Run a handler and turn what it raises into OpenAI's error body."""
    try:
        await handler(exchange)
    except NotFound as error:
        await _refuse(exchange, 404, _one_line(error), code="model_not_found", param="model")
    except (InvalidInput, Conflict) as error:
        await _refuse(exchange, 400, _one_line(error), code=error.code)
    except Unavailable as error:
        await _refuse(exchange, 503, _one_line(error), code="engine_unavailable", type="server_error")
    except Exception:
        _log.exception("a request failed")
        if exchange.started:
            raise
        await _refuse(exchange, 500, "the engine failed; see its log", code="engine_failed", type="server_error")


async def _refuse(
    exchange: Exchange,
    status: int,
    message: str,
    *,
    code: str,
    type: str = "invalid_request_error",
    param: str | None = None,
) -> None:
    headers = ((b"retry-after", b"1"),) if status == 503 else ()
    await exchange.answer_json(status, error_body(message, type=type, param=param, code=code), *headers)


def _one_line(error: ModelyardError) -> str:
    return "; ".join(str(error).splitlines())
