"""Answers of engines that speak the caller's dialect themselves: their bytes pass, the id and the model are ours."""

import msgspec

from modelyard.gateway.dialects.chat import NULL, fault_of
from modelyard.gateway.dialects.reader import Reader, encode
from modelyard.gateway.dialects.refusals import DECODE_ERRORS
from modelyard.gateway.errors import UpstreamFailed, malformed, openai_error

Fields = dict[str, msgspec.Raw]

fields_of = msgspec.json.Decoder(Fields).decode


class Usage(msgspec.Struct):
    """Tokens by all the names that they go by."""

    prompt_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


_usage_of = msgspec.json.Decoder(Usage | None).decode


def read_usage(raw: msgspec.Raw) -> Usage:
    """The tokens told, none of them where they cannot be read."""
    try:
        return _usage_of(raw) or Usage()
    except msgspec.DecodeError:
        return Usage()


def stamp(fields: Fields, id: bytes, model: msgspec.Raw) -> bytes:
    """An object with another id and model, where it has them."""
    if "id" in fields:
        fields["id"] = msgspec.Raw(id)
    if "model" in fields:
        fields["model"] = model
    return encode(fields)


def open_answer(body: bytes, needed: str) -> Fields:
    """The fields of a whole answer. Raises: UpstreamFailed where it is an error, or no answer."""
    try:
        fields = fields_of(body)
    except DECODE_ERRORS:
        raise malformed() from None
    if fields.get(needed, NULL) != NULL:
        return fields
    raise fault_of(fields["error"]) if fields.get("error", NULL) != NULL else malformed()


class Embeddings(Reader):
    """An engine's embeddings. They are never streamed."""

    __slots__ = ("_id", "_model")

    def __init__(self, id: str, model: msgspec.Raw) -> None:
        super().__init__()
        self._id = encode(id)
        self._model = model

    def rewrite(self, body: bytes) -> bytes:
        """The whole answer. Raises: UpstreamFailed where it is an error, or no answer."""
        fields = open_answer(body, "data")
        self.spoke = True
        self._count(max(0, read_usage(fields.get("usage", NULL)).prompt_tokens or 0), 0)
        return stamp(fields, self._id, self._model)

    def fail(self, failure: UpstreamFailed) -> bytes:
        """Never streamed: the body of an error."""
        return openai_error(failure.status, failure.code, failure.seen)
