"""Answers: an engine's bytes in, the caller's bytes out, with what the journal wants to know noted on the way.

The id becomes the gateway's, the model becomes the service's name; every other byte passes as it came, where the engine
writes its JSON as all known ones do. Where it does not, the object is taken apart and put together again.
"""

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.refusals import DECODE_ERRORS
from modelyard.gateway.errors import malformed
from modelyard.gateway.exchange import shapes

_NOTHING = (b"null", b"[]")

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


_whole_of = msgspec.json.Decoder(shapes.Whole)
_chunks_of = msgspec.json.Decoder(list[shapes.Chunk])
_choices_of = msgspec.json.Decoder(list[shapes.Choice])
_usage_of = msgspec.json.Decoder(shapes.Usage | None)
_fault_of = msgspec.json.Decoder(shapes.Fault)


class Answer:
    """One answer as it arrives. `text` is that of the first choice.

    `completion_tokens` counts the pieces heard until the engine tells the number (`counted`), so an answer that was
    broken off still has one. `counts_apart` is for engines that count one choice of several: those of a stream are
    added, and a whole answer's number is taken for each.
    """

    __slots__ = (
        "_id",
        "_model",
        "_parts",
        "completion_tokens",
        "counted",
        "counts_apart",
        "fault",
        "finish_reason",
        "prompt_tokens",
        "show_usage",
        "spoke",
    )

    def __init__(self, id: str, model: msgspec.Raw, *, show_usage: bool) -> None:
        self._id = b'"' + id.encode() + b'"'
        self._model = model
        self.show_usage = show_usage
        self.counts_apart = False
        self._parts: list[str] = []
        self.counted = False
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.finish_reason = ""
        self.fault = ""
        self.spoke = False

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._parts)

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer for the caller. Raises: UpstreamFailed where it is no answer."""
        try:
            whole = _whole_of.decode(body)
        except DECODE_ERRORS:
            return self._rewrite_strange(body)
        self._note_choices(whole.choices)
        if whole.usage is not None:
            self._note_counts(whole.usage)
            if self.counts_apart:
                self.completion_tokens *= len(whole.choices)
        return self._stamp_whole(body, whole)

    def rewrite_chunk(self, data: bytes) -> bytes | None:
        """A chunk's JSON for the caller; None for one that the caller did not ask for; as it came where it is none."""
        try:
            fields = _fields_of.decode(data)
            choices = _choices_of.decode(fields["choices"])
        except KeyError:
            self._note_fault(fields)
            return self._rewrite_strange_chunk(fields, data)
        except DECODE_ERRORS:
            return data
        usage = fields.get("usage", NULL)
        self._note_piece(choices)
        self._note_usage(usage)
        self._note_fault(fields)
        if not self.show_usage:
            if usage != NULL and not choices:
                return None
            fields.pop("usage", None)
        return self._stamped(fields)

    def note_chunks(self, array: bytes) -> None:
        """Note what a JSON array of chunks says. Raises: DecodeError, UnicodeDecodeError where it is none."""
        for chunk in _chunks_of.decode(array):
            self._note_piece(chunk.choices)
            if chunk.usage is not None:
                self._note_counts(chunk.usage)
            if chunk.error != NULL:
                self._note_fault({"error": chunk.error})

    def note_spent(self, body: bytes) -> None:
        """Note the tokens of a whole answer that is not given: the engine made them."""
        try:
            self._note_usage(_fields_of.decode(body).get("usage", NULL))
        except DECODE_ERRORS:
            return

    def stamp_for(self, data: bytes) -> "Stamp | None":
        """How to stamp chunks such as this one; None where it cannot be done blindly."""
        return Stamp.of(data, self._id, self._model)

    def _stamp_whole(self, body: bytes, whole: shapes.Whole) -> bytes:
        stamped = _swap(body, b'"id":' + _encode(whole.id), b'"id":' + self._id)
        stamped = _swap(stamped, b'"model":' + _encode(whole.model), b'"model":' + bytes(self._model))
        return stamped or self._stamped(_fields_of.decode(body))

    def _rewrite_strange(self, body: bytes) -> bytes:
        try:
            fields = _fields_of.decode(body)
            choices = _choices_of.decode(fields["choices"])
        except (*DECODE_ERRORS, KeyError):
            raise malformed() from None
        self._note_choices(choices)
        self._note_usage(fields.get("usage", NULL))
        return self._stamped(fields)

    def _rewrite_strange_chunk(self, fields: dict[str, msgspec.Raw], data: bytes) -> bytes:
        if "id" not in fields and "model" not in fields:
            return data
        if not self.show_usage and fields.get("usage") == NULL:
            del fields["usage"]
        return self._stamped(fields)

    def _stamped(self, fields: dict[str, msgspec.Raw]) -> bytes:
        fields["id"] = msgspec.Raw(self._id)
        fields["model"] = self._model
        return _encode(fields)

    def _note_piece(self, choices: list[shapes.Choice]) -> None:
        if self._note_choices(choices) and not self.counted:
            self.completion_tokens += 1

    def _note_choices(self, choices: list[shapes.Choice]) -> bool:
        heard = False
        for choice in choices:
            said = choice.delta or choice.message
            text = choice.text or (said.content if said else None)
            if text or (said and (said.reasoning_content or bytes(said.tool_calls) not in _NOTHING)):
                heard = True
            if choice.index == 0:
                if isinstance(text, str):
                    self._parts.append(text)
                self.finish_reason = choice.finish_reason or self.finish_reason
        self.spoke = self.spoke or heard
        return heard

    def _note_usage(self, raw: msgspec.Raw) -> None:
        if raw == NULL:
            return
        try:
            usage = _usage_of.decode(raw)
        except DECODE_ERRORS:
            return
        if usage is not None:
            self._note_counts(usage)

    def _note_counts(self, usage: shapes.Usage) -> None:
        if usage.completion_tokens is None:
            return
        before = self.completion_tokens if self.counts_apart and self.counted else 0
        self.counted = True
        self.prompt_tokens = max(0, usage.prompt_tokens)
        self.completion_tokens = before + max(0, usage.completion_tokens)

    def _note_fault(self, fields: dict[str, msgspec.Raw]) -> None:
        if fields.get("error", NULL) != NULL:
            try:
                self.fault = str(_fault_of.decode(fields["error"]).code or "upstream_error")
            except DECODE_ERRORS:
                self.fault = "upstream_error"


