"""The engine behind its API: one base model under a name, the adapters beside it, and the batcher that runs them.

Knows nothing of HTTP. Used from one event loop.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from modelyard.adapters.engines.builtin.batcher import Batcher, Chunk, Ticket
from modelyard.adapters.engines.builtin.lora import Adapter
from modelyard.adapters.engines.builtin.metrics import Metrics
from modelyard.adapters.engines.builtin.model import Model
from modelyard.adapters.engines.builtin.sampling import Decoding
from modelyard.adapters.engines.builtin.text import Tokenizer
from modelyard.core.clock import monotonic_s
from modelyard.core.errors import Conflict, InvalidInput, NotFound


class BuiltinEngine:
    """Everything the API serves."""

    def __init__(self, name: str, folder: Path, model: Model, tokenizer: Tokenizer, batcher: Batcher) -> None:
        self.name = name
        self.folder = folder
        self.model = model
        self.tokenizer = tokenizer
        self.batcher = batcher
        self.metrics = Metrics(name)
        self.adapters: dict[str, Adapter] = {}

    def adapter(self, model: str) -> Adapter | None:
        """The adapter behind a model name, None for the base. Raises: NotFound."""
        if model == self.name:
            return None
        if model not in self.adapters:
            served = ", ".join([self.name, *self.adapters])
            raise NotFound(f"the model '{model}' does not exist", expected=f"one of {served}")
        return self.adapters[model]

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Serve an adapter under a name. Raises: Conflict where the name is taken, InvalidInput for a bad folder."""
        self._refuse_taken(name)
        adapter = await asyncio.to_thread(self.model.read_adapter, name, folder)
        self._refuse_taken(name)
        self.adapters[name] = adapter
        self.batcher.use_adapters(self.adapters.values())

    def unload_adapter(self, name: str) -> None:
        """Offer it no longer; requests under way are answered with it. Raises: NotFound."""
        if name not in self.adapters:
            raise NotFound(f"the lora adapter '{name}' cannot be found")
        del self.adapters[name]
        self.batcher.use_adapters(self.adapters.values())

    def submit(self, prompt: Sequence[int], adapter: Adapter | None, decoding: Decoding) -> Ticket:
        """Queue a request. Raises: InvalidInput where the prompt does not fit, Unavailable where the queue is full."""
        longest = self.model.context_length - 1
        if len(prompt) > longest:
            raise InvalidInput(
                f"the prompt has {len(prompt)} tokens, the model's context holds {self.model.context_length}",
                expected=f"at most {longest} prompt tokens, to leave room for an answer",
            )
        if not prompt:
            raise InvalidInput("the prompt has no tokens", expected="at least one token")
        if strange := [token for token in prompt if not 0 <= token < self.model.vocabulary_size]:
            raise InvalidInput(
                f"the prompt holds the token {strange[0]}", expected=f"tokens below {self.model.vocabulary_size}"
            )
        ticket = Ticket(prompt, adapter, decoding)
        self.batcher.submit(ticket)
        self.metrics.prompt_tokens += len(prompt)
        return ticket

    async def next_chunk(self, ticket: Ticket) -> Chunk:
        """The next piece of an answer, counted."""
        chunk = await ticket.next_chunk()
        now_s = monotonic_s()
        if chunk.tokens and not ticket.num_tokens:
            self.metrics.queue_time.observe(ticket.started_s - ticket.created_s)
            self.metrics.time_to_first_token.observe(now_s - ticket.created_s)
        ticket.num_tokens += len(chunk.tokens)
        self.metrics.generation_tokens += len(chunk.tokens)
        if chunk.finish_reason:
            self.metrics.finished[chunk.finish_reason] += 1
            self.metrics.e2e_latency.observe(now_s - ticket.created_s)
        return chunk

    def render_metrics(self) -> bytes:
        """The metrics page."""
        return self.metrics.render(
            running=self.batcher.num_running,
            waiting=self.batcher.num_waiting,
            running_adapters=self.batcher.running_adapters,
            max_adapters=len(self.adapters),
        )

    def _refuse_taken(self, name: str) -> None:
        if name == self.name:
            raise Conflict(f"'{name}' is the name of the base model")
        if name in self.adapters:
            raise Conflict(f"the lora adapter '{name}' has already been loaded")
