"""Tasks out to a file, for labelling elsewhere, and answers back in: JSONL or CSV, by the file's ending."""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import DataInvalid, InvalidInput
from modelyard.core.files import write_atomically
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.labelling.storage import LabellingFolder, last_lines, lines_of
from modelyard.datasets.labelling.tasks import Answer, Job, Task, folded, label_meant
from modelyard.datasets.normalisation import normalised
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.reader import SourceReader
from modelyard.datasets.template import FieldUnusable, field_text

_MOST_TOLD = 20
# What a spreadsheet takes for the beginning of a formula, in half and in full width (= + - @). Source: OWASP, "CSV
# Injection". Apostrophes before it count as well, so that taking one away gives back the very text.
_BEGINNINGS = "[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_FORMULA, _GUARDED = re.compile(f"'*{_BEGINNINGS}"), re.compile(f"'+{_BEGINNINGS}")


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of answers came to: new ones, those that were there already, and rows without a label."""

    num_new: int
    num_same: int
    num_blank: int


def export_tasks(folder: LabellingFolder, out: Path, person: str = "") -> int:
    """Write all tasks with their answers and tell how many.

    For one person: `label` and `note` hold what that person said, and nothing shows what others did. For nobody:
    `label` and `note` are empty, and each person's label stands in a column of its own.
    Raises: InvalidInput where the ending is none of those known, or the file is one of the job's.
    """
    folder.check_out(out)
    rows = list(_rows(folder, person))
    if out.suffix in (".jsonl", ".ndjson"):
        write_atomically(out, lines_of(rows))
    elif out.suffix == ".csv":
        write_atomically(out, _csv(rows))
    else:
        raise InvalidInput(f"{out} ends in neither .jsonl nor .csv", expected="the ending of a format to write")
    return len(rows)


def import_answers(folder: LabellingFolder, path: Path, person: str) -> Imported:
    """Take a person's answers from a file with `id`, `label` and perhaps `note`: all of them, or none.

    Every format that a dataset is read from will do. The same file again changes nothing; a row without a label says
    nothing, but for a note. Raises: DataInvalid with file and line where a row cannot be read, names no task of the
    job, repeats one, holds another text than the task's, or a label that is none of the job's; Conflict where the
    answers are being written.
    """
    if not path.is_file():
        raise DataInvalid(f"{path} is no file", expected="a file with answers", fix="correct its name")
    reading = _Reading(folder.job, folder.tasks)
    found = list(reading.answers(path, person))
    if reading.faults:
        raise _unusable(reading.faults, path)
    with folder.log_of(person).writing() as writer:
        last = last_lines(writer.lines)
        found = [_beside_label(one, last.get(one.task)) for one in found]
        new = [one for one in found if not _is_same(one, last.get(one.task))]
        writer.add_all(new)
    return Imported(num_new=len(new), num_same=len(found) - len(new), num_blank=reading.num_blank)


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + cell if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """A cell as it was before it was guarded."""
    return cell[1:] if _GUARDED.match(cell) else cell


class _Reading:
    """Reads a file of answers, and collects what is wrong with its rows."""

    def __init__(self, job: Job, tasks: Mapping[str, Task]) -> None:
        self._job = job
        self._tasks = tasks
        self._seen: dict[str, int] = {}
        self.faults: list[tuple[int, str]] = []
        self.num_blank = 0

    def answers(self, path: Path, person: str) -> Iterator[Answer]:
        """The answer of each row. Raises: DataInvalid where the file cannot be read."""
        at_ms = now_ms()
        for line, row in self._rows(path):
            try:
                id, label, note = (field_text(row, "id").strip(), _optional(row, "label"), _optional(row, "note"))
                self._check(id, line)
                self._check_text(id, _optional(row, "text"))
                meant = label_meant(label, self._job.labels) if label else ""
                if meant is None:
                    raise FieldUnusable(_unknown_label(label, self._job.labels))
            except FieldUnusable as error:
                self.faults.append((line, str(error)))
                continue
            if meant:
                yield Answer(task=id, label=meant, note=note, by=person, at_ms=at_ms, via=path.name)
            elif note:
                yield Answer(task=id, note=note, by=person, at_ms=at_ms, via=path.name, state="skipped")
            self.num_blank += not meant

    def _check(self, id: str, line: int) -> None:
        if id not in self._tasks:
            raise FieldUnusable(f"unknown id '{id}': the job '{self._job.name}' has no such task")
        if id in self._seen:
            raise FieldUnusable(f"repeated id '{id}': line {self._seen[id]} has it as well")
        self._seen[id] = line

    def _check_text(self, id: str, text: str) -> None:
        """A column that was sorted by itself, or a text that was changed, makes a label another task's."""
        if text and folded(text) != folded(normalised(self._tasks[id].text)):
            raise FieldUnusable(f"changed text: the job has another one under the id '{id}' than '{text[:80]}'")

    def _rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        (source,) = find_sources(DatasetConfig(path=str(path.absolute())), path.absolute().parent)
        is_sheet = source.format in ("csv", "tsv")
        is_first = True
        for block in SourceReader(source):
            records = parse_block(block)
            self.faults += [(one.line, one.reason) for one in records.rejected]
            if records.fields and is_first:
                _check_fields(records.fields, path)
                is_first = False
            for line, row in zip(records.lines, records.fields, strict=True):
                yield line, {name: unguarded(cell) for name, cell in row.items()} if is_sheet else row


