"""Continuous batching: requests join the running batch at any step and leave it when they are done.

One worker thread owns the model. It takes waiting requests in order, computes their prompts together, then steps the
whole batch a token at a time; whatever is asked of it from outside (a request, a cancelled one, a change of adapters)
waits in a queue until the step under way ends. Results go back to the event loop that asked, once a step.
Knows nothing of HTTP.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import torch

from modelyard.adapters.engines.builtin.cache import BatchCache
from modelyard.adapters.engines.builtin.lora import Adapter
from modelyard.adapters.engines.builtin.model import Model
from modelyard.adapters.engines.builtin.sampling import Decoding, Sampler, Token, choose
from modelyard.adapters.engines.builtin.text import TextStream, Tokenizer
from modelyard.core.clock import monotonic_s
from modelyard.core.errors import Unavailable

FinishReason = Literal["stop", "length", "abort", "error"]
_PREFILL_TOKENS = 2048
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What a step added to an answer. `finish_reason` is set on the last one."""

    text: str
    tokens: tuple[Token, ...]
    finish_reason: FinishReason | None = None


class Ticket:
    """A request in the engine's hands, as the event loop sees it: its chunks come in order and end with a reason."""

    def __init__(self, prompt: Sequence[int], adapter: Adapter | None, decoding: Decoding) -> None:
        self.prompt = prompt
        self.adapter = adapter
        self.decoding = decoding
        self.created_s = monotonic_s()
        self.started_s = 0.0
        self.num_tokens = 0
        self.cancelled = False
        self.loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[Chunk] = asyncio.Queue()

    async def next_chunk(self) -> Chunk:
        """The next piece of the answer."""
        return await self._chunks.get()

    def put(self, chunk: Chunk) -> None:
        """Called in the event loop."""
        self._chunks.put_nowait(chunk)


@dataclass(kw_only=True)
class _Row:
    """A request while it is in the batch. `room` is how many tokens it may still grow."""

    ticket: Ticket
    sampler: Sampler
    stream: TextStream
    room: int
    newest: int = -1
    finished: bool = False


