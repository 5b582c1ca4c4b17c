"""Shape: how the fields of raw rows become a conversation."""

from dataclasses import dataclass, field
from typing import Any

# A turn: its role and part (codes of `rows`), its text, and the JSON of what else it has.
Turn = tuple[int, int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of all rows of a dataset. `names` tells, by a shape's own name for a field, how the rows call it.

    `prompt` and `answer` are the templates of the shape `template`.
    """

    name: str
    detected_by: str
    names: dict[str, str] = field(default_factory=dict)
    prompt: str = ""
    answer: str = ""

    def describe(self) -> dict[str, Any]:
        """The shape as the report tells it."""
        told = {"name": self.name, "detected_by": self.detected_by}
        return {**told, "prompt": self.prompt, "answer": self.answer} if self.name == "template" else told

    def of(self, name: str) -> str:
        """How the rows call a field of the shape."""
        return self.names.get(name, name)
