"""The rows of a block as columns: conversations, cut into turns, before and after each step.

Knows nothing about files, steps or splits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.datasets.duplicates.folding import fold
from modelyard.datasets.joining import BLANK, LINE_FEED, joined
from modelyard.datasets.texts import Ints, Texts

ROLES = ("system", "user", "assistant", "tool")
SYSTEM, USER, ASSISTANT, TOOL = range(4)
PARTS = ("prompt", "answer", "rejected")
PROMPT, ANSWER, REJECTED = range(3)

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Conversations as columns. Row r has the turns bounds[r] to bounds[r + 1].

    Shapes: line, ids, groups, labels, meta, desirable, split_hash (rows,);
    turns, roles, parts (turns,); bounds (rows + 1,).
    A turn belongs to the prompt, to the answer to learn, or, in a preference pair, to the rejected answer.
    `extras` holds, by turn, the JSON of what a turn has besides role and content (name, tool_calls, tool_call_id);
    `tools`, by row, the JSON of the tools on offer. `meta` is JSON that is carried along unread: provenance.
    `split_hash` decides the split of a row; it is taken from the text as it was before personal data was masked.
    """

    line: Ints
    turns: Texts
    roles: Codes
    parts: Codes
    bounds: Ints
    ids: list[str | None]
    groups: list[str | None] | None = None
    labels: list[str | None] | None = None
    desirable: list[bool] | None = None
    meta: list[str | None] | None = None
    split_hash: npt.NDArray[np.uint64] | None = None
    extras: Mapping[int, str] = field(default_factory=dict)
    tools: Mapping[int, str] = field(default_factory=dict)
    is_folded: bool = False

    def __len__(self) -> int:
        return len(self.line)

    @property
    def row_of_turn(self) -> Ints:
        """The row that each turn belongs to. Shape: (turns,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    def prompts(self) -> Texts:
        """The prompt of each row: its turns but the system's, one a line.

        The system's turn is left out because many rows share one, and it would make them all look alike.
        """
        return self._part((self.parts == PROMPT) & (self.roles != SYSTEM))

    def answers(self) -> Texts:
        """The answer to learn of each row; in a preference pair the chosen one."""
        return self._part(self.parts == ANSWER)

    def rejected(self) -> Texts:
        """The worse answer of each preference pair; empty for other rows."""
        return self._part(self.parts == REJECTED)

    def subjects(self) -> Texts:
        """What a row is about: its prompt, or the answer where it has none, as in plain text.

        It decides the split of a row, and which rows count as duplicates of one another.
        """
        asks = (self.parts == PROMPT) & (self.roles != SYSTEM)
        has_prompt = np.zeros(len(self), bool)
        has_prompt[self.row_of_turn[asks]] = True
        return self._part(asks | ((self.parts == ANSWER) & ~has_prompt[self.row_of_turn]))

    def conversations(self) -> Texts:
        """Prompt and answer of each row, without the system's turn."""
        return self._part((self.parts != REJECTED) & (self.roles != SYSTEM))

    def with_turns(self, turns: Texts) -> "Rows":
        """The same rows with other texts in their turns."""
        return replace(self, turns=turns)

    def take(self, keep: npt.NDArray[np.bool_]) -> "Rows":
        """The marked rows, in their order."""
        if keep.all():
            return self
        of_turn = np.repeat(keep, np.diff(self.bounds))
        return Rows(
            line=self.line[keep],
            turns=self.turns.take(of_turn),
            roles=self.roles[of_turn],
            parts=self.parts[of_turn],
            bounds=np.concatenate([[0], np.cumsum(np.diff(self.bounds)[keep])]).astype(np.int64),
            ids=_kept(self.ids, keep),
            groups=self.groups and _kept(self.groups, keep),
            labels=self.labels and _kept(self.labels, keep),
            desirable=self.desirable and _kept(self.desirable, keep),
            meta=self.meta and _kept(self.meta, keep),
            split_hash=None if self.split_hash is None else self.split_hash[keep],
            extras=_renumbered(self.extras, of_turn),
            tools=_renumbered(self.tools, keep),
        )

    def folded(self) -> "Rows":
        """The same rows with turns in the form in which texts are compared, with a blank between them."""
        return replace(self, turns=fold(self.turns), is_folded=True)

    def _part(self, chosen: npt.NDArray[np.bool_]) -> Texts:
        return joined(self.turns, chosen, self.bounds, BLANK if self.is_folded else LINE_FEED)


def _kept(values: list[Any], keep: npt.NDArray[np.bool_]) -> list[Any]:
    return [values[place] for place in np.flatnonzero(keep)]


def _renumbered(values: Mapping[int, str], keep: npt.NDArray[np.bool_]) -> dict[int, str]:
    if not values:
        return {}
    places = np.cumsum(keep) - 1
    return {int(places[place]): text for place, text in values.items() if keep[place]}
