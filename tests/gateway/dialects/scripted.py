"""A chat engine that says what it is told to, behind the translation, on a real server."""

import json
from typing import Any

import msgspec

from modelyard.gateway.dialects.dialect import KINDS, error_body, fields_for, reader_for
from modelyard.gateway.dialects.said import Kind, Said
from modelyard.gateway.errors import Refusal, UpstreamFailed

MODEL = msgspec.Raw(b'"support"')
USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}


def chunk(delta: dict[str, Any] | None = None, **choice: Any) -> bytes:
    told = {"id": "theirs", "model": "m", "choices": [{"index": 0, "delta": delta or {}, **choice}]}
    return b"data: %b\n\n" % json.dumps(told).encode()


def call(index: int, arguments: str, name: str = "", id: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name:
        told |= {"id": id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [told]}


def stream(*chunks: bytes, finish: str = "stop", **choice: Any) -> bytes:
    usage = b"data: %b\n\n" % json.dumps({"choices": [], "usage": USAGE}).encode()
    return b"".join((*chunks, chunk(finish_reason=finish, **choice), usage, b"data: [DONE]\n\n"))


def whole(message: dict[str, Any], finish: str = "stop", **choice: Any) -> bytes:
    told = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}
    return json.dumps({"id": "theirs", "model": "m", "choices": [told], "usage": USAGE}).encode()


def translated(kind: Kind, *pieces: bytes, **fields: Any) -> bytes:
    """All that the caller of a stream gets."""
    least = {"messages": {"messages": [{"role": "user", "content": "hi"}]}, "responses": {"input": "hi"}}
    facts = Said(kind, json.dumps({"model": "support", **least[kind], **fields}).encode())
    reader = reader_for(facts, "our-id", MODEL, is_native=False)
    return b"".join(reader.feed(piece) for piece in pieces) + reader.end()


class Script:
    """An ASGI app: `answer` is what the engine says; `asked` what it was sent."""

    def __init__(self) -> None:
        self.answer = b""
        self.asked: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        kind = KINDS[scope["path"]]
        status, media, pieces = 200, b"application/json", []
        try:
            facts = Said(kind, body)
            fields = fields_for(facts, is_native=False)
            self.asked = {name: msgspec.json.decode(raw) for name, raw in fields.items()}
            reader = reader_for(facts, "our-id", MODEL, is_native=False, request_id="req-1")
            if facts.stream:
                media = b"text/event-stream"
                pieces = [reader.feed(self.answer[at : at + 7]) for at in range(0, len(self.answer), 7)]
                pieces.append(reader.end())
            else:
                pieces = [reader.rewrite(self.answer)]
        except (Refusal, UpstreamFailed) as error:
            status, param = error.status, getattr(error, "param", None)
            pieces = [error_body(kind, status, error.code, error.seen, param, request_id="req-1")]
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", media)]})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