def _rows(folder: LabellingFolder, person: str) -> Iterator[dict[str, str]]:
    """Every task with the same fields, in the same order."""
    answers = folder.answers()
    mine = folder.log_of(person).given() if person else {}
    others = {} if person else answers
    for id, task in folder.tasks.items():
        said = mine.get(id)
        yield {
            "id": id,
            "text": task.text,
            "context": task.context,
            "label": said.label if said else "",
            "note": said.note if said else "",
            **{f"label of {name}": given[id].label if id in given else "" for name, given in others.items()},
        }


def _csv(rows: list[dict[str, str]]) -> bytes:
    """CSV as spreadsheets open it: UTF-8 with a byte order mark, lines that end in CR LF."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(rows[0])
    writer.writerows([guarded(cell) for cell in row.values()] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def _check_fields(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    seen = {name for row in rows for name in row}
    for needed in ("id", "label"):
        if needed not in seen:
            raise DataInvalid(
                f"{path.name} has no column '{needed}', but {', '.join(sorted(seen)[:8])}",
                expected="id, label and perhaps note, as `modelyard label export` writes them",
                fix=f"rename the column that holds the {needed}",
            )


def _optional(row: Mapping[str, Any], field: str) -> str:
    """A field as text in one spelling, empty where there is none. Raises: FieldUnusable where it is no plain value."""
    return "" if row.get(field) is None else normalised(field_text(row, field))


def _unknown_label(label: str, labels: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(label, labels, n=1)
    meant = f"did you mean '{near[0]}'?" if near else f"expected {', '.join(labels[:_MOST_TOLD])}"
    return f"unknown label '{label[:80]}': {meant}"


def _unusable(faults: list[tuple[int, str]], path: Path) -> DataInvalid:
    told = [f"{path.name}:{line}: {fault}" for line, fault in sorted(faults)[:_MOST_TOLD]]
    more = len(faults) - len(told)
    return DataInvalid(
        "\n".join(told) + (f"\nand {more:,} more" if more else ""),
        expected="each row with the id of a task, once, its text or none, and a label of the job or none",
        fix="mend the file and import it again; nothing of it was taken",
    )


def _beside_label(one: Answer, before: Answer | None) -> Answer:
    """A note without a label stands beside the label that was given before, and takes nothing back."""
    if one.state != "skipped" or before is None or before.state != "given":
        return one
    return msgspec.structs.replace(one, label=before.label, state="given")


def _is_same(one: Answer, before: Answer | None) -> bool:
    return before is not None and (one.label, one.note, one.state) == (before.label, before.note, before.state)
