"""Tasks from rows: of files in any format, or of a dataset. Personal data in them is masked on the way."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.labelling.tasks import Task, rank
from modelyard.datasets.normalisation import normalised
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
from modelyard.datasets.template import FieldUnusable, Template, field_text, fields_of, fill, parse_template
from modelyard.ports.dataset import Dataset, Example

# What the shape of a row says of it, under the names that templates may use as fields.
_SHAPED = ("prompt", "answer", "conversation")
_DETECTION_ROWS = 100
_MOST_REASONS = 3


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What of a row makes its task: each a field, or a template over fields.

    `prompt`, `answer` and `conversation` are fields of every row whose shape is known. Empty, `text` is the field
    `text`, or else the prompt; `context` is shown beside it; `id` names the row, else its text does.
    """

    text: str = ""
    context: str = ""
    id: str = ""


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks, and what became of the rows that are none: broken ones, and those that another one repeats.

    `digests` are those of the files that were read, or of the dataset, by their names.
    """

    tasks: list[Task]
    rejected: list[Rejection]
    num_repeated: int
    digests: dict[str, str]


def tasks_of_files(
    path: str, root: Path, choice: Choice, progress: Callable[[float, float], None] = lambda done, total: None
) -> Gathered:
    """Tasks from files, a row each. Raises: DataInvalid where a file, or what tasks are to be made of, is no good."""
    config = DatasetConfig(path=path)
    maker: _Maker | None = None
    fields: _Fields | None = None
    rejected: list[Rejection] = []
    digests: dict[str, str] = {}
    sources = find_sources(config, root)
    done, total = 0, sum(source.num_bytes for source in sources)
    for source in sources:
        reader = SourceReader(source)
        for block in reader:
            records = parse_block(block)
            rejected += records.rejected
            if records.fields:
                fields = fields or _Fields(choice, records.fields[:_DETECTION_ROWS], config)
                maker = maker or _Maker(choice, fields.default)
                for place, row in enumerate(fields.of(records)):
                    if fault := maker.add(row, records.source, records.lines[place]):
                        rejected.append(_rejection(records, place, fault))
            progress(done + reader.num_bytes_read, total)
        done += reader.num_bytes_read
        digests[source.name] = reader.source().digest
    return _gathered(maker, rejected, digests, path)


def tasks_of_examples(examples: Iterable[Example], choice: Choice, dataset: Dataset) -> Gathered:
    """Tasks from rows of a dataset, under the rows' own ids. Raises: DataInvalid."""
    maker = _Maker(msgspec.structs.replace(choice, id=choice.id or "id"), "prompt")
    rejected = []
    for example in examples:
        if fault := maker.add(_fields_of(example), example.source, example.line):
            rejected.append(Rejection(source=example.source, line=example.line, reason=fault, raw=""))
    return _gathered(maker, rejected, {dataset.ref: dataset.digest}, dataset.ref)


def sample(tasks: list[Task], number: int, seed: int) -> list[Task]:
    """Some of the tasks, in their order, by the hash of seed and id: more tasks later keep most of the choice."""
    chosen = {task.id for task in sorted(tasks, key=lambda task: rank(str(seed), task.id))[:number]}
    return [task for task in tasks if task.id in chosen]


class _Maker:
    """Makes tasks of rows, in one way for all of them."""

    def __init__(self, choice: Choice, default: str) -> None:
        self._text = _template(choice.text or default)
        self._context = _template(choice.context)
        self._id = choice.id
        self.tasks: dict[str, Task] = {}
        self.num_repeated = 0

    def add(self, row: Mapping[str, Any] | FieldUnusable, source: str, line: int) -> str:
        """Make the task of a row, or say why there is none.

        Raises: DataInvalid where an id stands for two texts.
        """
        if isinstance(row, FieldUnusable):
            return str(row)
        try:
            seen = (normalised(fill(self._text, row)), normalised(fill(self._context, row)))
            text, context = map(masked, seen)
            id = field_text(row, self._id).strip() if self._id else _content_id(text, context)
        except FieldUnusable as error:
            return str(error)
        if not text or not id:
            return f"empty {'id' if text else 'text'}: there is nothing to {'know the task by' if text else 'label'}"
        is_masked = (text, context) != seen
        task = Task(id=id, text=text, context=context, source=source, line=line, is_masked=is_masked)
        earlier = self.tasks.setdefault(id, task)
        if (earlier.text, earlier.context) != (text, context):
            raise DataInvalid(
                f"the id '{id}' stands for two texts: {earlier.source}:{earlier.line}, {source}:{line}",
                expected="an id of its own for each row",
                fix="name another field with --id, or none: then the text itself gives the id",
            )
        self.num_repeated += earlier is not task
        return ""


