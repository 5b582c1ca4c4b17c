"""Teacher: a model, perhaps a vendor's, whose answers become training rows."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from modelyard.ports.dataset import Message
from modelyard.ports.release import Sampling


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to answer, and how to draw the answer."""

    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a teacher said. `model` is what the server calls the model that answered.

    `finish_reason` is the server's: `stop`, `length` and the like; `refused` where it takes no such prompt, and
    then the text is its reason. Token counts are None where the server tells none.
    """

    text: str
    finish_reason: str
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


Lost = Callable[[], None]
"""Hears of each attempt that broke off after it was sent, so that nobody knows whether it was answered and billed."""


class Teacher(Protocol):
    """A running teacher. Its connections belong to the event loop that uses it."""

    async def ask(self, question: Question, lost: Lost) -> Reply:
        """Answer a question, after as many attempts as it takes. What `lost` raises ends it.

        Raises: EngineFailed where trying again is of no use, Unavailable where it was tried often enough.
        """
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...
