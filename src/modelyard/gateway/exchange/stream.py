"""Stream: an answer of chat or completions, whole or streamed, an engine's bytes in, the caller's bytes out.

Engines begin every chunk alike. Once a first piece was heard, whole reads are stamped blindly and kept, and what they
say is noted in bulk; a read that looks different in any way is taken apart event by event, as all are that filters
look at.
"""

import msgspec

from modelyard.gateway.dialects.refusals import DECODE_ERRORS
from modelyard.gateway.errors import Refusal, UpstreamFailed, cut, malformed, openai_error
from modelyard.gateway.exchange.answer import Answer, Stamp
from modelyard.gateway.guards.chunks import ChunkGuard, error_event, guarded_body
from modelyard.gateway.guards.filters import AnswerGuard
from modelyard.gateway.sse import EventSplitter, data_of, with_data

_MAX_EVENT_BYTES = 8 << 20
_MAX_KEPT_BYTES = 1 << 16
_DONE = b"data: [DONE]\n\n"
_FILTERED = "content_filter"


class Stream(Answer):
    """`done` holds the final event once it came: it is sent after the record is written.

    `refusal` is set where a filter ended a stream.
    """

    __slots__ = ("_guard", "_guarded", "_kept", "_kept_size", "_splitter", "_stamp", "done", "refusal")

    def __init__(self, id: str, model: msgspec.Raw, *, show_usage: bool, guard: AnswerGuard | None = None) -> None:
        super().__init__(id, model, show_usage=show_usage)
        self.done = b""
        self.refusal: Refusal | None = None
        self._guard = guard
        self._guarded: ChunkGuard | None = None
        self._splitter: EventSplitter | None = None
        self._stamp: Stamp | None = None
        self._kept: list[bytes] = []
        self._kept_size = 0

    @property
    def text(self) -> str:
        """What was said so far."""
        self.note()
        return super().text

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer for the caller. Raises: UpstreamFailed where it is none, Refusal where a filter says so."""
        if self._guard is not None:
            guarded = guarded_body(self._guard, body)
            if isinstance(guarded, Refusal):
                self.note_spent(body)
                self.finish_reason = _FILTERED
                raise guarded
            body = guarded
        return super().rewrite(body)

    def feed(self, data: bytes) -> bytes:
        """What the caller gets for these bytes: whole events alone. Raises: UpstreamFailed for an endless one."""
        splitter = self._splitter
        if splitter is None:
            splitter = self._splitter = EventSplitter()
            if self._guard is not None:
                self._guarded = ChunkGuard(self._guard)
        if self._stamp is not None and not splitter.rest:
            out = self._feed_blindly(data, self._stamp)
            if out is not None:
                return out
        return self._feed_events(splitter, data)

    def end(self) -> bytes:
        """The engine has ended the stream: its last bytes. Raises: UpstreamFailed where the answer was not over."""
        self.note()
        if not (self.done or self.finish_reason or self.fault):
            raise cut()
        if self._guarded is not None and self.refusal is None:
            rest = self._guarded.finish()
            if isinstance(rest, Refusal):
                self._refuse(rest)
            else:
                return b"".join(b"data: %b\n\n" % (self.rewrite_chunk(data) or b"") for data in rest) + self.done
        return self.done

    def fail(self, failure: UpstreamFailed) -> bytes:
        """The end of a stream that has begun and fails."""
        return b"data: " + openai_error(failure.status, failure.code, failure.seen) + b"\n\n"

    def note(self) -> None:
        """Note what was passed on blindly. To be called before the answer is read."""
        if self._kept:
            joined = b"".join(self._kept)
            self._kept.clear()
            self._kept_size = 0
            try:
                self.note_chunks(b"[" + joined[6:-2].replace(b"\n\ndata: ", b",") + b"]")
            except DECODE_ERRORS:
                for event in EventSplitter().feed(joined):
                    self.rewrite_chunk(data_of(event) or b"")

    def _feed_blindly(self, data: bytes, stamp: Stamp) -> bytes | None:
        head = stamp.head
        if head and data.startswith(head) and data.find(b"\n\n") == len(data) - 2 and b'"usage"' not in data:
            if self.done:
                return None
            self._kept.append(data)
            self._kept_size += len(data)
            if self._kept_size > _MAX_KEPT_BYTES:
                self.note()
            return stamp.our_head + data[len(head) :]
        body = data
        done = data.endswith(_DONE)
        if done:
            body = data[: -len(_DONE)]
        num_events = body.count(b"\n\n")
        if not num_events:
            if done and not body and not self.done:
                self.done = _DONE
                return b""
            return None
        plain = body.startswith(b"data: ") and body.endswith(b"\n\n") and body.count(b"\n\ndata: ") == num_events - 1
        if not plain or self.done or b"\r" in body or not stamp.fits(body, num_events):
            return None
        if b'"usage"' in body and not self.show_usage:
            body = body.replace(b',"usage":null', b"")
            if b'"usage"' in body:
                return None
        self._kept.append(body)
        self._kept_size += len(body)
        if self._kept_size > _MAX_KEPT_BYTES:
            self.note()
        if done:
            self.done = _DONE
        return stamp.apply(body)

    def _feed_events(self, splitter: EventSplitter, data: bytes) -> bytes:
        self.note()
        out: list[bytes] = []
        payload: bytes | None = None
        for event in splitter.feed(data):
            if self.done:
                break
            payload = data_of(event)
            if payload == b"[DONE]":
                self.done = event
            elif payload is None:
                out.append(event)
            elif self._guarded is None:
                self._pass(event, payload, out)
            else:
                self._pass_guarded(event, self._guarded.feed(payload), out)
                if not self.counted:
                    self.completion_tokens = max(self.completion_tokens, self._guarded.num_pieces)
        if len(splitter.rest) > _MAX_EVENT_BYTES:
            raise malformed()
        if self._stamp is None and self.spoke and payload and not self.done and self._guarded is None:
            self._stamp = self._learn(payload)
        return b"".join(out)

    def _pass(self, event: bytes, payload: bytes, out: list[bytes]) -> None:
        chunk = self.rewrite_chunk(payload)
        if chunk is not None:
            out.append(event if chunk is payload else with_data(event, chunk))

    def _pass_guarded(self, event: bytes, chunks: list[bytes] | Refusal, out: list[bytes]) -> None:
        if isinstance(chunks, Refusal):
            self._refuse(chunks)
            return
        for chunk in chunks:
            self._pass(with_data(event, chunk), chunk, out)

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.fault = refusal.code
        self.finish_reason = _FILTERED
        self.done = error_event(refusal)

    def _learn(self, payload: bytes) -> Stamp | None:
        try:
            stamp = self.stamp_for(payload)
        except DECODE_ERRORS:
            return None
        if stamp is not None:
            stamp.learn_head(payload)
        return stamp
