"""The whole of what a synthesis asks, and what its log answers."""

from collections.abc import Iterable, Iterator

import msgspec

from modelyard.core.clock import iso, now_ms
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.log import Account, Started
from modelyard.datasets.synthesis.making import Answer
from modelyard.datasets.synthesis.privacy import Privacy
from modelyard.datasets.synthesis.prompts import Prompts, Request, request_of
from modelyard.datasets.synthesis.seeds import Seeds


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a synthesis is going to ask."""

    name: str
    config: SynthesisConfig
    seeds: Seeds
    prompts: Prompts
    privacy: Privacy

    @property
    def started(self) -> Started:
        """The first line of its log."""
        asking = {**self.config.asking, "presidio": self.privacy.digest}
        return Started(synthesis=self.name, asking=asking, seeds=self.seeds.digest, at=iso(now_ms()))

    def requests(self, samples: Iterable[int]) -> Iterator[Request]:
        """The questions of these samples, prompt by prompt."""
        numbers = list(samples)
        return (request_of(self.config, prompt, sample) for prompt in self.prompts.rows for sample in numbers)

    def answers(self, account: Account) -> Iterator[Answer]:
        """Every answer there is to its questions, with its prompt, in order."""
        for request in self.requests(range(self.config.samples)):
            if answer := account.answers.get(request.key):
                yield self.prompts.rows[request.prompt], answer
