"""Confidence: an engine is asked how sure it was of its tokens, and the caller does not see it unless it asked too."""

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.said import Kind
from modelyard.gateway.routing.preference import confident
from modelyard.ports.serving import Preference

Fields = dict[str, msgspec.Raw]

_FALSE = msgspec.Raw(b"false")


class _Token(msgspec.Struct):
    logprob: float


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None
    token_logprobs: list[float | None] | None = None

    def numbers(self) -> list[float]:
        """One for each token, in the words of chat or of completions."""
        if self.content is not None:
            return [token.logprob for token in self.content]
        return [number for number in self.token_logprobs or () if number is not None]


class _Choice(msgspec.Struct):
    logprobs: _Logprobs | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]


_answer_of = msgspec.json.Decoder(_Answer).decode
_fields_of = msgspec.json.Decoder(Fields).decode
_choices_of = msgspec.json.Decoder(list[Fields]).decode
_encode = msgspec.json.Encoder().encode


class Probe:
    """Of one attempt. `is_confident` says whether its answer is to be given; of several choices all must be."""

    __slots__ = ("_hides", "_preference", "is_confident")

    def __init__(self, preference: Preference) -> None:
        self._preference = preference
        self._hides = False
        self.is_confident = False

    def ask(self, kind: Kind, fields: Fields) -> None:
        """Ask for the probabilities in a request that does not."""
        if fields.get("logprobs", NULL) in (NULL, _FALSE):
            self._hides = True
            fields["logprobs"] = msgspec.Raw(b"1" if kind == "completions" else b"true")

    def read(self, body: bytes) -> bytes:
        """The whole answer as the caller may see it, after a look at what the engine said of its tokens."""
        try:
            choices = _answer_of(body).choices
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        self.is_confident = bool(choices) and all(
            confident(choice.logprobs.numbers() if choice.logprobs else None, self._preference) for choice in choices
        )
        return _without(body) if self._hides else body


def _without(body: bytes) -> bytes:
    """An answer whose choices tell no probabilities: null, as OpenAI says it."""
    fields = _fields_of(body)
    choices = _choices_of(fields["choices"])
    for choice in choices:
        choice["logprobs"] = NULL
    fields["choices"] = msgspec.Raw(_encode(choices))
    return _encode(fields)