@dataclass(kw_only=True)
class _Inbox:
    """What the outside wants from the worker, guarded by `changed`."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    waiting: deque[Ticket] = field(default_factory=deque)
    adapters: tuple[Adapter, ...] = ()
    closed: bool = False


class Batcher:
    """The worker thread, and the ways to hand it work from an event loop."""

    def __init__(self, model: Model, tokenizer: Tokenizer, *, max_batch: int = 32, max_waiting: int = 256) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._end_tokens = model.end_tokens | ({tokenizer.end_token} - {None})
        self._inbox = _Inbox()
        self._rows: list[_Row] = []
        self._cache = BatchCache()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def num_running(self) -> int:
        """Requests in the batch."""
        return len(self._rows)

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a place in the batch."""
        return len(self._inbox.waiting)

    @property
    def running_adapters(self) -> set[str]:
        """The names of the adapters that rows of the batch use."""
        return {row.ticket.adapter.name for row in list(self._rows) if row.ticket.adapter}

    @property
    def alive(self) -> bool:
        """Whether the worker still works."""
        return self._thread.is_alive()

    def submit(self, ticket: Ticket) -> None:
        """Queue a request. Raises: Unavailable where the queue is full."""
        with self._inbox.changed:
            if len(self._inbox.waiting) >= self._max_waiting:
                raise Unavailable(
                    f"{self._max_waiting} requests are waiting already", fix="try again in a moment, or add an engine"
                )
            self._inbox.waiting.append(ticket)
            self._inbox.changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for this answer any more: free its place. Called in the ticket's event loop."""
        ticket.cancelled = True
        ticket.put(Chunk(text="", tokens=(), finish_reason="abort"))

    def use_adapters(self, adapters: Iterable[Adapter]) -> None:
        """The adapters on offer from the next step on. Requests under way keep the adapter they began with."""
        with self._inbox.changed:
            self._inbox.adapters = tuple(adapters)

    def close(self) -> None:
        """Stop after the step under way."""
        with self._inbox.changed:
            self._inbox.closed = True
            self._inbox.changed.notify()
        self._thread.join()

    @torch.inference_mode()
    def _work(self) -> None:
        while (newcomers := self._take()) is not None:
            try:
                self._drop_cancelled()
                self._place_adapters(newcomers)
                if newcomers:
                    self._start(newcomers)
                if self._rows:
                    self._step()
            except Exception:
                _log.exception("the batch failed; its requests end with an error")
                self._fail(newcomers)
        self._fail(list(self._inbox.waiting))

    def _take(self) -> list[Ticket] | None:
        """The requests that join now: as many as have a place, and no more prompt tokens than one pass should take.

        Waits while there is nothing to do at all; None at the end.
        """
        inbox = self._inbox
        with inbox.changed:
            while not (inbox.waiting or self._rows or inbox.closed):
                inbox.changed.wait()
            if inbox.closed:
                return None
            newcomers: list[Ticket] = []
            width = 0
            while inbox.waiting and len(self._rows) + len(newcomers) < self._max_batch:
                width = max(width, len(inbox.waiting[0].prompt))
                if newcomers and width * (len(newcomers) + 1) > _PREFILL_TOKENS:
                    break
                ticket = inbox.waiting.popleft()
                if not ticket.cancelled:
                    newcomers.append(ticket)
            return newcomers

    def _place_adapters(self, newcomers: Sequence[Ticket]) -> None:
        in_use = [row.ticket.adapter for row in self._rows] + [ticket.adapter for ticket in newcomers]
        wanted = dict.fromkeys(self._inbox.adapters) | dict.fromkeys(adapter for adapter in in_use if adapter)
        if wanted.keys() != self._model.bank.placed:
            self._model.bank.place(list(wanted))

    def _start(self, tickets: Sequence[Ticket]) -> None:
        """Compute the newcomers' prompts and let them into the batch with their first token."""
        started_s = monotonic_s()
        tickets = sorted(tickets, key=lambda ticket: id(ticket.adapter))  # neighbours with one adapter cost least
        logits, prompts = self._model.prefill(
            [ticket.prompt for ticket in tickets], [ticket.adapter for ticket in tickets]
        )
        rows = [self._seat(ticket, started_s) for ticket in tickets]
        self._cache.join(prompts, [len(ticket.prompt) for ticket in tickets])
        self._rows += rows
        self._advance(rows, choose(logits, [row.sampler for row in rows]))

    def _seat(self, ticket: Ticket, started_s: float) -> _Row:
        ticket.started_s = started_s
        room = self._model.context_length - len(ticket.prompt)
        return _Row(
            ticket=ticket,
            sampler=Sampler.start(ticket.decoding),
            stream=TextStream(self._tokenizer, ticket.decoding.stops),
            room=min(ticket.decoding.max_tokens, room),
        )

    def _step(self) -> None:
        rows = list(self._rows)
        logits = self._model.step([row.newest for row in rows], [row.ticket.adapter for row in rows], self._cache)
        self._advance(rows, choose(logits, [row.sampler for row in rows]))

    def _advance(self, rows: Sequence[_Row], tokens: Sequence[Token]) -> None:
        """Give each row its token, let go of the rows that are done, and tell those who wait."""
        chunks = [(row.ticket, self._extend(row, token)) for row, token in zip(rows, tokens, strict=True)]
        self._remove([row for row in rows if row.finished])
        self._deliver(chunks)

    def _extend(self, row: _Row, token: Token) -> Chunk:
        row.newest = token.id
        row.room -= 1
        reason: FinishReason | None = None
        text = ""
        if token.id in self._end_tokens:
            reason = "stop"
        else:
            text = row.stream.push(token.id)
            if row.stream.stopped:
                reason = "stop"
            elif row.room == 0:
                reason = "length"
        if reason:
            row.finished = True
            text += row.stream.finish()
        return Chunk(text=text, tokens=(token,), finish_reason=reason)

    def _deliver(self, chunks: Sequence[tuple[Ticket, Chunk]]) -> None:
        """Wake each event loop once, with everything that is for it."""
        loops = {ticket.loop for ticket, _ in chunks}
        for loop in loops:
            batch = [(ticket, chunk) for ticket, chunk in chunks if ticket.loop is loop]
            with suppress(RuntimeError):  # the loop closed meanwhile: nobody is there to be told
                loop.call_soon_threadsafe(_put_all, batch)

    def _drop_cancelled(self) -> None:
        self._remove([row for row in self._rows if row.ticket.cancelled])

    def _remove(self, leaving: Sequence[_Row]) -> None:
        """Take rows out in the same order as the cache does: the last row fills the gap."""
        for row in leaving:
            index = self._rows.index(row)
            self._cache.leave(index)
            last = self._rows.pop()
            if last is not row:
                self._rows[index] = last

    def _fail(self, others: Sequence[Ticket]) -> None:
        """End the batch, and these requests with it, with an error."""
        tickets = dict.fromkeys([row.ticket for row in self._rows] + list(others))
        self._rows, self._cache = [], BatchCache()
        chunk = Chunk(text="", tokens=(), finish_reason="error")
        self._deliver([(ticket, chunk) for ticket in tickets])


def _put_all(chunks: Sequence[tuple[Ticket, Chunk]]) -> None:
    for ticket, chunk in chunks:
        ticket.put(chunk)
