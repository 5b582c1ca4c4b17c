"""Tasks from rows: of files in any format, or of a dataset. Personal data in them is masked on the way."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.labelling.tasks import Task
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.personal.finding import find_personal_data
from modelyard.datasets.personal.masking import mask, mask_raw
from modelyard.datasets.rows import PROMPT, REJECTED, ROLES, SYSTEM, Rows
from modelyard.datasets.shapes.detection import detect_shape
from modelyard.datasets.shapes.shape import Shape
from modelyard.datasets.shapes.shaping import shape_rows
from modelyard.datasets.sources.block import Records
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.reader import SourceReader
from modelyard.datasets.template import FieldUnusable, Template, field_text, fill, parse_template
from modelyard.ports.dataset import Example

Show = Literal["prompt", "conversation"]
_DETECTION_ROWS = 100


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What of a row makes its task.

    `text` is a field, or a template over fields; empty, it is the field `text`, or else what the row's shape says:
    its prompt, or the whole conversation. `context` is a field or template that is shown beside it.
    """

    text: str = ""
    context: str = ""
    id: str = ""
    show: Show = "prompt"


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks, and what became of the rows that are none: broken ones, and those that another one repeats."""

    tasks: list[Task]
    rejected: list[Rejection]
    num_repeated: int
    num_masked: int


def tasks_of_files(path: str, root: Path, choice: Choice, *, keep_personal_data: bool = False) -> Gathered:
    """Tasks from files, a row each. Raises: DataInvalid where a file, or what tasks are to be made of, is no good."""
    rejected: list[Rejection] = []
    config = DatasetConfig(path=path)
    maker: _Maker | None = None
    found: list[Task] = []
    for source in find_sources(config, root):
        for block in SourceReader(source):
            records = parse_block(block)
            rejected += records.rejected
            if records.fields:
                maker = maker or _Maker(choice, records, config)
                found += maker.tasks(records, rejected)
    return _gathered(found, rejected, keep_personal_data)


def tasks_of_examples(examples: Iterable[Example], show: Show = "prompt") -> Gathered:
    """Tasks from rows of a dataset, under the rows' own ids; its preparation has masked what it was told to mask."""
    tasks = [
        Task(id=one.id, text=_text_of(one, show), source=one.source, line=one.line) for one in examples
    ]  # fmt: skip
    return _gathered(tasks, [], keep_personal_data=False)


def sample(tasks: list[Task], number: int, seed: int) -> list[Task]:
    """Some of the tasks, in their order, by the hash of seed and id: more tasks later keep most of the choice."""
    chosen = {task.id for task in sorted(tasks, key=lambda task: _rank(task, seed))[:number]}
    return [task for task in tasks if task.id in chosen]


class _Maker:
    """Makes tasks of rows, in one way for all of them."""

    def __init__(self, choice: Choice, first: Records, config: DatasetConfig) -> None:
        self._choice = choice
        self._config = config
        self._context = _template(choice.context)
        self._text = _template(choice.text)
        self._shape: Shape | None = None
        samples = first.fields[:_DETECTION_ROWS]
        if self._text is None:
            if sum("text" in fields for fields in samples) * 2 > len(samples):
                self._text = _template("text")
            else:
                self._shape = _shape(samples, config)

    def tasks(self, records: Records, rejected: list[Rejection]) -> Iterator[Task]:
        """The tasks of a block; what is none of them is added to `rejected`."""
        texts = self._by_shape(records) if self._shape else None
        for place, fields in enumerate(records.fields):
            line = records.lines[place]
            try:
                text = texts[place] if texts else fill(self._text or (), fields)
                if isinstance(text, FieldUnusable):
                    raise text
                if not text.strip():
                    raise FieldUnusable("empty text: there is nothing to label")
                context = fill(self._context, fields) if self._context else ""
                id = field_text(fields, self._choice.id) if self._choice.id else _content_id(text, context)
            except FieldUnusable as error:
                raw = mask_raw(records.raws[place].decode("utf-8", "replace"))
                rejected.append(Rejection(source=records.source, line=line, reason=str(error), raw=raw))
            else:
                yield Task(id=id, text=text, context=context, source=records.source, line=line)

    def _by_shape(self, records: Records) -> list[str | FieldUnusable]:
        if self._shape is None:
            raise AssertionError("the shape was not asked for")
        outcome = shape_rows(records, self._shape, self._config)
        texts: list[str | FieldUnusable] = list(
            _conversations(outcome.rows) if self._choice.show == "conversation" else outcome.rows.subjects().to_list()
        )
        for place, reason in outcome.rejected.items():
            texts[place] = FieldUnusable(reason)
        return texts


