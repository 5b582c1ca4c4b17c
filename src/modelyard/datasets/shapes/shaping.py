"""The step that turns the fields of raw rows into conversations."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.rows import ANSWER, ASSISTANT, PROMPT, SYSTEM, USER, Rows
from modelyard.datasets.shapes.messages import chat, sharegpt
from modelyard.datasets.shapes.pairs import (
    Plain,
    alpaca,
    plain_alpaca,
    plain_prompt_completion,
    plain_template,
    prompt_completion,
    template,
    text,
)
from modelyard.datasets.shapes.preferences import kto, preference, verdict
from modelyard.datasets.shapes.shape import Shape, Turn
from modelyard.datasets.sources.block import Records
from modelyard.datasets.template import FieldUnusable, field_text
from modelyard.datasets.texts import Texts

_READERS: dict[str, Callable[[Shape], Callable[[Mapping[str, Any]], list[Turn]]]] = {
    "template": template,
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    "chat": chat,
    "prompt_completion": prompt_completion,
    "preference": preference,
    "kto": kto,
    "text": text,
}


# Most rows of these shapes are one question and one answer, which needs no turns to be made one by one.
_PLAIN: dict[str, Callable[[Shape], Plain]] = {
    "template": plain_template,
    "alpaca": plain_alpaca,
    "prompt_completion": plain_prompt_completion,
}


def shape_rows(records: Records, shape: Shape, config: DatasetConfig) -> Outcome:
    """The rows of a block as conversations. Rejects those that do not have the shape, and says what they lack."""
    read = _READERS[shape.name](shape)
    plain = _PLAIN[shape.name](shape) if shape.name in _PLAIN and not config.system else _never
    told = _Turns()
    rejected: dict[int, str] = {}
    carried = _Carried(shape, config)
    for place, fields in enumerate(records.fields):
        try:
            pair = plain(fields)
            turns = None if pair else read(fields)
            if carried.is_wanted:
                carried.add(place, fields)
        except FieldUnusable as error:
            rejected[place] = str(error)
            pair, turns = None, []
            carried.skip(place)
        if pair:
            told.add_pair(pair)
        else:
            told.add(_with_system(turns or [], config.system))
    rows = Rows(
        line=np.array(records.lines, np.int64),
        **told.columns(),
        ids=carried.columns["id"] or [None] * len(records.fields),
        groups=carried.columns["group"],
        labels=carried.columns["label"],
        desirable=carried.desirable,
        meta=carried.columns["meta"],
        tools=carried.tools,
    )
    return Outcome(rows=rows, rejected=rejected)


def _never(row: Mapping[str, Any]) -> None:
    """No row is plain."""


def _with_system(turns: list[Turn], system: str | None) -> list[Turn]:
    return [(SYSTEM, PROMPT, system, ""), *turns] if system and turns and turns[0][0] != SYSTEM else turns


class _Turns:
    """The turns of rows on their way to columns. Of a pair only the texts are kept."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._sizes: list[int] = []
        self._odd: dict[int, list[Turn]] = {}

    def add_pair(self, pair: tuple[str, str]) -> None:
        """A row of one question and one answer."""
        self._texts += pair
        self._sizes.append(2)

    def add(self, turns: list[Turn]) -> None:
        """Any other row."""
        self._odd[len(self._sizes)] = turns
        self._texts += [turn[2] for turn in turns]
        self._sizes.append(len(turns))

    def columns(self) -> dict[str, Any]:
        """turns, roles, parts, bounds and extras, as `Rows` has them."""
        bounds = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)
        roles, parts = (np.empty(len(self._texts), np.uint8) for _ in range(2))
        is_pair = np.ones(len(self._sizes), bool)
        is_pair[list(self._odd)] = False
        asked = bounds[:-1][is_pair]
        roles[asked], parts[asked] = USER, PROMPT
        roles[asked + 1], parts[asked + 1] = ASSISTANT, ANSWER
        extras = {}
        for row, turns in self._odd.items():
            for place, (role, part, _, extra) in enumerate(turns, start=int(bounds[row])):
                roles[place], parts[place] = role, part
                if extra:
                    extras[place] = extra
        return {"turns": Texts.of(self._texts), "roles": roles, "parts": parts, "bounds": bounds, "extras": extras}


class _Carried:
    """What rows carry besides their turns."""

    def __init__(self, shape: Shape, config: DatasetConfig) -> None:
        names = {"id": config.id, "group": config.group, "label": config.label, "meta": config.meta}
        self._names = {column: name for column, name in names.items() if name is not None}
        self._tools = shape.of("tools") if shape.name in ("chat", "sharegpt") else None
        self._shape = shape
        self.is_wanted = bool(self._names or self._tools or shape.name == "kto")
        self.columns: dict[str, list[str | None] | None] = {name: [] if names[name] else None for name in names}
        self.desirable: list[bool] | None = [] if shape.name == "kto" else None
        self.tools: dict[int, str] = {}

    def add(self, place: int, fields: Mapping[str, Any]) -> None:
        """Take the fields of a row. Raises: FieldUnusable."""
        values = {
            column: _meta(fields, name) if column == "meta" else field_text(fields, name)
            for column, name in self._names.items()
        }
        if self.desirable is not None:
            self.desirable.append(verdict(fields, self._shape))
        for column, value in values.items():
            self._column(column).append(value)
        if self._tools and fields.get(self._tools):
            told = fields[self._tools]
            self.tools[place] = told if isinstance(told, str) else msgspec.json.encode(told).decode()

    def skip(self, place: int) -> None:
        """Nothing of a row that is rejected."""
        for column in self._names:
            values = self._column(column)
            del values[place:]
            values.append(None)
        if self.desirable is not None:
            del self.desirable[place:]
            self.desirable.append(False)

    def _column(self, name: str) -> list[str | None]:
        values = self.columns[name]
        if values is None:
            raise AssertionError(f"the column {name} was not asked for")
        return values


def _meta(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