class Stamp:
    """Puts our id and the service's name into JSON without taking it apart.

    `"id":"X"` with both its quotes cannot stand within a JSON string, where a quote is escaped. So where an object has
    it exactly once, it is the field.
    """

    __slots__ = ("_id", "_model", "_our_id", "_our_model", "head", "our_head")

    def __init__(self, id: bytes, model: bytes, our_id: bytes, our_model: bytes) -> None:
        self._id, self._model = id, model
        self._our_id, self._our_model = our_id, our_model
        self.head = self.our_head = b""

    def learn_head(self, data: bytes) -> None:
        """Where both fields stand before the choices, all events of a stream begin with the same bytes: `head`."""
        head, found, _ = data.partition(b'"choices":')
        if found and self.fits(head, 1):
            self.head = b"data: " + head + found
            self.our_head = self.apply(self.head)

    @classmethod
    def of(cls, data: bytes, id: bytes, model: msgspec.Raw) -> "Stamp | None":
        """The stamp for objects that are laid out as this one is; None where the fields are not found just once."""
        fields = _fields_of.decode(data)
        their_id, their_model = bytes(fields.get("id", NULL)), bytes(fields.get("model", NULL))
        if their_id[:1] != b'"' or their_model[:1] != b'"':
            return None  # a number could be the beginning of a longer one
        theirs = b'"id":' + their_id, b'"model":' + their_model
        stamp = cls(*theirs, b'"id":' + id, b'"model":' + bytes(model))
        return stamp if stamp.fits(data, 1) else None

    def fits(self, data: bytes, num_objects: int) -> bool:
        """Whether each of the objects has both fields, in the bytes that are known."""
        return data.count(self._id) == num_objects and data.count(self._model) == num_objects

    def apply(self, data: bytes) -> bytes:
        """The objects with our values."""
        return data.replace(self._id, self._our_id).replace(self._model, self._our_model)


def _swap(data: bytes, theirs: bytes, ours: bytes) -> bytes:
    """The data with one thing instead of another that it has exactly once; nothing where it has not."""
    at = data.find(theirs)
    end = at + len(theirs)
    if at < 0 or data.find(theirs, end) >= 0:
        return b""
    return b"%b%b%b" % (data[:at], ours, data[end:])
