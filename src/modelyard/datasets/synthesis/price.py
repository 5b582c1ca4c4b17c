"""What a teacher's answers cost, and the limit that is never passed."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from modelyard.core.money import nanousd, tokens_cost
from modelyard.datasets.section import Section
from modelyard.ports.dataset import Message
from modelyard.ports.teacher import Question

Dollars = Annotated[str, Field(pattern=r"^\d+(\.\d{1,9})?$")]
# What chat templates and vendors put around a conversation and around each turn.
_AROUND_TOKENS = 128
_TURN_TOKENS = 8


class PriceConfig(Section):
    """Dollars per million tokens, written as text so that no cent is lost to a float."""

    input: Dollars = "0"
    output: Dollars = "0"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Nano-dollars of one answer."""
        paid_in = tokens_cost(prompt_tokens, nanousd(self.input))
        return paid_in + tokens_cost(completion_tokens, nanousd(self.output))

    def cost_at_most(self, question: Question) -> int:
        """Nano-dollars that one answer cannot pass."""
        return self.cost(most_prompt_tokens(question.messages), question.sampling.max_tokens)


def most_prompt_tokens(messages: Iterable[Message]) -> int:
    """Tokens that no tokenizer passes: one a byte, and what stands around the turns."""
    return _AROUND_TOKENS + sum(_TURN_TOKENS + len(message.content.encode()) for message in messages)


class Budget:
    """Nano-dollars spent, and promised to questions that are on their way. `most` of None is no limit."""

    def __init__(self, most: int | None, spent: int) -> None:
        self._most = most
        self._spent = spent
        self._promised = 0

    def promise(self, at_most: int) -> bool:
        """Set money aside for a question; False where it might not suffice."""
        if self._most is not None and self._spent + self._promised + at_most > self._most:
            return False
        self._promised += at_most
        return True

    def settle(self, at_most: int, paid: int) -> None:
        """An attempt came to its end: what it was promised is free again but for what it cost."""
        self._promised -= at_most
        self._spent += paid
