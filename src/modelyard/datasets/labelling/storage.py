"""A labelling job on disk: `job.json`, `tasks.jsonl`, `answers-<person>.jsonl`, `decisions.jsonl`.

The last two are logs: a line is added for each answer and flushed to the disk at once, and none is ever changed.
Knows nothing about terminals.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import Conflict, Corrupt, InvalidInput, NotFound
from modelyard.core.files import folder_atomically, write_atomically, write_json_atomically
from modelyard.core.locks import hold, locked
from modelyard.datasets.labelling.tasks import Answer, Job, Task, check_name

_FOLDER = "labelling"
_JOB, _TASKS, _ANSWERS, _DECISIONS = "job.json", "tasks.jsonl", "answers-", "decisions.jsonl"


def job_path(root: Path, name: str) -> Path:
    """Where a job of a project lies. Raises: InvalidInput, so that no name leads out of the folder."""
    return root / _FOLDER / check_name(name, "a labelling job")


class LabellingFolder:
    """One job. Tasks and the job are read once; answers each time, as others may be at work."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, job: Job, tasks: Iterable[Task]) -> "LabellingFolder":
        """Make a job, whole or not at all. Raises: Conflict where there is one."""
        cls.check_free(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent):
            cls.check_free(path)
            with folder_atomically(path) as scratch:
                write_json_atomically(scratch / _JOB, msgspec.to_builtins(job))
                write_atomically(scratch / _TASKS, lines_of(tasks))
                (scratch / ".gitignore").write_text("*.lock\n")
        return cls(path)

    @staticmethod
    def check_free(path: Path) -> None:
        """Raises: Conflict where there is a job, or anything else."""
        if path.exists():
            raise Conflict(
                f"there is a labelling job '{path.name}' already",
                expected="a new name: answers belong to the tasks that they were given to",
                fix=f"choose another name, or move {path} away",
            )

    @classmethod
    def open(cls, path: Path) -> "LabellingFolder":
        """Open a job. Raises: NotFound, naming the jobs there are."""
        if not (path / _JOB).is_file():
            raise NotFound(
                f"there is no labelling job '{path.name}'",
                expected=", ".join(one.path.name for one in cls.all(path.parent.parent)) or "a job",
                fix=f"modelyard label create {path.name} --from FILE",
            )
        return cls(path)

    @classmethod
    def all(cls, root: Path) -> list["LabellingFolder"]:
        """The jobs of a project, in the order of their names."""
        paths = sorted(path.parent for path in root.glob(f"{_FOLDER}/*/{_JOB}"))
        return [cls(path) for path in paths if not path.name.startswith(".")]

    def check_out(self, out: Path) -> None:
        """Raises: InvalidInput where a file that is to be written is the job's own, or one that its tasks came from."""
        path, own = out.resolve(), self.path.resolve()
        sources = [(self.path.parent.parent / name).resolve() for name in self.job.digests]
        if path.is_relative_to(own) or path in sources:
            raise InvalidInput(
                f"{out} belongs to the job '{self.job.name}', which would lose it",
                expected="a file of its own",
                fix="choose another name for what is written",
            )

    @cached_property
    def job(self) -> Job:
        """What is asked. Raises: Corrupt."""
        path = self.path / _JOB
        try:
            return msgspec.json.decode(path.read_bytes(), type=Job)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Corrupt(f"{path} is damaged: {error}", fix="put it back from Git or a backup") from error

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """All tasks by their ids, in their order. Raises: Corrupt."""
        return {task.id: task for task in _read_lines(self.path / _TASKS, Task, may_break_off=False)}

    @property
    def people(self) -> list[str]:
        """Who has a log, in the order of their names."""
        files = self.path.glob(f"{_ANSWERS}*.jsonl")
        return sorted(path.name.removeprefix(_ANSWERS).removesuffix(".jsonl") for path in files)

    def log_of(self, person: str) -> "Log":
        """All that a person said. Raises: InvalidInput where the name cannot be one, or is another's but for case."""
        check_name(person, "a person")
        for known in self.people:
            if known != person and known.casefold() == person.casefold():
                raise InvalidInput(
                    f"'{person}' has answers under the name '{known}'",
                    expected="one spelling for each person, as two would count as two people who agree",
                    fix=f"--as {known}",
                )
        return Log(self.path / f"{_ANSWERS}{person}.jsonl")

    def answers(self) -> dict[str, dict[str, Answer]]:
        """The answers that hold: by person, then by task. Skipped and withdrawn ones are left out."""
        found = {person: self.log_of(person).given() for person in self.people}
        return {person: answers for person, answers in found.items() if answers}

    @property
    def decision_log(self) -> "Log":
        """All that was decided where people disagreed."""
        return Log(self.path / _DECISIONS)


class Log:
    """A file to which lines are added, one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Answer]:
        """Every line. A last one that was cut off in writing was never acknowledged, and is left out."""
        return _read_lines(self.path, Answer, may_break_off=True) if self.path.exists() else []

    def given(self) -> dict[str, Answer]:
        """The last line of each task, where it gives an answer."""
        return {task: line for task, line in last_lines(self.read()).items() if line.state == "given"}

    @contextmanager
    def writing(self) -> Iterator["Writer"]:
        """Write to the log. Raises: Conflict where another process does."""
        lock = self.path.with_name(f".{self.path.stem}.lock")
        fix = "one session at a time for each name: end the other one, or use another name"
        with hold(lock, f"{self.path.name} is being written", fix=fix):
            yield Writer(self)


class Writer:
    """Adds lines to a log that this process holds."""

    def __init__(self, log: Log) -> None:
        self._path = log.path
        self.lines = log.read()
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            # What a crash left of a line goes; a whole one that lacks its end alone, as editors leave it, gets one.
            write_atomically(self._path, lines_of(self.lines))

    def add(self, line: Answer) -> None:
        """Add one line, on the disk when this returns."""
        with self._path.open("ab") as file:
            file.write(lines_of([line]))
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(line)

    def add_all(self, lines: Sequence[Answer]) -> None:
        """Add many lines, all or none."""
        if lines:
            write_atomically(self._path, lines_of([*self.lines, *lines]))
            self.lines += lines


def last_lines(lines: Iterable[Answer]) -> dict[str, Answer]:
    """The last line of each task: the one that holds."""
    return {line.task: line for line in lines}


def lines_of(values: Iterable[Any]) -> bytes:
    """Values as JSONL."""
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)


def _read_lines(path: Path, kind: type[Any], *, may_break_off: bool) -> list[Any]:
    """Every line of a JSONL file of ours; a last one may break off where lines are added one by one.

    Raises: Corrupt, naming the line.
    """
    lines = path.read_bytes().split(b"\n")
    decoder = msgspec.json.Decoder(kind)
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            if number == len(lines) and (may_break_off or not line):
                break
            fix = "mend the line, or remove it" if may_break_off else "put the file back from Git or a backup"
            raise Corrupt(f"line {number} of {path} is damaged: {error}", fix=fix) from error
    return found
