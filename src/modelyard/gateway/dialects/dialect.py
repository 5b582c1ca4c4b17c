"""The APIs by name: which one an address speaks, what an engine is sent, who reads its answer, how errors look."""

import msgspec

from modelyard.gateway import errors
from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.messages import answer as messages_answer
from modelyard.gateway.dialects.messages import errors as messages_errors
from modelyard.gateway.dialects.messages import passing as messages_passing
from modelyard.gateway.dialects.messages import request as messages_request
from modelyard.gateway.dialects.passing import Embeddings
from modelyard.gateway.dialects.reader import Reader
from modelyard.gateway.dialects.responses import answer as responses_answer
from modelyard.gateway.dialects.responses import passing as responses_passing
from modelyard.gateway.dialects.responses import request as responses_request
from modelyard.gateway.dialects.said import Kind, Said
from modelyard.gateway.guards.filters import AnswerGuard

PATHS: dict[Kind, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
KINDS: dict[str, Kind] = {path: kind for kind, path in PATHS.items()}
TRANSLATED = frozenset[Kind](("messages", "responses"))

Fields = dict[str, msgspec.Raw]


def fields_for(said: Said, *, is_native: bool) -> Fields:
    """What an engine is sent, still with the caller's model: a chat completions request unless it speaks the dialect.

    Raises: Refusal (400) for what a translation cannot say.
    """
    fields = said.fields
    if is_native or said.kind not in TRANSLATED:
        if not said.previous:
            return fields
        theirs = responses_passing.their_id(said.previous)
        return {**fields, "previous_response_id": msgspec.Raw(msgspec.json.encode(theirs))}
    if said.kind == "messages":
        return messages_request.to_chat(fields, said.body)
    return responses_request.to_chat(fields, said.body)


def reader_for(
    said: Said,
    id: str,
    model: msgspec.Raw,
    *,
    is_native: bool,
    request_id: str = "",
    guard: AnswerGuard | None = None,
) -> Reader:
    """Who reads the answer. `id` and `model` are those that the caller sees. Not for chat and completions.

    `guard` looks at translated answers alone: what filters are to look at must not be native.
    """
    if said.kind == "embeddings":
        return Embeddings(id, model)
    if said.kind == "responses":
        if is_native:
            return responses_passing.Passing(id, model, stores=said.stores)
        return responses_answer.OverChat(id, model, said.fields, guard)
    if is_native:
        return messages_passing.Passing(id, model, request_id=request_id)
    return messages_answer.OverChat(
        id,
        model,
        request_id=request_id,
        show_thinking=messages_request.shows_thinking(said.fields),
        stop_sequences=_stops(said.fields),
        guard=guard,
    )


def id_lines(kind: Kind, request_id: str) -> bytes:
    """The lines of an answer's head with the request's id, under the name that the dialect's clients look for too."""
    id = request_id.encode()
    if kind == "messages":
        return b"x-request-id: %b\r\nrequest-id: %b\r\n" % (id, id)
    return b"x-request-id: %b\r\n" % id


def error_body(
    kind: Kind, status: int, code: str, message: str, param: str | None = None, *, request_id: str = ""
) -> bytes:
    """An error of the gateway's own, as the dialect tells it."""
    if kind == "messages":
        return messages_errors.anthropic_error(status, message, request_id)
    return errors.openai_error(status, code, message, param)


def engine_error(kind: Kind, status: int, body: bytes, *, is_native: bool, request_id: str = "") -> bytes | None:
    """An engine's error body as the caller gets it; None for one that tells nothing."""
    if kind == "messages" and not is_native:
        return messages_errors.error_from_chat(status, body, request_id)
    try:
        told = msgspec.json.decode(body, type=Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return body if told.get("error", NULL) != NULL else None


def _stops(fields: Fields) -> tuple[str, ...]:
    raw = fields.get("stop_sequences", NULL)
    return msgspec.json.decode(raw, type=tuple[str, ...]) if raw != NULL else ()
