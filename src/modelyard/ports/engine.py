"""Engine: a server that runs models, spoken to over HTTP."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from modelyard.ports.dataset import Message
from modelyard.ports.release import Sampling


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine said. `top_logprobs` holds, for each answer token, its likeliest tokens by text."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    top_logprobs: tuple[dict[str, float], ...] = ()


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can do, so that recipes and releases can be checked against it before they cost anything."""

    name: str
    adapters: bool
    max_lora_rank: int
    lora_ranks: tuple[int, ...]
    tokenize: bool


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one conformance check saw. None: could not be asked, or its sheet promises nothing."""

    name: str
    works: bool | None
    expected: bool | None
    seen: str

    @property
    def differs(self) -> bool:
        """Whether the engine does not do as its sheet says."""
        return self.works is not None and self.expected is not None and self.works is not self.expected


class Engine(Protocol):
    """A running engine. Every call raises `EngineFailed` or `Unavailable` where it cannot answer."""

    url: str
    capabilities: Capabilities

    async def ready(self) -> bool:
        """Whether it answers requests now."""
        ...

    async def models(self) -> list[str]:
        """The model names it serves, adapters included."""
        ...

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Serve an adapter under a name. Loading the same name again is no error; names are immutable."""
        ...

    async def unload_adapter(self, name: str) -> None:
        """Serve it no longer. An unknown name is no error."""
        ...

    async def tokenize(self, model: str, messages: Sequence[Message]) -> list[int]:
        """The token ids it would feed the model for these turns, generation prompt included."""
        ...

    async def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, *, top_logprobs: int = 0
    ) -> Answer:
        """Answer a conversation."""
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...


Connect = Callable[[], Engine]
"""Opens an engine. Its connections belong to the event loop that opened it, so each piece of work opens its own."""
