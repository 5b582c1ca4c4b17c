"""The step that turns the fields of raw rows into conversations."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.rows import PROMPT, SYSTEM, Rows
from modelyard.datasets.shapes.messages import chat, sharegpt
from modelyard.datasets.shapes.pairs import alpaca, prompt_completion, template, text
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


def shape_rows(records: Records, shape: Shape, config: DatasetConfig) -> Outcome:
    """The rows of a block as conversations. Rejects those that do not have the shape, and says what they lack."""
    read = _READERS[shape.name](shape)
    turns: list[Turn] = []
    sizes: list[int] = []
    rejected: dict[int, str] = {}
    carried = _Carried(shape, config)
    for place, fields in enumerate(records.fields):
        try:
            told = read(fields)
            carried.add(place, fields)
        except FieldUnusable as error:
            rejected[place] = str(error)
            told = []
            carried.skip(place)
        if config.system and told and told[0][0] != SYSTEM:
            told = [(SYSTEM, PROMPT, config.system, ""), *told]
        turns += told
        sizes.append(len(told))
    rows = Rows(
        line=np.array(records.lines, np.int64),
        turns=Texts.of([turn[2] for turn in turns]),
        roles=np.array([turn[0] for turn in turns], np.uint8),
        parts=np.array([turn[1] for turn in turns], np.uint8),
        bounds=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        ids=carried.columns["id"] or [None] * len(sizes),
        groups=carried.columns["group"],
        labels=carried.columns["label"],
        desirable=carried.desirable,
        meta=carried.columns["meta"],
        extras={place: turn[3] for place, turn in enumerate(turns) if turn[3]},
        tools=carried.tools,
    )
    return Outcome(rows=rows, rejected=rejected)


class _Carried:
    """What rows carry besides their turns."""

    def __init__(self, shape: Shape, config: DatasetConfig) -> None:
        names = {"id": config.id, "group": config.group, "label": config.label, "meta": config.meta}
        self._names = {column: name for column, name in names.items() if name is not None}
        self._tools = shape.of("tools") if shape.name in ("chat", "sharegpt") else None
        self._shape = shape
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
