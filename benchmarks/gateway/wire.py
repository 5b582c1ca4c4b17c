"""The bytes of the benchmarks: chat requests of 1.2 KB, whole answers of 0.6 KB, streams of 66 chunks.

What an answer used is one of 64 pairs of token counts, so that sums over answers say something.
"""

from collections.abc import Sequence

import msgspec

NUM_CHUNKS = 66
USAGES = tuple((200 + number, 7 * number % 64 + 1) for number in range(64))  # (prompt, completion) tokens
MODEL = "support"
_COMMON = {"created": 1_700_000_000, "model": MODEL, "system_fingerprint": "fp_0"}
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n"


def request_body(*, stream: bool, user: str = "u1", model: str = MODEL, usage: bool = False) -> bytes:
    """The body of a chat request of 1.2 KB."""
    fields = {"model": model, "messages": [{"role": "user", "content": "word " * 220}], "stream": stream, "user": user}
    if usage:
        fields["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(fields)


def request(body: bytes, headers: dict[str, str], *, path: str = "/v1/chat/completions") -> bytes:
    """A whole POST request."""
    lines = {"host": "benchmark", "content-type": "application/json", **headers, "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def json_answer(fields: object) -> bytes:
    """An answer of status 200 with a JSON body."""
    body = msgspec.json.encode(fields)
    return _HEAD % b"application/json" + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def whole_answer(number: int) -> bytes:
    """A whole answer of 0.6 KB in all that tells the usage of a number."""
    message = {"role": "assistant", "content": "word " * 65, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    fields = {"id": f"chatcmpl-{number:010d}", "object": "chat.completion", **_COMMON}
    return json_answer({**fields, "choices": [choice], "usage": _usage(number)})


def stream_pieces(number: int) -> list[bytes]:
    """The head of a streamed answer, its chunks each on its own, and its end."""
    word = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
    first = {**word, "delta": {"role": "assistant", "content": ""}}
    last = {**word, "delta": {}, "finish_reason": "stop"}
    pieces = [_HEAD % b"text/event-stream" + b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"]
    pieces += [_chunk(number, [choice]) for choice in (first, *[word] * (NUM_CHUNKS - 3), last)]
    pieces.append(_chunk(number, [], usage=_usage(number)))
    return [*pieces, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


def _chunk(number: int, choices: Sequence[object], **fields: object) -> bytes:
    common = {"id": f"chatcmpl-{number:010d}", "object": "chat.completion.chunk", **_COMMON}
    data = b"data: %b\n\n" % msgspec.json.encode({**common, "choices": choices, **fields})
    return b"%x\r\n%b\r\n" % (len(data), data)


def _usage(number: int) -> dict[str, int]:
    prompt, completion = USAGES[number]
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
