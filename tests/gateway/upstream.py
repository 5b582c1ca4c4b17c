"""A small engine for the tests: a plain ASGI app with real answers, real streams and real faults."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Engine:
    """Answers `say[model]` (default: the model's name; `echo` gives the question back), failing as `fault[model]` says.

    `500`, `400`, `503`: an error with OpenAI's body. `html`: one without. `garbage`: no JSON at 200. `hang`: no answer.
    `cut`: a stream that breaks off after two pieces. `stall`: one that stops there. `first_error`: a stream whose
    connection is lost before its first event. `error_event`: a stream of nothing but an error. `no_done`: a stream
    without its last event.
    """

    say: dict[str, str] = field(default_factory=dict)
    fault: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    delay_s: float = 0.0
    piece_delay_s: float = 0.0
    left: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = json.loads(body)
        self.requests.append(request)
        self.headers.append(dict(scope["headers"]))
        self.paths.append(scope["path"])
        await asyncio.sleep(self.delay_s)
        fault = self.fault.get(request["model"], "")
        if fault == "hang":
            await receive()
            self.left += 1
        elif fault.isdigit():
            error = {"error": {"message": "engine says no", "type": "engine", "param": None, "code": "engine_code"}}
            await reply(send, int(fault), json.dumps(error).encode(), retry_after=b"7")
        elif fault == "html":
            await reply(send, 500, b"<h1>10.1.2.3 failed</h1>")
        elif fault == "garbage":
            await reply(send, 200, b"not json")
        elif request.get("stream"):
            await self.stream(request, fault, receive, send)
        else:
            await reply(send, 200, json.dumps(self.whole(request, scope["path"])).encode())

    def text(self, request: dict[str, Any]) -> str:
        if request["model"] == "echo":
            return str(request["messages"][-1]["content"])
        return self.say.get(request["model"], f"I am {request['model']}")

    def whole(self, request: dict[str, Any], path: str) -> dict[str, Any]:
        chat = path.endswith("/chat/completions")
        said = (
            {"message": {"role": "assistant", "content": self.text(request)}} if chat else {"text": self.text(request)}
        )
        return {
            "id": "upstream-id",
            "object": "chat.completion" if chat else "text_completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, **said, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
            "kept": {"exact": 1.10},
        }

    async def stream(self, request: dict[str, Any], fault: str, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        if fault == "first_error":
            raise ConnectionError("cut on purpose")
        if fault == "error_event":
            await send({"type": "http.response.body", "body": b'data: {"error": {"code": 507}}\n\n'})
            return
        words = self.text(request).split(" ")
        pieces = [{"role": "assistant", "content": ""}] + [
            {"content": w if i == 0 else f" {w}"} for i, w in enumerate(words)
        ]
        usage = (request.get("stream_options") or {}).get("include_usage")
        for number, piece in enumerate(pieces):
            if fault == "cut" and number == 2:
                raise ConnectionError("cut on purpose")
            if fault == "stall" and number == 2:
                await receive()
                self.left += 1
                return
            await self.event(send, self.chunk(request, [{"index": 0, "delta": piece, "finish_reason": None}], usage))
            await asyncio.sleep(self.piece_delay_s)
        await self.event(send, self.chunk(request, [{"index": 0, "delta": {}, "finish_reason": "stop"}], usage))
        if usage:
            counted = self.chunk(request, [], usage)
            counted["usage"] = {"prompt_tokens": 11, "completion_tokens": len(words), "total_tokens": 11 + len(words)}
            await self.event(send, counted)
        done = b"" if fault == "no_done" else b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": done})

    def chunk(self, request: dict[str, Any], choices: list[Any], usage: bool) -> dict[str, Any]:
        fields = {"id": "upstream-id", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
        return {**fields, "choices": choices, **({"usage": None} if usage else {})}

    async def event(self, send: Any, value: dict[str, Any]) -> None:
        await send(
            {"type": "http.response.body", "body": b"data: %b\n\n" % json.dumps(value).encode(), "more_body": True}
        )


async def reply(send: Any, status: int, body: bytes, *, retry_after: bytes = b"") -> None:
    """One whole answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if retry_after:
        headers.append((b"retry-after", retry_after))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
