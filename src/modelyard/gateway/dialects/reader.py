"""Readers: an engine's answer in, the caller's answer out, with what the record wants to know noted on the way.

One reader per answer. A whole answer goes through `rewrite`; a stream goes through `feed` until `done` holds its last
bytes, which are sent once the record is written, or until the engine closes, after which `end` gives them.
"""

import msgspec

from modelyard.gateway.errors import Refusal, UpstreamFailed, cut, malformed
from modelyard.gateway.sse import EventSplitter, data_of

MAX_EVENT_BYTES = 8 << 20

encode = msgspec.json.Encoder().encode


class Reader:
    """One answer as it arrives. `text` is that of the first choice.

    `finish_reason` is in the words of chat completions whatever the dialect. `completion_tokens` counts the pieces
    heard until the engine tells the number, so an answer that was broken off still has one. `prompt_tokens` are all of
    the prompt's tokens, those read from a cache too. `fault` is the code of an error that came in the place of an
    answer, or in the middle of one; then `done` holds the error as the dialect tells it. `refusal` is set where a
    filter ended a stream.
    """

    __slots__ = (
        "_counted",
        "_parts",
        "_splitter",
        "completion_tokens",
        "done",
        "fault",
        "finish_reason",
        "prompt_tokens",
        "refusal",
        "spoke",
    )

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._splitter = EventSplitter()
        self._counted = False
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.finish_reason = ""
        self.fault = ""
        self.refusal: Refusal | None = None
        self.spoke = False
        self.done = b""

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._parts)

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer for the caller. Raises: UpstreamFailed where it is no answer."""
        raise NotImplementedError

    def feed(self, data: bytes) -> bytes:
        """What the caller gets for these bytes: whole events alone, all but the last one."""
        out = []
        for event in self._splitter.feed(data):
            if self.done:
                break
            payload = data_of(event)
            out.append(event if payload is None else self._take(event, payload))
        if not self.done and len(self._splitter.rest) > MAX_EVENT_BYTES:
            self._break(malformed())
        return b"".join(out)

    def end(self) -> bytes:
        """The engine closed the stream: its last bytes. Raises: UpstreamFailed where the answer was not over."""
        if not self.done:
            if not self.finish_reason:
                raise cut()
            self.done = self._finish()
        return self.done

    def fail(self, failure: UpstreamFailed) -> bytes:
        """The end of a stream that has begun and fails, in the words of the dialect."""
        raise NotImplementedError

    def _take(self, event: bytes, payload: bytes) -> bytes:
        """What the caller gets for one event."""
        raise NotImplementedError

    def _finish(self) -> bytes:
        """The last bytes of a stream that the engine closed without them."""
        return b""

    def _break(self, failure: UpstreamFailed) -> bytes:
        self.fault = failure.code
        self.done = self.fail(failure)
        return b""

    def _hear(self, text: str) -> None:
        """Note a piece of the answer."""
        self.spoke = True
        if text:
            self._parts.append(text)
        if not self._counted:
            self.completion_tokens += 1

    def _count(self, prompt: int, completion: int) -> None:
        self._counted = True
        self.prompt_tokens = prompt
        self.completion_tokens = completion