class _Fields:
    """The fields of rows, with what their shape says where a template asks for it."""

    def __init__(self, choice: Choice, samples: Sequence[Mapping[str, Any]], config: DatasetConfig) -> None:
        def is_common(field: str) -> bool:
            return sum(field in row for row in samples) * 2 > len(samples)

        self.default = "text" if is_common("text") else "prompt"
        asked = fields_of((*_template(choice.text or self.default), *_template(choice.context)))
        is_asked = any(field in _SHAPED and not is_common(field) for field in asked)
        self._shape = _shape(samples, config) if is_asked else None
        self._config = config

    def of(self, records: Records) -> Iterator[Mapping[str, Any] | FieldUnusable]:
        """The fields of each row of a block, or what its shape lacks."""
        if self._shape is None:
            yield from records.fields
            return
        outcome = shape_rows(records, self._shape, self._config)
        rows = outcome.rows
        columns = (rows.subjects().to_list(), rows.answers().to_list(), _conversations(rows))
        for place, (fields, *told) in enumerate(zip(records.fields, *columns, strict=True)):
            if place in outcome.rejected:
                yield FieldUnusable(outcome.rejected[place])
            else:
                yield {**dict(zip(_SHAPED, told, strict=True)), **fields}


def _shape(samples: Sequence[Mapping[str, Any]], config: DatasetConfig) -> Shape:
    try:
        return detect_shape(samples, config)
    except DataInvalid as error:
        raise DataInvalid(error.seen, fix="name the field to label, for example --text question") from error


def _template(field: str) -> Template:
    """A field, or a template over several; of none, an empty text. Raises: DataInvalid."""
    if "{" not in field:
        return (("", field),) if field else ()
    try:
        return parse_template(field)
    except ValueError as error:
        raise DataInvalid(str(error), expected="a field, or a template such as '{title}: {body}'") from error


def _conversations(rows: Rows) -> list[str]:
    """Every turn of each row behind its role, but the system's."""
    turns = rows.turns.to_list()
    told = []
    for begin, end in zip(rows.bounds[:-1].tolist(), rows.bounds[1:].tolist(), strict=True):
        lines = [
            f"{'rejected' if rows.parts[turn] == REJECTED else ROLES[rows.roles[turn]]}: {turns[turn]}"
            for turn in range(begin, end)
            if rows.roles[turn] != SYSTEM or rows.parts[turn] != PROMPT
        ]
        told.append("\n".join(lines))
    return told


def _fields_of(example: Example) -> dict[str, Any]:
    """The fields of a dataset's row, under the names that a file's shape gives them."""
    asked = [turn.content for turn in example.prompt if turn.role != "system"]
    turns = [f"{turn.role}: {turn.content}" for turn in example.messages if turn.role != "system"]
    return {
        "id": example.id,
        "prompt": "\n".join(asked) or example.answer,
        "answer": example.answer,
        "conversation": "\n".join([*turns, *(f"rejected: {turn.content}" for turn in example.rejected)]),
        "label": example.label,
    }


def _gathered(maker: _Maker | None, rejected: list[Rejection], digests: dict[str, str], origin: str) -> Gathered:
    if maker is None or not maker.tasks:
        reasons = "; ".join(f"{one.source}:{one.line}: {one.reason}" for one in rejected[:_MOST_REASONS])
        raise DataInvalid(
            f"no row of {origin} makes a task" + (f": {reasons}" if reasons else ""),
            expected="rows with a text to label",
            fix="name the field, for example --text question",
        )
    return Gathered(
        tasks=list(maker.tasks.values()),
        rejected=rejected,
        num_repeated=maker.num_repeated,
        digests=digests,
    )


def _rejection(records: Records, place: int, reason: str) -> Rejection:
    raw = mask_raw(records.raws[place].decode("utf-8", "replace"))
    return Rejection(source=records.source, line=records.lines[place], reason=reason, raw=raw)


def masked(text: str) -> str:
    """A text with its personal data masked."""
    return mask(text, find_personal_data(text)) if text else text


def _content_id(text: str, context: str) -> str:
    # The letter in front keeps spreadsheets from taking an id such as 1234e567 for a number.
    return "t" + hashlib.sha256(f"{text}\x00{context}".encode()).hexdigest()[:16]
