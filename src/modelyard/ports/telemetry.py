"""Telemetry: where recorded interactions are told to the outside, after they are safe in the records."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from modelyard.ports.interaction import Feedback, Interaction


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A feedback beside the interaction that it is on, None where that is not in the records."""

    feedback: Feedback
    interaction: Interaction | None = None


class Telemetry(Protocol):
    """Takes what happened, in batches. One thread calls it."""

    def tell(self, interactions: Sequence[Interaction], evaluations: Sequence[Evaluation]) -> None:
        """Hand a batch over. Raises: Unavailable where it was not taken whole; the same batch then comes again."""
        ...

    def close(self) -> None:
        """Break off what is being sent, from any thread, and give back the connections."""
        ...