def _shape(samples: list[dict[str, object]], config: DatasetConfig) -> Shape:
    try:
        return detect_shape(samples, config)
    except DataInvalid as error:
        raise DataInvalid(error.seen, fix="name the field to label, for example --text question") from error


def _template(field: str) -> Template | None:
    """A field, or a template over several. Raises: DataInvalid."""
    if "{" not in field:
        return (("", field),) if field else None
    try:
        return parse_template(field)
    except ValueError as error:
        raise DataInvalid(str(error), expected="a field, or a template such as '{title}: {body}'") from error


def _conversations(rows: Rows) -> list[str]:
    """Every turn of each row behind its role, but the system's."""
    turns, lines = rows.turns.to_list(), list[str]()
    told: list[str] = []
    for begin, end in zip(rows.bounds[:-1].tolist(), rows.bounds[1:].tolist(), strict=True):
        lines = [
            f"{'rejected' if rows.parts[turn] == REJECTED else ROLES[rows.roles[turn]]}: {turns[turn]}"
            for turn in range(begin, end)
            if rows.roles[turn] != SYSTEM or rows.parts[turn] != PROMPT
        ]
        told.append("\n".join(lines))
    return told


def _text_of(example: Example, show: Show) -> str:
    if show == "conversation":
        turns = [f"{turn.role}: {turn.content}" for turn in example.messages if turn.role != "system"]
        return "\n".join([*turns, *(f"rejected: {turn.content}" for turn in example.rejected)])
    asked = [turn.content for turn in example.prompt if turn.role != "system"]
    return "\n".join(asked) or example.answer


def _gathered(found: list[Task], rejected: list[Rejection], keep_personal_data: bool) -> Gathered:
    by_id: dict[str, Task] = {}
    num_masked = 0
    for task in found:
        earlier = by_id.setdefault(task.id, task)
        if (earlier.text, earlier.context) != (task.text, task.context):
            raise DataInvalid(
                f"the id '{task.id}' stands for two texts: {earlier.source}:{earlier.line}, {task.source}:{task.line}",
                expected="an id of its own for each row",
                fix="name another field, or none: then the text itself gives the id",
            )
    tasks = list(by_id.values())
    if not keep_personal_data:
        masked = [masked_task(task) for task in tasks]
        num_masked = sum(before != after for before, after in zip(tasks, masked, strict=True))
        tasks = masked
    return Gathered(
        tasks=tasks, rejected=rejected, num_repeated=len(found) - len(tasks), num_masked=num_masked
    )  # fmt: skip


def masked_task(task: Task) -> Task:
    """The task with the personal data in its text and context masked."""
    return msgspec.structs.replace(task, text=masked(task.text), context=masked(task.context))


def masked(text: str) -> str:
    """A text with its personal data masked."""
    return mask(text, find_personal_data(text)) if text else text


def _content_id(text: str, context: str) -> str:
    # The letter in front keeps spreadsheets from taking an id such as 1234e567 for a number.
    return "t" + hashlib.sha256(f"{text}\x00{context}".encode()).hexdigest()[:16]


def _rank(task: Task, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\x00{task.id}".encode()).digest()
