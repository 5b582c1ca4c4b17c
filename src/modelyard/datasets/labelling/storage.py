"""A labelling job on disk: `job.json`, `tasks.jsonl`, `answers-<person>.jsonl`, `decisions.jsonl`.

The last two are logs: a line is added for each answer and flushed to the disk at once, and none is ever changed.
Knows nothing about terminals.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from modelyard.core.errors import Conflict, Corrupt, NotFound
from modelyard.core.files import folder_atomically, write_atomically, write_json_atomically
from modelyard.core.locks import hold
from modelyard.datasets.labelling.tasks import Answer, Decision, Job, Task, check_name

Line = TypeVar("Line", bound=Answer | Decision)
_ANSWERS, _DECISIONS = "answers-", "decisions.jsonl"


class LabellingFolder:
    """One job. Tasks and the job are read once; answers each time, as others may be at work."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, job: Job, tasks: Iterable[Task]) -> "LabellingFolder":
        """Make a job, whole or not at all. Raises: Conflict where there is one."""
        check_name(path.name, "a labelling job")
        if path.exists():
            raise Conflict(
                f"there is a labelling job '{path.name}' already",
                expected="a new name: answers belong to the tasks that they were given to",
                fix=f"choose another name, or move {path} away",
            )
        with folder_atomically(path) as scratch:
            write_json_atomically(scratch / "job.json", msgspec.to_builtins(job))
            write_atomically(scratch / "tasks.jsonl", lines_of(tasks))
            (scratch / ".gitignore").write_text("*.lock\n")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "LabellingFolder":
        """Open a job. Raises: NotFound, naming the jobs there are."""
        if not (path / "job.json").is_file():
            known = sorted(one.parent.name for one in path.parent.glob("*/job.json"))
            raise NotFound(
                f"there is no labelling job '{path.name}'",
                expected=", ".join(known) or "a job",
                fix=f"modelyard label create {path.name} --from FILE",
            )
        return cls(path)

    @cached_property
    def job(self) -> Job:
        """What is asked. Raises: Corrupt."""
        path = self.path / "job.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Job)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Corrupt(f"{path} is damaged: {error}", fix="put it back from Git or a backup") from error

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """All tasks by their ids, in their order. Raises: Corrupt."""
        return {task.id: task for task in read_lines(self.path / "tasks.jsonl", Task)}

    @property
    def people(self) -> list[str]:
        """Who has said something, in the order of their names."""
        files = self.path.glob(f"{_ANSWERS}*.jsonl")
        return sorted(path.name.removeprefix(_ANSWERS).removesuffix(".jsonl") for path in files)

    def log_of(self, person: str) -> "Log[Answer]":
        """All that a person said. Raises: InvalidInput where the name cannot be one."""
        check_name(person, "a person")
        return Log(self.path / f"{_ANSWERS}{person}.jsonl", Answer)

    def answers(self) -> dict[str, dict[str, Answer]]:
        """The answers that hold: by person, then by task. Skipped and withdrawn ones are left out."""
        found = {person: _holding(self.log_of(person).read(), "answered") for person in self.people}
        return {person: answers for person, answers in found.items() if answers}

    @property
    def decision_log(self) -> "Log[Decision]":
        """All that was decided where people disagreed."""
        return Log(self.path / _DECISIONS, Decision)

    def decisions(self) -> dict[str, Decision]:
        """The decisions that hold, by task."""
        return _holding(self.decision_log.read(), "decided")


class Log(Generic[Line]):
    """A file to which lines are added, one process at a time."""

    def __init__(self, path: Path, kind: type[Line]) -> None:
        self.path = path
        self._kind: type[Line] = kind

    def read(self) -> list[Line]:
        """Every line. A last one that was cut off in writing was never acknowledged, and is left out."""
        return read_lines(self.path, self._kind) if self.path.exists() else []

    @contextmanager
    def writing(self) -> Iterator["Writer[Line]"]:
        """Write to the log. Raises: Conflict where another process does."""
        lock = self.path.with_name(f".{self.path.stem}.lock")
        fix = "one session at a time for each name: end the other one, or use another name"
        with hold(lock, f"{self.path.name} is being written", fix=fix):
            yield Writer(self)


class Writer(Generic[Line]):
    """Adds lines to a log that this process holds."""

    def __init__(self, log: Log[Line]) -> None:
        self._path = log.path
        self.lines = log.read()

    def add(self, line: Line) -> None:
        """Add one line, on the disk when this returns. What an earlier crash left of a line is cut off first."""
        with self._path.open("ab+") as file:
            file.truncate(_end_of_whole_lines(file))
            file.write(lines_of([line]))
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(line)

    def add_all(self, lines: Sequence[Line]) -> None:
        """Add many lines, all or none."""
        if lines:
            write_atomically(self._path, lines_of([*self.lines, *lines]))
            self.lines += lines


def read_lines(path: Path, kind: type[Any]) -> list[Any]:
    """Every whole line of a JSONL file of ours. Raises: Corrupt, naming the line."""
    *lines, _cut_off = path.read_bytes().split(b"\n")
    decoder = msgspec.json.Decoder(kind)
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Corrupt(f"line {number} of {path} is damaged: {error}", fix="mend the line, or remove it") from error
    return found


def lines_of(values: Iterable[Any]) -> bytes:
    """Values as JSONL."""
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)


def _end_of_whole_lines(file: Any) -> int:
    file.seek(0)
    return int(file.read().rfind(b"\n") + 1)


def _holding(lines: Iterable[Line], state: str) -> dict[str, Line]:
    """The last line of each task, where it is in a state."""
    last = {line.task: line for line in lines}
    return {task: line for task, line in last.items() if line.state == state}
