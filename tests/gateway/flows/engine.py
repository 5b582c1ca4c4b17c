"""An engine that knows what the official packages ask for: tools, several answers, logprobs, formats, vectors."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.upstream import Engine, reply

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


@dataclass
class Rich(Engine):
    """`logprob[model]` is that of each token. `busy` answers with 429 so many times first. `ended` counts the streams
    that were broken off by the gateway. `native` holds the whole answers of paths that are spoken beside chat.
    """

    logprob: dict[str, float] = field(default_factory=dict)
    native: dict[str, Any] = field(default_factory=dict)
    busy: int = 0
    ended: int = 0
    pieces: tuple[str, ...] = ()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self.busy > 0:
            self.busy -= 1
            error = {"error": {"message": "slow down", "type": "engine", "param": None, "code": "busy"}}
            await reply(send, 429, json.dumps(error).encode(), retry_after=b"1")
            return
        await super().__call__(scope, receive, send)

    def whole(self, request: dict[str, Any], path: str) -> dict[str, Any]:
        if path in self.native:
            answer: dict[str, Any] = self.native[path]
            return answer
        if path.endswith("/embeddings"):
            return self.vectors(request)
        answer = super().whole(request, path)
        first = answer["choices"][0]
        if "message" in first and request.get("tools") and request["messages"][-1]["role"] == "user":
            first |= {"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}
            first["finish_reason"] = "tool_calls"
        if request.get("response_format", {}).get("type") == "json_schema":
            first["message"]["content"] = '{"name": "Ada", "age": 36}'
        if request.get("logprobs"):
            first["logprobs"] = self.probabilities(request, chat="message" in first)
        answer["choices"] = [{**first, "index": place} for place in range(request.get("n") or 1)]
        return answer

    def probabilities(self, request: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        number = self.logprob.get(request["model"], -0.01)
        tokens = self.text(request).split(" ")
        if not chat:
            return {"tokens": tokens, "token_logprobs": [number] * len(tokens), "top_logprobs": [], "text_offset": []}
        return {"content": [{"token": t, "logprob": number, "bytes": None, "top_logprobs": []} for t in tokens]}

    def vectors(self, request: dict[str, Any]) -> dict[str, Any]:
        """A text's letters, counted: like texts lie near each other."""
        texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
        data = [
            {
                "object": "embedding",
                "index": place,
                "embedding": [float(text.count(c)) for c in "abcdefghijklmnoprstuvw"],
            }
            for place, text in enumerate(texts)
        ]
        return {
            "object": "list",
            "data": data,
            "model": request["model"],
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }

    async def stream(self, request: dict[str, Any], fault: str, receive: Any, send: Any) -> None:
        if fault or not (request.get("tools") or self.pieces or "prompt" in request):
            await super().stream(request, fault, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        leaving = asyncio.ensure_future(receive())
        for choice in self.choices(request):
            await self.event(send, self.chunk(request, [choice], False))
            await asyncio.sleep(self.piece_delay_s)
            if leaving.done():
                self.ended += 1
                return
        if (request.get("stream_options") or {}).get("include_usage"):
            await self.event(send, {**self.chunk(request, [], True), "usage": USAGE})
        leaving.cancel()
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    def choices(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        pieces = self.pieces or ("I am ", request["model"])
        if "prompt" in request:
            return [{"index": 0, "text": piece, "finish_reason": None} for piece in pieces] + [
                {"index": 0, "text": "", "finish_reason": "stop"}
            ]
        deltas: list[Any] = [{"role": "assistant", "content": ""}]
        if request.get("tools") and request["messages"][-1]["role"] == "user":
            function = CALL["function"]
            assert isinstance(function, dict)
            first = {**CALL, "index": 0, "function": {**function, "arguments": ""}}
            halves = [{"index": 0, "function": {"arguments": half}} for half in ('{"city":', ' "Oslo"}')]
            deltas += [{"tool_calls": [call]} for call in (first, *halves)]
            end = "tool_calls"
        else:
            deltas += [{"content": piece} for piece in pieces]
            end = "stop"
        told = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        return [*told, {"index": 0, "delta": {}, "finish_reason": end}]
